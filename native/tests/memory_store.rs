//! What the memory store promises beyond the contract of stores: a bound, a sweep, counters, shards.

use core::time::Duration;

use session_native::{
    Clock as _, Key, ManualClock, MemoryStore, Query as _, Store as _, StoreError, SubjectTag, Version,
    store::{Lookup, Record, Saved},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Keys spread over all shards.
fn key(number: usize) -> Key {
    Key::from_bytes(*SubjectTag::new(&number.to_string()).as_bytes())
}

fn store(capacity: usize) -> (ManualClock, MemoryStore) {
    let clock = ManualClock::default();
    (clock.clone(), MemoryStore::builder().capacity(capacity).clock(clock).build())
}

fn record(clock: &ManualClock, lives: Duration) -> Record {
    Record::new(Version { counter: 1, nonce: 1 }, clock.now() + lives, "x")
}

#[tokio::test]
async fn a_full_store_refuses_and_evicts_nobody() {
    let (clock, store) = store(100);
    let record = record(&clock, MINUTE);
    for number in 0..100 {
        assert_eq!(store.create(&key(number), &record).await, Ok(true));
    }
    for number in 100..200 {
        assert_eq!(store.create(&key(number), &record).await, Err(StoreError::Full { capacity: Some(100) }));
    }
    for number in 0..200 {
        let found = store.load(&key(number), Lookup::default()).await.unwrap();
        assert_eq!(found.is_some(), number < 100);
    }
    // Nobody who is there is turned away.
    assert_eq!(store.create(&key(0), &record).await, Ok(true), "a retry");
    let next = Record::new(Version { counter: 2, nonce: 2 }, record.expires_at, "y");
    assert_eq!(store.save(&key(0), &next, record.version).await, Ok(Saved::Stored));
    // One leaves, one may come.
    assert_eq!(store.delete(&key(0)).await, Ok(true));
    assert_eq!(store.create(&key(100), &record).await, Ok(true));
    assert!(store.create(&key(101), &record).await.is_err());
    let stats = store.stats();
    assert_eq!((stats.sessions, stats.created, stats.refused), (100, 101, 101));
}

#[tokio::test]
async fn expired_records_make_room_wherever_they_lie() {
    let (clock, store) = store(100);
    for round in 0..20 {
        // All at once, so that every shard is full of expired records.
        for number in 0..100 {
            let created = store.create(&key(round * 100 + number), &record(&clock, MINUTE)).await;
            assert_eq!(created, Ok(true), "round {round}, number {number}");
        }
        assert!(store.create(&key(usize::MAX), &record(&clock, MINUTE)).await.is_err());
        clock.advance(MINUTE);
    }
}

#[tokio::test]
async fn the_last_place_is_found_when_one_record_of_all_expired() {
    let (clock, store) = store(1000);
    for number in 0..1000 {
        let lives = if number == 500 { MINUTE } else { MINUTE * 10 };
        assert_eq!(store.create(&key(number), &record(&clock, lives)).await, Ok(true));
    }
    assert!(store.create(&key(1000), &record(&clock, MINUTE)).await.is_err());
    clock.advance(MINUTE);
    assert_eq!(store.create(&key(1000), &record(&clock, MINUTE)).await, Ok(true));
    assert!(store.create(&key(1001), &record(&clock, MINUTE)).await.is_err());
}

#[tokio::test]
async fn a_sweep_removes_what_expired_and_nothing_else() {
    let (clock, store) = store(10_000);
    let subject = SubjectTag::new("ada");
    for number in 0..1000 {
        let lives = MINUTE * if number % 2 == 0 { 1 } else { 2 };
        let record = record(&clock, lives).of_subject(Some(subject));
        assert_eq!(store.create(&key(number), &record).await, Ok(true));
    }
    assert_eq!(store.sweep(), 0);
    clock.advance(MINUTE);
    assert_eq!(store.len().await, Ok(1000), "expired ones are counted until they are swept");
    assert_eq!(store.sweep(), 500);
    assert_eq!(store.sweep(), 0);
    assert_eq!(store.len().await, Ok(500));
    assert_eq!(store.by_subject(&subject).await.unwrap().len(), 500);
    assert_eq!(store.stats().expired, 500);
}

/// Sixty-four shards, a batch of each, and none that is empty at the end.
#[tokio::test]
async fn a_scan_leaves_out_what_expires_at_this_moment() {
    let (clock, store) = store(1000);
    for number in 0..1000 {
        let lives = MINUTE * if number % 2 == 0 { 1 } else { 2 };
        assert_eq!(store.create(&key(number), &record(&clock, lives)).await, Ok(true));
    }
    clock.advance(MINUTE);
    let (mut found, mut batches, mut cursor) = (0, 0, Some(0));
    while let Some(at) = cursor {
        let batch = store.scan(at).await.unwrap();
        assert!(batch.found.iter().all(|(_, found)| found.record.expires_at > clock.now()));
        found += batch.found.len();
        batches += 1;
        cursor = batch.next;
    }
    assert_eq!((found, batches), (500, 64));
}

#[tokio::test]
async fn the_counters_count() {
    let (clock, store) = store(10);
    let first = record(&clock, MINUTE);
    assert_eq!(store.create(&key(1), &first).await, Ok(true));
    assert_eq!(store.create(&key(2), &first).await, Ok(true));
    assert!(store.load(&key(1), Lookup::default()).await.unwrap().is_some());
    assert!(store.load(&key(3), Lookup::default()).await.unwrap().is_none());
    let next = Record::new(Version { counter: 2, nonce: 2 }, first.expires_at, "y");
    assert!(matches!(store.save(&key(1), &next, next.version).await, Ok(Saved::Conflict(_))));
    assert_eq!(store.delete(&key(1)).await, Ok(true));
    assert_eq!(store.delete(&key(1)).await, Ok(false));
    clock.advance(MINUTE);
    assert!(store.load(&key(2), Lookup::default()).await.unwrap().is_none());
    let stats = store.stats();
    assert_eq!((stats.sessions, stats.capacity, stats.created, stats.deleted), (0, 10, 2, 1));
    assert_eq!((stats.hits, stats.misses, stats.conflicts, stats.expired), (1, 2, 1, 1));
    assert_eq!(stats.refused, 0);
}

/// Two threads create, save, list and delete in all shards; the counters and the index agree at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_under_load_from_two_threads_lose_nothing() {
    const EACH: usize = 20_000;

    let (clock, store) = store(1_000_000);
    let first = record(&clock, MINUTE);
    let tasks = [0, EACH].map(|start| {
        let (store, first) = (store.clone(), first.clone());
        tokio::spawn(async move {
            for number in start..start + EACH {
                let (key, subject) = (key(number), SubjectTag::new(&(number % 100).to_string()));
                assert_eq!(store.create(&key, &first).await, Ok(true));
                let mut next = first.clone().of_subject(Some(subject));
                next.version.counter = 2;
                assert_eq!(store.save(&key, &next, first.version).await, Ok(Saved::Stored));
                let lookup =
                    Lookup { subject: Some(subject), touch: Some(first.expires_at), ..Lookup::default() };
                assert_eq!(store.load(&key, lookup).await.unwrap().unwrap().record, next);
                if number % 4 == 0 {
                    assert_eq!(store.delete(&key).await, Ok(true));
                }
                if number % 1000 == 0 {
                    store.by_subject(&subject).await.unwrap();
                    store.sweep();
                }
            }
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.len().await, Ok(2 * EACH as u64 * 3 / 4));
    let mut listed = 0;
    for subject in 0..100 {
        let found = store.by_subject(&SubjectTag::new(&subject.to_string())).await.unwrap();
        assert_eq!(found.len(), if subject % 4 == 0 { 0 } else { 2 * EACH / 100 });
        listed += found.len();
    }
    assert_eq!(listed, 2 * EACH * 3 / 4);
}

/// Two threads race for the places of a store with a bound: it is never passed, and none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_under_load() {
    let (clock, store) = store(500);
    let record = record(&clock, MINUTE);
    let tasks = [0, 1000].map(|start| {
        let (store, record) = (store.clone(), record.clone());
        tokio::spawn(async move {
            let mut created = 0;
            for number in start..start + 1000 {
                created += usize::from(store.create(&key(number), &record).await.is_ok());
                assert!(store.stats().sessions <= 500);
            }
            created
        })
    });
    let mut created = 0;
    for task in tasks {
        created += task.await.unwrap();
    }
    assert_eq!((created, store.len().await), (500, Ok(500)));
}
