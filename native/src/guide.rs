//! Guides.

#[cfg(feature = "axum")]
#[doc = include_str!("../docs/from-tower-sessions.md")]
pub mod from_tower_sessions {}

#[cfg(feature = "actix")]
#[doc = include_str!("../docs/from-actix-session.md")]
pub mod from_actix_session {}
