//! Whom the Sentinels take for the primary.
//!
//! Not the first one that answers is believed: a Sentinel that was cut off goes on naming the primary of before, which may go on taking writes
//! that will all be undone. Each failover has a number, the *configuration epoch*, for which most Sentinels had to vote; so all are asked
//! at once, and the newest view counts.

use core::time::Duration;
use std::collections::HashMap;

use futures_util::{StreamExt as _, future::try_join, stream::FuturesUnordered};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, RedisError,
    RedisResult, TlsCertificates, Value, aio::MultiplexedConnection,
};
use tokio::{sync::Mutex, time::timeout};

use super::dial::client;

/// How long others are waited for once most have answered.
const STRAGGLERS: Duration = Duration::from_millis(250);

/// The Sentinels that watch a service.
pub(super) struct Sentinels {
    sentinels: Box<[Sentinel]>,
    service: String,
    /// How to reach the primary, and to sign in there, wherever it is.
    primary: ConnectionInfo,
    certificates: Option<TlsCertificates>,
}

struct Sentinel {
    client: Client,
    config: AsyncConnectionConfig,
    /// Kept from one question to the next.
    connection: Mutex<Option<MultiplexedConnection>>,
}

/// What one Sentinel says of the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    host: String,
    port: u16,
    epoch: u64,
    is_down: bool,
}

impl Sentinels {
    /// `within` is how long connecting to one of them, and its answer, may take.
    pub(super) fn new(
        sentinels: &[ConnectionInfo],
        service: String,
        primary: ConnectionInfo,
        certificates: Option<TlsCertificates>,
        within: Duration,
    ) -> RedisResult<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(within))
            .set_response_timeout(Some(within));
        let sentinels = sentinels.iter().map(|info| {
            let client = client(info.clone(), certificates.as_ref())?;
            Ok(Sentinel { client, config: config.clone(), connection: Mutex::default() })
        });
        let sentinels = sentinels.collect::<RedisResult<_>>()?;
        Ok(Self { sentinels, service, primary, certificates })
    }

    /// Where the primary is. Fewer than most of the Sentinels are believed too, if no others answer.
    pub(super) async fn primary(&self) -> RedisResult<ConnectionAddr> {
        let mut asked: FuturesUnordered<_> =
            self.sentinels.iter().map(|sentinel| sentinel.ask(&self.service)).collect();
        let most = self.sentinels.len() / 2 + 1;
        let mut views = Vec::with_capacity(self.sentinels.len());
        let mut failure = RedisError::from((ErrorKind::EmptySentinelList, "no Sentinel answers"));
        loop {
            let answer = if views.len() < most {
                asked.next().await
            } else {
                timeout(STRAGGLERS, asked.next()).await.unwrap_or(None)
            };
            match answer {
                Some(Ok(view)) => views.push(view),
                Some(Err(error)) => failure = error,
                None => break,
            }
        }
        match newest(views) {
            Some(View { is_down: true, .. }) => Err(RedisError::from((
                ErrorKind::Client,
                "the Sentinels take the primary for dead, and have not chosen another yet",
            ))),
            Some(view) => Ok(self.address(view)),
            None => Err(failure),
        }
    }

    /// The way to the server at an address that [`Sentinels::primary`] gave.
    pub(super) fn client(&self, address: ConnectionAddr) -> RedisResult<Client> {
        client(self.primary.clone().set_addr(address), self.certificates.as_ref())
    }

    fn address(&self, View { host, port, .. }: View) -> ConnectionAddr {
        match self.primary.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host, port),
        }
    }
}

impl Sentinel {
    async fn ask(&self, service: &str) -> RedisResult<View> {
        let mut kept = self.connection.lock().await;
        let connection = match kept.take() {
            Some(connection) => connection,
            None => self.client.get_multiplexed_async_connection_with_config(&self.config).await?,
        };
        let ask = async |what: &str| -> RedisResult<Value> {
            redis::cmd("SENTINEL").arg(what).arg(service).query_async(&mut connection.clone()).await
        };
        // In the midst of a failover the address that stands among the other facts is still the old one.
        let answers = try_join(ask("GET-MASTER-ADDR-BY-NAME"), ask("MASTER")).await;
        match answers {
            Ok((address, facts)) => {
                *kept = Some(connection);
                View::read(address, facts)
            }
            Err(error) if error.detail().is_some_and(|detail| detail.contains("No such master")) => {
                Err(RedisError::from((
                    ErrorKind::MasterNameNotFoundBySentinel,
                    "the Sentinels know no service of the name in the URL",
                )))
            }
            Err(error) => Err(error),
        }
    }
}

impl View {
    fn read(address: Value, facts: Value) -> RedisResult<Self> {
        let (host, port) = FromRedisValue::from_redis_value(address)?;
        let facts: HashMap<String, String> = FromRedisValue::from_redis_value(facts)?;
        let epoch = facts.get("config-epoch").and_then(|epoch| epoch.parse().ok());
        let epoch = epoch.ok_or((ErrorKind::UnexpectedReturnType, "a Sentinel tells no config-epoch"))?;
        let is_down = facts.get("flags").is_some_and(|flags| flags.contains("_down"));
        Ok(Self { host, port, epoch, is_down })
    }
}

/// That of the latest failover; of several, of one that finds the primary well, and what most say.
fn newest(views: Vec<View>) -> Option<View> {
    let say_so = |view: &View| {
        views.iter().filter(|other| (&other.host, other.port) == (&view.host, view.port)).count()
    };
    views.iter().max_by_key(|view| (view.epoch, !view.is_down, say_so(view))).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(port: u16, epoch: u64, is_down: bool) -> View {
        View { host: "10.0.0.1".into(), port, epoch, is_down }
    }

    #[test]
    fn the_latest_failover_counts_however_many_have_not_heard_of_it() {
        for (views, chosen) in [
            (vec![view(1, 4, false), view(1, 4, false), view(2, 5, false)], 2),
            // One that can't reach the primary doesn't speak for all.
            (vec![view(1, 4, true), view(1, 4, false), view(1, 4, true)], 1),
            // Before the first failover, what one was told wrongly.
            (vec![view(3, 0, false), view(1, 0, false), view(1, 0, false)], 1),
            (vec![view(1, 4, false), view(2, 5, true)], 2),
        ] {
            assert_eq!(newest(views.clone()).map(|view| view.port), Some(chosen), "{views:?}");
        }
        assert_eq!(newest(Vec::new()), None);
    }

    #[test]
    fn an_answer_is_read_or_refused() {
        let list = |texts: &[&str]| {
            Value::Array(texts.iter().map(|text| text.as_bytes().into()).map(Value::BulkString).collect())
        };
        let address = || list(&["10.0.0.1", "7"]);
        let facts = |epoch| list(&["ip", "10.0.0.9", "flags", "master,o_down", "config-epoch", epoch]);
        assert_eq!(View::read(address(), facts("3")), Ok(view(7, 3, true)));
        assert!(View::read(Value::Nil, facts("3")).is_err());
        assert!(View::read(list(&["10.0.0.1", "x"]), facts("3")).is_err());
        assert!(View::read(address(), facts("")).is_err());
        assert!(View::read(address(), list(&["flags", "master"])).is_err());
    }
}
