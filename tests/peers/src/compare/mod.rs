//! The comparisons: each does one piece of work with Session and with others.

pub mod actix;
pub mod axum;
pub mod cached;
pub mod javascript;
pub mod memory;
pub mod redis;
pub mod tokens;

use session_native::{Config, OsRandom, Secret};
use tokio::runtime::{Builder, Runtime};

use crate::{
    measure::{Samples, Time},
    report::{Section, Table, duration, ratio},
};

/// The cookie's name, as `Config::development` has it.
const NAME: &str = "session";
/// How long a session lasts unused, as in `Config::development`.
const LIFE: core::time::Duration = core::time::Duration::from_secs(1800);

/// One thread, so that CPU time is the time of the work.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Cookies without `Secure`; records in a store as they are, neither encrypted nor deflated: no other library does.
fn config() -> Config {
    Config::development(Secret::generate(&OsRandom).expect("random bytes"))
}

/// The paths of every application, and what a handler does there.
const PATHS: [(&str, &str); 3] = [
    ("/untouched", "a request that doesn't look at its session"),
    ("/read", "a request that reads its session"),
    ("/write", "a request that reads and changes its session"),
];

/// A table of requests: what a library takes more than the framework alone does, and the ratio to `references`: the first reference that stands
/// before a contestant is its own.
fn overheads(section: &mut Section, work: &str, samples: &Samples, bare: &str, references: &[&str]) {
    let mut table =
        Table::new([work, "CPU time", "above bare", "quartiles", "ratio to session's (quartiles)"]);
    let mut reference = None;
    for name in samples.names() {
        let time = duration(samples.time(Time::Cpu, name).median);
        let above = samples.overhead(Time::Cpu, name, bare);
        let quartiles = format!("{} – {}", duration(above.low), duration(above.high));
        reference = references.iter().find(|reference| **reference == name).or(reference);
        table.row(match reference {
            None => [name.into(), time, String::new(), String::new(), String::new()],
            Some(reference) if *reference == name => {
                [name.into(), time, duration(above.median), quartiles, "1".into()]
            }
            Some(reference) => {
                let ratio = ratio(samples.overhead_ratio(Time::Cpu, name, reference, bare));
                [name.into(), time, duration(above.median), quartiles, ratio]
            }
        });
    }
    section.tables.push(table);
}
