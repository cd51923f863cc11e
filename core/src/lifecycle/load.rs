//! How sessions come to be: of nothing, of a cookie-held token, of a record.

#[cfg(feature = "interop")]
use alloc::string::String;
use alloc::{borrow::Cow, vec::Vec};
use core::time::Duration;

use zeroize::Zeroizing;

use crate::{
    binding::{Client, ClientBinding},
    crypto::KeyRing,
    error::{Error, Rejection},
    flash::{Flash, Messages},
    json::{Object, read_data},
    payload::{Parsed, Payload},
    record::Version,
    reference::Reference,
    session::{Base, Facts, Names, OwnedClient, Session, SessionData, State},
    time::{Expiry, Timestamp},
    token::Opened,
};

/// How sessions come to be.
impl<T: SessionData> Session<T> {
    /// The session of a visitor who has none, or whose token was refused. It is stored when something is written to it.
    #[must_use]
    pub fn anonymous(expiry: &Expiry, now: Timestamp, rejection: Option<Rejection>) -> Self {
        let absolute_end = expiry.absolute_end(now);
        let facts = Facts {
            names: None,
            created_at: now,
            absolute_end,
            rotation: 0,
            version: Version::default(),
            subject: None,
            authenticated_at: None,
            epoch: None,
            rotated_at: None,
            binding: None,
        };
        let expires_at = expiry.expires_at(now, absolute_end);
        Self::untouched(State::Anonymous(rejection), facts, expires_at, T::default())
    }

    /// A session that nothing was done to yet.
    fn untouched(state: State, facts: Facts, expires_at: Timestamp, data: T) -> Self {
        Self {
            facts,
            expires_at,
            token_expires_at: None,
            data,
            flash: Flash::default(),
            state,
            changes: 0,
            renewals: 0,
            data_touched: false,
            replaced: false,
            handed_over: false,
            renew: false,
            authenticated_now: false,
            remember: None,
            wanted: false,
            base: None,
            known: None,
            unconfirmed: None,
            client: None,
            refused: None,
        }
    }

    /// A session that begins with what another library knew of its visitor. Who was signed in there is `subject` here, without a time of
    /// authentication: nothing was proved here yet.
    #[cfg(feature = "interop")]
    #[must_use]
    pub fn imported(expiry: &Expiry, now: Timestamp, data: T, subject: Option<String>) -> Self {
        let mut session = Self::anonymous(expiry, now, None).wanted();
        session.facts.subject = subject;
        *session.data_mut() = data;
        session
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
        let (payload, (facts, flash)) = Payload::read(opened.into_payload().into(), |parsed| {
            let version = Version { counter: parsed.counter(), nonce: 0 };
            let id = parsed.id();
            Ok(Facts::of(parsed, id.into(), version))
        })?;
        Self::active(facts, flash, payload, expires_at)
    }

    /// The session that a reference token names, from its record. `grace` is how long after a rotation a token of before may still be
    /// on its way ([`Config::rotation_grace`](crate::Config::rotation_grace)): it is refused either way, for another reason.
    ///
    /// # Errors
    /// [`Error::Rejected`] with [`Rejection::Superseded`], [`Rejection::Reused`] or [`Rejection::Revoked`] if token and record don't agree;
    /// [`Error::Unreadable`] if the record is another session's or doesn't fit `T`.
    pub fn from_record(
        reference: &Reference,
        version: Version,
        expires_at: Timestamp,
        payload: Zeroizing<Vec<u8>>,
        now: Timestamp,
        grace: Duration,
    ) -> Result<Self, Error> {
        let (payload, (facts, flash)) = Payload::read(payload.into(), |record| {
            reference.check(&record, now, grace)?;
            Ok(Facts::of(record, reference.names.clone(), version))
        })?;
        let mut session = Self::active(facts, flash, payload, expires_at)?;
        session.token_expires_at = Some(reference.expires_at);
        Ok(session)
    }

    pub(super) fn active(
        facts: Facts,
        flash: Messages,
        payload: Payload,
        expires_at: Timestamp,
    ) -> Result<Self, Error> {
        let data = read_data(payload.data())?;
        Ok(Self {
            token_expires_at: Some(expires_at),
            flash: Flash::arrived(flash.clone()),
            base: Some(Base { payload, flash }),
            ..Self::untouched(State::Active, facts, expires_at, data)
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
        if let (Some(names), Some(kept)) = (&self.facts.names, &self.facts.binding) {
            policy.check(ring, &names.id, kept, client)?;
            if kept.key_id != ring.sealing_key_id() {
                self.facts.binding = None;
            }
        }
        self.client = Some(OwnedClient::of(client));
        Ok(())
    }
}

impl Facts {
    /// What a payload says of a session, and its flash messages.
    pub(super) fn of(parsed: Parsed<'_>, names: Names, version: Version) -> (Self, Messages) {
        let rotated_at = parsed.rotated_at();
        let attributes = parsed.attributes;
        let facts = Self {
            names: Some(names),
            created_at: parsed.iat,
            absolute_end: parsed.abs,
            rotation: parsed.rot,
            version,
            subject: attributes.sub.map(Cow::into_owned),
            authenticated_at: attributes.auth,
            epoch: attributes.epoch,
            rotated_at,
            binding: attributes.bind.map(|Object(bind)| bind),
        };
        (facts, attributes.flash)
    }
}
