//! The shared vectors and the properties of the module.

#![allow(clippy::unwrap_used, reason = "a vector that can't be read fails its test")]

use serde_json::Value;
use session_core::{
    KeyRing, Kind, OsRandom, Plaintext, Random as _, Rejection, Secret, Timestamp, TokenCodec,
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const TOKENS: &str = include_str!("../../../tests/vectors/tokens.json");
const REJECTED: &str = include_str!("../../../tests/vectors/rejected.json");

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn codec(setup: &Value, fallback: &Value) -> TokenCodec {
    let field = |name: &str| setup.get(name).unwrap_or(&fallback[name]);
    let mut secrets = field("secrets")
        .as_array()
        .unwrap()
        .iter()
        .map(|secret| Secret::parse_sk1(secret.as_str().unwrap()).unwrap());
    let ring = secrets.by_ref().next().map(|secret| KeyRing::new(&secret)).unwrap();
    let ring = secrets.fold(ring, |ring, secret| ring.with_previous(&secret));
    let kind = match field("kind").as_str().unwrap() {
        "cookie-held" => Kind::CookieHeld,
        "reference" => Kind::Reference,
        other => panic!("unknown kind {other}"),
    };
    TokenCodec::new(&ring, kind, field("cookie").as_str().unwrap())
}

fn now(setup: &Value, fallback: &Value) -> Timestamp {
    Timestamp::from_millis(setup.get("now").unwrap_or(&fallback["now"]).as_u64().unwrap())
}

#[test]
fn every_token_opens() {
    let all = vectors(TOKENS);
    let tokens = all["tokens"].as_array().unwrap();
    for vector in tokens {
        let token = vector["token"].as_str().unwrap();
        let opened = codec(vector, &Value::Null).open(token.as_bytes(), now(vector, &Value::Null)).unwrap();
        assert_eq!(opened.payload(), vector["payload"].as_str().unwrap().as_bytes(), "{}", vector["id"]);
        assert_eq!(
            opened.expires_at().as_millis(),
            vector["expires_at"].as_u64().unwrap(),
            "{}",
            vector["id"]
        );
    }
    assert!(tokens.len() >= 20);
}

#[test]
fn every_bad_token_is_refused_for_its_reason() {
    let all = vectors(REJECTED);
    let (reader, tokens) = (&all["reader"], all["tokens"].as_array().unwrap());
    for vector in tokens {
        let token = vector["token"].as_str().unwrap();
        let rejection = codec(vector, reader).open(token.as_bytes(), now(vector, reader)).err();
        assert_eq!(rejection.map(Rejection::code), vector["rejection"].as_str(), "{}", vector["id"]);
    }
    assert!(tokens.len() >= 150);
}

#[test]
fn what_is_sealed_opens_and_what_is_changed_does_not() {
    let ring = KeyRing::new(&Secret::generate(&OsRandom).unwrap());
    let codec = TokenCodec::new(&ring, Kind::CookieHeld, "session");
    let (now, later) = (Timestamp::from_millis(1), Timestamp::from_millis(2));
    for length in (0..2_000).step_by(37) {
        let mut payload = vec![0; length];
        OsRandom.fill(&mut payload).unwrap();
        for deflate in [false, true] {
            let token = codec.seal(Plaintext::from(&payload), later, deflate, &OsRandom).unwrap();
            assert_eq!(codec.open(token.as_bytes(), now).unwrap().payload(), payload);
            let mut changed = token.into_bytes();
            let at = length * 31 % changed.len();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(codec.open(&changed, now).is_err(), "length {length}");
        }
    }
}

#[test]
fn any_other_byte_anywhere_in_a_token_is_refused() {
    let codec = TokenCodec::new(&KeyRing::new(&Secret::generate(&OsRandom).unwrap()), Kind::CookieHeld, "s");
    let (now, later) = (Timestamp::from_millis(1), Timestamp::from_millis(2));
    // 78, 94 and 110 bytes: of all lengths modulo three, so that there are whole quads and bits that stand for nothing.
    for length in [0, 16, 32] {
        let token = codec.seal(Plaintext::from(&[7; 32][..length]), later, false, &OsRandom).unwrap();
        let mut changed = token.clone().into_bytes();
        for (at, good) in token.bytes().enumerate() {
            for byte in (0..=u8::MAX).filter(|byte| *byte != good) {
                changed[at] = byte;
                assert!(codec.open(&changed, now).is_err(), "{byte} at {at} of {length}");
            }
            changed[at] = good;
        }
        assert!(codec.open(&changed, now).is_ok());
    }
}

#[test]
fn hostile_calls_leave_the_module_as_it_was() {
    for length in [0, 1, 100, 100_000] {
        assert!(!session_wasm::input(length).is_null());
        assert!(session_wasm::create() < 0);
        assert!(session_wasm::open(usize::MAX, true, usize::MAX, f64::NAN) < 0);
        assert!(session_wasm::seal(7, f64::INFINITY, -1.0) < 0);
        assert!(session_wasm::bind(0) < 0);
        assert!(session_wasm::check_passphrase(0) < 0);
        assert_eq!(session_wasm::key(), 0);
        assert!(!session_wasm::output().is_null());
    }
}
