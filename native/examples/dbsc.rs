//! Sessions that are bound to the device they began on (Device Bound Session Credentials).
//!
//! ```sh
//! cargo run -p session-native --features dbsc --example dbsc -- 127.0.0.1:3000 20    # one proof counts 20 seconds
//! ```
//!
//! Browsers bind sessions over HTTPS alone, also to localhost: put a proxy with a certificate that the browser trusts before it. Chromium wants a place
//! for the key in hardware; to try without it, start it with
//! `--enable-features=DeviceBoundSessions,EnableBoundSessionCredentialsSoftwareKeysForManualTesting`. Sign in, wait, go on, and watch the log. A copy of the
//! cookies in another browser is a visitor without a session by then. `tests/demo/dbsc.test.mjs` does all of it.

use core::time::Duration;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{Html, Redirect, Response},
    routing::{get, post},
};
use session_native::{
    Config, MemoryStore, OsRandom, Secret, SessionHandle, Sessions, Stored,
    axum::{CsrfGuard, RequireAuth, SessionLayer, SessionRejection, prove_device},
    dbsc::DeviceBound,
};

/// A session that only says who is signed in.
type Session = SessionHandle<()>;
type Accounts = Sessions<(), Stored<MemoryStore>>;

/// Stands for a form, and for whoever checks what was typed.
async fn login(session: Session) -> Redirect {
    session.authenticate("ada");
    Redirect::to("/account")
}

async fn account(
    State(accounts): State<Accounts>,
    session: Session,
) -> Result<Html<String>, SessionRejection> {
    let device = match session.key() {
        Some(key) => accounts.device(&key).await?,
        None => None,
    };
    let bound = device.map_or_else(
        || "not bound to a device".to_owned(),
        |device| {
            let seconds = session.now().since(device.proven_at).as_secs();
            format!("bound to the device {}, proven {seconds} s ago", device.key.thumbprint())
        },
    );
    Ok(Html(format!(
        r#"<h1>ada</h1><p id="device">{bound}</p><form method="post" action="/logout"><button>Sign out</button></form>"#
    )))
}

async fn logout(session: Session) -> Result<Redirect, SessionRejection> {
    session.destroy().await?;
    Ok(Redirect::to("/"))
}

async fn entrance() -> Html<&'static str> {
    Html(r#"<form method="post" action="/login"><button>Sign in</button></form>"#)
}

fn accounts(life: Duration) -> Result<Accounts, Box<dyn core::error::Error>> {
    let sessions = Sessions::new(Config::development(Secret::generate(&OsRandom)?), MemoryStore::new())?;
    Ok(sessions.device_bound(DeviceBound::at("/device", MemoryStore::new()).life(life))?)
}

fn app(accounts: Accounts) -> Router {
    Router::new()
        .route("/account", get(account))
        .route("/logout", post(logout))
        .layer(RequireAuth::<()>::redirect_to("/"))
        // Not behind the guard: the device is proved when the session isn't accepted any more.
        .route("/device", post(prove_device::<()>))
        .route("/login", post(login))
        .route("/", get(entrance))
        .layer(SessionLayer::new(accounts.clone()))
        .layer(CsrfGuard::new())
        .layer(middleware::from_fn(log))
        .with_state(accounts)
}

async fn log(request: Request, next: Next) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    let response = next.run(request).await;
    println!("{line} {}", response.status().as_u16());
    response
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".into());
    let seconds = arguments.next().map_or(Ok(20), |seconds| seconds.parse())?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app(accounts(Duration::from_secs(seconds))?)).await?;
    Ok(())
}

#[cfg(test)]
#[path = "tests/dbsc.rs"]
mod tests;
