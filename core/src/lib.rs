//! The portable core of Session: sealed tokens, session data, flash messages, three-way merge and cookie headers.
//!
//! `no_std` with `alloc`; no clock, no I/O. Applications use it through `session-native` (Rust servers) or `session-edge`
//! (JavaScript runtimes), which both put the same bytes into a cookie: `core/FORMAT.md` specifies them.
//!
//! From the outside in:
//! - [`Config`] and its presets, [`Secret`], [`KeyRing`], [`Expiry`], [`CookieOptions`], [`ClientBinding`];
//! - [`Session`] and [`Flash`], what a request handler sees;
//! - [`TokenCodec`] and [`RecordCodec`], what clients and stores keep, and [`lifecycle`], how backends drive a session;
//! - [`merge`], [`cookies`], and the seam [`Random`].
//!
//! Features: `std` (reading secrets from the environment, faster base64), `getrandom` (the operating system's random
//! source), `wasm_js` (the JavaScript runtime's), `crystal` and `iron` (sessions of other libraries: `interop`). None is on by default.

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::alloc_instead_of_core, clippy::std_instead_of_core)]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod binding;
mod compress;
mod config;
mod cookie;
mod crypto;
mod encoding;
mod error;
mod flash;
mod id;
#[cfg(feature = "interop")]
pub mod interop;
mod json;
pub mod lifecycle;
mod merge;
mod payload;
mod random;
mod record;
mod reference;
mod session;
mod summary;
mod time;
mod token;
mod wiped;

pub use binding::{Client, ClientBinding};
pub use compress::MAX_INFLATED;
pub use config::{Config, Preset};
pub use cookie::{CookieOptions, MAX_CANDIDATES, MAX_COOKIE_LEN, SameSite, SetCookie, cookies};
pub use crypto::{KeyId, KeyRing, Passphrase, Secret};
pub use error::{ConfigError, Error, Rejection, SecretError, Unreadable};
pub use flash::Flash;
pub use id::{Key, SessionId, SubjectTag};
pub use merge::{MergePolicies, MergePolicy, merge};
#[cfg(feature = "getrandom")]
pub use random::OsRandom;
pub use random::{Random, RandomError};
pub use record::{RecordCodec, Version};
pub use reference::Reference;
pub use session::{Session, SessionData, State};
pub use summary::Summary;
pub use time::{Expiry, Timestamp};
pub use token::{Header, Kind, MAX_TOKEN_LEN, Opened, Plaintext, TokenCodec};
/// What wipes itself from memory when dropped; in the signatures of this crate.
pub use zeroize::Zeroizing;
