//! Sessions in one Redis, by 64 tasks at a time: the raw client, our store, whole sessions; and requests of axum, beside tower-sessions.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Request, Response, header},
    routing::get,
};
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use session_faults::servers::RedisServer;
use session_native::{
    Client, Clock as _, Config, Key, OsRandom, RedisStore, Secret, SessionData, SessionHandle, Sessions, Store as _,
    Stored, SystemClock, Version,
    axum::SessionLayer,
    store::{Lookup, Record, Saved},
};
use tower::ServiceExt as _;
use tower_sessions::{Expiry, SessionManagerLayer};
use tower_sessions_redis_store::{
    RedisStore as TowerStore,
    fred::{clients::Pool, interfaces::ClientLike as _},
};

use crate::report::{Contestant, Effort, Report, TASKS};

/// About 400 bytes as JSON.
#[derive(Default, Clone, Serialize, Deserialize)]
struct Data {
    name: String,
    notes: String,
    visits: u64,
}

impl SessionData for Data {}

fn data() -> Data {
    Data { name: "ada".into(), notes: "n".repeat(330), visits: 0 }
}

/// Runs a future in each of the tasks and waits for all.
async fn tasks<F: Future<Output = ()> + Send + 'static>(mut task: impl FnMut(usize) -> F) {
    let running: Vec<_> = (0..TASKS).map(|number| tokio::spawn(task(number))).collect();
    for task in running {
        task.await.expect("a task");
    }
}

pub async fn compare(effort: Effort) -> Report {
    let server = RedisServer::start().await;
    let url = server.url();
    let mut report = Report::default();
    loads(&mut report, &url, effort).await;
    saves(&mut report, &url, effort).await;
    requests(&mut report, &url, effort).await;
    report
}

async fn raw(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("a connection")
}

fn key(number: usize) -> Key {
    Key::from_bytes((number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
}

fn name(key: &Key) -> String {
    format!("session:{{{:02x}}}:s:{key}", key.as_bytes()[0])
}

fn record(version: Version) -> Record {
    Record::new(version, SystemClock.now() + core::time::Duration::from_secs(3600), vec![b'x'; 400])
}

fn sessions(url_store: RedisStore) -> Sessions<Data, Stored<RedisStore>> {
    let secret = Secret::generate(&OsRandom).expect("random bytes");
    // As in development: encryption and compression are not what is compared here.
    Sessions::new(Config::development(secret), url_store).expect("a configuration")
}

async fn new_cookie(sessions: &Sessions<Data, Stored<RedisStore>>) -> Arc<str> {
    let mut session = sessions.create();
    *session.data_mut() = data();
    let cookie = sessions.commit(&mut session).await.expect("a commit").expect("a cookie");
    cookie.as_str().split(';').next().expect("a cookie").into()
}

async fn loads(report: &mut Report, url: &str, effort: Effort) {
    let connection = raw(url).await;
    let store = RedisStore::connect(url).await.expect("a store");
    for number in 0..TASKS {
        store.create(&key(number), &record(Version::default())).await.expect("a record");
    }
    let sessions = sessions(store.clone());
    let mut cookies = Vec::new();
    for _ in 0..TASKS {
        cookies.push(new_cookie(&sessions).await);
    }
    let get = |operations| {
        let connection = connection.clone();
        tasks(move |number| {
            let (mut connection, name) = (connection.clone(), name(&key(number)));
            async move {
                for _ in 0..operations {
                    let value: Option<Vec<u8>> =
                        redis::cmd("GET").arg(&name).query_async(&mut connection).await.expect("a value");
                    assert!(value.is_some());
                }
            }
        })
    };
    let load = |operations| {
        let store = store.clone();
        tasks(move |number| {
            let (store, key) = (store.clone(), key(number));
            async move {
                for _ in 0..operations {
                    assert!(store.load(&key, Lookup::default()).await.expect("a load").is_some());
                }
            }
        })
    };
    let whole = |operations| {
        let (sessions, cookies) = (sessions.clone(), cookies.clone());
        tasks(move |number| {
            let (sessions, cookie) = (sessions.clone(), Arc::clone(&cookies[number]));
            async move {
                for _ in 0..operations {
                    let session = sessions.load(&*cookie, &Client::default()).await.expect("a load");
                    assert_eq!(session.data().visits, 0);
                }
            }
        })
    };
    let contestants = vec![
        Contestant::new("raw GET", get),
        Contestant::new("RedisStore::load", load),
        Contestant::new("Sessions::load", whole),
    ];
    report.compare("load", effort, contestants).await;
}

async fn saves(report: &mut Report, url: &str, effort: Effort) {
    let connection = raw(url).await;
    let store = RedisStore::connect(url).await.expect("a store");
    let script = Arc::new(redis::Script::new(include_str!("../../../native/src/store/redis/scripts/save.lua")));
    let sessions = sessions(store.clone());
    let mut cookies = Vec::new();
    for _ in 0..TASKS {
        cookies.push(new_cookie(&sessions).await);
    }
    let raw_save = |operations| {
        let (connection, script) = (connection.clone(), Arc::clone(&script));
        tasks(move |number| {
            let (mut connection, script) = (connection.clone(), Arc::clone(&script));
            let key = key(1000 + number);
            async move {
                let mut version = Version::default();
                let value = |version: Version| [&version.to_bytes()[..], &[0; 24], &[b'x'; 400]].concat();
                let () = redis::cmd("SET").arg(name(&key)).arg(value(version)).query_async(&mut connection).await.expect("a value");
                for _ in 0..operations {
                    let next = Version { counter: version.counter + 1, nonce: 7 };
                    let message = [&b"s"[..], key.as_bytes(), &next.to_bytes()].concat();
                    let saved: u8 = script
                        .key(name(&key))
                        .arg(&version.to_bytes())
                        .arg(value(next))
                        .arg(3_600_000)
                        .arg("PUBLISH")
                        .arg("session:changes")
                        .arg(message)
                        .invoke_async(&mut connection)
                        .await
                        .expect("a save");
                    assert_eq!(saved, 1);
                    version = next;
                }
            }
        })
    };
    let save = |operations| {
        let store = store.clone();
        tasks(move |number| {
            let (store, key) = (store.clone(), key(2000 + number));
            async move {
                store.delete(&key).await.expect("a deletion");
                let mut version = Version::default();
                store.create(&key, &record(version)).await.expect("a record");
                for _ in 0..operations {
                    let next = Version { counter: version.counter + 1, nonce: 7 };
                    let saved = store.save(&key, &record(next), version).await;
                    assert_eq!(saved, Ok(Saved::Stored));
                    version = next;
                }
            }
        })
    };
    let commit = |operations| {
        let (sessions, cookies) = (sessions.clone(), cookies.clone());
        tasks(move |number| {
            let (sessions, cookie) = (sessions.clone(), Arc::clone(&cookies[number]));
            async move {
                let mut session = sessions.load(&*cookie, &Client::default()).await.expect("a load");
                for _ in 0..operations {
                    session.data_mut().visits += 1;
                    sessions.commit(&mut session).await.expect("a commit");
                }
            }
        })
    };
    let contestants = vec![
        Contestant::new("raw EVALSHA", raw_save),
        Contestant::new("RedisStore::save", save),
        Contestant::new("Sessions::commit", commit),
    ];
    report.compare("save", effort, contestants).await;
}

async fn requests(report: &mut Report, url: &str, effort: Effort) {
    let ours = {
        let sessions = sessions(RedisStore::connect(url).await.expect("a store"));
        Router::new()
            .route("/start", get(|session: SessionHandle<Data>| async move { session.update(|all| *all = data()) }))
            .route("/read", get(|session: SessionHandle<Data>| async move { session.read(|session| session.data().visits).to_string() }))
            .route("/write", get(|session: SessionHandle<Data>| async move { session.update(|data| data.visits += 1) }))
            .layer(SessionLayer::new(sessions))
    };
    let theirs = {
        let config = tower_sessions_redis_store::fred::types::config::Config::from_url(url).expect("a URL");
        let pool = Pool::new(config, None, None, None, 1).expect("a pool");
        pool.connect();
        pool.wait_for_connect().await.expect("a connection");
        let layer = SessionManagerLayer::new(TowerStore::new(pool))
            .with_secure(false)
            .with_expiry(Expiry::OnInactivity(tower_sessions::cookie::time::Duration::hours(1)));
        let read = |session: tower_sessions::Session| async move {
            let data: Option<Data> = session.get("data").await.expect("a load");
            data.unwrap_or_default().visits.to_string()
        };
        let start = |session: tower_sessions::Session| async move { session.insert("data", data()).await.expect("a write") };
        let write = |session: tower_sessions::Session| async move {
            let mut data: Data = session.get("data").await.expect("a load").unwrap_or_default();
            data.visits += 1;
            session.insert("data", data).await.expect("a write");
        };
        Router::new()
            .route("/start", get(start))
            .route("/read", get(read))
            .route("/write", get(write))
            .layer(layer)
    };
    for (work, path) in [("request that reads", "/read"), ("request that reads and writes", "/write")] {
        let mut contestants = Vec::new();
        for (name, app) in [("tower-sessions-redis-store", &theirs), ("session", &ours)] {
            let mut cookies = Vec::new();
            for _ in 0..TASKS {
                let answer = send(app.clone(), "/start", None).await;
                let cookie = answer.headers()[header::SET_COOKIE].to_str().expect("text");
                cookies.push(Arc::<str>::from(cookie.split(';').next().expect("a cookie")));
            }
            let app = app.clone();
            contestants.push(Contestant::new(name, move |operations| {
                let (app, cookies) = (app.clone(), cookies.clone());
                tasks(move |number| {
                    let (app, cookie) = (app.clone(), Arc::clone(&cookies[number]));
                    async move {
                        for _ in 0..operations {
                            let answer = send(app.clone(), path, Some(&cookie)).await;
                            assert!(answer.status().is_success(), "{}", answer.status());
                        }
                    }
                })
            }));
        }
        report.compare(work, effort, contestants).await;
    }
}

async fn send(app: Router, path: &'static str, cookie: Option<&str>) -> Response<Body> {
    let mut request = Request::get(path);
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, cookie);
    }
    app.oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer")
}
