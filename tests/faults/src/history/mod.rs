//! What clients did to sessions, and whether it can have happened in a store that keeps its promises.
//!
//! [`run`] lets clients work on sessions at random and records when each operation began and ended and what came of it; [`check`]
//! looks for a lost update, a double one, a stale read, a session that came back, an old token that is accepted, a session that vanished,
//! and data of another session. Both know nothing of the store.

mod check;
mod clients;

use core::ops::Range;

pub use check::{Violation, check};
pub use clients::{Data, Workload, cookie_of, run};

/// A moment: how many operations had begun or ended before it. Two moments say what came first, not how long it took.
pub type Moment = u64;

/// How many fields of a session are written to, besides its counter.
pub const FIELDS: usize = 4;

/// One operation of one client on one session.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Which session.
    pub session: usize,
    /// With which of its tokens; the first is 0.
    pub token: usize,
    /// When it was asked for.
    pub begun: Moment,
    /// When its outcome was known.
    pub ended: Moment,
    /// What.
    pub action: Action,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begins the session; gives its first token.
    Create,
    /// Loads the session.
    Load(Answer),
    /// Adds one to the counter; the number that came out, if it is known.
    Increment(Option<u64>),
    /// Writes a value, which no other operation writes, into a field.
    Change(usize, u64),
    /// Signs in anew, or rotates the token otherwise; the new token, if the client received it.
    Rotate(Option<usize>),
    /// Ends the session.
    Destroy,
}

/// What a load was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The session, with what was in it.
    Active {
        /// Which session the data says that it belongs to; `None` if it doesn't say so of a session of this history.
        owner: Option<usize>,
        /// The counter.
        count: u64,
        /// The fields.
        fields: [u64; FIELDS],
    },
    /// The session has ended.
    Ended,
    /// The token was replaced.
    Replaced,
    /// The store didn't answer.
    Nothing,
}

/// What is known of an operation's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was acknowledged.
    Done,
    /// It was refused, and has no effect.
    NotDone,
    /// It may have taken effect, or do so later, or never.
    Unknown,
}

/// What was recorded.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All operations, in no order.
    pub operations: Vec<Operation>,
    /// The time in which an acknowledgement is worth nothing: a failover undoes what was not replicated yet. Empty otherwise.
    pub at_risk: Range<Moment>,
}

impl History {
    /// How many operations had this outcome, loads included.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.operations.iter().filter(|operation| operation.outcome == outcome).count()
    }

    /// How many increments were acknowledged while that was worth nothing, and how many of them are not in what the last loads saw.
    #[must_use]
    pub fn undone(&self) -> (usize, usize) {
        let sessions = self.operations.iter().map(|operation| operation.session + 1).max().unwrap_or(0);
        let mut acknowledged = vec![0_usize; sessions];
        let mut last = vec![(0, None); sessions];
        let mut risky = 0;
        for operation in &self.operations {
            let session = operation.session;
            match &operation.action {
                Action::Increment(_) if operation.outcome == Outcome::Done => {
                    acknowledged[session] += 1;
                    risky += usize::from(self.at_risk.contains(&operation.ended));
                }
                Action::Load(Answer::Active { count, .. }) if operation.begun >= last[session].0 => {
                    last[session] = (operation.begun, Some(*count));
                }
                _ => {}
            }
        }
        let missing = acknowledged.iter().zip(last).map(|(acknowledged, (_, seen))| {
            let seen = seen.map_or(usize::MAX, |seen| usize::try_from(seen).unwrap_or(usize::MAX));
            acknowledged.saturating_sub(seen)
        });
        (risky, missing.sum())
    }
}
