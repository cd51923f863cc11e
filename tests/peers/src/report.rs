//! How things are measured, and the table that comes of it.

use core::{fmt, time::Duration};
use std::time::Instant;

/// How much work goes into a number.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Rounds of all contestants in turn.
    pub rounds: usize,
    /// Operations of each task in a round.
    pub operations: usize,
}

impl Effort {
    /// Enough for a ratio that repeats.
    pub const FULL: Self = Self { rounds: 9, operations: 400 };
    /// Enough to see that it works.
    pub const SMOKE: Self = Self { rounds: 1, operations: 20 };
}

/// Tasks at work at the same time.
pub const TASKS: usize = 64;

/// One who does the work.
pub struct Contestant<'a> {
    name: &'static str,
    /// Does so many operations in each of [`TASKS`] tasks.
    run: Box<dyn FnMut(usize) -> core::pin::Pin<Box<dyn Future<Output = ()> + 'a>> + 'a>,
    times: Vec<Duration>,
}

impl<'a> Contestant<'a> {
    pub fn new<F: Future<Output = ()> + 'a>(name: &'static str, mut run: impl FnMut(usize) -> F + 'a) -> Self {
        Self { name, run: Box::new(move |operations| Box::pin(run(operations))), times: Vec::new() }
    }
}

/// What came of a comparison.
#[derive(Default)]
pub struct Report(Vec<String>);

impl Report {
    /// Lets everyone work in turn, first unmeasured, and notes the medians; ratios are to the first, bigger is faster.
    pub async fn compare(&mut self, work: &str, effort: Effort, mut contestants: Vec<Contestant<'_>>) {
        for round in 0..=effort.rounds {
            // The order alternates: whoever runs second meets a warm machine.
            let forwards = round % 2 == 0;
            let count = contestants.len();
            for place in 0..count {
                let contestant = &mut contestants[if forwards { place } else { count - 1 - place }];
                let begun = Instant::now();
                (contestant.run)(effort.operations).await;
                if round > 0 {
                    contestant.times.push(begun.elapsed());
                }
            }
        }
        let medians: Vec<Duration> = contestants
            .iter_mut()
            .map(|contestant| {
                contestant.times.sort_unstable();
                contestant.times[contestant.times.len() / 2]
            })
            .collect();
        for (contestant, median) in contestants.iter().zip(&medians) {
            let rate = (TASKS * effort.operations) as f64 / median.as_secs_f64();
            let ratio = medians[0].as_secs_f64() / median.as_secs_f64();
            self.0.push(format!("| {work} | {} | {:.0} k/s | {ratio:.2} |", contestant.name, rate / 1000.0));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| work | who | rate | of the first |\n|---|---|---|---|")?;
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
