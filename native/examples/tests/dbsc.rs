#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use tower::ServiceExt as _;

use super::*;

#[tokio::test]
async fn a_browser_without_the_protocol_signs_in_and_goes_on() {
    let app = app(accounts(DeviceBound::DEFAULT_LIFE).unwrap());
    let request = |method, path, cookie: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::COOKIE, cookie)
            .body(Body::empty())
            .unwrap()
    };
    let signed_in = app.clone().oneshot(request("POST", "/login", "")).await.unwrap();
    let offer = signed_in.headers()["secure-session-registration"].to_str().unwrap();
    assert!(offer.starts_with(r#"(ES256);path="/device";challenge=""#), "{offer}");
    let cookie = signed_in.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap();

    let account = app.clone().oneshot(request("GET", "/account", cookie)).await.unwrap();
    assert_eq!(account.status(), StatusCode::OK);
    assert!(!account.headers().contains_key("secure-session-registration"));
    // Who brings no proof of a device is told nothing.
    let unproven = app.oneshot(request("POST", "/device", cookie)).await.unwrap();
    assert_eq!(unproven.status(), StatusCode::BAD_REQUEST);
}
