//! Turning away visitors who aren't signed in.

use core::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};
use std::sync::Arc;

use ::axum::{
    http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header},
    response::IntoResponse as _,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use session_core::SessionData;
use tower_layer::Layer;
use tower_service::Service;

use super::extract::load;

/// Lets only requests through whose session has a subject. It must stand inside a [`SessionLayer`](super::SessionLayer) (added before
/// it, as axum orders layers).
///
/// If the store isn't available it answers 503: nobody is taken for signed out, or for signed in.
///
/// ```
/// use axum::{Router, routing::get};
/// use session_native::axum::RequireAuth;
///
/// let pages: Router = Router::new()
///     .route("/profile", get(async || "profile"))
///     .layer(RequireAuth::<()>::redirect_to("/login").except(|path| path.starts_with("/assets/")));
/// let api: Router = Router::new().route("/api", get(async || "api")).layer(RequireAuth::<()>::unauthorized());
/// ```
pub struct RequireAuth<T> {
    sign_in: Option<Arc<str>>,
    except: Option<IsPublic>,
    data: PhantomData<fn() -> T>,
}

/// Whether a path is open to everyone.
type IsPublic = Arc<dyn Fn(&str) -> bool + Send + Sync>;

impl<T> RequireAuth<T> {
    /// Answers 401: for APIs.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self { sign_in: None, except: None, data: PhantomData }
    }

    /// Sends browsers to the sign-in page at `path`, with the wanted page, percent-encoded, in the parameter `redirect_to`: read it with
    /// [`local_redirect`]. Requests with other methods than GET and HEAD can't be repeated after signing in, and are answered 401.
    #[must_use]
    pub fn redirect_to(path: impl Into<String>) -> Self {
        Self { sign_in: Some(path.into().into()), except: None, data: PhantomData }
    }

    /// Lets requests through whose path `public` is true for. The sign-in page itself always is let through.
    #[must_use]
    pub fn except(mut self, public: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.except = Some(Arc::new(public));
        self
    }

    fn is_public(&self, path: &str) -> bool {
        self.sign_in.as_deref() == Some(path) || self.except.as_ref().is_some_and(|public| public(path))
    }

    /// The answer to a visitor who isn't signed in.
    fn turn_away<B: From<String>>(&self, method: &Method, uri: &Uri) -> Response<B> {
        let location = self
            .sign_in
            .as_deref()
            .filter(|_| matches!(*method, Method::GET | Method::HEAD))
            .and_then(|sign_in| HeaderValue::try_from(sign_in_location(sign_in, uri)).ok());
        let mut response = Response::new(String::new().into());
        if let Some(location) = location {
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(header::LOCATION, location);
        } else {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            // RFC 9110 §11.6.1 demands a challenge; there is no registered scheme for cookies.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Cookie"));
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Everything but RFC 3986's unreserved characters and `/`, which may stand in a query as it is.
const IN_QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

fn sign_in_location(sign_in: &str, wanted: &Uri) -> String {
    let wanted = wanted.path_and_query().map_or("/", |wanted| wanted.as_str());
    let separator = if sign_in.contains('?') { '&' } else { '?' };
    format!("{sign_in}{separator}redirect_to={}", utf8_percent_encode(wanted, IN_QUERY))
}

/// The target of a redirect after signing in, if it stays on this site: a path from the root. Anything that a browser would read as
/// another site (`https://…`, `//…`, `/\…`, or with control characters in between) gives `None`.
///
/// ```
/// use session_native::axum::local_redirect;
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

impl<T> Clone for RequireAuth<T> {
    fn clone(&self) -> Self {
        Self { sign_in: self.sign_in.clone(), except: self.except.clone(), data: PhantomData }
    }
}

impl<S, T> Layer<S> for RequireAuth<T> {
    type Service = RequireAuthService<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireAuthService { inner, layer: self.clone() }
    }
}

/// The service that [`RequireAuth`] makes.
///
/// ```
/// use session_native::axum::RequireAuth;
/// use tower_layer::Layer;
///
/// # struct Inner;
/// let service = RequireAuth::<()>::unauthorized().layer(Inner);
/// ```
pub struct RequireAuthService<S, T> {
    inner: S,
    layer: RequireAuth<T>,
}

impl<S: Clone, T> Clone for RequireAuthService<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, T, RequestBody> Service<Request<RequestBody>> for RequireAuthService<S, T>
where
    S: Service<Request<RequestBody>, Response = ::axum::response::Response> + Clone + Send + 'static,
    S::Future: Send,
    T: SessionData,
    RequestBody: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        // The clone stays behind; the service that was polled ready is the one that is called.
        let clone = self.inner.clone();
        let mut inner = core::mem::replace(&mut self.inner, clone);
        if self.layer.is_public(request.uri().path()) {
            return Box::pin(inner.call(request));
        }
        let layer = self.layer.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            match load::<T>(&parts).await {
                Ok(session) if session.is_authenticated() => {
                    inner.call(Request::from_parts(parts, body)).await
                }
                Ok(_) => Ok(layer.turn_away(&parts.method, &parts.uri)),
                Err(rejection) => Ok(rejection.into_response()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_page_is_encoded() {
        let location = |uri: &'static str| sign_in_location("/login", &Uri::from_static(uri));
        assert_eq!(location("/a/b?x=1&y=%20"), "/login?redirect_to=/a/b%3Fx%3D1%26y%3D%2520");
        assert_eq!(
            sign_in_location("/login?lang=en", &Uri::from_static("/")),
            "/login?lang=en&redirect_to=/"
        );
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
