//! Sessions on a primary that Sentinels replace.

use core::time::Duration;
use std::time::Instant;

use session_faults::{
    history::{Outcome, Workload, check, run},
    pulse::{Pulse, sessions_in},
    report::report,
    servers::{MASTER_NAME, SentinelTrio, until},
};
use session_native::RedisStore;
use tokio::time::sleep;

/// What befalls the primary.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Dies,
    /// It comes back in the belief that it still is the primary.
    Freezes,
    /// An operator asks for it.
    IsReplaced,
}

/// The Sentinels need a second to find a primary dead, and some to agree on another.
const LONGEST: Duration = Duration::from_secs(20);

async fn fail_over(fate: Fate, scene: &str) {
    let mut trio = SentinelTrio::start().await;
    let hosts: Vec<_> = trio.sentinels.iter().map(|sentinel| sentinel.address().to_string()).collect();
    let url = format!("redis+sentinel://{}/{MASTER_NAME}", hosts.join(","));
    let sessions = sessions_in(RedisStore::connect(&url).await.expect("the servers are well"));
    let pulse = Pulse::start(&sessions, 4).await;
    let mut at_risk = 0..0;
    let (mut recovery, mut since) = (Duration::ZERO, Instant::now());
    let workload = Workload { clients: 8, operations: 2_000, ..Workload::default() };
    let mut history = run(&sessions, workload, async |now| {
        sleep(Duration::from_millis(500)).await;
        let old = trio.primary().await;
        at_risk.start = now();
        sleep(Duration::from_millis(200)).await;
        since = Instant::now();
        match fate {
            Fate::Dies => trio.servers[old].kill(),
            Fate::Freezes => trio.servers[old].stop(),
            Fate::IsReplaced => trio.fail_over().await,
        }
        let new = trio.primary_after(old).await;
        until("the new primary takes writes", async || {
            trio.servers[new].try_command::<()>(&["SET", "probe", "1"]).await.is_ok()
        })
        .await;
        until("the store is well", async || sessions.store().healthy().await).await;
        recovery = since.elapsed();
        // The store asks once a second; and the client library believes the first Sentinel that answers, which may not yet know.
        trio.until_all_name(new).await;
        sleep(Duration::from_secs(2)).await;
        at_risk.end = now();
        // From here on every acknowledgement counts, also while the old one comes back.
        match fate {
            Fate::Dies => trio.servers[old].relaunch(),
            Fate::Freezes => trio.servers[old].cont(),
            Fate::IsReplaced => {}
        }
        until("the old primary is a replica in step", async || {
            let server = &trio.servers[old];
            server.info("role").await.is_ok_and(|role| role.as_deref() == Some("slave"))
                && server.info("master_link_status").await.is_ok_and(|link| link.as_deref() == Some("up"))
        })
        .await;
        sleep(Duration::from_millis(500)).await;
    })
    .await;
    history.at_risk = at_risk;
    let beats = pulse.stop().await;
    let violations = check(&history);
    let (risky, undone) = history.undone();
    report(
        scene,
        "acknowledged writes of the failover itself may be undone (asynchronous replication), no others; errors within 1.5 s an operation",
        format_args!(
            "store back after {} ms (last error after {} ms, slowest error {} ms); {} operations, {} unknown: {} violations; \
             {risky} increments acknowledged at risk, {undone} undone",
            recovery.as_millis(),
            beats.recovery_after(since).as_millis(),
            beats.slowest_error().as_millis(),
            history.operations.len(),
            history.count(Outcome::Unknown),
            violations.len(),
        ),
    );
    assert_eq!(violations, []);
    assert!(beats.slowest_error() < Duration::from_secs(5) && recovery < LONGEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_dies() {
    fail_over(Fate::Dies, "Sentinel: the primary is killed, and comes back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_freezes() {
    fail_over(Fate::Freezes, "Sentinel: the primary freezes, and goes on").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_replaced() {
    fail_over(Fate::IsReplaced, "Sentinel: an operator's failover (READONLY)").await;
}
