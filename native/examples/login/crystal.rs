//! Moving in from the Crystal library `session`: whoever is signed in there stays signed in.

use std::error::Error;

use clap::Args;
use session_core::interop::crystal::{Encryptor, Kdf, LegacyDigest, Time};
use session_native::{
    Backend, MemoryStore, Sessions, Store, Timestamp,
    import::{CrystalCookies, Import, Importer},
};
#[cfg(feature = "redis")]
use session_native::{RedisStore, import::CrystalRecords};

use crate::state::{App, UserSession};

const SECRET: &str = "CRYSTAL_SESSION_SECRET";

type Result<T> = core::result::Result<T, Box<dyn Error>>;
type Provider<B> = Sessions<UserSession, B>;

/// How the Crystal site was configured. Its secret comes from the environment.
#[derive(Args)]
#[group(skip)]
pub(crate) struct CrystalSite {
    /// Take over the sessions of a Crystal site until this day or time (UTC), for example 2027-01-31: those in its Redis (with `--store redis` or
    /// `cluster`), and, with CRYSTAL_SESSION_SECRET, those in its cookies.
    #[arg(long = "crystal-until", value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Its `session_key`.
    #[arg(long = "crystal-session-key", value_name = "NAME", requires = "until", default_value = "_session")]
    session_key: String,
    /// It had `encrypt_redis_data` on: what isn't sealed in Redis is refused.
    #[arg(long = "crystal-encrypted", requires = "until")]
    encrypted: bool,
    /// Leave its values in Redis, for services in Crystal that still run.
    #[arg(long = "crystal-keep", requires = "until")]
    keep: bool,
    /// It had `use_kdf` on, with that many iterations.
    #[arg(long = "crystal-kdf-iterations", value_name = "N", requires = "until")]
    kdf_iterations: Option<u32>,
    /// Its `kdf_salt`.
    #[arg(
        long = "crystal-kdf-salt",
        value_name = "SALT",
        requires = "kdf_iterations",
        default_value = "session_kdf_salt"
    )]
    kdf_salt: String,
    /// Take what was signed by HMAC-SHA1, too.
    #[arg(long = "crystal-allow-sha1", requires = "until")]
    allow_sha1: bool,
}

/// A day, or a time in RFC 3339.
fn time(text: &str) -> core::result::Result<Timestamp, String> {
    let text = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let time: Time = serde_json::from_value(text.into())
        .map_err(|_| "neither a day (2027-01-31) nor a time (2027-01-31T12:00:00Z)")?;
    Ok(time.timestamp())
}

impl App {
    /// With the sessions of that site, until its day: off without one.
    pub(crate) async fn import(self, site: &CrystalSite, redis_url: &str) -> Result<Self> {
        let _ = redis_url; // unused without the feature
        let Some(until) = site.until else { return Ok(self) };
        let moving = Moving { site, until, encryptor: site.encryptor(until)? };
        println!("sessions of a Crystal site are taken over until {}", Time::from(until));
        Ok(match self {
            Self::Memory(sessions) => Self::Memory(moving.cookies(sessions, MemoryStore::new())?),
            Self::Cookie(sessions) => Self::Cookie(moving.cookies(sessions, MemoryStore::new())?),
            #[cfg(feature = "redis")]
            Self::Redis(sessions) => Self::Redis(moving.all(sessions, redis_url).await?),
            #[cfg(all(feature = "redis", feature = "cache"))]
            Self::Cluster(sessions) => Self::Cluster(moving.all(sessions, redis_url).await?),
        })
    }
}

impl CrystalSite {
    fn encryptor(&self, until: Timestamp) -> Result<Option<Encryptor>> {
        let Ok(secret) = std::env::var(SECRET) else {
            if self.encrypted {
                return Err(
                    format!("{SECRET} is not set, and what was sealed can't be read without it").into()
                );
            }
            println!("{SECRET} is not set: its cookies are not taken over");
            return Ok(None);
        };
        let salt = self.kdf_salt.as_bytes();
        let kdf = self.kdf_iterations.map(|iterations| Kdf { salt, iterations });
        let encryptor = Encryptor::new(secret.as_bytes(), kdf)?;
        Ok(Some(if self.allow_sha1 { encryptor.allow(LegacyDigest::Sha1, until) } else { encryptor }))
    }
}

struct Moving<'a> {
    site: &'a CrystalSite,
    until: Timestamp,
    encryptor: Option<Encryptor>,
}

impl Moving<'_> {
    /// Where sessions are shared, what was taken over is remembered for all processes, too.
    #[cfg(feature = "redis")]
    async fn all<B: Backend>(&self, sessions: Provider<B>, redis_url: &str) -> Result<Provider<B>> {
        let memory = RedisStore::builder(redis_url).prefix("session-imported").connect().await?;
        let old = RedisStore::connect(redis_url).await?;
        let encryptor = self.encryptor.clone().filter(|_| self.site.encrypted);
        let records = CrystalRecords::new(&self.site.session_key, encryptor, old);
        let records = if self.site.keep { records.keep() } else { records };
        self.cookies(sessions.import(self.of(records, memory.clone())), memory)
    }

    fn cookies<B: Backend>(&self, sessions: Provider<B>, memory: impl Store) -> Result<Provider<B>> {
        let Some(encryptor) = &self.encryptor else { return Ok(sessions) };
        if encryptor.is_public() {
            println!(
                "{SECRET} is the library's public default: cookies that anyone can make are not taken over"
            );
            return Ok(sessions);
        }
        let cookies = CrystalCookies::new(&self.site.session_key, encryptor.clone())?;
        Ok(sessions.import(self.of(cookies, memory)))
    }

    fn of(&self, importer: impl Importer<UserSession>, memory: impl Store) -> Import<UserSession> {
        Import::until(self.until, importer).subject(signed_in).remember_in(memory)
    }
}

/// Who is signed in there: the classes of its documentation go by the name, and some say `authenticated` themselves.
fn signed_in(session: &UserSession) -> Option<String> {
    session.username.clone().filter(|name| !name.is_empty() && session.authenticated != Some(false))
}
