//! A feed inside of one process: for tests, and for several providers in one process.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use session_core::{Key, SubjectTag, Version};
use tokio::sync::{mpsc, watch};

use super::{
    feed::{Feed, Link, Links},
    message,
    protocol::{Change, EntryId},
};
use crate::{
    lock::lock,
    store::{Batch, Found, Lookup, Query, Record, Saved, Store, StoreError, message::Message},
};

/// What several caches in one process subscribe to. Clones are the same channel.
///
/// ```
/// use session_native::{MemoryStore, store::cached::{CachedStore, MemoryChannel}};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let channel = MemoryChannel::default();
/// let shared = MemoryStore::new();
/// let node = || CachedStore::new(channel.publishing(shared.clone()), channel.feed());
/// let (a, b) = (node(), node());
/// a.live().await;
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryChannel {
    lines: Arc<Mutex<Vec<mpsc::UnboundedSender<Item>>>>,
    /// Held from before a write until its message is out: the two are one step.
    writing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone, Copy)]
enum Item {
    Message(Message),
    Heartbeat(Duration),
}

impl MemoryChannel {
    /// A feed of this channel, for one cache.
    #[must_use]
    pub fn feed(&self) -> MemoryFeed {
        let (state, _) = watch::channel(Line::Flowing);
        MemoryFeed { channel: self.clone(), state, heartbeats: Duration::from_millis(500) }
    }

    /// A store whose writes are published here. Writes come one after the other.
    pub fn publishing<S: Store>(&self, store: S) -> Publishing<S> {
        Publishing { store, channel: self.clone() }
    }

    fn publish(&self, change: Change) {
        let message = Item::Message(message::encode(change));
        self.lines().retain(|line| line.send(message).is_ok());
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::UnboundedSender<Item>>> {
        lock(&self.lines)
    }
}

/// One cache's end of a [`MemoryChannel`]; clones are the same end, and can disturb it.
///
/// See [`MemoryChannel`] for an example.
#[derive(Clone)]
pub struct MemoryFeed {
    channel: MemoryChannel,
    state: watch::Sender<Line>,
    heartbeats: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Flowing,
    Held,
    Cut,
}

impl MemoryFeed {
    /// How often a heartbeat is sent: every 500 ms by default.
    #[must_use]
    pub const fn heartbeat_every(mut self, every: Duration) -> Self {
        self.heartbeats = every;
        self
    }

    /// From now on nothing comes through, and nobody is told: as a connection whose packets are dropped.
    pub fn hold(&self) {
        self.state.send_replace(Line::Held);
    }

    /// The connection is lost, with everything that was held; there is none until [`MemoryFeed::restore`].
    pub fn cut(&self) {
        self.state.send_replace(Line::Cut);
    }

    /// Everything that was held comes through; a connection that was cut is made again.
    pub fn restore(&self) {
        self.state.send_replace(Line::Flowing);
    }

    /// Brings what comes until the line is cut. Being told to cut or to hold comes first.
    async fn listen(
        &self,
        state: &mut watch::Receiver<Line>,
        link: &Link,
        line: &mut mpsc::UnboundedReceiver<Item>,
    ) {
        loop {
            let now = *state.borrow_and_update();
            match now {
                Line::Cut => return,
                Line::Held => {
                    if state.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Line::Flowing => {}
            }
            tokio::select! {
                biased;
                changed = state.changed() => if changed.is_err() { return },
                item = line.recv() => match item {
                    Some(Item::Message(message)) => link.message(&message),
                    Some(Item::Heartbeat(sent_at)) => link.heartbeat(sent_at),
                    None => return,
                },
            }
        }
    }
}

impl Feed for MemoryFeed {
    async fn run(&self, links: Links) {
        let mut state = self.state.subscribe();
        loop {
            if state.wait_for(|state| *state != Line::Cut).await.is_err() {
                return;
            }
            let (sender, mut line) = mpsc::unbounded_channel();
            self.channel.lines().push(sender.clone());
            let link = links.connect(0..=255);
            let beat = async {
                let mut every = tokio::time::interval(self.heartbeats);
                loop {
                    every.tick().await;
                    // Under the lock that messages are sent under, so that the echo can't overtake one.
                    let _lines = self.channel.lines();
                    if sender.send(Item::Heartbeat(links.now())).is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = self.listen(&mut state, &link, &mut line) => {}
                () = beat => {}
            }
        }
    }
}

/// A store whose writes are published on a [`MemoryChannel`].
///
/// See [`MemoryChannel`] for an example.
pub struct Publishing<S> {
    store: S,
    channel: MemoryChannel,
}

impl<S> Publishing<S> {
    /// The store itself.
    pub const fn inner(&self) -> &S {
        &self.store
    }

    /// Does a write and publishes what it changed, as one step.
    async fn write<R>(
        &self,
        write: impl Future<Output = Result<R, StoreError>>,
        change: impl FnOnce(&R) -> Option<Change>,
    ) -> Result<R, StoreError> {
        let _writing = self.channel.writing.lock().await;
        let result = write.await?;
        if let Some(change) = change(&result) {
            self.channel.publish(change);
        }
        Ok(result)
    }
}

impl<S: Store> Store for Publishing<S> {
    const IN_PROCESS: bool = S::IN_PROCESS;
    const NAME: &'static str = S::NAME;

    async fn create(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        let change = Change::Saved(EntryId::record(key), record.version);
        self.write(self.store.create(key, record), |created| created.then_some(change)).await
    }

    async fn load(&self, key: &Key, lookup: Lookup) -> Result<Option<Found>, StoreError> {
        self.store.load(key, lookup).await
    }

    async fn save(&self, key: &Key, record: &Record, expected: Version) -> Result<Saved, StoreError> {
        let change = Change::Saved(EntryId::record(key), record.version);
        let save = self.store.save(key, record, expected);
        self.write(save, |saved| (*saved == Saved::Stored).then_some(change)).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let change = Change::Gone(EntryId::record(key));
        self.write(self.store.delete(key), |deleted| deleted.then_some(change)).await
    }

    async fn epoch(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        self.store.epoch(subject).await
    }

    async fn lease(&self, key: &Key, holder: u64, ttl: Duration) -> Result<bool, StoreError> {
        self.store.lease(key, holder, ttl).await
    }

    async fn release(&self, key: &Key, holder: u64) -> Result<(), StoreError> {
        self.store.release(key, holder).await
    }
}

impl<S: Query> Query for Publishing<S> {
    async fn scan(&self, cursor: u64) -> Result<Batch, StoreError> {
        self.store.scan(cursor).await
    }

    async fn by_subject(&self, subject: &SubjectTag) -> Result<Vec<(Key, Found)>, StoreError> {
        self.store.by_subject(subject).await
    }

    async fn revoke_subject(&self, subject: &SubjectTag) -> Result<u64, StoreError> {
        let change = |epoch: &u64| Some(Change::moved(subject, *epoch));
        self.write(self.store.revoke_subject(subject), change).await
    }

    async fn len(&self) -> Result<u64, StoreError> {
        self.store.len().await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.write(self.store.clear(), |()| Some(Change::Cleared)).await
    }
}
