//! What the integrations of web frameworks share, and what one of your own is made of. Nothing here knows a framework.
//!
//! [`SessionLayer`] and [`RequireAuth`] are the layers of [`axum`](crate::axum) and `actix`: in each framework the same type. Where there is none, four calls do:
//! [`SessionLayer::arrive`] when a request comes, [`Arrival::session`] when a handler wants its session, [`Arrival::finish`] when the handler
//! is done, and [`Ending::write`] on the response. `native/examples/hyper.rs` does it for a bare hyper server,
//! `native/examples/custom_framework.rs` for a framework with requests of its own ([`Headers`]).

mod answer;
mod headers;
mod layer;
mod require_auth;

pub use answer::{Answer, Ending};
pub use headers::Headers;
pub use layer::{Arrival, SessionLayer};
pub(crate) use require_auth::IsPublic;
pub use require_auth::{RequireAuth, local_redirect};

use crate::error::Error;

/// Why a handler didn't get its session, or could not save or end it: what such a handler returns may come of [`Error`] by `?`. Answers as
/// [`Answer::to_error`]: 503 with `Retry-After` if the store isn't available, 401 if the session ended while the request ran; the cookie is left alone.
///
/// ```
/// use session_native::{Error, Rejection, web::SessionRejection};
///
/// assert_eq!(SessionRejection::NoLayer.answer().status(), 500);
/// assert_eq!(SessionRejection::from(Error::Ended(Rejection::Revoked)).answer().status(), 401);
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionRejection {
    /// The route isn't inside a `SessionLayer` with this data type.
    #[error("there is no `SessionLayer` with this data type around the route")]
    NoLayer,
    /// The session could not be loaded, saved or ended.
    #[error(transparent)]
    Load(#[from] Error),
}

impl SessionRejection {
    /// The answer to the client.
    #[must_use]
    pub fn answer(&self) -> Answer {
        match self {
            Self::NoLayer => Answer::new(500, self.to_string().into()),
            Self::Load(error) => Answer::to_error(error),
        }
    }

    /// As [`SessionRejection::answer`], told to the log.
    #[cfg(any(feature = "axum", feature = "actix"))]
    pub(crate) fn told(&self) -> Answer {
        match self {
            // As with the layer's own commit: signed out elsewhere is nobody's mistake.
            Self::Load(error @ Error::Ended(_)) => {
                tracing::info!(%error, "a request went on without its session");
            }
            error => tracing::error!(%error, "a handler's session was not loaded, saved or ended"),
        }
        self.answer()
    }
}
