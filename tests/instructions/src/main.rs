//! How many instructions an operation takes, held against a committed baseline. `tests/instructions/run` runs it.
//!
//! Each operation runs in a process of its own under callgrind, twice: 32 times, and 96 times. A 64th of the difference is the operation alone,
//! without the start of the process and what is only done once.
//!
//! Two counts are kept: all instructions, and those outside of SHA-256's compression function. The processor that valgrind plays has AES and AVX2
//! and no SHA instructions, whatever the real one has, so hashing in software would drown the rest. For the same reason counts are
//! the same on any x86-64 machine with AVX2, and say nothing about time: that is what `cargo bench -p session-core` is for.

mod baseline;
mod callgrind;
mod operations;

use std::{env, path::Path, process::ExitCode};

use baseline::Baseline;
use callgrind::Count;

/// Rounds of the two runs. Vectors are drawn ahead by 32: both runs end with a used-up supply.
const FEW: u32 = 32;
const MANY: u32 = 96;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // What callgrind runs.
        ["--operation", name, rounds] => operations::run(name, rounds.parse().expect("a number of rounds")),
        [_, "--show", name] => callgrind::show(name, FEW, MANY),
        [baseline] => return check(Path::new(baseline)),
        [baseline, "--update"] => {
            Baseline::now(count_all()).write(Path::new(baseline));
            println!("{baseline} is written anew: commit it with what made the difference");
        }
        _ => {
            eprintln!("usage: tests/instructions/run [--update | --show OPERATION]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Counts all operations, a process for each core at a time.
fn count_all() -> Vec<(&'static str, Count)> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let names: Vec<_> = operations::NAMES.into_iter().chain(operations::REFUSALS).collect();
    let mut counts = Vec::new();
    for names in names.chunks(workers) {
        std::thread::scope(|scope| {
            let running: Vec<_> = names
                .iter()
                .map(|&name| (name, scope.spawn(move || callgrind::count(name, FEW, MANY))))
                .collect();
            for (name, count) in running {
                counts.push((name, count.join().expect("a count")));
            }
        });
    }
    let hashes =
        |name| counts.iter().any(|(other, count): &(_, Count)| *other == name && count.unhashed < count.all);
    assert!(hashes("seal-1024"), "no function is called sha256 and compress: does the program have symbols?");
    counts
}

fn check(path: &Path) -> ExitCode {
    let counts = count_all();
    let now = Baseline::now(counts.clone());
    let complaints =
        Baseline::read(path).compare(&now).into_iter().chain(uneven(&counts)).collect::<Vec<_>>();
    for complaint in &complaints {
        println!("FAILED: {complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A tag is compared in constant time: where its first wrong byte stands must not change one instruction.
fn uneven(counts: &[(&'static str, Count)]) -> Option<String> {
    let refusals: Vec<_> = counts.iter().filter(|(name, _)| operations::REFUSALS.contains(name)).collect();
    let [(first, count), others @ ..] = &refusals[..] else { unreachable!("there are refusals") };
    let (other, odd) = others.iter().find(|(_, other)| other.all != count.all)?;
    Some(format!(
        "{first} takes {} instructions and {other} {}: refusing a token must not depend on where its tag is wrong",
        count.all, odd.all
    ))
}
