//! Handlers ask for the session by extracting it.

use core::net::SocketAddr;

use ::axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use session_core::SessionData;

use super::response;
use crate::{
    handle::SessionHandle,
    store::Freshness,
    web::{Arrival, SessionRejection},
};

impl IntoResponse for SessionRejection {
    fn into_response(self) -> Response {
        response(&self.told())
    }
}

impl<T: SessionData, S: Sync> FromRequestParts<S> for SessionHandle<T> {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, SessionRejection> {
        load(parts).await
    }
}

/// The session of a request, loaded if it wasn't yet.
pub(super) async fn load<T: SessionData>(parts: &Parts) -> Result<SessionHandle<T>, SessionRejection> {
    let arrival = parts.extensions.get::<Arrival<T>>().ok_or(SessionRejection::NoLayer)?;
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let freshness = parts.extensions.get::<Freshness>().copied();
    Ok(arrival.session_with(peer, &parts.headers, freshness).await?)
}
