//! The checker finds what is wrong, and nothing where nothing is.

use core::{
    mem::discriminant,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::{collections::HashMap, sync::Mutex};

use session_faults::history::{
    Action, AllUndone, Answer, Data, FIELDS, History, Operation, Outcome, Stale, Undone, Violation, Workload,
    check, run, stale,
};
use session_native::{
    Config, Key, MemoryStore, OsRandom, Secret, Sessions, Store, StoreError, Stored, SubjectTag, Version,
    store::{Found, Lookup, Record, Saved},
};

// ---- Histories written by hand

/// One after the other, on one session; `Outcome::Done` unless said otherwise.
fn history(operations: impl IntoIterator<Item = (usize, Action)>) -> History {
    overlapping(operations.into_iter().enumerate().map(|(number, (token, action))| {
        let number = 2 * number as u64;
        (token, number + 1..number + 2, action, Outcome::Done)
    }))
}

fn overlapping(
    operations: impl IntoIterator<Item = (usize, core::ops::Range<u64>, Action, Outcome)>,
) -> History {
    let operations = operations
        .into_iter()
        .map(|(token, time, action, outcome)| Operation {
            session: 0,
            token,
            begun: time.start,
            ended: time.end,
            time: Duration::from_millis(time.start)..Duration::from_millis(time.end),
            node: 0,
            is_exact: false,
            action,
            outcome,
        })
        .collect();
    History { operations, ..History::default() }
}

fn seen(count: u64, first_field: u64) -> Action {
    let mut fields = [0; FIELDS];
    fields[0] = first_field;
    Action::Load(Answer::Active { owner: Some(0), count, fields })
}

const ENDED: Action = Action::Load(Answer::Ended);
const REPLACED: Action = Action::Load(Answer::Replaced);

#[track_caller]
fn assert_finds(history: &History, violation: Violation) {
    let found = check(history);
    assert!(
        found.iter().any(|one| discriminant(one) == discriminant(&violation)),
        "{violation:?} is not found among {found:?}"
    );
}

#[test]
fn a_life_without_faults_is_fine() {
    let life = history([
        (0, Action::Create),
        (0, seen(0, 0)),
        (0, Action::Increment(Some(1))),
        (0, Action::Change(0, 77)),
        (0, seen(1, 77)),
        (0, Action::Rotate(Some(1))),
        (0, REPLACED),
        (1, Action::Increment(Some(2))),
        (1, seen(2, 77)),
        (1, Action::Destroy),
        (1, ENDED),
        (0, ENDED),
    ]);
    assert_eq!(check(&life), []);
}

#[test]
fn what_overlaps_may_come_first_or_last() {
    use Outcome::{Done, Unknown};
    for count in [0, 1] {
        let both = [
            (0, 1..2, Action::Create, Done),
            (0, 3..9, Action::Increment(Some(1)), Done),
            (0, 4..6, seen(count, 0), Done),
        ];
        assert_eq!(check(&overlapping(both)), []);
    }
    // An unknown one may take effect late, or never.
    for (first, second) in [(0, 0), (0, 1), (1, 1)] {
        let lost_reply = [
            (0, 1..2, Action::Create, Done),
            (0, 3..4, Action::Increment(None), Unknown),
            (0, 5..6, seen(first, 0), Done),
            (0, 7..8, seen(second, 0), Done),
        ];
        assert_eq!(check(&overlapping(lost_reply)), []);
    }
}

#[test]
fn every_rule_finds_its_breach() {
    use Outcome::{Done, NotDone, Unknown};
    let create = (0, Action::Create);
    let increment = |count| (0, Action::Increment(Some(count)));

    let lost = Violation::LostUpdate { session: 0 };
    assert_finds(&history([create.clone(), increment(1), (0, seen(0, 0))]), lost.clone());
    assert_finds(&history([create.clone(), increment(1), increment(1)]), lost.clone());
    assert_finds(&history([create.clone(), increment(2), increment(1)]), lost.clone());
    assert_finds(&history([create.clone(), (0, Action::Change(0, 7)), (0, seen(0, 0))]), lost.clone());
    let overwritten = [create.clone(), (0, Action::Change(0, 7)), (0, Action::Change(0, 8)), (0, seen(0, 7))];
    assert_finds(&history(overwritten), lost);

    let double = Violation::DoubleEffect { session: 0 };
    assert_finds(&history([create.clone(), increment(1), (0, seen(2, 0))]), double.clone());
    assert_finds(&history([create.clone(), (0, seen(0, 7))]), double.clone());
    let refused = [
        (0, 1..2, Action::Create, Done),
        (0, 3..4, Action::Increment(None), NotDone),
        (0, 5..6, seen(1, 0), Done),
    ];
    assert_finds(&overlapping(refused), double);

    let back_and_forth = [
        (0, 1..2, Action::Create, Done),
        (0, 3..4, Action::Increment(None), Unknown),
        (0, 5..6, seen(1, 0), Done),
        (0, 7..8, seen(0, 0), Done),
    ];
    assert_finds(&overlapping(back_and_forth), Violation::StaleRead { session: 0 });

    let back = Violation::Resurrection { session: 0 };
    assert_finds(&history([create.clone(), (0, Action::Destroy), (0, seen(0, 0))]), back.clone());
    assert_finds(&history([create.clone(), (0, Action::Destroy), increment(1)]), back.clone());
    let by_a_new_token =
        [create.clone(), (0, Action::Rotate(Some(1))), (0, Action::Destroy), (1, seen(0, 0))];
    assert_finds(&history(by_a_new_token), back.clone());
    let after_an_unknown_end = [
        (0, 1..2, Action::Create, Done),
        (0, 3..4, Action::Destroy, Unknown),
        (0, 5..6, ENDED, Done),
        (0, 7..8, seen(0, 0), Done),
    ];
    assert_finds(&overlapping(after_an_unknown_end), back);

    let old = Violation::OldToken { session: 0 };
    let rotate = (0, Action::Rotate(Some(1)));
    assert_finds(&history([create.clone(), rotate.clone(), (0, seen(0, 0))]), old.clone());
    assert_finds(&history([create.clone(), rotate.clone(), (0, Action::Change(0, 7))]), old);

    let vanished = Violation::Vanished { session: 0 };
    assert_finds(&history([create.clone(), (0, ENDED)]), vanished.clone());
    assert_finds(&history([create.clone(), rotate, (1, REPLACED)]), vanished);

    let foreign = Action::Load(Answer::Active { owner: Some(1), count: 0, fields: [0; FIELDS] });
    assert_finds(&history([create, (0, foreign)]), Violation::Bleed { session: 0 });
}

#[test]
fn what_was_acknowledged_at_risk_may_be_undone_and_is_counted() {
    let mut failover = history([
        (0, Action::Create),
        (0, Action::Increment(Some(1))),
        (0, Action::Increment(Some(2))),
        (0, Action::Destroy),
        (0, seen(1, 0)),
    ]);
    assert_finds(&failover, Violation::Resurrection { session: 0 });
    failover.at_risk = 5..8 + 1;
    assert_eq!(check(&failover), []);
    let one = Undone { at_risk: 1, undone: 1 };
    let none = Undone::default();
    assert_eq!(failover.undone(), AllUndone { increments: one, sign_ins: none, sign_outs: one });
    // What was acknowledged before that stays a promise.
    failover.at_risk = 7..8 + 1;
    assert_finds(&failover, Violation::LostUpdate { session: 0 });
}

#[test]
fn sign_ins_that_were_undone_are_counted() {
    let mut gone = history([(0, Action::Create), (0, ENDED)]);
    gone.at_risk = 1..3;
    assert_eq!(gone.undone().sign_ins, Undone { at_risk: 1, undone: 1 });
    let mut back =
        history([(0, Action::Create), (0, Action::Rotate(Some(1))), (0, seen(0, 0)), (1, REPLACED)]);
    back.at_risk = 3..5;
    assert_eq!(back.undone().sign_ins, Undone { at_risk: 1, undone: 1 });
    let mut fine = history([(0, Action::Create), (0, Action::Destroy), (0, ENDED)]);
    fine.at_risk = 1..5;
    let one = Undone { at_risk: 1, undone: 0 };
    assert_eq!(fine.undone(), AllUndone { sign_ins: one, sign_outs: one, ..AllUndone::default() });
}

/// A cache may be as old as its lease of what other nodes did; of what its own node did, and where an exact answer was asked for, not at all.
#[test]
fn a_cache_may_be_late_and_not_later() {
    let cases = [
        (Action::Increment(Some(1)), seen(0, 0), Violation::LostUpdate { session: 0 }),
        (Action::Change(0, 7), seen(0, 0), Violation::LostUpdate { session: 0 }),
        (Action::Destroy, seen(0, 0), Violation::Resurrection { session: 0 }),
        (Action::Rotate(Some(1)), seen(0, 0), Violation::OldToken { session: 0 }),
        (ENDED, seen(0, 0), Violation::Resurrection { session: 0 }),
    ];
    for (earlier, load, violation) in cases {
        // Made at 3, known at 4, not shown at 13.
        let mut late = overlapping([
            (0, 1..2, Action::Create, Outcome::Done),
            (0, 3..4, earlier.clone(), Outcome::Done),
            (0, 13..14, load, Outcome::Done),
        ]);
        late.staleness = Duration::from_millis(9);
        assert_finds(&late, violation.clone());
        late.operations[2].node = 1;
        let found = check(&late);
        assert!(
            found.iter().all(|found| matches!(found, Violation::Vanished { .. })),
            "{earlier:?}: {found:?}"
        );
        if !matches!(earlier, Action::Change(..) | Action::Rotate(_) | ENDED) {
            assert_eq!(stale(&late), Stale { loads: 1, oldest: Duration::from_millis(9) });
        }
        late.operations[2].is_exact = true;
        assert_finds(&late, violation.clone());
        late.operations[2].is_exact = false;
        late.staleness = Duration::from_millis(8);
        assert_finds(&late, violation);
    }
    // A write is late nowhere.
    let mut write = overlapping([
        (0, 1..2, Action::Create, Outcome::Done),
        (0, 3..4, Action::Destroy, Outcome::Done),
        (0, 5..6, Action::Increment(Some(1)), Outcome::Done),
    ]);
    write.staleness = Duration::from_secs(1);
    write.operations[2].node = 1;
    assert_finds(&write, Violation::Resurrection { session: 0 });
}

// ---- Stores that break promises

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// A save overwrites whatever is there.
    LastWriteWins,
    /// A save of a record that is gone creates it.
    SaveCreates,
    /// A delete is acknowledged and not done.
    DeletesNothing,
    /// Loads see what an earlier load of the key saw.
    Stale,
    /// A save is done, and told to have come second.
    DoesTwice,
    /// A save that changes much is acknowledged and not done.
    Forgets,
    /// A load gives the record of another key.
    Swaps,
    /// A load gives what is right, with data of another session in it.
    Mixes,
    /// Records vanish.
    Evicts,
}

/// A memory store that does it every now and then.
struct Faulty {
    store: MemoryStore,
    fault: Fault,
    calls: AtomicU64,
    seen: Mutex<HashMap<Key, Found>>,
}

impl Faulty {
    fn is_due(&self) -> bool {
        self.calls.fetch_add(1, Ordering::SeqCst) % 50 == 49
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault && self.is_due()
    }
}

impl Store for Faulty {
    const IN_PROCESS: bool = true;

    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        self.store.create(key, record).await
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        let mut found = self.store.load(key, lookup).await?;
        if self.is(Fault::Evicts) {
            self.store.delete(key).await?;
        }
        if self.is(Fault::Mixes) {
            found = found.map(mixed);
        }
        let mut seen = self.seen.lock().expect("no test panics while it holds it");
        if self.is(Fault::Stale) {
            found = seen.get(key).cloned().or(found);
        } else if self.is(Fault::Swaps) {
            found = seen.iter().find(|(other, _)| *other != key).map(|(_, other)| other.clone()).or(found);
        } else if let Some(found) = &found {
            // Another's, so that stale ones are really old.
            if self.fault == Fault::Swaps || self.is_due() {
                seen.insert(*key, found.clone());
            }
        }
        Ok(found)
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        if self.is(Fault::Forgets) {
            return Ok(Saved::Stored);
        }
        let saved = self.store.save(key, record, expected).await?;
        match (&saved, self.fault) {
            (Saved::Conflict(theirs), Fault::LastWriteWins) => {
                self.store.save(key, record, theirs.version).await
            }
            (Saved::Gone, Fault::SaveCreates) => {
                self.store.create(key, record).await?;
                Ok(Saved::Stored)
            }
            (Saved::Stored, Fault::DoesTwice) if self.is_due() => Ok(Saved::Conflict(record.clone())),
            _ => Ok(saved),
        }
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        if self.fault == Fault::DeletesNothing { Ok(true) } else { self.store.delete(key).await }
    }

    async fn epoch(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        self.store.epoch(subject).await
    }
}

/// The same record, as if its data were that of the first session.
fn mixed(mut found: Found) -> Found {
    let text = String::from_utf8(found.record.payload.to_vec()).expect("plain text in this process");
    let (before, rest) = text.split_once(r#""owner":"owner-"#).expect("data with an owner");
    let (_, after) = rest.split_once('"').expect("a string in quotes");
    found.record.payload = format!(r#"{before}"owner":"owner-0"{after}"#).into();
    found
}

async fn work_on(fault: Fault) -> (History, Vec<Violation>) {
    let store = MemoryStore::new();
    let faulty = Faulty { store, fault, calls: AtomicU64::new(0), seen: Mutex::default() };
    let config = Config::production(Secret::generate(&OsRandom).expect("random bytes"));
    let sessions: Sessions<Data, Stored<Faulty>> = Sessions::new(config, faulty).expect("a configuration");
    let history = run(&sessions, Workload { operations: 5_000, ..Workload::default() }, async |_| {}).await;
    let violations = check(&history);
    (history, violations)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_keeps_its_promises_is_found_to() {
    let (history, violations) = work_on(Fault::None).await;
    assert_eq!(violations, []);
    assert!(history.operations.len() >= 5_000 && history.count(Outcome::Unknown) == 0);
    for action in [
        "Create",
        "Increment(Some",
        "Change",
        "Rotate(Some",
        "Destroy",
        "Load(Active",
        "Load(Ended",
        "Load(Replaced",
    ] {
        let times =
            history.operations.iter().filter(|one| format!("{:?}", one.action).starts_with(action)).count();
        assert!(times > 20, "{action} happened {times} times");
    }
}

/// Which rule finds it depends on who meets whom; that every rule finds its breach is shown above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_breaks_one_is_found_out() {
    let session = 0;
    let lost = Violation::LostUpdate { session };
    let back = Violation::Resurrection { session };
    for (fault, breaches) in [
        (Fault::LastWriteWins, vec![lost.clone()]),
        (Fault::SaveCreates, vec![back.clone()]),
        (Fault::DeletesNothing, vec![back.clone()]),
        (Fault::Stale, vec![lost.clone(), back, Violation::OldToken { session }]),
        (Fault::DoesTwice, vec![Violation::DoubleEffect { session }]),
        (Fault::Forgets, vec![lost]),
        (Fault::Evicts, vec![Violation::Vanished { session }]),
        (Fault::Mixes, vec![Violation::Bleed { session }]),
    ] {
        let (_, violations) = work_on(fault).await;
        let is_found =
            |breach: &Violation| violations.iter().any(|one| discriminant(one) == discriminant(breach));
        assert!(
            breaches.iter().any(is_found),
            "{fault:?} is found out by {violations:?}, and not as {breaches:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[should_panic(expected = "the record belongs to another session")]
async fn another_sessions_record_is_refused() {
    work_on(Fault::Swaps).await;
}
