//! Sessions that are bound to devices: proofs by themselves, the whole protocol with a browser that has a key, and races.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod browser;
mod flow;
mod proofs;
mod races;
#[cfg(feature = "redis")]
mod redis;
mod refusals;
mod site;
#[path = "../support/mod.rs"]
mod support;
