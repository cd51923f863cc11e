//! The memory store keeps the contract of stores.

use core::time::Duration;

use session_conformance::{Harness, limit::PER_SUBJECT};
use session_native::{Clock as _, ManualClock, MemoryStore, Timestamp, store::MemoryStoreBuilder};

struct Memory {
    clock: ManualClock,
    store: MemoryStore,
}

impl Memory {
    fn new() -> Self {
        Self::of(MemoryStore::builder())
    }

    fn limited() -> Self {
        Self::of(MemoryStore::builder().sessions_per_subject(PER_SUBJECT))
    }

    fn of(builder: MemoryStoreBuilder) -> Self {
        let clock = ManualClock::default();
        Self { store: builder.clock(clock.clone()).build(), clock }
    }
}

impl Harness for Memory {
    type Store = MemoryStore;

    fn store(&self) -> &MemoryStore {
        &self.store
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

session_conformance::store_tests!(Memory::new());
session_conformance::query_tests!(Memory::new());
session_conformance::limit_tests!(Memory::limited());
