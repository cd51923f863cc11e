//! What clients did to sessions, and whether it can have happened in a store that keeps its promises.
//!
//! [`run`] lets clients work on sessions at random and records when each operation began and ended and what came of it; [`check`]
//! looks for a lost update, a double one, a stale read, a session that came back, an old token that is accepted, a session that vanished,
//! and data of another session. Both know nothing of the store.
//!
//! Sessions may be served by several nodes, each with a cache of its own. Then [`History::staleness`] says how old an answer may be: a load
//! shows all that its own node did before, and what others did longer ago than that. What is asked for exactly is exact everywhere.

mod check;
mod clients;

use core::{fmt, ops::Range, time::Duration};

pub use check::{Stale, Violation, assert_clean, check, stale};
pub use clients::{Data, Workload, cookie_of, run, run_on};

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
    /// The same two by the clock: how long it was after the start of the history.
    pub time: Range<Duration>,
    /// Which node served it.
    pub node: usize,
    /// A load that no cache may answer.
    pub is_exact: bool,
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

impl Answer {
    const fn is_active(&self) -> bool {
        matches!(self, Self::Active { .. })
    }
}

/// What is known of an operation's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// How old an answer of a cache may be at most, of what other nodes did. Without caches, nothing.
    pub staleness: Duration,
}

/// What a failover did to acknowledged operations of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// How many were acknowledged while that was worth nothing.
    pub at_risk: usize,
    /// How many of them the store knows nothing of afterwards.
    pub undone: usize,
}

/// What a failover did to acknowledged operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllUndone {
    /// Increments that the last load does not count.
    pub increments: Undone,
    /// New sessions that are gone without having been ended, and new tokens whose predecessor is accepted again.
    pub sign_ins: Undone,
    /// Ended sessions that are found again.
    pub sign_outs: Undone,
}

impl fmt::Display for AllUndone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { increments, sign_ins, sign_outs } = self;
        f.write_str("undone of those acknowledged at risk:")?;
        for (name, Undone { at_risk, undone }, end) in
            [("increments", increments, ","), ("sign-ins", sign_ins, ","), ("sign-outs", sign_outs, "")]
        {
            write!(f, " {undone} of {at_risk} {name}{end}")?;
        }
        Ok(())
    }
}

impl History {
    /// A line of what was observed.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} operations ({} of unknown outcome): {} violations",
            self.operations.len(),
            self.count(Outcome::Unknown),
            check(self).len()
        )
    }

    /// How many operations had this outcome, loads included.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.operations.iter().filter(|operation| operation.outcome == outcome).count()
    }

    /// What was acknowledged while that was worth nothing, and how much of it the loads of afterwards don't show.
    #[must_use]
    pub fn undone(&self) -> AllUndone {
        let sessions = self.operations.iter().map(|operation| operation.session + 1).max().unwrap_or(0);
        let mut by_session = vec![Vec::new(); sessions];
        for operation in &self.operations {
            by_session[operation.session].push(operation);
        }
        let mut all = AllUndone::default();
        for operations in by_session {
            self.add_undone(&operations, &mut all);
        }
        all
    }

    /// Of one session.
    fn add_undone(&self, operations: &[&Operation], all: &mut AllUndone) {
        let loads = || {
            operations.iter().filter_map(|operation| match &operation.action {
                Action::Load(answer) if operation.begun >= self.at_risk.end => Some((*operation, answer)),
                _ => None,
            })
        };
        let is_found =
            |by: &dyn Fn(&Operation) -> bool| loads().any(|(load, answer)| by(load) && answer.is_active());
        let was_ended =
            operations.iter().any(|one| one.action == Action::Destroy && one.outcome != Outcome::NotDone);
        let done = operations.iter().filter(|operation| operation.outcome == Outcome::Done);
        let mut increments = 0;
        for operation in done {
            let is_at_risk = self.at_risk.contains(&operation.ended);
            let (kind, is_undone) = match operation.action {
                Action::Increment(_) => {
                    increments += 1;
                    (&mut all.increments, false)
                }
                Action::Create => {
                    let is_gone = loads().any(|(_, answer)| *answer == Answer::Ended);
                    (&mut all.sign_ins, is_gone && !was_ended)
                }
                Action::Rotate(_) => (&mut all.sign_ins, is_found(&|load| load.token == operation.token)),
                Action::Destroy => (&mut all.sign_outs, is_found(&|_| true)),
                _ => continue,
            };
            kind.at_risk += usize::from(is_at_risk);
            kind.undone += usize::from(is_at_risk && is_undone);
        }
        let last = loads().max_by_key(|(load, _)| load.begun).map(|(_, answer)| answer);
        if let Some(Answer::Active { count, .. }) = last {
            all.increments.undone +=
                increments - increments.min(usize::try_from(*count).unwrap_or(usize::MAX));
        }
    }
}
