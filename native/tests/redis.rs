//! The Redis store: the contract of stores on every kind of server, and what only Redis has.

#![cfg(feature = "redis")]

use core::{sync::atomic::AtomicU32, sync::atomic::Ordering, time::Duration};

use std::collections::BTreeSet;

use redis::aio::MultiplexedConnection;
use session_conformance::{Harness, limit::PER_SUBJECT};
use session_faults::{
    proxy::{Faults, Flow, Proxy},
    servers::{RedisCluster, RedisServer, SentinelTrio},
};
use session_native::{
    Clock as _, Key, Query as _, RedisStore, Store as _, StoreError, SubjectTag, SystemClock, Timestamp,
    Version,
    store::{Lookup, Record, RedisStoreBuilder, Saved},
};

struct Redis {
    store: RedisStore,
    /// Ours alone, and ended with us.
    _server: Option<RedisServer>,
}

impl Redis {
    async fn new() -> Self {
        let server = RedisServer::start().await;
        Self { store: connect(&server.url()).await, _server: Some(server) }
    }

    async fn limited() -> Self {
        let server = RedisServer::start().await;
        let limited = Self::limited_sharing(&server.url()).await;
        Self { _server: Some(server), ..limited }
    }

    /// On servers that others use too, under names of its own.
    async fn sharing(url: &str) -> Self {
        Self::apart(patient(url)).await
    }

    async fn limited_sharing(url: &str) -> Self {
        Self::apart(patient(url).sessions_per_subject(PER_SUBJECT as u32)).await
    }

    async fn apart(builder: RedisStoreBuilder) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("test{}", LAST.fetch_add(1, Ordering::Relaxed));
        let store = builder.prefix(prefix).connect().await;
        Self { store: store.expect("a connection"), _server: None }
    }
}

impl Harness for Redis {
    type Store = RedisStore;

    const GRAIN: Duration = Duration::from_millis(100);

    fn store(&self) -> &RedisStore {
        &self.store
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }
}

session_conformance::store_tests!(Redis::new().await);
session_conformance::query_tests!(Redis::new().await);
session_conformance::limit_tests!(Redis::limited().await);

/// However busy the machine is.
fn patient(url: impl Into<String>) -> RedisStoreBuilder {
    const LONG: Duration = Duration::from_secs(30);
    RedisStore::builder(url).response_timeout(LONG).operation_timeout(LONG)
}

async fn connect(url: &str) -> RedisStore {
    patient(url).connect().await.expect("a connection")
}

fn key(number: u8) -> Key {
    Key::from_bytes([number; 16])
}

fn record(of: Option<&str>) -> Record {
    let version = Version { counter: 1, nonce: 1 };
    let record = Record::new(version, SystemClock.now() + Duration::from_secs(60), "{}");
    record.of_subject(of.map(SubjectTag::new))
}

fn next(record: &Record) -> Record {
    let version = Version { counter: record.version.counter + 1, nonce: record.version.nonce };
    Record::new(version, record.expires_at, "{}").of_subject(record.subject)
}

fn cluster_url(cluster: &RedisCluster) -> String {
    let nodes: Vec<String> = cluster.servers.iter().map(|server| server.address().to_string()).collect();
    format!("redis+cluster://{}", nodes.join(","))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_the_whole_contract() {
    let cluster = RedisCluster::start().await;
    let url = cluster_url(&cluster);
    session_conformance::all_in_turn!(Redis::sharing(&url).await, limited: Redis::limited_sharing(&url).await)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_lead_to_the_primary() {
    let trio = SentinelTrio::start().await;
    let sentinels: Vec<String> = trio.sentinel_urls();
    let hosts: Vec<&str> = sentinels.iter().filter_map(|url| url.strip_prefix("redis://")).collect();
    let store =
        connect(&format!("redis+sentinel://{}/{}", hosts.join(","), session_faults::servers::MASTER_NAME))
            .await;
    assert_eq!(store.create(&key(1), &record(None)).await, Ok(true));
    let primary = connect(&trio.servers[trio.primary().await].url()).await;
    assert_eq!(primary.len().await, Ok(1));
}

/// A Sentinel that was cut off, together with a primary that goes on taking writes, speaks first; the others have seen a failover since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_was_cut_off_is_not_believed() {
    let trio = SentinelTrio::start().await;
    let deposed = RedisServer::start().await;
    let cut_off = SentinelTrio::cut_off_with(&deposed).await;
    let old = trio.primary().await;
    trio.fail_over().await;
    let new = trio.primary_after(old).await;
    session_faults::servers::until("the new primary takes writes", async || {
        trio.servers[new].try_command::<()>(&["SET", "probe", "1"]).await.is_ok()
    })
    .await;
    trio.until_all_name(new).await;
    let hosts = [&cut_off, &trio.sentinels[0], &trio.sentinels[1], &trio.sentinels[2]];
    let url = |hosts: &[&RedisServer], service: &str| {
        let hosts: Vec<_> = hosts.iter().map(|sentinel| sentinel.address().to_string()).collect();
        format!("redis+sentinel://{}/{service}", hosts.join(","))
    };
    // Half of them say the old one; the number of the last failover decides.
    for hosts in [&hosts[..], &hosts[..2]] {
        let store = connect(&url(hosts, session_faults::servers::MASTER_NAME)).await;
        assert_eq!(store.create(&key(hosts.len() as u8), &record(None)).await, Ok(true));
    }
    assert_eq!(connect(&trio.servers[new].url()).await.len().await, Ok(2));
    assert_eq!(connect(&deposed.url()).await.len().await, Ok(0), "nothing was written there");

    let error = RedisStore::connect(&url(&hosts, "another")).await.err();
    assert!(
        matches!(&error, Some(StoreError::Misconfigured { reason }) if reason.contains("no service of the name")),
        "{error:?}"
    );
}

/// A creation that hangs in the network, is tried again by another way, and arrives when the session has come and gone, doesn't bring it
/// back. What keeps it from that is the tombstone: without it, it would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_creation_brings_nothing_back() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.address()).await;
    let late = RedisStore::connect(&proxy.url()).await.expect("a connection");
    let prompt = connect(&server.url()).await;
    for (number, has_tombstone) in [(1, true), (2, false)] {
        let (key, record) = (key(number), record(None));
        proxy.set(Faults { requests: Flow::Hold, ..Faults::default() });
        assert!(matches!(late.create(&key, &record).await, Err(StoreError::TimedOut { .. })));
        assert_eq!(prompt.create(&key, &record).await, Ok(true));
        assert_eq!(prompt.delete(&key).await, Ok(true));
        assert_eq!(prompt.delete(&key).await, Ok(false));
        assert_eq!(prompt.len().await, Ok(0), "a tombstone is no session");
        let tombstone = format!("session:{{{number:02x}}}:s:{key}");
        let left = server.command::<i64>(&["PTTL", &tombstone]).await;
        assert!((1..=60_000).contains(&left), "{left}");
        if !has_tombstone {
            let _: () = server.command(&["DEL", &tombstone]).await;
        }
        // As many as were called, and the one that is late.
        let calls = async || {
            let stats = server.info("cmdstat_evalsha").await.expect("statistics").unwrap_or_default();
            let calls = stats.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
            calls.and_then(|calls| calls.parse::<u64>().ok()).unwrap_or(0)
        };
        let before = calls().await;
        proxy.heal();
        session_faults::servers::until("the late creation has arrived", async || calls().await > before)
            .await;
        let found = prompt.load(&key, Lookup::default()).await.expect("a load");
        assert_eq!(found.is_none(), has_tombstone);
        assert_eq!(prompt.len().await, Ok(u64::from(!has_tombstone)));
        let touch = Lookup { touch: Some(record.expires_at), ..Lookup::default() };
        assert_eq!(prompt.load(&key, touch).await.expect("a load").is_none(), has_tombstone);
        let saved = prompt.save(&key, &next(&record), record.version).await;
        assert_eq!(saved, Ok(if has_tombstone { Saved::Gone } else { Saved::Stored }));
    }
    assert_eq!(prompt.scan(0).await.map(|batch| batch.found.len()), Ok(1));
}

#[tokio::test]
async fn by_socket_by_password_by_user_and_in_a_database() {
    let server = RedisServer::builder().unix_socket().user("ada", "hunter2").start().await;
    let (address, password) = (server.address(), "hunter2");
    let store = connect(&format!("redis://ada:{password}@{address}/3")).await;
    assert_eq!(store.create(&key(1), &record(None)).await, Ok(true));
    assert_eq!(connect(&format!("redis://ada:{password}@{address}")).await.len().await, Ok(0));
    let socket = server.directory().join("socket");
    let by_socket =
        connect(&format!("redis+unix://{}?db=3&user=ada&pass={password}", socket.display())).await;
    assert_eq!(by_socket.len().await, Ok(1));

    for url in [format!("redis://{address}"), format!("redis://ada:wrong@{address}")] {
        let error = RedisStore::connect(&url).await.expect_err("no way in");
        assert!(matches!(error, StoreError::Misconfigured { .. }), "{error}");
        assert!(!error.to_string().contains("wrong@"), "{error}");
    }
}

/// The primary of a service, and every node of a cluster, want the password of the URL; Sentinels have none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_clusters_by_password() {
    let options = || RedisServer::builder().password("hunter2");
    let hosts = |servers: &[RedisServer]| {
        servers.iter().map(|server| server.address().to_string()).collect::<Vec<_>>().join(",")
    };
    let service = session_faults::servers::MASTER_NAME;
    let trio = SentinelTrio::start_with(options()).await;
    let by_sentinel =
        |password: &str| format!("redis+sentinel://:{password}@{}/{service}/2", hosts(&trio.sentinels));
    let store = connect(&by_sentinel("hunter2")).await;
    assert_eq!(store.create(&key(1), &record(None)).await, Ok(true));
    let primary = trio.servers[trio.primary().await].url();
    assert_eq!(connect(&primary).await.len().await, Ok(0));
    assert_eq!(connect(&format!("{primary}/2")).await.len().await, Ok(1));
    let refused = RedisStore::connect(&by_sentinel("wrong")).await.err();
    assert!(matches!(&refused, Some(StoreError::Misconfigured { .. })), "{refused:?}");

    let cluster = RedisCluster::start_with(options()).await;
    let by_cluster = |password: &str| format!("redis+cluster://:{password}@{}", hosts(&cluster.servers));
    let store = connect(&by_cluster("hunter2")).await;
    for number in 0..16 {
        assert_eq!(store.create(&key(number), &record(None)).await, Ok(true));
    }
    assert_eq!(store.len().await, Ok(16));
    let shown = format!("{store:?}");
    assert!(shown.contains("connected: ") && !shown.contains("hunter2"), "{shown}");
    let refused = RedisStore::connect(&by_cluster("wrong")).await.err();
    assert!(refused.is_some_and(|error| !error.to_string().contains("wrong@")));
}

/// As many connections as were asked for, used in turn; what they went through is counted.
#[tokio::test]
async fn several_connections_are_used_in_turn_and_counted() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.address()).await;
    let store = RedisStore::builder(proxy.url()).connections(3).connect().await.expect("a connection");
    for number in 0..9 {
        assert_eq!(store.create(&key(number), &record(None)).await, Ok(true));
    }
    let clients: String = server.command(&["CLIENT", "LIST"]).await;
    assert_eq!(clients.lines().filter(|client| client.contains("cmd=evalsha")).count(), 3, "{clients}");
    let stats = store.stats();
    assert_eq!((stats.connections, stats.connected, proxy.connections()), (3, 3, 3));
    assert_eq!((stats.reconnects, stats.timeouts, stats.failures), (0, 0, 0));

    proxy.set(Faults { replies: Flow::Hold, ..Faults::default() });
    assert!(matches!(store.load(&key(1), Lookup::default()).await, Err(StoreError::TimedOut { .. })));
    let stats = store.stats();
    assert_eq!((stats.connected, stats.timeouts, stats.failures), (3, 1, 1));
}

#[tokio::test]
async fn what_cannot_work_is_said_when_connecting() {
    let primary = RedisServer::start().await;
    let replica = RedisServer::builder().replica_of(primary.address().port()).start().await;
    let clustered = RedisServer::builder().config("cluster-enabled yes").start().await;
    let cases = [
        (replica.url(), "is a replica"),
        (clustered.url(), "use a URL that begins with redis+cluster://"),
        ("redis+cluster://".to_owned(), "it names no host"),
    ];
    for (url, why) in cases {
        let error = RedisStore::connect(&url).await.expect_err("it can't work").to_string();
        assert!(error.contains(why), "{url}: {error}");
    }
    let error = RedisStore::builder(primary.url()).prefix("{app}").connect().await.err();
    assert!(error.is_some_and(|error| error.to_string().contains("braces")));
    let nobody = RedisStore::connect("redis://127.0.0.1:1").await.err();
    assert!(matches!(nobody, Some(StoreError::Unavailable { .. })), "{nobody:?}");
}

/// What other programs keep under the same prefix is never counted, read or deleted.
#[tokio::test]
async fn foreign_keys_are_left_alone() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    let foreign = [
        "session:0b8af1a6-4b5e-4a8a-8d61-0f5fbbd1b0f3",
        "session:{3f}:s:cart",
        "session:{3e}:s:Pz8_Pz8_Pz8_Pz8_Pz8_Pw",
        "session:{3f}:s:Pz8_Pz8_Pz8_Pz8_Pz8_Pw=",
        "other:{3f}:s:Pz8_Pz8_Pz8_Pz8_Pz8_Pw",
    ];
    for name in foreign {
        let _: () = server.command(&["SET", name, "theirs"]).await;
    }
    assert_eq!(store.create(&key(0x3f), &record(None)).await, Ok(true));
    assert_eq!(store.len().await, Ok(1));
    assert_eq!(store.scan(0).await.map(|batch| batch.found.len()), Ok(1));
    assert_eq!(store.clear().await, Ok(()));
    assert_eq!(store.len().await, Ok(0));
    for name in foreign {
        assert_eq!(server.command::<String>(&["GET", name]).await, "theirs", "{name}");
    }
}

/// A save whose answer was lost is known again when it is tried anew, though others have come after it: it isn't done twice.
#[tokio::test]
async fn a_lost_answer_is_told_when_others_have_built_upon_it() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    let version = |counter, nonce| Version { counter, nonce };
    let save = async |version, expected| {
        store.save(&key(1), &Record::new(version, record(None).expires_at, "{}"), expected).await
    };
    assert_eq!(store.create(&key(1), &record(None)).await, Ok(true));
    let mine = version(2, 0x5157);
    assert_eq!(save(mine, record(None).version).await, Ok(Saved::Stored));
    let mut last = mine;
    for later in 3..=6 {
        let next = version(later, later);
        assert_eq!(save(next, last).await, Ok(Saved::Stored));
        last = next;
        assert_eq!(save(mine, record(None).version).await, Ok(Saved::Stored), "{later}");
        // What wasn't there is a conflict.
        for other in [version(2, 0x5158), version(later, 0x5157), version(later + 1, later)] {
            assert!(matches!(save(other, record(None).version).await, Ok(Saved::Conflict(_))), "{other:?}");
        }
        assert_eq!(
            store.load(&key(1), Lookup::default()).await.expect("a load").expect("a record").record.version,
            last
        );
    }
    // So far back nobody remembers.
    assert_eq!(save(version(7, 7), last).await, Ok(Saved::Stored));
    assert!(matches!(save(mine, record(None).version).await, Ok(Saved::Conflict(_))));
}

/// A value that is no record is an error of its own: not "no session", and not "try again".
#[tokio::test]
async fn a_foreign_value_under_our_name_is_malformed() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    let name = format!("session:{{3f}}:s:{}", key(0x3f));
    for command in [&["SET", &name, "short"][..], &["HSET", &name, "field", "value"]] {
        let _: () = server.command(&["DEL", &name]).await;
        let _: () = server.command(command).await;
        assert_eq!(store.load(&key(0x3f), Lookup::default()).await.err(), Some(StoreError::Malformed));
    }
}

/// What needs two keys of a slot that is on the move, one here and one there, waits until they are together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_were_torn_apart_are_waited_for() {
    let cluster = RedisCluster::start().await;
    let store = patient(cluster_url(&cluster)).sessions_per_subject(2).connect().await.expect("a connection");
    let subject = SubjectTag::new("ada");
    let index = format!("session:{{{:02x}}}:u:{subject}", subject.as_bytes()[0]);
    for (number, is_revoked) in [(1, false), (2, true)] {
        assert_eq!(store.create(&key(number), &record(Some("ada"))).await, Ok(true));
        if is_revoked {
            store.revoke_subject(&subject).await.expect("a new epoch");
        }
        let slot: u16 = cluster.servers[0].command(&["CLUSTER", "KEYSLOT", &index]).await;
        let from = cluster.primary_of(slot).await.expect("every slot is served");
        let a_move = cluster.begin_move(slot, (from + 1) % 3).await;
        // Of what there is of the subject: its index, and its epoch if it was revoked.
        a_move.move_keys(1).await;
        let torn = [
            tokio::spawn({
                let store = store.clone();
                async move { store.revoke_subject(&subject).await.map(drop) }
            }),
            tokio::spawn({
                let store = store.clone();
                async move { store.create(&key(10 + number), &record(Some("ada"))).await.map(drop) }
            }),
        ];
        // Longer than the client library has patience.
        tokio::time::sleep(Duration::from_secs(2)).await;
        a_move.finish().await;
        for done in torn {
            assert_eq!(done.await.expect("a task"), Ok(()));
        }
    }

    // And not for ever.
    let store = RedisStore::builder(cluster_url(&cluster))
        .operation_timeout(Duration::from_millis(100))
        .connect()
        .await
        .expect("a connection");
    let slot: u16 = cluster.servers[0].command(&["CLUSTER", "KEYSLOT", &index]).await;
    let from = cluster.primary_of(slot).await.expect("every slot is served");
    let a_move = cluster.begin_move(slot, (from + 1) % 3).await;
    a_move.move_keys(1).await;
    let revoked = store.revoke_subject(&subject).await;
    assert!(revoked.as_ref().is_err_and(StoreError::is_unavailable), "{revoked:?}");
    a_move.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_logins_at_once_three_stay() {
    let server = RedisServer::start().await;
    let cluster = RedisCluster::start().await;
    for url in [server.url(), cluster_url(&cluster)] {
        let store = patient(url).sessions_per_subject(3).connect().await.expect("a connection");
        let logins = (0..50).map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.create(&key(number), &record(Some("ada"))).await })
        });
        for login in logins.collect::<Vec<_>>() {
            assert_eq!(login.await.expect("a task"), Ok(true));
        }
        assert_eq!(store.len().await, Ok(3));
        assert_eq!(store.by_subject(&SubjectTag::new("ada")).await.map(|found| found.len()), Ok(3));
        // Another one's sessions don't count.
        assert_eq!(store.create(&key(99), &record(Some("bob"))).await, Ok(true));
        assert_eq!(store.len().await, Ok(4));
    }
}

/// A phone stays signed in while a laptop signs in and out: what has ended, or was revoked, takes nobody's place.
#[tokio::test]
async fn what_has_ended_pushes_nothing_out() {
    let server = RedisServer::start().await;
    let store = patient(server.url()).sessions_per_subject(3).connect().await.expect("a connection");
    let ada = SubjectTag::new("ada");
    assert_eq!(store.create(&key(1), &record(Some("ada"))).await, Ok(true));
    for number in 2..=6 {
        assert_eq!(store.create(&key(number), &record(Some("ada"))).await, Ok(true));
        assert_eq!(store.delete(&key(number)).await, Ok(true));
    }
    for number in 7..=8 {
        assert_eq!(store.create(&key(number), &record(Some("ada"))).await, Ok(true));
    }
    let alive: BTreeSet<Key> = listed(&store, &ada).await;
    assert_eq!(alive, [key(1), key(7), key(8)].into());

    // The records of revoked sessions stay until they expire; however long that takes, they make room at once.
    let mut long = record(Some("ada"));
    long.expires_at = SystemClock.now() + Duration::from_secs(86_400);
    for number in 11..=13 {
        assert_eq!(store.create(&key(number), &long).await, Ok(true));
    }
    assert!(store.revoke_subject(&ada).await.is_ok());
    for number in 21..=23 {
        assert_eq!(store.create(&key(number), &record(Some("ada"))).await, Ok(true));
    }
    assert_eq!(listed(&store, &ada).await, [key(21), key(22), key(23)].into());
}

async fn listed(store: &RedisStore, subject: &SubjectTag) -> BTreeSet<Key> {
    store.by_subject(subject).await.expect("a listing").into_iter().map(|(key, _)| key).collect()
}

/// Requests that go away in the midst of it leave nobody beyond the limit: the next one to be filed ends them.
#[tokio::test]
async fn a_sign_in_that_was_cut_off_leaves_none_beyond_the_limit() {
    let server = RedisServer::start().await;
    let store = patient(server.url()).sessions_per_subject(2).connect().await.expect("a connection");
    let ada = SubjectTag::new("ada");
    for number in 1..=2 {
        assert_eq!(store.create(&key(number), &record(Some("ada"))).await, Ok(true));
    }
    // This one condemned the first, and was gone before it was ended.
    let condemned = format!("session:{{{:02x}}}:c:{ada}", ada.as_bytes()[0]);
    let index = format!("session:{{{:02x}}}:u:{ada}", ada.as_bytes()[0]);
    let mut connection = server.connect().await.expect("a connection");
    let first = key(1);
    let () = redis::cmd("SADD")
        .arg(&condemned)
        .arg(first.as_bytes())
        .query_async(&mut connection)
        .await
        .expect("a set");
    let () = redis::cmd("ZREM")
        .arg(&index)
        .arg(first.as_bytes())
        .query_async(&mut connection)
        .await
        .expect("an index");
    assert_eq!(store.create(&key(3), &record(Some("ada"))).await, Ok(true));
    assert_eq!(listed(&store, &ada).await, [key(2), key(3)].into());
    assert_eq!(store.len().await, Ok(2));
    assert_eq!(server.command::<u64>(&["EXISTS", &condemned]).await, 0);
}

/// Signing in with a session that is there already is a save.
#[tokio::test]
async fn the_limit_holds_for_saves_that_change_the_subject() {
    let server = RedisServer::start().await;
    let store = patient(server.url()).sessions_per_subject(1).connect().await.expect("a connection");
    for number in 1..=2 {
        let visitor = record(None);
        assert_eq!(store.create(&key(number), &visitor).await, Ok(true));
        let signed_in = next(&visitor).of_subject(Some(SubjectTag::new("ada")));
        assert_eq!(store.save(&key(number), &signed_in, visitor.version).await, Ok(Saved::Stored));
    }
    assert!(store.load(&key(1), Lookup::default()).await.expect("a load").is_none());
    assert!(store.load(&key(2), Lookup::default()).await.expect("a load").is_some());
}

/// A deletion that no replica has may be undone by a failover: with the option that is an error, not a promise.
#[tokio::test]
async fn a_deletion_waits_for_replicas_where_that_is_asked_for() {
    let mut primary = RedisServer::start().await;
    let store = patient(primary.url()).replicas(0, Duration::ZERO).connect().await.expect("a connection");
    assert_eq!(store.create(&key(1), &record(None)).await, Ok(true));
    assert_eq!(store.delete(&key(1)).await, Ok(true), "zero is off");

    let patient = |within| RedisStore::builder(primary.url()).replicas(1, within).connect();
    let store = patient(Duration::from_millis(200)).await.expect("a connection");
    assert_eq!(store.create(&key(3), &record(None)).await, Ok(true));
    let alone = store.delete(&key(3)).await;
    assert!(matches!(&alone, Err(error) if error.to_string().contains("only 0 of 1 replicas")), "{alone:?}");
    assert!(store.revoke_subject(&SubjectTag::new("ada")).await.is_err());

    let replica = RedisServer::builder().replica_of(primary.address().port()).start().await;
    session_faults::servers::until("the replica follows", async || {
        replica.info("master_link_status").await.ok().flatten().as_deref() == Some("up")
    })
    .await;
    let store = patient(Duration::from_secs(30)).await.expect("a connection");
    assert_eq!(store.create(&key(2), &record(None)).await, Ok(true));
    assert_eq!(store.delete(&key(2)).await, Ok(true));
    assert!(store.revoke_subject(&SubjectTag::new("ada")).await.is_ok());
    primary.kill();
}

/// Every write tells, in one message of 33 bytes: kind, tag, version.
#[tokio::test]
async fn writes_are_published() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    let mut heard = subscribe(&server, "session:changes").await;
    let (first, ada) = (record(Some("ada")), SubjectTag::new("ada"));
    assert_eq!(store.create(&key(1), &first).await, Ok(true));
    let second = next(&first);
    assert_eq!(store.save(&key(1), &second, first.version).await, Ok(Saved::Stored));
    assert!(matches!(store.save(&key(1), &next(&second), first.version).await, Ok(Saved::Conflict(_))));
    let touch = Lookup { touch: Some(SystemClock.now() + Duration::from_secs(90)), ..Lookup::default() };
    assert!(store.load(&key(1), touch).await.expect("a load").is_some());
    let epoch = store.revoke_subject(&ada).await.expect("a revocation");
    assert_eq!(store.delete(&key(1)).await, Ok(true));
    assert_eq!(store.clear().await, Ok(()));

    let message = |kind: u8, tag: &[u8; 16], version: [u8; 16]| [&[kind][..], tag, &version].concat();
    let expected = [
        message(b's', key(1).as_bytes(), second.version.to_bytes()),
        message(b'e', ada.as_bytes(), Version { counter: epoch, nonce: 0 }.to_bytes()),
        message(b'd', key(1).as_bytes(), [0; 16]),
        message(b'c', &[0; 16], [0; 16]),
    ];
    for expected in expected {
        assert_eq!(heard.recv().await, Some(expected));
    }
}

async fn subscribe(server: &RedisServer, channel: &str) -> tokio::sync::mpsc::UnboundedReceiver<Vec<u8>> {
    let (heard, receiver) = tokio::sync::mpsc::unbounded_channel();
    let url = format!("{}?protocol=resp3", server.url());
    let client = redis::Client::open(url).expect("a URL");
    let push = move |push: redis::PushInfo| {
        if let (redis::PushKind::Message, Some(redis::Value::BulkString(message))) =
            (push.kind, push.data.last())
        {
            let _ = heard.send(message.clone());
        }
        Ok::<(), redis::aio::SendError>(())
    };
    let config = redis::AsyncConnectionConfig::new().set_push_sender(push);
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection: MultiplexedConnection = connection.expect("a connection");
    connection.subscribe(channel).await.expect("a subscription");
    // The subscription ends with the connection.
    tokio::spawn(async move {
        core::future::pending::<()>().await;
        drop(connection);
    });
    receiver
}

/// While there is no server, callers don't wait for one; when it is back, so are the sessions.
#[tokio::test]
async fn a_lost_server_fails_fast_and_comes_back() {
    let mut server = RedisServer::builder().durable().start().await;
    let store = connect(&server.url()).await;
    assert_eq!(store.create(&key(1), &record(None)).await, Ok(true));
    server.kill();
    session_faults::servers::until("the store noticed", async || {
        matches!(store.load(&key(1), Lookup::default()).await, Err(StoreError::Unavailable { .. }))
            && store.stats().connected == 0
    })
    .await;
    assert!(!store.healthy().await);
    server.restart().await;
    session_faults::servers::until("the store is back", async || {
        matches!(store.load(&key(1), Lookup::default()).await, Ok(Some(_)))
    })
    .await;
    assert!(store.healthy().await && store.stats().reconnects >= 1);

    store.shutdown();
    let closed = store.load(&key(1), Lookup::default()).await;
    assert!(matches!(&closed, Err(error) if error.to_string().contains("shut down")), "{closed:?}");
}

#[tokio::test]
async fn scripts_are_sent_again_to_a_server_that_forgot_them() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    for number in 1..=3 {
        let _: () = server.command(&["SCRIPT", "FLUSH"]).await;
        assert_eq!(store.create(&key(number), &record(Some("ada"))).await, Ok(true));
        assert_eq!(store.delete(&key(number)).await, Ok(true));
    }
}

/// A lease is one holder's, and ends by itself.
#[tokio::test]
async fn leases_are_taken_in_turn() {
    let server = RedisServer::start().await;
    let store = connect(&server.url()).await;
    let long = Duration::from_secs(60);
    assert_eq!(store.lease(&key(1), 7, long).await, Ok(true));
    assert_eq!(store.lease(&key(1), 7, long).await, Ok(true));
    assert_eq!(store.lease(&key(1), 8, long).await, Ok(false));
    assert_eq!(store.lease(&key(2), 8, long).await, Ok(true));
    assert_eq!(store.release(&key(1), 8).await, Ok(()));
    assert_eq!(store.lease(&key(1), 8, long).await, Ok(false));
    assert_eq!(store.release(&key(1), 7).await, Ok(()));
    assert_eq!(store.lease(&key(1), 8, Duration::from_millis(1)).await, Ok(true));
    session_faults::servers::until("the lease has ended", async || {
        store.lease(&key(1), 9, long).await == Ok(true)
    })
    .await;
    assert_eq!(store.len().await, Ok(0));
}
