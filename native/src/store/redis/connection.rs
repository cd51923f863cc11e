//! The connections to Redis, and what is sent by them.

use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::sync::Arc;

#[cfg(feature = "cache")]
use redis::ConnectionAddr;
use redis::{
    Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    RedisStats,
    dial::{Dialer, Timeouts},
    error::read,
    lane::{Lane, pause},
    script::Script,
};
use crate::store::StoreError;

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
    /// Sends one command. Errors within its answer stay there.
    async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        let mut sent = refusal(self.req_packed_command(command).await);
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
    refusal(Ok(values.into_iter().next_back().ok_or(sent_away)?))
}

/// An error that the client library gives as a value.
fn refusal(answer: RedisResult<Value>) -> RedisResult<Value> {
    match answer? {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}

/// Several connections, used in turn.
pub(super) struct Connections {
    lanes: Box<[Lane]>,
    next: AtomicUsize,
    is_cluster: bool,
    /// How long an operation may take with all its redirections.
    patience: Duration,
}

impl Connections {
    /// Connects, so many times.
    pub(super) async fn open(
        dialer: Arc<Dialer>,
        count: usize,
        timeouts: Timeouts,
    ) -> Result<Self, StoreError> {
        let is_cluster = dialer.is_cluster();
        let lanes: Box<[Lane]> =
            (0..count.max(1)).map(|_| Lane::open(Arc::clone(&dialer), timeouts)).collect();
        let connections = Self { lanes, next: AtomicUsize::new(0), is_cluster, patience: timeouts.operation };
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
        let both = &both;
        let send = async |connection| match connection {
            Connection::Node(mut connection) => both.query_async(&mut connection).await,
            Connection::Cluster(mut cluster) => {
                let values = cluster.route_pipeline(both.clone(), 0, 2, route.clone()).await?;
                values.into_iter().map(Value::extract_error).collect::<RedisResult<Vec<Value>>>()
            }
        };
        let values = self.run(bucket, async |connection| self.patiently(|| send(connection.clone())).await);
        read(Value::Array(values.await?))
    }

    /// Runs a script on keys of one bucket.
    pub(super) async fn eval<T: FromRedisValue>(
        &self,
        bucket: u8,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd) + Sync + Send,
    ) -> Result<T, StoreError> {
        let known = script.by_hash(keys, &arguments);
        let text = || script.by_text(keys, &arguments);
        let value = self.run(bucket, async |connection: Connection| {
            self.patiently(|| call(connection.clone(), &known, &text)).await
        });
        read(value.await?)
    }

    /// Runs a script that does the same for several keys, and answers to each: what is wrong with one is no matter of the others. Without a
    /// cluster the keys may be of any buckets.
    pub(super) async fn eval_each(
        &self,
        bucket: u8,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd) + Sync + Send,
    ) -> Result<Vec<Result<Value, StoreError>>, StoreError> {
        let known = script.by_hash(keys, &arguments);
        let text = || script.by_text(keys, &arguments);
        let work = async |connection: Connection| match self
            .patiently(|| call(connection.clone(), &known, &text))
            .await?
        {
            Value::Array(answers) => Ok(answers),
            _ => Err((ErrorKind::UnexpectedReturnType, "a script that answers to each does not").into()),
        };
        self.lane().run_each(bucket, work).await
    }

    /// Does something with a connection.
    async fn run<T, Work>(
        &self,
        bucket: u8,
        work: impl FnOnce(Connection) -> Work + Send,
    ) -> Result<T, StoreError>
    where
        Work: Future<Output = RedisResult<T>> + Send,
    {
        self.lane().run(bucket, work).await
    }

    /// While the slot of several keys moves, some of them are here and some there, and what needs all of them is refused. It is tried again until they
    /// are together, for as long as an operation may take. (The client library does the same, for less than a second.)
    async fn patiently<T, Sent>(&self, mut send: impl FnMut() -> Sent + Send) -> RedisResult<T>
    where
        T: Send,
        Sent: Future<Output = RedisResult<T>> + Send,
    {
        let begun = Instant::now();
        let refused = match send().await {
            Err(error) if is_torn(&error) => error,
            answer => return answer,
        };
        let again = async {
            let mut times = 0;
            loop {
                times += 1;
                sleep(pause(times)).await;
                match send().await {
                    Err(error) if is_torn(&error) => {}
                    answer => return answer,
                }
            }
        };
        let left = self.patience.saturating_sub(begun.elapsed());
        Box::pin(timeout(left, again)).await.unwrap_or(Err(refused))
    }

    fn lane(&self) -> &Lane {
        &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()]
    }

    pub(super) fn stats(&self) -> RedisStats {
        let mut stats = RedisStats { connections: self.lanes.len(), ..RedisStats::default() };
        self.lanes.iter().for_each(|lane| lane.count(&mut stats));
        stats
    }

    /// Whether every connection is to this server, as the Sentinels named it.
    #[cfg(feature = "cache")]
    pub(super) fn are_to(&self, address: &ConnectionAddr) -> bool {
        self.lanes.iter().all(|lane| lane.is_to(address))
    }

    /// Has every connection replaced that is to another server than this one.
    #[cfg(feature = "cache")]
    pub(super) async fn move_to(&self, address: &ConnectionAddr) -> Result<(), StoreError> {
        for lane in &self.lanes {
            lane.leave_unless_to(address);
            lane.connection().await?;
        }
        Ok(())
    }

    /// Closes every connection; what is under way may still finish.
    pub(super) fn close(&self) {
        self.lanes.iter().for_each(Lane::close);
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whether a command was refused because some of its keys are on another node than the others.
fn is_torn(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::TryAgain)
}

/// Calls a script, sending its text only where it isn't known yet.
async fn call(
    mut connection: Connection,
    known: &Cmd,
    text: &(impl Fn() -> Cmd + Sync),
) -> RedisResult<Value> {
    match connection.send(known).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            Box::pin(async { connection.send(&text()).await }).await
        }
        other => other,
    }
}
