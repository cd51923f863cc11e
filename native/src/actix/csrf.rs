//! [`CsrfGuard`] as a middleware.

use core::future::{Ready, ready};

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    http::uri::Authority,
};

use super::gate::GateFuture;
use crate::csrf::CsrfGuard;

impl<S, B> Transform<S, ServiceRequest> for CsrfGuard
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = CsrfGuardService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(CsrfGuardService { inner, guard: self.clone() }))
    }
}

/// The service that [`CsrfGuard`] makes.
///
/// ```
/// use actix_web::dev::Transform;
/// use session_native::actix::CsrfGuard;
///
/// # use actix_web::{Error, dev::{Service, ServiceRequest, ServiceResponse}};
/// # async fn check<S: Service<ServiceRequest, Response = ServiceResponse, Error = Error>>(inner: S) {
/// let service = CsrfGuard::new().new_transform(inner).await;
/// # }
/// ```
pub struct CsrfGuardService<S> {
    inner: S,
    guard: CsrfGuard,
}

impl<S, B> Service<ServiceRequest> for CsrfGuardService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = GateFuture<S::Future, B>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let uri = request.uri();
        let authority = uri.authority().map(Authority::as_str);
        match self.guard.check(request.method().as_str(), uri.path(), authority, request.headers()) {
            None => GateFuture::open(self.inner.call(request)),
            Some(answer) => GateFuture::shut(request, &answer),
        }
    }
}
