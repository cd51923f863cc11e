//! The layer: a place for the session on the way in, one commit on the way out.

use core::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::axum::{
    BoxError,
    body::{Body, Bytes, HttpBody},
    http::{Request, Response},
};
use pin_project_lite::pin_project;
use session_core::SessionData;
use tower_layer::Layer;
use tower_service::Service;

use super::response;
use crate::web::{Arrival, Ending, SessionLayer};

impl<S, T> Layer<S> for SessionLayer<T> {
    type Service = SessionService<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService { inner, layer: self.clone() }
    }
}

/// The service that [`SessionLayer`] makes.
///
/// Its responses have axum's [`Body`]: that of the inner service, or a short text when the session could not be saved.
///
/// ```
/// use session_native::{Config, MemoryStore, OsRandom, Secret, Sessions, axum::SessionLayer};
/// use tower_layer::Layer;
///
/// # struct Inner;
/// let sessions = Sessions::<(), _>::new(Config::testing(Secret::generate(&OsRandom)?), MemoryStore::new())?;
/// let service = SessionLayer::new(sessions).layer(Inner);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SessionService<S, T> {
    inner: S,
    layer: SessionLayer<T>,
}

impl<S: Clone, T> Clone for SessionService<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, T, RequestBody, ResponseBody> Service<Request<RequestBody>> for SessionService<S, T>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
    T: SessionData,
    ResponseBody: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, T>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let arrival = self.layer.arrive();
        request.extensions_mut().insert(arrival.clone());
        ResponseFuture { state: State::Handling { future: self.inner.call(request), arrival: Some(arrival) } }
    }
}

pin_project! {
    /// The response of a [`SessionService`].
    ///
    /// ```
    /// fn is_future<F: Future>(_: F) {}
    /// # fn check<F, E>(future: session_native::axum::ResponseFuture<F, ()>)
    /// # where F: Future<Output = Result<axum::response::Response, E>> {
    /// is_future(future);
    /// # }
    /// ```
    pub struct ResponseFuture<F, T> {
        #[pin]
        state: State<F, T>,
    }
}

/// Only a request that changed its session pays for the box.
type Commit = Pin<Box<dyn Future<Output = Ending> + Send>>;

pin_project! {
    #[project = Projected]
    enum State<F, T> {
        Handling { #[pin] future: F, arrival: Option<Arrival<T>> },
        Committing { commit: Commit, response: Option<Response<Body>> },
    }
}

impl<F, T, B, E> Future for ResponseFuture<F, T>
where
    F: Future<Output = Result<Response<B>, E>>,
    T: SessionData,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                Projected::Handling { future, arrival } => {
                    // axum's own body stays what it is.
                    let response = ready!(future.poll(context))?.map(Body::new);
                    let touched = arrival.take().filter(Arrival::is_touched);
                    let Some(arrival) = touched else { return Poll::Ready(Ok(response)) };
                    if let Some(ending) = arrival.settled() {
                        return Poll::Ready(Ok(finish(ending, response)));
                    }
                    let commit = Box::pin(arrival.finish());
                    state.set(State::Committing { commit, response: Some(response) });
                }
                Projected::Committing { commit, response: handled } => {
                    let ending = ready!(commit.as_mut().poll(context));
                    let handled = handled.take().expect("polled after it was ready");
                    return Poll::Ready(Ok(finish(ending, handled)));
                }
            }
        }
    }
}

/// Puts the outcome of the commit into the response.
fn finish(ending: Ending, handled: Response<Body>) -> Response<Body> {
    let mut sent = ending.failure().map_or(handled, response);
    ending.write(sent.headers_mut());
    sent
}
