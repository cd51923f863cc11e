//! What strangers leave in Redis: nothing. And what is left of a session: never for longer than it may live.

use core::time::Duration;

use session_faults::{
    history::{Data, cookie_of},
    report::report,
    servers::RedisServer,
};
use session_native::{
    Client, Clock as _, Config, Expiry, Key, KeyRing, ManualClock, OsRandom, RedisStore, Secret, Sessions,
    Stored, Timestamp,
    session_core::{Kind, TokenCodec},
};

struct World {
    server: RedisServer,
    sessions: Sessions<Data, Stored<RedisStore>>,
    keys: KeyRing,
    name: String,
}

impl World {
    async fn new(expiry: Option<Expiry>, clock: ManualClock) -> Self {
        let server = RedisServer::start().await;
        let store =
            RedisStore::builder(server.url()).clock(clock.clone()).connect().await.expect("it is well");
        let mut config = Config::production(Secret::generate(&OsRandom).expect("a random source"));
        config.expiry = expiry.unwrap_or(config.expiry);
        let (keys, name) = (config.keys.clone(), config.cookie.name.clone());
        let sessions = Sessions::new(config, store).expect("the preset is valid").clock(clock);
        Self { server, sessions, keys, name }
    }

    async fn size(&self) -> u64 {
        self.server.command(&["DBSIZE"]).await
    }

    /// Commands that the server has executed, those of this function and of `size` among them.
    async fn commands(&self) -> u64 {
        let executed = self.server.info("total_commands_processed").await.expect("the server is well");
        executed.expect("a field of INFO").parse().expect("a number")
    }
}

// Rows 2 and 3, on a real server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_leave_nothing() {
    const ANONYMOUS: usize = 10_000;
    const INVENTED: u32 = 1000;
    let world = World::new(None, ManualClock::default()).await;
    let mut session = world.sessions.create();
    session.authenticate("ada");
    world.sessions.commit(&mut session).await.expect("the server is well");
    let before = world.size().await;
    assert!(before > 0);

    let executed = world.commands().await;
    for _ in 0..ANONYMOUS {
        let mut visitor =
            world.sessions.load("theme=dark", &Client::default()).await.expect("no store is asked");
        assert!(world.sessions.commit(&mut visitor).await.expect("nothing to write").is_none());
        assert!(world.sessions.destroy(&mut visitor).await.expect("nothing to end").is_none());
    }
    let asked = world.commands().await - executed;
    // Those that count, and what the connection does by itself.
    assert!(asked < 20, "{asked} commands for {ANONYMOUS} visitors");

    // Authentic, even: as somebody can make them who has the key, and whom strict mode refuses all the same.
    let codec = TokenCodec::new(&world.keys, Kind::Reference, &world.name);
    let mut cookies = 0;
    for number in 0..INVENTED {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let payload = format!("{}.0.0.{}.1\n", Key::from_bytes(id), u64::MAX);
        let token = codec.seal((&payload).into(), Timestamp::MAX, false, &OsRandom).expect("a random source");
        let uuid = format!("00000000-0000-4000-8000-{number:012}");
        for value in [token.as_str(), &uuid, "", &Key::from_bytes(id).to_string()] {
            let header = format!("{}={value}", world.name);
            let mut session =
                world.sessions.load(&header, &Client::default()).await.expect("the server is well");
            assert!(session.is_new());
            cookies += usize::from(world.sessions.commit(&mut session).await.expect("nothing").is_some());
        }
    }
    assert_eq!((world.size().await, cookies), (before, 0));
    report(
        "strangers",
        "no key, no cookie",
        format_args!(
            "{ANONYMOUS} anonymous requests with a logout each: {asked} commands; {} invented ids: DBSIZE {before} before and after, 0 cookies",
            4 * INVENTED
        ),
    );
}

// Row 9: what Redis keeps never outlives the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_outlives_the_absolute_end() {
    let (idle, absolute) = (Duration::from_secs(3600), Duration::from_secs(5 * 3600));
    let clock = ManualClock::default();
    let world = World::new(Some(Expiry::new(idle, absolute).expect("in order")), clock.clone()).await;
    let sessions = &world.sessions;
    let mut session = sessions.create();
    let mut cookie = cookie_of(&sessions.commit(&mut session).await.expect("well").expect("new"));
    let end = session.absolute_end();
    let keys: Vec<String> = world.server.command(&["KEYS", "session:*:s:*"]).await;
    let [key] = keys.try_into().expect("one session");
    let mut left = Vec::new();
    while end.since(clock.now()) > idle / 2 {
        clock.advance(idle / 2);
        // The server's clock goes with it.
        let ttl: i64 = world.server.command(&["PTTL", &key]).await;
        let passed = i64::try_from((idle / 2).as_millis()).expect("hours");
        world.server.command::<()>(&["PEXPIRE", &key, &(ttl - passed).to_string()]).await;
        let mut session = sessions.load(&cookie, &Client::default()).await.expect("well");
        assert!(!session.is_new());
        if let Some(new) = sessions.commit(&mut session).await.expect("well") {
            cookie = cookie_of(&new);
        }
        let ttl: i64 = world.server.command(&["PTTL", &key]).await;
        let allowed = i64::try_from(end.since(clock.now()).min(idle).as_millis()).expect("hours");
        assert!((1..=allowed).contains(&ttl), "PTTL {ttl}, at most {allowed}");
        left.push(ttl / 1000);
    }
    report(
        "PTTL of a session that is used",
        "never beyond its absolute end",
        format_args!("{left:?} s at each half of the idle timeout"),
    );
}
