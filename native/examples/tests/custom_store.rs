//! The contract of stores.

use core::time::Duration;

use session_conformance::Harness;
use session_native::{ManualClock, Timestamp};

use super::*;

struct Map {
    clock: ManualClock,
    store: MapStore,
}

impl Map {
    fn new() -> Self {
        let clock = ManualClock::default();
        Self { store: MapStore::new(clock.clone()), clock }
    }
}

impl Harness for Map {
    type Store = MapStore;

    fn store(&self) -> &MapStore {
        &self.store
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

session_conformance::store_tests!(Map::new());
