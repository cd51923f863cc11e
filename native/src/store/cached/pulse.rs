//! What hits read of the buckets: without a lock, in an order that matters.

use super::{
    BUCKETS,
    protocol::{Moment, Pulse},
    sync::{AtomicU64, Ordering},
    table::Entry,
};

/// The pulses of all buckets, next to each other: they are small, and only heartbeats and links that come and go write them, so every core
/// has them in its cache.
pub(super) struct Pulses(Box<[Published]>);

struct Published {
    /// One more than the time: zero is "not live".
    t_ok: AtomicU64,
    epoch: AtomicU64,
}

impl Pulses {
    pub(super) fn new() -> Self {
        let down = || Published { t_ok: AtomicU64::new(0), epoch: AtomicU64::new(0) };
        Self((0..BUCKETS).map(|_| down()).collect())
    }

    /// The time before the epoch: an entry of the epoch is then at least as new as the time, also if a link is replaced in between.
    #[inline]
    pub(super) fn read(&self, bucket: usize) -> Pulse {
        let Published { t_ok, epoch } = &self.0[bucket];
        let t_ok = t_ok.load(Ordering::Acquire).checked_sub(1);
        Pulse { t_ok, epoch: epoch.load(Ordering::Acquire) }
    }

    /// The epoch before the time, for the same reason: a reader of the new time sees the new epoch too. To be called under the bucket's lock.
    pub(super) fn write(&self, bucket: usize, pulse: Pulse) {
        let Published { t_ok, epoch } = &self.0[bucket];
        epoch.store(pulse.epoch, Ordering::Release);
        t_ok.store(pulse.t_ok.map_or(0, |t_ok| t_ok.saturating_add(1)), Ordering::Release);
    }

    /// The pulse before the entry: so the entry has felt every change that the pulse vouches for. `now` was read before both.
    #[inline(always)]
    pub(super) fn serve<V>(
        &self,
        bucket: usize,
        now: Moment,
        at_most: u64,
        entry: impl FnOnce() -> Option<Entry<V>>,
    ) -> Option<V> {
        let pulse = self.read(bucket);
        if !pulse.is_within(now, at_most) {
            return None;
        }
        let entry = entry()?;
        pulse.serves(entry.epoch, entry.deadline, now, at_most).then_some(entry.value)
    }
}
