//! A browser that knows the protocol: it keeps cookies for as long as it is told, has a key in software, and does what §8 of the draft says.

use core::time::Duration;
use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, Method, Request, Response};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use session_native::{Clock as _, ManualClock, Timestamp};

use crate::site::Site;

/// A device's key.
pub(crate) struct Device(EcdsaKeyPair);

impl Device {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    /// The uncompressed point.
    pub(crate) fn point(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub(crate) fn jwk(&self) -> Value {
        let [x, y] = [&self.point()[1..33], &self.point()[33..]].map(encode);
        json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
    }

    /// A JWT of any header and claims, signed with the key.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", encode(signature))
    }

    /// The first proof, as Chromium makes it.
    pub(crate) fn first_proof(&self, challenge: &str) -> String {
        let header = json!({ "alg": "ES256", "jwk": self.jwk(), "typ": "dbsc+jwt" });
        self.sign(&header, &json!({ "jti": challenge }))
    }

    /// A later one.
    pub(crate) fn proof(&self, challenge: &str) -> String {
        self.sign(&json!({ "alg": "ES256", "typ": "dbsc+jwt" }), &json!({ "jti": challenge }))
    }
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A session that the browser has a key for.
pub(crate) struct Bound {
    pub(crate) device: Device,
    pub(crate) id: String,
    pub(crate) refresh_url: String,
    pub(crate) cookie: String,
}

#[derive(Clone)]
struct Cookie {
    value: String,
    expires_at: Timestamp,
}

pub(crate) struct Browser<'a, S> {
    site: &'a S,
    clock: ManualClock,
    /// Whether it knows the protocol.
    knows: bool,
    cookies: BTreeMap<String, Cookie>,
    pub(crate) bound: Option<Bound>,
    /// What it was offered last, and has not taken up yet.
    pub(crate) offer: Option<String>,
    /// How often it was given a bound cookie.
    pub(crate) proofs: u32,
}

impl<'a, S: Site> Browser<'a, S> {
    pub(crate) fn new(site: &'a S, clock: &ManualClock) -> Self {
        let (clock, cookies) = (clock.clone(), BTreeMap::new());
        Self { site, clock, knows: true, cookies, bound: None, offer: None, proofs: 0 }
    }

    /// One that ignores what it doesn't know.
    pub(crate) fn ignorant(site: &'a S, clock: &ManualClock) -> Self {
        Self { knows: false, ..Self::new(site, clock) }
    }

    /// A thief's, who has copied all cookies and can copy no key.
    pub(crate) fn steal(&self) -> Self {
        Self { cookies: self.cookies.clone(), knows: false, ..Self::new(self.site, &self.clock) }
    }

    pub(crate) fn forget(&mut self, cookie: &str) {
        self.cookies.remove(cookie).unwrap();
    }

    pub(crate) fn plant(&mut self, cookie: &str, value: &str) {
        let expires_at = self.clock.now() + Duration::from_secs(86_400);
        self.cookies.insert(cookie.into(), Cookie { value: value.into(), expires_at });
    }

    /// The value of a cookie that it would send.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let cookie = self.cookies.get(name).filter(|cookie| cookie.expires_at > self.clock.now());
        cookie.map(|cookie| &*cookie.value)
    }

    /// A request of the user's: refreshes the bound cookie first if it is gone, and takes up what it is offered.
    pub(crate) async fn visit(&mut self, method: Method, path: &str) -> Response<String> {
        if let Some(bound) = &self.bound
            && self.cookie(&bound.cookie).is_none()
        {
            self.refresh().await;
        }
        let response = self.send(method, path, &[]).await;
        if self.knows
            && let Some(offer) = self.offer.take()
        {
            self.register(&offer).await;
        }
        response
    }

    pub(crate) async fn get(&mut self, path: &str) -> Response<String> {
        self.visit(Method::GET, path).await
    }

    pub(crate) async fn post(&mut self, path: &str) -> Response<String> {
        self.visit(Method::POST, path).await
    }

    /// Sends one request, and nothing else.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Response<String> {
        let mut request = Request::builder().method(method).uri(path);
        let names = self.cookies.keys().filter_map(|name| Some((name, self.cookie(name)?)));
        let cookies: Vec<_> = names.map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let response = self.site.send(request.body(()).unwrap()).await;
        self.keep_cookies(response.headers());
        let offer = response.headers().get("secure-session-registration");
        self.offer = offer.map(|offer| offer.to_str().unwrap().into());
        response
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for field in headers.get_all("set-cookie") {
            let (pair, attributes) = field.to_str().unwrap().split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let max_age = attributes.split("; ").find_map(|attribute| attribute.strip_prefix("Max-Age="));
            let life = Duration::from_secs(max_age.unwrap().parse().unwrap());
            let expires_at = self.clock.now() + life;
            self.cookies.insert(name.into(), Cookie { value: value.into(), expires_at });
        }
    }

    /// §8.10: makes a key and sends the first proof.
    pub(crate) async fn register(&mut self, offer: &str) -> Response<String> {
        assert!(offer.starts_with("(ES256);"), "{offer}");
        let device = Device::new();
        let proof = device.first_proof(parameter(offer, "challenge"));
        self.register_with(device, parameter(offer, "path"), &proof).await
    }

    pub(crate) async fn register_with(
        &mut self,
        device: Device,
        path: &str,
        proof: &str,
    ) -> Response<String> {
        let response = self.send(Method::POST, path, &[("secure-session-response", proof)]).await;
        if response.status() == 200 {
            let instructions: Value = serde_json::from_str(response.body()).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            self.bound = Some(Bound {
                device,
                id: text(&instructions["session_identifier"]),
                refresh_url: text(&instructions["refresh_url"]),
                cookie: text(&instructions["credentials"][0]["name"]),
            });
            self.proofs += 1;
        }
        response
    }

    /// §8.8: asks for a challenge and signs it. Any 4xx but 403 ends what it has.
    pub(crate) async fn refresh(&mut self) {
        let response = self.ask_for_challenge().await;
        let response = match challenge_of(&response) {
            Some(challenge) => {
                let proof = self.bound.as_ref().unwrap().device.proof(&challenge);
                self.prove(&proof).await
            }
            None => response,
        };
        match response.status().as_u16() {
            200 => self.proofs += 1,
            403 => {}
            400..500 => self.bound = None,
            _ => {}
        }
    }

    pub(crate) async fn ask_for_challenge(&mut self) -> Response<String> {
        let Bound { id, refresh_url, .. } = self.bound.as_ref().unwrap();
        let (id, url) = (format!("\"{id}\""), refresh_url.clone());
        self.send(Method::POST, &url, &[("sec-secure-session-id", &id)]).await
    }

    /// A challenge of the site for what is bound.
    pub(crate) async fn challenge(&mut self) -> String {
        challenge_of(&self.ask_for_challenge().await).expect("a challenge")
    }

    pub(crate) async fn prove(&mut self, proof: &str) -> Response<String> {
        let Bound { id, refresh_url, .. } = self.bound.as_ref().unwrap();
        let (id, url) = (format!("\"{id}\""), refresh_url.clone());
        let proof = format!("\"{proof}\"");
        let fields = [("sec-secure-session-id", &*id), ("secure-session-response", &proof)];
        self.send(Method::POST, &url, &fields).await
    }
}

/// The challenge of a 403, for the session that it names.
pub(crate) fn challenge_of(response: &Response<String>) -> Option<String> {
    if response.status() != 403 {
        return None;
    }
    let field = response.headers()["secure-session-challenge"].to_str().unwrap();
    let (challenge, id) = field.strip_prefix('"')?.split_once("\";id=\"")?;
    assert!(id.ends_with('"'));
    Some(challenge.into())
}

/// A string parameter of a structured field.
pub(crate) fn parameter<'t>(field: &'t str, name: &str) -> &'t str {
    let (_, rest) = field.split_once(&format!(";{name}=\"")).unwrap();
    rest.split_once('"').unwrap().0
}
