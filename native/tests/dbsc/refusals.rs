//! What is not taken for something else: cookies, challenges, records, and settings.

use core::time::Duration;

use http::Method;
use session_native::{
    Clock as _, CookieOptions, CoreError, Error, ManualClock, MemoryStore, OsRandom, Rejection, SameSite,
    Sessions, Store as _, Timestamp, Unreadable,
    dbsc::{DeviceBound, SetupError},
    store::{Lookup, Saved},
};

use crate::{
    browser::Browser,
    site::{LIFE, World},
    support::{Data, config, store::Outside},
};

const BOUND: &str = "session-device";

#[tokio::test]
async fn only_a_bound_cookie_of_this_session_counts() {
    let world = World::new();
    let site = world.axum();
    let (mut one, mut two) = (Browser::new(&site, &world.clock), Browser::new(&site, &world.clock));
    one.post("/login").await;
    two.post("/login").await;
    world.advance(LIFE);
    let challenge = one.challenge().await;
    two.get("/account").await;
    let others = two.cookie(BOUND).unwrap().to_owned();
    let session = one.cookie("session").unwrap().to_owned();
    let mut changed = others.clone();
    changed.replace_range(60..61, if &changed[60..61] == "A" { "B" } else { "A" });
    let mut thief = one.steal();
    // A thief with an account has a bound cookie, of that one.
    for value in [&*others, &session, &challenge, &changed, "", "junk"] {
        thief.plant(BOUND, value);
        assert_eq!(thief.get("/account").await.status(), 401, "{value}");
    }
    // Nor is it a session cookie.
    one.get("/account").await;
    let mut confused = Browser::ignorant(&site, &world.clock);
    confused.plant("session", one.cookie(BOUND).unwrap());
    assert_eq!(confused.get("/account").await.status(), 401);
    // One that someone else has put before it doesn't keep it from being found.
    let cookies = [("session", one.cookie("session")), (BOUND, Some(&*others)), (BOUND, one.cookie(BOUND))];
    let field: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={}", value.unwrap())).collect();
    let mut both = Browser::ignorant(&site, &world.clock);
    let answer = both.send(Method::GET, "/account", &[("cookie", &field.join("; "))]).await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_refused_session_is_none_to_whoever_loads_it() {
    let world = World::new();
    let site = world.axum();
    let mut browser = Browser::new(&site, &world.clock);
    browser.post("/login").await;
    let cookie = format!("session={}", browser.cookie("session").unwrap());
    world.advance(LIFE);
    let session = world.sessions.load(&cookie, &session_native::Client::default()).await.unwrap();
    assert_eq!((session.is_authenticated(), session.rejection()), (false, Some(Rejection::BoundElsewhere)));
    // It isn't kept alive by whoever has only its cookie.
    let key = world.sessions.ids().await.unwrap()[0];
    let ends = world.sessions.get(&key).await.unwrap().unwrap().expires_at;
    assert_eq!(ends.since(world.clock.now()), Duration::from_secs(3600) - LIFE);
}

#[tokio::test]
async fn what_is_not_of_the_protocol_is_told_nothing() {
    let world = World::new();
    let site = world.axum();
    let mut stranger = Browser::ignorant(&site, &world.clock);
    assert_eq!(stranger.send(Method::POST, "/device", &[]).await.status(), 401);
    for id in ["\"\"", "x", "\"AAAAAAAAAAAAAAAAAAAAAA\"", "\""] {
        let fields = [("sec-secure-session-id", id), ("secure-session-response", "\"e30.e30.AA\"")];
        let answer = stranger.send(Method::POST, "/device", &fields).await;
        assert_eq!((answer.status().as_u16(), &**answer.body()), (401, "there is no such session"));
    }
    // A visitor's session is nobody's, and is bound to nothing.
    let mut session = world.sessions.create();
    let cookie = world.sessions.commit(&mut session).await.unwrap().unwrap();
    stranger.plant("session", cookie.value());
    assert_eq!(stranger.send(Method::POST, "/device", &[]).await.status(), 401);
    assert_eq!(stranger.send(Method::GET, "/public", &[]).await.status(), 200);
    assert_eq!(world.stage.calls(), 0, "the bindings were not asked");
}

#[tokio::test]
async fn bindings_away_from_the_process_are_sealed_and_can_not_be_moved() {
    let mut world = World::new();
    let away = Outside(MemoryStore::builder().clock(world.clock.clone()).build());
    let memory = MemoryStore::builder().clock(world.clock.clone()).build();
    let sessions = Sessions::<Data, _>::new(config(), memory).unwrap().clock(world.clock.clone());
    world.sessions = sessions.device_bound(DeviceBound::at("/device", away.clone()).life(LIFE)).unwrap();
    let site = world.axum();
    for _ in 0..2 {
        Browser::new(&site, &world.clock).post("/login").await;
    }
    let keys = world.sessions.ids().await.unwrap();
    let mut records = Vec::new();
    for key in &keys {
        let record = away.load(key, Lookup::default()).await.unwrap().unwrap().record;
        assert_eq!(record.payload[0], 1, "sealed");
        assert!(world.sessions.device(key).await.unwrap().is_some());
        records.push(record);
    }
    let version = records[0].version;
    let mut moved = records[1].clone();
    moved.version = version.next(&OsRandom).unwrap();
    assert_eq!(away.save(&keys[0], &moved, version).await.unwrap(), Saved::Stored);
    let error = world.sessions.device(&keys[0]).await.unwrap_err();
    assert!(matches!(error, Error::Core(CoreError::Unreadable(Unreadable::Seal))), "{error}");
}

#[tokio::test]
async fn a_binding_lasts_as_long_as_its_session_may() {
    let world = World::new();
    let site = world.axum();
    let mut browser = Browser::new(&site, &world.clock);
    browser.post("/login").await;
    let key = world.sessions.ids().await.unwrap()[0];
    let ends = async || -> Timestamp {
        let found = world.bindings.load(&key, Lookup::default()).await.unwrap();
        found.unwrap().record.expires_at
    };
    // The absolute timeout, from a sign-in that may come until the next proof.
    assert_eq!(ends().await.since(world.clock.now()), Duration::from_secs(86_400) + LIFE);
    world.advance(LIFE);
    browser.get("/account").await;
    assert_eq!(ends().await.since(world.clock.now()), Duration::from_secs(86_400) + LIFE);
}

#[test]
fn sessions_of_more_than_one_origin_are_refused_at_the_start() {
    let clock = ManualClock::default();
    let set_up = |path: &str, cookie: CookieOptions| {
        let mut config = config();
        config.cookie = cookie;
        let store = MemoryStore::builder().clock(clock.clone()).build();
        let sessions = Sessions::<(), _>::new(config, MemoryStore::new()).unwrap();
        sessions.device_bound(DeviceBound::at(path, store)).err()
    };
    let plain = CookieOptions::default;
    assert_eq!(set_up("/device", plain()), None);
    assert_eq!(set_up("/", plain()), None);
    let shared = CookieOptions { name: "s".into(), domain: Some("example.com".into()), ..plain() };
    assert_eq!(set_up("/device", shared), Some(SetupError::Cookie));
    let partitioned = CookieOptions { partitioned: true, same_site: SameSite::None, ..plain() };
    assert_eq!(set_up("/device", partitioned), Some(SetupError::Cookie));
    for path in [
        "",
        "device",
        "//evil.example/x",
        "https://evil.example",
        "/a\"b",
        "/a\\b",
        "/a b",
        "/é",
        "/a\r\nX: y",
    ] {
        assert_eq!(set_up(path, plain()), Some(SetupError::Path), "{path:?}");
    }
}
