//! Does the time that a refusal takes tell why? After dudect (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017): two classes
//! of tokens are opened in random order, and Welch's t says whether their times differ.
//!
//! ```sh
//! cargo run --release -p session-core --example timing [-- SAMPLES]
//! ```
//!
//! |t| under 4.5 is no difference that so many samples can show; dudect calls one over 10 certain. The times of a busy machine have long tails, so t is
//! also taken over the fastest 99, 95, 90, 75 and 50 of 100 samples, and the largest counts. It prints and never fails: a verdict that hangs on a
//! clock is no test. That refusing takes the same *instructions* wherever a tag is wrong is one, in `tests/instructions`.

use std::{hint::black_box, time::Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use session_core::{
    KeyRing, Kind, OsRandom, Plaintext, Random as _, Rejection, Secret, Timestamp, TokenCodec,
};
use sha2::Sha256;

const SECRET: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";
const NAME: &str = "__Host-session";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_700_000_060_000);
const TAG_LEN: usize = 32;
/// Of each class, so that no token is special.
const TOKENS: usize = 64;

fn main() {
    let samples =
        std::env::args().nth(1).map_or(1_000_000, |samples| samples.parse().expect("a number of samples"));
    println!("{samples} samples of each class; the largest |t| of all croppings, and without cropping\n");
    let codec = TokenCodec::new(&ring(), Kind::CookieHeld, NAME);
    let open = |expected: Rejection| {
        let codec = &codec;
        move |token: &[u8]| assert_eq!(codec.open(token, NOW).err(), Some(expected))
    };
    let forged = open(Rejection::Forged);
    report(
        "tag wrong in its first byte, in its last",
        compare(samples, [wrong_tag(0), wrong_tag(TAG_LEN - 1)], [&forged, &forged]),
    );
    report(
        "tag wrong in its first byte, in all",
        compare(samples, [wrong_tag(0), tokens(|bytes| random(tag_of(bytes)))], [&forged, &forged]),
    );
    report(
        "the same class twice (t must be small)",
        compare(samples, [wrong_tag(0), wrong_tag(0)], [&forged, &forged]),
    );
    report(
        "a comparison that stops at a difference (t must be large)",
        compare(samples, [wrong_bytes(0), wrong_bytes(TAG_LEN - 1)], [&stopping, &stopping]),
    );
    println!("\nClasses that only who has the key can make, beside a wrong tag:");
    let expired = open(Rejection::Expired);
    report("wrong tag, expired", compare(samples, [wrong_tag(0), tokens(expire)], [&forged, &expired]));
    report(
        "wrong tag, wrong padding",
        compare(samples, [wrong_tag(0), tokens(pad_wrongly)], [&forged, &forged]),
    );
    println!("\nA class that is to be refused sooner, on what anyone can read:");
    let unknown = open(Rejection::UnknownKey);
    report(
        "wrong tag, unknown key id",
        compare(samples, [wrong_tag(0), tokens(|bytes| bytes[2] ^= 1)], [&forged, &unknown]),
    );
}

fn ring() -> KeyRing {
    KeyRing::new(&Secret::from_bytes(&SECRET).expect("a varied secret"))
}

// ---- Classes of tokens

/// Tokens of 1 KB, authentic but for what `spoil` does to their bytes.
fn tokens(spoil: impl Fn(&mut [u8])) -> Vec<Vec<u8>> {
    let codec = TokenCodec::new(&ring(), Kind::CookieHeld, NAME);
    let token = || {
        let token =
            codec.seal(Plaintext::from(&[b'a'; 1024]), LATER, false, &OsRandom).expect("random bytes");
        let mut bytes = URL_SAFE_NO_PAD.decode(token).expect("base64url");
        spoil(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes).into_bytes()
    };
    (0..TOKENS).map(|_| token()).collect()
}

fn wrong_tag(byte: usize) -> Vec<Vec<u8>> {
    tokens(|bytes| {
        let before = tag_of(bytes)[byte];
        while tag_of(bytes)[byte] == before {
            random(&mut tag_of(bytes)[byte..=byte]);
        }
    })
}

fn expire(bytes: &mut [u8]) {
    bytes[6..14].copy_from_slice(&NOW.as_millis().to_be_bytes());
    sign(bytes);
}

/// A changed bit of the last block but one changes the same bit of the plaintext's last byte.
fn pad_wrongly(bytes: &mut [u8]) {
    let last_but_one = bytes.len() - TAG_LEN - 17;
    bytes[last_but_one] ^= 0x80;
    sign(bytes);
}

/// As `core/FORMAT.md` says.
fn sign(bytes: &mut [u8]) {
    let mut key = [0; 32];
    let hkdf = Hkdf::<Sha256>::new(Some(b"session-token-v1"), &SECRET);
    hkdf.expand(b"authentication", &mut key).expect("32 bytes");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key of any length");
    for part in [b"session-token-v1".as_slice(), NAME.as_bytes()] {
        mac.update(&u32::try_from(part.len()).expect("a short part").to_be_bytes());
        mac.update(part);
    }
    let (message, tag) = bytes.split_last_chunk_mut::<TAG_LEN>().expect("a tag");
    mac.update(message);
    *tag = mac.finalize().into_bytes().into();
}

fn tag_of(bytes: &mut [u8]) -> &mut [u8; TAG_LEN] {
    bytes.last_chunk_mut().expect("a tag")
}

fn random(bytes: &mut [u8]) {
    OsRandom.fill(bytes).expect("random bytes");
}

/// What must not be done with a tag: to stop at the first byte that differs.
fn stopping(tag: &[u8]) {
    black_box(tag.iter().zip(black_box(&RIGHT)).all(|(a, b)| black_box(a) == b));
}

const RIGHT: [u8; TAG_LEN] = [7; TAG_LEN];

fn wrong_bytes(byte: usize) -> Vec<Vec<u8>> {
    let mut tag = RIGHT.to_vec();
    tag[byte] ^= 1;
    vec![tag]
}

// ---- Statistics

type Operation<'a> = &'a dyn Fn(&[u8]);

/// Times of both classes, in random order, every input in the same place of memory.
fn compare(samples: usize, classes: [Vec<Vec<u8>>; 2], operations: [Operation<'_>; 2]) -> [Vec<f64>; 2] {
    let mut times = [Vec::with_capacity(samples), Vec::with_capacity(samples)];
    let mut order = [0; 4096];
    let mut place = Vec::new();
    while times.iter().any(|times| times.len() < samples) {
        random(&mut order);
        for byte in order {
            let class = usize::from(byte & 1);
            let inputs = &classes[class];
            place.clear();
            place.extend_from_slice(&inputs[usize::from(byte >> 1) % inputs.len()]);
            let start = Instant::now();
            operations[class](black_box(&place));
            let time = start.elapsed();
            times[class].push(time.as_nanos() as f64);
        }
    }
    times
}

fn report(name: &str, times: [Vec<f64>; 2]) {
    let mut all = times.concat();
    all.sort_by(f64::total_cmp);
    let t_of_fastest = |percent: usize| {
        let bound = all[all.len() * percent / 100 - 1];
        let [a, b] =
            times.each_ref().map(|times| Moments::of(times.iter().copied().filter(|time| *time <= bound)));
        a.welch(&b)
    };
    let uncropped = t_of_fastest(100);
    let largest =
        [100, 99, 95, 90, 75, 50].map(t_of_fastest).into_iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    let medians = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!("{name:60} |t| {largest:8.2}  uncropped {uncropped:8.2}  medians {medians:?} ns");
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(times: impl Iterator<Item = f64>) -> Self {
        // Welford's recurrence.
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for time in times {
            count += 1.0;
            let difference = time - mean;
            mean += difference / count;
            squares += difference * (time - mean);
        }
        Self { count, mean, variance: squares / (count - 1.0) }
    }

    fn welch(&self, other: &Self) -> f64 {
        (self.mean - other.mean) / (self.variance / self.count + other.variance / other.count).sqrt()
    }
}
