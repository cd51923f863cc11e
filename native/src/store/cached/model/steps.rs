//! What happens in the world, a step at a time.

use session_core::Version;

use super::{
    super::protocol::Change,
    EPOCH, RECORD, WRITER, Without, World, Write,
    state::{Item, Read, State, Step, Writing, moment},
};

impl World {
    /// What may happen next.
    pub(super) fn steps(&self, state: &State, steps: &mut Vec<Step>) {
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

    /// What comes of it.
    pub(super) fn after(&self, state: &State, step: Step) -> Option<State> {
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
                node.dead |= found.is_none();
                node.tell(id, state.made_so(id, found));
            }
            Step::Write(index, number) => {
                let (_, write) = self.writes[number];
                next.begun |= 1 << number;
                let node = &mut next.nodes[index];
                node.writing = Some(Writing { write, marker: node.bucket.plant(write.id()), answer: None });
                if index == WRITER && !self.both_cache {
                    next = self.after(&next, Step::Commit(index))?;
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
                    None => {
                        node.keep(marker, None, without);
                        node.dead = true;
                        node.tell(id, state.made_so(id, None));
                    }
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
}
