//! Guides, of a few minutes each, whose examples are compiled and run as tests.
//!
//! - [Quick start](quick_start): from nothing to a sign-in.
//! - [Choosing a store](choosing_a_store): memory, cookies, Redis; what each can promise.
//! - [At the edge](edge): one session for a Rust service and JavaScript.
//! - [A cluster](cluster) with a cache in every process.
//! - [Operations](operations): secrets, timeouts, proxies, caches, alarms, and what is defended.
//! - [Device-bound sessions](device_bound), whose stolen cookies are worth minutes.
//! - [Moving in](migrating) without signing anyone out; the code before and after, from [tower-sessions](from_tower_sessions) and
//!   [actix-session](from_actix_session).
//!
//! Each is shown with the features that it speaks of.

#[cfg_attr(feature = "axum", doc = include_str!("../docs/quick-start.md"))]
#[cfg_attr(not(feature = "axum"), doc = "With the feature `axum`.")]
pub mod quick_start {}

#[cfg_attr(feature = "redis", doc = include_str!("../docs/choosing-a-store.md"))]
#[cfg_attr(not(feature = "redis"), doc = "With the feature `redis`.")]
pub mod choosing_a_store {}

#[cfg_attr(feature = "axum", doc = include_str!("../docs/edge.md"))]
#[cfg_attr(not(feature = "axum"), doc = "With the feature `axum`.")]
pub mod edge {}

#[cfg_attr(all(feature = "axum", feature = "cache", feature = "redis"), doc = include_str!("../docs/cluster.md"))]
#[cfg_attr(
    not(all(feature = "axum", feature = "cache", feature = "redis")),
    doc = "With the features `axum`, `cache` and `redis`."
)]
pub mod cluster {}

#[cfg_attr(feature = "axum", doc = include_str!("../docs/operations.md"))]
#[cfg_attr(not(feature = "axum"), doc = "With the feature `axum`.")]
pub mod operations {}

#[cfg_attr(all(feature = "axum", feature = "dbsc"), doc = include_str!("../docs/device-bound.md"))]
#[cfg_attr(not(all(feature = "axum", feature = "dbsc")), doc = "With the features `axum` and `dbsc`.")]
pub mod device_bound {}

#[cfg_attr(feature = "import", doc = include_str!("../docs/migrating.md"))]
#[cfg_attr(not(feature = "import"), doc = "With the feature `crystal`, `iron` or `import`.")]
pub mod migrating {}

#[cfg_attr(feature = "axum", doc = include_str!("../docs/from-tower-sessions.md"))]
#[cfg_attr(not(feature = "axum"), doc = "With the feature `axum`.")]
pub mod from_tower_sessions {}

#[cfg_attr(feature = "actix", doc = include_str!("../docs/from-actix-session.md"))]
#[cfg_attr(not(feature = "actix"), doc = "With the feature `actix`.")]
pub mod from_actix_session {}
