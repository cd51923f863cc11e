//! The options of `createSessions`, field by field, to a [`Config`].
//!
//! Its functions are kept apart: an engine compiles a function when it is first called, and takes more than twice the time for one of twice
//! the size. All of it in one was a quarter of a cold start.

use core::time::Duration;

use session_core::{ClientBinding, Config, ConfigError, Error, Expiry, Preset, SameSite, Secret};

use crate::wire::Fields;

/// What JavaScript passes, in the order in which it passes it. Everything that is absent is the preset's.
pub(crate) struct Options<'a> {
    secret: &'a str,
    /// Separated by commas.
    previous_secrets: &'a str,
    preset: Option<&'a str>,
    cookie: Cookie<'a>,
    idle_timeout: Option<Duration>,
    absolute_timeout: Option<Duration>,
    sliding: Option<bool>,
    /// How long after its end a token is still taken, for clocks that differ.
    pub(crate) clock_skew: Duration,
    /// `Some(None)`: bound to nothing, whatever the preset says.
    client_binding: Option<Option<ClientBinding>>,
}

struct Cookie<'a> {
    name: Option<&'a str>,
    path: Option<&'a str>,
    domain: Option<&'a str>,
    secure: Option<bool>,
    http_only: Option<bool>,
    same_site: Option<SameSite>,
    partitioned: Option<bool>,
    persistent: Option<bool>,
}

impl<'a> Options<'a> {
    #[inline(never)]
    pub(crate) fn read(fields: &mut Fields<'a>) -> Result<Self, Error> {
        Ok(Self {
            secret: fields.text().unwrap_or_default(),
            previous_secrets: fields.text().unwrap_or_default(),
            preset: fields.text(),
            cookie: Cookie {
                name: fields.text(),
                path: fields.text(),
                domain: fields.text(),
                secure: fields.flag(),
                http_only: fields.flag(),
                same_site: fields.text().and_then(|name| match name {
                    "strict" => Some(SameSite::Strict),
                    "lax" => Some(SameSite::Lax),
                    "none" => Some(SameSite::None),
                    _ => None,
                }),
                partitioned: fields.flag(),
                persistent: fields.flag(),
            },
            idle_timeout: fields.number().map(duration),
            absolute_timeout: fields.number().map(duration),
            sliding: fields.flag(),
            clock_skew: fields.number().map(duration).unwrap_or_default(),
            client_binding: binding(fields)?,
        })
    }

    /// Only the `sk1_` form of a secret is taken: a passphrase is derived by the runtime's own PBKDF2, before.
    #[inline(never)]
    pub(crate) fn config(&self) -> Result<Config, Error> {
        let preset = self.preset.unwrap_or("production").parse::<Preset>()?;
        let mut config = Config::preset(preset, &Secret::parse_sk1(self.secret)?);
        for previous in self.previous_secrets.split(',').filter(|part| !part.is_empty()) {
            config = config.previous_secret(&Secret::parse_sk1(previous)?);
        }
        config.expiry = self.expiry(config.expiry)?;
        self.cookie.apply(&mut config);
        if let Some(binding) = self.client_binding {
            config.client_binding = binding;
        }
        config.validate()?;
        Ok(config)
    }

    #[inline(never)]
    fn expiry(&self, preset: Expiry) -> Result<Expiry, Error> {
        let idle = self.idle_timeout.unwrap_or(preset.idle());
        // An idle timeout beyond the preset's absolute one means a longer session, not an error.
        let absolute = self.absolute_timeout.unwrap_or(preset.absolute().max(idle));
        Ok(Expiry::new(idle, absolute)?.sliding(self.sliding.unwrap_or(preset.is_sliding())))
    }
}

impl Cookie<'_> {
    #[inline(never)]
    fn apply(&self, config: &mut Config) {
        let cookie = &mut config.cookie;
        if let Some(name) = self.name {
            cookie.name = name.into();
        }
        if let Some(path) = self.path {
            cookie.path = path.into();
        }
        cookie.domain = self.domain.map(Into::into);
        cookie.secure = self.secure.unwrap_or(cookie.secure);
        cookie.http_only = self.http_only.unwrap_or(cookie.http_only);
        cookie.same_site = self.same_site.unwrap_or(cookie.same_site);
        cookie.partitioned = self.partitioned.unwrap_or(cookie.partitioned);
        cookie.persistent = self.persistent.unwrap_or(cookie.persistent);
    }
}

/// Four fields: whether anything is said, bits of an IPv4 and of an IPv6 address, the User-Agent.
#[inline(never)]
fn binding(fields: &mut Fields<'_>) -> Result<Option<Option<ClientBinding>>, ConfigError> {
    let said = fields.flag().is_some();
    let ip = match (fields.number(), fields.number()) {
        (Some(v4), Some(v6)) => Some(ClientBinding::ip_prefix(v4 as u8, v6 as u8)?),
        _ => None,
    };
    let user_agent = fields.flag().unwrap_or_default();
    let policy = match (ip, user_agent) {
        (Some(ip), false) => Some(ip),
        (Some(ip), true) => Some(ip.and_user_agent()),
        (None, true) => Some(ClientBinding::user_agent()),
        (None, false) => None,
    };
    Ok(said.then_some(policy))
}

/// Of seconds; what isn't a length of time is none.
const fn duration(seconds: f64) -> Duration {
    Duration::from_millis((seconds * 1000.0) as u64)
}
