//! What the application keeps in a session, and where sessions are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
#[cfg(feature = "redis")]
use session_native::RedisStore;
#[cfg(all(feature = "redis", feature = "cache"))]
use session_native::store::{RedisFeed, cached::CachedStore};
use session_native::{
    Config, CookieHeld, Error, Key, MemoryStore, SessionData, Sessions, Stored, Summary, axum::SessionLayer,
};

/// The application's session.
#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UserSession {
    pub(crate) username: Option<String>,
    pub(crate) profile: Profile,
    /// Pieces of each article.
    pub(crate) cart: BTreeMap<String, u32>,
    /// For the JSON routes.
    pub(crate) counter: u64,
    pub(crate) values: BTreeMap<String, String>,
    /// The browser that signed in, for the list of sessions.
    pub(crate) browser: String,
    /// What a Crystal site says of its users; read with an import, never kept.
    #[cfg(feature = "crystal")]
    #[serde(skip_serializing)]
    pub(crate) authenticated: Option<bool>,
}

impl SessionData for UserSession {}

#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Profile {
    pub(crate) display_name: String,
    pub(crate) newsletter: bool,
    pub(crate) pronouns: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StoreKind {
    Memory,
    Cookie,
    #[cfg(feature = "redis")]
    Redis,
    #[cfg(all(feature = "redis", feature = "cache"))]
    Cluster,
}

/// The sessions of this application, whichever way they are kept.
#[derive(Clone)]
pub(crate) enum App {
    Memory(Sessions<UserSession, Stored<MemoryStore>>),
    Cookie(Sessions<UserSession, CookieHeld>),
    #[cfg(feature = "redis")]
    Redis(Sessions<UserSession, Stored<RedisStore>>),
    #[cfg(all(feature = "redis", feature = "cache"))]
    Cluster(Sessions<UserSession, Stored<CachedStore<RedisStore, RedisFeed>>>),
}

/// The same for every place where sessions can be.
macro_rules! any {
    ($app:expr, $sessions:ident => $does:expr) => {
        match $app {
            App::Memory($sessions) => $does,
            App::Cookie($sessions) => $does,
            #[cfg(feature = "redis")]
            App::Redis($sessions) => $does,
            #[cfg(all(feature = "redis", feature = "cache"))]
            App::Cluster($sessions) => $does,
        }
    };
}

/// The same for every store; something else if cookies are all there is.
macro_rules! stored {
    ($app:expr, $sessions:ident => $does:expr, else $other:expr) => {
        match $app {
            App::Memory($sessions) => $does,
            #[cfg(feature = "redis")]
            App::Redis($sessions) => $does,
            #[cfg(all(feature = "redis", feature = "cache"))]
            App::Cluster($sessions) => $does,
            App::Cookie(_) => $other,
        }
    };
}

impl App {
    pub(crate) async fn new(store: StoreKind, redis_url: &str, config: Config) -> Result<Self, Error> {
        let _ = redis_url; // unused without the feature
        Ok(match store {
            StoreKind::Memory => Self::Memory(Sessions::new(config, MemoryStore::new())?),
            StoreKind::Cookie => Self::Cookie(Sessions::cookie(config)?),
            #[cfg(feature = "redis")]
            StoreKind::Redis => Self::Redis(Sessions::new(config, RedisStore::connect(redis_url).await?)?),
            #[cfg(all(feature = "redis", feature = "cache"))]
            StoreKind::Cluster => {
                let redis = RedisStore::connect(redis_url).await?;
                let feed = redis.feed()?;
                Self::Cluster(Sessions::new(config, CachedStore::new(redis, feed))?)
            }
        })
    }

    pub(crate) fn layer(&self) -> SessionLayer<UserSession> {
        any!(self, sessions => SessionLayer::new(sessions.clone()))
    }

    pub(crate) fn config(&self) -> &Config {
        any!(self, sessions => sessions.config())
    }

    pub(crate) const fn store_name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "this process's memory; the cookie names one",
            Self::Cookie(_) => "the cookie itself, sealed",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "Redis; the cookie names one",
            #[cfg(all(feature = "redis", feature = "cache"))]
            Self::Cluster(_) => "Redis, and a cache in this process; the cookie names one",
        }
    }

    /// The user's sessions; `None` if nobody keeps a list, because the cookies are all there is.
    pub(crate) async fn sessions_of(
        &self,
        username: &str,
    ) -> Result<Option<Vec<Summary<UserSession>>>, Error> {
        stored!(self, sessions => {
            let mut found = sessions.by_subject(username).await?;
            found.sort_by_key(|summary| summary.created_at);
            Ok(Some(found))
        }, else Ok(None))
    }

    /// Ends one of the user's own sessions. `false` if it is not (or no longer) one of them.
    pub(crate) async fn revoke_one(&self, username: &str, key: &Key) -> Result<bool, Error> {
        let own = self.sessions_of(username).await?.unwrap_or_default();
        if !own.iter().any(|summary| summary.key == *key) {
            return Ok(false);
        }
        stored!(self, sessions => sessions.revoke(key).await, else Ok(false))
    }

    pub(crate) async fn revoke_others(&self, username: &str, kept: &Key) -> Result<u64, Error> {
        stored!(self, sessions => sessions.revoke_others(username, kept).await, else Ok(0))
    }

    pub(crate) async fn revoke_everywhere(&self, username: &str) -> Result<(), Error> {
        any!(self, sessions => sessions.revoke_subject(username).await)
    }
}
