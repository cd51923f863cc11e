//! The JSON routes.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use session_native::{Error, SessionHandle, web::Answer as ErrorAnswer};

use crate::state::{App, UserSession};

type Session = SessionHandle<UserSession>;
type Answer = Result<Json<Value>, Failure>;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/me", get(me))
        .route("/set", post(set))
        .route("/increment", post(increment))
        .route("/flash", post(leave_flash).get(read_flash))
        .route("/sessions", get(sessions))
        .route("/logout-everywhere", post(logout_everywhere))
        .route("/slow", get(slow))
}

#[derive(Deserialize)]
struct Login {
    username: String,
}

/// Signs in, without a password: whoever looks after those is not this application's subject.
async fn login(session: Session, headers: HeaderMap, Json(login): Json<Login>) -> Answer {
    let username = sign_in(&session, &headers, &login.username)?;
    Ok(Json(json!({ "username": username })))
}

pub(crate) fn sign_in(session: &Session, headers: &HeaderMap, username: &str) -> Result<String, Failure> {
    let username = username.trim().to_owned();
    if !(1..=64).contains(&username.chars().count()) {
        return Err(Failure::BadRequest("a username has 1 to 64 characters"));
    }
    let browser = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("unknown");
    session.authenticate(&username);
    session.update(|data| {
        data.username = Some(username.clone());
        data.browser = browser.chars().take(120).collect();
    });
    Ok(username)
}

async fn logout(session: Session) -> Answer {
    session.destroy().await?;
    Ok(Json(json!({ "ok": true })))
}

#[derive(Serialize)]
struct Me {
    username: Option<String>,
    counter: u64,
    values: BTreeMap<String, String>,
    /// Seconds; 0 without a session.
    expires_in: u64,
}

async fn me(session: Session) -> Json<Me> {
    let now = session.now();
    Json(session.read(|session| {
        let data = session.data().clone();
        let expires_in = if session.is_new() { 0 } else { session.expires_in(now).as_secs() };
        Me { username: data.username, counter: data.counter, values: data.values, expires_in }
    }))
}

#[derive(Deserialize)]
struct Set {
    key: String,
    value: String,
}

async fn set(session: Session, Json(Set { key, value }): Json<Set>) -> Json<Value> {
    session.update(|data| data.values.insert(key, value));
    Json(json!({ "ok": true }))
}

async fn increment(session: Session) -> Answer {
    let counter = session
        .update_now(|data| {
            data.counter += 1;
            data.counter
        })
        .await?;
    Ok(Json(json!({ "counter": counter })))
}

#[derive(Deserialize)]
struct Message {
    key: String,
    message: String,
}

async fn leave_flash(session: Session, Json(Message { key, message }): Json<Message>) -> Json<Value> {
    session.flash(|flash| flash.set(key, message));
    Json(json!({ "ok": true }))
}

async fn read_flash(session: Session) -> Json<BTreeMap<String, String>> {
    Json(
        session
            .flash(|flash| flash.iter().map(|(key, message)| (key.to_owned(), message.to_owned())).collect()),
    )
}

async fn sessions(State(app): State<App>, session: Session) -> Answer {
    let username = session.subject().ok_or(Failure::SignedOut)?;
    let (now, current) = (session.now(), session.key());
    let Some(own) = app.sessions_of(&username).await? else {
        return Ok(Json(
            json!({ "sessions": null, "reason": "sessions are in cookies: nobody keeps a list" }),
        ));
    };
    let listed: Vec<Value> = own
        .iter()
        .map(|summary| {
            json!({
                "key": summary.key,
                "current": Some(summary.key) == current,
                "browser": summary.data.browser,
                "created_at": summary.created_at,
                "expires_in": summary.expires_at.since(now).as_secs(),
            })
        })
        .collect();
    Ok(Json(json!({ "sessions": listed })))
}

async fn logout_everywhere(State(app): State<App>, session: Session) -> Answer {
    let username = session.subject().ok_or(Failure::SignedOut)?;
    app.revoke_everywhere(&username).await?;
    session.destroy().await?;
    Ok(Json(json!({ "ok": true })))
}

#[derive(Deserialize)]
struct Slow {
    ms: u64,
}

/// The request that other libraries lose writes or bring sessions back with.
async fn slow(session: Session, Query(Slow { ms }): Query<Slow>) -> Answer {
    tokio::time::sleep(Duration::from_millis(ms.min(60_000))).await;
    session.update(|data| data.values.insert("slow".into(), ms.to_string()));
    session.commit().await?;
    Ok(Json(json!({ "ok": true })))
}

/// Why a request was not answered as it wished.
pub(crate) enum Failure {
    BadRequest(&'static str),
    SignedOut,
    Session(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Session(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, message.to_owned()),
            Self::SignedOut => (StatusCode::UNAUTHORIZED, "sign in first".to_owned()),
            Self::Session(error) => {
                let answer = ErrorAnswer::to_error(&error);
                let status =
                    StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                if status.is_server_error() {
                    eprintln!("login: {error}");
                }
                (status, answer.text().to_owned())
            }
        };
        (status, Json(json!({ "error": message }))).into_response()
    }
}
