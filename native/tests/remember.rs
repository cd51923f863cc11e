//! Sessions that last as long as their users asked for.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::time::Duration;

use session_native::{
    Backend, Client, Clock as _, CookieHeld, Expiry, ManualClock, MemoryStore, Rejection, Session, Sessions,
};
use support::{Data, config, cookie_of};

const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const SECOND: Duration = Duration::from_secs(1);

struct Site<B> {
    sessions: Sessions<Data, B>,
    clock: ManualClock,
}

fn held() -> Site<CookieHeld> {
    let clock = ManualClock::default();
    Site { sessions: Sessions::cookie(config()).unwrap().clock(clock.clone()), clock }
}

fn stored() -> Site<session_native::Stored<MemoryStore>> {
    let clock = ManualClock::default();
    let store = MemoryStore::builder().clock(clock.clone()).build();
    Site { sessions: Sessions::new(config(), store).unwrap().clock(clock.clone()), clock }
}

impl<B: Backend> Site<B> {
    async fn load(&self, cookie: &str) -> Session<Data> {
        self.sessions.load(cookie, &Client::default()).await.unwrap()
    }

    /// Does something to the session of a cookie, and gives the one that the client holds afterwards.
    async fn visit(&self, cookie: &str, act: impl FnOnce(&mut Session<Data>)) -> String {
        let mut session = self.load(cookie).await;
        act(&mut session);
        let new = self.sessions.commit(&mut session).await.unwrap();
        new.as_ref().map_or_else(|| cookie.to_owned(), cookie_of)
    }

    async fn remembered(&self, duration: Duration) -> String {
        let signed_in = |session: &mut Session<Data>| {
            session.authenticate("ada");
            session.remember_for(duration);
        };
        self.visit("", signed_in).await
    }

    /// How long the session will last.
    async fn left(&self, cookie: &str) -> Duration {
        let session = self.load(cookie).await;
        assert!(session.expires_at() <= session.absolute_end());
        session.expires_in(self.clock.now())
    }
}

/// Runs a case with sessions in a store and in cookies.
macro_rules! both {
    ($($case:ident)*) => {
        mod in_a_store {
            $(#[tokio::test] async fn $case() { super::$case(super::stored()).await; })*
        }

        mod in_cookies {
            $(#[tokio::test] async fn $case() { super::$case(super::held()).await; })*
        }
    };
}

both! {
    neither_idleness_nor_use_moves_the_end
    a_step_up_does_not_shorten_it
    another_subject_gets_the_usual_timeouts
    a_stay_can_be_short_and_is_never_longer_than_400_days
    the_token_of_before_is_dead
    the_wish_outlives_other_changes_of_the_same_request
}

async fn neither_idleness_nor_use_moves_the_end<B: Backend>(site: Site<B>) {
    let cookie = site.remembered(MONTH).await;
    assert_eq!(site.left(&cookie).await, MONTH);
    site.clock.advance(DAY * 10);
    assert_eq!(site.left(&cookie).await, DAY * 20);
    let cookie = site.visit(&cookie, |session| session.data_mut().visits += 1).await;
    assert_eq!(site.left(&cookie).await, DAY * 20);
    // A rotation alone is no new sign-in.
    let cookie = site.visit(&cookie, Session::regenerate).await;
    assert_eq!(site.left(&cookie).await, DAY * 20);
    site.clock.advance(DAY * 20 - SECOND);
    assert_eq!(site.load(&cookie).await.subject(), Some("ada"));
    site.clock.advance(SECOND);
    assert_eq!(site.load(&cookie).await.rejection(), Some(Rejection::Expired));
}

async fn a_step_up_does_not_shorten_it<B: Backend>(site: Site<B>) {
    let cookie = site.remembered(MONTH).await;
    site.clock.advance(DAY);
    let cookie = site.visit(&cookie, |session| session.authenticate("ada")).await;
    assert_eq!(site.left(&cookie).await, DAY * 29);
    assert_eq!(site.load(&cookie).await.authenticated_at(), Some(site.clock.now()));
    // Close to the end it is a sign-in like any other.
    site.clock.advance(DAY * 29 - SECOND);
    let cookie = site.visit(&cookie, |session| session.authenticate("ada")).await;
    let usual = config().expiry;
    assert_eq!(site.left(&cookie).await, usual.idle());
    assert_eq!(site.load(&cookie).await.absolute_end(), usual.absolute_end(site.clock.now()));
}

async fn another_subject_gets_the_usual_timeouts<B: Backend>(site: Site<B>) {
    let usual = config().expiry;
    for then in [&["bob"][..], &["bob", "ada"], &["bob", "bob"]] {
        let cookie = site.remembered(MONTH).await;
        let sign_in =
            |session: &mut Session<Data>| then.iter().for_each(|subject| session.authenticate(*subject));
        let cookie = site.visit(&cookie, sign_in).await;
        assert_eq!(site.left(&cookie).await, usual.idle(), "{then:?}");
        assert_eq!(site.load(&cookie).await.absolute_end(), usual.absolute_end(site.clock.now()), "{then:?}");
    }
}

async fn a_stay_can_be_short_and_is_never_longer_than_400_days<B: Backend>(site: Site<B>) {
    for (wanted, given) in
        [(SECOND * 60, SECOND * 60), (Expiry::LONGEST * 2, Expiry::LONGEST), (Duration::MAX, Expiry::LONGEST)]
    {
        assert_eq!(site.left(&site.remembered(wanted).await).await, given);
    }
    // From then on, not from the sign-in.
    let cookie = site.remembered(MONTH).await;
    site.clock.advance(DAY);
    let cookie = site.visit(&cookie, |session| session.remember_for(SECOND * 60)).await;
    site.clock.advance(SECOND * 59);
    let cookie = site.visit(&cookie, |session| session.data_mut().visits += 1).await;
    assert_eq!(site.left(&cookie).await, SECOND);
}

async fn the_token_of_before_is_dead<B: Backend>(site: Site<B>) {
    let before = site.visit("", |session| session.authenticate("ada")).await;
    let after = site.visit(&before, |session| session.remember_for(MONTH)).await;
    assert!(site.load(&before).await.is_new());
    assert_eq!(site.left(&after).await, MONTH);
}

async fn the_wish_outlives_other_changes_of_the_same_request<B: Backend>(site: Site<B>) {
    let act = |session: &mut Session<Data>| {
        session.remember_for(MONTH);
        session.authenticate("ada");
        session.data_mut().visits = 1;
        session.regenerate();
    };
    let cookie = site.visit("", act).await;
    assert_eq!(site.left(&cookie).await, MONTH);
}

// What this process refuses it must remember for as long as the longest cookie lives.
#[tokio::test]
async fn a_remembered_cookie_stays_dead_to_its_end() {
    let site = held();
    let destroyed = site.remembered(MONTH).await;
    let rotated = site.remembered(MONTH).await;
    let shortened = site.remembered(MONTH).await;
    // Of another subject: the sessions above are not to be dead by its revocation.
    let sign_in = |session: &mut Session<Data>| {
        session.authenticate("eve");
        session.remember_for(MONTH);
    };
    let revoked = site.visit("", sign_in).await;
    site.clock.advance(DAY);
    let mut session = site.load(&destroyed).await;
    assert!(site.sessions.destroy(&mut session).await.unwrap().is_some());
    site.visit(&rotated, Session::regenerate).await;
    let short = site.visit(&shortened, |session| session.remember_for(SECOND * 60)).await;
    let mut session = site.load(&short).await;
    site.sessions.destroy(&mut session).await.unwrap();
    site.sessions.revoke_subject("eve").await.unwrap();
    // Many others end meanwhile, so that what is outdated is swept.
    for day in 1..29 {
        for _ in 0..100 {
            let mut session = site.load(&site.visit("", |session| session.data_mut().visits = 1).await).await;
            site.sessions.destroy(&mut session).await.unwrap();
        }
        site.clock.advance(DAY);
        for (name, cookie, rejection) in [
            ("destroyed", &destroyed, Rejection::Revoked),
            ("rotated", &rotated, Rejection::Reused),
            ("shortened", &shortened, Rejection::Revoked),
            ("revoked", &revoked, Rejection::Revoked),
        ] {
            assert_eq!(site.load(cookie).await.rejection(), Some(rejection), "{name} on day {day}");
        }
    }
}
