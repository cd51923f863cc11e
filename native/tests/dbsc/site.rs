//! A little application whose sessions are bound to devices.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use session_native::{
    Backend, EventKind, ManualClock, MemoryStore, Rejection, SessionHandle, Sessions, Stored,
    axum::{RequireAuth, SessionLayer, SessionRejection, prove_device},
    dbsc::DeviceBound,
};
use tower::ServiceExt as _;

use crate::support::{
    Data, config,
    store::{Stage, StagedStore},
};

/// Where requests are sent.
pub(crate) trait Site {
    async fn send(&self, request: Request<()>) -> Response<String>;
}

/// How long one proof counts here.
pub(crate) const LIFE: Duration = Duration::from_secs(600);

pub(crate) type Bound = Sessions<Data, Stored<MemoryStore>>;

/// Sessions, their bindings, and what happens to both.
pub(crate) struct World {
    pub(crate) sessions: Bound,
    pub(crate) clock: ManualClock,
    pub(crate) bindings: MemoryStore,
    /// Of the store of bindings alone.
    pub(crate) stage: Arc<Stage>,
    pub(crate) refused: Arc<Mutex<Vec<Rejection>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::default();
        let memory = || MemoryStore::builder().clock(clock.clone()).build();
        let (bindings, stage) = (memory(), Arc::<Stage>::default());
        let bound = DeviceBound::at("/device", StagedStore::new(bindings.clone(), Arc::clone(&stage)));
        let refused = Arc::<Mutex<Vec<Rejection>>>::default();
        let told = Arc::clone(&refused);
        let sessions =
            Sessions::new(config(), memory()).unwrap().clock(clock.clone()).on_event(move |event| {
                if let EventKind::Rejected(reason) = event.kind {
                    told.lock().unwrap().push(reason);
                }
            });
        let sessions = sessions.device_bound(bound.life(LIFE)).unwrap();
        Self { sessions, clock, bindings, stage, refused }
    }

    pub(crate) fn axum(&self) -> Axum {
        Axum::new(self.sessions.clone())
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

async fn account(session: SessionHandle<Data>) -> String {
    session.subject().unwrap_or_default()
}

async fn login(session: SessionHandle<Data>) {
    session.authenticate("ada");
}

async fn logout(session: SessionHandle<Data>) -> Result<(), SessionRejection> {
    Ok(session.destroy().await?)
}

/// Signs in, and out again before the answer is sent.
async fn in_and_out(session: SessionHandle<Data>) -> Result<(), SessionRejection> {
    session.authenticate("ada");
    session.commit().await?;
    Ok(session.destroy().await?)
}

pub(crate) struct Axum(Router);

impl Axum {
    pub(crate) fn new(sessions: Sessions<Data, impl Backend>) -> Self {
        Self(
            Router::new()
                .route("/account", get(account))
                .layer(RequireAuth::<Data>::unauthorized())
                .route("/public", get(account))
                .route("/login", post(login))
                .route("/step-up", post(login))
                .route("/grace", post(async |session: SessionHandle<Data>| session.authenticate("grace")))
                .route("/regenerate", post(async |session: SessionHandle<Data>| session.regenerate()))
                .route("/logout", post(logout))
                .route("/in-and-out", post(in_and_out))
                .route("/device", post(prove_device::<Data>))
                .layer(SessionLayer::new(sessions)),
        )
    }
}

impl Site for Axum {
    async fn send(&self, request: Request<()>) -> Response<String> {
        let response = self.0.clone().oneshot(request.map(|()| Body::empty())).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Response::from_parts(parts, String::from_utf8(bytes.to_vec()).unwrap())
    }
}

#[cfg(feature = "actix")]
pub(crate) mod actix {
    use actix_web::{App, HttpResponse, test, web};
    use http::{Request, Response};
    use session_native::{
        SessionHandle,
        actix::{RequireAuth, SessionLayer, SessionRejection, prove_device},
    };

    use super::{Data, Site, World};

    impl World {
        pub(crate) fn actix(&self) -> Actix<'_> {
            Actix(self)
        }
    }

    pub(crate) struct Actix<'a>(&'a World);

    async fn account(session: SessionHandle<Data>) -> String {
        session.subject().unwrap_or_default()
    }

    async fn login(session: SessionHandle<Data>) -> HttpResponse {
        session.authenticate("ada");
        HttpResponse::Ok().finish()
    }

    async fn logout(session: SessionHandle<Data>) -> Result<HttpResponse, SessionRejection> {
        session.destroy().await?;
        Ok(HttpResponse::Ok().finish())
    }

    impl Site for Actix<'_> {
        async fn send(&self, request: Request<()>) -> Response<String> {
            let guard = RequireAuth::<Data>::unauthorized();
            let app = App::new()
                .service(web::resource("/account").wrap(guard).route(web::get().to(account)))
                .route("/login", web::post().to(login))
                .route("/logout", web::post().to(logout))
                .route("/device", web::post().to(prove_device::<Data>))
                .wrap(SessionLayer::new(self.0.sessions.clone()));
            let app = test::init_service(app).await;
            let method = request.method().as_str().parse().unwrap();
            let mut copy = test::TestRequest::default().method(method).uri(&request.uri().to_string());
            for (name, value) in request.headers() {
                copy = copy.append_header((name.as_str(), value.as_bytes()));
            }
            let answer = test::call_service(&app, copy.to_request()).await;
            let mut response = Response::builder().status(answer.status().as_u16());
            for (name, value) in answer.headers() {
                response = response.header(name.as_str(), value.as_bytes());
            }
            let body = test::read_body(answer).await;
            response.body(String::from_utf8(body.to_vec()).unwrap()).unwrap()
        }
    }
}
