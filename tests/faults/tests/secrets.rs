//! What stands in Redis: no secret in any form, and nothing that can be moved to another session.

use core::time::Duration;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::mpsc,
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use session_faults::{
    history::{Data, cookie_of},
    report::report,
    servers::RedisServer,
};
use session_native::{
    Client, Config, CoreError, Error, KeyRing, RedisStore, Secret, Session, Sessions, Stored, Timestamp,
    session_core::{Kind, TokenCodec},
};

/// Whose name stands in no key, and whose data in no value.
const SUBJECT: &str = "ada.lovelace@example.org";
const DATA: &str = "correct horse battery staple";
/// Written into Redis in each form by the test itself, so that the search is seen to find them.
const PLANTED: &[u8] = b"planted, to be found";

struct World {
    server: RedisServer,
    sessions: Sessions<Data, Stored<RedisStore>>,
    secret: String,
}

impl World {
    async fn new() -> Self {
        let server = RedisServer::builder().config("rdbcompression no").start().await;
        let store = RedisStore::connect(&server.url()).await.expect("the server is well");
        let key: [u8; 32] = core::array::from_fn(|_| fastrand::u8(..));
        let secret = format!("sk1_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key));
        let mut config = Config::production(Secret::parse(&secret).expect("a random secret"));
        // Encryption alone is to hide what is stored.
        config.compress_records_from = None;
        Self { server, sessions: Sessions::new(config, store).expect("the preset is valid"), secret }
    }

    async fn load(&self, cookie: &str) -> Result<Session<Data>, Error> {
        self.sessions.load(cookie, &Client::default()).await
    }

    async fn commit(&self, session: &mut Session<Data>) -> Option<String> {
        self.sessions.commit(session).await.expect("the server is well").as_ref().map(cookie_of)
    }

    async fn sign_in(&self, subject: &str, data: &str) -> String {
        let mut session = self.sessions.create();
        session.authenticate(subject);
        session.data_mut().owner = data.to_owned();
        self.commit(&mut session).await.expect("a new session has a cookie")
    }

    /// What must not be found: the token in the cookie, its bytes, the id of the session in it.
    fn secrets_of(&self, cookie: &str) -> Vec<Vec<u8>> {
        let (name, token) = cookie.split_once('=').expect("a cookie has a value");
        let ring = KeyRing::new(&Secret::parse(&self.secret).expect("the secret of before"));
        let codec = TokenCodec::new(&ring, Kind::Reference, name);
        let opened = codec.open(token.as_bytes(), Timestamp::from_millis(0)).expect("our own token");
        let payload = core::str::from_utf8(opened.payload()).expect("text");
        let sid = payload.split_once('.').expect("an id").0;
        let decode = |text| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("base64url");
        vec![token.into(), decode(token), sid.into(), decode(sid)]
    }
}

/// A needle as it may be written: as it is, in hexadecimal, in base64 at any of its three alignments.
fn forms(needle: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = needle.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![needle.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for shift in 0..3 {
        let padded = [&vec![0; shift], needle].concat();
        let whole = STANDARD.encode(&padded[..padded.len() / 3 * 3]);
        // What depends on the bytes before it is left out.
        let text = &whole[if shift == 0 { 0 } else { 4 }..];
        forms.extend([text.into(), text.replace('+', "-").replace('/', "_").into_bytes()]);
    }
    forms
}

fn is_in(haystack: &[u8], needle: &[u8]) -> bool {
    assert!(needle.len() >= 8, "a needle that isn't found by chance");
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Records all commands, until the returned function is called.
fn monitor(server: &RedisServer) -> impl FnOnce() -> Vec<u8> + use<> {
    let mut stream = TcpStream::connect(server.address()).expect("the server is well");
    stream.write_all(b"MONITOR\r\n").expect("the server is well");
    let mut ok = [0; 5];
    stream.read_exact(&mut ok).expect("the server is well");
    assert_eq!(&ok, b"+OK\r\n");
    let (done, dump) = mpsc::channel();
    thread::spawn(move || {
        let mut seen = Vec::new();
        let mut chunk = [0; 4096];
        // The last command says that it is the last.
        while !is_in(&seen, b"the end of the dump") {
            let length = stream.read(&mut chunk).expect("the server is well");
            seen.extend_from_slice(&chunk[..length]);
        }
        let _ = done.send(unescaped(&seen));
    });
    move || dump.recv_timeout(Duration::from_secs(30)).expect("the end was written")
}

/// As `MONITOR` shows bytes: `\xff`, `\n`, `\"`.
fn unescaped(shown: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = shown;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = |digits: &[u8]| u8::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok();
        rest = match (byte, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                bytes.extend(hex(&[*high, *low]));
                after
            }
            (b'\\', [letter, after @ ..]) => {
                bytes.push(match letter {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    other => *other,
                });
                after
            }
            _ => {
                bytes.push(byte);
                after
            }
        };
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_reaches_redis() {
    let world = World::new().await;
    let dump = monitor(&world.server);
    let mut cookies = vec![world.sign_in(SUBJECT, DATA).await, world.sign_in(SUBJECT, DATA).await];
    let mut session = world.load(&cookies[0]).await.expect("the server is well");
    world.sessions.update(&mut session, |data| data.count += 1).await.expect("the server is well");
    session.flash_mut().set_notice(DATA);
    session.regenerate();
    cookies.extend(world.commit(&mut session).await);
    assert_eq!(world.sessions.by_subject(SUBJECT).await.expect("the server is well").len(), 2);
    assert_eq!(world.sessions.find(|_| true).await.expect("the server is well").len(), 2);
    // What lives stands in the snapshot too.
    world.server.command::<()>(&["SAVE"]).await;
    let snapshot = std::fs::read(world.server.directory().join("dump.rdb")).expect("a snapshot");
    world.sessions.revoke_subject(SUBJECT).await.expect("the server is well");
    assert!(!world.load(&cookies[2]).await.expect("the server is well").is_authenticated());
    let last = world.sign_in(SUBJECT, DATA).await;
    let mut leaving = world.load(&last).await.expect("the server is well");
    world.sessions.destroy(&mut leaving).await.expect("the server is well");
    cookies.push(last);

    for (number, form) in forms(PLANTED).into_iter().enumerate() {
        let text = String::from_utf8(form).expect("text");
        world.server.command::<()>(&["SET", &format!("planted:{number}"), &text]).await;
    }
    world.server.command::<()>(&["SAVE"]).await;
    let with_planted = std::fs::read(world.server.directory().join("dump.rdb")).expect("a snapshot");
    world.server.command::<()>(&["ECHO", "the end of the dump"]).await;
    let commands = dump();
    for form in forms(PLANTED) {
        assert!(is_in(&commands, &form) && is_in(&with_planted, &form), "the search finds what is there");
    }
    assert!(is_in(&commands, b"session:changes") && is_in(&snapshot, b"session:{"), "sessions were seen");

    let mut needles = vec![SUBJECT.into(), DATA.into(), world.secret.clone().into_bytes()];
    let key = world.secret.strip_prefix("sk1_").expect("its form");
    needles.push(base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(key).expect("base64url"));
    needles.extend(cookies.iter().flat_map(|cookie| world.secrets_of(cookie)));
    let mut searched = 0;
    for needle in &needles {
        for form in forms(needle) {
            assert!(!is_in(&commands, &form), "a secret is among the commands");
            assert!(!is_in(&snapshot, &form), "a secret is in the snapshot");
            assert!(!is_in(&with_planted, &form), "a secret is in the last snapshot");
            searched += 1;
        }
    }
    report(
        "MONITOR and RDB of a whole life",
        "no token, id, key, subject or data, in raw, hex or base64",
        format_args!(
            "{} secrets in {searched} forms, 0 found in {} bytes of commands and {} of snapshots; planted ones found",
            needles.len(),
            commands.len(),
            snapshot.len() + with_planted.len()
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_were_swapped_are_refused() {
    let world = World::new().await;
    let cookies = [world.sign_in("ada", "ada's").await, world.sign_in("bob", "bob's").await];
    let mut connection = world.server.connect().await.expect("the server is well");
    let keys: Vec<String> = world.server.command(&["KEYS", "session:*:s:*"]).await;
    assert_eq!(keys.len(), 2);
    let values: Vec<Vec<u8>> =
        redis::cmd("MGET").arg(&keys).query_async(&mut connection).await.expect("the server is well");
    for order in [[1, 0], [0, 1]] {
        for (key, value) in keys.iter().zip(order) {
            let mut set = redis::cmd("SET");
            set.arg(key).arg(&values[value]).arg("KEEPTTL");
            set.exec_async(&mut connection).await.expect("the server is well");
        }
        for (cookie, owner) in cookies.iter().zip(["ada's", "bob's"]) {
            let loaded = world.load(cookie).await;
            if order == [1, 0] {
                let error = loaded.expect_err("another session's value");
                assert!(matches!(error, Error::Core(CoreError::Unreadable(_))), "{error}");
            } else {
                assert_eq!(loaded.expect("its own value again").data().owner, owner);
            }
        }
    }
    report(
        "two values swapped in Redis",
        "both refused",
        "2 of 2 refused; both read again when swapped back",
    );
}
