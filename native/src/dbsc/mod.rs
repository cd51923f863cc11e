//! Device Bound Session Credentials: a session that only the device it began on can go on with, so that its stolen cookie is worth minutes.
//!
//! After a sign-in the browser makes a key, in a TPM where there is one, and from then on proves every few minutes that it still has it.
//! It does so by itself: there is no script, and a browser that doesn't know the protocol ignores the field that begins it, and goes on as ever.
//!
//! | | browser | server |
//! |---|---|---|
//! | sign-in | sends its request | adds `Secure-Session-Registration`, with a challenge |
//! | once | makes a key; `POST` with `Secure-Session-Response`: key and challenge, signed | binds the session to the key; gives the *bound cookie*, which lives for minutes |
//! | each request | sends both cookies | takes the session for none if the bound cookie isn't there |
//! | bound cookie gone | holds its requests back; `POST` with `Sec-Secure-Session-Id` | 403 with `Secure-Session-Challenge` |
//! | | the same with `Secure-Session-Response`: the challenge, signed | gives a new bound cookie |
//!
//! It takes two lines: [`Sessions::device_bound`](crate::Sessions::device_bound), and a route for the `POST`
//! ([`axum::prove_device`](crate::axum::prove_device), `actix::prove_device`,
//! or [`Arrival::prove_device`](crate::web::Arrival::prove_device) elsewhere). The guide is [here](crate::guide::device_bound).
//!
//! # What holds
//! - A session whose device is known is accepted with a bound cookie alone that is younger than [`DeviceBound::life`]: from another machine it is
//!   [`Rejection::BoundElsewhere`](crate::Rejection::BoundElsewhere), a visitor without a session. The cookies of the one who asks are left
//!   alone, so a browser that couldn't refresh just now goes on when it can, and who signs in anew gets a new session.
//! - A challenge is good for one session, for five minutes, and once: it is sealed by the server's keys and names the version of the binding that
//!   it will replace. Of two proofs of one version the store lets one through ([`Store::save`]).
//! - A session is bound once. Who steals its cookie later can't bind it to a device of theirs: the challenge for that is in the answer to the
//!   sign-in alone, and a binding is never replaced.
//! - Rotations keep the binding, which goes by the session's public name. With a sign-out both are gone; who signs in as another binds anew.
//! - If the store of bindings can't be asked, the session can't be had ([`Error::Store`]): nobody is taken for unbound.
//!
//! # What doesn't
//! - Who sits on the device can use its key for as long as they do, and who was there at the sign-in can bind a key of their own (§2.1 of the
//!   draft, "Non-goals").
//! - A store of bindings that lost them has unbound their sessions.
//!
//! # Sources
//! W3C, [Device Bound Session Credentials](https://w3c.github.io/webappsec-dbsc/), Editor's Draft of 13 February 2026; section numbers are its. It is a
//! draft that one browser engine implements: expect this module to follow it. Of what the draft allows, left out are RS256 and the algorithm
//! `none`, federated sessions (§3.3), and sessions of more than one origin (`include_site`).

mod binding;
pub(crate) mod fields;
mod proof;

use core::time::Duration;

use session_core::{
    CookieOptions, Key, KeyRing, Kind, MAX_CANDIDATES, Plaintext, Random, RandomError, SetCookie, Timestamp,
    TokenCodec, Version, cookies,
};

use binding::AnyStore;
pub use binding::Device;
pub(crate) use binding::{Binding, Bindings};
pub use proof::{DeviceKey, MAX_PROOF_LEN, Proof, ProofError};

use crate::{error::Error, store::Store};

/// How long a challenge may be answered: keys in hardware are slow, and the browser may wait for a network.
const CHALLENGE_LIFE: Duration = Duration::from_secs(300);

/// How sessions are bound to devices: where proofs are sent, how long one counts, and where the bindings are kept.
///
/// ```
/// use core::time::Duration;
/// use session_native::{Config, MemoryStore, OsRandom, Secret, Sessions, dbsc::DeviceBound};
///
/// let config = Config::production(Secret::generate(&OsRandom)?);
/// let bound = DeviceBound::at("/device", MemoryStore::new()).life(Duration::from_secs(300));
/// let sessions = Sessions::<(), _>::new(config, MemoryStore::new())?.device_bound(bound)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DeviceBound {
    path: String,
    life: Duration,
    store: Box<dyn AnyStore>,
}

impl DeviceBound {
    /// Proofs are sent to `path`, a path from the root on the origin that signs in. The bindings are kept in a store of their own, with a
    /// prefix of its own in Redis, which all processes share: one record of some 250 bytes for each session that is bound, until the session
    /// ends at the latest. Lost bindings are lost protection: keep them as durable as the sessions.
    pub fn at(path: impl Into<String>, store: impl Store) -> Self {
        Self { path: path.into(), life: Self::DEFAULT_LIFE, store: Box::new(store) }
    }

    /// How long one proof counts, and a stolen cookie is worth something: 10 minutes by default ([`DeviceBound::DEFAULT_LIFE`]), at least 10
    /// seconds. The browser is told nine tenths of it, so that a request which is on its way when the cookie ends isn't late. Each proof costs it
    /// two requests and, with a key in hardware, half a second; Chromium signs only a handful of times in some minutes, so stay above five.
    #[must_use]
    pub fn life(mut self, life: Duration) -> Self {
        self.life = life.max(Duration::from_secs(10));
        self
    }

    /// How long one proof counts unless [`DeviceBound::life`] says otherwise.
    pub const DEFAULT_LIFE: Duration = Duration::from_secs(600);
}

/// Why sessions can't be bound to devices as they are set up. Found when the application starts.
///
/// ```
/// use session_native::{Config, MemoryStore, OsRandom, Secret, Sessions, dbsc::{DeviceBound, SetupError}};
///
/// let config = Config::testing(Secret::generate(&OsRandom)?);
/// let sessions = Sessions::<(), _>::new(config, MemoryStore::new())?;
/// let bound = sessions.device_bound(DeviceBound::at("device", MemoryStore::new()));
/// assert_eq!(bound.err(), Some(SetupError::Path));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The path isn't one from the root, or holds what would have to be escaped.
    #[error("the path for proofs must start with `/` and be of visible ASCII without quotes and backslashes")]
    Path,
    /// The session cookie goes to more than one origin, or is kept apart for embedding sites: the browser would not refresh for all that get it
    /// (§8.2; §8.9 refuses partitioned cookies).
    #[error(
        "device-bound sessions are those of one origin: the cookie must have no Domain and not be Partitioned"
    )]
    Cookie,
}

/// A [`DeviceBound`] with the keys and the cookie of a provider.
pub(crate) struct Devices {
    pub(crate) path: String,
    pub(crate) life: Duration,
    pub(crate) bindings: Bindings,
    /// The bound cookie: as the session's, but never without an end.
    pub(crate) cookie: CookieOptions,
    bound_cookies: TokenCodec,
    challenges: TokenCodec,
}

impl Devices {
    pub(crate) fn new(
        DeviceBound { path, life, store }: DeviceBound,
        session_cookie: &CookieOptions,
        ring: &KeyRing,
    ) -> Result<Self, SetupError> {
        if !path.starts_with('/') || path.starts_with("//") || !fields::is_plain_string(&path) {
            return Err(SetupError::Path);
        }
        if session_cookie.domain.is_some() || session_cookie.partitioned {
            return Err(SetupError::Cookie);
        }
        let cookie = CookieOptions {
            name: format!("{}-device", session_cookie.name),
            persistent: true,
            ..session_cookie.clone()
        };
        Ok(Self {
            path,
            life,
            bindings: Bindings::new(store, ring),
            bound_cookies: TokenCodec::new(ring, Kind::Reference, &cookie.name),
            // No cookie can have this name.
            challenges: TokenCodec::new(ring, Kind::Reference, "device challenge"),
            cookie,
        })
    }

    /// A challenge for the device of a session, to replace this version of the binding; the default version if there is none yet.
    pub(crate) fn challenge(
        &self,
        session: &Key,
        version: Version,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<String, RandomError> {
        let mut plain = Plaintext::from(session.as_bytes());
        plain.extend_from_slice(&version.to_bytes());
        self.challenges.seal(plain, now + CHALLENGE_LIFE, false, random)
    }

    /// Whether a challenge is one for this session and version that may still be answered. It is compared by its tag, in constant time.
    pub(crate) fn is_challenge(
        &self,
        challenge: &str,
        session: &Key,
        version: Version,
        now: Timestamp,
    ) -> bool {
        self.challenges.open(challenge.as_bytes(), now).is_ok_and(|opened| {
            opened.payload().strip_prefix(session.as_bytes()).is_some_and(|of| of == version.to_bytes())
        })
    }

    /// The bound cookie of a session whose device has just proved itself.
    pub(crate) fn bound_cookie(
        &self,
        session: &Key,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<SetCookie, Error> {
        let plain = Plaintext::from(session.as_bytes());
        let token = self.bound_cookies.seal(plain, now + self.life, false, random)?;
        Ok(self.cookie.set(&token, self.life - self.life / 10)?)
    }

    /// The sessions that a request's bound cookies are of. Several may be there, as of the session cookie.
    pub(crate) fn proven(&self, cookie_headers: &[&[u8]], now: Timestamp) -> Vec<Key> {
        let tokens = cookie_headers.iter().flat_map(|header| cookies(header, &self.cookie.name));
        tokens
            .take(MAX_CANDIDATES)
            .filter_map(|token| self.bound_cookies.open(token, now).ok())
            .filter_map(|opened| Some(Key::from_bytes(opened.payload().try_into().ok()?)))
            .collect()
    }
}
