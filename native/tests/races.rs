//! The promises, in every order in which the store operations of concurrent requests can happen.
//!
//! P1 no resurrection, P2 no lost update, P3 no bleed, P7 rotation kills the old token at once. Rows 6, 8, 12, 14, 15 and 37 of the security
//! checklist.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::cell::{Cell, RefCell};
use std::rc::Rc;

use session_native::{Error, Key, Rejection, Session, State};
use support::{
    Data, World,
    explore::{Grain, Request, explore},
    store::{Fault, Op},
};

/// What the requests of one scenario tell each other and the check.
struct Story {
    world: World,
    /// The session all requests are about, and its first cookie.
    key: Key,
    first: String,
    /// All cookies that any request was sent.
    cookies: RefCell<Vec<String>>,
    /// The session has been ended, and whoever ended it knows.
    ended: Cell<bool>,
    /// The token has been rotated, and whoever rotated it knows.
    rotated: Cell<bool>,
    /// What was saved, by what `commit` and `update` returned.
    saved: Cell<u64>,
    fields: RefCell<[bool; 8]>,
}

impl Story {
    async fn begin(world: World) -> Rc<Self> {
        let first = world.sign_in("ada").await;
        let key = world.load(&first).await.unwrap().key().unwrap();
        Rc::new(Self {
            world,
            key,
            cookies: RefCell::new(vec![first.clone()]),
            first,
            ended: Cell::new(false),
            rotated: Cell::new(false),
            saved: Cell::new(0),
            fields: RefCell::default(),
        })
    }

    fn is_ours(&self, session: &Session<Data>) -> bool {
        session.state() == State::Active && session.key() == Some(self.key)
    }

    /// Loads with the first cookie; what began after the end or the rotation must not get the session.
    async fn load(&self) -> Session<Data> {
        let (ended, rotated) = (self.ended.get(), self.rotated.get());
        let session = self.world.load(&self.first).await.unwrap();
        assert!(!(ended && self.is_ours(&session)), "P1: a load that began after the end got the session");
        assert!(
            !(rotated && self.is_ours(&session)),
            "P7: a load that began after the rotation got the session"
        );
        session
    }

    /// Commits; a cookie never comes from a request that could not save or that had no session.
    async fn commit(&self, session: &mut Session<Data>) -> Result<(), Error> {
        let had_none = session.is_new();
        match self.world.commit(session).await {
            Ok(Some(cookie)) => {
                assert!(!had_none, "row 8: a stale token was answered with a cookie");
                self.cookies.borrow_mut().push(cookie);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error @ Error::Ended(Rejection::Revoked | Rejection::Superseded)) => {
                assert_eq!(self.world.commit(session).await.unwrap(), None, "row 8: and after it ended");
                Err(error)
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A request that sets one field.
    async fn set(self: Rc<Self>, field: usize) {
        let mut session = self.load().await;
        if !self.is_ours(&session) {
            return assert_eq!(self.commit(&mut session).await.ok(), Some(()));
        }
        *session.data_mut().fields.get_mut(field) = 1;
        self.fields.borrow_mut()[field] = self.commit(&mut session).await.is_ok();
    }

    /// A request that counts.
    async fn count(self: Rc<Self>) {
        let mut session = self.load().await;
        if !self.is_ours(&session) {
            return;
        }
        match self.world.sessions.update(&mut session, |data| data.visits += 1).await {
            Ok(()) => self.saved.set(self.saved.get() + 1),
            Err(Error::Ended(Rejection::Revoked | Rejection::Superseded)) => {}
            Err(error) => panic!("{error}"),
        }
        let _ = self.commit(&mut session).await;
    }

    /// A request that only looks.
    async fn look(self: Rc<Self>) {
        let mut session = self.load().await;
        self.world.stage.pause().await;
        assert_eq!(self.commit(&mut session).await.ok(), Some(()));
    }

    /// A request that signs the subject in anew, or rotates for another reason.
    async fn rotate(self: Rc<Self>, subject: Option<&'static str>) {
        let mut session = self.load().await;
        if !self.is_ours(&session) {
            return;
        }
        match subject {
            Some(subject) => session.authenticate(subject),
            None => session.regenerate(),
        }
        if self.commit(&mut session).await.is_ok() {
            assert!(!self.rotated.replace(true), "P7: two rotations of one token");
        }
    }

    /// The answer of this request's first save is lost; it tries again.
    async fn set_and_retry(self: Rc<Self>, field: usize) {
        let mut session = self.load().await;
        if !self.is_ours(&session) {
            return;
        }
        *session.data_mut().fields.get_mut(field) = 1;
        match self.world.commit(&mut session).await {
            Err(Error::Store(_)) => {}
            other => return self.fields.borrow_mut()[field] = other.is_ok(),
        }
        self.fields.borrow_mut()[field] = self.commit(&mut session).await.is_ok();
    }

    /// The answer of this request's rotation is lost; it tries again.
    async fn rotate_and_retry(self: Rc<Self>) {
        let mut session = self.load().await;
        if !self.is_ours(&session) {
            return;
        }
        session.regenerate();
        if !matches!(self.world.commit(&mut session).await, Err(Error::Store(_))) {
            return;
        }
        // What the handler changes after the failure is saved too, or nothing is.
        session.data_mut().fields.h = 1;
        if self.commit(&mut session).await.is_ok() {
            assert!(!self.rotated.replace(true), "P7: two rotations of one token");
            self.fields.borrow_mut()[7] = true;
        }
    }

    /// Logout, also with a token that was rotated meanwhile.
    async fn destroy(self: Rc<Self>) {
        let mut session = self.load().await;
        let removal = self.world.sessions.destroy(&mut session).await.unwrap();
        assert!(removal.is_some());
        self.ended.set(true);
        assert_eq!(self.world.commit(&mut session).await.unwrap(), None);
    }

    /// "Sign out that one", from a listing.
    async fn revoke(self: Rc<Self>) {
        assert!(self.world.sessions.revoke(&self.key).await.unwrap());
        self.ended.set(true);
    }

    /// "Sign out everywhere".
    async fn revoke_subject(self: Rc<Self>) {
        self.world.sessions.revoke_subject("ada").await.unwrap();
        self.ended.set(true);
    }

    /// P1: no cookie that anyone ever had brings the session back.
    async fn check_ended(self: Rc<Self>) {
        assert!(self.ended.get());
        for cookie in self.cookies.take() {
            let session = self.world.load(&cookie).await.unwrap();
            assert!(!self.is_ours(&session), "P1: brought back");
        }
        let key = self.key;
        let live = self.world.sessions.find(move |summary| summary.key == key).await.unwrap();
        assert!(live.is_empty(), "P1: still listed");
    }

    /// P2: everything whose save was reported is there, and nothing else.
    async fn check_saved(self: Rc<Self>) {
        let newest = self.cookies.borrow().last().cloned().unwrap();
        let mut data = self.world.data(&newest).await;
        assert_eq!(data.visits, self.saved.get(), "P2: counted");
        for (field, saved) in self.fields.borrow().iter().enumerate() {
            assert_eq!(*data.fields.get_mut(field), u64::from(*saved), "P2: field {field}");
        }
    }

    /// P7: if the token was rotated, the first is dead and the last is alive.
    async fn check_rotated(self: Rc<Self>) {
        let last = self.cookies.borrow().last().cloned().unwrap();
        let old = self.world.load(&self.first).await.unwrap();
        let new = self.world.load(&last).await.unwrap();
        assert_eq!((old.rejection(), new.rotation()), (Some(Rejection::Superseded), 1));
        self.check_saved().await;
    }
}

type Act = fn(Rc<Story>) -> Request;

const SET_A: Act = |story| Box::pin(story.set(0));
const SET_B: Act = |story| Box::pin(story.set(1));
const SET_C: Act = |story| Box::pin(story.set(2));
const COUNT: Act = |story| Box::pin(story.count());
const LOOK: Act = |story| Box::pin(story.look());
const REGENERATE: Act = |story| Box::pin(story.rotate(None));
const SIGN_IN: Act = |story| Box::pin(story.rotate(Some("ada")));
const SIGN_IN_OTHER: Act = |story| Box::pin(story.rotate(Some("bob")));
const RETRY: Act = |story| Box::pin(story.set_and_retry(3));
const ROTATE_RETRY: Act = |story| Box::pin(story.rotate_and_retry());
const DESTROY: Act = |story| Box::pin(story.destroy());
const REVOKE: Act = |story| Box::pin(story.revoke());
const REVOKE_SUBJECT: Act = |story| Box::pin(story.revoke_subject());

/// Explores some acts together. The first save of those that try again loses its answer.
fn scene<Check: Future<Output = ()>>(name: &str, grain: Grain, acts: &[Act], check: fn(Rc<Story>) -> Check) {
    explore(name, grain, async |world| {
        let story = Story::begin(world).await;
        for (number, act) in acts.iter().enumerate() {
            if [RETRY, ROTATE_RETRY].iter().any(|retry| core::ptr::fn_addr_eq(*act, *retry)) {
                story.world.stage.fail_in(number, Op::Save, Fault::After);
            }
        }
        let requests = acts.iter().map(|act| act(Rc::clone(&story))).collect();
        (requests, check(story))
    });
}

const CHANGES: [(&str, Act); 6] = [
    ("look", LOOK),
    ("set", SET_A),
    ("count", COUNT),
    ("regenerate", REGENERATE),
    ("sign in", SIGN_IN),
    ("sign in as another", SIGN_IN_OTHER),
];

// Row 14.
#[test]
fn p1_a_destroyed_session_is_not_brought_back() {
    for (name, act) in CHANGES {
        scene(&format!("destroy against {name}"), Grain::Answers, &[DESTROY, act], Story::check_ended);
        scene(&format!("revoke against {name}"), Grain::Answers, &[REVOKE, act], Story::check_ended);
    }
    scene("revoke against a retry", Grain::Answers, &[REVOKE, RETRY], Story::check_ended);
    scene("revoke against a retried rotation", Grain::Answers, &[REVOKE, ROTATE_RETRY], Story::check_ended);
}

#[test]
fn p1_holds_among_three_requests() {
    for (name, act) in [("set", SET_A), ("count", COUNT), ("regenerate", REGENERATE)] {
        scene(&format!("revoke, {name}, set"), Grain::Operations, &[REVOKE, act, SET_B], Story::check_ended);
        scene(
            &format!("destroy, {name}, set"),
            Grain::Operations,
            &[DESTROY, act, SET_B],
            Story::check_ended,
        );
    }
    scene("revoke, retry, regenerate", Grain::Operations, &[REVOKE, RETRY, REGENERATE], Story::check_ended);
}

// Row 12: whatever isn't a new sign-in is dead.
#[test]
fn p1_a_revoked_subject_is_signed_out() {
    for (name, act) in [("look", LOOK), ("set", SET_A), ("count", COUNT), ("regenerate", REGENERATE)] {
        scene(
            &format!("revoke subject against {name}"),
            Grain::Answers,
            &[REVOKE_SUBJECT, act],
            Story::check_ended,
        );
    }
    scene(
        "revoke subject, set, regenerate",
        Grain::Operations,
        &[REVOKE_SUBJECT, SET_A, REGENERATE],
        Story::check_ended,
    );
}

// Row 12: a sign-in that was over before the revocation began is dead, one that began after it returned lives.
#[test]
fn a_revocation_against_sign_ins() {
    explore("revoke subject against a new sign-in", Grain::Answers, async |world| {
        let (signed_in, revoking, revoked) =
            (<Rc<Cell<bool>>>::default(), <Rc<Cell<bool>>>::default(), <Rc<Cell<bool>>>::default());
        let cookie = <Rc<RefCell<Option<String>>>>::default();
        let outcome = <Rc<Cell<Option<bool>>>>::default();
        let login: Request = Box::pin({
            let (world, cookie, signed_in) = (world.clone(), Rc::clone(&cookie), Rc::clone(&signed_in));
            let (revoked, outcome) = (Rc::clone(&revoked), Rc::clone(&outcome));
            async move {
                if revoked.get() {
                    outcome.set(Some(true));
                }
                *cookie.borrow_mut() = Some(world.sign_in("ada").await);
                signed_in.set(true);
            }
        });
        let revoke: Request = Box::pin({
            let (world, outcome) = (world.clone(), Rc::clone(&outcome));
            async move {
                if signed_in.get() {
                    outcome.set(Some(false));
                }
                revoking.set(true);
                world.sessions.revoke_subject("ada").await.unwrap();
                revoked.set(true);
            }
        });
        let check = async move {
            let cookie = cookie.take().unwrap();
            let session = world.load(&cookie).await.unwrap();
            let alive = session.state() == State::Active;
            assert!(
                outcome.get().is_none_or(|expected| expected == alive),
                "{:?}, alive: {alive}",
                outcome.get()
            );
        };
        (vec![login, revoke], check)
    });
}

// Row 15.
#[test]
fn p2_changes_of_different_fields_both_survive() {
    scene("two fields", Grain::Answers, &[SET_A, SET_B], Story::check_saved);
    scene("three fields", Grain::Operations, &[SET_A, SET_B, SET_C], Story::check_saved);
    scene("a field and a retry", Grain::Answers, &[SET_A, RETRY], Story::check_saved);
    scene("a field and a look", Grain::Answers, &[SET_A, LOOK], Story::check_saved);
}

#[test]
fn p2_counting_is_exact() {
    scene("two counters", Grain::Answers, &[COUNT, COUNT], Story::check_saved);
    scene("three counters", Grain::Operations, &[COUNT, COUNT, COUNT], Story::check_saved);
    scene("a counter and a field", Grain::Answers, &[COUNT, SET_A], Story::check_saved);
    scene("two counters and a field", Grain::Operations, &[COUNT, COUNT, SET_A], Story::check_saved);
    scene("a counter and a retry", Grain::Operations, &[COUNT, RETRY], Story::check_saved);
}

// Rows 6 and 8. What was saved before the rotation stays, what came after it is refused.
#[test]
fn p7_rotation_kills_the_old_token_at_once() {
    for (name, act) in [("regenerate", REGENERATE), ("sign in", SIGN_IN)] {
        for (other, request) in [("look", LOOK), ("set", SET_A), ("count", COUNT)] {
            scene(&format!("{name} against {other}"), Grain::Answers, &[act, request], Story::check_rotated);
        }
    }
    scene("regenerate, set, set", Grain::Operations, &[REGENERATE, SET_A, SET_B], Story::check_rotated);
    scene("regenerate, set, count", Grain::Operations, &[REGENERATE, SET_A, COUNT], Story::check_rotated);
}

#[test]
fn p7_of_two_rotations_one_wins() {
    scene("regenerate twice", Grain::Answers, &[REGENERATE, REGENERATE], Story::check_rotated);
    scene("retry a rotation", Grain::Answers, &[ROTATE_RETRY], Story::check_rotated);
    scene("retry a rotation against set", Grain::Answers, &[ROTATE_RETRY, SET_A], Story::check_rotated);
    scene("sign in and regenerate", Grain::Answers, &[SIGN_IN, REGENERATE], Story::check_rotated);
    scene(
        "regenerate twice and set",
        Grain::Operations,
        &[REGENERATE, REGENERATE, SET_A],
        Story::check_rotated,
    );
}

// Row 8: a request that slides the session answers with a new cookie of the old rotation, unless that is dead by then.
#[test]
fn p7_a_late_extension_does_not_replace_the_rotated_token() {
    for (name, act) in [("regenerate", REGENERATE), ("sign in", SIGN_IN)] {
        explore(&format!("{name} against a look that extends"), Grain::Operations, async |world| {
            let story = Story::begin(world).await;
            story.world.advance(600);
            let requests = vec![act(Rc::clone(&story)), LOOK(Rc::clone(&story))];
            (requests, story.check_rotated())
        });
    }
}

// Row 6: what was loaded before the sign-in of another subject is not written into that one's session.
#[test]
fn p7_nothing_is_carried_into_the_session_of_another_subject() {
    explore("sign in as another against set", Grain::Answers, async |world| {
        let story = Story::begin(world).await;
        let requests = vec![SIGN_IN_OTHER(Rc::clone(&story)), SET_A(Rc::clone(&story))];
        let check = async move {
            let last = story.cookies.borrow().last().cloned().unwrap();
            let session = story.world.load(&last).await.unwrap();
            assert_eq!((session.subject(), session.data()), (Some("bob"), &Data::default()));
        };
        (requests, check)
    });
}

// Row 37.
#[test]
fn p3_each_request_sees_its_own_session() {
    explore("two users", Grain::Answers, async |world| {
        let users = ["ada", "bob"];
        let mut requests: Vec<Request> = Vec::new();
        let mut cookies = Vec::new();
        for user in users {
            let cookie = world.sign_in(user).await;
            cookies.push(cookie.clone());
            let world = world.clone();
            requests.push(Box::pin(async move {
                let mut session = world.load(&cookie).await.unwrap();
                assert_eq!((session.subject(), session.data().visits), (Some(user), 0));
                world.sessions.update(&mut session, |data| data.visits += user.len() as u64).await.unwrap();
                session.flash_mut().set_notice(user);
                world.commit(&mut session).await.unwrap();
                assert_eq!((session.subject(), session.data().visits), (Some(user), 3));
            }));
        }
        let check = async move {
            for (user, cookie) in users.into_iter().zip(cookies) {
                let session = world.load(&cookie).await.unwrap();
                assert_eq!((session.subject(), session.flash().notice()), (Some(user), Some(user)));
            }
        };
        (requests, check)
    });
}
