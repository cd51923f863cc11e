//! Sessions in Redis or Valkey, shared by any number of processes: one server, Sentinel, or Redis Cluster.

mod batch;
mod builder;
mod connection;
#[cfg(feature = "crystal")]
mod crystal;
mod dial;
mod error;
#[cfg(feature = "cache")]
mod feed;
mod keys;
mod lane;
mod loads;
mod query;
mod saves;
mod script;
mod sentinel;
#[cfg(feature = "cache")]
mod topology;
mod url;
mod value;

use core::{fmt, num::NonZeroU32, time::Duration};
use std::sync::Arc;

pub use builder::RedisStoreBuilder;
use connection::Connections;
use error::read;
#[cfg(feature = "cache")]
pub use feed::RedisFeed;
use futures_util::future::try_join;
use keys::{Keys, bucket};
use loads::Loads;
use redis::{Cmd, FromRedisValue};
use saves::Saves;
use script::Script;
#[cfg(feature = "crystal")]
use session_core::interop::crystal::ClusterMessageType;
use session_core::{Key, SubjectTag, Timestamp, Version};

use super::{Found, Lookup, Record, Saved, Store, StoreError};
use crate::clock::Clock;

/// A store in Redis (6.2 or newer) or Valkey.
///
/// Every operation is one script or one command on the primary, so it is atomic, and one round trip; saves compare versions, so they never create,
/// and never overwrite what they have not seen. Clones share the connections.
///
/// Without a cluster, what many requests ask for at the same time goes together, all loads as one command and all saves as another; each gets its
/// own answer or error, once both commands are answered. Nobody waits for others to come, and a load never joins what was sent before it began.
/// What is lost with such a command (no answer in time, a connection that breaks) is lost for all that went with it.
///
/// # What Redis promises
/// On one primary, everything the contract of [`Store`] says. Replication to others is asynchronous: a failover may undo what the last moments
/// wrote, ended sessions included. [`RedisStoreBuilder::replicas`] makes deletions and revocations wait until replicas have them.
///
/// A deleted session leaves a tombstone of some hundred bytes for a minute, so that a creation which the network held back meanwhile can't
/// bring it back; it counts as no session.
///
/// # URLs
/// | | |
/// |---|---|
/// | one server | `redis://[user:password@]host[:6379][/database]` |
/// | with TLS | `rediss://…` |
/// | by a socket | `redis+unix:///path[?db=1&user=…&pass=…]` |
/// | Sentinel | `redis+sentinel://[user:password@]host[:26379],host/service[/database]` (user and password are the primary's) |
/// | Cluster | `redis+cluster://[user:password@]host[:6379],host` |
///
/// `rediss+sentinel` and `rediss+cluster` are the same with TLS; `valkey` may stand for `redis`.
///
/// ```no_run
/// use session_native::RedisStore;
///
/// # async fn example() -> Result<(), session_native::StoreError> {
/// let url = std::env::var("REDIS_URL").unwrap_or("redis://localhost".into());
/// let store = RedisStore::connect(&url).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

struct Inner {
    connections: Arc<Connections>,
    loads: Loads,
    saves: Saves,
    /// For commands that have to wait for replicas, and would hold up all others.
    patient: Option<(Connections, Replicas)>,
    keys: Arc<Keys>,
    scripts: Scripts,
    clock: Arc<dyn Clock>,
    publish: &'static str,
    per_subject: u32,
    #[cfg(feature = "crystal")]
    crystal: Option<crystal::Channel>,
    /// Where a feed is to listen.
    #[cfg(feature = "cache")]
    origin: Origin,
}

impl Inner {
    fn close(&self) {
        self.connections.close();
        if let Some((patient, _)) = &self.patient {
            patient.close();
        }
    }
}

/// Batches that are under way have a part in the connections, and would keep them for a while.
impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// What connections are made of.
#[cfg(feature = "cache")]
struct Origin {
    url: Arc<str>,
    certificates: Option<redis::TlsCertificates>,
    connect: Duration,
}

/// Counters of the connections of a [`RedisStore`] since it was made.
///
/// ```
/// assert_eq!(session_native::store::RedisStats::default().reconnects, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// Connections in use.
    pub connections: usize,
    /// Those that are up now.
    pub connected: usize,
    /// How often one was made anew.
    pub reconnects: u64,
    /// Commands that weren't answered in time.
    pub timeouts: u64,
    /// Commands that failed, timeouts included.
    pub failures: u64,
}

#[derive(Clone, Copy)]
struct Replicas {
    count: NonZeroU32,
    within: Duration,
}

struct Scripts {
    create: Script,
    delete: Script,
    touch: Script,
    file: Script,
    revoke: Script,
    lease: Script,
    release: Script,
}

impl Scripts {
    fn new() -> Self {
        Self {
            create: Script::new(include_str!("scripts/create.lua")),
            delete: Script::new(include_str!("scripts/delete.lua")),
            touch: Script::new(include_str!("scripts/touch.lua")),
            file: Script::new(include_str!("scripts/file.lua")),
            revoke: Script::new(include_str!("scripts/revoke.lua")),
            lease: Script::new(include_str!("scripts/lease.lua")),
            release: Script::new(include_str!("scripts/release.lua")),
        }
    }
}

/// What is published of a write: so a cache elsewhere learns of it.
mod message {
    use session_core::{Key, SubjectTag, Version};

    pub(super) use crate::store::message::Message;
    use crate::store::message::{CLEARED, DELETED, EPOCH, SAVED, write};

    pub(super) fn saved(key: &Key, version: Version) -> Message {
        write(SAVED, key.as_bytes(), version)
    }

    pub(super) fn deleted(key: &Key) -> Message {
        write(DELETED, key.as_bytes(), Version::default())
    }

    pub(super) fn cleared() -> Message {
        write(CLEARED, &[0; 16], Version::default())
    }

    /// The script appends the epoch.
    pub(super) fn start_of_revoked(subject: &SubjectTag) -> [u8; 17] {
        let mut start = [EPOCH; 17];
        start[1..].copy_from_slice(subject.as_bytes());
        start
    }
}

/// Beyond the longest life of a session ([`Expiry::LONGEST`](session_core::Expiry::LONGEST)): the epoch of a subject that was revoked is kept
/// until no session of before can be alive.
const EPOCH_LIFE: Duration = Duration::from_secs(401 * 86_400);
/// How long a deleted key can't be created: far beyond the seconds that a command is under way at most, before its connection is given up and TCP
/// with it (`dial::tcp`), also if a proxy between holds its bytes back.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(60);
/// An index outlives what it lists by this.
const INDEX_GRACE: Duration = Duration::from_secs(60);

impl RedisStore {
    /// Connects to the servers that a URL names, with the default options.
    ///
    /// # Errors
    /// As [`RedisStoreBuilder::connect`].
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::builder(url).connect().await
    }

    /// Options.
    pub fn builder(url: impl Into<String>) -> RedisStoreBuilder {
        RedisStoreBuilder::new(url.into())
    }

    /// Whether every primary answers a PING.
    pub async fn healthy(&self) -> bool {
        // A cluster's client sends it to every primary.
        self.inner.connections.query::<redis::Value>(0, &redis::cmd("PING")).await.is_ok()
    }

    /// Counters of the connections.
    #[must_use]
    pub fn stats(&self) -> RedisStats {
        self.inner.connections.stats()
    }

    /// Closes the connections, for all clones: what is under way may still finish, and everything later is [`StoreError::Unavailable`]. Dropping the last clone does
    /// the same.
    pub fn shutdown(&self) {
        self.inner.close();
    }

    /// Adds what a script publishes: the command, the channel and the message.
    fn publish(&self, command: &mut Cmd, bucket: u8, message: &[u8]) {
        let Inner { publish, keys, .. } = &*self.inner;
        command.arg(*publish).arg(keys.channel_by(publish, bucket)).arg(message);
    }

    /// How many milliseconds are left; at least one: none would be an error of the command.
    fn left(&self, until: Timestamp) -> u64 {
        let left = until.since(self.inner.clock.now()).as_millis();
        u64::try_from(left).unwrap_or(u64::MAX).clamp(1, MOST_MILLIS)
    }

    /// Runs a script whose effect should survive a failover.
    async fn eval_replicated<T: FromRedisValue + Send>(
        &self,
        bucket: u8,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<T, StoreError> {
        let Some((connections, Replicas { count, within })) = &self.inner.patient else {
            return self.inner.connections.eval(bucket, script, keys, arguments).await;
        };
        let wanted = count.get();
        let (done, replicas) =
            connections.eval_and_wait(bucket, script, keys, arguments, (wanted, *within)).await?;
        if replicas < wanted {
            return Err(StoreError::unavailable(format!(
                "it is done on the primary, but only {replicas} of {wanted} replicas said in time that they have it"
            )));
        }
        Ok(done)
    }

    /// What is under the name of a record, whose life is extended, and the epoch of a subject.
    async fn touch(
        &self,
        key: &Key,
        until: Timestamp,
        subject: Option<SubjectTag>,
    ) -> Result<(Option<Vec<u8>>, Option<u64>), StoreError> {
        let Inner { connections, keys, scripts, .. } = &*self.inner;
        let name = keys.record(key);
        let names = [&*name];
        let touched = connections.eval(bucket(key), &scripts.touch, &names, |command| {
            command.arg(&value::expiry(until)).arg(self.left(until));
        });
        let epoch = async {
            match subject {
                Some(subject) => self.epoch(&subject).await.map(Some),
                None => Ok(None),
            }
        };
        try_join(touched, epoch).await
    }

    /// Files a session under its subject, and ends those beyond the limit.
    async fn file(&self, subject: &SubjectTag, key: &Key, expires_at: Timestamp) -> Result<(), StoreError> {
        let (surplus, mut condemned) = self.enter(subject, key, expires_at, false).await?;
        if surplus > 0 {
            // What has ended is still listed, and must not push out what lives.
            self.listed(subject).await?;
            condemned = self.enter(subject, key, expires_at, true).await?.1;
        }
        if condemned.is_empty() {
            return Ok(());
        }
        for key in &condemned {
            self.delete(key).await?;
        }
        // Last: if it doesn't come to this, whoever is filed next hears of them again.
        let Inner { connections, keys, .. } = &*self.inner;
        let mut executed = redis::cmd("SREM");
        executed.arg(keys.condemned(subject));
        for key in &condemned {
            executed.arg(key.as_bytes());
        }
        connections.query(subject.as_bytes()[0], &executed).await
    }

    /// Enters a session into the index of its subject. Gives how many are beyond the limit, and those that are to be ended for it.
    async fn enter(
        &self,
        subject: &SubjectTag,
        key: &Key,
        expires_at: Timestamp,
        condemn: bool,
    ) -> Result<(u64, Vec<Key>), StoreError> {
        let Inner { connections, keys, scripts, clock, per_subject, .. } = &*self.inner;
        let now = clock.now();
        // Saves extend a session by less than a tenth of its idle timeout without filing it again.
        let left = self.left(expires_at);
        let listed =
            left.saturating_add(left / 4).saturating_add(INDEX_GRACE.as_millis() as u64).min(MOST_MILLIS);
        let names = [&*keys.index(subject), &*keys.condemned(subject)];
        // While their slot moves, one key is redirected; of two, one may be here and one there, and both are refused.
        let names = if *per_subject == 0 { &names[..1] } else { &names };
        let answer: Vec<redis::Value> = connections
            .eval(subject.as_bytes()[0], &scripts.file, names, |command| {
                command
                    .arg(key.as_bytes())
                    .arg(now.as_millis().saturating_add(listed))
                    .arg(now.as_millis())
                    .arg(listed)
                    .arg(*per_subject)
                    .arg(u8::from(condemn));
            })
            .await?;
        let mut answer = answer.into_iter();
        let surplus = read(answer.next().ok_or(StoreError::Malformed)?)?;
        let condemned = answer.map(|member| {
            let member: Vec<u8> = read(member)?;
            member.try_into().map(Key::from_bytes).map_err(|_| StoreError::Malformed)
        });
        Ok((surplus, condemned.collect::<Result<_, _>>()?))
    }
}

/// The longest time in milliseconds that is asked of Redis, whose scripts compute exactly up to 2^53: 140,000 years.
const MOST_MILLIS: u64 = 1 << 52;

/// What happens rarely is boxed: every load and save would have to carry its future around.
impl Store for RedisStore {
    const NAME: &'static str = "redis";
    const REMEMBERED_SAVES: u64 = value::VERSIONS_BEFORE;

    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        let Inner { connections, keys, scripts, .. } = &*self.inner;
        let value = value::encode(record);
        let created = connections
            .eval(bucket(key), &scripts.create, &[&keys.record(key)], |command| {
                command.arg(&value[..]).arg(self.left(record.expires_at));
            })
            .await?;
        #[cfg(feature = "crystal")]
        if created {
            self.tell_crystal(ClusterMessageType::SessionInvalidated, Some(key)).await;
        }
        // Filed after it is there, so that whoever finds it in the index, and has to end it, finds it.
        if let (true, Some(subject)) = (created, &record.subject) {
            Box::pin(self.file(subject, key, record.expires_at)).await?;
        }
        Ok(created)
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        let (value, epoch) = match lookup.touch {
            None => self.inner.loads.load(*key, lookup.subject).await?,
            Some(until) => Box::pin(self.touch(key, until, lookup.subject)).await?,
        };
        let Some(record) = value::read(value)? else { return Ok(None) };
        if let (Some(_), Some(subject)) = (lookup.touch, &record.subject) {
            Box::pin(self.file(subject, key, record.expires_at)).await?;
        }
        Ok(Some(Found::new(record, epoch.unwrap_or(0))))
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        let message = message::saved(key, record.version);
        let saved =
            self.inner.saves.save(key, record, expected, self.left(record.expires_at), message).await?;
        match saved {
            redis::Value::Int(0) => Ok(Saved::Gone),
            redis::Value::Int(done) => {
                #[cfg(feature = "crystal")]
                self.tell_crystal(ClusterMessageType::SessionInvalidated, Some(key)).await;
                if let (2, Some(subject)) = (done, &record.subject) {
                    Box::pin(self.file(subject, key, record.expires_at)).await?;
                }
                Ok(Saved::Stored)
            }
            redis::Value::BulkString(theirs) => Ok(Saved::Conflict(value::decode(theirs)?)),
            _ => Err(StoreError::Malformed),
        }
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let Inner { keys, scripts, .. } = &*self.inner;
        let (bucket, message) = (bucket(key), message::deleted(key));
        let deleted = self
            .eval_replicated(bucket, &scripts.delete, &[&keys.record(key)], |command| {
                command.arg(TOMBSTONE_LIFE.as_millis() as u64);
                self.publish(command, bucket, &message);
            })
            .await;
        // Also if nobody knows whether it was, as replicas may not have answered.
        #[cfg(feature = "crystal")]
        self.tell_crystal(ClusterMessageType::SessionDeleted, Some(key)).await;
        deleted
    }

    async fn epoch(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        let Inner { connections, keys, .. } = &*self.inner;
        let epoch: Option<u64> =
            connections.query(subject.as_bytes()[0], redis::cmd("GET").arg(keys.epoch(subject))).await?;
        Ok(epoch.unwrap_or(0))
    }

    async fn lease(&self, key: &Key, holder: u64, ttl: Duration) -> Result<bool, StoreError> {
        let Inner { connections, keys, scripts, .. } = &*self.inner;
        connections
            .eval(bucket(key), &scripts.lease, &[&keys.lease(key)], |command| {
                command.arg(holder).arg(ttl.as_millis().max(1) as u64);
            })
            .await
    }

    async fn release(&self, key: &Key, holder: u64) -> Result<(), StoreError> {
        let Inner { connections, keys, scripts, .. } = &*self.inner;
        connections
            .eval(bucket(key), &scripts.release, &[&keys.lease(key)], |command| {
                command.arg(holder);
            })
            .await
    }
}

/// Shows how its connections do, and no address: a URL may hold a password.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
