//! The `session` command, driven as its users drive it.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test that panics fails, also in its helpers")]

use core::sync::atomic::{AtomicU32, Ordering};
use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Each command that is given it derives a key from it, slowly: for the tests that need a passphrase.
const PASSPHRASE: &str = "correct horse battery staple";
/// 2100-01-01: far enough for tests that read the clock.
const FAR: &str = "4102444800000";

/// The command with an environment of no secrets.
fn session() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_session"));
    command.env_remove("SESSION_SECRET").env_remove("SESSION_PREVIOUS_SECRETS").stdin(Stdio::null());
    command
}

/// What the command said and how it ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "one object on one line: {self:?}");
        assert_eq!(self.err, "");
        serde_json::from_str(&self.out).unwrap()
    }

    /// The one line of output of a command that succeeded.
    fn line(&self) -> &str {
        assert_eq!((self.code, self.err.as_str(), self.out.lines().count()), (0, "", 1), "{self:?}");
        self.out.trim_end()
    }

    fn shows(&self, text: &str) -> bool {
        self.out.contains(text) || self.err.contains(text)
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

trait Run {
    fn run(&mut self, arguments: &[&str]) -> Ended;
    fn run_with_input(&mut self, arguments: &[&str], input: &[u8]) -> Ended;
}

impl Run for Command {
    fn run(&mut self, arguments: &[&str]) -> Ended {
        self.args(arguments).output().unwrap().into()
    }

    fn run_with_input(&mut self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut child = self
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that refuses its arguments doesn't read its input.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap().into()
    }
}

fn keygen() -> String {
    session().run(&["keygen"]).line().to_owned()
}

fn with(secret: &str) -> Command {
    let mut command = session();
    command.env("SESSION_SECRET", secret);
    command
}

fn seal(secret: &str, payload: &[u8]) -> String {
    with(secret)
        .run_with_input(&["seal", "--cookie-name", "demo", "--expires-at", FAR], payload)
        .line()
        .to_owned()
}

/// A file that is removed with the value.
struct TempFile(PathBuf);

impl TempFile {
    fn new(content: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("session-cli-test-{}-{number}", std::process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_new_secret_is_one_line_and_never_the_same() {
    let (a, b) = (keygen(), keygen());
    assert!(a.starts_with("sk1_") && a.len() == 47, "not the written form");
    assert!(a != b);
    let json = session().run(&["keygen", "--json"]).json();
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["key_id", "ok", "secret"]);
    let token = seal(json["secret"].as_str().unwrap(), b"{}");
    assert_eq!(session().run(&["inspect", "--json", &token]).json()["key_id"], json["key_id"]);
}

#[test]
fn what_is_sealed_is_inspected_and_opened() {
    let secret = keygen();
    let payload = br#"{"user":"Ada","visits":3}"#;
    let token = seal(&secret, payload);

    let inspected = session().run(&["inspect", "--json", &token]).json();
    let key_id = inspected["key_id"].clone();
    assert_eq!(
        inspected,
        json!({
            "ok": true, "version": 1, "kind": "cookie", "key_id": key_id, "expires_at": 4_102_444_800_000_u64,
            "deflated": false, "token_len": token.len(), "ciphertext_len": 32,
        })
    );
    assert_eq!(key_id.as_str().unwrap().len(), 8);

    let opened = with(&secret).run(&["open", "--json", "--cookie-name", "demo", &token]).json();
    assert_eq!(
        opened,
        json!({
            "ok": true, "payload": STANDARD.encode(payload), "kind": "cookie", "key_id": key_id,
            "expires_at": 4_102_444_800_000_u64, "expired": false, "deflated": false,
        })
    );
}

#[test]
fn the_json_begins_with_ok_and_keeps_its_order() {
    let secret = keygen();
    let token = seal(&secret, b"{}");
    let opened = with(&secret).run(&["open", "--json", "--cookie-name", "demo", &token]);
    assert!(
        opened.out.starts_with(r#"{"ok":true,"payload":"e30=","kind":"cookie","key_id":""#),
        "{opened:?}"
    );
    let refused = with(&secret).run(&["open", "--json", "--cookie-name", "other", &token]);
    assert_eq!((refused.code, refused.out.as_str()), (1, "{\"ok\":false,\"reason\":\"forged\"}\n"));
}

#[test]
fn people_get_rows_and_readable_json() {
    let secret = keygen();
    let token = seal(&secret, br#"{"user":"Ada"}"#);
    let opened = with(&secret).run(&["open", "--cookie-name", "demo", &token]);
    assert_eq!((opened.code, opened.err.as_str()), (0, ""));
    for text in
        ["kind      cookie", " (current)\n", "expires   2100-01-01T00:00:00.000Z (in ", "expired   no\n"]
    {
        assert!(opened.out.contains(text), "{text}: {opened:?}");
    }
    assert!(opened.out.ends_with("\n\n{\n  \"user\": \"Ada\"\n}\n"), "{opened:?}");

    let inspected = session().run(&["inspect", &token]);
    assert_eq!((inspected.code, inspected.err.as_str()), (0, ""));
    assert!(inspected.out.starts_with("version   1\nkind      cookie"), "{inspected:?}");
    assert!(inspected.out.contains("Nothing of this is verified"), "{inspected:?}");
}

#[test]
fn any_bytes_can_be_sealed_and_none_reach_a_terminal_raw() {
    let secret = keygen();
    for payload in [&b""[..], b"text\n", b"\x00\xff\x1b[2J"] {
        let token = seal(&secret, payload);
        let opened = with(&secret).run(&["open", "--cookie-name", "demo", &token]);
        assert!(opened.out.contains("Neither a session nor JSON"), "{opened:?}");
        assert!(!opened.shows("\u{1b}"));
        let json = with(&secret).run(&["open", "--json", "--cookie-name", "demo", &token]).json();
        assert_eq!(json["payload"], STANDARD.encode(payload));
    }
    let token = seal(&secret, "[\"\u{9b}31m\"]".as_bytes());
    let opened = with(&secret).run(&["open", "--cookie-name", "demo", &token]);
    assert!(opened.out.contains("\\u009b31m"), "{opened:?}");
}

#[test]
fn a_session_is_laid_out() {
    let secret = keygen();
    let line = "oKGio6SlpqeoqaqrrK2urw.1.1700000000000.1700086400000.2";
    for (payload, shown) in [
        (format!("{line}\n\n[1]"), format!("{line}\n[\n  1\n]\n")),
        (format!("{line}\n{{\"sub\":\"1\"}}\nnull"), format!("{line}\n{{\n  \"sub\": \"1\"\n}}\nnull\n")),
        (format!("{line}\n"), format!("\n{line}\n")),
    ] {
        let token = seal(&secret, payload.as_bytes());
        let opened = with(&secret).run(&["open", "--cookie-name", "demo", &token]);
        assert!(opened.out.ends_with(&shown), "{opened:?}");
    }
}

#[test]
fn a_token_is_read_from_standard_input() {
    let secret = keygen();
    let token = seal(&secret, b"{}");
    let input = format!("  {token}\r\n");
    let opened =
        with(&secret).run_with_input(&["open", "--json", "--cookie-name", "demo", "-"], input.as_bytes());
    assert_eq!(opened.json()["ok"], true);
    assert_eq!(session().run_with_input(&["inspect", "-"], input.as_bytes()).code, 0);
    let endless = vec![b'A'; 1 << 20];
    assert_eq!(session().run_with_input(&["inspect", "-"], &endless).code, 1);
}

#[test]
fn reference_tokens_and_deflated_ones_say_so() {
    let secret = keygen();
    let payload = br#"{"name":"value"}"#.repeat(30);
    let arguments =
        ["seal", "--json", "--cookie-name", "demo", "--kind", "reference", "--deflate", "--expires-at", FAR];
    let sealed = with(&secret).run_with_input(&arguments, &payload).json();
    let token = sealed["token"].as_str().unwrap();
    assert_eq!(
        sealed,
        json!({
            "ok": true, "token": token, "kind": "reference", "key_id": sealed["key_id"],
            "expires_at": 4_102_444_800_000_u64, "deflated": true,
        })
    );
    assert!(token.len() < payload.len());
    let opened = with(&secret).run(&["open", "--json", "--cookie-name", "demo", token]).json();
    assert_eq!((&opened["kind"], &opened["deflated"]), (&json!("reference"), &json!(true)));
    assert_eq!(opened["payload"], STANDARD.encode(&payload));
}

#[test]
fn a_token_opens_in_its_own_cookie_with_its_own_secret_alone() {
    let secret = keygen();
    let token = seal(&secret, b"{}");
    let mut forged = token.clone().into_bytes();
    let last = forged.len() - 2;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    for (secret, name, token, reason, hint) in [
        (secret.as_str(), "other", token.as_str(), "forged", "another name than other"),
        (secret.as_str(), "demo", forged.as_str(), "forged", "changed"),
        (&keygen(), "demo", token.as_str(), "unknown-key", "the secret of that key"),
    ] {
        let refused = with(secret).run(&["open", "--json", "--cookie-name", name, token]);
        assert_eq!((refused.code, refused.json()), (1, json!({ "ok": false, "reason": reason })));
        let refused = with(secret).run(&["open", "--cookie-name", name, token]);
        assert_eq!((refused.code, refused.out.as_str()), (1, ""));
        assert!(refused.err.starts_with(&format!("refused ({reason}): ")), "{refused:?}");
        assert!(refused.err.contains(hint), "{refused:?}");
    }
}

#[test]
fn rubbish_is_malformed() {
    let token = seal(&keygen(), b"{}");
    let name_and_value = format!("demo={token}");
    let too_long = "A".repeat(5000);
    let cut_off = &token[..token.len() - 4];
    for rubbish in ["", "rubbish", "AQAA", &token[1..], cut_off, &name_and_value, &too_long, "é"] {
        for arguments in [&["inspect"][..], &["open", "--cookie-name", "demo"]] {
            let refused = with(PASSPHRASE).run(&[arguments, &["--json", rubbish]].concat());
            let expected = json!({ "ok": false, "reason": "malformed" });
            assert_eq!((refused.code, refused.json()), (1, expected), "{rubbish}");
        }
    }
    let refused = session().run(&["inspect", "rubbish"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.starts_with("refused (malformed): the token is malformed\n"), "{refused:?}");
}

#[test]
fn expiry_is_judged_when_the_operator_says() {
    let secret = keygen();
    let arguments = ["seal", "--cookie-name", "demo", "--expires-at", "1700000000000"];
    let token = with(&secret).run_with_input(&arguments, b"{\"old\":true}").line().to_owned();
    let open =
        |more: &[&str]| with(&secret).run(&[&["open", "--cookie-name", "demo", &token], more].concat());

    let refused = open(&["--json"]);
    assert_eq!((refused.code, refused.json()), (1, json!({ "ok": false, "reason": "expired" })));
    let refused = open(&[]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("2023-11-14T22:13:20.000Z"), "{refused:?}");
    assert!(refused.err.contains("--ignore-expiry"), "{refused:?}");

    assert_eq!(open(&["--json", "--at", "1699999999999"]).json()["expired"], false);
    assert_eq!(open(&["--at", "1700000000000"]).code, 1);
    let shown = open(&["--json", "--ignore-expiry"]);
    assert_eq!((shown.code, &shown.json()["expired"]), (0, &json!(true)));
    let shown = open(&["--ignore-expiry"]);
    assert!(shown.out.contains("expired   yes\n") && shown.out.contains("\"old\": true"), "{shown:?}");
    assert_eq!(open(&["--at", "5", "--ignore-expiry"]).code, 2);
}

#[test]
fn ignoring_the_expiry_ignores_nothing_else() {
    let secret = keygen();
    let token = seal(&secret, b"{}");
    let refused = with(&secret).run(&["open", "--ignore-expiry", "--json", "--cookie-name", "other", &token]);
    assert_eq!((refused.code, refused.json()), (1, json!({ "ok": false, "reason": "forged" })));
}

#[test]
fn a_lifetime_counts_from_now() {
    let secret = keygen();
    let millis = || {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(elapsed.as_millis()).unwrap()
    };
    let before = millis();
    let sealed =
        with(&secret).run(&["seal", "--json", "--cookie-name", "demo", "--expires-in", "3600"]).json();
    let expires_at = sealed["expires_at"].as_u64().unwrap();
    assert!((before + 3_600_000..=millis() + 3_600_000).contains(&expires_at));
}

#[test]
fn previous_secrets_open_and_the_current_one_seals() {
    let (old, new) = (keygen(), keygen());
    let token = seal(&old, b"{}");
    let mut rotated = with(&new);
    rotated.env("SESSION_PREVIOUS_SECRETS", format!("{PASSPHRASE}, {old}"));
    let opened = rotated.run(&["open", "--cookie-name", "demo", &token]);
    assert_eq!(opened.code, 0);
    assert!(opened.out.contains(" (previous)\n"), "{opened:?}");

    let file = TempFile::new(&format!("# rotated in May\n\n{new}\n  {old}\r\n"));
    let arguments = ["--secret-file", file.path(), "--cookie-name", "demo"];
    assert_eq!(session().run(&[&["open", &token], &arguments[..]].concat()).code, 0);
    let sealed = session().run(&[&["seal", "--expires-at", FAR], &arguments[..]].concat());
    assert_eq!(with(&new).run(&["open", "--cookie-name", "demo", sealed.line()]).code, 0);
    assert_eq!(with(&old).run(&["open", "--cookie-name", "demo", sealed.line()]).code, 1);
}

#[test]
fn a_secret_file_replaces_the_environment() {
    let secret = keygen();
    let token = seal(&secret, b"{}");
    let file = TempFile::new(&keygen());
    let refused = with(&secret).run(&["open", "--secret-file", file.path(), "--cookie-name", "demo", &token]);
    assert_eq!(refused.code, 1);
}

#[test]
fn without_a_usable_secret_the_message_says_what_to_do() {
    let secret = keygen();
    let token = seal(&secret, b"{}");
    let open = ["open", "--cookie-name", "demo", &token];
    let failed = session().run(&open);
    assert_eq!((failed.code, failed.out.as_str()), (2, ""));
    for text in ["SESSION_SECRET", "session keygen", "--secret-file"] {
        assert!(failed.err.contains(text), "{failed:?}");
    }
    let json = session().run(&[&open[..], &["--json"]].concat());
    assert_eq!(json.code, 2);
    assert_eq!(json.json()["ok"], false);
    assert!(json.json()["error"].as_str().unwrap().contains("SESSION_SECRET"));

    for (secret, previous, variable) in [
        ("", "", "SESSION_SECRET is not set"),
        ("short", "", "SESSION_SECRET: "),
        (&secret, "a,b", "SESSION_PREVIOUS_SECRETS: "),
    ] {
        let failed = with(secret).env("SESSION_PREVIOUS_SECRETS", previous).run(&open);
        assert_eq!(failed.code, 2);
        assert!(failed.err.contains(variable), "{failed:?}");
    }

    let empty = TempFile::new("# nothing yet\n");
    let bad = TempFile::new(&format!("{secret}\n\nsk1_abc\n"));
    for (path, message) in
        [(empty.path(), "holds no secret"), (bad.path(), "line 3: "), ("/no/such/file", "can't be read")]
    {
        let failed = session().run(&[&open[..], &["--secret-file", path]].concat());
        assert_eq!((failed.code, failed.out.as_str()), (2, ""));
        assert!(failed.err.contains(message) && failed.err.contains(path), "{failed:?}");
        assert!(!failed.shows("sk1_abc"));
    }
}

#[test]
fn a_secret_is_never_taken_from_an_argument_nor_repeated() {
    let secret = keygen();
    let token = seal(&secret, b"{}");
    let joined = format!("--secret={secret}");
    let file = format!("--secret-file={secret}");
    for arguments in [
        &["open", "--cookie-name", "demo", "--secret", &secret, &token][..],
        &["open", "--cookie-name", "demo", &joined, &token],
        &["open", "--cookie-name", "demo", &file, &token],
        &["open", "--cookie-name", "demo", &secret],
        &["keygen", &secret],
        &["inspect", &secret],
    ] {
        let failed = session().run(arguments);
        assert_eq!((failed.code, failed.out.as_str()), (2, ""), "{failed:?}");
        assert!(failed.err.contains("SESSION_SECRET"), "{failed:?}");
        assert!(!failed.shows(&secret[4..]));
    }
    let failed = session().run(&["open", "--cookie-name", "demo", "--secret", PASSPHRASE, &token]);
    assert_eq!(failed.code, 2);
    assert!(!failed.shows(PASSPHRASE), "{failed:?}");
}

#[test]
fn no_output_holds_the_secret() {
    let secret = keygen();
    let token = seal(&secret, b"{}");
    for arguments in [
        &["open", "--cookie-name", "demo", &token][..],
        &["open", "--cookie-name", "other", &token],
        &["open", "--json", "--cookie-name", "demo", &token],
        &["open", "--cookie-name", "demo", "rubbish"],
        &["seal", "--json", "--cookie-name", "demo", "--expires-in", "60"],
        &["inspect", &token],
        &["open", "--help"],
        &["seal"],
    ] {
        assert!(!with(&secret).run(arguments).shows(&secret[4..]), "{arguments:?}");
    }
    let refused = with(PASSPHRASE).run(&["open", "--cookie-name", "demo", &token]);
    assert_eq!(refused.code, 1);
    assert!(!refused.shows(PASSPHRASE), "{refused:?}");
}

#[test]
fn what_no_browser_would_keep_is_not_sealed() {
    let arguments = ["seal", "--cookie-name", "demo", "--expires-in", "60"];
    let secret = keygen();
    let failed = with(&secret).run_with_input(&arguments, &[b'x'; 4000]);
    assert_eq!((failed.code, failed.out.as_str()), (2, ""));
    assert!(failed.err.contains("browsers keep 4096"), "{failed:?}");
    let failed = with(&secret).run_with_input(&arguments, &vec![b'x'; (1 << 20) + 1]);
    assert_eq!(failed.code, 2);
    assert!(failed.err.contains("exceeds 1048576 bytes"), "{failed:?}");
}

#[test]
fn wrong_usage_is_exit_status_2() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["inspect"],
        &["open", "--cookie-name", "demo"],
        &["open", "token"],
        &["open", "--cookie-name", "a b", "token"],
        &["open", "--cookie-name", "__host-session", "token"],
        &["seal", "--cookie-name", "demo"],
        &["seal", "--cookie-name", "demo", "--expires-in", "1", "--expires-at", "1"],
        &["seal", "--cookie-name", "demo", "--expires-in", "-1"],
        &["seal", "--cookie-name", "demo", "--expires-in", "1", "--kind", "record"],
    ] {
        let failed = with(PASSPHRASE).run(arguments);
        assert_eq!((failed.code, failed.out.as_str()), (2, ""), "{arguments:?}");
        assert!(!failed.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_shows_examples_and_exit_statuses() {
    let help = session().run(&["--help"]);
    assert_eq!(help.code, 0);
    for text in ["Examples:", "session keygen", "SESSION_PREVIOUS_SECRETS", "Exit status:"] {
        assert!(help.out.contains(text), "{text}");
    }
    assert!(session().run(&["open", "--help"]).out.contains("process lists"));
    assert!(session().run(&["seal", "--help"]).out.contains("byte for byte"));
    assert_eq!(session().run(&["--version"]).line(), concat!("session ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Ended::from(session().arg("keygen").stdout(writer).output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = Ended::from(session().arg("keygen").stdout(full).output().unwrap());
    assert_eq!(ended.code, 2);
    assert!(ended.err.contains("can't be written"), "{ended:?}");
}
