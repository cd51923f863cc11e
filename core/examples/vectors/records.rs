//! What stores keep.

use serde::Serialize;

use crate::{
    format::{Keys, Kind, Parts, base64, frame, hex, secret, short_hash, written},
    tokens::{iv, sid},
};

#[derive(Serialize)]
pub(crate) struct File {
    about: &'static str,
    secret: String,
    records: Vec<Record>,
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct Record {
    id: &'static str,
    key: String,
    encrypt: bool,
    deflate_from: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iv: Option<String>,
    payload: String,
    stored: String,
}

#[derive(Serialize)]
struct Unreadable {
    id: &'static str,
    unreadable: &'static str,
    reason: &'static str,
    key: String,
    encrypt: bool,
    stored: String,
}

fn key() -> [u8; 16] {
    short_hash("session-key-v1", &sid())
}

fn payload(text: &str) -> String {
    let (key, text) = (base64(&key()), text.repeat(12));
    format!(
        "{key}.1.1700000000000.1700086400000.1700000000000\n{{\"sub\":\"12345\",\"auth\":1700000000000,\"epoch\":4}}\n\
         {{\"text\":\"{text}\"}}"
    )
}

fn sealed(id: &str, body: &[u8]) -> Vec<u8> {
    let keys = Keys::of(&secret(0));
    Parts::new(&keys, Kind::Record.flags(), u64::MAX, iv(id), body).sealed(&keys, &key())
}

fn deflated(payload: &str) -> Vec<u8> {
    [&[2][..], &frame(payload.as_bytes())].concat()
}

pub(crate) fn file() -> File {
    let (short, long) = (payload("a"), payload("the same words again "));
    let record = |id, encrypt, deflate_from, payload: &String, stored: &[u8]| Record {
        id,
        key: base64(&key()),
        encrypt,
        deflate_from,
        iv: encrypt.then(|| hex(&iv(id))),
        payload: payload.clone(),
        stored: hex(stored),
    };
    File {
        about: "Values of a store, without the 16 bytes of version in front. `key`: the session's key, under which the value lies. `encrypt`, \
            `deflate_from` (bytes): the writer's settings. `iv`, `stored`: hex. Sealed records always expire at 2^64-1, the largest time: \
            a store knows when its records end. `unreadable`: what a reader says, which demands sealed records if `encrypt`.",
        secret: written(&secret(0)),
        records: vec![
            record("plain", false, None, &short, short.as_bytes()),
            record("deflated", false, Some(256), &long, &deflated(&long)),
            record("too-short-to-deflate", false, Some(256), &short, short.as_bytes()),
            record("sealed", true, None, &short, &sealed("sealed", short.as_bytes())),
            record("sealed-deflated", true, Some(256), &long, &sealed("sealed-deflated", &deflated(&long))),
        ],
        unreadable: unreadable(&short, &long),
    }
}

fn unreadable(short: &str, long: &str) -> Vec<Unreadable> {
    let case = |id, unreadable, reason, encrypt, stored: &[u8]| Unreadable {
        id,
        unreadable,
        reason,
        key: base64(&key()),
        encrypt,
        stored: hex(stored),
    };
    let good = sealed("sealed", short.as_bytes());
    let keys = Keys::of(&secret(0));
    let of_kind = |kind: Kind, context: &[u8]| {
        Parts::new(&keys, kind.flags(), u64::MAX, iv("records"), short.as_bytes()).sealed(&keys, context)
    };
    let foreign = Keys::of(&secret(32));
    let foreign =
        Parts::new(&foreign, Kind::Record.flags(), u64::MAX, iv("records"), b"{}").sealed(&foreign, &key());
    vec![
        case("empty", "payload", "no bytes at all", false, b""),
        case("another-form", "payload", "a first byte that names no form", false, b"\x03{}"),
        case(
            "white-space",
            "payload",
            "a payload behind a line feed",
            false,
            &[b"\n", short.as_bytes()].concat(),
        ),
        case("deflated-garbage", "inflate", "no deflate stream", false, b"\x02garbage"),
        case("deflated-without-length", "inflate", "the form, and no more", false, b"\x02"),
        case("plain-where-sealed-is-demanded", "not-encrypted", "not sealed", true, short.as_bytes()),
        case(
            "deflated-where-sealed-is-demanded",
            "not-encrypted",
            "deflated, not sealed",
            true,
            &deflated(long),
        ),
        case("empty-where-sealed-is-demanded", "payload", "no bytes at all", true, b""),
        case("cut", "seal", "sealed, without its last byte", true, &good[..good.len() - 1]),
        case(
            "as-text",
            "not-encrypted",
            "sealed, but in base64url as tokens are",
            true,
            base64(&good).as_bytes(),
        ),
        case(
            "another-kind",
            "seal",
            "sealed as a cookie-held token",
            true,
            &of_kind(Kind::CookieHeld, &key()),
        ),
        case(
            "for-a-cookie",
            "seal",
            "sealed as a record, in the context of a cookie",
            true,
            &of_kind(Kind::Record, b"__Host-session"),
        ),
        case(
            "key-as-text",
            "seal",
            "sealed in the context of the key's text",
            true,
            &of_kind(Kind::Record, base64(&key()).as_bytes()),
        ),
        case(
            "of-another-session",
            "seal",
            "sealed for another key: swapped values don't open",
            true,
            &of_kind(Kind::Record, &[7; 16]),
        ),
        case("unknown-key", "seal", "sealed with a secret that the reader doesn't have", true, &foreign),
        case(
            "sealed-garbage",
            "payload",
            "sealed, but none of the forms inside",
            true,
            &sealed("records", b"\x03garbage"),
        ),
        case(
            "sealed-deflated-garbage",
            "inflate",
            "sealed, no deflate stream inside",
            true,
            &sealed("records", b"\x02garbage"),
        ),
    ]
}
