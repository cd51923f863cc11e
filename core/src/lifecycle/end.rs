//! What the client is told: when a token is due, what it holds; and how a session ends.

use alloc::vec::Vec;

use crate::{
    error::{Error, Rejection},
    flash::{Flash, Messages},
    id::SubjectTag,
    session::{Named, Session, SessionData, State},
    time::{Expiry, Timestamp},
    token::{Kind, Plaintext},
};

/// Tokens, epochs, ends.
impl<T: SessionData> Session<T> {
    /// Ends the session for this request: its data is dropped, nothing will be stored.
    pub fn mark_destroyed(&mut self) {
        self.data = T::default();
        self.flash = Flash::default();
        self.facts.subject = None;
        self.facts.authenticated_at = None;
        self.base = None;
        self.known = None;
        self.unconfirmed = None;
        self.refused = None;
        self.state = State::Destroyed;
    }

    /// Notes that the session was ended elsewhere: this request goes on anonymously, with nothing of it.
    pub fn mark_ended(&mut self, expiry: &Expiry, now: Timestamp, rejection: Rejection) {
        // The request's client stays the same: what it begins now is bound to it.
        let client = self.client.take();
        let (mut refused, own) = (self.refused.take(), self.named());
        refused.get_or_insert_default().extend(own.filter(|_| rejection.leaves_the_session_alive()));
        *self = Self { client, refused, ..Self::anonymous(expiry, now, Some(rejection)) };
    }

    /// Notes that a token of this request was refused, and which session it names, if that one may live. Whoever brings such a token has nothing of
    /// the session, but may end it: [`Session::ends_by_logout`].
    pub fn note_refused(&mut self, named: Option<Named>) {
        self.refused.get_or_insert_default().extend(named);
    }

    /// The sessions that end when the client of this request signs out: its own, and those that it named by tokens which were refused
    /// although their sessions may live (of before a rotation, of another client). `None` if the client has no token to forget.
    #[must_use]
    pub fn ends_by_logout(&self) -> Option<Vec<Named>> {
        let own = self.named().filter(|_| self.state == State::Active);
        if own.is_none() && self.refused.is_none() {
            return None;
        }
        Some(own.into_iter().chain(self.refused.iter().flatten().copied()).collect())
    }

    /// This session, as its token names it, once it is stored.
    #[must_use]
    pub fn named(&self) -> Option<Named> {
        let (absolute_end, is_authenticated) = (self.absolute_end(), self.is_authenticated());
        self.key().map(|key| Named { key, absolute_end, is_authenticated })
    }

    /// Whether the client needs a new token, and when it is to expire: after a rotation, when the key ring's sealing key is newer, and
    /// when the session was extended by at least a tenth of the idle timeout.
    #[must_use]
    pub fn token_due(&self, expiry: &Expiry) -> bool {
        self.state == State::Active
            && self
                .token_expires_at
                .is_none_or(|told| expiry.is_worth_telling(told, self.expires_at, self.facts.absolute_end))
    }

    /// Whether the client lacks a token altogether: it was never given one of this session, or what it has is dead.
    #[must_use]
    pub fn token_owed(&self) -> bool {
        self.state == State::Active && self.token_expires_at.is_none()
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

    /// The subject whose epoch is to be read before the next commit: that of a new authentication, or of a session that begins with one.
    #[must_use]
    pub fn authenticating(&self) -> Option<SubjectTag> {
        if self.authenticated_now || self.is_new() { self.subject().map(SubjectTag::new) } else { None }
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
        let Some(names) = &self.facts.names else { return Ok(None) };
        let no_flash = Messages::default();
        let payload = self.facts.meta(names, &no_flash, Kind::Reference).without_data()?;
        Ok(Some(Plaintext::from(&payload[..])))
    }
}
