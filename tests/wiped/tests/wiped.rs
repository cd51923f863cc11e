//! Whoever reads memory that was freed finds no key, secret, session id or plaintext in it.
//!
//! Out of reach: the stack, registers, and values of the application's own types, which are its to wipe.

use session_core::{
    Key, KeyRing, Kind, OsRandom, Passphrase, Plaintext, Random, RandomError, RecordCodec, Secret, SessionId,
    Timestamp, TokenCodec, Zeroizing,
};
use session_wiped::{Watching, left_behind};

#[global_allocator]
static ALLOCATOR: Watching = Watching;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_700_000_060_000);

/// The secret of the worked example in `core/FORMAT.md`, and what stands there as derived from it.
const SECRET: &str = "sk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const SECRET_BYTES: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const PRK: &str = "041a5f5e241c91e373c3b6044165b081892f7372d9adc985b5199a69327fbd3c";
const ENCRYPTION: &str = "544d10fde3d4ed28daed303c007fcf2bef024f9158897f90c3ca0ff2049789d4";
const AUTHENTICATION: &str = "761e2227f5f5ce1a199e0c3056cd43578306d34b7efd7e5a0436c996cbd95849";
const BINDING: &str = "29a7eb7c0d82a313e7ddf49bb8749e8bb137830c462c5ee40b2d8466808f2bac";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// The same bytes as numbers lie in memory, as hash states do.
fn as_words(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(4).flat_map(|word| word.iter().rev().copied()).collect()
}

/// The two states of SHA-256 that a prepared HMAC keeps instead of its key: whoever has them can sign.
fn hmac_states(key: &[u8]) -> [Vec<u8>; 2] {
    [0x36, 0x5c].map(|pad| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        // FIPS 180-4, 5.3.3.
        let mut state = [
            0x6a09_e667,
            0xbb67_ae85,
            0x3c6e_f372,
            0xa54f_f53a,
            0x510e_527f,
            0x9b05_688c,
            0x1f83_d9ab,
            0x5be0_cd19,
        ];
        sha2::block_api::compress256(&mut state, &[block]);
        state.iter().flat_map(|word| word.to_ne_bytes()).collect()
    })
}

fn ring() -> KeyRing {
    KeyRing::new(&Secret::parse(SECRET).expect("a secret"))
}

fn codec() -> TokenCodec {
    TokenCodec::new(&ring(), Kind::CookieHeld, "session")
}

/// Different everywhere, so that any part of it can be told.
fn payload(length: usize) -> Vec<u8> {
    (0..length).flat_map(|number| format!("{{plaintext {number}}}").into_bytes()).take(length).collect()
}

#[test]
fn the_allocator_sees_what_is_left_behind() {
    let secret = payload(32);
    let watched = [("secret", &secret[..])];
    let copies = |copy: fn(&[u8])| left_behind(&watched, || copy(&secret));
    assert_eq!(copies(|secret| drop(secret.to_vec())), ["secret"]);
    let grown = |secret: &[u8]| {
        let mut bytes = Zeroizing::new(secret.to_vec());
        bytes.reserve_exact(1_000); // moves, and only the new place is wiped
    };
    assert_eq!(copies(grown), ["secret"]);
    assert_eq!(copies(|secret| drop(secret[4..14].to_vec())), [""; 0], "no whole part");
    assert_eq!(copies(|secret| drop(Zeroizing::new(secret.to_vec()))), [""; 0]);
}

#[test]
fn keys_and_secrets() {
    let names = ["secret", "prk", "encryption key", "MAC key", "binding key"];
    let keys = [SECRET_BYTES, PRK, ENCRYPTION, AUTHENTICATION, BINDING].map(hex);
    let words = keys.clone().map(|key| as_words(&key));
    let mut watched: Vec<_> = names.into_iter().zip(keys.iter().map(Vec::as_slice)).collect();
    watched.extend(names.into_iter().zip(words.iter().map(Vec::as_slice)));
    let [inner, outer] = hmac_states(&keys[3]);
    watched.extend([("inner state", &inner[..]), ("outer state", &outer[..])]);
    watched.push(("written secret", &SECRET.as_bytes()[4..]));
    let left = left_behind(&watched, || {
        let secret = Box::new(Secret::parse(SECRET).expect("a secret"));
        drop(secret.expose());
        let other = Secret::generate(&OsRandom).expect("random bytes");
        let ring = Box::new(KeyRing::new(&other).with_previous(&secret).with_previous(&secret));
        drop(secret);
        let codec = Box::new(TokenCodec::new(&ring, Kind::CookieHeld, "session"));
        drop((ring.clone(), ring, codec.clone()));
        assert!(codec.open(b"AQBcf5QzAAAB", NOW).is_err());
        drop(codec.seal(Plaintext::from(b"{}"), LATER, false, &OsRandom).expect("random bytes"));
        drop(codec);
    });
    assert_eq!(left, [""; 0]);
}

#[test]
fn passphrases() {
    let passphrase = "correct horse battery staple";
    let kdf = Passphrase { iterations: Passphrase::LEAST_ITERATIONS, ..Passphrase::default() };
    let left = left_behind(&[("passphrase", passphrase.as_bytes())], || {
        drop(Secret::from_passphrase(passphrase, &kdf).expect("a passphrase"));
        drop(Secret::parse("correct horse").err().expect("too short").to_string());
    });
    assert_eq!(left, [""; 0]);
}

#[test]
fn plaintexts_that_are_sealed() {
    struct Broken;
    impl Random for Broken {
        fn fill(&self, _: &mut [u8]) -> Result<(), RandomError> {
            Err(RandomError)
        }
    }
    let codec = codec();
    for length in [8, 15, 16, 17, 63, 64, 300, 1_000, 3_000] {
        let payload = payload(length);
        // Any of its parts are watched for; the first and the last are enough where it is long.
        let watched =
            [("beginning", &payload[..length.min(64)]), ("end", &payload[length - length.min(64)..])];
        let left = left_behind(&watched, || {
            drop(Plaintext::from(&payload));
            drop(codec.seal(Plaintext::from(&payload), LATER, false, &OsRandom).expect("random bytes"));
            assert!(codec.seal(Plaintext::from(&payload), LATER, false, &Broken).is_err());
            // Grown in pieces of 8, past its capacity again and again; and filled to its very end.
            for capacity in 0..48 {
                let mut grown = Plaintext::with_capacity(capacity);
                payload.chunks(8).for_each(|piece| grown.extend_from_slice(piece));
                drop(codec.seal(grown, LATER, false, &OsRandom).expect("random bytes"));
            }
        });
        assert_eq!(left, [""; 0], "{length} bytes");
    }
}

#[test]
fn plaintexts_that_are_opened() {
    let codec = codec();
    for length in [8, 16, 64, 300, 1_000, 2_800] {
        let payload = payload(length);
        let token = codec.seal(Plaintext::from(&payload), LATER, false, &OsRandom).expect("random bytes");
        let left = left_behind(&[("payload", &payload)], || {
            assert_eq!(codec.open(token.as_bytes(), NOW).expect("an authentic token").payload(), payload);
            assert!(codec.open(token.as_bytes(), LATER).is_err());
        });
        assert_eq!(left, [""; 0], "{length} bytes");
    }
}

#[test]
fn records() {
    let key = Key::from_bytes([7; 16]);
    let payload = payload(1_000);
    let codec = RecordCodec::new(&ring()).encrypted(true);
    let left = left_behind(&[("payload", &payload)], || {
        let stored = codec.encode(&key, &payload, &OsRandom).expect("random bytes");
        assert_eq!(codec.decode(&key, &stored[..]).expect("a record")[..], payload);
    });
    assert_eq!(left, [""; 0]);
}

#[test]
fn session_ids() {
    struct Fixed;
    impl Random for Fixed {
        fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
            for (byte, value) in buffer.iter_mut().zip(0xa0..) {
                *byte = value;
            }
            Ok(())
        }
    }
    let bytes: Vec<u8> = (0xa0..0xb0).collect();
    let left = left_behind(&[("id", &bytes), ("written id", b"oKGio6SlpqeoqaqrrK2urw")], || {
        let id = Box::new(SessionId::generate(&Fixed).expect("an id"));
        drop((id.clone(), id.key().to_string()));
        let _ = SessionId::parse("oKGio6SlpqeoqaqrrK2urw").map(Box::new).expect("an id");
    });
    assert_eq!(left, [""; 0]);
}

/// Only opened ones: the compressor has a window of its own that it doesn't wipe (`core/src/compress.rs`).
#[test]
fn compressed_plaintexts_that_are_opened() {
    let (codec, key) = (codec(), Key::from_bytes([7; 16]));
    let records = RecordCodec::new(&ring()).deflated_from(Some(1));
    // From hardly compressible to what inflates many times over, so that its buffer grows.
    for payload in [payload(2_000), payload(64).repeat(400)] {
        let token = codec.seal(Plaintext::from(&payload), LATER, true, &OsRandom).expect("random bytes");
        let record = records.encode(&key, &payload, &OsRandom).expect("random bytes");
        let left = left_behind(&[("payload", &payload[..64])], || {
            assert_eq!(codec.open(token.as_bytes(), NOW).expect("an authentic token").payload(), payload);
            assert_eq!(records.decode(&key, &record[..]).expect("a record")[..], payload);
        });
        assert_eq!(left, [""; 0]);
    }
}
