//! The example `metrics` shows what it says.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

#[path = "../examples/metrics.rs"]
mod example;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use tower::ServiceExt as _;

/// Gets a page, and gives its text and the cookie it sets.
async fn page(app: &Router, path: &str, cookie: &str) -> (String, Option<String>) {
    let request = Request::get(path).header(header::COOKIE, cookie).body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let set_cookie = response.headers().get(header::SET_COOKIE).map(|value| value.to_str().unwrap());
    let cookie = set_cookie.map(|value| value.split(';').next().unwrap().to_owned());
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (String::from_utf8(body.to_vec()).unwrap(), cookie)
}

#[tokio::test]
async fn prometheus_scrapes_what_happened() {
    let app = example::app(example::record().unwrap()).unwrap();
    let (first, cookie) = page(&app, "/", "").await;
    let cookie = cookie.expect("a new session has a cookie");
    let (second, _) = page(&app, "/", &cookie).await;
    assert_eq!((first.as_str(), second.as_str()), ("Visit 1\n", "Visit 2\n"));
    let name = cookie.split('=').next().unwrap();
    page(&app, "/", &format!("{name}=rubbish")).await;

    let (scraped, set_cookie) = page(&app, "/metrics", &cookie).await;
    assert_eq!(set_cookie, None);
    for line in [
        "session_created{store=\"memory\"} 2",
        "session_loaded{store=\"memory\"} 1",
        "session_saved{store=\"memory\"} 1",
        "session_issued{store=\"memory\"} 2",
        "session_rejected{store=\"memory\",reason=\"malformed\"} 1",
        "session_active_count{store=\"memory\"} 2",
        "session_load_time_count{store=\"memory\"} 1",
        "session_store_time_count{store=\"memory\"} 3",
        "session_command_time_count{store=\"memory\",command=\"create\"} 2",
        "session_command_time_count{store=\"memory\",command=\"save\"} 1",
        "# TYPE session_load_time histogram",
        "# HELP session_loaded Sessions loaded.",
    ] {
        assert!(scraped.lines().any(|scraped| scraped == line), "{line} is not in:\n{scraped}");
    }
    let token = cookie.split('=').nth(1).unwrap();
    assert!(!scraped.contains(token));
}
