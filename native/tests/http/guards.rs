//! Who gets through, and who is who.

use core::{net::Ipv4Addr, time::Duration};

use http::{Method, header};
use session_native::{
    ClientBinding,
    client::TrustedProxies,
    csrf::CsrfGuard,
    web::{RequireAuth, SessionLayer},
};

use crate::{
    app::{App, Scope, routes},
    client::{Framework, Server, request},
    support::{Data, World, config},
};

pub(crate) async fn visitors_who_are_not_signed_in_are_turned_away<F: Framework>() {
    let world = World::new();
    let paths = ["/a/b", "/a", "/public", "/public/not"];
    let scope = || {
        paths
            .into_iter()
            .fold(Scope::default().plain("/login", "login"), |scope, path| scope.plain(path, "page"))
    };
    let redirecting = RequireAuth::<Data>::redirect_to("/login").except(|path| path == "/public");
    let pages = F::start(scope().guarded(redirecting).of(&world));
    let api = F::start(scope().guarded(RequireAuth::unauthorized()).of(&world));
    let cookie = world.sign_in("ada").await;
    let visitor = world.sessions.create();
    let anonymous = world.commit(&mut { visitor }).await.unwrap().unwrap();

    for stranger in ["", "session=rubbish", &anonymous] {
        for method in [Method::GET, Method::HEAD] {
            let answer = pages.send(request(method, "/a/b?c=d&e=%20", stranger)).await;
            assert_eq!(answer.status, 303);
            assert_eq!(answer.values(header::LOCATION), ["/login?redirect_to=/a/b%3Fc%3Dd%26e%3D%2520"]);
            assert_eq!(answer.new_cookie(), None);
            assert_eq!(answer.values(header::VARY), ["Cookie"]);
            assert_eq!(answer.values(header::CACHE_CONTROL), ["no-store"]);
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = pages.send(request(method, "/a", stranger)).await;
            assert_eq!(answer.status, 401);
            assert_eq!(answer.values(header::LOCATION), [""; 0]);
        }
        for method in [Method::GET, Method::POST] {
            let answer = api.send(request(method, "/a", stranger)).await;
            assert_eq!(answer.status, 401);
            assert_eq!(answer.values(header::WWW_AUTHENTICATE), ["Cookie"]);
        }
    }
    for server in [&pages, &api] {
        assert_eq!(server.get("/a", &cookie).await.text().await, "page");
    }
    let calls = world.stage.calls();
    assert_eq!(pages.get("/public", &cookie).await.text().await, "page");
    assert_eq!(pages.get("/login", &cookie).await.text().await, "login");
    assert_eq!(world.stage.calls(), calls, "public pages cost nothing");
    assert_eq!(pages.get("/public/not", "").await.status, 303);

    // Row 38.
    world.stage.down(true);
    for server in [&pages, &api] {
        server.get("/a", &cookie).await.assert_unavailable();
    }
    assert_eq!(pages.get("/public", &cookie).await.text().await, "page");
}

pub(crate) async fn a_protected_route_loads_the_session_once<F: Framework>() {
    let world = World::new();
    let server = F::start(routes().guarded(RequireAuth::unauthorized()).of(&world));
    let cookie = world.sign_in("ada").await;
    let calls = world.stage.calls();
    assert_eq!(server.get("/who", &cookie).await.text().await, "ada");
    assert_eq!(world.stage.calls() - calls, 1);
}

pub(crate) async fn a_nested_router_is_protected_by_its_whole_path<F: Framework>() {
    let world = World::new();
    let guard = RequireAuth::redirect_to("/login?lang=en").except(|path| path == "/admin/public");
    let admin = Scope { prefix: "/admin", ..Scope::default() }
        .plain("/login", "the admin's")
        .plain("/users", "users")
        .plain("/public", "public")
        .guarded(guard);
    let app = Scope::default().plain("/login", "sign in").of(&world);
    let server = F::start(App { scopes: [vec![admin], app.scopes].concat(), ..app });

    for (path, location) in [
        ("/admin/login", "/login?lang=en&redirect_to=/admin/login"),
        ("/admin/users?page=2", "/login?lang=en&redirect_to=/admin/users%3Fpage%3D2"),
    ] {
        assert_eq!(server.get(path, "").await.values(header::LOCATION), [location]);
    }
    assert_eq!(server.get("/admin/public", "").await.text().await, "public");
    assert_eq!(server.get("/login", "").await.text().await, "sign in");
    let cookie = world.sign_in("ada").await;
    assert_eq!(server.get("/admin/users", &cookie).await.text().await, "users");
}

pub(crate) async fn a_sign_in_page_with_a_query_is_open_itself<F: Framework>() {
    let world = World::new();
    let guard = RequireAuth::redirect_to("/login?lang=en");
    let server = F::start(Scope::default().plain("/login", "sign in").guarded(guard).of(&world));
    assert_eq!(server.get("/login?lang=en", "").await.text().await, "sign in");
}

pub(crate) async fn a_sign_in_of_long_ago_is_not_fresh<F: Framework>() {
    const AGE: u64 = 300;
    let world = World::new();
    let pay = |prefix, guard: RequireAuth<Data>| {
        let guard = guard.fresh(Duration::from_secs(AGE));
        Scope { prefix, ..Scope::default() }.plain("/pay", "paid").guarded(guard)
    };
    let app = routes().of(&world);
    let scopes =
        vec![pay("/pages", RequireAuth::redirect_to("/confirm")), pay("/api", RequireAuth::unauthorized())];
    let server = F::start(App { scopes: [scopes, app.scopes].concat(), ..app });
    let cookie = world.sign_in("ada").await;
    world.advance(AGE);
    assert_eq!(server.post("/pages/pay", &cookie).await.text().await, "paid", "just in time");
    world.advance(1);
    // Requests in between prove nothing.
    assert_eq!(server.get("/who", &cookie).await.text().await, "ada");
    let answer = server.get("/pages/pay?to=bob", &cookie).await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.values(header::LOCATION), ["/confirm?redirect_to=/pages/pay%3Fto%3Dbob"]);
    assert_eq!(server.post("/pages/pay", &cookie).await.status, 401);
    let answer = server.post("/api/pay", &cookie).await;
    assert_eq!(answer.status, 401);
    let challenge = r#"Cookie error="insufficient_user_authentication", max_age="300""#;
    assert_eq!(answer.values(header::WWW_AUTHENTICATE), [challenge]);
    assert_eq!(server.post("/api/pay", "").await.values(header::WWW_AUTHENTICATE), ["Cookie"]);

    let mut login = request(Method::POST, "/login", &cookie);
    *login.body_mut() = "ada".into();
    let cookie = server.send(login).await.new_cookie().expect("a rotated token");
    assert_eq!(server.post("/api/pay", &cookie).await.text().await, "paid");
}

// Row 39.
pub(crate) async fn a_forwarded_address_counts_only_from_trusted_proxies<F: Framework>() {
    const OWNER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
    const THIEF: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
    const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

    let world = World::with(config().client_binding(Some(ClientBinding::ip())), |sessions| sessions);
    let direct = F::start(routes().of(&world));
    let proxies = TrustedProxies::new(["127.0.1.0/24".parse().unwrap()]);
    let sessions = Some(SessionLayer::new(world.sessions.clone()).trusted_proxies(proxies));
    let behind = F::start(App { sessions, scopes: vec![routes()], ..App::default() });

    let forwarded = |mut request: http::Request<String>, forwarded_for: &[&str]| {
        for value in forwarded_for {
            request.headers_mut().append("x-forwarded-for", value.parse().unwrap());
        }
        request
    };
    let who = async |server: &Server, cookie: &str, peer, forwarded_for: &[&str]| {
        let request = forwarded(request(Method::GET, "/who", cookie), forwarded_for);
        let answer = server.send_from(peer, request).await;
        assert_eq!(answer.new_cookie(), None);
        answer.text().await
    };

    // Without trust the header has no effect, neither for the owner nor for a thief.
    let mut login = forwarded(request(Method::POST, "/login", ""), &["1.1.1.1"]);
    *login.body_mut() = "ada".into();
    let cookie = direct.send_from(OWNER, login).await.new_cookie().unwrap();
    assert_eq!(who(&direct, &cookie, OWNER, &["2.2.2.2"]).await, "ada");
    assert_eq!(who(&direct, &cookie, THIEF, &["127.0.0.5"]).await, "");
    assert_eq!(who(&behind, &cookie, THIEF, &["127.0.0.5"]).await, "", "not a proxy of ours");

    // Behind the proxy its word counts, and what the client wrote before it doesn't.
    assert_eq!(who(&behind, &cookie, PROXY, &["127.0.0.5"]).await, "ada");
    assert_eq!(who(&behind, &cookie, PROXY, &["9.9.9.9, 127.0.0.5, 127.0.1.2"]).await, "ada");
    assert_eq!(who(&behind, &cookie, PROXY, &["9.9.9.9", "127.0.0.5"]).await, "ada");
    assert_eq!(who(&behind, &cookie, PROXY, &["127.0.0.5, 127.0.0.6"]).await, "");
    assert_eq!(who(&behind, &cookie, PROXY, &[]).await, "");
}

// Row 40; the whole table is in `src/csrf.rs`.
pub(crate) async fn requests_of_other_origins_are_refused<F: Framework>() {
    let world = World::new();
    let guard =
        CsrfGuard::new().trust("https://partner.example").unwrap().except(|path| path == "/a/callback");
    let scope = Scope { prefix: "/a", ..Scope::default() }.plain("/callback", "called");
    let app = routes().of(&world);
    let server = F::start(App { csrf: Some(guard), scopes: [vec![scope], app.scopes].concat(), ..app });
    let send = async |method: Method, path: &str, fields: &[(&'static str, &'static str)]| {
        let mut request = request(method, path, "");
        for (name, value) in fields {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        server.send(request).await
    };
    let foreign = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
    let calls = world.stage.calls();
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for fields in [&foreign[..], &foreign[..1], &foreign[1..], &[("sec-fetch-site", "same-site")]] {
            let answer = send(method.clone(), "/write", fields).await;
            assert_eq!(answer.status, 403, "{method} {fields:?}");
            assert_eq!(answer.values(header::CACHE_CONTROL), ["no-store"]);
            assert_eq!(answer.new_cookie(), None);
        }
    }
    assert_eq!(world.stage.calls(), calls, "no handler ran");
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        assert_eq!(send(method, "/read", &foreign).await.status, 200);
    }
    assert_eq!(send(Method::POST, "/a/callback", &foreign).await.text().await, "called");
    // A WebSocket of a sibling subdomain: the browser sends the cookie along.
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    let sibling = [("sec-fetch-site", "same-site"), ("origin", "https://sub.app.example")];
    for fields in [&sibling[..], &sibling[1..], &foreign[..]] {
        assert_eq!(
            send(Method::GET, "/read", &[&upgrade[..], fields].concat()).await.status,
            403,
            "{fields:?}"
        );
    }
    let own = [("sec-fetch-site", "same-origin"), ("origin", "https://app.example")];
    for fields in [&own[..], &own[1..]] {
        assert_eq!(
            send(Method::GET, "/read", &[&upgrade[..], fields].concat()).await.status,
            200,
            "{fields:?}"
        );
    }
    for fields in [
        &[][..],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://app.example")],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://app.example")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://partner.example")],
    ] {
        let answer = send(Method::POST, "/write", fields).await;
        assert_eq!(answer.status, 200, "{fields:?}");
        assert!(answer.new_cookie().is_some());
    }
}
