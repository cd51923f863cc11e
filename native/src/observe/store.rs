//! A store whose commands are measured.

use core::time::Duration;
use std::time::Instant;

use session_core::{Key, SubjectTag, Version};
use tracing::Instrument as _;

use super::{Metric, names, span};
use crate::store::{Batch, Found, Lookup, Query, Record, Saved, Store, StoreError};

/// A store each of whose commands runs in a span, is timed, and has its error counted. [`Sessions`](crate::Sessions) puts it around every store.
pub struct Observed<S> {
    pub(crate) store: S,
    create: Metric,
    load: Metric,
    save: Metric,
    delete: Metric,
    epoch: Metric,
    lease: Metric,
    release: Metric,
    scan: Metric,
    by_subject: Metric,
    revoke_subject: Metric,
    len: Metric,
    clear: Metric,
}

/// Runs a command of a store. No function that takes its future: that would have room for it twice, and every request carries its own around.
macro_rules! observe {
    ($self:ident.$command:ident($($argument:expr),*)) => {{
        let span = span!("session.command", store = S::NAME, command = stringify!($command));
        let begun = Instant::now();
        let result = $self.store.$command($($argument),*).instrument(span).await;
        tell::<S, _>(&$self.$command, begun, &result);
        result
    }};
}

impl<S: Store> Observed<S> {
    pub(crate) fn new(store: S) -> Self {
        let metric = |command| Metric::with(names::COMMAND_TIME, S::NAME, "command", command);
        Self {
            store,
            create: metric("create"),
            load: metric("load"),
            save: metric("save"),
            delete: metric("delete"),
            epoch: metric("epoch"),
            lease: metric("lease"),
            release: metric("release"),
            scan: metric("scan"),
            by_subject: metric("by_subject"),
            revoke_subject: metric("revoke_subject"),
            len: metric("len"),
            clear: metric("clear"),
        }
    }
}

fn tell<S: Store, R>(time: &Metric, begun: Instant, result: &Result<R, StoreError>) {
    time.record(begun.elapsed());
    if let Err(error) = result {
        Metric::with(names::ERROR, S::NAME, "error", error.code()).count();
    }
}

impl<S: Store> Store for Observed<S> {
    const IN_PROCESS: bool = S::IN_PROCESS;
    const NAME: &'static str = S::NAME;

    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        observe!(self.create(key, record))
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        observe!(self.load(key, lookup))
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        observe!(self.save(key, record, expected))
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        observe!(self.delete(key))
    }

    async fn epoch(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        observe!(self.epoch(subject))
    }

    async fn lease(&self, key: &Key, holder: u64, ttl: Duration) -> Result<bool, StoreError> {
        observe!(self.lease(key, holder, ttl))
    }

    async fn release(&self, key: &Key, holder: u64) -> Result<(), StoreError> {
        observe!(self.release(key, holder))
    }
}

impl<S: Query> Query for Observed<S> {
    async fn scan(&self, cursor: u64) -> Result<Batch, StoreError> {
        observe!(self.scan(cursor))
    }

    async fn by_subject(&self, subject: &SubjectTag) -> Result<Vec<(Key, Found)>, StoreError> {
        observe!(self.by_subject(subject))
    }

    async fn revoke_subject(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        observe!(self.revoke_subject(subject))
    }

    async fn len(&self) -> Result<u64, StoreError> {
        observe!(self.len())
    }

    async fn clear(&self) -> Result<(), StoreError> {
        observe!(self.clear())
    }
}
