//! Failures speak.

use std::sync::Arc;

use http::{StatusCode, header};
use session_native::{
    Client, ClientBinding, CookieHeld, Error, MemoryStore, Rejection, Sessions, web::SessionLayer,
};

use crate::{
    app::{App, Cart, Handle, Scope, routes},
    client::Framework,
    support::{
        Data, World, config, cookie_of,
        store::{Fault, Op},
    },
};

// Row 38, P6.
pub(crate) async fn a_store_that_is_down_is_a_503<F: Framework>() {
    let world = World::new();
    let server = F::start(routes().of(&world));
    let cookie = world.sign_in("ada").await;
    world.stage.down(true);
    for answer in [
        server.get("/read", &cookie).await,
        server.get("/who", &cookie).await,
        server.post("/write", &cookie).await,
        server.post("/write", "").await,
    ] {
        answer.assert_unavailable();
        assert!(!answer.text().await.contains("before"), "no details for clients");
    }
    assert_eq!(server.get("/untouched", &cookie).await.status, 200);
    assert_eq!(server.get("/read", "").await.status, 200, "visitors need no store");
    world.stage.down(false);
    assert_eq!(server.get("/who", &cookie).await.text().await, "ada");
}

// P6: the store goes down between the load and the commit.
pub(crate) async fn a_commit_that_failed_is_a_503_and_not_a_success<F: Framework>() {
    let world = World::new();
    let server = F::start(routes().of(&world));
    let cookie = world.sign_in("ada").await;
    world.stage.fail(Op::Save, Fault::Before);
    server.post("/write", &cookie).await.assert_unavailable();
    assert_eq!(world.data(&cookie).await.visits, 0);
}

// Row 28.
pub(crate) async fn data_that_does_not_fit_into_the_cookie_is_a_413_that_names_both_sizes<F: Framework>() {
    let carts = Sessions::<Cart, CookieHeld>::cookie(config()).unwrap();
    let scope =
        Scope::default().on_cart("/", async |cart| cart.update(|cart| cart.items.push("x".repeat(5000))));
    let scopes = vec![scope];
    let server = F::start(App { carts: Some(SessionLayer::new(carts)), scopes, ..App::default() });
    let answer = server.post("/", "").await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.new_cookie(), None);
    assert_eq!(answer.values(header::CONTENT_TYPE), ["text/plain; charset=utf-8"]);
    let message = answer.text().await;
    let sizes: Vec<usize> =
        message.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    assert!(sizes.len() == 2 && sizes[0] > 5000 && sizes[1] == 4096, "{message}");
}

pub(crate) async fn a_field_that_two_requests_must_not_change_makes_the_later_answer_a_409<F: Framework>() {
    let carts = Sessions::<Cart, _>::new(config(), MemoryStore::new()).unwrap();
    let cookie = cookie_of(&carts.commit(&mut carts.create()).await.unwrap().unwrap());
    let (rival, theirs) = (carts.clone(), cookie.clone());
    let scope = Scope::default().on_cart("/", move |cart| {
        let (rival, theirs) = (rival.clone(), theirs.clone());
        async move {
            let mut other = rival.load(&theirs, &Client::default()).await.unwrap();
            other.data_mut().address = "Rue 1".into();
            rival.commit(&mut other).await.unwrap();
            cart.update(|cart| cart.address = "Rue 2".into());
        }
    });
    let layer = SessionLayer::new(carts.clone());
    let server = F::start(App { carts: Some(layer), scopes: vec![scope], ..App::default() });
    let answer = server.post("/", &cookie).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(answer.new_cookie(), None);
    assert!(!answer.text().await.contains("address"));
    let stored = carts.load(&cookie, &Client::default()).await.unwrap();
    assert_eq!(stored.data().address, "Rue 1");
}

// Row 10, P6.
pub(crate) async fn a_logout_that_failed_says_so_and_leaves_the_cookie<F: Framework>() {
    let world = World::new();
    let server = F::start(routes().of(&world));
    let cookie = world.sign_in("ada").await;
    world.stage.fail(Op::Delete, Fault::Before);
    let answer = server.post("/logout", &cookie).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.new_cookie(), None);
    assert_eq!(answer.text().await, "you are still signed in");
    assert_eq!(server.get("/who", &cookie).await.text().await, "ada");
    let answer = server.post("/logout", &cookie).await;
    assert_eq!(answer.new_cookie().as_deref(), Some(""));
    assert_eq!(answer.values(header::CACHE_CONTROL), ["no-store"]);
    assert_eq!(server.get("/who", &cookie).await.text().await, "");
    // Nobody is signed in: there is nothing to remove.
    assert_eq!(server.post("/logout", "").await.new_cookie(), None);
}

// Row 10, P6: a step-up in one tab, a logout with the old token in another.
pub(crate) async fn a_logout_with_an_old_token_ends_the_session_or_says_so<F: Framework>() {
    let world = World::new();
    let server = F::start(routes().act("/rotate", Handle::regenerate).of(&world));
    let old = world.sign_in("ada").await;
    let new = server.post("/rotate", &old).await.new_cookie().unwrap();
    world.stage.fail(Op::Delete, Fault::Before);
    let answer = server.post("/logout", &old).await;
    assert_eq!((answer.status, answer.new_cookie()), (503, None));
    assert_eq!(server.get("/who", &new).await.text().await, "ada");
    let answer = server.post("/logout", &old).await;
    assert_eq!((answer.status, answer.new_cookie().as_deref()), (200, Some("")));
    assert_eq!(server.get("/who", &new).await.text().await, "");
}

// The pattern of the quick start: what `?` makes of a session that ended or was rotated while the handler ran.
pub(crate) async fn a_session_that_ended_while_a_handler_ran_is_a_401<F: Framework>() {
    let world = World::new();
    for (rotated, exact) in [(false, false), (false, true), (true, false), (true, true)] {
        let cookie = world.sign_in("ada").await;
        let (rival, theirs) = (world.clone(), cookie.clone());
        let scope = Scope::default().trying("/", move |session| {
            let (rival, theirs) = (rival.clone(), theirs.clone());
            async move {
                let mut other = rival.load(&theirs).await?;
                if rotated {
                    other.regenerate();
                    rival.commit(&mut other).await?;
                } else {
                    rival.sessions.destroy(&mut other).await?;
                }
                if exact {
                    session.update_now(|data| data.visits += 1).await?;
                } else {
                    session.update(|data| data.visits += 1);
                    session.commit().await?;
                }
                Ok(())
            }
        });
        let answer = F::start(scope.of(&world)).post("/", &cookie).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "rotated: {rotated}, exact: {exact}");
        assert_eq!(answer.values(header::WWW_AUTHENTICATE), ["Cookie"]);
        assert_eq!(answer.values(header::CACHE_CONTROL), ["no-store"]);
        assert_eq!(answer.new_cookie(), None, "the cookie is left alone");
        assert_eq!(answer.text().await, "the session ended meanwhile: load the page again, or sign in");
    }

    // What is a failure of the store stays one.
    let cookie = world.sign_in("ada").await;
    let stage = Arc::clone(&world.stage);
    let scope = Scope::default().trying("/", move |session| {
        let stage = Arc::clone(&stage);
        async move {
            stage.fail(Op::Save, Fault::Before);
            Ok(session.update_now(|data| data.visits += 1).await?)
        }
    });
    F::start(scope.of(&world)).post("/", &cookie).await.assert_unavailable();
}

pub(crate) async fn a_handler_outside_the_layer_is_told<F: Framework>() {
    let server = F::start(App { scopes: vec![routes()], ..App::default() });
    let answer = server.get("/read", "").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.text().await.contains("SessionLayer"));
}

// The rotation has taken effect: without its cookie the client would hold a dead token.
pub(crate) async fn the_cookie_of_a_commit_is_sent_although_the_last_commit_fails<F: Framework>() {
    let world = World::new();
    for by_update in [false, true] {
        let cookie = world.sign_in("ada").await;
        let stage = Arc::clone(&world.stage);
        let scope = Scope::default().on("/", move |session, _| {
            let stage = Arc::clone(&stage);
            async move {
                session.regenerate();
                if by_update {
                    session.update_now(|data| data.visits += 1).await.unwrap();
                } else {
                    session.commit().await.unwrap();
                }
                session.update(|data| data.fields.a = 1);
                stage.fail(Op::Save, Fault::Before);
            }
        });
        let answer = F::start(scope.of(&world)).post("/", &cookie).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let new = answer.new_cookie().expect("the rotated token");
        assert!(world.load(&cookie).await.unwrap().is_new());
        assert_eq!(world.data(&new).await.fields.a, 0);
    }
}

pub(crate) async fn a_logout_stands_although_the_last_commit_fails<F: Framework>() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let stage = Arc::clone(&world.stage);
    let scope = Scope::default().on("/", move |session, _| {
        let stage = Arc::clone(&stage);
        async move {
            session.destroy().await.unwrap();
            stage.down(true);
        }
    });
    let answer = F::start(scope.of(&world)).post("/", &cookie).await;
    assert_eq!((answer.status, answer.new_cookie().as_deref()), (200, Some("")));
}

pub(crate) async fn a_token_that_is_owed_is_sent_although_the_store_fails_afterwards<F: Framework>() {
    let world = World::new();
    let scope = Scope::default().on("/begin", async |session, _| {
        session.authenticate("ada");
        session.update_now(|data| data.visits += 1).await.unwrap();
    });
    let server = F::start(scope.of(&world));
    // The look at whether the session is still current.
    world.stage.fail(Op::Load, Fault::Before);
    let answer = server.post("/begin", "").await;
    assert!(world.stage.all_failed());
    let cookie = answer.new_cookie().expect("without its token the session would be lost");
    assert_eq!(world.load(&cookie).await.unwrap().subject(), Some("ada"));
}

// Row 39.
pub(crate) async fn binding_to_an_unknown_address_is_a_clear_error<F: Framework>() {
    let world = World::with(config().client_binding(Some(ClientBinding::ip())), |sessions| sessions);
    let server = F::start_without_addresses(routes().of(&world));
    let mut session = world.sessions.create();
    let cookie = world.commit(&mut session).await.unwrap().unwrap();
    for cookie in ["", &cookie] {
        let answer = server.get("/who", cookie).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.new_cookie(), None);
    }
    assert_eq!(server.get("/untouched", "").await.status, 200);
    assert!(Error::ClientAddressUnknown.to_string().contains("into_make_service_with_connect_info"));
}

/// Changes the session by half, as a bug does. A layer inside of the `SessionLayer` catches it.
fn panic_halfway(session: &Handle) -> bool {
    let halfway = || {
        session.update(|data| {
            data.fields.a += 10;
            assert_eq!(data.fields.b, 10, "a bug");
            data.fields.b -= 10;
        });
    };
    std::panic::catch_unwind(core::panic::AssertUnwindSafe(halfway)).is_err()
}

// P2: a sum that was booked and never taken.
pub(crate) async fn half_of_a_change_is_not_saved<F: Framework>() {
    let world = World::new();
    let scope = routes()
        .act("/at-the-end", |session| assert!(panic_halfway(session)))
        .on("/now", async |session, _| {
            assert!(panic_halfway(&session));
            assert!(matches!(session.commit().await, Err(Error::Panicked)));
            assert!(matches!(session.update_now(|data| data.visits += 1).await, Err(Error::Panicked)));
            "caught"
        })
        .on("/committed-before", async |session, _| {
            session.regenerate();
            session.update(|data| data.visits = 7);
            session.commit().await.unwrap();
            assert!(panic_halfway(&session));
            "caught"
        })
        .on("/sign-out", async |session, _| {
            assert!(panic_halfway(&session));
            session.destroy().await.unwrap();
            "caught"
        });
    let server = F::start(scope.of(&world));
    let cookie = world.sign_in("ada").await;
    for path in ["/at-the-end", "/now"] {
        let answer = server.post(path, &cookie).await;
        assert_eq!((answer.status, answer.new_cookie()), (500, None), "{path}");
        assert_eq!(world.data(&cookie).await, Data::default(), "{path}");
    }
    let visitor = server.post("/at-the-end", "").await;
    assert_eq!((visitor.status, visitor.new_cookie()), (500, None));
    assert_eq!(server.post("/write", &cookie).await.status, 200, "it is that request alone");

    // What was saved before stands, and the client hears of it.
    let answer = server.post("/committed-before", &cookie).await;
    let new = answer.new_cookie().expect("the rotated token");
    assert_eq!((answer.status, world.data(&new).await), (500, Data { visits: 7, ..Data::default() }));

    // Nothing of a session that is ended matters.
    let answer = server.post("/sign-out", &new).await;
    assert_eq!(answer.new_cookie().as_deref(), Some(""));
    assert_eq!(world.load(&new).await.unwrap().rejection(), Some(Rejection::Revoked));
}
