//! Sessions in actix-web, as middleware. Names and behaviour are those of [`axum`](crate::axum).
//!
//! [`SessionLayer`] gives every request a place for its session and commits it before the response leaves; handlers extract a
//! [`SessionHandle`](crate::SessionHandle); [`RequireAuth`] turns away visitors who aren't signed in, [`CsrfGuard`] requests that other
//! sites' pages make browsers send.
//!
//! ```
//! use actix_web::{App, web};
//! use session_native::{
//!     Config, MemoryStore, OsRandom, Secret, SessionHandle, Sessions,
//!     actix::{CsrfGuard, RequireAuth, SessionLayer},
//! };
//!
//! async fn hello(session: SessionHandle<()>) -> String {
//!     format!("Hello, {}", session.subject().unwrap_or_default())
//! }
//!
//! let config = Config::production(Secret::generate(&OsRandom)?);
//! // Made once, outside of `HttpServer::new`'s closure: that one runs for each worker.
//! let sessions = Sessions::<(), _>::new(config, MemoryStore::new())?;
//! let app = move || {
//!     App::new()
//!         .route("/hello", web::get().to(hello))
//!         .wrap(RequireAuth::<()>::redirect_to("/login"))
//!         .wrap(SessionLayer::new(sessions.clone()))
//!         .wrap(CsrfGuard::new())
//! };
//! # app();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Deployment
//! - The address of a client is that of the connection; behind proxies name them with [`SessionLayer::trusted_proxies`]. Over Unix domain sockets
//!   there is none: sessions that are bound to addresses then fail with [`Error::ClientAddressUnknown`](crate::Error::ClientAddressUnknown).
//! - Headers, statuses and failures are those of [`axum`](crate::axum#deployment). An error that a middleware inside returns becomes a response
//!   that carries the session's cookie.

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

use actix_web::{HttpResponse, http::StatusCode};

use crate::web::Answer;
pub use crate::{
    csrf::CsrfGuard,
    web::{RequireAuth, SessionLayer, SessionRejection, local_redirect},
};

fn status(answer: &Answer) -> StatusCode {
    StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn response(answer: &Answer) -> HttpResponse {
    let mut response =
        HttpResponse::with_body(status(answer), answer.text().to_owned()).map_into_boxed_body();
    answer.write(response.headers_mut());
    response
}
