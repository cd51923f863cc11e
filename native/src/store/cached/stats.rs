//! What a cache counts, and how metrics get it.

use core::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use std::sync::Mutex;

use tokio::sync::watch;

use super::{BUCKETS, protocol::Moment, table::Table};
use crate::lock::lock;

/// Counters of a [`CachedStore`](super::CachedStore) since it was made.
///
/// ```
/// use session_native::store::cached::CacheStats;
///
/// assert_eq!(CacheStats::default().hit_rate(), 0.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Loads answered from the cache.
    pub hits: u64,
    /// Loads that wanted an answer from the cache and went to the store.
    pub misses: u64,
    /// Loads that went to the store because they had to: up to date, or extending the session.
    pub bypasses: u64,
    /// Entries dropped to make room.
    pub evictions: u64,
    /// Entries held now, sessions and subjects' epochs; those that can't be served any more are counted until they are swept.
    pub entries: usize,
    /// What these weigh in bytes: [`CachedStoreBuilder::max_bytes`](super::CachedStoreBuilder::max_bytes) bounds it.
    pub weight: u64,
    /// How often everything held of some buckets was given up at once: a link came or went, or the store was cleared.
    pub epoch_changes: u64,
    /// For how long, in all, changes were not heard for some part of the sessions, so that it was not served from the cache.
    pub down: Duration,
    /// How old the last proof is that every change was heard; nothing is served when it is older than the lease. `None` while changes are not heard.
    pub lease_age: Option<Duration>,
}

impl CacheStats {
    /// The share of hits among the loads that wanted an answer from the cache; zero when there were none.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a ratio")]
    pub fn hit_rate(&self) -> f64 {
        match self.hits + self.misses {
            0 => 0.0,
            loads => self.hits as f64 / loads as f64,
        }
    }
}

/// Hits, counted by every thread in a cache line of its own.
#[derive(Default)]
pub(super) struct Hits {
    /// Of the first threads of the process, each of which alone writes its own: no thread waits for another, and nothing is lost.
    own: [Line; Self::OWN],
    /// Of all others.
    shared: Line,
}

#[derive(Default)]
#[repr(align(64))]
struct Line(AtomicU64);

impl Hits {
    const OWN: usize = 32;

    #[inline]
    pub(super) fn add(&self) {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        match NUMBER.with(|number| self.own.get(*number)) {
            Some(Line(own)) => own.store(own.load(Ordering::Relaxed) + 1, Ordering::Relaxed),
            None => {
                self.shared.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn sum(&self) -> u64 {
        self.own.iter().chain([&self.shared]).map(|Line(hits)| hits.load(Ordering::Relaxed)).sum()
    }
}

/// Everything that is counted.
pub(super) struct Counters {
    pub(super) hits: Hits,
    pub(super) misses: AtomicU64,
    pub(super) bypasses: AtomicU64,
    pub(super) evictions: AtomicU64,
    epoch_changes: AtomicU64,
    uptime: Mutex<Uptime>,
    is_live: watch::Sender<bool>,
}

/// How many buckets are live, and for how long not all of them were.
struct Uptime {
    live: usize,
    down_since: Option<Moment>,
    /// In nanoseconds.
    down: u64,
}

impl Counters {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            hits: Hits::default(),
            misses: AtomicU64::new(0),
            bypasses: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            epoch_changes: AtomicU64::new(0),
            uptime: Mutex::new(Uptime { live: 0, down_since: Some(now), down: 0 }),
            is_live: watch::Sender::new(false),
        }
    }

    /// Some buckets came alive, some are dead now.
    pub(super) fn transition(&self, now: Moment, alive: usize, dead: usize, has_moved: bool) {
        if has_moved {
            self.epoch_changes.fetch_add(1, Ordering::Relaxed);
        }
        if alive == 0 && dead == 0 {
            return;
        }
        let mut uptime = lock(&self.uptime);
        uptime.live = (uptime.live + alive).saturating_sub(dead);
        if uptime.live < BUCKETS {
            uptime.down_since.get_or_insert(now);
        } else if let Some(since) = uptime.down_since.take() {
            uptime.down += now.saturating_sub(since);
        }
        self.is_live.send_replace(uptime.live == BUCKETS);
    }

    /// Waits until all buckets are live.
    pub(super) async fn live(&self) {
        // The sender lives as long as `self`.
        let _ = self.is_live.subscribe().wait_for(|is_live| *is_live).await;
    }

    fn down(&self, now: Moment) -> Duration {
        let uptime = lock(&self.uptime);
        let now_down = uptime.down_since.map_or(0, |since| now.saturating_sub(since));
        Duration::from_nanos(uptime.down + now_down)
    }
}

impl Table {
    pub(super) fn stats(&self) -> CacheStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        CacheStats {
            hits: counters.hits.sum(),
            misses: read(&counters.misses),
            bypasses: read(&counters.bypasses),
            evictions: read(&counters.evictions),
            entries: self.entries(),
            weight: self.weight(),
            epoch_changes: read(&counters.epoch_changes),
            down: counters.down(self.time.exact()),
            lease_age: self.lease_age(),
        }
    }

    /// Hands the counters to the recorder of metrics, if there is one. Done now and then rather than at every load: a hit takes less time
    /// than recording it would.
    #[allow(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
    pub(super) fn record_metrics(&self) {
        let stats = self.stats();
        metrics::counter!("session.cache.hits").absolute(stats.hits);
        metrics::counter!("session.cache.misses").absolute(stats.misses);
        metrics::counter!("session.cache.bypasses").absolute(stats.bypasses);
        metrics::counter!("session.cache.evictions").absolute(stats.evictions);
        metrics::counter!("session.cache.epoch_changes").absolute(stats.epoch_changes);
        metrics::gauge!("session.cache.entries").set(stats.entries as f64);
        metrics::gauge!("session.cache.weight_bytes").set(stats.weight as f64);
        metrics::gauge!("session.cache.hit_rate").set(stats.hit_rate());
        metrics::gauge!("session.cache.down_seconds").set(stats.down.as_secs_f64());
        // Without a lease its age is unbounded, and a gauge can say so.
        let age = stats.lease_age.map_or(f64::INFINITY, |age| age.as_secs_f64());
        metrics::gauge!("session.cache.lease_age_seconds").set(age);
    }
}
