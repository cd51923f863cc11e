//! Sessions of the Crystal library `session`: in its cookies, and in Redis.

use core::future::Future;

use futures_util::future::BoxFuture;
use session_core::{
    Key, SessionData, Timestamp, cookies,
    interop::{
        Foreign, KeyError, Refusal,
        crystal::{Encryptor, SessionJson, open_value},
    },
};

use super::{ImportError, Importer};
use crate::store::{Bytes, StoreError};

/// Imports what its `CookieStore` keeps: the cookie `<session_key>._data_`.
///
/// ```
/// use session_core::interop::crystal::{Encryptor, Kdf};
/// use session_native::import::CrystalCookies;
///
/// let encryptor = Encryptor::new(b"0123456789abcdef0123456789abcdef", Some(Kdf::default()))?;
/// let importer = CrystalCookies::new("_session", encryptor)?;
/// # Ok::<(), session_core::interop::KeyError>(())
/// ```
pub struct CrystalCookies {
    name: String,
    encryptor: Encryptor,
}

impl CrystalCookies {
    /// Of the cookie for this `session_key` (`_session`, unless it was configured).
    ///
    /// # Errors
    /// [`KeyError::Public`] for an encryptor of the library's default secret: anyone could sign in as anyone.
    pub fn new(session_key: &str, encryptor: Encryptor) -> Result<Self, KeyError> {
        if encryptor.is_public() {
            return Err(KeyError::Public);
        }
        Ok(Self { name: format!("{session_key}._data_"), encryptor })
    }

    fn open<T: SessionData>(&self, headers: &[&[u8]], now: Timestamp) -> Result<Option<Foreign<T>>, Refusal> {
        let open =
            |value| SessionJson::parse(&open_value(value, Some(&self.encryptor), now)?)?.into_foreign(now);
        first_good(headers.iter().flat_map(|header| cookies(header, &self.name)).map(open))
    }
}

impl<T: SessionData> Importer<T> for CrystalCookies {
    fn read<'a>(
        &'a self,
        headers: &'a [&'a [u8]],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Foreign<T>>, ImportError>> {
        Box::pin(core::future::ready(self.open(headers, now).map_err(ImportError::from)))
    }
}

/// Of several cookies of one name the first that is good; else what was wrong with the last one.
fn first_good<F>(opened: impl Iterator<Item = Result<F, Refusal>>) -> Result<Option<F>, Refusal> {
    let mut refused = None;
    for opened in opened.take(session_core::MAX_CANDIDATES) {
        match opened {
            Ok(foreign) => return Ok(Some(foreign)),
            Err(refusal) => refused = Some(refusal),
        }
    }
    refused.map_or(Ok(None), Err)
}

/// Where the records of the Crystal library lie. [`RedisStore`](crate::store::RedisStore) is one: give it the URL of its Redis server.
pub trait OldRecords: Send + Sync + 'static {
    /// The value under a name, `session:<id>`.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is known then.
    fn get(&self, name: &str) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;

    /// Deletes it: the session was imported.
    ///
    /// # Errors
    /// [`StoreError`].
    fn delete(&self, name: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Imports what its `RedisStore` keeps under `session:<id>`, for the id in the cookie `<session_key>`; deletes it there.
///
/// ```no_run
/// # #[cfg(feature = "redis")] async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use session_native::{RedisStore, import::CrystalRecords};
///
/// // `encrypt_redis_data` was off.
/// let importer = CrystalRecords::new("_session", None, RedisStore::connect("redis://old-server").await?);
/// # Ok(())
/// # }
/// ```
pub struct CrystalRecords<R> {
    name: String,
    encryptor: Option<Encryptor>,
    records: R,
    keeps: bool,
}

impl<R: OldRecords> CrystalRecords<R> {
    /// For this `session_key` (`_session`, unless it was configured), with an encryptor if `encrypt_redis_data` was on.
    pub fn new(session_key: impl Into<String>, encryptor: Option<Encryptor>, records: R) -> Self {
        Self { name: session_key.into(), encryptor, records, keeps: false }
    }

    /// Leaves them where they are, for services in Crystal that still run beside. Each side has a session of its own then: who signs out at one is
    /// still signed in at the other.
    #[must_use]
    pub fn keep(mut self) -> Self {
        self.keeps = true;
        self
    }

    /// The names of the records that the cookies may mean. An id that the library didn't make isn't asked for: ids are UUIDs.
    fn names(&self, headers: &[&[u8]]) -> Vec<String> {
        let ids = headers.iter().flat_map(|header| cookies(header, &self.name));
        let named = ids.take(session_core::MAX_CANDIDATES).filter(|id| is_uuid(id));
        named.map(|id| format!("{PREFIX}{}", String::from_utf8_lossy(id))).collect()
    }

    async fn find<T: SessionData>(
        &self,
        headers: &[&[u8]],
        now: Timestamp,
    ) -> Result<Option<Foreign<T>>, ImportError> {
        for name in self.names(headers) {
            let Some(value) = self.records.get(&name).await? else { continue };
            let session = SessionJson::parse(&open_value(&value, self.encryptor.as_ref(), now)?)?;
            // A value that lies under another session's name was put there.
            if session.session_id.as_deref() != name.strip_prefix(PREFIX) {
                return Err(Refusal::Forged.into());
            }
            return Ok(Some(session.into_foreign(now)?));
        }
        Ok(None)
    }
}

impl<T: SessionData, R: OldRecords> Importer<T> for CrystalRecords<R> {
    fn read<'a>(
        &'a self,
        headers: &'a [&'a [u8]],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Foreign<T>>, ImportError>> {
        Box::pin(self.find(headers, now))
    }

    fn named(&self, headers: &[&[u8]]) -> Vec<Key> {
        let ids = self.names(headers);
        ids.iter().filter_map(|name| name.strip_prefix(PREFIX)).map(identity).collect()
    }

    fn forget<'a>(&'a self, headers: &'a [&'a [u8]]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            for name in self.names(headers).into_iter().filter(|_| !self.keeps) {
                self.records.delete(&name).await?;
            }
            Ok(())
        })
    }
}

/// Under which it is remembered that the session of this id was imported.
pub(crate) fn identity(id: &str) -> Key {
    Foreign::new(id.as_bytes(), Timestamp::MAX, ()).identity
}

/// Before the id in the name of a record.
const PREFIX: &str = "session:";

/// Lower-case hexadecimal digits in groups of 8, 4, 4, 4 and 12.
fn is_uuid(id: &[u8]) -> bool {
    let right = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    id.len() == 36 && id.iter().enumerate().all(right)
}
