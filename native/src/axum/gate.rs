//! What [`RequireAuth`](super::RequireAuth) and [`CsrfGuard`](super::CsrfGuard) answer with: the inner service's response, or their own.

use core::{
    pin::Pin,
    task::{Context, Poll},
};

use ::axum::response::Response;
use pin_project_lite::pin_project;

pin_project! {
    /// The response of a service that may turn requests away.
    ///
    /// ```
    /// fn is_future<F: Future>(_: F) {}
    /// # fn check<F, E>(future: session_native::axum::GateFuture<F, E>)
    /// # where F: Future<Output = Result<axum::response::Response, E>> {
    /// is_future(future);
    /// # }
    /// ```
    pub struct GateFuture<F, E> {
        #[pin]
        state: State<F, E>,
    }
}

type Checked<E> = Pin<Box<dyn Future<Output = Result<Response, E>> + Send>>;

pin_project! {
    #[project = Projected]
    enum State<F, E> {
        Open { #[pin] future: F },
        Shut { response: Option<Response> },
        Checking { checked: Checked<E> },
    }
}

impl<F, E> GateFuture<F, E> {
    /// Lets the request through.
    pub(super) const fn open(future: F) -> Self {
        Self { state: State::Open { future } }
    }

    /// Turns the request away.
    pub(super) const fn shut(response: Response) -> Self {
        Self { state: State::Shut { response: Some(response) } }
    }

    /// Whether the request gets through has to be found out.
    pub(super) fn checking(checked: impl Future<Output = Result<Response, E>> + Send + 'static) -> Self {
        Self { state: State::Checking { checked: Box::pin(checked) } }
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for GateFuture<F, E> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projected::Open { future } => future.poll(context),
            Projected::Shut { response } => {
                Poll::Ready(Ok(response.take().expect("polled after it was ready")))
            }
            Projected::Checking { checked } => checked.as_mut().poll(context),
        }
    }
}
