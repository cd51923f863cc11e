//! The cached store keeps the contract of stores.

#![cfg(feature = "cache")]

use core::time::Duration;

use session_conformance::Harness;
use session_native::{
    Clock as _, ManualClock, MemoryStore, Timestamp,
    store::cached::{CachedStore, MemoryChannel, MemoryFeed, Publishing},
};

struct Cached {
    clock: ManualClock,
    store: CachedStore<Publishing<MemoryStore>, MemoryFeed>,
}

impl Cached {
    /// A cache that is live, and stays so: heartbeats are many.
    async fn new() -> Self {
        let clock = ManualClock::default();
        let channel = MemoryChannel::default();
        let memory = MemoryStore::builder().clock(clock.clone()).build();
        let feed = channel.feed().heartbeat_every(Duration::from_millis(1));
        let store = CachedStore::builder(channel.publishing(memory), feed).clock(clock.clone()).build();
        store.live().await;
        Self { clock, store }
    }
}

impl Harness for Cached {
    type Store = CachedStore<Publishing<MemoryStore>, MemoryFeed>;

    fn store(&self) -> &Self::Store {
        &self.store
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

session_conformance::store_tests!(Cached::new().await);
session_conformance::query_tests!(Cached::new().await);
