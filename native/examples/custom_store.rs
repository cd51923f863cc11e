//! A store of one's own: here a map behind a mutex. Its test is the contract that every store keeps.
//! `cargo test -p session-native --example custom_store`

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use session_native::{
    Clock, Config, Key, OsRandom, Secret, Sessions, Store, StoreError, SystemClock, Version,
    store::{Found, Lookup, Record, Saved},
};

struct MapStore {
    records: Mutex<HashMap<Key, Record>>,
    clock: Arc<dyn Clock>,
}

impl MapStore {
    fn new(clock: impl Clock) -> Self {
        Self { records: Mutex::default(), clock: Arc::new(clock) }
    }

    /// The records that are alive. The lock is what makes every operation one step.
    fn live(&self) -> MutexGuard<'_, HashMap<Key, Record>> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        records.retain(|_, record| now < record.expires_at);
        records
    }
}

impl Store for MapStore {
    const IN_PROCESS: bool = true;

    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        let mut records = self.live();
        let stored = records.entry(*key).or_insert_with(|| record.clone());
        Ok(stored.version == record.version)
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        let mut records = self.live();
        let Some(record) = records.get_mut(key) else { return Ok(None) };
        record.expires_at = record.expires_at.max(lookup.touch.unwrap_or_default());
        Ok(Some(Found::new(record.clone(), 0)))
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        match self.live().get_mut(key) {
            None => Ok(Saved::Gone),
            Some(stored) if stored.version == record.version => Ok(Saved::Stored),
            Some(stored) if stored.version != expected => Ok(Saved::Conflict(stored.clone())),
            Some(stored) => {
                *stored = record.clone();
                Ok(Saved::Stored)
            }
        }
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.live().remove(key).is_some())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::development(Secret::generate(&OsRandom)?);
    let sessions = Sessions::<(), _>::new(config, MapStore::new(SystemClock))?;
    sessions.commit(&mut sessions.create()).await?;
    println!("{} session in the map", sessions.store().live().len());
    Ok(())
}

#[cfg(test)]
#[path = "tests/custom_store.rs"]
mod tests;
