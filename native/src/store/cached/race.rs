//! Many threads on one bucket: reads that are answered late, changes, links that come and go. What the model checks step by step, with the
//! steps of real threads: the reader, which takes no lock, against everything else.

use core::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use std::{sync::Arc, thread};

use session_core::{Key, Timestamp, Version};

use super::{
    feed::Links,
    protocol::{Change, EntryId},
    table::{Limits, Table},
    time::{Time, nanos},
};
use crate::store::Record;

const CHANGES: u64 = 60_000;
const LEASE: Duration = Duration::from_secs(3600);

fn record(counter: u64) -> Record {
    Record::new(Version { counter, nonce: 0 }, Timestamp::MAX, "x")
}

/// The version of an `n`-th step: every seventh ends the record, and the next one begins another life of greater versions, so that order is told
/// by the counter alone.
const fn is_end(step: u64) -> bool {
    step.is_multiple_of(7)
}

#[test]
fn no_reader_sees_what_was_replaced_before_it_began() {
    let limits = Limits { max_entries: 100, max_bytes: 1 << 20, lease: LEASE, max_age: LEASE };
    let table = Arc::new(Table::new(limits, Time::System));
    let links = Links::new(Arc::clone(&table));
    let first = links.connect(0..=255);
    first.heartbeat(links.now());
    let key = Key::from_bytes([7; 16]);
    let id = EntryId::record(&key);
    // What the store holds, and the last change that was heard.
    let (stored, heard, done) = (AtomicU64::new(1), AtomicU64::new(1), AtomicBool::new(false));
    let served = AtomicU64::new(0);

    thread::scope(|scope| {
        // The store and its messages.
        scope.spawn(|| {
            for step in 2..=CHANGES {
                stored.store(step, Ordering::SeqCst);
                if is_end(step) {
                    table.heard(Change::Gone(id));
                } else {
                    table.heard(Change::Saved(id, Version { counter: step, nonce: 0 }));
                }
                heard.store(step, Ordering::SeqCst);
                if step % 64 == 0 {
                    thread::yield_now();
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        // Loads: some are answered, some are given up.
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0_u64.. {
                    if done.load(Ordering::SeqCst) {
                        break;
                    }
                    let watching = table.watch(id);
                    let found = stored.load(Ordering::SeqCst);
                    if round % 16 == 0 {
                        thread::yield_now();
                    }
                    match (round % 5, is_end(found)) {
                        (0, _) => drop(watching),
                        (_, true) => watching.record(None),
                        (_, false) => watching.record(Some(&record(found))),
                    }
                }
            });
        }
        // Links come and go; every heartbeat is true, as every change was heard at once.
        scope.spawn(|| {
            let mut link = first;
            while !done.load(Ordering::SeqCst) {
                let next = links.connect(0..=255);
                next.heartbeat(links.now());
                thread::yield_now();
                drop(core::mem::replace(&mut link, next));
                link.clear();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::SeqCst) {
                    let before = heard.load(Ordering::SeqCst);
                    let quickly = table.get_quickly(&key, None, nanos(LEASE));
                    if let Some(found) = quickly.or_else(|| table.get(&key, None, nanos(LEASE))) {
                        let counter = found.record.version.counter;
                        assert!(counter >= before, "{counter} was served, and {before} had been heard");
                        assert!(counter >= last, "{counter} after {last}");
                        last = counter;
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(served.load(Ordering::Relaxed) > 0, "nothing was served: nothing was tested");
    assert_eq!(table.watched(), 0, "every watch was given back");
}
