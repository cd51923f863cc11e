//! What is in the headers, and what isn't.

use http::{HeaderMap, HeaderValue, Method, header};
use session_native::{CookieHeld, CookieOptions, Sessions, web::SessionLayer};
use std::sync::{Arc, Mutex};

use crate::{
    app::{Act, App, Cart, Reply, Route, Scope, routes},
    client::{Framework, request},
    support::{World, config},
};

pub(crate) async fn an_untouched_route_costs_nothing_and_gets_no_headers<F: Framework>() {
    let world = World::new();
    let without_date = |mut headers: HeaderMap| {
        headers.remove(header::DATE);
        headers
    };
    let bare = Scope::default().plain("/untouched", "untouched");
    let bare = F::start(App { scopes: vec![bare], ..App::default() });
    let expected = without_date(bare.get("/untouched", "").await.headers);
    let server = F::start(routes().of(&world));
    let cookie = world.sign_in("ada").await;
    world.advance(600); // so that a load would extend the session
    let calls = world.stage.calls();
    for cookie in ["", "session=rubbish", &cookie] {
        let answer = server.get("/untouched", cookie).await;
        assert_eq!(without_date(answer.headers), expected);
    }
    assert_eq!(world.stage.calls(), calls);
}

// Row 31.
pub(crate) async fn a_read_is_private_and_varies_by_cookie<F: Framework>() {
    let world = World::new();
    let server = F::start(routes().of(&world));
    let cookie = world.sign_in("ada").await;
    let calls = world.stage.calls();
    for (cookie, cost) in [("", 0), ("session=rubbish", 0), (cookie.as_str(), 1)] {
        let before = world.stage.calls();
        let answer = server.get("/read", cookie).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.values(header::VARY), ["Cookie"]);
        assert_eq!(answer.values(header::CACHE_CONTROL), ["private"]);
        assert_eq!(answer.new_cookie(), None);
        assert_eq!(world.stage.calls() - before, cost, "one load and no write");
    }
    assert_eq!(world.stage.calls() - calls, 1);
}

// Row 31: for every way of looking at the session.
pub(crate) async fn every_access_is_marked<F: Framework>() {
    let world = World::new();
    let looks: [Act; 10] = [
        ("/data", |session| drop(session.data())),
        ("/read", |session| session.read(|_| ())),
        ("/subject", |session| drop(session.subject())),
        ("/is_authenticated", |session| _ = session.is_authenticated()),
        ("/authenticated_at", |session| _ = session.authenticated_at()),
        ("/key", |session| _ = session.key()),
        ("/flash", |session| session.flash(|flash| _ = flash.notice())),
        ("/update", |session| session.update(|_| ())),
        ("/now", |session| _ = session.now()),
        ("/nothing", |_| ()),
    ];
    let scope = looks.into_iter().fold(Scope::default(), |scope, (path, look)| scope.act(path, look));
    let server = F::start(scope.of(&world));
    for (path, _) in looks {
        let answer = server.get(path, "").await;
        assert_eq!(answer.values(header::VARY), ["Cookie"], "{path}");
        assert_eq!(answer.values(header::CACHE_CONTROL), ["private"], "{path}");
    }
}

pub(crate) async fn a_write_sets_the_cookie_and_forbids_caching<F: Framework>() {
    let world = World::new();
    let server = F::start(routes().of(&world));
    let answer = server.post("/write", "").await;
    assert_eq!(answer.values(header::CACHE_CONTROL), ["no-store"]);
    let cookie = answer.new_cookie().expect("a new session");
    // The next write is saved, and the client's cookie is still good.
    let answer = server.post("/write", &cookie).await;
    assert_eq!(answer.new_cookie(), None);
    assert_eq!(world.data(&cookie).await.visits, 2);
}

pub(crate) async fn what_the_handler_says_about_caching_is_kept_where_it_may_be<F: Framework>() {
    for (vary, expected) in
        [("Accept", vec!["Accept", "Cookie"]), ("accept, cookie", vec!["accept, cookie"]), ("*", vec!["*"])]
    {
        let world = World::new();
        let reply = move || Reply::from("").with("vary", vary).with("cache-control", "max-age=60");
        let scope = Scope::default().on("/read", move |_, _| core::future::ready(reply())).on(
            "/write",
            move |session, _| {
                session.update(|data| data.visits = 1);
                core::future::ready(reply())
            },
        );
        let server = F::start(scope.of(&world));
        let read = server.get("/read", "").await;
        assert_eq!(read.values(header::VARY), expected);
        assert_eq!(read.values(header::CACHE_CONTROL), ["max-age=60"]);
        let write = server.get("/write", "").await;
        assert_eq!(write.values(header::VARY), expected);
        assert_eq!(write.values(header::CACHE_CONTROL), ["no-store"], "never a cached cookie");
    }
}

pub(crate) async fn cookies_in_two_header_fields_are_read<F: Framework>() {
    let world = World::new();
    let server = F::start(routes().of(&world));
    let cookie = world.sign_in("ada").await;
    let mut request = request(Method::GET, "/who", "a=1; session=rubbish");
    request.headers_mut().append(header::COOKIE, cookie.parse().unwrap());
    request.headers_mut().append(header::COOKIE, HeaderValue::from_bytes(b"b=\xff").unwrap());
    assert_eq!(server.send(request).await.text().await, "ada");
}

pub(crate) async fn a_flash_message_survives_a_redirect_and_shows_once<F: Framework>() {
    let world = World::new();
    let scope = Scope::default()
        .on("/save", async |session, _| {
            session.flash(|flash| flash.set_notice("Saved"));
            Reply::from((303, "")).with("location", "/page")
        })
        .on("/page", async |session, _| session.flash(|flash| flash.notice().unwrap_or("none").to_owned()))
        .on("/poll", async |session, _| session.data().visits.to_string());
    let server = F::start(scope.of(&world));
    let answer = server.post("/save", "").await;
    assert_eq!((answer.status, answer.values(header::LOCATION)), (303, vec!["/page"]));
    let cookie = answer.new_cookie().unwrap();
    // A request in between that doesn't look takes nothing.
    assert_eq!(server.get("/poll", &cookie).await.text().await, "0");
    assert_eq!(server.get("/page", &cookie).await.text().await, "Saved");
    assert_eq!(server.get("/page", &cookie).await.text().await, "none");
}

pub(crate) async fn a_streaming_body_is_not_held_up<F: Framework>() {
    let world = World::new();
    let scope = Scope::default().on("/", async |session, _| {
        session.update(|data| data.visits = 1);
        Reply::endless()
    });
    // The body never ends; the headers, with the cookie, are there.
    let server = F::start(scope.of(&world));
    let answer = server.post("/", "").await;
    let cookie = answer.new_cookie().expect("a new session");
    assert_eq!(world.data(&cookie).await.visits, 1);
}

pub(crate) async fn an_upgrade_passes_with_what_belongs_to_it<F: Framework>() {
    let world = World::new();
    let scope = Scope::default().on("/", async |session, _| {
        session.update(|data| data.visits = 1);
        Reply::upgraded()
    });
    let server = F::start(scope.of(&world));
    let mut request = request(Method::GET, "/", "");
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    request.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let answer = server.send(request).await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.values(header::UPGRADE), ["websocket"]);
    assert!(answer.new_cookie().is_some());
}

pub(crate) async fn two_layers_with_different_data_stand_side_by_side<F: Framework>() {
    let world = World::new();
    let cookie = CookieOptions { name: "cart".into(), ..config().cookie };
    let carts = Sessions::<Cart, CookieHeld>::cookie(config().cookie(cookie)).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let mut scope = Scope::default()
        .act("/user", |session| session.update(|data| data.visits = 1))
        .on_cart("/cart", async |cart| cart.update(|cart| cart.items.push("apple".into())));
    scope.routes.push((
        "/both",
        Route::Both(Arc::new(move |(session, cart)| {
            log.lock().unwrap().push((session.data().visits, cart.data().items));
            session.update(|data| data.visits += 1);
            cart.update(|cart| cart.items.push("pear".into()));
            Box::pin(core::future::ready(Reply::from("")))
        })),
    ));
    let server = F::start(App { carts: Some(SessionLayer::new(carts)), ..scope.of(&world) });
    let user = server.post("/user", "").await.new_cookie().unwrap();
    let cart = server.post("/cart", "").await.new_cookie().unwrap();
    assert!(user.starts_with("session=") && cart.starts_with("cart="));
    let answer = server.post("/both", &format!("{user}; {cart}")).await;
    assert_eq!(*seen.lock().unwrap(), [(1, vec!["apple".to_owned()])]);
    assert!(answer.new_cookie().unwrap().starts_with("cart="), "the other's cookie is still good");
    assert_eq!(answer.values(header::VARY), ["Cookie"]);
    assert_eq!(world.data(&user).await.visits, 2);
    let answer = server.post("/both", "").await;
    assert_eq!(answer.values(header::SET_COOKIE).len(), 2);
}
