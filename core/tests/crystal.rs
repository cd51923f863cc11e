//! `interop::crystal` against everything that the real Crystal library wrote: `tests/vectors/crystal/`.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::{collections::HashMap, fs, path::Path};

use common::{Seeded, at, one_in};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use session_core::{
    Random, RandomError, SessionData, Timestamp,
    interop::{
        KeyError, Refusal,
        crystal::{
            ClusterMessage, ClusterMessageType, Digest, Encryptor, Fingerprint, Kdf, LegacyDigest,
            SessionJson, Time, Verifier, open_value, seal_value,
        },
    },
};

const NOW: Timestamp = at(1_800_000_000_000);
const LATER: Timestamp = at(1_800_000_000_001);

fn file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/crystal").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn cases<'a>(file: &'a Value, list: &str, count: usize) -> &'a [Value] {
    let cases = file[list].as_array().unwrap();
    assert_eq!(cases.len(), count, "{list}");
    cases
}

/// [`cases`] that are slow to seal or to open: under Miri one in ten, and of those not the ones whose key is derived.
fn slow_cases<'a>(file: &'a Value, list: &str, count: usize) -> impl Iterator<Item = &'a Value> {
    let bearable = |case: &&Value| !cfg!(miri) || case["use_kdf"] != true;
    cases(file, list, count).iter().filter(bearable).step_by(one_in(10))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = text(value);
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

/// Gives bytes that were recorded.
struct Recorded(Vec<u8>);

impl Random for Recorded {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        buffer.copy_from_slice(&self.0);
        Ok(())
    }
}

/// The encryptor of a case, with old digests allowed until [`LATER`]. Derived keys are kept: each is slow to make.
#[derive(Default)]
struct Encryptors(HashMap<String, Result<Encryptor, KeyError>>);

impl Encryptors {
    fn of(&mut self, case: &Value) -> Result<Encryptor, KeyError> {
        let digest = match text(&case["digest"]) {
            "sha384" => Digest::Sha384,
            "sha512" => Digest::Sha512,
            _ => Digest::Sha256,
        };
        let on = case["use_kdf"].as_bool().unwrap();
        let secret = text(&case["secret"]);
        let name = format!("{secret} {on} {} {} {digest:?}", case["kdf_iterations"], case["kdf_salt"]);
        let kdf = || Kdf {
            salt: text(&case["kdf_salt"]).as_bytes(),
            iterations: u32::try_from(case["kdf_iterations"].as_i64().unwrap()).unwrap_or(0),
        };
        let made = self.0.entry(name).or_insert_with(|| {
            let made = Encryptor::with_digest(secret.as_bytes(), on.then(kdf), digest)?;
            Ok(made.allow(LegacyDigest::Sha1, LATER).allow(LegacyDigest::Md5, LATER))
        });
        made.clone()
    }
}

fn opens(encryptor: &Encryptor, case: &Value) {
    let (id, sealed, plaintext) = (&case["id"], text(&case["sealed"]), hex(&case["plaintext_hex"]));
    assert_eq!(encryptor.open(sealed.as_bytes(), NOW).as_deref(), Ok(&plaintext), "{id}");
    // Without its padding, in the other alphabet, and in the other form.
    let bare = sealed.trim_end_matches('=');
    assert_eq!(encryptor.open(bare.as_bytes(), NOW).as_deref(), Ok(&plaintext), "{id}");
    let standard = bare.replace('-', "+").replace('_', "/");
    assert_eq!(encryptor.open(standard.as_bytes(), NOW).as_deref(), Ok(&plaintext), "{id}");
    let parts = &case["parts"];
    let dashed = format!("{}--{}", text(&parts["data_b64"]), text(&parts["digest_b64"]));
    assert_eq!(encryptor.open(dashed.as_bytes(), NOW).as_deref(), Ok(&plaintext), "{id}");
    match text(&case["digest"]) {
        // What an old digest signed is opened only until its date, and never made.
        "sha1" | "md5" => {
            assert_eq!(encryptor.open(sealed.as_bytes(), LATER).err(), Some(Refusal::Digest), "{id}");
        }
        _ => {
            let random = Recorded(hex(&parts["iv_hex"]));
            assert_eq!(encryptor.seal(&plaintext, &random).unwrap(), sealed, "{id}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "minutes for reading the vectors alone")]
fn every_sealed_value_is_opened_and_made_again() {
    let (file, mut encryptors) = (file("message_encryptor.json"), Encryptors::default());
    for case in cases(&file, "cases", 42) {
        opens(&encryptors.of(case).unwrap(), case);
    }
}

#[test]
#[cfg_attr(miri, ignore = "derives keys")]
fn secrets_are_used_or_refused_as_there() {
    let (file, mut encryptors) = (file("message_encryptor.json"), Encryptors::default());
    for case in cases(&file, "key_handling", 17) {
        match (encryptors.of(case), case["error"]["message"].as_str()) {
            (Ok(encryptor), None) => opens(&encryptor, case),
            (Err(error @ KeyError::Short { actual, least: 32 }), Some(theirs)) => {
                assert_eq!(theirs, format!("Key length too short: wanted 32, got {actual}"));
                assert_eq!(error.to_string(), format!("the secret has {actual} bytes, and 32 are needed"));
            }
            (Err(KeyError::Iterations), Some(_)) => assert_eq!(case["id"], "kdf-iter-neg"),
            (ours, theirs) => panic!("{}: {ours:?}, {theirs:?}", case["id"]),
        }
    }
    assert_eq!(
        Encryptor::new(b"", Some(Kdf::default())).err(),
        Some(KeyError::Short { actual: 0, least: 1 })
    );
}

/// SHA-1 can be allowed beside SHA-256, not instead of it: of the matrix one row differs, in which there a value of the *stronger* digest is refused.
#[test]
#[cfg_attr(miri, ignore = "minutes for reading the vectors alone")]
fn digests() {
    let file = file("message_encryptor.json");
    for case in cases(&file, "digest_matrix", 9) {
        let with_sha1 = [&case["verify_digest"], &case["verify_fallback"]].contains(&&json!("sha1"));
        let strict = Encryptor::new(text(&case["secret"]).as_bytes(), None).unwrap();
        let encryptor =
            if with_sha1 { strict.clone().allow(LegacyDigest::Sha1, LATER) } else { strict.clone() };
        let sealed = text(&case["sealed"]).as_bytes();
        let opened = encryptor.open(sealed, NOW);
        match (text(&case["signed_with"]), text(&case["result"])) {
            ("sha256", _) | ("sha1", "ok") => {
                assert_eq!(opened.as_deref(), Ok(&b"legacy data".to_vec()), "{case}");
            }
            (_, "error") => assert_eq!(opened, Err(Refusal::Digest), "{case}"),
            _ => panic!("{case}"),
        }
        let without = strict.open(sealed, NOW);
        assert_eq!(without.is_ok(), case["signed_with"] == "sha256", "off unless asked for: {case}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "opens 28 values and counts them")]
fn mutations() {
    /// Accepted there, and the same text in another spelling: line feeds between the characters, too much padding.
    const STRICTER: [&str; 4] =
        ["extra_padding", "trailing_crlf_pad", "newline_after_4", "signed_over_data_with_newline"];
    let file = file("message_encryptor.json");
    let mut refused = 0;
    for case in cases(&file, "mutations", 28) {
        let id = text(&case["id"]);
        let encryptor =
            Encryptor::new(text(&case["secret"]).as_bytes(), None).unwrap().allow(LegacyDigest::Sha1, LATER);
        let opened = encryptor.open(text(&case["token"]).as_bytes(), NOW);
        if case["result"] == "ok" && !STRICTER.contains(&id) {
            assert_eq!(opened.as_deref(), Ok(&hex(&case["plaintext_hex"])), "{id}");
        } else {
            assert!(opened.is_err(), "{id}");
            refused += 1;
        }
    }
    assert_eq!(refused, 22);
}

#[test]
fn signed_values() {
    let file = file("verifier.json");
    for case in slow_cases(&file, "cases", 20) {
        let (id, secret, value) = (&case["id"], text(&case["secret"]).as_bytes(), hex(&case["value_hex"]));
        let digest = if case["digest"] == "sha384" { Digest::Sha384 } else { Digest::Sha256 };
        let verifier = Verifier::new(secret, digest).allow(LegacyDigest::Md5, LATER);
        let generated = text(&case["generated"]);
        if case["digest"] != "md5" {
            assert_eq!(verifier.sign(&value), generated, "{id}");
        }
        // There too an empty value is made and never verified.
        let expected = if value.is_empty() { Err(Refusal::Malformed) } else { Ok(value.clone()) };
        assert_eq!(verifier.verify(generated.as_bytes(), NOW), expected, "{id}");
        assert_eq!(expected.is_ok(), case["verified_generated"]["result"] == "ok", "{id}");
        // There `data--digest` fails when the data has `--` in it.
        let dashed = verifier.verify(text(&case["dash_form"]).as_bytes(), NOW);
        assert_eq!(dashed, expected, "{id}");
        assert!(dashed.is_ok() || case["verified_dash"]["result"] == "nil", "{id}");
        let other = Verifier::new(b"wrong-secret-wrong-secret-wrong!", digest)
            .allow(LegacyDigest::Md5, LATER)
            .verify(generated.as_bytes(), NOW);
        assert_eq!(other, Err(if value.is_empty() { Refusal::Malformed } else { Refusal::Forged }), "{id}");
    }
}

/// The class of the recordings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct User {
    user_id: Option<i64>,
    username: Option<String>,
    role: String,
    roles: Vec<String>,
    last_login: Option<Time>,
    authenticated: bool,
}
impl SessionData for User {}

impl Default for User {
    fn default() -> Self {
        Self {
            user_id: None,
            username: None,
            role: "guest".into(),
            roles: Vec::new(),
            last_login: None,
            authenticated: false,
        }
    }
}

#[test]
fn cookies() {
    let (file, mut encryptors) = (file("cookie_store.json"), Encryptors::default());
    for case in slow_cases(&file, "cases", 42) {
        let (id, encryptor) = (&case["id"], encryptors.of(case).unwrap());
        let json = text(&case["session_json"]);
        let value = text(&case["cookie_value"]);
        assert_eq!(
            &open_value(value.as_bytes(), Some(&encryptor), NOW).unwrap()[..],
            json.as_bytes(),
            "{id}"
        );
        // What the jar sent as `Set-Cookie` was sealed a second time.
        let sent = text(&case["set_cookie_header"]).split_once('=').unwrap().1.split(';').next().unwrap();
        assert_eq!(&open_value(sent.as_bytes(), Some(&encryptor), NOW).unwrap()[..], json.as_bytes(), "{id}");
        let session = SessionJson::<User>::parse(json.as_bytes()).unwrap();
        assert_eq!(*session.to_json().unwrap(), json, "{id}");

        let gzip = case["payload_is_gzip"].as_bool().unwrap();
        let again =
            seal_value(json.as_bytes(), Some(&encryptor), gzip.then_some(0), &Seeded::new(1)).unwrap();
        assert_eq!(&open_value(&again, Some(&encryptor), NOW).unwrap()[..], json.as_bytes(), "{id}");
    }
    let largest = text(&file["size_limit"]["max_value"]);
    let encryptor = Encryptor::new(Encryptor::DEFAULT_SECRET, None).unwrap();
    let json = open_value(largest.as_bytes(), Some(&encryptor), NOW).unwrap();
    assert_eq!(json!(json.len()), file["size_limit"]["max_json_bytes"]);
}

#[test]
#[cfg_attr(miri, ignore = "minutes for reading the vectors alone")]
fn redis_values() {
    let (file, mut encryptors) = (file("redis_values.json"), Encryptors::default());
    for case in cases(&file, "cases", 18) {
        let (id, encryptor, value) = (&case["id"], encryptors.of(case).unwrap(), hex(&case["value_hex"]));
        let encrypted = case["encrypt_redis_data"].as_bool().unwrap();
        let encryptor = encrypted.then_some(&encryptor);
        let json = text(&case["session_json"]);
        assert_eq!(&open_value(&value, encryptor, NOW).unwrap()[..], json.as_bytes(), "{id}");
        if id.as_str().unwrap().starts_with("plain") {
            let again = seal_value(json.as_bytes(), encryptor, None, &Seeded::new(1)).unwrap();
            assert_eq!(*again, value, "{id}");
        }
        // Sealed or not is not found out from the value: as there, either is unreadable to a reader of the other.
        let (turned, sealed) = (Encryptor::new(Encryptor::DEFAULT_SECRET, None).unwrap(), encrypted);
        let other = open_value(&value, (!sealed).then_some(&turned), NOW);
        assert!(other.is_err() || SessionJson::<User>::parse(&other.unwrap()).is_err(), "{id}");
    }
    for case in cases(&file, "reads", 8) {
        let Some(value) = case.get("value_hex").map(hex) else { continue };
        let session = open_value(&value, None, NOW).and_then(|json| SessionJson::<User>::parse(&json));
        assert_eq!(session.is_ok(), case["get"] == "ok", "{}", case["id"]);
        if let Ok(session) = session {
            assert_eq!(json!(session.session_id), case["get_session_id"]);
            let foreign = session.into_foreign(NOW);
            assert_eq!(foreign.err(), (case["get_expired"] == true).then_some(Refusal::Expired));
        }
    }
}

/// The class with a field of every type that the documentation allows.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Wide {
    i32: i32,
    i64: i64,
    u64: u64,
    f64: f64,
    f_small: f64,
    f_big: f64,
    f_frac: f64,
    f32: f32,
    flag: bool,
    tags: serde_json::Map<String, Value>,
    counts: serde_json::Map<String, Value>,
    ids: Vec<i32>,
    addr: Value,
    plan: String,
    any: Value,
    pair: (String, i32),
    set: Vec<String>,
    renamed: String,
    nul: Option<String>,
    t_local: Option<Time>,
    t_utc: Option<Time>,
    t_old: Option<Time>,
}
impl SessionData for Wide {}

#[test]
fn session_json() {
    let file = file("session_json.json");
    for case in cases(&file, "cases", 6) {
        let json = text(&case["json"]);
        let session = SessionJson::<User>::parse(json.as_bytes()).unwrap();
        assert_eq!(*session.to_json().unwrap(), json, "{}", case["id"]);
        let nanos = |name: &str| text(&case["fields"][name]).parse::<u64>().unwrap();
        assert_eq!(session.created_at.unwrap().timestamp(), at(nanos("created_at_unix_ns") / 1_000_000));
        assert_eq!(session.expires_at.unwrap().timestamp(), at(nanos("expires_at_unix_ns") / 1_000_000));
        assert_eq!(json!(session.data.username), case["fields"]["username"]);
    }
    for case in cases(&file, "fresh_by_time_zone", 6) {
        for json in [&case["user_session_json"], &case["quickstart_json"]] {
            let Some(json) = json.as_str() else { continue };
            let session = SessionJson::<Fresh>::parse(json.as_bytes()).unwrap();
            assert_eq!(*session.to_json().unwrap(), json);
        }
    }
    let wide = text(&file["wide"]["json"]);
    let session = SessionJson::<Wide>::parse(wide.as_bytes()).unwrap();
    assert_eq!(session.data.i64, 9_007_199_254_740_993);
    assert_eq!(session.data.u64, u64::MAX);
    // Two that serde's types can't say: a map keeps no order here, and `nil` that is written all the same is left out.
    let written = session.to_json().unwrap().replace(r#"{"a":"b","k":"v"}"#, r#"{"k":"v","a":"b"}"#);
    let written = written.replace(r#"{"a":true,"z":[1,2.5,null,"x"]}"#, r#"{"z":[1,2.5,null,"x"],"a":true}"#);
    assert_eq!(written, wide.replace(r#""nul":null,"#, ""));
}

/// Whatever fields the recording has, in their order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Fresh {
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticated: Option<bool>,
}
impl SessionData for Fresh {}

#[test]
fn every_text_is_read_as_there() {
    let file = file("session_json.json");
    let mut exact = 0;
    for case in cases(&file, "parse", 22) {
        let input = text(&case["input"]);
        let read = SessionJson::<User>::parse(input.as_bytes());
        assert_eq!(read.is_ok(), case["result"] == "ok", "{input}");
        let Ok(session) = read else { continue };
        assert_eq!(session.session_id.is_none(), case["session_id_was_generated"] == true, "{input}");
        if let (Some(_), Some(created), Some(_)) =
            (&session.session_id, session.created_at, session.expires_at)
        {
            assert_eq!(*session.to_json().unwrap(), text(&case["reserialized"]), "{input}");
            let nanos: u64 = text(&case["created_at_unix_ns"]).parse().unwrap();
            assert_eq!(created.timestamp(), at(nanos / 1_000_000), "{input}");
            assert_eq!(json!(session.data.user_id), case["user_id"]);
            exact += 1;
        } else {
            // What the library there makes up is never imported.
            assert_eq!(session.into_foreign(NOW).err(), Some(Refusal::Data), "{input}");
        }
    }
    assert_eq!(exact, 11);
}

#[test]
fn what_is_imported_has_a_name_and_an_end() {
    let parse = |json: &str| SessionJson::<User>::parse(json.as_bytes()).unwrap();
    let session = parse(r#"{"session_id":"a","expires_at":"2027-01-15T08:00:00Z","user_id":7}"#);
    assert_eq!(session.expires_at.unwrap().timestamp(), NOW, "this very second");
    let foreign = session.clone().into_foreign(NOW).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((foreign.data.user_id, foreign.expires_at), (Some(7), NOW));
    assert_eq!(session.into_foreign(LATER).err(), Some(Refusal::Expired));
    let without_end = parse(r#"{"session_id":"a","created_at":"2027-01-15T08:00:00Z"}"#);
    assert_eq!(without_end.into_foreign(NOW).err(), Some(Refusal::Data));
    let without_name = parse(r#"{"session_id":"","expires_at":"2099-01-01T00:00:00Z"}"#);
    assert_eq!(without_name.into_foreign(NOW).err(), Some(Refusal::Data));
    let before_1970 = parse(r#"{"session_id":"a","expires_at":"0001-01-01T00:00:00Z"}"#);
    assert_eq!(before_1970.into_foreign(NOW).err(), Some(Refusal::Expired));
}

/// DEL is escaped there, and by serde it isn't.
#[test]
fn control_characters() {
    let json = "{\"session_id\":\"a\",\"username\":\"\\u007f\\u0001 \\\" \\\\ e7\",\"role\":\"\",\"roles\":[],\"authenticated\":false}";
    let session = SessionJson::<User>::parse(json.as_bytes()).unwrap();
    assert_eq!(session.data.username.as_deref(), Some("\u{7f}\u{1} \" \\ e7"));
    assert_eq!(*session.to_json().unwrap(), json);
}

#[test]
fn fingerprints() {
    let file = file("fingerprint.json");
    for case in cases(&file, "cases", 6) {
        let header = |name: &str| case["headers"][name].as_str();
        // Which header is believed is the application's matter.
        let ip = header("X-Forwarded-For")
            .map(|list| list.split(',').next().unwrap())
            .or(header("X-Real-IP"))
            .map(str::trim)
            .filter(|_| case["bind_to_ip"] == true);
        let user_agent = header("User-Agent").filter(|_| case["bind_to_user_agent"] == true);
        let fingerprint = Fingerprint::new(ip, user_agent);
        assert_eq!(json!(serde_json::to_string(&fingerprint).unwrap()), case["json"]);
        assert_eq!(json!(fingerprint.is_empty()), case["empty"]);
        let kept: Fingerprint = serde_json::from_str(text(&case["json"])).unwrap();
        assert_eq!(kept.mismatch(&fingerprint), None);
        let said = |client: &Fingerprint| kept.mismatch(client).unwrap_or("ok");
        let theirs = |name: &str| text(&case[name]).split(':').next().unwrap().to_owned();
        assert_eq!(
            said(&Fingerprint::new(Some("198.51.100.200"), Some("x"))),
            theirs("validate_other_request")
        );
        assert_eq!(said(&Fingerprint::default()), theirs("validate_bare_request"));
    }
}

#[test]
fn cluster_messages() {
    let file = file("cluster_messages.json");
    let mut captured = 0;
    for case in cases(&file, "captured", 6) {
        for message in case["messages"].as_array().unwrap() {
            let read: ClusterMessage = serde_json::from_str(text(message)).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text(message));
            assert_eq!(read.session_id.is_empty(), read.kind == ClusterMessageType::CacheClear);
            captured += 1;
        }
    }
    assert_eq!(captured, 6);
    for case in cases(&file, "parse", 9) {
        match serde_json::from_str::<ClusterMessage>(text(&case["input"])) {
            Ok(message) => {
                assert_eq!(json!(serde_json::to_string(&message).unwrap()), case["reserialized"]);
                assert_eq!(format!("{:?}", message.kind), text(&case["type"]));
            }
            Err(_) => assert_eq!(case["result"], "error", "{case}"),
        }
    }
}
