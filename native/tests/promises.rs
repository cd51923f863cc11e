//! What sessions in a store promise when the store fails, when time passes, when keys change, and to visitors who make tokens up.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
};

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use session_core::{Kind, RandomError, TokenCodec};
use session_native::{
    Client, ClientBinding, Clock as _, Config, CoreError, Error, EventKind, Key, KeyRing, OsRandom,
    Query as _, Random, Rejection, Secret, Session, SessionData, Sessions, State, Store as _, StoreError,
    SubjectTag,
    store::{Lookup, Saved},
};
use support::{
    Data, World, config, cookie_of,
    store::Outside,
    store::{Fault, Op},
};

// Row 10, P6.
#[tokio::test]
async fn a_destroy_that_failed_says_so_and_leaves_the_session() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let mut session = world.load(&cookie).await.unwrap();
    world.stage.fail(Op::Delete, Fault::Before);
    assert!(matches!(world.sessions.destroy(&mut session).await, Err(Error::Store(_))));
    assert_eq!((session.state(), session.subject()), (State::Active, Some("ada")));
    assert_eq!(world.commit(&mut session).await.unwrap(), None, "the cookie is left alone");
    assert_eq!(world.load(&cookie).await.unwrap().subject(), Some("ada"));
    assert!(world.sessions.destroy(&mut session).await.unwrap().is_some());
    assert_eq!(world.load(&cookie).await.unwrap().rejection(), Some(Rejection::Revoked));
}

// Row 10, P6.
#[tokio::test]
async fn a_destroy_whose_answer_was_lost_can_be_tried_again() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let mut session = world.load(&cookie).await.unwrap();
    world.stage.fail(Op::Delete, Fault::After);
    assert!(matches!(world.sessions.destroy(&mut session).await, Err(Error::Store(_))));
    assert!(world.sessions.destroy(&mut session).await.unwrap().is_some());
    assert_eq!(session.state(), State::Destroyed);
    assert_eq!(world.load(&cookie).await.unwrap().state(), State::Anonymous(Some(Rejection::Revoked)));
}

/// The session of `ada`, whose token is rotated in one tab: the cookies of before and after.
async fn rotated(world: &World) -> (String, String) {
    let old = world.sign_in("ada").await;
    let mut step_up = world.load(&old).await.unwrap();
    step_up.regenerate();
    let new = world.commit(&mut step_up).await.unwrap().unwrap();
    (old, new)
}

// Row 10, P1: a logout in one tab, a step-up in another. Who is told that they are signed out must be.
#[tokio::test]
async fn a_logout_with_a_token_of_before_a_rotation_ends_the_session() {
    for wait in [Duration::ZERO, config().rotation_grace] {
        let world = World::new();
        let (old, new) = rotated(&world).await;
        world.clock.advance(wait);
        let mut logout = world.load(&old).await.unwrap();
        assert!(logout.is_new() && logout.key().is_none(), "it reads nothing of the session");
        let removal = world.sessions.destroy(&mut logout).await.unwrap();
        assert_eq!(removal.map(|removal| removal.value().len()), Some(0));
        assert_eq!(logout.state(), State::Destroyed);
        assert_eq!(world.load(&new).await.unwrap().rejection(), Some(Rejection::Revoked));
        assert_eq!(world.sessions.destroy(&mut logout).await.unwrap(), None, "once");
    }

    // The rotation comes between this request's load and its logout, and it hears of that first.
    let world = World::new();
    let old = world.sign_in("ada").await;
    let mut logout = world.load(&old).await.unwrap();
    let mut step_up = world.load(&old).await.unwrap();
    step_up.regenerate();
    let new = world.commit(&mut step_up).await.unwrap().unwrap();
    logout.data_mut().visits = 1;
    assert!(matches!(world.commit(&mut logout).await, Err(Error::Ended(Rejection::Superseded))));
    assert!(world.sessions.destroy(&mut logout).await.unwrap().is_some());
    assert_eq!(world.load(&new).await.unwrap().rejection(), Some(Rejection::Revoked));
}

// Row 10, P6.
#[tokio::test]
async fn a_logout_with_an_old_token_that_failed_says_so_and_can_be_tried_again() {
    let world = World::new();
    let (old, new) = rotated(&world).await;
    let mut logout = world.load(&old).await.unwrap();
    world.stage.fail(Op::Delete, Fault::Before);
    assert!(matches!(world.sessions.destroy(&mut logout).await, Err(Error::Store(_))));
    assert_eq!(logout.rejection(), Some(Rejection::Superseded));
    assert!(world.load(&new).await.unwrap().is_authenticated());
    assert!(world.sessions.destroy(&mut logout).await.unwrap().is_some());
    assert!(world.load(&new).await.unwrap().is_new());
}

// Row 10: the user signs out on the way, with the session that is bound to the address at home.
#[tokio::test]
async fn a_logout_from_another_client_ends_the_session() {
    let world = World::with(config().client_binding(Some(ClientBinding::ip())), |sessions| sessions);
    let client = |ip: &str| Client { ip: Some(ip.parse().unwrap()), user_agent: None };
    let (home, away) = (client("203.0.113.7"), client("198.51.100.9"));
    let mut session = world.sessions.create_for(&home).unwrap();
    session.authenticate("ada");
    let cookie = world.commit(&mut session).await.unwrap().unwrap();
    let mut logout = world.sessions.load(&cookie, &away).await.unwrap();
    assert_eq!(logout.rejection(), Some(Rejection::BoundElsewhere));
    assert!(world.sessions.destroy(&mut logout).await.unwrap().is_some());
    let at_home = world.sessions.load(&cookie, &home).await.unwrap();
    assert_eq!(at_home.rejection(), Some(Rejection::Revoked));
}

// Row 10: a cookie that shadows another doesn't save that one's session.
#[tokio::test]
async fn a_logout_ends_every_session_that_its_cookies_name() {
    let world = World::new();
    let [(first, first_new), (second, second_new)] = [rotated(&world).await, rotated(&world).await];
    let cookies = format!("{first}; session=rubbish; {second}");
    let mut logout = world.load(&cookies).await.unwrap();
    assert!(world.sessions.destroy(&mut logout).await.unwrap().is_some());
    for cookie in [first_new, second_new] {
        assert_eq!(world.load(&cookie).await.unwrap().rejection(), Some(Rejection::Revoked));
    }

    // What isn't asked for isn't done: a session that began on such a request goes its own way until then.
    let (old, new) = rotated(&world).await;
    world.clock.advance(config().rotation_grace);
    let mut session = world.load(&old).await.unwrap();
    session.authenticate("bob");
    let bob = world.commit(&mut session).await.unwrap().unwrap();
    assert!(world.load(&new).await.unwrap().is_authenticated());
    assert!(world.sessions.destroy(&mut session).await.unwrap().is_some());
    for cookie in [bob, new] {
        assert!(world.load(&cookie).await.unwrap().is_new());
    }
}

// Row 10: there is nothing to end, and no store is asked; the client forgets what is of no use.
#[tokio::test]
async fn a_logout_with_a_dead_cookie_removes_it() {
    let world = World::new();
    let living = world.sign_in("ada").await;
    let expired = world.sign_in("ada").await;
    world.clock.advance(config().expiry.idle());
    let bystander = world.sign_in("ada").await;
    let stranger = World::with(Config::testing(Secret::generate(&OsRandom).unwrap()), |sessions| sessions);
    let foreign = stranger.sign_in("ada").await;
    let unstored = World::new().sign_in("ada").await;
    for cookie in ["session=rubbish".to_owned(), foreign, expired, living, unstored] {
        let mut session = world.load(&cookie).await.unwrap();
        assert!(session.rejection().is_some());
        let calls = world.stage.calls();
        assert!(world.sessions.destroy(&mut session).await.unwrap().is_some(), "{cookie}");
        assert_eq!((session.state(), world.stage.calls()), (State::Destroyed, calls), "{cookie}");
    }
    assert!(world.load(&bystander).await.unwrap().is_authenticated());
}

// Row 38, P6.
#[tokio::test]
async fn a_store_that_is_down_makes_nobody_anonymous() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    world.stage.down(true);
    let error = world.load(&cookie).await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Unavailable { .. })) && error.is_unavailable());
    assert!(world.sessions.revoke_subject("ada").await.is_err());
    assert!(world.sessions.revoke(&Key::from_bytes([0; 16])).await.is_err());
    assert!(world.sessions.by_subject("ada").await.is_err());
    assert!(world.sessions.count(|_| true).await.is_err());
    // Who has no token is a visitor all the same.
    assert_eq!(world.load("").await.unwrap().state(), State::Anonymous(None));
    world.stage.down(false);
    assert_eq!(world.load(&cookie).await.unwrap().subject(), Some("ada"));
}

/// All ways a save can fail, for all kinds of saves: the second commit does what the first should have done, once.
#[tokio::test]
async fn a_commit_that_failed_can_be_made_again_and_is_applied_once() {
    for fault in [Fault::Before, Fault::After] {
        // A new session.
        let world = World::new();
        let mut session = world.sessions.create();
        session.data_mut().visits = 1;
        session.authenticate("ada");
        world.stage.fail(Op::Create, fault);
        assert!(matches!(world.commit(&mut session).await, Err(Error::Store(_))), "{fault:?}");
        assert!(session.is_new());
        let cookie = world.commit(&mut session).await.unwrap().expect("a new session has a cookie");
        assert_eq!(world.data(&cookie).await.visits, 1);
        assert_eq!(world.sessions.by_subject("ada").await.unwrap().len(), 1, "{fault:?}: stored once");

        // A change.
        let mut session = world.load(&cookie).await.unwrap();
        session.data_mut().visits += 1;
        session.flash_mut().set_notice("saved");
        world.stage.fail(Op::Save, fault);
        assert!(matches!(world.commit(&mut session).await, Err(Error::Store(_))), "{fault:?}");
        let version = session.version().counter;
        assert_eq!(world.commit(&mut session).await.unwrap(), None);
        assert_eq!(session.version().counter, version + 1, "{fault:?}: saved once");
        assert_eq!(world.data(&cookie).await.visits, 2);

        // A rotation, without and with another change before the second try.
        for more in [false, true] {
            let cookie = world.sign_in("bob").await;
            let mut session = world.load(&cookie).await.unwrap();
            session.authenticate("bob");
            world.stage.fail(Op::Save, fault);
            assert!(matches!(world.commit(&mut session).await, Err(Error::Store(_))), "{fault:?}");
            if more {
                session.data_mut().fields.a = 1;
            }
            let rotated = world.commit(&mut session).await.unwrap().expect("a rotation has a cookie");
            assert_eq!(session.rotation(), 1, "{fault:?}: rotated once");
            assert_eq!(world.data(&rotated).await.fields.a, u64::from(more));
            assert_eq!(world.load(&cookie).await.unwrap().rejection(), Some(Rejection::Superseded));
        }
        assert!(world.stage.all_failed());
    }
}

#[tokio::test]
async fn an_update_that_failed_changed_nothing_and_counts_once_when_made_again() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let mut session = world.load(&cookie).await.unwrap();
    world.stage.fail(Op::Save, Fault::Before);
    let failed = world.sessions.update(&mut session, |data| data.visits += 1).await;
    assert!(matches!(failed, Err(Error::Store(_))));
    assert_eq!(session.data().visits, 0);
    assert_eq!(
        world
            .sessions
            .update(&mut session, |data| {
                data.visits += 1;
                data.visits
            })
            .await
            .unwrap(),
        1
    );
    assert_eq!(world.data(&cookie).await.visits, 1);

    // One whose answer was lost may have been applied; what is saved later doesn't take it back.
    world.stage.fail(Op::Save, Fault::After);
    assert!(world.sessions.update(&mut session, |data| data.visits += 1).await.is_err());
    session.data_mut().fields.a = 1;
    world.commit(&mut session).await.unwrap();
    let data = world.data(&cookie).await;
    assert_eq!((data.visits, data.fields.a), (2, 1));
}

// Row 15: P2 at scale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_count_to_1200() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let writers = (0..8).map(|_| {
        let (world, cookie) = (world.clone(), cookie.clone());
        tokio::spawn(async move {
            let mut session = world.load(&cookie).await.unwrap();
            for _ in 0..150 {
                world.sessions.update(&mut session, |data| data.visits += 1).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(world.data(&cookie).await.visits, 1200);
}

// Row 15: two concurrent requests that set different keys, one of them lost, is the peers' fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_of_different_fields_lose_none() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let writers = (0..8).map(|field| {
        let (world, cookie) = (world.clone(), cookie.clone());
        tokio::spawn(async move {
            for _ in 0..50 {
                let mut session = world.load(&cookie).await.unwrap();
                *session.data_mut().fields.get_mut(field) += 1;
                world.commit(&mut session).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let mut data = world.data(&cookie).await;
    assert_eq!(core::array::from_fn::<u64, 8, _>(|field| *data.fields.get_mut(field)), [50; 8]);
}

// Row 37.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_thousand_interleaved_requests_each_sees_its_own() {
    let world = World::new();
    let mut users = Vec::new();
    for number in 0..10 {
        let name = number.to_string();
        users.push((world.sign_in(&name).await, name));
    }
    let tasks = users.into_iter().map(|(cookie, name)| {
        let world = world.clone();
        tokio::spawn(async move {
            for request in 0..1000 {
                let mut session = world.load(&cookie).await.unwrap();
                assert_eq!((session.subject(), session.data().visits), (Some(&*name), request));
                session.data_mut().visits += 1;
                world.commit(&mut session).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

// Row 2: strict mode.
#[tokio::test]
async fn a_thousand_invented_tokens_create_nothing() {
    let world = World::new();
    let codec = TokenCodec::new(&config().keys, Kind::Reference, &config().cookie.name);
    let stranger = KeyRing::new(&Secret::generate(&OsRandom).unwrap());
    let forger = TokenCodec::new(&stranger, Kind::Reference, &config().cookie.name);
    let until = world.clock.now() + Duration::from_secs(60);
    for number in 0..1000_u32 {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        let payload = format!("{}.0.0.{}.1\n", Key::from_bytes(bytes), until.as_millis());
        let [ours, theirs] =
            [&codec, &forger].map(|codec| codec.seal((&payload).into(), until, false, &OsRandom).unwrap());
        let uuid = format!("00000000-0000-4000-8000-{number:012}");
        // With our own key, even, an id that was never stored is not adopted.
        for (token, calls) in [(ours.as_str(), 1), (&theirs, 0), (&uuid, 0), ("", 0), (&"A".repeat(9000), 0)]
        {
            let before = world.stage.calls();
            let mut session = world.load(&format!("session={token}")).await.unwrap();
            assert!(session.is_new());
            assert_eq!(world.commit(&mut session).await.unwrap(), None);
            assert_eq!(world.stage.calls() - before, calls, "store calls for {token}");
            if number == 0 && !token.is_empty() {
                // What it begins has an id of its own.
                session.data_mut().visits = 1;
                let cookie = world.commit(&mut session).await.unwrap().expect("a new session");
                assert_ne!(session.key(), Some(Key::from_bytes(bytes)));
                assert!(!cookie.contains(token));
                world.sessions.destroy(&mut session).await.unwrap();
            }
        }
    }
    assert!(world.sessions.is_empty().await.unwrap());
}

// Row 3.
#[tokio::test]
async fn ten_thousand_anonymous_requests_leave_nothing() {
    let world = World::new();
    for _ in 0..10_000 {
        let mut session = world.load("other=1").await.unwrap();
        let _ = (session.data().visits, session.flash().notice());
        // A value that is equal to what was there is no change.
        session.data_mut().visits = 0;
        assert_eq!(world.commit(&mut session).await.unwrap(), None);
        assert_eq!(world.sessions.destroy(&mut session).await.unwrap(), None, "nor does a logout");
    }
    assert_eq!((world.stage.calls(), world.memory.stats().sessions), (0, 0));
}

// Row 9.
#[tokio::test]
async fn a_session_that_is_used_ends_at_its_absolute_end_and_not_a_second_later() {
    let world = World::new();
    let begin = world.clock.now();
    let mut cookie = world.sign_in("ada").await;
    let (idle, absolute) = (config().expiry.idle(), config().expiry.absolute());
    let end = begin + absolute;
    while end.since(world.clock.now()) > idle / 2 {
        world.clock.advance(idle / 2);
        let mut session = world.load(&cookie).await.unwrap();
        assert_eq!(session.state(), State::Active, "after {:?}", world.clock.now().since(begin));
        assert!(session.expires_at() <= end);
        cookie = world.commit(&mut session).await.unwrap().unwrap_or(cookie);
        let key = session.key().unwrap();
        let record = world.memory.load(&key, Lookup::default()).await.unwrap().unwrap().record;
        assert!(record.expires_at <= end, "the record never outlives the absolute end");
    }
    world.clock.advance(end.since(world.clock.now()) - Duration::from_secs(1));
    assert_eq!(world.load(&cookie).await.unwrap().state(), State::Active);
    world.advance(1);
    assert_eq!(world.load(&cookie).await.unwrap().rejection(), Some(Rejection::Expired));
    assert!(world.sessions.by_subject("ada").await.unwrap().is_empty());
}

// Row 9.
#[tokio::test]
async fn an_unused_session_ends_after_its_idle_timeout() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    world.clock.advance(config().expiry.idle() - Duration::from_millis(1));
    assert_eq!(world.memory.stats().hits, 0);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.load(&cookie).await.unwrap().rejection(), Some(Rejection::Expired));
    assert_eq!(world.stage.calls(), 2, "an expired token costs no store call");
}

#[tokio::test]
async fn a_session_that_does_not_slide_is_not_extended_by_saves() {
    let expiry = config().expiry.sliding(false);
    let world = World::with(config().expiry(expiry), |sessions| sessions);
    let cookie = world.sign_in("ada").await;
    let end = world.clock.now() + expiry.idle();
    for _ in 0..5 {
        world.clock.advance(expiry.idle() / 6);
        let mut session = world.load(&cookie).await.unwrap();
        session.data_mut().visits += 1;
        assert_eq!(world.commit(&mut session).await.unwrap(), None);
        assert_eq!(session.expires_at(), end);
    }
    world.clock.advance(end.since(world.clock.now()));
    assert!(world.load(&cookie).await.unwrap().is_new());
}

// Row 12.
#[tokio::test]
async fn signing_out_everywhere_ends_all_hundred() {
    let world = World::new();
    let mut cookies = Vec::new();
    for _ in 0..100 {
        cookies.push(world.sign_in("ada").await);
    }
    let other = world.sign_in("bob").await;
    let mut in_flight = world.load(&cookies[0]).await.unwrap();
    world.sessions.revoke_subject("ada").await.unwrap();
    let after = world.sign_in("ada").await;
    for cookie in &cookies {
        assert_eq!(world.load(cookie).await.unwrap().rejection(), Some(Rejection::Revoked));
    }
    assert!(world.load(&other).await.unwrap().is_authenticated());
    assert!(world.load(&after).await.unwrap().is_authenticated());
    assert_eq!(world.sessions.by_subject("ada").await.unwrap().len(), 1);
    // A request that was in flight doesn't bring its session back.
    in_flight.data_mut().visits = 1;
    let _ = world.commit(&mut in_flight).await;
    assert!(world.load(&cookies[0]).await.unwrap().is_new());
}

// Row 12: one, and all others.
#[tokio::test]
async fn one_session_and_all_others_can_be_signed_out() {
    let world = World::new();
    let [here, there, elsewhere] =
        [world.sign_in("ada").await, world.sign_in("ada").await, world.sign_in("ada").await];
    let bob = world.sign_in("bob").await;
    let key = world.load(&there).await.unwrap().key().unwrap();
    assert!(world.sessions.revoke(&key).await.unwrap());
    assert!(!world.sessions.revoke(&key).await.unwrap());
    let kept = world.load(&here).await.unwrap().key().unwrap();
    assert_eq!(world.sessions.revoke_others("ada", &kept).await.unwrap(), 1);
    for (cookie, alive) in [(here, true), (there, false), (elsewhere, false), (bob, true)] {
        assert_eq!(world.load(&cookie).await.unwrap().is_authenticated(), alive);
    }
}

// Row 20: two nodes whose key rings are one refresh apart.
#[tokio::test]
async fn nodes_whose_keys_differ_by_one_refresh_accept_each_other() {
    let [old, new] = [(); 2].map(|()| Secret::generate(&OsRandom).unwrap());
    let world = World::new();
    let node = |config: Config| {
        let store = support::store::StagedStore::new(world.memory.clone(), Arc::clone(&world.stage));
        Sessions::<Data, _>::new(config, store).unwrap().clock(world.clock.clone())
    };
    // The new key is made known first, as one that opens, and seals only after every node has it.
    let nodes = [
        node(Config::testing(old.clone())),
        node(Config::testing(old.clone()).previous_secret(&new)),
        node(Config::testing(new.clone()).previous_secret(&old)),
        node(Config::testing(new.clone())),
    ];
    let client = Client::default();
    for step in 0..3 {
        let pair = [&nodes[step], &nodes[step + 1]];
        for (from, to) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            // Without the old key, only what it sealed is refused: a node goes there when that has expired.
            if step == 2 && core::ptr::eq(to, pair[1]) {
                continue;
            }
            let mut session = from.create();
            let cookie = from.commit(&mut session).await.unwrap().unwrap();
            let mut loaded = to.load(cookie_of(&cookie), &client).await.unwrap();
            assert_eq!(loaded.state(), State::Active, "step {step}");
            // Sealed anew with the node's own key, once, though nothing changed.
            let resealed = to.commit(&mut loaded).await.unwrap();
            let differs = from.config().keys.sealing_key_id() != to.config().keys.sealing_key_id();
            assert_eq!(resealed.is_some(), differs, "step {step}");
            assert!(to.commit(&mut loaded).await.unwrap().is_none());
            if let Some(resealed) = resealed {
                let again = to.load(cookie_of(&resealed), &client).await.unwrap();
                assert!(again.is_same(&loaded));
                assert!(from.load(cookie_of(&resealed), &client).await.unwrap().is_same(&loaded));
            }
        }
    }
}

// Rows 19 and 30. As far as it shows: of four garbage cookies none costs a store call, and the fifth candidate isn't tried.
#[tokio::test]
async fn a_cookie_that_shadows_the_session_does_not_hide_it() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let dead = world.sign_in("eve").await;
    let mut ended = world.load(&dead).await.unwrap();
    world.sessions.destroy(&mut ended).await.unwrap();
    for before in
        ["session=; ", "session=planted; ", "session=a; session=b; session=c; ", &format!("{dead}; ")]
    {
        let session = world.load(&format!("{before}{cookie}")).await.unwrap();
        assert_eq!(session.subject(), Some("ada"), "{before}");
    }
    let calls = world.stage.calls();
    let hidden = world.load(&format!("session=a; session=b; session=c; session=d; {cookie}")).await.unwrap();
    assert_eq!((hidden.rejection(), world.stage.calls()), (Some(Rejection::Malformed), calls));
    let fields = [b"session=a; x=1".as_slice(), cookie.as_bytes()];
    let split = world.sessions.load_from(fields, &Client::default()).await.unwrap();
    assert_eq!(split.subject(), Some("ada"), "two header fields");
    // What an authentic token was refused for says more.
    let refused = world.load(&format!("{dead}; session=garbage")).await.unwrap();
    assert_eq!(refused.rejection(), Some(Rejection::Revoked));
    // A cookie of another name is another cookie.
    let renamed = cookie.replacen("session=", "Session=", 1);
    assert_eq!(world.load(&renamed).await.unwrap().rejection(), None);
}

// Row 35.
#[tokio::test]
async fn swapped_values_are_errors_for_both() {
    let memory = session_native::MemoryStore::new();
    let plain = config();
    let sealed = Config { encrypt_at_rest: true, ..config() };
    let deflated = Config { compress_records_from: Some(1), ..config() };
    for config in [plain, sealed, deflated] {
        let sessions = Sessions::<Data, _>::new(config, Outside(memory.clone())).unwrap();
        let mut owners = Vec::new();
        for visits in 1..=2 {
            let mut session = sessions.create();
            session.data_mut().visits = visits;
            let cookie = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
            let key = session.key().unwrap();
            let record = memory.load(&key, Lookup::default()).await.unwrap().unwrap().record;
            owners.push((cookie, key, record));
        }
        let [first, second] = owners.try_into().unwrap_or_else(|_| unreachable!());
        for (key, own, other) in [(first.1, &first.2, &second.2), (second.1, &second.2, &first.2)] {
            let mut swapped = other.clone();
            swapped.version.nonce ^= 1;
            assert_eq!(memory.save(&key, &swapped, own.version).await, Ok(Saved::Stored));
        }
        for cookie in [first.0, second.0] {
            let loaded = sessions.load(&cookie, &Client::default()).await;
            assert!(matches!(loaded, Err(Error::Core(CoreError::Unreadable(_)))));
        }
    }
}

/// Fails when told to.
#[derive(Default)]
struct Dice(AtomicBool);

impl Random for Dice {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        if self.0.load(Ordering::SeqCst) { Err(RandomError) } else { OsRandom.fill(buffer) }
    }
}

// Row 1.
#[tokio::test]
async fn without_randomness_nothing_is_made() {
    let dice = Arc::new(Dice::default());
    let world = World::with(config().random(Arc::clone(&dice) as Arc<dyn Random>), |sessions| sessions);
    let cookie = world.sign_in("ada").await;
    let before = world.memory.stats();
    dice.0.store(true, Ordering::SeqCst);
    let mut fresh = world.sessions.create();
    assert!(matches!(world.commit(&mut fresh).await, Err(Error::Core(CoreError::Random(_)))));
    assert!(fresh.is_new());
    let mut session = world.load(&cookie).await.unwrap();
    session.regenerate();
    assert!(world.commit(&mut session).await.is_err());
    assert!(world.sessions.update(&mut session, |data| data.visits += 1).await.is_err());
    assert_eq!(world.memory.stats().created, before.created);
    assert_eq!(world.load(&cookie).await.unwrap().version().counter, 1);
    dice.0.store(false, Ordering::SeqCst);
    assert!(world.commit(&mut session).await.unwrap().is_some());
}

// A random source that gives an id twice: the second session doesn't come to be, and the first isn't touched.
#[tokio::test]
async fn an_id_that_is_taken_is_not_adopted() {
    struct Repeating;
    impl Random for Repeating {
        fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
            if buffer.len() == 16 {
                buffer.fill(7);
                return Ok(());
            }
            OsRandom.fill(buffer)
        }
    }
    let world = World::with(config().random(Arc::new(Repeating)), |sessions| sessions);
    let cookie = world.sign_in("ada").await;
    let mut second = world.sessions.create();
    second.data_mut().visits = 1;
    assert!(matches!(world.commit(&mut second).await, Err(Error::Core(CoreError::Random(_)))));
    assert!(second.is_new());
    let first = world.load(&cookie).await.unwrap();
    assert_eq!((first.subject(), first.data().visits), (Some("ada"), 0));
}

#[tokio::test]
async fn what_begins_after_a_session_ended_is_bound_to_the_client() {
    let policy = ClientBinding::ip();
    let world = World::with(config().client_binding(Some(policy)), |sessions| sessions);
    let [here, there] = ["203.0.113.7", "198.51.100.4"]
        .map(|ip| Client { ip: Some(ip.parse::<IpAddr>().unwrap()), user_agent: None });
    let mut session = world.sessions.create_for(&here).unwrap();
    let cookie = world.commit(&mut session).await.unwrap().unwrap();
    let mut session = world.sessions.load(&cookie, &here).await.unwrap();
    world.sessions.revoke(&session.key().unwrap()).await.unwrap();
    session.data_mut().visits = 1;
    assert!(matches!(world.commit(&mut session).await, Err(Error::Ended(Rejection::Revoked))));
    session.authenticate("ada");
    let cookie = world.commit(&mut session).await.unwrap().unwrap();
    let elsewhere = world.sessions.load(&cookie, &there).await.unwrap();
    assert_eq!(elsewhere.rejection(), Some(Rejection::BoundElsewhere));
    assert!(world.sessions.load(&cookie, &here).await.unwrap().is_authenticated());
    assert!(matches!(world.load(&cookie).await, Err(Error::ClientAddressUnknown)));
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Newer {
    visits: u64,
    plan: Option<String>,
}
impl SessionData for Newer {}

// A rolling upgrade: the older program doesn't know the field.
#[tokio::test]
async fn unknown_fields_survive_a_save_and_not_a_change_of_subject() {
    let world = World::new();
    let newer = Sessions::<Newer, _>::new(
        config(),
        support::store::StagedStore::new(world.memory.clone(), Arc::clone(&world.stage)),
    );
    let newer = newer.unwrap().clock(world.clock.clone());
    let mut session = newer.create();
    session.data_mut().plan = Some("gold".into());
    session.authenticate("ada");
    let cookie = cookie_of(&newer.commit(&mut session).await.unwrap().unwrap());

    let mut session = world.load(&cookie).await.unwrap();
    session.data_mut().visits = 1;
    world.commit(&mut session).await.unwrap();
    let seen = newer.load(&cookie, &Client::default()).await.unwrap();
    assert_eq!((seen.data().visits, seen.data().plan.as_deref()), (1, Some("gold")));

    let mut session = world.load(&cookie).await.unwrap();
    session.authenticate("bob");
    let cookie = world.commit(&mut session).await.unwrap().unwrap();
    let seen = newer.load(&cookie, &Client::default()).await.unwrap();
    assert_eq!((seen.subject(), seen.data().visits, seen.data().plan.as_deref()), (Some("bob"), 0, None));
}

// Row 8: fifty requests that run over a login; the browser keeps what comes last.
#[tokio::test]
async fn parallel_requests_over_a_login_never_overwrite_the_new_token() {
    const REQUESTS: usize = 50;

    let mut dice = Shuffle(1);
    let (mut after, mut refused) = (0, 0);
    for round in 0..1000_u64 {
        let world = World::new();
        let mut jar = world.commit(&mut world.sessions.create()).await.unwrap().unwrap();
        let old = jar.clone();
        world.advance([0, 600][(round % 2) as usize]);
        let mut new = None;
        let mut running: Vec<Option<Session<Data>>> = vec![None; REQUESTS];
        // Each request comes and goes once, in any order; the first is the login.
        let mut steps: Vec<usize> = (0..REQUESTS).chain(0..REQUESTS).collect();
        for last in (1..steps.len()).rev() {
            steps.swap(last, dice.below(last + 1));
        }
        for number in steps {
            let Some(mut session) = running[number].take() else {
                running[number] = Some(world.load(&old).await.unwrap());
                continue;
            };
            let act = if number == 0 { 0 } else { 1 + dice.below(3) };
            match act {
                0 => session.authenticate("ada"),
                1 => session.data_mut().visits += 1,
                2 => session.flash_mut().set_notice("hello"),
                _ => {}
            }
            // And once more, in case the first try put the request on the wrong track.
            for _ in 0..2 {
                match world.commit(&mut session).await {
                    Ok(Some(cookie)) => {
                        assert!(new.is_none(), "round {round}: a cookie after that of the login");
                        jar.clone_from(&cookie);
                        if number == 0 {
                            new = Some(cookie);
                        }
                    }
                    Ok(None) => {}
                    Err(Error::Ended(Rejection::Superseded)) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
                if new.is_some() && number != 0 {
                    after += 1;
                    session.data_mut().visits += 1;
                }
            }
        }
        assert_eq!(Some(&jar), new.as_ref(), "round {round}");
        assert!(world.load(&jar).await.unwrap().is_authenticated());
        assert_eq!(world.memory.stats().created, 1, "round {round}: no session was begun beside it");
    }
    println!("commits after the login: {after}, refused: {refused}");
    assert!(after > 10_000 && refused > 10_000, "the scenario happens");
}

/// A seeded random source (xorshift64*): the same schedules in every run.
struct Shuffle(u64);

impl Shuffle {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

// Row 7: refused on both sides of the grace; what differs is what it means.
#[tokio::test]
async fn an_old_token_is_dead_at_once_and_a_sign_of_theft_after_the_grace() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let world = World::with(config(), |sessions| {
        let heard = Arc::clone(&heard);
        sessions.on_event(move |event| {
            if let EventKind::Rejected(reason) = event.kind {
                heard.lock().unwrap().push((reason, event.key));
            }
        })
    });
    let grace = config().rotation_grace;
    let old = world.sign_in("ada").await;
    let mut session = world.load(&old).await.unwrap();
    let key = session.key();
    world.advance(100); // counts from the rotation, not from the beginning
    session.regenerate();
    let new = world.commit(&mut session).await.unwrap().unwrap();
    heard.lock().unwrap().clear();

    for (wait, reason) in [
        (Duration::ZERO, Rejection::Superseded),
        (grace - Duration::from_millis(1), Rejection::Superseded),
        (Duration::from_millis(1), Rejection::Reused),
        (Duration::from_secs(1000), Rejection::Reused),
    ] {
        world.clock.advance(wait);
        let late = world.load(&old).await.unwrap();
        assert_eq!(late.state(), State::Anonymous(Some(reason)));
        assert_eq!(heard.lock().unwrap().drain(..).collect::<Vec<_>>(), [(reason, key)]);
    }
    assert!(world.load(&new).await.unwrap().is_authenticated(), "a sign is no sentence");

    // Invented tokens never are one, also those that name a session which never was.
    let strangers = World::with(Config::testing(Secret::generate(&OsRandom).unwrap()), |sessions| sessions);
    for number in 0..100 {
        let foreign = strangers.sign_in("ada").await;
        let forged = old.replace(&old[old.len() - 3..], &format!("{number:03}"));
        for cookie in [foreign, forged, format!("session={number}")] {
            world.load(&cookie).await.unwrap();
        }
    }
    let other = World::new(); // the same keys, another store
    world.load(&other.sign_in("eve").await).await.unwrap();
    let reasons = heard.lock().unwrap();
    assert!(reasons.len() >= 301 && reasons.iter().all(|(reason, _)| *reason != Rejection::Reused));
}

// Row 8.
#[tokio::test]
async fn what_comes_with_a_token_that_was_replaced_just_now_begins_no_session() {
    let world = World::new();
    let old = world.sign_in("ada").await;
    let mut session = world.load(&old).await.unwrap();
    session.regenerate();
    world.commit(&mut session).await.unwrap();
    let created = world.memory.stats().created;
    let stray = World::new().sign_in("bob").await; // authentic, and stored nowhere here
    for cookies in [old.clone(), format!("{old}; {stray}"), format!("{stray}; {old}; session=rubbish")] {
        let mut late = world.load(&cookies).await.unwrap();
        assert_eq!(world.commit(&mut late).await.unwrap(), None);
        for _ in 0..2 {
            late.data_mut().visits = 1;
            late.authenticate("eve");
            assert!(matches!(world.commit(&mut late).await, Err(Error::Ended(Rejection::Superseded))));
            assert_eq!((late.subject(), late.data().visits), (None, 0));
        }
        let updated = world.sessions.update(&mut late, |data| data.visits = 1).await;
        assert!(matches!(updated, Err(Error::Ended(Rejection::Superseded))));
    }
    assert_eq!(world.memory.stats().created, created);

    // A client that never got the new token is not locked out for ever.
    world.clock.advance(config().rotation_grace);
    let mut late = world.load(&old).await.unwrap();
    late.authenticate("ada");
    let new = world.commit(&mut late).await.unwrap().expect("a new session");
    assert!(world.load(&new).await.unwrap().is_authenticated());
}

// A token that is refused must not keep the session alive.
#[tokio::test]
async fn a_token_of_before_a_rotation_extends_nothing() {
    let world = World::new();
    let old = world.sign_in("ada").await;
    let mut session = world.load(&old).await.unwrap();
    session.regenerate();
    world.commit(&mut session).await.unwrap();
    let ends =
        async || world.memory.by_subject(&SubjectTag::new("ada")).await.unwrap()[0].1.record.expires_at;
    let before = ends().await;
    world.advance(1800);
    assert_eq!(world.load(&old).await.unwrap().rejection(), Some(Rejection::Reused));
    assert_eq!(ends().await, before);
}

// P2: a request that waited long enough for an exact update gives it up, and goes on. Its later commit must not save what is left of that.
#[tokio::test]
async fn an_update_that_was_given_up_is_saved_exactly_or_not_at_all() {
    for executed in [false, true] {
        let world = World::new();
        let cookie = world.sign_in("ada").await;
        let [mut first, mut second] =
            [world.load(&cookie).await.unwrap(), world.load(&cookie).await.unwrap()];
        // What was changed before the update is saved before it, and stands.
        first.data_mut().fields.a = 1;
        world.commit(&mut first).await.unwrap();

        world.stage.stop_at_operations(!executed, executed);
        let given_up = world.sessions.update(&mut first, |data| data.visits += 1).now_or_never();
        world.stage.stop_at_operations(false, false);
        assert!(given_up.is_none(), "it waits for the store");
        assert_eq!((first.data().visits, first.data().fields.a), (0, 1));

        world.sessions.update(&mut second, |data| data.visits += 10).await.unwrap();
        assert_eq!(world.commit(&mut first).await.unwrap(), None);
        let visits = 10 + u64::from(executed);
        assert_eq!(world.data(&cookie).await.visits, visits, "executed: {executed}");

        first.data_mut().fields.b = 1;
        world.sessions.update(&mut first, |data| data.visits += 100).await.unwrap();
        let data = world.data(&cookie).await;
        assert_eq!((data.visits, data.fields.a, data.fields.b), (visits + 100, 1, 1));
    }
}

// P2.
#[tokio::test]
async fn an_update_that_panics_changes_nothing() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let mut session = world.load(&cookie).await.unwrap();
    let update = world.sessions.update(&mut session, |data| {
        data.visits = 7;
        panic!("a bug");
    });
    let outcome: Result<Result<(), Error>, _> = AssertUnwindSafe(update).catch_unwind().await;
    assert!(outcome.is_err());
    assert_eq!(session.data().visits, 0);
    world.commit(&mut session).await.unwrap();
    assert_eq!(world.data(&cookie).await.visits, 0);
}
