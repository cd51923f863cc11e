//! What can go wrong between an application and its sessions.

use session_core::Rejection;

use crate::store::StoreError;

/// What went wrong. No message holds a secret, an id, a token or a value of the session.
///
/// ```
/// use session_native::{Error, StoreError};
///
/// let error = Error::from(StoreError::Full { capacity: Some(1000) });
/// assert!(error.is_store_failure() && !error.is_unavailable());
/// assert_eq!(error.code(), "full");
/// assert_eq!(error.to_string(), "the session store is full (1000 sessions): raise its capacity, or shorten the timeouts");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration, the random source, the data: whatever has to do with no store.
    #[error(transparent)]
    Core(#[from] session_core::Error),
    /// The store didn't do what it was asked to. Nothing is known about the session: it is *not* anonymous.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session was ended or rotated elsewhere, while this request ran or just before it came. What the request changed was not
    /// saved, and will not be: it was meant for a session that is no more (but for fields that are declared to survive a rotation).
    #[error(
        "the session was ended or rotated by another request; the changes of this one were not saved ({0})"
    )]
    Ended(Rejection),
    /// Too many requests changed this one session at the same time. Nothing was saved.
    #[error(
        "the session is being changed by too many requests at once; its changes were not saved: try again"
    )]
    Contended,
    /// Sessions are bound to the client's address, and the address isn't known.
    #[error(
        "sessions are bound to the client's address, and the address is unknown: serve with `into_make_service_with_connect_info::<SocketAddr>()`"
    )]
    ClientAddressUnknown,
    /// A closure that changed the session panicked, and a layer caught that: what it left behind is half of a change. Nothing is saved.
    #[error("a handler panicked while it changed the session; nothing of it was saved")]
    Panicked,
}

impl Error {
    /// Whether trying the same again later can help: of a store's error what [`StoreError::is_unavailable`] says, and [`Error::Contended`]. A web
    /// application answers 503 with `Retry-After`.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_unavailable(),
            Self::Contended => true,
            _ => false,
        }
    }

    /// Whether the store didn't do what it was asked to, for whatever reason, so that nothing is known about the session. A web application answers 503;
    /// that trying again helps says only [`Error::is_unavailable`]: a store that is full, or has another password, waits for its operator.
    #[must_use]
    pub const fn is_store_failure(&self) -> bool {
        matches!(self, Self::Store(_))
    }

    /// A stable, short code for metrics: that of the store's error ([`StoreError::code`]); `cookie-too-large`, `record-too-large`, `not-json`,
    /// `merge-conflict`, `unreadable`, `random`; that of the rejection ([`Rejection::code`]); `contended`, `client-address`, `panicked`; `bad-config` for
    /// whatever a start would have found.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        use session_core::Error::{CookieTooLarge, Random, RecordTooLarge, Rejected, Serialize, Unreadable};

        match self {
            Self::Core(CookieTooLarge { .. }) => "cookie-too-large",
            Self::Core(RecordTooLarge { .. }) => "record-too-large",
            Self::Core(Serialize(_)) => "not-json",
            Self::Core(Unreadable(_)) => "unreadable",
            Self::Core(Random(_)) => "random",
            Self::Core(Rejected(reason)) | Self::Ended(reason) => reason.code(),
            Self::Core(session_core::Error::MergeConflict { .. }) => "merge-conflict",
            Self::Core(_) => "bad-config",
            Self::Store(error) => error.code(),
            Self::Contended => "contended",
            Self::ClientAddressUnknown => "client-address",
            Self::Panicked => "panicked",
        }
    }

    /// Whether another request changed what this one changed, and the fields' policy is that one of the two fails
    /// ([`MergePolicy::Fail`](session_core::MergePolicy::Fail)): a web application answers 409.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Core(session_core::Error::MergeConflict { .. }))
    }

    /// Whether the data doesn't fit where sessions are kept: a web application answers 413.
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        use session_core::Error::{CookieTooLarge, RecordTooLarge};

        matches!(self, Self::Core(CookieTooLarge { .. } | RecordTooLarge { .. }))
    }
}

impl From<session_core::ConfigError> for Error {
    fn from(error: session_core::ConfigError) -> Self {
        Self::Core(error.into())
    }
}

impl From<session_core::RandomError> for Error {
    fn from(error: session_core::RandomError) -> Self {
        Self::Core(error.into())
    }
}

impl From<session_core::Unreadable> for Error {
    fn from(reason: session_core::Unreadable) -> Self {
        Self::Core(session_core::Error::Unreadable(reason))
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn what_a_store_says_of_trying_again_is_said_of_its_error() {
        let errors = [
            (StoreError::unavailable("refused"), true),
            (StoreError::TimedOut { after: Duration::ZERO }, true),
            (StoreError::CircuitOpen { retry_after: Duration::ZERO }, true),
            (StoreError::Full { capacity: None }, false),
            (StoreError::misconfigured("another password"), false),
            (StoreError::Malformed, false),
        ];
        for (of_store, helps) in errors {
            assert_eq!(of_store.is_unavailable(), helps, "{of_store}");
            let error = Error::from(of_store);
            assert_eq!((error.is_unavailable(), error.is_store_failure()), (helps, true), "{error}");
        }
        assert!(Error::Contended.is_unavailable() && !Error::Contended.is_store_failure());
        let ended = Error::Ended(Rejection::Revoked);
        assert!(!ended.is_unavailable() && !ended.is_store_failure());
    }
}
