//! What was promised and what was observed, a line each.

use core::fmt;
use std::{fs::OpenOptions, io::Write as _};

/// Notes a line of the table that `tests/faults/run` prints: into the file that `SESSION_FAULTS_REPORT` names, and to the test's output.
///
/// # Panics
/// If the file can't be written.
pub fn report(scene: &str, promised: &str, observed: impl fmt::Display) {
    println!("{scene}: promised: {promised}; observed: {observed}");
    if let Ok(file) = std::env::var("SESSION_FAULTS_REPORT") {
        let mut file = OpenOptions::new().create(true).append(true).open(file).expect("the report's file");
        writeln!(file, "| {scene} | {promised} | {observed} |").expect("a line of the report");
    }
}

/// How much is to be done: `usual`, times the number in `SESSION_FAULTS_SCALE` if there is one.
///
/// # Panics
/// If that is no number.
#[must_use]
pub fn scaled(usual: usize) -> usize {
    std::env::var("SESSION_FAULTS_SCALE").map_or(usual, |scale| {
        let scale: f64 = scale.parse().expect("SESSION_FAULTS_SCALE is a number");
        (usual as f64 * scale) as usize
    })
}
