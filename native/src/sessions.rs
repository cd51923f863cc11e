//! The provider: makes, loads, saves and ends sessions.

use core::{marker::PhantomData, time::Duration};
use std::sync::{Arc, Mutex};

use session_core::{
    Client, Config, Error as CoreError, Key, Kind, MAX_CANDIDATES, OsRandom, Plaintext, Random, RecordCodec,
    Rejection, Session, SessionData, SetCookie, State, SubjectTag, Timestamp, TokenCodec, Unreadable,
    cookies, lifecycle::CommitContext,
};

use crate::{
    backend::{Backend, Cell, Change, CookieHeld, Stored, Theirs, Written},
    clock::{Clock, SystemClock},
    error::Error,
    event::{Event, EventKind, Listeners},
    store::{Query, Record, Store},
};

/// The payload of a record; wiped when dropped.
pub(crate) type Plain = zeroize::Zeroizing<Vec<u8>>;

/// Makes, loads, saves and ends sessions with data `T`, kept by `B`: in the cookie ([`Sessions::cookie`]) or in a store
/// ([`Sessions::new`]).
///
/// Clones share everything. Nothing in it belongs to one request: every request has its own [`Session`].
///
/// A client's cookie is set when its session begins, is rotated or extended, and is removed by [`Sessions::destroy`] alone: a request that
/// comes with a dead token gets no cookie at all, because the browser may have received a newer one meanwhile.
///
/// See the [crate's example](crate).
pub struct Sessions<T, B> {
    inner: Arc<Inner<T, B>>,
}

struct Inner<T, B> {
    shared: Shared<T>,
    backend: B,
}

/// What both backends need.
pub struct Shared<T> {
    pub(crate) config: Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    codec: TokenCodec,
    listeners: Listeners<T>,
    data: PhantomData<fn() -> T>,
}

/// How often a save is tried again after another one came first.
const MOST_CONFLICTS: u32 = 64;

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
        Self::with_backend(config, Stored { store, codec })
    }

    pub(crate) fn decode(&self, key: &Key, record: &Record) -> Result<Plain, Unreadable> {
        self.inner.backend.decode(key, record)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
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
        // A session authenticated with the old epoch may live that long from now, and not longer.
        let until = now + shared.config.expiry.absolute();
        self.inner.backend.revoke_subject(SubjectTag::new(subject), until, now);
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
        self.inner.backend.store.revoke_subject(&SubjectTag::new(subject)).await?;
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
            listeners: Listeners::default(),
            data: PhantomData,
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
        let shared = &self.inner.shared;
        let name = &shared.config.cookie.name;
        let mut rejection = None;
        let candidates = cookie_headers.into_iter().flat_map(|header| cookies(header, name));
        for token in candidates.filter(|token| !token.is_empty()).take(MAX_CANDIDATES) {
            match self.load_token(token, client).await {
                Ok(session) => {
                    shared.listeners.tell(EventKind::Loaded, session.key(), Some(&session));
                    return Ok(session);
                }
                Err(Error::Core(CoreError::Rejected(reason))) => {
                    shared.listeners.tell(of_rejection(reason), None, None);
                    // What an authentic token was refused for says more than that another one was rubbish.
                    if rejection.is_none_or(|before: Rejection| !before.is_of_authentic_token()) {
                        rejection = Some(reason);
                    }
                }
                Err(Error::Core(CoreError::Unreadable(reason))) if !shared.config.fail_on_unreadable => {
                    tracing::warn!(%reason, "a session can't be read; its client goes on without it");
                }
                Err(error) => return Err(error),
            }
        }
        let mut session = self.anonymous(rejection);
        self.bind(&mut session, client)?;
        Ok(session)
    }

    async fn load_token(&self, token: &[u8], client: &Client<'_>) -> Result<Session<T>, Error> {
        let shared = &self.inner.shared;
        let opened = shared.codec.open(token, shared.now()).map_err(CoreError::Rejected)?;
        let sealed_with = opened.key_id();
        let mut session = self.inner.backend.load(shared, opened).await?;
        self.bind(&mut session, client)?;
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

    /// Saves what changed, and gives the `Set-Cookie` value if the client needs one. A session that was not changed costs nothing; an
    /// anonymous one that nothing was written to is not stored and gets no cookie.
    ///
    /// If another request changed the session meanwhile, both changes take effect: they are merged field by field
    /// ([`merge`](session_core::merge)).
    ///
    /// # Errors
    /// [`CoreError::CookieTooLarge`], [`CoreError::Serialize`], [`Error::Store`], [`Error::Contended`]: nothing was saved, and the session
    /// is as it was. [`Error::Ended`]: the session was ended or rotated elsewhere, and is now anonymous.
    pub async fn commit(&self, session: &mut Session<T>) -> Result<Option<SetCookie>, Error> {
        self.commit_cell(&Mutex::new(session)).await
    }

    pub(crate) async fn commit_cell(&self, session: &impl Cell<T>) -> Result<Option<SetCookie>, Error> {
        let shared = &self.inner.shared;
        let cookie = match self.write(session, Conflicting::Merge).await? {
            Some(Change { cookie: Some(cookie), .. }) => Some(cookie),
            _ => session.with(|session| self.due_cookie(session))?,
        };
        if cookie.is_some() {
            session.with(|session| {
                session.token_sent();
                shared.listeners.tell(EventKind::Issued, session.key(), Some(session));
            });
        }
        Ok(cookie)
    }

    /// A new token for the client, if it needs one.
    fn due_cookie(&self, session: &Session<T>) -> Result<Option<SetCookie>, Error> {
        let shared = &self.inner.shared;
        if !session.token_due(&shared.config.expiry) {
            return Ok(None);
        }
        let Some(payload) = B::token_payload(session)? else { return Ok(None) };
        shared.set_cookie(payload, session.expires_at()).map(Some)
    }

    /// Reads, changes and writes the data as one step: `change` is called again on newer data if another request came first, so that
    /// counting is exact. It may be called several times. What was changed before is saved along; the client's
    /// cookie, if it needs one, comes with the next [`Sessions::commit`].
    ///
    /// With sessions in cookies this is as exact as cookies are: two requests that were sent the same cookie both begin with it.
    ///
    /// # Errors
    /// As [`Sessions::commit`].
    pub async fn update<R: Send>(
        &self,
        session: &mut Session<T>,
        mut change: impl FnMut(&mut T) -> R + Send,
    ) -> Result<R, Error> {
        let mut result = None;
        self.update_cell(&Mutex::new(session), &mut |data| result = Some(change(data))).await?;
        Ok(result.expect("an update that succeeded has run its closure"))
    }

    pub(crate) async fn update_cell(
        &self,
        session: &impl Cell<T>,
        change: &mut (dyn FnMut(&mut T) + Send),
    ) -> Result<(), Error> {
        // What the request changed before is merged; only `change` is done again.
        self.write(session, Conflicting::Merge).await?;
        self.write(session, Conflicting::Redo(change)).await?;
        Ok(())
    }

    async fn write(
        &self,
        session: &impl Cell<T>,
        mut conflicting: Conflicting<'_, T>,
    ) -> Result<Option<Change>, Error> {
        let Inner { shared, backend } = &*self.inner;
        if let Conflicting::Redo(change) = &mut conflicting {
            session.with(|session| change(session.data_mut()));
        }
        for conflicts in 0..MOST_CONFLICTS {
            let theirs = match backend.write(shared, session).await {
                Ok(Written::Nothing) => return Ok(None),
                Ok(Written::Saved(change)) => {
                    session.with(|session| shared.tell_change(&change, session));
                    return Ok(Some(change));
                }
                Ok(Written::Conflict(theirs)) => theirs,
                Err(Error::Ended(reason)) => return Err(self.ended(session, reason)),
                Err(error) => return Err(error),
            };
            match session.with(|session| Self::rebase(session, theirs, &mut conflicting)) {
                Ok(()) => back_off(conflicts, shared.random()).await?,
                Err(Error::Core(CoreError::Rejected(reason))) => return Err(self.ended(session, reason)),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended)
    }

    fn rebase(
        session: &mut Session<T>,
        theirs: Theirs,
        conflicting: &mut Conflicting<'_, T>,
    ) -> Result<(), Error> {
        let Theirs { version, expires_at, payload } = theirs;
        match conflicting {
            Conflicting::Merge => session.rebase(version, expires_at, payload)?,
            Conflicting::Redo(change) => {
                session.reload(version, expires_at, payload)?;
                change(session.data_mut());
            }
        }
        Ok(())
    }

    /// The session is no more: this request goes on without it.
    fn ended(&self, session: &impl Cell<T>, reason: Rejection) -> Error {
        let shared = &self.inner.shared;
        session.with(|session| {
            let key = session.key();
            session.mark_ended(&shared.config.expiry, shared.now(), reason);
            shared.listeners.tell(of_rejection(reason), key, Some(session));
        });
        Error::Ended(reason)
    }

    /// Ends the session: once this returned, none of its tokens is accepted any more, whatever other requests are doing. Gives the
    /// `Set-Cookie` value that makes the client forget its token.
    ///
    /// # Errors
    /// [`Error::Store`]: the session may still be alive, and nothing about it has changed here: don't tell the user that it has.
    pub async fn destroy(&self, session: &mut Session<T>) -> Result<Option<SetCookie>, Error> {
        self.destroy_cell(&Mutex::new(session)).await
    }

    pub(crate) async fn destroy_cell(&self, session: &impl Cell<T>) -> Result<Option<SetCookie>, Error> {
        let Inner { shared, backend } = &*self.inner;
        if session.with(|session| session.state()) != State::Active {
            session.with(Session::mark_destroyed);
            return Ok(None);
        }
        backend.destroy(shared, session).await?;
        session.with(|session| {
            session.mark_destroyed();
            shared.listeners.tell(EventKind::Destroyed, session.key(), Some(session));
        });
        Ok(Some(shared.config.cookie.remove()))
    }

    fn anonymous(&self, rejection: Option<Rejection>) -> Session<T> {
        let shared = &self.inner.shared;
        Session::anonymous(&shared.config.expiry, shared.now(), rejection)
    }
}

/// What to do when another save came first.
enum Conflicting<'a, T> {
    /// Put this request's changes on top of it.
    Merge,
    /// Do this again on what it stored.
    Redo(&'a mut (dyn FnMut(&mut T) + Send)),
}

impl<T> Shared<T> {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn random(&self) -> &dyn Random {
        &*self.random
    }

    pub(crate) fn commit_context(&self, kind: Kind) -> CommitContext<'_> {
        CommitContext {
            now: self.now(),
            expiry: &self.config.expiry,
            ring: &self.config.keys,
            binding: self.config.client_binding.as_ref(),
            random: self.random(),
            kind,
        }
    }

    pub(crate) fn set_cookie(&self, payload: Plaintext, expires_at: Timestamp) -> Result<SetCookie, Error> {
        let deflate = self.config.compress_cookies;
        let token = self.codec.seal(payload, expires_at, deflate, self.random())?;
        Ok(self.config.cookie.set(&token, expires_at.since(self.now()))?)
    }

    fn tell_change(&self, change: &Change, session: &Session<T>)
    where
        T: SessionData,
    {
        let kind = if change.started { EventKind::Started } else { EventKind::Saved };
        self.listeners.tell(kind, session.key(), Some(session));
        if change.rotated {
            self.listeners.tell(EventKind::Regenerated, session.key(), Some(session));
        }
    }
}

fn of_rejection(reason: Rejection) -> EventKind {
    match reason {
        Rejection::Expired => EventKind::Expired,
        reason => EventKind::Rejected(reason),
    }
}

/// Waits a random time before the next try, from the third on, so that requests that collide don't collide again.
async fn back_off(conflicts: u32, random: &dyn Random) -> Result<(), Error> {
    let Some(exponent) = conflicts.checked_sub(1) else { return Ok(()) };
    let mut dice = [0; 4];
    random.fill(&mut dice)?;
    let most = 1_000_u32 << exponent.min(5);
    tokio::time::sleep(Duration::from_micros((u32::from_le_bytes(dice) % most).into())).await;
    Ok(())
}

impl<T, B> Clone for Sessions<T, B> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}
