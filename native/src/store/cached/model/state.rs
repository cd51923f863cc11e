//! What the world is made of: the store's log, nodes, what is on its way between them.

use std::collections::BTreeMap;

use session_core::Version;

use super::{
    super::protocol::{Bucket, Change, Entries, EntryId, Marker, Moment},
    NODES, RECORD, Without, Write,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// What the store committed: nothing is there at first but a record of version 1 and an epoch of 0.
    pub(super) log: Vec<Change>,
    /// Which of the world's writes were begun, a bit each.
    pub(super) begun: u8,
    pub(super) cuts: usize,
    pub(super) reads: usize,
    pub(super) beats: usize,
    /// Messages that were not published yet (only without atomic publishing).
    pub(super) unsent: Vec<Change>,
    pub(super) nodes: [Node; NODES],
}

pub(super) type Held = BTreeMap<EntryId, (u64, Version)>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) bucket: Bucket,
    pub(super) entries: Held,
    /// What the server has sent and the node hasn't read.
    pub(super) queue: Vec<Item>,
    /// The server's side of the link.
    pub(super) subscribed: bool,
    pub(super) links: u64,
    /// The node knows that it has no link.
    pub(super) is_down: bool,
    pub(super) reading: [Option<Read>; 2],
    pub(super) writing: Option<Writing>,
    /// A heartbeat on its way to the server.
    pub(super) beat: Option<usize>,
    /// The newest commit of an id that a caller on this node was told of.
    pub(super) told: BTreeMap<EntryId, usize>,
    pub(super) dead: bool,
    /// A heartbeat came back over something older than itself.
    pub(super) overtaken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    Subscribed(u64),
    Change(Change),
    Heartbeat(u64, usize),
    Lost(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Read {
    pub(super) id: EntryId,
    pub(super) marker: Marker,
    /// What the store answered, once it has.
    pub(super) answer: Option<Option<Version>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Writing {
    pub(super) write: Write,
    pub(super) marker: Marker,
    /// What the store did, and as which commit.
    pub(super) answer: Option<Option<(Change, usize)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Read(usize, EntryId),
    Answer(usize, usize),
    Keep(usize, usize),
    Write(usize, usize),
    Commit(usize),
    Told(usize),
    LoseAnswer(usize),
    Publish,
    Hear(usize),
    SendBeat(usize),
    ReturnBeat(usize),
    Cut(usize),
    Connect(usize),
}

pub(super) fn moment(commits: usize) -> Moment {
    commits as u64
}

impl State {
    pub(super) fn version(&self, id: EntryId) -> Option<Version> {
        let first = Version { counter: u64::from(id == RECORD), nonce: 0 };
        let mut version = Some(first);
        for change in &self.log {
            match *change {
                Change::Saved(saved, by) if saved == id => version = Some(by),
                Change::Gone(gone) if gone == id => version = None,
                _ => {}
            }
        }
        version
    }

    /// The commit that replaced this version, if one has. Commits are counted from 1.
    pub(super) fn replaced_at(&self, id: EntryId, version: Version) -> Option<usize> {
        let replaces = |change: &Change| match *change {
            Change::Saved(saved, by) => saved == id && by.counter > version.counter,
            Change::Gone(gone) => gone == id,
            Change::Cleared => true,
        };
        self.log.iter().position(replaces).map(|index| index + 1)
    }

    /// The commit that made an item what was found; 0 if it was so from the beginning.
    pub(super) fn made_so(&self, id: EntryId, found: Option<Version>) -> usize {
        let made = found.map_or(Change::Gone(id), |version| Change::Saved(id, version));
        self.log.iter().position(|change| *change == made).map_or(0, |index| index + 1)
    }

    /// The entries that the node would answer with, if the store may have gone on by `at_most` commits since.
    pub(super) fn served(&self, node: &Node, at_most: usize) -> impl Iterator<Item = (EntryId, Version)> {
        let (pulse, now) = (node.bucket.pulse(), moment(self.log.len()));
        let served = move |epoch| pulse.serves(epoch, Moment::MAX, now, moment(at_most));
        let entries = node.entries.iter().filter(move |(_, (epoch, _))| served(*epoch));
        entries.map(|(id, (_, version))| (*id, *version)).collect::<Vec<_>>().into_iter()
    }

    /// The entries that the node would answer with once its heart beats.
    pub(super) fn held(&self, node: &Node) -> impl Iterator<Item = (EntryId, Version)> {
        let epoch = node.bucket.pulse().epoch;
        let entries = node.entries.iter().filter(move |(_, (of, _))| *of == epoch);
        entries.map(|(id, (_, version))| (*id, *version)).collect::<Vec<_>>().into_iter()
    }

    pub(super) fn publish(&mut self, change: Change, by: Option<usize>) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if node.subscribed && by != Some(index) {
                node.queue.push(Item::Change(change));
            }
        }
    }
}

impl Entries for Held {
    type Value = ();

    fn version(&self, id: &EntryId) -> Option<Version> {
        self.get(id).map(|(_, version)| *version)
    }

    fn insert(&mut self, id: EntryId, epoch: u64, version: Version, (): ()) {
        Self::insert(self, id, (epoch, version));
    }

    fn remove(&mut self, id: &EntryId) {
        Self::remove(self, id);
    }
}

impl Node {
    pub(super) fn new() -> Self {
        Self {
            bucket: Bucket::default(),
            entries: BTreeMap::new(),
            queue: vec![Item::Subscribed(1)],
            subscribed: true,
            links: 1,
            is_down: true,
            reading: [None; 2],
            writing: None,
            beat: None,
            told: BTreeMap::new(),
            dead: false,
            overtaken: false,
        }
    }

    pub(super) fn hear(&mut self, change: Change) {
        self.bucket.heard(change, &mut self.entries);
        self.dead |= matches!(change, Change::Gone(_));
    }

    pub(super) fn keep(&mut self, marker: Marker, found: Option<Version>, without: Without) {
        if without == Without::ToldEnds && found.is_none() {
            self.entries.remove(&marker.id);
            return self.bucket.withdraw(marker);
        }
        self.bucket.answered(marker, found.map(|version| (version, ())), &mut self.entries);
        if let (Without::Markers, Some(version)) = (without, found) {
            self.entries.insert(marker.id, (self.bucket.pulse().epoch, version));
        }
    }

    pub(super) fn tell(&mut self, id: EntryId, commit: usize) {
        let told = self.told.entry(id).or_default();
        *told = commit.max(*told);
    }
}
