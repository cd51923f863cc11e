//! The life of an account's sessions.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use session_native::ManualClock;
use tower::ServiceExt as _;

use super::*;

const FORM: &str = "application/x-www-form-urlencoded";
const DAY: Duration = Duration::from_secs(86_400);

struct Site {
    app: Router,
    clock: ManualClock,
}

/// A browser with one cookie.
#[derive(Default)]
struct Browser(String);

impl Site {
    fn new() -> Self {
        let clock = ManualClock::default();
        let store = MemoryStore::builder().sessions_per_subject(DEVICES).clock(clock.clone()).build();
        let config = Config::development(Secret::generate(&OsRandom).unwrap());
        let accounts = Sessions::new(config, store).unwrap().clock(clock.clone());
        Self { app: app(accounts), clock }
    }

    async fn send(&self, browser: &mut Browser, request: Request<Body>) -> Response {
        let (mut parts, body) = request.into_parts();
        parts.headers.insert(header::COOKIE, browser.0.parse().unwrap());
        let response = self.app.clone().oneshot(Request::from_parts(parts, body)).await.unwrap();
        if let Some(cookie) = response.headers().get(header::SET_COOKIE) {
            browser.0 = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        }
        response
    }

    async fn get(&self, browser: &mut Browser, path: &str) -> Response {
        self.send(browser, Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, browser: &mut Browser, path: &str, form: &str) -> Response {
        let request = Request::post(path).header(header::CONTENT_TYPE, FORM);
        self.send(browser, request.body(form.to_owned().into()).unwrap()).await
    }

    async fn sign_in(&self, form: &str) -> Browser {
        let mut browser = Browser::default();
        let response = self.post(&mut browser, "/login", &format!("name=ada&password=lovelace{form}")).await;
        assert_eq!(response.status(), 303);
        browser
    }
}

fn location(response: &Response) -> &str {
    response.headers().get(header::LOCATION).map_or("", |location| location.to_str().unwrap())
}

async fn text(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(body.into()).unwrap()
}

#[tokio::test]
async fn a_visitor_signs_in_and_goes_on() {
    let site = Site::new();
    let mut browser = Browser::default();
    let turned_away = site.get(&mut browser, "/devices?a=1").await;
    assert_eq!(location(&turned_away), "/login?redirect_to=/devices%3Fa%3D1");
    let page = text(site.get(&mut browser, location(&turned_away)).await).await;
    assert!(page.contains("value=\"/devices?a=1\""), "{page}");

    let wrong = site.post(&mut browser, "/login", "name=ada&password=wrong").await;
    assert_eq!((wrong.status(), browser.0.as_str()), (StatusCode::UNAUTHORIZED, ""));
    let form = "name=ada&password=lovelace&redirect_to=/devices?a=1";
    assert_eq!(location(&site.post(&mut browser, "/login", form).await), "/devices?a=1");
    assert_eq!(text(site.get(&mut browser, "/account").await).await, "ada");
    for foreign in ["//evil.example", "https://evil.example", ""] {
        let form = format!("name=ada&password=lovelace&redirect_to={foreign}");
        assert_eq!(location(&site.post(&mut browser, "/login", &form).await), "/account");
    }
    assert_eq!(location(&site.post(&mut browser, "/logout", "").await), "/login");
    assert_eq!(site.get(&mut browser, "/account").await.status(), 303);
}

#[tokio::test]
async fn only_who_asked_for_it_is_remembered() {
    let site = Site::new();
    let mut forgotten = site.sign_in("").await;
    let mut remembered = site.sign_in("&remember=true").await;
    site.clock.advance(2 * DAY);
    assert_eq!(site.get(&mut forgotten, "/account").await.status(), 303);
    assert_eq!(text(site.get(&mut remembered, "/account").await).await, "ada");
    // A step-up in between doesn't forget it, and doesn't prolong it.
    assert_eq!(site.post(&mut remembered, "/confirm", "password=lovelace").await.status(), 303);
    site.clock.advance(REMEMBERED - 2 * DAY - Duration::from_secs(1));
    assert_eq!(text(site.get(&mut remembered, "/account").await).await, "ada");
    site.clock.advance(Duration::from_secs(1));
    assert_eq!(site.get(&mut remembered, "/account").await.status(), 303);
}

#[tokio::test]
async fn what_matters_most_wants_a_fresh_password() {
    let site = Site::new();
    let mut browser = site.sign_in("&remember=true").await;
    let mut other = site.sign_in("").await;
    site.clock.advance(FRESH);
    assert_eq!(site.get(&mut browser, "/password").await.status(), 200);
    site.clock.advance(Duration::from_secs(1));
    assert_eq!(site.post(&mut browser, "/password", "").await.status(), StatusCode::UNAUTHORIZED);
    let turned_away = site.get(&mut browser, "/password").await;
    assert_eq!(location(&turned_away), "/confirm?redirect_to=/password");

    let before = Browser(browser.0.clone());
    let wrong = site.post(&mut browser, "/confirm", "password=hopper").await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(site.get(&mut browser, "/password").await.status(), 303);
    let right = "password=lovelace&redirect_to=/password";
    assert_eq!(location(&site.post(&mut browser, "/confirm", right).await), "/password");
    assert_ne!(browser.0, before.0, "the token was rotated");
    assert_eq!(site.get(&mut { before }, "/account").await.status(), 303, "and the one before is dead");

    let changed = text(site.post(&mut browser, "/password", "").await).await;
    assert_eq!(changed, "changed; 1 other sessions were ended");
    assert_eq!(site.get(&mut other, "/account").await.status(), 303);
    assert_eq!(text(site.get(&mut browser, "/account").await).await, "ada");

    // A stranger is led through both.
    let mut stranger = Browser::default();
    assert_eq!(location(&site.get(&mut stranger, "/password").await), "/confirm?redirect_to=/password");
    let twice = site.get(&mut stranger, "/confirm?redirect_to=/password").await;
    assert_eq!(location(&twice), "/login?redirect_to=/confirm%3Fredirect_to%3D/password");
}

#[tokio::test]
async fn one_device_too_many_signs_out_the_one_used_least_recently() {
    let site = Site::new();
    let mut devices = Vec::new();
    for _ in 0..=DEVICES {
        devices.push(site.sign_in("").await);
        site.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(site.get(&mut devices[0], "/account").await.status(), 303);
    for device in &mut devices[1..] {
        assert_eq!(text(site.get(device, "/devices").await).await, DEVICES.to_string());
    }
}

#[tokio::test]
async fn another_sites_form_does_nothing() {
    let site = Site::new();
    let mut browser = site.sign_in("").await;
    for path in ["/login", "/logout", "/password", "/confirm"] {
        let request =
            Request::builder().method(Method::POST).uri(path).header("sec-fetch-site", "cross-site");
        let response = site.send(&mut browser, request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(text(site.get(&mut browser, "/account").await).await, "ada");
}
