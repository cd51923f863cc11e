//! What goes over the wire besides the proof: structured fields (RFC 9651) and session instructions in JSON.

use serde::Serialize;
use session_core::SetCookie;

/// The fields of the draft, §9.1 to §9.4.
pub(crate) const REGISTRATION: &str = "secure-session-registration";
pub(crate) const CHALLENGE: &str = "secure-session-challenge";
pub(crate) const RESPONSE: &str = "secure-session-response";
pub(crate) const SESSION_ID: &str = "sec-secure-session-id";

/// `Secure-Session-Registration`: makes the browser create a key and send the first proof to `path` (§9.1).
pub(crate) fn registration(path: &str, challenge: &str) -> String {
    format!(r#"(ES256);path="{path}";challenge="{challenge}""#)
}

/// `Secure-Session-Challenge`: what the device of session `id` is to sign (§9.2).
pub(crate) fn challenge(challenge: &str, id: &str) -> String {
    format!(r#""{challenge}";id="{id}""#)
}

/// The string that a field consists of; parameters are ignored, as §9.3 and §9.4 want it. Chromium sends it without the quotes, as a token.
///
/// Proofs and ids are made of base64url and dots: what would have to be unescaped is none.
pub(crate) fn string(field: &[u8]) -> &[u8] {
    let item = field.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    item.strip_prefix(b"\"").and_then(|item| item.strip_suffix(b"\"")).unwrap_or(item)
}

/// Whether a text can stand in a field as a string, as it is (RFC 9651 §3.3.3).
pub(crate) fn is_plain_string(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'\\'))
}

/// Session instructions (§9.6): the session is bound, and whenever the cookie is missing the browser is to ask for it at `path`.
pub(crate) fn instructions(id: &str, path: &str, cookie_name: &str, cookie: &SetCookie) -> String {
    #[derive(Serialize)]
    struct Instructions<'a> {
        session_identifier: &'a str,
        refresh_url: &'a str,
        scope: Scope,
        credentials: [Credential<'a>; 1],
    }

    #[derive(Serialize)]
    struct Scope {
        include_site: bool,
    }

    #[derive(Serialize)]
    struct Credential<'a> {
        r#type: &'static str,
        name: &'a str,
        attributes: String,
    }

    // Those by which the browser knows the cookie: Chromium refuses a session whose credential has an end.
    let attributes =
        cookie.as_str().split("; ").skip(1).filter(|attribute| !attribute.starts_with("Max-Age="));
    let attributes = attributes.collect::<Vec<_>>().join("; ");
    let credentials = [Credential { r#type: "cookie", name: cookie_name, attributes }];
    let scope = Scope { include_site: false };
    let instructions = Instructions { session_identifier: id, refresh_url: path, scope, credentials };
    serde_json::to_string(&instructions).expect("strings and booleans can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_read_with_quotes_and_as_chromium_writes_it() {
        for field in ["\"a.b-_C\"", "a.b-_C", " \"a.b-_C\" ;p=1", "a.b-_C; p=\";\""] {
            assert_eq!(string(field.as_bytes()), b"a.b-_C", "{field}");
        }
        for (field, item) in
            [("", ""), ("\"", "\""), ("\"\"", ""), (";", ""), ("\"a", "\"a"), ("a, b", "a, b")]
        {
            assert_eq!(string(field.as_bytes()), item.as_bytes(), "{field}");
        }
    }
}
