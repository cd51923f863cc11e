//! The feed of a cache before a [`RedisStore`]: connections that do nothing but listen.
//!
//! One connection to each primary, in RESP3: the answer to a heartbeat comes along the same connection as the messages, and behind every
//! one that was published before it. (With several commands of the client library that isn't so: its client-side cache, broadcast
//! tracking, and plain Pub/Sub heard on another node of a cluster.) Messages are taken in where the connection is read, before the next
//! answer is: so no task has to run in between.
//!
//! A heartbeat asks for more than a sign of life:
//! - the *life* of the data, a random value that the first listener wrote: it is another one after `FLUSHALL`, a restart without data, or
//!   a failover to a server that has not seen it, none of which Pub/Sub tells of;
//! - the role of the server, and through Sentinel whether it is still the one that others write to;
//! - in a cluster, which buckets it is responsible for: those whose slot is on the move belong to nobody until it has arrived.

use core::{fmt, future::pending, time::Duration};
use std::sync::{Arc, Mutex};

use futures_util::future::try_join_all;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, FromRedisValue, ProtocolVersion, PushInfo,
    PushKind, Value, aio::MultiplexedConnection,
};
use session_core::{OsRandom, Random as _};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

#[cfg(feature = "crystal")]
use super::crystal::News;
use super::{
    Origin, RedisStore,
    dial::client,
    error::{read, store_error},
    lane::pause,
    sentinel::Sentinels,
    topology::{primaries, responsible},
    url::Servers,
};
use crate::{
    lock::lock,
    store::{
        StoreError,
        cached::{Feed, Link, Links},
    },
};

/// So many heartbeats are sent in the time of the lease.
const BEATS_A_LEASE: u32 = 6;
/// How often a cluster is asked which primaries it has.
const TOPOLOGY_EVERY: Duration = Duration::from_secs(1);

/// Brings what is written to a [`RedisStore`] to a [`CachedStore`](crate::store::cached::CachedStore).
///
/// ```no_run
/// use session_native::{RedisStore, store::cached::CachedStore};
///
/// # async fn example() -> Result<(), session_native::StoreError> {
/// let redis = RedisStore::connect("redis://localhost").await?;
/// let store = CachedStore::new(redis.clone(), redis.feed()?);
/// # Ok(())
/// # }
/// ```
pub struct RedisFeed {
    store: RedisStore,
    servers: Servers,
}

impl RedisStore {
    /// The feed for a cache before this store.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if writes are not published:
    /// [`publish_changes`](super::RedisStoreBuilder::publish_changes) is off, or the cluster is too old for sharded Pub/Sub.
    pub fn feed(&self) -> Result<RedisFeed, StoreError> {
        if self.inner.publish.is_empty() {
            return Err(StoreError::misconfigured(
                "no cache can be put before this store: its writes are not published",
            ));
        }
        Ok(RedisFeed { store: self.clone(), servers: Servers::parse(&self.inner.origin.url)? })
    }
}

impl Feed for RedisFeed {
    async fn run(&self, links: Links) {
        let inner = &self.store.inner;
        let ear =
            |node, is_cluster| Ear { node, is_cluster, store: self.store.clone(), links: links.clone() };
        match &self.servers {
            Servers::Single(server) => ear(Node::One(server.clone()), false).listen().await,
            Servers::Sentinel { sentinels, service, primary } => {
                let settings = primary.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
                let primary = (**primary).clone().set_redis_settings(settings);
                let Origin { certificates, connect, .. } = &inner.origin;
                match Sentinels::new(sentinels, service.clone(), primary, certificates.clone(), *connect) {
                    Ok(sentinels) => ear(Node::Named(Box::new(sentinels)), false).listen().await,
                    // The store itself was connected with the same.
                    Err(error) => {
                        tracing::error!(error = %store_error(&error), "the session cache can't listen");
                        pending::<()>().await;
                    }
                }
            }
            Servers::Cluster(seeds) => {
                listen_to_cluster(seeds, |info| ear(Node::One(Box::new(info)), true)).await;
            }
        }
    }
}

/// Listens to every primary of a cluster, those to come included.
async fn listen_to_cluster(seeds: &[ConnectionInfo], ear: impl Fn(ConnectionInfo) -> Ear) {
    let mut listening = JoinSet::new();
    let mut ears: Vec<(ConnectionAddr, AbortHandle)> = Vec::new();
    loop {
        let known: Vec<ConnectionAddr> = ears.iter().map(|(address, _)| address.clone()).collect();
        let template = &seeds[0];
        let seeds = seeds.iter().map(|seed| seed.addr().clone());
        let mut primaries = Vec::new();
        for address in known.into_iter().chain(seeds) {
            match ear(template.clone().set_addr(address)).primaries().await {
                Ok(found) if !found.is_empty() => {
                    primaries = found;
                    break;
                }
                _ => {}
            }
        }
        // Who doesn't know the cluster for a moment doesn't stop listening: each ear judges for itself.
        if !primaries.is_empty() {
            ears.retain(|(address, handle)| {
                let stays = primaries.contains(address);
                if !stays {
                    handle.abort();
                }
                stays
            });
        }
        for address in primaries {
            if ears.iter().all(|(known, _)| *known != address) {
                let ear = ear(template.clone().set_addr(address.clone()));
                ears.push((address, listening.spawn(async move { ear.listen().await })));
            }
        }
        while listening.try_join_next().is_some() {}
        sleep(TOPOLOGY_EVERY).await;
    }
}

/// Where to listen.
enum Node {
    One(Box<ConnectionInfo>),
    /// Whoever the Sentinels name.
    Named(Box<Sentinels>),
}

/// Listens to one primary.
struct Ear {
    node: Node,
    is_cluster: bool,
    store: RedisStore,
    links: Links,
}

/// Why a connection was given up.
enum Deaf {
    Redis(redis::RedisError),
    /// It was lost, or a subscription was.
    Lost,
    /// A heartbeat didn't come back in time.
    Silent,
    /// It is no longer the primary that the changes are written to, or not of the same buckets.
    Moved,
    /// The data are not those of before.
    OtherLife,
    /// An answer was none.
    Malformed,
}

impl From<redis::RedisError> for Deaf {
    fn from(error: redis::RedisError) -> Self {
        Self::Redis(error)
    }
}

impl From<StoreError> for Deaf {
    fn from(_: StoreError) -> Self {
        Self::Malformed
    }
}

impl fmt::Display for Deaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(error) => store_error(error).fmt(f),
            Self::Lost => f.write_str("the connection was lost"),
            Self::Silent => f.write_str("a heartbeat did not come back"),
            Self::Moved => f.write_str("another server is responsible now"),
            Self::OtherLife => f.write_str("the data were replaced"),
            Self::Malformed => f.write_str("an answer can't be read"),
        }
    }
}

/// What the connection's reader shares with who sends heartbeats.
struct Line {
    #[cfg(feature = "crystal")]
    store: RedisStore,
    link: Mutex<Option<Link>>,
    is_lost: watch::Sender<bool>,
}

impl Line {
    /// Runs where the connection is read: a message is taken in before the next answer is handed out.
    fn push(&self, PushInfo { kind, data }: PushInfo) {
        match kind {
            PushKind::Message | PushKind::SMessage => {
                let mut data = data.into_iter();
                let (channel, message) = (data.next(), data.next());
                let (Some(Value::BulkString(message)), Some(link)) = (message, &*self.link()) else { return };
                #[cfg(feature = "crystal")]
                if let (Some(Value::BulkString(channel)), Some(crystal)) =
                    (&channel, &self.store.inner.crystal)
                    && *channel == crystal.name.as_bytes()
                {
                    return match crystal.read(&message, &self.store.inner.keys) {
                        News::Of(keys) => keys.iter().for_each(|key| link.forget(key)),
                        News::All => link.clear(),
                        News::Unreadable => {
                            tracing::warn!(
                                bytes = message.len(),
                                "a message of a Crystal node can't be read"
                            );
                            link.clear();
                        }
                    };
                }
                let _ = channel;
                link.message(&message);
            }
            PushKind::Disconnection | PushKind::Unsubscribe | PushKind::SUnsubscribe => self.lose(),
            _ => {}
        }
    }

    fn link(&self) -> std::sync::MutexGuard<'_, Option<Link>> {
        lock(&self.link)
    }

    fn lose(&self) {
        drop(self.link().take());
        self.is_lost.send_replace(true);
    }
}

/// However listening ends, the link ends with it, though the connection's reader may go on for a while.
struct Losing<'a>(&'a Line);

impl Drop for Losing<'_> {
    fn drop(&mut self) {
        self.0.lose();
    }
}

impl Ear {
    /// Listens, again and again.
    async fn listen(self) {
        let mut failures = 0;
        loop {
            let since = self.links.now();
            let Err(why) = self.listen_once().await;
            tracing::warn!(%why, "the session cache hears nothing");
            failures =
                if self.links.now().saturating_sub(since) > self.links.lease() { 1 } else { failures + 1 };
            sleep(pause(failures)).await;
        }
    }

    /// Connects and listens until something isn't right.
    async fn listen_once(&self) -> Result<core::convert::Infallible, Deaf> {
        let (client, address) = self.client().await?;
        let line = Arc::new(Line {
            #[cfg(feature = "crystal")]
            store: self.store.clone(),
            link: Mutex::new(None),
            is_lost: watch::Sender::new(false),
        });
        let _losing = Losing(&line);
        let config = self.config().set_push_sender({
            let line = Arc::clone(&line);
            move |info| {
                line.push(info);
                Ok::<(), ()>(())
            }
        });
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let buckets = if self.is_cluster {
            let slots = self.slots(&mut connection).await?;
            let buckets = responsible(&nodes(&mut connection).await?, &slots);
            let subscribed = buckets.iter().map(|bucket| {
                let mut connection = connection.clone();
                let channel = self.store.inner.keys.channel_of(*bucket);
                async move {
                    // One channel a command: two slots in one are refused.
                    redis::cmd("SSUBSCRIBE").arg(channel).query_async::<Value>(&mut connection).await
                }
            });
            try_join_all(subscribed).await?;
            Buckets { slots, held: buckets }
        } else {
            connection.subscribe(self.store.inner.keys.channel()).await?;
            Buckets { slots: Vec::new(), held: (0..=u8::MAX).collect() }
        };
        // In a cluster too: what is published plainly is heard at every node.
        #[cfg(feature = "crystal")]
        if let Some(crystal) = &self.store.inner.crystal {
            connection.subscribe(&crystal.name).await?;
        }
        let Some(first) = buckets.held.first() else {
            // A replica, or a primary of nothing.
            sleep(TOPOLOGY_EVERY).await;
            return Err(Deaf::Moved);
        };
        let life_name = self.store.inner.keys.life(*first);
        let life = self.life(&mut connection, &life_name).await?;
        self.bring_store_to(&address).await?;
        // Subscribed for certain: every subscription was answered.
        *line.link() = Some(self.links.connect(buckets.held.iter().copied()));

        let mut is_lost = line.is_lost.subscribe();
        loop {
            let sent_at = self.links.now();
            let beat = self.beat(&mut connection, &life_name, &life, &buckets);
            let beats = async { tokio::try_join!(beat, self.is_still_named(&address)) };
            timeout(self.links.lease(), beats).await.map_err(|_| Deaf::Silent)??;
            if let Some(link) = &*line.link() {
                link.heartbeat(sent_at);
            }
            tokio::select! {
                _ = is_lost.wait_for(|is_lost| *is_lost) => return Err(Deaf::Lost),
                () = sleep(self.links.lease() / BEATS_A_LEASE) => {}
            }
        }
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.store.inner.origin.connect))
            .set_response_timeout(Some(self.links.lease()))
    }

    async fn client(&self) -> Result<(Client, ConnectionAddr), Deaf> {
        let (client, address) = match &self.node {
            Node::One(info) => {
                let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
                let info = (**info).clone().set_redis_settings(settings);
                let address = info.addr().clone();
                (client(info, self.store.inner.origin.certificates.as_ref())?, address)
            }
            Node::Named(sentinels) => {
                let named = timeout(self.links.lease(), sentinels.primary()).await;
                let address = named.map_err(|_| Deaf::Silent)??;
                (sentinels.client(address.clone())?, address)
            }
        };
        Ok((client, address))
    }

    /// One heartbeat.
    async fn beat(
        &self,
        connection: &mut MultiplexedConnection,
        life_name: &str,
        life: &[u8],
        buckets: &Buckets,
    ) -> Result<(), Deaf> {
        let mut both = redis::pipe();
        both.get(life_name);
        if self.is_cluster {
            both.cmd("CLUSTER").arg("NODES");
        } else {
            both.cmd("ROLE");
        }
        let (found, about): (Option<Vec<u8>>, Value) = both.query_async(connection).await?;
        if found.as_deref() != Some(life) {
            return Err(Deaf::OtherLife);
        }
        let is_responsible = if self.is_cluster {
            responsible(&read::<String>(about)?, &buckets.slots) == buckets.held
        } else {
            let role: Vec<Value> = read(about)?;
            let role = role.into_iter().next().map(String::from_redis_value);
            role.is_some_and(|role| role.is_ok_and(|role| role == "master"))
        };
        if is_responsible { Ok(()) } else { Err(Deaf::Moved) }
    }

    /// The store must read where the feed listens: what a deposed primary still answers would be kept, and no message would ever tell.
    async fn bring_store_to(&self, address: &ConnectionAddr) -> Result<(), Deaf> {
        if matches!(self.node, Node::One(_)) {
            return Ok(());
        }
        let connections = &self.store.inner.connections;
        let moved = timeout(self.links.lease(), connections.move_to(address)).await;
        moved.map_err(|_| Deaf::Silent)??;
        if connections.are_to(address) { Ok(()) } else { Err(Deaf::Moved) }
    }

    /// Whether the store is where the feed is, and the Sentinels, as far as they can be asked, still name this server.
    async fn is_still_named(&self, address: &ConnectionAddr) -> Result<(), Deaf> {
        let Node::Named(sentinels) = &self.node else { return Ok(()) };
        if !self.store.inner.connections.are_to(address) {
            return Err(Deaf::Moved);
        }
        match timeout(self.links.lease() / 3, sentinels.primary()).await {
            Ok(Ok(named)) if named != *address => Err(Deaf::Moved),
            _ => Ok(()),
        }
    }

    /// The life of the data; a new one, if they have none.
    async fn life(&self, connection: &mut MultiplexedConnection, name: &str) -> Result<Vec<u8>, Deaf> {
        let mut random = [0; 16];
        OsRandom.fill(&mut random).map_err(|_| Deaf::Malformed)?;
        let (_, life): (Value, Option<Vec<u8>>) = redis::pipe()
            .cmd("SET")
            .arg(name)
            .arg(&random)
            .arg("NX")
            .get(name)
            .query_async(connection)
            .await?;
        life.ok_or(Deaf::OtherLife)
    }

    /// The slot of every bucket's channel, as the server computes it.
    async fn slots(&self, connection: &mut MultiplexedConnection) -> Result<Vec<u16>, Deaf> {
        let mut pipe = redis::pipe();
        for bucket in 0..=u8::MAX {
            pipe.cmd("CLUSTER").arg("KEYSLOT").arg(self.store.inner.keys.channel_of(bucket));
        }
        Ok(pipe.query_async(connection).await?)
    }

    /// The addresses of the primaries, as this node sees them.
    async fn primaries(&self) -> Result<Vec<ConnectionAddr>, Deaf> {
        let (client, asked) = self.client().await?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&self.config()).await?;
        Ok(primaries(&nodes(&mut connection).await?, &asked))
    }
}

/// What a connection is responsible for.
struct Buckets {
    slots: Vec<u16>,
    held: Vec<u8>,
}

async fn nodes(connection: &mut MultiplexedConnection) -> Result<String, Deaf> {
    Ok(redis::cmd("CLUSTER").arg("NODES").query_async(connection).await?)
}
