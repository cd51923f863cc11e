//! Keys, versions and records for the points.

use core::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
    time::Duration,
};

use session_native::{
    Key, Store as _, SubjectTag, Version,
    store::{Found, Lookup, Record},
};

use crate::Harness;

/// A number that was not given before, well spread.
fn unique() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(1);
    LAST.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

pub(crate) fn key() -> Key {
    let mut bytes = [0; 16];
    for half in bytes.chunks_exact_mut(8) {
        half.copy_from_slice(&unique().to_le_bytes());
    }
    Key::from_bytes(bytes)
}

pub(crate) fn subject() -> SubjectTag {
    SubjectTag::new(&unique().to_string())
}

/// The version after `version`, of a save of its own.
pub(crate) fn after(version: Version) -> Version {
    Version { counter: version.counter + 1, nonce: unique() }
}

pub(crate) fn first() -> Version {
    after(Version::default())
}

/// A time that no test reaches.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// A record that outlives the test.
pub(crate) fn record<H: Harness>(harness: &H, payload: impl Into<Vec<u8>>) -> Record {
    Record::new(first(), harness.now() + LONG, payload.into())
}

/// A record that is gone after so many grains.
pub(crate) fn brief<H: Harness>(harness: &H, grains: u32) -> Record {
    Record::new(first(), harness.now() + H::GRAIN * grains, "brief")
}

/// The next save of a record.
pub(crate) fn next(record: &Record, payload: impl Into<Vec<u8>>) -> Record {
    let next = Record::new(after(record.version), record.expires_at, payload.into());
    next.of_subject(record.subject)
}

pub(crate) async fn create<H: Harness>(harness: &H, key: &Key, record: &Record) {
    assert_eq!(harness.store().create(key, record).await, Ok(true), "the key is free");
}

pub(crate) async fn load<H: Harness>(harness: &H, key: &Key) -> Option<Record> {
    load_with(harness, key, Lookup::default()).await.map(|found| found.record)
}

pub(crate) async fn load_with<H: Harness>(harness: &H, key: &Key, lookup: Lookup) -> Option<Found> {
    harness.store().load(key, lookup).await.expect("a load")
}

/// Polls a future so many times at most and drops it, as a request that is cancelled does.
pub(crate) async fn poll_and_drop(polls: u32, future: impl Future) {
    let mut future = pin!(future);
    for _ in 0..polls {
        let done = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if done {
            return;
        }
        tokio::task::yield_now().await;
    }
}
