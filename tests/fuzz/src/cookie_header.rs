//! `Cookie` header fields: read as `core/FORMAT.md` says, word by word.

use session_core::{MAX_CANDIDATES, cookies};

use crate::input::Input;

const NAMES: [&str; 6] = ["session", "__Host-session", "s", "__Secure-a.b", "!#$%&'*+-.^_`|~", "a"];

pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let name = NAMES[input.below(NAMES.len())];
    let header = input.rest();
    let found: Vec<_> = cookies(header, name).collect();
    assert_eq!(found, reference(header, name));
    assert!(found.len() <= MAX_CANDIDATES);
    assert!(found.iter().all(|value| !value.contains(&b';')));
}

/// Section 9.
fn reference<'a>(header: &'a [u8], name: &str) -> Vec<&'a [u8]> {
    let mut values = Vec::new();
    for part in header.split(|byte| *byte == b';') {
        let Some(equals) = part.iter().position(|byte| *byte == b'=') else { continue };
        let (found, mut value) = (trim(&part[..equals]), trim(&part[equals + 1..]));
        if value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"") {
            value = &value[1..value.len() - 1];
        }
        if found == name.as_bytes() && values.len() < 4 {
            values.push(value);
        }
    }
    values
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    let white = |byte: Option<&u8>| byte.is_some_and(|byte| b" \t\n\x0c\r".contains(byte));
    while white(bytes.first()) {
        bytes = &bytes[1..];
    }
    while white(bytes.last()) {
        bytes = &bytes[..bytes.len() - 1];
    }
    bytes
}
