//! Makes one connection: to a server, to the primary that the Sentinels name, or to a cluster.

use core::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult,
    TlsCertificates,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use super::{connection::Connection, sentinel::Sentinels, url::Servers};
use crate::store::StoreError;

/// How long things may take.
#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    /// Connecting to one server.
    pub(super) connect: Duration,
    /// One command.
    pub(super) response: Duration,
    /// Waiting for a connection; in a cluster, a command with its redirections.
    pub(super) operation: Duration,
}

/// Knows the way to Redis.
pub(super) struct Dialer {
    way: Way,
    config: AsyncConnectionConfig,
}

enum Way {
    Single(Box<Client>),
    Sentinel(Box<Sentinels>),
    Cluster(Box<ClusterClient>),
}

impl Dialer {
    pub(super) fn new(
        servers: Servers,
        certificates: Option<TlsCertificates>,
        timeouts: Timeouts,
    ) -> Result<Self, StoreError> {
        let way = Self::way(servers, certificates, timeouts)
            .map_err(|error| StoreError::misconfigured(format!("Redis can't be connected to: {error}")))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeouts.connect))
            .set_response_timeout(Some(timeouts.response));
        Ok(Self { way, config })
    }

    fn way(servers: Servers, certificates: Option<TlsCertificates>, timeouts: Timeouts) -> RedisResult<Way> {
        Ok(match servers {
            Servers::Single(server) => Way::Single(Box::new(client(*server, certificates.as_ref())?)),
            Servers::Sentinel { sentinels, service, primary } => Way::Sentinel(Box::new(Sentinels::new(
                &sentinels,
                service,
                *primary,
                certificates,
                timeouts.connect,
            )?)),
            Servers::Cluster(nodes) => {
                nodes.iter().for_each(|node| prepare_tls(node.addr()));
                let mut builder = ClusterClient::builder(nodes)
                    .tcp_settings(tcp())
                    .connection_timeout(timeouts.connect)
                    // Without the two, a silent node is waited for without an end.
                    .response_timeout(timeouts.response)
                    .overall_response_timeout(Some(timeouts.operation))
                    .retries(6)
                    .min_retry_wait(20)
                    .max_retry_wait(300);
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                Way::Cluster(Box::new(builder.build()?))
            }
        })
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.way, Way::Cluster(_))
    }

    /// A connection, and to which server if the Sentinels chose it.
    pub(super) async fn dial(&self) -> RedisResult<(Connection, Option<ConnectionAddr>)> {
        let config = &self.config;
        Ok(match &self.way {
            Way::Single(client) => {
                (Connection::Node(client.get_multiplexed_async_connection_with_config(config).await?), None)
            }
            Way::Sentinel(sentinels) => {
                let address = sentinels.primary().await?;
                let client = sentinels.client(address.clone())?;
                let mut connection = client.get_multiplexed_async_connection_with_config(config).await?;
                expect_primary(&mut connection).await?;
                (Connection::Node(connection), Some(address))
            }
            Way::Cluster(client) => (Connection::Cluster(client.get_async_connection().await?), None),
        })
    }

    /// Whether the Sentinels name another primary by now. If they can't be asked, the one there was is as good as any.
    pub(super) async fn has_moved(&self, primary: &ConnectionAddr) -> bool {
        let Way::Sentinel(sentinels) = &self.way else { return false };
        sentinels.primary().await.is_ok_and(|named| named != *primary)
    }
}

/// The way to one server.
pub(super) fn client(info: ConnectionInfo, certificates: Option<&TlsCertificates>) -> RedisResult<Client> {
    prepare_tls(info.addr());
    let info = info.set_tcp_settings(tcp());
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        None => Client::open(info),
    }
}

/// Sentinels name a server before it knows that it is the primary.
async fn expect_primary(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let info: String = redis::cmd("INFO").arg("replication").query_async(connection).await?;
    if info.contains("role:master") {
        return Ok(());
    }
    Err(RedisError::from((ErrorKind::Client, "the server that the Sentinels name is a replica still")))
}

/// No waiting for more bytes to send; a peer that vanished without a word is noticed in three seconds.
fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2))
        .with_retries(3);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(Duration::from_secs(3));
    settings
}

/// The client library panics if more than one provider of cryptography is compiled in and the program chose none.
fn prepare_tls(addr: &ConnectionAddr) {
    let is_tls = matches!(addr, ConnectionAddr::TcpTls { .. });
    if is_tls && rustls::crypto::CryptoProvider::get_default().is_none() {
        // Someone else may have been faster: then there is one, which is all that is needed.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}
