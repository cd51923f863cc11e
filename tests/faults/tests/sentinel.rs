//! Sessions on a primary that Sentinels replace.

use core::{num::NonZeroU32, time::Duration};
use std::time::Instant;

use session_faults::{
    history::{Outcome, Workload, assert_clean, check, run},
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

/// What is to survive.
#[derive(Clone, Copy, PartialEq)]
enum Promise {
    /// Nothing of what was acknowledged in the time of the failover.
    None,
    /// Sign-outs, for which both replicas are waited for.
    SignOuts,
}

async fn fail_over(fate: Fate, promise: Promise, scene: &str) {
    let mut trio = SentinelTrio::start().await;
    let hosts: Vec<_> = trio.sentinels.iter().map(|sentinel| sentinel.address().to_string()).collect();
    let url = format!("redis+sentinel://{}/{MASTER_NAME}", hosts.join(","));
    let mut options = RedisStore::builder(url);
    let mut workload = Workload { clients: 8, operations: 2_000, ..Workload::default() };
    if promise == Promise::SignOuts {
        let both = NonZeroU32::new(2).expect("two");
        options = options.replicas(both, Duration::from_millis(500));
        workload.sign_outs = 30;
    }
    let sessions = sessions_in(options.connect().await.expect("the servers are well"));
    let pulse = Pulse::start(&sessions, 4).await;
    let mut at_risk = 0..0;
    let (mut recovery, mut since) = (Duration::ZERO, Instant::now());
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
        // The store asks once a second, whatever a Sentinel has not heard yet.
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
    let undone = history.undone();
    let promised = match promise {
        Promise::None => {
            "acknowledged writes of the failover itself may be undone (asynchronous replication), no others; errors within 1.5 s an operation"
        }
        Promise::SignOuts => "no acknowledged sign-out is undone (`replicas`: both had it)",
    };
    report(
        scene,
        promised,
        format_args!(
            "store back after {} ms (last error after {} ms, slowest error {} ms); {} operations, {} unknown: {} violations; \
             {undone}",
            recovery.as_millis(),
            beats.recovery_after(since).as_millis(),
            beats.slowest_error().as_millis(),
            history.operations.len(),
            history.count(Outcome::Unknown),
            violations.len(),
        ),
    );
    assert_clean(&history);
    if promise == Promise::SignOuts {
        assert!(undone.sign_outs.at_risk > 0 && undone.sign_outs.undone == 0, "{undone}");
    }
    assert!(beats.slowest_error() < Duration::from_secs(5) && recovery < LONGEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_dies() {
    fail_over(Fate::Dies, Promise::None, "Sentinel: the primary is killed, and comes back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_freezes() {
    fail_over(Fate::Freezes, Promise::None, "Sentinel: the primary freezes, and goes on").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_replaced() {
    fail_over(Fate::IsReplaced, Promise::None, "Sentinel: an operator's failover (READONLY)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_outs_that_waited_for_replicas_stay() {
    let scene = "Sentinel: an operator's failover, sign-outs wait for both replicas";
    fail_over(Fate::IsReplaced, Promise::SignOuts, scene).await;
    let scene = "Sentinel: the primary is killed, sign-outs wait for both replicas";
    fail_over(Fate::Dies, Promise::SignOuts, scene).await;
}
