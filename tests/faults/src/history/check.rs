//! The checker: every rule follows from "each operation takes effect at one point between its beginning and its end".
//!
//! An operation whose outcome is unknown may take effect at any time after it began, or never. So may one that was acknowledged while
//! that was worth nothing, and what loads saw in that time proves nothing.

use core::time::Duration;
use std::collections::HashMap;

use super::{Action, Answer, FIELDS, History, Moment, Operation, Outcome};

/// What can't have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// An acknowledged increment or change is not there.
    LostUpdate {
        /// In which session.
        session: usize,
    },
    /// There is more than was asked for, or what nobody wrote.
    DoubleEffect {
        /// In which session.
        session: usize,
    },
    /// A load saw less than an earlier one.
    StaleRead {
        /// In which session.
        session: usize,
    },
    /// A session was used after its end.
    Resurrection {
        /// Which.
        session: usize,
    },
    /// A token was accepted after it had been replaced.
    OldToken {
        /// Of which session.
        session: usize,
    },
    /// A session that nobody ended was refused.
    Vanished {
        /// Which.
        session: usize,
    },
    /// A load showed another session's data.
    Bleed {
        /// Whose token it was.
        session: usize,
    },
}

impl Violation {
    const fn session(&self) -> usize {
        match *self {
            Self::LostUpdate { session }
            | Self::DoubleEffect { session }
            | Self::StaleRead { session }
            | Self::Resurrection { session }
            | Self::OldToken { session }
            | Self::Vanished { session }
            | Self::Bleed { session } => session,
        }
    }
}

/// Panics unless there is no violation; then with all that happened to the first session in question.
///
/// # Panics
/// So.
#[track_caller]
pub fn assert_clean(history: &History) {
    let violations = check(history);
    let Some(first) = violations.first() else { return };
    let session = first.session();
    let mut operations: Vec<_> = history.operations.iter().filter(|one| one.session == session).collect();
    operations.sort_by_key(|one| one.begun);
    let lines: Vec<_> = operations.iter().map(|one| format!("{one:?}")).collect();
    let some: Vec<_> = violations.iter().take(20).collect();
    panic!("{} violations: {some:?}\nsession {session}:\n{}", violations.len(), lines.join("\n"));
}

/// Every violation of a history; none if it is one of a store that keeps its promises.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (session, operations) in by_session(history) {
        Checker { history, session, operations, violations: &mut violations }.check();
    }
    violations
}

/// Loads that showed less than an exact one would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// How many there were.
    pub loads: usize,
    /// How long ago that was acknowledged which the stalest of them didn't show.
    pub oldest: Duration,
}

/// How stale loads were, as far as counters and ends of sessions show it.
#[must_use]
pub fn stale(history: &History) -> Stale {
    let mut stale = Stale::default();
    for operations in by_session(history).into_values() {
        let done = |action: fn(&Action) -> bool| {
            let done = operations.iter().filter(|one| one.outcome == Outcome::Done && action(&one.action));
            let mut done: Vec<&Operation> = done.copied().collect();
            done.sort_by_key(|one| one.ended);
            done
        };
        let increments = done(|action| matches!(action, Action::Increment(_)));
        let ends = done(|action| *action == Action::Destroy);
        for load in &operations {
            let Action::Load(Answer::Active { count, .. }) = load.action else { continue };
            let missing = increments.get(usize::try_from(count).unwrap_or(usize::MAX));
            let unseen = [missing, ends.first()].into_iter().flatten().filter(|one| one.ended < load.begun);
            if let Some(first) = unseen.map(|one| one.time.end).min() {
                stale.loads += 1;
                stale.oldest = load.time.start.saturating_sub(first).max(stale.oldest);
            }
        }
    }
    stale
}

fn by_session(history: &History) -> HashMap<usize, Vec<&Operation>> {
    let mut sessions: HashMap<usize, Vec<&Operation>> = HashMap::new();
    for operation in &history.operations {
        sessions.entry(operation.session).or_default().push(operation);
    }
    sessions
}

struct Checker<'a> {
    history: &'a History,
    session: usize,
    operations: Vec<&'a Operation>,
    violations: &'a mut Vec<Violation>,
}

impl Checker<'_> {
    fn check(mut self) {
        self.operations.sort_by_key(|operation| operation.begun);
        self.ends_are_final();
        self.counts_only_grow();
        self.increments_differ();
        for operation in &self.operations {
            match &operation.action {
                Action::Load(Answer::Active { owner, fields, .. }) => {
                    if *owner != Some(self.session) {
                        self.violations.push(Violation::Bleed { session: self.session });
                    }
                    for (field, value) in fields.iter().enumerate() {
                        if let Some(violation) = self.judge_field(operation, field, *value) {
                            self.violations.push(violation);
                        }
                    }
                }
                Action::Load(Answer::Ended | Answer::Replaced) if !self.may_be_refused(operation) => {
                    self.violations.push(Violation::Vanished { session: self.session });
                }
                _ => {}
            }
        }
    }

    /// Its effect lasts from its end on.
    fn is_sure(&self, operation: &Operation) -> bool {
        operation.outcome == Outcome::Done && !self.history.at_risk.contains(&operation.ended)
    }

    /// A token that was issued while that was worth nothing may be one that the store knows nothing of.
    fn is_issued_for_sure(&self, token: usize) -> bool {
        self.operations.iter().any(|one| {
            let issues = match one.action {
                Action::Create => token == 0,
                Action::Rotate(new) => new == Some(token),
                _ => false,
            };
            issues && self.is_sure(one)
        })
    }

    /// Whether a load, or a write, has to know of what an earlier operation did or saw. Writes compare versions in the store itself: no cache
    /// makes them late.
    fn must_know(&self, later: &Operation, earlier: &Operation) -> bool {
        let may_be_cached =
            matches!(later.action, Action::Load(_)) && !later.is_exact && later.node != earlier.node;
        let is_fresh =
            may_be_cached && later.time.start.saturating_sub(earlier.time.end) <= self.history.staleness;
        earlier.ended < later.begun && !is_fresh
    }

    /// After an end, or a load that saw one, nothing succeeds; after a rotation, nothing with the old token.
    fn ends_are_final(&mut self) {
        let mut ends = Vec::new();
        let mut replacements = Vec::new();
        for operation in self.operations.iter().copied().filter(|operation| self.is_sure(operation)) {
            let is_answer = matches!(operation.action, Action::Load(_));
            if is_answer && !self.is_issued_for_sure(operation.token) {
                continue;
            }
            match operation.action {
                Action::Destroy | Action::Load(Answer::Ended) => ends.push(operation),
                Action::Rotate(_) | Action::Load(Answer::Replaced) => replacements.push(operation),
                _ => {}
            }
        }
        for operation in &self.operations {
            let is_use = match operation.action {
                Action::Load(Answer::Active { .. }) => true,
                Action::Increment(_) | Action::Change(..) | Action::Rotate(_) => {
                    operation.outcome == Outcome::Done
                }
                _ => false,
            };
            // Within the time at risk a server that is about to be replaced may still say what it knows.
            if !is_use || self.history.at_risk.contains(&operation.ended) {
                continue;
            }
            let is_replaced =
                |one: &&Operation| one.token == operation.token && self.must_know(operation, one);
            if ends.iter().any(|end| self.must_know(operation, end)) {
                self.violations.push(Violation::Resurrection { session: self.session });
            } else if replacements.iter().any(is_replaced) {
                self.violations.push(Violation::OldToken { session: self.session });
            }
        }
    }

    /// A load sees every increment that was acknowledged before it began, whatever an earlier load saw, and none that was not yet asked for.
    fn counts_only_grow(&mut self) {
        let increments: Vec<&Operation> = self
            .operations
            .iter()
            .copied()
            .filter(|one| matches!(one.action, Action::Increment(_)) && one.outcome != Outcome::NotDone)
            .collect();
        let loads: Vec<(&Operation, u64)> = self
            .operations
            .iter()
            .filter_map(|one| match one.action {
                Action::Load(Answer::Active { count, .. }) => Some((*one, count)),
                _ => None,
            })
            .collect();
        let is_at_risk = |load: &Operation| self.history.at_risk.contains(&load.ended);
        for &(load, count) in &loads {
            let asked = increments.iter().filter(|one| one.begun < load.ended).count() as u64;
            if count > asked {
                self.violations.push(Violation::DoubleEffect { session: self.session });
            }
            if is_at_risk(load) {
                continue;
            }
            let known = |one: &&&Operation| self.is_sure(one) && self.must_know(load, one);
            let acknowledged = increments.iter().filter(known).count() as u64;
            let earlier = loads.iter().filter(|(one, _)| !is_at_risk(one) && self.must_know(load, one));
            let seen = earlier.map(|(_, count)| *count).max().unwrap_or(0);
            if count < acknowledged {
                self.violations.push(Violation::LostUpdate { session: self.session });
            } else if count < seen {
                self.violations.push(Violation::StaleRead { session: self.session });
            }
        }
    }

    /// No two increments come to the same number, and a later one comes to a higher one.
    fn increments_differ(&mut self) {
        let mut increments: Vec<_> = self
            .operations
            .iter()
            .filter(|one| self.is_sure(one))
            .filter_map(|one| match one.action {
                Action::Increment(Some(count)) => Some((count, *one)),
                _ => None,
            })
            .collect();
        increments.sort_by_key(|(count, _)| *count);
        let mut latest_beginning = 0;
        for (number, (count, increment)) in increments.iter().enumerate() {
            let is_repeated = number > 0 && increments[number - 1].0 == *count;
            if is_repeated || increment.ended < latest_beginning {
                self.violations.push(Violation::LostUpdate { session: self.session });
            }
            latest_beginning = increment.begun.max(latest_beginning);
        }
    }

    /// A field shows a value that was written to it, and not one that had been replaced before the load began.
    fn judge_field(&self, load: &Operation, field: usize, value: u64) -> Option<Violation> {
        debug_assert!(field < FIELDS, "a field of a session");
        let is_at_risk = self.history.at_risk.contains(&load.ended);
        let writes = || {
            self.operations.iter().filter_map(move |one| match one.action {
                Action::Change(written, value) if written == field => Some((value, *one)),
                _ => None,
            })
        };
        let since = if value == 0 {
            0
        } else {
            let written = writes().find(|(written, _)| *written == value);
            match written {
                Some((_, write)) if write.outcome != Outcome::NotDone && write.begun < load.ended => {
                    if self.is_sure(write) { write.ended } else { Moment::MAX }
                }
                _ => return Some(Violation::DoubleEffect { session: self.session }),
            }
        };
        let is_replaced =
            writes().any(|(_, one)| self.is_sure(one) && one.begun > since && self.must_know(load, one));
        (is_replaced && !is_at_risk).then_some(Violation::LostUpdate { session: self.session })
    }

    /// Whether someone may have ended the session, or replaced the token, before this load ended.
    fn may_be_refused(&self, load: &Operation) -> bool {
        let earlier = || {
            let earlier = self.operations.iter().filter(|one| one.begun < load.ended);
            earlier.filter(|one| one.outcome != Outcome::NotDone)
        };
        !self.is_issued_for_sure(load.token)
            || self.history.at_risk.contains(&load.ended)
            || match load.action {
                Action::Load(Answer::Ended) => earlier().any(|one| one.action == Action::Destroy),
                _ => earlier().any(|one| matches!(one.action, Action::Rotate(_)) && one.token == load.token),
            }
    }
}
