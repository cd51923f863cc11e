//! The server over a real socket.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

use http_body_util::BodyExt as _;
use hyper::{client::conn::http1, header};
use tokio::net::TcpStream;

use super::*;

async fn get(address: std::net::SocketAddr, path: &str, cookie: &str) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, "localhost").header(header::COOKIE, cookie);
    sender.send_request(request.body(String::new()).unwrap()).await.unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

#[tokio::test]
async fn visits_are_counted_for_each_client() {
    let config = Config::development(Secret::generate(&OsRandom).unwrap());
    let store = MemoryStore::builder().capacity(2).build();
    let sessions = Sessions::new(config, store).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, SessionLayer::new(sessions.clone())));

    let mut cookies = Vec::new();
    for _ in 0..2 {
        let first = get(address, "/", "").await;
        assert_eq!(first.headers()[header::VARY], "Cookie");
        assert_eq!(first.headers()[header::CACHE_CONTROL], "no-store");
        let cookie = first.headers()[header::SET_COOKIE].to_str().unwrap();
        cookies.push(cookie.split(';').next().unwrap().to_owned());
        assert_eq!(text(first).await, "visit 1");
    }
    for visit in 2..4 {
        for cookie in &cookies {
            let answer = get(address, "/", cookie).await;
            assert!(!answer.headers().contains_key(header::SET_COOKIE));
            assert_eq!(text(answer).await, format!("visit {visit}"));
        }
    }
    // Nothing is added where the session was left alone.
    let elsewhere = get(address, "/elsewhere", &cookies[0]).await;
    assert!(!elsewhere.headers().contains_key(header::VARY));

    // A third session doesn't fit: a failure is not a success.
    let full = get(address, "/", "").await;
    assert_eq!(full.status(), 503);
    assert!(!full.headers().contains_key(header::RETRY_AFTER), "it is as full a second later");
    assert!(!full.headers().contains_key(header::SET_COOKIE));
    server.abort();
}
