//! The servers do what tests of stores rely on.

use session_faults::servers::{RedisCluster, RedisServer, SentinelTrio, until};

/// A key, its slot and the three primaries' parts: `CLUSTER KEYSLOT foo` is 12182.
const FOO_SLOT: u16 = 12_182;

#[tokio::test]
async fn a_killed_server_comes_back_with_what_it_acknowledged() {
    let mut server = RedisServer::builder().durable().start().await;
    server.command::<()>(&["SET", "a", "1"]).await;
    server.kill();
    assert!(server.try_command::<()>(&["PING"]).await.expect_err("it is dead").is_connection_refusal());
    server.restart().await;
    assert_eq!(server.command::<String>(&["GET", "a"]).await, "1");
}

#[tokio::test]
async fn a_server_without_files_forgets() {
    let mut server = RedisServer::start().await;
    server.command::<()>(&["SET", "a", "1"]).await;
    server.kill();
    server.restart().await;
    assert_eq!(server.command::<Option<String>>(&["GET", "a"]).await, None);
}

#[tokio::test]
async fn a_stopped_server_answers_when_it_goes_on() {
    let server = RedisServer::start().await;
    server.stop();
    let command = ["SET", "a", "1"];
    let mut asked = core::pin::pin!(server.try_command::<()>(&command));
    let early = tokio::time::timeout(core::time::Duration::from_millis(300), &mut asked).await;
    assert!(early.is_err(), "a stopped server answers nothing");
    server.cont();
    asked.await.expect("its answer comes late, or the connection is made late");
}

#[tokio::test]
async fn passwords_users_and_sockets() {
    let server = RedisServer::builder().password("open").unix_socket().start().await;
    let stranger = redis::Client::open(format!("redis://127.0.0.1:{}", server.port())).unwrap();
    let mut connection = stranger.get_multiplexed_async_connection().await.unwrap();
    let refused = redis::cmd("PING").exec_async(&mut connection).await.expect_err("a password is asked for");
    assert_eq!(refused.code(), Some("NOAUTH"));
    assert!(server.unix_url().ends_with("/socket") && server.directory().join("socket").exists());

    let server = RedisServer::builder().user("app", "open").start().await;
    assert_eq!(server.command::<String>(&["ACL", "WHOAMI"]).await, "app");
    let stranger = redis::Client::open(format!("redis://127.0.0.1:{}", server.port())).unwrap();
    let mut connection = stranger.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("PING").exec_async(&mut connection).await.expect_err("the default user is off");
}

#[tokio::test]
async fn the_sentinels_replace_a_dead_primary() {
    let mut trio = SentinelTrio::start().await;
    assert_eq!(trio.primary().await, 0);
    trio.servers[0].kill();
    let new = trio.primary_after(0).await;
    until("the new primary takes writes", async || {
        trio.servers[new].try_command::<()>(&["SET", "a", "1"]).await.is_ok()
    })
    .await;
    // The old one comes back as a replica.
    trio.servers[0].restart().await;
    until("the old primary becomes a replica", async || {
        trio.servers[0].info("role").await.unwrap().as_deref() == Some("slave")
    })
    .await;
}

#[tokio::test]
async fn a_slot_moves_while_the_cluster_serves_it() {
    let cluster = RedisCluster::start().await;
    assert_eq!(cluster.nodes().await.iter().filter(|node| node.is_primary).count(), 3);
    assert_eq!(cluster.primary_of(FOO_SLOT).await, Some(2));
    cluster.servers[2].command::<()>(&["SET", "foo", "1"]).await;

    let moving = cluster.begin_move(FOO_SLOT, 0).await;
    assert_eq!(moving.move_keys(10).await, 1);
    let asked = cluster.servers[2].try_command::<()>(&["GET", "foo"]).await.expect_err("it was moved");
    assert_eq!(asked.code(), Some("ASK"));
    moving.finish().await;
    let moved = cluster.servers[2].try_command::<()>(&["GET", "foo"]).await.expect_err("its slot was moved");
    assert_eq!(moved.code(), Some("MOVED"));
    assert_eq!(cluster.servers[0].command::<String>(&["GET", "foo"]).await, "1");
    cluster.until_whole().await;
}

#[tokio::test]
async fn a_replica_takes_over_from_a_dead_node() {
    let mut cluster = RedisCluster::start().await;
    cluster.servers[2].command::<()>(&["SET", "foo", "1"]).await;
    // The write is on its replica before the primary dies.
    until("the replica has the key", async || cluster.servers[5].command::<u64>(&["DBSIZE"]).await == 1)
        .await;
    cluster.servers[2].kill();
    until("the replica serves the slot", async || cluster.primary_of(FOO_SLOT).await == Some(5)).await;
    assert_eq!(cluster.servers[5].command::<String>(&["GET", "foo"]).await, "1");
    cluster.servers[2].restart().await;
    cluster.until_whole().await;
}
