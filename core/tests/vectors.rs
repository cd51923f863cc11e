//! The core agrees with every vector of `tests/vectors`, which a second implementation of the format made.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use core::time::Duration;
use std::{fs, path::Path};

use common::{at, one_in};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use session_core::{
    Client, ClientBinding, ConfigError, CookieOptions, Error, Expiry, Header, Key, KeyRing, Kind, Passphrase,
    Plaintext, Random, RandomError, RecordCodec, Reference, Rejection, SameSite, Secret, SecretError,
    Session, SessionData, SubjectTag, TokenCodec, Unreadable, cookies, lifecycle::CommitContext,
};

fn file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn cases<'a>(file: &'a Value, list: &str, least: usize) -> &'a [Value] {
    let cases = file[list].as_array().unwrap();
    assert!(cases.len() >= least, "{list} has {} cases", cases.len());
    cases
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = text(value);
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

fn ring(secrets: &Value) -> KeyRing {
    let secrets: Vec<_> =
        secrets.as_array().unwrap().iter().map(|secret| Secret::parse(text(secret)).unwrap()).collect();
    secrets[1..].iter().fold(KeyRing::new(&secrets[0]), KeyRing::with_previous)
}

fn kind(name: &Value) -> Kind {
    match text(name) {
        "cookie-held" => Kind::CookieHeld,
        "reference" => Kind::Reference,
        other => panic!("{other}"),
    }
}

/// Gives the bytes it was made of, once.
struct Fixed(Vec<u8>);

impl Random for Fixed {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        buffer.copy_from_slice(&self.0);
        Ok(())
    }
}

#[test]
fn tokens_seal_and_open() {
    for case in cases(&file("tokens.json"), "tokens", 20).iter().step_by(one_in(8)) {
        let id = text(&case["id"]);
        let ring = ring(&case["secrets"]);
        let (token, payload) = (text(&case["token"]).as_bytes(), text(&case["payload"]));
        let (now, expires_at) = (at(case["now"].as_u64().unwrap()), at(case["expires_at"].as_u64().unwrap()));
        let codec = TokenCodec::new(&ring, kind(&case["kind"]), text(&case["cookie"]));

        let opened = codec.open(token, now).unwrap();
        assert_eq!((opened.payload(), opened.expires_at()), (payload.as_bytes(), expires_at), "{id}");
        let header = Header::parse(token).unwrap();
        assert_eq!((header.kind(), header.expires_at()), (codec.kind(), expires_at), "{id}");
        assert_eq!(header.is_deflated(), case.get("deflated").is_some(), "{id}");
        assert_eq!(header.key_id(), opened.key_id(), "{id}");

        if opened.key_id() == ring.sealing_key_id() {
            let deflate = case["deflate"].as_bool().unwrap();
            let iv = Fixed(hex(&case["iv"]));
            let sealed = codec.seal(Plaintext::from(payload), expires_at, deflate, &iv).unwrap();
            assert_eq!(sealed.as_bytes(), token, "{id}");
        } else {
            assert_eq!(id, "previous-secret");
        }
    }
}

#[test]
fn bad_tokens_are_refused_for_the_right_reason() {
    let file = file("rejected.json");
    for case in cases(&file, "tokens", 120).iter().step_by(one_in(20)) {
        let field = |name: &str| case.get(name).unwrap_or(&file["reader"][name]);
        let codec = TokenCodec::new(&ring(field("secrets")), kind(field("kind")), text(field("cookie")));
        let now = at(field("now").as_u64().unwrap());
        let rejection = codec.open(text(&case["token"]).as_bytes(), now).err().map(Rejection::code);
        assert_eq!(rejection, case["rejection"].as_str(), "{}: {}", case["id"], case["reason"]);
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Any(Value);

impl SessionData for Any {}

fn read(payload: &str) -> Result<Session<Any>, Error> {
    let codec = TokenCodec::new(&KeyRing::new(&common::secret(0)), Kind::CookieHeld, "s");
    let token = codec.seal(Plaintext::from(payload), at(2), false, &common::Seeded::new(1)).unwrap();
    Session::from_cookie(codec.open(token.as_bytes(), at(1)).unwrap())
}

#[test]
fn payloads_are_read() {
    for case in cases(&file("payloads.json"), "readable", 5).iter().step_by(one_in(3)) {
        let id = text(&case["id"]);
        let session = read(text(&case["payload"])).unwrap();
        let flash: Vec<_> = session.flash().iter().collect();
        let facts = json!({
            "key": session.key(),
            "rotation": session.rotation(),
            "created_at": session.created_at(),
            "absolute_end": session.absolute_end(),
            "subject": session.subject(),
            "authenticated_at": session.authenticated_at(),
            "flash": flash,
        });
        for (name, value) in facts.as_object().unwrap() {
            assert_eq!(*value, case[name], "{id}: {name}");
        }
        assert_eq!(session.data().0, serde_json::from_str::<Value>(text(&case["data"])).unwrap(), "{id}");
    }
}

#[test]
fn broken_payloads_are_unreadable() {
    for case in cases(&file("payloads.json"), "unreadable", 20).iter().step_by(one_in(10)) {
        // `data` is looked at by the application's type; what is wrong with the rest shows before.
        let error = read(text(&case["payload"])).err();
        assert!(matches!(error, Some(Error::Unreadable(_))), "{}: {error:?}", case["id"]);
    }
}

#[test]
fn references_are_read() {
    let file = file("tokens.json");
    let case = cases(&file, "tokens", 20).iter().find(|case| case["id"] == "reference").unwrap();
    let codec = TokenCodec::new(&ring(&case["secrets"]), Kind::Reference, text(&case["cookie"]));
    let opened = codec.open(text(&case["token"]).as_bytes(), at(case["now"].as_u64().unwrap())).unwrap();
    let reference = Reference::from_token(opened).unwrap();
    let (line, attributes) = text(&case["payload"]).split_once('\n').unwrap();
    let attributes: Value = serde_json::from_str(attributes).unwrap();
    assert_eq!(reference.subject(), attributes["sub"].as_str());
    let said = [reference.rotation(), reference.absolute_end().as_millis(), reference.counter()];
    let numbers: Vec<u64> = line.split('.').skip(1).map(|number| number.parse().unwrap()).collect();
    assert_eq!(said[..], [numbers[0], numbers[2], numbers[3]]);
}

fn codec(ring: &KeyRing, case: &Value) -> RecordCodec {
    let deflate_from = case["deflate_from"].as_u64().map(|bytes| usize::try_from(bytes).unwrap());
    RecordCodec::new(ring).encrypted(case["encrypt"].as_bool().unwrap()).deflated_from(deflate_from)
}

#[test]
fn records_are_written_and_read() {
    let file = file("records.json");
    let ring = ring(&json!([file["secret"]]));
    for case in cases(&file, "records", 5) {
        let (codec, key) = (codec(&ring, case), text(&case["key"]).parse::<Key>().unwrap());
        let (payload, stored) = (text(&case["payload"]).as_bytes(), hex(&case["stored"]));
        assert_eq!(codec.decode(&key, &stored[..]).unwrap().as_slice(), payload, "{}", case["id"]);
        let iv = Fixed(case.get("iv").map(hex).unwrap_or_default());
        assert_eq!(codec.encode(&key, payload, &iv).unwrap(), stored, "{}", case["id"]);
    }
    for case in cases(&file, "unreadable", 10) {
        let (codec, key) = (codec(&ring, case), text(&case["key"]).parse::<Key>().unwrap());
        let expected = match text(&case["unreadable"]) {
            "payload" => Unreadable::Payload,
            "inflate" => Unreadable::Inflate,
            "not-encrypted" => Unreadable::NotEncrypted,
            "seal" => Unreadable::Seal,
            other => panic!("{other}"),
        };
        assert_eq!(codec.decode(&key, hex(&case["stored"])), Err(expected), "{}", case["id"]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "millions of iterations")]
fn secrets_are_parsed() {
    let file = file("secrets.json");
    for case in cases(&file, "accepted", 10) {
        let written = text(&case["text"]);
        let secret = match &case["kdf"] {
            Value::Null => Secret::parse(written),
            kdf => {
                let salt = text(&kdf["salt"]).as_bytes();
                let iterations = u32::try_from(kdf["iterations"].as_u64().unwrap()).unwrap();
                Secret::from_passphrase(written, &Passphrase { salt, iterations })
            }
        }
        .unwrap();
        let bytes = Secret::from_bytes(&hex(&case["secret"])).unwrap();
        assert_eq!(*secret.expose(), *bytes.expose(), "{written:?}");
        assert_eq!(KeyRing::new(&secret).sealing_key_id().to_string(), case["key_id"], "{written:?}");
    }
    let defaults = &file["accepted"][3]["kdf"];
    assert_eq!(defaults["salt"].as_str().map(str::as_bytes), Some(Passphrase::default().salt));
    assert_eq!(defaults["iterations"], Passphrase::default().iterations);
}

#[test]
fn bad_secrets_are_refused() {
    for case in cases(&file("secrets.json"), "refused", 15) {
        let iterations = u32::try_from(case["iterations"].as_u64().unwrap()).unwrap();
        let written = text(&case["text"]);
        let error = if iterations == Passphrase::default().iterations {
            Secret::parse(written).err()
        } else {
            Secret::from_passphrase(written, &Passphrase { iterations, ..Passphrase::default() }).err()
        };
        let code = match error.unwrap() {
            SecretError::Encoding => "encoding",
            SecretError::Short { .. } => "short",
            SecretError::Repetitive { .. } => "repetitive",
            SecretError::Known => "known",
            SecretError::Iterations { .. } => "iterations",
            other => panic!("{other}"),
        };
        assert_eq!(code, case["error"], "{written:?}: {}", case["reason"]);
    }
}

#[test]
fn keys_and_tags_are_computed() {
    let file = file("keys.json");
    for case in cases(&file, "sessions", 4) {
        let payload = format!("{}.0.0.0.0\n\nnull", text(&case["sid"]));
        assert_eq!(read(&payload).unwrap().key().unwrap().to_string(), case["key"]);
    }
    for case in cases(&file, "subjects", 4) {
        assert_eq!(SubjectTag::new(text(&case["subject"])).to_string(), case["tag"]);
    }
}

#[test]
fn bindings_are_computed() {
    for case in cases(&file("keys.json"), "bindings", 10).iter().step_by(one_in(8)) {
        let ring = ring(&json!([case["secret"]]));
        let prefix = |name: &str| u8::try_from(case["policy"][name].as_u64().unwrap()).unwrap();
        let mut policy = ClientBinding::user_agent();
        if !case["policy"]["ipv4_prefix"].is_null() {
            policy = ClientBinding::ip_prefix(prefix("ipv4_prefix"), prefix("ipv6_prefix")).unwrap();
            if case["policy"]["user_agent"] == true {
                policy = policy.and_user_agent();
            }
        }
        let client = Client {
            ip: case["client"]["ip"].as_str().map(|ip| ip.parse().unwrap()),
            user_agent: case["client"]["user_agent"].as_str().map(str::as_bytes),
        };
        let payload = format!("{}.0.0.9.0\n\nnull", text(&case["sid"]));
        let mut session = read(&payload).unwrap();
        session.bind(&policy, &ring, &client).unwrap();
        let expiry = Expiry::new(Duration::from_secs(60), Duration::from_secs(60)).unwrap();
        let random = common::Seeded::new(1);
        let context = CommitContext {
            now: at(1),
            expiry: &expiry,
            ring: &ring,
            binding: Some(&policy),
            random: &random,
            kind: Kind::CookieHeld,
        };
        let draft = session.draft(&context).unwrap().unwrap();
        let attributes = draft.payload().split(|byte| *byte == b'\n').nth(1).unwrap();
        let attributes: Value = serde_json::from_slice(attributes).unwrap();
        assert_eq!(attributes["bind"], case["bind"], "{}", case["id"]);

        // And the client that was bound is let in again, another one is not.
        session.accept(draft);
        assert!(session.bind(&policy, &ring, &client).is_ok(), "{}", case["id"]);
        let other = Client { ip: "198.51.100.1".parse().ok(), user_agent: Some(b"other") };
        let masked_away = case["id"] == "ipv4-1";
        assert_eq!(session.bind(&policy, &ring, &other).is_ok(), masked_away, "{}", case["id"]);
    }
}

fn options(case: &Value) -> CookieOptions {
    let options = &case["options"];
    let flag = |name: &str| options[name].as_bool().unwrap();
    CookieOptions {
        name: text(&options["name"]).into(),
        path: text(&options["path"]).into(),
        domain: options["domain"].as_str().map(Into::into),
        secure: flag("secure"),
        http_only: flag("http_only"),
        same_site: match text(&options["same_site"]) {
            "Strict" => SameSite::Strict,
            "Lax" => SameSite::Lax,
            "None" => SameSite::None,
            other => panic!("{other}"),
        },
        partitioned: flag("partitioned"),
        persistent: flag("persistent"),
    }
}

#[test]
fn cookie_headers_are_read() {
    for case in cases(&file("cookies.json"), "read", 20) {
        let found: Vec<_> = cookies(text(&case["header"]).as_bytes(), text(&case["name"]))
            .map(|value| str::from_utf8(value).unwrap())
            .collect();
        assert_eq!(json!(found), case["values"], "{}", case["header"]);
    }
}

#[test]
fn set_cookie_is_written() {
    let file = file("cookies.json");
    for case in cases(&file, "written", 10) {
        let options = options(case);
        options.validate().unwrap();
        let cookie = match case["max_age_ms"].as_u64() {
            Some(millis) => options.set(text(&case["value"]), Duration::from_millis(millis)).unwrap(),
            None => options.remove(),
        };
        assert_eq!(cookie.as_str(), case["set_cookie"]);
    }
    for case in cases(&file, "too_large", 4) {
        let options = CookieOptions { name: text(&case["name"]).into(), ..CookieOptions::default() };
        let value = "v".repeat(usize::try_from(case["value_length"].as_u64().unwrap()).unwrap());
        assert_eq!(options.set(&value, Duration::ZERO).is_ok(), case["fits"], "{case}");
    }
}

#[test]
fn impossible_cookies_are_refused() {
    for case in cases(&file("cookies.json"), "refused", 20) {
        let code = match options(case).validate().unwrap_err() {
            ConfigError::CookieName => "cookie-name",
            ConfigError::CookiePath => "cookie-path",
            ConfigError::CookieDomain => "cookie-domain",
            ConfigError::PrefixCase => "prefix-case",
            ConfigError::HostPrefix => "host-prefix",
            ConfigError::SecurePrefix => "secure-prefix",
            ConfigError::SameSiteNone => "same-site-none",
            ConfigError::Partitioned => "partitioned",
            other => panic!("{other}"),
        };
        assert_eq!(code, case["error"], "{case}");
    }
}

/// `core/FORMAT.md` shows one token taken apart: it must be the one of the vectors.
#[test]
#[cfg_attr(miri, ignore = "compares documents")]
fn the_worked_example_is_that_of_the_vectors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("FORMAT.md");
    let joined = |text: &str| text.split_whitespace().collect::<String>();
    let document = joined(&fs::read_to_string(path).unwrap());
    let (tokens, keys, secrets) = (file("tokens.json"), file("keys.json"), file("secrets.json"));
    let derived = &tokens["keys"][0];
    let steps = &tokens["steps"];
    let token = cases(&tokens, "tokens", 1).iter().find(|case| case["id"] == steps["token_id"]).unwrap();
    let binding = cases(&keys, "bindings", 1).iter().find(|case| case["id"] == "ipv4-24").unwrap();
    let shown = [
        vec![&token["payload"], &token["token"], &token["iv"], &secrets["accepted"][3]["secret"]],
        vec![&steps["header"], &steps["ciphertext"], &steps["tag"], &steps["token_id"]],
        vec![
            &keys["sessions"][2]["key"],
            &keys["subjects"][0]["tag"],
            &binding["hashed"][0],
            &binding["bind"]["ip"],
        ],
        derived.as_object().unwrap().values().collect(),
    ]
    .concat();
    for value in shown {
        assert!(document.contains(&joined(text(value))), "{value} is not in core/FORMAT.md");
    }
}
