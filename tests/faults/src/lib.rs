//! What tests of stores under faults need: real servers that can be killed, stopped and failed over ([`servers`]), and a network that
//! delays, loses and cuts ([`proxy`]), and a judge of what clients did to sessions meanwhile ([`history`]).
//!
//! ```no_run
//! use session_faults::{proxy::Proxy, servers::RedisServer};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let mut server = RedisServer::start().await;
//! let proxy = Proxy::before(server.address()).await;
//! // … connect a store to `proxy.url()` …
//! proxy.lose_replies(b"EVALSHA", 1); // executed, and nobody hears of it
//! server.kill();
//! server.restart().await;
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod chaos;
pub mod history;
pub mod proxy;
pub mod pulse;
pub mod report;
pub mod servers;
