//! The connections to Redis: a small manager of our own.
//!
//! The client library's manager lets callers wait far beyond their response timeout while it reconnects, never gives up a connection that only
//! times out, and goes on writing to a primary that Sentinel has replaced. Here a connection that broke, that timed out several times in a
//! row, or whose server became a replica is replaced at once by a new one, through the Sentinels if there are any; while there is none,
//! callers fail fast.

use core::{
    error::Error,
    sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use std::{io, sync::Arc};

use redis::{
    Cmd, ConnectionAddr, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult,
    ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};
use rustls::{AlertDescription, CertificateError};
use session_core::{OsRandom, Random as _};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    RedisStats,
    dial::{Dialer, Timeouts},
};
use crate::store::StoreError;

/// So many timeouts in a row of one server: the connection is replaced.
const TIMEOUTS_OF_A_NODE: u8 = 3;
/// So many in a row of one bucket of a cluster: its node may be frozen, and a new connection learns who took over.
const TIMEOUTS_OF_A_BUCKET: u8 = 2;
/// A command that was dropped after this long is held against the connection; a client that hung up earlier says nothing about it.
const SUSPICIOUS: Duration = Duration::from_millis(250);
/// How long making a connection may take in all: asking Sentinels, learning a cluster's nodes.
const DIAL: Duration = Duration::from_secs(2);
/// How often the Sentinels are asked who the primary is.
const LOOK: Duration = Duration::from_secs(1);
/// Between tries to connect, in milliseconds.
const SHORTEST_PAUSE: u64 = 20;
const LONGEST_PAUSE: u64 = 300;
/// A cluster's connection, which serves the healthy nodes all the while, is not replaced more often than this.
const CLUSTER_PAUSE: Duration = Duration::from_secs(1);

/// How often a command is sent on to where its slot is, after the client library has given up on it.
const MOST_REDIRECTIONS: usize = 4;

/// A connection, shared by everyone who uses it at the time.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    Node(MultiplexedConnection),
    /// To all of a cluster.
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Node(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

impl Connection {
    /// Sends one command.
    async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        let mut sent: RedisResult<Value> = command.query_async(self).await;
        if let Self::Cluster(cluster) = self {
            for _ in 0..MOST_REDIRECTIONS {
                sent = match sent {
                    Err(error) if error.redirect_node().is_some() => {
                        Box::pin(follow(cluster, command, error)).await
                    }
                    done => return done,
                };
            }
        }
        sent
    }
}

/// Sends a command to where its slot is, or is moving. The client library has tried that too, but lets other commands come between `ASKING`
/// and the command: then it is sent away again, and on a busy connection always. Nothing comes between the two in a pipeline.
async fn follow(cluster: &mut ClusterConnection, command: &Cmd, sent_away: RedisError) -> RedisResult<Value> {
    let target = sent_away.redirect_node().and_then(|(address, _)| address.rsplit_once(':'));
    let Some((host, Ok(port))) = target.map(|(host, port)| (host.to_owned(), port.parse())) else {
        return Err(sent_away);
    };
    let node = SingleNodeRoutingInfo::ByAddress { host, port };
    let mut commands = redis::pipe();
    let is_moving = sent_away.kind() == ErrorKind::Server(ServerErrorKind::Ask);
    if is_moving {
        commands.cmd("ASKING");
    }
    commands.add_command(command.clone());
    let values = cluster.route_pipeline(commands, 0, 1 + usize::from(is_moving), node).await?;
    values.into_iter().next_back().ok_or(sent_away)?.extract_error()
}

/// Several connections, used in turn.
pub(super) struct Connections {
    lanes: Box<[Lane]>,
    next: AtomicUsize,
    timeouts: Timeouts,
    is_cluster: bool,
}

/// One connection after the other.
struct Lane {
    link: Arc<watch::Sender<Link>>,
    /// Timeouts in a row: of each bucket in a cluster, else of the server (the first).
    timeouts: Box<[AtomicU8]>,
    counters: Arc<Counters>,
    supervisor: AbortHandle,
}

/// A command under way. Whoever waits for it may have less patience than we have, and drop it: if that took long, it counts as a timeout.
struct Unanswered<'a> {
    lane: &'a Lane,
    bucket: u8,
    generation: u64,
    since: Instant,
    is_over: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.is_over && self.since.elapsed() >= SUSPICIOUS {
            self.lane.timed_out(self.bucket, self.generation);
        }
    }
}

#[derive(Default)]
struct Counters {
    reconnects: AtomicU64,
    timeouts: AtomicU64,
    failures: AtomicU64,
}

enum Link {
    /// There is a connection. A suspect one is used until there is a better one.
    Up {
        connection: Connection,
        /// Whom the Sentinels named; a feed compares it with where it listens.
        #[cfg_attr(not(feature = "cache"), allow(dead_code))]
        server: Option<ConnectionAddr>,
        generation: u64,
        suspect: bool,
    },
    /// There was one a moment ago, or there is about to be the first: callers wait.
    Connecting,
    /// Connecting failed, and is tried again: callers don't wait.
    Down(StoreError),
    /// Shut down.
    Closed,
}

impl Connections {
    /// Connects, so many times.
    pub(super) async fn open(
        dialer: Arc<Dialer>,
        count: usize,
        timeouts: Timeouts,
    ) -> Result<Self, StoreError> {
        let lanes: Box<[Lane]> = (0..count.max(1)).map(|_| Lane::open(Arc::clone(&dialer))).collect();
        let connections =
            Self { lanes, next: AtomicUsize::new(0), timeouts, is_cluster: dialer.is_cluster() };
        for lane in &connections.lanes {
            lane.connection().await?;
        }
        Ok(connections)
    }

    pub(super) const fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Sends one command.
    pub(super) async fn query<T: FromRedisValue>(&self, bucket: u8, command: &Cmd) -> Result<T, StoreError> {
        let value = self.run(bucket, async |mut connection: Connection| connection.send(command).await);
        read(value.await?)
    }

    /// Sends one command to a node of a cluster; without a cluster, to the server there is.
    pub(super) async fn query_at<T: FromRedisValue>(
        &self,
        node: SingleNodeRoutingInfo,
        command: Cmd,
    ) -> Result<T, StoreError> {
        let value = self.run(0, async |connection| match connection {
            Connection::Node(mut connection) => command.query_async(&mut connection).await,
            Connection::Cluster(mut cluster) => {
                cluster.route_command(command, RoutingInfo::SingleNode(node)).await
            }
        });
        read(value.await?)
    }

    /// Sends a script, and `WAIT`, to the primary of a key, in one go: `WAIT` counts replicas that have what its own connection wrote. Gives what
    /// the script returned, and the number of replicas.
    pub(super) async fn eval_and_wait<T: FromRedisValue>(
        &self,
        bucket: u8,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd),
        (replicas, within): (u32, Duration),
    ) -> Result<(T, u32), StoreError> {
        let mut both = redis::pipe();
        // Its text: that the hash isn't known can't be mended in the midst of a pipeline.
        both.add_command(script.by_text(keys, &arguments));
        both.cmd("WAIT").arg(replicas).arg(within.as_millis().max(1) as u64);
        let route = SingleNodeRoutingInfo::SpecificNode(Route::with_key(keys[0], SlotAddr::Master));
        let values = self.run(bucket, async |connection| match connection {
            Connection::Node(mut connection) => both.query_async(&mut connection).await,
            Connection::Cluster(mut cluster) => {
                let values = cluster.route_pipeline(both, 0, 2, route).await?;
                values.into_iter().map(Value::extract_error).collect::<RedisResult<Vec<Value>>>()
            }
        });
        read(Value::Array(values.await?))
    }

    /// Does something with a connection.
    pub(super) async fn run<T, Work>(
        &self,
        bucket: u8,
        work: impl FnOnce(Connection) -> Work + Send,
    ) -> Result<T, StoreError>
    where
        Work: Future<Output = RedisResult<T>> + Send,
    {
        let lane = &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()];
        let (connection, generation) = match lane.settled() {
            Some(settled) => settled?,
            None => Box::pin(timeout(self.timeouts.operation, lane.connection()))
                .await
                .unwrap_or_else(|_| Err(timed_out(self.timeouts.operation)))?,
        };
        let mut unanswered = Unanswered { lane, bucket, generation, since: Instant::now(), is_over: false };
        // The client library has the time limits (`dial.rs`): another timer for each command would cost more than sending it.
        let answer = work(connection).await;
        unanswered.is_over = true;
        match answer {
            Ok(value) => {
                lane.answered(bucket);
                Ok(value)
            }
            Err(error) => {
                lane.failed(bucket, generation, &error);
                Err(if error.is_timeout() { timed_out(self.timeouts.response) } else { store_error(&error) })
            }
        }
    }

    /// Runs a script on keys of one bucket, sending its text only where it isn't known yet.
    pub(super) async fn eval<T: FromRedisValue>(
        &self,
        bucket: u8,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd) + Sync + Send,
    ) -> Result<T, StoreError> {
        let known = script.by_hash(keys, &arguments);
        let value =
            self.run(bucket, async |mut connection: Connection| match connection.send(&known).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    Box::pin(async { connection.send(&script.by_text(keys, &arguments)).await }).await
                }
                other => other,
            });
        read(value.await?)
    }

    pub(super) fn stats(&self) -> RedisStats {
        let mut stats = RedisStats { connections: self.lanes.len(), ..RedisStats::default() };
        for Lane { link, counters, .. } in &self.lanes {
            stats.connected += usize::from(matches!(*link.borrow(), Link::Up { .. }));
            stats.reconnects += counters.reconnects.load(Ordering::Relaxed);
            stats.timeouts += counters.timeouts.load(Ordering::Relaxed);
            stats.failures += counters.failures.load(Ordering::Relaxed);
        }
        stats
    }

    /// Whether every connection is to this server, as the Sentinels named it.
    #[cfg(feature = "cache")]
    pub(super) fn are_to(&self, address: &ConnectionAddr) -> bool {
        self.lanes.iter().all(|lane| lane.link.borrow().is_to(address))
    }

    /// Has every connection replaced that is to another server than this one.
    #[cfg(feature = "cache")]
    pub(super) async fn move_to(&self, address: &ConnectionAddr) -> Result<(), StoreError> {
        for lane in &self.lanes {
            lane.link.send_if_modified(|link| {
                let is_elsewhere = matches!(link, Link::Up { .. }) && !link.is_to(address);
                if is_elsewhere {
                    *link = Link::Connecting;
                }
                is_elsewhere
            });
            lane.connection().await?;
        }
        Ok(())
    }

    /// Closes every connection; what is under way may still finish.
    pub(super) fn close(&self) {
        for lane in &self.lanes {
            lane.supervisor.abort();
            lane.link.send_replace(Link::Closed);
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.close();
    }
}

impl Lane {
    fn open(dialer: Arc<Dialer>) -> Self {
        let buckets = if dialer.is_cluster() { 256 } else { 1 };
        let link = Arc::new(watch::Sender::new(Link::Connecting));
        let counters = Arc::<Counters>::default();
        let supervisor =
            tokio::spawn(supervise(dialer, Arc::clone(&link), Arc::clone(&counters))).abort_handle();
        let timeouts = (0..buckets).map(|_| AtomicU8::new(0)).collect();
        Self { link, timeouts, counters, supervisor }
    }

    /// The connection there is, or why there is none; `None` if one is being made.
    fn settled(&self) -> Option<Result<(Connection, u64), StoreError>> {
        self.link.borrow().settled()
    }

    /// The connection there is. Waits for one only where there is hope.
    async fn connection(&self) -> Result<(Connection, u64), StoreError> {
        let mut link = self.link.subscribe();
        let link = link.wait_for(|link| !matches!(link, Link::Connecting)).await;
        link.ok().and_then(|link| link.settled()).unwrap_or_else(|| Err(closed()))
    }

    fn timeouts(&self, bucket: u8) -> &AtomicU8 {
        &self.timeouts[usize::from(bucket) % self.timeouts.len()]
    }

    fn is_cluster(&self) -> bool {
        self.timeouts.len() > 1
    }

    fn answered(&self, bucket: u8) {
        let timeouts = self.timeouts(bucket);
        // Usually zero: then nothing is written, and no cache line moves between processors.
        if timeouts.load(Ordering::Relaxed) != 0 {
            timeouts.store(0, Ordering::Relaxed);
        }
    }

    fn failed(&self, bucket: u8, generation: u64, error: &RedisError) {
        if error.is_timeout() {
            return self.timed_out(bucket, generation);
        }
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        if self.is_useless_after(error) {
            self.replace(generation);
        } else {
            self.answered(bucket);
        }
    }

    fn is_useless_after(&self, error: &RedisError) -> bool {
        let is_of_a_replica = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) // As a script of Redis 6.2 says it.
        ) || error.detail().is_some_and(|detail| detail.contains("-READONLY "));
        if self.is_cluster() {
            // It looks after its nodes itself; what it can't mend is to know none of them any more, to be gone, and a pipeline that was sent
            // to where a slot used to be.
            error.kind() == ErrorKind::ClusterConnectionNotFound
                || error.kind() == ErrorKind::Server(ServerErrorKind::Moved)
                || error.is_connection_dropped()
        } else {
            is_of_a_replica || error.is_unrecoverable_error()
        }
    }

    fn timed_out(&self, bucket: u8, generation: u64) {
        self.counters.timeouts.fetch_add(1, Ordering::Relaxed);
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let most = if self.is_cluster() { TIMEOUTS_OF_A_BUCKET } else { TIMEOUTS_OF_A_NODE };
        let before = self.timeouts(bucket).fetch_add(1, Ordering::Relaxed);
        if before + 1 >= most {
            self.timeouts(bucket).store(0, Ordering::Relaxed);
            self.replace(generation);
        }
    }

    /// Has the connection of this generation replaced, unless it was already.
    fn replace(&self, useless: u64) {
        let is_cluster = self.is_cluster();
        self.link.send_if_modified(|link| match link {
            Link::Up { generation, suspect, .. } if *generation == useless && !*suspect => {
                if is_cluster {
                    *suspect = true;
                } else {
                    *link = Link::Connecting;
                }
                true
            }
            _ => false,
        });
    }
}

impl Link {
    /// What a caller gets; `None` if it has to wait.
    fn settled(&self) -> Option<Result<(Connection, u64), StoreError>> {
        match self {
            Self::Up { connection, generation, .. } => Some(Ok((connection.clone(), *generation))),
            Self::Connecting => None,
            Self::Down(error) => Some(Err(error.clone())),
            Self::Closed => Some(Err(closed())),
        }
    }

    #[cfg(feature = "cache")]
    fn is_to(&self, address: &ConnectionAddr) -> bool {
        matches!(self, Self::Up { server: Some(server), .. } if server == address)
    }

    /// Has callers wait for a new connection; `false` if there is none to be replaced.
    fn connect_anew(&mut self) -> bool {
        let is_up = matches!(self, Self::Up { .. });
        if is_up {
            *self = Self::Connecting;
        }
        is_up
    }

    const fn is_to_be_dialled(&self) -> bool {
        matches!(self, Self::Connecting | Self::Down(_) | Self::Up { suspect: true, .. })
    }
}

/// Makes a new connection whenever one is wanted.
async fn supervise(dialer: Arc<Dialer>, link: Arc<watch::Sender<Link>>, counters: Arc<Counters>) {
    let mut changes = link.subscribe();
    let mut generation = 0;
    let mut failures = 0;
    let mut primary = None;
    // The sender is ours too: it is never gone.
    loop {
        let wanted = changes.wait_for(Link::is_to_be_dialled);
        match &primary {
            None => drop(wanted.await),
            Some(known) => {
                let is_quiet = timeout(LOOK, wanted).await.is_err();
                if is_quiet {
                    // A primary that was replaced while it lives goes on taking writes, all of which will be undone, until a Sentinel tells it.
                    if timeout(DIAL, dialer.has_moved(known)).await.unwrap_or(false) {
                        link.send_if_modified(Link::connect_anew);
                    }
                    continue;
                }
            }
        }
        let dialled = match timeout(DIAL, dialer.dial()).await {
            Ok(dialled) => dialled.map_err(|error| store_error(&error)),
            Err(_) => Err(timed_out(DIAL)),
        };
        match dialled {
            Ok((connection, server)) => {
                primary.clone_from(&server);
                if generation > 0 {
                    counters.reconnects.fetch_add(1, Ordering::Relaxed);
                    tracing::info!("the connection to Redis was made anew");
                }
                generation += 1;
                failures = 0;
                let up = Link::Up { connection, server, generation, suspect: false };
                link.send_if_modified(|link| {
                    let is_wanted = !matches!(link, Link::Closed);
                    if is_wanted {
                        *link = up;
                    }
                    is_wanted
                });
                if dialer.is_cluster() {
                    sleep(CLUSTER_PAUSE).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "Redis can't be connected to");
                link.send_if_modified(|link| {
                    let is_without = !matches!(link, Link::Up { .. } | Link::Closed);
                    if is_without {
                        *link = Link::Down(error);
                    }
                    is_without
                });
                failures += 1;
                sleep(pause(failures)).await;
            }
        }
    }
}

/// Exponential, with full jitter.
pub(super) fn pause(failures: u32) -> Duration {
    let most = (SHORTEST_PAUSE << failures.min(8)).min(LONGEST_PAUSE);
    let mut dice = [0; 8];
    // Without dice, the longest pause.
    let random = OsRandom.fill(&mut dice).map_or(most, |()| u64::from_le_bytes(dice) % (most + 1));
    Duration::from_millis(random.max(SHORTEST_PAUSE))
}

/// A script that servers keep by its hash.
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    fn by_hash(&self, keys: &[&str], arguments: &impl Fn(&mut Cmd)) -> Cmd {
        call("EVALSHA", &self.hash, keys, arguments)
    }

    fn by_text(&self, keys: &[&str], arguments: &impl Fn(&mut Cmd)) -> Cmd {
        call("EVAL", self.text, keys, arguments)
    }
}

fn call(command: &str, script: &str, keys: &[&str], arguments: &impl Fn(&mut Cmd)) -> Cmd {
    let mut command = redis::cmd(command);
    command.arg(script).arg(keys.len()).arg(keys);
    arguments(&mut command);
    command
}

/// An answer as what it should be. A server may also answer with an error that the client library leaves inside the value.
pub(super) fn read<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    let value = value.extract_error().map_err(|error| store_error(&error))?;
    T::from_redis_value(value).map_err(|_| StoreError::Malformed)
}

/// What a store says of an error of Redis, whose messages name no keys.
pub(super) fn store_error(error: &RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::Io => match refused_by_tls(error) {
            Some(refused) => StoreError::misconfigured(refused),
            None => StoreError::unavailable(format!("Redis: {error}")),
        },
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::RESP3NotSupported
        | ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::CrossSlot) => {
            StoreError::misconfigured(format!("Redis: {error}"))
        }
        ErrorKind::UnexpectedReturnType => StoreError::Malformed,
        ErrorKind::Extension => match error.code() {
            Some("NOAUTH" | "WRONGPASS") => StoreError::misconfigured(format!("Redis: {error}")),
            Some("WRONGTYPE") => StoreError::Malformed,
            _ => StoreError::unavailable(format!("Redis: {error}")),
        },
        _ => StoreError::unavailable(format!("Redis: {error}")),
    }
}

/// What to do about a certificate that one side doesn't accept; trying again would not help.
fn refused_by_tls(error: &RedisError) -> Option<String> {
    // So it is wrapped: by the client library, by the runtime.
    let shared: &Arc<dyn Error + Send + Sync> = error.source()?.downcast_ref()?;
    let refused: &rustls::Error = shared.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()?;
    let advice = match refused {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the URL has to name the server as its certificate does",
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "if its issuer is to be trusted, name it by `RedisStoreBuilder::root_certificates`"
        }
        rustls::Error::InvalidCertificate(_) => "the server needs another certificate",
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server wants one of the client: `RedisStoreBuilder::client_certificate`"
        }
        rustls::Error::AlertReceived(_) => "the server refuses the client's certificate, or none",
        rustls::Error::InvalidMessage(_) => "the server doesn't speak TLS on this port",
        _ => return None,
    };
    Some(format!("TLS to Redis failed ({refused}): {advice}"))
}

const fn timed_out(after: Duration) -> StoreError {
    StoreError::TimedOut { after }
}

fn closed() -> StoreError {
    StoreError::unavailable("the connection to Redis was shut down")
}
