//! Questions about all sessions: in memory, and in Redis among what others keep there.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use session_native::{
    Client, CoreError, Error, Key, MemoryStore, Query, Rejection, SessionData, Sessions, Stored,
};
use support::{Data, World, config, cookie_of};

type Of<S> = Sessions<Data, Stored<S>>;

/// More than two batches of a scan.
const SESSIONS: u64 = 250;

/// Sessions of two subjects, numbered by their visits: key and cookie of each.
async fn filled<S: Query>(sessions: &Of<S>) -> BTreeMap<u64, (Key, String)> {
    let mut all = BTreeMap::new();
    for number in 0..SESSIONS {
        let mut session = sessions.create();
        session.authenticate(if number % 2 == 0 { "ada" } else { "grace" });
        session.data_mut().visits = number;
        let cookie = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
        all.insert(number, (session.key().unwrap(), cookie));
    }
    all
}

/// To another thread, as the requests of a server do.
const fn may_move<F: Future + Send>(future: F) -> F {
    future
}

async fn every_question<S: Query>(sessions: &Of<S>) {
    let all = filled(sessions).await;
    let keys = |numbers: &mut dyn Iterator<Item = u64>| numbers.map(|number| all[&number].0).collect();
    // A scan may show a session twice.
    let shown: Vec<_> = sessions.stream().try_collect().await.unwrap();
    let numbers: BTreeSet<_> = shown.iter().map(|summary| summary.data.visits).collect();
    assert!(numbers.iter().copied().eq(0..SESSIONS));
    for summary in shown {
        assert_eq!(summary.key, all[&summary.data.visits].0);
    }
    let ids: BTreeSet<_> = sessions.ids().await.unwrap().into_iter().collect();
    assert_eq!(ids, keys(&mut (0..SESSIONS)));
    assert_eq!(sessions.len().await.unwrap(), SESSIONS);
    assert!(!sessions.is_empty().await.unwrap());

    let found = sessions.find(|summary| summary.data.visits < 10).await.unwrap();
    assert_eq!(found.iter().map(|summary| summary.key).collect::<BTreeSet<_>>(), keys(&mut (0..10)));
    let first = sessions.first(|summary| summary.data.visits == 7).await.unwrap().unwrap();
    assert_eq!((first.key, first.subject.as_deref()), (all[&7].0, Some("grace")));
    assert!(sessions.first(|summary| summary.data.visits == SESSIONS).await.unwrap().is_none());
    assert_eq!(sessions.count(|summary| summary.data.visits == 7).await.unwrap(), 1);
    assert_eq!(sessions.count(|_| false).await.unwrap(), 0);
    assert_eq!(sessions.by_subject("ada").await.unwrap().len(), 125);

    // Of what is deleted the cookies are dead, and the others are as good as before.
    assert_eq!(may_move(sessions.delete_where(|summary| summary.data.visits % 5 == 0)).await.unwrap(), 50);
    assert_eq!(sessions.delete_where(|summary| summary.data.visits % 5 == 0).await.unwrap(), 0);
    for (number, (_, cookie)) in &all {
        let rejection = sessions.load(cookie, &Client::default()).await.unwrap().rejection();
        assert_eq!(rejection, (number % 5 == 0).then_some(Rejection::Revoked), "{number}");
    }
    let (one, other) = (&all[&1].0, &all[&3].0);
    assert!(sessions.revoke(one).await.unwrap());
    assert!(!sessions.revoke(one).await.unwrap());
    assert!(sessions.get(one).await.unwrap().is_none());
    assert_eq!(sessions.get(other).await.unwrap().unwrap().data.visits, 3);
    assert_eq!(sessions.revoke_others("grace", other).await.unwrap(), 125 - 25 - 2);
    assert_eq!(sessions.by_subject("grace").await.unwrap()[0].key, *other);
    sessions.clear().await.unwrap();
    assert!(sessions.ids().await.unwrap().is_empty() && sessions.is_empty().await.unwrap());
}

#[tokio::test]
async fn in_memory() {
    every_question(&Sessions::new(config(), MemoryStore::new()).unwrap()).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn in_redis_among_foreign_keys() {
    let server = session_faults::servers::RedisServer::start().await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    for name in ["session:0b6f3c1e-2f0d-4c43-9a0e-4b7a3f1f2b11", "session:{x}:y", "sessions", "cache"] {
        let () = redis::cmd("SET").arg(name).arg("theirs").query_async(&mut raw).await.unwrap();
    }
    let store = session_native::RedisStore::connect(&server.url()).await.unwrap();
    every_question(&Sessions::new(config(), store).unwrap()).await;
    for name in ["session:0b6f3c1e-2f0d-4c43-9a0e-4b7a3f1f2b11", "session:{x}:y", "sessions", "cache"] {
        let value: Option<String> = redis::cmd("GET").arg(name).query_async(&mut raw).await.unwrap();
        assert_eq!(value.as_deref(), Some("theirs"), "{name}");
    }
}

#[tokio::test]
async fn what_has_expired_or_was_revoked_is_nowhere() {
    let world = World::new();
    world.sign_in("ada").await;
    world.sign_in("grace").await;
    world.sessions.revoke_subject("grace").await.unwrap();
    let subjects = async || {
        let found = world.sessions.find(|_| true).await.unwrap();
        found.into_iter().map(|summary| summary.subject.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(subjects().await, ["ada"]);
    world.clock.advance(config().expiry.idle());
    assert_eq!(subjects().await, [""; 0]);
    assert_eq!(world.sessions.delete_where(|_| true).await.unwrap(), 0);
}

/// After a change of the data type "sign out everywhere else" ends also what it can't read; listings say what is the matter.
#[tokio::test]
async fn sessions_that_cannot_be_read_are_ended_with_the_others() {
    #[derive(Clone, Default, Deserialize, Serialize)]
    #[serde(default)]
    struct Before {
        visits: String,
    }
    impl SessionData for Before {}

    let (config, store) = (config(), MemoryStore::new());
    let before = Sessions::<Before, _>::new(config.clone(), store.clone()).unwrap();
    let sessions = Of::new(config, store).unwrap();
    let mut old = before.create();
    old.data_mut().visits = "many".into();
    old.authenticate("ada");
    before.commit(&mut old).await.unwrap();
    let all = filled(&sessions).await;
    let kept = all[&0].0;
    assert!(matches!(sessions.by_subject("ada").await, Err(Error::Core(CoreError::Unreadable(_)))));
    assert_eq!(may_move(sessions.revoke_others("ada", &kept)).await.unwrap(), 125);
    let left = sessions.by_subject("ada").await.unwrap();
    assert_eq!(left.iter().map(|summary| summary.key).collect::<Vec<_>>(), [kept]);
    assert_eq!(sessions.by_subject("grace").await.unwrap().len(), 125, "another subject's");
    // What is dead already is not counted.
    sessions.revoke_subject("grace").await.unwrap();
    assert_eq!(sessions.revoke_others("grace", &kept).await.unwrap(), 0);
}
