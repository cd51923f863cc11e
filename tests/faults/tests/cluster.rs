//! Sessions in a Redis Cluster whose slots move and whose nodes die.

use core::time::Duration;
use std::{collections::BTreeSet, time::Instant};

use session_faults::{
    history::{Data, Outcome, Workload, assert_clean, run},
    pulse::{Pulse, sessions_in},
    report::report,
    servers::{RedisCluster, RedisServer, until},
};
use session_native::{RedisStore, Sessions, Stored};
use tokio::time::sleep;

/// A node is taken for dead after two seconds; then its replica is elected.
const LONGEST: Duration = Duration::from_secs(20);

struct World {
    cluster: RedisCluster,
    sessions: Sessions<Data, Stored<RedisStore>>,
}

impl World {
    async fn new() -> Self {
        let cluster = RedisCluster::start().await;
        let hosts: Vec<_> = cluster.servers.iter().map(|server| server.address().to_string()).collect();
        let url = format!("redis+cluster://{}", hosts.join(","));
        let store = RedisStore::connect(&url).await.expect("the cluster is well");
        Self { cluster, sessions: sessions_in(store) }
    }

    /// The slots of a server that hold sessions.
    async fn used_slots(&self, server: usize) -> BTreeSet<u16> {
        let server = &self.cluster.servers[server];
        let keys: Vec<String> = server.command(&["KEYS", "session:*"]).await;
        let mut slots = BTreeSet::new();
        for key in keys {
            slots.insert(server.command(&["CLUSTER", "KEYSLOT", &key]).await);
        }
        slots
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move() {
    let world = World::new().await;
    let pulse = Pulse::start(&world.sessions, 8).await;
    let workload = Workload { clients: 16, sessions: 16, operations: 5_000, ..Workload::default() };
    let mut moved = 0;
    let history = run(&world.sessions, workload, async |_| {
        sleep(Duration::from_millis(300)).await;
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            let mut moves = Vec::new();
            for slot in world.used_slots(from).await.into_iter().take(12) {
                moves.push(world.cluster.begin_move(slot, to).await);
            }
            moved += moves.len();
            // Some keys are here and some there: ASK.
            for a_move in &moves {
                a_move.move_keys(1).await;
            }
            sleep(Duration::from_millis(300)).await;
            for a_move in moves {
                a_move.finish().await;
            }
        }
        sleep(Duration::from_millis(300)).await;
    })
    .await;
    let beats = pulse.stop().await;
    report(
        "Cluster: slots with sessions move (ASK, MOVED)",
        "requests are redirected, 0 violations",
        format_args!("{moved} slots moved; {}; {beats}", history.summary()),
    );
    assert_clean(&history);
    assert_eq!(
        (beats.wrong, history.count(Outcome::Unknown), beats.errors()),
        (0, 0, 0),
        "{beats} {:?}",
        beats.messages
    );
    assert!(moved >= 10, "{moved}");
}

/// The client library sends a command again whose connection broke before its answer came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_break() {
    let world = World::new().await;
    let workload =
        Workload { clients: 32, sessions: 4, operations: 10_000, is_retried: true, ..Workload::default() };
    let (mut rounds, mut killed) = (0, 0);
    let history = run(&world.sessions, workload, async |_| {
        // On a busy machine they are made anew more slowly than they are broken.
        while rounds < 100 || killed < 100 && rounds < 3_000 {
            rounds += 1;
            for server in &world.cluster.servers[..3] {
                killed += server.command::<u64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    report(
        "Cluster: connections break under contention",
        "0 violations, no effect twice",
        format_args!("{killed} connections broken; {}", history.summary()),
    );
    assert_clean(&history);
    assert!(killed >= 100);
}

async fn lose_a_node(by: fn(&mut RedisServer), back: fn(&mut RedisServer), scene: &str) {
    let mut world = World::new().await;
    let pulse = Pulse::start(&world.sessions, 8).await;
    let mut at_risk = 0..0;
    let mut since = Instant::now();
    let sessions = world.sessions.clone();
    let workload =
        Workload { clients: 16, sessions: 16, operations: 2_000, is_retried: true, ..Workload::default() };
    let mut history = run(&sessions, workload, async |now| {
        sleep(Duration::from_millis(500)).await;
        at_risk.start = now();
        sleep(Duration::from_millis(200)).await;
        since = Instant::now();
        by(&mut world.cluster.servers[0]);
        until("a replica has taken over", async || {
            let nodes = world.cluster.nodes_by(&world.cluster.servers[1]).await;
            nodes.iter().any(|node| node.server == 3 && node.is_primary && !node.slots.is_empty())
        })
        .await;
        until("the store is well", async || sessions.store().healthy().await).await;
        at_risk.end = now();
        sleep(Duration::from_secs(2)).await;
        back(&mut world.cluster.servers[0]);
        until("the old primary is a replica in step", async || {
            let server = &world.cluster.servers[0];
            server.info("role").await.is_ok_and(|role| role.as_deref() == Some("slave"))
                && server.info("master_link_status").await.is_ok_and(|link| link.as_deref() == Some("up"))
        })
        .await;
        sleep(Duration::from_millis(500)).await;
    })
    .await;
    history.at_risk = at_risk;
    let beats = pulse.stop().await;
    let recovery = beats.recovery_after(since);
    let undone = history.undone();
    report(
        scene,
        "acknowledged writes of the failover itself may be undone (asynchronous replication), no others; errors within 1.5 s an operation",
        format_args!(
            "last error after {} ms (slowest error {} ms); {}; {undone}",
            recovery.as_millis(),
            beats.slowest_error().as_millis(),
            history.summary(),
        ),
    );
    assert_clean(&history);
    assert!(beats.slowest_error() < Duration::from_secs(5) && recovery < LONGEST, "{beats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_dies() {
    let scene = "Cluster: a primary is killed, and comes back";
    lose_a_node(RedisServer::kill, RedisServer::relaunch, scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_freezes() {
    let scene = "Cluster: a primary freezes, and goes on";
    lose_a_node(|server| server.stop(), |server| server.cont(), scene).await;
}
