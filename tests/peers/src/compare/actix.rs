//! Requests of actix-web, one thread, no sockets: what a session in the cookie costs above a bare application.

use std::rc::Rc;

use actix_http::Request;
use actix_session::{
    Session, SessionMiddleware,
    config::PersistentSession,
    storage::{CookieSessionStore, SessionStore},
};
use actix_web::{
    App, Error,
    body::MessageBody,
    cookie::{Key, SameSite},
    dev::{Service, ServiceResponse},
    http::header::{self, HeaderValue},
    rt::{System, SystemRunner},
    test, web,
};
use session_native::{MemoryStore, SessionHandle, Sessions, actix::SessionLayer};

use super::{LIFE, NAME, PATHS, config, overheads};
use crate::{
    data::{Data, SIZES},
    measure::{Contestant, Effort, Samples, Time, compare},
    report::{Chart, Section, duration, times},
};

const BARE: &str = "actix-web, bare";
const SESSION: &str = "session: cookie-held";
const ACTIX: &str = "actix-session: cookie store";
const MEMORY: &str = "session: memory";

pub fn requests(effort: Effort) -> Section {
    let mut section = Section::new("Requests of actix-web, one thread");
    section.note(
        "Data of three sizes as JSON; every request brings a cookie. Both keep it in the cookie, encrypted, with the same attributes. actix-session writes each value as JSON \
         within JSON, opens the cookie of every request, needed or not, and checks neither its expiry nor its size (what it sends of 2800 B no browser keeps); Session opens when it is asked for. \
         It has no store in memory; Session's stands here for comparison with axum's.",
    );
    for (path, work) in PATHS {
        let mut groups = Vec::new();
        for size in SIZES {
            // What doesn't look at its session is the same for all sizes, but for actix-session's opening of it.
            let samples = measure(path, size, effort);
            overheads(&mut section, &format!("{work}, {size} B"), &samples, BARE, &[SESSION]);
            groups.push((format!("{} {size} B", &path[1..]), samples));
        }
        let samples = &groups[0].1;
        section.figure(
            format!("actix-web: {work}, in the cookie, {} B, above bare", SIZES[0]),
            duration(samples.overhead(Time::Cpu, SESSION, BARE).median),
            format!("{ACTIX} {}", times(samples.overhead_ratio(Time::Cpu, ACTIX, SESSION, BARE))),
        );
        let name = format!("actix-{}", &path[1..]);
        section.charts.push(Chart::of_times(
            &name,
            &format!("actix-web: {work}"),
            groups.iter().map(|(group, samples)| (group.clone(), samples)),
        ));
    }
    section
}

fn measure(path: &'static str, size: usize, effort: Effort) -> Samples {
    let system = System::new();
    let bare = App::new()
        .route("/untouched", web::get().to(untouched))
        .route("/read", web::get().to(move || async move { size.to_string() }))
        .route("/write", web::get().to(async || ""));
    let bare = Rc::new(system.block_on(test::init_service(bare)));
    let held = SessionLayer::new(Sessions::<Data, _>::cookie(config()).expect("a configuration"));
    let held = Rc::new(system.block_on(test::init_service(App::new().configure(ours(size)).wrap(held))));
    let memory =
        SessionLayer::new(Sessions::<Data, _>::new(config(), MemoryStore::new()).expect("a configuration"));
    let memory = Rc::new(system.block_on(test::init_service(App::new().configure(ours(size)).wrap(memory))));
    let theirs = App::new().configure(theirs(size)).wrap(actix_session(CookieSessionStore::default()));
    let theirs = Rc::new(system.block_on(test::init_service(theirs)));
    let cookies = [
        system.block_on(check(&*held, size)),
        system.block_on(check(&*theirs, size)),
        system.block_on(check(&*memory, size)),
    ];
    compare(
        effort,
        vec![
            // Gets as large a request as ours.
            Contestant::new(BARE, requests_of(&system, bare, path, cookies[0].clone())),
            Contestant::new(SESSION, requests_of(&system, held, path, cookies[0].clone())),
            Contestant::new(ACTIX, requests_of(&system, theirs, path, cookies[1].clone())),
            Contestant::new(MEMORY, requests_of(&system, memory, path, cookies[2].clone())),
        ],
    )
}

/// What `init_service` makes of an application.
pub trait Application<B>: Service<Request, Response = ServiceResponse<B>, Error = Error> {}

impl<B, A: Service<Request, Response = ServiceResponse<B>, Error = Error>> Application<B> for A {}

async fn untouched() -> &'static str {
    "ok"
}

pub fn ours(size: usize) -> impl FnOnce(&mut web::ServiceConfig) {
    type Session = SessionHandle<Data>;
    let start = move |session: Session| async move {
        session.update(|data| *data = Data::of_size(size));
        ""
    };
    let write = async |session: Session| {
        session.update(|data| data.visits += 1);
        ""
    };
    move |app| {
        app.route("/start", web::get().to(start))
            .route("/untouched", web::get().to(untouched))
            .route(
                "/read",
                web::get()
                    .to(async |session: Session| session.read(|session| session.data().sum()).to_string()),
            )
            .route("/write", web::get().to(write));
    }
}

pub fn theirs(size: usize) -> impl FnOnce(&mut web::ServiceConfig) {
    let start = move |session: Session| async move {
        session.insert("data", Data::of_size(size)).expect("a write");
        ""
    };
    let read = async |session: Session| {
        session.get::<Data>("data").expect("a load").expect("data").sum().to_string()
    };
    let write = async |session: Session| {
        let mut data: Data = session.get("data").expect("a load").expect("data");
        data.visits += 1;
        session.insert("data", data).expect("a write");
        ""
    };
    move |app| {
        app.route("/start", web::get().to(start))
            .route("/untouched", web::get().to(untouched))
            .route("/read", web::get().to(read))
            .route("/write", web::get().to(write));
    }
}

/// The middleware, with the attributes of `Config::development`.
pub fn actix_session<S: SessionStore>(store: S) -> SessionMiddleware<S> {
    let life = LIFE.try_into().expect("half an hour");
    SessionMiddleware::builder(store, Key::generate())
        .cookie_name(NAME.into())
        .cookie_secure(false)
        .cookie_same_site(SameSite::Lax)
        .session_lifecycle(PersistentSession::default().session_ttl(life))
        .build()
}

/// Starts a session, and proves that it is read and written. Gives the cookie of before the write.
pub async fn check<B: MessageBody>(app: &impl Application<B>, size: usize) -> HeaderValue {
    let cookie = sent_cookie(&send(app, "/start", None).await).expect("a cookie");
    let sum = async |cookie: &HeaderValue| test::read_body(send(app, "/read", Some(cookie)).await).await;
    assert_eq!(sum(&cookie).await, Data::of_size(size).sum().to_string());
    let after = sent_cookie(&send(app, "/write", Some(&cookie)).await).unwrap_or_else(|| cookie.clone());
    assert_eq!(sum(&after).await, (Data::of_size(size).sum() + 1).to_string());
    cookie
}

fn sent_cookie<B>(answer: &ServiceResponse<B>) -> Option<HeaderValue> {
    let line = answer.headers().get(header::SET_COOKIE)?.to_str().expect("text");
    Some(line.split(';').next().expect("a cookie").try_into().expect("a header"))
}

fn requests_of<'a, B: MessageBody>(
    system: &'a SystemRunner,
    app: Rc<impl Application<B> + 'a>,
    path: &'static str,
    cookie: HeaderValue,
) -> impl FnMut(usize) + 'a {
    move |count| {
        system.block_on(async {
            for _ in 0..count {
                send(&*app, path, Some(&cookie)).await;
            }
        });
    }
}

pub async fn send<B>(
    app: &impl Application<B>,
    path: &'static str,
    cookie: Option<&HeaderValue>,
) -> ServiceResponse<B> {
    let mut request = test::TestRequest::get().uri(path);
    if let Some(cookie) = cookie {
        request = request.insert_header((header::COOKIE, cookie.clone()));
    }
    let answer = app.call(request.to_request()).await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    answer
}
