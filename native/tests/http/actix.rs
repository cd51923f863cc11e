//! The application in actix-web, and what is its own.

use core::pin::Pin;
use std::{
    env,
    net::TcpListener,
    os::unix::net::UnixListener,
    process,
    sync::{Arc, atomic, mpsc},
    thread,
};

use actix_web::{
    App as ActixApp, HttpMessage as _, HttpRequest, HttpResponse, HttpServer, Scope as ActixScope,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorConflict,
    http::StatusCode,
    middleware::{Condition, Next, from_fn},
    web,
};
use futures_util::stream;
use http::header;
use session_native::{
    CookieHeld, SessionData, SessionHandle, Sessions,
    actix::{CsrfGuard, RequireAuth, SessionLayer},
    store::Freshness,
};

use crate::{
    app::{App, Cart, Content, Handle, Reply, Route, Scope, routes},
    client::{Framework, Place, Server},
    support::{World, config},
};

pub(crate) struct Actix;

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Framework for Actix {
    fn start(app: App) -> Server {
        start(app, false)
    }

    fn start_without_addresses(app: App) -> Server {
        static NEXT: atomic::AtomicUsize = atomic::AtomicUsize::new(0);

        let number = NEXT.fetch_add(1, atomic::Ordering::Relaxed);
        let path = env::temp_dir().join(format!("session-http-{}-{number}.sock", process::id()));
        let listener = Listener::Unix(UnixListener::bind(&path).unwrap());
        serve(app, listener, Place::Unix(path), false)
    }
}

fn start(app: App, failing: bool) -> Server {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let place = Place::Tcp(listener.local_addr().unwrap());
    serve(app, Listener::Tcp(listener), place, failing)
}

/// Runs the server in a thread of its own; `failing` puts a middleware inside that turns every answer into an error.
fn serve(app: App, listener: Listener, place: Place, failing: bool) -> Server {
    let factory = move || {
        let App { csrf, carts, sessions, scopes } = app.clone();
        // The outermost comes last. A scope without a prefix takes what the others left.
        let (root, prefixed): (Vec<_>, Vec<_>) =
            scopes.into_iter().partition(|scope| scope.prefix.is_empty());
        ActixApp::new()
            .configure(|services| {
                for scope in prefixed.into_iter().chain(root) {
                    let guard = scope.guard.clone();
                    let on = guard.is_some();
                    let guard = guard.unwrap_or_else(RequireAuth::unauthorized);
                    let (outside, inside) = match scope.asks_inside {
                        true => (None, scope.freshness),
                        false => (scope.freshness, None),
                    };
                    let scope = actix_scope(scope).wrap(from_fn(asking(inside)));
                    services.service(scope.wrap(Condition::new(on, guard)).wrap(from_fn(asking(outside))));
                }
            })
            .wrap(Condition::new(failing, from_fn(fail)))
            .wrap(Condition::new(sessions.is_some(), sessions.unwrap_or_else(none)))
            .wrap(Condition::new(carts.is_some(), carts.unwrap_or_else(none)))
            .wrap(Condition::new(csrf.is_some(), csrf.unwrap_or_else(CsrfGuard::new)))
    };
    let (started, starting) = mpsc::channel();
    thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(factory).workers(1).disable_signals();
            let server = match listener {
                Listener::Tcp(listener) => server.listen(listener),
                Listener::Unix(listener) => server.listen_uds(listener),
            };
            let server = server.unwrap().run();
            started.send(server.handle()).unwrap();
            server.await.unwrap();
        });
    });
    let handle = starting.recv().unwrap();
    // The command is sent at once; nobody waits for what it gives.
    Server { place, stop: Some(Box::new(move || drop(handle.stop(false)))) }
}

type Passed<B> = Pin<Box<dyn Future<Output = Result<ServiceResponse<B>, actix_web::Error>>>>;

/// A middleware that asks something of a cache, if anything.
fn asking<B: MessageBody + 'static>(
    freshness: Option<Freshness>,
) -> impl Fn(ServiceRequest, Next<B>) -> Passed<B> {
    move |request, next| {
        if let Some(freshness) = freshness {
            request.extensions_mut().insert(freshness);
        }
        Box::pin(next.call(request))
    }
}

/// A layer that stands for none.
fn none<T: SessionData>() -> SessionLayer<T> {
    SessionLayer::new(Sessions::<T, CookieHeld>::cookie(config()).unwrap())
}

async fn fail<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    next.call(request).await?;
    Err(ErrorConflict("not so"))
}

fn actix_scope(scope: Scope) -> ActixScope {
    scope.routes.into_iter().fold(web::scope(scope.prefix), |routes, (path, route)| {
        let route = match route {
            Route::Plain(reply) => web::to(move || core::future::ready(response(reply.clone()))),
            Route::Session(handler) => {
                web::to(move |session: Handle, request: HttpRequest, body: web::Payload| {
                    let handler = Arc::clone(&handler);
                    async move {
                        // What follows an upgrade never ends.
                        let body = match request.headers().contains_key("content-length") {
                            true => body.to_bytes().await.unwrap(),
                            false => web::Bytes::new(),
                        };
                        response(handler((session, String::from_utf8(body.into()).unwrap())).await)
                    }
                })
            }
            Route::Trying(handler) => web::to(move |session: Handle| {
                let tried = handler(session);
                async move { tried.await.map(|()| HttpResponse::Ok().finish()) }
            }),
            Route::Cart(handler) => web::to(move |cart: SessionHandle<Cart>| {
                let reply = handler(cart);
                async move { response(reply.await) }
            }),
            Route::Both(handler) => web::to(move |session: Handle, cart: SessionHandle<Cart>| {
                let reply = handler((session, cart));
                async move { response(reply.await) }
            }),
        };
        routes.route(path, route)
    })
}

fn response(reply: Reply) -> HttpResponse {
    let mut response = HttpResponse::build(StatusCode::from_u16(reply.status).unwrap());
    for header in reply.headers {
        response.append_header(header);
    }
    match reply.body {
        Content::Text(text) => response.body(text),
        Content::Upgraded => {
            response.upgrade("websocket").streaming(stream::pending::<Result<_, actix_web::Error>>())
        }
        Content::Endless => response.streaming(stream::pending::<Result<_, actix_web::Error>>()),
    }
}

// What was committed stands: without its cookie the client would hold a dead token.
#[tokio::test]
async fn an_error_of_a_layer_inside_carries_the_cookie() {
    let world = World::new();
    let server = start(routes().act("/rotate", Handle::regenerate).of(&world), true);
    let old = world.sign_in("ada").await;
    let answer = server.post("/rotate", &old).await;
    assert_eq!(answer.status, 409);
    assert_eq!(answer.values(header::CACHE_CONTROL), ["no-store"]);
    assert_eq!(answer.values(header::VARY), ["Cookie"]);
    let new = answer.new_cookie().expect("the rotated token");
    assert_eq!(answer.text().await, "not so");
    assert!(world.load(&old).await.unwrap().is_new());
    assert!(world.load(&new).await.unwrap().is_authenticated());

    // Nothing is added to an error of a request that left the session alone.
    let answer = server.get("/untouched", &new).await;
    assert_eq!(answer.status, 409);
    assert_eq!(answer.values(header::VARY), [""; 0]);

    world.stage.fail(crate::support::store::Op::Save, crate::support::store::Fault::Before);
    server.post("/write", &new).await.assert_unavailable();
}
