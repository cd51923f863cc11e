//! Sessions in a bare hyper server, without a framework: counts each client's visits.
//! `cargo run -p session-native --example hyper`

use std::{convert::Infallible, io, net::IpAddr};

use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use session_native::{
    Config, MemoryStore, OsRandom, Secret, SessionData, Sessions,
    web::{Answer, Arrival, SessionLayer},
};
use tokio::net::TcpListener;

#[derive(Default, Clone, Serialize, Deserialize)]
struct Visits(u64);
impl SessionData for Visits {}

async fn handle(
    arrival: &Arrival<Visits>,
    peer: IpAddr,
    request: &Request<Incoming>,
) -> Result<Response<String>, Answer> {
    if request.uri().path() != "/" {
        return Ok(Response::new("nothing here".into()));
    }
    let session =
        arrival.session(Some(peer), request.headers()).await.map_err(|error| Answer::to_error(&error))?;
    // Exact, also if requests overlap.
    session.update_now(|visits| visits.0 += 1).await.map_err(|error| Answer::to_error(&error))?;
    Ok(Response::new(format!("visit {}", session.data().0)))
}

/// What a framework's layer does: one commit, before the headers leave.
async fn with_session(
    layer: &SessionLayer<Visits>,
    peer: IpAddr,
    request: &Request<Incoming>,
) -> Response<String> {
    let arrival = layer.arrive();
    let mut response = handle(&arrival, peer, request).await.unwrap_or_else(|answer| respond(&answer));
    if arrival.is_touched() {
        let ending = arrival.finish().await;
        response = ending.failure().map_or(response, respond);
        ending.write(response.headers_mut());
    }
    response
}

fn respond(answer: &Answer) -> Response<String> {
    let mut response = Response::new(answer.text().to_owned());
    *response.status_mut() =
        StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.write(response.headers_mut());
    response
}

async fn serve(listener: TcpListener, layer: SessionLayer<Visits>) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        let layer = layer.clone();
        let service = service_fn(move |request| {
            let layer = layer.clone();
            async move { Ok::<_, Infallible>(with_session(&layer, peer.ip(), &request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sessions = Sessions::new(Config::development(Secret::generate(&OsRandom)?), MemoryStore::new())?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(serve(listener, SessionLayer::new(sessions)).await?)
}

#[cfg(test)]
#[path = "tests/hyper.rs"]
mod tests;
