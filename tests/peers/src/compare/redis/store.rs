//! The raw client, our store, whole sessions.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use session_native::{
    Client, Clock as _, Key, Store as _, SystemClock, Version,
    store::{Lookup, Record, Saved},
};
use tokio::runtime::Runtime;

use super::{InRedis, Meter, PATIENCE, SIZE, TASKS, connect, tasks};
use crate::{
    compare::{LIFE, config},
    data::Data,
    measure::{Effort, Samples, compare},
};

pub const GET: &str = "raw client: GET";
pub const EVALSHA: &str = "raw client: EVALSHA of our script";
pub const STORE: &str = "session: RedisStore";
const WHOLE: &str = "session: Sessions";

pub fn loads(runtime: &Runtime, url: &str, meter: &Meter, effort: Effort) -> Samples {
    let (connection, store, sessions, cookies) = runtime.block_on(async {
        let store = connect(url).await;
        for number in 0..TASKS {
            store.create(&key(number), &record(Version::default())).await.expect("a record");
        }
        let sessions = InRedis::new(config(), store.clone()).expect("a configuration");
        let cookies = new_cookies(&sessions).await;
        (raw(url).await, store, sessions, cookies)
    });
    let get = tasks(runtime, meter, GET, move |number, turns| {
        let (mut connection, name) = (connection.clone(), name(&key(number)));
        async move {
            for _ in 0..turns {
                let value: Option<Vec<u8>> =
                    redis::cmd("GET").arg(&name).query_async(&mut connection).await.expect("a value");
                assert!(value.is_some());
            }
        }
    });
    let load = tasks(runtime, meter, STORE, move |number, turns| {
        let (store, key) = (store.clone(), key(number));
        async move {
            for _ in 0..turns {
                assert!(store.load(&key, Lookup::default()).await.expect("a load").is_some());
            }
        }
    });
    let whole = tasks(runtime, meter, WHOLE, move |number, turns| {
        let (sessions, cookie) = (sessions.clone(), Arc::clone(&cookies[number]));
        async move {
            for _ in 0..turns {
                let session = sessions.load(&*cookie, &Client::default()).await.expect("a load");
                assert_eq!(session.data().visits, 0);
            }
        }
    });
    compare(effort, vec![get, load, whole])
}

pub fn saves(runtime: &Runtime, url: &str, meter: &Meter, effort: Effort) -> Samples {
    let (connection, store, sessions, cookies) = runtime.block_on(async {
        let store = connect(url).await;
        let sessions = InRedis::new(config(), store.clone()).expect("a configuration");
        let cookies = new_cookies(&sessions).await;
        (raw(url).await, store, sessions, cookies)
    });
    let script =
        Arc::new(redis::Script::new(include_str!("../../../../../native/src/store/redis/scripts/save.lua")));
    let raw = tasks(runtime, meter, EVALSHA, move |number, turns| {
        let (mut connection, script) = (connection.clone(), Arc::clone(&script));
        let key = key(1000 + number);
        async move {
            let mut version = Version::default();
            let value = [&version.to_bytes()[..], &[0; 56], &[b'x'; SIZE]].concat();
            let () = redis::cmd("SET")
                .arg(name(&key))
                .arg(value)
                .query_async(&mut connection)
                .await
                .expect("a value");
            for _ in 0..turns {
                let next = Version { counter: version.counter + 1, nonce: 7 };
                let message = [&b"s"[..], key.as_bytes(), &next.to_bytes()].concat();
                let (saved,): (u8,) = script
                    .key(name(&key))
                    .arg("PUBLISH")
                    .arg("session:changes")
                    .arg(&version.to_bytes())
                    .arg([&next.to_bytes()[..], &[0; 24]].concat())
                    .arg(&[b'x'; SIZE])
                    .arg(3_600_000)
                    .arg(message)
                    .invoke_async(&mut connection)
                    .await
                    .expect("a save");
                assert_eq!(saved, 1);
                version = next;
            }
        }
    });
    let mut records = 2000;
    let save = tasks(runtime, meter, STORE, move |_, turns| {
        // A new record each time: one that was deleted may not come back.
        records += 1;
        let (store, key) = (store.clone(), key(records));
        async move {
            let mut version = Version::default();
            assert_eq!(store.create(&key, &record(version)).await, Ok(true));
            for _ in 0..turns {
                let next = Version { counter: version.counter + 1, nonce: 7 };
                let saved = store.save(&key, &record(next), version).await;
                assert_eq!(saved, Ok(Saved::Stored));
                version = next;
            }
        }
    });
    let commit = tasks(runtime, meter, WHOLE, move |number, turns| {
        let (sessions, cookie) = (sessions.clone(), Arc::clone(&cookies[number]));
        async move {
            let mut session = sessions.load(&*cookie, &Client::default()).await.expect("a load");
            for _ in 0..turns {
                session.data_mut().visits += 1;
                sessions.commit(&mut session).await.expect("a commit");
            }
        }
    });
    compare(effort, vec![raw, save, commit])
}

async fn raw(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL");
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await.expect("a connection")
}

fn key(number: usize) -> Key {
    Key::from_bytes(
        (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes(),
    )
}

/// As `RedisStore` names it.
fn name(key: &Key) -> String {
    format!("session:{{{:02x}}}:s:{key}", key.as_bytes()[0])
}

fn record(version: Version) -> Record {
    Record::new(version, SystemClock.now() + LIFE, vec![b'x'; SIZE])
}

async fn new_cookie(sessions: &InRedis) -> Arc<str> {
    let mut session = sessions.create();
    *session.data_mut() = Data::of_size(SIZE);
    let cookie = sessions.commit(&mut session).await.expect("a commit").expect("a cookie");
    cookie.as_str().split(';').next().expect("a cookie").into()
}

async fn new_cookies(sessions: &InRedis) -> Vec<Arc<str>> {
    let mut cookies = Vec::new();
    for _ in 0..TASKS {
        cookies.push(new_cookie(sessions).await);
    }
    cookies
}
