//! The two places where a session can be: in the cookie, or in a store.

mod cookie_held;
mod stored;

use std::sync::Mutex;

pub use cookie_held::CookieHeld;
use session_core::{Session, SetCookie, Timestamp, Version, lifecycle::Named};
pub use stored::Stored;

use sealed::Backend as Sealed;

use crate::{error::Error, lock::lock, sessions::Plain};

/// Where sessions are kept: [`CookieHeld`] or [`Stored`]. Sealed: to keep sessions elsewhere, write a
/// [`Store`](crate::Store).
///
/// ```
/// fn is_backend<B: session_native::Backend>() {}
/// is_backend::<session_native::CookieHeld>();
/// is_backend::<session_native::Stored<session_native::MemoryStore>>();
/// ```
pub trait Backend: sealed::Backend {}

impl<B: sealed::Backend> Backend for B {}

mod sealed {
    use core::{future::Future, time::Duration};

    use session_core::{
        Error as CoreError, Key, Kind, Opened, Plaintext, Session, SessionData, Timestamp, lifecycle::Named,
    };

    use super::{Cell, Refusal, Written};
    use crate::{error::Error, sessions::Shared, store::Freshness};

    /// What the two places do differently.
    pub trait Backend: Send + Sync + 'static {
        /// The kind of the clients' tokens.
        const TOKEN: Kind;

        /// What it is called in metrics and traces.
        const NAME: &'static str;

        /// The session of an authentic, unexpired token; [`CoreError::Rejected`] if there is none any more. In a box: it goes through many hands.
        fn load<T: SessionData>(
            &self,
            shared: &Shared<T>,
            opened: Opened,
            now: Timestamp,
            freshness: Freshness,
        ) -> impl Future<Output = Result<Box<Session<T>>, Refusal>> + Send;

        /// Extends what is stored of a session that passed every check.
        fn extend<T: SessionData>(
            &self,
            session: &Session<T>,
            expires_at: Timestamp,
        ) -> impl Future<Output = Result<(), Error>> + Send;

        /// Tries one save.
        fn write<T: SessionData>(
            &self,
            shared: &Shared<T>,
            session: &impl Cell<T>,
        ) -> impl Future<Output = Result<Written, Error>> + Send;

        /// Takes the lease of a session that many requests save at once: see [`Store::lease`](crate::Store::lease). Where saves never
        /// conflict it is never asked for.
        fn lease(
            &self,
            key: &Key,
            holder: u64,
            ttl: Duration,
        ) -> impl Future<Output = Result<bool, Error>> + Send {
            let _ = (key, holder, ttl);
            core::future::ready(Ok(true))
        }

        /// Gives it back.
        fn release(&self, key: &Key, holder: u64) -> impl Future<Output = Result<(), Error>> + Send {
            let _ = (key, holder);
            core::future::ready(Ok(()))
        }

        /// Whether the session is still what was loaded: [`Error::Ended`] if it was ended or rotated meanwhile.
        fn confirm<T: SessionData>(
            &self,
            session: &impl Cell<T>,
        ) -> impl Future<Output = Result<(), Error>> + Send;

        /// Makes sure that no token of this session is accepted again.
        fn destroy<T: SessionData>(
            &self,
            shared: &Shared<T>,
            session: Named,
        ) -> impl Future<Output = Result<(), Error>> + Send;

        /// What the client's token is to hold.
        fn token_payload<T: SessionData>(session: &Session<T>) -> Result<Option<Plaintext>, CoreError>;
    }
}

/// Why a session was not loaded, and which one it was, if its token said so: whoever looks into a stolen token wants to know.
pub struct Refusal {
    pub(crate) error: Error,
    pub(crate) named: Option<Named>,
}

impl Refusal {
    /// Of the session that an authentic token names.
    pub(crate) fn of(named: Option<Named>) -> impl FnOnce(Error) -> Self {
        move |error| Self { error, named }
    }
}

impl<E: Into<Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self { error: error.into(), named: None }
    }
}

/// What came of one try to save.
pub enum Written {
    /// There was nothing to save.
    Nothing,
    /// Saved.
    Saved(Change),
    /// Another save came first, and stored this.
    Conflict(Theirs),
}

/// A record that another request stored.
#[derive(Clone)]
pub struct Theirs {
    pub(crate) version: Version,
    pub(crate) expires_at: Timestamp,
    pub(crate) payload: Plain,
}

/// What was saved.
pub struct Change {
    /// The session is there for the first time.
    pub(crate) started: bool,
    /// The token before is dead now.
    pub(crate) rotated: bool,
    /// The client's new cookie, where saving makes it.
    pub(crate) cookie: Option<SetCookie>,
}

/// A session that handlers may look at while it is being saved: the lock is never held across an await. It can be looked at after a panic, too;
/// whether it may be saved then is for those who have the handle to ask.
pub trait Cell<T>: Sync {
    /// Does something with the session.
    fn with<R>(&self, f: impl FnOnce(&mut Session<T>) -> R) -> R;
}

impl<T: Send> Cell<T> for Mutex<Box<Session<T>>> {
    fn with<R>(&self, f: impl FnOnce(&mut Session<T>) -> R) -> R {
        f(&mut lock(self))
    }
}

impl<T: Send> Cell<T> for Mutex<&mut Session<T>> {
    fn with<R>(&self, f: impl FnOnce(&mut Session<T>) -> R) -> R {
        f(&mut lock(self))
    }
}
