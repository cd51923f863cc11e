//! The application in axum, and what is its own.

use core::net::SocketAddr;

use axum::{
    Extension, Router,
    body::Body,
    http::{HeaderValue, Request, Response, StatusCode, header},
    response::IntoResponse as _,
    routing::{any, get, post},
};
use futures_util::stream;
use session_native::{SessionHandle, axum::SessionLayer};
use tokio::net::TcpListener;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::compression::CompressionLayer;

use crate::{
    app::{App, Cart, Content, Handle, Reply, Route, Scope},
    client::{Framework, Place, Server},
    support::{
        World,
        store::{Fault, Op},
    },
};

pub(crate) struct Axum;

impl Framework for Axum {
    fn start(app: App) -> Server {
        serve(router(app), true)
    }

    fn start_without_addresses(app: App) -> Server {
        serve(router(app), false)
    }
}

fn serve(router: Router, addresses: bool) -> Server {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let place = Place::Tcp(listener.local_addr().unwrap());
    let listener = TcpListener::from_std(listener).unwrap();
    let server = tokio::spawn(async move {
        if addresses {
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, service).await.unwrap();
        } else {
            axum::serve(listener, router).await.unwrap();
        }
    });
    Server { place, stop: Some(Box::new(move || server.abort())) }
}

fn router(app: App) -> Router {
    let App { csrf, carts, sessions, scopes } = app;
    let mut router = scopes.into_iter().fold(Router::new(), |router, scope| {
        let prefix = scope.prefix;
        let scope = axum_scope(scope);
        if prefix.is_empty() { router.merge(scope) } else { router.nest(prefix, scope) }
    });
    // The outermost comes last.
    if let Some(layer) = sessions {
        router = router.layer(layer);
    }
    if let Some(layer) = carts {
        router = router.layer(layer);
    }
    if let Some(layer) = csrf {
        router = router.layer(layer);
    }
    router
}

fn axum_scope(scope: Scope) -> Router {
    let routes = scope.routes.into_iter().fold(Router::new(), |routes, (path, route)| {
        let route = match route {
            Route::Plain(reply) => any(async move || response(reply)),
            Route::Session(handler) => {
                any(async move |session: Handle, body: String| response(handler((session, body)).await))
            }
            Route::Trying(handler) => any(async move |session: Handle| handler(session).await),
            Route::Cart(handler) => any(async move |cart: SessionHandle<Cart>| response(handler(cart).await)),
            Route::Both(handler) => any(async move |session: Handle, cart: SessionHandle<Cart>| {
                response(handler((session, cart)).await)
            }),
        };
        routes.route(path, route)
    });
    let guarded = |routes: Router| match scope.guard {
        Some(guard) => routes.layer(guard),
        None => routes,
    };
    match scope.freshness {
        Some(freshness) if scope.asks_inside => guarded(routes.layer(Extension(freshness))),
        Some(freshness) => guarded(routes).layer(Extension(freshness)),
        None => guarded(routes),
    }
}

fn response(reply: Reply) -> Response<Body> {
    let upgraded = matches!(reply.body, Content::Upgraded);
    let body = match reply.body {
        Content::Text(text) => Body::from(text),
        Content::Upgraded => Body::empty(),
        Content::Endless => {
            Body::from_stream(stream::pending::<Result<Vec<u8>, core::convert::Infallible>>())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap();
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    for (name, value) in reply.headers.into_iter().chain(upgrade.into_iter().filter(|_| upgraded)) {
        response.headers_mut().append(name, HeaderValue::from_static(value));
    }
    response
}

#[tokio::test]
async fn an_upgrade_passes_with_its_extensions() {
    #[derive(Clone, PartialEq, Debug)]
    struct OnUpgrade;

    let world = World::new();
    let routes = Router::new().route(
        "/",
        get(async |session: Handle| {
            session.update(|data| data.visits = 1);
            let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
            response.extensions_mut().insert(OnUpgrade);
            response
        }),
    );
    let app = routes.layer(SessionLayer::new(world.sessions.clone()));
    let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.extensions().get(), Some(&OnUpgrade));
    assert!(response.headers().contains_key(header::SET_COOKIE));
}

/// Long enough to be worth compressing.
async fn long(session: Handle) -> String {
    session.update(|data| data.visits += 1);
    "long ".repeat(1000)
}

// A layer that changes bodies stands inside, outside, or on both sides: in a router and in one `ServiceBuilder`.
#[tokio::test]
async fn a_compression_layer_stands_on_either_side() {
    let world = World::new();
    let sessions = || SessionLayer::new(world.sessions.clone());
    let routes = || Router::new().route("/", post(long));
    let apps = [
        routes().layer(ServiceBuilder::new().layer(sessions()).layer(CompressionLayer::new())),
        routes().layer(ServiceBuilder::new().layer(CompressionLayer::new()).layer(sessions())),
        routes().layer(CompressionLayer::new()).layer(sessions()),
        routes().layer(sessions()).layer(CompressionLayer::new()),
        Router::new().route("/", post(long).layer(CompressionLayer::new())).layer(sessions()),
    ];
    for (number, app) in apps.into_iter().enumerate() {
        let request = || {
            let mut request = Request::post("/").body(Body::empty()).unwrap();
            request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            request
        };
        let response = app.clone().oneshot(request()).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip", "{number}");
        assert!(response.headers().contains_key(header::SET_COOKIE), "{number}");
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(body.starts_with(b"\x1f\x8b") && body.len() < 1000, "{number}: {} bytes", body.len());

        world.stage.fail(Op::Create, Fault::Before);
        let response = app.oneshot(request()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{number}");
    }
}

// Not only axum's bodies.
#[tokio::test]
async fn a_service_of_another_body_is_served() {
    let world = World::new();
    let inner = service_fn(async |request: Request<()>| {
        use axum::extract::FromRequestParts as _;

        let (mut parts, ()) = request.into_parts();
        let session = Handle::from_request_parts(&mut parts, &()).await.unwrap();
        session.authenticate("ada");
        Ok::<_, core::convert::Infallible>(Response::new(http_body_util::Full::from("full")))
    });
    let service = SessionLayer::new(world.sessions.clone()).layer(inner);
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert!(response.headers().contains_key(header::SET_COOKIE));
    assert_eq!(axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap(), "full");
}
