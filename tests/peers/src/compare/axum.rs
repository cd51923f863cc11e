//! Requests of axum, one thread, no sockets: what a session costs above a bare router.

use core::hint::black_box;

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, header},
    routing::get,
};
use axum_extra::extract::{PrivateCookieJar, cookie};
use axum_session::{SessionConfig, SessionNullPool, SessionStore};
use session_native::{MemoryStore, SessionHandle, Sessions, axum::SessionLayer};
use tokio::runtime::Runtime;
use tower::Service as _;
use tower_sessions::{Expiry, SessionManagerLayer};

use super::{LIFE, NAME, PATHS, config, overheads, runtime};
use crate::{
    data::{Data, json, parse},
    measure::{Contestant, Effort, Time, compare},
    report::{Bound, Chart, Goal, Section, duration, times},
};

/// Bytes of data, as JSON.
pub const SIZE: usize = 300;

const REQUEST: &str = "the request alone";
const BARE: &str = "axum, bare";
const SESSION: &str = "session: memory";
const TOWER_PRIVATE: &str = "tower-sessions: memory, private id";
const TOWER: &str = "tower-sessions: memory, plain id";
const AXUM_SESSION: &str = "axum_session: memory, plain id";
const AXUM_SESSION_SIGNED: &str = "axum_session: memory, signed id";
const COOKIE: &str = "session: cookie-held";
const JAR: &str = "axum-extra: PrivateCookieJar with JSON";

pub fn requests(effort: Effort) -> Section {
    let mut section = Section::new("Requests of axum, one thread");
    section.note(format!(
        "{SIZE} B of data as JSON; every request brings a cookie. The request is made (one header) and answered in memory, which is the bare row; cookies have the same \
         attributes. Session's token is encrypted and says when it expires, as a private id is and doesn't. On a write Session saves by version and sends no cookie; \
         tower-sessions saves over what is there and sends the cookie again. axum_session loads every session, needed or not, and sends its cookies with every answer; \
         it signs and checks each cookie on another thread. \
         A `PrivateCookieJar` keeps the data alone: nothing expires, rotates or can be ended."
    ));
    let runtime = runtime();
    let apps = runtime.block_on(apps());
    let cookies: Vec<_> = apps
        .iter()
        .map(|(name, app)| (*name != BARE).then(|| runtime.block_on(check(name, app, SIZE))))
        .collect();
    let mut charts = Vec::new();
    for (path, work) in PATHS {
        let contestants = apps.iter().zip(&cookies).map(|((name, app), cookie)| {
            // The bare router gets as large a request as anyone.
            let cookie = cookie.clone().or_else(|| cookies[1].clone()).expect("a cookie");
            Contestant::new(*name, requests_of(&runtime, app, path, cookie))
        });
        let mut contestants: Vec<_> = contestants.collect();
        let alone = |count| (0..count).for_each(|_| drop(black_box(request(path, cookies[1].as_ref()))));
        contestants.insert(0, Contestant::new(REQUEST, alone));
        let samples = compare(effort, contestants);
        overheads(&mut section, work, &samples, BARE, &[SESSION, COOKIE]);
        let above = |name| duration(samples.overhead(Time::Cpu, name, BARE).median);
        let more = |name, reference| {
            format!("{name} {}", times(samples.overhead_ratio(Time::Cpu, name, reference, BARE)))
        };
        section.figure(
            format!(
                "axum: {work}, above the bare router's {}",
                duration(samples.time(Time::Cpu, BARE).median)
            ),
            above(SESSION),
            [TOWER_PRIVATE, TOWER, AXUM_SESSION].map(|name| more(name, SESSION)).join(", "),
        );
        if path == "/untouched" {
            let goal = "an untouched request: what it takes above the bare router, to the router's own time (without making the request)";
            let measured = samples.rounds(Time::Cpu, [SESSION, BARE, REQUEST], |[time, bare, request]| {
                (time - bare) / (bare - request)
            });
            section.goals.push(Goal::new(goal, measured, Bound::AtMost(0.8)));
        } else {
            section.figure("the same, in the cookie", above(COOKIE), more(JAR, COOKIE));
            let goal = format!("{work}: overhead of tower-sessions with a private cookie, to ours");
            let measured = samples.overhead_ratio(Time::Cpu, TOWER_PRIVATE, SESSION, BARE);
            section.goals.push(Goal::new(goal, measured, Bound::AtLeast(1.5)));
        }
        charts.push((path[1..].to_owned(), samples));
    }
    section.charts.push(Chart::of_times(
        "axum",
        "Requests of axum",
        charts.iter().map(|(path, samples)| (path.clone(), samples)),
    ));
    section
}

async fn apps() -> Vec<(&'static str, Router)> {
    vec![
        (BARE, bare()),
        (SESSION, in_memory()),
        (TOWER_PRIVATE, tower(true)),
        (TOWER, tower(false)),
        (AXUM_SESSION_SIGNED, axum_session(true).await),
        (AXUM_SESSION, axum_session(false).await),
        (COOKIE, session(SessionLayer::new(Sessions::cookie(config()).expect("a configuration")), SIZE)),
        (JAR, jar()),
    ]
}

async fn untouched() -> &'static str {
    "ok"
}

fn bare() -> Router {
    Router::new()
        .route("/untouched", get(untouched))
        .route("/read", get(async || SIZE.to_string()))
        .route("/write", get(async || {}))
}

pub fn in_memory() -> Router {
    let store = MemoryStore::builder().capacity(2_000_000).build();
    session(SessionLayer::new(Sessions::new(config(), store).expect("a configuration")), SIZE)
}

pub fn session(layer: SessionLayer<Data>, size: usize) -> Router {
    type Session = SessionHandle<Data>;
    Router::new()
        .route(
            "/start",
            get(move |session: Session| async move { session.update(|data| *data = Data::of_size(size)) }),
        )
        .route("/untouched", get(untouched))
        .route(
            "/read",
            get(async |session: Session| session.read(|session| session.data().sum()).to_string()),
        )
        .route("/write", get(async |session: Session| session.update(|data| data.visits += 1)))
        .layer(layer)
}

pub fn tower(private: bool) -> Router {
    use tower_sessions::{MemoryStore, Session, cookie::Key};
    let start = async |session: Session| session.insert("data", Data::of_size(SIZE)).await.expect("a write");
    let read = async |session: Session| {
        let data: Data = session.get("data").await.expect("a load").expect("data");
        data.sum().to_string()
    };
    let write = async |session: Session| {
        let mut data: Data = session.get("data").await.expect("a load").expect("data");
        data.visits += 1;
        session.insert("data", data).await.expect("a write");
    };
    let router = Router::new()
        .route("/start", get(start))
        .route("/untouched", get(untouched))
        .route("/read", get(read))
        .route("/write", get(write));
    let layer = SessionManagerLayer::new(MemoryStore::default())
        .with_secure(false)
        .with_same_site(tower_sessions::cookie::SameSite::Lax)
        .with_name(NAME)
        .with_expiry(Expiry::OnInactivity(LIFE.try_into().expect("half an hour")));
    if private { router.layer(layer.with_private(Key::generate())) } else { router.layer(layer) }
}

pub async fn axum_session(signed: bool) -> Router {
    type Session = axum_session::Session<SessionNullPool>;
    let write = async |session: Session| {
        let mut data: Data = session.get("data").expect("data");
        data.visits += 1;
        session.set("data", data);
    };
    let mut config = SessionConfig::default()
        .with_session_name(NAME)
        .with_max_age(LIFE.try_into().ok())
        // Session doesn't bind sessions to clients unless it is told to.
        .with_ip_and_user_agent(false);
    if signed {
        config = config.with_key(axum_session::Key::generate());
    }
    let store = SessionStore::<SessionNullPool>::new(None, config).await.expect("a store");
    Router::new()
        .route("/start", get(async |session: Session| session.set("data", Data::of_size(SIZE))))
        .route("/untouched", get(untouched))
        .route(
            "/read",
            get(async |session: Session| session.get::<Data>("data").expect("data").sum().to_string()),
        )
        .route("/write", get(write))
        .layer(axum_session::SessionLayer::new(store))
}

/// What one writes who wants no session library.
fn jar() -> Router {
    fn data(jar: &PrivateCookieJar) -> Data {
        parse(jar.get(NAME).expect("a cookie").value())
    }
    fn write(jar: PrivateCookieJar, data: &Data) -> PrivateCookieJar {
        let life = LIFE.try_into().expect("half an hour");
        let cookie = cookie::Cookie::build((NAME, json(data))).path("/").http_only(true);
        jar.add(cookie.same_site(cookie::SameSite::Lax).max_age(life))
    }
    Router::new()
        .route("/start", get(async |jar: PrivateCookieJar| write(jar, &Data::of_size(SIZE))))
        .route("/untouched", get(untouched))
        .route("/read", get(async |jar: PrivateCookieJar| data(&jar).sum().to_string()))
        .route(
            "/write",
            get(async |jar: PrivateCookieJar| {
                let mut data = data(&jar);
                data.visits += 1;
                write(jar, &data)
            }),
        )
        .with_state(cookie::Key::generate())
}

/// Starts a session, and proves that it is read and written. Gives the cookie of before the write.
pub async fn check(name: &str, app: &Router, size: usize) -> HeaderValue {
    let mut app = app.clone();
    let cookie = start(&mut app).await;
    let sum = async |app: &mut Router, cookie: &HeaderValue| {
        let answer = send(app, "/read", cookie).await;
        axum::body::to_bytes(answer.into_body(), 100).await.expect("a body")
    };
    assert_eq!(sum(&mut app, &cookie).await, Data::of_size(size).sum().to_string(), "{name} reads");
    let written = send(&mut app, "/write", &cookie).await;
    let after = sent_cookie(&written).unwrap_or_else(|| cookie.clone());
    assert_eq!(sum(&mut app, &after).await, (Data::of_size(size).sum() + 1).to_string(), "{name} writes");
    cookie
}

/// A new session's cookies, as a browser sends them back.
pub async fn start(app: &mut Router) -> HeaderValue {
    let answer = app.call(request("/start", None)).await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    sent_cookie(&answer).expect("a cookie")
}

fn sent_cookie(answer: &Response<Body>) -> Option<HeaderValue> {
    let lines = answer.headers().get_all(header::SET_COOKIE).iter();
    let pairs: Vec<_> =
        lines.map(|line| line.to_str().expect("text").split(';').next().expect("a cookie")).collect();
    (!pairs.is_empty()).then(|| pairs.join("; ").try_into().expect("a header"))
}

fn requests_of<'a>(
    runtime: &'a Runtime,
    app: &Router,
    path: &'static str,
    cookie: HeaderValue,
) -> impl FnMut(usize) + 'a {
    let mut app = app.clone();
    move |count| {
        runtime.block_on(async {
            for _ in 0..count {
                send(&mut app, path, &cookie).await;
            }
        });
    }
}

fn request(path: &'static str, cookie: Option<&HeaderValue>) -> Request<Body> {
    let mut request = Request::get(path);
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, cookie);
    }
    request.body(Body::empty()).expect("a request")
}

pub async fn send(app: &mut Router, path: &'static str, cookie: &HeaderValue) -> Response<Body> {
    let answer = app.call(request(path, Some(cookie))).await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    answer
}
