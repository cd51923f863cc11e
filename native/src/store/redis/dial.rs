//! Makes one connection: to a server, to the primary that the Sentinels name, or to a cluster.

use core::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisResult, TlsCertificates, TlsMode,
    cluster::ClusterClient,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::Mutex;

use super::{connection::Connection, url::Servers};
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
    /// A lookup keeps its connections to the Sentinels.
    Sentinel(Box<Mutex<SentinelClient>>),
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
            Servers::Single(server) => {
                prepare_tls(server.addr());
                let server = server.set_tcp_settings(tcp());
                Way::Single(Box::new(match certificates {
                    Some(certificates) => Client::build_with_tls(server, certificates)?,
                    None => Client::open(server)?,
                }))
            }
            Servers::Sentinel { sentinels, service, primary } => Way::Sentinel(Box::new(Mutex::new(
                sentinel_client(&sentinels, service, &primary, certificates)?,
            ))),
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
                let client = sentinels.lock().await.async_get_client().await?;
                let connection = client.get_multiplexed_async_connection_with_config(config).await?;
                (Connection::Node(connection), Some(client.get_connection_info().addr().clone()))
            }
            Way::Cluster(client) => (Connection::Cluster(client.get_async_connection().await?), None),
        })
    }

    /// Whether the Sentinels name another primary by now. If they can't be asked, the one there was is as good as any.
    pub(super) async fn has_moved(&self, primary: &ConnectionAddr) -> bool {
        let Way::Sentinel(client) = &self.way else { return false };
        let named = client.lock().await.async_get_client().await;
        named.is_ok_and(|named| named.get_connection_info().addr() != primary)
    }
}

/// A client that asks Sentinels for the primary of a service, and signs in there as `primary` says.
pub(super) fn sentinel_client(
    sentinels: &[ConnectionInfo],
    service: String,
    primary: &ConnectionInfo,
    certificates: Option<TlsCertificates>,
) -> RedisResult<SentinelClient> {
    prepare_tls(primary.addr());
    let sentinels = sentinels.iter().map(|info| info.addr().clone());
    let kind = SentinelServerType::Master;
    let settings = primary.redis_settings();
    let mut builder = SentinelClientBuilder::new(sentinels, service, kind)?
        .set_client_to_redis_protocol(settings.protocol())
        .set_client_to_redis_db(settings.db())
        .set_client_to_redis_tcp_settings(tcp())
        .set_client_to_sentinel_tcp_settings(tcp());
    if let Some(username) = settings.username() {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = settings.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(mode) = tls_mode(primary) {
        builder = builder.set_client_to_redis_tls_mode(mode).set_client_to_sentinel_tls_mode(mode);
    }
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    builder.build()
}

/// No waiting for more bytes to send; a peer that vanished without a word is noticed in three seconds.
pub(super) fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2))
        .with_retries(3);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(Duration::from_secs(3));
    settings
}

fn tls_mode(info: &ConnectionInfo) -> Option<TlsMode> {
    match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => Some(TlsMode::Insecure),
        ConnectionAddr::TcpTls { .. } => Some(TlsMode::Secure),
        _ => None,
    }
}

/// The client library panics if more than one provider of cryptography is compiled in and the program chose none.
pub(super) fn prepare_tls(addr: &ConnectionAddr) {
    let is_tls = matches!(addr, ConnectionAddr::TcpTls { .. });
    if is_tls && rustls::crypto::CryptoProvider::get_default().is_none() {
        // Someone else may have been faster: then there is one, which is all that is needed.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}
