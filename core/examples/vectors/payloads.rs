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
        payload: format!(r#"{{"sid":"{sid64}","rot":0,"iat":1,"abs":2,"data":{{}}}}"#),
        key: base64(&short_hash("session-key-v1", &sid())),
        rotation: 0,
        created_at: 1,
        absolute_end: 2,
        subject: None,
        authenticated_at: None,
        flash: vec![],
        data: "{}",
    };
    let with = |id, fields: &str| Readable {
        id,
        payload: least.payload.replace(r#","data""#, &format!(r#",{fields},"data""#)),
        key: least.key.clone(),
        flash: vec![],
        ..least
    };
    vec![
        Readable {
            id: "all-fields",
            payload: format!(
                "{{\"sid\":\"{sid64}\",\"rot\":3,\"iat\":1700000000000,\"abs\":1700086400000,\"ver\":9,\"sub\":\"j\u{f6}rg\",\
                 \"auth\":1700000001000,\"epoch\":4,\
                 \"bind\":{{\"kid\":\"AQIDBA\",\"ip\":\"{sid64}\",\"ua\":\"{sid64}\"}},\
                 \"flash\":{{\"notice\":\"Saved\",\"alert\":\"Careful\"}},\"data\":{{\"n\":[1,2.5,null]}}}}"
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
        with("unknown-fields", r#""later":{"x":[1]},"\u0000":1"#),
        with("nulls-are-absent", r#""sub":null,"auth":null,"epoch":null,"bind":null"#),
        Readable { flash: vec![("a", "2")], ..with("repeated-flash-key", r#""flash":{"a":"1","a":"2"}"#) },
        Readable { subject: Some("a/b"), ..with("escapes", r#""sub":"\u0061\/b""#) },
        Readable {
            id: "any-order-and-white-space",
            payload: format!(
                " {{ \"data\" : {{ }} ,\n\t\"abs\":2,\"iat\":1,\"rot\":0,\"sid\":\"{sid64}\" }} \r\n"
            ),
            key: least.key.clone(),
            flash: vec![],
            ..least
        },
        Readable {
            id: "data-is-null",
            payload: least.payload.replace("{}}", "null}"),
            key: least.key.clone(),
            flash: vec![],
            data: "null",
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
        Unreadable { id, reason, payload: good.replace(from, to) }
    };
    vec![
        Unreadable { id: "empty", reason: "no JSON", payload: String::new() },
        Unreadable { id: "cut", reason: "JSON without its end", payload: good[..good.len() - 1].to_owned() },
        Unreadable { id: "trailing", reason: "something behind the object", payload: format!("{good}{{}}") },
        Unreadable { id: "byte-order-mark", reason: "a byte order mark", payload: format!("\u{feff}{good}") },
        Unreadable {
            id: "array",
            reason: "the fields in an array",
            payload: format!(r#"["{sid64}",null,0,1,2,3,null,null,null,null,{{}},{{}}]"#),
        },
        Unreadable { id: "text", reason: "not an object", payload: "\"text\"".to_owned() },
        Unreadable { id: "number", reason: "not an object", payload: "1".to_owned() },
        Unreadable { id: "null", reason: "not an object", payload: "null".to_owned() },
        with("no-sid", "no session id", &format!("\"sid\":\"{sid64}\","), ""),
        with("sid-is-null", "no session id", &format!("\"{sid64}\""), "null"),
        with("sid-too-short", "15 bytes", &sid64, &base64(&sid()[..15])),
        with("sid-too-long", "17 bytes", &sid64, &base64(&[1; 17])),
        with("sid-padded", "base64 with padding", &sid64, &format!("{sid64}==")),
        with(
            "sid-stray-bits",
            "the last character has bits that stand for nothing",
            &sid64,
            &format!("{}x", &sid64[..21]),
        ),
        with("no-rot", "no rotation counter", "\"rot\":1,", ""),
        with("no-iat", "no beginning", "\"iat\":1700000000000,", ""),
        with("no-abs", "no absolute end", "\"abs\":1700086400000,", ""),
        with("no-data", "no data", ",\"data\":{}", ""),
        with("rot-negative", "a negative counter", "\"rot\":1", "\"rot\":-1"),
        with("rot-fraction", "a counter with a fraction", "\"rot\":1", "\"rot\":1.0"),
        with("rot-text", "a counter as text", "\"rot\":1", "\"rot\":\"1\""),
        with("rot-null", "a counter that is null", "\"rot\":1", "\"rot\":null"),
        with("rot-too-large", "a counter beyond 64 bits", "\"rot\":1", "\"rot\":18446744073709551616"),
        with("sub-is-a-number", "a subject that is no text", "\"12345\"", "12345"),
        with("rot-twice", "a field twice", "\"rot\":1", "\"rot\":1,\"rot\":1"),
        with("sub-twice", "a field twice", "\"sub\":\"12345\"", "\"sub\":\"12345\",\"sub\":\"1\""),
        with("data-twice", "a field twice", "\"data\":{}", "\"data\":{},\"data\":{}"),
        with("flash-is-null", "flash messages that are no object", "\"data\"", "\"flash\":null,\"data\""),
        with(
            "flash-of-numbers",
            "a flash message that is no text",
            "\"data\"",
            "\"flash\":{\"a\":1},\"data\"",
        ),
        with("bind-without-key", "a binding without its key id", "\"data\"", "\"bind\":{},\"data\""),
        with(
            "bind-too-short",
            "a binding of 15 bytes",
            "\"data\"",
            &format!("\"bind\":{{\"kid\":\"AQIDBA\",\"ip\":\"{}\"}},\"data\"", base64(&[1; 15])),
        ),
        with("lone-surrogate", "half of a surrogate pair", "\"12345\"", "\"\\ud800\""),
        with("comment", "a comment", "{\"sid\"", "{/**/\"sid\""),
        with("trailing-comma", "a comma before the end", "{}}", "{},}"),
        with("not-a-number", "NaN", "{}}", "NaN}"),
    ]
}
