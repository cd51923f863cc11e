//! `session open --format crystal` and `--format iron`, on what those libraries really wrote.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test that panics fails, also in its helpers")]

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

const CRYSTAL: &str = include_str!("../../tests/vectors/crystal/cookie_store.json");
const VALUES: &str = include_str!("../../tests/vectors/crystal/message_encryptor.json");
const IRON: &str = include_str!("../../tests/vectors/iron.json");

/// Runs `session open - …`, and gives its exit status, standard output and standard error.
fn open(secret: &str, token: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_session"))
        .args(["open", "-"])
        .args(arguments)
        .env("SESSION_SECRET", secret)
        .env_remove("SESSION_PREVIOUS_SECRETS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments doesn't read.
    let _ = child.stdin.take().unwrap().write_all(token.as_bytes());
    let ended = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code().unwrap(), text(ended.stdout), text(ended.stderr))
}

fn open_json(secret: &str, token: &str, arguments: &[&str]) -> (i32, Value) {
    let (code, out, err) = open(secret, token, &[arguments, &["--json"]].concat());
    assert_eq!(err, "");
    (code, serde_json::from_str(&out).unwrap())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn payload(report: &Value) -> String {
    String::from_utf8(STANDARD.decode(text(&report["payload"])).unwrap()).unwrap()
}

/// The options that a recorded case needs.
fn options(case: &Value) -> Vec<String> {
    let mut options = vec!["--format".into(), "crystal".into()];
    if case["use_kdf"] == true {
        options.push(format!("--kdf-iterations={}", case["kdf_iterations"]));
        options.push(format!("--kdf-salt={}", text(&case["kdf_salt"])));
    }
    if case["digest"] == "sha1" {
        options.push("--allow-sha1".into());
    }
    options
}

#[test]
fn every_crystal_cookie() {
    let file: Value = serde_json::from_str(CRYSTAL).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 42);
    for case in cases {
        let options = options(case);
        let arguments: Vec<_> = options.iter().map(String::as_str).collect();
        let (code, report) = open_json(text(&case["secret"]), text(&case["cookie_value"]), &arguments);
        assert_eq!((code, payload(&report).as_str()), (0, text(&case["session_json"])), "{}", case["id"]);
        assert_eq!(report["format"], "crystal");
        assert_eq!(
            (&report["expires_at"], &report["expired"]),
            (&json!(4_102_444_799_001_u64), &json!(false))
        );
    }
}

#[test]
fn values_that_are_no_sessions_are_shown_too() {
    let file: Value = serde_json::from_str(VALUES).unwrap();
    let case = &file["cases"][1];
    let (code, report) = open_json(text(&case["secret"]), text(&case["sealed"]), &["--format", "crystal"]);
    assert_eq!((code, payload(&report).as_str()), (0, "Hello, World!"));
    assert_eq!((&report["expires_at"], &report["expired"]), (&Value::Null, &json!(false)));
    let (code, out, _) = open(text(&case["secret"]), text(&case["sealed"]), &["--format", "crystal"]);
    assert!(
        code == 0
            && out.contains("never said")
            && out.contains("Neither a session nor JSON; 13 bytes in base64"),
        "{out}"
    );
}

#[test]
fn sha1_is_asked_for() {
    let file: Value = serde_json::from_str(CRYSTAL).unwrap();
    let case = file["cases"].as_array().unwrap().iter().find(|case| case["digest"] == "sha1").unwrap();
    let (secret, token) = (text(&case["secret"]), text(&case["cookie_value"]));
    let (code, report) = open_json(secret, token, &["--format", "crystal"]);
    assert_eq!((code, report), (1, json!({ "ok": false, "reason": "digest" })));
    let (_, _, err) = open(secret, token, &["--format", "crystal"]);
    assert!(err.contains("--allow-sha1"), "{err}");
}

/// With the token as an argument, as people type it.
#[test]
fn every_digest_that_is_safe_is_found_and_sha1_is_asked_for() {
    let file: Value = serde_json::from_str(VALUES).unwrap();
    let mut opened = Vec::new();
    for case in file["cases"].as_array().unwrap().iter().filter(|case| case["plaintext_hex"] != "") {
        let (secret, sealed) = (text(&case["secret"]), text(&case["sealed"]));
        let mut command = Command::new(env!("CARGO_BIN_EXE_session"));
        command.args(["open", "--format", "crystal"]).env("SESSION_SECRET", secret);
        if case["use_kdf"] == true {
            let iterations = case["kdf_iterations"].to_string();
            command.args(["--kdf-iterations", &iterations, "--kdf-salt", text(&case["kdf_salt"])]);
        }
        if case["digest"] == "sha1" {
            command.arg("--allow-sha1");
        }
        let output =
            command.args(["--json", sealed]).env_remove("SESSION_PREVIOUS_SECRETS").output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        if case["digest"] == "md5" {
            assert_eq!(report, json!({ "ok": false, "reason": "digest" }));
            continue;
        }
        let plaintext = STANDARD.decode(text(&report["payload"])).unwrap();
        let hex: String = plaintext.iter().map(|byte| format!("{byte:02x}")).collect();
        // gzip is undone, as in a cookie.
        assert!(
            hex == text(&case["plaintext_hex"])
                || case["plaintext_hex"].as_str().unwrap().starts_with("1f8b")
        );
        opened.push(text(&case["digest"]));
    }
    for digest in ["sha1", "sha256", "sha384"] {
        assert!(opened.contains(&digest), "{digest}: {opened:?}");
    }
}

#[test]
fn crystal_secrets() {
    let file: Value = serde_json::from_str(VALUES).unwrap();
    let sealed = text(&file["cases"][1]["sealed"]);
    let other = "another secret of thirty-two byte";
    let (code, report) = open_json(other, sealed, &["--format", "crystal"]);
    assert_eq!((code, report), (1, json!({ "ok": false, "reason": "forged" })));
    let (code, report) = open_json("short", sealed, &["--format", "crystal"]);
    let error = "the secret can't be used: the secret has 5 bytes, and 32 are needed";
    assert_eq!((code, report), (2, json!({ "ok": false, "error": error })));
    let (code, report) = open_json(other, sealed, &["--format", "crystal", "--kdf-iterations", "0"]);
    let error = "the secret can't be used: key derivation takes at least one iteration";
    assert_eq!((code, report), (2, json!({ "ok": false, "error": error })));
    let (code, _, err) = open("", sealed, &["--format", "crystal"]);
    assert!(code == 2 && err.contains("SESSION_SECRET"), "{err}");
    // Nothing of the secret or the value in what is said.
    let (_, out, err) = open(other, sealed, &["--format", "crystal"]);
    assert!(!out.contains(other) && !err.contains(other) && !err.contains(&sealed[..20]), "{err}");
}

#[test]
fn every_iron_seal() {
    let file: Value = serde_json::from_str(IRON).unwrap();
    let seals = file["seals"].as_array().unwrap();
    assert_eq!(seals.len(), 18);
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    for case in seals {
        let (id, seal) = (text(&case["id"]), text(&case["seal"]));
        // Several passwords stand in a file, whatever their ids are.
        let path = dir.join(format!("{id}.txt"));
        let passwords: Vec<_> = case["passwords"].as_object().unwrap().values().map(text).collect();
        std::fs::write(&path, passwords.join("\n")).unwrap();
        let at = case["sealed_at"].to_string();
        let arguments = ["--format", "iron", "--at", &at, "--secret-file", path.to_str().unwrap()];
        let (code, report) = open_json("", seal, &arguments);
        assert_eq!((code, payload(&report).as_str()), (0, text(&case["json"])), "{id}");
        let ttl = case["ttl"].as_u64().unwrap();
        let end = json!(case["sealed_at"].as_u64().unwrap() + ttl * 1000);
        assert_eq!(report["expires_at"], if ttl == 0 { Value::Null } else { end }, "{id}");
    }
}

#[test]
fn an_expired_iron_seal() {
    let file: Value = serde_json::from_str(IRON).unwrap();
    let case = &file["seals"][1];
    let (password, seal) = (text(&case["passwords"]["1"]), text(&case["seal"]));
    let late = ["--format", "iron", "--at", "1900000000000"];
    let (code, report) = open_json(password, seal, &late);
    assert_eq!((code, report), (1, json!({ "ok": false, "reason": "expired" })));
    let (_, _, err) = open(password, seal, &late);
    assert!(err.contains("--ignore-expiry"), "{err}");
    let (code, report) = open_json(password, seal, &["--format", "iron", "--ignore-expiry"]);
    assert_eq!((code, payload(&report).as_str()), (0, text(&case["json"])));
    let (code, report) = open_json(password, "rubbish", &["--format", "iron"]);
    assert_eq!((code, report), (1, json!({ "ok": false, "reason": "malformed" })));
}

#[test]
fn a_token_of_ours_needs_its_cookies_name() {
    let (code, _, err) = open("", "x", &[]);
    assert!(code == 2 && err.contains("--cookie-name"), "{err}");
    let (code, _, err) = open("", "x", &["--format", "session"]);
    assert!(code == 2 && err.contains("--cookie-name"), "{err}");
}
