//! Requirements of `tests/SECURITY.md` that are not a part of another test: what garbage costs, what logs can be made to say, what an old cookie
//! brings back.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::fmt::{Debug, Write as _};
use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use session_native::{
    Client, Config, CookieHeld, Key, Rejection, Secret, Sessions, State, Store as _,
    store::{Freshness, Lookup},
};
use support::{Data, World, config, cookie_of};
use tracing::{
    Dispatch, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Row 23: ten thousand garbage cookies cost less together than a few derivations of a key. One derivation for each would cost a thousand times more.
#[tokio::test]
async fn garbage_costs_no_derivation() {
    let begin = Instant::now();
    let secret = Secret::parse("correct horse battery staple").unwrap();
    let derivation = begin.elapsed();
    let world = World::with(Config::testing(secret), |sessions| sessions);
    let living = world.sign_in("ada").await;
    let garbage = [
        "session=rubbish".to_owned(),
        format!("session={}", "A".repeat(3000)),
        living[..living.len() - 1].to_owned() + "!",
        living[..40].to_owned(),
        format!("{}AAAA", &living[..living.len() - 4]), // all but the end of the tag is right
    ];
    let begin = Instant::now();
    for number in 0..10_000 {
        assert!(world.load(&garbage[number % garbage.len()]).await.unwrap().is_new());
    }
    let all = begin.elapsed();
    println!("a derivation {derivation:?}, a garbage cookie {:?}", all / 10_000);
    assert!(all < derivation * 20, "{all:?} for 10,000 garbage cookies, {derivation:?} for a derivation");
}

/// Writes down everything that is traced, whoever traces it.
#[derive(Clone, Default)]
struct Scribe(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, " {field}={value}").unwrap();
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Scribe {
    fn note(&self, fields: impl FnOnce(&mut Line)) {
        let mut line = Line(String::new());
        fields(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
}

impl Subscriber for Scribe {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        self.note(|line| attributes.record(line));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        self.note(|line| values.record(line));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.note(|line| event.record(line));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Row 34: whatever stands in cookies, subjects and keys, nothing of it breaks a line of a log or looks like one.
#[tokio::test]
async fn nothing_a_client_sends_is_a_line_of_a_log() {
    const EVIL: &str = "\r\nERROR injected \u{1b}[31m";
    let scribe = Scribe::default();
    let _guard = tracing::dispatcher::set_default(&Dispatch::new(scribe.clone()));
    let world = World::new();
    let living = world.sign_in("ada").await;
    for cookie in [
        format!("session={EVIL}"),
        format!("session={}{EVIL}", &living["session=".len()..]),
        format!("{EVIL}={EVIL}; {living}"),
        format!("session=\"{EVIL}\""),
    ] {
        let mut session = world.load(&cookie).await.unwrap();
        world.commit(&mut session).await.unwrap();
    }
    let client = Client { ip: None, user_agent: Some(EVIL.as_bytes()) };
    let evil = world.sign_in(EVIL).await;
    let mut session = world.sessions.load(&evil, &client).await.unwrap();
    session.flash_mut().set(EVIL, EVIL);
    session.regenerate();
    let new = world.commit(&mut session).await.unwrap().unwrap();
    assert_eq!(world.load(&evil).await.unwrap().rejection(), Some(Rejection::Superseded));
    world.stage.down(true);
    assert!(world.load(&new).await.is_err());
    world.stage.down(false);
    world.sessions.revoke_subject(EVIL).await.unwrap();
    let error = EVIL.parse::<Key>().unwrap_err();
    assert!(!error.to_string().contains("injected"), "errors don't repeat what they refuse");

    let lines = scribe.0.lock().unwrap();
    assert!(lines.len() > 5, "something was traced: {lines:?}");
    for line in lines.iter() {
        assert!(!line.contains("injected") && !line.contains(['\r', '\n', '\u{1b}']), "{line:?}");
    }
}

/// Row 42: with a store, a cookie from seven saves ago shows what is stored now, and what is written with it is written on top of that.
#[tokio::test]
async fn an_old_cookie_brings_no_old_data_back() {
    let world = World::new();
    let first = world.sign_in("ada").await;
    for visits in 1..=7 {
        let mut session = world.load(&first).await.unwrap();
        session.data_mut().visits = visits;
        world.commit(&mut session).await.unwrap();
        // Another token of the same rotation.
        world.advance(400);
    }
    let mut replayed = world.load(&first).await.unwrap();
    assert_eq!((replayed.data().visits, replayed.version().counter), (7, 8));
    replayed.data_mut().fields.a = 1;
    world.commit(&mut replayed).await.unwrap();
    let data = world.data(&first).await;
    assert_eq!((data.visits, data.fields.a), (7, 1));
}

/// Who writes the store can put an older record back. A token of after it is refused then, and the store asked once again at most: a cache may be behind.
#[tokio::test]
async fn a_token_that_is_ahead_of_its_record_is_refused() {
    let world = World::new();
    let old = world.sign_in("ada").await;
    let mut session = world.load(&old).await.unwrap();
    let key = session.key().unwrap();
    let before = world.memory.load(&key, Lookup::default()).await.unwrap().unwrap().record;
    session.regenerate();
    let new = world.commit(&mut session).await.unwrap().unwrap();
    world.memory.delete(&key).await.unwrap();
    assert_eq!(world.memory.create(&key, &before).await, Ok(true));
    for freshness in [Freshness::Cached, Freshness::Linearizable] {
        let calls = world.stage.calls();
        let loaded = world.sessions.load_with([new.as_bytes()], &Client::default(), freshness).await.unwrap();
        assert_eq!(loaded.rejection(), Some(Rejection::Revoked));
        assert!(world.stage.calls() <= calls + 2);
    }
}

/// Row 12: although nothing was written, no token is renewed of a subject that was revoked since.
#[tokio::test]
async fn no_token_is_renewed_of_a_revoked_subject() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    world.advance(1800);
    let mut late = world.load(&cookie).await.unwrap();
    assert!(late.token_due(&config().expiry), "it would be renewed");
    world.sessions.revoke_subject("ada").await.unwrap();
    assert_eq!(world.commit(&mut late).await.unwrap(), None);
    assert_eq!(late.rejection(), Some(Rejection::Revoked));
}

/// Row 42, the limit of it: without a store there is no floor. An old cookie of the same rotation is good until it expires, or until the session
/// is rotated or ended.
#[tokio::test]
async fn without_a_store_only_a_rotation_outdates_a_cookie() {
    let sessions = Sessions::<Data, CookieHeld>::cookie(config()).unwrap();
    let load = async |cookie: &str| sessions.load(cookie, &Client::default()).await.unwrap();
    let mut session = sessions.create();
    session.data_mut().visits = 6;
    let six = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
    let mut session = load(&six).await;
    session.data_mut().visits = 7;
    let seven = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
    assert_eq!(load(&six).await.data().visits, 6, "a replay");
    let mut session = load(&seven).await;
    session.regenerate();
    let rotated = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
    for old in [&six, &seven] {
        assert_eq!(load(old).await.state(), State::Anonymous(Some(Rejection::Superseded)));
    }
    assert_eq!(load(&rotated).await.data().visits, 7);
}
