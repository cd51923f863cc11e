//! Sessions in a framework of one's own: blocking handlers, requests and responses that are no one else's types.
//! `cargo run -p session-native --example custom_framework`

use core::net::IpAddr;
use std::borrow::Cow;

use session_native::{
    Config, MemoryStore, OsRandom, Secret, SessionHandle, Sessions,
    web::{Answer, Headers, SessionLayer},
};

#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Headers for Fields {
    fn values<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        let same = move |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.0.iter().filter(same).map(|field| field.1.as_bytes())
    }

    fn set(&mut self, name: &'static str, value: Cow<'static, str>) {
        self.0.retain(|field| !field.0.eq_ignore_ascii_case(name));
        self.add(name, value);
    }

    fn add(&mut self, name: &'static str, value: Cow<'static, str>) {
        self.0.push((name.into(), value.into_owned()));
    }
}

struct Request {
    peer: IpAddr,
    fields: Fields,
}

struct Response {
    status: u16,
    fields: Fields,
    body: String,
}

impl From<&Answer> for Response {
    fn from(answer: &Answer) -> Self {
        let mut fields = Fields::default();
        answer.write(&mut fields);
        Self { status: answer.status(), fields, body: answer.text().into() }
    }
}

type Handler = fn(&SessionHandle<()>) -> String;

/// The middleware: around a handler that always wants its session.
async fn with_session(layer: &SessionLayer<()>, request: &Request, handler: Handler) -> Response {
    let arrival = layer.arrive();
    let response = match arrival.session(Some(request.peer), &request.fields).await {
        Ok(session) => Response { status: 200, fields: Fields::default(), body: handler(&session) },
        Err(error) => return Response::from(&Answer::to_error(&error)),
    };
    let ending = arrival.finish().await;
    let mut response = ending.failure().map_or(response, Response::from);
    ending.write(&mut response.fields);
    response
}

fn sign_in(session: &SessionHandle<()>) -> String {
    session.authenticate("42");
    "welcome".into()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sessions = Sessions::new(Config::production(Secret::generate(&OsRandom)?), MemoryStore::new())?;
    let request = Request { peer: [127, 0, 0, 1].into(), fields: Fields::default() };
    let Response { status, body, .. } = with_session(&SessionLayer::new(sessions), &request, sign_in).await;
    println!("{status} {body}");
    Ok(())
}

#[cfg(test)]
#[path = "tests/custom_framework.rs"]
mod tests;
