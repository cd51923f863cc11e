//! What a route asks of a cache.

use std::sync::{Arc, Mutex};

use http::Method;
use session_native::{
    Client, Key, MemoryStore, Sessions, Store, StoreError, Version,
    store::{Found, Freshness, Lookup, Record, Saved},
    web::{RequireAuth, SessionLayer},
};

use crate::{
    app::{App, Scope, routes},
    client::{Framework, Server, request},
    support::{Data, config},
};

/// Notes what is asked of it, as a cache would be asked.
#[derive(Clone, Default)]
struct Noting {
    store: MemoryStore,
    asked: Arc<Mutex<Vec<Freshness>>>,
    /// What a cache answers that has not heard of a change yet.
    stale: Arc<Mutex<Option<Found>>>,
}

impl Store for Noting {
    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        self.store.create(key, record).await
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        self.asked.lock().unwrap().push(lookup.freshness);
        if let (Some(stale), Freshness::Cached) = (&*self.stale.lock().unwrap(), lookup.freshness) {
            return Ok(Some(stale.clone()));
        }
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

// P5: a guard may ask before the route's extension is there. The route gets what it asks for all the same.
pub(crate) async fn a_guard_makes_no_route_less_fresh<F: Framework>() {
    const SECOND: Freshness = Freshness::AtMost(core::time::Duration::from_secs(1));

    let store = Noting::default();
    let sessions = Sessions::<Data, _>::new(config(), store.clone()).unwrap();
    let page = |prefix, freshness| Scope {
        prefix,
        freshness: Some(freshness),
        asks_inside: true,
        ..routes().guarded(RequireAuth::unauthorized())
    };
    let scopes = vec![page("/pay", Freshness::Linearizable), page("/soon", SECOND), routes()];
    let layer = SessionLayer::new(sessions.clone());
    let server = F::start(App { sessions: Some(layer.clone()), scopes: scopes.clone(), ..App::default() });
    let strict = layer.freshness(Freshness::Linearizable);
    let strict = F::start(App { sessions: Some(strict), scopes, ..App::default() });
    let mut login = request(Method::POST, "/login", "");
    *login.body_mut() = "ada".into();
    let cookie = server.send(login).await.new_cookie().unwrap();
    let asked = async |server: &Server, path: &str| {
        store.asked.lock().unwrap().clear();
        let answer = server.get(path, &cookie).await;
        assert_eq!((answer.status, answer.new_cookie()), (200, None));
        let asked = core::mem::take(&mut *store.asked.lock().unwrap());
        (asked, answer.text().await)
    };
    let both = [Freshness::Cached, Freshness::Linearizable];
    assert_eq!(asked(&server, "/pay/who").await, (both.to_vec(), "ada".into()));
    assert_eq!(asked(&server, "/soon/who").await, (both.to_vec(), "ada".into()));
    assert_eq!(asked(&server, "/who").await, (vec![Freshness::Cached], "ada".into()));
    for path in ["/pay/who", "/soon/who"] {
        let once = vec![Freshness::Linearizable];
        assert_eq!(asked(&strict, path).await, (once, "ada".into()), "the guard asked for more than {path}");
    }

    // Another node changes the session, and this one's cache has not heard of it.
    let mut session = sessions.load(&cookie, &Client::default()).await.unwrap();
    let key = session.key().unwrap();
    *store.stale.lock().unwrap() = store.store.load(&key, Lookup::default()).await.unwrap();
    session.data_mut().visits = 7;
    sessions.commit(&mut session).await.unwrap();
    assert_eq!(server.get("/read", &cookie).await.text().await, "0");
    assert_eq!(server.get("/pay/read", &cookie).await.text().await, "7");

    // Another node ends it.
    assert!(store.store.delete(&key).await.unwrap());
    assert_eq!(server.get("/who", &cookie).await.text().await, "ada");
    let answer = server.get("/pay/who", &cookie).await;
    assert_eq!((answer.status, answer.new_cookie()), (401, None));
    assert_eq!(server.post("/pay/write", &cookie).await.status, 401);
}
