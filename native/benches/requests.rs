//! What a session costs a request, in instructions and allocations: neither depends on what else the machine is doing.
//!
//! ```sh
//! cargo bench -p session-native --bench requests [-- NAME]                 # allocations and time
//! cargo bench -p session-native --bench requests -- --instructions [NAME]  # and instructions: wants valgrind
//! ```
//!
//! A run under callgrind that ends with the times of everything that was called:
//! `valgrind --tool=callgrind --toggle-collect='*measured*' target/release/deps/requests-… --only "memory read" 2000`.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

use std::{
    process::Command,
    sync::Mutex,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, header},
    routing::get,
};
use serde::{Deserialize, Serialize};
use session_native::{
    Backend, Client, Config, CookieHeld, Key, MemoryStore, OsRandom, Secret, Session, SessionData,
    SessionHandle, Sessions, Store, StoreError, Stored, SubjectTag, Version,
    axum::SessionLayer,
    store::{Found, Lookup, Record, Saved},
};
use tokio::runtime::{Builder, Runtime};
use tower::Service as _;

/// About 300 bytes as JSON.
#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default)]
struct Data {
    name: String,
    notes: String,
    visits: u64,
}

impl SessionData for Data {}

fn data() -> Data {
    Data { name: "ada".into(), notes: "n".repeat(250), visits: 0 }
}

/// A store of one session that answers at once: what is left is ours.
#[derive(Default)]
struct Immediate(Mutex<Option<Record>>);

impl Store for Immediate {
    const NAME: &'static str = "instant";

    async fn create(&self, _: &Key, record: &Record) -> Result<bool, StoreError> {
        *self.0.lock().unwrap() = Some(record.clone());
        Ok(true)
    }

    async fn load(&self, _: &Key, _: Lookup) -> Result<Option<Found>, StoreError> {
        Ok(self.0.lock().unwrap().clone().map(|record| Found::new(record, 0)))
    }

    async fn save(&self, _: &Key, record: &Record, _: Version) -> Result<Saved, StoreError> {
        *self.0.lock().unwrap() = Some(record.clone());
        Ok(Saved::Stored)
    }

    async fn delete(&self, _: &Key) -> Result<bool, StoreError> {
        Ok(self.0.lock().unwrap().take().is_some())
    }

    async fn epoch(&self, _: &SubjectTag) -> Result<u64, StoreError> {
        Ok(0)
    }
}

fn config() -> Config {
    // As in development: a plain cookie name, nothing encrypted in the store.
    Config::development(Secret::generate(&OsRandom).unwrap())
}

/// Something that can be done again and again.
type Work<'a> = Box<dyn FnMut() + 'a>;

fn router() -> Router {
    Router::new().route("/untouched", get(async || "ok"))
}

fn app<B: Backend>(sessions: &Sessions<Data, B>) -> Router {
    router()
        .route(
            "/read",
            get(async |session: SessionHandle<Data>| {
                session.read(|session| session.data().visits).to_string()
            }),
        )
        .route("/write", get(async |session: SessionHandle<Data>| session.update(|data| data.visits += 1)))
        .layer(SessionLayer::new(sessions.clone()))
}

async fn send(app: &mut Router, path: &str, cookie: &str) -> Response<Body> {
    let request = Request::get(path)
        .header(header::HOST, "example.com")
        .header(header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .header(header::COOKIE, cookie)
        .body(Body::empty());
    let app = <Router as tower::ServiceExt<Request<Body>>>::ready(app).await.unwrap();
    app.call(request.unwrap()).await.unwrap()
}

async fn begin<B: Backend>(sessions: &Sessions<Data, B>) -> (Session<Data>, String) {
    let mut session = sessions.create();
    *session.data_mut() = data();
    let cookie = sessions.commit(&mut session).await.unwrap().unwrap();
    (session, cookie.as_str().split(';').next().unwrap().to_owned())
}

/// The benchmarks of one backend.
fn of_backend<'a, B: Backend>(
    list: &mut Vec<(String, Work<'a>)>,
    runtime: &'a Runtime,
    name: &str,
    sessions: Sessions<Data, B>,
) {
    let (session, cookie) = runtime.block_on(begin(&sessions));
    for path in ["untouched", "read", "write"] {
        let (mut app, cookie, path_) = (app(&sessions), cookie.clone(), format!("/{path}"));
        let work = move || {
            let answer = runtime.block_on(send(&mut app, &path_, &cookie));
            assert!(answer.status().is_success());
        };
        list.push((format!("{name} {path}"), Box::new(work)));
    }
    {
        let sessions = sessions.clone();
        let work = move || {
            let session = runtime.block_on(sessions.load(&cookie, &Client::default())).unwrap();
            assert!(session.rejection().is_none());
        };
        list.push((format!("{name} load"), Box::new(work)));
    }
    let mut session = session;
    let work = move || {
        session.data_mut().visits += 1;
        runtime.block_on(sessions.commit(&mut session)).unwrap();
    };
    list.push((format!("{name} commit"), Box::new(work)));
}

fn benchmarks(runtime: &Runtime) -> Vec<(String, Work<'_>)> {
    let mut list: Vec<(String, Work<'_>)> = Vec::new();
    let mut bare = router();
    let work = move || {
        let answer = runtime.block_on(send(&mut bare, "/untouched", "session=x"));
        assert!(answer.status().is_success());
    };
    list.push(("bare".to_owned(), Box::new(work)));
    let memory: Sessions<Data, Stored<MemoryStore>> = Sessions::new(config(), MemoryStore::new()).unwrap();
    of_backend(&mut list, runtime, "memory", memory);
    let instant: Sessions<Data, Stored<Immediate>> = Sessions::new(config(), Immediate::default()).unwrap();
    of_backend(&mut list, runtime, "instant", instant);
    let held: Sessions<Data, CookieHeld> = Sessions::cookie(config()).unwrap();
    of_backend(&mut list, runtime, "cookie", held);
    list
}

/// What callgrind counts.
#[inline(never)]
fn measured(work: &mut Work<'_>, times: u32) {
    for _ in 0..times {
        work();
    }
}

/// The instructions of one run, by running this program again.
fn instructions(name: &str) -> Option<u64> {
    const TIMES: u64 = 500;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*measured*"])
        .arg(std::env::current_exe().ok()?)
        .args(["--only", name, &TIMES.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :"))?.1;
    collected.trim().parse::<u64>().ok().map(|all| all / TIMES)
}

/// The least of many short rounds: some fall between what else the machine does.
fn time(work: &mut Work<'_>) -> Duration {
    const TIMES: u32 = 100;
    let rounds = (0..400).map(|_| {
        let begun = Instant::now();
        measured(work, TIMES);
        begun.elapsed() / TIMES
    });
    rounds.min().unwrap_or_default()
}

fn main() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut list = benchmarks(&runtime);
    if let [only, name, times] = &arguments[..]
        && only == "--only"
    {
        let (_, work) = list.iter_mut().find(|(known, _)| known == name).expect("a benchmark of this name");
        work(); // what is done once
        return measured(work, times.parse().unwrap());
    }
    let count = arguments.first().is_some_and(|first| first == "--instructions");
    let wanted = arguments.last().filter(|last| !last.starts_with("--"));
    println!("| what | instructions | allocations | bytes | ns |\n|---|---|---|---|---|");
    for (name, work) in &mut list {
        if wanted.is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        work();
        let allocated = allocation_counter::measure(&mut *work);
        let instructions = if count { instructions(name) } else { None };
        let instructions = instructions.map_or_else(String::new, |number| number.to_string());
        let (number, bytes) = (allocated.count_total, allocated.bytes_total);
        println!("| {name} | {instructions} | {number} | {bytes} | {} |", time(work).as_nanos());
    }
}
