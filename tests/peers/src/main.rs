//! Session beside other libraries: the same work, in turn, in one run. Only the ratios mean anything.
//!
//! ```sh
//! cargo run --release --manifest-path tests/peers/Cargo.toml [-- --smoke]
//! ```

mod redis;
mod report;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let report = redis::compare(if smoke { report::Effort::SMOKE } else { report::Effort::FULL }).await;
    println!("{report}");
}
