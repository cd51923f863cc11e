//! [`CsrfGuard`] as a tower layer.

use core::task::{Context, Poll};

use ::axum::{
    extract::OriginalUri,
    http::{Request, uri::Authority},
    response::Response,
};
use tower_layer::Layer;
use tower_service::Service;

use super::{gate::GateFuture, response};
use crate::csrf::CsrfGuard;

impl<S> Layer<S> for CsrfGuard {
    type Service = CsrfGuardService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CsrfGuardService { inner, guard: self.clone() }
    }
}

/// The service that [`CsrfGuard`] makes.
///
/// ```
/// use session_native::axum::CsrfGuard;
/// use tower_layer::Layer;
///
/// # struct Inner;
/// let service = CsrfGuard::new().layer(Inner);
/// ```
#[derive(Clone)]
pub struct CsrfGuardService<S> {
    inner: S,
    guard: CsrfGuard,
}

impl<S, RequestBody> Service<Request<RequestBody>> for CsrfGuardService<S>
where
    S: Service<Request<RequestBody>, Response = Response>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = GateFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let original = request.extensions().get().map(|OriginalUri(uri)| uri);
        let uri = original.unwrap_or_else(|| request.uri());
        let authority = uri.authority().map(Authority::as_str);
        match self.guard.check(request.method().as_str(), uri.path(), authority, request.headers()) {
            None => GateFuture::open(self.inner.call(request)),
            Some(answer) => GateFuture::shut(response(&answer)),
        }
    }
}
