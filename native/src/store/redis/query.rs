//! Listings: SCAN and pipelined reads, over all primaries.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use redis::{Cmd, Value, cluster_routing::SingleNodeRoutingInfo};
use session_core::{Key, SubjectTag};

use super::{EPOCH_LIFE, Inner, RedisStore, connection::read, message, value};
use crate::store::{Batch, Found, Query, Record, StoreError};

/// How many keys a step of a scan looks at, about.
const STEP: usize = 500;

/// The upper bits of a cursor say which primary is being scanned: Redis itself never gets that far.
const PRIMARY_SHIFT: u32 = 56;

impl Query for RedisStore {
    /// One step of one primary. A record whose slot moves to another primary during the scan may be missed.
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
        let Inner { connections, keys, .. } = &*self.inner;
        let (bucket, index) = (subject.as_bytes()[0], keys.index(subject));
        let members: Vec<Vec<u8>> =
            connections.query(bucket, redis::cmd("ZRANGE").arg(&index).arg(0).arg(-1)).await?;
        let listed: Vec<Key> =
            members.into_iter().filter_map(|member| member.try_into().ok().map(Key::from_bytes)).collect();
        let records = self.records(&listed).await?;
        // Keys never come back: what isn't there any more needn't be listed any more.
        let gone = listed.iter().filter(|key| !records.iter().any(|(found, _)| found == *key));
        let mut heal = redis::cmd("ZREM");
        heal.arg(&index);
        let mut is_ill = false;
        for key in gone {
            heal.arg(key.as_bytes());
            is_ill = true;
        }
        if is_ill {
            connections.query::<()>(bucket, &heal).await?;
        }
        let epoch = self.epochs(&[*subject]).await?.get(subject).copied().unwrap_or(0);
        // One that changed hands is another subject's.
        let theirs = records.into_iter().filter(|(_, record)| record.subject.as_ref() == Some(subject));
        Ok(theirs.map(|(key, record)| (key, Found::new(record, epoch))).collect())
    }

    /// The records stay until they expire: they are dead by their epoch, and the session that asked may be authenticated anew.
    async fn revoke_subject(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        let Inner { keys, scripts, .. } = &*self.inner;
        let (bucket, message) = (subject.as_bytes()[0], message::start_of_revoked(subject));
        self.eval_replicated(bucket, &scripts.revoke, &keys.epoch(subject), |command| {
            command.arg(EPOCH_LIFE.as_millis() as u64);
            self.publish(command, bucket, &message);
        })
        .await
    }

    /// Reads names, and no values.
    async fn len(&self) -> Result<u64, StoreError> {
        let primaries = self.primaries().await?;
        let mut next = Some(0);
        let mut seen = std::collections::HashSet::new();
        while let Some(cursor) = next {
            let (keys, further) = self.scan_keys(cursor, &primaries).await?;
            seen.extend(keys);
            next = further;
        }
        Ok(seen.len() as u64)
    }

    /// In batches. What is created meanwhile may stay.
    async fn clear(&self) -> Result<(), StoreError> {
        let Inner { connections, keys, publish, .. } = &*self.inner;
        let primaries = self.primaries().await?;
        let mut next = Some(0);
        while let Some(cursor) = next {
            let (found, further) = self.scan_keys(cursor, &primaries).await?;
            if !found.is_empty() {
                let names: Vec<String> = found.iter().map(|key| keys.record(key)).collect();
                if connections.is_cluster() {
                    self.one_by_one::<()>("UNLINK", &names).await?;
                } else {
                    connections.query::<()>(0, redis::cmd("UNLINK").arg(&names)).await?;
                }
            }
            next = further;
        }
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
            let primary: Vec<Value> = read(range.into_iter().nth(2).ok_or(StoreError::Malformed)?)?;
            let mut primary = primary.into_iter();
            let (Some(host), Some(port)) = (primary.next(), primary.next()) else {
                return Err(StoreError::Malformed);
            };
            primaries.push(Some((read(host)?, read(port)?)));
        }
        primaries.sort_unstable();
        primaries.dedup();
        Ok(primaries)
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

    /// The records that are there, of these keys.
    async fn records(&self, listed: &[Key]) -> Result<Vec<(Key, Record)>, StoreError> {
        let names: Vec<String> = listed.iter().map(|key| self.inner.keys.record(key)).collect();
        let values: Vec<Option<Vec<u8>>> = self.mget(&names).await?;
        let mut records = Vec::with_capacity(values.len());
        for (key, value) in listed.iter().zip(values) {
            if let Some(value) = value {
                records.push((*key, value::decode(value)?));
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

    /// For a cluster: a command of its own for each name, all at once. Of one command with all the names, which the client library would split,
    /// it doesn't redirect the parts whose slot is on the move.
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
