//! The operations that are counted.

use std::{
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use serde::{Deserialize, Serialize};
use session_core::{KeyRing, Kind, OsRandom, Plaintext, Timestamp, TokenCodec};
use session_native::{Backend, Client, Config, MemoryStore, Secret, SessionData, Sessions, Stored};

pub const NAMES: [&str; 10] = [
    "seal-300",
    "seal-1024",
    "seal-3000",
    "open-300",
    "open-1024",
    "open-3000",
    "load-stored",
    "load-cookie",
    "commit-stored",
    "commit-cookie",
];

/// Tokens of 1,024 bytes whose tag is wrong in its first, a middle, and its last byte.
pub const REFUSALS: [&str; 3] = ["refuse-00", "refuse-15", "refuse-31"];

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_700_000_060_000);

/// About 300 bytes as JSON.
#[derive(Default, Clone, Serialize, Deserialize)]
struct Data {
    name: String,
    notes: String,
    visits: u64,
}

impl SessionData for Data {}

pub fn run(name: &str, rounds: u32) {
    let (operation, what) = name.split_once('-').expect("a name with a dash");
    match (operation, what) {
        ("seal", size) => seal(rounds, number(size)),
        ("open", size) => open(rounds, number(size)),
        ("refuse", byte) => refuse(rounds, number(byte)),
        ("load", "stored") => ready(load(rounds, stored())),
        ("load", "cookie") => ready(load(rounds, Sessions::cookie(config()).expect("a configuration"))),
        ("commit", "stored") => ready(commit(rounds, stored())),
        ("commit", "cookie") => ready(commit(rounds, Sessions::cookie(config()).expect("a configuration"))),
        _ => panic!("no operation is called {name}"),
    }
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

fn secret() -> Secret {
    Secret::from_bytes(&std::array::from_fn::<u8, 32, _>(|byte| byte as u8)).expect("a varied secret")
}

fn codec() -> TokenCodec {
    TokenCodec::new(&KeyRing::new(&secret()), Kind::CookieHeld, "__Host-session")
}

fn token(codec: &TokenCodec, size: usize) -> Vec<u8> {
    codec
        .seal(Plaintext::from(&vec![b'a'; size]), LATER, false, &OsRandom)
        .expect("random bytes")
        .into_bytes()
}

fn seal(rounds: u32, size: usize) {
    let (codec, payload) = (codec(), vec![b'a'; size]);
    for _ in 0..rounds {
        let plaintext = Plaintext::from(black_box(&payload));
        black_box(codec.seal(plaintext, LATER, false, &OsRandom).expect("random bytes"));
    }
}

fn open(rounds: u32, size: usize) {
    let codec = codec();
    let token = token(&codec, size);
    for _ in 0..rounds {
        black_box(codec.open(black_box(&token), NOW).expect("an authentic token"));
    }
}

fn refuse(rounds: u32, byte: usize) {
    let codec = codec();
    let mut token = token(&codec, 1024);
    // The tag is the end of the token; of the four characters of three bytes the first holds bits of the first byte alone. The last one is left
    // alone: some of its bits must be zero.
    let tag = token.len() - (32_usize * 4).div_ceil(3);
    let character = &mut token[tag + byte * 4 / 3];
    *character = if *character == b'A' { b'B' } else { b'A' };
    for _ in 0..rounds {
        assert!(black_box(codec.open(black_box(&token), NOW)).is_err());
    }
}

fn config() -> Config {
    Config::production(secret())
}

fn stored() -> Sessions<Data, Stored<MemoryStore>> {
    Sessions::new(config(), MemoryStore::new()).expect("a configuration")
}

async fn load<B: Backend>(rounds: u32, sessions: Sessions<Data, B>) {
    let mut session = sessions.create();
    session.data_mut().name = "ada".into();
    session.data_mut().notes = "n".repeat(260);
    let cookie = sessions.commit(&mut session).await.expect("a commit").expect("a cookie");
    let cookie = cookie.as_str().split(';').next().expect("a cookie").to_owned();
    for _ in 0..rounds {
        let session = sessions.load(black_box(&*cookie), &Client::default()).await.expect("a load");
        assert_eq!(black_box(&session).data().visits, 0);
    }
}

async fn commit<B: Backend>(rounds: u32, sessions: Sessions<Data, B>) {
    let mut session = sessions.create();
    session.data_mut().name = "ada".into();
    session.data_mut().notes = "n".repeat(260);
    sessions.commit(&mut session).await.expect("a commit");
    for _ in 0..rounds {
        session.data_mut().visits ^= 1;
        black_box(sessions.commit(&mut session).await.expect("a commit"));
    }
}

/// Both backends answer at once.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the store did not answer at once"),
    }
}
