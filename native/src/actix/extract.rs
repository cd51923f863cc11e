//! Handlers ask for the session by extracting it.

use core::pin::Pin;

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest, HttpResponse, ResponseError, dev::Payload, http::StatusCode,
};
use session_core::SessionData;

use super::response;
use crate::{
    handle::SessionHandle,
    store::Freshness,
    web::{Arrival, SessionRejection},
};

impl ResponseError for SessionRejection {
    fn status_code(&self) -> StatusCode {
        super::status(&self.answer())
    }

    fn error_response(&self) -> HttpResponse {
        response(&self.told())
    }
}

impl<T: SessionData> FromRequest for SessionHandle<T> {
    type Error = SessionRejection;
    type Future = Pin<Box<dyn Future<Output = Result<Self, SessionRejection>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { load(&request).await })
    }
}

/// The session of a request, loaded if it wasn't yet.
pub(super) async fn load<T: SessionData>(
    request: &HttpRequest,
) -> Result<SessionHandle<T>, SessionRejection> {
    // The extensions are not borrowed while the store works.
    let arrival = request.extensions().get::<Arrival<T>>().cloned().ok_or(SessionRejection::NoLayer)?;
    let peer = request.peer_addr().map(|address| address.ip());
    let freshness = request.extensions().get::<Freshness>().copied();
    Ok(arrival.session_with(peer, request.headers(), freshness).await?)
}
