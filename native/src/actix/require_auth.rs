//! [`RequireAuth`] as a middleware.

use core::future::{Ready, ready};
use std::rc::Rc;

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
};
use session_core::SessionData;

use super::{
    extract::load,
    gate::{GateFuture, turned_away},
};
use crate::web::RequireAuth;

impl<S, B, T> Transform<S, ServiceRequest> for RequireAuth<T>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
    T: SessionData,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = RequireAuthService<S, T>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(RequireAuthService { inner: Rc::new(inner), layer: self.clone() }))
    }
}

/// The service that [`RequireAuth`] makes.
///
/// ```
/// use actix_web::dev::Transform;
/// use session_native::actix::RequireAuth;
///
/// # use actix_web::{Error, dev::{Service, ServiceRequest, ServiceResponse}};
/// # async fn check<S: Service<ServiceRequest, Response = ServiceResponse, Error = Error> + 'static>(inner: S) {
/// let service = RequireAuth::<()>::unauthorized().new_transform(inner).await;
/// # }
/// ```
pub struct RequireAuthService<S, T> {
    inner: Rc<S>,
    layer: RequireAuth<T>,
}

impl<S, B, T> Service<ServiceRequest> for RequireAuthService<S, T>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
    T: SessionData,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = GateFuture<S::Future, B>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        if self.layer.is_public(request.path()) {
            return GateFuture::open(self.inner.call(request));
        }
        let (inner, layer) = (Rc::clone(&self.inner), self.layer.clone());
        GateFuture::checking(async move {
            let refused = match load::<T>(request.request()).await {
                Ok(session) => {
                    let wanted = request.uri().path_and_query().map_or("/", |wanted| wanted.as_str());
                    layer.check(&session, request.method().as_str(), wanted)
                }
                Err(rejection) => Some(rejection.told()),
            };
            match refused {
                None => Ok(inner.call(request).await?.map_into_left_body()),
                Some(answer) => Ok(turned_away(request, &answer)),
            }
        })
    }
}
