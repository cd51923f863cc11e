//! What other libraries write, opened and sealed: for sites that move in. `core/INTEROP.md` is the guide; in Rust services
//! `session_native::import` does it, request by request.

#[cfg(feature = "crystal")]
pub mod crystal;
#[cfg(feature = "iron")]
pub mod iron;

/// Why what another library made was refused.
///
/// For the server's own decisions and for operators: to a client a refused cookie is no cookie.
///
/// ```
/// use session_core::interop::Refusal;
///
/// assert_eq!(Refusal::Forged.code(), "forged");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not in the format at all.
    #[error("not in the format of that library")]
    Malformed,
    /// Made with a password whose id isn't known.
    #[error("sealed with a password of another id")]
    UnknownPassword,
    /// Signed with a digest that isn't accepted, or not any more.
    #[error("signed with a digest that isn't accepted (any more)")]
    Digest,
    /// The signature is wrong: changed, or made with another secret.
    #[error("the signature is wrong: changed, or made with another secret")]
    Forged,
    /// Past its end.
    #[error("past its end")]
    Expired,
    /// Inflates to more than [`MAX_INFLATED`](crate::MAX_INFLATED) bytes, or isn't what its check sum says.
    #[error("doesn't inflate to what its check sum says, within the bound")]
    Inflate,
    /// Authentic, and not the JSON of a session, or not one that fits the application's data type.
    #[error("the JSON inside is no session that fits the application's type")]
    Data,
}

impl Refusal {
    /// A stable, short code: `malformed`, `unknown-password`, `digest`, `forged`, `expired`, `inflate`, `data`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownPassword => "unknown-password",
            Self::Digest => "digest",
            Self::Forged => "forged",
            Self::Expired => "expired",
            Self::Inflate => "inflate",
            Self::Data => "data",
        }
    }
}

impl From<Refusal> for crate::Rejection {
    /// What the request's own code is told.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownPassword | Refusal::Digest => Self::UnknownKey,
            Refusal::Forged => Self::Forged,
            Refusal::Expired => Self::Expired,
            Refusal::Malformed | Refusal::Inflate | Refusal::Data => Self::Malformed,
        }
    }
}

/// Why another library's secret can't be used.
///
/// ```
/// use session_core::interop::KeyError;
///
/// let error = KeyError::Short { actual: 31, least: 32 };
/// assert_eq!(error.to_string(), "the secret has 31 bytes, and 32 are needed");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Shorter than the other library takes.
    #[error("the secret has {actual} bytes, and {least} are needed")]
    Short {
        /// Bytes found.
        actual: usize,
        /// Bytes needed.
        least: usize,
    },
    /// PBKDF2 without iterations.
    #[error("key derivation takes at least one iteration")]
    Iterations,
    /// The Crystal library's public default secret, where it would be trusted.
    #[error("that secret is the library's public default: anyone can make sessions with it")]
    Public,
    /// An id that no seal can carry.
    #[error("the id of a password is made of 1 to 32 letters, digits and underscores")]
    PasswordId,
    /// Two passwords of one id.
    #[error("two passwords have the same id")]
    DuplicateId,
}

/// A session that another library made, opened and checked: what an import begins with.
///
/// ```
/// use session_core::{Timestamp, interop::Foreign};
///
/// let foreign = Foreign::new(b"id in the other library", Timestamp::MAX, ());
/// assert_eq!(foreign.identity, Foreign::new(b"id in the other library", Timestamp::MAX, ()).identity);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Foreign<T> {
    /// Names the session there: the same for every copy of it, and no secret.
    pub identity: crate::Key,
    /// When it ends there.
    pub expires_at: crate::Timestamp,
    /// The application's data.
    pub data: T,
}

impl<T> Foreign<T> {
    /// Of a session that the other library knows by `name`.
    pub fn new(name: &[u8], expires_at: crate::Timestamp, data: T) -> Self {
        Self { identity: crate::Key::of_foreign(name), expires_at, data }
    }
}
