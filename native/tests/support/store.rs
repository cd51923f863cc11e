//! A store that can be watched, stopped before and after every operation, and made to fail; and one that is taken for one outside of the process.

use core::{
    future::poll_fn,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    task::Poll,
};
use std::sync::{Arc, Mutex};

use session_native::{
    Key, MemoryStore, Query, Store, StoreError, SubjectTag, Version,
    store::{Batch, Found, Lookup, Record, Saved},
};

/// An operation of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Create,
    Load,
    Save,
    Delete,
    Epoch,
    Revoke,
    Other,
}

/// Where an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing was done.
    Before,
    /// It was done, and the answer is lost.
    After,
}

/// What happens around the operations of a store.
#[derive(Default)]
pub(crate) struct Stage {
    calls: AtomicU64,
    /// Every operation is a point where another request may go on: before it, and (if `after` too) after it.
    before: AtomicBool,
    after: AtomicBool,
    /// Set by a point, so that a scheduler knows it from other waiting.
    stopped: AtomicBool,
    down: AtomicBool,
    /// The request that a scheduler runs at this moment.
    running: AtomicUsize,
    faults: Mutex<Vec<Planned>>,
}

/// A fault to come, of one request or of any.
struct Planned {
    request: Option<usize>,
    op: Op,
    /// `None`: this one is let pass.
    fault: Option<Fault>,
}

impl Stage {
    /// How many operations there were.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn stop_at_operations(&self, before: bool, after: bool) {
        self.before.store(before, Ordering::SeqCst);
        self.after.store(after, Ordering::SeqCst);
    }

    pub(crate) fn take_stopped(&self) -> bool {
        self.stopped.swap(false, Ordering::SeqCst)
    }

    /// From now on every operation fails, or none.
    pub(crate) fn down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// The next operation of this kind fails.
    pub(crate) fn fail(&self, op: Op, fault: Fault) {
        self.faults.lock().unwrap().push(Planned { request: None, op, fault: Some(fault) });
    }

    /// The next operations of this kind, this many, are not what a fault that is planned from now on is for.
    pub(crate) fn pass(&self, op: Op, operations: usize) {
        let pass = || Planned { request: None, op, fault: None };
        self.faults.lock().unwrap().extend(core::iter::repeat_with(pass).take(operations));
    }

    /// The next operation of this kind that this request does fails.
    pub(crate) fn fail_in(&self, request: usize, op: Op, fault: Fault) {
        self.faults.lock().unwrap().push(Planned { request: Some(request), op, fault: Some(fault) });
    }

    pub(crate) fn run(&self, request: usize) {
        self.running.store(request, Ordering::SeqCst);
    }

    /// Whether every fault has happened.
    pub(crate) fn all_failed(&self) -> bool {
        self.faults.lock().unwrap().is_empty()
    }

    /// A handler that takes its time: another request may go on.
    pub(crate) async fn pause(&self) {
        self.point(&self.before).await;
    }

    async fn point(&self, on: &AtomicBool) {
        if !on.load(Ordering::SeqCst) {
            return;
        }
        let mut first = true;
        poll_fn(|context| {
            if core::mem::take(&mut first) {
                self.stopped.store(true, Ordering::SeqCst);
                // Without a scheduler that chooses, whoever else is ready goes first.
                context.waker().wake_by_ref();
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    async fn perform<R>(
        &self,
        op: Op,
        operation: impl Future<Output = Result<R, StoreError>>,
    ) -> Result<R, StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.point(&self.before).await;
        let fault = if self.down.load(Ordering::SeqCst) {
            Some(Fault::Before)
        } else {
            let mut faults = self.faults.lock().unwrap();
            let running = self.running.load(Ordering::SeqCst);
            let next = faults
                .iter()
                .position(|fault| fault.op == op && fault.request.is_none_or(|request| request == running));
            next.and_then(|next| faults.remove(next).fault)
        };
        let result = match fault {
            Some(Fault::Before) => Err(StoreError::unavailable("before")),
            Some(Fault::After) => operation.await.and(Err(StoreError::unavailable("after"))),
            None => operation.await,
        };
        self.point(&self.after).await;
        result
    }
}

/// A memory store on a stage.
pub(crate) struct StagedStore {
    store: MemoryStore,
    stage: Arc<Stage>,
}

impl StagedStore {
    pub(crate) fn new(store: MemoryStore, stage: Arc<Stage>) -> Self {
        Self { store, stage }
    }
}

impl Store for StagedStore {
    const IN_PROCESS: bool = true;

    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        self.stage.perform(Op::Create, self.store.create(key, record)).await
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        self.stage.perform(Op::Load, self.store.load(key, lookup)).await
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        self.stage.perform(Op::Save, self.store.save(key, record, expected)).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.stage.perform(Op::Delete, self.store.delete(key)).await
    }

    async fn epoch(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        self.stage.perform(Op::Epoch, self.store.epoch(subject)).await
    }
}

impl Query for StagedStore {
    async fn scan(&self, cursor: u64) -> Result<Batch, StoreError> {
        self.stage.perform(Op::Other, self.store.scan(cursor)).await
    }

    async fn by_subject(&self, subject: &SubjectTag) -> Result<Vec<(Key, Found)>, StoreError> {
        self.stage.perform(Op::Other, self.store.by_subject(subject)).await
    }

    async fn revoke_subject(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        self.stage.perform(Op::Revoke, self.store.revoke_subject(subject)).await
    }

    async fn len(&self) -> Result<u64, StoreError> {
        self.stage.perform(Op::Other, self.store.len()).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.stage.perform(Op::Other, self.store.clear()).await
    }
}

/// The memory store as one outside of this process: what stays in it is neither sealed nor compressed, which would only cost time.
#[derive(Clone, Default)]
pub(crate) struct Outside(pub(crate) MemoryStore);

impl Store for Outside {
    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        self.0.create(key, record).await
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        self.0.load(key, lookup).await
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        self.0.save(key, record, expected).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.0.delete(key).await
    }
}
