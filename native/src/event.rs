//! What happens to sessions, told to whoever listens.

use std::panic::{AssertUnwindSafe, catch_unwind};

use session_core::{Key, Rejection, Session, SubjectTag};

use crate::observe::EventCounters;

/// What happened to a session. Listeners hear of it after it happened and can't undo it.
///
/// ```
/// use session_native::{EventKind, Rejection};
///
/// assert_ne!(EventKind::Rejected(Rejection::Forged), EventKind::Destroyed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A session was stored (or sealed into a cookie) for the first time.
    Started,
    /// A session was loaded from a valid token.
    Loaded,
    /// A change of a session was saved.
    Saved,
    /// A session's token was rotated: the one before is dead.
    Regenerated,
    /// A client was given a token.
    Issued,
    /// A session was ended: by its own request, or from outside by its public name ([`Sessions::revoke`](crate::Sessions::revoke) and what is made of it),
    /// and then the event has a key alone.
    Destroyed,
    /// A subject was signed out everywhere ([`Sessions::revoke_subject`](crate::Sessions::revoke_subject)): the event has its tag alone.
    SubjectRevoked,
    /// Every session of the store was ended ([`Sessions::clear`](crate::Sessions::clear)).
    Cleared,
    /// A token or session was found to be past its end.
    Expired,
    /// A token was refused for another reason ([`Rejection::Reused`]: maybe stolen, so ending the session that the event names may be wise), or a change was dropped because the session had ended.
    Rejected(Rejection),
}

impl EventKind {
    /// What a refusal is told as.
    pub(crate) const fn of(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Expired => Self::Expired,
            other => Self::Rejected(other),
        }
    }
}

/// An event and the session it is about.
///
/// Events are told by the provider that did what they tell. What a store does by itself, sweeping what has expired and ending the sessions beyond a limit,
/// tells nobody.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
/// use session_native::{Config, EventKind, MemoryStore, OsRandom, Secret, Sessions};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let started = Arc::new(AtomicU32::new(0));
/// let counter = started.clone();
/// let sessions = Sessions::<(), _>::new(Config::testing(Secret::generate(&OsRandom)?), MemoryStore::new())?
///     .on_event(move |event| {
///         if event.kind == EventKind::Started {
///             counter.fetch_add(1, Ordering::Relaxed);
///         }
///     });
/// sessions.commit(&mut sessions.create()).await?;
/// assert_eq!(started.load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Event<'a, T> {
    /// What happened.
    pub kind: EventKind,
    /// The session's public name, if it has one; of a refused token, the one that it names, if it is authentic and not past its end.
    pub key: Option<Key>,
    /// Who was signed out everywhere, of [`EventKind::SubjectRevoked`]; a session names its subject itself.
    pub subject: Option<SubjectTag>,
    /// The session as it is now; there is none of a rejected token, nor of one that was ended from outside.
    pub session: Option<&'a Session<T>>,
}

type Listener<T> = Box<dyn Fn(&Event<'_, T>) + Send + Sync>;

/// Those who listen: the metrics, and whom the application added.
pub(crate) struct Listeners<T> {
    counters: EventCounters,
    added: Vec<Listener<T>>,
}

impl<T> Listeners<T> {
    /// For sessions in this store.
    pub(crate) fn new(store: &'static str) -> Self {
        Self { counters: EventCounters::new(store), added: Vec::new() }
    }

    pub(crate) fn add(&mut self, listener: Listener<T>) {
        self.added.push(listener);
    }

    /// What happened to a session.
    pub(crate) fn tell(&self, kind: EventKind, key: Option<Key>, session: Option<&Session<T>>) {
        self.tell_all(&Event { kind, key, subject: None, session });
    }

    /// Tells everyone. One that panics is reported, and the others hear of the event all the same.
    pub(crate) fn tell_all(&self, event: &Event<'_, T>) {
        let kind = event.kind;
        // Never the subject: its tag is a hash that whoever guesses names can find.
        match event.key {
            Some(key) => tracing::debug!(?kind, %key, "session"),
            None => tracing::debug!(?kind, "session"),
        }
        self.counters.count(kind);
        for listener in &self.added {
            if catch_unwind(AssertUnwindSafe(|| listener(event))).is_err() {
                tracing::error!(?kind, "a session event listener panicked; the event stands");
            }
        }
    }
}
