//! A Redis Cluster of three primaries with a replica each.

use super::{RedisServer, RedisServerBuilder, until};

/// How many hash slots a cluster has.
const SLOTS: u16 = 16_384;

/// A Redis Cluster: three primaries with a replica each. A node is taken for dead after two seconds without an answer.
pub struct RedisCluster {
    /// Six servers; the first three begin as primaries.
    pub servers: Vec<RedisServer>,
}

/// A node as the cluster sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Which of the [`RedisCluster::servers`] it is.
    pub server: usize,
    /// Whether it is a primary that is not known to have failed.
    pub is_primary: bool,
    /// The id of its primary, if it is a replica.
    pub primary: Option<String>,
    /// The slots it serves, as ranges.
    pub slots: Vec<(u16, u16)>,
}

impl RedisCluster {
    /// Starts six servers, makes a cluster of them, and waits until every one of them takes it for whole.
    ///
    /// # Panics
    /// If one doesn't start.
    pub async fn start() -> Self {
        Self::start_with(RedisServer::builder()).await
    }

    /// As [`RedisCluster::start`], with options of the servers.
    ///
    /// # Panics
    /// If one doesn't start.
    pub async fn start_with(options: RedisServerBuilder) -> Self {
        let options = options
            .config("cluster-enabled yes")
            .config("cluster-config-file nodes.conf")
            .with_tls("tls-cluster yes")
            .config("cluster-node-timeout 2000")
            // A replica stands for election however long it has not heard of its primary.
            .config("cluster-replica-validity-factor 0");
        let mut servers = Vec::new();
        for _ in 0..6 {
            servers.push(options.clone().start().await);
        }
        let cluster = Self { servers };
        cluster.join().await;
        cluster
    }

    async fn join(&self) {
        let all: Vec<_> = (0..SLOTS).map(|slot| slot.to_string()).collect();
        for (number, (server, slots)) in
            self.servers.iter().zip(all.chunks(usize::from(SLOTS / 3) + 1)).enumerate()
        {
            let epoch = (number + 1).to_string();
            server.command::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
            let command: Vec<_> =
                ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str)).collect();
            server.command::<()>(&command).await;
        }
        for server in &self.servers[1..] {
            let port = server.port().to_string();
            self.servers[0].command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port]).await;
        }
        for server in &self.servers {
            until("the nodes know each other", async || {
                self.nodes_by(server).await.len() == self.servers.len()
            })
            .await;
        }
        for (primary, replica) in self.servers.iter().zip(&self.servers[3..]) {
            let id: String = primary.command(&["CLUSTER", "MYID"]).await;
            replica.command::<()>(&["CLUSTER", "REPLICATE", &id]).await;
        }
        for server in &self.servers {
            until("the nodes know who is a replica", async || {
                self.nodes_by(server).await.iter().filter(|node| node.primary.is_some()).count() == 3
            })
            .await;
        }
        self.until_whole().await;
    }

    /// Waits until every node that answers takes the cluster for whole, and every replica is in step.
    ///
    /// # Panics
    /// If that takes longer than a minute.
    pub async fn until_whole(&self) {
        for server in &self.servers {
            until("the cluster is whole", async || {
                match server.try_command::<String>(&["CLUSTER", "INFO"]).await {
                    Ok(info) => info.contains("cluster_state:ok") && self.is_in_step(server).await,
                    // A killed node; one that is stopped keeps its clients waiting, and must not be asked.
                    Err(error) => error.is_connection_refusal(),
                }
            })
            .await;
        }
    }

    async fn is_in_step(&self, server: &RedisServer) -> bool {
        match server.info("role").await.ok().flatten().as_deref() {
            Some("master") => true,
            Some(_) => server.info("master_link_status").await.ok().flatten().as_deref() == Some("up"),
            None => false,
        }
    }

    /// `redis://127.0.0.1:PORT` of each node.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(RedisServer::url).collect()
    }

    /// The nodes, as the first that answers sees them.
    ///
    /// # Panics
    /// If none answers.
    pub async fn nodes(&self) -> Vec<Node> {
        for server in &self.servers {
            let nodes = self.nodes_by(server).await;
            if !nodes.is_empty() {
                return nodes;
            }
        }
        panic!("no node of the cluster answers");
    }

    /// The nodes as one server sees them; none if it doesn't answer.
    pub async fn nodes_by(&self, server: &RedisServer) -> Vec<Node> {
        let text: String = server.try_command(&["CLUSTER", "NODES"]).await.unwrap_or_default();
        text.lines().filter_map(|line| self.parse(line)).collect()
    }

    /// Which server serves a slot, as the first node that answers sees it.
    pub async fn primary_of(&self, slot: u16) -> Option<usize> {
        let serves = |node: &Node| node.slots.iter().any(|&(first, last)| (first..=last).contains(&slot));
        self.nodes().await.iter().find(|node| node.is_primary && serves(node)).map(|node| node.server)
    }

    /// Begins to move a slot from the server that has it to another primary. Until it is finished, keys that were moved are found by ASK.
    ///
    /// # Panics
    /// If a server refuses.
    pub async fn begin_move(&self, slot: u16, to: usize) -> SlotMove<'_> {
        let from = self.primary_of(slot).await.expect("every slot is served");
        let slot = slot.to_string();
        let ids = [self.id(from).await, self.id(to).await];
        self.servers[to].command::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]).await;
        self.servers[from].command::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]).await;
        SlotMove { cluster: self, slot, from, to }
    }

    async fn id(&self, server: usize) -> String {
        self.servers[server].command(&["CLUSTER", "MYID"]).await
    }

    fn parse(&self, line: &str) -> Option<Node> {
        let mut words = line.split(' ');
        let id = words.next()?.to_owned();
        let port: u16 = words.next()?.split(['@', ':']).nth(1)?.parse().ok()?;
        let server = self.servers.iter().position(|server| server.port() == port)?;
        let flags: Vec<_> = words.next()?.split(',').collect();
        let primary = words.next().filter(|id| *id != "-").map(str::to_owned);
        let is_primary =
            flags.contains(&"master") && !flags.contains(&"fail") && !flags.contains(&"handshake");
        let slots = words.skip(4).filter_map(range).collect();
        Some(Node { id, server, is_primary, primary, slots })
    }
}

/// `5` or `5-9`; slots on the move stand in brackets.
fn range(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// A slot on its way; [`RedisCluster::begin_move`] makes one.
pub struct SlotMove<'a> {
    cluster: &'a RedisCluster,
    slot: String,
    from: usize,
    to: usize,
}

impl SlotMove<'_> {
    /// Moves up to so many keys, and gives their number.
    ///
    /// # Panics
    /// If a server refuses.
    pub async fn move_keys(&self, most: usize) -> usize {
        let from = &self.cluster.servers[self.from];
        let most = most.to_string();
        let keys: Vec<String> = from.command(&["CLUSTER", "GETKEYSINSLOT", &self.slot, &most]).await;
        if !keys.is_empty() {
            let port = self.cluster.servers[self.to].port().to_string();
            let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            command.extend(keys.iter().map(String::as_str));
            from.command::<()>(&command).await;
        }
        keys.len()
    }

    /// Moves the keys that are left, and the slot: from now on the old server answers MOVED.
    ///
    /// # Panics
    /// If a server refuses.
    pub async fn finish(self) {
        while self.move_keys(100).await > 0 {}
        let id = self.cluster.id(self.to).await;
        // The new one first: between the two, a client that the old one sends away is taken in.
        for server in [self.to, self.from] {
            self.cluster.servers[server]
                .command::<()>(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &id])
                .await;
        }
        // The others would hear of it in time; replicas do, and refuse to be told.
        for (number, server) in self.cluster.servers.iter().enumerate() {
            if number != self.to && number != self.from {
                let _ = server.try_command::<()>(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &id]).await;
            }
        }
    }
}
