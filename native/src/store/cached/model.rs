//! The model checker's view of the cache: nodes, one store, feeds that are cut, answers that are lost. What a node does is
//! [`protocol`](super::protocol) itself; here is only the world around it.
//!
//! Time is the number of writes that the store committed, so that a lease of one tick is "one write behind".

use std::collections::BTreeMap;

use session_core::Version;
use stateright::{Checker, HasDiscoveries, Model, Property};

use super::protocol::{Bucket, Change, Entries, EntryId, Kind, Marker, Moment, outlives};

const RECORD: EntryId = EntryId { kind: Kind::Record, tag: [0; 16] };
const EPOCH: EntryId = EntryId { kind: Kind::Epoch, tag: [0; 16] };
const NODES: usize = 2;

/// What is left out of the protocol, to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Answers are kept whatever was heard meanwhile.
    Markers,
    /// What is held survives the loss of the link.
    Flush,
    /// The message is sent some time after the write.
    AtomicPublish,
    /// A node ignores the messages of its own writes.
    OwnMessages,
    /// A heartbeat may overtake the messages before it.
    FifoHeartbeat,
    /// A node waits for the message of its own write like any other node.
    OwnCommits,
}

/// The bounds.
struct World {
    without: Without,
    /// Who writes what; in any order.
    writes: &'static [(usize, Write)],
    cuts: usize,
    /// Of all nodes together.
    reads: usize,
    beats: usize,
    /// Whether a write's answer may be lost.
    answers_lost: bool,
    /// Whether both nodes have caches. Nodes meet in the store alone, and every invariant is about one of them: what a node does to another one is to
    /// commit. So a run of two nodes with caches is a run of a world in which only the second has one and the first commits at the same moments, and
    /// a run of the world in which they have changed places. A small world is such a one; where it matters who writes what, both are explored.
    both_cache: bool,
}

/// The node that only writes in a small world.
const WRITER: usize = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Write {
    Save,
    Destroy,
    Revoke,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// What the store committed: nothing is there at first but a record of version 1 and an epoch of 0.
    log: Vec<Change>,
    /// Which of the world's writes were begun, a bit each.
    begun: u8,
    cuts: usize,
    reads: usize,
    beats: usize,
    /// Messages that were not published yet (only without atomic publishing).
    unsent: Vec<Change>,
    nodes: [Node; NODES],
}

type Held = BTreeMap<EntryId, (u64, Version)>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    bucket: Bucket,
    entries: Held,
    /// What the server has sent and the node hasn't read.
    queue: Vec<Item>,
    /// The server's side of the link.
    subscribed: bool,
    links: u64,
    /// The node knows that it has no link.
    is_down: bool,
    reading: [Option<Read>; 2],
    writing: Option<Writing>,
    /// A heartbeat on its way to the server.
    beat: Option<usize>,
    /// The newest commit of an id that a caller on this node was told of.
    told: BTreeMap<EntryId, usize>,
    dead: bool,
    /// A heartbeat came back over something older than itself.
    overtaken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Item {
    Subscribed(u64),
    Change(Change),
    Heartbeat(u64, usize),
    Lost(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Read {
    id: EntryId,
    marker: Marker,
    /// What the store answered, once it has.
    answer: Option<Option<Version>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Writing {
    write: Write,
    marker: Marker,
    /// What the store did, and as which commit.
    answer: Option<Option<(Change, usize)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
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

fn moment(commits: usize) -> Moment {
    commits as u64
}

impl State {
    fn version(&self, id: EntryId) -> Option<Version> {
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
    fn replaced_at(&self, id: EntryId, version: Version) -> Option<usize> {
        let replaces = |change: &Change| match *change {
            Change::Saved(saved, by) => saved == id && by.counter > version.counter,
            Change::Gone(gone) => gone == id,
            Change::Cleared => true,
        };
        self.log.iter().position(replaces).map(|index| index + 1)
    }

    /// The entries that the node would answer with, if the store may have gone on by `at_most` commits since.
    fn served(&self, node: &Node, at_most: usize) -> impl Iterator<Item = (EntryId, Version)> {
        let (pulse, now) = (node.bucket.pulse(), moment(self.log.len()));
        let served = move |epoch| pulse.serves(epoch, Moment::MAX, now, moment(at_most));
        let entries = node.entries.iter().filter(move |(_, (epoch, _))| served(*epoch));
        entries.map(|(id, (_, version))| (*id, *version)).collect::<Vec<_>>().into_iter()
    }

    /// The entries that the node would answer with once its heart beats.
    fn held(&self, node: &Node) -> impl Iterator<Item = (EntryId, Version)> {
        let epoch = node.bucket.pulse().epoch;
        let entries = node.entries.iter().filter(move |(_, (of, _))| *of == epoch);
        entries.map(|(id, (_, version))| (*id, *version)).collect::<Vec<_>>().into_iter()
    }

    fn publish(&mut self, change: Change, by: Option<usize>) {
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
    fn new() -> Self {
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

    fn hear(&mut self, change: Change) {
        self.bucket.heard(change, &mut self.entries);
        self.dead |= matches!(change, Change::Gone(_));
    }

    fn keep(&mut self, marker: Marker, found: Option<Version>, without: Without) {
        self.bucket.answered(marker, found.map(|version| (version, ())), &mut self.entries);
        if let (Without::Markers, Some(version)) = (without, found) {
            self.entries.insert(marker.id, (self.bucket.pulse().epoch, version));
        }
    }

    fn tell(&mut self, id: EntryId, commit: usize) {
        let told = self.told.entry(id).or_default();
        *told = commit.max(*told);
    }
}

impl Write {
    const fn id(self) -> EntryId {
        match self {
            Self::Save | Self::Destroy => RECORD,
            Self::Revoke => EPOCH,
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let mut nodes = core::array::from_fn(|_| Node::new());
        if !self.both_cache {
            nodes[WRITER].subscribed = false;
            nodes[WRITER].queue.clear();
        }
        vec![State { log: Vec::new(), begun: 0, cuts: 0, reads: 0, beats: 0, unsent: Vec::new(), nodes }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if !state.unsent.is_empty() {
            steps.push(Step::Publish);
        }
        for (index, node) in state.nodes.iter().enumerate() {
            let mine = |number: &usize| self.writes[*number].0 == index && state.begun >> number & 1 == 0;
            let writes = (0..self.writes.len()).filter(mine).map(|number| Step::Write(index, number));
            if index == WRITER && !self.both_cache {
                steps.extend(writes);
                continue;
            }
            if state.reads < self.reads && node.reading.contains(&None) {
                steps.push(Step::Read(index, RECORD));
                if self.writes.iter().any(|(_, write)| *write == Write::Revoke) {
                    steps.push(Step::Read(index, EPOCH));
                }
            }
            for (slot, read) in node.reading.iter().enumerate() {
                match read {
                    Some(Read { answer: None, .. }) => steps.push(Step::Answer(index, slot)),
                    Some(Read { answer: Some(_), .. }) => steps.push(Step::Keep(index, slot)),
                    None => {}
                }
            }
            match node.writing {
                None => steps.extend(writes),
                Some(Writing { answer: None, .. }) => steps.push(Step::Commit(index)),
                Some(Writing { answer: Some(_), .. }) => {
                    steps.push(Step::Told(index));
                    if self.answers_lost {
                        steps.push(Step::LoseAnswer(index));
                    }
                }
            }
            if !node.queue.is_empty() {
                steps.push(Step::Hear(index));
            }
            match node.beat {
                None if state.beats < self.beats && node.subscribed => steps.push(Step::SendBeat(index)),
                Some(_) if node.subscribed => steps.push(Step::ReturnBeat(index)),
                _ => {}
            }
            if node.subscribed && state.cuts < self.cuts {
                steps.push(Step::Cut(index));
            }
            if !node.subscribed && node.is_down {
                steps.push(Step::Connect(index));
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        let without = self.without;
        match step {
            Step::Read(index, id) => {
                let node = &mut next.nodes[index];
                let slot = node.reading.iter_mut().find(|slot| slot.is_none())?;
                *slot = Some(Read { id, marker: node.bucket.plant(id), answer: None });
                next.reads += 1;
            }
            Step::Answer(index, slot) => {
                let read = next.nodes[index].reading[slot].as_mut()?;
                read.answer = Some(state.version(read.id));
            }
            Step::Keep(index, slot) => {
                let node = &mut next.nodes[index];
                let Read { id, marker, answer } = node.reading[slot].take()?;
                let found = answer?;
                node.keep(marker, found, without);
                let commit =
                    |change: &Change| found.is_some_and(|version| *change == Change::Saved(id, version));
                node.tell(id, state.log.iter().position(commit).map_or(0, |index| index + 1));
            }
            Step::Write(index, number) => {
                let (_, write) = self.writes[number];
                next.begun |= 1 << number;
                let node = &mut next.nodes[index];
                node.writing = Some(Writing { write, marker: node.bucket.plant(write.id()), answer: None });
                if index == WRITER && !self.both_cache {
                    next = self.next_state(&next, Step::Commit(index))?;
                    next.nodes[index] = state.nodes[index].clone();
                }
            }
            Step::Commit(index) => {
                let id = next.nodes[index].writing?.write.id();
                let change = state.version(id).map(|version| match next.nodes[index].writing?.write {
                    Write::Destroy => Some(Change::Gone(id)),
                    _ => Some(Change::Saved(id, Version { counter: version.counter + 1, nonce: 0 })),
                });
                let change = change.flatten();
                if let Some(change) = change {
                    next.log.push(change);
                    match without {
                        Without::AtomicPublish => next.unsent.push(change),
                        Without::OwnMessages => next.publish(change, Some(index)),
                        _ => next.publish(change, None),
                    }
                }
                let commit = next.log.len();
                next.nodes[index].writing.as_mut()?.answer = Some(change.map(|change| (change, commit)));
            }
            Step::Told(index) => {
                let node = &mut next.nodes[index];
                let Writing { write, marker, answer } = node.writing.take()?;
                let id = write.id();
                match answer? {
                    Some((change, commit)) => {
                        if without != Without::OwnCommits {
                            node.hear(change);
                        }
                        let version = match change {
                            Change::Saved(_, version) if without != Without::OwnCommits => Some(version),
                            _ => None,
                        };
                        if without == Without::OwnCommits {
                            node.bucket.withdraw(marker);
                        } else {
                            node.keep(marker, version, without);
                        }
                        node.tell(id, commit);
                    }
                    None => node.keep(marker, None, without),
                }
            }
            Step::LoseAnswer(index) => {
                let node = &mut next.nodes[index];
                let Writing { marker, .. } = node.writing.take()?;
                node.keep(marker, None, without);
            }
            Step::Publish => {
                let change = next.unsent.remove(0);
                next.publish(change, None);
            }
            Step::Hear(index) => {
                let item = next.nodes[index].queue.remove(0);
                let node = &mut next.nodes[index];
                match item {
                    // The first link is needed to be there at all.
                    Item::Subscribed(link) if without != Without::Flush || link == 1 => {
                        node.is_down = false;
                        node.bucket.subscribed(link);
                    }
                    Item::Subscribed(_) => node.is_down = false,
                    Item::Change(change) => node.hear(change),
                    Item::Heartbeat(link, sent_at) => {
                        let link = if without == Without::Flush { 1 } else { link };
                        node.bucket.heartbeat(link, moment(sent_at));
                        let held: Vec<_> = state.held(&state.nodes[index]).collect();
                        let older = |(id, version)| {
                            state.replaced_at(id, version).is_some_and(|replaced| replaced <= sent_at)
                        };
                        node.overtaken |= held.into_iter().any(older);
                    }
                    Item::Lost(link) => {
                        node.is_down = true;
                        if without != Without::Flush {
                            node.bucket.lost(link);
                        }
                    }
                }
            }
            Step::SendBeat(index) => {
                next.nodes[index].beat = Some(state.log.len());
                next.beats += 1;
            }
            Step::ReturnBeat(index) => {
                let node = &mut next.nodes[index];
                let item = Item::Heartbeat(node.links, node.beat.take()?);
                if without == Without::FifoHeartbeat {
                    node.queue.insert(0, item);
                } else {
                    node.queue.push(item);
                }
            }
            Step::Cut(index) => {
                next.cuts += 1;
                let node = &mut next.nodes[index];
                node.subscribed = false;
                node.beat = None;
                node.queue = vec![Item::Lost(node.links)];
            }
            Step::Connect(index) => {
                let node = &mut next.nodes[index];
                node.links += 1;
                node.subscribed = true;
                node.queue.push(Item::Subscribed(node.links));
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(STALE_IS_NEWS, |_, state: &State| {
                state.nodes.iter().all(|node| {
                    let is_lost = node.queue.iter().any(|item| matches!(item, Item::Lost(_)));
                    let mut held = state.held(node);
                    is_lost
                        || held.all(|(id, version)| {
                            state.replaced_at(id, version).is_none()
                                || node.queue.iter().any(|item| match *item {
                                    Item::Change(Change::Saved(saved, by)) => {
                                        saved == id && !outlives(version, by)
                                    }
                                    Item::Change(Change::Gone(gone)) => gone == id,
                                    _ => false,
                                })
                        })
                })
            }),
            Property::always(HEARTBEAT_TELLS, |_, state: &State| {
                !state.nodes.iter().any(|node| node.overtaken)
            }),
            Property::always(BOUNDED, |_, state: &State| {
                (0..=2).all(|lease| {
                    state.nodes.iter().all(|node| {
                        state.served(node, lease).all(|(id, version)| {
                            let replaced = state.replaced_at(id, version);
                            replaced.is_none_or(|replaced| replaced + lease > state.log.len())
                        })
                    })
                })
            }),
            Property::always(DOWN_IS_EMPTY, |_, state: &State| {
                state
                    .nodes
                    .iter()
                    .all(|node| !node.is_down || state.served(node, usize::MAX >> 1).next().is_none())
            }),
            Property::always(NEVER_BACK, |_, state: &State| {
                state.nodes.iter().all(|node| {
                    state.held(node).all(|(id, version)| {
                        let told = node.told.get(&id).copied().unwrap_or(0);
                        state.replaced_at(id, version).is_none_or(|replaced| replaced > told)
                    })
                })
            }),
            Property::always(DEAD_STAYS_DEAD, |_, state: &State| {
                let mut nodes = state.nodes.iter().filter(|node| node.dead);
                nodes.all(|node| !state.held(node).any(|(id, _)| id == RECORD))
            }),
            // That the model does something.
            Property::sometimes("something is served after a write", |_, state: &State| {
                !state.log.is_empty() && state.nodes.iter().any(|node| state.served(node, 0).next().is_some())
            }),
        ]
    }
}

const STALE_IS_NEWS: &str = "I1: what is stale is about to be told";
const HEARTBEAT_TELLS: &str = "I2: after a heartbeat nothing older than its sending is held";
const DOWN_IS_EMPTY: &str = "I3: down means empty";
const NEVER_BACK: &str = "I4: a node never answers with less than it has told or written";
const DEAD_STAYS_DEAD: &str = "I5: never served after the end was heard";
const BOUNDED: &str = "P5: never older than the lease";

fn world(without: Without) -> World {
    let writes = &[(0, Write::Save), (1, Write::Save), (0, Write::Destroy)];
    World { without, writes, cuts: 1, reads: 1, beats: 2, answers_lost: false, both_cache: false }
}

/// `SESSION_MODEL=large` explores larger worlds, which takes long, and gigabytes.
fn is_large() -> bool {
    std::env::var("SESSION_MODEL").is_ok_and(|size| size == "large")
}

fn hold(name: &str, world: World) {
    let started = std::time::Instant::now();
    // Of two nodes with caches, a heartbeat less.
    let world = if is_large() { World { both_cache: true, beats: 1, ..world } } else { world };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = world.checker().threads(threads);
    // Depth first, far fewer states wait to be explored: of a large world those would not fit into memory.
    if is_large() {
        all_hold(name, started, &checker.spawn_dfs().join());
    } else {
        all_hold(name, started, &checker.spawn_bfs().join());
    }
}

fn all_hold(name: &str, started: std::time::Instant, checker: &impl Checker<World>) {
    println!("{name}: {} states in {:.1?}", checker.unique_state_count(), started.elapsed());
    checker.assert_properties();
}

/// Two nodes save, and one destroys; the link is cut once.
#[test]
fn the_invariants_hold() {
    hold("cut", world(Without::Nothing));
}

/// The same with the nodes in each other's place: the one that is looked at saves and destroys, the other one saves.
#[test]
fn the_invariants_hold_for_the_other_node() {
    if !is_large() {
        let writes = &[(1, Write::Save), (0, Write::Save), (1, Write::Destroy)];
        hold("cut, the other", World { writes, beats: 1, ..world(Without::Nothing) });
    }
}

/// Two reads of one node overlap, with writes of both nodes, whose answers may be lost.
#[test]
fn the_invariants_hold_with_lost_answers() {
    let writes: &[_] = if is_large() {
        &[(0, Write::Save), (1, Write::Save), (1, Write::Destroy)]
    } else {
        &[(0, Write::Save), (1, Write::Destroy)]
    };
    hold(
        "lost",
        World { writes, reads: 2, beats: 1, cuts: 0, answers_lost: true, ..world(Without::Nothing) },
    );
}

/// The epoch of a subject moves while a record is saved.
#[test]
fn the_invariants_hold_with_revocations() {
    let writes: &[_] = if is_large() {
        &[(0, Write::Save), (0, Write::Revoke), (1, Write::Revoke)]
    } else {
        &[(0, Write::Revoke), (1, Write::Save)]
    };
    hold("revoked", World { writes, reads: 2, beats: 1, cuts: 0, ..world(Without::Nothing) });
}

/// Whether an invariant is broken in a world in which something is missing.
fn is_broken(world: World, invariant: &'static str) -> bool {
    let name = format!("{:?}", world.without);
    let names = [invariant].into_iter().collect();
    let checker = world.checker().finish_when(HasDiscoveries::AllOf(names)).spawn_bfs().join();
    println!("without {name}: {invariant}: {} states", checker.unique_state_count());
    checker.discovery(invariant).is_some()
}

/// What is left out breaks what it is there for. The worlds are smaller: where something is missing, a little is enough.
#[test]
fn every_part_is_needed() {
    let (save, destroy) = (&[(1, Write::Save)], &[(1, Write::Destroy)]);
    type Part = (Without, &'static [(usize, Write)], &'static [&'static str]);
    let parts: [Part; 7] = [
        (Without::Markers, save, &[STALE_IS_NEWS, HEARTBEAT_TELLS, NEVER_BACK, BOUNDED]),
        (Without::Markers, destroy, &[DEAD_STAYS_DEAD]),
        (Without::Flush, save, &[STALE_IS_NEWS, HEARTBEAT_TELLS, DOWN_IS_EMPTY, BOUNDED]),
        (Without::AtomicPublish, save, &[STALE_IS_NEWS, HEARTBEAT_TELLS, BOUNDED]),
        (Without::OwnMessages, save, &[STALE_IS_NEWS, HEARTBEAT_TELLS, BOUNDED]),
        (Without::FifoHeartbeat, save, &[HEARTBEAT_TELLS, BOUNDED]),
        (Without::OwnCommits, save, &[NEVER_BACK]),
    ];
    for (without, writes, invariants) in parts {
        for invariant in invariants {
            let cuts = usize::from(without == Without::Flush);
            let world = World { writes, cuts, ..world(without) };
            assert!(is_broken(world, invariant), "{invariant} holds without {without:?}");
        }
    }
}
