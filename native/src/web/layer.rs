//! A request's session from its arrival to its response.

use core::{fmt, net::IpAddr};
use std::sync::Arc;

use session_core::{Client, SessionData};

use super::{Answer, Ending, Headers};
use crate::{
    backend::Backend,
    client::TrustedProxies,
    error::Error,
    handle::{CookieHeaders, SessionHandle, Settings, Slot},
    sessions::Sessions,
    store::Freshness,
};
#[cfg(feature = "dbsc")]
use crate::{dbsc::fields, sessions::Shown};

/// Gives every request a session, and commits it before the response's headers leave.
///
/// With feature `axum` it is a tower layer, with feature `actix` a middleware of actix-web; see [`axum`](crate::axum) and `actix`.
/// Other frameworks call [`SessionLayer::arrive`].
pub struct SessionLayer<T> {
    settings: Arc<Settings<T>>,
}

impl<T: SessionData> SessionLayer<T> {
    /// With the sessions of a provider.
    pub fn new<B: Backend>(sessions: Sessions<T, B>) -> Self {
        let (proxies, freshness) = (TrustedProxies::default(), Freshness::default());
        Self { settings: Arc::new(Settings { provider: Arc::new(sessions), proxies, freshness }) }
    }

    /// Believes what these proxies say about the client's address; by default nobody is believed.
    #[must_use]
    pub fn trusted_proxies(self, proxies: TrustedProxies) -> Self {
        let Settings { provider, freshness, .. } = &*self.settings;
        let settings = Settings { provider: Arc::clone(provider), proxies, freshness: *freshness };
        Self { settings: Arc::new(settings) }
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
    /// If a guard around the route has asked before the extension is there, and got an answer from memory, the store is asked again for the route: a
    /// session that has ended by then is [`Error::Ended`], 401.
    #[must_use]
    pub fn freshness(self, freshness: Freshness) -> Self {
        let Settings { provider, proxies, .. } = &*self.settings;
        let settings = Settings { provider: Arc::clone(provider), proxies: proxies.clone(), freshness };
        Self { settings: Arc::new(settings) }
    }

    /// A request has arrived. Costs an allocation, and nothing more until a handler wants the session.
    #[must_use]
    pub fn arrive(&self) -> Arrival<T> {
        Arrival { slot: Arc::new(Slot::new(Arc::clone(&self.settings))) }
    }
}

impl<T> Clone for SessionLayer<T> {
    fn clone(&self) -> Self {
        Self { settings: Arc::clone(&self.settings) }
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

    /// As [`Arrival::session`], for a route that says how old the answer of a cache may be: also if the session was loaded before, for one
    /// that didn't mind an older answer.
    ///
    /// # Errors
    /// As [`Arrival::session`]; [`Error::Ended`] if the session was loaded before, and has ended or was rotated elsewhere since: whoever let the request
    /// through on its word was mistaken. From then on it is an anonymous one.
    pub async fn session_with(
        &self,
        peer: Option<IpAddr>,
        headers: &impl Headers,
        freshness: Option<Freshness>,
    ) -> Result<SessionHandle<T>, Error> {
        let settings = &self.slot.settings;
        let freshness = freshness.unwrap_or(settings.freshness);
        if let Some(handle) = self.slot.handle(freshness) {
            return Ok(handle);
        }
        let mut cookies = headers.values("cookie");
        let first = cookies.next().unwrap_or_default();
        // A vector of nothing, nearly always.
        let others: Vec<&[u8]> = cookies.collect();
        let client = client_of(settings, peer, headers);
        self.slot.load(CookieHeaders { first, others: &others }, &client, freshness).await?;
        Ok(self.slot.handle(freshness).expect("a slot whose load succeeded is loaded as fresh as that"))
    }

    /// Answers a browser that proves the device of its session: for the route that [`DeviceBound::at`](crate::dbsc::DeviceBound::at) names, method
    /// `POST`. No other handler is called, and the session needn't be asked for.
    ///
    /// ```
    /// use session_native::{
    ///     Config, MemoryStore, OsRandom, Secret, Sessions, dbsc::DeviceBound, web::SessionLayer,
    /// };
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bound = DeviceBound::at("/device", MemoryStore::new());
    /// let config = Config::testing(Secret::generate(&OsRandom)?);
    /// let layer = SessionLayer::new(Sessions::<(), _>::new(config, MemoryStore::new())?.device_bound(bound)?);
    ///
    /// let (request, mut response) = (http::Request::new(()), http::Response::new(String::new()));
    /// let answer = layer.arrive().prove_device(None, request.headers()).await?;
    /// *response.status_mut() = http::StatusCode::from_u16(answer.status())?;
    /// answer.write(response.headers_mut());
    /// *response.body_mut() = answer.text().to_owned();
    /// assert_eq!(response.status(), 401); // no session, no device
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Sessions::load`]: answer with [`Answer::to_error`], and the browser tries again later.
    #[cfg(feature = "dbsc")]
    pub async fn prove_device(&self, peer: Option<IpAddr>, headers: &impl Headers) -> Result<Answer, Error> {
        let settings = &self.slot.settings;
        let cookies: Vec<&[u8]> = headers.values("cookie").collect();
        let string = |name| headers.values(name).next().map(fields::string);
        let shown = Shown { session: string(fields::SESSION_ID), proof: string(fields::RESPONSE) };
        settings.provider.prove_device(cookies, &client_of(settings, peer, headers), shown).await
    }

    /// Whether a handler asked for the session. If not, the response needs nothing: neither a commit nor header fields.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.slot.is_loaded()
    }

    /// The ending of a request that changed nothing, as most do: there is nothing to wait for, and [`Arrival::finish`] needn't be called.
    #[must_use]
    pub fn settled(&self) -> Option<Ending> {
        self.slot.is_settled().then_some(Ending {
            failure: None,
            cookie: None,
            #[cfg(feature = "dbsc")]
            device_offer: None,
        })
    }

    /// The handler is done: commits what it changed, whatever the status of its response is.
    pub async fn finish(self) -> Ending {
        let (cookie, committed) = self.slot.finish().await;
        #[cfg(feature = "dbsc")]
        let device_offer = if committed.is_ok() { self.slot.device_offer().await } else { None };
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
        Ending {
            failure,
            cookie,
            #[cfg(feature = "dbsc")]
            device_offer,
        }
    }
}

fn client_of<'a, T>(settings: &Settings<T>, peer: Option<IpAddr>, headers: &'a impl Headers) -> Client<'a> {
    Client {
        ip: settings.proxies.client_ip_of(peer, headers),
        user_agent: headers.values("user-agent").next(),
    }
}

impl<T> Clone for Arrival<T> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot) }
    }
}

/// Shows no key and no session.
impl<T> fmt::Debug for SessionLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer").field("freshness", &self.settings.freshness).finish_non_exhaustive()
    }
}
