//! A store whose commands are measured.

use core::{future::Future, time::Duration};
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

/// Runs a command of a store.
macro_rules! observe {
    ($self:ident.$command:ident($($argument:expr),*)) => {{
        let span = span!("session.command", store = S::NAME, command = stringify!($command));
        measure::<S, _>(&$self.$command, $self.store.$command($($argument),*).instrument(span))
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

async fn measure<S: Store, R>(
    time: &Metric,
    command: impl Future<Output = Result<R, StoreError>>,
) -> Result<R, StoreError> {
    let begun = Instant::now();
    let result = command.await;
    time.record(begun.elapsed());
    if let Err(error) = &result {
        Metric::with(names::ERROR, S::NAME, "error", error.code()).count();
    }
    result
}

impl<S: Store> Store for Observed<S> {
    const IN_PROCESS: bool = S::IN_PROCESS;
    const NAME: &'static str = S::NAME;

    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        observe!(self.create(key, record)).await
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        observe!(self.load(key, lookup)).await
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        observe!(self.save(key, record, expected)).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        observe!(self.delete(key)).await
    }

    async fn epoch(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        observe!(self.epoch(subject)).await
    }

    async fn lease(&self, key: &Key, holder: u64, ttl: Duration) -> Result<bool, StoreError> {
        observe!(self.lease(key, holder, ttl)).await
    }

    async fn release(&self, key: &Key, holder: u64) -> Result<(), StoreError> {
        observe!(self.release(key, holder)).await
    }
}

impl<S: Query> Query for Observed<S> {
    async fn scan(&self, cursor: u64) -> Result<Batch, StoreError> {
        observe!(self.scan(cursor)).await
    }

    async fn by_subject(&self, subject: &SubjectTag) -> Result<Vec<(Key, Found)>, StoreError> {
        observe!(self.by_subject(subject)).await
    }

    async fn revoke_subject(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        observe!(self.revoke_subject(subject)).await
    }

    async fn len(&self) -> Result<u64, StoreError> {
        observe!(self.len()).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        observe!(self.clear()).await
    }
}
