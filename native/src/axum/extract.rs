//! Handlers ask for the session by extracting it.

use core::net::{IpAddr, SocketAddr};

#[cfg(feature = "dbsc")]
use ::axum::extract::Request;
use ::axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use session_core::SessionData;

use super::response;
#[cfg(feature = "dbsc")]
use crate::web::Answer;
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

/// Answers a browser that proves the device of its session (feature `dbsc`): the handler of the route that
/// [`DeviceBound::at`](crate::dbsc::DeviceBound::at) names, inside of the [`SessionLayer`](super::SessionLayer) and outside of
/// [`RequireAuth`](super::RequireAuth).
///
/// ```
/// use axum::{Router, routing::post};
/// use session_native::axum::prove_device;
///
/// let app: Router = Router::new().route("/device", post(prove_device::<()>));
/// ```
#[cfg(feature = "dbsc")]
pub async fn prove_device<T: SessionData>(request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match answer_device::<T>(&parts).await {
        Ok(answer) => response(&answer),
        Err(rejection) => rejection.into_response(),
    }
}

#[cfg(feature = "dbsc")]
async fn answer_device<T: SessionData>(parts: &Parts) -> Result<Answer, SessionRejection> {
    let arrival = parts.extensions.get::<Arrival<T>>().ok_or(SessionRejection::NoLayer)?;
    Ok(arrival.prove_device(peer(parts), &parts.headers).await?)
}

fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip())
}

/// The session of a request, loaded if it wasn't yet.
pub(super) async fn load<T: SessionData>(parts: &Parts) -> Result<SessionHandle<T>, SessionRejection> {
    let arrival = parts.extensions.get::<Arrival<T>>().ok_or(SessionRejection::NoLayer)?;
    let freshness = parts.extensions.get::<Freshness>().copied();
    Ok(arrival.session_with(peer(parts), &parts.headers, freshness).await?)
}
