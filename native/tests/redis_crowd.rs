//! Many at a time on one server: they go together, and each gets what it would have got alone.

#![cfg(feature = "redis")]

use core::time::Duration;
use std::collections::BTreeSet;

use futures_util::{StreamExt as _, future::join_all};
use session_faults::{
    proxy::{Faults, Flow, Proxy},
    servers::{RedisServer, until},
};
use session_native::{
    Clock as _, Key, Query as _, RedisStore, Store as _, StoreError, SubjectTag, SystemClock, Version,
    store::{Lookup, Record, Saved},
};

/// Far more than are served alone.
const CROWD: u8 = 40;

async fn connect(url: &str) -> RedisStore {
    const LONG: Duration = Duration::from_secs(30);
    RedisStore::builder(url)
        .response_timeout(LONG)
        .operation_timeout(LONG)
        .connect()
        .await
        .expect("a connection")
}

fn key(number: u8) -> Key {
    Key::from_bytes([number; 16])
}

fn record(number: u8, counter: u64) -> Record {
    let version = Version { counter, nonce: number.into() };
    Record::new(version, SystemClock.now() + Duration::from_secs(60), vec![number; 10])
}

/// Under which the store looks for a record.
fn name(number: u8) -> String {
    format!("session:{{{number:02x}}}:s:{}", key(number))
}

/// How often the server was asked so.
async fn calls(server: &RedisServer, command: &str) -> u32 {
    let stats: String = server.command(&["INFO", "commandstats"]).await;
    let start = format!("cmdstat_{command}:calls=");
    let calls = stats.lines().find_map(|line| line.strip_prefix(&start)?.split(',').next()?.parse().ok());
    calls.unwrap_or(0)
}

#[tokio::test]
async fn loads_that_go_together_are_answered_one_by_one() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    let subject = |number: u8| number.is_multiple_of(3).then(|| SubjectTag::new(&number.to_string()));
    let mut epochs = [0; CROWD as usize];
    for number in 0..CROWD {
        let record = record(number, 1).of_subject(subject(number));
        match number % 5 {
            1 => {}
            2 => drop(server.command::<u32>(&["HSET", &name(number), "another", "program"]).await),
            3 => server.command(&["SET", &name(number), "short"]).await,
            _ => assert_eq!(store.create(&key(number), &record).await, Ok(true)),
        }
        if let (0, Some(subject)) = (number % 2, subject(number)) {
            epochs[usize::from(number)] = store.revoke_subject(&subject).await.expect("a new epoch");
        }
    }
    let loads = (0..CROWD).map(|number| {
        let lookup = Lookup { subject: subject(number), ..Lookup::default() };
        let (store, key) = (&store, key(number));
        async move { store.load(&key, lookup).await }
    });
    for (number, loaded) in (0..CROWD).zip(join_all(loads).await) {
        match number % 5 {
            1 => assert!(matches!(loaded, Ok(None)), "{number}: {loaded:?}"),
            2 | 3 => assert_eq!(loaded.err(), Some(StoreError::Malformed), "{number}"),
            _ => {
                let found = loaded.expect("a load").expect("a record");
                assert_eq!(found.record.payload, vec![number; 10]);
                assert_eq!(found.epoch, epochs[usize::from(number)], "{number}");
            }
        }
    }
    assert!((1..5).contains(&calls(&server, "mget").await));
}

/// One answer of all of them would keep everyone waiting for the last.
#[tokio::test]
async fn large_records_go_by_fewer() {
    const LARGE: usize = 200_000;
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    for number in 0..CROWD {
        let Record { version, expires_at, .. } = record(number, 1);
        let large = Record::new(version, expires_at, vec![number; LARGE]);
        assert_eq!(store.create(&key(number), &large).await, Ok(true));
    }
    let loads = || {
        join_all((0..CROWD).map(|number| {
            let (store, key) = (&store, key(number));
            async move { store.load(&key, Lookup::default()).await }
        }))
    };
    loads().await;
    let before = calls(&server, "mget").await;
    for (number, loaded) in (0..CROWD).zip(loads().await) {
        let found = loaded.expect("a load").expect("a record");
        assert!(found.record.payload == vec![number; LARGE], "{number}");
    }
    let batches = calls(&server, "mget").await - before;
    assert!(batches >= 10, "{batches} batches of half a megabyte or a little more");
}

#[tokio::test]
async fn saves_that_go_together_are_answered_one_by_one() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    for number in 0..CROWD {
        assert_eq!(store.create(&key(number), &record(number, 1)).await, Ok(true));
        match number % 5 {
            1 => assert_eq!(store.delete(&key(number)).await, Ok(true)),
            2 => {
                let (name, another) = (name(number), ["another", "program"]);
                let _: u32 = server.command(&["DEL", &name]).await;
                let _: u32 = server.command(&["HSET", &name, another[0], another[1]]).await;
            }
            3 => {
                let saved =
                    store.save(&key(number), &record(100 + number, 2), record(number, 1).version).await;
                assert_eq!(saved, Ok(Saved::Stored));
            }
            _ => {}
        }
    }
    // Known to nobody: the text goes with a whole batch too.
    let _: () = server.command(&["SCRIPT", "FLUSH"]).await;
    let before = calls(&server, "evalsha").await;
    // Two for every session.
    let saves = (0..CROWD).chain(0..CROWD).map(|number| {
        let (store, key, record) = (&store, key(number), record(number, 2));
        async move { store.save(&key, &record, Version { counter: 1, ..record.version }).await }
    });
    let saved = join_all(saves).await;
    for (number, saved) in (0..CROWD).chain(0..CROWD).zip(saved) {
        match (number % 5, saved) {
            (1, saved) => assert_eq!(saved, Ok(Saved::Gone), "{number}"),
            (2, saved) => assert_eq!(saved, Err(StoreError::Malformed), "{number}"),
            (3, Ok(Saved::Conflict(theirs))) => {
                let (version, payload) = (record(100 + number, 2).version, vec![100 + number; 10]);
                assert_eq!((theirs.version, &theirs.payload[..]), (version, &payload[..]), "{number}");
            }
            // The second save is the first once more.
            (_, saved) => assert_eq!(saved, Ok(Saved::Stored), "{number}"),
        }
    }
    assert!(calls(&server, "evalsha").await - before < 20);
    let failures = store.stats().failures;
    assert_eq!(failures, u64::from(CROWD / 5 * 2), "each error is counted where it belongs");
}

/// One command for the loads and one for the saves; what is wrong with one is no matter of the others, whatever they ask for.
#[tokio::test]
async fn loads_and_saves_go_together() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    for number in 0..CROWD {
        if number % 5 == 1 {
            server.command::<u32>(&["HSET", &name(number), "another", "program"]).await;
        } else {
            assert_eq!(store.create(&key(number), &record(number, 1)).await, Ok(true));
        }
    }
    let before = calls(&server, "evalsha").await;
    let asked = (0..CROWD).map(|number| {
        let store = &store;
        async move {
            if number % 2 == 0 {
                let loaded = store.load(&key(number), Lookup::default()).await;
                loaded.map(|found| found.expect("a record").record.version.counter)
            } else {
                let next = record(number, 2);
                let saved = store.save(&key(number), &next, record(number, 1).version).await;
                saved.map(|saved| if saved == Saved::Stored { next.version.counter } else { 0 })
            }
        }
    });
    for (number, answer) in (0..CROWD).zip(join_all(asked).await) {
        match (number % 5, number % 2) {
            (1, 0) => assert_eq!(answer, Err(StoreError::Malformed), "{number}"),
            (1, _) => assert!(answer.is_err(), "{number}: {answer:?}"),
            (_, 0) => assert_eq!(answer, Ok(1), "{number}"),
            _ => assert_eq!(answer, Ok(2), "{number}"),
        }
    }
    assert!((1..5).contains(&calls(&server, "mget").await));
    assert!((1..5).contains(&(calls(&server, "evalsha").await - before)));
}

/// Of saves from one version that go together one wins, as of any others.
#[tokio::test]
async fn of_saves_that_go_together_one_wins() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    assert_eq!(store.create(&key(1), &record(1, 1)).await, Ok(true));
    let saves = (0..CROWD).map(|number| {
        let (store, mine) = (&store, record(number, 2));
        async move { store.save(&key(1), &mine, record(1, 1).version).await }
    });
    let saved = join_all(saves).await;
    let stored = saved.iter().filter(|saved| **saved == Ok(Saved::Stored)).count();
    let conflicts = saved.iter().filter(|saved| matches!(saved, Ok(Saved::Conflict(_)))).count();
    assert_eq!((stored, conflicts), (1, usize::from(CROWD) - 1));
}

/// Whoever listens hears of each of them; while nobody listens, the server isn't asked to tell nobody each time.
#[tokio::test]
async fn saves_that_go_together_are_published_one_by_one() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    for number in 0..CROWD {
        assert_eq!(store.create(&key(number), &record(number, 1)).await, Ok(true));
    }
    let save_all = async |counter| {
        let before = calls(&server, "publish").await;
        let saves = (0..CROWD).map(|number| {
            let (store, key, next) = (&store, key(number), record(number, counter));
            async move { store.save(&key, &next, record(number, counter - 1).version).await }
        });
        assert!(join_all(saves).await.into_iter().all(|saved| saved == Ok(Saved::Stored)));
        calls(&server, "publish").await - before
    };
    let published = save_all(2).await;
    assert!((1..20).contains(&published), "{published} messages to nobody");

    // By a pattern: that is listening too.
    let mut ear = redis::Client::open(server.url()).expect("a URL").get_async_pubsub().await.expect("an ear");
    ear.psubscribe("session:change?").await.expect("a subscription");
    assert_eq!(save_all(3).await, u32::from(CROWD));
    let messages = ear.into_on_message().take(CROWD.into());
    let heard: BTreeSet<_> = messages.map(|message| message.get_payload_bytes().to_vec()).collect().await;
    let message =
        |number| [&b"s"[..], key(number).as_bytes(), &record(number, 3).version.to_bytes()].concat();
    assert_eq!(heard, (0..CROWD).map(message).collect());
}

/// A batch that isn't answered is one timeout, and everyone hears of it.
#[tokio::test]
async fn a_batch_that_times_out_is_one_timeout() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.address()).await;
    let store = RedisStore::connect(&proxy.url()).await.expect("a connection");
    proxy.set(Faults { replies: Flow::Hold, ..Faults::default() });
    let loads = (0..CROWD).map(|number| {
        let (store, key) = (&store, key(number));
        async move { store.load(&key, Lookup::default()).await.err() }
    });
    for failed in join_all(loads).await {
        assert!(matches!(failed, Some(StoreError::TimedOut { .. })), "{failed:?}");
    }
    // Those who were served alone, and the batch.
    let stats = store.stats();
    assert!((2..=8).contains(&stats.timeouts), "{stats:?}");
    assert_eq!(stats.failures, stats.timeouts);
    proxy.heal();
    until("the connection was replaced", async || store.load(&key(1), Lookup::default()).await.is_ok()).await;
}

/// A server that became a replica says so within the answers of a script, too: the connection is of no use any more.
#[tokio::test]
async fn a_replica_is_left_when_a_batch_hears_of_it() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    for number in 0..CROWD {
        assert_eq!(store.create(&key(number), &record(number, 1)).await, Ok(true));
    }
    let _: () = server.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let saves = (0..CROWD).map(|number| {
        let (store, key, next) = (&store, key(number), record(number, 2));
        async move { store.save(&key, &next, record(number, 1).version).await }
    });
    for saved in join_all(saves).await {
        assert!(saved.as_ref().is_err_and(StoreError::is_unavailable), "{saved:?}");
    }
    until("it was left", async || store.stats().reconnects > 0).await;
    let _: () = server.command(&["REPLICAOF", "NO", "ONE"]).await;
    until("the primary takes writes", async || {
        store.save(&key(1), &record(1, 2), record(1, 1).version).await == Ok(Saved::Stored)
    })
    .await;
}

/// Once it was closed nobody gets anything, and nobody waits.
#[tokio::test]
async fn a_crowd_hears_that_the_store_was_closed() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    store.shutdown();
    let loads = (0..CROWD).map(|number| {
        let (store, key) = (&store, key(number));
        async move { store.load(&key, Lookup::default()).await.err() }
    });
    for failed in join_all(loads).await {
        assert!(failed.is_some_and(|error| error.to_string().contains("shut down")));
    }
}
