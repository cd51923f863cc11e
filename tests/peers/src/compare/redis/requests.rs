//! Requests of axum and actix-web, beside the Redis stores of tower-sessions and actix-session.

use std::rc::Rc;

use actix_session::storage::RedisSessionStore;
use actix_web::{
    App,
    body::MessageBody,
    rt::{System, SystemRunner},
};
use axum::{Router, http::HeaderValue, routing::get};
use session_native::axum::SessionLayer;
use tokio::runtime::Runtime;
use tower_sessions_0_14::{Expiry, Session, SessionManagerLayer, cookie::SameSite};
use tower_sessions_redis_store::{
    RedisStore as TowerStore,
    fred::{clients::Pool, interfaces::ClientLike as _, types::config::Config},
};

use super::{InRedis, Meter, SIZE, TASKS, connect, tasks};
use crate::{
    compare::{LIFE, NAME, actix as on_actix, axum as on_axum, config},
    data::Data,
    measure::{Contestant, Effort, Samples, compare},
};

pub const AXUM: &str = "session: axum";
pub const TOWER: &str = "tower-sessions-redis-store: axum";
pub const ACTIX: &str = "session: actix-web";
pub const ACTIX_SESSION: &str = "actix-session, redis: actix-web";

pub fn axum(runtime: &Runtime, url: &str, path: &'static str, meter: &Meter, effort: Effort) -> Samples {
    let apps = runtime.block_on(async {
        let sessions = InRedis::new(config(), connect(url).await).expect("a configuration");
        [(TOWER, tower(url).await), (AXUM, on_axum::session(SessionLayer::new(sessions), SIZE))]
    });
    let contestants = apps.map(|(name, mut app)| {
        let cookies: Vec<HeaderValue> = runtime.block_on(async {
            let mut cookies = vec![on_axum::check(name, &app, SIZE).await];
            while cookies.len() < TASKS {
                cookies.push(on_axum::start(&mut app).await);
            }
            cookies
        });
        tasks(runtime, meter, name, move |number, turns| {
            let (mut app, cookie) = (app.clone(), cookies[number].clone());
            async move {
                for _ in 0..turns {
                    on_axum::send(&mut app, path, &cookie).await;
                }
            }
        })
    });
    compare(effort, contestants.into())
}

async fn tower(url: &str) -> Router {
    let pool = Pool::new(Config::from_url(url).expect("a URL"), None, None, None, 1).expect("a pool");
    pool.connect();
    pool.wait_for_connect().await.expect("a connection");
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
    let layer = SessionManagerLayer::new(TowerStore::new(pool))
        .with_secure(false)
        .with_same_site(SameSite::Lax)
        .with_name(NAME)
        .with_expiry(Expiry::OnInactivity(LIFE.try_into().expect("half an hour")));
    Router::new()
        .route("/start", get(start))
        .route("/read", get(read))
        .route("/write", get(write))
        .layer(layer)
}

pub fn actix(url: &str, path: &'static str, meter: &Meter, effort: Effort) -> Samples {
    let system = System::new();
    let [ours, theirs] = {
        let store = system.block_on(connect(url));
        let sessions = InRedis::new(config(), store).expect("a configuration");
        let ours = App::new()
            .configure(on_actix::ours(SIZE))
            .wrap(session_native::actix::SessionLayer::new(sessions));
        let store = system.block_on(RedisSessionStore::new(url)).expect("a store");
        let theirs = App::new().configure(on_actix::theirs(SIZE)).wrap(on_actix::actix_session(store));
        let ours = Rc::new(system.block_on(actix_web::test::init_service(ours)));
        let theirs = Rc::new(system.block_on(actix_web::test::init_service(theirs)));
        [local(&system, meter, ACTIX, ours, path), local(&system, meter, ACTIX_SESSION, theirs, path)]
    };
    compare(effort, vec![theirs, ours])
}

/// Requests of as many tasks on the thread of the system.
fn local<'a, B: MessageBody + 'static>(
    system: &'a SystemRunner,
    meter: &Meter,
    name: &str,
    app: Rc<impl on_actix::Application<B> + 'static>,
    path: &'static str,
) -> Contestant<'a> {
    let cookies: Vec<actix_web::http::header::HeaderValue> = system.block_on(async {
        let mut cookies = Vec::new();
        for _ in 0..TASKS {
            cookies.push(on_actix::check(&*app, SIZE).await);
        }
        cookies
    });
    let (meter, own) = (meter.clone(), name.to_owned());
    let requests = move |turns: usize| {
        let running: Vec<_> = cookies
            .iter()
            .map(|cookie| {
                let (app, cookie) = (Rc::clone(&app), cookie.clone());
                actix_web::rt::spawn(async move {
                    for _ in 0..turns {
                        on_actix::send(&*app, path, Some(&cookie)).await;
                    }
                })
            })
            .collect();
        async {
            for task in running {
                task.await.expect("a task");
            }
        }
    };
    Contestant::of_many(name, TASKS, move |turns| {
        meter.measure(&own, turns * TASKS, || system.block_on(async { requests(turns).await }));
    })
}
