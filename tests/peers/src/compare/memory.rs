//! Memory of a session: processes that hold many sessions, started by requests of axum, and what they take.

use std::process::Command;

use axum::Router;

use super::{axum as apps, runtime};
use crate::{
    measure::{Effort, Spread},
    report::{Bar, Chart, Section, Table},
};

/// The argument by which this program holds sessions instead of measuring: see [`child`].
pub const ARGUMENT: &str = "--hold";

const SESSION: &str = "session";
const CONTESTANTS: [&str; 3] = [SESSION, "tower-sessions", "axum_session"];

pub fn sessions(effort: Effort) -> Section {
    let mut section = Section::new("Memory of a session");
    section.note(format!(
        "Resident memory of a process that holds so many sessions of {} B of data (JSON) in its store, less what it had before, to each session: the tables' spare room counts. The sessions are \
         started by requests of axum, as in the comparison of requests. Session keeps JSON bytes, tower-sessions a map of parsed values, axum_session a map of JSON strings.",
        apps::SIZE
    ));
    let counts = if effort.smoke { [1_000, 5_000] } else { [100_000, 1_000_000] };
    let mut groups = Vec::new();
    let mut table = Table::new(
        ["bytes a session".into(), counts[0].to_string(), counts[1].to_string()]
            .each_ref()
            .map(|text: &String| &**text),
    );
    for name in CONTESTANTS {
        let bytes = counts.map(|count| child(name, count));
        table.row([name.into(), format!("{:.0}", bytes[0]), format!("{:.0}", bytes[1])]);
        groups.push(bytes);
    }
    section.tables.push(table);
    let others = CONTESTANTS
        .iter()
        .zip(&groups)
        .skip(1)
        .map(|(name, bytes)| format!("{name} {:.1}×", bytes[1] / groups[0][1]));
    section.figure(
        format!("memory of a session of {} B, {} of them", apps::SIZE, counts[1]),
        format!("{:.0} B", groups[0][1]),
        others.collect::<Vec<_>>().join(", "),
    );
    section.charts.push(Chart {
        name: "memory".into(),
        title: "Resident memory of a session".into(),
        unit: "bytes",
        groups: (0..counts.len())
            .map(|size| {
                let bars = CONTESTANTS
                    .iter()
                    .zip(&groups)
                    .map(|(name, bytes)| Bar { name: (*name).into(), value: Spread::once(bytes[size]) });
                (format!("{} sessions", counts[size]), bars.collect())
            })
            .collect(),
    });
    section
}

/// Lets another process of this program hold sessions: nobody inherits another's memory. Gives bytes a session.
fn child(name: &str, count: usize) -> f64 {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args([ARGUMENT, name, &count.to_string()])
        .output()
        .expect("this program again");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

/// Holds `count` sessions of the library `name`, and prints what each takes.
pub fn hold(name: &str, count: usize) {
    let runtime = runtime();
    let mut app = runtime.block_on(app(name));
    runtime.block_on(async {
        // What the first requests leave behind isn't the sessions'.
        for _ in 0..100 {
            apps::start(&mut app).await;
        }
        let before = resident();
        for _ in 0..count {
            apps::start(&mut app).await;
        }
        println!("{}", (resident() - before) / count as f64);
    });
}

async fn app(name: &str) -> Router {
    match name {
        SESSION => apps::in_memory(),
        "tower-sessions" => apps::tower(false),
        "axum_session" => apps::axum_session(false).await,
        other => panic!("nobody is called {other}"),
    }
}

fn resident() -> f64 {
    memory_stats::memory_stats().expect("the system tells").physical_mem as f64
}
