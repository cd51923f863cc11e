//! The half of [`Session`] that backends drive: loading, drafting a save, accepting it, merging on conflict.
//!
//! Nothing here does I/O. A backend asks for a [`Draft`], tries to write it, and then either accepts it, or
//! rebases the session on what it found in the store and asks again. A draft that was not accepted leaves the session as it was, so
//! a failed commit can be tried again.

use alloc::{borrow::Cow, string::ToString as _, vec::Vec};

use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    binding::{Client, ClientBinding},
    crypto::KeyRing,
    error::{Error, Rejection, Unreadable},
    flash::{Flash, Messages},
    id::{Key, SessionId, SubjectTag},
    merge::merge,
    object::Object,
    payload::{Meta, Parsed, Payload, Reference, to_json},
    random::Random,
    record::Version,
    session::{Base, Facts, OwnedClient, Session, SessionData, State},
    time::{Expiry, Timestamp},
    token::{Kind, Opened, Plaintext},
};

/// What a backend knows when it commits.
#[derive(Clone, Copy)]
pub struct CommitContext<'a> {
    /// The time of the commit.
    pub now: Timestamp,
    /// The timeouts.
    pub expiry: &'a Expiry,
    /// The keys that client bindings are hashed with.
    pub ring: &'a KeyRing,
    /// What sessions are bound to, if anything.
    pub binding: Option<&'a ClientBinding>,
    /// Where ids and versions come from.
    pub random: &'a dyn Random,
    /// [`Kind::CookieHeld`] or [`Kind::Record`]: what the payload is for.
    pub kind: Kind,
}

/// A save that is about to be tried.
pub struct Draft {
    key: Key,
    facts: Facts,
    payload: Payload,
    flash: Messages,
    expires_at: Timestamp,
    created: bool,
    rotated: bool,
    changes: u64,
}

impl Draft {
    /// What is to be written: JSON.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.payload.as_bytes()
    }

    /// Whether the session has not been stored before.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.created
    }

    /// Whether the token is rotated.
    #[must_use]
    pub const fn is_rotated(&self) -> bool {
        self.rotated
    }

    /// Which save this is.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.facts.version
    }

    /// When what is written expires.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Whom the session belongs to.
    #[must_use]
    pub fn subject(&self) -> Option<SubjectTag> {
        self.facts.subject.as_deref().map(SubjectTag::new)
    }

    /// Where the session lies in a store.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.key
    }
}

/// How sessions come to be.
impl<T: SessionData> Session<T> {
    /// The session of a visitor who has none, or whose token was refused. It is stored when something is written to it.
    #[must_use]
    pub fn anonymous(expiry: &Expiry, now: Timestamp, rejection: Option<Rejection>) -> Self {
        let absolute_end = expiry.absolute_end(now);
        Self {
            facts: Facts {
                id: None,
                created_at: now,
                absolute_end,
                rotation: 0,
                version: Version::default(),
                subject: None,
                authenticated_at: None,
                epoch: None,
                binding: None,
            },
            expires_at: expiry.expires_at(now, absolute_end),
            token_expires_at: None,
            data: T::default(),
            flash: Flash::default(),
            state: State::Anonymous(rejection),
            changes: 0,
            data_touched: false,
            replaced: false,
            renew: false,
            authenticated_now: false,
            wanted: false,
            base: None,
            client: None,
        }
    }

    /// Makes the next commit store the session, whether anything was written to it or not.
    #[must_use]
    pub const fn wanted(mut self) -> Self {
        self.wanted = true;
        self
    }

    /// The session that a cookie-held token carries.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if the authentic payload doesn't fit `T`.
    pub fn from_cookie(opened: Opened) -> Result<Self, Error> {
        let expires_at = opened.expires_at();
        let (payload, (facts, flash)) = Payload::read(opened.into_payload(), |parsed| {
            let id = parsed.sid.take().ok_or(Error::Unreadable(Unreadable::Payload))?;
            let version = Version { counter: parsed.ver, nonce: 0 };
            Ok((Facts::of(parsed, id, version), core::mem::take(&mut parsed.flash)))
        })?;
        Self::active(facts, flash, payload, expires_at)
    }

    /// The session that a reference token names, from its record.
    ///
    /// # Errors
    /// [`Error::Rejected`] with [`Rejection::Superseded`] or [`Rejection::Revoked`] if token and record don't agree;
    /// [`Error::Unreadable`] if the record is another session's or doesn't fit `T`.
    pub fn from_record(
        reference: &Reference,
        version: Version,
        expires_at: Timestamp,
        payload: Zeroizing<Vec<u8>>,
    ) -> Result<Self, Error> {
        let (payload, (facts, flash)) = Payload::read(payload, |parsed| {
            if parsed.key != Some(reference.key()) {
                return Err(Error::Unreadable(Unreadable::OtherSession));
            }
            if parsed.rot != reference.rotation {
                return Err(Rejection::Superseded.into());
            }
            if parsed.sub.as_deref() != reference.subject() {
                return Err(Rejection::Revoked.into());
            }
            let facts = Facts::of(parsed, reference.id.clone(), version);
            Ok((facts, core::mem::take(&mut parsed.flash)))
        })?;
        let mut session = Self::active(facts, flash, payload, expires_at)?;
        session.token_expires_at = Some(reference.expires_at);
        Ok(session)
    }

    fn active(facts: Facts, flash: Messages, payload: Payload, expires_at: Timestamp) -> Result<Self, Error> {
        let data = read_data(payload.data())?;
        Ok(Self {
            facts,
            expires_at,
            token_expires_at: Some(expires_at),
            data,
            flash: Flash::arrived(flash.clone()),
            state: State::Active,
            changes: 0,
            data_touched: false,
            replaced: false,
            renew: false,
            authenticated_now: false,
            wanted: false,
            base: Some(Base { payload, flash }),
            client: None,
        })
    }

    /// Checks the client of this request against the one the session is bound to, and binds a session that isn't bound yet, or was
    /// under an older key, with its next save.
    ///
    /// # Errors
    /// [`Rejection::BoundElsewhere`].
    pub fn bind(
        &mut self,
        policy: &ClientBinding,
        ring: &KeyRing,
        client: &Client<'_>,
    ) -> Result<(), Rejection> {
        if let (Some(id), Some(kept)) = (&self.facts.id, &self.facts.binding) {
            policy.check(ring, id, kept, client)?;
            if kept.key_id != ring.sealing_key_id() {
                self.facts.binding = None;
            }
        }
        self.client = Some(OwnedClient::of(client));
        Ok(())
    }
}

/// How sessions are saved.
impl<T: SessionData> Session<T> {
    /// What has to be written, if anything has.
    ///
    /// # Errors
    /// [`Error::Serialize`], [`Error::Random`]; the session is as it was.
    pub fn draft(&self, context: &CommitContext<'_>) -> Result<Option<Draft>, Error> {
        if self.state == State::Destroyed {
            return Ok(None);
        }
        let created = self.is_new();
        let data = match (self.replaced, self.data_touched) {
            (true, _) => Some(to_json(&self.data)?),
            (false, true) => self.changed_data()?,
            (false, false) => None,
        };
        let flash_changed = match &self.base {
            // The common case, without making the list.
            _ if self.flash.nothing_pending() => {
                self.base.as_ref().is_some_and(|base| !base.flash.is_empty())
            }
            base => base.as_ref().is_none_or(|base| self.flash.pending() != base.flash),
        };
        let bound = context.binding.is_some() && self.facts.binding.is_none() && self.client.is_some();
        let wanted = self.wanted && created;
        if !(data.is_some() || flash_changed || self.renew || wanted || (bound && !created)) {
            return Ok(None);
        }

        let mut facts = self.facts.clone();
        let id = match &facts.id {
            Some(id) => id.clone(),
            None => SessionId::generate(context.random)?,
        };
        facts.version = facts.version.next(context.random)?;
        let rotated = self.renew && !created;
        facts.rotation = facts.rotation.saturating_add(u64::from(rotated));
        if self.authenticated_now {
            facts.authenticated_at = Some(context.now);
        }
        if let (true, Some(policy), Some(client)) = (bound, context.binding, &self.client) {
            facts.binding = Some(policy.fingerprint(context.ring, &id, &client.borrow()));
        }
        let data = match data {
            Some(data) => Cow::Owned(data),
            None => self.base_data()?,
        };
        let flash = self.flash.pending();
        let payload = Payload::compose(&facts.meta(&id, &flash, context.kind), &data)?;
        let key = id.key();
        facts.id = Some(id);
        let expires_at = if created || context.expiry.is_sliding() {
            context.expiry.expires_at(context.now, facts.absolute_end)
        } else {
            self.expires_at
        };
        Ok(Some(Draft { key, facts, payload, flash, expires_at, created, rotated, changes: self.changes }))
    }

    /// Notes that a draft was written. What was done to the session since the draft was made is left for the next one.
    pub fn accept(&mut self, draft: Draft) {
        if self.state == State::Destroyed {
            return;
        }
        if draft.created || draft.rotated {
            self.token_expires_at = None;
        }
        self.state = State::Active;
        self.expires_at = draft.expires_at;
        self.base = Some(Base { payload: draft.payload, flash: draft.flash });
        self.wanted = false;
        if self.changes == draft.changes {
            self.facts = draft.facts;
            self.data_touched = false;
            self.replaced = false;
            self.renew = false;
            self.authenticated_now = false;
        } else {
            let subject = self.facts.subject.take();
            self.facts = Facts { subject, ..draft.facts };
        }
    }

    /// After a conflict: puts the changes of this request on top of what the store holds now. Then the next draft is one of the
    /// merged session.
    ///
    /// # Errors
    /// [`Error::Rejected`] with [`Rejection::Superseded`] if the session was rotated or given to another subject meanwhile: what
    /// this request wanted to write was meant for the session before, and is dropped.
    /// [`Error::Unreadable`] if the record or the merged data doesn't fit.
    pub fn rebase(
        &mut self,
        version: Version,
        expires_at: Timestamp,
        theirs: Zeroizing<Vec<u8>>,
    ) -> Result<(), Error> {
        let (theirs, flash) = self.same_session(theirs)?;
        if self.replaced {
            self.based_on(version, expires_at, theirs, flash);
            return Ok(());
        }
        if self.data_touched {
            let merged = merge(&self.base_value()?, &to_value(&self.data)?, parse(theirs.data())?);
            self.data = serde_json::from_value(merged).map_err(|_| Error::Unreadable(Unreadable::Data))?;
        } else {
            self.data = read_data(theirs.data())?;
        }
        let base_flash = self.base.as_ref().map(|base| base.flash.clone()).unwrap_or_default();
        self.flash.rebase(&base_flash, &flash);
        self.based_on(version, expires_at, theirs, flash);
        Ok(())
    }

    /// Before an exact update is tried again: forgets what this request made of the data and takes what the store holds now.
    ///
    /// # Errors
    /// As [`Session::rebase`].
    pub fn reload(
        &mut self,
        version: Version,
        expires_at: Timestamp,
        theirs: Zeroizing<Vec<u8>>,
    ) -> Result<(), Error> {
        self.data_touched = false;
        if self.replaced {
            self.data = T::default();
        }
        self.rebase(version, expires_at, theirs)
    }

    fn based_on(&mut self, version: Version, expires_at: Timestamp, payload: Payload, flash: Messages) {
        self.facts.version = version;
        self.expires_at = self.expires_at.max(expires_at);
        self.base = Some(Base { payload, flash });
    }

    /// Checks that a record is that of this session, and of the same rotation and subject as what this request loaded.
    fn same_session(&self, theirs: Zeroizing<Vec<u8>>) -> Result<(Payload, Messages), Error> {
        let base = self.base.as_ref().map(|base| Parsed::of(base.payload.as_bytes())).transpose()?;
        Payload::read(theirs, |parsed| {
            if parsed.key != self.key() {
                return Err(Error::Unreadable(Unreadable::OtherSession));
            }
            if base.is_none_or(|base| base.rot != parsed.rot || base.sub != parsed.sub) {
                return Err(Rejection::Superseded.into());
            }
            Ok(core::mem::take(&mut parsed.flash))
        })
    }

    /// Ends the session for this request: its data is dropped, nothing will be stored.
    pub fn mark_destroyed(&mut self) {
        self.data = T::default();
        self.flash = Flash::default();
        self.facts.subject = None;
        self.facts.authenticated_at = None;
        self.base = None;
        self.state = State::Destroyed;
    }

    /// Notes that the session was ended elsewhere: this request goes on anonymously, with nothing of it.
    pub fn mark_ended(&mut self, expiry: &Expiry, now: Timestamp, rejection: Rejection) {
        *self = Self::anonymous(expiry, now, Some(rejection));
    }

    /// Whether the client needs a new token, and when it is to expire: after a rotation, when the key ring's sealing key is newer, and
    /// when the session was extended by at least a tenth of the idle timeout.
    #[must_use]
    pub fn token_due(&self, expiry: &Expiry) -> bool {
        self.state == State::Active
            && self.token_expires_at.is_none_or(|told| {
                let gain = self.expires_at.since(told);
                gain >= expiry.idle() / 10 || (self.expires_at == self.facts.absolute_end && !gain.is_zero())
            })
    }

    /// Makes the next commit give the client a new token: the old one was sealed with a key that is on its way out.
    pub const fn renew_token(&mut self) {
        self.token_expires_at = None;
    }

    /// Notes the token that was sent.
    pub const fn token_sent(&mut self) {
        self.token_expires_at = Some(self.expires_at);
    }

    /// Extends the session.
    pub fn extend_to(&mut self, expires_at: Timestamp) {
        self.expires_at = self.expires_at.max(expires_at).min(self.facts.absolute_end);
    }

    /// The subject whose epoch is to be read before the next commit: that of a new authentication.
    #[must_use]
    pub fn authenticating(&self) -> Option<SubjectTag> {
        if self.authenticated_now { self.subject().map(SubjectTag::new) } else { None }
    }

    /// The subject's epoch at which the session was authenticated: when the subject's sessions are revoked, the epoch moves on.
    #[must_use]
    pub const fn epoch(&self) -> Option<u64> {
        self.facts.epoch
    }

    /// Notes the subject's epoch.
    pub const fn set_epoch(&mut self, epoch: u64) {
        self.facts.epoch = Some(epoch);
    }

    /// The whole session as the payload of a cookie-held token, once it was accepted or loaded.
    #[must_use]
    pub fn cookie_payload(&self) -> Option<Plaintext> {
        self.base.as_ref().map(|base| Plaintext::from(base.payload.as_bytes()))
    }

    /// The payload of a reference token, once the session is stored.
    ///
    /// # Errors
    /// None in practice: the payload has no data of the application.
    pub fn reference_payload(&self) -> Result<Option<Plaintext>, Error> {
        let Some(id) = &self.facts.id else { return Ok(None) };
        let no_flash = Messages::default();
        let meta = self.facts.meta(id, &no_flash, Kind::Reference);
        Ok(Some(Plaintext::from(&Zeroizing::new(to_json(&meta)?)[..])))
    }

    /// The data as JSON if it differs from what was loaded: compared as bytes first, then as trees (a map may have been written in
    /// another order).
    fn changed_data(&self) -> Result<Option<Vec<u8>>, Error> {
        let mine = to_json(&self.data)?;
        let before = self.base_data()?;
        if mine == *before {
            return Ok(None);
        }
        // Fields that this program doesn't know: what it would have written of what it read lacks them.
        let known = to_json(&read_data::<T>(&before)?)?;
        if known == *before && mine.len() != before.len() {
            return Ok(Some(mine));
        }
        // From the data, not from its text: a tree refuses an integer beyond 64 bits, which reading would round.
        let (before, mine) = (parse(&before)?, to_value(&self.data)?);
        let merged = merge(&parse(&known)?, &mine, before.clone());
        if merged == before { Ok(None) } else { to_json(&merged).map(Some) }
    }

    /// The data as it was loaded; that of a new session is the type's default.
    fn base_data(&self) -> Result<Cow<'_, [u8]>, Error> {
        match &self.base {
            Some(base) => Ok(Cow::Borrowed(base.payload.data())),
            None => to_json(&T::default()).map(Cow::Owned),
        }
    }

    /// What this program would have written of the data as it was loaded.
    fn base_value(&self) -> Result<Value, Error> {
        to_value(&read_data::<T>(&self.base_data()?)?)
    }
}

impl Facts {
    fn of(parsed: &mut Parsed<'_>, id: SessionId, version: Version) -> Self {
        Self {
            id: Some(id),
            created_at: parsed.iat,
            absolute_end: parsed.abs,
            rotation: parsed.rot,
            version,
            subject: parsed.sub.take().map(Cow::into_owned),
            authenticated_at: parsed.auth,
            epoch: parsed.epoch,
            binding: parsed.bind.take().map(|Object(bind)| bind),
        }
    }

    fn meta<'a>(&'a self, id: &'a SessionId, flash: &'a Messages, kind: Kind) -> Meta<'a> {
        let record = kind == Kind::Record;
        let held = kind != Kind::Reference;
        Meta {
            sid: (!record).then_some(id),
            key: record.then(|| id.key()),
            rot: self.rotation,
            iat: self.created_at,
            abs: self.absolute_end,
            ver: (!record).then_some(self.version.counter),
            sub: self.subject.as_deref(),
            auth: self.authenticated_at,
            epoch: self.epoch.filter(|_| held),
            bind: self.binding.as_ref().filter(|_| held),
            flash,
        }
    }
}

pub(crate) fn read_data<T: SessionData>(json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|_| Error::Unreadable(Unreadable::Data))
}

fn parse(json: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(json).map_err(|_| Error::Unreadable(Unreadable::Data))
}

fn to_value(data: &impl serde::Serialize) -> Result<Value, Error> {
    serde_json::to_value(data).map_err(|error| Error::Serialize(error.to_string()))
}
