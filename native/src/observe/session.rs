//! What is counted and measured of sessions, wherever they are kept.

use super::{Metric, names};
use crate::{error::Error, event::EventKind};

/// One counter for each kind of event.
pub(crate) struct EventCounters {
    store: &'static str,
    created: Metric,
    loaded: Metric,
    saved: Metric,
    issued: Metric,
    regenerated: Metric,
    deleted: Metric,
    expired: Metric,
}

impl EventCounters {
    pub(crate) fn new(store: &'static str) -> Self {
        let metric = |name| Metric::new(name, store);
        Self {
            store,
            created: metric(names::CREATED),
            loaded: metric(names::LOADED),
            saved: metric(names::SAVED),
            issued: metric(names::ISSUED),
            regenerated: metric(names::REGENERATED),
            deleted: metric(names::DELETED),
            expired: metric(names::EXPIRED),
        }
    }

    pub(crate) fn count(&self, kind: EventKind) {
        match kind {
            EventKind::Started => self.created.count(),
            EventKind::Loaded => self.loaded.count(),
            EventKind::Saved => self.saved.count(),
            EventKind::Issued => self.issued.count(),
            EventKind::Regenerated => self.regenerated.count(),
            EventKind::Destroyed => self.deleted.count(),
            EventKind::Expired => self.expired.count(),
            // The store's commands of these names are.
            EventKind::SubjectRevoked | EventKind::Cleared => {}
            EventKind::Rejected(reason) => {
                Metric::with(names::REJECTED, self.store, "reason", reason.code()).count();
            }
        }
    }
}

/// How long loading and saving take.
pub(crate) struct Timings {
    pub(crate) load: Metric,
    pub(crate) store: Metric,
}

impl Timings {
    pub(crate) fn new(store: &'static str) -> Self {
        Self { load: Metric::new(names::LOAD_TIME, store), store: Metric::new(names::STORE_TIME, store) }
    }
}

/// Counts what failed, but for a store's error, which is counted where the store is asked, and the end of a session, which is an event.
pub(crate) fn count_error(store: &'static str, error: &Error) {
    if !matches!(error, Error::Store(_) | Error::Ended(_)) {
        Metric::with(names::ERROR, store, "error", error.code()).count();
    }
}
