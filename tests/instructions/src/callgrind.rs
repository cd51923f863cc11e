//! Runs this program under callgrind and reads what it wrote.

use std::{
    collections::BTreeMap,
    env, fs,
    process::{self, Command},
};

/// Instructions of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub all: u64,
    /// Outside of SHA-256's compression function.
    pub unhashed: u64,
}

/// Counts one operation.
pub fn count(name: &str, few: u32, many: u32) -> Count {
    let (all, hashing) =
        each(name, few, many).into_iter().fold((0, 0), |(all, hashing), (function, cost)| {
            let hashes = function.contains("sha256") && function.contains("compress");
            (all + cost, hashing + if hashes { cost } else { 0 })
        });
    let rounds = i64::from(many - few);
    let [all, unhashed] =
        [all, all - hashing].map(|cost| u64::try_from(cost / rounds).expect("more rounds cost more"));
    Count { all, unhashed }
}

/// Prints the functions of one operation, the costliest first.
pub fn show(name: &str, few: u32, many: u32) {
    let mut functions: Vec<_> = each(name, few, many).into_iter().collect();
    functions.sort_by_key(|(_, cost)| -cost);
    for (function, cost) in functions {
        let cost = cost / i64::from(many - few);
        if cost > 0 {
            println!("{cost:>8}  {function}");
        }
    }
}

/// What the additional rounds cost, by function.
fn each(name: &str, few: u32, many: u32) -> BTreeMap<String, i64> {
    let mut functions = profile(name, many);
    for (function, cost) in profile(name, few) {
        *functions.entry(function).or_default() -= cost;
    }
    functions
}

/// Instructions of each function, without those of functions that it calls.
fn profile(name: &str, rounds: u32) -> BTreeMap<String, i64> {
    let out = env::temp_dir().join(format!("session-instructions.{}.{name}.{rounds}", process::id()));
    let status = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().expect("the path of this program"))
        .args(["--operation", name, &rounds.to_string()])
        .status()
        .expect("valgrind");
    assert!(status.success(), "{name} failed under callgrind");
    let written = fs::read_to_string(&out).expect("what callgrind wrote");
    fs::remove_file(&out).expect("a file of our own");
    parse(&written)
}

/// Of the format (the manual's "Callgrind Format Specification") only what callgrind writes with names and positions in full: a line
/// `fn=NAME`, then lines `LINE COST`; a line `calls=` announces one with the cost of a call, which belongs to the function called.
fn parse(written: &str) -> BTreeMap<String, i64> {
    let mut functions = BTreeMap::<String, i64>::new();
    let (mut function, mut of_a_call) = (String::new(), false);
    for line in written.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            name.clone_into(&mut function);
        } else if line.starts_with("calls=") {
            of_a_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            let cost: i64 =
                line.split(' ').nth(1).and_then(|cost| cost.parse().ok()).expect("a line and its cost");
            if !std::mem::take(&mut of_a_call) {
                *functions.entry(function.clone()).or_default() += cost;
            }
        }
    }
    functions
}
