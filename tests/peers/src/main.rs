//! Session beside other libraries: the same work, in turn, in one run. Only the ratios mean anything.
//!
//! ```sh
//! cargo run --release --manifest-path tests/peers/Cargo.toml [-- --smoke] [--only NAME]… [--readme]
//! ```
//!
//! Writes `target/bench/report.md` and charts beside it. Wants `redis-server`; for the part about JavaScript also `node` and a built `js/dist`.

mod compare;
mod data;
mod machine;
mod measure;
mod plot;
mod readme;
mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use compare::{actix, axum, cached, javascript, memory, redis, tokens};
use measure::Effort;
use report::Section;

type Comparison = fn(Effort) -> Section;

const COMPARISONS: [(&str, Comparison); 8] = [
    ("tokens", tokens::tokens),
    ("cookies", tokens::cookies),
    ("axum", axum::requests),
    ("actix", actix::requests),
    ("cached", cached::loads),
    ("memory", memory::sessions),
    ("redis", redis::sessions),
    ("javascript", javascript::runtimes),
];

const USAGE: &str = "\
usage: session-peers [--smoke] [--only NAME]... [--readme]

  --smoke      everything once, in under a minute: shows that it runs, measures nothing
  --only NAME  one comparison: tokens, cookies, axum, actix, cached, memory, redis, javascript
  --readme     puts the figures into README.md
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [memory::ARGUMENT, name, count] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        memory::hold(name, count.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    let result = Options::parse(&arguments).and_then(|options| run(&options));
    if let Err(message) = &result {
        eprintln!("{message}");
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Options {
    smoke: bool,
    readme: bool,
    only: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match &**argument {
                "--smoke" => options.smoke = true,
                "--readme" => options.readme = true,
                "--only" => match arguments.next() {
                    Some(name) if COMPARISONS.iter().any(|(known, _)| known == name) => {
                        options.only.push(name.clone())
                    }
                    _ => return Err(USAGE.into()),
                },
                _ => return Err(USAGE.into()),
            }
        }
        if options.readme && (options.smoke || !options.only.is_empty()) {
            return Err("--readme wants a whole run: without --smoke and --only".into());
        }
        Ok(options)
    }

    /// Where the report goes: a whole one isn't replaced by less.
    fn directory(&self) -> &'static str {
        match (self.smoke, self.only.is_empty()) {
            (true, _) => "target/bench/smoke",
            (false, true) => "target/bench",
            (false, false) => "target/bench/part",
        }
    }

    fn wants(&self, name: &str) -> bool {
        // The npm package has a smoke run of its own.
        if self.only.is_empty() {
            !(self.smoke && name == "javascript")
        } else {
            self.only.iter().any(|only| only == name)
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let effort = if options.smoke { Effort::SMOKE } else { Effort::FULL };
    // As they are before: a run takes minutes.
    let (machine, load) = (machine::describe(), machine::load());
    let sections: Vec<Section> = COMPARISONS
        .iter()
        .filter(|(name, _)| options.wants(name))
        .map(|(name, comparison)| {
            eprintln!("{name} …");
            let section = comparison(effort);
            println!("{}", section.markdown(options.smoke));
            section
        })
        .collect();
    let report = write(&machine, &load, options.smoke, &sections);
    let directory = options.directory();
    save(&root().join(directory), &report, &sections).map_err(|error| format!("{directory}: {error}"))?;
    eprintln!("written to {directory}/report.md");
    if options.readme {
        let path = root().join("README.md");
        let readme = fs::read_to_string(&path).map_err(|error| format!("README.md: {error}"))?;
        fs::write(&path, readme::refresh(&readme, &machine, &sections)?)
            .map_err(|error| format!("README.md: {error}"))?;
    }
    Ok(())
}

fn write(machine: &str, load: &str, smoke: bool, sections: &[Section]) -> String {
    let mut report = format!(
        "# Session beside other libraries\n\n{machine}; load {load} before, {} after.\n\n{}.\n\n\
         CPU time of the process. Everyone works in short slices, in alternating order; ratios are taken within each round, the median counts, quartiles tell the spread.\n\n",
        machine::load(),
        machine::versions()
    );
    if smoke {
        report += "**A smoke run: it shows that everything runs, and its figures mean nothing.**\n\n";
    } else {
        let goals = sections.iter().flat_map(|section| &section.goals);
        report += &format!("## Goals\n\n{}\n", report::goals(goals).markdown());
    }
    sections.iter().for_each(|section| report += &section.markdown(smoke));
    report
}

fn save(directory: &Path, report: &str, sections: &[Section]) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("report.md"), report)?;
    sections.iter().flat_map(|section| &section.charts).try_for_each(|chart| plot::draw(chart, directory))
}

/// The root of the tree.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
