//! What the middleware promises.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

use super::*;

fn layer(capacity: usize) -> SessionLayer<()> {
    let config = Config::production(Secret::generate(&OsRandom).unwrap());
    SessionLayer::new(Sessions::new(config, MemoryStore::builder().capacity(capacity).build()).unwrap())
}

fn request(cookie: &str) -> Request {
    Request { peer: [127, 0, 0, 1].into(), fields: Fields(vec![("Cookie".into(), cookie.into())]) }
}

fn who(session: &SessionHandle<()>) -> String {
    session.subject().unwrap_or_default()
}

fn value(response: &Response, name: &'static str) -> String {
    let values: Vec<&[u8]> = response.fields.values(name).collect();
    String::from_utf8(values.join(&b'|')).unwrap()
}

#[tokio::test]
async fn a_session_goes_from_request_to_request() {
    let layer = layer(1);
    let signed_in = with_session(&layer, &request(""), sign_in).await;
    assert_eq!((signed_in.status, signed_in.body.as_str()), (200, "welcome"));
    assert_eq!(value(&signed_in, "cache-control"), "no-store");
    let cookie = value(&signed_in, "set-cookie");
    assert!(cookie.starts_with("__Host-session="));

    let known = with_session(&layer, &request(cookie.split(';').next().unwrap()), who).await;
    assert_eq!(known.body, "42");
    assert_eq!((value(&known, "vary"), value(&known, "set-cookie")), ("Cookie".into(), String::new()));
    assert_eq!(with_session(&layer, &request("__Host-session=rubbish"), who).await.body, "");

    // Another session doesn't fit into the store.
    let full = with_session(&layer, &request(""), sign_in).await;
    assert_eq!(
        (full.status, value(&full, "retry-after")),
        (503, String::new()),
        "it is as full a second later"
    );
    assert_ne!(full.body, "welcome");
}
