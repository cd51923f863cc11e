//! What the Crystal library really wrote, on a real Redis server, goes on as sessions of ours on the same one.

#![cfg(all(feature = "crystal", feature = "redis"))]
#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

use core::time::Duration;
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::interop::crystal::{Encryptor, Kdf, LegacyDigest, SessionJson, open_value};
use session_native::{
    Client, Config, OsRandom, RedisStore, Rejection, Secret, SessionData, Sessions, Timestamp,
    import::{CrystalRecords, Import, OldRecords as _},
};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn start() -> (Server, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--save", "", "--bind", "127.0.0.1"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (server, url) = (Server(child), format!("redis://127.0.0.1:{port}"));
    for _ in 0..100 {
        if RedisStore::connect(&url).await.is_ok() {
            return (server, url);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("redis-server doesn't answer");
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct User {
    user_id: Option<i64>,
    username: Option<String>,
    role: String,
}
impl SessionData for User {}

/// The encryptor of a recorded value; `None` if it wasn't sealed.
fn encryptor(case: &Value) -> Option<Encryptor> {
    let salt = case["kdf_salt"].as_str()?.as_bytes();
    let iterations = u32::try_from(case["kdf_iterations"].as_u64()?).unwrap();
    let kdf = (case["use_kdf"] == true).then_some(Kdf { salt, iterations });
    let made = Encryptor::new(case["secret"].as_str()?.as_bytes(), kdf).unwrap();
    (case["encrypt_redis_data"] == true).then(|| made.allow(LegacyDigest::Sha1, Timestamp::MAX))
}

#[tokio::test]
async fn every_recorded_value_goes_on() {
    let (_server, url) = start().await;
    let mut raw =
        redis::Client::open(url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let file: Value =
        serde_json::from_str(include_str!("../../tests/vectors/crystal/redis_values.json")).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 18);
    for (number, case) in cases.iter().enumerate() {
        let hex = case["value_hex"].as_str().unwrap();
        let value: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let name = case["keys_in_db"][0].as_str().unwrap();
        let id = name.strip_prefix("session:").unwrap();
        let () = redis::cmd("SETEX").arg(name).arg(3600).arg(&value).query_async(&mut raw).await.unwrap();

        let store = RedisStore::connect(&url).await.unwrap();
        let memory = RedisStore::builder(&url).prefix(format!("imported-{number}")).connect().await.unwrap();
        let import =
            Import::until(Timestamp::MAX, CrystalRecords::new("_session", encryptor(case), store.clone()))
                .subject(|user: &User| user.user_id.map(|id| id.to_string()))
                .remember_in(memory);
        let config = Config::production(Secret::generate(&OsRandom).unwrap());
        let sessions = Sessions::<User, _>::new(config, store.clone()).unwrap().import(import);
        let cookie = format!("_session={id}");
        let mut session = sessions.load(&cookie, &Client::default()).await.unwrap();

        let json = open_value(&value, encryptor(case).as_ref(), sessions.now()).unwrap();
        let expected = SessionJson::<User>::parse(&json).unwrap().data;
        assert_eq!(session.data().username, expected.username, "{}", case["id"]);
        assert_eq!(session.subject().map(str::to_owned), expected.user_id.map(|id| id.to_string()));
        assert_eq!(store.get(name).await.unwrap(), None, "deleted there");
        assert!(sessions.commit(&mut session).await.unwrap().is_some());
        // The old cookie means the new session, and nothing once that has ended.
        assert!(sessions.load(&cookie, &Client::default()).await.unwrap().is_same(&session));
        sessions.destroy(&mut session).await.unwrap();
        let after = sessions.load(&cookie, &Client::default()).await.unwrap();
        assert_eq!(after.rejection(), Some(Rejection::Revoked));
    }
}
