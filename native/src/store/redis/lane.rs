//! One connection after the other: replaced when it is of no use any more.
//!
//! The client library's manager lets callers wait far beyond their response timeout while it reconnects, never gives up a connection that only
//! times out, and goes on writing to a primary that Sentinel has replaced. Here a connection that broke, that timed out several times in a
//! row, or whose server became a replica is replaced at once by a new one, through the Sentinels if there are any; while there is none,
//! callers fail fast.

use core::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::Duration,
};
use std::sync::Arc;

use redis::{ConnectionAddr, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use session_core::{OsRandom, Random as _};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    RedisStats,
    connection::Connection,
    dial::{Dialer, Timeouts},
    error::{closed, store_error, timed_out},
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

/// One connection after the other.
pub(super) struct Lane {
    link: Arc<watch::Sender<Link>>,
    /// Timeouts in a row: of each bucket in a cluster, else of the server (the first).
    timeouts: Box<[AtomicU8]>,
    patience: Timeouts,
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

impl Lane {
    pub(super) fn open(dialer: Arc<Dialer>, patience: Timeouts) -> Self {
        let buckets = if dialer.is_cluster() { 256 } else { 1 };
        let link = Arc::new(watch::Sender::new(Link::Connecting));
        let counters = Arc::<Counters>::default();
        let supervisor =
            tokio::spawn(supervise(dialer, Arc::clone(&link), Arc::clone(&counters))).abort_handle();
        let timeouts = (0..buckets).map(|_| AtomicU8::new(0)).collect();
        Self { link, timeouts, patience, counters, supervisor }
    }

    /// Does something with the connection.
    pub(super) async fn run<T, Work>(
        &self,
        bucket: u8,
        work: impl FnOnce(Connection) -> Work + Send,
    ) -> Result<T, StoreError>
    where
        Work: Future<Output = RedisResult<T>> + Send,
    {
        self.run_once(bucket, work).await.map(|(done, _)| done)
    }

    /// As [`run`](Self::run), for what answers to several: an error within an answer is one member's alone, and says as much about the
    /// connection as any other.
    pub(super) async fn run_each<Work>(
        &self,
        bucket: u8,
        work: impl FnOnce(Connection) -> Work + Send,
    ) -> Result<Vec<Result<Value, StoreError>>, StoreError>
    where
        Work: Future<Output = RedisResult<Vec<Value>>> + Send,
    {
        let (answers, generation) = self.run_once(bucket, work).await?;
        let judge = |answer: Value| {
            answer.extract_error().map_err(|error| {
                self.failed(bucket, generation, &error);
                store_error(&error)
            })
        };
        Ok(answers.into_iter().map(judge).collect())
    }

    /// Gives the number of the connection too.
    async fn run_once<T, Work>(
        &self,
        bucket: u8,
        work: impl FnOnce(Connection) -> Work + Send,
    ) -> Result<(T, u64), StoreError>
    where
        Work: Future<Output = RedisResult<T>> + Send,
    {
        let Timeouts { operation, response, .. } = self.patience;
        let (connection, generation) = match self.settled() {
            Some(settled) => settled?,
            None => Box::pin(timeout(operation, self.connection()))
                .await
                .unwrap_or_else(|_| Err(timed_out(operation)))?,
        };
        let mut unanswered =
            Unanswered { lane: self, bucket, generation, since: Instant::now(), is_over: false };
        // The client library has the time limits (`dial.rs`): another timer for each command would cost more than sending it.
        let answer = work(connection).await;
        unanswered.is_over = true;
        match answer {
            Ok(value) => {
                self.answered(bucket);
                Ok((value, generation))
            }
            Err(error) => {
                self.failed(bucket, generation, &error);
                Err(if error.is_timeout() { timed_out(response) } else { store_error(&error) })
            }
        }
    }

    /// The connection there is, or why there is none; `None` if one is being made.
    fn settled(&self) -> Option<Result<(Connection, u64), StoreError>> {
        self.link.borrow().settled()
    }

    /// The connection there is. Waits for one only where there is hope.
    pub(super) async fn connection(&self) -> Result<(Connection, u64), StoreError> {
        let mut link = self.link.subscribe();
        let link = link.wait_for(|link| !matches!(link, Link::Connecting)).await;
        link.ok().and_then(|link| link.settled()).unwrap_or_else(|| Err(closed()))
    }

    /// Adds what happened here.
    pub(super) fn count(&self, stats: &mut RedisStats) {
        stats.connected += usize::from(matches!(*self.link.borrow(), Link::Up { .. }));
        stats.reconnects += self.counters.reconnects.load(Ordering::Relaxed);
        stats.timeouts += self.counters.timeouts.load(Ordering::Relaxed);
        stats.failures += self.counters.failures.load(Ordering::Relaxed);
    }

    /// Whether the connection is to this server, as the Sentinels named it.
    #[cfg(feature = "cache")]
    pub(super) fn is_to(&self, address: &ConnectionAddr) -> bool {
        self.link.borrow().is_to(address)
    }

    /// Has the connection replaced if it is to another server.
    #[cfg(feature = "cache")]
    pub(super) fn leave_unless_to(&self, address: &ConnectionAddr) {
        self.link.send_if_modified(|link| !link.is_to(address) && link.connect_anew());
    }

    /// Closes the connection; what is under way may still finish.
    pub(super) fn close(&self) {
        self.supervisor.abort();
        self.link.send_replace(Link::Closed);
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
