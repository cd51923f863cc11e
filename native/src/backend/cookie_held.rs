//! Sessions in the cookie itself, and what this process remembers of the ones that ended.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use session_core::{
    Error as CoreError, Key, Kind, Opened, Plaintext, Rejection, Session, SessionData, SubjectTag, Timestamp,
    lifecycle::Named,
};

use super::{Cell, Change, Refusal, Sealed, Written};
use crate::{error::Error, sessions::Shared, store::Freshness};

/// Sessions that the client keeps, sealed, in its cookie: no store, any number of servers, at most 4096 bytes.
///
/// What a cookie holds can't be taken back, so this process remembers the sessions that were destroyed, rotated or revoked until their
/// tokens expire by themselves, and refuses them. **Other processes don't know**, and a restart forgets: there a copied cookie is good until
/// it expires. Where that isn't enough, keep sessions in a store. Two requests that change one session at the same time each
/// send the whole of it: the later answer wins. What is remembered takes about a hundred bytes for each session that was ended or rotated,
/// until the session's absolute end, and for each subject that was revoked, for 400 days (a session may be
/// [remembered](Session::remember_for) that long).
///
/// ```
/// use session_native::{Config, CookieHeld, OsRandom, Secret, Sessions};
///
/// let config = Config::production(Secret::generate(&OsRandom)?);
/// let sessions: Sessions<(), CookieHeld> = Sessions::cookie(config)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct CookieHeld {
    ended: Mutex<Remembered<Key, Ended>>,
    /// Epochs of subjects: when each was last revoked.
    revoked: Mutex<Remembered<SubjectTag, u64>>,
}

#[derive(Clone, Copy)]
enum Ended {
    /// Destroyed.
    Wholly,
    /// Tokens of fewer rotations are dead.
    Before {
        rotation: u64,
        /// Since then.
        at: Timestamp,
        /// The absolute end of the tokens after it.
        end: Timestamp,
    },
}

/// What is remembered until a time.
struct Remembered<K, V> {
    entries: HashMap<K, (V, Timestamp)>,
    /// When there are this many, the outdated ones are dropped: twice as many as were left the last time.
    sweep_at: usize,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), sweep_at: 64 }
    }
}

impl<K: Hash + Eq, V> Remembered<K, V> {
    fn insert(&mut self, key: K, value: V, until: Timestamp, now: Timestamp) {
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|_, (_, until)| *until > now);
            self.sweep_at = (self.entries.len() * 2).max(64);
        }
        self.entries.insert(key, (value, until));
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    fn until(&self, key: &K) -> Option<Timestamp> {
        self.entries.get(key).map(|(_, until)| *until)
    }
}

impl CookieHeld {
    /// Refuses all tokens of a subject that were authenticated before now. Gives the new epoch.
    ///
    /// Epochs are times here: a restart, or another process, goes on from a later one than any that a cookie can carry.
    pub(crate) fn revoke_subject(&self, subject: SubjectTag, until: Timestamp, now: Timestamp) -> u64 {
        let mut revoked = lock(&self.revoked);
        let epoch = revoked.get(&subject).map_or(0, |before| before + 1).max(now.as_millis());
        revoked.insert(subject, epoch, until, now);
        epoch
    }

    fn epoch(&self, subject: &SubjectTag) -> u64 {
        lock(&self.revoked).get(subject).copied().unwrap_or(0)
    }

    fn check<T: SessionData>(&self, session: &Session<T>) -> Result<(), Rejection> {
        if let Some(key) = session.key() {
            match lock(&self.ended).get(&key) {
                Some(Ended::Wholly) => return Err(Rejection::Revoked),
                Some(Ended::Before { rotation, .. }) if session.rotation() < *rotation => {
                    return Err(Rejection::Superseded);
                }
                _ => {}
            }
        }
        match session.subject() {
            Some(subject) if session.epoch().unwrap_or(0) < self.epoch(&SubjectTag::new(subject)) => {
                Err(Rejection::Revoked)
            }
            _ => Ok(()),
        }
    }

    /// Remembers it until no token that it is about can be alive: `until` is when those end that this request knows.
    fn remember<T: SessionData>(&self, shared: &Shared<T>, key: Key, ended: Ended, until: Timestamp) {
        let now = shared.now();
        let mut all = lock(&self.ended);
        // Tokens of before a rotation may be good for longer than those after it.
        let until = all.until(&key).map_or(until, |before| until.max(before));
        // Requests that overlap may come here in any order: the strictest word counts.
        let (ended, until) = match (all.get(&key), ended) {
            // Whoever ended it may have come with a token of before.
            (Some(Ended::Before { end, .. }), Ended::Wholly) => (Ended::Wholly, until.max(*end)),
            (Some(Ended::Wholly), _) => (Ended::Wholly, until),
            (
                Some(Ended::Before { rotation: before, end: other, .. }),
                Ended::Before { rotation, at, end },
            ) => {
                let (rotation, end) = (rotation.max(*before), end.max(*other));
                (Ended::Before { rotation, at, end }, until)
            }
            (None, ended) => (ended, until),
        };
        all.insert(key, ended, until, now);
    }
}

impl Sealed for CookieHeld {
    const TOKEN: Kind = Kind::CookieHeld;
    const NAME: &'static str = "cookie";

    async fn load<T: SessionData>(
        &self,
        shared: &Shared<T>,
        opened: Opened,
        now: Timestamp,
        _: Freshness,
    ) -> Result<Box<Session<T>>, Refusal> {
        let session = Box::new(Session::from_cookie(opened).map_err(Error::from)?);
        let named = session.named();
        self.check(&session).map_err(|reason| {
            let rejection = match (reason, named.and_then(|named| lock(&self.ended).get(&named.key).copied()))
            {
                (Rejection::Superseded, Some(Ended::Before { at, .. })) => {
                    Rejection::of_old_token(at, now, shared.config.rotation_grace)
                }
                _ => reason,
            };
            Refusal::of(named)(CoreError::Rejected(rejection).into())
        })?;
        Ok(session)
    }

    async fn extend<T: SessionData>(&self, _: &Session<T>, _: Timestamp) -> Result<(), Error> {
        Ok(())
    }

    async fn write<T: SessionData>(
        &self,
        shared: &Shared<T>,
        session: &impl Cell<T>,
    ) -> Result<Written, Error> {
        session.with(|session| {
            if let Some(subject) = session.authenticating() {
                session.set_epoch(self.epoch(&subject));
            }
            let started = session.is_new();
            let Some(draft) = session.draft(&shared.commit_context(Kind::CookieHeld))? else {
                return Ok(Written::Nothing);
            };
            // The session may have ended while this request ran; then nothing brings it back.
            if !started {
                self.check(session).map_err(Error::Ended)?;
            }
            // Before anything is noted: the whole session must fit into the cookie.
            let cookie = shared.set_cookie(draft.payload().into(), draft.expires_at())?;
            let rotated = draft.is_rotated();
            let end_before = session.absolute_end();
            session.accept(draft);
            session.renew_token();
            if let Some(Named { key, absolute_end: end }) = session.named().filter(|_| rotated) {
                let ended = Ended::Before { rotation: session.rotation(), at: shared.now(), end };
                self.remember(shared, key, ended, end_before);
            }
            Ok(Written::Saved(Change { started, rotated, cookie: Some(cookie) }))
        })
    }

    async fn confirm<T: SessionData>(&self, session: &impl Cell<T>) -> Result<(), Error> {
        session.with(|session| self.check(session)).map_err(Error::Ended)
    }

    async fn destroy<T: SessionData>(&self, shared: &Shared<T>, session: Named) -> Result<(), Error> {
        self.remember(shared, session.key, Ended::Wholly, session.absolute_end);
        Ok(())
    }

    fn token_payload<T: SessionData>(session: &Session<T>) -> Result<Option<Plaintext>, CoreError> {
        Ok(session.cookie_payload())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outdated_is_forgotten_when_there_is_much_and_nothing_else() {
        let mut remembered = Remembered::default();
        let at = Timestamp::from_millis;
        for number in 0..1_000_u64 {
            // A hundred are good at any time.
            remembered.insert(number, (), at(number + 100), at(number));
            for young in number.saturating_sub(99)..=number {
                assert!(remembered.get(&young).is_some(), "{young} at {number}");
            }
            assert!(remembered.entries.len() <= 202, "{} at {number}", remembered.entries.len());
        }
        remembered.sweep_at = 0;
        remembered.insert(0, (), at(1), at(1_000));
        assert_eq!(remembered.entries.len(), 100, "of those before, 99");
    }

    /// A sweep looks at everything, so the next one comes when there is twice as much.
    #[test]
    fn sweeps_are_seldom() {
        let (mut remembered, mut sweeps, mut next) = (Remembered::default(), 0, 64);
        for number in 0..10_000 {
            remembered.insert(number, (), Timestamp::MAX, Timestamp::default());
            sweeps += usize::from(next != remembered.sweep_at);
            next = remembered.sweep_at;
        }
        assert_eq!((remembered.entries.len(), sweeps), (10_000, 8), "at 64, 128 and so on to 8,192");
    }
}
