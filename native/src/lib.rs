//! Typed, secure sessions for Rust web applications.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use session_native::{Client, Config, MemoryStore, Secret, SessionData, Sessions};
//!
//! #[derive(Default, Clone, Serialize, Deserialize)]
//! #[serde(default)]
//! struct UserSession {
//!     username: Option<String>,
//!     visits: u64,
//! }
//! impl SessionData for UserSession {}
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let secret = Secret::generate(&session_native::OsRandom)?;
//! let sessions = Sessions::<UserSession, _>::new(Config::production(secret), MemoryStore::new())?;
//!
//! // A visitor signs in …
//! let mut session = sessions.create();
//! session.authenticate("42"); // rotates the token, and files the session under its subject
//! session.data_mut().username = Some("ada".into());
//! let set_cookie = sessions.commit(&mut session).await?.expect("a new session has a new token");
//!
//! // … and comes back with the cookie.
//! let cookie = set_cookie.as_str().split(';').next().unwrap_or_default();
//! let mut session = sessions.load(cookie, &Client::default()).await?;
//! assert_eq!(session.subject(), Some("42"));
//! sessions.update(&mut session, |data| data.visits += 1).await?; // exact, also when requests race
//! sessions.revoke_subject("42").await?; // sign out everywhere
//! # Ok(())
//! # }
//! ```
//!
//! The [`guide`] begins with a [quick start](guide::quick_start) and says what it takes to [run it](guide::operations).
//!
//! From the outside in: [`Sessions`] loads, commits and ends sessions; [`axum`] and `actix` put it into a web application,
//! [`web`] into any other; a [`store`] keeps records, and [`Resilient`] keeps one that fails from taking the application with it;
//! [`observe`] lists the metrics; [`client`] knows where a request came from. What a session *is* stands in [`session_core`], whose types are
//! re-exported here.
//!
//! Features: `axum` (on by default), `actix`, `http` (header maps of the `http` crate, for [`web`]), `redis` (`RedisStore`), `cache`
//! (`store::cached`: a local cache before a store that several nodes share), `crystal` and `iron` (sessions of other libraries go on as
//! ours), `dbsc` (sessions that are bound to the devices they begin on), `cli` (the `session` command).

#![forbid(unsafe_code)]

#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "axum")]
pub mod axum;
mod backend;
pub mod client;
mod clock;
pub mod csrf;
#[cfg(feature = "dbsc")]
pub mod dbsc;
mod error;
mod event;
pub mod guide;
mod handle;
#[cfg(feature = "import")]
pub mod import;
mod lock;
pub mod observe;
mod query;
pub mod resilience;
mod sessions;
pub mod store;
pub mod web;

pub use backend::{Backend, CookieHeld, Stored};
pub use clock::{Clock, ManualClock, SystemClock};
pub use csrf::InvalidOrigin;
pub use error::Error;
pub use event::{Event, EventKind};
pub use handle::SessionHandle;
pub use resilience::Resilient;
/// All of the core, for what isn't re-exported by name.
pub use session_core;
pub use session_core::{
    Client, ClientBinding, Config, ConfigError, CookieOptions, Error as CoreError, Expiry, Flash, Key,
    KeyRing, MergePolicies, MergePolicy, OsRandom, Passphrase, Preset, Random, RandomError, Rejection,
    SameSite, Secret, SecretError, Session, SessionData, SetCookie, State, SubjectTag, Summary, Timestamp,
    Unreadable, Version,
};
pub use sessions::Sessions;
#[cfg(feature = "redis")]
pub use store::RedisStore;
pub use store::{MemoryStore, Query, Store, StoreError};

#[cfg(all(doctest, feature = "axum", feature = "redis"))]
#[doc = include_str!("../../README.md")]
struct Readme;
