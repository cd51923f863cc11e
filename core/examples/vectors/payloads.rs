//! Payloads, readable and not.

use serde::Serialize;

use crate::{
    format::{base64, short_hash},
    tokens::{session, sid},
};

#[derive(Serialize)]
pub(crate) struct File {
    about: &'static str,
    readable: Vec<Readable>,
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct Readable {
    id: &'static str,
    payload: String,
    key: String,
    rotation: u64,
    created_at: u64,
    absolute_end: u64,
    subject: Option<&'static str>,
    authenticated_at: Option<u64>,
    flash: Vec<(&'static str, &'static str)>,
    data: &'static str,
}

#[derive(Serialize)]
struct Unreadable {
    id: &'static str,
    reason: &'static str,
    payload: String,
}

pub(crate) fn file() -> File {
    File {
        about: "Payloads of cookie-held tokens, and what a reader makes of them. `data` is JSON text, to be compared as a tree; `flash` are \
            the messages in order. `unreadable`: authentic, but an error of its own kind: neither a session nor a forged token.",
        readable: readable(),
        unreadable: unreadable(),
    }
}

fn readable() -> Vec<Readable> {
    let sid64 = base64(&sid());
    let least = Readable {
        id: "least",
        payload: format!("{sid64}.0.1.2.0\n\n{{}}"),
        key: base64(&short_hash("session-key-v1", &sid())),
        rotation: 0,
        created_at: 1,
        absolute_end: 2,
        subject: None,
        authenticated_at: None,
        flash: vec![],
        data: "{}",
    };
    let with = |id, attributes: &str, data: &str| Readable {
        id,
        payload: format!("{sid64}.0.1.2.0\n{attributes}\n{data}"),
        key: least.key.clone(),
        flash: vec![],
        ..least
    };
    vec![
        Readable {
            id: "all-fields",
            payload: format!(
                "{sid64}.3.1700000000000.1700086400000.9\n{{\"sub\":\"j\u{f6}rg\",\"auth\":1700000001000,\"epoch\":4,\
                 \"bind\":{{\"kid\":\"AQIDBA\",\"ip\":\"{sid64}\",\"ua\":\"{sid64}\"}},\
                 \"flash\":{{\"notice\":\"Saved\",\"alert\":\"Careful\"}}}}\n{{\"n\":[1,2.5,null]}}"
            ),
            rotation: 3,
            created_at: 1_700_000_000_000,
            absolute_end: 1_700_086_400_000,
            subject: Some("j\u{f6}rg"),
            authenticated_at: Some(1_700_000_001_000),
            flash: vec![("notice", "Saved"), ("alert", "Careful")],
            data: r#"{"n":[1,2.5,null]}"#,
            key: least.key.clone(),
        },
        with("no-attribute", "{}", "{}"),
        with("unknown-attributes", r#"{"later":{"x":[1]},"\u0000":1,"data":5}"#, "{}"),
        with("nulls-are-absent", r#"{"sub":null,"auth":null,"epoch":null,"bind":null}"#, "{}"),
        Readable {
            flash: vec![("a", "2")],
            ..with("repeated-flash-key", r#"{"flash":{"a":"1","a":"2"}}"#, "{}")
        },
        Readable { subject: Some("a/b"), ..with("escapes", r#"{"sub":"\u0061\/b"}"#, "{}") },
        Readable {
            subject: Some("1"),
            authenticated_at: Some(5),
            ..with("any-order", r#"{"epoch":1,"auth":5,"sub":"1"}"#, "{}")
        },
        with("white-space", "\t{ } \r", " \n{\n\t}\r\n"),
        Readable { data: "null", ..with("data-is-null", "", "null") },
        Readable {
            id: "largest-numbers-of-a-double",
            payload: [
                &sid64,
                "9007199254740991",
                "9007199254740991",
                "9007199254740991",
                "9007199254740991\n\n{}",
            ]
            .join("."),
            rotation: (1 << 53) - 1,
            created_at: (1 << 53) - 1,
            absolute_end: (1 << 53) - 1,
            key: least.key.clone(),
            flash: vec![],
            ..least
        },
        least,
    ]
}

fn unreadable() -> Vec<Unreadable> {
    let sid64 = base64(&sid());
    let good = session("{}");
    let with = |id, reason, from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        Unreadable { id, reason, payload: good.replacen(from, to, 1) }
    };
    let attributes = "{\"sub\":\"12345\",\"auth\":1700000000000}";
    vec![
        Unreadable { id: "empty", reason: "nothing at all", payload: String::new() },
        Unreadable {
            id: "no-second-line",
            reason: "the first line alone",
            payload: format!("{sid64}.1.2.3.4"),
        },
        Unreadable { id: "trailing", reason: "something behind the data", payload: format!("{good}{{}}") },
        Unreadable { id: "byte-order-mark", reason: "a byte order mark", payload: format!("\u{feff}{good}") },
        Unreadable {
            id: "all-in-an-object",
            reason: "one JSON object",
            payload: format!(r#"{{"sid":"{sid64}","rot":0,"iat":1,"abs":2,"ver":3,"data":{{}}}}"#),
        },
        with("cut", "data without its end", "\n{}", "\n{"),
        with("no-data", "no third line", "\n{}", ""),
        with("empty-data", "a third line with nothing in it", "\n{}", "\n"),
        with("not-a-number", "NaN", "\n{}", "\nNaN"),
        with("trailing-comma", "a comma before the end", "\n{}", "\n{\"a\":1,}"),
        with("empty-line-first", "an empty line before the first", &sid64, &format!("\n{sid64}")),
        with("carriage-return", "lines that end with CR LF", "\n{\"sub", "\r\n{\"sub"),
        with("no-sid", "no session id", &sid64, ""),
        with("sid-too-short", "15 bytes", &sid64, &base64(&sid()[..15])),
        with("sid-too-long", "17 bytes", &sid64, &base64(&[1; 17])),
        with("sid-padded", "base64 with padding", &sid64, &format!("{sid64}==")),
        with(
            "sid-stray-bits",
            "the last character has bits that stand for nothing",
            &sid64,
            &format!("{}x", &sid64[..21]),
        ),
        with("three-numbers", "a number less", ".1.", "."),
        with("five-numbers", "a number more", ".1.", ".1.1."),
        with("number-missing", "nothing between two dots", ".1.", ".."),
        with("number-negative", "a sign", ".1.", ".-1."),
        with("number-positive", "a sign", ".1.", ".+1."),
        with("number-zero-first", "a leading zero", ".1.", ".01."),
        with("number-exponent", "an exponent", ".1.", ".1e0."),
        with("number-space", "a space", ".1.", ". 1."),
        with("number-quoted", "a number in quotes", ".1.", ".\"1\"."),
        with("number-too-large", "a number beyond 64 bits", ".1.", ".18446744073709551616."),
        with("attributes-array", "an array", attributes, "[null,null,null,null,{}]"),
        with("attributes-null", "null", attributes, "null"),
        with("attributes-text", "a text", attributes, "\"text\""),
        with("attributes-blank", "a space where there are none", attributes, " "),
        with("attributes-twice", "two objects", attributes, "{}{}"),
        with("attributes-on-two-lines", "a line feed in the attributes", attributes, "{\n}"),
        with("attributes-comment", "a comment", "{\"sub\"", "{/**/\"sub\""),
        with("sub-is-a-number", "a subject that is no text", "\"12345\"", "12345"),
        with("auth-negative", "a time before the epoch", ":1700000000000}", ":-1}"),
        with("auth-fraction", "a time with a fraction", ":1700000000000}", ":1.0}"),
        with("sub-twice", "an attribute twice", "\"sub\":\"12345\"", "\"sub\":\"12345\",\"sub\":\"1\""),
        with("flash-is-null", "flash messages that are no object", attributes, "{\"flash\":null}"),
        with("flash-of-numbers", "a flash message that is no text", attributes, "{\"flash\":{\"a\":1}}"),
        with("bind-without-key", "a binding without its key id", attributes, "{\"bind\":{}}"),
        with(
            "bind-too-short",
            "a binding of 15 bytes",
            attributes,
            &format!("{{\"bind\":{{\"kid\":\"AQIDBA\",\"ip\":\"{}\"}}}}", base64(&[1; 15])),
        ),
        with("lone-surrogate", "half of a surrogate pair", "\"12345\"", "\"\\ud800\""),
    ]
}
