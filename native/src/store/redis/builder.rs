//! Options of a Redis store, and what is checked when it connects.

use core::{num::NonZeroU32, time::Duration};
use std::sync::Arc;

use redis::{ClientTlsConfig, TlsCertificates, cluster_routing::SingleNodeRoutingInfo};

use super::{
    Inner, RedisStore, Replicas, Scripts, batch,
    connection::Connections,
    dial::{Dialer, Timeouts},
    keys::Keys,
    loads::{Loads, Reader},
    saves::{Saves, Writer},
    url::Servers,
};
use crate::{
    clock::{Clock, SystemClock},
    store::StoreError,
};

/// Options of a [`RedisStore`].
///
/// ```no_run
/// use core::time::Duration;
/// use session_native::RedisStore;
///
/// # async fn example() -> Result<(), session_native::StoreError> {
/// let store = RedisStore::builder("redis+sentinel://10.0.0.1,10.0.0.2/main")
///     .prefix("shop")
///     .sessions_per_subject(5)
///     .response_timeout(Duration::from_millis(300))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "it does nothing until it connects"]
pub struct RedisStoreBuilder {
    url: String,
    prefix: String,
    connections: usize,
    per_subject: u32,
    publish: bool,
    replicas: Option<Replicas>,
    root_certificates: Option<Vec<u8>>,
    client_certificate: Option<ClientTlsConfig>,
    timeouts: Timeouts,
    #[cfg(feature = "crystal")]
    crystal: Option<String>,
    clock: Arc<dyn Clock>,
}

impl RedisStoreBuilder {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            prefix: "session".into(),
            connections: 1,
            per_subject: 0,
            publish: true,
            replicas: None,
            root_certificates: None,
            client_certificate: None,
            timeouts: Timeouts {
                connect: Duration::from_millis(500),
                response: Duration::from_millis(500),
                operation: Duration::from_millis(1500),
            },
            #[cfg(feature = "crystal")]
            crystal: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// What the names of all keys begin with: `session` by default. Applications that share a server each have their own. Without braces.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How many connections are used in turn: one by default, which pipelines what all requests send. More than two hardly ever help.
    pub const fn connections(mut self, count: usize) -> Self {
        self.connections = count;
        self
    }

    /// How many sessions a subject may have; no limit by default. One more ends those that were used least recently. Atomic, and the same for
    /// all processes if all are given the same number.
    pub const fn sessions_per_subject(mut self, most: u32) -> Self {
        self.per_subject = most;
        self
    }

    /// Whether writes tell the caches of other processes: on by default. Only if no process puts a cache before this store can it be turned off,
    /// which makes saves a little cheaper.
    pub const fn publish_changes(mut self, publish: bool) -> Self {
        self.publish = publish;
        self
    }

    /// While nodes that run the Crystal library `session` are on the same server: tells them of writes on their channel
    /// (`session:cluster:invalidate`, unless they were configured otherwise), in their form, so that they drop what they hold of a session that was
    /// imported and deleted; and a [feed](RedisStore::feed) of this store hears what they say. Off by default. No promise of a cache here rests on
    /// this channel: their messages are sent after the write, and may be lost.
    #[cfg(feature = "crystal")]
    pub fn crystal_channel(mut self, channel: impl Into<String>) -> Self {
        self.crystal = Some(channel.into());
        self
    }

    /// Makes deleting a session and revoking a subject wait until so many replicas have it, so that a failover does not undo it; otherwise
    /// they are errors. Not consensus: a replica that did not answer may still become the primary. Off by default, and if it is zero.
    pub const fn replicas(mut self, count: u32, within: Duration) -> Self {
        self.replicas = match NonZeroU32::new(count) {
            Some(count) => Some(Replicas { count, within }),
            None => None,
        };
        self
    }

    /// Trusts these certificates (PEM) instead of the system's.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self
    }

    /// Signs in with a certificate and its key (PEM).
    pub fn client_certificate(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.client_certificate =
            Some(ClientTlsConfig { client_cert: certificate.into(), client_key: key.into() });
        self
    }

    /// How long connecting to a server may take: 500 ms by default.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connect = timeout;
        self
    }

    /// How long the answer to one command may take: 500 ms by default.
    pub const fn response_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.response = timeout;
        self
    }

    /// How long is waited for a connection that is being made, and in a cluster for a command with all its redirections: 1.5 s by default. A limit for all
    /// that an operation takes is [`Resilient`](crate::Resilient)'s.
    pub const fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.operation = timeout;
        self
    }

    /// The clock by which records expire: the system's by default. Redis is told how long they live, not until when, so its clock needn't agree.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Connects, and checks that the server can do what is needed of it.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if the URL or an option can't be used, or the server is too old, a replica, or in a cluster that the URL
    /// doesn't say; [`StoreError::Unavailable`] if it can't be reached.
    pub async fn connect(self) -> Result<RedisStore, StoreError> {
        let keys = Keys::new(&self.prefix)
            .map(Arc::new)
            .ok_or_else(|| StoreError::misconfigured("the prefix of keys in Redis may not hold braces"))?;
        let client_tls = self.client_certificate;
        let certificates = (client_tls.is_some() || self.root_certificates.is_some())
            .then_some(TlsCertificates { client_tls, root_cert: self.root_certificates });
        let servers = Servers::parse(&self.url)?;
        let patient_timeouts = |replicas: Replicas| Timeouts {
            response: self.timeouts.response + replicas.within,
            operation: self.timeouts.operation + replicas.within,
            ..self.timeouts
        };
        let patient = match self.replicas {
            Some(replicas) => {
                let timeouts = patient_timeouts(replicas);
                let dialer =
                    Arc::new(Dialer::new(Servers::parse(&self.url)?, certificates.clone(), timeouts)?);
                Some((Connections::open(dialer, 1, timeouts).await?, replicas))
            }
            None => None,
        };
        #[cfg(feature = "cache")]
        let origin = super::Origin {
            url: self.url.into(),
            certificates: certificates.clone(),
            connect: self.timeouts.connect,
        };
        let dialer = Arc::new(Dialer::new(servers, certificates, self.timeouts)?);
        let connections = Arc::new(Connections::open(dialer, self.connections, self.timeouts).await?);
        let server = Server::ask(&connections).await?;
        server.check(connections.is_cluster())?;
        let publish = match (self.publish, connections.is_cluster()) {
            (false, _) => "",
            (true, false) => "PUBLISH",
            (true, true) if server.version < SHARDED_PUBSUB => {
                tracing::warn!(
                    "Redis before 7.0 has no sharded Pub/Sub: no cache can be put before a cluster of it"
                );
                ""
            }
            (true, true) => "SPUBLISH",
        };
        let reader = Arc::new(Reader::new(&connections, &keys));
        let writer = Arc::new(Writer::new(&connections, &keys, publish));
        let batches =
            (!connections.is_cluster()).then(|| batch::start(Arc::clone(&reader), Arc::clone(&writer)));
        let (loads, saves) = batches.unzip();
        let inner = Inner {
            loads: Loads::new(reader, loads),
            saves: Saves::new(writer, saves),
            connections,
            patient,
            keys,
            scripts: Scripts::new(),
            clock: self.clock,
            publish,
            per_subject: self.per_subject,
            #[cfg(feature = "crystal")]
            crystal: self.crystal.map(super::crystal::Channel::new).transpose()?,
            #[cfg(feature = "cache")]
            origin,
        };
        Ok(RedisStore { inner: Arc::new(inner) })
    }
}

type Release = (u32, u32);

/// No older one is maintained, or tested here.
const OLDEST: Release = (6, 2);
const SHARDED_PUBSUB: Release = (7, 0);

/// What a server says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Server {
    version: Release,
    is_clustered: bool,
    is_replica: bool,
    evicts: bool,
}

impl Server {
    async fn ask(connections: &Connections) -> Result<Self, StoreError> {
        let command = redis::cmd("INFO");
        if !connections.is_cluster() {
            return Ok(Self::read(&connections.query::<String>(0, &command).await?));
        }
        let info: String = connections.query_at(SingleNodeRoutingInfo::RandomPrimary, command).await?;
        Ok(Self::read(&info))
    }

    fn read(info: &str) -> Self {
        let mut server = Self::default();
        for (name, value) in info.lines().filter_map(|line| line.split_once(':')) {
            match name {
                // Valkey tells the version of Redis that it is compatible with here.
                "redis_version" => {
                    let mut parts = value.split('.').map(|part| part.parse().unwrap_or(0));
                    server.version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
                }
                "cluster_enabled" => server.is_clustered = value == "1",
                "role" => server.is_replica = value != "master",
                "maxmemory_policy" => server.evicts = value.starts_with("allkeys"),
                _ => {}
            }
        }
        server
    }

    fn check(&self, as_cluster: bool) -> Result<(), StoreError> {
        let (major, minor) = self.version;
        if self.version < OLDEST {
            let (oldest, and) = OLDEST;
            return Err(StoreError::misconfigured(format!(
                "Redis {major}.{minor} is too old: {oldest}.{and} or newer is needed"
            )));
        }
        match (self.is_clustered, as_cluster) {
            (true, false) => {
                return Err(StoreError::misconfigured(
                    "this Redis is part of a cluster: use a URL that begins with redis+cluster://",
                ));
            }
            (false, true) => {
                return Err(StoreError::misconfigured(
                    "this Redis is in no cluster: use a URL that begins with redis://",
                ));
            }
            _ => {}
        }
        if self.is_replica && !as_cluster {
            return Err(StoreError::misconfigured(
                "this Redis is a replica: name its primary, or the Sentinels that know it (redis+sentinel://)",
            ));
        }
        if self.evicts {
            tracing::warn!(
                "Redis evicts keys of any kind when its memory is full (maxmemory-policy allkeys-*): sessions will be lost; noeviction is advised"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\n# Replication\r\nrole:master\r\nmaxmemory_policy:noeviction\r\ncluster_enabled:0\r\n";

    #[test]
    fn a_server_that_will_do_is_told_from_one_that_will_not() {
        assert_eq!(Server::read(INFO), Server { version: (7, 0), ..Server::default() });
        for (from, to, as_cluster, why) in [
            ("7.0.15", "6.0.16", false, "too old: 6.2"),
            ("role:master", "role:slave", false, "is a replica"),
            ("cluster_enabled:0", "cluster_enabled:1", false, "redis+cluster://"),
            ("cluster_enabled:0", "cluster_enabled:0", true, "redis://"),
        ] {
            let checked = Server::read(&INFO.replace(from, to)).check(as_cluster);
            assert!(checked.as_ref().is_err_and(|error| error.to_string().contains(why)), "{checked:?}");
        }
        assert_eq!(Server::read(INFO).check(false), Ok(()));
        assert_eq!(Server::read(&INFO.replace("cluster_enabled:0", "cluster_enabled:1")).check(true), Ok(()));
    }
}
