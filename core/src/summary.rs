//! A stored session as a listing shows it.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::fmt;

use zeroize::Zeroizing;

use crate::{
    error::{Error, Unreadable},
    id::Key,
    json::read_data,
    payload::Payload,
    session::SessionData,
    time::Timestamp,
};

/// A stored session, read from its record without its token: for "my sessions" pages and operators. It can't be changed, and holds
/// nothing that anyone could sign in with.
///
/// ```
/// use session_core::{Key, Summary, Timestamp};
///
/// let key = Key::from_bytes([1; 16]);
/// let record = format!("{key}.2.5.9.0\n{{\"sub\":\"42\"}}\nnull");
/// let summary = Summary::<()>::from_record(key, Timestamp::from_millis(7), record.into_bytes().into())?;
/// assert_eq!((summary.subject.as_deref(), summary.rotation), (Some("42"), 2));
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Summary<T> {
    /// The session's public name.
    pub key: Key,
    /// Whom it belongs to.
    pub subject: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it expires, unless a request extends it.
    pub expires_at: Timestamp,
    /// When it ends at the latest.
    pub absolute_end: Timestamp,
    /// When the subject last proved who it is.
    pub authenticated_at: Option<Timestamp>,
    /// The subject's epoch at that time.
    pub epoch: Option<u64>,
    /// How often the token was rotated.
    pub rotation: u64,
    /// The application's data.
    pub data: T,
}

/// Shows neither data nor subject.
impl<T> fmt::Debug for Summary<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summary")
            .field("key", &self.key)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl<T: SessionData> Summary<T> {
    /// Reads the payload of the record that lies under `key`.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if it is another session's or doesn't fit `T`.
    pub fn from_record(key: Key, expires_at: Timestamp, payload: Zeroizing<Vec<u8>>) -> Result<Self, Error> {
        let (payload, without_data) = Payload::read(payload.into(), |parsed| {
            if parsed.key() != key {
                return Err(Error::Unreadable(Unreadable::OtherSession));
            }
            Ok(Summary {
                key,
                created_at: parsed.iat,
                expires_at,
                absolute_end: parsed.abs,
                authenticated_at: parsed.attributes.auth,
                epoch: parsed.attributes.epoch,
                rotation: parsed.rot,
                subject: parsed.attributes.sub.map(Cow::into_owned),
                data: (),
            })
        })?;
        let Summary { subject, created_at, absolute_end, authenticated_at, epoch, rotation, .. } =
            without_data;
        let data = read_data(payload.data())?;
        Ok(Self {
            key,
            subject,
            created_at,
            expires_at,
            absolute_end,
            authenticated_at,
            epoch,
            rotation,
            data,
        })
    }
}
