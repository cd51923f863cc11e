//! The points of the contract of [`Store`].

use std::sync::Arc;

use session_native::{
    Key, Store, Version,
    store::{Lookup, Record, Saved},
};

use crate::{
    Harness,
    support::{LONG, brief, create, first, key, load, load_with, next, poll_and_drop, record, subject},
};

/// A harness that really waits may sleep through the last moment of a record on a busy machine, and has seen nothing then: it looks at another one.
const TRIES: u32 = 20;
const TOO_LATE: &str = "no load came in time to find a record in its last moment: the steps (`Harness::GRAIN`) are too short for this machine";

/// What was created is found, all of it.
pub async fn a_created_record_is_found_as_it_was<H: Harness>(harness: H) {
    let (key, record) = (key(), record(&harness, "payload"));
    create(&harness, &key, &record).await;
    let found = load_with(&harness, &key, Lookup::default()).await.expect("the record");
    assert_eq!((found.record, found.epoch), (record, 0));
}

/// A key that is taken stays as it is.
pub async fn create_never_overwrites<H: Harness>(harness: H) {
    let (key, record) = (key(), record(&harness, "mine"));
    create(&harness, &key, &record).await;
    let other = Record::new(first(), harness.now() + LONG * 2, "other").of_subject(Some(subject()));
    assert_eq!(harness.store().create(&key, &other).await, Ok(false));
    assert_eq!(load(&harness, &key).await, Some(record));
}

/// A create whose answer was lost can be sent again.
pub async fn a_retried_create_is_true<H: Harness>(harness: H) {
    let (key, record) = (key(), record(&harness, "mine"));
    create(&harness, &key, &record).await;
    assert_eq!(harness.store().create(&key, &record).await, Ok(true));
    assert_eq!(load(&harness, &key).await, Some(record));
}

/// Not found is an answer, not an error.
pub async fn an_unknown_key_is_not_found<H: Harness>(harness: H) {
    create(&harness, &key(), &record(&harness, "another")).await;
    assert_eq!(load(&harness, &key()).await, None);
}

/// An id that a client made up stays unknown.
pub async fn loading_and_touching_an_unknown_key_create_nothing<H: Harness>(harness: H) {
    let key = key();
    let lookup = Lookup { touch: Some(harness.now() + LONG), subject: Some(subject()), ..Lookup::default() };
    assert!(load_with(&harness, &key, lookup).await.is_none());
    assert_eq!(load(&harness, &key).await, None);
    assert_eq!(harness.store().delete(&key).await, Ok(false));
    create(&harness, &key, &record(&harness, "free")).await;
}

/// The ordinary save.
pub async fn save_replaces_the_expected_version<H: Harness>(harness: H) {
    let (key, old) = (key(), record(&harness, "old"));
    create(&harness, &key, &old).await;
    let new = next(&old, "new");
    assert_eq!(harness.store().save(&key, &new, old.version).await, Ok(Saved::Stored));
    assert_eq!(load(&harness, &key).await, Some(new));
}

/// Two requests that loaded the same version: the later save is told, and overwrites nothing.
pub async fn a_save_of_another_version_is_a_conflict_and_writes_nothing<H: Harness>(harness: H) {
    let (key, stored) = (key(), record(&harness, "stored"));
    create(&harness, &key, &stored).await;
    let counter = stored.version.counter;
    let strangers = [
        Version::default(),
        Version { counter, nonce: stored.version.nonce ^ 1 },
        Version { counter: counter + 1, ..stored.version },
        Version { counter: u64::MAX, nonce: u64::MAX },
    ];
    for expected in strangers {
        let mut mine = next(&stored, "mine").of_subject(Some(subject()));
        mine.expires_at = mine.expires_at + LONG;
        let saved = harness.store().save(&key, &mine, expected).await;
        assert_eq!(saved, Ok(Saved::Conflict(stored.clone())), "expected {expected:?}");
        assert_eq!(load(&harness, &key).await, Some(stored.clone()));
    }
}

/// The record of a conflict is enough to merge and to try again.
pub async fn a_conflict_tells_what_is_stored<H: Harness>(harness: H) {
    let (key, old) = (key(), record(&harness, "old"));
    create(&harness, &key, &old).await;
    let theirs = next(&old, [0, 255, b'{']).of_subject(Some(subject()));
    assert_eq!(harness.store().save(&key, &theirs, old.version).await, Ok(Saved::Stored));
    let saved = harness.store().save(&key, &next(&old, "mine"), old.version).await;
    assert_eq!(saved, Ok(Saved::Conflict(theirs.clone())));
    let merged = next(&theirs, "merged");
    assert_eq!(harness.store().save(&key, &merged, theirs.version).await, Ok(Saved::Stored));
    assert_eq!(load(&harness, &key).await, Some(merged));
}

/// A save whose answer was lost can be sent again.
pub async fn a_retried_save_is_stored_and_applied_once<H: Harness>(harness: H) {
    let (key, old) = (key(), record(&harness, "old"));
    create(&harness, &key, &old).await;
    let new = next(&old, "new");
    for _ in 0..3 {
        assert_eq!(harness.store().save(&key, &new, old.version).await, Ok(Saved::Stored));
        assert_eq!(load(&harness, &key).await, Some(new.clone()));
    }
}

/// A retry doesn't undo what came after the first try, whether the store remembers that it was done or not.
pub async fn a_retried_save_that_was_overtaken_undoes_nothing<H: Harness>(harness: H) {
    let (key, old) = (key(), record(&harness, "old"));
    create(&harness, &key, &old).await;
    let mine = next(&old, "mine");
    assert_eq!(harness.store().save(&key, &mine, old.version).await, Ok(Saved::Stored));
    let theirs = next(&mine, "theirs");
    assert_eq!(harness.store().save(&key, &theirs, mine.version).await, Ok(Saved::Stored));
    let retried = harness.store().save(&key, &mine, old.version).await;
    assert!([Ok(Saved::Conflict(theirs.clone())), Ok(Saved::Stored)].contains(&retried), "{retried:?}");
    assert_eq!(load(&harness, &key).await, Some(theirs));
}

/// A save under a key that nothing was created under.
pub async fn save_never_creates<H: Harness>(harness: H) {
    let key = key();
    for expected in [Version::default(), first()] {
        let saved = harness.store().save(&key, &record(&harness, "new"), expected).await;
        assert_eq!(saved, Ok(Saved::Gone));
    }
    assert_eq!(load(&harness, &key).await, None);
}

/// `true` once.
pub async fn delete_tells_whether_there_was_a_record<H: Harness>(harness: H) {
    let key = key();
    assert_eq!(harness.store().delete(&key).await, Ok(false));
    create(&harness, &key, &record(&harness, "there")).await;
    assert_eq!(harness.store().delete(&key).await, Ok(true));
    assert_eq!(harness.store().delete(&key).await, Ok(false));
    assert_eq!(load(&harness, &key).await, None);
}

/// Logout while a slow request is in flight.
pub async fn a_late_save_does_not_bring_a_deleted_record_back<H: Harness>(harness: H) {
    let (key, old) = (key(), record(&harness, "old"));
    create(&harness, &key, &old).await;
    let saved = next(&old, "saved");
    assert_eq!(harness.store().save(&key, &saved, old.version).await, Ok(Saved::Stored));
    assert_eq!(harness.store().delete(&key).await, Ok(true));
    // A save of before, its retry, one of after, and one that expects nothing.
    for (record, expected) in [
        (next(&saved, "late"), saved.version),
        (saved.clone(), old.version),
        (next(&old, "older"), old.version),
        (next(&saved, "none"), Version::default()),
    ] {
        assert_eq!(harness.store().save(&key, &record, expected).await, Ok(Saved::Gone));
        assert_eq!(load(&harness, &key).await, None);
    }
}

/// A read that slides the expiry, after the logout.
pub async fn a_late_touch_does_not_bring_a_deleted_record_back<H: Harness>(harness: H) {
    let (key, record) = (key(), record(&harness, "old"));
    create(&harness, &key, &record).await;
    assert_eq!(harness.store().delete(&key).await, Ok(true));
    let lookup = Lookup { touch: Some(harness.now() + LONG * 2), ..Lookup::default() };
    assert!(load_with(&harness, &key, lookup).await.is_none());
    assert_eq!(load(&harness, &key).await, None);
}

/// There until the last moment before `expires_at`, and not at it.
pub async fn the_moment_of_expiry_is_exact<H: Harness>(harness: H) {
    for _ in 0..TRIES {
        let (key, record) = (key(), brief(&harness, 10));
        create(&harness, &key, &record).await;
        harness.advance(H::GRAIN * 9).await;
        let found = load(&harness, &key).await;
        if harness.now() < record.expires_at {
            assert_eq!(found, Some(record));
            harness.advance(H::GRAIN).await;
            assert_eq!(load(&harness, &key).await, None);
            return;
        }
    }
    panic!("{TOO_LATE}");
}

/// Every operation agrees that it is gone, whichever comes first.
pub async fn an_expired_record_is_as_good_as_deleted<H: Harness>(harness: H) {
    let keys: [Key; 4] = core::array::from_fn(|_| key());
    let record = brief(&harness, 10);
    for key in &keys {
        create(&harness, key, &record).await;
    }
    harness.advance(H::GRAIN * 11).await;
    let [loaded, saved, retried, deleted] = keys;
    assert_eq!(load(&harness, &loaded).await, None);
    let mut late = next(&record, "late");
    late.expires_at = harness.now() + LONG;
    assert_eq!(harness.store().save(&saved, &late, record.version).await, Ok(Saved::Gone));
    assert_eq!(harness.store().save(&retried, &record, Version::default()).await, Ok(Saved::Gone));
    assert_eq!(harness.store().delete(&deleted).await, Ok(false));
    for key in &keys {
        assert_eq!(load(&harness, key).await, None);
    }
}

/// An expired record doesn't block its key.
pub async fn an_expired_key_is_free_again<H: Harness>(harness: H) {
    let key = key();
    create(&harness, &key, &brief(&harness, 5)).await;
    harness.advance(H::GRAIN * 6).await;
    let new = record(&harness, "new");
    create(&harness, &key, &new).await;
    assert_eq!(load(&harness, &key).await, Some(new));
}

/// A save sets the expiry it says, longer or shorter.
pub async fn a_save_moves_the_expiry<H: Harness>(harness: H) {
    let (longer, shorter) = (key(), key());
    let old = brief(&harness, 10);
    create(&harness, &longer, &old).await;
    let mut new = next(&old, "longer");
    new.expires_at = harness.now() + LONG;
    assert_eq!(harness.store().save(&longer, &new, old.version).await, Ok(Saved::Stored));

    let long = record(&harness, "long");
    create(&harness, &shorter, &long).await;
    let mut short = next(&long, "short");
    short.expires_at = harness.now() + H::GRAIN * 10;
    assert_eq!(harness.store().save(&shorter, &short, long.version).await, Ok(Saved::Stored));

    harness.advance(H::GRAIN * 11).await;
    assert_eq!(load(&harness, &longer).await, Some(new));
    assert_eq!(load(&harness, &shorter).await, None);
}

/// Sliding expiry; the very load that extends sees the new end.
pub async fn touch_extends<H: Harness>(harness: H) {
    for _ in 0..TRIES {
        let (key, mut record) = (key(), brief(&harness, 10));
        let first_end = record.expires_at;
        create(&harness, &key, &record).await;
        harness.advance(H::GRAIN * 5).await;
        record.expires_at = harness.now() + H::GRAIN * 20;
        let lookup = Lookup { touch: Some(record.expires_at), ..Lookup::default() };
        let found = load_with(&harness, &key, lookup).await;
        if harness.now() >= first_end {
            continue;
        }
        assert_eq!(found.expect("the record").record, record);
        harness.advance(H::GRAIN * 19).await;
        let found = load(&harness, &key).await;
        if harness.now() < record.expires_at {
            assert_eq!(found, Some(record));
            harness.advance(H::GRAIN).await;
            assert_eq!(load(&harness, &key).await, None);
            return;
        }
    }
    panic!("{TOO_LATE}");
}

/// A touch that comes late, from a request that began earlier.
pub async fn touch_never_shortens<H: Harness>(harness: H) {
    let (key, record) = (key(), record(&harness, "long"));
    create(&harness, &key, &record).await;
    for touch in [harness.now() + H::GRAIN * 5, harness.now()] {
        let lookup = Lookup { touch: Some(touch), ..Lookup::default() };
        let found = load_with(&harness, &key, lookup).await.expect("the record");
        assert_eq!(found.record, record);
    }
    harness.advance(H::GRAIN * 6).await;
    assert_eq!(load(&harness, &key).await, Some(record));
}

/// Sliding doesn't revive an expired session.
pub async fn touch_never_revives<H: Harness>(harness: H) {
    let key = key();
    create(&harness, &key, &brief(&harness, 5)).await;
    harness.advance(H::GRAIN * 5).await;
    let lookup = Lookup { touch: Some(harness.now() + LONG), ..Lookup::default() };
    assert!(load_with(&harness, &key, lookup).await.is_none());
    assert_eq!(load(&harness, &key).await, None);
}

/// A touch is no save: one that was based on the version before still goes through.
pub async fn touch_changes_nothing_but_the_expiry<H: Harness>(harness: H) {
    let (key, old) = (key(), record(&harness, "old").of_subject(Some(subject())));
    create(&harness, &key, &old).await;
    let lookup = Lookup { touch: Some(old.expires_at + LONG), ..Lookup::default() };
    let found = load_with(&harness, &key, lookup).await.expect("the record");
    assert_eq!((found.record.version, found.record.subject), (old.version, old.subject));
    assert_eq!(found.record.payload, old.payload);
    assert_eq!(harness.store().save(&key, &next(&old, "new"), old.version).await, Ok(Saved::Stored));
}

/// Empty, short, a megabyte, and every byte there is.
pub async fn payloads_come_back_byte_for_byte<H: Harness>(harness: H) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let payloads =
        [Vec::new(), vec![0], vec![b'\n'], every_byte.clone(), every_byte.repeat(4096), vec![0xff; 1 << 20]];
    for payload in payloads {
        let (key, created) = (key(), record(&harness, payload.clone()));
        create(&harness, &key, &created).await;
        assert!(load(&harness, &key).await == Some(created.clone()), "{} bytes created", payload.len());
        let mut reversed = payload;
        reversed.reverse();
        let saved = next(&created, reversed);
        assert_eq!(harness.store().save(&key, &saved, created.version).await, Ok(Saved::Stored));
        assert!(load(&harness, &key).await == Some(saved), "a saved payload");
    }
}

/// The rest of a record, too, also when a save changes it.
pub async fn versions_and_subjects_come_back<H: Harness>(harness: H) {
    let versions = [
        Version { counter: 1, nonce: 0 },
        Version { counter: 2, nonce: u64::MAX },
        Version { counter: u64::MAX, nonce: 1 },
        Version { counter: 1 << 53 | 1, nonce: 1 << 53 | 1 }, // not exact in a double
    ];
    for version in versions {
        for of in [None, Some(subject())] {
            let (key, mut created) = (key(), record(&harness, "x").of_subject(of));
            created.version = version;
            create(&harness, &key, &created).await;
            assert_eq!(load(&harness, &key).await, Some(created.clone()));
            for of in [Some(subject()), None] {
                let current = load(&harness, &key).await.expect("the record");
                let mut saved = current.clone().of_subject(of);
                saved.version.nonce ^= 2;
                let outcome = harness.store().save(&key, &saved, current.version).await;
                assert_eq!(outcome, Ok(Saved::Stored));
                assert_eq!(load(&harness, &key).await, Some(saved));
            }
        }
    }
}

/// Nobody sees another's record.
pub async fn records_of_different_keys_are_apart<H: Harness>(harness: H) {
    let keys: Vec<Key> = (0..256).map(|_| key()).collect();
    for (number, key) in keys.iter().enumerate() {
        create(&harness, key, &record(&harness, number.to_string())).await;
    }
    let gone = keys.iter().step_by(2);
    for key in gone.clone() {
        assert_eq!(harness.store().delete(key).await, Ok(true));
    }
    for (number, key) in keys.iter().enumerate() {
        let found = load(&harness, key).await.map(|record| record.payload.to_vec());
        assert_eq!(found, (number % 2 == 1).then(|| number.to_string().into_bytes()));
    }
}

/// How many polls a future gets before it is dropped.
const POLLS: core::ops::Range<u32> = 0..8;

/// A request that is cancelled while it creates.
pub async fn a_dropped_create_can_be_tried_again<H: Harness>(harness: H) {
    for polls in POLLS {
        let (key, record) = (key(), record(&harness, "mine"));
        poll_and_drop(polls, harness.store().create(&key, &record)).await;
        assert_eq!(harness.store().create(&key, &record).await, Ok(true), "after {polls} polls");
        assert_eq!(load(&harness, &key).await, Some(record));
    }
}

/// A request that is cancelled while it saves.
pub async fn a_dropped_save_can_be_tried_again<H: Harness>(harness: H) {
    for polls in POLLS {
        let (key, old) = (key(), record(&harness, "old"));
        create(&harness, &key, &old).await;
        let new = next(&old, "new");
        poll_and_drop(polls, harness.store().save(&key, &new, old.version)).await;
        let between = load(&harness, &key).await;
        assert!([&old, &new].map(|record| Some(record.clone())).contains(&between), "after {polls} polls");
        assert_eq!(harness.store().save(&key, &new, old.version).await, Ok(Saved::Stored));
        assert_eq!(load(&harness, &key).await, Some(new));
    }
}

/// A request that is cancelled while it deletes.
pub async fn a_dropped_delete_can_be_tried_again<H: Harness>(harness: H) {
    for polls in POLLS {
        let (key, record) = (key(), record(&harness, "old"));
        create(&harness, &key, &record).await;
        poll_and_drop(polls, harness.store().delete(&key)).await;
        assert!(harness.store().delete(&key).await.is_ok());
        assert_eq!(load(&harness, &key).await, None, "after {polls} polls");
    }
}

/// Eight tasks, one key.
pub async fn of_concurrent_creates_exactly_one_wins<H: Harness>(harness: H) {
    let harness = Arc::new(harness);
    for _ in 0..50 {
        let key = key();
        let creates: Vec<_> = (0..8_u8)
            .map(|number| {
                let harness = Arc::clone(&harness);
                tokio::spawn(async move {
                    let record = record(&*harness, [number]);
                    harness.store().create(&key, &record).await.expect("a create").then_some(number)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for create in creates {
            winners.extend(create.await.expect("a task"));
        }
        let stored = load(&*harness, &key).await.map(|record| record.payload.to_vec());
        assert_eq!(winners.len(), 1);
        assert_eq!(stored, Some(winners));
    }
}

/// Eight tasks that loaded the same version.
pub async fn of_concurrent_saves_from_one_version_exactly_one_wins<H: Harness>(harness: H) {
    let harness = Arc::new(harness);
    for _ in 0..50 {
        let (key, old) = (key(), record(&*harness, "old"));
        create(&*harness, &key, &old).await;
        let saves: Vec<_> = (0..8_u8)
            .map(|number| {
                let (harness, old) = (Arc::clone(&harness), old.clone());
                tokio::spawn(async move {
                    let mine = next(&old, [number]);
                    let saved = harness.store().save(&key, &mine, old.version).await.expect("a save");
                    (number, saved)
                })
            })
            .collect();
        let mut outcomes = Vec::new();
        for save in saves {
            outcomes.push(save.await.expect("a task"));
        }
        let stored = load(&*harness, &key).await.expect("the record");
        for (number, saved) in &outcomes {
            let wins = stored.payload == [*number].as_slice();
            assert_eq!(*saved, if wins { Saved::Stored } else { Saved::Conflict(stored.clone()) });
        }
        assert_eq!(outcomes.iter().filter(|(_, saved)| *saved == Saved::Stored).count(), 1);
    }
}

/// Four tasks save and touch as fast as they can, one deletes: once it returned, the record is gone for good.
pub async fn savers_against_a_destroyer_bring_nothing_back<H: Harness>(harness: H) {
    let harness = Arc::new(harness);
    for _ in 0..50 {
        let (key, old) = (key(), record(&*harness, "old"));
        create(&*harness, &key, &old).await;
        let savers: Vec<_> = (0..4)
            .map(|_| {
                let (harness, mut current) = (Arc::clone(&harness), old.clone());
                tokio::spawn(async move {
                    for _ in 0..20 {
                        let touch = Some(harness.now() + LONG);
                        let lookup = Lookup { touch, ..Lookup::default() };
                        load_with(&*harness, &key, lookup).await;
                        let mine = next(&current, "mine");
                        match harness.store().save(&key, &mine, current.version).await {
                            Ok(Saved::Conflict(theirs)) => current = theirs,
                            _ => current = mine,
                        }
                    }
                })
            })
            .collect();
        assert_eq!(harness.store().delete(&key).await, Ok(true));
        assert_eq!(load(&*harness, &key).await, None);
        for saver in savers {
            saver.await.expect("a task");
        }
        assert_eq!(load(&*harness, &key).await, None, "brought back");
    }
}

/// Eight tasks count to 150 each, by load and save; last-write-wins keeps an eighth of that.
pub async fn eight_writers_lose_no_update<H: Harness>(harness: H) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 150;

    let (harness, key) = (Arc::new(harness), key());
    let zero = record(&*harness, 0_u64.to_le_bytes());
    create(&*harness, &key, &zero).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (harness, mut current) = (Arc::clone(&harness), zero.clone());
            tokio::spawn(async move {
                for _ in 0..EACH {
                    loop {
                        let count = number(&current) + 1;
                        let mine = next(&current, count.to_le_bytes());
                        match harness.store().save(&key, &mine, current.version).await {
                            Ok(Saved::Stored) => break current = mine,
                            Ok(Saved::Conflict(theirs)) => current = theirs,
                            other => panic!("{other:?}"),
                        }
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a task");
    }
    let last = load(&*harness, &key).await.expect("the record");
    assert_eq!(number(&last), WRITERS * EACH);
    assert_eq!(last.version.counter, zero.version.counter + WRITERS * EACH);
}

fn number(record: &Record) -> u64 {
    u64::from_le_bytes(record.payload[..].try_into().expect("eight bytes"))
}
