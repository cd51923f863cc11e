//! The map of the seed's features (`tests/SEED.md`): complete, and true; and what no other test shows of them.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::time::Duration;
use std::{collections::BTreeMap, fs, path::Path};

use session_native::{Preset, observe};
use support::{World, config};

const MAP: &str = include_str!("../../tests/SEED.md");

/// The rows of the inventory: the letter of each section, and its last number.
const SECTIONS: [(&str, u32); 16] = [
    ("M", 8),
    ("C", 34),
    ("K", 4),
    ("B", 11),
    ("S", 16),
    ("Q", 7),
    ("T", 20),
    ("L", 8),
    ("F", 6),
    ("I", 6),
    ("H", 5),
    ("E", 7),
    ("R", 7),
    ("X", 5),
    ("Z", 16),
    ("D", 13),
];

/// The three cells of each row.
fn rows() -> impl Iterator<Item = [&'static str; 3]> {
    let lines = MAP.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = lines.map(|line| {
        line.split(" | ").collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("three cells: {line}"))
    });
    rows.filter(|[row, ..]: &[_; 3]| *row != "row")
}

#[test]
fn every_row_is_mapped_once() {
    let mut mapped = BTreeMap::new();
    for id in SECTIONS.iter().flat_map(|(letter, last)| (1..=*last).map(move |at| format!("{letter}{at}"))) {
        mapped.insert(id, 0);
    }
    for [ids, ..] in rows() {
        for id in ids.split(", ") {
            *mapped.get_mut(id).unwrap_or_else(|| panic!("{id} is no row of the inventory")) += 1;
        }
    }
    mapped.retain(|_, times| *times != 1);
    assert!(mapped.is_empty(), "not mapped once: {mapped:?}");
}

#[test]
fn every_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut named = 0;
    for [ids, _, shown_by] in rows() {
        let before = named;
        let mut path = "";
        for code in shown_by.split('`').skip(1).step_by(2) {
            let Some((file, test)) = code.split_once("::").filter(|_| !code.starts_with("Sessions::")) else {
                continue;
            };
            path = if file.is_empty() { path } else { file };
            let source =
                fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{ids}: {path}: {error}"));
            let is_there = if path.ends_with(".rs") {
                ["(", "<"].iter().any(|next| source.contains(&format!("fn {test}{next}")))
            } else {
                source.contains(&format!("test('{test}'"))
            };
            assert!(is_there, "{ids}: {path} has no test {test:?}");
            named += 1;
        }
        let excused = shown_by.starts_with("by type: ") || shown_by.starts_with("by design: ");
        assert!(named > before || excused, "{ids}: neither a test nor a reason");
    }
    assert!(named > 150, "{named}");
}

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
