//! A Rust service beside a Next.js site: whoever is signed in at one is signed in at the other, with one cookie.
//!
//! - Below `/own` that is the cookie of this library, which the site reads and writes by `session-edge`. Whoever comes with a cookie of iron-session
//!   alone goes on with one of these.
//! - Below `/iron` it is the cookie of iron-session itself, for as long as the site has that: opened and sealed as there.
//!
//! ```sh
//! export SESSION_SECRET=$(session keygen) IRON_PASSWORD=the-password-that-iron-session-was-given
//! cargo run -p session-native --features iron --example beside_next
//! ```

use core::time::Duration;
use std::{env, error::Error, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::COOKIE},
    response::{AppendHeaders, IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use session_core::{cookies, interop::iron::Iron};
use session_native::{
    Clock as _, Config, CookieOptions, OsRandom, Secret, SessionData, SessionHandle, Sessions, SystemClock,
    axum::{SessionLayer, SessionRejection},
    import::{Import, IronCookies},
};

/// The site's data, with the site's names.
#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct User {
    user_id: Option<u64>,
    visits: u64,
}
impl SessionData for User {}

mod own {
    use super::*;

    type Session = SessionHandle<User>;

    pub(super) async fn me(session: Session) -> Json<User> {
        Json(session.data())
    }

    pub(super) async fn visit(session: Session) -> Json<User> {
        session.update(|user| user.visits += 1);
        Json(session.data())
    }

    pub(super) async fn login(session: Session, Path(id): Path<u64>) -> Json<User> {
        session.authenticate(id.to_string());
        session.update(|user| user.user_id = Some(id));
        Json(session.data())
    }

    pub(super) async fn logout(session: Session) -> Result<Json<User>, SessionRejection> {
        session.destroy().await?;
        Ok(Json(User::default()))
    }
}

/// iron-session's `getIronSession`, `save` and `destroy`.
struct IronSite {
    iron: Iron,
    cookie: CookieOptions,
}

impl IronSite {
    /// `ttl` there, by default.
    const TTL: Duration = Duration::from_secs(14 * 86_400);

    fn load(&self, headers: &HeaderMap) -> User {
        let now = SystemClock.now();
        let seals =
            headers.get_all(COOKIE).iter().flat_map(|line| cookies(line.as_bytes(), &self.cookie.name));
        let mut opened = seals.filter_map(|seal| self.iron.open(seal, now).ok()?.into_foreign().ok());
        opened.next().map(|foreign| foreign.data).unwrap_or_default()
    }

    fn save(&self, user: &User) -> Result<String, Box<dyn Error>> {
        let json = serde_json::to_vec(user)?;
        let seal = self.iron.seal(&json, Some(Self::TTL), SystemClock.now(), &OsRandom)?;
        // It ends a minute before the seal does, as there.
        Ok(self.cookie.set(&seal, Self::TTL - Duration::from_secs(60))?.into_string())
    }
}

mod iron {
    use axum::http::header::SET_COOKIE;

    use super::*;

    type Site = State<Arc<IronSite>>;

    pub(super) async fn me(State(site): Site, headers: HeaderMap) -> Json<User> {
        Json(site.load(&headers))
    }

    pub(super) async fn visit(State(site): Site, headers: HeaderMap) -> Response {
        let mut user = site.load(&headers);
        user.visits += 1;
        save(&site, user)
    }

    pub(super) async fn login(State(site): Site, headers: HeaderMap, Path(id): Path<u64>) -> Response {
        save(&site, User { user_id: Some(id), ..site.load(&headers) })
    }

    pub(super) async fn logout(State(site): Site) -> Response {
        let removal = site.cookie.remove().into_string();
        (AppendHeaders([(SET_COOKIE, removal)]), Json(User::default())).into_response()
    }

    fn save(site: &IronSite, user: User) -> Response {
        match site.save(&user) {
            Ok(line) => (AppendHeaders([(SET_COOKIE, line)]), Json(user)).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

fn app(secret: Secret, password: &str) -> Result<Router, Box<dyn Error>> {
    const COOKIE_NAME: &str = "my-app";

    let iron = Iron::new("1", password)?;
    // Over at a date of your choice: here, four weeks from the start.
    let until = SystemClock.now() + Duration::from_secs(28 * 86_400);
    let import = Import::until(until, IronCookies::new(COOKIE_NAME, iron.clone()))
        .subject(|user: &User| user.user_id.map(|id| id.to_string()));
    let sessions = Sessions::<User, _>::cookie(Config::production(secret))?.import(import);

    let own = Router::new()
        .route("/me", get(own::me))
        .route("/visit", post(own::visit))
        .route("/login/{id}", post(own::login))
        .route("/logout", post(own::logout))
        .layer(SessionLayer::new(sessions));
    let cookie = CookieOptions { name: COOKIE_NAME.into(), ..CookieOptions::default() };
    let theirs = Router::new()
        .route("/me", get(iron::me))
        .route("/visit", post(iron::visit))
        .route("/login/{id}", post(iron::login))
        .route("/logout", post(iron::logout))
        .with_state(Arc::new(IronSite { iron, cookie }));
    Ok(Router::new().nest("/own", own).nest("/iron", theirs))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let password = env::var("IRON_PASSWORD").map_err(|_| "IRON_PASSWORD is not set")?;
    let app = app(Secret::from_env("SESSION_SECRET")?, &password)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
