//! Payloads of tokens and records, as only one who has a key can write them: an older or later version of the program, or a bug.

use core::{fmt, time::Duration};
use std::sync::LazyLock;

use serde::{
    Deserialize,
    de::{MapAccess, Visitor},
};
use serde_json::Value;
use session_core::{
    Client, ClientBinding, Expiry, KeyRing, Kind, Plaintext, Reference, Session, SessionId, Timestamp,
    TokenCodec, Version, Zeroizing, lifecycle::CommitContext,
};

use crate::{Any, Given, NOW, input::Input, ring};

static RING: LazyLock<KeyRing> = LazyLock::new(ring);
static HELD: LazyLock<TokenCodec> = LazyLock::new(|| TokenCodec::new(&RING, Kind::CookieHeld, "s"));
static REFERENCE: LazyLock<TokenCodec> = LazyLock::new(|| TokenCodec::new(&RING, Kind::Reference, "s"));

const IV: Given = Given([1; 16]);
const GRACE: Duration = Duration::from_secs(30);

pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    // As deflated, so that a payload longer than a cookie can be looked at, too.
    match input.below(3) {
        0 => held(input.rest()),
        1 => reference(input.rest()),
        _ => record(input.rest()),
    }
}

fn sealed(codec: &TokenCodec, payload: &[u8]) -> Option<session_core::Opened> {
    let end = Timestamp::from_millis(NOW.as_millis() + 1);
    let token = codec.seal(Plaintext::from(payload), end, true, &IV).unwrap();
    codec.open(token.as_bytes(), NOW).ok()
}

fn held(payload: &[u8]) {
    let Some(opened) = sealed(&HELD, payload) else { return };
    let Ok(mut session) = Session::<Any>::from_cookie(opened) else { return };
    let fields = Fields::of(payload);
    fields.facts(&session);
    assert!(fields.id("sid").is_some_and(|id| session.key() == Some(id.key())));
    assert_eq!(session.version().counter, fields.number("ver").unwrap_or(0));
    assert_eq!(session.data().0, fields.data());

    // It can be changed and saved, and is then what it was made.
    let policy = ClientBinding::ip().and_user_agent();
    let client = Client { ip: None, user_agent: Some(b"x") };
    let bound = session.bind(&policy, &RING, &client).is_ok();
    session.data_mut().0 = Value::from("changed");
    session.regenerate();
    let expiry = Expiry::new(Duration::from_secs(60), Duration::from_secs(60)).unwrap();
    let (ring, binding) = (&*RING, bound.then_some(&policy));
    let context =
        CommitContext { now: NOW, expiry: &expiry, ring, binding, random: &IV, kind: Kind::CookieHeld };
    let draft = session.draft(&context).expect("data that can be written").expect("something to write");
    let (key, rotation) = (session.key(), session.rotation());
    session.accept(draft);
    let Some(opened) = sealed(&HELD, session.cookie_payload().unwrap().as_bytes()) else { return };
    let mut again = Session::<Any>::from_cookie(opened).expect("what was written can be read");
    assert_eq!((again.key(), again.rotation()), (key, rotation.saturating_add(1)));
    assert_eq!(again.subject(), session.subject());
    assert_eq!(again.data().0, Value::from("changed"));
    assert!(!bound || again.bind(&policy, &RING, &client).is_ok());
}

fn reference(payload: &[u8]) {
    let Some(opened) = sealed(&REFERENCE, payload) else { return };
    let Ok(reference) = Reference::from_token(opened) else { return };
    let fields = Fields::of(payload);
    assert_eq!(Some(reference.rotation()), fields.number("rot"));
    assert_eq!(Some(reference.absolute_end().as_millis()), fields.number("abs"));
    assert_eq!(reference.counter(), fields.number("ver").unwrap_or(0));
    assert_eq!(reference.subject(), fields.text("sub").as_deref());
    assert!(fields.id("sid").is_some_and(|id| reference.key() == id.key()));
}

/// A record answers a reference only if it is the same session's, of the same rotation and subject.
fn record(payload: &[u8]) {
    let sid = "oKGio6SlpqeoqaqrrK2urw";
    let token = format!(r#"{{"sid":"{sid}","rot":1,"iat":1,"abs":9,"sub":"12345"}}"#);
    let reference = Reference::from_token(sealed(&REFERENCE, token.as_bytes()).unwrap()).unwrap();
    let stored = Zeroizing::new(payload.to_vec());
    let version = Version { counter: 3, nonce: 4 };
    let Ok(session) = Session::<Any>::from_record(&reference, version, NOW, stored, NOW, GRACE) else {
        return;
    };
    let fields = Fields::of(payload);
    fields.facts(&session);
    assert_eq!(fields.text("key"), Some(reference.key().to_string()));
    assert_eq!((session.rotation(), session.subject()), (1, Some("12345")));
    assert_eq!((session.key(), session.version()), (Some(reference.key()), version));
    assert_eq!(session.data().0, fields.data());
}

/// A payload's fields by another reader. Whatever was accepted has none of its own fields twice.
struct Fields(Vec<(String, Box<serde_json::value::RawValue>)>);

impl Fields {
    fn of(payload: &[u8]) -> Self {
        const KNOWN: [&str; 13] = [
            "sid", "key", "rot", "iat", "abs", "ver", "sub", "auth", "epoch", "rat", "bind", "flash", "data",
        ];
        let fields: Self = serde_json::from_slice(payload).expect("an object");
        for known in KNOWN {
            let count = fields.0.iter().filter(|(name, _)| name == known).count();
            assert!(count <= 1, "{known} is there {count} times");
        }
        fields
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.get())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.raw(name).map(|raw| raw.parse().expect("digits alone"))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.raw(name).and_then(|raw| serde_json::from_str(raw).expect("text, or null"))
    }

    fn id(&self, name: &str) -> Option<SessionId> {
        SessionId::parse(&self.text(name)?)
    }

    fn data(&self) -> Value {
        serde_json::from_str(self.raw("data").expect("data is there")).expect("JSON")
    }

    fn facts(&self, session: &Session<Any>) {
        assert_eq!(Some(session.rotation()), self.number("rot"));
        assert_eq!(Some(session.created_at().as_millis()), self.number("iat"));
        assert_eq!(Some(session.absolute_end().as_millis()), self.number("abs"));
        assert_eq!(session.subject(), self.text("sub").as_deref());
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
