//! What [`RequireAuth`](super::RequireAuth) and [`CsrfGuard`](super::CsrfGuard) answer with: the inner service's response, or their own.

use core::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
};
use pin_project_lite::pin_project;

use super::response;
use crate::web::Answer;

pin_project! {
    /// The response of a service that may turn requests away.
    ///
    /// ```
    /// use actix_web::{Error, body::{BoxBody, EitherBody}, dev::ServiceResponse};
    ///
    /// fn is_future<F: Future<Output = Result<ServiceResponse<EitherBody<BoxBody>>, Error>>>(_: F) {}
    /// # fn check<F>(future: session_native::actix::GateFuture<F, BoxBody>)
    /// # where F: Future<Output = Result<ServiceResponse, Error>> {
    /// is_future(future);
    /// # }
    /// ```
    pub struct GateFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

type Outcome<B> = Result<ServiceResponse<EitherBody<B>>, Error>;

pin_project! {
    #[project = Projected]
    enum State<F, B> {
        Open { #[pin] future: F },
        Shut { response: Option<ServiceResponse<EitherBody<B>>> },
        Checking { checked: Pin<Box<dyn Future<Output = Outcome<B>>>> },
    }
}

impl<F, B: MessageBody> GateFuture<F, B> {
    /// Lets the request through.
    pub(super) const fn open(future: F) -> Self {
        Self { state: State::Open { future } }
    }

    /// Turns the request away.
    pub(super) fn shut(request: ServiceRequest, answer: &Answer) -> Self {
        Self { state: State::Shut { response: Some(turned_away(request, answer)) } }
    }

    /// Whether the request gets through has to be found out.
    pub(super) fn checking(checked: impl Future<Output = Outcome<B>> + 'static) -> Self {
        Self { state: State::Checking { checked: Box::pin(checked) } }
    }
}

/// The response to a request that doesn't get through.
pub(super) fn turned_away<B>(request: ServiceRequest, answer: &Answer) -> ServiceResponse<EitherBody<B>> {
    request.into_response(response(answer)).map_into_right_body()
}

impl<F, B> Future for GateFuture<F, B>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>>,
    B: MessageBody,
{
    type Output = Outcome<B>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projected::Open { future } => future.poll(context).map_ok(ServiceResponse::map_into_left_body),
            Projected::Shut { response } => {
                Poll::Ready(Ok(response.take().expect("polled after it was ready")))
            }
            Projected::Checking { checked } => checked.as_mut().poll(context),
        }
    }
}
