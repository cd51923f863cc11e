//! Seal and open beside what they can't do without: AES-256-CBC and HMAC-SHA256 with prepared keys, over as many bytes, without
//! allocating.
//!
//! ```sh
//! cargo bench -p session-core --bench primitives
//! ```
//!
//! Both sides take turns, a millisecond each, in the thread's own CPU time; the ratio is the median over all pairs of turns, so that a busy machine
//! moves both. What seal and open do besides: base64url, an IV, allocation, wiping, checks.

use std::{hint::black_box, time::Duration};

use aes::{
    Aes256Dec, Aes256Enc,
    cipher::{
        BlockModeDecrypt as _, BlockModeEncrypt as _, InnerIvInit as _, KeyInit as _, block_padding::Pkcs7,
    },
};
use hmac::{Hmac, Mac as _};
use rustix::time::{ClockId, clock_gettime};
use session_core::{KeyRing, Kind, OsRandom, Plaintext, Secret, Timestamp, TokenCodec};
use sha2::Sha256;

const PAIRS: usize = 1_000;
const TURN: Duration = Duration::from_millis(1);
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_700_000_060_000);
/// Version, flags, key id, expiry and IV: they are under the tag as well.
const HEADER: usize = 30;
/// So are domain and cookie name, which are absorbed beforehand.
const CONTEXT: [u8; 38] = [3; 38];

fn main() {
    println!("{:>18} {:>10} {:>10} {:>6}", "", "bare ns", "ours ns", "ratio");
    for size in [300, 1024, 3000] {
        compare(size);
    }
}

fn compare(size: usize) {
    let payload = vec![b'a'; size];
    let ring = KeyRing::new(&Secret::generate(&OsRandom).expect("random bytes"));
    let codec = TokenCodec::new(&ring, Kind::CookieHeld, "__Host-session");
    let token = codec.seal(Plaintext::from(&payload), LATER, false, &OsRandom).expect("random bytes");
    let bare = Bare::new();
    let mut buffer = bare.sealed(&payload);
    paired(
        &format!("seal {size}"),
        || bare.seal(black_box(&mut buffer), size),
        || {
            let plaintext = Plaintext::from(black_box(&payload));
            black_box(codec.seal(plaintext, LATER, false, &OsRandom).expect("random bytes"));
        },
    );
    let sealed = bare.sealed(&payload);
    let mut opened = vec![0; sealed.len()];
    paired(
        &format!("open {size}"),
        || assert!(bare.open(black_box(&sealed), black_box(&mut opened))),
        || {
            black_box(codec.open(black_box(token.as_bytes()), NOW).expect("an authentic token"));
        },
    );
}

/// The primitives alone.
struct Bare {
    encrypt: Aes256Enc,
    decrypt: Aes256Dec,
    mac: Hmac<Sha256>,
}

impl Bare {
    fn new() -> Self {
        let key = [7; 32];
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key of any length");
        mac.update(&CONTEXT);
        Self { encrypt: Aes256Enc::new(&key.into()), decrypt: Aes256Dec::new(&key.into()), mac }
    }

    fn sealed(&self, payload: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; HEADER];
        buffer.extend_from_slice(payload);
        buffer.resize(HEADER + (payload.len() / 16 + 1) * 16 + 32, 0);
        self.seal(&mut buffer, payload.len());
        buffer
    }

    fn seal(&self, buffer: &mut [u8], size: usize) {
        let (message, tag) = buffer.split_last_chunk_mut::<32>().expect("a tag");
        let cbc = cbc::Encryptor::inner_iv_init(&self.encrypt, &[9; 16].into());
        cbc.encrypt_padded::<Pkcs7>(&mut message[HEADER..], size).expect("room for the padding");
        let mut mac = self.mac.clone();
        mac.update(message);
        *tag = mac.finalize().into_bytes().into();
    }

    fn open(&self, sealed: &[u8], opened: &mut [u8]) -> bool {
        let (message, tag) = sealed.split_last_chunk::<32>().expect("a tag");
        let mut mac = self.mac.clone();
        mac.update(message);
        let cbc = cbc::Decryptor::inner_iv_init(&self.decrypt, &[9; 16].into());
        mac.verify(tag.into()).is_ok() && cbc.decrypt_padded_b2b::<Pkcs7>(&message[HEADER..], opened).is_ok()
    }
}

fn paired(name: &str, mut bare: impl FnMut(), mut ours: impl FnMut()) {
    let (bare_turn, our_turn) = (iterations(&mut bare), iterations(&mut ours));
    let pairs: Vec<_> =
        (0..PAIRS).map(|_| (nanoseconds(bare_turn, &mut bare), nanoseconds(our_turn, &mut ours))).collect();
    let median_of = |figure: fn(&(f64, f64)) -> f64| median(pairs.iter().map(figure).collect());
    let (bare, ours) = (median_of(|pair| pair.0), median_of(|pair| pair.1));
    println!("{name:>18} {bare:>10.0} {ours:>10.0} {:>6.2}", median_of(|pair| pair.1 / pair.0));
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// How often an operation fits into a turn.
fn iterations(operation: &mut impl FnMut()) -> u32 {
    nanoseconds(1_000, operation);
    (TURN.as_nanos() as f64 / nanoseconds(1_000, operation)) as u32 + 1
}

/// CPU time of one operation.
fn nanoseconds(iterations: u32, operation: &mut impl FnMut()) -> f64 {
    let start = cpu_time();
    for _ in 0..iterations {
        operation();
    }
    (cpu_time() - start) * 1e9 / f64::from(iterations)
}

fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
