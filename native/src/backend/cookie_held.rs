//! Sessions in the cookie itself, and what this process remembers of the ones that ended.

use std::{collections::HashMap, hash::Hash, sync::Mutex};

use session_core::{
    Error as CoreError, Key, Kind, Opened, Plaintext, Rejection, Session, SessionData, SubjectTag, Timestamp,
    lifecycle::Named,
};

use super::{Cell, Change, Refusal, Sealed, Written};
use crate::{error::Error, lock::lock, sessions::Shared, store::Freshness};

/// Sessions that the client keeps, sealed, in its cookie: no store, any number of servers, at most 4096 bytes.
///
/// What a cookie holds can't be taken back, so this process remembers the sessions that were destroyed, rotated or revoked until their
/// tokens expire by themselves, and refuses them. **Other processes don't know**, and a restart forgets: there a copied cookie is good until
/// it expires. Where that isn't enough, keep sessions in a store. Two requests that change one session at the same time each
/// send the whole of it: the later answer wins.
///
/// What is remembered takes about a hundred bytes for each session that was ended or rotated and that someone was signed in to, until its
/// absolute end, and for each subject that was revoked, for 400 days (a session may be [remembered](Session::remember_for) that long). None of that
/// is forgotten before: it is bounded by how often people sign in, which is for the application to limit. Of sessions that nobody was signed in to,
/// which any visitor can begin and end as often as they please, the last 50,000 are remembered at least, and 100,000 at most (ten megabytes). The
/// cookie of an older one is good again until it expires, if a client has kept it although it was told to remove it: it holds what it held, and
/// signs nobody in.
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
    ended: Mutex<EndedSessions>,
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
}

/// The sessions that ended.
#[derive(Default)]
struct EndedSessions {
    signed_in: Remembered<Key, Ended>,
    visitors: Recent,
}

impl EndedSessions {
    fn insert(&mut self, named: Named, ended: Ended, until: Timestamp, now: Timestamp) {
        // Once someone was signed in, it stays that way, whatever an older token says.
        if named.is_authenticated || self.signed_in.get(&named.key).is_some() {
            self.signed_in.insert(named.key, ended, until, now);
        } else {
            self.visitors.insert(named.key, ended, until);
        }
    }

    fn get(&self, key: &Key) -> Option<(Ended, Timestamp)> {
        self.signed_in.entries.get(key).or_else(|| self.visitors.get(key)).copied()
    }
}

/// What came last, in two halves: when the younger is full, the older is forgotten.
#[derive(Default)]
struct Recent {
    young: HashMap<Key, (Ended, Timestamp)>,
    old: HashMap<Key, (Ended, Timestamp)>,
}

impl Recent {
    const HALF: usize = 50_000;

    fn insert(&mut self, key: Key, ended: Ended, until: Timestamp) {
        if self.young.len() >= Self::HALF {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(key, (ended, until));
    }

    fn get(&self, key: &Key) -> Option<&(Ended, Timestamp)> {
        self.young.get(key).or_else(|| self.old.get(key))
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
                Some((Ended::Wholly, _)) => return Err(Rejection::Revoked),
                Some((Ended::Before { rotation, .. }, _)) if session.rotation() < rotation => {
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

    /// Remembers it until no token that it is about can be alive; as far as this request knows, that is the session's absolute end.
    fn remember(&self, session: Named, ended: Ended, now: Timestamp) {
        use Ended::{Before, Wholly};

        let mut all = lock(&self.ended);
        let (ended, until) = match all.get(&session.key) {
            None => (ended, session.absolute_end),
            Some((before, until)) => {
                // Tokens of before a rotation may be good for longer than those after it.
                let until = until.max(session.absolute_end);
                // Requests that overlap may come here in any order: the strictest word counts.
                match (before, ended) {
                    (Wholly, _) => (Wholly, until),
                    // And the other way round: whoever ended it may have come with a token of before.
                    (Before { end, .. }, Wholly) => (Wholly, until.max(end)),
                    (Before { rotation: other, end: later, .. }, Before { rotation, at, end }) => {
                        let (rotation, end) = (rotation.max(other), end.max(later));
                        (Before { rotation, at, end }, until)
                    }
                }
            }
        };
        all.insert(session, ended, until, now);
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
            let rejection = match (reason, named.and_then(|named| lock(&self.ended).get(&named.key))) {
                (Rejection::Superseded, Some((Ended::Before { at, .. }, _))) => {
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
            if let Some(named) = session.named().filter(|_| rotated) {
                let (rotation, at, end) = (session.rotation(), shared.now(), named.absolute_end);
                let before = Named { absolute_end: end_before, ..named };
                self.remember(before, Ended::Before { rotation, at, end }, at);
            }
            Ok(Written::Saved(Change { started, rotated, cookie: Some(cookie) }))
        })
    }

    async fn confirm<T: SessionData>(&self, session: &impl Cell<T>) -> Result<(), Error> {
        session.with(|session| self.check(session)).map_err(Error::Ended)
    }

    async fn destroy<T: SessionData>(&self, shared: &Shared<T>, session: Named) -> Result<(), Error> {
        self.remember(session, Ended::Wholly, shared.now());
        Ok(())
    }

    fn token_payload<T: SessionData>(session: &Session<T>) -> Result<Option<Plaintext>, CoreError> {
        Ok(session.cookie_payload())
    }
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

    const END: Timestamp = Timestamp::from_millis(1_000);

    fn named(number: u64, is_authenticated: bool) -> Named {
        let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
        let key = Key::from_bytes([a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0]);
        Named { key, absolute_end: END, is_authenticated }
    }

    // P1: visitors come and go as they please, and use up neither the memory nor what is remembered of those who were signed in.
    #[test]
    fn a_flood_of_visitors_ends_in_ten_megabytes_and_makes_nobody_signed_in_again() {
        let (held, now) = (CookieHeld::default(), Timestamp::default());
        let ended = |number| lock(&held.ended).get(&named(number, false).key).map(|(ended, _)| ended);
        held.remember(named(0, true), Ended::Wholly, now);
        // A visitor who signs in, and one whose session, in which someone is signed in, is ended by a token of when nobody was.
        let signs_in = Ended::Before { rotation: 1, at: now, end: END };
        held.remember(named(1, false), signs_in, now);
        held.remember(named(1, true), Ended::Before { rotation: 2, at: now, end: END }, now);
        held.remember(named(2, true), signs_in, now);
        held.remember(named(2, false), Ended::Wholly, now);
        let most = 2 * Recent::HALF as u64;
        let visitors = 10..10 + 2 * most;
        for number in visitors.clone() {
            held.remember(named(number, false), Ended::Wholly, now);
            let oldest = number.saturating_sub(Recent::HALF as u64 - 1).max(visitors.start);
            assert!(ended(number).is_some() && ended(oldest).is_some(), "{number}");
        }
        let remembered = visitors.filter(|number| ended(*number).is_some()).count();
        assert!((Recent::HALF..=2 * Recent::HALF).contains(&remembered), "{remembered}");
        assert!(matches!(ended(0), Some(Ended::Wholly)));
        assert!(matches!(ended(1), Some(Ended::Before { rotation: 2, .. })));
        assert!(matches!(ended(2), Some(Ended::Wholly)));
    }

    #[test]
    fn what_is_remembered_lasts_as_long_as_any_token_that_it_is_about() {
        let (held, now, later) = (CookieHeld::default(), Timestamp::default(), Timestamp::from_millis(9_000));
        let until = |number| lock(&held.ended).get(&named(number, false).key).map(|(_, until)| until);
        for (number, is_authenticated) in [(1, true), (2, false)] {
            let of = named(number, is_authenticated);
            held.remember(of, Ended::Before { rotation: 1, at: now, end: later }, now);
            assert_eq!(until(number), Some(END), "those of before");
            // A rotation that was begun earlier and comes later.
            held.remember(of, Ended::Before { rotation: 1, at: now, end: END }, now);
            held.remember(of, Ended::Wholly, now);
            assert_eq!(until(number), Some(later), "those of after");
            held.remember(of, Ended::Before { rotation: 2, at: now, end: END }, now);
            assert!(matches!(lock(&held.ended).get(&of.key), Some((Ended::Wholly, at)) if at == later));
        }
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
