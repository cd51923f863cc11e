//! Sessions of other libraries go on as ours: once, until a date, and never again after their end.

#![cfg(all(feature = "crystal", feature = "iron"))]
#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::time::Duration;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use session_core::interop::{
    KeyError,
    crystal::{Encryptor, LegacyDigest, seal_value},
    iron::Iron,
};
use session_native::{
    Client, ClientBinding, Clock as _, Error, EventKind, ManualClock, MemoryStore, OsRandom, Rejection,
    Session, SessionData, Sessions, State, Store, StoreError, Stored, Timestamp,
    import::{CrystalCookies, CrystalRecords, Import, IronCookies, OldRecords},
    store::{Bytes, Found, Lookup, Record, Saved},
};
use support::{config, cookie_of};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const PASSWORD: &str = "a-password-of-at-least-32-characters";
const ID: &str = "0b6f3c1e-2f0d-4c43-9a0e-4b7a3f1f2b11";
/// A quarter of an hour after the beginning of the clock, 2023-11-14T22:13:20Z.
const LATER: &str = "2023-11-14T22:28:20Z";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct User {
    user_id: Option<u64>,
    role: String,
    text: String,
}
impl SessionData for User {}

struct Site {
    sessions: Sessions<User, Stored<MemoryStore>>,
    clock: ManualClock,
    store: MemoryStore,
}

fn until(clock: &ManualClock, seconds: u64) -> Timestamp {
    clock.now() + Duration::from_secs(seconds)
}

impl Site {
    fn new(import: impl FnOnce(&ManualClock) -> Option<Import<User>>) -> Self {
        let clock = clock();
        let store = MemoryStore::builder().clock(clock.clone()).build();
        let sessions = Sessions::new(config(), store.clone()).unwrap().clock(clock.clone());
        let sessions = match import(&clock) {
            Some(import) => {
                let memory = MemoryStore::builder().clock(clock.clone()).build();
                sessions.import(import.subject(by_id).remember_in(memory))
            }
            None => sessions,
        };
        Self { sessions, clock, store }
    }

    fn of_crystal() -> Self {
        Self::new(|clock| Some(Import::until(until(clock, 3600), crystal_cookies())))
    }

    async fn load(&self, cookie: &str) -> Session<User> {
        self.sessions.load(cookie, &Client::default()).await.unwrap()
    }

    async fn commit(&self, session: &mut Session<User>) -> Option<String> {
        self.sessions.commit(session).await.unwrap().as_ref().map(cookie_of)
    }
}

/// 2023-11-14T22:13:20Z.
fn clock() -> ManualClock {
    let clock = ManualClock::default();
    let start = Timestamp::from_millis(1_700_000_000_000);
    clock.advance(start.since(clock.now()));
    assert_eq!(clock.now(), start);
    clock
}

fn by_id(user: &User) -> Option<String> {
    user.user_id.map(|id| id.to_string())
}

fn encryptor() -> Encryptor {
    Encryptor::new(SECRET, None).unwrap()
}

fn crystal_cookies() -> CrystalCookies {
    CrystalCookies::new("_session", encryptor()).unwrap()
}

fn json(id: &str, expires_at: &str, fields: &str) -> String {
    format!(
        r#"{{"session_id":"{id}","created_at":"2023-11-14T22:00:00Z","expires_at":"{expires_at}"{fields}}}"#
    )
}

/// As the Crystal library sets it.
fn crystal_cookie(json: &str) -> String {
    let value = seal_value(json.as_bytes(), Some(&encryptor()), None, &OsRandom).unwrap();
    format!("_session={ID}; _session._data_={}", String::from_utf8(value.to_vec()).unwrap())
}

fn adas_cookie() -> String {
    crystal_cookie(&json(ID, LATER, r#","user_id":42,"role":"admin","unknown":[1]"#))
}

fn iron_seal(clock: &ManualClock, json: &str) -> String {
    let iron = Iron::new("1", PASSWORD).unwrap();
    iron.seal(json.as_bytes(), Some(Duration::from_secs(900)), clock.now(), &OsRandom).unwrap()
}

#[tokio::test]
async fn a_crystal_cookie_becomes_a_session() {
    let site = Site::of_crystal();
    let mut session = site.load(&adas_cookie()).await;
    assert_eq!(session.state(), State::Active);
    assert_eq!((session.data().user_id, session.data().role.as_str()), (Some(42), "admin"));
    assert_eq!(session.subject(), Some("42"));
    assert_eq!(session.authenticated_at(), None, "nothing was proved here");
    // Nothing was written to it, and the client gets a token all the same.
    let cookie = site.commit(&mut session).await.unwrap();
    let mut again = site.load(&format!("{}; {cookie}", adas_cookie())).await;
    assert!(again.is_same(&session));
    assert_eq!(site.commit(&mut again).await, None);
    assert_eq!(site.sessions.by_subject("42").await.unwrap().len(), 1);
    // A changed session is saved as any other.
    again.data_mut().text = "changed".into();
    site.commit(&mut again).await;
    assert_eq!(site.load(&cookie).await.data().text, "changed");
}

#[tokio::test]
async fn nothing_is_imported_unless_asked_for() {
    let site = Site::new(|_| None);
    let session = site.load(&adas_cookie()).await;
    assert_eq!(session.state(), State::Anonymous(None));
}

#[tokio::test]
async fn at_the_end_date_it_is_over() {
    let site = Site::new(|clock| Some(Import::until(until(clock, 60), crystal_cookies())));
    let session = site.load(&adas_cookie()).await;
    assert_eq!(session.state(), State::Active);
    site.clock.advance(Duration::from_secs(60));
    // Not even looked at: a forged one isn't told from a good one.
    let (good, bad) = (site.load(&adas_cookie()).await, site.load("_session._data_=x").await);
    assert_eq!((good.state(), bad.state()), (State::Anonymous(None), State::Anonymous(None)));
}

#[tokio::test]
async fn many_requests_with_one_cookie_have_one_session() {
    let site = Site::of_crystal();
    let cookie = adas_cookie();
    let first = site.load(&cookie).await;
    // The answer of the first was lost, or the requests came together; and the Crystal site had sealed the session anew meanwhile.
    let resealed = crystal_cookie(&json(ID, "2099-12-31T23:59:59Z", r#","user_id":666"#));
    for cookie in [&cookie, &cookie, &resealed] {
        let mut session = site.load(cookie).await;
        assert!(session.is_same(&first));
        assert_eq!(session.data().user_id, Some(42));
        assert!(site.commit(&mut session).await.is_some());
    }
    assert_eq!(site.sessions.len().await.unwrap(), 1);
}

// P1: a sign-out is final, whatever cookie of before the client still has.
#[tokio::test]
async fn what_ended_is_not_imported_again() {
    let site = Site::of_crystal();
    let cookie = adas_cookie();
    let mut session = site.load(&cookie).await;
    site.sessions.destroy(&mut session).await.unwrap();
    let resealed = crystal_cookie(&json(ID, "2099-12-31T23:59:59Z", r#","user_id":42"#));
    for cookie in [&cookie, &resealed] {
        let session = site.load(cookie).await;
        assert_eq!(session.rejection(), Some(Rejection::Revoked));
        assert!(session.subject().is_none() && session.data().user_id.is_none());
    }
    site.clock.advance(Duration::from_secs(3599));
    assert_eq!(site.load(&resealed).await.rejection(), Some(Rejection::Revoked), "to the very end");
    assert_eq!(site.sessions.len().await.unwrap(), 0);
}

// P7: the old library's cookie is worth no more than a token of before the rotation.
#[tokio::test]
async fn a_rotation_kills_the_old_cookie() {
    let site = Site::of_crystal();
    let cookie = adas_cookie();
    let mut session = site.load(&cookie).await;
    session.authenticate("42");
    let own = site.commit(&mut session).await.unwrap();
    assert_eq!(site.load(&cookie).await.rejection(), Some(Rejection::Superseded));
    site.clock.advance(Duration::from_secs(600));
    assert_eq!(site.load(&cookie).await.rejection(), Some(Rejection::Reused));
    assert_eq!(site.load(&own).await.subject(), Some("42"));
}

#[tokio::test]
async fn a_subject_is_revoked_with_its_imported_sessions() {
    let site = Site::of_crystal();
    // Before: what is imported later begins with the epoch of then.
    site.sessions.revoke_subject("42").await.unwrap();
    let mut session = site.load(&adas_cookie()).await;
    let own = site.commit(&mut session).await.unwrap();
    assert_eq!(site.load(&own).await.subject(), Some("42"));
    site.sessions.revoke_subject("42").await.unwrap();
    assert_eq!(site.load(&own).await.rejection(), Some(Rejection::Revoked));
    assert_eq!(site.load(&adas_cookie()).await.rejection(), Some(Rejection::Revoked));
}

#[tokio::test]
async fn an_own_token_whatever_it_is_worth_comes_first() {
    let site = Site::of_crystal();
    let name = &site.sessions.config().cookie.name;
    let session = site.load(&format!("{}; {name}=rubbish", adas_cookie())).await;
    assert_eq!(session.rejection(), Some(Rejection::Malformed));
    assert_eq!(site.load(&format!("{name}=; {}", adas_cookie())).await.state(), State::Active);
}

#[tokio::test]
async fn what_is_refused_costs_nothing_and_says_why() {
    let site = Site::of_crystal();
    let mut forged = adas_cookie();
    forged.insert(forged.len() - 60, 'A');
    let end = "2023-11-14T22:13:19Z";
    for (cookie, reason) in [
        (forged.as_str(), Rejection::Malformed),
        (&crystal_cookie(&json(ID, end, "")), Rejection::Expired),
        (&crystal_cookie(&json("", LATER, "")), Rejection::Malformed),
        (&crystal_cookie(r#"{"session_id":"a"}"#), Rejection::Malformed),
        (&crystal_cookie(&json(ID, LATER, r#","user_id":"no number""#)), Rejection::Malformed),
        ("_session._data_=x", Rejection::Malformed),
    ] {
        let mut session = site.load(cookie).await;
        assert_eq!(session.rejection(), Some(reason), "{cookie}");
        assert_eq!(site.commit(&mut session).await, None);
    }
    let other = Encryptor::new(b"another secret of thirty-two byte", None).unwrap();
    let sealed = seal_value(json(ID, LATER, "").as_bytes(), Some(&other), None, &OsRandom).unwrap();
    let cookie = format!("_session._data_={}", String::from_utf8_lossy(&sealed));
    assert_eq!(site.load(&cookie).await.rejection(), Some(Rejection::Forged));
    // The good one of two is found.
    let both = format!("_session._data_=x; {}", adas_cookie());
    assert_eq!(site.load(&both).await.state(), State::Active);
    assert_eq!(site.store.stats().sessions, 1);
}

#[test]
fn the_public_secret_is_not_trusted() {
    let public = Encryptor::new(Encryptor::DEFAULT_SECRET, None).unwrap();
    assert_eq!(CrystalCookies::new("_session", public).err(), Some(KeyError::Public));
}

#[tokio::test]
async fn sha1_has_an_end_of_its_own() {
    // Made by the Crystal library; its session ends in 2099.
    const VECTORS: &str = include_str!("../../tests/vectors/crystal/cookie_store.json");
    let file: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    let sha1 = file["cases"].as_array().unwrap().iter().find(|case| case["id"] == "sha1-big_ids").unwrap();
    let long =
        file["cases"].as_array().unwrap().iter().find(|case| case["id"] == "long_secret-big_ids").unwrap();
    let secret = |case: &serde_json::Value| case["secret"].as_str().unwrap().as_bytes().to_vec();
    let cookie =
        |case: &serde_json::Value| format!("_session._data_={}", case["cookie_value"].as_str().unwrap());
    let importer = CrystalCookies::new("_session", Encryptor::new(&secret(long), None).unwrap()).unwrap();
    let site = Site::new(|clock| Some(Import::until(until(clock, 3600), importer)));
    assert_eq!(site.load(&cookie(long)).await.data().user_id, Some(i64::MAX as u64));
    // The recording's SHA-1 values have the public secret: opened, here, by an importer of its own.
    let encryptor = Encryptor::new(&secret(sha1), None).unwrap();
    let now = site.clock.now();
    let value = sha1["cookie_value"].as_str().unwrap().as_bytes();
    let open = |encryptor: &Encryptor| encryptor.open(value, now).map(|_| ());
    assert!(open(&encryptor).is_err());
    assert!(open(&encryptor.clone().allow(LegacyDigest::Sha1, until(&site.clock, 1))).is_ok());
    assert!(open(&encryptor.allow(LegacyDigest::Sha1, now)).is_err());
}

/// The old site's Redis.
#[derive(Clone, Default)]
struct OldRedis {
    values: Arc<Mutex<HashMap<String, String>>>,
    gets: Arc<AtomicUsize>,
    down: bool,
    read_only: bool,
}

impl OldRecords for OldRedis {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        if self.down {
            return Err(StoreError::unavailable("a test"));
        }
        Ok(self.values.lock().unwrap().get(name).map(|value| Bytes::from(value.clone())))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        if self.read_only {
            return Err(StoreError::unavailable("a test"));
        }
        self.values.lock().unwrap().remove(name);
        Ok(())
    }
}

#[tokio::test]
async fn a_crystal_record_becomes_a_session_and_is_deleted_there() {
    let redis = OldRedis::default();
    let name = format!("session:{ID}");
    redis.values.lock().unwrap().insert(name.clone(), json(ID, LATER, r#","user_id":42"#));
    let records = CrystalRecords::new("_session", None, redis.clone());
    let site = Site::new(|clock| Some(Import::until(until(clock, 3600), records)));
    let cookie = format!("_session={ID}");
    let mut session = site.load(&cookie).await;
    assert_eq!(session.subject(), Some("42"));
    assert!(site.commit(&mut session).await.is_some());
    assert!(redis.values.lock().unwrap().is_empty());
    // Requests that come together all have it.
    assert!(site.load(&cookie).await.is_same(&session));
    // A service in Crystal that still ran has written it once more.
    redis.values.lock().unwrap().insert(name.clone(), json(ID, LATER, r#","user_id":42"#));
    assert!(site.load(&cookie).await.is_same(&session));
    site.sessions.destroy(&mut session).await.unwrap();
    assert_eq!(site.load(&cookie).await.rejection(), Some(Rejection::Revoked));
    // A value under another session's name.
    let other = ID.replace('0', "1");
    redis.values.lock().unwrap().insert(format!("session:{other}"), json(ID, LATER, r#","user_id":1"#));
    assert_eq!(site.load(&format!("_session={other}")).await.rejection(), Some(Rejection::Forged));
}

/// An old server that answers a first request only after a second one has imported the session.
#[derive(Clone)]
struct Overtaken {
    inner: OldRedis,
    asked: Arc<AtomicUsize>,
    imported: Arc<tokio::sync::Notify>,
}

impl OldRecords for Overtaken {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        if self.asked.fetch_add(1, Ordering::Relaxed) == 0 {
            self.imported.notified().await;
        }
        self.inner.get(name).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name).await
    }
}

// Nobody is signed out because two requests came together.
#[tokio::test]
async fn a_request_that_is_overtaken_finds_what_the_other_made() {
    let inner = OldRedis::default();
    inner.values.lock().unwrap().insert(format!("session:{ID}"), json(ID, LATER, r#","user_id":42"#));
    let redis = Overtaken { inner, asked: Arc::default(), imported: Arc::default() };
    let records = CrystalRecords::new("_session", None, redis.clone());
    let site = Site::new(|clock| Some(Import::until(until(clock, 3600), records)));
    let cookie = format!("_session={ID}");
    let (overtaken, first) = tokio::join!(biased; site.load(&cookie), async {
        let session = site.load(&cookie).await;
        redis.imported.notify_one();
        session
    });
    assert!(redis.inner.values.lock().unwrap().is_empty());
    assert!(overtaken.is_same(&first));
    assert_eq!(overtaken.subject(), Some("42"));
}

// Services in Crystal still run beside: each side has a session of its own, and this one is imported once all the same.
#[tokio::test]
async fn a_crystal_record_is_left_where_it_is_if_that_is_asked_for() {
    let redis = OldRedis::default();
    redis.values.lock().unwrap().insert(format!("session:{ID}"), json(ID, LATER, r#","user_id":42"#));
    let records = CrystalRecords::new("_session", None, redis.clone()).keep();
    let site = Site::new(|clock| Some(Import::until(until(clock, 3600), records)));
    let cookie = format!("_session={ID}");
    let mut session = site.load(&cookie).await;
    assert!(site.commit(&mut session).await.is_some());
    assert_eq!(redis.values.lock().unwrap().len(), 1);
    assert!(site.load(&cookie).await.is_same(&session));
    site.sessions.destroy(&mut session).await.unwrap();
    assert_eq!(site.load(&cookie).await.rejection(), Some(Rejection::Revoked), "what ended here stays so");
    assert_eq!(redis.values.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn ids_that_crystal_did_not_make_are_not_asked_for() {
    let redis = OldRedis::default();
    let records = CrystalRecords::new("_session", None, redis.clone());
    let site = Site::new(|clock| Some(Import::until(until(clock, 3600), records)));
    for id in [
        "",
        "x",
        "*",
        &ID.to_uppercase(),
        &ID.replace('-', "0"),
        &format!("{ID}0"),
        &format!("..{}", &ID[2..]),
    ] {
        assert_eq!(site.load(&format!("_session={id}")).await.state(), State::Anonymous(None), "{id}");
    }
    assert_eq!(redis.gets.load(Ordering::Relaxed), 0);
    assert_eq!(site.load(&format!("_session={ID}")).await.state(), State::Anonymous(None));
    assert_eq!(redis.gets.load(Ordering::Relaxed), 1);
}

// P6: nobody is taken for a stranger because the old server is down.
#[tokio::test]
async fn an_old_server_that_is_down_is_an_error() {
    let records = CrystalRecords::new("_session", None, OldRedis { down: true, ..OldRedis::default() });
    let site = Site::new(|clock| Some(Import::until(until(clock, 3600), records)));
    let loaded = site.sessions.load(format!("_session={ID}"), &Client::default()).await;
    assert!(matches!(loaded, Err(Error::Store(_))));
    assert_eq!(site.load("").await.state(), State::Anonymous(None));
}

#[tokio::test]
async fn a_value_that_cannot_be_deleted_there_is_imported_once_all_the_same() {
    let redis = OldRedis { read_only: true, ..OldRedis::default() };
    redis.values.lock().unwrap().insert(format!("session:{ID}"), json(ID, LATER, r#","user_id":42"#));
    let records = CrystalRecords::new("_session", None, redis.clone());
    let site = Site::new(|clock| Some(Import::until(until(clock, 3600), records)));
    let cookie = format!("_session={ID}");
    let mut session = site.load(&cookie).await;
    assert_eq!(session.subject(), Some("42"));
    assert!(site.load(&cookie).await.is_same(&session));
    site.sessions.destroy(&mut session).await.unwrap();
    assert_eq!(site.load(&cookie).await.rejection(), Some(Rejection::Revoked));
    assert_eq!(redis.values.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_imported_is_bound_to_the_client_that_brings_it() {
    let clock = clock();
    let config = config().client_binding(Some(ClientBinding::user_agent()));
    let store = || MemoryStore::builder().clock(clock.clone()).build();
    let import = Import::until(until(&clock, 3600), crystal_cookies()).subject(by_id).remember_in(store());
    let sessions = Sessions::new(config, store()).unwrap().clock(clock.clone()).import(import);
    let [here, there] = [b"Mozilla/5.0".as_slice(), b"curl"]
        .map(|user_agent| Client { ip: None, user_agent: Some(user_agent) });
    let mut session = sessions.load(&adas_cookie(), &here).await.unwrap();
    let own = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
    for cookie in [&own, &adas_cookie()] {
        assert_eq!(sessions.load(cookie, &here).await.unwrap().subject(), Some("42"));
        let elsewhere = sessions.load(cookie, &there).await.unwrap();
        assert_eq!(
            elsewhere.rejection(),
            Some(Rejection::BoundElsewhere),
            "neither the token nor the old cookie"
        );
    }
}

#[tokio::test]
async fn an_iron_seal_becomes_a_session() {
    let importer = || IronCookies::new("my-app", Iron::new("1", PASSWORD).unwrap());
    let site = Site::new(|clock| Some(Import::until(until(clock, 3600), importer())));
    let seal = iron_seal(&site.clock, r#"{"user_id":7,"role":"user"}"#);
    let mut session = site.load(&format!("a=b; my-app={seal}")).await;
    assert_eq!((session.subject(), session.data().role.as_str()), (Some("7"), "user"));
    let own = site.commit(&mut session).await.unwrap();
    assert_eq!(site.load(&own).await.subject(), Some("7"));
    // Percent-encoded, as some servers write it; and in four parts.
    let encoded = format!("my-app={}", seal.replace('*', "%2A"));
    assert!(site.load(&encoded).await.is_same(&session));
    let parts: Vec<_> = seal.as_bytes().chunks(seal.len().div_ceil(4)).collect();
    let chunked: Vec<_> = parts
        .iter()
        .enumerate()
        .rev()
        .map(|(at, part)| format!("my-app.{at}={}", String::from_utf8_lossy(part)))
        .collect();
    assert!(site.load(&chunked.join("; ")).await.is_same(&session));
    assert_eq!(site.load(&chunked[1..].join("; ")).await.rejection(), Some(Rejection::Malformed));
    // Its own clock tolerance, and then its end.
    site.clock.advance(Duration::from_secs(959));
    assert!(site.load(&encoded).await.is_same(&session));
    site.clock.advance(Duration::from_secs(1));
    assert_eq!(site.load(&encoded).await.rejection(), Some(Rejection::Expired));
}

#[tokio::test]
async fn several_libraries_at_once() {
    let site = Site::new(|clock| Some(Import::until(until(clock, 3600), crystal_cookies())));
    let Site { sessions, clock, .. } = site;
    let iron = IronCookies::new("my-app", Iron::new("1", PASSWORD).unwrap());
    let sessions = sessions.import(Import::until(until(&clock, 3600), iron).subject(by_id));
    let load = async |cookie: String| sessions.load(cookie, &Client::default()).await.unwrap();
    let seal = iron_seal(&clock, r#"{"user_id":7}"#);
    assert_eq!(load(format!("my-app={seal}")).await.subject(), Some("7"));
    assert_eq!(load(adas_cookie()).await.subject(), Some("42"));
    assert_eq!(load(format!("_session._data_=x; my-app={seal}")).await.subject(), Some("7"));
}

#[tokio::test]
async fn sessions_in_cookies() {
    let clock = clock();
    let memory = MemoryStore::builder().clock(clock.clone()).build();
    let import = Import::until(until(&clock, 3600), crystal_cookies()).subject(by_id).remember_in(memory);
    let sessions = Sessions::<User, _>::cookie(config()).unwrap().clock(clock.clone()).import(import);
    let load = async |cookie: &str| sessions.load(cookie, &Client::default()).await.unwrap();
    let mut session = load(&adas_cookie()).await;
    assert_eq!((session.subject(), session.data().role.as_str()), (Some("42"), "admin"));
    let own = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
    assert!(load(&own).await.is_same(&session) && load(&adas_cookie()).await.is_same(&session));
    sessions.destroy(&mut session).await.unwrap();
    assert_eq!(load(&adas_cookie()).await.rejection(), Some(Rejection::Revoked));
    // What doesn't fit a cookie of ours is left behind.
    let text = format!(r#","user_id":1,"text":"{}""#, "x".repeat(3_900));
    let large = crystal_cookie(&json("another", LATER, &text));
    assert_eq!(load(&large).await.state(), State::Anonymous(None));
}

#[tokio::test]
async fn events() {
    let told = Arc::<Mutex<Vec<EventKind>>>::default();
    let heard = Arc::clone(&told);
    let clock = clock();
    let sessions = Sessions::<User, _>::new(config(), MemoryStore::builder().clock(clock.clone()).build())
        .unwrap()
        .clock(clock.clone())
        .on_event(move |event| heard.lock().unwrap().push(event.kind))
        .import(Import::until(until(&clock, 60), crystal_cookies()));
    let mut session = sessions.load(adas_cookie(), &Client::default()).await.unwrap();
    sessions.commit(&mut session).await.unwrap();
    sessions.load("_session._data_=x", &Client::default()).await.unwrap();
    let expected =
        [EventKind::Started, EventKind::Loaded, EventKind::Issued, EventKind::Rejected(Rejection::Malformed)];
    assert_eq!(*told.lock().unwrap(), expected);
}

/// Where two requests meet that both found nothing.
struct Meeting {
    inner: MemoryStore,
    both: tokio::sync::Barrier,
    met: AtomicUsize,
}

impl Store for Meeting {
    async fn create(&self, key: &session_native::Key, record: &Record) -> Result<bool, StoreError> {
        self.inner.create(key, record).await
    }

    async fn load(&self, key: &session_native::Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        let found = self.inner.load(key, lookup).await;
        if self.met.fetch_add(1, Ordering::Relaxed) < 2 {
            self.both.wait().await;
        }
        found
    }

    async fn save(
        &self,
        _: &session_native::Key,
        _: &Record,
        _: session_native::Version,
    ) -> Result<Saved, StoreError> {
        unreachable!("an import is remembered once")
    }

    async fn delete(&self, key: &session_native::Key) -> Result<bool, StoreError> {
        self.inner.delete(key).await
    }
}

#[tokio::test]
async fn of_two_requests_at_once_one_makes_the_session() {
    let clock = clock();
    let store = MemoryStore::builder().clock(clock.clone()).build();
    let inner = MemoryStore::builder().clock(clock.clone()).build();
    let meeting = Meeting { inner, both: tokio::sync::Barrier::new(2), met: AtomicUsize::new(0) };
    let import = Import::until(until(&clock, 3600), crystal_cookies()).subject(by_id).remember_in(meeting);
    let sessions = Sessions::<User, _>::new(config(), store).unwrap().clock(clock).import(import);
    let client = Client::default();
    let load = || sessions.load(adas_cookie(), &client);
    let (one, two) = tokio::join!(load(), load());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(one.is_same(&two));
    assert_eq!(sessions.len().await.unwrap(), 1);
}
