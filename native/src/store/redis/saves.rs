//! Saves: those of many requests in one call of a script.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt as _, future::Either};
use redis::{Cmd, Value};
use session_core::{Key, Version};

use super::{
    batch::{Answers, BYTES, Batches},
    connection::Connections,
    keys::{Keys, bucket},
    message::Message,
    script::Script,
    value::{self, Head},
};
use crate::store::{Record, StoreError};

/// One save, as the script wants it.
pub(super) struct Save {
    name: String,
    expected: [u8; 16],
    head: Head,
    payload: Bytes,
    left: u64,
    message: Message,
}

/// What the script says to one.
pub(super) type Answer = Result<Value, StoreError>;

/// Saves by the connections of a store.
pub(super) struct Saves {
    writer: Arc<Writer>,
    /// Not in a cluster, where each record is on a node of its own.
    batches: Option<Batches<Writer>>,
}

pub(super) struct Writer {
    connections: Arc<Connections>,
    keys: Arc<Keys>,
    publish: &'static str,
    script: Script,
}

impl Saves {
    pub(super) const fn new(writer: Arc<Writer>, batches: Option<Batches<Writer>>) -> Self {
        Self { writer, batches }
    }

    /// What the script says to the save of a record, which lives so many milliseconds from now.
    pub(super) fn save(
        &self,
        key: &Key,
        record: &Record,
        expected: Version,
        left: u64,
        message: Message,
    ) -> impl Future<Output = Answer> {
        let save = Save {
            name: self.writer.keys.record(key),
            expected: expected.to_bytes(),
            head: value::head(record),
            payload: record.payload.clone(),
            left,
            message,
        };
        let asked = match &self.batches {
            Some(batches) => Either::Left(batches.ask(save, async |save| Ok(self.writer.one(0, save).await))),
            None => Either::Right(Box::pin(self.writer.one(bucket(key), save)).map(Ok)),
        };
        async { asked.await? }
    }
}

impl Answers for Writer {
    type Question = Save;
    type Answer = Answer;

    fn weigh(&self, save: &Save) -> usize {
        1 + save.payload.len() / BYTES
    }

    async fn answer(&self, saves: Vec<Save>) -> Result<Vec<Answer>, StoreError> {
        self.many(0, &saves).await
    }
}

impl Writer {
    pub(super) fn new(connections: &Arc<Connections>, keys: &Arc<Keys>, publish: &'static str) -> Self {
        let (connections, keys) = (Arc::clone(connections), Arc::clone(keys));
        Self { connections, keys, publish, script: Script::new(include_str!("scripts/save.lua")) }
    }

    async fn one(&self, bucket: u8, save: Save) -> Answer {
        self.many(bucket, &[save]).await?.pop().ok_or(StoreError::Malformed)?
    }

    async fn many(&self, bucket: u8, saves: &[Save]) -> Result<Vec<Answer>, StoreError> {
        let names: Vec<&str> = saves.iter().map(|save| &*save.name).collect();
        let arguments = |command: &mut Cmd| {
            command.arg(self.publish).arg(self.keys.channel_by(self.publish, bucket));
            for Save { expected, head, payload, left, message, .. } in saves {
                command.arg(expected).arg(head).arg(&payload[..]).arg(*left).arg(message);
            }
        };
        self.connections.eval_each(bucket, &self.script, &names, arguments).await
    }
}
