//! The committed counts.

use std::{collections::BTreeMap, fmt, fs, path::Path, process::Command};

use crate::callgrind::Count;

/// Over this much more than the baseline fails.
const BOUND: u64 = 5;
/// The same, where another compiler built the program.
const BOUND_OF_ANOTHER_COMPILER: u64 = 20;

const HEAD: &str = "\
# Instructions of one operation under callgrind: all, and those outside of SHA-256's compression function.
# Written by tests/instructions/run --update; over 5 % more fails.
";

pub struct Baseline {
    compiler: String,
    counts: BTreeMap<String, Count>,
}

impl Baseline {
    /// Of this program, by the compiler that is installed.
    pub fn now(counts: Vec<(&'static str, Count)>) -> Self {
        let output = Command::new("rustc").arg("--version").output().expect("rustc");
        let compiler = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Self { compiler, counts: counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect() }
    }

    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| {
            panic!("{}: {error}: write it by tests/instructions/run --update", path.display())
        });
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let compiler = lines.next().expect("a compiler").to_owned();
        let counts = lines
            .map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                [name, all, unhashed] => {
                    let [all, unhashed] = [all, unhashed].map(|count| count.parse().expect("a count"));
                    (name.to_owned(), Count { all, unhashed })
                }
                _ => panic!("{}: not a name and two counts: {line}", path.display()),
            })
            .collect();
        Self { compiler, counts }
    }

    pub fn write(&self, path: &Path) {
        fs::write(path, format!("{HEAD}{self}"))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Prints both, and gives a sentence for each operation that takes too many instructions.
    pub fn compare(&self, now: &Self) -> Vec<String> {
        let bound = if self.compiler == now.compiler {
            BOUND
        } else {
            println!(
                "The baseline is of {}, this is {}: compilers differ, so only {BOUND_OF_ANOTHER_COMPILER} % more fails.",
                self.compiler, now.compiler
            );
            BOUND_OF_ANOTHER_COMPILER
        };
        println!("{:14} {:>10} {:>10} {:>10} {:>10}", "", "baseline", "now", "unhashed", "now");
        let mut complaints = Vec::new();
        for (name, count) in &now.counts {
            let Some(base) = self.counts.get(name) else {
                complaints.push(format!(
                    "{name} is not in the baseline: add it by tests/instructions/run --update"
                ));
                continue;
            };
            println!(
                "{name:14} {:>10} {:>10} {:>10} {:>10}",
                base.all, count.all, base.unhashed, count.unhashed
            );
            for (what, base, count) in
                [("", base.all, count.all), (" outside of SHA-256", base.unhashed, count.unhashed)]
            {
                if count * 100 > base * (100 + bound) {
                    complaints.push(format!(
                        "{name} takes {count} instructions{what}, the baseline is {base}: over {bound} % more. \
                         Mend it, or commit a new baseline (tests/instructions/run --update) and say what it buys"
                    ));
                }
            }
        }
        complaints
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.compiler)?;
        self.counts
            .iter()
            .try_for_each(|(name, count)| writeln!(f, "{name:14} {:>7} {:>7}", count.all, count.unhashed))
    }
}
