//! Turning away visitors who aren't signed in, or not recently enough.

use core::{marker::PhantomData, time::Duration};
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use session_core::SessionData;

use super::{Answer, answer::CHALLENGE};
use crate::handle::SessionHandle;

/// Lets only requests through whose session has a subject. It must stand inside a [`SessionLayer`](super::SessionLayer) (added before
/// it, as axum and actix-web order layers).
///
/// If the store isn't available it answers 503: nobody is taken for signed out, or for signed in.
///
/// ```
/// use core::time::Duration;
/// use axum::{Router, routing::get};
/// use session_native::axum::RequireAuth;
///
/// let pages: Router = Router::new()
///     .route("/profile", get(async || "profile"))
///     .layer(RequireAuth::<()>::redirect_to("/login").except(|path| path.starts_with("/assets/")));
/// let api: Router = Router::new().route("/api", get(async || "api")).layer(RequireAuth::<()>::unauthorized());
/// // Where much is at stake, who signed in long ago proves it again.
/// let payment: Router = Router::new()
///     .route("/pay", get(async || "pay"))
///     .layer(RequireAuth::<()>::redirect_to("/confirm").fresh(Duration::from_secs(300)));
/// ```
pub struct RequireAuth<T> {
    sign_in: Option<Arc<str>>,
    except: Option<IsPublic>,
    fresh: Option<Duration>,
    data: PhantomData<fn() -> T>,
}

/// Whether a path is open to everyone.
pub(crate) type IsPublic = Arc<dyn Fn(&str) -> bool + Send + Sync>;

impl<T> RequireAuth<T> {
    /// Answers 401: for APIs.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self { sign_in: None, except: None, fresh: None, data: PhantomData }
    }

    /// Sends browsers to the sign-in page at `path`, with the wanted page, percent-encoded, in the parameter `redirect_to`: read it with
    /// [`local_redirect`]. Requests with other methods than GET and HEAD can't be repeated after signing in, and are answered 401.
    #[must_use]
    pub fn redirect_to(path: impl Into<String>) -> Self {
        Self { sign_in: Some(path.into().into()), ..Self::unauthorized() }
    }

    /// Lets requests through whose whole path (also inside of nested routers and scopes) `public` is true for. The sign-in page itself
    /// always is let through.
    #[must_use]
    pub fn except(mut self, public: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.except = Some(Arc::new(public));
        self
    }

    /// Demands also that the subject signed in at most `age` ago ([`Session::authenticate`](crate::Session::authenticate) counts, requests don't):
    /// for what a stolen or forgotten session must not be enough for, such as a change of the password or a payment (step-up
    /// authentication; ASVS 5.0 row 7.5.3). A 401 then says so in the words of RFC 9470: `error="insufficient_user_authentication"`.
    #[must_use]
    pub const fn fresh(mut self, age: Duration) -> Self {
        self.fresh = Some(age);
        self
    }

    /// Whether a request needs no session: that of the sign-in page, and what was excepted.
    #[must_use]
    pub fn is_public(&self, path: &str) -> bool {
        let sign_in = self.sign_in.as_deref().and_then(|to| to.split('?').next());
        sign_in == Some(path) || self.except.as_ref().is_some_and(|public| public(path))
    }
}

impl<T: SessionData> RequireAuth<T> {
    /// The answer to a request that must not get through: `method` and `wanted`, its path and query, tell where to come back to.
    #[must_use]
    pub fn check(&self, session: &SessionHandle<T>, method: &str, wanted: &str) -> Option<Answer> {
        if !session.is_authenticated() {
            return Some(self.turn_away(method, wanted, CHALLENGE.into()));
        }
        let age = self.fresh?;
        let proven = session.authenticated_at();
        if proven.is_some_and(|at| session.now().since(at) <= age) {
            return None;
        }
        let challenge =
            format!(r#"{CHALLENGE} error="insufficient_user_authentication", max_age="{}""#, age.as_secs());
        Some(self.turn_away(method, wanted, challenge))
    }

    fn turn_away(&self, method: &str, wanted: &str, challenge: String) -> Answer {
        let sign_in = self.sign_in.as_deref().filter(|to| to.bytes().all(|byte| byte.is_ascii_graphic()));
        match sign_in {
            Some(sign_in) if matches!(method, "GET" | "HEAD") => {
                Answer::new(303, "".into()).with("location", sign_in_location(sign_in, wanted))
            }
            _ => Answer::new(401, "".into()).with("www-authenticate", challenge),
        }
    }
}

impl<T> Clone for RequireAuth<T> {
    fn clone(&self) -> Self {
        Self {
            sign_in: self.sign_in.clone(),
            except: self.except.clone(),
            fresh: self.fresh,
            data: PhantomData,
        }
    }
}

/// Everything but RFC 3986's unreserved characters and `/`, which may stand in a query as it is.
const IN_QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

fn sign_in_location(sign_in: &str, wanted: &str) -> String {
    let separator = if sign_in.contains('?') { '&' } else { '?' };
    format!("{sign_in}{separator}redirect_to={}", utf8_percent_encode(wanted, IN_QUERY))
}

/// The target of a redirect after signing in, if it stays on this site: a path from the root. Anything that a browser would read as
/// another site (`https://…`, `//…`, `/\…`, or with control characters in between) gives `None`.
///
/// ```
/// use session_native::web::local_redirect;
///
/// assert_eq!(local_redirect("/profile?tab=1"), Some("/profile?tab=1"));
/// assert_eq!(local_redirect("//evil.example"), None);
/// assert_eq!(local_redirect("/\\evil.example"), None);
/// ```
#[must_use]
pub fn local_redirect(target: &str) -> Option<&str> {
    let rest = target.strip_prefix('/')?;
    let safe = !rest.starts_with(['/', '\\'])
        && target.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'\\');
    safe.then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_page_is_encoded() {
        let location = |wanted| sign_in_location("/login", wanted);
        assert_eq!(location("/a/b?x=1&y=%20"), "/login?redirect_to=/a/b%3Fx%3D1%26y%3D%2520");
        assert_eq!(sign_in_location("/login?lang=en", "/"), "/login?lang=en&redirect_to=/");
    }

    #[test]
    fn only_local_targets_are_followed() {
        for local in ["/", "/a", "/a/b?c=d#e", "/a//b", "/a:b@c"] {
            assert_eq!(local_redirect(local), Some(local));
        }
        for foreign in [
            "",
            "a",
            "//e.example",
            "///e.example",
            "/\\e.example",
            "\\\\e.example",
            "https://e.example",
            "javascript:x",
            "/\t/e.example",
            "/\n/e.example",
            " /a",
            "/a\r\nSet-Cookie: x",
            "/é",
            "/a\\b",
        ] {
            assert_eq!(local_redirect(foreign), None, "{foreign:?}");
        }
    }
}
