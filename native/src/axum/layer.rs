//! The layer: a place for the session on the way in, one commit on the way out.

use core::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use std::sync::Arc;

use ::axum::http::{HeaderMap, HeaderValue, Request, Response, header};
use pin_project_lite::pin_project;
use session_core::{SessionData, SetCookie};
use tower_layer::Layer;
use tower_service::Service;

use super::failure;
use crate::{
    backend::Backend,
    client::TrustedProxies,
    error::Error,
    handle::{Provider, Slot},
    sessions::Sessions,
    store::Freshness,
};

/// Gives every request a session, and commits it before the response's headers leave.
///
/// See the [module](super) for an example.
pub struct SessionLayer<T> {
    provider: Arc<dyn Provider<T>>,
    proxies: Arc<TrustedProxies>,
    freshness: Freshness,
}

impl<T: SessionData> SessionLayer<T> {
    /// With the sessions of a provider.
    pub fn new<B: Backend>(sessions: Sessions<T, B>) -> Self {
        Self { provider: Arc::new(sessions), proxies: Arc::default(), freshness: Freshness::default() }
    }

    /// Believes what these proxies say about the client's address; by default nobody is believed.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = Arc::new(proxies);
        self
    }

    /// How old the answer of a cache may be; [`Freshness::Cached`] by default. A single route overrides it with an extension of the request:
    ///
    /// ```
    /// use axum::{Extension, Router, routing::{get, post}};
    /// use session_native::{
    ///     Config, MemoryStore, OsRandom, Secret, SessionHandle, Sessions, axum::SessionLayer, store::Freshness,
    /// };
    ///
    /// async fn show(session: SessionHandle<()>) {}
    /// async fn pay(session: SessionHandle<()>) {}
    ///
    /// # let sessions = Sessions::<(), _>::new(Config::testing(Secret::generate(&OsRandom)?), MemoryStore::new())?;
    /// let app: Router = Router::new()
    ///     .route("/cart", get(show))
    ///     .route("/pay", post(pay).layer(Extension(Freshness::Linearizable)))
    ///     .layer(SessionLayer::new(sessions));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The first to ask for the session decides: a guard around the route that asks before the extension is there loads it for all.
    #[must_use]
    pub const fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }
}

impl<T> Clone for SessionLayer<T> {
    fn clone(&self) -> Self {
        Self {
            provider: Arc::clone(&self.provider),
            proxies: Arc::clone(&self.proxies),
            freshness: self.freshness,
        }
    }
}

impl<S, T> Layer<S> for SessionLayer<T> {
    type Service = SessionService<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService { inner, layer: self.clone() }
    }
}

/// What the layer puts into a request's extensions.
pub(super) struct Arrival<T> {
    pub(super) slot: Arc<Slot<T>>,
    pub(super) proxies: Arc<TrustedProxies>,
    pub(super) freshness: Freshness,
}

impl<T> Clone for Arrival<T> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot), proxies: Arc::clone(&self.proxies), freshness: self.freshness }
    }
}

/// The service that [`SessionLayer`] makes.
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
    ResponseBody: From<String>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, T, ResponseBody>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let slot = Arc::new(Slot::new(Arc::clone(&self.layer.provider)));
        let proxies = Arc::clone(&self.layer.proxies);
        let freshness = self.layer.freshness;
        request.extensions_mut().insert(Arrival { slot: Arc::clone(&slot), proxies, freshness });
        ResponseFuture { state: State::Handling { future: self.inner.call(request), slot: Some(slot) } }
    }
}

pin_project! {
    /// The response of a [`SessionService`].
    ///
    /// ```
    /// fn is_future<F: Future>(_: F) {}
    /// # fn check<F, E>(future: session_native::axum::ResponseFuture<F, (), String>)
    /// # where F: Future<Output = Result<axum::http::Response<String>, E>> {
    /// is_future(future);
    /// # }
    /// ```
    pub struct ResponseFuture<F, T, B> {
        #[pin]
        state: State<F, T, B>,
    }
}

type Outcome = (Option<SetCookie>, Result<(), Error>);
type Commit = Pin<Box<dyn Future<Output = Outcome> + Send>>;

pin_project! {
    #[project = Projected]
    enum State<F, T, B> {
        Handling { #[pin] future: F, slot: Option<Arc<Slot<T>>> },
        Committing { commit: Commit, response: Option<Response<B>> },
    }
}

impl<F, T, B, E> Future for ResponseFuture<F, T, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    T: SessionData,
    B: From<String>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                Projected::Handling { future, slot } => {
                    let response = ready!(future.poll(context))?;
                    let touched = slot.take().filter(|slot| slot.is_loaded());
                    let Some(slot) = touched else { return Poll::Ready(Ok(response)) };
                    let commit = Box::pin(async move { slot.finish().await });
                    state.set(State::Committing { commit, response: Some(response) });
                }
                Projected::Committing { commit, response } => {
                    let outcome = ready!(commit.as_mut().poll(context));
                    let response = response.take().expect("polled after it was ready");
                    return Poll::Ready(Ok(finish(response, outcome)));
                }
            }
        }
    }
}

/// Puts the outcome of the commit into the response.
fn finish<B: From<String>>(mut response: Response<B>, (cookie, committed): Outcome) -> Response<B> {
    match committed {
        Ok(()) => {}
        Err(error @ Error::Ended(_)) => {
            // Signed out elsewhere while the handler ran. Its answer was right when it was made, and nothing was brought back.
            tracing::info!(%error, "a change was dropped");
        }
        Err(error) => {
            tracing::error!(%error, "a session was not saved");
            response = failure(&error);
        }
    }
    let headers = response.headers_mut();
    vary_by_cookie(headers);
    match cookie.map(|cookie| HeaderValue::try_from(cookie.into_string())) {
        Some(Ok(cookie)) => {
            headers.append(header::SET_COOKIE, cookie);
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        // A cookie is made of a checked name, a token and checked attributes: always a valid header value.
        Some(Err(_)) => debug_assert!(false, "an invalid Set-Cookie was built"),
        None => {
            headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private"));
        }
    }
    response
}

fn vary_by_cookie(headers: &mut HeaderMap) {
    let listed = headers.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').map(str::trim).any(|name| name == "*" || name.eq_ignore_ascii_case("cookie"))
    });
    if !listed {
        headers.append(header::VARY, HeaderValue::from_static("Cookie"));
    }
}
