//! What the tests of sessions share.

#![allow(dead_code, reason = "every test file uses its part")]

pub(crate) mod explore;
pub(crate) mod store;

use core::time::Duration;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use session_native::{
    Client, Config, Error, Expiry, ManualClock, MemoryStore, OsRandom, Secret, Session, SessionData,
    Sessions, SetCookie, State, Stored,
};

use store::{Stage, StagedStore};

/// Eight fields, so that eight writers can change different ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Data {
    pub(crate) visits: u64,
    pub(crate) fields: Fields,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Fields {
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) c: u64,
    pub(crate) d: u64,
    pub(crate) e: u64,
    pub(crate) f: u64,
    pub(crate) g: u64,
    pub(crate) h: u64,
}

impl Fields {
    pub(crate) fn get_mut(&mut self, number: usize) -> &mut u64 {
        let Self { a, b, c, d, e, f, g, h } = self;
        [a, b, c, d, e, f, g, h].into_iter().nth(number).expect("one of eight fields")
    }
}

impl SessionData for Data {}

pub(crate) type StoredSessions = Sessions<Data, Stored<StagedStore>>;

/// A configuration whose keys are made once.
pub(crate) fn config() -> Config {
    static CONFIG: LazyLock<Config> = LazyLock::new(|| {
        let expiry = Expiry::new(Duration::from_secs(3600), Duration::from_secs(24 * 3600)).unwrap();
        Config::testing(Secret::generate(&OsRandom).unwrap()).expiry(expiry)
    });
    CONFIG.clone()
}

/// Sessions in a store that can be watched and made to fail, at a time that stands.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) sessions: StoredSessions,
    pub(crate) stage: Arc<Stage>,
    pub(crate) clock: ManualClock,
    pub(crate) memory: MemoryStore,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config(), |sessions| sessions)
    }

    pub(crate) fn with(config: Config, configure: impl FnOnce(StoredSessions) -> StoredSessions) -> Self {
        let clock = ManualClock::default();
        let memory = MemoryStore::builder().clock(clock.clone()).build();
        let stage = Arc::<Stage>::default();
        let store = StagedStore::new(memory.clone(), Arc::clone(&stage));
        let sessions = configure(Sessions::new(config, store).unwrap().clock(clock.clone()));
        Self { sessions, stage, clock, memory }
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// A new session of `subject`, and its cookie.
    pub(crate) async fn sign_in(&self, subject: &str) -> String {
        let mut session = self.sessions.create();
        session.authenticate(subject);
        self.commit(&mut session).await.unwrap().expect("a new session has a cookie")
    }

    pub(crate) async fn load(&self, cookie: &str) -> Result<Session<Data>, Error> {
        self.sessions.load(cookie, &Client::default()).await
    }

    /// Commits, and gives the `Cookie` header that the client sends from then on.
    pub(crate) async fn commit(&self, session: &mut Session<Data>) -> Result<Option<String>, Error> {
        Ok(self.sessions.commit(session).await?.as_ref().map(cookie_of))
    }

    /// The data of the session as a fresh request sees it.
    pub(crate) async fn data(&self, cookie: &str) -> Data {
        let session = self.load(cookie).await.unwrap();
        assert_eq!(session.state(), State::Active);
        session.data().clone()
    }
}

/// The `Cookie` header of a client that was sent this.
pub(crate) fn cookie_of(set_cookie: &SetCookie) -> String {
    let text = set_cookie.as_str();
    text.split_once(';').map_or(text, |(pair, _)| pair).to_owned()
}
