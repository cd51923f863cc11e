//! A million inputs of clients and stores gone wrong: no panic, no large allocation, nothing that opens.
//!
//! All of it is computed from [`SEED`]; a failure prints the input. Miri, to which a million inputs are a month, does without.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use core::{fmt::Debug, panic::AssertUnwindSafe, time::Duration};
use std::{fs, panic::catch_unwind, path::Path};

use common::{Seeded, Site, at, secret};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use session_core::{
    Client, ClientBinding, Error, Expiry, Header, Key, KeyRing, Kind, MAX_CANDIDATES, Plaintext, RecordCodec,
    Reference, Rejection, Secret, Session, SessionData, TokenCodec, Unreadable, Version, cookies,
    interop::{
        Refusal,
        crystal::{ClusterMessage, Encryptor, LegacyDigest, SessionJson, open_value, seal_value},
        iron::Iron,
    },
    lifecycle::CommitContext,
};

const SEED: u64 = 0x5e55_1045;

/// Most bytes that one input may make the core hold at a time.
const MOST_BYTES: u64 = 64 * 1024;

/// Gives `input` to the code under test, which must neither panic nor allocate much.
fn survive<I: Debug, R>(round: usize, input: &I, code: impl FnOnce(&I) -> R) -> R {
    survive_within(MOST_BYTES, round, input, code)
}

fn survive_within<I: Debug, R>(most: u64, round: usize, input: &I, code: impl FnOnce(&I) -> R) -> R {
    let mut result = None;
    let info = catch_unwind(AssertUnwindSafe(|| allocation_counter::measure(|| result = Some(code(input)))));
    let Ok(info) = info else { panic!("panicked with seed {SEED:#x}, round {round}, input {input:?}") };
    assert!(info.bytes_max <= most, "{info:?} with seed {SEED:#x}, round {round}, input {input:?}");
    result.unwrap()
}

/// Tokens of the test vectors, good and bad: what mutations begin with.
fn corpus() -> Vec<Vec<u8>> {
    let tokens = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(name);
        let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        file["tokens"].as_array().unwrap().clone()
    };
    let tokens = [tokens("tokens.json"), tokens("rejected.json")].concat();
    assert!(tokens.len() > 150);
    tokens.iter().map(|case| case["token"].as_str().unwrap().as_bytes().to_vec()).collect()
}

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// One to four changes of the kinds that fuzzers make.
fn mutate(random: &Seeded, input: &mut Vec<u8>, alphabet: &[u8]) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        match random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = alphabet[random.below(alphabet.len())],
            2 if at < input.len() => _ = input.remove(at),
            3 => input.insert(at, alphabet[random.below(alphabet.len())]),
            4 => input.truncate(at),
            5 => input.insert(at, random.next() as u8),
            6 => {
                let piece = input[at..(at + random.below(40)).min(input.len())].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            _ => input.extend((0..random.below(20)).map(|_| alphabet[random.below(alphabet.len())])),
        }
    }
}

fn noise(random: &Seeded, most: usize, alphabet: &[u8]) -> Vec<u8> {
    (0..random.below(most)).map(|_| alphabet[random.below(alphabet.len())]).collect()
}

#[test]
fn half_a_million_tokens() {
    let random = Seeded::new(SEED);
    let (corpus, all) = (corpus(), (0..=255).collect::<Vec<u8>>());
    let ring = KeyRing::new(&secret(0)).with_previous(&secret(32));
    // A cookie name that no token of the corpus was sealed for: whatever opens was forged.
    let codecs = [Kind::CookieHeld, Kind::Reference].map(|kind| TokenCodec::new(&ring, kind, "victim"));
    let mut refused = [0_usize; Rejection::ALL.len()];
    for round in 0..500_000 {
        let input = match random.below(8) {
            0 => noise(&random, 200, ALPHABET),
            1 => noise(&random, 200, &all),
            2 => b"A".repeat(random.below(5_000)),
            _ => {
                let mut token = corpus[random.below(corpus.len())].clone();
                mutate(&random, &mut token, ALPHABET);
                token
            }
        };
        let (header, rejections) = survive(round, &input, |input| {
            (Header::parse(input), [0, 1].map(|i| codecs[i].open(input, at(0)).err()))
        });
        for rejection in rejections {
            let rejection = rejection.unwrap_or_else(|| panic!("round {round} opened: {input:?}"));
            refused[Rejection::ALL.iter().position(|reason| *reason == rejection).unwrap()] += 1;
        }
        assert!(header.is_ok() || header == Err(Rejection::Malformed));
    }
    // Each check was reached often: the inputs were neither all garbage nor all near misses.
    for reason in [Rejection::Malformed, Rejection::WrongCookie, Rejection::UnknownKey, Rejection::Forged] {
        let count = refused[Rejection::ALL.iter().position(|other| *other == reason).unwrap()];
        assert!(count > 10_000, "{reason}: {count}");
    }
}

#[test]
fn two_hundred_thousand_cookie_headers() {
    let random = Seeded::new(SEED + 1);
    let corpus = corpus();
    for round in 0..200_000 {
        let mut header = Vec::new();
        for _ in 0..random.below(8) {
            let name: &[u8] =
                [&b"__Host-session"[..], b"__host-session", b"session", b"", b"a"][random.below(5)];
            header.extend_from_slice(name);
            header.extend_from_slice([&b"="[..], b" = ", b"=\"", b""][random.below(4)]);
            header.extend_from_slice(&corpus[random.below(corpus.len())][..]);
            header.extend_from_slice([&b"; "[..], b";", b"\"; ", b",", b"\r\n"][random.below(5)]);
        }
        mutate(&random, &mut header, b"=;\", \t\r\n\0_");
        let found = survive(round, &header, |header| {
            cookies(header, "__Host-session")
                .fold((0, 0), |(count, bytes), value| (count + 1, bytes + value.len()))
        });
        assert!(found.0 <= MAX_CANDIDATES && found.1 <= header.len(), "round {round}: {header:?}");
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Any(Value);

impl SessionData for Any {}

/// Puts another value behind one of the dots and colons, up to what ends it: most results are still read.
fn swap_value(random: &Seeded, payload: &mut Vec<u8>) {
    const VALUES: [&str; 13] = [
        "0",
        "-1",
        "1.0",
        "1e3",
        "1e400",
        "18446744073709551615",
        "18446744073709551616",
        "null",
        "true",
        "[]",
        "{}",
        "\"\\u0000\"",
        "\"oKGio6SlpqeoqaqrrK2urw\"",
    ];
    let begins: Vec<_> = (0..payload.len()).filter(|i| matches!(payload[*i], b'.' | b':')).collect();
    let start = begins[random.below(begins.len())] + 1;
    let length = payload[start..].iter().position(|byte| matches!(byte, b'.' | b',' | b'}' | b'\n')).unwrap();
    payload.splice(start..start + length, VALUES[random.below(VALUES.len())].bytes());
}

/// Payloads as only one with the key can make them: an older or later version of the program, or a bug.
#[test]
fn a_hundred_thousand_authentic_payloads() {
    const TEXT: &[u8] = b"{}[]\",:0123456789.eE+-truefalsn\\ud8 \n";
    const PAYLOADS: [&str; 4] = [
        r#"oKGio6SlpqeoqaqrrK2urw.1.1.9.2
{"sub":"1","auth":3,"epoch":4,"bind":{"kid":"AQIDBA","ip":"oKGio6SlpqeoqaqrrK2urw","ua":"oKGio6SlpqeoqaqrrK2urw"},"flash":{"notice":"x"}}
{"a":[1,2.5e3,null],"b":{"c":"d"}}"#,
        "oKGio6SlpqeoqaqrrK2urw.18446744073709551615.18446744073709551615.18446744073709551615.18446744073709551615\n\nnull",
        "oKGio6SlpqeoqaqrrK2urw.0.0.0.0\n{\"sub\":\"\"}\n{}",
        "oKGio6SlpqeoqaqrrK2urw.0.0.5.0\n{\"flash\":{\"a\":\"\\u0000\"}}\n[[[[[[\"x\"]]]]]]",
    ];
    let random = Seeded::new(SEED + 2);
    let ring = KeyRing::new(&secret(0));
    let [held, reference] = [Kind::CookieHeld, Kind::Reference].map(|kind| TokenCodec::new(&ring, kind, "s"));
    let policy = ClientBinding::ip().and_user_agent();
    let expiry = Expiry::new(Duration::from_secs(60), Duration::from_secs(60)).unwrap();
    let (mut read, mut refused) = (0, 0);
    for round in 0..100_000 {
        let mut payload = PAYLOADS[random.below(PAYLOADS.len())].as_bytes().to_vec();
        if random.below(2) == 0 {
            swap_value(&random, &mut payload);
        } else {
            mutate(&random, &mut payload, TEXT);
        }
        let seal = |codec: &TokenCodec| codec.seal(Plaintext::from(&payload), at(9), false, &random).unwrap();
        let (held_token, reference_token) = (seal(&held), seal(&reference));
        let context = CommitContext {
            now: at(1),
            expiry: &expiry,
            ring: &ring,
            binding: Some(&policy),
            random: &random,
            kind: Kind::CookieHeld,
        };
        survive(round, &String::from_utf8_lossy(&payload), |_| {
            let opened = reference.open(reference_token.as_bytes(), at(1)).unwrap();
            let _ = Reference::from_token(opened);
            let opened = held.open(held_token.as_bytes(), at(1)).unwrap();
            let Ok(mut session) = Session::<Any>::from_cookie(opened) else {
                refused += 1;
                return;
            };
            read += 1;
            let _ = session.bind(&policy, &ring, &Client { ip: None, user_agent: Some(b"x") });
            session.data_mut().0 = json!({ "before": session.data().0 });
            session.flash_mut().set_notice("x");
            session.regenerate();
            if let Ok(Some(draft)) = session.draft(&context) {
                session.accept(draft);
                assert!(!session.token_due(&expiry) || session.cookie_payload().is_some());
            }
        });
    }
    assert!(read > 5_000 && refused > 5_000, "{read} read, {refused} refused");
}

#[test]
fn two_hundred_thousand_records() {
    let random = Seeded::new(SEED + 3);
    let all = (0..=255).collect::<Vec<u8>>();
    let ring = KeyRing::new(&secret(0));
    let key = Key::from_bytes([7; 16]);
    let payload =
        b"BwcHBwcHBwcHBwcHBwcHBw.1.2.3.4\n\n{\"text\":\"the same words, the same words\"}".repeat(4);
    let plain = RecordCodec::new(&ring);
    let sealing = plain.clone().encrypted(true);
    let packing = plain.clone().deflated_from(Some(0));
    let both = sealing.clone().deflated_from(Some(0));
    let corpus =
        [&plain, &packing, &sealing, &both].map(|codec| codec.encode(&key, &payload, &random).unwrap());
    for round in 0..200_000 {
        let original = &corpus[random.below(corpus.len())];
        let mut stored = original.clone();
        mutate(&random, &mut stored, &all);
        let (open, strict) = survive(round, &stored, |stored| {
            (plain.decode(&key, &stored[..]), sealing.decode(&key, &stored[..]))
        });
        if stored != corpus[2] && stored != corpus[3] {
            assert!(strict.is_err(), "round {round}: {stored:?}");
        }
        if let Err(error) = open {
            assert_ne!(error, Unreadable::NotEncrypted);
        }
    }
}

#[test]
fn deep_nesting_is_an_error() {
    const DEPTH: usize = 10_000;
    let ring = KeyRing::new(&secret(0));
    let codec = TokenCodec::new(&ring, Kind::CookieHeld, "s");
    let random = Seeded::new(SEED);
    let read = |payload: &str| {
        // Ten thousand brackets fit a cookie only when they are deflated.
        let token = codec.seal(Plaintext::from(payload), at(9), true, &random).unwrap();
        Session::<Any>::from_cookie(codec.open(token.as_bytes(), at(1)).unwrap())
    };
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = |depth: usize| open.repeat(depth) + "1" + &close.repeat(depth);
        let with_data = |data: &str| read(&format!("oKGio6SlpqeoqaqrrK2urw.0.0.9.1\n\n{data}")).err();
        assert_eq!(with_data(&nested(127)), None, "as core/FORMAT.md says");
        assert_eq!(with_data(&nested(128)), Some(Error::Unreadable(Unreadable::Data)));
        let deep = nested(DEPTH);
        let payload = |data: &str| format!("oKGio6SlpqeoqaqrrK2urw.0.0.9.1\n{{\"x\":{deep}}}\n{data}");
        assert_eq!(read(&payload(&deep)).err(), Some(Error::Unreadable(Unreadable::Data)));
        // Passed over, without recursion, where nobody asks for it.
        assert!(read(&payload("{}")).is_ok());
    }
}

/// What a handler could tell a client of: only the reason differs, which is for the server.
#[test]
fn a_client_cannot_tell_refusals_apart() {
    let site = Site::new();
    for reason in Rejection::ALL {
        let mut session = Session::<Any>::anonymous(&site.expiry, site.now(), Some(reason));
        assert_eq!(session.rejection(), Some(reason));
        assert!(session.is_new() && !session.is_authenticated() && session.flash().is_empty());
        assert_eq!((session.key(), session.subject(), session.version()), (None, None, Version::default()));
        assert_eq!(session.data().0, Value::Null);
        assert_eq!(site.commit(&mut session), Ok(None), "no cookie, and none is taken away");
        assert_eq!(site.writes.get(), 0);
    }
}

#[test]
fn short_secrets() {
    let random = Seeded::new(SEED + 4);
    for round in 0..20_000 {
        // Too short to be derived from, so that this stays quick.
        let text = String::from_utf8_lossy(&noise(&random, 16, b"sk1_AZaz09-_=\0\n ")).into_owned();
        let error = survive(round, &text, |text| Secret::parse(text).err()).unwrap();
        assert!(!error.to_string().contains(&text) || text.len() < 5, "{text:?}");
    }
}

/// What other libraries made, altered: nothing opens but what was sealed, however it is spelled.
#[test]
fn two_hundred_thousand_foreign_seals() {
    const JSON: &[u8] = br#"{"session_id":"0b6f","expires_at":"2099-12-31T23:59:59Z","user_id":7}"#;
    const CRYSTAL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=\"[],";
    const IRON: &[u8] = b"ABCDEFabcdef0123456789-_*~.";
    let random = Seeded::new(SEED + 5);
    let encryptor = Encryptor::new(b"0123456789abcdef0123456789abcdef", None)
        .unwrap()
        .allow(LegacyDigest::Sha1, at(9))
        .allow(LegacyDigest::Md5, at(9));
    let iron = Iron::new("1", "a-password-of-at-least-32-characters").unwrap();
    let crystal =
        [None, Some(0)].map(|from| seal_value(JSON, Some(&encryptor), from, &random).unwrap().to_vec());
    let sealed = iron.seal(JSON, Some(Duration::from_secs(60)), at(0), &random).unwrap().into_bytes();
    let mut refused = 0;
    for round in 0..200_000 {
        let foreign = random.below(2) == 0;
        let alphabet = if foreign { CRYSTAL } else { IRON };
        let original = if foreign { &crystal[random.below(2)] } else { &sealed };
        let mut input = if random.below(8) == 0 { noise(&random, 300, alphabet) } else { original.clone() };
        mutate(&random, &mut input, alphabet);
        let opened = survive(round, &input, |input| match foreign {
            true => open_value(input, Some(&encryptor), at(1)),
            false => iron.open(input, at(1)).map(|opened| opened.json().to_vec().into()),
        });
        match opened {
            // Too much or too little padding, and what stands behind the seal.
            Ok(json) => assert_eq!(&json[..], JSON, "round {round}: {input:?}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 150_000, "{refused}");
}

/// What a Redis server gone wrong may give: plain, or gzip.
#[test]
fn a_hundred_thousand_foreign_records() {
    const TEXTS: [&[u8]; 3] = [
        br#"{"session_id":"0b6f","created_at":"2026-W01-5T03:04:05Z","expires_at":"2099-12-31T23:59:59.5+05:30","a":[1,2.5e3,null],"b":null}"#,
        br#"{"type":"session_deleted","session_id":"abc","node_id":"n","timestamp":"2026-01-02T03:04:05Z"}"#,
        br#"{"session_id":"\ud83c\udf89","expires_at":"0001-01-01T00:00:00Z","x":{"y":1e20}}"#,
    ];
    let random = Seeded::new(SEED + 6);
    let all = (0..=255).collect::<Vec<u8>>();
    let (mut read, mut refused) = (0, 0);
    for round in 0..100_000 {
        let text = TEXTS[random.below(TEXTS.len())];
        let from = (random.below(2) == 0).then_some(0);
        let mut value = seal_value(text, None, from, &random).unwrap().to_vec();
        if random.below(8) > 0 {
            mutate(
                &random,
                &mut value,
                if from.is_some() { &all } else { b"{}[]\",:0123456789.eE+-TZWnul\\" },
            );
        }
        // Deflate makes at most 1,032 bytes of one: a trailer that claims more allocates nothing.
        let most = MOST_BYTES + 1_032 * value.len() as u64;
        let imported = survive_within(most, round, &value, |value| {
            let json = open_value(value, None, at(1))?;
            let _ = serde_json::from_slice::<ClusterMessage>(&json);
            let session = SessionJson::<Any>::parse(&json)?;
            // What was read can be written and read again.
            if let Ok(again) = session.to_json() {
                assert!(SessionJson::<Any>::parse(again.as_bytes()).is_ok(), "{}", *again);
            }
            session.into_foreign(at(1)).map(|_| ())
        });
        match imported {
            Ok(()) => read += 1,
            Err(Refusal::Forged | Refusal::Digest) => panic!("nothing was signed"),
            Err(_) => refused += 1,
        }
    }
    assert!(read > 1_000 && refused > 10_000, "{read} read, {refused} refused");
}
