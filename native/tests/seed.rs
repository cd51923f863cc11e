//! Rows of the seed's features (`tests/SEED.md`) that no other test shows.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::time::Duration;

use session_native::{Preset, observe};
use support::{World, config};

#[test]
fn an_unknown_preset_is_told_which_there_are() {
    let error = "staging".parse::<Preset>().unwrap_err().to_string();
    for name in ["development", "production", "high_security", "testing", "clustered"] {
        assert!(error.contains(name), "{error}");
    }
}

#[tokio::test]
async fn a_session_knows_how_long_it_lasts_and_which_it_is() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let idle = config().expiry.idle();
    let session = world.load(&cookie).await.unwrap();
    assert_eq!(session.expires_in(world.sessions.now()), idle);
    world.advance(60);
    assert_eq!(session.expires_in(world.sessions.now()), idle - Duration::from_secs(60));
    world.clock.advance(idle);
    assert_eq!(session.expires_in(world.sessions.now()), Duration::ZERO);

    let world = World::new();
    let cookies = [world.sign_in("ada").await, world.sign_in("ada").await];
    let mut one = world.load(&cookies[0]).await.unwrap();
    let [again, other] = [world.load(&cookies[0]).await.unwrap(), world.load(&cookies[1]).await.unwrap()];
    one.data_mut().visits = 9;
    assert!(one.is_same(&again), "whatever the data");
    assert!(!again.is_same(&other), "equal data");
    assert!(!world.sessions.create().is_same(&world.sessions.create()));
}

#[test]
fn the_seeds_metrics_have_their_names() {
    let documented = include_str!("../src/observe/mod.rs");
    for name in [
        "session.created",
        "session.loaded",
        "session.deleted",
        "session.regenerated",
        "session.expired",
        "session.error",
        "session.load_time",
        "session.store_time",
        "session.active_count",
        "session.circuit_breaker.open",
        "session.circuit_breaker.half_open",
        "session.retry.attempt",
    ] {
        assert!(documented.contains(&format!("//! | `{name}` |")), "{name}");
    }
    observe::describe();
}

/// With the user, the password, the database and the socket of the URL.
#[cfg(all(feature = "redis", feature = "cache"))]
#[tokio::test]
async fn a_feed_connects_as_its_store_does() {
    use session_faults::servers::{RedisServer, until};
    use session_native::{
        Key, RedisStore, Store as _, SystemClock, Version,
        store::{Lookup, Record, cached::CachedStore},
    };

    let server = RedisServer::builder().unix_socket().user("ada", "hunter2").start().await;
    let socket = server.directory().join("socket");
    let urls = [
        format!("redis://ada:hunter2@{}/3", server.address()),
        format!("redis+unix://{}?db=3&user=ada&pass=hunter2", socket.display()),
    ];
    let nodes = urls.map(async |url| {
        let redis = RedisStore::connect(&url).await.unwrap();
        let feed = redis.feed().unwrap();
        let node = CachedStore::new(redis, feed);
        node.live().await;
        node
    });
    let [by_address, by_socket] = nodes;
    let nodes = [by_address.await, by_socket.await];
    for (number, (here, there)) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])].into_iter().enumerate() {
        let key = Key::from_bytes([u8::try_from(number).unwrap(); 16]);
        let end = session_native::Clock::now(&SystemClock) + Duration::from_secs(60);
        let record = Record::new(Version { counter: 1, nonce: 1 }, end, "x");
        assert_eq!(here.create(&key, &record).await, Ok(true));
        let has = async || there.load(&key, Lookup::default()).await.unwrap().is_some();
        let before = there.stats().hits;
        until("it is cached there", async || has().await && there.stats().hits > before).await;
        assert_eq!(here.delete(&key).await, Ok(true));
        until("it was heard of", async || !has().await).await;
    }
}
