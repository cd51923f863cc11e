//! Nodes of the Crystal library on the same server, during a move: what they say on their channel is heard, and what is written here is told there, in
//! the bytes that they send themselves.

#![cfg(all(feature = "cache", feature = "redis", feature = "crystal"))]
#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

use core::time::Duration;

use futures_util::StreamExt as _;
use session_core::interop::{
    Foreign,
    crystal::{ClusterMessage, ClusterMessageType},
};
use session_faults::servers::{RedisCluster, RedisServer, until};
use session_native::{
    Clock as _, Key, Query as _, RedisStore, Store as _, SystemClock, Timestamp, Version,
    import::OldRecords,
    store::{Lookup, Record, RedisFeed, Saved, cached::CachedStore},
};

const CHANNEL: &str = "session:cluster:invalidate";

/// Long enough that nothing but a message makes the cache ask.
const LEASE: Duration = Duration::from_secs(600);

type Cached = CachedStore<RedisStore, RedisFeed>;

async fn node(url: &str) -> Cached {
    let redis = RedisStore::builder(url).crystal_channel(CHANNEL).connect().await.unwrap();
    let feed = redis.feed().unwrap();
    let store = CachedStore::builder(redis, feed).lease(LEASE).max_age(LEASE).build();
    store.live().await;
    store
}

fn record(counter: u64) -> Record {
    Record::new(Version { counter, nonce: 1 }, SystemClock.now() + Duration::from_secs(3600), "{}")
}

async fn has(node: &Cached, key: &Key) -> bool {
    node.load(key, Lookup::default()).await.unwrap().is_some()
}

/// Under which the import of a session of theirs is remembered.
fn remembered(id: &str) -> Key {
    Foreign::new(id.as_bytes(), Timestamp::MAX, ()).identity
}

/// As nodes in Crystal sent them.
fn captured() -> Vec<(String, ClusterMessage)> {
    let file = include_str!("../../tests/vectors/crystal/cluster_messages.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    let captured = file["captured"].as_array().unwrap().iter();
    let messages = captured.flat_map(|operation| operation["messages"].as_array().unwrap());
    messages
        .map(|message| {
            let text = message.as_str().unwrap().to_owned();
            let message = serde_json::from_str(&text).unwrap();
            (text, message)
        })
        .collect()
}

/// Something is held of each session that a message names. It is deleted so that no message of ours tells, and is found all the same, until
/// theirs comes.
async fn hears_all(url: &str, publish: impl AsyncFn(&str), delete: impl AsyncFn(&Key)) {
    let node = node(url).await;
    let messages = captured();
    assert!(messages.len() > 5);
    let other = Key::from_bytes([0x77; 16]);
    for (text, message) in messages {
        let key = remembered(&message.session_id);
        for key in [&key, &other] {
            node.create(key, &record(1)).await.unwrap();
            assert!(has(&node, key).await);
            delete(key).await;
            assert!(has(&node, key).await, "nobody told it");
        }
        publish(&text).await;
        until("their message is heard", async || !has(&node, &key).await).await;
        let is_clear = message.kind == ClusterMessageType::CacheClear;
        if is_clear {
            until("everything is given up", async || !has(&node, &other).await).await;
        } else {
            assert!(has(&node, &other).await, "another session is no business of theirs");
            node.evict(&other);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_crystal_nodes_say_is_heard() {
    let server = RedisServer::start().await;
    let publish = async |message: &str| {
        let heard: i64 = server.command(&["PUBLISH", CHANNEL, message]).await;
        assert_eq!(heard, 1);
    };
    let delete = async |key: &Key| {
        let name = format!("session:{{{:02x}}}:s:{key}", key.as_bytes()[0]);
        assert_eq!(server.command::<i64>(&["DEL", &name]).await, 1);
    };
    hears_all(&server.url(), publish, delete).await;
}

/// Plain Pub/Sub crosses the bus of a cluster, so it doesn't matter at which node it was said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_crystal_nodes_say_is_heard_in_a_cluster() {
    let cluster = RedisCluster::start().await;
    let hosts: Vec<String> = cluster.urls().iter().map(|url| url.replace("redis://", "")).collect();
    let publish = async |message: &str| {
        let _: i64 = cluster.servers[5].command(&["PUBLISH", CHANNEL, message]).await;
    };
    let delete = async |key: &Key| {
        let bucket = format!("{{{:02x}}}", key.as_bytes()[0]);
        let slot: u16 = cluster.servers[0].command(&["CLUSTER", "KEYSLOT", &bucket]).await;
        let primary = cluster.primary_of(slot).await.unwrap();
        let name = format!("session:{bucket}:s:{key}");
        assert_eq!(cluster.servers[primary].command::<i64>(&["DEL", &name]).await, 1);
    };
    hears_all(&format!("redis+cluster://{}", hosts.join(",")), publish, delete).await;
}

/// A record of ours, deleted by whoever lists the server's keys in Crystal: they call it by what follows `session:`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_ours_that_crystal_deletes_is_given_up() {
    let server = RedisServer::start().await;
    let node = node(&server.url()).await;
    let key = Key::from_bytes([0x3f; 16]);
    node.create(&key, &record(1)).await.unwrap();
    let id = format!("{{3f}}:s:{key}");
    assert_eq!(server.command::<i64>(&["DEL", &format!("session:{id}")]).await, 1);
    assert!(has(&node, &key).await, "nobody told it");
    let message = format!(
        r#"{{"type":"session_deleted","session_id":"{id}","node_id":"node-a","timestamp":"2026-11-23T15:04:11Z"}}"#
    );
    assert_eq!(server.command::<i64>(&["PUBLISH", CHANNEL, &message]).await, 1);
    until("their message is heard", async || !has(&node, &key).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_here_is_told_to_crystal_nodes() {
    let server = RedisServer::start().await;
    let mut ear = redis::Client::open(server.url()).unwrap().get_async_pubsub().await.unwrap();
    ear.subscribe(CHANNEL).await.unwrap();
    let mut heard = ear.into_on_message();
    let node = node(&server.url()).await;
    let key = Key::from_bytes([0x3f; 16]);
    let old = "0b6f3c1e-2f0d-4c43-9a0e-4b7a3f1f2b11";
    let _: () = server.command(&["SET", &format!("session:{old}"), "{}"]).await;

    assert_eq!(node.create(&key, &record(1)).await, Ok(true));
    let expected = Version { counter: 1, nonce: 1 };
    assert_eq!(node.save(&key, &record(2), expected).await, Ok(Saved::Stored));
    // What wasn't done isn't told.
    assert_eq!(node.create(&key, &record(9)).await, Ok(false));
    assert!(matches!(node.save(&key, &record(3), expected).await, Ok(Saved::Conflict(_))));
    assert_eq!(node.delete(&key).await, Ok(true));
    // A session of theirs that was imported.
    OldRecords::delete(node.store(), &format!("session:{old}")).await.unwrap();
    assert_eq!(server.command::<i64>(&["EXISTS", &format!("session:{old}")]).await, 0);
    node.clear().await.unwrap();

    let ours = format!("{{3f}}:s:{key}");
    let expected = [
        (ClusterMessageType::SessionInvalidated, &*ours, "session_invalidated"),
        (ClusterMessageType::SessionInvalidated, &*ours, "session_invalidated"),
        (ClusterMessageType::SessionDeleted, &*ours, "session_deleted"),
        (ClusterMessageType::SessionDeleted, old, "session_deleted"),
        (ClusterMessageType::CacheClear, "", "cache_clear"),
    ];
    let mut nodes = Vec::new();
    for (kind, id, name) in expected {
        let text: String = heard.next().await.unwrap().get_payload().unwrap();
        let message: ClusterMessage = serde_json::from_str(&text).unwrap();
        assert!(message.kind == kind && message.session_id == id, "{text}");
        // To the byte what their own program writes.
        let (node, timestamp) = (&message.node_id, text.split('"').nth(15).unwrap());
        let theirs = format!(
            r#"{{"type":"{name}","session_id":"{id}","node_id":"{node}","timestamp":"{timestamp}"}}"#
        );
        assert_eq!(text, theirs);
        assert!(timestamp.len() == "2026-11-23T15:04:09Z".len() && timestamp.ends_with('Z'), "{timestamp}");
        nodes.push(message.node_id);
    }
    nodes.dedup();
    assert_eq!(nodes.len(), 1, "one node has one name");
}

/// Off unless asked for: nobody else's channel is written to or listened to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_being_asked_nothing_is_said_or_heard() {
    let server = RedisServer::start().await;
    let mut ear = redis::Client::open(server.url()).unwrap().get_async_pubsub().await.unwrap();
    ear.subscribe(CHANNEL).await.unwrap();
    let redis = RedisStore::connect(&server.url()).await.unwrap();
    let feed = redis.feed().unwrap();
    let node = CachedStore::new(redis, feed);
    node.live().await;
    let key = Key::from_bytes([0x3f; 16]);
    node.create(&key, &record(1)).await.unwrap();
    node.delete(&key).await.unwrap();
    assert_eq!(server.command::<i64>(&["PUBLISH", CHANNEL, "the only message"]).await, 1);
    let first: String = ear.on_message().next().await.unwrap().get_payload().unwrap();
    assert_eq!(first, "the only message");
}
