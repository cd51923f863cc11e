//! How sessions are saved: drafted, accepted, merged on conflict.

use alloc::vec::Vec;

use serde_json::Value;
use zeroize::Zeroizing;

use super::{CommitContext, Draft};
use crate::{
    binding::ClientBinding,
    error::{Error, Rejection, Unreadable},
    flash::Messages,
    id::SessionId,
    json::{
        is_nested_too_deep, may_be_reordered, may_hold_wide_integer, parse, read_data, to_json, to_value,
    },
    merge::{MergePolicies, merge},
    payload::{Attributes, Meta, Parsed, Payload},
    record::Version,
    session::{Base, Facts, Names, Session, SessionData, State},
    time::Timestamp,
    token::Kind,
    wiped::Wiped,
};

/// How sessions are saved.
impl<T: SessionData> Session<T> {
    /// What has to be written, if anything has.
    ///
    /// # Errors
    /// [`Error::Serialize`], [`Error::Random`]; [`Error::Rejected`] with [`Rejection::Superseded`] if the client's token was replaced just
    /// now, and something would have to be written: no session is begun for it. The session is as it was.
    pub fn draft(&self, context: &CommitContext<'_>) -> Result<Option<Draft>, Error> {
        if self.state == State::Destroyed {
            return Ok(None);
        }
        // The same save again, by its version: if it was written after all, the store knows it.
        if let Some(draft) = &self.unconfirmed
            && draft.changes == self.changes
            && draft.flash == self.flash.pending()
        {
            return Ok(Some((**draft).clone()));
        }
        let created = self.is_new();
        let data = match (self.replaced, self.data_touched) {
            (true, _) => Some(to_json(&self.data, 0)?),
            (false, true) => self.changed_data()?,
            (false, false) => None,
        };
        if data.is_none() && !self.is_due_without_data(context.binding) {
            return Ok(None);
        }
        if self.rejection() == Some(Rejection::Superseded) {
            // The client has a newer token, or is about to: the one of a session begun here would replace it.
            return Err(Rejection::Superseded.into());
        }

        let mut facts = self.facts.clone();
        let names = match facts.names.take() {
            Some(names) => names,
            None => SessionId::generate(context.random)?.into(),
        };
        facts.version = facts.version.next(context.random)?;
        let rotated = self.renew && !created;
        if rotated {
            facts.rotation = facts.rotation.saturating_add(1);
            facts.rotated_at = Some(context.now);
        }
        if self.authenticated_now {
            facts.authenticated_at = Some(context.now);
            // The absolute timeout counts from the last proof of identity (NIST SP 800-63B-4, Reauthentication): who signs in gets all of it.
            let end = context.expiry.absolute_end(context.now);
            facts.absolute_end = if self.handed_over { end } else { end.max(facts.absolute_end) };
        }
        if let Some(duration) = self.remember {
            facts.absolute_end = context.now + duration;
        }
        if let (None, Some(policy), Some(client)) = (&facts.binding, context.binding, &self.client) {
            facts.binding = Some(policy.fingerprint(context.ring, &names.id, &client.borrow()));
        }
        let data = match data {
            Some(data) if is_nested_too_deep(&data) => {
                return Err(Error::Serialize(
                    "it is nested more than 127 deep, and could not be read again".into(),
                ));
            }
            Some(data) => Text::Written(data),
            None => self.base_data()?,
        };
        let flash = self.flash.pending();
        let payload = Payload::compose(&facts.meta(&names, &flash, context.kind), &data)?;
        let key = names.key;
        facts.names = Some(names);
        let idle_end = context.expiry.expires_at(context.now, facts.absolute_end);
        let expires_at = if self.remember.is_some() {
            facts.absolute_end
        } else if created || self.handed_over {
            idle_end
        } else if self.authenticated_now || context.expiry.is_sliding() {
            // A remembered session already lasts longer.
            idle_end.max(self.expires_at)
        } else {
            self.expires_at
        };
        Ok(Some(Draft {
            key,
            facts,
            payload,
            flash,
            expires_at,
            created,
            rotated,
            changes: self.changes,
            renewals: self.renewals,
        }))
    }

    /// Whether a draft would be `None`, by what can be told at a glance: most requests only read. A session whose data was touched needs the
    /// draft to tell.
    #[must_use]
    pub fn is_unchanged(&self, binding: Option<&ClientBinding>) -> bool {
        self.state != State::Destroyed
            && !self.data_touched
            && self.unconfirmed.is_none()
            && !self.is_due_without_data(binding)
    }

    /// Whether there is something to write even if the data is what it was.
    fn is_due_without_data(&self, binding: Option<&ClientBinding>) -> bool {
        let flash_changed = match &self.base {
            // The common case, without making the list.
            base if self.flash.nothing_pending() => base.as_ref().is_some_and(|base| !base.flash.is_empty()),
            base => base.as_ref().is_none_or(|base| self.flash.pending() != base.flash),
        };
        let created = self.is_new();
        let binds = binding.is_some() && self.facts.binding.is_none() && self.client.is_some();
        flash_changed || self.renew || (self.wanted && created) || (binds && !created)
    }

    /// Whether the next draft may have changed data: [`Session::data_mut`] was called. A draft tells for sure, and costs more.
    #[must_use]
    pub const fn is_data_touched(&self) -> bool {
        self.data_touched
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
        self.known = None;
        self.unconfirmed = None;
        self.wanted = false;
        if self.changes == draft.changes {
            self.data_touched = false;
            self.replaced = false;
        }
        if self.renewals == draft.renewals {
            self.facts = draft.facts;
            self.renew = false;
            self.authenticated_now = false;
            self.handed_over = false;
            self.remember = None;
        } else {
            let subject = self.facts.subject.take();
            self.facts = Facts { subject, ..draft.facts };
        }
    }

    /// Notes that a draft is about to be written. Until [`Session::accept`], nobody knows whether it was: the store may fail, and the request may
    /// be cancelled. The next try is of the same draft, and finds out.
    pub fn keep_unconfirmed(&mut self, draft: Draft) {
        if self.state != State::Destroyed {
            self.unconfirmed = Some(draft.into());
        }
    }

    /// Notes that the draft that was kept by [`Session::keep_unconfirmed`] was written: as [`Session::accept`] of it.
    pub fn accept_unconfirmed(&mut self) {
        if let Some(draft) = self.unconfirmed.take() {
            self.accept(*draft);
        }
    }

    /// Whether an earlier draft may or may not have been written.
    #[must_use]
    pub const fn has_unconfirmed(&self) -> bool {
        self.unconfirmed.is_some()
    }

    /// After a conflict: puts the changes of this request on top of what the store holds now. Then the next draft is one of the
    /// merged session.
    ///
    /// # Errors
    /// [`Error::Rejected`] with [`Rejection::Superseded`] if the session was rotated or given to another subject meanwhile: what
    /// this request wanted to write was meant for the session before, and is dropped, but for what [`Session::survivor`] saves.
    /// [`Error::MergeConflict`] if another request changed a field that must not be changed by two.
    /// [`Error::Unreadable`] if the record or the merged data doesn't fit. The session is as it was.
    pub fn rebase(
        &mut self,
        version: Version,
        expires_at: Timestamp,
        theirs: Zeroizing<Vec<u8>>,
    ) -> Result<(), Error> {
        if let Some(draft) = self.unconfirmed.take_if(|draft| draft.version() == version) {
            // It's our own: an earlier try was written, and its answer was lost.
            self.accept(*draft);
            self.expires_at = self.expires_at.max(expires_at);
            return Ok(());
        }
        let (theirs, flash) = self.same_session(theirs)?;
        if self.replaced {
            self.based_on(version, expires_at, theirs, flash);
            return Ok(());
        }
        if self.data_touched {
            let policies = T::merge_policies();
            self.data = merged(&policies, &self.base_value()?, &to_value(&self.data)?, theirs.data())?;
        } else {
            self.data = read_data(theirs.data())?;
        }
        let base_flash = self.base.as_ref().map(|base| base.flash.clone()).unwrap_or_default();
        self.flash.rebase(&base_flash, &flash);
        self.based_on(version, expires_at, theirs, flash);
        Ok(())
    }

    /// After a conflict with a rotation: the session as the store holds it now, with those changes of this request that are declared to
    /// survive ([`MergePolicies::survives_rotation`](crate::MergePolicies::survives_rotation)); `None` if there are none, or if the session was
    /// given to another subject. It is to be saved, and is not for this request to see: it may hold what only the new token gives.
    ///
    /// # Errors
    /// As [`Session::rebase`].
    pub fn survivor(
        &self,
        version: Version,
        expires_at: Timestamp,
        theirs: &[u8],
    ) -> Result<Option<Self>, Error> {
        let policies = T::merge_policies();
        let (Some(base), Some(names)) = (&self.base, &self.facts.names) else { return Ok(None) };
        if !policies.has_survivors() || !self.data_touched || self.replaced {
            return Ok(None);
        }
        let before = base.payload.parsed()?;
        let same_record = |parsed: &Parsed<'_>| {
            // Who signs in makes the session of a visitor theirs; of one who was signed in nothing goes to another.
            let same_subject = before.subject().is_none() || before.subject() == parsed.subject();
            parsed.key() == names.key && same_subject && before.subject() == self.subject()
        };
        let (payload, found) = Payload::read(Wiped::from(theirs.to_vec()), |parsed| {
            Ok(same_record(&parsed).then(|| Facts::of(parsed, names.clone(), version)))
        })?;
        let Some((facts, flash)) = found else { return Ok(None) };
        let base = self.base_value()?;
        let surviving = policies.surviving(&base, &to_value(&self.data)?);
        if surviving == base {
            return Ok(None);
        }
        let data = merged(&policies, &base, &surviving, payload.data())?;
        let mut survivor = Self::active(facts, flash, payload, expires_at)?;
        *survivor.data_mut() = data;
        Ok(Some(survivor))
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

    /// Undoes what was done to the data since it was loaded or last saved: an exact update that failed has changed nothing.
    ///
    /// # Errors
    /// None in practice: what is read was read before.
    pub fn undo_data(&mut self) -> Result<(), Error> {
        self.data = read_data(&self.base_data()?)?;
        self.data_touched = false;
        self.changes += 1;
        self.unconfirmed = None;
        Ok(())
    }

    fn based_on(&mut self, version: Version, expires_at: Timestamp, payload: Payload, flash: Messages) {
        self.facts.version = version;
        self.expires_at = self.expires_at.max(expires_at);
        self.base = Some(Base { payload, flash });
        self.known = None;
        self.unconfirmed = None;
    }

    /// Checks that a record is that of this session, and of the same rotation and subject as what this request loaded.
    fn same_session(&self, theirs: Zeroizing<Vec<u8>>) -> Result<(Payload, Messages), Error> {
        let base = self.base.as_ref().map(|base| base.payload.parsed()).transpose()?;
        Payload::read(theirs.into(), |parsed| {
            if Some(parsed.key()) != self.key() {
                return Err(Error::Unreadable(Unreadable::OtherSession));
            }
            if base.is_none_or(|base| base.rot != parsed.rot || base.subject() != parsed.subject()) {
                return Err(Rejection::Superseded.into());
            }
            Ok(parsed.attributes.flash)
        })
    }

    /// The data as JSON if it differs from what was loaded: compared as bytes first, then, where bytes don't tell, as trees.
    fn changed_data(&self) -> Result<Option<Wiped>, Error> {
        let before = self.base_data()?;
        let mine = to_json(&self.data, before.len() + 64)?;
        if *mine == *before {
            return Ok(None);
        }
        let known = match &self.known {
            Some(known) => Text::Loaded(known),
            None => Text::Written(to_json(&read_data::<T>(&before)?, before.len())?),
        };
        // The common case, without making trees: there are no fields that this program doesn't know (what it would have written of what it
        // read would lack them), and no map was merely written in another order.
        let bytes_tell =
            mine.len() != before.len() || !(may_be_reordered(&mine, &before) || may_hold_wide_integer(&mine));
        if bytes_tell && *known == *before {
            return Ok(Some(mine));
        }
        // From the data, not from its text: a tree refuses an integer beyond 64 bits, which reading would round.
        let (before, mine) = (parse(&before)?, to_value(&self.data)?);
        let merged = merge(&parse(&known)?, &mine, before.clone());
        if merged == before { Ok(None) } else { to_json(&merged, 0).map(Some) }
    }

    /// The data as it was loaded; that of a new session is the type's default.
    fn base_data(&self) -> Result<Text<'_>, Error> {
        match &self.base {
            Some(base) => Ok(Text::Loaded(base.payload.data())),
            None => to_json(&T::default(), 0).map(Text::Written),
        }
    }

    /// What this program would have written of the data as it was loaded.
    fn base_value(&self) -> Result<Value, Error> {
        to_value(&read_data::<T>(&self.base_data()?)?)
    }
}

/// What `mine` made of `base`, done to what is stored.
fn merged<T: SessionData>(
    policies: &MergePolicies,
    base: &Value,
    mine: &Value,
    stored: &[u8],
) -> Result<T, Error> {
    // Each of the three as this program writes it: a field that is missing in what is stored, because it has its default, was not removed.
    let theirs = to_value(&read_data::<T>(stored)?)?;
    let merged = policies.merge(base, mine, theirs)?;
    serde_json::from_value(merged).map_err(|_| Error::Unreadable(Unreadable::Data))
}

/// The data as JSON, borrowed from what was loaded or written just now.
enum Text<'a> {
    Loaded(&'a [u8]),
    Written(Wiped),
}

impl core::ops::Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Loaded(text) => text,
            Self::Written(text) => text,
        }
    }
}

impl Facts {
    pub(super) fn meta<'a>(&'a self, names: &'a Names, flash: &'a Messages, kind: Kind) -> Meta<'a> {
        let record = kind == Kind::Record;
        let held = kind != Kind::Reference;
        Meta {
            name: if record { names.key.as_bytes() } else { names.id.as_bytes() },
            rot: self.rotation,
            iat: self.created_at,
            abs: self.absolute_end,
            last: if record { self.rotated_at.unwrap_or_default().as_millis() } else { self.version.counter },
            attributes: Attributes {
                sub: self.subject.as_deref(),
                auth: self.authenticated_at,
                epoch: self.epoch.filter(|_| held),
                bind: self.binding.as_ref().filter(|_| held),
                flash,
            },
        }
    }
}
