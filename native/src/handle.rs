//! One request's session, shared by everything that handles the request.

use core::{fmt, time::Duration};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
};

use session_core::{Client, Flash, Key, Session, SessionData, SetCookie, Timestamp};

use crate::{
    backend::{Backend, Cell as _},
    client::TrustedProxies,
    error::Error,
    lock::lock,
    sessions::Sessions,
    store::Freshness,
};
#[cfg(feature = "dbsc")]
use crate::{sessions::Shown, web::Answer};

/// The session of one request: an extractor, and a cheap clone.
///
/// Extracting it loads the session; a handler that doesn't extract it costs no store call. What was changed is committed once by the
/// [`SessionLayer`](crate::web::SessionLayer), before the response's headers leave, whatever its status is.
///
/// ```
/// use axum::{Router, routing::post};
/// use serde::{Deserialize, Serialize};
/// use session_native::{
///     Config, MemoryStore, OsRandom, Secret, SessionData, SessionHandle, Sessions, axum::SessionLayer,
/// };
///
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// #[serde(default)]
/// struct UserSession {
///     username: Option<String>,
/// }
/// impl SessionData for UserSession {}
///
/// async fn login(session: SessionHandle<UserSession>, name: String) {
///     session.authenticate("42");
///     session.update(|data| data.username = Some(name));
/// }
///
/// let config = Config::production(Secret::generate(&OsRandom)?);
/// let sessions = Sessions::<UserSession, _>::new(config, MemoryStore::new())?;
/// let app: Router = Router::new().route("/login", post(login)).layer(SessionLayer::new(sessions));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SessionHandle<T> {
    slot: Arc<Slot<T>>,
}

/// A session that the handlers of a request share; in a box, so that a request that never asks for it has no room for it.
type Held<T> = Mutex<Box<Session<T>>>;

/// What all requests of a layer share.
pub(crate) struct Settings<T> {
    pub(crate) provider: Arc<dyn Provider<T>>,
    pub(crate) proxies: TrustedProxies,
    pub(crate) freshness: Freshness,
}

/// Where the layer and the handlers of one request meet.
pub(crate) struct Slot<T> {
    pub(crate) settings: Arc<Settings<T>>,
    session: OnceLock<Held<T>>,
    /// How fresh it is, as of its load or of a later look at the store.
    freshness: Mutex<Freshness>,
    /// What makes the client forget its token, once the session was ended.
    removal: Mutex<Option<SetCookie>>,
    /// When the subject had last signed in as the request arrived.
    #[cfg(feature = "dbsc")]
    signed_in_before: OnceLock<Option<Timestamp>>,
    /// One load or write at a time: two writes that ran at once would take each other's half-done work for their own, and count it twice.
    working: tokio::sync::Mutex<()>,
}

impl<T: SessionData> SessionHandle<T> {
    /// Changes the data. The commit at the end of the request saves it, merged field by field with what other requests changed. For a
    /// change that depends on what was there (counting), see [`SessionHandle::update_now`].
    ///
    /// If `change` panics, or another closure that the handle was given, and a layer inside of the `SessionLayer` catches that, nothing is saved of this
    /// request from then on, and it is answered 500 ([`Error::Panicked`]): the session may hold half of a change.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        self.with(|session| change(session.data_mut()))
    }

    /// Looks at the session.
    pub fn read<R>(&self, look: impl FnOnce(&Session<T>) -> R) -> R {
        self.with(|session| look(session))
    }

    /// Does something with the session that has no method here. Its lock is held meanwhile: don't block, and don't use the handle inside of `f`.
    pub fn with<R>(&self, f: impl FnOnce(&mut Session<T>) -> R) -> R {
        self.session().with(f)
    }

    /// A copy of the data.
    #[must_use]
    pub fn data(&self) -> T {
        self.read(|session| session.data().clone())
    }

    /// Signs a subject in: see [`Session::authenticate`].
    pub fn authenticate(&self, subject: impl Into<String>) {
        self.with(|session| session.authenticate(subject));
    }

    /// Lets the session last for `duration`, whatever the timeouts say: see [`Session::remember_for`].
    pub fn remember_for(&self, duration: Duration) {
        self.with(|session| session.remember_for(duration));
    }

    /// Rotates the token: see [`Session::regenerate`].
    pub fn regenerate(&self) {
        self.with(Session::regenerate);
    }

    /// Reads or sets flash messages.
    pub fn flash<R>(&self, f: impl FnOnce(&mut Flash) -> R) -> R {
        self.with(|session| f(session.flash_mut()))
    }

    /// Who is signed in.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        self.read(|session| session.subject().map(Into::into))
    }

    /// Whether someone is signed in.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.read(Session::is_authenticated)
    }

    /// When the subject last signed in: see [`Session::authenticated_at`].
    #[must_use]
    pub fn authenticated_at(&self) -> Option<Timestamp> {
        self.read(Session::authenticated_at)
    }

    /// The session's public name, once it is stored.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        self.read(Session::key)
    }

    /// The time by the provider's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.slot.provider().now()
    }

    /// Reads, changes and writes the data as one step, now: exact, also when requests race. `change` may be called several times: see
    /// [`Sessions::update`]. Don't change the session from elsewhere while this runs: such a change may be undone with a try that failed.
    ///
    /// # Errors
    /// As [`Sessions::update`].
    ///
    /// # Cancellation
    /// As [`Sessions::update`]: an update that is given up is undone here, and not saved with the end of the request.
    pub async fn update_now<R: Send>(&self, mut change: impl FnMut(&mut T) -> R + Send) -> Result<R, Error> {
        let _working = self.slot.working.lock().await;
        let mut result = None;
        self.slot.provider().update(whole(self.session())?, &mut |data| result = Some(change(data))).await?;
        Ok(result.expect("an update that succeeded has run its closure"))
    }

    /// Saves what was changed, now: for a handler that wants to know whether it was. The client gets its cookie with the response.
    /// See [`Sessions::commit`].
    ///
    /// # Errors
    /// As [`Sessions::commit`].
    pub async fn commit(&self) -> Result<(), Error> {
        let _working = self.slot.working.lock().await;
        self.slot.provider().save(whole(self.session())?).await
    }

    /// Ends the session, now: see [`Sessions::destroy`], also for what it does if the client's token was refused. The client's cookie is removed
    /// with the response.
    ///
    /// # Errors
    /// As [`Sessions::destroy`]: then the session may still be alive; say so to the user.
    pub async fn destroy(&self) -> Result<(), Error> {
        let _working = self.slot.working.lock().await;
        let removal = self.slot.provider().destroy(self.session()).await?;
        if removal.is_some() {
            *lock(&self.slot.removal) = removal;
        }
        Ok(())
    }

    fn session(&self) -> &Held<T> {
        self.slot.session.get().expect("a handle is only made of a loaded slot")
    }
}

impl<T> Clone for SessionHandle<T> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot) }
    }
}

impl<T: SessionData> Slot<T> {
    pub(crate) fn new(settings: Arc<Settings<T>>) -> Self {
        Self {
            settings,
            session: OnceLock::new(),
            freshness: Mutex::default(),
            removal: Mutex::new(None),
            #[cfg(feature = "dbsc")]
            signed_in_before: OnceLock::new(),
            working: tokio::sync::Mutex::default(),
        }
    }

    fn provider(&self) -> &dyn Provider<T> {
        &*self.settings.provider
    }

    /// Loads the session, unless that was done before; if it was, but not as fresh as this, asks the store whether it is still what it was. What
    /// failed can be tried again.
    pub(crate) async fn load(
        &self,
        cookies: CookieHeaders<'_>,
        client: &Client<'_>,
        freshness: Freshness,
    ) -> Result<(), Error> {
        let _working = self.working.lock().await;
        if let Some(session) = self.session.get() {
            if is_stricter(freshness, *lock(&self.freshness)) {
                let confirmed = self.provider().confirm(session).await;
                // One that has ended is none from now on, and that is up to date as well.
                if matches!(confirmed, Ok(()) | Err(Error::Ended(_))) {
                    *lock(&self.freshness) = Freshness::Linearizable;
                }
                return confirmed;
            }
        } else {
            let session = self.provider().load(cookies, client, freshness).await?;
            #[cfg(feature = "dbsc")]
            self.signed_in_before.get_or_init(|| session.authenticated_at());
            *lock(&self.freshness) = freshness;
            self.session.get_or_init(|| Mutex::new(session));
        }
        Ok(())
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.session.get().is_some()
    }

    /// The handle, once the session was loaded as fresh as this.
    pub(crate) fn handle(self: &Arc<Self>, freshness: Freshness) -> Option<SessionHandle<T>> {
        let loaded = self.is_loaded() && !is_stricter(freshness, *lock(&self.freshness));
        loaded.then(|| SessionHandle { slot: Arc::clone(self) })
    }

    /// Whether [`Slot::finish`] would do nothing, as it would for most requests, which only read.
    pub(crate) fn is_settled(&self) -> bool {
        let Some(session) = self.session.get() else { return true };
        // If someone is at work, it isn't.
        let (Ok(_working), Ok(session)) = (self.working.try_lock(), whole(session)) else { return false };
        lock(&self.removal).is_none() && self.provider().is_settled(session)
    }

    /// The last commit: gives what the client is to be sent, and what went wrong.
    pub(crate) async fn finish(&self) -> (Option<SetCookie>, Result<(), Error>) {
        let Some(session) = self.session.get() else { return (None, Ok(())) };
        let _working = self.working.lock().await;
        let last = match whole(session) {
            Ok(session) => self.provider().commit(session).await,
            Err(error) => Err(error),
        };
        let removal = lock(&self.removal).take();
        match last {
            Ok(last) => (last.or(removal), Ok(())),
            // The token of a session that is no more.
            Err(error @ Error::Ended(_)) => (None, Err(error)),
            // What was saved before stands: the client's old token may be dead.
            Err(error) => (self.provider().owed(session).or(removal), Err(error)),
        }
    }

    /// What makes the browser bind the session to its device, if someone has signed in. Without it the session goes on unbound: that is no
    /// reason to fail.
    #[cfg(feature = "dbsc")]
    pub(crate) async fn device_offer(&self) -> Option<String> {
        let before = self.signed_in_before.get()?;
        let session = self.session.get()?;
        let at = session.with(|session| session.authenticated_at());
        if at.is_none() || at == *before {
            return None;
        }
        self.provider().device_offer(session).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a session was not offered to be bound to its device");
            None
        })
    }
}

/// The session, unless a handler panicked while it changed it.
fn whole<T>(session: &Held<T>) -> Result<&Held<T>, Error> {
    if session.is_poisoned() { Err(Error::Panicked) } else { Ok(session) }
}

/// Whether an answer that is good enough for `other` may be too old for `freshness`.
fn is_stricter(freshness: Freshness, other: Freshness) -> bool {
    let age = |freshness| match freshness {
        Freshness::Cached => Duration::MAX,
        Freshness::AtMost(age) => age,
        Freshness::Linearizable => Duration::ZERO,
    };
    age(freshness) < age(other)
}

type BoxFuture<'a, R> = Pin<Box<dyn Future<Output = Result<R, Error>> + Send + 'a>>;

/// The `Cookie` header fields of a request: the first, and the others, which HTTP/2 may split off.
pub(crate) struct CookieHeaders<'a> {
    pub(crate) first: &'a [u8],
    pub(crate) others: &'a [&'a [u8]],
}

/// [`Sessions`] without the backend in its type, so that handlers needn't name it.
pub(crate) trait Provider<T>: Send + Sync {
    fn load<'a>(
        &'a self,
        cookies: CookieHeaders<'a>,
        client: &'a Client<'a>,
        freshness: Freshness,
    ) -> BoxFuture<'a, Box<Session<T>>>;
    fn confirm<'a>(&'a self, session: &'a Held<T>) -> BoxFuture<'a, ()>;
    fn is_settled(&self, session: &Held<T>) -> bool;
    fn commit<'a>(&'a self, session: &'a Held<T>) -> BoxFuture<'a, Option<SetCookie>>;
    fn owed(&self, session: &Held<T>) -> Option<SetCookie>;
    fn save<'a>(&'a self, session: &'a Held<T>) -> BoxFuture<'a, ()>;
    fn update<'a>(
        &'a self,
        session: &'a Held<T>,
        change: &'a mut (dyn FnMut(&mut T) + Send),
    ) -> BoxFuture<'a, ()>;
    fn destroy<'a>(&'a self, session: &'a Held<T>) -> BoxFuture<'a, Option<SetCookie>>;
    fn now(&self) -> Timestamp;
    #[cfg(feature = "dbsc")]
    fn device_offer<'a>(&'a self, session: &'a Held<T>) -> BoxFuture<'a, Option<String>>;
    #[cfg(feature = "dbsc")]
    fn prove_device<'a>(
        &'a self,
        cookies: Vec<&'a [u8]>,
        client: &'a Client<'a>,
        shown: Shown<'a>,
    ) -> BoxFuture<'a, Answer>;
}

impl<T: SessionData, B: Backend> Provider<T> for Sessions<T, B> {
    fn load<'a>(
        &'a self,
        cookies: CookieHeaders<'a>,
        client: &'a Client<'a>,
        freshness: Freshness,
    ) -> BoxFuture<'a, Box<Session<T>>> {
        let headers = core::iter::once(cookies.first).chain(cookies.others.iter().copied());
        Box::pin(self.load_boxed(headers, client, freshness))
    }

    fn confirm<'a>(&'a self, session: &'a Held<T>) -> BoxFuture<'a, ()> {
        Box::pin(self.confirm_cell(session))
    }

    fn is_settled(&self, session: &Held<T>) -> bool {
        Self::is_settled(self, session)
    }

    fn commit<'a>(&'a self, session: &'a Held<T>) -> BoxFuture<'a, Option<SetCookie>> {
        Box::pin(self.commit_cell(session))
    }

    fn owed(&self, session: &Held<T>) -> Option<SetCookie> {
        self.owed_cookie(session)
    }

    fn save<'a>(&'a self, session: &'a Held<T>) -> BoxFuture<'a, ()> {
        Box::pin(self.save_cell(session))
    }

    fn update<'a>(
        &'a self,
        session: &'a Held<T>,
        change: &'a mut (dyn FnMut(&mut T) + Send),
    ) -> BoxFuture<'a, ()> {
        Box::pin(self.update_cell(session, change))
    }

    fn destroy<'a>(&'a self, session: &'a Held<T>) -> BoxFuture<'a, Option<SetCookie>> {
        Box::pin(self.destroy_cell(session))
    }

    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    #[cfg(feature = "dbsc")]
    fn device_offer<'a>(&'a self, session: &'a Held<T>) -> BoxFuture<'a, Option<String>> {
        // Not locked while the store works.
        let session = session.with(|session| session.clone());
        Box::pin(async move { self.device_offer(&session).await })
    }

    #[cfg(feature = "dbsc")]
    fn prove_device<'a>(
        &'a self,
        cookies: Vec<&'a [u8]>,
        client: &'a Client<'a>,
        shown: Shown<'a>,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(self.prove_device(cookies, client, shown))
    }
}

/// Shows nothing of the session.
impl<T> fmt::Debug for SessionHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle").finish_non_exhaustive()
    }
}
