//! What is computed from ids, subjects and clients.

use serde::Serialize;

use crate::{
    format::{Keys, base64, binding_input, hex, hmac, secret, short_hash, written},
    tokens::sid,
};

#[derive(Serialize)]
pub(crate) struct File {
    about: &'static str,
    sessions: Vec<Session>,
    subjects: Vec<Subject>,
    bindings: Vec<Binding>,
}

#[derive(Serialize)]
struct Session {
    sid: String,
    sid_hex: String,
    key: String,
}

#[derive(Serialize)]
struct Subject {
    subject: &'static str,
    tag: String,
}

#[derive(Serialize)]
struct Binding {
    id: &'static str,
    secret: String,
    sid: String,
    policy: Policy,
    client: Client,
    hashed: Vec<String>,
    bind: Fingerprint,
}

#[derive(Serialize)]
struct Policy {
    ipv4_prefix: Option<u8>,
    ipv6_prefix: Option<u8>,
    user_agent: bool,
}

#[derive(Serialize)]
struct Client {
    ip: Option<&'static str>,
    user_agent: Option<&'static str>,
}

/// As it stands in a payload.
#[derive(Serialize)]
struct Fingerprint {
    kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ua: Option<String>,
}

pub(crate) fn file() -> File {
    let counted = core::array::from_fn(|i| i as u8);
    File {
        about: "A session's key (its public name) from its secret id; a subject's tag; client bindings. In `bindings`, `hashed` are the inputs (hex) \
            of HMAC-SHA256 under the binding key, the address before the User-Agent; `bind` stands in the payload.",
        sessions: [[0; 16], counted, sid(), [0xff; 16]].iter().map(session).collect(),
        subjects: ["12345", "", "j\u{f6}rg@example.com", "\u{1f511}"].map(subject).into(),
        bindings: bindings(),
    }
}

fn session(sid: &[u8; 16]) -> Session {
    Session { sid: base64(sid), sid_hex: hex(sid), key: base64(&short_hash("session-key-v1", sid)) }
}

fn subject(subject: &'static str) -> Subject {
    Subject { subject, tag: base64(&short_hash("session-subject-v1", subject.as_bytes())) }
}

/// The address as it is hashed, after masking: written out by hand.
type Ip = (&'static str, &'static [u8]);

fn bindings() -> Vec<Binding> {
    const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let whole = Some((32, 64));
    vec![
        binding("ipv4", whole, Some("203.0.113.7"), Some(("ipv4", &[203, 0, 113, 7])), None),
        binding("ipv4-24", Some((24, 48)), Some("203.0.113.7"), Some(("ipv4", &[203, 0, 113, 0])), None),
        binding("ipv4-1", Some((1, 1)), Some("203.0.113.7"), Some(("ipv4", &[128, 0, 0, 0])), None),
        binding(
            "ipv6-64",
            whole,
            Some("2001:db8:1:2:3:4:5:6"),
            Some(("ipv6", &[0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0])),
            None,
        ),
        binding(
            "ipv6-48",
            Some((24, 48)),
            Some("2001:db8:1:2:3:4:5:6"),
            Some(("ipv6", &[0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            None,
        ),
        binding(
            "ipv6-128",
            Some((32, 128)),
            Some("2001:db8::1"),
            Some(("ipv6", &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])),
            None,
        ),
        binding("ipv4-in-ipv6", whole, Some("::ffff:203.0.113.7"), Some(("ipv4", &[203, 0, 113, 7])), None),
        binding("no-ip", whole, None, Some(("no-ip", &[])), None),
        binding("user-agent", None, None, None, Some(Some(BROWSER))),
        binding("user-agent-empty", None, None, None, Some(Some(""))),
        binding("no-user-agent", None, None, None, Some(None)),
        binding("both", whole, Some("203.0.113.7"), Some(("ipv4", &[203, 0, 113, 7])), Some(Some(BROWSER))),
    ]
}

fn binding(
    id: &'static str,
    prefix: Option<(u8, u8)>,
    address: Option<&'static str>,
    ip: Option<Ip>,
    user_agent: Option<Option<&'static str>>,
) -> Binding {
    let secret = secret(0);
    let keys = Keys::of(&secret);
    let ip = ip.map(|(label, octets)| binding_input(label, &sid(), octets));
    let ua = user_agent.map(|text| match text {
        Some(text) => binding_input("user-agent", &sid(), text.as_bytes()),
        None => binding_input("no-user-agent", &sid(), b""),
    });
    let half = |input: &Vec<u8>| base64(&hmac(&keys.binding, input)[..16]);
    Binding {
        id,
        secret: written(&secret),
        sid: base64(&sid()),
        policy: Policy {
            ipv4_prefix: prefix.map(|(v4, _)| v4),
            ipv6_prefix: prefix.map(|(_, v6)| v6),
            user_agent: user_agent.is_some(),
        },
        client: Client { ip: address, user_agent: user_agent.flatten() },
        bind: Fingerprint { kid: base64(&keys.id), ip: ip.as_ref().map(half), ua: ua.as_ref().map(half) },
        hashed: [ip, ua].into_iter().flatten().map(|input| hex(&input)).collect(),
    }
}
