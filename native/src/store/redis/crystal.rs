//! What the Crystal library has on the same server: its records, and the channel on which its nodes tell each other what they wrote.

use session_core::{
    Key, OsRandom, Random as _,
    interop::crystal::{ClusterMessage, ClusterMessageType},
};

use super::RedisStore;
#[cfg(feature = "cache")]
use super::keys::Keys;
use crate::{
    import::OldRecords,
    store::{Bytes, StoreError},
};

/// Before the id in the names of its records.
const PREFIX: &str = "session:";

impl OldRecords for RedisStore {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let value: Option<Vec<u8>> = self.inner.connections.query(0, redis::cmd("GET").arg(name)).await?;
        Ok(value.map(Bytes::from))
    }

    /// Its nodes are told, if this store is on their [channel](super::RedisStoreBuilder::crystal_channel): they may hold it in their caches.
    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.connections.query::<()>(0, redis::cmd("DEL").arg(name)).await?;
        if let Some(channel) = &self.inner.crystal {
            self.publish_to_crystal(channel, ClusterMessageType::SessionDeleted, id(name)).await;
        }
        Ok(())
    }
}

/// Their channel, for a store that is on it.
pub(super) struct Channel {
    pub(super) name: String,
    /// How this node is called there: by a name that no other has, since they ignore what comes from their own.
    node: String,
}

impl Channel {
    pub(super) fn new(name: String) -> Result<Self, StoreError> {
        let mut random = [0; 16];
        OsRandom
            .fill(&mut random)
            .map_err(|_| StoreError::misconfigured("the operating system gives no random numbers"))?;
        Ok(Self { name, node: format!("session-native-{:032x}", u128::from_be_bytes(random)) })
    }

    /// What a message says of the records of this library.
    #[cfg(feature = "cache")]
    pub(super) fn read(&self, message: &[u8], keys: &Keys) -> News {
        match serde_json::from_slice::<ClusterMessage>(message) {
            Ok(message) if message.node_id == self.node => News::Of(Vec::new()),
            Ok(ClusterMessage { kind: ClusterMessageType::CacheClear, .. }) => News::All,
            Ok(message) => News::Of(named(&message.session_id, keys)),
            Err(_) => News::Unreadable,
        }
    }
}

/// What is to be given up.
#[cfg(feature = "cache")]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Of(Vec<Key>),
    /// A Crystal node that clears its store deletes whatever has its prefix, ours too.
    All,
    Unreadable,
}

/// The record that a Crystal node calls by this id, as far as it is one of ours; and what is remembered of the import of a session of theirs.
#[cfg(feature = "cache")]
fn named(id: &str, keys: &Keys) -> Vec<Key> {
    let ours = keys.parse(format!("{PREFIX}{id}").as_bytes()).or_else(|| keys.parse(id.as_bytes()));
    ours.into_iter().chain([crate::import::identity(id)]).collect()
}

/// How a Crystal node calls what has this name in Redis.
fn id(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

impl RedisStore {
    /// Tells Crystal nodes of a write, if this store is on their channel.
    pub(super) async fn tell_crystal(&self, kind: ClusterMessageType, key: Option<&Key>) {
        let Some(channel) = &self.inner.crystal else { return };
        let name = key.map(|key| self.inner.keys.record(key)).unwrap_or_default();
        Box::pin(self.publish_to_crystal(channel, kind, id(&name))).await;
    }

    /// After the write, as their own nodes do it. It is done, so a message that can't be sent is no error of it: they may serve what they hold for
    /// as long as they do anyway (30 seconds).
    async fn publish_to_crystal(&self, channel: &Channel, kind: ClusterMessageType, id: &str) {
        let message = ClusterMessage {
            kind,
            session_id: id.into(),
            node_id: channel.node.clone(),
            timestamp: self.inner.clock.now().into(),
        };
        let Ok(message) = serde_json::to_string(&message) else { return };
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&channel.name).arg(message);
        if let Err(error) = self.inner.connections.query::<()>(0, &publish).await {
            tracing::warn!(%error, "nodes in Crystal were not told of a change");
        }
    }
}

#[cfg(all(test, feature = "cache"))]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_record_that_crystal_calls_so() {
        let channel = Channel::new("session:cluster:invalidate".into()).expect("a channel");
        let key = Key::from_bytes([0x3f; 16]);
        let foreign = "0b6f3c1e-2f0d-4c43-9a0e-4b7a3f1f2b11";
        let message = |kind: &str, id: &str, node: &str| {
            format!(
                r#"{{"type":"{kind}","session_id":"{id}","node_id":"{node}","timestamp":"2026-11-23T15:04:09Z"}}"#
            )
        };
        for prefix in ["session", "shop"] {
            let keys = Keys::new(prefix).expect("a prefix");
            let ours = keys.record(&key);
            let read = |kind, id, node| channel.read(message(kind, id, node).as_bytes(), &keys);
            let heard = read("session_deleted", id(&ours), "node-a");
            assert_eq!(heard, News::Of(vec![key, crate::import::identity(id(&ours))]));
            let heard = read("session_invalidated", foreign, "node-a");
            assert_eq!(heard, News::Of(vec![crate::import::identity(foreign)]));
            assert_eq!(read("cache_clear", "", "node-a"), News::All);
            assert_eq!(read("session_deleted", id(&ours), &channel.node), News::Of(Vec::new()), "its own");
            assert_eq!(channel.read(b"garbage", &keys), News::Unreadable);
        }
        assert_eq!(id("session:{3f}:s:x"), "{3f}:s:x");
    }
}
