//! `interop::iron` against seals of iron-session itself: `tests/vectors/iron.json`. `tests/iron` exchanges fresh ones, both ways.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use core::time::Duration;
use std::{fs, path::Path};

use common::{Seeded, at, one_in};
use serde_json::Value;
use session_core::{
    SessionData, Timestamp,
    interop::{
        KeyError, Refusal,
        iron::{Iron, MAX_SEAL_LEN},
    },
};

const PASSWORD: &str = "a-password-of-exactly-32-letters";

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/iron.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn iron(passwords: &Value) -> Iron {
    let mut passwords = passwords.as_object().unwrap().iter().map(|(id, password)| (id, text(password)));
    let (id, password) = passwords.next().unwrap();
    let first = Iron::new(id, password).unwrap();
    passwords.fold(first, |iron, (id, password)| iron.password(id, password).unwrap())
}

#[test]
fn every_seal_is_opened() {
    let vectors = vectors();
    let seals = vectors["seals"].as_array().unwrap();
    assert_eq!(seals.len(), 18);
    for case in seals.iter().step_by(one_in(8)) {
        let (id, iron, now) =
            (&case["id"], iron(&case["passwords"]), at(case["sealed_at"].as_u64().unwrap()));
        let opened = iron.open(text(&case["seal"]).as_bytes(), now).unwrap();
        assert_eq!(opened.json(), text(&case["json"]).as_bytes(), "{id}");
        let ttl = case["ttl"].as_u64().filter(|ttl| *ttl > 0).map(Duration::from_secs);
        assert_eq!(opened.expires_at(), ttl.map_or(Timestamp::MAX, |ttl| now + ttl), "{id}");
        // Ours has the same parts, of the same lengths, from the same password.
        let ours = iron.seal(opened.json(), ttl, now, &Seeded::new(1)).unwrap();
        let shape = |seal: &str| -> Vec<(usize, String)> {
            let shown = |(at, part): (usize, &str)| {
                (part.len(), if [0, 1, 5].contains(&at) { part.into() } else { String::new() })
            };
            seal.split('*').enumerate().map(shown).collect()
        };
        assert_eq!(shape(&ours), shape(text(&case["seal"])), "{id}");
        assert_eq!(iron.open(ours.as_bytes(), now).unwrap().json(), opened.json(), "{id}");
    }
}

#[test]
fn what_iron_session_refuses_is_refused() {
    let vectors = vectors();
    let iron = iron(&vectors["passwords"]);
    let judged = vectors["judged"].as_array().unwrap();
    assert_eq!(judged.len(), 25);
    for case in judged.iter().step_by(one_in(8)) {
        let opened = iron.open(text(&case["seal"]).as_bytes(), at(case["at"].as_u64().unwrap()));
        match (&opened, case["refused"].as_str()) {
            (Ok(opened), None) => assert_eq!(opened.json(), text(&case["json"]).as_bytes(), "{}", case["id"]),
            (Err(Refusal::Expired), Some("expired"))
            | (Err(Refusal::UnknownPassword), Some("unknown-password"))
            | (Err(Refusal::Malformed | Refusal::Forged), Some("invalid")) => {}
            (ours, theirs) => panic!("{}: {:?}, {theirs:?}", case["id"], ours.as_ref().err()),
        }
    }
}

#[test]
fn passwords() {
    let short = "31 characters are not enough...";
    assert_eq!(Iron::new("1", short).err(), Some(KeyError::Short { actual: 31, least: 32 }));
    // Counted as JavaScript counts: an emoji is two.
    assert!(Iron::new("1", &"🔑".repeat(16)).is_ok());
    assert!(Iron::new("1", &"é".repeat(31)).is_err());
    for id in ["", "a b", "a*b", "~", "é", &"1".repeat(33)] {
        assert_eq!(Iron::new(id, PASSWORD).err(), Some(KeyError::PasswordId), "{id:?}");
    }
    assert_eq!(Iron::new("1", PASSWORD).unwrap().password("1", PASSWORD).err(), Some(KeyError::DuplicateId));
    // By their numbers, not by their letters.
    let iron = Iron::new("9", PASSWORD).unwrap().password("10", PASSWORD).unwrap().password("x", PASSWORD);
    let seal = iron.unwrap().seal(b"{}", None, at(0), &Seeded::new(1)).unwrap();
    assert!(seal.starts_with("Fe26.2*10*"), "{seal}");
    assert!(!format!("{:?}", Iron::new("1", PASSWORD).unwrap()).contains(PASSWORD));
}

#[test]
fn a_seal_is_its_own_name() {
    let iron = Iron::new("1", PASSWORD).unwrap();
    let random = Seeded::new(1);
    let names = [(); 2].map(|()| {
        let seal = iron.seal(b"{}", None, at(0), &random).unwrap();
        let open = || iron.open(seal.as_bytes(), at(0)).unwrap().into_foreign::<Any>().ok().unwrap().identity;
        assert_eq!(open(), open());
        open()
    });
    assert_ne!(names[0], names[1]);
}

#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Any {}
impl SessionData for Any {}

#[test]
fn data_that_does_not_fit() {
    let iron = Iron::new("1", PASSWORD).unwrap();
    for json in ["null", "5", "not json", ""] {
        let seal = iron.seal(json.as_bytes(), None, at(0), &Seeded::new(1)).unwrap();
        let opened = iron.open(seal.as_bytes(), at(0)).unwrap();
        assert_eq!(opened.into_foreign::<Any>().err(), Some(Refusal::Data), "{json:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "seals kilobytes")]
fn long_texts_are_not_looked_at() {
    let iron = Iron::new("1", PASSWORD).unwrap();
    let seal = iron.seal(&vec![b'x'; MAX_SEAL_LEN], None, at(0), &Seeded::new(1)).unwrap();
    assert_eq!(iron.open(seal.as_bytes(), at(0)).err(), Some(Refusal::Malformed));
}
