//! `wasm-pack test --node wasm`, and on the host `cargo test`.

mod common;
