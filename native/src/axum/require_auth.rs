//! [`RequireAuth`] as a tower layer.

use core::task::{Context, Poll};

use ::axum::{
    extract::OriginalUri,
    http::Request,
    response::{IntoResponse as _, Response},
};
use session_core::SessionData;
use tower_layer::Layer;
use tower_service::Service;

use super::{extract::load, gate::GateFuture, response};
use crate::web::RequireAuth;

impl<S, T> Layer<S> for RequireAuth<T> {
    type Service = RequireAuthService<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireAuthService { inner, layer: self.clone() }
    }
}

/// The service that [`RequireAuth`] makes.
///
/// ```
/// use session_native::axum::RequireAuth;
/// use tower_layer::Layer;
///
/// # struct Inner;
/// let service = RequireAuth::<()>::unauthorized().layer(Inner);
/// ```
pub struct RequireAuthService<S, T> {
    inner: S,
    layer: RequireAuth<T>,
}

impl<S: Clone, T> Clone for RequireAuthService<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, T, RequestBody> Service<Request<RequestBody>> for RequireAuthService<S, T>
where
    S: Service<Request<RequestBody>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    T: SessionData,
    RequestBody: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = GateFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        // A nested router sees less than the whole address.
        let original = request.extensions().get().map(|OriginalUri(uri)| uri);
        let uri = original.unwrap_or_else(|| request.uri());
        if self.layer.is_public(uri.path()) {
            return GateFuture::open(self.inner.call(request));
        }
        let uri = uri.clone();
        // The clone stays behind; the service that was polled ready is the one that is called.
        let clone = self.inner.clone();
        let mut inner = core::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        GateFuture::checking(async move {
            let (parts, body) = request.into_parts();
            let session = match load::<T>(&parts).await {
                Ok(session) => session,
                Err(rejection) => return Ok(rejection.into_response()),
            };
            let wanted = uri.path_and_query().map_or("/", |wanted| wanted.as_str());
            match layer.check(&session, parts.method.as_str(), wanted) {
                None => inner.call(Request::from_parts(parts, body)).await,
                Some(answer) => Ok(response(&answer)),
            }
        })
    }
}
