//! The provider: makes, loads, saves and ends sessions.

#[cfg(feature = "dbsc")]
mod dbsc;
#[cfg(feature = "import")]
mod import;
mod save;
mod shared;
#[cfg(all(test, feature = "redis"))]
mod size;
mod turn;

use core::fmt;
use std::{sync::Arc, time::Instant};

#[cfg(feature = "dbsc")]
pub(crate) use dbsc::Shown;
use session_core::{
    Client, Config, Error as CoreError, Expiry, Key, MAX_CANDIDATES, OsRandom, RecordCodec, Rejection,
    Session, SessionData, SubjectTag, Timestamp, TokenCodec, Unreadable, cookies,
};
pub(crate) use shared::Shared;
use tracing::Instrument as _;
use turn::Queues;

use crate::{
    backend::{Backend, CookieHeld, Refusal, Stored},
    clock::{Clock, SystemClock},
    error::Error,
    event::{Event, EventKind, Listeners},
    observe::{Observed, Timings, count_error, span},
    store::{Freshness, Query, Record, Store},
};

/// The payload of a record; wiped when dropped.
pub(crate) type Plain = zeroize::Zeroizing<Vec<u8>>;

/// Makes, loads, saves and ends sessions with data `T`, kept by `B`: in the cookie ([`Sessions::cookie`]) or in a store
/// ([`Sessions::new`]).
///
/// Clones share everything. Nothing in it belongs to one request: every request has its own [`Session`].
///
/// A client's cookie is set when its session begins, is rotated or extended, and is removed by [`Sessions::destroy`] alone: a request that
/// comes with a dead token gets no cookie unless it begins a session or signs out, and if the token was replaced just now it begins none, because the
/// browser may have received a newer one meanwhile ([`Config::rotation_grace`]).
///
/// See the [crate's example](crate).
pub struct Sessions<T, B> {
    inner: Arc<Inner<T, B>>,
}

struct Inner<T, B> {
    shared: Shared<T>,
    backend: B,
}

/// How a session is to be loaded.
#[derive(Clone, Copy)]
struct Terms<'a> {
    client: &'a Client<'a>,
    freshness: Freshness,
    /// The sessions whose devices have proved themselves lately, as the request shows; `None` while it is about to prove its own.
    #[cfg(feature = "dbsc")]
    proven: Option<&'a [Key]>,
}

impl<'a> Terms<'a> {
    /// Of a request that shows nothing of its device.
    const fn new(client: &'a Client<'a>, freshness: Freshness) -> Self {
        Self {
            client,
            freshness,
            #[cfg(feature = "dbsc")]
            proven: Some(&[]),
        }
    }

    /// Whether it is a request of the user's. Browsers prove devices by themselves: that must not keep a session from its idle timeout.
    const fn is_visit(&self) -> bool {
        #[cfg(feature = "dbsc")]
        return self.proven.is_some();
        #[cfg(not(feature = "dbsc"))]
        true
    }
}

impl<T: SessionData, S: Store> Sessions<T, Stored<S>> {
    /// Sessions in a store.
    ///
    /// # Errors
    /// [`CoreError::Config`] if the configuration contradicts itself.
    pub fn new(config: Config, store: S) -> Result<Self, Error> {
        // Encrypting what doesn't leave the process would only cost time.
        let away = !S::IN_PROCESS;
        let codec = RecordCodec::new(&config.keys)
            .encrypted(config.encrypt_at_rest && away)
            .deflated_from(config.compress_records_from.filter(|_| away));
        Self::with_backend(config, Stored { store: Observed::new(store), codec })
    }

    pub(crate) fn decode(&self, key: &Key, record: &Record) -> Result<Plain, Unreadable> {
        self.inner.backend.decode(key, &record.payload[..])
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.inner.backend.store.store
    }

    /// The store, whose commands are measured.
    pub(crate) fn observed(&self) -> &Observed<S> {
        &self.inner.backend.store
    }
}

impl<T: SessionData> Sessions<T, CookieHeld> {
    /// Sessions in the cookie itself.
    ///
    /// # Errors
    /// [`CoreError::Config`] if the configuration contradicts itself.
    pub fn cookie(config: Config) -> Result<Self, Error> {
        Self::with_backend(config, CookieHeld::default())
    }

    /// Signs a subject out everywhere, as far as this process serves it: every token that was authenticated before now is refused here.
    /// See [`CookieHeld`] for what other processes know.
    #[allow(clippy::unused_async, reason = "the same call as with a store")]
    pub async fn revoke_subject(&self, subject: &str) -> Result<(), Error> {
        let shared = &self.inner.shared;
        let now = shared.now();
        // A session authenticated with the old epoch may live that long from now (`Session::remember_for`), and not longer.
        let until = now + Expiry::LONGEST;
        let subject = SubjectTag::new(subject);
        self.inner.backend.revoke_subject(subject, until, now);
        self.tell(EventKind::SubjectRevoked, None, Some(subject));
        Ok(())
    }
}

impl<T: SessionData, S: Query> Sessions<T, Stored<S>> {
    /// Signs a subject out everywhere: in one step every session of the subject that was authenticated before is dead, on every node.
    /// To spare the session of this request, [`Session::authenticate`] it anew afterwards and commit.
    ///
    /// # Errors
    /// [`Error::Store`]: the sessions may still be alive.
    pub async fn revoke_subject(&self, subject: &str) -> Result<(), Error> {
        let subject = SubjectTag::new(subject);
        self.inner.backend.store.revoke_subject(&subject).await?;
        self.tell(EventKind::SubjectRevoked, None, Some(subject));
        Ok(())
    }
}

impl<T: SessionData, B: Backend> Sessions<T, B> {
    fn with_backend(config: Config, backend: B) -> Result<Self, Error> {
        config.validate()?;
        let codec = TokenCodec::new(&config.keys, B::TOKEN, &config.cookie.name);
        let random = config.random.clone().unwrap_or_else(|| Arc::new(OsRandom));
        let shared = Shared {
            config,
            clock: Arc::new(SystemClock),
            random,
            codec,
            listeners: Listeners::new(B::NAME),
            timings: Timings::new(B::NAME),
            queues: Queues::default(),
            #[cfg(feature = "import")]
            imports: Vec::new(),
            #[cfg(feature = "dbsc")]
            devices: None,
        };
        Ok(Self { inner: Arc::new(Inner { shared, backend }) })
    }

    /// Sets the clock: for tests. A [`MemoryStore`](crate::MemoryStore) has one of its own.
    ///
    /// # Panics
    /// If the provider was cloned before: it is configured first and shared then.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.shared_mut().clock = Arc::new(clock);
        self
    }

    /// Adds a listener, which hears of every [`Event`] after it happened. One that panics undoes nothing.
    ///
    /// # Panics
    /// If the provider was cloned before: it is configured first and shared then.
    #[must_use]
    pub fn on_event(mut self, listener: impl Fn(&Event<'_, T>) + Send + Sync + 'static) -> Self {
        self.shared_mut().listeners.add(Box::new(listener));
        self
    }

    /// Tells of what was done from outside of a request.
    pub(crate) fn tell(&self, kind: EventKind, key: Option<Key>, subject: Option<SubjectTag>) {
        self.inner.shared.listeners.tell_all(&Event { kind, key, subject, session: None });
    }

    fn shared_mut(&mut self) -> &mut Shared<T> {
        let inner = Arc::get_mut(&mut self.inner);
        &mut inner.expect("configure `Sessions` before it is cloned").shared
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.shared.config
    }

    /// The time by the provider's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.shared.now()
    }

    /// A new session, which the next commit stores, whether anything was written to it or not. (What [`Sessions::load`] gives to a visitor without a
    /// cookie is stored only when something was.)
    #[must_use]
    pub fn create(&self) -> Session<T> {
        self.anonymous(None).wanted()
    }

    /// A new session as [`Sessions::create`] makes it, bound to a client if the configuration binds sessions.
    ///
    /// # Errors
    /// [`Error::ClientAddressUnknown`].
    pub fn create_for(&self, client: &Client<'_>) -> Result<Session<T>, Error> {
        let mut session = self.create();
        self.bind(&mut session, client)?;
        Ok(session)
    }

    /// The session that a request's `Cookie` header field names; an anonymous one if it names none, or none that is alive:
    /// [`Session::rejection`] says why.
    ///
    /// A forged, foreign or expired token costs at most one MAC check, and no store call.
    ///
    /// # Errors
    /// [`Error::Store`]: nothing is known then, and the visitor must not be taken for an anonymous one.
    /// [`CoreError::Unreadable`] if the session is authentic and its data doesn't fit `T`
    /// (see [`Config::fail_on_unreadable`]).
    pub async fn load(
        &self,
        cookie_header: impl AsRef<[u8]> + Send,
        client: &Client<'_>,
    ) -> Result<Session<T>, Error> {
        self.load_from([cookie_header.as_ref()], client).await
    }

    /// As [`Sessions::load`], for a request with any number of `Cookie` header fields (HTTP/2 may split them).
    ///
    /// # Errors
    /// As [`Sessions::load`].
    pub async fn load_from<'h>(
        &self,
        cookie_headers: impl IntoIterator<Item = &'h [u8], IntoIter: Send> + Send,
        client: &Client<'_>,
    ) -> Result<Session<T>, Error> {
        self.load_with(cookie_headers, client, Freshness::default()).await
    }

    /// As [`Sessions::load_from`], and says how old the answer of a cache may be: before something that can't be undone, ask for
    /// [`Freshness::Linearizable`]. It makes no difference where there is no cache.
    ///
    /// # Errors
    /// As [`Sessions::load`].
    pub async fn load_with<'h>(
        &self,
        cookie_headers: impl IntoIterator<Item = &'h [u8], IntoIter: Send> + Send,
        client: &Client<'_>,
        freshness: Freshness,
    ) -> Result<Session<T>, Error> {
        self.load_boxed(cookie_headers, client, freshness).await.map(|session| *session)
    }

    pub(crate) async fn load_boxed<'h>(
        &self,
        cookie_headers: impl IntoIterator<Item = &'h [u8], IntoIter: Send> + Send,
        client: &Client<'_>,
        freshness: Freshness,
    ) -> Result<Box<Session<T>>, Error> {
        let terms = Terms::new(client, freshness);
        #[cfg(any(feature = "import", feature = "dbsc"))]
        if self.inner.shared.looks_at_other_cookies() {
            return Box::pin(self.load_by_all(cookie_headers.into_iter().collect(), terms)).await;
        }
        self.load_own(cookie_headers, terms).await
    }

    /// As [`Sessions::load_own`], with what the request's other cookies say: of sessions of another library, of its device.
    #[cfg(any(feature = "import", feature = "dbsc"))]
    async fn load_by_all(
        &self,
        cookie_headers: Vec<&[u8]>,
        terms: Terms<'_>,
    ) -> Result<Box<Session<T>>, Error> {
        #[cfg(feature = "import")]
        if let Some(session) = self.imported(&cookie_headers, terms.client).await? {
            return Ok(Box::new(session));
        }
        #[cfg(feature = "dbsc")]
        if let Some(devices) = &self.inner.shared.devices {
            let proven = devices.proven(&cookie_headers, self.now());
            return self.load_own(cookie_headers, Terms { proven: Some(&proven), ..terms }).await;
        }
        self.load_own(cookie_headers, terms).await
    }

    async fn load_own<'h>(
        &self,
        cookie_headers: impl IntoIterator<Item = &'h [u8], IntoIter: Send> + Send,
        terms: Terms<'_>,
    ) -> Result<Box<Session<T>>, Error> {
        let shared = &self.inner.shared;
        let name = &shared.config.cookie.name;
        let (mut rejection, mut refused) = (None, Vec::new());
        let candidates = cookie_headers.into_iter().flat_map(|header| cookies(header, name));
        for token in candidates.filter(|token| !token.is_empty()).take(MAX_CANDIDATES) {
            let begun = Instant::now();
            let span = span!("session.load", store = B::NAME);
            // In a box of its own, as is half of a commit: see `size`.
            match Box::pin(self.load_token(token, terms)).instrument(span).await {
                Ok(session) => {
                    shared.timings.load.record(begun.elapsed());
                    shared.listeners.tell(EventKind::Loaded, session.key(), Some(&session));
                    return Ok(session);
                }
                Err(Refusal { error: Error::Core(CoreError::Rejected(reason)), named }) => {
                    shared.listeners.tell(EventKind::of(reason), named.map(|named| named.key), None);
                    refused.push(named.filter(|_| reason.leaves_the_session_alive()));
                    // What an authentic token was refused for says more than that another one was rubbish; and next to a token that was
                    // replaced just now, no other may bring a cookie.
                    if reason == Rejection::Superseded
                        || rejection.is_none_or(|before: Rejection| !before.is_of_authentic_token())
                    {
                        rejection = Some(reason);
                    }
                }
                Err(Refusal { error, named }) => {
                    count_error(B::NAME, &error);
                    if !matches!(error, Error::Core(CoreError::Unreadable(_)))
                        || shared.config.fail_on_unreadable
                    {
                        return Err(error);
                    }
                    tracing::warn!(%error, "the client of a session goes on without it");
                    refused.push(named);
                }
            }
        }
        let mut session = Box::new(self.anonymous(rejection));
        refused.into_iter().for_each(|named| session.note_refused(named));
        self.bind(&mut session, terms.client)?;
        Ok(session)
    }

    async fn load_token(&self, token: &[u8], terms: Terms<'_>) -> Result<Box<Session<T>>, Refusal> {
        let shared = &self.inner.shared;
        let now = shared.now();
        let opened =
            shared.codec.open(token, now).map_err(|reason| Error::from(CoreError::Rejected(reason)))?;
        let sealed_with = opened.key_id();
        let mut session = self.inner.backend.load(shared, opened, now, terms.freshness).await?;
        self.bind(&mut session, terms.client).map_err(Refusal::of(session.named()))?;
        #[cfg(feature = "dbsc")]
        if shared.devices.is_some() {
            Box::pin(self.check_device(&session, terms)).await.map_err(Refusal::of(session.named()))?;
        }
        let expiry = &shared.config.expiry;
        let extension = expiry.extension(now, session.expires_at(), session.absolute_end());
        if let Some(extended) = extension.filter(|_| terms.is_visit()) {
            Box::pin(self.inner.backend.extend(&session, extended)).await?;
            session.extend_to(extended);
        }
        if sealed_with != shared.config.keys.sealing_key_id() {
            session.renew_token();
        }
        Ok(session)
    }

    fn bind(&self, session: &mut Session<T>, client: &Client<'_>) -> Result<(), Error> {
        let config = &self.inner.shared.config;
        let Some(policy) = &config.client_binding else { return Ok(()) };
        if policy.uses_ip() && client.ip.is_none() {
            return Err(Error::ClientAddressUnknown);
        }
        session.bind(policy, &config.keys, client).map_err(|rejection| CoreError::Rejected(rejection).into())
    }

    fn anonymous(&self, rejection: Option<Rejection>) -> Session<T> {
        let shared = &self.inner.shared;
        Session::anonymous(&shared.config.expiry, shared.now(), rejection)
    }
}

impl<T, B> Clone for Sessions<T, B> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

/// Shows no key and no session.
impl<T, B: Backend> fmt::Debug for Sessions<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cookie = &self.inner.shared.config.cookie.name;
        f.debug_struct("Sessions").field("store", &B::NAME).field("cookie", cookie).finish_non_exhaustive()
    }
}
