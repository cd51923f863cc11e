//! Free ports.

use core::sync::atomic::{AtomicU16, Ordering};
use std::{net::TcpListener, sync::LazyLock};

/// Below the ports that systems give to outgoing connections: otherwise one of those could take the port of a server that is down.
const FIRST: u16 = 11_000;
const COUNT: u16 = 10_000;
/// A cluster's node speaks to the others on a second port, that far above its own.
const BUS: u16 = 10_000;

/// A port that is free, and whose bus port is. Another process may take it before a server does: then try the next one.
pub(super) fn free() -> u16 {
    // Test programs that run at the same time begin at different places.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        let place = std::process::id().wrapping_mul(7_919) % u32::from(COUNT);
        AtomicU16::new(u16::try_from(place).unwrap_or_default())
    });
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if is_free(port) && is_free(port + BUS) {
            return port;
        }
    }
    panic!("none of the ports from {FIRST} to {} is free", FIRST + COUNT);
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
