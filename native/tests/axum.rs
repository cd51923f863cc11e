//! What a web application sees of sessions: headers, statuses, and requests that overlap. No network.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::ConnectInfo,
    http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header},
    response::{IntoResponse as _, Redirect},
    routing::{any, get, post},
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use session_native::{
    Client, ClientBinding, CookieHeld, CookieOptions, Error, MemoryStore, MergePolicies, MergePolicy,
    SessionData, SessionHandle, Sessions,
    axum::{RequireAuth, SessionLayer},
    client::TrustedProxies,
};
use support::{
    Data, World, config, cookie_of,
    store::{Fault, Op},
};
use tokio::sync::Notify;
use tower::ServiceExt as _;

type Handle = SessionHandle<Data>;

/// What a handler does with its session, by name.
type Act = (&'static str, fn(&Handle));

/// An application with sessions around it.
fn with_sessions(world: &World, routes: Router) -> Router {
    routes.layer(SessionLayer::new(world.sessions.clone()))
}

/// The handlers most tests need.
fn app(world: &World) -> Router {
    let routes = Router::new()
        .route("/untouched", any(async || "untouched"))
        .route("/read", get(async |session: Handle| session.data().visits.to_string()))
        .route("/write", post(async |session: Handle| session.update(|data| data.visits += 1)))
        .route("/login", post(async |session: Handle, name: String| session.authenticate(name)))
        .route("/who", get(async |session: Handle| session.subject().unwrap_or_default()))
        .route(
            "/logout",
            post(async |session: Handle| match session.destroy().await {
                Ok(()) => (StatusCode::OK, "signed out"),
                Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "you are still signed in"),
            }),
        );
    with_sessions(world, routes)
}

fn request(method: Method, path: &str, cookie: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    if !cookie.is_empty() {
        request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
    }
    request
}

async fn send(app: &Router, request: Request<Body>) -> Response<Body> {
    app.clone().oneshot(request).await.unwrap()
}

async fn get_as(app: &Router, path: &str, cookie: &str) -> Response<Body> {
    send(app, request(Method::GET, path, cookie)).await
}

async fn post_as(app: &Router, path: &str, cookie: &str) -> Response<Body> {
    send(app, request(Method::POST, path, cookie)).await
}

async fn text(response: Response<Body>) -> String {
    let body: Bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(body.into()).unwrap()
}

/// The `Cookie` header after the only `Set-Cookie` of a response; empty if the cookie was removed.
fn new_cookie(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(header::SET_COOKIE).iter();
    let first = all.next()?.to_str().unwrap();
    assert!(all.next().is_none(), "one Set-Cookie at most");
    let pair = first.split(';').next().unwrap();
    assert_eq!(pair.ends_with('='), first.contains("Max-Age=0"), "an empty value is a removal");
    Some(if pair.ends_with('=') { String::new() } else { pair.to_owned() })
}

fn values(headers: &HeaderMap, name: header::HeaderName) -> Vec<&str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn an_untouched_route_costs_nothing_and_gets_no_headers() {
    let world = World::new();
    let bare = Router::new().route("/untouched", any(async || "untouched"));
    let expected = get_as(&bare, "/untouched", "").await;
    let cookie = world.sign_in("ada").await;
    world.advance(600); // so that a load would extend the session
    let calls = world.stage.calls();
    for cookie in ["", "session=rubbish", &cookie] {
        let response = get_as(&app(&world), "/untouched", cookie).await;
        assert_eq!(response.headers(), expected.headers());
    }
    assert_eq!(world.stage.calls(), calls);
}

// Row 31.
#[tokio::test]
async fn a_read_is_private_and_varies_by_cookie() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let calls = world.stage.calls();
    for (cookie, cost) in [("", 0), ("session=rubbish", 0), (cookie.as_str(), 1)] {
        let before = world.stage.calls();
        let response = get_as(&app(&world), "/read", cookie).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(values(response.headers(), header::VARY), ["Cookie"]);
        assert_eq!(values(response.headers(), header::CACHE_CONTROL), ["private"]);
        assert_eq!(new_cookie(response.headers()), None);
        assert_eq!(world.stage.calls() - before, cost, "one load and no write");
    }
    assert_eq!(world.stage.calls() - calls, 1);
}

// Row 31: for every way of looking at the session.
#[tokio::test]
async fn every_access_is_marked() {
    let world = World::new();
    let looks: [Act; 9] = [
        ("data", |session| drop(session.data())),
        ("read", |session| session.read(|_| ())),
        ("subject", |session| drop(session.subject())),
        ("is_authenticated", |session| _ = session.is_authenticated()),
        ("key", |session| _ = session.key()),
        ("flash", |session| session.flash(|flash| _ = flash.notice())),
        ("update", |session| session.update(|_| ())),
        ("now", |session| _ = session.now()),
        ("nothing", |_| ()),
    ];
    for (name, look) in looks {
        let routes = Router::new().route("/", get(async move |session: Handle| look(&session)));
        let response = get_as(&with_sessions(&world, routes), "/", "").await;
        assert_eq!(values(response.headers(), header::VARY), ["Cookie"], "{name}");
        assert_eq!(values(response.headers(), header::CACHE_CONTROL), ["private"], "{name}");
    }
}

#[tokio::test]
async fn a_write_sets_the_cookie_and_forbids_caching() {
    let world = World::new();
    let response = post_as(&app(&world), "/write", "").await;
    assert_eq!(values(response.headers(), header::CACHE_CONTROL), ["no-store"]);
    let cookie = new_cookie(response.headers()).expect("a new session");
    // The next write is saved, and the client's cookie is still good.
    let response = post_as(&app(&world), "/write", &cookie).await;
    assert_eq!(new_cookie(response.headers()), None);
    assert_eq!(world.data(&cookie).await.visits, 2);
}

#[tokio::test]
async fn what_the_handler_says_about_caching_is_kept_where_it_may_be() {
    for (vary, expected) in
        [("Accept", vec!["Accept", "Cookie"]), ("accept, cookie", vec!["accept, cookie"]), ("*", vec!["*"])]
    {
        let world = World::new();
        let headers = move || [(header::VARY, vary), (header::CACHE_CONTROL, "max-age=60")];
        let routes =
            Router::new().route("/read", get(async move |_: Handle| headers().into_response())).route(
                "/write",
                get(async move |session: Handle| {
                    session.update(|data| data.visits = 1);
                    headers().into_response()
                }),
            );
        let app = with_sessions(&world, routes);
        let read = get_as(&app, "/read", "").await;
        assert_eq!(values(read.headers(), header::VARY), expected);
        assert_eq!(values(read.headers(), header::CACHE_CONTROL), ["max-age=60"]);
        let write = get_as(&app, "/write", "").await;
        assert_eq!(values(write.headers(), header::VARY), expected);
        assert_eq!(values(write.headers(), header::CACHE_CONTROL), ["no-store"], "never a cached cookie");
    }
}

#[tokio::test]
async fn the_session_is_committed_once() {
    let world = World::new();
    let routes = Router::new().route(
        "/",
        post(async |first: Handle, second: Handle| {
            first.update(|data| data.visits += 1);
            second.update(|data| data.visits += 1);
            second.clone().flash(|flash| flash.set_notice("hello"));
        }),
    );
    let app = with_sessions(&world, routes);
    let cookie = world.sign_in("ada").await;
    let before = world.stage.calls();
    post_as(&app, "/", &cookie).await;
    assert_eq!(world.stage.calls() - before, 2, "a load and a save");
    assert_eq!(world.data(&cookie).await.visits, 2);
}

// `cycle_id`, then a 500: the session was lost. A peer's fault.
#[tokio::test]
async fn a_rotation_is_committed_whatever_the_status_is() {
    let world = World::new();
    let routes = Router::new().route(
        "/",
        post(async |session: Handle| {
            session.regenerate();
            (StatusCode::INTERNAL_SERVER_ERROR, "oops")
        }),
    );
    let old = world.sign_in("ada").await;
    let response = post_as(&with_sessions(&world, routes), "/", &old).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let new = new_cookie(response.headers()).expect("the rotated token");
    assert_eq!(text(response).await, "oops");
    assert!(world.load(&old).await.unwrap().is_new());
    assert!(world.load(&new).await.unwrap().is_authenticated());
}

// `renew()`, then `set()`, drops the renewal. A peer's fault.
#[tokio::test]
async fn a_write_after_a_rotation_does_not_drop_it() {
    let world = World::new();
    let routes = Router::new().route(
        "/",
        post(async |session: Handle| {
            session.regenerate();
            session.update(|data| data.visits = 5);
        }),
    );
    let old = world.sign_in("ada").await;
    let response = post_as(&with_sessions(&world, routes), "/", &old).await;
    let new = new_cookie(response.headers()).unwrap();
    assert!(world.load(&old).await.unwrap().is_new());
    assert_eq!(world.data(&new).await.visits, 5);
}

/// What a client gets that must not believe it is signed out.
fn assert_unavailable(response: &Response<Body>) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(new_cookie(response.headers()), None, "the cookie is left alone");
    assert_eq!(values(response.headers(), header::RETRY_AFTER), ["1"]);
    assert_eq!(values(response.headers(), header::CACHE_CONTROL), ["no-store"]);
}

// Row 38, P6.
#[tokio::test]
async fn a_store_that_is_down_is_a_503() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    world.stage.down(true);
    for response in [
        get_as(&app(&world), "/read", &cookie).await,
        get_as(&app(&world), "/who", &cookie).await,
        post_as(&app(&world), "/write", &cookie).await,
        post_as(&app(&world), "/write", "").await,
    ] {
        assert_unavailable(&response);
        assert!(!text(response).await.contains("before"), "no details for clients");
    }
    assert_eq!(get_as(&app(&world), "/untouched", &cookie).await.status(), StatusCode::OK);
    assert_eq!(get_as(&app(&world), "/read", "").await.status(), StatusCode::OK, "visitors need no store");
    world.stage.down(false);
    assert_eq!(text(get_as(&app(&world), "/who", &cookie).await).await, "ada");
}

// P6: the store goes down between the load and the commit.
#[tokio::test]
async fn a_commit_that_failed_is_a_503_and_not_a_success() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    world.stage.fail(Op::Save, Fault::Before);
    assert_unavailable(&post_as(&app(&world), "/write", &cookie).await);
    assert_eq!(world.data(&cookie).await.visits, 0);
}

// Row 28.
#[tokio::test]
async fn data_that_does_not_fit_into_the_cookie_is_a_413_that_names_both_sizes() {
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Text(String);
    impl SessionData for Text {}

    let sessions = Sessions::<Text, CookieHeld>::cookie(config()).unwrap();
    let routes = Router::new()
        .route(
            "/",
            post(async |session: SessionHandle<Text>| session.update(|text| text.0 = "x".repeat(5000))),
        )
        .layer(SessionLayer::new(sessions));
    let response = post_as(&routes, "/", "").await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(new_cookie(response.headers()), None);
    let message = text(response).await;
    let sizes: Vec<usize> =
        message.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    assert!(sizes.len() == 2 && sizes[0] > 5000 && sizes[1] == 4096, "{message}");
}

#[tokio::test]
async fn a_field_that_two_requests_must_not_change_makes_the_later_answer_a_409() {
    #[derive(Clone, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Form {
        address: String,
    }
    impl SessionData for Form {
        fn merge_policies() -> MergePolicies {
            MergePolicies::new().field("address", MergePolicy::Fail)
        }
    }

    let sessions = Sessions::<Form, _>::new(config(), MemoryStore::new()).unwrap();
    let cookie = cookie_of(&sessions.commit(&mut sessions.create()).await.unwrap().unwrap());
    let (rival, theirs) = (sessions.clone(), cookie.clone());
    let slow = async move |session: SessionHandle<Form>| {
        let mut other = rival.load(&theirs, &Client::default()).await.unwrap();
        other.data_mut().address = "Rue 1".into();
        rival.commit(&mut other).await.unwrap();
        session.update(|form| form.address = "Rue 2".into());
    };
    let app = Router::new().route("/", post(slow)).layer(SessionLayer::new(sessions.clone()));
    let response = post_as(&app, "/", &cookie).await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    assert_eq!(new_cookie(response.headers()), None);
    assert!(!text(response).await.contains("address"));
    let stored = sessions.load(&cookie, &Client::default()).await.unwrap();
    assert_eq!(stored.data().address, "Rue 1");
}

// Row 8: whatever the handler does.
#[tokio::test]
async fn a_token_that_was_replaced_just_now_is_answered_without_a_cookie() {
    let world = World::new();
    let app = app(&world);
    let old = world.sign_in("ada").await;
    let mut session = world.load(&old).await.unwrap();
    session.regenerate();
    world.commit(&mut session).await.unwrap();
    for path in ["/write", "/login", "/logout"] {
        let response = post_as(&app, path, &old).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key(header::SET_COOKIE), "{path}");
    }
    assert_eq!(world.memory.stats().created, 1);
}

/// A route that loads the session, waits until it is told to go on, and then does something.
struct Slow {
    arrived: Arc<Notify>,
    go_on: Arc<Notify>,
    route: Router,
}

impl Slow {
    fn new(act: fn(&Handle)) -> Self {
        let (arrived, go_on) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let (arriving, going_on) = (Arc::clone(&arrived), Arc::clone(&go_on));
        let handler = async move |session: Handle| {
            arriving.notify_one();
            going_on.notified().await;
            act(&session);
        };
        Self { arrived, go_on, route: Router::new().route("/slow", post(handler)) }
    }
}

// Row 14. Logout while a slow request is in flight: signed in again, also under a new id. Three peers' fault.
#[tokio::test]
async fn a_slow_request_does_not_undo_a_logout() {
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
            let app = with_sessions(&world, slow.route).merge(app(&world));
            let cookie = world.sign_in("ada").await;
            world.advance(if extended { 600 } else { 0 });
            let request = request(Method::POST, "/slow", &cookie);
            let in_flight = tokio::spawn(app.clone().oneshot(request));
            slow.arrived.notified().await;
            let logout = post_as(&app, "/logout", &cookie).await;
            assert_eq!(new_cookie(logout.headers()).as_deref(), Some(""), "the cookie is removed");
            slow.go_on.notify_one();
            let late = in_flight.await.unwrap().unwrap();
            assert_eq!(late.status(), StatusCode::OK);
            assert_eq!(new_cookie(late.headers()), None, "{name}: no new token");
            assert!(world.load(&cookie).await.unwrap().is_new(), "{name}");
            assert!(world.sessions.is_empty().await.unwrap(), "{name}: nothing is stored");
        }
    }
}

// Row 8.
#[tokio::test]
async fn a_slow_request_does_not_replace_the_token_of_a_login() {
    let acts: [fn(&Handle); 2] = [|_| (), |session| session.update(|data| data.visits = 9)];
    for act in acts {
        let world = World::new();
        let slow = Slow::new(act);
        let app = with_sessions(&world, slow.route).merge(app(&world));
        let response = post_as(&app, "/write", "").await;
        let cookie = new_cookie(response.headers()).unwrap();
        world.advance(600);
        let in_flight = tokio::spawn(app.clone().oneshot(request(Method::POST, "/slow", &cookie)));
        slow.arrived.notified().await;
        let mut login = request(Method::POST, "/login", &cookie);
        *login.body_mut() = "ada".into();
        let signed_in = new_cookie(send(&app, login).await.headers()).unwrap();
        slow.go_on.notify_one();
        let late = in_flight.await.unwrap().unwrap();
        assert_eq!(new_cookie(late.headers()), None);
        assert_eq!(text(get_as(&app, "/who", &signed_in).await).await, "ada");
        assert_eq!(world.data(&signed_in).await.visits, 1);
    }
}

// Row 10, P6.
#[tokio::test]
async fn a_logout_that_failed_says_so_and_leaves_the_cookie() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    world.stage.fail(Op::Delete, Fault::Before);
    let response = post_as(&app(&world), "/logout", &cookie).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(new_cookie(response.headers()), None);
    assert_eq!(text(response).await, "you are still signed in");
    assert_eq!(text(get_as(&app(&world), "/who", &cookie).await).await, "ada");
    let response = post_as(&app(&world), "/logout", &cookie).await;
    assert_eq!(new_cookie(response.headers()).as_deref(), Some(""));
    assert_eq!(values(response.headers(), header::CACHE_CONTROL), ["no-store"]);
    assert_eq!(text(get_as(&app(&world), "/who", &cookie).await).await, "");
    // Nobody is signed in: there is nothing to remove.
    assert_eq!(new_cookie(post_as(&app(&world), "/logout", "").await.headers()), None);
}

#[tokio::test]
async fn visitors_who_are_not_signed_in_are_turned_away() {
    let world = World::new();
    let page = Router::new().route("/login", any(async || "login")).route("/{*page}", any(async || "page"));
    let pages = with_sessions(
        &world,
        page.clone().layer(RequireAuth::<Data>::redirect_to("/login").except(|path| path == "/public")),
    );
    let api = with_sessions(&world, page.layer(RequireAuth::<Data>::unauthorized()));
    let cookie = world.sign_in("ada").await;
    let visitor = world.sessions.create();
    let anonymous = world.commit(&mut { visitor }).await.unwrap().unwrap();

    for stranger in ["", "session=rubbish", &anonymous] {
        for method in [Method::GET, Method::HEAD] {
            let response = send(&pages, request(method, "/a/b?c=d&e=%20", stranger)).await;
            assert_eq!(response.status(), StatusCode::SEE_OTHER);
            let location = values(response.headers(), header::LOCATION);
            assert_eq!(location, ["/login?redirect_to=/a/b%3Fc%3Dd%26e%3D%2520"]);
            assert_eq!(new_cookie(response.headers()), None);
            assert_eq!(values(response.headers(), header::VARY), ["Cookie"]);
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let response = send(&pages, request(method, "/a", stranger)).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(values(response.headers(), header::LOCATION), [""; 0]);
        }
        for method in [Method::GET, Method::POST] {
            let response = send(&api, request(method, "/a", stranger)).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(values(response.headers(), header::WWW_AUTHENTICATE), ["Cookie"]);
        }
    }
    for app in [&pages, &api] {
        assert_eq!(text(get_as(app, "/a", &cookie).await).await, "page");
    }
    let calls = world.stage.calls();
    assert_eq!(text(get_as(&pages, "/public", &cookie).await).await, "page");
    assert_eq!(text(get_as(&pages, "/login", &cookie).await).await, "login");
    assert_eq!(world.stage.calls(), calls, "public pages cost nothing");
    assert_eq!(get_as(&pages, "/public/not", "").await.status(), StatusCode::SEE_OTHER);

    // Row 38.
    world.stage.down(true);
    for app in [&pages, &api] {
        let response = get_as(app, "/a", &cookie).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(new_cookie(response.headers()), None);
    }
    assert_eq!(text(get_as(&pages, "/public", &cookie).await).await, "page");
}

#[tokio::test]
async fn a_protected_route_loads_the_session_once() {
    let world = World::new();
    let routes = Router::new()
        .route("/", get(async |session: Handle| session.subject().unwrap()))
        .layer(RequireAuth::<Data>::unauthorized());
    let cookie = world.sign_in("ada").await;
    let calls = world.stage.calls();
    assert_eq!(text(get_as(&with_sessions(&world, routes), "/", &cookie).await).await, "ada");
    assert_eq!(world.stage.calls() - calls, 1);
}

#[tokio::test]
async fn a_handler_outside_the_layer_is_told() {
    let routes = Router::new().route("/", get(async |_: Handle| ()));
    let response = get_as(&routes, "/", "").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(response).await.contains("SessionLayer"));
}

#[tokio::test]
async fn cookies_in_two_header_fields_are_read() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let mut request = request(Method::GET, "/who", "a=1; session=rubbish");
    request.headers_mut().append(header::COOKIE, cookie.parse().unwrap());
    request.headers_mut().append(header::COOKIE, HeaderValue::from_bytes(b"b=\xff").unwrap());
    assert_eq!(text(send(&app(&world), request).await).await, "ada");
}

fn from_address(mut request: Request<Body>, peer: &str, forwarded_for: &[&str]) -> Request<Body> {
    let peer: SocketAddr = peer.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    for value in forwarded_for {
        request.headers_mut().append("x-forwarded-for", value.parse().unwrap());
    }
    request
}

// Row 39.
#[tokio::test]
async fn a_forwarded_address_counts_only_from_trusted_proxies() {
    let world = World::with(config().client_binding(Some(ClientBinding::ip())), |sessions| sessions);
    let routes = || {
        Router::new()
            .route("/login", post(async |session: Handle| session.authenticate("ada")))
            .route("/who", get(async |session: Handle| session.subject().unwrap_or_default()))
    };
    let direct = with_sessions(&world, routes());
    let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
    let behind = routes().layer(SessionLayer::new(world.sessions.clone()).trusted_proxies(proxies));

    let login = async |app: &Router, peer, forwarded_for| {
        let response =
            send(app, from_address(request(Method::POST, "/login", ""), peer, forwarded_for)).await;
        new_cookie(response.headers()).unwrap()
    };
    let who = async |app: &Router, cookie: &str, peer, forwarded_for| {
        let response =
            send(app, from_address(request(Method::GET, "/who", cookie), peer, forwarded_for)).await;
        assert_eq!(new_cookie(response.headers()), None);
        text(response).await
    };

    // Without trust the header has no effect, neither for the owner nor for a thief.
    let cookie = login(&direct, "203.0.113.7:1000", &["1.1.1.1"]).await;
    assert_eq!(who(&direct, &cookie, "203.0.113.7:2000", &["2.2.2.2"]).await, "ada");
    assert_eq!(who(&direct, &cookie, "198.51.100.4:1000", &["203.0.113.7"]).await, "");
    assert_eq!(who(&behind, &cookie, "198.51.100.4:1000", &["203.0.113.7"]).await, "", "not a proxy of ours");

    // Behind the proxy its word counts, and what the client wrote before it doesn't.
    assert_eq!(who(&behind, &cookie, "10.0.0.1:1000", &["203.0.113.7"]).await, "ada");
    assert_eq!(who(&behind, &cookie, "10.0.0.1:1000", &["9.9.9.9, 203.0.113.7, 10.0.0.2"]).await, "ada");
    assert_eq!(who(&behind, &cookie, "10.0.0.1:1000", &["9.9.9.9", "203.0.113.7"]).await, "ada");
    assert_eq!(who(&behind, &cookie, "10.0.0.1:1000", &["203.0.113.7, 198.51.100.4"]).await, "");
    assert_eq!(who(&behind, &cookie, "10.0.0.1:1000", &[]).await, "");
}

// Row 39.
#[tokio::test]
async fn binding_to_an_unknown_address_is_a_clear_error() {
    let world = World::with(config().client_binding(Some(ClientBinding::ip())), |sessions| sessions);
    let app = app(&world);
    let mut session = world.sessions.create();
    let cookie = world.commit(&mut session).await.unwrap().unwrap();
    for cookie in ["", &cookie] {
        let response = get_as(&app, "/who", cookie).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(new_cookie(response.headers()), None);
    }
    assert!(Error::ClientAddressUnknown.to_string().contains("into_make_service_with_connect_info"));
}

#[tokio::test]
async fn a_flash_message_survives_a_redirect_and_shows_once() {
    let world = World::new();
    let routes = Router::new()
        .route(
            "/save",
            post(async |session: Handle| {
                session.flash(|flash| flash.set_notice("Saved"));
                Redirect::to("/page")
            }),
        )
        .route(
            "/page",
            get(async |session: Handle| session.flash(|flash| flash.notice().unwrap_or("none").to_owned())),
        )
        .merge(Router::new().route("/poll", get(async |session: Handle| session.data().visits.to_string())));
    let app = with_sessions(&world, routes);
    let response = post_as(&app, "/save", "").await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let cookie = new_cookie(response.headers()).unwrap();
    // A request in between that doesn't look takes nothing.
    assert_eq!(text(get_as(&app, "/poll", &cookie).await).await, "0");
    assert_eq!(text(get_as(&app, "/page", &cookie).await).await, "Saved");
    assert_eq!(text(get_as(&app, "/page", &cookie).await).await, "none");
}

#[tokio::test]
async fn a_streaming_body_is_not_held_up() {
    let world = World::new();
    let routes = Router::new().route(
        "/",
        post(async |session: Handle| {
            session.update(|data| data.visits = 1);
            Body::from_stream(stream::pending::<Result<Bytes, core::convert::Infallible>>())
        }),
    );
    // The body never ends; the headers, with the cookie, are there.
    let response = post_as(&with_sessions(&world, routes), "/", "").await;
    let cookie = new_cookie(response.headers()).expect("a new session");
    assert_eq!(world.data(&cookie).await.visits, 1);
}

#[tokio::test]
async fn an_upgrade_passes_with_what_belongs_to_it() {
    #[derive(Clone, PartialEq, Debug)]
    struct OnUpgrade;

    let world = World::new();
    let routes = Router::new().route(
        "/",
        get(async |session: Handle| {
            session.update(|data| data.visits = 1);
            let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            response.extensions_mut().insert(OnUpgrade);
            response
        }),
    );
    let response = get_as(&with_sessions(&world, routes), "/", "").await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(values(response.headers(), header::UPGRADE), ["websocket"]);
    assert_eq!(response.extensions().get(), Some(&OnUpgrade));
    assert!(new_cookie(response.headers()).is_some());
}

/// What a client holds after a request whose handler did something in the middle of it.
async fn after(act: impl AsyncHandler, cookie: &str, world: &World) -> (StatusCode, Option<String>) {
    let routes = Router::new().route("/", post(async move |session: Handle| act.run(session).await));
    let response = post_as(&with_sessions(world, routes), "/", cookie).await;
    (response.status(), new_cookie(response.headers()))
}

/// A handler as a value.
trait AsyncHandler: Clone + Send + Sync + 'static {
    fn run(self, session: Handle) -> impl Future<Output = ()> + Send;
}

impl<F: Future<Output = ()> + Send, H: FnOnce(Handle) -> F + Clone + Send + Sync + 'static> AsyncHandler
    for H
{
    fn run(self, session: Handle) -> impl Future<Output = ()> + Send {
        self(session)
    }
}

#[tokio::test]
async fn a_commit_in_mid_request_sends_one_cookie() {
    let world = World::new();
    let commit = |session: Handle| async move {
        session.authenticate("ada");
        session.commit().await.unwrap();
        assert!(session.key().is_some(), "it is stored now");
    };
    let (_, cookie) = after(commit, "", &world).await;
    let first = cookie.expect("a new session");
    assert!(world.load(&first).await.unwrap().is_authenticated());

    let commit_and_more = |session: Handle| async move {
        session.regenerate();
        session.commit().await.unwrap();
        session.update(|data| data.visits = 3);
    };
    let (_, cookie) = after(commit_and_more, &first, &world).await;
    let second = cookie.expect("the rotated token");
    assert_eq!(world.data(&second).await.visits, 3);
    assert!(world.load(&first).await.unwrap().is_new());

    let commit_and_rotate = |session: Handle| async move {
        session.regenerate();
        session.commit().await.unwrap();
        session.regenerate();
    };
    let (_, cookie) = after(commit_and_rotate, &second, &world).await;
    let third = cookie.expect("the newest token");
    assert_eq!(world.load(&third).await.unwrap().rotation(), 3);
}

#[tokio::test]
async fn a_destroy_in_mid_request_is_the_last_word() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let act = |session: Handle| async move {
        session.regenerate();
        session.commit().await.unwrap();
        session.destroy().await.unwrap();
        session.update(|data| data.visits = 3);
        session.authenticate("ada");
        session.commit().await.unwrap();
    };
    let (_, removed) = after(act, &cookie, &world).await;
    assert_eq!(removed.as_deref(), Some(""));
    assert!(world.load(&cookie).await.unwrap().is_new());
    assert!(world.sessions.is_empty().await.unwrap());
}

#[tokio::test]
async fn an_update_in_mid_request_counts_exactly_and_sends_one_cookie() {
    let world = World::new();
    let act = |session: Handle| async move {
        session.authenticate("ada");
        assert_eq!(
            session
                .update_now(|data| {
                    data.visits += 1;
                    data.visits
                })
                .await
                .unwrap(),
            1
        );
        session.update(|data| data.fields.a = 1);
    };
    let (_, cookie) = after(act, "", &world).await;
    let cookie = cookie.expect("a new session");
    let data = world.data(&cookie).await;
    assert_eq!((data.visits, data.fields.a), (1, 1));

    // Two at once in one request, while each store operation lets the other go on.
    let both = |session: Handle| async move {
        let count = || session.update_now(|data| data.visits += 1);
        let (first, second) = tokio::join!(count(), count());
        first.and(second).unwrap();
    };
    world.stage.stop_at_operations(true, true);
    let app = with_sessions(
        &world,
        Router::new().route("/", post(async move |session: Handle| both(session).await)),
    );
    let mut request = core::pin::pin!(app.oneshot(request(Method::POST, "/", &cookie)));
    let mut context = core::task::Context::from_waker(core::task::Waker::noop());
    while request.as_mut().poll(&mut context).is_pending() {}
    world.stage.stop_at_operations(false, false);
    assert_eq!(world.data(&cookie).await.visits, 3);
}

// The rotation has taken effect: without its cookie the client would hold a dead token.
#[tokio::test]
async fn the_cookie_of_a_commit_is_sent_although_the_last_commit_fails() {
    let world = World::new();
    for by_update in [false, true] {
        let cookie = world.sign_in("ada").await;
        let stage = Arc::clone(&world.stage);
        let act = move |session: Handle| async move {
            session.regenerate();
            if by_update {
                session.update_now(|data| data.visits += 1).await.unwrap();
            } else {
                session.commit().await.unwrap();
            }
            session.update(|data| data.fields.a = 1);
            stage.fail(Op::Save, Fault::Before);
        };
        let (status, new) = after(act, &cookie, &world).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let new = new.expect("the rotated token");
        assert!(world.load(&cookie).await.unwrap().is_new());
        assert_eq!(world.data(&new).await.fields.a, 0);
    }
}

#[tokio::test]
async fn a_logout_stands_although_the_last_commit_fails() {
    let world = World::new();
    let cookie = world.sign_in("ada").await;
    let stage = Arc::clone(&world.stage);
    let act = move |session: Handle| async move {
        session.destroy().await.unwrap();
        stage.down(true);
    };
    let (status, removed) = after(act, &cookie, &world).await;
    assert_eq!((status, removed.as_deref()), (StatusCode::OK, Some("")));
}

#[tokio::test]
async fn two_layers_with_different_data_stand_side_by_side() {
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Cart(Vec<String>);
    impl SessionData for Cart {}

    let world = World::new();
    let cookie = CookieOptions { name: "cart".into(), ..config().cookie };
    let carts = Sessions::<Cart, CookieHeld>::cookie(config().cookie(cookie)).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let routes = Router::new()
        .route("/user", post(async |session: Handle| session.update(|data| data.visits = 1)))
        .route(
            "/cart",
            post(async |cart: SessionHandle<Cart>| cart.update(|cart| cart.0.push("apple".into()))),
        )
        .route(
            "/both",
            post(async move |session: Handle, cart: SessionHandle<Cart>| {
                log.lock().unwrap().push((session.data().visits, cart.data().0));
                session.update(|data| data.visits += 1);
                cart.update(|cart| cart.0.push("pear".into()));
            }),
        );
    let app = with_sessions(&world, routes).layer(SessionLayer::new(carts));
    let user = new_cookie(post_as(&app, "/user", "").await.headers()).unwrap();
    let cart = new_cookie(post_as(&app, "/cart", "").await.headers()).unwrap();
    assert!(user.starts_with("session=") && cart.starts_with("cart="));
    let response = post_as(&app, "/both", &format!("{user}; {cart}")).await;
    assert_eq!(*seen.lock().unwrap(), [(1, vec!["apple".to_owned()])]);
    assert!(new_cookie(response.headers()).unwrap().starts_with("cart="), "the other's cookie is still good");
    assert_eq!(values(response.headers(), header::VARY), ["Cookie"]);
    assert_eq!(world.data(&user).await.visits, 2);
    let response = post_as(&app, "/both", "").await;
    assert_eq!(values(response.headers(), header::SET_COOKIE).len(), 2);
}

#[tokio::test]
async fn a_token_that_is_owed_is_sent_although_the_store_fails_afterwards() {
    let world = World::new();
    let routes = Router::new().route(
        "/begin",
        post(async |session: Handle| {
            session.authenticate("ada");
            session.update_now(|data| data.visits += 1).await.unwrap();
        }),
    );
    let app = with_sessions(&world, routes);
    // The look at whether the session is still current.
    world.stage.fail(Op::Load, Fault::Before);
    let response = post_as(&app, "/begin", "").await;
    assert!(world.stage.all_failed());
    let cookie = new_cookie(response.headers()).expect("without its token the session would be lost");
    assert_eq!(world.load(&cookie).await.unwrap().subject(), Some("ada"));
}

// Row 8: whatever a slow request committed on its way, it must not put the token of before a sign-in over the one after it.
#[tokio::test]
async fn a_commit_in_mid_request_does_not_replace_the_token_of_a_login() {
    let world = World::new();
    let (committed, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let notes = (Arc::clone(&committed), Arc::clone(&go_on));
    let routes = Router::new().route(
        "/slow",
        post(async move |session: Handle| {
            session.update(|data| data.visits += 1);
            session.commit().await.unwrap();
            notes.0.notify_one();
            notes.1.notified().await;
        }),
    );
    let slow_app = with_sessions(&world, routes);
    let before = world.sign_in("ada").await;
    world.advance(1000); // so that the commit extends the session, and its token is due

    let cookie = before.clone();
    let slow = tokio::spawn(async move { post_as(&slow_app, "/slow", &cookie).await });
    committed.notified().await;
    let mut session = world.load(&before).await.unwrap();
    session.authenticate("ada");
    let after = world.commit(&mut session).await.unwrap().unwrap();
    go_on.notify_one();
    assert_eq!(new_cookie(slow.await.unwrap().headers()), None);
    assert_eq!(world.data(&after).await.visits, 1, "what it committed stands");
}

#[tokio::test]
async fn a_nested_router_is_protected_by_its_whole_path() {
    let world = World::new();
    let admin = Router::new()
        .route("/login", get(async || "the admin's"))
        .route("/users", get(async || "users"))
        .layer(RequireAuth::<Data>::redirect_to("/login?lang=en").except(|path| path == "/admin/public"))
        .route("/public", get(async || "public"));
    let app =
        with_sessions(&world, Router::new().nest("/admin", admin).route("/login", get(async || "sign in")));
    let location =
        |response: &Response<Body>| response.headers()[header::LOCATION].to_str().unwrap().to_owned();

    let response = get_as(&app, "/admin/login", "").await;
    assert_eq!(location(&response), "/login?lang=en&redirect_to=/admin/login");
    let response = get_as(&app, "/admin/users?page=2", "").await;
    assert_eq!(location(&response), "/login?lang=en&redirect_to=/admin/users%3Fpage%3D2");
    assert_eq!(get_as(&app, "/admin/public", "").await.status(), StatusCode::OK);
    let cookie = world.sign_in("ada").await;
    assert_eq!(text(get_as(&app, "/admin/users", &cookie).await).await, "users");
}

#[tokio::test]
async fn a_sign_in_page_with_a_query_is_open_itself() {
    let world = World::new();
    let routes = Router::new()
        .route("/login", get(async || "sign in"))
        .layer(RequireAuth::<Data>::redirect_to("/login?lang=en"));
    let app = with_sessions(&world, routes);
    assert_eq!(text(get_as(&app, "/login?lang=en", "").await).await, "sign in");
}
