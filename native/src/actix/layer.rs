//! The middleware: a place for the session on the way in, one commit on the way out.

use core::{
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::{
    Error, HttpMessage as _,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    error::InternalError,
};
use pin_project_lite::pin_project;
use session_core::SessionData;

use super::response;
use crate::web::{Arrival, Ending, SessionLayer};

impl<S, B, T> Transform<S, ServiceRequest> for SessionLayer<T>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
    T: SessionData,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = SessionService<S, T>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(SessionService { inner, layer: self.clone() }))
    }
}

/// The service that [`SessionLayer`] makes.
///
/// ```
/// use actix_web::dev::Transform;
/// use session_native::{Config, MemoryStore, OsRandom, Secret, Sessions, actix::SessionLayer};
///
/// # use actix_web::{Error, dev::{Service, ServiceRequest, ServiceResponse}};
/// # async fn check<S: Service<ServiceRequest, Response = ServiceResponse, Error = Error>>(inner: S) {
/// # let config = Config::testing(Secret::generate(&OsRandom).unwrap());
/// let sessions = Sessions::<(), _>::new(config, MemoryStore::new()).unwrap();
/// let service = SessionLayer::new(sessions).new_transform(inner).await;
/// # }
/// ```
pub struct SessionService<S, T> {
    inner: S,
    layer: SessionLayer<T>,
}

impl<S, B, T> Service<ServiceRequest> for SessionService<S, T>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
    T: SessionData,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future, T, B>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let arrival = self.layer.arrive();
        request.extensions_mut().insert(arrival.clone());
        ResponseFuture { state: State::Handling { future: self.inner.call(request), arrival: Some(arrival) } }
    }
}

pin_project! {
    /// The response of a [`SessionService`].
    ///
    /// ```
    /// use actix_web::{Error, body::{BoxBody, EitherBody}, dev::ServiceResponse};
    ///
    /// fn is_future<F: Future<Output = Result<ServiceResponse<EitherBody<BoxBody>>, Error>>>(_: F) {}
    /// # fn check<F>(future: session_native::actix::ResponseFuture<F, (), BoxBody>)
    /// # where F: Future<Output = Result<ServiceResponse, Error>> {
    /// is_future(future);
    /// # }
    /// ```
    pub struct ResponseFuture<F, T, B> {
        #[pin]
        state: State<F, T, B>,
    }
}

/// Only a request that changed its session pays for the box.
type Commit = Pin<Box<dyn Future<Output = Ending> + Send>>;

/// What came of the request: an error is a response that isn't made yet.
type Handled<B> = Result<ServiceResponse<B>, Error>;

pin_project! {
    #[project = Projected]
    enum State<F, T, B> {
        Handling { #[pin] future: F, arrival: Option<Arrival<T>> },
        Committing { commit: Commit, handled: Option<Handled<B>> },
    }
}

impl<F, T, B> Future for ResponseFuture<F, T, B>
where
    F: Future<Output = Handled<B>>,
    T: SessionData,
    B: MessageBody,
{
    type Output = Handled<EitherBody<B>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                Projected::Handling { future, arrival } => {
                    let handled = ready!(future.poll(context));
                    let touched = arrival.take().filter(Arrival::is_touched);
                    let Some(arrival) = touched else {
                        return Poll::Ready(handled.map(ServiceResponse::map_into_left_body));
                    };
                    if let Some(ending) = arrival.settled() {
                        return Poll::Ready(finish(ending, handled));
                    }
                    let commit = Box::pin(arrival.finish());
                    state.set(State::Committing { commit, handled: Some(handled) });
                }
                Projected::Committing { commit, handled } => {
                    let ending = ready!(commit.as_mut().poll(context));
                    let handled = handled.take().expect("polled after it was ready");
                    return Poll::Ready(finish(ending, handled));
                }
            }
        }
    }
}

/// Puts the outcome of the commit into the response.
fn finish<B: MessageBody>(ending: Ending, handled: Handled<B>) -> Handled<EitherBody<B>> {
    let failure = ending.failure().map(response);
    match handled {
        Ok(handled) => {
            let mut sent = match failure {
                None => handled.map_into_left_body(),
                Some(failure) => handled.into_response(failure).map_into_right_body(),
            };
            ending.write(sent.headers_mut());
            Ok(sent)
        }
        // A layer inside of this one failed. Its response carries the cookie as well: what was committed stands.
        Err(error) => {
            let mut sent = failure.unwrap_or_else(|| error.error_response());
            ending.write(sent.headers_mut());
            Err(InternalError::from_response(error, sent).into())
        }
    }
}
