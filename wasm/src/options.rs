//! The options object of `createSessions`, as JSON, to a [`Config`].

use core::time::Duration;

use serde::Deserialize;
use session_core::{
    ClientBinding, Config, ConfigError, Error, Expiry, Preset, SameSite, Secret, SecretError,
};

/// What JavaScript passes. Everything that is absent is the preset's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Options<'a> {
    secret: &'a str,
    #[serde(default, borrow)]
    previous_secrets: Vec<&'a str>,
    #[serde(default)]
    preset: Option<&'a str>,
    #[serde(default)]
    cookie: Cookie,
    /// Seconds.
    #[serde(default)]
    idle_timeout: Option<f64>,
    /// Seconds.
    #[serde(default)]
    absolute_timeout: Option<f64>,
    #[serde(default)]
    sliding: Option<bool>,
    /// Seconds.
    #[serde(default)]
    clock_skew: f64,
    #[serde(default)]
    client_binding: Option<Binding>,
    #[serde(default)]
    compress: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Cookie {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    domain: Option<String>,
    #[serde(default)]
    secure: Option<bool>,
    #[serde(default)]
    http_only: Option<bool>,
    #[serde(default)]
    same_site: Option<Site>,
    #[serde(default)]
    partitioned: Option<bool>,
    #[serde(default)]
    persistent: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Site {
    Strict,
    Lax,
    None,
}

/// All of it absent: bound to nothing, whatever the preset says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Binding {
    /// Bits of an IPv4 and of an IPv6 address.
    #[serde(default)]
    ip: Option<(u8, u8)>,
    #[serde(default)]
    user_agent: bool,
}

impl Options<'_> {
    /// `None` if the text isn't an options object: names and types are the matter of TypeScript's types.
    pub(crate) fn parse(json: &[u8]) -> Result<Options<'_>, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }

    /// Only the `sk1_` form of a secret is taken: a passphrase is derived by the runtime's own PBKDF2, before.
    pub(crate) fn config(&self) -> Result<Config, Error> {
        let preset = self.preset.unwrap_or("production").parse::<Preset>()?;
        let mut config = Config::preset(preset, &secret(self.secret)?);
        for previous in &self.previous_secrets {
            config = config.previous_secret(&secret(previous)?);
        }
        config.expiry = self.expiry(config.expiry)?;
        self.cookie.apply(&mut config);
        if let Some(binding) = &self.client_binding {
            config.client_binding = binding.policy()?;
        }
        config.compress_cookies = self.compress;
        config.validate()?;
        Ok(config)
    }

    /// How long after its end a token is still taken, for clocks that differ.
    pub(crate) fn clock_skew(&self) -> Result<Duration, Error> {
        seconds(self.clock_skew)
    }

    fn expiry(&self, preset: Expiry) -> Result<Expiry, Error> {
        let idle = self.idle_timeout.map_or(Ok(preset.idle()), seconds)?;
        let absolute = match self.absolute_timeout {
            Some(absolute) => seconds(absolute)?,
            // An idle timeout beyond the preset's absolute one means a longer session, not an error.
            None => preset.absolute().max(idle),
        };
        Ok(Expiry::new(idle, absolute)?.sliding(self.sliding.unwrap_or(preset.is_sliding())))
    }
}

impl Cookie {
    fn apply(&self, config: &mut Config) {
        let cookie = &mut config.cookie;
        if let Some(name) = &self.name {
            cookie.name.clone_from(name);
        }
        if let Some(path) = &self.path {
            cookie.path.clone_from(path);
        }
        cookie.domain.clone_from(&self.domain);
        cookie.secure = self.secure.unwrap_or(cookie.secure);
        cookie.http_only = self.http_only.unwrap_or(cookie.http_only);
        cookie.same_site = match self.same_site {
            Some(Site::Strict) => SameSite::Strict,
            Some(Site::Lax) => SameSite::Lax,
            Some(Site::None) => SameSite::None,
            None => cookie.same_site,
        };
        cookie.partitioned = self.partitioned.unwrap_or(cookie.partitioned);
        cookie.persistent = self.persistent.unwrap_or(cookie.persistent);
    }
}

impl Binding {
    fn policy(&self) -> Result<Option<ClientBinding>, ConfigError> {
        Ok(match (self.ip, self.user_agent) {
            (Some((v4, v6)), false) => Some(ClientBinding::ip_prefix(v4, v6)?),
            (Some((v4, v6)), true) => Some(ClientBinding::ip_prefix(v4, v6)?.and_user_agent()),
            (None, true) => Some(ClientBinding::user_agent()),
            (None, false) => None,
        })
    }
}

fn secret(text: &str) -> Result<Secret, Error> {
    if text.starts_with("sk1_") { Ok(Secret::parse(text)?) } else { Err(SecretError::Encoding.into()) }
}

fn seconds(seconds: f64) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(seconds).map_err(|_| ConfigError::Timeouts.into())
}
