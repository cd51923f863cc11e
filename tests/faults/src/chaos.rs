//! Faults at random, of a server and of the network before it.

use core::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use crate::{
    proxy::{Faults, Flow, Proxy},
    servers::{RedisServer, until},
};

/// Something befalls a server, or the network before it, for up to a second and a half. The network is as the fault left it:
/// [`Proxy::heal`].
///
/// # Panics
/// If the server doesn't start again.
pub async fn befall(rng: &mut Rng, server: &mut RedisServer, proxy: &Proxy) {
    let a_while = Duration::from_millis(rng.u64(50..700));
    match rng.u32(..10) {
        0 => {
            server.kill();
            sleep(a_while).await;
            server.restart().await;
        }
        1 => {
            server.stop();
            sleep(2 * a_while).await;
            server.cont();
        }
        2 => proxy.cut(),
        3 | 4 => lose_some(rng, proxy, true).await,
        5 => lose_some(rng, proxy, false).await,
        6 => {
            proxy.forget_connections();
            sleep(a_while).await;
        }
        7 => {
            proxy.set(Faults { replies: Flow::Drip(64, Duration::from_millis(2)), ..Faults::default() });
            sleep(a_while).await;
        }
        8 => {
            proxy.set(Faults { requests: Flow::Hold, ..Faults::default() });
            sleep(2 * a_while).await;
        }
        _ => {
            proxy.set(Faults {
                replies: Flow::Swallow,
                delay: Duration::from_millis(20),
                ..Faults::default()
            });
            sleep(a_while).await;
        }
    }
}

/// Requests are lost before they are executed, or their replies after it.
async fn lose_some(rng: &mut Rng, proxy: &Proxy, is_executed: bool) {
    for _ in 0..rng.usize(1..10) {
        let lost = proxy.lost();
        if is_executed {
            proxy.lose_replies(b"EVALSHA", 1);
        } else {
            proxy.lose_requests(b"EVALSHA", 1);
        }
        until("something is lost", async || proxy.lost() > lost).await;
    }
}
