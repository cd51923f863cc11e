//! What is sent without a handler, and what is added to what a handler sent.

use core::time::Duration;
use std::borrow::Cow;

use session_core::SetCookie;

use super::Headers;
use crate::error::Error;

/// An answer that is given instead of a handler's: a status, header fields, and a short plain text that gives nothing away.
///
/// ```
/// use session_native::{StoreError, web::Answer};
///
/// let answer = Answer::to_error(&StoreError::unavailable("10.0.0.3 refused the connection").into());
/// assert_eq!(answer.status(), 503);
/// assert_eq!(answer.text(), "the session store is not available, try again later");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    text: Cow<'static, str>,
    content_type: &'static str,
    /// Besides `Cache-Control: no-store` and the content type.
    field: Option<(&'static str, Cow<'static, str>)>,
}

impl Answer {
    pub(crate) const fn new(status: u16, text: Cow<'static, str>) -> Self {
        Self { status, text, content_type: "text/plain; charset=utf-8", field: None }
    }

    #[cfg(feature = "dbsc")]
    pub(crate) fn json(status: u16, text: String) -> Self {
        Self { content_type: "application/json", ..Self::new(status, text.into()) }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some((name, value.into()));
        self
    }

    /// The answer when a session can't be had or saved: 503 if it is the store's failure, with `Retry-After` if trying again can help, 413 if the
    /// data is too large, 409 if a field with the merge policy `Fail` was changed by two requests at once, 401 if the session ended while the request
    /// ran ([`Error::Ended`]), else 500. It leaves the client's cookie alone.
    #[must_use]
    pub fn to_error(error: &Error) -> Self {
        if error.is_too_large() {
            Self::new(413, error.to_string().into())
        } else if error.is_conflict() {
            Self::new(409, "another request changed the same at the same time: load it again".into())
        } else if error.is_unavailable() {
            Self::new(503, "the session store is not available, try again later".into())
                .with("retry-after", retry_after(error).to_string())
        } else if error.is_store_failure() {
            Self::new(503, "the session store is not available".into())
        } else if matches!(error, Error::Ended(_)) {
            // The same for every reason: what a client may know of a refusal is that it was one.
            Self::new(401, "the session ended meanwhile: load the page again, or sign in".into())
                .with("www-authenticate", CHALLENGE)
        } else {
            Self::new(500, "the session could not be loaded or saved".into())
        }
    }

    /// The status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The body: plain text in UTF-8, or JSON.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes the header fields: the content type if there is a text, `Cache-Control: no-store`, and what belongs to the status.
    pub fn write(&self, headers: &mut impl Headers) {
        if !self.text.is_empty() {
            headers.set("content-type", self.content_type.into());
        }
        headers.set("cache-control", "no-store".into());
        if let Some((name, value)) = &self.field {
            headers.set(name, value.clone());
        }
    }
}

/// RFC 9110 §11.6.1 demands a challenge with a 401; there is no registered scheme for cookies.
pub(super) const CHALLENGE: &str = "Cookie";

/// In whole seconds, as the header wants it.
fn retry_after(error: &Error) -> u64 {
    let wait = match error {
        Error::Store(error) => error.retry_after().unwrap_or_default(),
        _ => Duration::ZERO,
    };
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// What the last commit of a request means for its response.
///
/// See [`Arrival`](super::Arrival) for an example.
#[derive(Debug)]
#[must_use = "without its cookie the client loses its session"]
pub struct Ending {
    pub(super) failure: Option<Answer>,
    pub(super) cookie: Option<SetCookie>,
    /// `Secure-Session-Registration`, after a sign-in.
    #[cfg(feature = "dbsc")]
    pub(super) device_offer: Option<String>,
}

impl Ending {
    /// The answer that must be sent instead of the handler's: what it changed was not saved, and a success would be a lie.
    #[must_use]
    pub const fn failure(&self) -> Option<&Answer> {
        self.failure.as_ref()
    }

    /// Writes header fields into the response that is sent: `Vary: Cookie`; the cookie, with `Cache-Control: no-store`, if the client needs
    /// one; else `Cache-Control: private`, unless the response says otherwise. After a sign-in also what offers to bind the session to its device
    /// (feature `dbsc`).
    pub fn write(self, headers: &mut impl Headers) {
        if !varies_by_cookie(headers) {
            headers.add("vary", "Cookie".into());
        }
        #[cfg(feature = "dbsc")]
        if let Some(offer) = self.device_offer {
            headers.add(crate::dbsc::fields::REGISTRATION, offer.into());
        }
        if let Some(cookie) = self.cookie {
            headers.add("set-cookie", cookie.into_string().into());
            headers.set("cache-control", "no-store".into());
        } else if headers.values("cache-control").next().is_none() {
            headers.set("cache-control", "private".into());
        }
    }
}

fn varies_by_cookie(headers: &impl Headers) -> bool {
    let mut names = headers.values("vary").flat_map(|value| value.split(|byte| *byte == b','));
    names.any(|name| matches!(name.trim_ascii(), b"*") || name.trim_ascii().eq_ignore_ascii_case(b"cookie"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    /// A wrong password or a full store is not over in a second.
    #[test]
    fn who_is_told_to_come_back_has_reason_to() {
        let errors = [
            (Error::from(StoreError::unavailable("refused")), Some("1")),
            (Error::Contended, Some("1")),
            (StoreError::Full { capacity: None }.into(), None),
            (StoreError::misconfigured("another password").into(), None),
            (StoreError::Malformed.into(), None),
        ];
        for (error, wait) in errors {
            let answer = Answer::to_error(&error);
            let told = answer.field.as_ref().map(|(name, value)| (*name, &**value));
            assert_eq!((answer.status(), told), (503, wait.map(|wait| ("retry-after", wait))), "{error}");
        }
    }

    #[test]
    fn retry_after_is_whole_seconds_and_never_zero() {
        for (wait, seconds) in [(None, 1), (Some(0), 1), (Some(999), 1), (Some(1000), 1), (Some(1001), 2)] {
            let retry_after = wait.map(Duration::from_millis);
            let error = StoreError::Unavailable { reason: String::new(), retry_after }.into();
            assert_eq!(super::retry_after(&error), seconds, "{wait:?}");
        }
        assert_eq!(retry_after(&Error::Contended), 1);
        let open = StoreError::CircuitOpen { retry_after: Duration::from_millis(4200) };
        assert_eq!(retry_after(&open.into()), 5);
    }
}
