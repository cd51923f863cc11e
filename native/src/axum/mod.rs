//! Sessions in axum, as tower layers.
//!
//! [`SessionLayer`] gives every request a place for its session and commits it before the response leaves; handlers extract a
//! [`SessionHandle`](crate::SessionHandle); [`RequireAuth`] turns away visitors who aren't signed in, [`CsrfGuard`] requests that other
//! sites' pages make browsers send.
//!
//! ```
//! use axum::{Router, routing::get};
//! use session_native::{
//!     Config, MemoryStore, OsRandom, Secret, SessionHandle, Sessions,
//!     axum::{CsrfGuard, RequireAuth, SessionLayer},
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
//!     .layer(SessionLayer::new(sessions))
//!     .layer(CsrfGuard::new());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Other services that are built on tower and the `http` crate can use [`SessionLayer`] too, whatever the body of their responses is; what comes
//! out has axum's body, because the layer answers 503, 413 and 409 by itself. They get the handle by
//! `SessionHandle::from_request_parts(&mut parts, &())`. Layers that change bodies (compression) can stand on either side.
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
//!   set. One that saves by itself ([`update_now`](crate::SessionHandle::update_now), [`commit`](crate::SessionHandle::commit)) hears of it, and returning
//!   that as [`SessionRejection`] answers 401. A field whose merge policy is `Fail`, changed by two requests at once, makes the later answer a 409.

mod csrf;
mod extract;
mod gate;
mod layer;
mod require_auth;

pub use csrf::CsrfGuardService;
#[cfg(feature = "dbsc")]
pub use extract::prove_device;
pub use gate::GateFuture;
pub use layer::{ResponseFuture, SessionService};
pub use require_auth::RequireAuthService;

use ::axum::{
    body::Body,
    http::{Response, StatusCode},
};

use crate::web::Answer;
pub use crate::{
    csrf::CsrfGuard,
    web::{RequireAuth, SessionLayer, SessionRejection, local_redirect},
};

fn response(answer: &Answer) -> Response<Body> {
    let text = answer.text();
    let mut response =
        Response::new(if text.is_empty() { Body::empty() } else { Body::from(text.to_owned()) });
    *response.status_mut() =
        StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.write(response.headers_mut());
    response
}
