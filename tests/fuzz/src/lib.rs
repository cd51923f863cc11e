//! What the fuzz targets check: a module for each, with a `check` that takes any bytes and panics where a promise is broken.
//!
//! `tests/fuzz/run` runs them under libFuzzer; on stable Rust `cargo test` gives them every seed and all of the committed corpus.
#![allow(clippy::unwrap_used, reason = "a check that can't go on fails")]

pub mod cookie_header;
pub mod crystal;
pub mod flash;
pub mod inflate;
pub mod iron;
pub mod merge;
pub mod payload;
pub mod record;
pub mod seeds;
pub mod set_cookie;
pub mod token;

#[path = "../../../core/examples/vectors/format.rs"]
#[allow(dead_code, reason = "the vectors use all of it")]
mod format;
mod input;
mod reference;

/// Every target: its name, and what it checks.
pub const TARGETS: [(&str, fn(&[u8])); 10] = [
    ("token", token::check),
    ("cookie_header", cookie_header::check),
    ("set_cookie", set_cookie::check),
    ("record", record::check),
    ("merge", merge::check),
    ("inflate", inflate::check),
    ("crystal", crystal::check),
    ("iron", iron::check),
    ("flash", flash::check),
    ("payload", payload::check),
];

use session_core::{KeyRing, Random, RandomError, Secret, SessionData, Timestamp};

/// When everything happens, in milliseconds: as in `tests/vectors`.
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Of the secrets of `tests/vectors`; the first one seals.
fn ring() -> KeyRing {
    let [first, second] = [0, 32].map(|first| Secret::from_bytes(&format::secret(first)).unwrap());
    KeyRing::new(&first).with_previous(&second)
}

/// The same keys by the second implementation.
fn keys() -> [format::Keys; 2] {
    [0, 32].map(|first| format::Keys::of(&format::secret(first)))
}

/// A random source that gives what the input says, over and over.
struct Given([u8; 16]);

impl Random for Given {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        buffer.iter_mut().zip(self.0.iter().cycle()).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

/// Session data that takes any JSON.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
struct Any(serde_json::Value);

impl SessionData for Any {}
