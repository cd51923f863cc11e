//! The records that the Crystal library left on the same server.

use super::RedisStore;
use crate::{
    import::OldRecords,
    store::{Bytes, StoreError},
};

impl OldRecords for RedisStore {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let value: Option<Vec<u8>> = self.inner.connections.query(0, redis::cmd("GET").arg(name)).await?;
        Ok(value.map(Bytes::from))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.connections.query(0, redis::cmd("DEL").arg(name)).await
    }
}
