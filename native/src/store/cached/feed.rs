//! Feeds: how a cache hears what was written elsewhere.

use core::{future::Future, time::Duration};
use std::sync::Arc;

use session_core::Key;

use super::{
    message,
    protocol::{Bucket, Change, EntryId},
    table::Table,
    time::nanos,
};

/// Brings the messages that writes publish to one node's cache.
///
/// A feed makes a [`Link`] for each connection, after the server has confirmed the subscription, and drops it when the connection is lost
/// or suspect: both empty the cache of what the link is responsible for. The cache relies on three things:
///
/// 1. every write of the store publishes its message in the same step;
/// 2. every message published after [`Links::connect`] was called reaches [`Link::message`], in order, or the link is dropped;
/// 3. [`Link::heartbeat`] is called with the time at which a heartbeat was *sent*, once it came back *behind* every message that was
///    published before the server saw it: along the same connection, from the same server.
///
/// See [`MemoryFeed`](super::MemoryFeed) for a small one.
pub trait Feed: Send + Sync + 'static {
    /// Connects, reports and reconnects, for as long as it is polled. Dropped when the cache is.
    fn run(&self, links: Links) -> impl Future<Output = ()> + Send;
}

/// Where a [`Feed`] reports its connections to.
///
/// ```
/// use session_native::store::cached::{Feed, Links};
///
/// /// Hears nothing, so that the cache serves nothing.
/// struct Deaf;
///
/// impl Feed for Deaf {
///     async fn run(&self, _: Links) {
///         core::future::pending().await
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Links {
    table: Arc<Table>,
}

impl Links {
    pub(super) const fn new(table: Arc<Table>) -> Self {
        Self { table }
    }

    /// A connection that brings the changes of every key and subject whose first byte is among `buckets`. To be called when the
    /// subscription is confirmed. A bucket that another link was responsible for is taken over.
    #[must_use = "dropping a link says that its connection is lost"]
    pub fn connect(&self, buckets: impl IntoIterator<Item = u8>) -> Link {
        let mut buckets: Vec<u8> = buckets.into_iter().collect();
        buckets.sort_unstable();
        buckets.dedup();
        let number = self.table.next_link();
        let link = Link { table: Arc::clone(&self.table), number, buckets: buckets.into() };
        link.transition(|bucket| bucket.subscribed(number));
        self.table.sweep();
        link
    }

    /// The time that [`Link::heartbeat`] understands.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.table.time.exact())
    }

    /// The cache's lease: heartbeats should come back several times in it.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.table.limits().lease
    }
}

/// One connection of a [`Feed`]. Dropping it says that the connection is lost.
///
/// ```
/// use session_native::store::cached::Links;
///
/// fn on_connected(links: &Links) {
///     let link = links.connect(0..=255);
///     let sent_at = links.now();
///     link.message(b"what the server published");
///     link.heartbeat(sent_at); // its echo came back
/// } // lost
/// ```
pub struct Link {
    table: Arc<Table>,
    number: u64,
    buckets: Arc<[u8]>,
}

impl Link {
    /// A message came.
    pub fn message(&self, message: &[u8]) {
        match message::decode(message) {
            Some(Change::Cleared) => self.clear(),
            Some(change) => self.table.heard(change),
            None => {
                // Of a newer version of the library, perhaps: whatever it says, an empty cache doesn't contradict it.
                tracing::warn!(bytes = message.len(), "a message to the session cache can't be read");
                self.clear();
            }
        }
    }

    /// A heartbeat that was sent at this time ([`Links::now`]) came back.
    pub fn heartbeat(&self, sent_at: Duration) {
        let sent_at = nanos(sent_at);
        self.transition(|bucket| bucket.heartbeat(self.number, sent_at));
    }

    /// The session of this key may have been changed or ended by someone whose writes don't publish our messages: it is asked for again.
    pub fn forget(&self, key: &Key) {
        self.table.heard(Change::Gone(EntryId::record(key)));
    }

    /// What the link is responsible for may have changed in a way that no message tells of: everything held of it is given up.
    pub fn clear(&self) {
        for bucket in &*self.buckets {
            self.table.hear_in(usize::from(*bucket), Change::Cleared);
        }
        self.table.counters.transition(self.table.time.exact(), 0, 0, true);
        self.table.sweep();
    }

    fn transition(&self, transition: impl Fn(&mut Bucket)) {
        self.table.transition(&self.buckets, transition);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.transition(|bucket| bucket.lost(self.number));
        self.table.sweep();
    }
}
