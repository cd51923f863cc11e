//! A primary, two replicas, and three Sentinels that watch them.

use super::{RedisServer, RedisServerBuilder, until};

/// The name under which the Sentinels know the primary.
pub const MASTER_NAME: &str = "mymaster";

/// A primary with two replicas, and three Sentinels. They take the primary for dead after one second without an answer.
pub struct SentinelTrio {
    /// Three servers; which of them is the primary changes.
    pub servers: Vec<RedisServer>,
    /// Three Sentinels.
    pub sentinels: Vec<RedisServer>,
}

impl SentinelTrio {
    /// Starts all six, and waits until the Sentinels know each other and both replicas.
    ///
    /// # Panics
    /// If one doesn't start.
    pub async fn start() -> Self {
        Self::start_with(RedisServer::builder()).await
    }

    /// As [`SentinelTrio::start`], with options of the three servers.
    ///
    /// # Panics
    /// If one doesn't start.
    pub async fn start_with(options: RedisServerBuilder) -> Self {
        let primary = options.clone().start().await;
        let mut servers = vec![primary];
        for _ in 0..2 {
            let replica = options.clone().replica_of(servers[0].port()).start().await;
            until("a replica is in step", async || {
                replica.info("master_link_status").await.is_ok_and(|status| status.as_deref() == Some("up"))
            })
            .await;
            servers.push(replica);
        }
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(watching(&options, servers[0].port()).start().await);
        }
        let trio = Self { servers, sentinels };
        for sentinel in &trio.sentinels {
            until("the Sentinels know each other and the replicas", async || {
                let state = master_state(sentinel).await;
                field(&state, "num-slaves") == Some("2")
                    && field(&state, "num-other-sentinels") == Some("2")
                    && field(&state, "flags") == Some("master")
            })
            .await;
        }
        trio
    }

    /// Another Sentinel, which knows nothing of these and believes that `primary` is the primary of their service: so one speaks that was cut off
    /// together with it.
    ///
    /// # Panics
    /// If it doesn't start.
    pub async fn cut_off_with(primary: &RedisServer) -> RedisServer {
        let sentinel = watching(&RedisServer::builder(), primary.port()).start().await;
        until("the Sentinel finds its primary well", async || {
            field(&master_state(&sentinel).await, "flags") == Some("master")
        })
        .await;
        sentinel
    }

    /// `redis://127.0.0.1:PORT` of each Sentinel.
    #[must_use]
    pub fn sentinel_urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::url).collect()
    }

    /// Which of the servers is the primary, as most Sentinels see it.
    ///
    /// # Panics
    /// If they name no server of this trio for a minute.
    pub async fn primary(&self) -> usize {
        let mut primary = None;
        until("two Sentinels agree on a primary", async || {
            let mut named = Vec::new();
            for sentinel in &self.sentinels {
                named.extend(self.named_by(sentinel).await);
            }
            primary =
                named.iter().copied().find(|one| named.iter().filter(|other| *other == one).count() >= 2);
            primary.is_some()
        })
        .await;
        primary.expect("found above")
    }

    /// Waits until the Sentinels name another primary than this one, and gives it.
    ///
    /// # Panics
    /// If they don't within a minute.
    pub async fn primary_after(&self, old: usize) -> usize {
        let mut new = old;
        until("the Sentinels name another primary", async || {
            new = self.primary().await;
            new != old
        })
        .await;
        new
    }

    /// Waits until every Sentinel names this primary: they tell each other every two seconds.
    ///
    /// # Panics
    /// If they don't within a minute.
    pub async fn until_all_name(&self, primary: usize) {
        for sentinel in &self.sentinels {
            until("a Sentinel names the primary", async || self.named_by(sentinel).await == Some(primary))
                .await;
        }
    }

    /// Asks for a failover, as an operator does: the primary stays alive, and becomes a replica.
    ///
    /// # Panics
    /// If the Sentinels refuse.
    pub async fn fail_over(&self) {
        let sentinel = &self.sentinels[0];
        // Refused as long as the replicas' state is not fresh.
        until("a Sentinel begins a failover", async || {
            sentinel.try_command::<()>(&["SENTINEL", "FAILOVER", MASTER_NAME]).await.is_ok()
        })
        .await;
    }

    /// The epoch of the Sentinels' configuration, which every failover raises: also one that nobody asked for, because a busy machine kept a primary
    /// from answering for a second.
    ///
    /// # Panics
    /// If no Sentinel says.
    pub async fn epoch(&self) -> u64 {
        let mut latest = None;
        for sentinel in &self.sentinels {
            let state = master_state(sentinel).await;
            latest = latest.max(field(&state, "config-epoch").and_then(|epoch| epoch.parse().ok()));
        }
        latest.expect("a Sentinel knows the epoch of its configuration")
    }

    async fn named_by(&self, sentinel: &RedisServer) -> Option<usize> {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME];
        let address: Vec<String> = sentinel.try_command(&command).await.ok()?;
        let port: u16 = address.get(1)?.parse().ok()?;
        self.servers.iter().position(|server| server.port() == port)
    }
}

/// A Sentinel that watches a primary, reached as servers of these options are.
fn watching(options: &RedisServerBuilder, primary: u16) -> RedisServerBuilder {
    let sentinel = options
        .sentinel()
        .config(format!("sentinel monitor {MASTER_NAME} 127.0.0.1 {primary} 2"))
        .config(format!("sentinel down-after-milliseconds {MASTER_NAME} 1000"))
        .config(format!("sentinel failover-timeout {MASTER_NAME} 6000"));
    match options.sentinels_password() {
        Some(password) => sentinel.config(format!("sentinel auth-pass {MASTER_NAME} {password}")),
        None => sentinel,
    }
}

async fn master_state(sentinel: &RedisServer) -> Vec<String> {
    sentinel.try_command(&["SENTINEL", "MASTER", MASTER_NAME]).await.unwrap_or_default()
}

/// The value after a name in a flat list of names and values.
fn field<'a>(list: &'a [String], name: &str) -> Option<&'a str> {
    list.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str())
}
