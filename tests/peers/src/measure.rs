//! How things are measured.
//!
//! Everyone does the same work in short slices, one after the other, in the reverse order in the next round: what else the machine does then
//! falls on all. A ratio is taken within each round, between neighbours, and the median of the rounds counts; quartiles tell the spread.
//! CPU time is that of the whole process, so nothing is hidden on other threads, and nobody pays for other programs of the machine.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How much work goes into a number.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Rounds of all contestants in turn; one more before warms up.
    pub rounds: usize,
    /// CPU time of a contestant in a round.
    pub slice: Duration,
    /// Only to see that all of it runs.
    pub smoke: bool,
}

impl Effort {
    /// Enough for a ratio that repeats.
    pub const FULL: Self = Self { rounds: 51, slice: Duration::from_millis(5), smoke: false };
    /// Enough to see that it works.
    pub const SMOKE: Self = Self { rounds: 1, slice: Duration::from_micros(100), smoke: true };

    /// For work of many tasks or threads, of which a slice must be longer.
    pub fn long(self) -> Self {
        let (slice, rounds) = (self.slice * 8, self.rounds.min(31));
        Self { slice, rounds, ..self }
    }
}

/// One who does the work.
pub struct Contestant<'a> {
    name: String,
    /// Takes so many turns.
    run: Box<dyn FnMut(usize) + 'a>,
    /// Operations of a turn.
    operations: usize,
}

impl<'a> Contestant<'a> {
    pub fn new(name: impl Into<String>, run: impl FnMut(usize) + 'a) -> Self {
        Self::of_many(name, 1, run)
    }

    /// Who does so many operations in every turn: one in each of several tasks, say.
    pub fn of_many(name: impl Into<String>, operations: usize, run: impl FnMut(usize) + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run), operations }
    }
}

/// Nanoseconds of an operation.
#[derive(Clone, Copy)]
pub enum Time {
    Cpu,
    Wall,
}

/// What was measured of one contestant: an entry for each round.
struct Times {
    name: String,
    cpu: Vec<f64>,
    wall: Vec<f64>,
}

/// What was measured of all, round by round.
pub struct Samples(Vec<Times>);

/// A median, with the quartiles around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

/// Lets everyone work in turn.
pub fn compare(effort: Effort, mut contestants: Vec<Contestant<'_>>) -> Samples {
    let turns: Vec<usize> =
        contestants.iter_mut().map(|contestant| calibrate(contestant, effort.slice)).collect();
    let mut samples: Vec<Times> = contestants
        .iter()
        .map(|contestant| Times { name: contestant.name.clone(), cpu: Vec::new(), wall: Vec::new() })
        .collect();
    for round in 0..=effort.rounds {
        let places = 0..contestants.len();
        let order: Vec<usize> = if round % 2 == 0 { places.collect() } else { places.rev().collect() };
        for place in order {
            let (cpu, wall) = time(&mut contestants[place], turns[place]);
            if round > 0 {
                let operations = (turns[place] * contestants[place].operations) as f64;
                samples[place].cpu.push(cpu.as_nanos() as f64 / operations);
                samples[place].wall.push(wall.as_nanos() as f64 / operations);
            }
        }
    }
    Samples(samples)
}

/// As many turns as fill a slice.
fn calibrate(contestant: &mut Contestant<'_>, slice: Duration) -> usize {
    let mut turns = 1;
    loop {
        // Whoever has rested for a while is slow at first: its memory may have been taken away.
        let cpu = time(contestant, turns).0.min(time(contestant, turns).0);
        if cpu >= slice / 4 {
            return ((turns as f64 * slice.as_secs_f64() / cpu.as_secs_f64()) as usize).max(1);
        }
        turns *= 4;
    }
}

fn time(contestant: &mut Contestant<'_>, turns: usize) -> (Duration, Duration) {
    let (cpu, wall) = (cpu_time(), Instant::now());
    (contestant.run)(turns);
    (cpu_time() - cpu, wall.elapsed())
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("a process has used no less than no time")
}

impl Samples {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|times| &*times.name)
    }

    /// Nanoseconds of an operation.
    pub fn time(&self, time: Time, name: &str) -> Spread {
        Spread::of(self.of(time, name).to_vec())
    }

    /// How many times as long `name` takes as `reference`.
    pub fn ratio(&self, time: Time, name: &str, reference: &str) -> Spread {
        self.rounds(time, [name, reference], |[time, reference]| time / reference)
    }

    /// What `name` takes more than `bare`.
    pub fn overhead(&self, time: Time, name: &str, bare: &str) -> Spread {
        self.rounds(time, [name, bare], |[time, bare]| time - bare)
    }

    /// How many times as much `name` takes more than `bare` as `reference` takes more than `bare`.
    pub fn overhead_ratio(&self, time: Time, name: &str, reference: &str, bare: &str) -> Spread {
        self.rounds(time, [name, reference, bare], |[time, reference, bare]| {
            (time - bare) / (reference - bare)
        })
    }

    /// Any other value of the times that several had in the same round.
    pub fn rounds<const N: usize>(
        &self,
        time: Time,
        names: [&str; N],
        of: impl Fn([f64; N]) -> f64,
    ) -> Spread {
        let times = names.map(|name| self.of(time, name));
        Spread::of((0..times[0].len()).map(|round| of(times.map(|times| times[round]))).collect())
    }

    fn of(&self, time: Time, name: &str) -> &[f64] {
        let times = self
            .0
            .iter()
            .find(|times| times.name == name)
            .unwrap_or_else(|| panic!("{name} was not measured"));
        match time {
            Time::Cpu => &times.cpu,
            Time::Wall => &times.wall,
        }
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |quarter| values[(values.len() - 1) * quarter / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }

    /// Of a value that was measured once.
    pub fn once(value: f64) -> Self {
        Self { low: value, median: value, high: value }
    }

    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self { low: f(self.low), median: f(self.median), high: f(self.high) }
    }

    /// The other way round.
    pub fn inverse(self) -> Self {
        Self { low: 1.0 / self.high, median: 1.0 / self.median, high: 1.0 / self.low }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Samples {
        let times = |name: &str, cpu: &[f64]| Times {
            name: name.into(),
            cpu: cpu.to_vec(),
            wall: vec![0.0; cpu.len()],
        };
        // The third round met something else that ran on the machine.
        Samples(vec![
            times("bare", &[1.0, 1.0, 10.0]),
            times("us", &[2.0, 2.0, 20.0]),
            times("they", &[4.0, 4.0, 40.0]),
        ])
    }

    #[test]
    fn a_slow_round_moves_no_ratio() {
        let samples = samples();
        assert_eq!(samples.ratio(Time::Cpu, "they", "us"), Spread::once(2.0));
        assert_eq!(samples.overhead_ratio(Time::Cpu, "they", "us", "bare"), Spread::once(3.0));
        assert_eq!(samples.overhead(Time::Cpu, "us", "bare").median, 1.0);
    }

    #[test]
    fn everyone_does_as_many_operations_as_are_counted() {
        let mut done = 0;
        let effort = Effort { rounds: 3, ..Effort::SMOKE };
        let samples = compare(
            effort,
            vec![Contestant::new("one", |count| {
                (0..count * 1000).for_each(|_| done = std::hint::black_box(done) + 1)
            })],
        );
        assert_eq!(samples.of(Time::Cpu, "one").len(), 3);
        assert!(done > 0);
    }
}
