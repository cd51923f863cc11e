//! Requirements of `tests/SECURITY.md` that are not a part of another test: numbers over many tokens, and what types must not be able to do.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use core::{
    fmt::{Debug, Display},
    marker::PhantomData,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::{
    collections::{BTreeSet, HashSet},
    fs,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{Seeded, at, secret};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use session_core::{
    Config, Expiry, Header, Key, KeyRing, Kind, MAX_INFLATED, OsRandom, Passphrase, Plaintext, RecordCodec,
    Reference, Rejection, Secret, Session, SessionData, SessionId, Timestamp, TokenCodec,
    lifecycle::CommitContext,
};

const NOW: Timestamp = at(1_700_000_000_000);
const HERE: Key = Key::from_bytes([7; 16]);

fn codec() -> TokenCodec {
    TokenCodec::new(&KeyRing::new(&secret(0)), Kind::CookieHeld, "session")
}

fn bytes_of(token: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token).unwrap()
}

fn expiry() -> Expiry {
    Expiry::new(Duration::from_secs(3600), Duration::from_secs(86_400)).unwrap()
}

/// Row 1: in 100,000 sessions each bit of the id and of the IV is set in 49 to 51 of a hundred, and no two are alike.
#[test]
#[cfg_attr(miri, ignore = "100,000 sessions")]
fn every_bit_of_ids_and_ivs_is_random() {
    const TOKENS: usize = 100_000;
    let (expiry, ring, codec) = (expiry(), KeyRing::new(&secret(0)), codec());
    let context = CommitContext {
        now: NOW,
        expiry: &expiry,
        ring: &ring,
        binding: None,
        random: &OsRandom,
        kind: Kind::CookieHeld,
    };
    let (mut ids, mut ivs) = ([0_usize; 128], [0_usize; 128]);
    let mut seen = HashSet::new();
    for _ in 0..TOKENS {
        let mut session = Session::<()>::anonymous(&expiry, NOW, None).wanted();
        let draft = session.draft(&context).unwrap().unwrap();
        session.accept(draft);
        let token =
            codec.seal(session.cookie_payload().unwrap(), session.expires_at(), false, &OsRandom).unwrap();
        let iv = bytes_of(&token)[14..30].to_vec();
        let opened = codec.open(token.as_bytes(), NOW).unwrap();
        let id = bytes_of(str::from_utf8(&opened.payload()[..22]).unwrap());
        assert_eq!((id.len(), iv.len()), (16, 16));
        for bit in 0..128 {
            ids[bit] += usize::from(id[bit / 8] >> (bit % 8) & 1);
            ivs[bit] += usize::from(iv[bit / 8] >> (bit % 8) & 1);
        }
        assert!(seen.insert(id) && seen.insert(iv), "twice the same");
    }
    let share = |count: &usize| *count as f64 / TOKENS as f64;
    let shares: Vec<f64> = ids.iter().chain(&ivs).map(share).collect();
    let (least, most) = shares.iter().fold((1.0_f64, 0.0_f64), |(low, high), s| (low.min(*s), high.max(*s)));
    println!("of 256 bits over {TOKENS} tokens each is set in {least:.4} to {most:.4}");
    // 0.01 is more than six standard deviations: by chance less than once in a million runs.
    assert!(least > 0.49 && most < 0.51, "{least} to {most}");
}

/// Counts how often anybody deserialises it.
#[derive(Clone, Default, Serialize)]
struct Counted(String);

static PARSED: AtomicUsize = AtomicUsize::new(0);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PARSED.fetch_add(1, Ordering::Relaxed);
        String::deserialize(deserializer).map(Self)
    }
}

impl SessionData for Counted {}

/// Row 17: of a token with any bit flipped nothing is inflated and nothing parsed. The payload inflates to 512 KiB, which would show.
#[test]
#[cfg_attr(miri, ignore = "opens six thousand tokens")]
fn nothing_of_a_changed_token_reaches_a_decoder() {
    let codec = codec();
    let payload = format!("oKGio6SlpqeoqaqrrK2urw.0.0.9.1\n\n\"{}\"", "a".repeat(512 << 10));
    let token = codec.seal(Plaintext::from(&payload), at(9), true, &Seeded::new(1)).unwrap();
    let bytes = bytes_of(&token);
    let load = |token: &str| {
        let mut outcome = None;
        let info = allocation_counter::measure(|| {
            outcome = codec.open(token.as_bytes(), at(1)).ok().map(Session::<Counted>::from_cookie);
        });
        (outcome, info.bytes_max)
    };
    let (whole, allocated) = load(&token);
    assert!(whole.unwrap().is_ok() && allocated > 512 << 10, "unchanged it is inflated and parsed");
    let before = PARSED.load(Ordering::Relaxed);
    assert!(before > 0);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let text = URL_SAFE_NO_PAD.encode(&flipped);
        let (outcome, allocated) = load(&text);
        assert!(outcome.is_none(), "bit {bit} opened");
        assert!(allocated <= 2 * bytes.len() as u64, "bit {bit}: {allocated} bytes");
    }
    println!("{} bits flipped: 0 opened, 0 parsed", bytes.len() * 8);
    assert_eq!(PARSED.load(Ordering::Relaxed), before);
}

/// Row 28: nothing longer than a cookie is looked at. No token has 4,095 or 4,096 characters: its blocks come to 4,094, or to 4,115.
#[test]
#[cfg_attr(miri, ignore = "seals kilobytes")]
fn no_token_is_longer_than_a_cookie() {
    let codec = codec();
    let seal = |length| codec.seal(Plaintext::from(&vec![b'a'; length]), at(9), false, &OsRandom).unwrap();
    let [largest, longer] = [seal(3007), seal(3008)];
    assert_eq!((largest.len(), longer.len()), (4094, 4115));
    assert_eq!(codec.open(largest.as_bytes(), at(1)).unwrap().payload().len(), 3007);
    assert_eq!(codec.open(longer.as_bytes(), at(1)).err(), Some(Rejection::Malformed));
    assert!(Header::parse(largest.as_bytes()).is_ok());
    assert_eq!(Header::parse(longer.as_bytes()), Err(Rejection::Malformed));
}

/// Row 19: whatever the size of the ring, a token of an unknown key costs no allocation, and one of a known key as many as ever.
#[test]
fn a_ring_of_a_thousand_keys_tries_one() {
    let keys = if cfg!(miri) { 10 } else { 1000 };
    let secrets: Vec<Secret> = (0..keys).map(|_| Secret::generate(&OsRandom).unwrap()).collect();
    let ring = secrets[1..].iter().fold(KeyRing::new(&secrets[0]), KeyRing::with_previous);
    let codec = TokenCodec::new(&ring, Kind::CookieHeld, "session");
    let of = |secret: &Secret| {
        TokenCodec::new(&KeyRing::new(secret), Kind::CookieHeld, "session")
            .seal(Plaintext::from(b"{}"), at(9), false, &OsRandom)
            .unwrap()
    };
    let [known, unknown] = [of(&secrets[keys - 1]), of(&secret(0))];
    let info = allocation_counter::measure(|| assert!(codec.open(known.as_bytes(), at(1)).is_ok()));
    assert_eq!(info.count_total, 1);
    let info = allocation_counter::measure(|| {
        assert_eq!(codec.open(unknown.as_bytes(), at(1)).err().map(Rejection::code), Some("unknown-key"));
    });
    assert_eq!(info.count_total, 0);
    // A token that names another key of the ring than the one it was sealed with is tried with that one, and no other.
    let mut bytes = bytes_of(&known);
    let named = TokenCodec::new(&KeyRing::new(&secrets[keys / 2]), Kind::CookieHeld, "session")
        .ring()
        .sealing_key_id();
    bytes[2..6].copy_from_slice(named.as_bytes());
    let renamed = URL_SAFE_NO_PAD.encode(&bytes);
    assert_eq!(codec.open(renamed.as_bytes(), at(1)).err().map(Rejection::code), Some("forged"));
}

/// Row 21: what is unsigned, signed otherwise, of another version or another library opens nowhere.
#[test]
#[cfg_attr(miri, ignore = "reads half a megabyte of vectors")]
fn no_other_format_is_accepted() {
    let vectors = |path: &str| -> Value {
        let path = format!("{}/../tests/vectors/{path}", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let mut foreign: Vec<String> = [
        // A JWT with `alg: none`; a payload as it is, and in base64url; an empty value.
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
        "oKGio6SlpqeoqaqrrK2urw.0.0.9.1\n\n{}",
        "b0tHaW82U2xwcWVvcWFxcnJLMnVydy4wLjAuOS4xCgp7fQ",
        "s:admin.c2lnbmF0dXJl",
        "BAh7B0kiD3Nlc3Npb25faWQGOgZFVEkiJTEyMzQ1Njc4OTBhYmNkZWYGOwBU--0123456789abcdef0123456789abcdef01234567",
        "",
        "none",
        "00000000-0000-4000-8000-000000000000",
    ]
    .map(str::to_owned)
    .into();
    for (file, list, field) in [
        ("crystal/message_encryptor.json", "cases", "sealed"),
        ("crystal/message_encryptor.json", "digest_matrix", "sealed"),
        ("crystal/cookie_store.json", "cases", "cookie_value"),
        ("crystal/verifier.json", "cases", "generated"),
        ("iron.json", "seals", "seal"),
    ] {
        let cases = vectors(file)[list].as_array().unwrap().clone();
        foreign.extend(cases.iter().filter_map(|case| case[field].as_str().map(str::to_owned)));
    }
    // Every other version, and every flag and kind that has no meaning yet, rightly signed for what it says: the MAC covers both.
    let ours = codec().seal(Plaintext::from(b"{}"), at(9), false, &OsRandom).unwrap();
    for (index, values) in [(0, 0..=255_u8), (1, 6..=255)] {
        for value in values.filter(|value| (index, *value) != (0, 1)) {
            let mut bytes = bytes_of(&ours);
            bytes[index] = value;
            foreign.push(URL_SAFE_NO_PAD.encode(&bytes));
        }
    }
    let codecs = [Kind::CookieHeld, Kind::Reference]
        .map(|kind| TokenCodec::new(&KeyRing::new(&secret(0)), kind, "session"));
    for token in &foreign {
        for codec in &codecs {
            assert!(codec.open(token.as_bytes(), at(1)).is_err(), "{token}");
        }
    }
    println!("{} tokens of other formats, versions and algorithms: 0 accepted", foreign.len());
    assert!(foreign.len() > 600);
}

/// Row 25: what a reader would refuse to inflate is not deflated.
#[test]
#[cfg_attr(miri, ignore = "deflates megabytes")]
fn nothing_is_deflated_that_could_not_be_read_again() {
    let codec = RecordCodec::new(&KeyRing::new(&secret(0))).deflated_from(Some(0));
    for (length, deflated) in [(MAX_INFLATED, true), (MAX_INFLATED + 1, false)] {
        let payload = [b"{", &vec![b'a'; length - 1][..]].concat();
        let stored = codec.encode(&HERE, &payload, &OsRandom).unwrap();
        assert_eq!(stored.len() < length / 100, deflated);
        assert_eq!(*codec.decode(&HERE, &stored[..]).unwrap(), payload);
    }
}

/// Row 26: an attacker's text beside a secret: 256 guesses of its next byte give one length of the cookie. Off unless asked for.
#[test]
#[cfg_attr(miri, ignore = "deflates a thousand times")]
fn a_guess_does_not_show_in_the_length_of_the_cookie() {
    assert!(!Config::production(secret(0)).compress_cookies, "off by default");
    let codec = codec();
    for filler in [0, 7, 20, 33, 50] {
        let length = |guess: u8| {
            let payload = format!(
                r#"{{"csrf":"5ad8f1","text":"csrf\":\"{guess:02x}","more":"{}{}"}}"#,
                "lorem ipsum ".repeat(40),
                "x".repeat(filler)
            );
            let token = codec.seal(Plaintext::from(&payload), at(9), true, &OsRandom).unwrap();
            assert!(Header::parse(token.as_bytes()).unwrap().is_deflated());
            token.len()
        };
        let lengths: BTreeSet<usize> = (0..=255).map(length).collect();
        assert_eq!(lengths.len(), 1, "{lengths:?} with {filler}");
    }
}

/// Rows 5 and 32: what holds a secret can be neither shown nor compared with `==`. A type that could would make this fail to compile: two
/// implementations would fit.
#[test]
fn secrets_can_be_neither_shown_nor_compared() {
    struct Probe<T>(PhantomData<T>);
    trait Cannot<A> {
        fn checked() {}
    }
    struct Show;
    struct Write;
    struct Compare;
    impl<T> Cannot<()> for Probe<T> {}
    impl<T: Debug> Cannot<Show> for Probe<T> {}
    impl<T: Display> Cannot<Write> for Probe<T> {}
    impl<T: PartialEq> Cannot<Compare> for Probe<T> {}
    macro_rules! opaque {
        ($($type:ty),*) => { $(<Probe<$type> as Cannot<_>>::checked();)* };
    }
    opaque!(
        Secret,
        KeyRing,
        TokenCodec,
        RecordCodec,
        Plaintext,
        session_core::Opened,
        session_core::lifecycle::Draft
    );

    // What may be shown shows nothing: no byte of the id, the token, the secret, the subject, the data.
    let id = SessionId::generate(&OsRandom).unwrap();
    assert_eq!(format!("{id:?}"), "SessionId(..)");
    let mut session = Session::<Counted>::anonymous(&expiry(), NOW, None);
    session.data_mut().0 = "the data".into();
    session.authenticate("the subject");
    let config = Config::production(secret(0));
    let set_cookie = config.cookie.set("the-token", Duration::ZERO).unwrap();
    let written = secret(0).expose();
    let payload = "oKGio6SlpqeoqaqrrK2urw.1.0.9.3\n{\"sub\":\"the subject\"}";
    let codec = TokenCodec::new(&config.keys, Kind::Reference, "session");
    let token = codec.seal(Plaintext::from(payload), at(9), false, &OsRandom).unwrap();
    let reference = Reference::from_token(codec.open(token.as_bytes(), at(1)).unwrap()).unwrap();
    let kdf = Passphrase::default();
    for shown in [
        format!("{session:?} {session:#?}"),
        format!("{config:?} {config:#?}"),
        format!("{set_cookie:?}"),
        format!("{reference:?}"),
        format!("{kdf:?}"),
    ] {
        for hidden in
            ["the data", "the subject", "the-token", &written, "oKGio6SlpqeoqaqrrK2urw", "000102030405"]
        {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
        // Nor as a list of bytes.
        assert!(!shown.contains("0, 1, 2, 3") && !shown.contains("160, 161, 162"), "{shown}");
    }
}
