//! Loads: those of many requests in one command.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use futures_util::future::try_join;
use redis::{Cmd, Value};
use session_core::{Key, SubjectTag};

use super::{
    batch::{Answers, BYTES, Batches},
    connection::Connections,
    error::read,
    keys::{Keys, bucket},
};
use crate::store::StoreError;

/// A record, and the epoch of a subject.
pub(super) type Wanted = (Key, Option<SubjectTag>);
/// The same as found.
pub(super) type Found = (Option<Vec<u8>>, Option<Value>);

/// Loads by the connections of a store.
pub(super) struct Loads {
    reader: Arc<Reader>,
    /// Not in a cluster, where each name is on a node of its own.
    batches: Option<Batches<Reader>>,
}

pub(super) struct Reader {
    connections: Arc<Connections>,
    keys: Arc<Keys>,
    /// How many bytes a record has, on the average of the last batch: none says so before it is read.
    typical: AtomicUsize,
}

impl Loads {
    pub(super) const fn new(reader: Arc<Reader>, batches: Option<Batches<Reader>>) -> Self {
        Self { reader, batches }
    }

    /// What is under the name of a record, and the epoch of a subject.
    pub(super) async fn load(
        &self,
        key: Key,
        subject: Option<SubjectTag>,
    ) -> Result<(Option<Vec<u8>>, Option<u64>), StoreError> {
        let reader = &*self.reader;
        let (value, epoch) = match &self.batches {
            Some(batches) => batches.ask((key, subject), |wanted| reader.one(wanted)).await?,
            None => Box::pin(reader.apart((key, subject))).await?,
        };
        let epoch = epoch.map(read::<Option<u64>>).transpose()?.flatten();
        let value = match value {
            // What is no string is nothing to MGET, and an error to GET.
            None => Box::pin(reader.get(&key)).await?,
            some => some,
        };
        Ok((value, epoch))
    }
}

impl Answers for Reader {
    type Question = Wanted;
    type Answer = Found;

    fn weigh(&self, (_, subject): &Wanted) -> usize {
        1 + usize::from(subject.is_some()) + self.typical.load(Ordering::Relaxed) / BYTES
    }

    async fn answer(&self, wanted: Vec<Wanted>) -> Result<Vec<Found>, StoreError> {
        self.many(&wanted).await
    }
}

impl Reader {
    pub(super) fn new(connections: &Arc<Connections>, keys: &Arc<Keys>) -> Self {
        let (connections, keys) = (Arc::clone(connections), Arc::clone(keys));
        Self { connections, keys, typical: AtomicUsize::new(0) }
    }

    /// An empty value, as of a tombstone, if there is none.
    async fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        let value: Option<_> =
            self.connections.query(bucket(key), redis::cmd("GET").arg(self.keys.record(key))).await?;
        Ok(value.or(Some(Vec::new())))
    }

    async fn one(&self, (key, subject): Wanted) -> Result<Found, StoreError> {
        if subject.is_none() {
            return Ok((self.get(&key).await?, None));
        }
        self.many(&[(key, subject)]).await?.pop().ok_or(StoreError::Malformed)
    }

    async fn many(&self, wanted: &[Wanted]) -> Result<Vec<Found>, StoreError> {
        let mut command = Cmd::with_capacity(1 + 2 * wanted.len(), 128 * wanted.len());
        command.arg("MGET");
        for (key, subject) in wanted {
            command.arg(self.keys.record(key));
            if let Some(subject) = subject {
                command.arg(self.keys.epoch(subject));
            }
        }
        let mut values = self.connections.query::<Vec<Value>>(0, &command).await?.into_iter();
        let mut next = || values.next().ok_or(StoreError::Malformed);
        let mut found: Vec<Found> = Vec::with_capacity(wanted.len());
        for (_, subject) in wanted {
            found.push((read(next()?)?, subject.map(|_| next()).transpose()?));
        }
        let bytes: usize = found.iter().flat_map(|(value, _)| value).map(Vec::len).sum();
        self.typical.store(bytes / found.len().max(1), Ordering::Relaxed);
        Ok(found)
    }

    /// Two commands at once, each to its own node: of one that the client library splits, it doesn't redirect the parts whose slot is on the
    /// move, and the load would fail for as long as that takes.
    async fn apart(&self, (key, subject): Wanted) -> Result<Found, StoreError> {
        let Some(subject) = subject else { return Ok((self.get(&key).await?, None)) };
        let mut get = redis::cmd("GET");
        let epoch = self.connections.query(subject.as_bytes()[0], get.arg(self.keys.epoch(&subject)));
        let (value, epoch) = try_join(self.get(&key), epoch).await?;
        Ok((value, Some(epoch)))
    }
}
