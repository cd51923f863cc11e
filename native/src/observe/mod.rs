//! What operators see: metrics through the facade of the crate [`metrics`], and spans of [`tracing`].
//!
//! Install a recorder (`metrics-exporter-prometheus`, say) and the metrics are there; without one they cost next to nothing. The
//! example `metrics` shows a page for Prometheus to scrape.
//!
//! | metric | labels | |
//! |---|---|---|
//! | `session.created` | `store` | sessions stored, or sealed into a cookie, for the first time |
//! | `session.loaded` | `store` | sessions loaded |
//! | `session.saved` | `store` | changes saved |
//! | `session.issued` | `store` | tokens given to clients |
//! | `session.regenerated` | `store` | tokens rotated |
//! | `session.deleted` | `store` | sessions ended by their own request, or by [`Sessions::revoke`](crate::Sessions::revoke) |
//! | `session.expired` | `store` | tokens refused because the session was past its end |
//! | `session.rejected` | `store`, `reason` | tokens refused, and changes dropped, for another reason: [`Rejection::code`](crate::Rejection::code) |
//! | `session.error` | `store`, `error` | operations that failed: [`Error::code`](crate::Error::code) |
//! | `session.load_time` | `store` | seconds that a session took to load: token, store, client binding, data |
//! | `session.store_time` | `store` | seconds that a change took to be saved, merging with others' included |
//! | `session.command_time` | `store`, `command` | seconds that a store took to answer, or to fail: `create`, `load`, `save`, `delete`, `epoch`, `lease`, `release`, `scan`, `by_subject`, `revoke_subject`, `len`, `clear` |
//! | `session.active_count` | `store` | sessions in the store, as [`Sessions::len`](crate::Sessions::len) last found |
//! | `session.circuit_breaker.open` | `store` | how often the breaker opened |
//! | `session.circuit_breaker.half_open` | `store` | how often it let a first probe through |
//! | `session.retry.attempt` | `store` | tries after the first |
//!
#![cfg_attr(feature = "cache", doc = "[`CachedStore`]: crate::store::cached::CachedStore")]
#![cfg_attr(not(feature = "cache"), doc = "[`CachedStore`]: crate::guide::cluster")]
//!
//! A [`CachedStore`] tells of itself once a second, without labels:
//! `session.cache.hits`, `.misses`, `.bypasses`, `.evictions` and `.epoch_changes` are counters; `.entries`, `.weight_bytes`, `.hit_rate`,
//! `.down_seconds` and `.lease_age_seconds` are gauges. Their meanings stand at its `CacheStats`.
//!
//! The times are histograms, `session.active_count` is a gauge, all others are counters. `store` is [`Store::NAME`](crate::Store::NAME), or
//! `cookie`.
//!
//! Spans, at level `DEBUG`: `session.load`, `session.commit`, `session.update`, `session.destroy` with the field `store`; inside of
//! them `session.command` with `store` and `command`.
//!
//! No label and no field of a span holds a secret, an id, a key, a token, a subject or data: every one of them has a handful of values.

mod session;
mod store;

use core::time::Duration;

use metrics::{Key, Label, Level, Metadata, Unit, with_recorder};
pub(crate) use session::{EventCounters, Timings, count_error};
pub use store::Observed;

/// A span at level `DEBUG`; none if nobody listens at that level, so that a command that nobody watches costs nothing more.
macro_rules! span {
    ($($described:tt)+) => {
        if tracing::level_filters::LevelFilter::current() >= tracing::Level::DEBUG {
            tracing::debug_span!($($described)+)
        } else {
            tracing::Span::none()
        }
    };
}
pub(crate) use span;

/// The names of the metrics.
pub(crate) mod names {
    pub(crate) const CREATED: &str = "session.created";
    pub(crate) const LOADED: &str = "session.loaded";
    pub(crate) const SAVED: &str = "session.saved";
    pub(crate) const ISSUED: &str = "session.issued";
    pub(crate) const REGENERATED: &str = "session.regenerated";
    pub(crate) const DELETED: &str = "session.deleted";
    pub(crate) const EXPIRED: &str = "session.expired";
    pub(crate) const REJECTED: &str = "session.rejected";
    pub(crate) const ERROR: &str = "session.error";
    pub(crate) const LOAD_TIME: &str = "session.load_time";
    pub(crate) const STORE_TIME: &str = "session.store_time";
    pub(crate) const COMMAND_TIME: &str = "session.command_time";
    pub(crate) const ACTIVE_COUNT: &str = "session.active_count";
    pub(crate) const BREAKER_OPEN: &str = "session.circuit_breaker.open";
    pub(crate) const BREAKER_HALF_OPEN: &str = "session.circuit_breaker.half_open";
    pub(crate) const RETRY_ATTEMPT: &str = "session.retry.attempt";
}

/// Tells the installed recorder what the metrics mean and their units; scrapes show it as help. Call it once, after the
/// recorder was installed. Metrics are recorded without it all the same.
///
/// ```
/// session_native::observe::describe(); // without a recorder: nothing
/// ```
pub fn describe() {
    const COUNTERS: [(&str, &str); 12] = [
        (names::CREATED, "Sessions stored for the first time."),
        (names::LOADED, "Sessions loaded."),
        (names::SAVED, "Changes of sessions saved."),
        (names::ISSUED, "Tokens given to clients."),
        (names::REGENERATED, "Tokens rotated."),
        (names::DELETED, "Sessions ended."),
        (names::EXPIRED, "Tokens refused because their session was past its end."),
        (names::REJECTED, "Tokens refused and changes dropped, by reason."),
        (names::ERROR, "Session operations that failed, by error."),
        (names::BREAKER_OPEN, "How often the circuit breaker opened."),
        (names::BREAKER_HALF_OPEN, "How often the circuit breaker let a first probe through."),
        (names::RETRY_ATTEMPT, "Tries of store commands after the first."),
    ];
    const TIMES: [(&str, &str); 3] = [
        (names::LOAD_TIME, "How long a session took to load."),
        (names::STORE_TIME, "How long a change took to be saved."),
        (names::COMMAND_TIME, "How long a store took to answer a command."),
    ];
    with_recorder(|recorder| {
        for (name, text) in COUNTERS {
            recorder.describe_counter(name.into(), Some(Unit::Count), text.into());
        }
        for (name, text) in TIMES {
            recorder.describe_histogram(name.into(), Some(Unit::Seconds), text.into());
        }
        let text = "Sessions in the store when they were last counted.";
        recorder.describe_gauge(names::ACTIVE_COUNT.into(), Some(Unit::Count), text.into());
    });
}

/// One metric: its name and labels, put together once.
///
/// The recorder is asked for its counter each time, so that it may be installed at any time: a handle taken before would record
/// nothing for ever.
pub(crate) struct Metric(Key);

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

impl Metric {
    /// A metric of a store.
    pub(crate) fn new(name: &'static str, store: &'static str) -> Self {
        Self(Key::from_parts(name, vec![Label::from_static_parts("store", store)]))
    }

    /// One with a label of its own.
    pub(crate) fn with(
        name: &'static str,
        store: &'static str,
        label: &'static str,
        value: &'static str,
    ) -> Self {
        let labels = vec![Label::from_static_parts("store", store), Label::from_static_parts(label, value)];
        Self(Key::from_parts(name, labels))
    }

    /// One more of a counter.
    pub(crate) fn count(&self) {
        with_recorder(|recorder| recorder.register_counter(&self.0, &METADATA)).increment(1);
    }

    /// A value of a histogram, in seconds.
    pub(crate) fn record(&self, time: Duration) {
        with_recorder(|recorder| recorder.register_histogram(&self.0, &METADATA)).record(time);
    }

    /// The value of a gauge.
    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float: exact up to 2^53")]
    pub(crate) fn set(&self, value: u64) {
        with_recorder(|recorder| recorder.register_gauge(&self.0, &METADATA)).set(value as f64);
    }
}
