//! Sessions in axum, as tower layers.
//!
//! [`SessionLayer`] gives every request a place for its session and commits it before the response leaves; handlers extract a
//! [`SessionHandle`](crate::SessionHandle); [`RequireAuth`] turns away visitors who aren't signed in.
//!
//! ```
//! use axum::{Router, routing::get};
//! use session_native::{
//!     Config, MemoryStore, OsRandom, Secret, SessionHandle, Sessions,
//!     axum::{RequireAuth, SessionLayer},
//! };
//!
//! async fn hello(session: SessionHandle<()>) -> String {
//!     format!("Hello, {}", session.subject().unwrap_or_default())
//! }
//!
//! let config = Config::production(Secret::generate(&OsRandom)?);
//! let sessions = Sessions::<(), _>::new(config, MemoryStore::new())?;
//! let app: Router = Router::new()
//!     .route("/hello", get(hello))
//!     .layer(RequireAuth::<()>::redirect_to("/login"))
//!     .layer(SessionLayer::new(sessions));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Other services that are built on tower and the `http` crate can use [`SessionLayer`] too, where a response's body can be made of a `String` (it
//! answers 503, 413 and 409 by itself): they get the handle by `SessionHandle::from_request_parts(&mut parts, &())`.
//!
//! # Deployment
//! - To bind sessions to addresses, serve with `into_make_service_with_connect_info::<SocketAddr>()`; behind proxies name them with
//!   [`SessionLayer::trusted_proxies`].
//! - A response of a handler that looked at the session gets `Vary: Cookie`, and `Cache-Control: private` unless the handler says
//!   otherwise; one that sets the cookie gets `Cache-Control: no-store` in any case. Put layers that cache outside of `SessionLayer`
//!   only if they obey both.
//! - If the store is down, a handler that wants the session answers 503 and the client's cookie is left alone: a failure is
//!   not a sign-out.
//! - A handler's answer stands where its session was ended or rotated by another request meanwhile: what it wrote is not saved, and no cookie is
//!   set. A field whose merge policy is `Fail`, changed by two requests at once, makes the later answer a 409.

mod extract;
mod layer;
mod require_auth;

pub use extract::SessionRejection;
pub use layer::{ResponseFuture, SessionLayer, SessionService};
pub use require_auth::{RequireAuth, RequireAuthService, local_redirect};

use core::time::Duration;

use ::axum::http::{HeaderValue, Response, StatusCode, header};

use crate::error::Error;

/// The answer when a session can't be had or saved. Gives nothing away, and leaves the client's cookie alone.
fn failure<B: From<String>>(error: &Error) -> Response<B> {
    let (status, message) = if error.is_too_large() {
        (StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
    } else if error.is_conflict() {
        (StatusCode::CONFLICT, "another request changed the same at the same time: load it again".into())
    } else if error.is_unavailable() {
        (StatusCode::SERVICE_UNAVAILABLE, "the session store is not available, try again later".into())
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "the session could not be loaded or saved".into())
    };
    let mut response = Response::new(message.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after(error)));
    }
    response
}

/// In whole seconds, as the header wants it.
fn retry_after(error: &Error) -> u64 {
    let wait = match error {
        Error::Store(error) => error.retry_after().unwrap_or_default(),
        _ => Duration::ZERO,
    };
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

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
