//! Sessions on one server that is killed, stopped, full or a replica, and behind a network that misbehaves.

use core::time::Duration;
use std::time::Instant;

use session_faults::{
    history::{Data, cookie_of},
    proxy::{Faults, Flow, Proxy},
    pulse::{Beats, Pulse, sessions_in},
    report::report,
    servers::{RedisServer, RedisServerBuilder, until},
};
use session_native::{
    Client, Clock, Error, ManualClock, RedisStore, Sessions, Store as _, StoreError, Stored, SubjectTag,
    SystemClock,
};
use tokio::time::sleep;

/// One operation of the store takes at most 1.5 s, a request here makes two; the rest is for a busy machine.
const LONGEST: Duration = Duration::from_secs(5);

struct World {
    server: RedisServer,
    proxy: Proxy,
    sessions: Sessions<Data, Stored<RedisStore>>,
}

impl World {
    async fn new(options: RedisServerBuilder) -> Self {
        Self::by(SystemClock, options).await
    }

    async fn by(clock: impl Clock + Clone, options: RedisServerBuilder) -> Self {
        let server = options.start().await;
        let proxy = Proxy::before(server.address()).await;
        let builder = RedisStore::builder(proxy.url()).clock(clock.clone());
        let store = builder.connect().await.expect("the server is well");
        Self { server, proxy, sessions: sessions_in(store).clock(clock) }
    }

    async fn pulse(&self) -> Pulse<RedisStore> {
        let pulse = Pulse::start(&self.sessions, 4).await;
        sleep(Duration::from_millis(300)).await;
        pulse
    }
}

/// Waits until the store answers again, and a little longer; then counts.
async fn finish(world: &World, pulse: Pulse<RedisStore>) -> Beats {
    let store = world.sessions.store();
    until("the store is well", async || store.healthy().await).await;
    sleep(Duration::from_millis(500)).await;
    pulse.stop().await
}

#[track_caller]
fn assert_exact(beats: &Beats) {
    assert_eq!(beats.wrong, 0, "nothing acknowledged is lost, and nothing is done twice: {beats}");
    assert!(beats.slowest_error() < LONGEST, "errors come in time: {beats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again() {
    let mut world = World::new(RedisServer::builder().durable()).await;
    let pulse = world.pulse().await;
    world.server.kill();
    sleep(Duration::from_secs(1)).await;
    world.server.restart().await;
    let back = Instant::now();
    let beats = finish(&world, pulse).await;
    let recovery = beats.recovery_after(back);
    report(
        "killed, back after 1 s",
        "errors within 1.5 s, recovery within 1 s of its return, every acknowledged write present",
        format_args!("recovery {} ms; {beats}", recovery.as_millis()),
    );
    assert_exact(&beats);
    assert!(beats.errors() > 0 && recovery < LONGEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_for_five_seconds() {
    let world = World::new(RedisServer::builder()).await;
    let pulse = world.pulse().await;
    world.server.stop();
    sleep(Duration::from_secs(5)).await;
    world.server.cont();
    let back = Instant::now();
    let beats = finish(&world, pulse).await;
    let recovery = beats.recovery_after(back);
    report(
        "SIGSTOP for 5 s",
        "errors within 1.5 s an operation, recovery within 1 s, unknown writes at most once",
        format_args!("recovery {} ms; {beats}", recovery.as_millis()),
    );
    assert_exact(&beats);
    assert!(beats.errors() > 0 && recovery < LONGEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loading_its_data() {
    let version = RedisServer::start().await.info("redis_version").await.expect("the server is well");
    if version.is_some_and(|version| version.starts_with("6.")) {
        println!(
            "left out: Redis 6 looks at its connections every 2 MB that it loads, and can't be told to do so more often"
        );
        return;
    }
    // A millisecond for each key of the snapshot, so that it loads for two seconds; it looks at its connections all the while.
    let options = RedisServer::builder()
        .durable()
        .config("key-load-delay 1000")
        .config("loading-process-events-interval-bytes 1024");
    let mut world = World::new(options).await;
    let fill = "for i = 1, 2000 do redis.call('SET', 'filler:' .. i, string.rep('x', 100)) end";
    world.server.command::<()>(&["EVAL", fill, "0"]).await;
    world.server.command::<()>(&["BGREWRITEAOF"]).await;
    until("a snapshot is in the append-only file", async || {
        let written = world.server.info("aof_current_size").await.ok().flatten() != Some("0".to_owned());
        let rewriting = world.server.info("aof_rewrite_in_progress").await.ok().flatten();
        written && rewriting.as_deref() == Some("0")
    })
    .await;
    let pulse = world.pulse().await;
    world.server.kill();
    world.server.relaunch();
    until("it answers that it loads", async || {
        world
            .server
            .try_command::<()>(&["GET", "x"])
            .await
            .is_err_and(|error| error.code() == Some("LOADING"))
    })
    .await;
    // A visitor is not taken for an anonymous one (the pulse sees to that), and is told what is the matter.
    let nobody = SubjectTag::new("nobody");
    let error = world.sessions.store().epoch(&nobody).await.expect_err("it still loads");
    until("it has loaded", async || world.server.try_command::<()>(&["GET", "x"]).await.is_ok()).await;
    let back = Instant::now();
    let beats = finish(&world, pulse).await;
    let recovery = beats.recovery_after(back);
    report(
        "LOADING for 2 s",
        "errors at once, nobody is anonymous, recovery within 1 s, every acknowledged write present",
        format_args!("\"{error}\"; recovery {} ms; {beats}", recovery.as_millis()),
    );
    assert_exact(&beats);
    assert!(beats.errors() > 0 && recovery < LONGEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_memory() {
    let clock = ManualClock::default();
    let world = World::by(clock.clone(), RedisServer::builder()).await;
    let mut cookies = Vec::new();
    for subject in ["leaving", "leaving everywhere"] {
        let mut session = world.sessions.create();
        session.authenticate(subject);
        let cookie = world.sessions.commit(&mut session).await.expect("there is room").expect("a cookie");
        cookies.push(cookie_of(&cookie));
    }
    let load = async |cookie| world.sessions.load(cookie, &Client::default()).await.expect("loads go on");
    let pulse = world.pulse().await;
    world.server.command::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    world.server.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    sleep(Duration::from_millis(500)).await;

    // A tenth of the idle timeout later, loads extend their sessions.
    clock.advance(world.sessions.config().expiry.idle() / 10);
    let mut session = load(&cookies[0]).await;
    assert_eq!(session.subject(), Some("leaving"));
    assert_eq!(session.expires_at(), clock.now() + world.sessions.config().expiry.idle(), "extended");
    let mut other = load(&cookies[0]).await;
    other.data_mut().count = 7;
    let error = world.sessions.commit(&mut other).await.expect_err("there is no room");
    assert!(matches!(error, Error::Store(StoreError::Full { .. })), "{error}");
    world.sessions.destroy(&mut session).await.expect("signing out needs no room");
    assert!(!load(&cookies[0]).await.is_authenticated(), "signed out");
    assert!(load(&cookies[1]).await.is_authenticated());
    world.sessions.revoke_subject("leaving everywhere").await.expect("nor does signing out everywhere");
    assert!(!load(&cookies[1]).await.is_authenticated(), "signed out everywhere");

    world.server.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let back = Instant::now();
    let beats = finish(&world, pulse).await;
    let recovery = beats.recovery_after(back);
    report(
        "out of memory (noeviction)",
        "saves fail at once and say why; loads (extending ones too) and sign-outs go on, nothing is evicted or lost",
        format_args!("\"{error}\"; recovery {} ms; {beats}", recovery.as_millis()),
    );
    assert_exact(&beats);
    assert!(beats.errors() > 0 && recovery < LONGEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_becomes_a_replica() {
    let world = World::new(RedisServer::builder()).await;
    let next = RedisServer::builder().replica_of(world.server.port()).start().await;
    until("the replica is in step", async || {
        next.info("master_link_status").await.is_ok_and(|status| status.as_deref() == Some("up"))
    })
    .await;
    let pulse = world.pulse().await;
    // As an operator does it: writes pause, the replica catches up and takes over; the address still leads to the old one.
    world.server.command::<()>(&["FAILOVER"]).await;
    until("they have changed roles", async || {
        world.server.info("role").await.is_ok_and(|role| role.as_deref() == Some("slave"))
    })
    .await;
    sleep(Duration::from_millis(500)).await;
    world.proxy.aim(next.address());
    let moved = Instant::now();
    let beats = finish(&world, pulse).await;
    let recovery = beats.recovery_after(moved);
    report(
        "READONLY: the primary became a replica, then the address moves",
        "errors at once, the connection is made anew until it leads to a primary, nothing lost",
        format_args!("recovery {} ms; {beats}", recovery.as_millis()),
    );
    assert_exact(&beats);
    assert!(beats.errors() > 0 && recovery < LONGEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_are_lost_after_the_request_was_executed() {
    let world = World::new(RedisServer::builder()).await;
    let pulse = world.pulse().await;
    for _ in 0..50 {
        let lost = world.proxy.lost();
        world.proxy.lose_replies(b"EVALSHA", 1);
        until("a reply is lost", async || world.proxy.lost() > lost).await;
    }
    let beats = finish(&world, pulse).await;
    report(
        "reply lost after execution, 50 times",
        "an error that says \"unknown\", no effect twice",
        format_args!("{beats}"),
    );
    assert_exact(&beats);
    // What was lost had been executed: more is there than was acknowledged.
    assert!(beats.present > beats.acknowledged && beats.unknown >= 50, "{beats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_lost_before_they_are_executed() {
    let world = World::new(RedisServer::builder()).await;
    let pulse = world.pulse().await;
    for _ in 0..50 {
        let lost = world.proxy.lost();
        world.proxy.lose_requests(b"EVALSHA", 1);
        until("a request is lost", async || world.proxy.lost() > lost).await;
    }
    let beats = finish(&world, pulse).await;
    report("request lost, 50 times", "an error, and the next request goes through", format_args!("{beats}"));
    assert_exact(&beats);
    assert!(beats.unknown >= 50, "{beats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_a_black_hole() {
    let world = World::new(RedisServer::builder()).await;
    let pulse = world.pulse().await;
    world.proxy.forget_connections();
    let forgotten = Instant::now();
    sleep(Duration::from_secs(3)).await;
    let beats = finish(&world, pulse).await;
    let recovery = beats.recovery_after(forgotten);
    report(
        "half-open: the network forgets the connection",
        "errors within 1.5 s an operation, a new connection within 3 s",
        format_args!("recovery {} ms; {beats}", recovery.as_millis()),
    );
    assert_exact(&beats);
    assert!(beats.errors() > 0 && recovery < LONGEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_only_drips() {
    let world = World::new(RedisServer::builder()).await;
    let pulse = world.pulse().await;
    let drip = Flow::Drip(16, Duration::from_millis(20));
    world.proxy.set(Faults { replies: drip, ..Faults::default() });
    sleep(Duration::from_secs(3)).await;
    world.proxy.heal();
    let healed = Instant::now();
    let beats = finish(&world, pulse).await;
    let recovery = beats.recovery_after(healed);
    report(
        "slow drip: 16 bytes every 20 ms for 3 s",
        "an answer or an error within 1.5 s an operation, recovery within 1 s",
        format_args!(
            "recovery {} ms; slowest request {} ms; {beats}",
            recovery.as_millis(),
            beats.slowest().as_millis()
        ),
    );
    assert_exact(&beats);
    assert!(beats.slowest() < LONGEST && recovery < LONGEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_connections() {
    let world = World::new(RedisServer::builder()).await;
    let pulse = world.pulse().await;
    world.proxy.set(Faults { refuse: true, ..Faults::default() });
    world.proxy.cut();
    sleep(Duration::from_secs(1)).await;
    world.proxy.heal();
    let healed = Instant::now();
    let beats = finish(&world, pulse).await;
    let recovery = beats.recovery_after(healed);
    report(
        "connections refused for 1 s",
        "errors at once, recovery within 0.5 s",
        format_args!("recovery {} ms; {beats}", recovery.as_millis()),
    );
    assert_exact(&beats);
    assert!(beats.errors() > 0 && recovery < LONGEST);
}
