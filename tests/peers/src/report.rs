//! What comes of the comparisons, as text.

use std::fmt::Write as _;

use crate::measure::{Samples, Spread, Time};

/// What came of one comparison.
#[derive(Default)]
pub struct Section {
    pub title: &'static str,
    /// What the work is, and in what the contestants differ.
    pub notes: Vec<String>,
    pub tables: Vec<Table>,
    pub charts: Vec<Chart>,
    pub goals: Vec<Goal>,
    /// What the README tells of it.
    pub figures: Vec<Figure>,
}

/// A table: its first column names the contestants.
pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Bars beside each other, in groups.
pub struct Chart {
    /// Of the file.
    pub name: String,
    pub title: String,
    pub unit: &'static str,
    pub groups: Vec<(String, Vec<Bar>)>,
}

pub struct Bar {
    pub name: String,
    pub value: Spread,
}

/// A row of the README's table.
pub struct Figure {
    pub work: String,
    pub session: String,
    pub others: String,
}

/// A ratio that is aimed at.
pub struct Goal {
    pub what: String,
    pub measured: Spread,
    pub bound: Bound,
}

#[derive(Clone, Copy)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub fn new(what: impl Into<String>, measured: Spread, bound: Bound) -> Self {
        Self { what: what.into(), measured, bound }
    }

    fn is_reached(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.measured.median <= most,
            Bound::AtLeast(least) => self.measured.median >= least,
        }
    }

    fn row(&self) -> Vec<String> {
        let bound = match self.bound {
            Bound::AtMost(most) => format!("≤ {most}"),
            Bound::AtLeast(least) => format!("≥ {least}"),
        };
        let verdict = if self.is_reached() { "reached" } else { "**missed**" };
        vec![self.what.clone(), bound, ratio(self.measured), verdict.into()]
    }
}

impl Table {
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { head: head.map(Into::into).into(), rows: Vec::new() }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub fn markdown(&self) -> String {
        let mut text =
            format!("| {} |\n|---{}|\n", self.head.join(" | "), "|---:".repeat(self.head.len() - 1));
        for row in &self.rows {
            writeln!(text, "| {} |", row.join(" | ")).expect("a string takes all");
        }
        text
    }
}

impl Section {
    pub fn new(title: &'static str) -> Self {
        Self { title, ..Self::default() }
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub fn figure(&mut self, work: impl Into<String>, session: impl Into<String>, others: impl Into<String>) {
        self.figures.push(Figure { work: work.into(), session: session.into(), others: others.into() });
    }

    /// With charts, where they were drawn; the goals of a smoke run mean nothing.
    pub fn markdown(&self, smoke: bool) -> String {
        let mut text = format!("## {}\n\n", self.title);
        for note in &self.notes {
            text += &format!("{note}\n\n");
        }
        for table in &self.tables {
            text += &format!("{}\n", table.markdown());
        }
        if !self.goals.is_empty() && !smoke {
            text += &format!("{}\n", goals(&self.goals).markdown());
        }
        for chart in &self.charts {
            text += &format!("![{}]({}.svg)\n\n", chart.title, chart.name);
        }
        text
    }
}

pub fn goals<'a>(goals: impl IntoIterator<Item = &'a Goal>) -> Table {
    let mut table = Table::new(["goal", "bound", "measured (quartiles)", ""]);
    table.rows.extend(goals.into_iter().map(Goal::row));
    table
}

impl Chart {
    /// Of CPU times, in microseconds.
    pub fn of_times<'a>(
        name: &str,
        title: &str,
        groups: impl IntoIterator<Item = (String, &'a Samples)>,
    ) -> Self {
        let bars = |samples: &Samples| {
            samples
                .names()
                .map(|name| Bar {
                    name: name.into(),
                    value: samples.time(Time::Cpu, name).map(|nanos| nanos / 1000.0),
                })
                .collect()
        };
        Self {
            name: name.into(),
            title: title.into(),
            unit: "CPU µs",
            groups: groups.into_iter().map(|(group, samples)| (group, bars(samples))).collect(),
        }
    }
}

/// A time in its fitting unit.
pub fn duration(nanos: f64) -> String {
    match nanos {
        nanos if nanos.abs() < 995.0 => format!("{nanos:.0} ns"),
        nanos if nanos.abs() < 99_500.0 => format!("{:.2} µs", nanos / 1e3),
        nanos => format!("{:.1} µs", nanos / 1e3),
    }
}

/// `1.31 (1.28–1.35)`.
pub fn ratio(Spread { low, median, high }: Spread) -> String {
    format!("{median:.2} ({low:.2}–{high:.2})")
}

/// `1.31×`.
pub fn times(ratio: Spread) -> String {
    format!("{:.1}×", ratio.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_reached_by_its_median() {
        let spread = Spread { low: 0.9, median: 1.2, high: 1.4 };
        let is_reached = |bound| Goal::new("", spread, bound).is_reached();
        assert!(is_reached(Bound::AtMost(1.2)) && !is_reached(Bound::AtMost(1.15)));
        assert!(is_reached(Bound::AtLeast(1.2)) && !is_reached(Bound::AtLeast(1.3)));
    }

    #[test]
    fn tables_are_markdown() {
        let mut table = Table::new(["who", "time"]);
        table.row(["session".into(), duration(1390.0)]);
        assert_eq!(table.markdown(), "| who | time |\n|---|---:|\n| session | 1.39 µs |\n");
    }
}
