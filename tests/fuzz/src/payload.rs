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
    let lines = Lines::of(payload);
    lines.facts(&session);
    assert_eq!(session.key(), Some(lines.id().key()));
    assert_eq!(session.version().counter, lines.numbers[3]);
    assert_eq!(session.data().0, lines.data());

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
    let lines = Lines::of(payload);
    let said = [reference.rotation(), reference.absolute_end().as_millis(), reference.counter()];
    assert_eq!(said, [lines.numbers[0], lines.numbers[2], lines.numbers[3]]);
    assert_eq!(reference.subject(), lines.text("sub").as_deref());
    assert_eq!(reference.key(), lines.id().key());
}

/// A record answers a reference only if it is the same session's, of the same rotation and subject.
fn record(payload: &[u8]) {
    let token = b"oKGio6SlpqeoqaqrrK2urw.1.1.9.1\n{\"sub\":\"12345\"}";
    let reference = Reference::from_token(sealed(&REFERENCE, token).unwrap()).unwrap();
    let stored = Zeroizing::new(payload.to_vec());
    let version = Version { counter: 3, nonce: 4 };
    let Ok(session) = Session::<Any>::from_record(&reference, version, NOW, stored, NOW, GRACE) else {
        return;
    };
    let lines = Lines::of(payload);
    lines.facts(&session);
    assert_eq!(lines.name, reference.key().to_string());
    assert_eq!((session.rotation(), session.subject()), (1, Some("12345")));
    assert_eq!((session.key(), session.version()), (Some(reference.key()), version));
    assert_eq!(session.data().0, lines.data());
}

/// A payload by another reader, as section 6 of `core/FORMAT.md` says. Whatever was accepted has none of its own attributes twice.
struct Lines<'a> {
    name: &'a str,
    numbers: Vec<u64>,
    attributes: Attributes,
    /// Nobody looks at that of a reference.
    data: Option<&'a [u8]>,
}

impl<'a> Lines<'a> {
    fn of(payload: &'a [u8]) -> Self {
        const KNOWN: [&str; 5] = ["sub", "auth", "epoch", "bind", "flash"];
        let mut lines = payload.splitn(3, |byte| *byte == b'\n');
        let mut line = || lines.next().map(|line| str::from_utf8(line).expect("text"));
        let mut first = line().unwrap().split('.');
        let name = first.next().unwrap();
        let numbers: Vec<u64> = first
            .map(|digits| {
                let number = digits.parse::<u64>().expect("a number");
                assert_eq!(number.to_string(), digits);
                number
            })
            .collect();
        assert_eq!(numbers.len(), 4);
        let attributes = match line().expect("a second line") {
            "" => Attributes(Vec::new()),
            json => serde_json::from_str::<Attributes>(json).expect("an object"),
        };
        for known in KNOWN {
            let count = attributes.0.iter().filter(|(name, _)| name == known).count();
            assert!(count <= 1, "{known} is there {count} times");
        }
        Self { name, numbers, attributes, data: lines.next() }
    }

    fn text(&self, name: &str) -> Option<String> {
        let attribute = self.attributes.0.iter().find(|(found, _)| found == name);
        attribute.and_then(|(_, raw)| serde_json::from_str(raw.get()).expect("text, or null"))
    }

    fn id(&self) -> SessionId {
        SessionId::parse(self.name).expect("an id")
    }

    fn data(&self) -> Value {
        serde_json::from_slice(self.data.expect("data is there")).expect("JSON")
    }

    fn facts(&self, session: &Session<Any>) {
        let said = [session.rotation(), session.created_at().as_millis(), session.absolute_end().as_millis()];
        assert_eq!(said[..], self.numbers[..3]);
        assert_eq!(session.subject(), self.text("sub").as_deref());
    }
}

struct Attributes(Vec<(String, Box<serde_json::value::RawValue>)>);

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Attributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
                let mut attributes = Vec::new();
                while let Some(attribute) = map.next_entry()? {
                    attributes.push(attribute);
                }
                Ok(Attributes(attributes))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
