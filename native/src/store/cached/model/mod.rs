//! The model checker's view of the cache: nodes, one store, feeds that are cut, answers that are lost. What a node does is
//! [`protocol`](super::protocol) itself; here is only the world around it.
//!
//! Time is the number of writes that the store committed, so that a lease of one tick is "one write behind".

mod invariants;
mod state;
mod steps;

use invariants::{BOUNDED, DEAD_STAYS_DEAD, DOWN_IS_EMPTY, HEARTBEAT_TELLS, NEVER_BACK, STALE_IS_NEWS};
use state::{Node, State, Step};
use stateright::{Checker, HasDiscoveries, Model, Property};

use super::protocol::{EntryId, Kind};

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
    /// An answer that there is nothing says nothing about what was asked or saved before it.
    ToldEnds,
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
        self.steps(state, steps);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        self.after(state, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        invariants::all()
    }
}

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
    let both = &[(1, Write::Save), (0, Write::Destroy)];
    type Part = (Without, &'static [(usize, Write)], &'static [&'static str]);
    let parts: [Part; 8] = [
        (Without::Markers, save, &[STALE_IS_NEWS, HEARTBEAT_TELLS, NEVER_BACK, BOUNDED]),
        (Without::Markers, destroy, &[DEAD_STAYS_DEAD]),
        (Without::Flush, save, &[STALE_IS_NEWS, HEARTBEAT_TELLS, DOWN_IS_EMPTY, BOUNDED]),
        (Without::AtomicPublish, save, &[STALE_IS_NEWS, HEARTBEAT_TELLS, BOUNDED]),
        (Without::OwnMessages, save, &[STALE_IS_NEWS, HEARTBEAT_TELLS, BOUNDED]),
        (Without::FifoHeartbeat, save, &[HEARTBEAT_TELLS, BOUNDED]),
        (Without::OwnCommits, save, &[NEVER_BACK]),
        (Without::ToldEnds, both, &[NEVER_BACK, DEAD_STAYS_DEAD]),
    ];
    for (without, writes, invariants) in parts {
        for invariant in invariants {
            let cuts = usize::from(without == Without::Flush);
            let world = World { writes, cuts, ..world(without) };
            assert!(is_broken(world, invariant), "{invariant} holds without {without:?}");
        }
    }
}
