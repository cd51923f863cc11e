//! Moving in: sessions of another library go on as ones of this, with the first request that brings them.
//!
//! Off unless asked for by [`Sessions::import`](crate::Sessions::import), and over at a date. What can be brought: cookies and Redis values of the
//! Crystal library `session` ([`CrystalCookies`], [`CrystalRecords`]), cookies of iron-session ([`IronCookies`]), or whatever an own [`Importer`]
//! reads.
#![cfg_attr(all(feature = "crystal", feature = "iron"), doc = "")]
#![cfg_attr(all(feature = "crystal", feature = "iron"), doc = include_str!("../../../core/INTEROP.md"))]

#[cfg(feature = "crystal")]
mod crystal;
#[cfg(feature = "iron")]
mod iron;

#[cfg(all(feature = "crystal", feature = "redis", feature = "cache"))]
pub(crate) use crystal::identity;
#[cfg(feature = "crystal")]
pub use crystal::{CrystalCookies, CrystalRecords, OldRecords};
use futures_util::future::BoxFuture;
#[cfg(feature = "iron")]
pub use iron::IronCookies;
use session_core::{
    Key, SessionData, Timestamp,
    interop::{Foreign, Refusal},
};

use crate::store::{Bytes, Lookup, MemoryStore, Record, Store, StoreError};

/// Reads the sessions of another library.
pub trait Importer<T>: Send + Sync + 'static {
    /// The session that a request's cookies name there; `None` if they name none. It is checked: whoever could have written it could sign in
    /// as anyone.
    ///
    /// # Errors
    /// [`ImportError`].
    fn read<'a>(
        &'a self,
        cookie_headers: &'a [&'a [u8]],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Foreign<T>>, ImportError>>;

    /// The [identities](Foreign::identity) that the cookies themselves name, where they are names of something that lies elsewhere: what was made of
    /// one of these is found although it isn't there any more.
    fn named(&self, cookie_headers: &[&[u8]]) -> Vec<Key> {
        let _ = cookie_headers;
        Vec::new()
    }

    /// The session that these cookies name has been imported and isn't needed there any more.
    ///
    /// # Errors
    /// [`StoreError`]: it is reported, and the import stands.
    fn forget<'a>(&'a self, cookie_headers: &'a [&'a [u8]]) -> BoxFuture<'a, Result<(), StoreError>> {
        let _ = cookie_headers;
        Box::pin(core::future::ready(Ok(())))
    }
}

/// Why a session of another library wasn't read.
///
/// ```
/// use session_core::interop::Refusal;
/// use session_native::import::ImportError;
///
/// assert_eq!(ImportError::from(Refusal::Expired).to_string(), "past its end");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// It was refused: the visitor is one without a session.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Where it lies can't be asked: nothing is known of the visitor.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to import, and until when.
///
/// Each session is imported once: what was made of it is remembered until the end date, and whoever brings it again, be it a copy or the next request of
/// the same browser, gets the session that was made, as long as that lives, and never another one. So it can't come back after a sign-out, nor
/// be used past a rotation. By default that is remembered in this process: name a store that all processes share with [`Import::remember_in`].
///
/// ```
/// # #[cfg(feature = "iron")] fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use serde::{Deserialize, Serialize};
/// use session_core::interop::iron::Iron;
/// use session_native::{
///     Config, MemoryStore, OsRandom, Secret, SessionData, Sessions, Timestamp,
///     import::{Import, IronCookies},
/// };
///
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// #[serde(default, rename_all = "camelCase")]
/// struct User {
///     user_id: Option<u64>,
/// }
/// impl SessionData for User {}
///
/// let iron = Iron::new("1", "the-password-that-iron-session-was-given")?;
/// let end_of_2026 = Timestamp::from_millis(1_798_761_600_000);
/// let import = Import::until(end_of_2026, IronCookies::new("my-app", iron))
///     .subject(|user: &User| user.user_id.map(|id| id.to_string()));
/// let config = Config::production(Secret::generate(&OsRandom)?);
/// let sessions = Sessions::<User, _>::new(config, MemoryStore::new())?.import(import);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "iron"))] fn main() {}
/// ```
pub struct Import<T> {
    importer: Box<dyn Importer<T>>,
    not_after: Timestamp,
    subject: Box<SubjectOf<T>>,
    memory: Box<dyn Memory>,
}

type SubjectOf<T> = dyn Fn(&T) -> Option<String> + Send + Sync;

impl<T: SessionData> Import<T> {
    /// Imports until that time: at it and later, nothing of the other library is looked at. Sessions end by themselves, so a few weeks are enough, and
    /// a secret of the other library that becomes known later is of no use.
    pub fn until(not_after: Timestamp, importer: impl Importer<T>) -> Self {
        Self {
            importer: Box::new(importer),
            not_after,
            subject: Box::new(|_| None),
            memory: Box::new(MemoryStore::new()),
        }
    }

    /// Who is signed in by what the data says: the subject of the new session, so that it is listed and revoked with the others. It counts as not
    /// authenticated here yet ([`Session::authenticated_at`](crate::Session::authenticated_at) is `None`): pages that demand a recent proof ask for one.
    #[must_use]
    pub fn subject(mut self, subject: impl Fn(&T) -> Option<String> + Send + Sync + 'static) -> Self {
        self.subject = Box::new(subject);
        self
    }

    /// Remembers what was imported in a store: one of its own (with a prefix of its own in Redis), not that of the sessions, which
    /// would be listed together. It holds sealed tokens until the end date.
    #[must_use]
    pub fn remember_in(mut self, store: impl Store) -> Self {
        self.memory = Box::new(store);
        self
    }

    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        now >= self.not_after
    }

    pub(crate) fn importer(&self) -> &dyn Importer<T> {
        &*self.importer
    }

    pub(crate) fn subject_of(&self, data: &T) -> Option<String> {
        (self.subject)(data)
    }

    /// The token of what was made of a session before.
    pub(crate) async fn recall(&self, identity: &Key) -> Result<Option<Bytes>, StoreError> {
        self.memory.recall(identity).await
    }

    /// Remembers a token; `false` if another request was first.
    pub(crate) async fn remember(
        &self,
        identity: &Key,
        version: session_core::Version,
        token: String,
    ) -> Result<bool, StoreError> {
        self.memory.remember(identity, Record::new(version, self.not_after, token)).await
    }
}

/// [`Store`] without its type.
trait Memory: Send + Sync {
    fn recall<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>>;
    fn remember<'a>(&'a self, key: &'a Key, record: Record) -> BoxFuture<'a, Result<bool, StoreError>>;
}

impl<S: Store> Memory for S {
    fn recall<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(
            async move { Ok(self.load(key, Lookup::default()).await?.map(|found| found.record.payload)) },
        )
    }

    fn remember<'a>(&'a self, key: &'a Key, record: Record) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { self.create(key, &record).await })
    }
}
