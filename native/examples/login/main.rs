//! A small web application that signs people in: pages for a browser, JSON routes for scripts.
//!
//! ```sh
//! cargo run --release -p session-native --example login -- --help
//! ```

mod api;
#[cfg(feature = "crystal")]
mod crystal;
mod pages;
mod state;
mod view;

use std::{error::Error, net::SocketAddr, process::ExitCode};

use axum::{
    Router,
    http::{HeaderValue, header},
    response::Response,
};
use clap::Parser;
use session_native::{Config, OsRandom, Secret, SecretError, axum::SessionLayer};

use crate::state::{App, StoreKind};

const ROUTES: &str = "\
JSON routes, for curl (keep the cookie with `-b jar -c jar`):
  POST /api/login {\"username\"}         signs in
  POST /api/logout                     signs out
  GET  /api/me                         {\"username\", \"counter\", \"values\", \"expires_in\"}
  POST /api/set {\"key\", \"value\"}       sets one value; 413 if it can't be kept
  POST /api/increment                  counts, exactly, also when requests race
  POST /api/flash {\"key\", \"message\"}   leaves a message
  GET  /api/flash                      the messages, once
  GET  /api/sessions                   where this user is signed in
  POST /api/logout-everywhere          signs this user out, everywhere
  GET  /api/slow?ms=N                  loads the session, waits, sets the value `slow`, commits
  GET  /healthz                        ok

Environment:
  SESSION_SECRET              a secret of `session keygen`, or a passphrase; one is made if it is absent
  SESSION_PREVIOUS_SECRETS    secrets that open older cookies, separated by commas
  CRYSTAL_SESSION_SECRET      the secret of a Crystal site (built with `--features redis,crystal`), see --crystal-until

For example:
  curl -c jar -H 'content-type: application/json' -d '{\"username\":\"ada\"}' http://127.0.0.1:8080/api/login
  curl -b jar http://127.0.0.1:8080/api/me";

/// Signs people in, and shows what a session is.
#[derive(Parser)]
#[command(name = "login", after_help = ROUTES)]
struct Options {
    /// Where sessions are kept: in this process's memory, sealed in the cookie itself, or (built with `--features redis,cache`) in
    /// Redis, or there with a cache in every process.
    #[arg(long, value_enum, default_value_t = StoreKind::Memory)]
    store: StoreKind,
    /// Where Redis is.
    #[arg(long, default_value = "redis://127.0.0.1:6379")]
    redis_url: String,
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    addr: SocketAddr,
    #[cfg(feature = "crystal")]
    #[command(flatten)]
    crystal: crystal::CrystalSite,
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("login: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), Box<dyn Error>> {
    let app = App::new(options.store, &options.redis_url, config()?).await?;
    #[cfg(feature = "crystal")]
    let app = app.import(&options.crystal, &options.redis_url).await?;
    let listener = tokio::net::TcpListener::bind(options.addr)
        .await
        .map_err(|error| format!("can't listen on {}: {error}; choose another with --addr", options.addr))?;
    println!("sessions are kept in {}", app.store_name());
    println!("listening on http://{}", listener.local_addr()?);

    let service = routes(app).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async {
            // Without a handler for Ctrl-C the process ends by it all the same.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}

/// For a developer's machine: plain HTTP works.
fn config() -> Result<Config, Box<dyn Error>> {
    let secret = match Secret::from_env("SESSION_SECRET") {
        Ok(secret) => secret,
        Err(SecretError::Missing { variable }) => {
            println!("{variable} is not set: a secret was made for this run, and sessions end with it");
            Secret::generate(&OsRandom)?
        }
        Err(error) => return Err(error.into()),
    };
    let previous = Secret::previous_from_env("SESSION_PREVIOUS_SECRETS")?;
    Ok(previous.iter().fold(Config::development(secret), Config::previous_secret))
}

fn routes(app: App) -> Router {
    let layer: SessionLayer<_> = app.layer();
    Router::new()
        .merge(pages::routes())
        .nest("/api", api::routes())
        .layer(layer)
        .route("/healthz", axum::routing::get(async || "ok"))
        .layer(axum::middleware::map_response(harden))
        .with_state(app)
}

/// What every page should say to a browser.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
