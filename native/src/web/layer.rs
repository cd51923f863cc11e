//! A request's session from its arrival to its response.

use core::net::IpAddr;
use std::sync::Arc;

use session_core::{Client, SessionData};

use super::{Answer, Ending, Headers};
use crate::{
    backend::Backend,
    client::TrustedProxies,
    error::Error,
    handle::{Provider, SessionHandle, Slot},
    sessions::Sessions,
    store::Freshness,
};

/// Gives every request a session, and commits it before the response's headers leave.
///
/// With feature `axum` it is a tower layer, with feature `actix` a middleware of actix-web; see [`axum`](crate::axum) and `actix`.
/// Other frameworks call [`SessionLayer::arrive`].
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

    /// How old the answer of a cache may be; [`Freshness::Cached`] by default. With axum and actix-web a single route overrides it with an
    /// extension of the request:
    ///
    #[cfg_attr(feature = "axum", doc = "```")]
    #[cfg_attr(not(feature = "axum"), doc = "```ignore")]
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

    /// A request has arrived. Costs an allocation, and nothing more until a handler wants the session.
    #[must_use]
    pub fn arrive(&self) -> Arrival<T> {
        let slot = Slot::new(Arc::clone(&self.provider));
        Arrival { slot: Arc::new(slot), proxies: Arc::clone(&self.proxies), freshness: self.freshness }
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

/// The place of one request's session: loaded when it is first asked for, committed once when the handler is done. Clones are the same place;
/// one of them usually waits in the request's extensions.
///
/// ```
/// use session_native::{Config, MemoryStore, OsRandom, Secret, Sessions, web::SessionLayer};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sessions = Sessions::<(), _>::new(Config::testing(Secret::generate(&OsRandom)?), MemoryStore::new())?;
/// let layer = SessionLayer::new(sessions);
///
/// let (request, mut response) = (http::Request::new(()), http::Response::new("signed in"));
/// let arrival = layer.arrive();
/// let session = arrival.session(None, request.headers()).await?; // in the handler: `None` is the peer's address
/// session.authenticate("42");
///
/// let ending = arrival.finish().await;
/// assert!(ending.failure().is_none());
/// ending.write(response.headers_mut());
/// assert_eq!(response.headers()["vary"], "Cookie");
/// assert!(response.headers().contains_key("set-cookie"));
/// # Ok(())
/// # }
/// ```
pub struct Arrival<T> {
    slot: Arc<Slot<T>>,
    proxies: Arc<TrustedProxies>,
    freshness: Freshness,
}

impl<T: SessionData> Arrival<T> {
    /// The request's session, loaded unless it was before. `peer` is the address of the connection, `headers` are the request's.
    ///
    /// # Errors
    /// As [`Sessions::load`]: answer with [`Answer::to_error`].
    pub async fn session(
        &self,
        peer: Option<IpAddr>,
        headers: &impl Headers,
    ) -> Result<SessionHandle<T>, Error> {
        self.session_with(peer, headers, None).await
    }

    /// As [`Arrival::session`], for a route that says how old the answer of a cache may be.
    ///
    /// # Errors
    /// As [`Arrival::session`].
    pub async fn session_with(
        &self,
        peer: Option<IpAddr>,
        headers: &impl Headers,
        freshness: Option<Freshness>,
    ) -> Result<SessionHandle<T>, Error> {
        let cookies: Vec<&[u8]> = headers.values("cookie").collect();
        let forwarded_for: Vec<&str> = headers
            .values("x-forwarded-for")
            .map(|value| core::str::from_utf8(value).unwrap_or_default())
            .collect();
        let client = Client {
            ip: self.proxies.client_ip(peer, forwarded_for),
            user_agent: headers.values("user-agent").next(),
        };
        Arc::clone(&self.slot).load(&cookies, &client, freshness.unwrap_or(self.freshness)).await
    }

    /// Whether a handler asked for the session. If not, the response needs nothing: neither a commit nor header fields.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.slot.is_loaded()
    }

    /// The handler is done: commits what it changed, whatever the status of its response is.
    pub async fn finish(self) -> Ending {
        let (cookie, committed) = self.slot.finish().await;
        let failure = match committed {
            Ok(()) => None,
            Err(error @ Error::Ended(_)) => {
                // Signed out elsewhere while the handler ran. Its answer was right when it was made, and nothing was brought back.
                tracing::info!(%error, "a change was dropped");
                None
            }
            Err(error) => {
                tracing::error!(%error, "a session was not saved");
                Some(Answer::to_error(&error))
            }
        };
        Ending { failure, cookie }
    }
}

impl<T> Clone for Arrival<T> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot), proxies: Arc::clone(&self.proxies), freshness: self.freshness }
    }
}
