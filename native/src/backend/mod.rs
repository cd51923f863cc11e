//! The two places where a session can be: in the cookie, or in a store.

mod cookie_held;
mod stored;

use std::sync::{Mutex, PoisonError};

pub use cookie_held::CookieHeld;
use session_core::{Session, SetCookie, Timestamp, Version};
pub use stored::Stored;

use sealed::Backend as Sealed;

use crate::sessions::Plain;

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
    use core::future::Future;

    use session_core::{Error as CoreError, Kind, Opened, Plaintext, Session, SessionData, Timestamp};

    use super::{Cell, Written};
    use crate::{error::Error, sessions::Shared, store::Freshness};

    /// What the two places do differently.
    pub trait Backend: Send + Sync + 'static {
        /// The kind of the clients' tokens.
        const TOKEN: Kind;

        /// The session of an authentic, unexpired token; [`CoreError::Rejected`] if there is none any more.
        fn load<T: SessionData>(
            &self,
            shared: &Shared<T>,
            opened: Opened,
            freshness: Freshness,
        ) -> impl Future<Output = Result<Session<T>, Error>> + Send;

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

        /// Whether the session is still what was loaded: [`Error::Ended`] if it was ended or rotated meanwhile.
        fn confirm<T: SessionData>(
            &self,
            shared: &Shared<T>,
            session: &impl Cell<T>,
        ) -> impl Future<Output = Result<(), Error>> + Send;

        /// Makes sure that no token of this session is accepted again.
        fn destroy<T: SessionData>(
            &self,
            shared: &Shared<T>,
            session: &impl Cell<T>,
        ) -> impl Future<Output = Result<(), Error>> + Send;

        /// What the client's token is to hold.
        fn token_payload<T: SessionData>(session: &Session<T>) -> Result<Option<Plaintext>, CoreError>;
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

/// A session that handlers may look at while it is being saved: the lock is never held across an await.
pub trait Cell<T>: Sync {
    /// Does something with the session.
    fn with<R>(&self, f: impl FnOnce(&mut Session<T>) -> R) -> R;
}

impl<T: Send> Cell<T> for Mutex<Session<T>> {
    fn with<R>(&self, f: impl FnOnce(&mut Session<T>) -> R) -> R {
        f(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Send> Cell<T> for Mutex<&mut Session<T>> {
    fn with<R>(&self, f: impl FnOnce(&mut Session<T>) -> R) -> R {
        f(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
