//! The life of a session over a store: what is written, what survives, and what must not.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::collections::BTreeMap;

use common::{Seeded, Site};
use serde::{Deserialize, Serialize};
use session_core::{
    Error, Kind, Plaintext, Rejection, Session, SessionData, Timestamp, TokenCodec, lifecycle::CommitContext,
};

#[derive(Default, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Floats {
    x: f64,
    saves: u32,
}
impl SessionData for Floats {}

#[test]
fn floats_do_not_drift_from_save_to_save() {
    // The first is one that a fast reader takes for its neighbour.
    for x in [31.245_270_191_439_438, 0.1 + 0.2, 5e-324, f64::MAX, -0.0, 1e21, 123_456_789.123_456_79] {
        let site = Site::new();
        let mut token = site.start(|session| *session.data_mut() = Floats { x, saves: 0 });
        for saves in 1..=3 {
            token = site.visit::<Floats>(&token, |session| session.data_mut().saves = saves);
            let read = site.load::<Floats>(&token).unwrap().data().clone();
            assert_eq!((read.x.to_bits(), read.saves), (x.to_bits(), saves), "{x}");
        }
    }
}

#[derive(Default, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Wide {
    id: u128,
    saves: u32,
}
impl SessionData for Wide {}

#[test]
fn an_integer_beyond_64_bits_is_refused_rather_than_rounded() {
    let site = Site::new();
    let token = site.start::<Wide>(|session| session.data_mut().id = u128::MAX);
    let mut session = site.load::<Wide>(&token).unwrap();
    session.data_mut().saves = 1;
    assert!(matches!(site.commit(&mut session), Err(Error::Serialize(_))));
    assert_eq!(site.load::<Wide>(&token).unwrap().data().id, u128::MAX, "what was stored is as it was");
}

#[test]
fn counters_at_their_end_do_not_overflow() {
    let site = Site::new();
    let token = site.start::<()>(|session| session.authenticate("1"));
    let key = site.load::<()>(&token).unwrap().key().unwrap();
    let codec = TokenCodec::new(&site.ring, Kind::CookieHeld, "session");
    let last = u64::MAX;
    let payload =
        format!(r#"{{"sid":"{key}","rot":{last},"iat":{last},"abs":{last},"ver":{last},"data":null}}"#);
    let token = codec.seal(Plaintext::from(&payload), Timestamp::MAX, false, &Seeded::new(1)).unwrap();
    let mut session = Session::<()>::from_cookie(codec.open(token.as_bytes(), site.now()).unwrap()).unwrap();
    session.regenerate();
    let context = CommitContext { kind: Kind::CookieHeld, ..site.context() };
    assert!(session.draft(&context).unwrap().is_some());
}

#[derive(Default, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Cart {
    owner: String,
    items: BTreeMap<String, u32>,
}
impl SessionData for Cart {}

#[test]
fn nothing_of_a_former_subject_reaches_the_next() {
    let site = Site::new();
    let first = site.start::<Cart>(|session| {
        session.authenticate("anna");
        session.data_mut().owner = "anna".into();
        session.flash_mut().set_notice("for anna");
    });
    let key = site.load::<Cart>(&first).unwrap().key().unwrap();
    // A field that this program doesn't know.
    site.edit(key, |text| text.replace(r#""owner":"#, r#""secret":"of anna","owner":"#));

    let mut session = site.load::<Cart>(&first).unwrap();
    session.authenticate("bert");
    session.data_mut().owner = "bert".into();
    // Another request of anna's is faster: it adds an item and a message.
    site.visit::<Cart>(&first, |session| {
        session.data_mut().items.insert("of anna".into(), 1);
        session.flash_mut().set_alert("for anna too");
    });
    let second = site.commit(&mut session).unwrap().unwrap();

    assert!(!site.stored(key).contains("anna"), "{}", site.stored(key));
    let session = site.load::<Cart>(&second).unwrap();
    assert_eq!(session.data(), &Cart { owner: "bert".into(), items: BTreeMap::new() });
    assert!(session.flash().is_empty());
    assert_eq!(site.load::<Cart>(&first).err(), Some(Rejection::Superseded.into()));
}

#[test]
fn an_exact_update_after_a_change_of_subject_starts_from_nothing() {
    let site = Site::new();
    let token = site.start::<Cart>(|session| {
        session.authenticate("anna");
        session.data_mut().items.insert("of anna".into(), 1);
    });
    let mut session = site.load::<Cart>(&token).unwrap();
    let (version, expires_at) = (session.version(), session.expires_at());
    session.authenticate("bert");
    let theirs = site.stored(session.key().unwrap()).into_bytes();
    session.reload(version, expires_at, theirs.into()).unwrap();
    assert_eq!(session.data(), &Cart::default());
}
