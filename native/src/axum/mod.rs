//! Sessions in axum, and in any other framework that is built on tower.
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
//! # Deployment
//! - To bind sessions to addresses, serve with `into_make_service_with_connect_info::<SocketAddr>()`; behind proxies name them with
//!   [`SessionLayer::trusted_proxies`].
//! - A response of a handler that looked at the session gets `Vary: Cookie`, and `Cache-Control: private` unless the handler says
//!   otherwise; one that sets the cookie gets `Cache-Control: no-store` in any case. Put layers that cache outside of `SessionLayer`
//!   only if they obey both.
//! - If the store is down, a handler that wants the session answers 503 and the client's cookie is left alone: a failure is
//!   not a sign-out.

mod extract;
mod layer;
mod require_auth;

pub use extract::SessionRejection;
pub use layer::{ResponseFuture, SessionLayer, SessionService};
pub use require_auth::{RequireAuth, RequireAuthService, local_redirect};

use ::axum::http::StatusCode;

use crate::error::Error;

/// How a failure is told to a client: a status, and a message that gives nothing away.
fn status_of(error: &Error) -> (StatusCode, String) {
    if error.is_too_large() {
        return (StatusCode::PAYLOAD_TOO_LARGE, error.to_string());
    }
    if error.is_unavailable() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "the session store is not available, try again later".into(),
        );
    }
    (StatusCode::INTERNAL_SERVER_ERROR, "the session could not be loaded or saved".into())
}
