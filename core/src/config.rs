//! The configuration, and five presets to start from.

use alloc::sync::Arc;
use core::{fmt, str::FromStr, time::Duration};

use crate::{
    binding::ClientBinding,
    compress::MAX_INFLATED,
    cookie::{CookieOptions, SameSite},
    crypto::{KeyRing, Secret},
    error::ConfigError,
    random::Random,
    time::Expiry,
};

/// Which of the five starting points a configuration began from. They have the names and meanings of the Crystal library `session`; where its values
/// are unsafe ours differ, and `core/PRESETS.md` says how and why.
///
/// ```
/// use session_core::Preset;
///
/// assert_eq!("high_security".parse(), Ok(Preset::HighSecurity));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// For a developer's machine: plain HTTP works.
    Development,
    /// For servers behind HTTPS.
    Production,
    /// Short-lived, bound to the client, never sent along from other sites.
    HighSecurity,
    /// For automated tests: plain HTTP, short-lived, doesn't slide.
    Testing,
    /// As production, for several nodes that share a store.
    Clustered,
}

impl FromStr for Preset {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        Ok(match name {
            "development" => Self::Development,
            "production" => Self::Production,
            "high_security" => Self::HighSecurity,
            "testing" => Self::Testing,
            "clustered" => Self::Clustered,
            _ => return Err(ConfigError::Preset),
        })
    }
}

/// Everything a session provider needs to know. Start from a preset and change what differs.
///
/// ```
/// use core::time::Duration;
/// use session_core::{ClientBinding, Config, Expiry, OsRandom, Secret};
///
/// let (new, old) = (Secret::generate(&OsRandom)?, Secret::generate(&OsRandom)?);
/// let config = Config::production(new)
///     .previous_secret(&old) // opens tokens from before the rotation
///     .expiry(Expiry::new(Duration::from_secs(1800), Duration::from_secs(8 * 3600))?)
///     .client_binding(Some(ClientBinding::user_agent()));
/// config.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Config {
    /// The preset it began from.
    pub preset: Preset,
    /// Keys that seal and open.
    pub keys: KeyRing,
    /// The timeouts.
    pub expiry: Expiry,
    /// The cookie's name and attributes.
    pub cookie: CookieOptions,
    /// What sessions are bound to: nothing, unless asked for.
    pub client_binding: Option<ClientBinding>,
    /// Seals records in stores that are outside this process.
    pub encrypt_at_rest: bool,
    /// Deflates records of at least this many bytes.
    pub compress_records_from: Option<usize>,
    /// Most bytes of a stored session's payload: 1 MiB by default. A larger one is refused.
    pub max_record_len: usize,
    /// Deflates cookie-held sessions: off, because lengths tell about what is inside. Turn it on only where no attacker can write
    /// text beside a secret, and when sessions would not fit otherwise.
    pub compress_cookies: bool,
    /// What to do with an authentic session that can't be read (the data type changed): `true`, the default, fails the request;
    /// `false` treats the visitor as one without a session. Nothing stored is touched either way.
    pub fail_on_unreadable: bool,
    /// How long after a rotation (a sign-in, say) a token of before may still be on its way: 30 seconds by default. It is dead at once. Within
    /// this time a request that comes with it begins no session and gets no cookie, which could replace the new one in the browser: what it
    /// writes is refused. After it the token is refused as [`Rejection::Reused`](crate::Rejection::Reused), which a listener may take for a
    /// sign of theft, and its client can begin anew. A client that never got the answer with the new token has to wait for that; zero turns it off.
    pub rotation_grace: Duration,
    /// The random source; the operating system's if `None`.
    pub random: Option<Arc<dyn Random>>,
}

impl Config {
    /// From a preset by its value.
    #[must_use]
    pub fn preset(preset: Preset, secret: &Secret) -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let (idle, absolute) = match preset {
            Preset::Development => (30 * MINUTE, 24 * HOUR),
            Preset::Production | Preset::Clustered => (HOUR, 24 * HOUR),
            Preset::HighSecurity => (15 * MINUTE, 12 * HOUR),
            Preset::Testing => (5 * MINUTE, HOUR),
        };
        let local = matches!(preset, Preset::Development | Preset::Testing);
        let high = preset == Preset::HighSecurity;
        let mut cookie = CookieOptions::default();
        if local {
            cookie.name = "session".into();
            cookie.secure = false;
        }
        if high {
            cookie.same_site = SameSite::Strict;
        }
        Self {
            preset,
            keys: KeyRing::new(secret),
            expiry: Expiry::of_preset(Duration::from_secs(idle), Duration::from_secs(absolute))
                .sliding(preset != Preset::Testing),
            cookie,
            client_binding: high.then(|| ClientBinding::ip().and_user_agent()),
            encrypt_at_rest: !local,
            compress_records_from: (!local).then_some(256),
            max_record_len: MAX_INFLATED,
            compress_cookies: false,
            fail_on_unreadable: true,
            rotation_grace: Duration::from_secs(30),
            random: None,
        }
    }

    /// For a developer's machine: idle 30 minutes, absolute 24 hours, cookie `session` without Secure.
    #[must_use]
    pub fn development(secret: Secret) -> Self {
        Self::preset(Preset::Development, &secret)
    }

    /// For servers behind HTTPS: idle 1 hour, absolute 24 hours, `__Host-session`, records encrypted and compressed.
    #[must_use]
    pub fn production(secret: Secret) -> Self {
        Self::preset(Preset::Production, &secret)
    }

    /// Idle 15 minutes, absolute 12 hours (NIST SP 800-63B-4, AAL3), bound to IP address and User-Agent, SameSite=Strict.
    #[must_use]
    pub fn high_security(secret: Secret) -> Self {
        Self::preset(Preset::HighSecurity, &secret)
    }

    /// For automated tests: 5 minutes that don't slide, cookie `session` without Secure.
    #[must_use]
    pub fn testing(secret: Secret) -> Self {
        Self::preset(Preset::Testing, &secret)
    }

    /// As [`Config::production`], for several nodes that share a store.
    #[must_use]
    pub fn clustered(secret: Secret) -> Self {
        Self::preset(Preset::Clustered, &secret)
    }

    /// Adds a secret that opens older tokens and records.
    #[must_use]
    pub fn previous_secret(mut self, secret: &Secret) -> Self {
        self.keys = self.keys.with_previous(secret);
        self
    }

    /// Sets the timeouts.
    #[must_use]
    pub fn expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = expiry;
        self
    }

    /// Sets the cookie's name and attributes.
    #[must_use]
    pub fn cookie(mut self, cookie: CookieOptions) -> Self {
        self.cookie = cookie;
        self
    }

    /// Sets what sessions are bound to.
    #[must_use]
    pub fn client_binding(mut self, binding: Option<ClientBinding>) -> Self {
        self.client_binding = binding;
        self
    }

    /// Sets the random source.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = Some(random);
        self
    }

    /// Checks that the parts go together. Providers call it when they are made.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.cookie.validate()
    }
}

/// Shows no key.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("preset", &self.preset)
            .field("sealing_key", &self.keys.sealing_key_id())
            .field("keys", &self.keys.len())
            .field("expiry", &self.expiry)
            .field("cookie", &self.cookie)
            .field("client_binding", &self.client_binding)
            .field("encrypt_at_rest", &self.encrypt_at_rest)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::random::OsRandom;

    fn secret() -> Secret {
        Secret::generate(&OsRandom).unwrap()
    }

    #[test]
    fn every_preset_is_valid() {
        for name in ["development", "production", "high_security", "testing", "clustered"] {
            let config = Config::preset(name.parse().unwrap(), &secret());
            assert_eq!(config.validate(), Ok(()), "{name}");
            let expiry = config.expiry;
            assert_eq!(Expiry::new(expiry.idle(), expiry.absolute()).map(|_| ()), Ok(()), "{name}");
        }
        assert_eq!("staging".parse::<Preset>(), Err(ConfigError::Preset));
    }

    #[test]
    fn only_the_local_presets_work_over_plain_http() {
        for (config, secure) in [
            (Config::development(secret()), false),
            (Config::testing(secret()), false),
            (Config::production(secret()), true),
            (Config::high_security(secret()), true),
            (Config::clustered(secret()), true),
        ] {
            assert_eq!(config.cookie.secure, secure);
            assert_eq!(config.encrypt_at_rest, secure);
            assert!(!config.compress_cookies);
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = secret();
        let shown = format!("{:?}", Config::production(secret.clone()));
        assert!(!shown.contains(&secret.expose()[4..]), "{shown}");
    }
}
