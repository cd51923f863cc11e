//! What a route asks of a cache.

use std::sync::{Arc, Mutex};

use http::Method;
use session_native::{
    Key, MemoryStore, Sessions, Store, StoreError, Version,
    store::{Found, Freshness, Lookup, Record, Saved},
    web::{RequireAuth, SessionLayer},
};

use crate::{
    app::{App, Scope, routes},
    client::{Framework, Server, request},
    support::config,
};

/// Notes what is asked of it, as a cache would be asked.
#[derive(Clone, Default)]
struct Noting {
    store: MemoryStore,
    asked: Arc<Mutex<Vec<Freshness>>>,
}

impl Store for Noting {
    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        self.store.create(key, record).await
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        self.asked.lock().unwrap().push(lookup.freshness);
        self.store.load(key, lookup).await
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        self.store.save(key, record, expected).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.store.delete(key).await
    }
}

pub(crate) async fn a_route_says_how_fresh_its_sessions_are<F: Framework>() {
    const SECOND: Freshness = Freshness::AtMost(core::time::Duration::from_secs(1));

    let store = Noting::default();
    let sessions = Sessions::new(config(), store.clone()).unwrap();
    let page = |prefix| Scope {
        prefix,
        ..Scope::default().on("/who", async |session, _| session.subject().unwrap_or_default())
    };
    let scopes = vec![
        Scope { freshness: Some(Freshness::Linearizable), ..page("/pay") },
        // The guard is who asks first.
        Scope { freshness: Some(SECOND), ..page("/guarded").guarded(RequireAuth::unauthorized()) },
        routes(),
    ];
    let app =
        |layer: SessionLayer<_>| App { sessions: Some(layer), scopes: scopes.clone(), ..App::default() };
    let server = F::start(app(SessionLayer::new(sessions.clone())));
    let mut login = request(Method::POST, "/login", "");
    *login.body_mut() = "ada".into();
    let cookie = server.send(login).await.new_cookie().unwrap();
    let asked = async |server: &Server, path: &str| {
        store.asked.lock().unwrap().clear();
        assert_eq!(server.get(path, &cookie).await.status, 200);
        core::mem::take(&mut *store.asked.lock().unwrap())
    };
    assert_eq!(asked(&server, "/who").await, [Freshness::Cached]);
    assert_eq!(asked(&server, "/pay/who").await, [Freshness::Linearizable]);
    assert_eq!(asked(&server, "/guarded/who").await, [SECOND]);

    let strict = F::start(app(SessionLayer::new(sessions).freshness(Freshness::Linearizable)));
    assert_eq!(asked(&strict, "/who").await, [Freshness::Linearizable]);
    assert_eq!(asked(&strict, "/guarded/who").await, [SECOND], "the route knows better than the layer");
}
