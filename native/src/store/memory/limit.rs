//! How many sessions a subject may have.

use std::sync::Mutex;

use session_core::{Key, SubjectTag, Timestamp};

use super::table::Tables;
use crate::lock::lock;

/// A limit, kept by one caller at a time: two at once could each end what the other one spares.
pub(super) struct Limit {
    most: usize,
    turn: Mutex<()>,
}

impl Limit {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, turn: Mutex::new(()) }
    }

    /// Ends the sessions of a subject beyond the limit, but not the newest: those that expire first are those that were used least recently. Revoked
    /// ones don't count; their records stay as they are.
    pub(super) fn enforce(&self, tables: &Tables, subject: &SubjectTag, newest: &Key) {
        let _turn = lock(&self.turn);
        let rivals = tables.rivals(subject, newest);
        if rivals.len() < self.most {
            return;
        }
        let mut others: Vec<(Timestamp, Key)> = tables
            .records(rivals, subject)
            .into_iter()
            .map(|(key, found)| (found.record.expires_at, key))
            .collect();
        others.sort_unstable();
        let alive = others.len() + 1;
        for (_, key) in others.iter().take(alive.saturating_sub(self.most)) {
            tables.delete(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::{
        Query as _, Store as _, Version,
        store::{Lookup, MemoryStore, Record, Saved},
    };

    fn record(expires_in: u64) -> Record {
        let at = Timestamp::from_millis(u64::MAX / 2) + Duration::from_secs(expires_in);
        Record::new(Version::default(), at, "x").of_subject(Some(SubjectTag::new("ada")))
    }

    #[tokio::test]
    async fn the_one_that_was_used_least_recently_ends() {
        let store = MemoryStore::builder().sessions_per_subject(2).build();
        let keys = [1, 2, 3].map(|byte| Key::from_bytes([byte; 16]));
        for (key, expires_in) in keys.iter().zip([20, 10, 5]) {
            assert_eq!(store.create(key, &record(expires_in)).await, Ok(true));
        }
        // The newest stays, although it expires first.
        for (key, stays) in keys.iter().zip([true, false, true]) {
            let found = store.load(key, Lookup::default()).await.expect("a load");
            assert_eq!(found.is_some(), stays);
        }
    }

    /// Sessions begin without a subject and get one when somebody signs in: by a save.
    #[tokio::test]
    async fn a_session_that_becomes_a_subjects_counts() {
        let store = MemoryStore::builder().sessions_per_subject(2).build();
        let keys = [1, 2, 3].map(|byte| Key::from_bytes([byte; 16]));
        for (key, expires_in) in keys.iter().zip([20, 10, 5]) {
            let subject = (*key != keys[2]).then(|| SubjectTag::new("ada"));
            assert_eq!(store.create(key, &record(expires_in).of_subject(subject)).await, Ok(true));
        }
        let signed_in = Record { version: Version { counter: 1, nonce: 1 }, ..record(5) };
        let stale = store.save(&keys[2], &signed_in, Version { counter: 7, nonce: 7 }).await;
        assert!(matches!(stale, Ok(Saved::Conflict(_))));
        assert_eq!(store.stats().sessions, 3, "who didn't sign in ends nobody's session");
        assert_eq!(store.save(&keys[2], &signed_in, Version::default()).await, Ok(Saved::Stored));
        for (key, stays) in keys.iter().zip([true, false, true]) {
            let found = store.load(key, Lookup::default()).await.expect("a load");
            assert_eq!(found.is_some(), stays);
        }
    }

    /// "Sign out everywhere else": a revocation, and the session that asked is authenticated anew, which is a save.
    #[tokio::test]
    async fn a_session_that_a_revocation_spared_counts() {
        let store = MemoryStore::builder().sessions_per_subject(2).build();
        let keys = [1, 2, 3, 4].map(|byte| Key::from_bytes([byte; 16]));
        for key in &keys[..2] {
            assert_eq!(store.create(key, &record(20)).await, Ok(true));
        }
        assert_eq!(store.revoke_subject(&SubjectTag::new("ada")).await, Ok(1));
        let spared = Record { version: Version { counter: 1, nonce: 1 }, ..record(5) };
        assert_eq!(store.save(&keys[0], &spared, Version::default()).await, Ok(Saved::Stored));
        for key in &keys[2..] {
            assert_eq!(store.create(key, &record(10)).await, Ok(true));
        }
        // The revoked one's record stays until it expires.
        for (key, stays) in keys.iter().zip([false, true, true, true]) {
            let found = store.load(key, Lookup::default()).await.expect("a load");
            assert_eq!(found.is_some(), stays);
        }
    }

    /// Of two that sign in at once, the first to have its turn may find both filed.
    #[tokio::test]
    async fn all_beyond_the_limit_end_at_once() {
        let store = MemoryStore::new();
        let keys = [1, 2, 3, 4].map(|byte| Key::from_bytes([byte; 16]));
        for (key, expires_in) in keys.iter().zip([10, 20, 5, 1]) {
            assert_eq!(store.create(key, &record(expires_in)).await, Ok(true));
        }
        Limit::new(2).enforce(&store.tables, &SubjectTag::new("ada"), &keys[3]);
        for (key, stays) in keys.iter().zip([false, true, false, true]) {
            let found = store.load(key, Lookup::default()).await.expect("a load");
            assert_eq!(found.is_some(), stays);
        }
    }

    /// Of many that sign in at once, one may be ended by another before it has its turn.
    #[tokio::test]
    async fn nobody_makes_room_for_one_that_has_ended() {
        let store = MemoryStore::new();
        let keys = [1, 2, 3].map(|byte| Key::from_bytes([byte; 16]));
        for key in &keys {
            assert_eq!(store.create(key, &record(10)).await, Ok(true));
        }
        assert_eq!(store.delete(&keys[2]).await, Ok(true));
        Limit::new(2).enforce(&store.tables, &SubjectTag::new("ada"), &keys[2]);
        assert_eq!(store.stats().sessions, 2);
    }

    #[test]
    fn of_fifty_logins_at_once_three_stay() {
        let store = MemoryStore::builder().sessions_per_subject(3).build();
        std::thread::scope(|scope| {
            for number in 0..50 {
                let store = &store;
                scope.spawn(move || {
                    let key = Key::from_bytes([number; 16]);
                    futures_util::future::FutureExt::now_or_never(store.create(&key, &record(number.into())))
                });
            }
        });
        assert_eq!(store.stats().sessions, 3);
    }
}
