//! What several test crates share: a seeded random source, and a store small enough to be seen through.
#![allow(dead_code, unreachable_pub, reason = "each test crate uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use core::{
    cell::{Cell, RefCell},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::collections::BTreeMap;

use proptest::prelude::ProptestConfig;
use session_core::{
    Error, Expiry, Key, KeyRing, Kind, Random, RandomError, Reference, Rejection, Secret, Session,
    SessionData, Timestamp, TokenCodec, Version, lifecycle::CommitContext,
};
use zeroize::Zeroizing;

/// SplitMix64: the same bytes from the same seed, on every machine.
pub struct Seeded(AtomicU64);

impl Seeded {
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

impl Random for Seeded {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// How many cases of a law are tried: as many as proptest says, but under Miri, which is a thousand times slower, two.
pub fn laws() -> ProptestConfig {
    let by_default = ProptestConfig::default();
    if cfg!(miri) { ProptestConfig { cases: 2, failure_persistence: None, ..by_default } } else { by_default }
}

/// For `step_by`: of many cases each one, but under Miri one of `n`.
pub const fn one_in(n: usize) -> usize {
    if cfg!(miri) { n } else { 1 }
}

/// The secret whose bytes count up from `first`.
pub fn secret(first: u8) -> Secret {
    Secret::from_bytes(&core::array::from_fn::<u8, 32, _>(|i| first.wrapping_add(i as u8))).unwrap()
}

pub const fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

struct Stored {
    version: Version,
    expires_at: Timestamp,
    payload: Vec<u8>,
}

/// A web site: sessions in a store with compare-and-swap, reference tokens in its visitors' cookies.
pub struct Site {
    pub ring: KeyRing,
    pub expiry: Expiry,
    pub now: Cell<u64>,
    pub writes: Cell<usize>,
    codec: TokenCodec,
    random: Seeded,
    records: RefCell<BTreeMap<Key, Stored>>,
}

impl Site {
    pub fn new() -> Self {
        let ring = KeyRing::new(&secret(0));
        Self {
            codec: TokenCodec::new(&ring, Kind::Reference, "session"),
            ring,
            expiry: Expiry::new(Duration::from_secs(3_600), Duration::from_secs(86_400)).unwrap(),
            now: Cell::new(1_700_000_000_000),
            writes: Cell::new(0),
            random: Seeded::new(1),
            records: RefCell::default(),
        }
    }

    pub fn now(&self) -> Timestamp {
        at(self.now.get())
    }

    pub fn context(&self) -> CommitContext<'_> {
        CommitContext {
            now: self.now(),
            expiry: &self.expiry,
            ring: &self.ring,
            binding: None,
            random: &self.random,
            kind: Kind::Record,
        }
    }

    /// The session of a visitor who has none.
    pub fn begin<T: SessionData>(&self) -> Session<T> {
        Session::anonymous(&self.expiry, self.now(), None)
    }

    /// A first request that writes: the token it gets.
    pub fn start<T: SessionData>(&self, write: impl FnOnce(&mut Session<T>)) -> String {
        let mut session = self.begin();
        write(&mut session);
        self.commit(&mut session).unwrap().unwrap()
    }

    pub fn load<T: SessionData>(&self, token: &str) -> Result<Session<T>, Error> {
        let reference = Reference::from_token(self.codec.open(token.as_bytes(), self.now())?)?;
        let records = self.records.borrow();
        let stored = records
            .get(&reference.key())
            .filter(|stored| self.now() < stored.expires_at)
            .ok_or(Rejection::Revoked)?;
        Session::from_record(
            &reference,
            stored.version,
            stored.expires_at,
            Zeroizing::new(stored.payload.clone()),
            self.now(),
            Duration::from_secs(30),
        )
    }

    /// One whole request: the token the visitor has after it.
    pub fn visit<T: SessionData>(&self, token: &str, request: impl FnOnce(&mut Session<T>)) -> String {
        let mut session = self.load(token).unwrap();
        request(&mut session);
        self.commit(&mut session).unwrap().unwrap_or_else(|| token.to_owned())
    }

    /// Saves what changed, merging as often as others were faster. The new token, if the visitor needs one.
    pub fn commit<T: SessionData>(&self, session: &mut Session<T>) -> Result<Option<String>, Error> {
        while let Some(draft) = session.draft(&self.context())? {
            let mut records = self.records.borrow_mut();
            let key = draft.key();
            match records.get(&key) {
                Some(stored) if draft.is_new() || stored.version != session.version() => {
                    let theirs = Zeroizing::new(stored.payload.clone());
                    session.rebase(stored.version, stored.expires_at, theirs)?;
                    continue;
                }
                None if !draft.is_new() => return Err(Rejection::Revoked.into()),
                _ => {}
            }
            let (version, expires_at) = (draft.version(), draft.expires_at());
            records.insert(key, Stored { version, expires_at, payload: draft.payload().to_vec() });
            self.writes.set(self.writes.get() + 1);
            session.accept(draft);
            break;
        }
        if !session.token_due(&self.expiry) {
            return Ok(None);
        }
        let payload = session.reference_payload()?.unwrap();
        let token = self.codec.seal(payload, session.expires_at(), false, &self.random).unwrap();
        session.token_sent();
        Ok(Some(token))
    }

    /// What is stored, as text.
    pub fn stored(&self, key: Key) -> String {
        String::from_utf8(self.records.borrow()[&key].payload.clone()).unwrap()
    }

    /// Another program's save.
    pub fn edit(&self, key: Key, change: impl FnOnce(&str) -> String) {
        let text = change(&self.stored(key));
        let mut records = self.records.borrow_mut();
        let stored = records.get_mut(&key).unwrap();
        stored.payload = text.into_bytes();
        stored.version = stored.version.next(&self.random).unwrap();
    }
}
