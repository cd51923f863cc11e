//! One configuration, prepared: what `createSessions` makes. Each function is one call from JavaScript, and keeps nothing of a session.

use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};
use core::{net::IpAddr, time::Duration};

use session_core::{
    Client, Config, Error, Expiry, Kind, OsRandom, Reference, Rejection, Session, Timestamp, TokenCodec,
    Unreadable, cookies, lifecycle::CommitContext,
};

use crate::{data::Json, options::Options, wire::Fields};

pub(crate) struct Provider {
    config: Config,
    clock_skew: Duration,
    sessions: TokenCodec,
    references: TokenCodec,
}

/// What a commit is to do, as bits that JavaScript sets.
pub(crate) mod flags {
    /// The payload field is absent: a session that isn't stored yet.
    pub(crate) const WANTED: u32 = 1;
    pub(crate) const REGENERATE: u32 = 2;
    /// The request looked at its flash messages.
    pub(crate) const FLASH_SEEN: u32 = 4;
    /// The messages of this request were dropped, unseen: another subject signed in.
    pub(crate) const FLASH_CLEARED: u32 = 8;
    /// The token was sealed with an older key.
    pub(crate) const RENEW_TOKEN: u32 = 16;
    /// The caller seals the payload itself.
    pub(crate) const UNSEALED: u32 = 32;
}

/// A session that was found, for JavaScript to keep until its commit.
pub(crate) struct Loaded {
    pub(crate) payload: Vec<u8>,
    pub(crate) expires_at: Timestamp,
    /// The token is due to be replaced even if nothing changes, and if so whether that is because of its key.
    pub(crate) due: bool,
    pub(crate) old_key: bool,
}

/// A session that changed, and what the client is to be told.
pub(crate) struct Committed {
    /// The `Set-Cookie` line; `None` if the caller seals the payload.
    pub(crate) set_cookie: Option<String>,
    pub(crate) payload: Vec<u8>,
    pub(crate) expires_at: Timestamp,
}

impl Provider {
    pub(crate) fn new(options: &Options<'_>) -> Result<Self, Error> {
        let config = options.config()?;
        let name = &config.cookie.name;
        Ok(Self {
            sessions: TokenCodec::new(&config.keys, Kind::CookieHeld, name),
            references: TokenCodec::new(&config.keys, Kind::Reference, name),
            clock_skew: options.clock_skew,
            config,
        })
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// Opens the session in a `Cookie` header. `Ok(None)` if there is no cookie of that name; else the reason why the *first* of them was
    /// refused, if none of them is good.
    pub(crate) fn load(&self, mut fields: Fields<'_>, now: Timestamp) -> Result<Option<Loaded>, Rejection> {
        let header = fields.next().unwrap_or_default();
        let client = client(&mut fields);
        let mut refused = None;
        for token in cookies(header, &self.config.cookie.name) {
            match self.open(token, &client, now) {
                Ok(loaded) => return Ok(Some(loaded)),
                Err(rejection) => refused = refused.or(Some(rejection)),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    fn open(&self, token: &[u8], client: &Client<'_>, now: Timestamp) -> Result<Loaded, Rejection> {
        let opened = self.sessions.open(token, self.skewed(now))?;
        let old_key = opened.key_id() != self.config.keys.sealing_key_id();
        let payload = opened.payload().to_vec();
        let mut session = Session::<Json>::from_cookie(opened).map_err(|_| Rejection::Malformed)?;
        if let Some(policy) = &self.config.client_binding {
            session.bind(policy, &self.config.keys, client)?;
        }
        let expires_at = session.expires_at();
        extend(&mut session, &self.config.expiry, now);
        Ok(Loaded { due: old_key || session.token_due(&self.config.expiry), old_key, payload, expires_at })
    }

    /// Checks the reference token in a `Cookie` header, without asking any store.
    pub(crate) fn verify(
        &self,
        mut fields: Fields<'_>,
        now: Timestamp,
    ) -> Result<Option<Reference>, Rejection> {
        let header = fields.next().unwrap_or_default();
        let mut refused = None;
        for token in cookies(header, &self.config.cookie.name) {
            let opened = self.references.open(token, self.skewed(now));
            match opened.and_then(|opened| Reference::from_token(opened).map_err(|_| Rejection::Malformed)) {
                Ok(reference) => return Ok(Some(reference)),
                Err(rejection) => refused = refused.or(Some(rejection)),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// Applies what a request did to its session, and seals it if the client needs a new token. `Ok(None)` if nothing is to be sent.
    ///
    /// `since` is when the session expires, or for one that isn't stored yet, when it began.
    pub(crate) fn commit(
        &self,
        mut fields: Fields<'_>,
        flags: u32,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Committed>, Error> {
        let mut session = match fields.next() {
            Some(payload) => Session::<Json>::from_payload(payload, since)?,
            None => Session::anonymous(&self.config.expiry, since, None),
        };
        let [subject, flash, data] = core::array::from_fn(|_| fields.next());
        if let Some(policy) = &self.config.client_binding {
            session.bind(policy, &self.config.keys, &client(&mut fields))?;
        }
        extend(&mut session, &self.config.expiry, now);
        if flags & flags::RENEW_TOKEN != 0 {
            session.renew_token();
        }
        if flags & flags::WANTED != 0 {
            session = session.wanted();
        }
        apply(&mut session, flags, subject, flash, data)?;

        let draft = session.draft(&CommitContext {
            now,
            expiry: &self.config.expiry,
            ring: &self.config.keys,
            binding: self.config.client_binding.as_ref(),
            random: &OsRandom,
            kind: Kind::CookieHeld,
        })?;
        let changed = draft.is_some();
        if let Some(draft) = draft {
            session.accept(draft);
        }
        if !changed && !session.token_due(&self.config.expiry) {
            return Ok(None);
        }
        let Some(plaintext) = session.cookie_payload() else { return Ok(None) };
        let payload = plaintext.as_bytes().to_vec();
        let expires_at = session.expires_at();
        let set_cookie = if flags & flags::UNSEALED == 0 {
            let token = self.sessions.seal(plaintext, expires_at, self.config.compress_cookies, &OsRandom)?;
            Some(self.set_cookie(&token, expires_at, now)?)
        } else {
            None
        };
        Ok(Some(Committed { set_cookie, payload, expires_at }))
    }

    /// The `Set-Cookie` line for a token.
    pub(crate) fn set_cookie(
        &self,
        token: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<String, Error> {
        Ok(self.config.cookie.set(token, expires_at.since(now))?.into_string())
    }

    /// The `Set-Cookie` line that ends the session at the client.
    pub(crate) fn remove_cookie(&self) -> String {
        self.config.cookie.remove().into_string()
    }

    /// A token that ended less than the tolerated difference of clocks ago is still taken.
    fn skewed(&self, now: Timestamp) -> Timestamp {
        let skew = u64::try_from(self.clock_skew.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(now.as_millis().saturating_sub(skew))
    }
}

/// The public name of the session with this payload.
pub(crate) fn key(payload: &[u8]) -> Result<String, Error> {
    let session = Session::<Json>::from_payload(payload, Timestamp::MAX)?;
    session.key().map(|key| key.to_string()).ok_or(Error::Unreadable(Unreadable::Payload))
}

fn extend(session: &mut Session<Json>, expiry: &Expiry, now: Timestamp) {
    if let Some(to) = expiry.extension(now, session.expires_at(), session.absolute_end()) {
        session.extend_to(to);
    }
}

fn apply(
    session: &mut Session<Json>,
    flags: u32,
    subject: Option<&[u8]>,
    flash: Option<&[u8]>,
    data: Option<&[u8]>,
) -> Result<(), Error> {
    let not_json = || Error::Serialize("not a JSON text".into());
    if let Some(subject) = subject {
        session.authenticate(core::str::from_utf8(subject).map_err(|_| not_json())?);
    }
    if flags & flags::REGENERATE != 0 {
        session.regenerate();
    }
    if flags & flags::FLASH_CLEARED != 0 {
        session.flash_mut().clear_now();
    }
    if flags & flags::FLASH_SEEN != 0 {
        // Any look at the messages uses them up.
        let _ = session.flash().get("");
    }
    if let Some(flash) = flash {
        let messages: Vec<(String, String)> = serde_json::from_slice(flash).map_err(|_| not_json())?;
        for (key, message) in messages {
            session.flash_mut().set(key, message);
        }
    }
    if let Some(data) = data {
        *session.data_mut() = Json::parse(data).ok_or_else(not_json)?;
    }
    Ok(())
}

/// The two fields that describe the client. An address that isn't one is no address.
fn client<'a>(fields: &mut Fields<'a>) -> Client<'a> {
    let ip = fields.next().and_then(|ip| core::str::from_utf8(ip).ok()?.trim().parse::<IpAddr>().ok());
    Client { ip, user_agent: fields.next() }
}
