//! What listeners hear, and that they can't undo it.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use std::sync::{Arc, Mutex};

use session_native::{
    Client, ClientBinding, CookieHeld, EventKind, ManualClock, Rejection, Sessions, State, SubjectTag,
};
use support::{
    Data, World, config, cookie_of,
    store::{Fault, Op},
};

/// A world and what its listener heard.
fn heard(world: impl FnOnce(support::StoredSessions) -> support::StoredSessions) -> (World, Heard) {
    let heard = Heard::default();
    let listener = heard.clone();
    let world = World::with(config(), |sessions| {
        world(sessions).on_event(move |event| listener.0.lock().unwrap().push(event.kind))
    });
    (world, heard)
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<EventKind>>>);

impl Heard {
    fn take(&self) -> Vec<EventKind> {
        core::mem::take(&mut self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn a_session_tells_its_life() {
    use EventKind::{Destroyed, Expired, Issued, Loaded, Regenerated, Rejected, Saved, Started};

    let (world, heard) = heard(|sessions| sessions);
    let cookie = world.sign_in("ada").await;
    assert_eq!(heard.take(), [Started, Issued]);

    let mut session = world.load(&cookie).await.unwrap();
    assert_eq!(world.commit(&mut session).await.unwrap(), None);
    assert_eq!(heard.take(), [Loaded], "a request that changes nothing");
    session.data_mut().visits = 1;
    world.commit(&mut session).await.unwrap();
    assert_eq!(heard.take(), [Saved]);
    session.regenerate();
    let new = world.commit(&mut session).await.unwrap().unwrap();
    assert_eq!(heard.take(), [Saved, Regenerated, Issued]);

    world.load(&cookie).await.unwrap();
    assert_eq!(heard.take(), [Rejected(Rejection::Superseded)]);
    world.load("session=rubbish").await.unwrap();
    assert_eq!(heard.take(), [Rejected(Rejection::Malformed)]);
    world.load("").await.unwrap();
    assert_eq!(heard.take(), [], "a visitor without a cookie");

    let mut late = world.load(&new).await.unwrap();
    let mut logout = world.load(&cookie).await.unwrap();
    heard.take();
    world.sessions.destroy(&mut logout).await.unwrap();
    assert_eq!(heard.take(), [Destroyed], "with the token of before");
    let mut rubbish = world.load("session=rubbish").await.unwrap();
    heard.take();
    world.sessions.destroy(&mut rubbish).await.unwrap();
    assert_eq!(heard.take(), [], "nothing ended");
    late.data_mut().visits = 9;
    assert!(world.commit(&mut late).await.is_err());
    assert_eq!(heard.take(), [Rejected(Rejection::Revoked)]);

    let cookie = world.sign_in("ada").await;
    heard.take();
    world.advance(3600);
    world.load(&cookie).await.unwrap();
    assert_eq!(heard.take(), [Expired]);
}

/// What an audit log is for.
#[tokio::test]
async fn what_an_administrator_ends_is_told() {
    use EventKind::{Cleared, Destroyed, SubjectRevoked};

    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let world = World::with(config(), |sessions| {
        sessions.on_event(move |event| {
            assert!(event.kind == EventKind::Started || event.session.is_none());
            if !matches!(event.kind, EventKind::Started | EventKind::Issued) {
                listener.lock().unwrap().push((event.kind, event.key, event.subject));
            }
        })
    });
    let take = || core::mem::take(&mut *heard.lock().unwrap());
    let mut keys = Vec::new();
    for _ in 0..4 {
        let mut session = world.sessions.create();
        session.authenticate("ada");
        world.sessions.commit(&mut session).await.unwrap();
        keys.push(session.key().unwrap());
    }
    assert!(world.sessions.revoke(&keys[0]).await.unwrap());
    assert!(!world.sessions.revoke(&keys[0]).await.unwrap());
    assert_eq!(take(), [(Destroyed, Some(keys[0]), None)], "once");
    assert_eq!(world.sessions.delete_where(|summary| summary.key == keys[1]).await.unwrap(), 1);
    assert_eq!(take(), [(Destroyed, Some(keys[1]), None)]);
    assert_eq!(world.sessions.revoke_others("ada", &keys[2]).await.unwrap(), 1);
    assert_eq!(take(), [(Destroyed, Some(keys[3]), None)]);
    world.sessions.revoke_subject("ada").await.unwrap();
    world.sessions.clear().await.unwrap();
    assert_eq!(take(), [(SubjectRevoked, None, Some(SubjectTag::new("ada"))), (Cleared, None, None)]);

    world.stage.fail(Op::Delete, Fault::Before);
    assert!(world.sessions.revoke(&keys[2]).await.is_err());
    assert_eq!(take(), [], "nobody knows that it ended");
}

/// In this process.
#[tokio::test]
async fn a_subject_whose_cookies_are_refused_is_told() {
    let heard = Heard::default();
    let listener = heard.clone();
    let sessions = Sessions::<Data, CookieHeld>::cookie(config()).unwrap();
    let sessions = sessions.on_event(move |event| listener.0.lock().unwrap().push(event.kind));
    sessions.revoke_subject("ada").await.unwrap();
    assert_eq!(heard.take(), [EventKind::SubjectRevoked]);
}

#[tokio::test]
async fn what_failed_is_no_event() {
    let (world, heard) = heard(|sessions| sessions);
    let cookie = world.sign_in("ada").await;
    let mut session = world.load(&cookie).await.unwrap();
    heard.take();
    world.stage.fail(Op::Delete, Fault::Before);
    assert!(world.sessions.destroy(&mut session).await.is_err());
    session.regenerate();
    world.stage.fail(Op::Save, Fault::Before);
    assert!(world.commit(&mut session).await.is_err());
    world.stage.fail(Op::Load, Fault::Before);
    assert!(world.load(&cookie).await.is_err());
    assert_eq!(heard.take(), []);
}

// Row 16.
#[tokio::test]
async fn a_listener_that_panics_undoes_nothing() {
    let (world, heard) = heard(|sessions| sessions.on_event(|event| panic!("on {:?}", event.kind)));
    let cookie = world.sign_in("ada").await;
    let mut session = world.load(&cookie).await.unwrap();
    session.data_mut().visits = 1;
    world.commit(&mut session).await.unwrap();
    assert_eq!(world.data(&cookie).await.visits, 1);
    assert!(world.sessions.destroy(&mut session).await.unwrap().is_some());
    assert_eq!(session.state(), State::Destroyed);
    assert_eq!(world.load(&cookie).await.unwrap().rejection(), Some(Rejection::Revoked));
    // And the ones after it hear everything.
    use EventKind::{Destroyed, Issued, Loaded, Rejected, Saved, Started};
    let expected = [Started, Issued, Loaded, Saved, Loaded, Destroyed, Rejected(Rejection::Revoked)];
    assert_eq!(heard.take(), expected);
}

#[tokio::test]
async fn events_come_after_what_they_tell() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&seen);
    let world = World::with(config(), |sessions| {
        sessions.on_event(move |event| {
            let session = event.session.expect("an active session");
            assert_eq!(event.key, session.key());
            listener.lock().unwrap().push((event.kind, session.state(), session.rotation()));
        })
    });
    let cookie = world.sign_in("ada").await;
    let mut session = world.load(&cookie).await.unwrap();
    session.regenerate();
    world.commit(&mut session).await.unwrap();
    world.sessions.destroy(&mut session).await.unwrap();
    use EventKind::{Destroyed, Issued, Loaded, Regenerated, Saved, Started};
    let expected = [
        (Started, State::Active, 0),
        (Issued, State::Active, 0),
        (Loaded, State::Active, 0),
        (Saved, State::Active, 1),
        (Regenerated, State::Active, 1),
        (Issued, State::Active, 1),
        (Destroyed, State::Destroyed, 1),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_session_of_another_client_is_an_event() {
    let heard = Heard::default();
    let listener = heard.clone();
    let config = config().client_binding(Some(ClientBinding::user_agent()));
    let sessions = Sessions::<Data, CookieHeld>::cookie(config).unwrap().clock(ManualClock::default());
    let sessions = sessions.on_event(move |event| listener.0.lock().unwrap().push(event.kind));
    let [here, there] = [b"Mozilla/5.0".as_slice(), b"curl"]
        .map(|user_agent| Client { ip: None, user_agent: Some(user_agent) });
    let mut session = sessions.create_for(&here).unwrap();
    let cookie = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
    assert_eq!(heard.take(), [EventKind::Started, EventKind::Issued]);
    assert!(sessions.load(&cookie, &there).await.unwrap().is_new());
    assert_eq!(heard.take(), [EventKind::Rejected(Rejection::BoundElsewhere)]);
    assert!(!sessions.load(&cookie, &here).await.unwrap().is_new());
    assert_eq!(heard.take(), [EventKind::Loaded]);
}
