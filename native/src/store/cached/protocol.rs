//! The rules of the cache as pure state transitions: no clock, no lock, no I/O. The cache runs them, and so does the model checker
//! (`model/`). `native/CLUSTER.md` explains them and says what they promise.
//!
//! The unit is a [`Bucket`]: all keys and subjects whose first byte is the same. One link (a connection to the primary that writes them)
//! brings the changes of one or more buckets.

use std::collections::BTreeMap;

use session_core::{Key, SubjectTag, Version};

/// A point in time: how many nanoseconds after a fixed moment, by a clock that never runs backwards.
pub(super) type Moment = u64;

/// What an entry of the cache is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EntryId {
    pub(super) kind: Kind,
    pub(super) tag: [u8; 16],
}

/// The two kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Record,
    Epoch,
}

impl EntryId {
    pub(super) const fn record(key: &Key) -> Self {
        Self { kind: Kind::Record, tag: *key.as_bytes() }
    }

    pub(super) const fn epoch(subject: &SubjectTag) -> Self {
        Self { kind: Kind::Epoch, tag: *subject.as_bytes() }
    }
}

/// What a write of the store changed: its message says so to every node, its answer to the node that wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Change {
    /// It has this version now.
    Saved(EntryId, Version),
    /// It is no more.
    Gone(EntryId),
    /// Nothing is there any more.
    Cleared,
}

impl Change {
    /// A subject's epoch moved on: it is ordered as versions are.
    pub(super) const fn moved(subject: &SubjectTag, epoch: u64) -> Self {
        Self::Saved(EntryId::epoch(subject), Version { counter: epoch, nonce: 0 })
    }
}

/// Where a node holds what it may serve. The [`Bucket`] alone decides what comes in and what goes; whatever else removes an entry
/// (eviction, age) only makes a miss.
pub(super) trait Entries {
    /// What is held besides the version.
    type Value;

    fn version(&self, id: &EntryId) -> Option<Version>;
    fn insert(&mut self, id: EntryId, epoch: u64, version: Version, value: Self::Value);
    fn remove(&mut self, id: &EntryId);
}

/// What a node knows about the changes of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Bucket {
    /// Moves on whenever changes may have been missed. Entries and markers of another epoch are worth nothing.
    epoch: u64,
    phase: Phase,
    /// Of the ids that are being read or written now: bounded by the requests in flight.
    watches: BTreeMap<EntryId, Watch>,
}

/// `Down -> Subscribing -> Live -> Down`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Phase {
    /// Changes are not heard: nothing is served and nothing is kept.
    #[default]
    Down,
    /// Every change from now on will be heard, but none of the heartbeats came back yet: what is read is kept, and not yet served.
    Subscribing { link: u64 },
    /// Every change from before `t_ok` has been heard.
    Live { link: u64, t_ok: Moment },
}

/// What was heard about an id while somebody reads or writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Watch {
    holders: u32,
    /// How many changes were heard.
    changes: u64,
    /// The number of the last change after which nothing read before it may be kept.
    voided: u64,
    /// What is older than this may not be kept.
    floor: Option<Version>,
}

/// The proof that somebody listened since before a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a marker that is neither answered nor withdrawn keeps its watch for ever"]
pub(super) struct Marker {
    pub(super) id: EntryId,
    /// `None`: planted while changes were not heard, so that its answer may not be kept.
    epoch: Option<u64>,
    planted: u64,
}

/// What readers need of a bucket: small enough to be read without its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pulse {
    pub(super) epoch: u64,
    /// `None`: not live.
    pub(super) t_ok: Option<Moment>,
}

impl Pulse {
    /// Whether entries may be served at all: whether every change from before `now - at_most` (nanoseconds) has been heard.
    #[inline]
    pub(super) fn is_within(&self, now: Moment, at_most: u64) -> bool {
        self.t_ok.is_some_and(|t_ok| now.saturating_sub(t_ok) <= at_most)
    }

    /// Whether an entry may be served. The pulse must have been read before the entry was.
    #[inline]
    pub(super) fn serves(&self, epoch: u64, deadline: Moment, now: Moment, at_most: u64) -> bool {
        self.epoch == epoch && now < deadline && self.is_within(now, at_most)
    }
}

/// Whether an entry of this version stays after it was heard that `than` was saved. Versions of one id are ordered by their counter, because
/// a save replaces the version it expects; two of one number come of a failover that undid one of them.
pub(super) fn outlives(version: Version, than: Version) -> bool {
    version == than || version.counter > than.counter
}

impl Bucket {
    /// What readers need of it.
    pub(super) const fn pulse(&self) -> Pulse {
        let t_ok = match self.phase {
            Phase::Live { t_ok, .. } => Some(t_ok),
            Phase::Down | Phase::Subscribing { .. } => None,
        };
        Pulse { epoch: self.epoch, t_ok }
    }

    /// The server confirmed the subscription of a link: whatever is written from now on will be heard.
    pub(super) fn subscribed(&mut self, link: u64) {
        self.epoch += 1;
        self.phase = Phase::Subscribing { link };
    }

    /// A heartbeat came back along the way of the changes: everything written before it was sent has been heard.
    pub(super) fn heartbeat(&mut self, link: u64, sent_at: Moment) {
        match self.phase {
            Phase::Subscribing { link: current } if current == link => {
                self.phase = Phase::Live { link, t_ok: sent_at };
            }
            Phase::Live { link: current, t_ok } if current == link => {
                self.phase = Phase::Live { link, t_ok: t_ok.max(sent_at) };
            }
            // Of a connection that was given up.
            Phase::Down | Phase::Subscribing { .. } | Phase::Live { .. } => {}
        }
    }

    /// The link is lost, or no longer brings this bucket's changes.
    pub(super) fn lost(&mut self, link: u64) {
        match self.phase {
            Phase::Subscribing { link: current } | Phase::Live { link: current, .. } if current == link => {
                self.phase = Phase::Down;
                self.epoch += 1;
            }
            Phase::Down | Phase::Subscribing { .. } | Phase::Live { .. } => {}
        }
    }

    /// A change was heard, or its own answer tells a node that it is done.
    pub(super) fn heard(&mut self, change: Change, entries: &mut impl Entries) {
        match change {
            Change::Saved(id, version) => {
                self.raise(&id, version);
                if entries.version(&id).is_some_and(|held| !outlives(held, version)) {
                    entries.remove(&id);
                }
            }
            Change::Gone(id) => {
                if let Some(watch) = self.watches.get_mut(&id) {
                    watch.changes += 1;
                    watch.voided = watch.changes;
                }
                entries.remove(&id);
            }
            Change::Cleared => self.epoch += 1,
        }
    }

    fn raise(&mut self, id: &EntryId, version: Version) {
        let Some(watch) = self.watches.get_mut(id) else { return };
        watch.changes += 1;
        match watch.floor {
            Some(floor) if floor.counter > version.counter || floor == version => {}
            Some(floor) if floor.counter == version.counter => watch.voided = watch.changes,
            _ => watch.floor = Some(version),
        }
    }

    /// To be done before a read or a write is sent.
    pub(super) fn plant(&mut self, id: EntryId) -> Marker {
        let epoch = (self.phase != Phase::Down).then_some(self.epoch);
        let watch = self.watches.entry(id).or_default();
        watch.holders += 1;
        Marker { id, epoch, planted: watch.changes }
    }

    /// An answer tells what the store holds, or that it holds nothing: it is kept if the marker allows it. What is held and older goes in
    /// any case.
    pub(super) fn answered<E: Entries>(
        &mut self,
        marker: Marker,
        found: Option<(Version, E::Value)>,
        entries: &mut E,
    ) {
        let id = marker.id;
        let Some((version, value)) = found else {
            // Its end was told: what others asked or saved before must not be kept after that, though their answers come later.
            self.heard(Change::Gone(id), entries);
            return self.withdraw(marker);
        };
        if entries.version(&id).is_some_and(|held| !outlives(held, version)) {
            entries.remove(&id);
        }
        let is_admitted = self.admits(&marker, version);
        // Others that read at the same time and saw less must not be kept after this was told, whether this may be kept or not.
        self.raise(&id, version);
        self.withdraw(marker);
        if is_admitted {
            entries.insert(id, self.epoch, version, value);
        }
    }

    fn admits(&self, marker: &Marker, version: Version) -> bool {
        marker.epoch == Some(self.epoch)
            && self.watches.get(&marker.id).is_some_and(|watch| {
                watch.voided <= marker.planted && watch.floor.is_none_or(|floor| outlives(version, floor))
            })
    }

    /// There is no answer: it is lost, or nobody waits for it.
    pub(super) fn withdraw(&mut self, marker: Marker) {
        let Some(watch) = self.watches.get_mut(&marker.id) else { return };
        watch.holders -= 1;
        if watch.holders == 0 {
            self.watches.remove(&marker.id);
        }
    }

    /// How many ids are watched.
    #[cfg(test)]
    pub(super) fn watched(&self) -> usize {
        self.watches.len()
    }
}
