//! The Redis store over TLS, to real servers: whom it trusts, whom it doesn't and how it says so, alone, behind Sentinels and in a cluster.

#![cfg(all(feature = "redis", feature = "cache"))]

use core::time::Duration;

use session_faults::servers::{Authority, MASTER_NAME, RedisCluster, RedisServer, SentinelTrio, until};
use session_native::{
    Clock as _, Key, Query as _, RedisStore, Store as _, StoreError, SystemClock, Version,
    store::{Lookup, Record, RedisStoreBuilder, cached::CachedStore},
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

/// Whether the servers at hand speak TLS. If not, says that nothing was tested.
fn can_test() -> bool {
    let can = RedisServer::has_tls();
    if !can {
        println!("left out: the server program was built without TLS, name another one in REDIS_SERVER");
    }
    can
}

fn trusting(url: impl Into<String>, authority: &Authority) -> RedisStoreBuilder {
    RedisStore::builder(url).root_certificates(authority.certificate())
}

fn key(number: u8) -> Key {
    Key::from_bytes([number; 16])
}

fn record() -> Record {
    Record::new(Version { counter: 1, nonce: 1 }, SystemClock.now() + Duration::from_secs(60), "{}")
}

/// Writes, reads and lists, over a store and a cache before another that hears of it.
async fn works(options: impl Fn() -> RedisStoreBuilder) {
    // Handshakes with a whole cluster take their time on a busy machine.
    let connect = async || {
        let mut store = None;
        until("a connection", async || match options().connect().await {
            Ok(connected) => {
                store = Some(connected);
                true
            }
            Err(error) if error.is_unavailable() => false,
            Err(error) => panic!("a trusted server: {error}"),
        })
        .await;
        store.expect("connected above")
    };
    let (store, far) = (connect().await, connect().await);
    let feed = far.feed().expect("writes are published");
    let cache = CachedStore::new(far, feed);
    cache.live().await;
    // In several slots.
    for number in 0..16 {
        assert_eq!(store.create(&key(number), &record()).await, Ok(true));
        assert!(cache.load(&key(number), Lookup::default()).await.expect("a load").is_some());
    }
    assert_eq!(store.len().await, Ok(16));
    until("the cache answers", async || {
        cache.load(&key(3), Lookup::default()).await.expect("a load");
        cache.stats().hits > 0
    })
    .await;
    assert_eq!(store.delete(&key(3)).await, Ok(true));
    until("the cache has heard of the deletion", async || {
        cache.load(&key(3), Lookup::default()).await.expect("a load").is_none()
    })
    .await;
    assert!(store.healthy().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server() {
    if !can_test() {
        return;
    }
    let authority = Authority::new();
    let server = RedisServer::builder().tls(&authority).user("ada", "hunter2").start().await;
    works(|| trusting(server.url(), &authority)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_the_primary_they_name() {
    if !can_test() {
        return;
    }
    let authority = Authority::new();
    let trio = SentinelTrio::start_with(RedisServer::builder().tls(&authority)).await;
    let hosts: Vec<_> = trio.sentinels.iter().map(|sentinel| sentinel.address().to_string()).collect();
    let url = format!("rediss+sentinel://{}/{MASTER_NAME}", hosts.join(","));
    works(|| trusting(&url, &authority)).await;
    let error = trusting(&url, &Authority::new()).connect().await.err();
    assert!(matches!(&error, Some(StoreError::Misconfigured { .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster() {
    if !can_test() {
        return;
    }
    let authority = Authority::new();
    let cluster = RedisCluster::start_with(RedisServer::builder().tls(&authority)).await;
    let hosts: Vec<_> = cluster.servers.iter().map(|server| server.address().to_string()).collect();
    let url = format!("rediss+cluster://{}", hosts.join(","));
    works(|| trusting(&url, &authority)).await;
    let error = trusting(&url, &Authority::new()).connect().await.err();
    assert!(error.is_some_and(|error| error.to_string().contains("certificate")));
}

/// Whom the store can't trust, it doesn't talk to, and says what is wrong and what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_trusted_is_refused() {
    if !can_test() {
        return;
    }
    let authority = Authority::new();
    let server = RedisServer::builder().tls(&authority).start().await;
    let by_name = server.url().replace("127.0.0.1", "localhost");
    // Plain words, to whoever comes.
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let plain_url = format!("rediss://{}", plain.local_addr().expect("a bound port"));
    let plain = tokio::spawn(async move {
        while let Ok((mut client, _)) = plain.accept().await {
            let _ = client.write_all(b"-ERR unknown command\r\n").await;
        }
    });
    let cases = [
        (
            trusting(server.url(), &Authority::new()),
            "UnknownIssuer",
            "`RedisStoreBuilder::root_certificates`",
        ),
        (RedisStore::builder(server.url()), "UnknownIssuer", "`RedisStoreBuilder::root_certificates`"),
        (trusting(by_name, &authority), "not valid for name", "the URL has to name the server"),
        (trusting(plain_url, &authority), "corrupt message", "doesn't speak TLS on this port"),
    ];
    for (number, (options, what, advice)) in cases.into_iter().enumerate() {
        let error = options.connect().await.expect_err("nobody to be trusted");
        assert!(matches!(error, StoreError::Misconfigured { .. }), "{number}: {error}");
        let text = error.to_string();
        assert!(text.contains(what) && text.contains(advice), "{number}: {text}");
    }
    plain.abort();
    // The other way round there is no telling: the server hangs up on what is no TLS.
    let plainly = RedisStore::connect(&server.url().replace("rediss:", "redis:")).await.err();
    assert!(matches!(plainly, Some(StoreError::Unavailable { .. })), "{plainly:?}");
}

/// A server may want to know its clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_show_their_certificate() {
    if !can_test() {
        return;
    }
    let authority = Authority::new();
    let server = RedisServer::builder().tls(&authority).client_certificates().start().await;
    let own = authority.issue("shop.example");
    works(|| trusting(server.url(), &authority).client_certificate(own.certificate.clone(), own.key.clone()))
        .await;
    let strangers = Authority::new().issue("shop.example");
    let stranger =
        trusting(server.url(), &authority).client_certificate(strangers.certificate, strangers.key);
    for options in [trusting(server.url(), &authority), stranger] {
        let error = options.connect().await.expect_err("no way in");
        assert!(matches!(error, StoreError::Misconfigured { .. }), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}
