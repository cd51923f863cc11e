//! The proxy does what tests of stores rely on.

use core::time::Duration;

use redis::{AsyncConnectionConfig, Client, RedisResult, aio::MultiplexedConnection};
use session_faults::{
    proxy::{Faults, Flow, Proxy},
    servers::RedisServer,
};

/// Short, as the answers that it waits for never come.
const TIMEOUT: Duration = Duration::from_millis(300);

struct World {
    server: RedisServer,
    proxy: Proxy,
}

impl World {
    async fn new() -> Self {
        let server = RedisServer::start().await;
        let proxy = Proxy::before(server.address()).await;
        Self { server, proxy }
    }

    async fn connect_for(&self, timeout: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        Client::open(self.proxy.url())?.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn connect(&self) -> MultiplexedConnection {
        self.connect_for(Duration::from_secs(30)).await.expect("a connection through the proxy")
    }

    async fn count(&self) -> Option<u64> {
        self.server.command(&["GET", "count"]).await
    }
}

async fn increment(connection: &mut MultiplexedConnection) -> RedisResult<u64> {
    redis::cmd("INCR").arg("count").query_async(connection).await
}

#[tokio::test]
async fn without_faults_it_is_not_there() {
    let world = World::new().await;
    let mut connection = world.connect().await;
    let large = "x".repeat(1 << 20);
    redis::cmd("SET").arg("large").arg(&large).exec_async(&mut connection).await.unwrap();
    let back: String = redis::cmd("GET").arg("large").query_async(&mut connection).await.unwrap();
    assert!(back == large && world.proxy.connections() == 1 && world.proxy.lost() == 0);
}

#[tokio::test]
async fn a_lost_request_is_not_executed() {
    let world = World::new().await;
    let mut connection = world.connect().await;
    world.proxy.lose_requests(b"INCR", 1);
    let error = increment(&mut connection).await.expect_err("its connection was reset");
    assert!(error.is_connection_dropped(), "{error}");
    assert_eq!((world.count().await, world.proxy.lost()), (None, 1));
    assert_eq!(increment(&mut world.connect().await).await, Ok(1), "only one was to be lost");
}

#[tokio::test]
async fn a_request_whose_reply_is_lost_is_executed() {
    let world = World::new().await;
    let mut connection = world.connect().await;
    world.proxy.lose_replies(b"INCR", 2);
    increment(&mut connection).await.expect_err("its reply was lost");
    assert_eq!(world.count().await, Some(1));
    increment(&mut world.connect().await).await.expect_err("its reply was lost");
    assert_eq!((world.count().await, world.proxy.lost()), (Some(2), 2));
    assert_eq!(increment(&mut world.connect().await).await, Ok(3));
}

#[tokio::test]
async fn a_half_open_connection_stays_dead_and_a_stalled_one_goes_on() {
    let world = World::new().await;
    let mut stalled = world.connect().await;
    world.proxy.set(Faults { replies: Flow::Hold, ..Faults::default() });
    let mut asked = core::pin::pin!(increment(&mut stalled));
    assert!(tokio::time::timeout(TIMEOUT, &mut asked).await.is_err(), "its reply is held");
    world.proxy.heal();
    assert_eq!(asked.await, Ok(1));

    let mut swallowed = world.connect_for(TIMEOUT).await.unwrap();
    world.proxy.set(Faults { requests: Flow::Swallow, ..Faults::default() });
    assert!(increment(&mut swallowed).await.expect_err("its request vanished").is_timeout());
    world.proxy.heal();
    assert!(increment(&mut swallowed).await.expect_err("bytes are missing").is_timeout());
    assert_eq!(world.count().await, Some(1));
}

#[tokio::test]
async fn a_forgotten_connection_is_a_black_hole_and_a_new_one_is_not() {
    let world = World::new().await;
    let mut forgotten = world.connect_for(TIMEOUT).await.unwrap();
    assert_eq!(increment(&mut forgotten).await, Ok(1));
    world.proxy.forget_connections();
    assert!(increment(&mut forgotten).await.expect_err("nothing comes back").is_timeout());
    assert_eq!(increment(&mut world.connect().await).await, Ok(2));
}

#[tokio::test]
async fn bytes_drip_and_are_delayed_and_all_arrive() {
    let world = World::new().await;
    let mut connection = world.connect().await;
    let drip = Flow::Drip(1, Duration::from_millis(1));
    world.proxy.set(Faults { requests: drip, replies: drip, delay: Duration::from_millis(5), refuse: false });
    assert_eq!(increment(&mut connection).await, Ok(1));
}

#[tokio::test]
async fn connections_are_cut_and_refused() {
    let world = World::new().await;
    let mut connection = world.connect().await;
    assert_eq!(increment(&mut connection).await, Ok(1));
    world.proxy.set(Faults { refuse: true, ..Faults::default() });
    assert_eq!(increment(&mut connection).await, Ok(2), "the connections that are there stay");
    world.proxy.cut();
    increment(&mut connection).await.expect_err("it was cut");
    assert!(world.connect_for(TIMEOUT).await.expect_err("the port is closed").is_connection_refusal());
    world.proxy.heal();
    while world.connect_for(TIMEOUT).await.is_err() {
        tokio::task::yield_now().await;
    }
}
