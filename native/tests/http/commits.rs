//! One commit for each request, whatever overlaps.

use std::sync::Arc;

use futures_util::FutureExt as _;
use http::{Method, header};
use tokio::sync::Notify;

use crate::{
    app::{Act, Handle, Reply, Scope, routes},
    client::{Framework, Server, request},
    support::World,
};

pub(crate) async fn the_session_is_committed_once<F: Framework>() {
    let world = World::new();
    let scope = Scope::default().act("/", |session| {
        let second = session.clone();
        session.update(|data| data.visits += 1);
        second.update(|data| data.visits += 1);
        second.clone().flash(|flash| flash.set_notice("hello"));
    });
    let server = F::start(scope.of(&world));
    let cookie = world.sign_in("ada").await;
    let before = world.stage.calls();
    server.post("/", &cookie).await;
    assert_eq!(world.stage.calls() - before, 2, "a load and a save");
    assert_eq!(world.data(&cookie).await.visits, 2);
}

// `cycle_id`, then a 500: the session was lost. A peer's fault.
pub(crate) async fn a_rotation_is_committed_whatever_the_status_is<F: Framework>() {
    let world = World::new();
    let scope = Scope::default().on("/", async |session, _| {
        session.regenerate();
        (500, "oops")
    });
    let server = F::start(scope.of(&world));
    let old = world.sign_in("ada").await;
    let answer = server.post("/", &old).await;
    assert_eq!(answer.status, 500);
    let new = answer.new_cookie().expect("the rotated token");
    assert_eq!(answer.text().await, "oops");
    assert!(world.load(&old).await.unwrap().is_new());
    assert!(world.load(&new).await.unwrap().is_authenticated());
}

// `renew()`, then `set()`, drops the renewal. A peer's fault.
pub(crate) async fn a_write_after_a_rotation_does_not_drop_it<F: Framework>() {
    let world = World::new();
    let scope = Scope::default().act("/", |session| {
        session.regenerate();
        session.update(|data| data.visits = 5);
    });
    let server = F::start(scope.of(&world));
    let old = world.sign_in("ada").await;
    let new = server.post("/", &old).await.new_cookie().unwrap();
    assert!(world.load(&old).await.unwrap().is_new());
    assert_eq!(world.data(&new).await.visits, 5);
}

// Row 8: whatever the handler does.
pub(crate) async fn a_token_that_was_replaced_just_now_is_answered_without_a_cookie<F: Framework>() {
    let world = World::new();
    let server = F::start(routes().of(&world));
    let old = world.sign_in("ada").await;
    let mut session = world.load(&old).await.unwrap();
    session.regenerate();
    world.commit(&mut session).await.unwrap();
    for path in ["/write", "/login"] {
        let answer = server.post(path, &old).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.headers.contains_key(header::SET_COOKIE), "{path}");
    }
    assert_eq!(world.memory.stats().created, 1);
}

/// A route that loads the session, waits until it is told to go on, and then does something.
struct Slow {
    arrived: Arc<Notify>,
    go_on: Arc<Notify>,
    scope: Scope,
}

impl Slow {
    fn new(act: fn(&Handle)) -> Self {
        let (arrived, go_on) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let (arriving, going_on) = (Arc::clone(&arrived), Arc::clone(&go_on));
        let scope = routes().on("/slow", move |session, _| {
            let (arriving, going_on) = (Arc::clone(&arriving), Arc::clone(&going_on));
            async move {
                arriving.notify_one();
                going_on.notified().await;
                act(&session);
            }
        });
        Self { arrived, go_on, scope }
    }
}

// Row 14. Logout while a slow request is in flight: signed in again, also under a new id. Three peers' fault.
pub(crate) async fn a_slow_request_does_not_undo_a_logout<F: Framework>() {
    let acts: [Act; 4] = [
        ("look", |_| ()),
        ("write", |session| session.update(|data| data.visits = 9)),
        ("rotate", Handle::regenerate),
        ("sign in", |session| session.authenticate("ada")),
    ];
    for (name, act) in acts {
        for extended in [false, true] {
            let world = World::new();
            let slow = Slow::new(act);
            let server = F::start(slow.scope.of(&world));
            let cookie = world.sign_in("ada").await;
            world.advance(if extended { 600 } else { 0 });
            let in_flight = server.spawn(request(Method::POST, "/slow", &cookie));
            slow.arrived.notified().await;
            let logout = server.post("/logout", &cookie).await;
            assert_eq!(logout.new_cookie().as_deref(), Some(""), "the cookie is removed");
            slow.go_on.notify_one();
            let late = in_flight.await.unwrap();
            assert_eq!(late.status, 200);
            assert_eq!(late.new_cookie(), None, "{name}: no new token");
            assert!(world.load(&cookie).await.unwrap().is_new(), "{name}");
            assert!(world.sessions.is_empty().await.unwrap(), "{name}: nothing is stored");
        }
    }
}

// Row 8.
pub(crate) async fn a_slow_request_does_not_replace_the_token_of_a_login<F: Framework>() {
    let acts: [fn(&Handle); 2] = [|_| (), |session| session.update(|data| data.visits = 9)];
    for act in acts {
        let world = World::new();
        let slow = Slow::new(act);
        let server = F::start(slow.scope.of(&world));
        let cookie = server.post("/write", "").await.new_cookie().unwrap();
        world.advance(600);
        let in_flight = server.spawn(request(Method::POST, "/slow", &cookie));
        slow.arrived.notified().await;
        let mut login = request(Method::POST, "/login", &cookie);
        *login.body_mut() = "ada".into();
        let signed_in = server.send(login).await.new_cookie().unwrap();
        slow.go_on.notify_one();
        assert_eq!(in_flight.await.unwrap().new_cookie(), None);
        assert_eq!(server.get("/who", &signed_in).await.text().await, "ada");
        assert_eq!(world.data(&signed_in).await.visits, 1);
    }
}

/// A server whose only handler does something in the middle of a request.
fn serve<F, H, R>(world: &World, act: H) -> Server
where
    F: Framework,
    H: Fn(Handle, String) -> R + Send + Sync + 'static,
    R: Future<Output: Into<Reply>> + Send + 'static,
{
    F::start(Scope::default().on("/", act).of(world))
}

/// What a client holds after a request to it.
async fn after<F, H, R>(act: H, cookie: &str, world: &World) -> Option<String>
where
    F: Framework,
    H: Fn(Handle, String) -> R + Send + Sync + 'static,
    R: Future<Output: Into<Reply>> + Send + 'static,
{
    serve::<F, _, _>(world, act).post("/", cookie).await.new_cookie()
}

pub(crate) async fn a_commit_in_mid_request_sends_one_cookie<F: Framework>() {
    let world = World::new();
    let commit = |session: Handle, _| async move {
        session.authenticate("ada");
        session.commit().await.unwrap();
        assert!(session.key().is_some(), "it is stored now");
    };
    let first = after::<F, _, _>(commit, "", &world).await.expect("a new session");
    assert!(world.load(&first).await.unwrap().is_authenticated());

    let commit_and_more = |session: Handle, _| async move {
        session.regenerate();
        session.commit().await.unwrap();
        session.update(|data| data.visits = 3);
    };
    let second = after::<F, _, _>(commit_and_more, &first, &world).await.expect("the rotated token");
    assert_eq!(world.data(&second).await.visits, 3);
    assert!(world.load(&first).await.unwrap().is_new());

    let commit_and_rotate = |session: Handle, _| async move {
        session.regenerate();
        session.commit().await.unwrap();
        session.regenerate();
    };
    let third = after::<F, _, _>(commit_and_rotate, &second, &world).await.expect("the newest token");
    assert_eq!(world.load(&third).await.unwrap().rotation(), 3);
}

pub(crate) async fn a_destroy_in_mid_request_is_the_last_word<F: Framework>() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let act = |session: Handle, _| async move {
        session.regenerate();
        session.commit().await.unwrap();
        session.destroy().await.unwrap();
        session.update(|data| data.visits = 3);
        session.authenticate("ada");
        session.commit().await.unwrap();
    };
    let removed = after::<F, _, _>(act, &cookie, &world).await;
    assert_eq!(removed.as_deref(), Some(""));
    assert!(world.load(&cookie).await.unwrap().is_new());
    assert!(world.sessions.is_empty().await.unwrap());
}

pub(crate) async fn an_update_in_mid_request_counts_exactly_and_sends_one_cookie<F: Framework>() {
    let world = World::new();
    let act = |session: Handle, _| async move {
        session.authenticate("ada");
        let count = session.update_now(|data| {
            data.visits += 1;
            data.visits
        });
        assert_eq!(count.await.unwrap(), 1);
        session.update(|data| data.fields.a = 1);
    };
    let cookie = after::<F, _, _>(act, "", &world).await.expect("a new session");
    let data = world.data(&cookie).await;
    assert_eq!((data.visits, data.fields.a), (1, 1));

    // Two at once in one request, while each store operation lets the other go on.
    let both = |session: Handle, _| async move {
        let count = || session.update_now(|data| data.visits += 1);
        let (first, second) = tokio::join!(count(), count());
        first.and(second).unwrap();
    };
    world.stage.stop_at_operations(true, true);
    let answer = serve::<F, _, _>(&world, both).post("/", &cookie).await;
    assert_eq!(answer.status, 200);
    world.stage.stop_at_operations(false, false);
    assert_eq!(world.data(&cookie).await.visits, 3);
}

// P2: the handler has no more time for an exact update. What the layer commits afterwards is nothing of that.
pub(crate) async fn an_update_that_was_given_up_is_not_saved_with_the_request<F: Framework>() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let (rival, theirs) = (world.clone(), cookie.clone());
    let answer = serve::<F, _, _>(&world, move |session, _| {
        let (rival, theirs) = (rival.clone(), theirs.clone());
        async move {
            rival.stage.stop_at_operations(true, false);
            let given_up = session.update_now(|data| data.visits += 1).now_or_never();
            rival.stage.stop_at_operations(false, false);
            assert!(given_up.is_none(), "it waits for the store");
            let mut other = rival.load(&theirs).await.unwrap();
            rival.sessions.update(&mut other, |data| data.visits += 10).await.unwrap();
            session.update(|data| data.fields.a = 1);
        }
    });
    assert_eq!(answer.post("/", &cookie).await.status, 200);
    let data = world.data(&cookie).await;
    assert_eq!((data.visits, data.fields.a), (10, 1));
}

// Row 8: whatever a slow request committed on its way, it must not put the token of before a sign-in over the one after it.
pub(crate) async fn a_commit_in_mid_request_does_not_replace_the_token_of_a_login<F: Framework>() {
    let world = World::new();
    let (committed, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let notes = (Arc::clone(&committed), Arc::clone(&go_on));
    let server = serve::<F, _, _>(&world, move |session, _| {
        let (committed, go_on) = notes.clone();
        async move {
            session.update(|data| data.visits += 1);
            session.commit().await.unwrap();
            committed.notify_one();
            go_on.notified().await;
        }
    });
    let before = world.sign_in("ada").await;
    world.advance(1000); // so that the commit extends the session, and its token is due

    let slow = server.spawn(request(Method::POST, "/", &before));
    committed.notified().await;
    let mut session = world.load(&before).await.unwrap();
    session.authenticate("ada");
    let after = world.commit(&mut session).await.unwrap().unwrap();
    go_on.notify_one();
    assert_eq!(slow.await.unwrap().new_cookie(), None);
    assert_eq!(world.data(&after).await.visits, 1, "what it committed stands");
}

pub(crate) async fn a_remembered_session_gets_a_cookie_that_lasts<F: Framework>() {
    const MONTH: u64 = 30 * 86_400;
    let world = World::new();
    let scope = routes().act("/remember", |session| {
        session.authenticate("ada");
        session.remember_for(core::time::Duration::from_secs(MONTH));
    });
    let server = F::start(scope.of(&world));
    let answer = server.post("/remember", "").await;
    assert!(answer.values(header::SET_COOKIE)[0].contains(&format!("Max-Age={MONTH};")));
    let cookie = answer.new_cookie().unwrap();
    for _ in 0..2 {
        world.advance(MONTH / 2 - 1);
        assert_eq!(server.post("/write", &cookie).await.new_cookie(), None, "it is neither extended nor cut");
        assert_eq!(server.get("/who", &cookie).await.text().await, "ada");
    }
    world.advance(2);
    assert_eq!(server.get("/who", &cookie).await.text().await, "");
}
