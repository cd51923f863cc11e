//! What must hold in every state, and what may.

use stateright::Property;

use super::{
    super::protocol::{Change, outlives},
    RECORD, World,
    state::{Item, State},
};

pub(super) const STALE_IS_NEWS: &str = "I1: what is stale is about to be told";
pub(super) const HEARTBEAT_TELLS: &str = "I2: after a heartbeat nothing older than its sending is held";
pub(super) const DOWN_IS_EMPTY: &str = "I3: down means empty";
pub(super) const NEVER_BACK: &str = "I4: a node never answers with less than it has told or written";
pub(super) const DEAD_STAYS_DEAD: &str = "I5: never served after the end was heard";
pub(super) const BOUNDED: &str = "P5: never older than the lease";

pub(super) fn all() -> Vec<Property<World>> {
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
        Property::always(HEARTBEAT_TELLS, |_, state: &State| !state.nodes.iter().any(|node| node.overtaken)),
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
