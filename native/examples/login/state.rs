//! What the application keeps in a session, and where sessions are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
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
}

/// The sessions of this application, whichever way they are kept.
#[derive(Clone)]
pub(crate) enum App {
    Memory(Sessions<UserSession, Stored<MemoryStore>>),
    Cookie(Sessions<UserSession, CookieHeld>),
}

impl App {
    pub(crate) fn new(store: StoreKind, config: Config) -> Result<Self, Error> {
        Ok(match store {
            StoreKind::Memory => Self::Memory(Sessions::new(config, MemoryStore::new())?),
            StoreKind::Cookie => Self::Cookie(Sessions::cookie(config)?),
        })
    }

    pub(crate) fn layer(&self) -> SessionLayer<UserSession> {
        match self {
            Self::Memory(sessions) => SessionLayer::new(sessions.clone()),
            Self::Cookie(sessions) => SessionLayer::new(sessions.clone()),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        match self {
            Self::Memory(sessions) => sessions.config(),
            Self::Cookie(sessions) => sessions.config(),
        }
    }

    pub(crate) const fn store_name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "this process's memory; the cookie names one",
            Self::Cookie(_) => "the cookie itself, sealed",
        }
    }

    /// The user's sessions; `None` if nobody keeps a list, because the cookies are all there is.
    pub(crate) async fn sessions_of(
        &self,
        username: &str,
    ) -> Result<Option<Vec<Summary<UserSession>>>, Error> {
        match self {
            Self::Memory(sessions) => {
                let mut found = sessions.by_subject(username).await?;
                found.sort_by_key(|summary| summary.created_at);
                Ok(Some(found))
            }
            Self::Cookie(_) => Ok(None),
        }
    }

    /// Ends one of the user's own sessions. `false` if it is not (or no longer) one of them.
    pub(crate) async fn revoke_one(&self, username: &str, key: &Key) -> Result<bool, Error> {
        let own = self.sessions_of(username).await?.unwrap_or_default();
        match self {
            Self::Memory(sessions) if own.iter().any(|summary| summary.key == *key) => {
                sessions.revoke(key).await
            }
            _ => Ok(false),
        }
    }

    pub(crate) async fn revoke_others(&self, username: &str, kept: &Key) -> Result<u64, Error> {
        match self {
            Self::Memory(sessions) => sessions.revoke_others(username, kept).await,
            Self::Cookie(_) => Ok(0),
        }
    }

    pub(crate) async fn revoke_everywhere(&self, username: &str) -> Result<(), Error> {
        match self {
            Self::Memory(sessions) => sessions.revoke_subject(username).await,
            Self::Cookie(sessions) => sessions.revoke_subject(username).await,
        }
    }
}
