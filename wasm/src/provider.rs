//! One configuration, prepared: what `createSessions` makes. Each function is one call from JavaScript, and keeps nothing of a session.

use alloc::string::String;
use core::net::IpAddr;

use session_core::{
    Client, Config, Error, Kind, Opened, Random, RandomError, Rejection, SessionId, Timestamp, TokenCodec,
    cookies,
};

use crate::{options::Options, wire::Fields};

pub(crate) struct Provider {
    pub(crate) config: Config,
    /// How long after its end a token is still taken, in milliseconds.
    clock_skew: u64,
    sessions: TokenCodec,
    references: TokenCodec,
}

impl Provider {
    #[inline(never)]
    pub(crate) fn new(options: &Options<'_>) -> Result<Self, Error> {
        let config = options.config()?;
        let name = &config.cookie.name;
        Ok(Self {
            sessions: TokenCodec::new(&config.keys, Kind::CookieHeld, name),
            references: TokenCodec::new(&config.keys, Kind::Reference, name),
            clock_skew: u64::try_from(options.clock_skew.as_millis()).unwrap_or(u64::MAX),
            config,
        })
    }

    /// Opens the first good token in a `Cookie` header that isn't one of the first `skip`, and says which it was. `Ok(None)` if there is no
    /// cookie of that name; else the reason why the *first* of them was refused, if none of them is good.
    pub(crate) fn open(
        &self,
        header: &[u8],
        references: bool,
        skip: usize,
        now: Timestamp,
    ) -> Result<Option<(usize, Opened)>, Rejection> {
        let codec = if references { &self.references } else { &self.sessions };
        let now = Timestamp::from_millis(now.as_millis().saturating_sub(self.clock_skew));
        let mut refused = None;
        for (index, token) in cookies(header, &self.config.cookie.name).enumerate().skip(skip) {
            match session_wasm_tokens::open(codec, token, now) {
                Ok(opened) => return Ok(Some((index, opened))),
                Err(rejection) => refused = refused.or(Some(rejection)),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// Seals a payload as it is (JavaScript deflates by its runtime's means), and gives the `Set-Cookie` line. `random` is of the runtime's `crypto`.
    pub(crate) fn seal(
        &self,
        payload: &[u8],
        random: &[u8],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<String, Error> {
        let token = session_wasm_tokens::seal(&self.sessions, payload, expires_at, &Given(random))?;
        self.set_cookie(&token, expires_at, now)
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

    /// What a session of this client keeps of it. Fields: id, key id, address, User-Agent.
    pub(crate) fn bind(&self, fields: &mut Fields<'_>) -> Option<[Option<String>; 3]> {
        let id = SessionId::parse(fields.text()?)?;
        let kid = fields.text();
        // An address that isn't one is no address.
        let ip = fields.text().and_then(|ip| ip.parse::<IpAddr>().ok());
        let client = Client { ip, user_agent: fields.next() };
        self.config.client_binding.as_ref()?.payload_fields(&self.config.keys, &id, kid, &client)
    }
}

/// Random bytes that JavaScript brings along, which takes no import: engines compile something for each, and that was a tenth of a cold start.
struct Given<'a>(&'a [u8]);

impl Random for Given<'_> {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        if buffer.len() != self.0.len() {
            return Err(RandomError);
        }
        buffer.copy_from_slice(self.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call without them, or with fewer, must not seal by an initialisation vector of zeros.
    #[test]
    fn random_bytes_are_all_there_or_none() {
        let mut iv = [0; 16];
        for given in [0, 15, 17] {
            assert_eq!(Given(&[7; 17][..given]).fill(&mut iv), Err(RandomError));
            assert_eq!(iv, [0; 16], "{given} bytes");
        }
        assert_eq!(Given(&[7; 16]).fill(&mut iv), Ok(()));
        assert_eq!(iv, [7; 16]);
    }
}
