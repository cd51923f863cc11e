//! Real servers on free ports, in directories of their own: started, killed, stopped. They end when they are dropped.

mod cluster;
mod ports;
mod process;
mod redis;
mod sentinel;
mod tls;

use core::time::Duration;
use std::time::Instant;

pub use self::{
    cluster::{Node, RedisCluster, SlotMove},
    redis::{RedisServer, RedisServerBuilder},
    sentinel::{MASTER_NAME, SentinelTrio},
    tls::{Authority, Identity},
};

/// How long a server may take to do what it was started or asked for. Far above what it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again until the answer is yes.
///
/// # Panics
/// If it takes longer than a minute; `what` says what was waited for.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done().await {
        assert!(start.elapsed() < PATIENCE, "waited for a minute: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}
