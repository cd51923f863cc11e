//! Handlers ask for the session by extracting it.

use core::{net::IpAddr, pin::Pin};

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

/// Answers a browser that proves the device of its session (feature `dbsc`): the handler of the route that
/// [`DeviceBound::at`](crate::dbsc::DeviceBound::at) names, inside of the [`SessionLayer`](super::SessionLayer) and outside of
/// [`RequireAuth`](super::RequireAuth).
///
/// ```
/// use actix_web::{App, web};
/// use session_native::actix::prove_device;
///
/// let app = App::new().route("/device", web::post().to(prove_device::<()>));
/// ```
#[cfg(feature = "dbsc")]
pub async fn prove_device<T: SessionData>(request: HttpRequest) -> Result<HttpResponse, SessionRejection> {
    let arrival = arrival::<T>(&request)?;
    Ok(response(&arrival.prove_device(peer(&request), request.headers()).await?))
}

/// The extensions are not borrowed while the store works.
fn arrival<T: SessionData>(request: &HttpRequest) -> Result<Arrival<T>, SessionRejection> {
    request.extensions().get::<Arrival<T>>().cloned().ok_or(SessionRejection::NoLayer)
}

fn peer(request: &HttpRequest) -> Option<IpAddr> {
    request.peer_addr().map(|address| address.ip())
}

/// The session of a request, loaded if it wasn't yet.
pub(super) async fn load<T: SessionData>(
    request: &HttpRequest,
) -> Result<SessionHandle<T>, SessionRejection> {
    let arrival = arrival(request)?;
    let freshness = request.extensions().get::<Freshness>().copied();
    Ok(arrival.session_with(peer(request), request.headers(), freshness).await?)
}
