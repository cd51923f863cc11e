//! What the token of a stored session says, and whether a record answers it.

use alloc::{borrow::Cow, string::String};
use core::{fmt, time::Duration};

use crate::{
    crypto::KeyId,
    error::{Error, Rejection, Unreadable},
    id::Key,
    payload::Parsed,
    session::Names,
    time::Timestamp,
    token::Opened,
};

/// What a reference token says: enough to find the record, and for an edge worker to know who is asking.
///
/// ```
/// use session_core::{Kind, KeyRing, OsRandom, Plaintext, Reference, Secret, Timestamp, TokenCodec};
///
/// let ring = KeyRing::new(&Secret::generate(&OsRandom)?);
/// let codec = TokenCodec::new(&ring, Kind::Reference, "session");
/// let payload = b"AAECAwQFBgcICQoLDA0ODw.1.0.9.3\n{\"sub\":\"42\"}";
/// let token = codec.seal(Plaintext::from(payload), Timestamp::from_millis(9), false, &OsRandom)?;
/// let reference = Reference::from_token(codec.open(token.as_bytes(), Timestamp::from_millis(0))?)?;
/// assert_eq!((reference.subject(), reference.rotation()), (Some("42"), 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Reference {
    pub(crate) names: Names,
    pub(crate) rotation: u64,
    pub(crate) absolute_end: Timestamp,
    pub(crate) expires_at: Timestamp,
    counter: u64,
    subject: Option<String>,
    key_id: KeyId,
}

/// Shows neither id nor subject.
impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reference")
            .field("key", &self.key())
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Reference {
    /// Reads an opened reference token.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if the payload is none of a reference: authentic, but of a later version.
    pub fn from_token(opened: Opened) -> Result<Self, Error> {
        let (parsed, _) = Parsed::of(opened.payload())?;
        Ok(Self {
            names: parsed.id().into(),
            rotation: parsed.rot,
            absolute_end: parsed.abs,
            expires_at: opened.expires_at(),
            counter: parsed.counter(),
            subject: parsed.attributes.sub.map(Cow::into_owned),
            key_id: opened.key_id(),
        })
    }

    /// Where the session's record lies.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.names.key
    }

    /// The subject the session belongs to.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// How often the session was rotated before this token was made.
    #[must_use]
    pub const fn rotation(&self) -> u64 {
        self.rotation
    }

    /// When the token expires, unless requests extend the session.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// When the session ends at the latest.
    #[must_use]
    pub const fn absolute_end(&self) -> Timestamp {
        self.absolute_end
    }

    /// The save after which this token was made: a copy of the record that is older must not answer it.
    #[must_use]
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    /// The key that sealed the token.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Whether a record is the one that this token names, as it was when the token was made.
    pub(crate) fn check(&self, record: &Parsed<'_>, now: Timestamp, grace: Duration) -> Result<(), Error> {
        if record.key() != self.key() {
            return Err(Error::Unreadable(Unreadable::OtherSession));
        }
        if record.rot > self.rotation {
            let rotated_at = record.rotated_at().unwrap_or_default();
            return Err(Rejection::of_old_token(rotated_at, now, grace).into());
        }
        // A store that lost the rotation is behind the token: there is no telling what else it lost.
        if record.rot < self.rotation || record.subject() != self.subject() {
            return Err(Rejection::Revoked.into());
        }
        Ok(())
    }
}
