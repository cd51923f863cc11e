//! The half of [`Session`](crate::Session) that backends drive: loading, drafting a save, accepting it, merging on conflict.
//!
//! Nothing here does I/O. A backend asks for a [`Draft`], tries to write it, and then either accepts it, or
//! rebases the session on what it found in the store and asks again. A draft that was not accepted leaves the session as it was, so
//! a failed commit can be tried again.

mod end;
mod load;
mod save;

pub use crate::session::Named;
use crate::{
    binding::ClientBinding,
    crypto::KeyRing,
    flash::Messages,
    id::{Key, SubjectTag},
    payload::Payload,
    random::Random,
    record::Version,
    session::Facts,
    time::{Expiry, Timestamp},
    token::Kind,
};

/// What a backend knows when it commits.
#[derive(Clone, Copy)]
pub struct CommitContext<'a> {
    /// The time of the commit.
    pub now: Timestamp,
    /// The timeouts.
    pub expiry: &'a Expiry,
    /// The keys that client bindings are hashed with.
    pub ring: &'a KeyRing,
    /// What sessions are bound to, if anything.
    pub binding: Option<&'a ClientBinding>,
    /// Where ids and versions come from.
    pub random: &'a dyn Random,
    /// [`Kind::CookieHeld`] or [`Kind::Record`]: what the payload is for.
    pub kind: Kind,
}

/// A save that is about to be tried.
#[derive(Clone)]
pub struct Draft {
    key: Key,
    facts: Facts,
    payload: Payload,
    flash: Messages,
    expires_at: Timestamp,
    created: bool,
    rotated: bool,
    changes: u64,
    renewals: u64,
}

impl Draft {
    /// What is to be written.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.payload.as_bytes()
    }

    /// Whether the session has not been stored before.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.created
    }

    /// Whether the token is rotated.
    #[must_use]
    pub const fn is_rotated(&self) -> bool {
        self.rotated
    }

    /// Which save this is.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.facts.version
    }

    /// When what is written expires.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Whom the session belongs to.
    #[must_use]
    pub fn subject(&self) -> Option<SubjectTag> {
        self.facts.subject.as_deref().map(SubjectTag::new)
    }

    /// Where the session lies in a store.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.key
    }
}
