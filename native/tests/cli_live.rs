//! The commands of `session` that look into a live store, driven as operators drive them.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test that panics fails, also in its helpers")]

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use session_faults::servers::RedisServer;
use session_native::{Config, OsRandom, RedisStore, Secret, SessionData, Sessions, Stored};

/// What the application keeps; the command doesn't know it.
#[derive(Default, Clone, serde::Serialize, serde::Deserialize)]
struct Data {
    name: String,
}

impl SessionData for Data {}

struct Site {
    server: RedisServer,
    secret: Secret,
    sessions: Sessions<Data, Stored<RedisStore>>,
}

impl Site {
    /// Two sessions of ada, one of bob, one of nobody; encrypted at rest.
    async fn new() -> Self {
        let server = RedisServer::start().await;
        let secret = Secret::generate(&OsRandom).unwrap();
        let store = RedisStore::connect(&server.url()).await.unwrap();
        let sessions = Sessions::new(Config::production(secret.clone()), store).unwrap();
        let site = Self { server, secret, sessions };
        for subject in [Some("ada"), Some("ada"), Some("bob"), None] {
            let mut session = site.sessions.create();
            session.data_mut().name = "a name".into();
            if let Some(subject) = subject {
                session.authenticate(subject);
            }
            site.sessions.commit(&mut session).await.unwrap();
        }
        site
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_session"))
            .args(arguments)
            .env("REDIS_URL", self.server.url())
            .env("SESSION_SECRET", self.secret.expose().as_str())
            .env_remove("SESSION_PREVIOUS_SECRETS")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What a command said as JSON, and its exit status.
    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[&["--json"], arguments].concat());
        assert!(output.stderr.is_empty(), "{output:?}");
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_listed_and_shown() {
    let site = Site::new().await;
    assert_eq!(site.json(&["count"]), (0, json!({"ok": true, "sessions": 4})));
    let (status, all) = site.json(&["list"]);
    assert_eq!((status, all["sessions"].as_array().unwrap().len()), (0, 4));
    assert_eq!(site.json(&["list", "--limit", "3"]).1["sessions"].as_array().unwrap().len(), 3);
    let (_, listed) = site.json(&["list", "--subject", "ada"]);
    let listed = listed["sessions"].as_array().unwrap().clone();
    assert!(listed.len() == 2 && listed.iter().all(|session| session["subject"] == "ada"), "{listed:?}");

    let key = listed[0]["key"].as_str().unwrap();
    let (status, shown) = site.json(&["show", key]);
    assert_eq!((status, &shown["session"], &shown["data"]), (0, &listed[0], &json!({"name": "a name"})));
    let text = String::from_utf8(site.run(&["show", key]).stdout).unwrap();
    assert!(text.contains("subject   ada") && text.contains(r#""name": "a name""#), "{text}");
    // Keys are as good as random: some begin with a dash, and are arguments all the same.
    let (status, unknown) = site.json(&["show", "-AAAAAAAAAAAAAAAAAAAAA"]);
    assert_eq!((status, unknown), (1, json!({"ok": false, "reason": "revoked"})));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_is_revoked_or_all_of_a_subject() {
    let site = Site::new().await;
    let (_, listed) = site.json(&["list", "--subject", "ada"]);
    let key = listed["sessions"][0]["key"].as_str().unwrap();
    assert_eq!(site.json(&["revoke", key, "--yes"]), (0, json!({"ok": true, "sessions": 1})));
    assert_eq!(site.json(&["revoke", key, "--yes"]).0, 1);
    assert_eq!(site.json(&["revoke", "--yes", "--subject", "bob"]), (0, json!({"ok": true})));
    let alive = site.sessions.ids().await.unwrap();
    assert_eq!(alive.len(), 2);
    assert!(site.sessions.by_subject("bob").await.unwrap().is_empty());
}

/// Nobody is at the terminal who could be asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_destroyed_without_consent() {
    let site = Site::new().await;
    for arguments in [&["purge"][..], &["revoke", "--subject", "ada"], &["revoke", "AAAAAAAAAAAAAAAAAAAAAA"]]
    {
        let (status, answer) = site.json(arguments);
        assert!(status == 2 && answer["error"].as_str().unwrap().contains("--yes"), "{answer}");
    }
    assert_eq!(site.sessions.ids().await.unwrap().len(), 4);
    assert_eq!(site.json(&["purge", "--yes"]), (0, json!({"ok": true, "sessions": 4})));
    assert_eq!(site.sessions.ids().await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_said() {
    let site = Site::new().await;
    let (status, answer) = site.json(&["count", "--redis-url", "redis://:hunter2@127.0.0.1:1"]);
    let error = answer["error"].as_str().unwrap();
    assert!(status == 2 && error.contains("not available") && !error.contains("hunter2"), "{error}");
    // Sessions of another application: their prefix is another.
    assert_eq!(site.json(&["count", "--prefix", "other"]), (0, json!({"ok": true, "sessions": 0})));
    // With another secret nothing can be read.
    let other = Secret::generate(&OsRandom).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_session"))
        .args(["list", "--subject", "ada"])
        .env("REDIS_URL", site.server.url())
        .env("SESSION_SECRET", other.expose().as_str())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
