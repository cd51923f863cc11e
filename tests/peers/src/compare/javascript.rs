//! JavaScript runtimes: the comparison of the npm package, which has a program of its own.

use std::process::Command;

use crate::{measure::Effort, report::Section, root};

pub fn runtimes(effort: Effort) -> Section {
    let mut section = Section::new("JavaScript runtimes");
    section.note(table(effort).unwrap_or_else(|reason| format!("Left out: {reason}.")));
    section
}

fn table(effort: Effort) -> Result<String, String> {
    if !root().join("js/dist/index.js").exists() {
        return Err("there is no `js/dist` (`npm run build` in `js/`)".into());
    }
    let mut node = Command::new("node");
    node.current_dir(root()).arg("js/bench/run.mjs").args(effort.smoke.then_some("--smoke"));
    let output = node.output().map_err(|error| format!("`node` can't be started: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().into())
    } else {
        Err(format!("`node js/bench/run.mjs` failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}
