//! Sessions in a store; the cookie holds a reference.

use core::time::Duration;

use session_core::{
    Error as CoreError, Key, Kind, Opened, Plaintext, RecordCodec, Reference, Rejection, Session,
    SessionData, SubjectTag, Timestamp, Unreadable, Version,
    lifecycle::{Draft, Named},
};

use super::{Cell, Change, Refusal, Sealed, Theirs, Written};
use crate::{
    error::Error,
    observe::Observed,
    sessions::{Plain, Shared},
    store::{Found, Freshness, Lookup, Record, Saved, Store},
};

/// Sessions in a [`Store`]: what they hold never reaches the client, they can be of any size, and they can be revoked.
///
/// ```
/// use session_native::{Config, MemoryStore, OsRandom, Secret, Sessions, Stored};
///
/// let config = Config::production(Secret::generate(&OsRandom)?);
/// let sessions: Sessions<(), Stored<MemoryStore>> = Sessions::new(config, MemoryStore::new())?;
/// assert_eq!(sessions.store().stats().sessions, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Stored<S> {
    pub(crate) store: Observed<S>,
    pub(crate) codec: RecordCodec,
}

impl<S: Store> Stored<S> {
    pub(crate) fn decode(
        &self,
        key: &Key,
        payload: impl AsRef<[u8]> + Into<Vec<u8>>,
    ) -> Result<Plain, Unreadable> {
        self.codec.decode(key, payload)
    }

    fn record<T>(&self, shared: &Shared<T>, key: &Key, draft: &Draft) -> Result<Record, Error> {
        let (actual, limit) = (draft.payload().len(), shared.config.max_record_len);
        if actual > limit {
            return Err(CoreError::RecordTooLarge { actual, limit }.into());
        }
        let payload = self.codec.encode(key, draft.payload(), shared.random())?;
        Ok(Record::new(draft.version(), draft.expires_at(), payload).of_subject(draft.subject()))
    }

    /// What is to be sent to the store, if anything has to be written.
    fn begin_try<T: SessionData>(
        &self,
        shared: &Shared<T>,
        session: &mut Session<T>,
    ) -> Result<Option<Try>, Error> {
        let context = shared.commit_context(Kind::Record);
        let Some(draft) = session.draft(&context)? else { return Ok(None) };
        let (key, expected) = (draft.key(), session.version());
        let record = self.record(shared, &key, &draft)?;
        let (started, rotated) = (draft.is_new(), draft.is_rotated());
        // The request may be cancelled while the store works.
        let aside = if session.has_unconfirmed() {
            Some(Box::new(draft))
        } else {
            session.keep_unconfirmed(draft);
            None
        };
        Ok(Some(Try { key, record, expected, started, rotated, aside }))
    }

    async fn load_referenced<T: SessionData>(
        &self,
        shared: &Shared<T>,
        reference: &Reference,
        now: Timestamp,
        freshness: Freshness,
    ) -> Result<Box<Session<T>>, Error> {
        let key = reference.key();
        let subject = reference.subject().map(SubjectTag::new);
        let lookup = Lookup { subject, freshness, ..Lookup::default() };
        let found = self.store.load(&key, lookup).await?.ok_or(CoreError::Rejected(Rejection::Revoked))?;
        let record = found.record;
        if now >= record.expires_at {
            return Err(CoreError::Rejected(Rejection::Expired).into());
        }
        let payload = self.decode(&key, record.payload)?;
        let session = Session::from_record(
            reference,
            record.version,
            record.expires_at,
            payload,
            now,
            shared.config.rotation_grace,
        )
        .map(Box::new);
        let session = match session {
            // The token is ahead of the record: a cache may not have heard yet of the sign-in that it is from.
            Err(CoreError::Rejected(Rejection::Revoked)) if freshness != Freshness::Linearizable => {
                return Box::pin(self.load_referenced(shared, reference, now, Freshness::Linearizable)).await;
            }
            session => session?,
        };
        if session.epoch().unwrap_or(0) < found.epoch {
            return Err(CoreError::Rejected(Rejection::Revoked).into());
        }
        Ok(session)
    }
}

/// One try to save.
struct Try {
    key: Key,
    record: Record,
    expected: Version,
    started: bool,
    rotated: bool,
    /// The draft, if an earlier try of which nothing is known yet has to stay the one that the store is asked about. Otherwise the session
    /// keeps it.
    aside: Option<Box<Draft>>,
}

impl<S: Store> Sealed for Stored<S> {
    const TOKEN: Kind = Kind::Reference;
    const NAME: &'static str = S::NAME;

    async fn load<T: SessionData>(
        &self,
        shared: &Shared<T>,
        opened: Opened,
        now: Timestamp,
        freshness: Freshness,
    ) -> Result<Box<Session<T>>, Refusal> {
        let reference = Reference::from_token(opened).map_err(Error::from)?;
        let named = Named {
            key: reference.key(),
            absolute_end: reference.absolute_end(),
            is_authenticated: reference.subject().is_some(),
        };
        self.load_referenced(shared, &reference, now, freshness).await.map_err(Refusal::of(Some(named)))
    }

    /// A round trip of its own, once in a tenth of the idle timeout: a token that is refused must not keep a session alive.
    async fn extend<T: SessionData>(&self, session: &Session<T>, expires_at: Timestamp) -> Result<(), Error> {
        let Some(key) = session.key() else { return Ok(()) };
        let lookup = Lookup { touch: Some(expires_at), ..Lookup::default() };
        self.store.load(&key, lookup).await?.ok_or(CoreError::Rejected(Rejection::Revoked))?;
        Ok(())
    }

    async fn write<T: SessionData>(
        &self,
        shared: &Shared<T>,
        session: &impl Cell<T>,
    ) -> Result<Written, Error> {
        if let Some(subject) = session.with(|session| session.authenticating()) {
            // Read before the session is saved: a revocation that comes in between ends it.
            let epoch = Box::pin(self.store.epoch(&subject)).await?;
            session.with(|session| session.set_epoch(epoch));
        }
        let Some(Try { key, record, expected, started, rotated, aside }) =
            session.with(|session| self.begin_try(shared, session))?
        else {
            return Ok(Written::Nothing);
        };
        let saved = if started {
            match Box::pin(self.store.create(&key, &record)).await {
                Ok(true) => Ok(Saved::Stored),
                // 128 random bits came twice: the random source is broken.
                Ok(false) => return Err(session_core::RandomError.into()),
                Err(error) => Err(error),
            }
        } else {
            self.store.save(&key, &record, expected).await
        };
        match saved {
            Err(error) => {
                if let Some(draft) = aside {
                    session.with(|session| session.keep_unconfirmed(*draft));
                }
                Err(error.into())
            }
            Ok(Saved::Stored) => {
                session.with(|session| match aside {
                    Some(draft) => session.accept(*draft),
                    None => session.accept_unconfirmed(),
                });
                Ok(Written::Saved(Change { started, rotated, cookie: None }))
            }
            Ok(Saved::Conflict(theirs)) => {
                let payload = self.decode(&key, theirs.payload)?;
                let (version, expires_at) = (theirs.version, theirs.expires_at);
                Ok(Written::Conflict(Theirs { version, expires_at, payload }))
            }
            Ok(Saved::Gone) => Err(Error::Ended(Rejection::Revoked)),
        }
    }

    async fn lease(&self, key: &Key, holder: u64, ttl: Duration) -> Result<bool, Error> {
        Ok(self.store.lease(key, holder, ttl).await?)
    }

    async fn release(&self, key: &Key, holder: u64) -> Result<(), Error> {
        Ok(self.store.release(key, holder).await?)
    }

    async fn confirm<T: SessionData>(&self, session: &impl Cell<T>) -> Result<(), Error> {
        let (key, subject) = session.with(|session| (session.key(), session.subject().map(SubjectTag::new)));
        let Some(key) = key else { return Ok(()) };
        // A cache could vouch for a session that was ended a moment ago, and a new token would outlive it.
        let lookup = Lookup { subject, freshness: Freshness::Linearizable, ..Lookup::default() };
        let found = self.store.load(&key, lookup).await?;
        let Some(Found { record, epoch, .. }) = found else { return Err(Error::Ended(Rejection::Revoked)) };
        if session.with(|session| session.epoch().unwrap_or(0)) < epoch {
            return Err(Error::Ended(Rejection::Revoked));
        }
        if session.with(|session| session.version()) == record.version {
            return Ok(());
        }
        let payload = self.decode(&key, record.payload)?;
        session.with(|session| match session.rebase(record.version, record.expires_at, payload) {
            Err(CoreError::Rejected(reason)) => Err(Error::Ended(reason)),
            other => Ok(other?),
        })
    }

    async fn destroy<T: SessionData>(&self, _: &Shared<T>, session: Named) -> Result<(), Error> {
        self.store.delete(&session.key).await?;
        Ok(())
    }

    fn token_payload<T: SessionData>(session: &Session<T>) -> Result<Option<Plaintext>, CoreError> {
        session.reference_payload()
    }
}
