//! Sessions on a primary that Sentinels replace.

use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::{sync::Arc, time::Instant};

use session_faults::{
    history::{Moment, Outcome, Workload, assert_clean, check, cookie_of, run},
    pulse::{Pulse, sessions_in},
    report::report,
    servers::{MASTER_NAME, SentinelTrio, until},
};
use session_native::{Client, RedisStore, State};
use tokio::{task::JoinSet, time::sleep};

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

const BOTH: u32 = 2;

fn url(trio: &SentinelTrio) -> String {
    let hosts: Vec<_> = trio.sentinels.iter().map(|sentinel| sentinel.address().to_string()).collect();
    format!("redis+sentinel://{}/{MASTER_NAME}", hosts.join(","))
}

/// What is to survive.
#[derive(Clone, Copy, PartialEq)]
enum Promise {
    /// Nothing of what was acknowledged in the time of the failover.
    None,
    /// Sign-outs, for which both replicas are waited for.
    SignOuts,
}

/// Lets it befall the primary. Gives its number, and that of the new one, which the store has found.
async fn replace(trio: &mut SentinelTrio, fate: Fate, store: &RedisStore) -> (usize, usize) {
    let old = trio.primary().await;
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
    until("the store is well", async || store.healthy().await).await;
    (old, new)
}

/// Until both replicas have what was written before: on a busy machine they may be far behind.
async fn replicated(trio: &SentinelTrio) {
    let primary = &trio.servers[trio.primary().await];
    let mut connection = primary.connect().await.expect("the primary is well");
    until("the replicas have it", async || {
        let written =
            redis::pipe().set("probe", 1).cmd("WAIT").arg(2).arg(400).query_async(&mut connection).await;
        matches!(written, Ok(((), 2)))
    })
    .await;
}

/// The old primary comes back, and learns that it is a replica.
async fn bring_back(trio: &mut SentinelTrio, fate: Fate, old: usize) {
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
}

async fn fail_over(fate: Fate, promise: Promise, scene: &str) {
    let mut trio = SentinelTrio::start().await;
    let mut options = RedisStore::builder(url(&trio));
    let mut workload = Workload { clients: 8, operations: 2_000, ..Workload::default() };
    if promise == Promise::SignOuts {
        options = options.replicas(BOTH, Duration::from_millis(500));
        workload.sign_outs = 30;
    }
    let sessions = sessions_in(options.connect().await.expect("the servers are well"));
    let at_first = trio.epoch().await;
    let (mut at_last, mut was_disturbed) = (at_first, false);
    let pulse = Pulse::start(&sessions, 4).await;
    let mut at_risk = 0..0;
    let (mut recovery, mut since) = (Duration::ZERO, Instant::now());
    let mut history = run(&sessions, workload, async |now| {
        sleep(Duration::from_millis(500)).await;
        at_risk.start = now();
        replicated(&trio).await;
        sleep(Duration::from_millis(200)).await;
        was_disturbed = trio.epoch().await != at_first;
        since = Instant::now();
        let (old, new) = replace(&mut trio, fate, sessions.store()).await;
        recovery = since.elapsed();
        // The store asks once a second, whatever a Sentinel has not heard yet.
        trio.until_all_name(new).await;
        sleep(Duration::from_secs(2)).await;
        at_last = trio.epoch().await;
        at_risk.end = now();
        // From here on every acknowledgement counts, also while the old one comes back.
        bring_back(&mut trio, fate, old).await;
        sleep(Duration::from_millis(500)).await;
    })
    .await;
    was_disturbed |= trio.epoch().await != at_last;
    // By another failover than that of this scene: then nothing is known to have stayed.
    history.at_risk = if was_disturbed { 0..Moment::MAX } else { at_risk };
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
            "{}store back after {} ms (last error after {} ms, slowest error {} ms); {} operations, {} unknown: {} violations; \
             {undone}",
            if was_disturbed { "another failover, which nobody asked for; " } else { "" },
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

/// Signs users in and out everywhere, one after the other, until the primary was replaced and is back as a replica.
async fn revoke_all_the_while(fate: Fate, replicas: u32, scene: &str) -> usize {
    let mut trio = SentinelTrio::start().await;
    let options = RedisStore::builder(url(&trio)).replicas(replicas, Duration::from_millis(500));
    let sessions = sessions_in(options.connect().await.expect("the servers are well"));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut visitors = JoinSet::new();
    for visitor in 0..8 {
        let (sessions, is_over) = (sessions.clone(), Arc::clone(&is_over));
        visitors.spawn(async move {
            let mut revoked = Vec::new();
            let mut refused = 0;
            for number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let user = format!("user {visitor}.{number}");
                let mut session = sessions.create();
                session.authenticate(user.clone());
                let Ok(Some(cookie)) = sessions.commit(&mut session).await else {
                    // At once, while there is no primary: others must have their turn.
                    sleep(Duration::from_millis(5)).await;
                    continue;
                };
                let (begun, cookie) = (Instant::now(), cookie_of(&cookie));
                match sessions.revoke_subject(&user).await {
                    Ok(()) => revoked.push((begun, cookie)),
                    Err(_) => refused += 1,
                }
            }
            (revoked, refused)
        });
    }
    sleep(Duration::from_millis(500)).await;
    // What is acknowledged in the last moments before is at risk too.
    let begun = Instant::now();
    replicated(&trio).await;
    sleep(Duration::from_millis(200)).await;
    let (old, new) = replace(&mut trio, fate, sessions.store()).await;
    trio.until_all_name(new).await;
    bring_back(&mut trio, fate, old).await;
    let over = Instant::now();
    sleep(Duration::from_millis(500)).await;
    is_over.store(true, Ordering::Relaxed);

    let (mut all, mut at_risk, mut undone, mut refused) = (0, 0, 0, 0);
    for (revoked, refused_here) in visitors.join_all().await {
        refused += refused_here;
        for (when, cookie) in revoked {
            all += 1;
            at_risk += usize::from((begun..over).contains(&when));
            let session = sessions.load(&cookie, &Client::default()).await.expect("the store is well");
            undone += usize::from(session.state() == State::Active);
        }
    }
    let promised = match replicas {
        1.. => "no acknowledged revocation is undone (`replicas`: both had it)",
        0 => "revocations of the failover itself may be undone (asynchronous replication)",
    };
    report(
        scene,
        promised,
        format_args!(
            "{all} revocations acknowledged, {at_risk} of them in the failover: {undone} undone; {refused} not acknowledged"
        ),
    );
    assert!(all > at_risk && at_risk > 0, "{at_risk} of {all}");
    undone
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_that_waited_for_replicas_stay() {
    let scene = "Sentinel: the primary is killed, revocations wait for both replicas";
    assert_eq!(revoke_all_the_while(Fate::Dies, BOTH, scene).await, 0);
    let scene = "Sentinel: an operator's failover, revocations wait for both replicas";
    assert_eq!(revoke_all_the_while(Fate::IsReplaced, BOTH, scene).await, 0);
}

/// What they wait for: without, this is what can be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_that_waited_for_nobody_are_counted() {
    let scene = "Sentinel: the primary is killed, revocations wait for nobody";
    revoke_all_the_while(Fate::Dies, 0, scene).await;
}
