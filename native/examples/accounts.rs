//! What a login library needs of sessions: signing in, "remember me", step-up authentication, a limit of sessions for each account, and a
//! defence against cross-site request forgery.
//!
//! ```sh
//! cargo run -p session-native --example accounts    # ada signs in with the password "lovelace"
//! ```

use core::time::Duration;

use axum::{
    Form, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;
use session_native::{
    Config, Error, MemoryStore, OsRandom, Secret, SessionHandle, Sessions, Stored,
    axum::{CsrfGuard, RequireAuth, SessionLayer, SessionRejection, local_redirect},
};

/// A session that only says who is signed in.
type Session = SessionHandle<()>;
type Accounts = Sessions<(), Stored<MemoryStore>>;

/// How long "remember me" lasts.
const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);
/// How long ago a password may have been typed for what matters most.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// On more devices than these nobody is signed in: the one that was used least recently is signed out.
const DEVICES: usize = 3;

/// Stands for the library that knows accounts, and hashes their passwords.
fn password_fits(name: &str, password: &str) -> bool {
    matches!((name, password), ("ada", "lovelace") | ("grace", "hopper"))
}

#[derive(Deserialize)]
struct Login {
    name: String,
    password: String,
    #[serde(default)]
    remember: bool,
    redirect_to: Option<String>,
}

async fn login(session: Session, Form(form): Form<Login>) -> Response {
    if !password_fits(&form.name, &form.password) {
        return wrong_password();
    }
    session.authenticate(form.name);
    if form.remember {
        session.remember_for(REMEMBERED);
    }
    go_on(form.redirect_to)
}

#[derive(Deserialize)]
struct Confirmation {
    password: String,
    redirect_to: Option<String>,
}

/// Step-up: whoever is signed in proves it again. A remembered session stays remembered.
async fn confirm(session: Session, Form(form): Form<Confirmation>) -> Response {
    let name = session.subject().unwrap_or_default();
    if !password_fits(&name, &form.password) {
        return wrong_password();
    }
    session.authenticate(name);
    go_on(form.redirect_to)
}

/// A new password: whoever knew the old one is signed out everywhere else.
async fn change_password(
    State(accounts): State<Accounts>,
    session: Session,
) -> Result<String, SessionRejection> {
    session.regenerate();
    let (Some(name), Some(key)) = (session.subject(), session.key()) else { return Ok(String::new()) };
    let ended = accounts.revoke_others(&name, &key).await?;
    Ok(format!("changed; {ended} other sessions were ended"))
}

async fn devices(State(accounts): State<Accounts>, session: Session) -> Result<String, SessionRejection> {
    let devices = accounts.by_subject(&session.subject().unwrap_or_default()).await?;
    Ok(devices.len().to_string())
}

/// If this fails the user is still signed in, and is told so: 503.
async fn logout(session: Session) -> Result<Redirect, SessionRejection> {
    session.destroy().await?;
    Ok(Redirect::to("/login"))
}

fn wrong_password() -> Response {
    (StatusCode::UNAUTHORIZED, "name or password is wrong").into_response()
}

/// Back to where the guard turned the visitor away, but never to another site.
fn go_on(wanted: Option<String>) -> Response {
    Redirect::to(wanted.as_deref().and_then(local_redirect).unwrap_or("/account")).into_response()
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    redirect_to: String,
}

/// A form that posts to its own address.
async fn form(fields: &'static str, Query(Wanted { redirect_to }): Query<Wanted>) -> Html<String> {
    let wanted: String = local_redirect(&redirect_to)
        .unwrap_or("/account")
        .chars()
        .map(|c| match c {
            '"' => "&quot;".to_owned(),
            '&' => "&amp;".to_owned(),
            other => other.to_string(),
        })
        .collect();
    Html(format!(
        "<!doctype html><title>Accounts</title><form method=post>{fields}\
         <input type=hidden name=redirect_to value=\"{wanted}\"><button>Go on</button></form>"
    ))
}

const LOGIN: &str = "<input name=name autocomplete=username> <input name=password type=password> \
    <label><input name=remember type=checkbox value=true> Remember me</label> ";
const CONFIRM: &str = "<input name=password type=password> ";

fn app(accounts: Accounts) -> Router {
    // The innermost guard is the strictest: visitors of long ago go to `/confirm`, strangers from there to `/login`.
    let at_stake = Router::new()
        .route("/password", get(async || "a form for the new password").post(change_password))
        .layer(RequireAuth::<()>::redirect_to("/confirm").fresh(FRESH));
    let own = Router::new()
        .route("/account", get(async |session: Session| session.subject().unwrap_or_default()))
        .route("/devices", get(devices))
        .route("/confirm", get(async |wanted| form(CONFIRM, wanted).await).post(confirm))
        .layer(RequireAuth::<()>::redirect_to("/login"));
    Router::new()
        .merge(at_stake)
        .merge(own)
        .route("/login", get(async |wanted| form(LOGIN, wanted).await).post(login))
        .route("/logout", post(logout))
        .layer(SessionLayer::new(accounts.clone()))
        // Outermost: a forged request is refused before it costs anything. It protects the sign-in form as well.
        .layer(CsrfGuard::new())
        .with_state(accounts)
}

fn accounts(config: Config) -> Result<Accounts, Error> {
    Sessions::new(config, MemoryStore::builder().sessions_per_subject(DEVICES).build())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let accounts = accounts(Config::development(Secret::generate(&OsRandom)?))?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on http://{}/account", listener.local_addr()?);
    axum::serve(listener, app(accounts)).await?;
    Ok(())
}

#[cfg(test)]
#[path = "tests/accounts.rs"]
mod tests;
