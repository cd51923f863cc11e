//! Tokens that open.

use serde::Serialize;

use crate::format::{
    DEFLATED, Keys, Kind, Parts, SALT, base64, frame, hex, hmac, mac_input, secret, short_hash, written,
};

pub(crate) const NOW: u64 = 1_700_000_000_000;
pub(crate) const LATER: u64 = NOW + 3_600_000;

#[derive(Serialize)]
pub(crate) struct File {
    about: &'static str,
    keys: Vec<Derived>,
    steps: Steps,
    tokens: Vec<Token>,
}

/// What HKDF gives for a secret.
#[derive(Serialize)]
struct Derived {
    secret: String,
    secret_hex: String,
    prk: String,
    key_id: String,
    encryption: String,
    authentication: String,
    binding: String,
}

/// One token, step by step.
#[derive(Serialize)]
struct Steps {
    token_id: &'static str,
    header: String,
    ciphertext: String,
    mac_input: String,
    tag: String,
    bytes: String,
}

#[derive(Serialize)]
struct Token {
    id: String,
    /// The first one seals.
    secrets: Vec<String>,
    kind: &'static str,
    cookie: String,
    now: u64,
    expires_at: u64,
    iv: String,
    deflate: bool,
    payload: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deflated: Option<String>,
    token: String,
}

/// The payload of a session with `data`.
pub(crate) fn session(data: &str) -> String {
    format!("{}\n{data}", reference())
}

/// The payload of a reference token.
pub(crate) fn reference() -> String {
    format!(
        "{}.1.1700000000000.1700086400000.2\n{{\"sub\":\"12345\",\"auth\":1700000000000}}",
        base64(&sid())
    )
}

pub(crate) fn sid() -> [u8; 16] {
    core::array::from_fn(|i| 0xa0 + i as u8)
}

/// A payload of exactly `bytes` bytes, with text that is neither random nor one letter.
fn sized(bytes: usize) -> String {
    let words = ["session", "cookie", "token", "edge", "rotate", "Vary", "expiry", "seal"];
    let empty = session(r#"{"text":""}"#).len();
    let mut text = String::new();
    let mut state = 1_u32;
    while text.len() < bytes - empty {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += words[(state >> 24) as usize % words.len()];
        text += &format!(" {} ", state >> 16);
    }
    text.truncate(bytes - empty);
    session(&format!(r#"{{"text":"{text}"}}"#))
}

/// The IV of a case: as random ones are, different for each.
pub(crate) fn iv(case: &str) -> [u8; 16] {
    short_hash("iv of the test vector ", case.as_bytes())
}

struct Case {
    id: &'static str,
    secrets: &'static [u8],
    kind: Kind,
    cookie: &'static str,
    now: u64,
    expires_at: u64,
    deflate: bool,
    payload: String,
}

const HOST: &str = "__Host-session";

fn case(id: &'static str, kind: Kind, payload: impl Into<String>) -> Case {
    let payload = payload.into();
    Case { id, secrets: &[0], kind, cookie: HOST, now: NOW, expires_at: LATER, deflate: false, payload }
}

fn cases() -> Vec<Case> {
    use Kind::{CookieHeld, Reference};

    let unicode =
        session("{\"name\":\"J\u{f6}rg \u{1f389} \u{65e5}\u{672c} \u{2028} \\u0000 \\\"quoted\\\"\"}");
    vec![
        case("session", CookieHeld, session(r#"{"theme":"dark"}"#)),
        case("reference", Reference, reference()),
        case("empty", CookieHeld, ""),
        case("reference-empty", Reference, ""),
        case("one-byte", CookieHeld, "x"),
        case("fifteen-bytes", CookieHeld, "fifteen bytes ."),
        case("sixteen-bytes", CookieHeld, "sixteen bytes .."),
        case("seventeen-bytes", CookieHeld, "seventeen bytes ."),
        case("300-bytes", CookieHeld, sized(300)),
        case("1-kilobyte", CookieHeld, sized(1_024)),
        case("longest", CookieHeld, sized(3_007)),
        case("unicode", CookieHeld, unicode),
        case("null-data", CookieHeld, session("null")),
        Case { deflate: true, ..case("deflated-1-kilobyte", CookieHeld, sized(1_024)) },
        Case { deflate: true, ..case("deflated-3-kilobytes", CookieHeld, sized(3_072)) },
        Case { deflate: true, ..case("too-short-to-deflate", CookieHeld, session("{}")) },
        Case { cookie: "session", ..case("another-cookie", CookieHeld, session("{}")) },
        Case { cookie: "!#$%&'*+-.^_`|~", ..case("odd-cookie-name", CookieHeld, session("{}")) },
        Case { cookie: "__Secure-id", ..case("reference-another-cookie", Reference, reference()) },
        Case { secrets: &[32], ..case("another-secret", CookieHeld, session("{}")) },
        Case { secrets: &[0, 32, 64], ..case("first-of-three-seals", CookieHeld, session("{}")) },
        Case { now: LATER - 1, ..case("last-millisecond", CookieHeld, session("{}")) },
        Case { expires_at: (1 << 53) - 1, ..case("latest-expiry-of-a-double", CookieHeld, session("{}")) },
    ]
}

pub(crate) fn file() -> File {
    let mut tokens: Vec<Token> = cases().iter().map(token).collect();
    // Sealed with what has become a previous secret: opens, and is due to be sealed anew.
    let old = case("previous-secret", Kind::CookieHeld, session("{}"));
    tokens.push(Token { secrets: [32, 0].map(|first| written(&secret(first))).to_vec(), ..token(&old) });
    File {
        about: "Tokens that open. `secrets`: the reader's key ring; the first one sealed the token (in `previous-secret` the last \
            one did). `now`, `expires_at`: milliseconds since the epoch. `iv`, `deflated`, `keys`, `steps`: hex. Sealing `payload` with `iv` \
            gives exactly `token`; where `deflated` is there, it is the framed payload that was encrypted: compressors differ, so start \
            from it. `deflate` without `deflated`: compressing would not have made it smaller. `steps` takes the token of that id apart.",
        keys: [0, 32, 64].map(|first| derived(&secret(first))).into(),
        steps: steps(&cases()[0]),
        tokens,
    }
}

fn token(case: &Case) -> Token {
    let secrets: Vec<_> = case.secrets.iter().map(|first| secret(*first)).collect();
    let keys = Keys::of(&secrets[0]);
    let framed = Some(frame(case.payload.as_bytes()))
        .filter(|framed| case.deflate && framed.len() < case.payload.len());
    let bytes = parts(case, &keys, framed.as_deref()).sealed(&keys, case.cookie.as_bytes());
    Token {
        id: case.id.to_owned(),
        secrets: secrets.iter().map(written).collect(),
        kind: case.kind.name(),
        cookie: case.cookie.to_owned(),
        now: case.now,
        expires_at: case.expires_at,
        iv: hex(&iv(case.id)),
        deflate: case.deflate,
        payload: case.payload.clone(),
        deflated: framed.as_deref().map(hex),
        token: base64(&bytes),
    }
}

fn parts(case: &Case, keys: &Keys, framed: Option<&[u8]>) -> Parts {
    let flags = case.kind.flags() | if framed.is_some() { DEFLATED } else { 0 };
    Parts::new(keys, flags, case.expires_at, iv(case.id), framed.unwrap_or(case.payload.as_bytes()))
}

fn derived(secret: &[u8; 32]) -> Derived {
    let keys = Keys::of(secret);
    Derived {
        secret: written(secret),
        secret_hex: hex(secret),
        prk: hex(&hmac(SALT, secret)),
        key_id: hex(&keys.id),
        encryption: hex(&keys.encryption),
        authentication: hex(&keys.authentication),
        binding: hex(&keys.binding),
    }
}

fn steps(case: &Case) -> Steps {
    let keys = Keys::of(&secret(case.secrets[0]));
    let parts = parts(case, &keys, None);
    let bytes = parts.sealed(&keys, case.cookie.as_bytes());
    Steps {
        token_id: case.id,
        header: hex(&parts.message()[..30]),
        ciphertext: hex(&parts.ciphertext),
        mac_input: hex(&mac_input(crate::format::DOMAIN, case.cookie.as_bytes(), &parts.message())),
        tag: hex(&bytes[bytes.len() - 32..]),
        bytes: hex(&bytes),
    }
}
