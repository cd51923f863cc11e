//! Sessions that the client keeps: what this process can promise about them.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::time::Duration;

use session_native::{
    Client, ClientBinding, Clock as _, CookieHeld, CookieOptions, CoreError, Error, ManualClock, Rejection,
    Session, Sessions, State,
};
use support::{Data, config, cookie_of};

struct Node {
    sessions: Sessions<Data, CookieHeld>,
    clock: ManualClock,
}

impl Node {
    fn new() -> Self {
        let clock = ManualClock::default();
        Self { sessions: Sessions::cookie(config()).unwrap().clock(clock.clone()), clock }
    }

    async fn load(&self, cookie: &str) -> Session<Data> {
        self.sessions.load(cookie, &Client::default()).await.unwrap()
    }

    async fn commit(&self, session: &mut Session<Data>) -> Result<Option<String>, Error> {
        Ok(self.sessions.commit(session).await?.as_ref().map(cookie_of))
    }

    async fn sign_in(&self, subject: &str) -> String {
        let mut session = self.sessions.create();
        session.authenticate(subject);
        self.commit(&mut session).await.unwrap().expect("a new session has a cookie")
    }
}

#[tokio::test]
async fn the_cookie_holds_the_session() {
    let node = Node::new();
    let mut session = node.sessions.create();
    session.data_mut().visits = 7;
    session.flash_mut().set_notice("hello");
    session.authenticate("ada");
    let cookie = node.commit(&mut session).await.unwrap().unwrap();
    // Any other process with the same keys reads it.
    let other = Node::new();
    let mut session = other.load(&cookie).await;
    assert_eq!((session.subject(), session.data().visits), (Some("ada"), 7));
    assert_eq!(session.flash().notice(), Some("hello"));
    let cookie = other.commit(&mut session).await.unwrap().expect("the message was shown");
    assert_eq!(node.load(&cookie).await.flash().notice(), None);
}

// Row 3.
#[tokio::test]
async fn requests_that_change_nothing_get_no_cookie() {
    let node = Node::new();
    let mut visitor = node.load("").await;
    assert_eq!(node.commit(&mut visitor).await.unwrap(), None);
    let cookie = node.sign_in("ada").await;
    let mut session = node.load(&cookie).await;
    session.data_mut().visits = 0;
    assert_eq!(node.commit(&mut session).await.unwrap(), None);
}

// Rows 10 and 11: on this node; others are out of its reach (see `CookieHeld`).
#[tokio::test]
async fn a_destroyed_session_is_dead_here_with_all_its_cookies() {
    let node = Node::new();
    let first = node.sign_in("ada").await;
    let mut session = node.load(&first).await;
    session.data_mut().visits = 1;
    let second = node.commit(&mut session).await.unwrap().unwrap();
    let mut late = node.load(&second).await;
    let mut late_rotation = node.load(&second).await;
    let removal = node.sessions.destroy(&mut session).await.unwrap().unwrap();
    assert_eq!((removal.value(), session.state()), ("", State::Destroyed));
    for cookie in [&first, &second] {
        assert_eq!(node.load(cookie).await.rejection(), Some(Rejection::Revoked));
    }
    // Row 14: a slow request that ends after the logout.
    late.data_mut().visits = 2;
    assert!(matches!(node.commit(&mut late).await, Err(Error::Ended(Rejection::Revoked))));
    late_rotation.authenticate("ada");
    assert!(matches!(node.commit(&mut late_rotation).await, Err(Error::Ended(Rejection::Revoked))));
    assert_eq!(node.commit(&mut late_rotation).await.unwrap(), None);
}

// Row 10, P1: a rotation in one tab, which makes the session last longer, a logout with the cookie of before in another.
#[tokio::test]
async fn a_logout_with_a_cookie_of_before_a_rotation_ends_the_session_for_good() {
    const MONTH: Duration = Duration::from_secs(30 * 86_400);
    for loaded_before in [false, true] {
        let node = Node::new();
        let old = node.sign_in("ada").await;
        let early = node.load(&old).await;
        let mut session = node.load(&old).await;
        session.authenticate("ada");
        session.remember_for(MONTH);
        let new = node.commit(&mut session).await.unwrap().unwrap();
        let mut logout = if loaded_before { early } else { node.load(&old).await };
        assert!(node.sessions.destroy(&mut logout).await.unwrap().is_some());
        for wait in [Duration::ZERO, config().expiry.absolute(), MONTH / 2] {
            node.clock.advance(wait);
            // So much comes and goes that what is outdated is forgotten.
            for _ in 0..200 {
                let mut passing = node.sessions.create();
                node.commit(&mut passing).await.unwrap();
                node.sessions.destroy(&mut passing).await.unwrap();
            }
            assert_eq!(node.load(&new).await.rejection(), Some(Rejection::Revoked), "{wait:?}");
        }
    }
}

// Row 10.
#[tokio::test]
async fn a_logout_from_another_client_ends_the_session() {
    let config = config().client_binding(Some(ClientBinding::user_agent()));
    let sessions = Sessions::<Data, CookieHeld>::cookie(config).unwrap();
    let [here, there] = [b"Mozilla/5.0".as_slice(), b"curl"]
        .map(|user_agent| Client { ip: None, user_agent: Some(user_agent) });
    let mut session = sessions.create_for(&here).unwrap();
    session.authenticate("ada");
    let cookie = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
    let mut logout = sessions.load(&cookie, &there).await.unwrap();
    assert_eq!(logout.rejection(), Some(Rejection::BoundElsewhere));
    assert!(sessions.destroy(&mut logout).await.unwrap().is_some());
    assert_eq!(sessions.load(&cookie, &here).await.unwrap().rejection(), Some(Rejection::Revoked));
}

#[tokio::test]
async fn a_late_extension_does_not_answer_for_a_dead_session() {
    let node = Node::new();
    let cookie = node.sign_in("ada").await;
    node.clock.advance(config().expiry.idle() / 2);
    let mut late = node.load(&cookie).await;
    let mut session = node.load(&cookie).await;
    session.regenerate();
    let rotated = node.commit(&mut session).await.unwrap().unwrap();
    assert_eq!(node.commit(&mut late).await.unwrap(), None, "row 8");
    let mut late = node.load(&rotated).await;
    node.sessions.destroy(&mut session).await.unwrap();
    assert_eq!(node.commit(&mut late).await.unwrap(), None);
}

// Row 6, P7.
#[tokio::test]
async fn rotation_kills_the_cookies_of_before() {
    let node = Node::new();
    let old = node.sign_in("ada").await;
    let mut late = node.load(&old).await;
    let mut session = node.load(&old).await;
    session.regenerate();
    let new = node.commit(&mut session).await.unwrap().unwrap();
    assert_eq!(node.load(&old).await.rejection(), Some(Rejection::Superseded));
    assert_eq!(node.load(&new).await.rotation(), 1);
    late.data_mut().visits = 1;
    assert!(matches!(node.commit(&mut late).await, Err(Error::Ended(Rejection::Superseded))));

    // Rows 7 and 8: within the grace it begins no session; after it it is a sign of theft, and its client may begin anew.
    let mut late = node.load(&old).await;
    late.authenticate("eve");
    assert!(matches!(node.commit(&mut late).await, Err(Error::Ended(Rejection::Superseded))));
    node.clock.advance(config().rotation_grace);
    let mut late = node.load(&old).await;
    assert_eq!(late.rejection(), Some(Rejection::Reused));
    late.authenticate("ada");
    assert!(node.commit(&mut late).await.unwrap().is_some());
}

// Row 12.
#[tokio::test]
async fn a_revoked_subject_is_signed_out_here() {
    let node = Node::new();
    let [first, second, bob] =
        [node.sign_in("ada").await, node.sign_in("ada").await, node.sign_in("bob").await];
    let mut late = node.load(&first).await;
    node.sessions.revoke_subject("ada").await.unwrap();
    for cookie in [&first, &second] {
        assert_eq!(node.load(cookie).await.rejection(), Some(Rejection::Revoked));
    }
    assert!(node.load(&bob).await.is_authenticated());
    late.data_mut().visits = 1;
    assert!(matches!(node.commit(&mut late).await, Err(Error::Ended(Rejection::Revoked))));
    let again = node.sign_in("ada").await;
    assert!(node.load(&again).await.is_authenticated());
    // At the same time by the clock, which the sign-in in between doesn't outrun.
    node.sessions.revoke_subject("ada").await.unwrap();
    assert_eq!(node.load(&again).await.rejection(), Some(Rejection::Revoked));
}

/// Whoever takes over a session that is remembered for a month gets a shorter one: the month's cookie stays dead when that has ended.
#[tokio::test]
async fn a_cookie_of_before_a_rotation_stays_dead_for_longer_than_those_after_it() {
    let node = Node::new();
    let mut session = node.sessions.create();
    session.authenticate("ada");
    session.remember_for(Duration::from_secs(30 * 86_400));
    let before = node.commit(&mut session).await.unwrap().unwrap();
    let mut session = node.load(&before).await;
    session.authenticate("bert");
    let after = node.commit(&mut session).await.unwrap().unwrap();
    node.clock.advance(config().expiry.absolute());
    // What is out of date is dropped now and then.
    for _ in 0..200 {
        let cookie = node.sign_in("carla").await;
        node.sessions.destroy(&mut node.load(&cookie).await).await.unwrap();
    }
    assert_eq!(node.load(&after).await.rejection(), Some(Rejection::Expired));
    assert_eq!(node.load(&before).await.rejection(), Some(Rejection::Reused));
}

/// What ended is remembered for as long as a cookie of it could live, however many end.
#[tokio::test]
async fn what_ended_is_remembered_to_its_absolute_end() {
    let node = Node::new();
    let expiry = config().expiry;
    let mut session = node.sessions.create();
    let mut cookie = node.commit(&mut session).await.unwrap().unwrap();
    let begin = node.clock.now();
    node.sessions.destroy(&mut session).await.unwrap();
    // The copy of another node, which doesn't know, is extended there for as long as it goes.
    let other = Node { clock: node.clock.clone(), sessions: Node::new().sessions.clock(node.clock.clone()) };
    while node.clock.now().since(begin) + expiry.idle() / 2 < expiry.absolute() {
        node.clock.advance(expiry.idle() / 2);
        let mut copy = other.load(&cookie).await;
        cookie = other.commit(&mut copy).await.unwrap().unwrap_or(cookie);
        assert_eq!(copy.state(), State::Active);
        assert_eq!(node.load(&cookie).await.rejection(), Some(Rejection::Revoked));
        for _ in 0..200 {
            let mut passing = node.sessions.create();
            node.commit(&mut passing).await.unwrap();
            node.sessions.destroy(&mut passing).await.unwrap();
        }
    }
    node.clock.advance(expiry.idle());
    assert_eq!(other.load(&cookie).await.rejection(), Some(Rejection::Expired));
}

// Row 9.
#[tokio::test]
async fn a_session_that_is_used_ends_at_its_absolute_end() {
    let node = Node::new();
    let expiry = config().expiry;
    let end = node.clock.now() + expiry.absolute();
    let mut cookie = node.sign_in("ada").await;
    while end.since(node.clock.now()) > expiry.idle() / 2 {
        node.clock.advance(expiry.idle() / 2);
        let mut session = node.load(&cookie).await;
        assert!(session.state() == State::Active && session.expires_at() <= end);
        cookie = node.commit(&mut session).await.unwrap().unwrap_or(cookie);
    }
    node.clock.advance(end.since(node.clock.now()) - Duration::from_secs(1));
    assert_eq!(node.load(&cookie).await.state(), State::Active);
    node.clock.advance(Duration::from_secs(1));
    assert_eq!(node.load(&cookie).await.rejection(), Some(Rejection::Expired));
}

// Row 28: a 5,309-byte cookie sent without error is a peer's fault.
#[tokio::test]
async fn a_session_that_does_not_fit_is_an_error_and_changes_nothing() {
    #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
    struct Text(String);
    impl session_native::SessionData for Text {}

    let sessions = Sessions::<Text, CookieHeld>::cookie(config()).unwrap();
    let mut session = sessions.create();
    session.data_mut().0 = "x".repeat(2000);
    let cookie = cookie_of(&sessions.commit(&mut session).await.unwrap().unwrap());
    let mut session = sessions.load(&cookie, &Client::default()).await.unwrap();
    session.data_mut().0 = "x".repeat(4000);
    session.regenerate();
    let error = sessions.commit(&mut session).await.unwrap_err();
    let Error::Core(CoreError::CookieTooLarge { actual, limit: 4096 }) = error else { panic!("{error}") };
    assert!(actual > 4096);
    let updated = sessions.update(&mut session, |text| text.0 = "y".repeat(9000)).await;
    assert!(updated.unwrap_err().is_too_large());
    // The cookie of before is still good, and less data fits again.
    assert_eq!(sessions.load(&cookie, &Client::default()).await.unwrap().data().0.len(), 2000);
    session.data_mut().0.clear();
    assert!(sessions.commit(&mut session).await.unwrap().is_some());

    // To the byte.
    let mut largest = 0;
    for length in 2400..3000 {
        let mut session = sessions.create();
        session.data_mut().0 = "x".repeat(length);
        match sessions.commit(&mut session).await {
            Ok(cookie) => largest = largest.max("session".len() + cookie.unwrap().value().len()),
            Err(error) => assert!(error.is_too_large()),
        }
    }
    assert!((4096 - 22..=4096).contains(&largest), "{largest}");
}

// Row 18: a token of another cookie or of another kind is none.
#[tokio::test]
async fn a_cookie_under_another_name_is_refused() {
    let node = Node::new();
    let cookie = node.sign_in("ada").await;
    let other = CookieOptions { name: "other".into(), ..config().cookie };
    let other =
        Sessions::<Data, CookieHeld>::cookie(config().cookie(other)).unwrap().clock(node.clock.clone());
    let moved = cookie.replacen("session=", "other=", 1);
    let refused = other.load(&moved, &Client::default()).await.unwrap();
    assert_eq!(refused.rejection(), Some(Rejection::Forged));
    let stored = support::World::new();
    assert_eq!(stored.load(&cookie).await.unwrap().rejection(), Some(Rejection::WrongCookie));
    assert_eq!(stored.stage.calls(), 0);
}

// Row 37.
#[tokio::test]
async fn interleaved_requests_see_their_own() {
    let node = Node::new();
    let [ada, bob] = [node.sign_in("ada").await, node.sign_in("bob").await];
    for _ in 0..100 {
        let (mut first, mut second) = (node.load(&ada).await, node.load(&bob).await);
        first.data_mut().visits = 1;
        second.data_mut().visits = 2;
        let (first, second) =
            (node.commit(&mut first).await.unwrap(), node.commit(&mut second).await.unwrap());
        let (first, second) = (node.load(&first.unwrap()).await, node.load(&second.unwrap()).await);
        assert_eq!((first.subject(), first.data().visits), (Some("ada"), 1));
        assert_eq!((second.subject(), second.data().visits), (Some("bob"), 2));
    }
}

// Epochs are no counts: a process that starts anew, or another one, must not begin below what a cookie carries.
#[tokio::test]
async fn a_revocation_counts_in_a_process_that_knows_nothing_of_earlier_ones() {
    let node = Node::new();
    for _ in 0..3 {
        node.sessions.revoke_subject("ada").await.unwrap();
    }
    let cookie = node.sign_in("ada").await;
    assert!(node.load(&cookie).await.is_authenticated());

    node.clock.advance(Duration::from_secs(1));
    let restarted = Node {
        sessions: Sessions::cookie(config()).unwrap().clock(node.clock.clone()),
        clock: node.clock.clone(),
    };
    assert!(restarted.load(&cookie).await.is_authenticated(), "it never heard of a revocation");
    restarted.sessions.revoke_subject("ada").await.unwrap();
    assert_eq!(restarted.load(&cookie).await.rejection(), Some(Rejection::Revoked));
    let again = restarted.sign_in("ada").await;
    assert!(restarted.load(&again).await.is_authenticated());
}
