//! Listings: SCAN and pipelined reads, over all primaries.

use std::collections::{HashMap, HashSet};

use futures_util::future::try_join_all;
use redis::{Cmd, Value, cluster_routing::SingleNodeRoutingInfo};
use session_core::{Key, SubjectTag};

use super::{EPOCH_LIFE, Inner, RedisStore, error::read, message, value};
use crate::store::{Batch, Found, Query, Record, Store as _, StoreError};

/// How many keys a step of a scan looks at, about.
const STEP: usize = 500;

/// The upper bits of a cursor say which primary is being scanned: Redis itself never gets that far.
const PRIMARY_SHIFT: u32 = 56;

impl Query for RedisStore {
    /// One step of one primary. Records may be missed whose slot moves to another primary during the scan, or whose primary is replaced.
    async fn scan(&self, cursor: u64) -> Result<Batch, StoreError> {
        let (keys, next) = self.scan_keys(cursor, &self.primaries().await?).await?;
        let records = self.records(&keys).await?;
        let mut subjects: Vec<SubjectTag> = records.iter().filter_map(|(_, record)| record.subject).collect();
        subjects.sort_unstable_by_key(|subject| *subject.as_bytes());
        subjects.dedup();
        let epochs = self.epochs(&subjects).await?;
        let with_epoch = |(key, record): (Key, Record)| {
            let epoch = record.subject.and_then(|subject| epochs.get(&subject).copied()).unwrap_or(0);
            (key, Found::new(record, epoch))
        };
        Ok(Batch { found: records.into_iter().map(with_epoch).collect(), next })
    }

    async fn by_subject(&self, subject: &SubjectTag) -> Result<Vec<(Key, Found)>, StoreError> {
        let listed = self.listed(subject).await?;
        let epoch = self.epochs(&[*subject]).await?.get(subject).copied().unwrap_or(0);
        Ok(listed.into_iter().map(|(key, record)| (key, Found::new(record, epoch))).collect())
    }

    /// The records stay until they expire: they are dead by their epoch, and the session that asked may be authenticated anew.
    async fn revoke_subject(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        let Inner { keys, scripts, .. } = &*self.inner;
        let (bucket, message) = (subject.as_bytes()[0], message::start_of_revoked(subject));
        let names = [&*keys.epoch(subject), &*keys.index(subject)];
        self.eval_replicated(bucket, &scripts.revoke, &names, |command| {
            command.arg(EPOCH_LIFE.as_millis() as u64);
            self.publish(command, bucket, &message);
        })
        .await
    }

    /// Reads names and lengths, and no values.
    async fn len(&self) -> Result<u64, StoreError> {
        let primaries = self.primaries().await?;
        let mut next = Some(0);
        // A scan may name one twice.
        let mut seen = HashSet::new();
        let mut count = 0;
        while let Some(cursor) = next {
            let (mut keys, further) = self.scan_keys(cursor, &primaries).await?;
            keys.retain(|key| seen.insert(*key));
            count += self.alive(keys).await?.len() as u64;
            next = further;
        }
        Ok(count)
    }

    /// In batches, each deletion as that of one session. What is created meanwhile may stay.
    async fn clear(&self) -> Result<(), StoreError> {
        let Inner { connections, keys, publish, .. } = &*self.inner;
        let primaries = self.primaries().await?;
        let mut next = Some(0);
        while let Some(cursor) = next {
            let (found, further) = self.scan_keys(cursor, &primaries).await?;
            // One by one, so that none is deleted whose message isn't on its way.
            try_join_all(self.alive(found).await?.iter().map(|key| self.delete(key))).await?;
            next = further;
        }
        #[cfg(feature = "crystal")]
        self.tell_crystal(session_core::interop::crystal::ClusterMessageType::CacheClear, None).await;
        let message = message::cleared();
        match *publish {
            "" => {}
            "PUBLISH" => {
                connections
                    .query::<()>(0, redis::cmd("PUBLISH").arg(keys.channel()).arg(&message[..]))
                    .await?;
            }
            _ => {
                for bucket in 0..=u8::MAX {
                    let channel = keys.channel_of(bucket);
                    connections
                        .query::<()>(bucket, redis::cmd("SPUBLISH").arg(channel).arg(&message[..]))
                        .await?;
                }
            }
        }
        Ok(())
    }
}

impl RedisStore {
    /// The records of a subject. What its index lists besides is taken out: keys never come back, and what changed hands is another subject's.
    pub(super) async fn listed(&self, subject: &SubjectTag) -> Result<Vec<(Key, Record)>, StoreError> {
        let Inner { connections, keys, .. } = &*self.inner;
        let mut range = redis::cmd("ZRANGE");
        range.arg(keys.index(subject)).arg(0).arg(-1);
        let members: Vec<Vec<u8>> = connections.query(subject.as_bytes()[0], &range).await?;
        let listed: Vec<Key> =
            members.into_iter().filter_map(|member| member.try_into().ok().map(Key::from_bytes)).collect();
        let mut records = self.records(&listed).await?;
        records.retain(|(_, record)| record.subject.as_ref() == Some(subject));
        let alive: HashSet<Key> = records.iter().map(|(key, _)| *key).collect();
        let dead: Vec<Key> = listed.into_iter().filter(|key| !alive.contains(key)).collect();
        if !dead.is_empty() {
            let mut remove = redis::cmd("ZREM");
            remove.arg(keys.index(subject));
            for key in &dead {
                remove.arg(key.as_bytes());
            }
            connections.query::<()>(subject.as_bytes()[0], &remove).await?;
        }
        Ok(records)
    }
}

/// Where a primary is; `None` without a cluster.
type Primary = Option<(String, u16)>;

impl RedisStore {
    /// All primaries, always in the same order while the cluster stays as it is.
    async fn primaries(&self) -> Result<Vec<Primary>, StoreError> {
        let connections = &self.inner.connections;
        if !connections.is_cluster() {
            return Ok(vec![None]);
        }
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let ranges: Vec<Vec<Value>> =
            connections.query_at(SingleNodeRoutingInfo::RandomPrimary, command).await?;
        let mut primaries = Vec::new();
        for range in ranges {
            // First slot, last slot, primary, replicas.
            let mut range = range.into_iter();
            let (Some(first), Some(primary)) = (range.next(), range.nth(1)) else {
                return Err(StoreError::Malformed);
            };
            let first: u64 = read(first)?;
            let mut primary = read::<Vec<Value>>(primary)?.into_iter();
            let (Some(host), Some(port)) = (primary.next(), primary.next()) else {
                return Err(StoreError::Malformed);
            };
            primaries.push((first, Some((read(host)?, read(port)?))));
        }
        // By their first slot, so that one that takes another's place has its number too.
        primaries.sort_unstable_by_key(|(first, _)| *first);
        let mut seen = HashSet::new();
        Ok(primaries
            .into_iter()
            .map(|(_, primary)| primary)
            .filter(|primary| seen.insert(primary.clone()))
            .collect())
    }

    /// The keys of one step of one primary, and where to go on.
    async fn scan_keys(
        &self,
        cursor: u64,
        primaries: &[Primary],
    ) -> Result<(Vec<Key>, Option<u64>), StoreError> {
        let Inner { connections, keys, .. } = &*self.inner;
        let (number, position) = (cursor >> PRIMARY_SHIFT, cursor & ((1 << PRIMARY_SHIFT) - 1));
        let Some(primary) = usize::try_from(number).ok().and_then(|number| primaries.get(number)) else {
            return Ok((Vec::new(), None));
        };
        let node = match primary {
            Some((host, port)) => SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port },
            None => SingleNodeRoutingInfo::RandomPrimary,
        };
        let mut command = redis::cmd("SCAN");
        command.arg(position).arg("MATCH").arg(keys.records()).arg("COUNT").arg(STEP);
        let (position, names): (u64, Vec<Vec<u8>>) = connections.query_at(node, command).await?;
        let next = match position {
            0 => (number + 1 < primaries.len() as u64).then_some((number + 1) << PRIMARY_SHIFT),
            _ if position >> PRIMARY_SHIFT != 0 => return Err(StoreError::Malformed),
            _ => Some(number << PRIMARY_SHIFT | position),
        };
        Ok((names.iter().filter_map(|name| keys.parse(name)).collect(), next))
    }

    /// Those of these keys under which something else than a tombstone stands.
    async fn alive(&self, mut listed: Vec<Key>) -> Result<Vec<Key>, StoreError> {
        let names: Vec<String> = listed.iter().map(|key| self.inner.keys.record(key)).collect();
        let mut lengths = self.one_by_one::<u64>("STRLEN", &names).await?.into_iter();
        listed.retain(|_| lengths.next().is_some_and(|length| length > 0));
        Ok(listed)
    }

    /// The records that are there, of these keys.
    async fn records(&self, listed: &[Key]) -> Result<Vec<(Key, Record)>, StoreError> {
        let names: Vec<String> = listed.iter().map(|key| self.inner.keys.record(key)).collect();
        let values: Vec<Option<Vec<u8>>> = self.mget(&names).await?;
        let mut records = Vec::with_capacity(values.len());
        for (key, value) in listed.iter().zip(values) {
            if let Some(record) = value::read(value)? {
                records.push((*key, record));
            }
        }
        Ok(records)
    }

    async fn epochs(&self, subjects: &[SubjectTag]) -> Result<HashMap<SubjectTag, u64>, StoreError> {
        let names: Vec<String> = subjects.iter().map(|subject| self.inner.keys.epoch(subject)).collect();
        let epochs: Vec<Option<u64>> = self.mget(&names).await?;
        Ok(subjects
            .iter()
            .copied()
            .zip(epochs)
            .filter_map(|(subject, epoch)| Some((subject, epoch?)))
            .collect())
    }

    async fn mget<T: redis::FromRedisValue + Send>(&self, names: &[String]) -> Result<Vec<T>, StoreError> {
        let connections = &self.inner.connections;
        let mut values = Vec::with_capacity(names.len());
        for names in names.chunks(STEP) {
            let some: Vec<T> = if connections.is_cluster() {
                self.one_by_one("GET", names).await?
            } else {
                connections.query(0, redis::cmd("MGET").arg(names)).await?
            };
            values.extend(some);
        }
        Ok(values)
    }

    /// A command of its own for each name, all at once. In a cluster always: of one command with all the names, which the client library would
    /// split, it doesn't redirect the parts whose slot is on the move.
    async fn one_by_one<T: redis::FromRedisValue + Send>(
        &self,
        command: &'static str,
        names: &[String],
    ) -> Result<Vec<T>, StoreError> {
        let connections = &self.inner.connections;
        let commands: Vec<Cmd> = names
            .iter()
            .map(|name| {
                let mut command = redis::cmd(command);
                command.arg(name);
                command
            })
            .collect();
        try_join_all(commands.iter().map(|command| connections.query(0, command))).await
    }
}
