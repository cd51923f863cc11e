//! Handlers ask for the session by extracting it.

use std::{net::SocketAddr, sync::Arc};

use ::axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use session_core::{Client, SessionData};

use super::{failure, layer::Arrival};
use crate::{error::Error, handle::SessionHandle, store::Freshness};

/// Why a handler didn't get its session. Answers 503 with `Retry-After` if the store isn't available, else 500; the cookie is left alone.
///
/// ```
/// use axum::{http::StatusCode, response::IntoResponse};
/// use session_native::axum::SessionRejection;
///
/// assert_eq!(SessionRejection::NoLayer.into_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionRejection {
    /// The route isn't inside a `SessionLayer` with this data type.
    #[error("there is no `SessionLayer` with this data type around the route")]
    NoLayer,
    /// The session could not be loaded.
    #[error(transparent)]
    Load(#[from] Error),
}

impl IntoResponse for SessionRejection {
    fn into_response(self) -> Response {
        tracing::error!(error = %self, "no session for a handler");
        match self {
            Self::NoLayer => (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response(),
            Self::Load(error) => failure(&error),
        }
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
    let Arrival { slot, proxies, freshness } =
        parts.extensions.get::<Arrival<T>>().ok_or(SessionRejection::NoLayer)?;
    let freshness = parts.extensions.get::<Freshness>().unwrap_or(freshness);
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let forwarded_for: Vec<&str> = parts
        .headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    let client = Client {
        ip: proxies.client_ip(peer, forwarded_for),
        user_agent: parts.headers.get(header::USER_AGENT).map(HeaderValue::as_bytes),
    };
    let cookies: Vec<&[u8]> =
        parts.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    Ok(Arc::clone(slot).load(&cookies, &client, *freshness).await?)
}
