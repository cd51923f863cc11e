//! The contract of [`Store`] and [`Query`] as a test suite. One line makes a named test of every point:
//!
//! ```
//! use core::time::Duration;
//! use session_conformance::Harness;
//! use session_native::{Clock as _, ManualClock, MemoryStore, Timestamp};
//!
//! struct Memory {
//!     clock: ManualClock,
//!     store: MemoryStore,
//! }
//!
//! impl Memory {
//!     fn new() -> Self {
//!         let clock = ManualClock::default();
//!         Self { store: MemoryStore::builder().clock(clock.clone()).build(), clock }
//!     }
//! }
//!
//! impl Harness for Memory {
//!     type Store = MemoryStore;
//!
//!     fn store(&self) -> &MemoryStore {
//!         &self.store
//!     }
//!
//!     fn now(&self) -> Timestamp {
//!         self.clock.now()
//!     }
//!
//!     async fn advance(&self, by: Duration) {
//!         self.clock.advance(by);
//!     }
//! }
//!
//! // A `#[test]` for every point; the expression may await.
//! session_conformance::store_tests!(Memory::new());
//! session_conformance::query_tests!(Memory::new());
//! # session_conformance::run(|| async { Memory::new() }, session_conformance::store::the_moment_of_expiry_is_exact);
//! ```
//!
//! A store whose time can't be set by hand (a Redis server) waits in [`Harness::advance`] and says with [`Harness::GRAIN`] how
//! exactly it can wait.
//!
//! The points stand in [`store`], [`query`] and (for stores that limit the sessions of a subject) [`limit`]; each is a sentence, and a panic is its failure.

#![forbid(unsafe_code)]

pub mod limit;
pub mod query;
pub mod store;
mod support;

use core::time::Duration;

use session_native::{Store, Timestamp};

#[cfg(doc)]
use session_native::Query;

/// A fresh, empty store and its time.
///
/// See the [crate's example](crate).
pub trait Harness: Send + Sync + 'static {
    /// The store under test.
    type Store: Store;

    /// The steps in which [`Harness::advance`] meets a point in time: 1 ms with a clock that is set by hand. A harness that really waits
    /// takes so long a time that a dozen store operations are certain to be done in it, say 100 ms; the tests then last some seconds.
    const GRAIN: Duration = Duration::from_millis(1);

    /// The store: always the same, and nobody else's.
    fn store(&self) -> &Self::Store;

    /// The time by the store's clock.
    fn now(&self) -> Timestamp;

    /// Lets time pass.
    fn advance(&self, by: Duration) -> impl Future<Output = ()> + Send;
}

/// Runs one point on a fresh harness, on a runtime with two threads. [`store_tests`] and its like call it.
///
/// # Panics
/// If the point doesn't hold, or there is no runtime to be had.
pub fn run<H: Harness, Made: Future<Output = H>, Held: Future<Output = ()>>(
    make: impl FnOnce() -> Made,
    point: impl FnOnce(H) -> Held,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a tokio runtime").block_on(async { point(make().await).await });
}

/// One `#[test]` for each point of the contract of [`Store`], in a module `store`. Takes an expression that makes a fresh [`Harness`]; it
/// may await, and is evaluated once for each test.
#[macro_export]
macro_rules! store_tests {
    ($harness:expr) => {
        $crate::store_points!(points, $harness);
    };
}

/// Every point of both contracts, and of the limit, one after the other, in the future that it gives: for stores whose servers take long to start. The
/// expressions are evaluated for each point, and may await.
#[macro_export]
macro_rules! all_in_turn {
    ($harness:expr, limited: $limited:expr) => {
        async {
            $crate::store_points!(in_turn, $harness);
            $crate::query_points!(in_turn, $harness);
            $crate::limit_points!(in_turn, $limited);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! store_points {
    ($then:ident, $harness:expr) => {
        $crate::$then!(
            store,
            $harness,
            [
                a_created_record_is_found_as_it_was,
                create_never_overwrites,
                a_retried_create_is_true,
                an_unknown_key_is_not_found,
                loading_and_touching_an_unknown_key_create_nothing,
                save_replaces_the_expected_version,
                a_save_of_another_version_is_a_conflict_and_writes_nothing,
                a_conflict_tells_what_is_stored,
                a_retried_save_is_stored_and_applied_once,
                a_retried_save_that_was_overtaken_undoes_nothing,
                save_never_creates,
                delete_tells_whether_there_was_a_record,
                a_late_save_does_not_bring_a_deleted_record_back,
                a_late_touch_does_not_bring_a_deleted_record_back,
                the_moment_of_expiry_is_exact,
                an_expired_record_is_as_good_as_deleted,
                an_expired_key_is_free_again,
                a_save_moves_the_expiry,
                touch_extends,
                touch_never_shortens,
                touch_never_revives,
                touch_changes_nothing_but_the_expiry,
                payloads_come_back_byte_for_byte,
                versions_and_subjects_come_back,
                records_of_different_keys_are_apart,
                a_dropped_create_can_be_tried_again,
                a_dropped_save_can_be_tried_again,
                a_dropped_delete_can_be_tried_again,
                of_concurrent_creates_exactly_one_wins,
                of_concurrent_saves_from_one_version_exactly_one_wins,
                savers_against_a_destroyer_bring_nothing_back,
                eight_writers_lose_no_update,
            ]
        );
    };
}

/// One `#[test]` for each point of the contract of [`Query`], in a module `query`: as [`store_tests`].
#[macro_export]
macro_rules! query_tests {
    ($harness:expr) => {
        $crate::query_points!(points, $harness);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! query_points {
    ($then:ident, $harness:expr) => {
        $crate::$then!(
            query,
            $harness,
            [
                an_epoch_starts_at_zero,
                revoking_moves_the_epoch_on,
                a_load_sees_the_epoch_of_the_subject_it_asks_for,
                concurrent_revocations_all_count,
                revoking_leaves_other_subjects_alone,
                a_listing_has_the_live_records_of_its_subject_alone,
                a_listing_follows_a_change_of_subject,
                a_listing_forgets_deleted_and_expired_records,
                a_listing_has_the_current_epoch,
                a_scan_of_an_empty_store_ends,
                a_scan_finds_every_record_that_lives_through_it,
                a_scan_has_the_current_epochs,
                len_counts_the_records,
                clear_leaves_nothing,
                clear_leaves_the_epochs,
                a_cleared_record_is_not_brought_back,
            ]
        );
    };
}

/// One `#[test]` for each point of what a limit of sessions for each subject means, in a module `limit`: as [`store_tests`], with a harness whose
/// store is limited to [`limit::PER_SUBJECT`].
#[macro_export]
macro_rules! limit_tests {
    ($harness:expr) => {
        $crate::limit_points!(points, $harness);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! limit_points {
    ($then:ident, $harness:expr) => {
        $crate::$then!(
            limit,
            $harness,
            [
                one_beyond_the_limit_ends_the_least_recently_used,
                a_session_that_signs_in_counts,
                an_ended_session_takes_nobodys_place,
                a_revoked_session_takes_nobodys_place,
                of_many_sign_ins_at_once_as_many_stay_as_may,
            ]
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! points {
    ($module:ident, $harness:expr, [$($point:ident,)*]) => {
        mod $module {
            #[allow(unused_imports, reason = "what the expression names")]
            use super::*;
            $(
                #[test]
                fn $point() {
                    $crate::run(|| async { $harness }, $crate::$module::$point);
                }
            )*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! in_turn {
    ($module:ident, $harness:expr, [$($point:ident,)*]) => {
        $(
            // So that a failure tells which point it was.
            println!("{}::{}", stringify!($module), stringify!($point));
            $crate::$module::$point($harness).await;
        )*
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_point_is_in_its_macro() {
        let macros = include_str!("lib.rs");
        for source in [include_str!("store.rs"), include_str!("query.rs"), include_str!("limit.rs")] {
            let points = source.lines().filter_map(|line| line.strip_prefix("pub async fn "));
            for point in points.filter_map(|line| line.split('<').next()) {
                assert!(macros.contains(&format!("            {point},\n")), "{point} is in no macro");
            }
        }
    }
}
