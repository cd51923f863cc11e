//! How requests that save one session at the same time get out of each other's way: two by chance, a crowd one after the other.
//!
//! Nothing here makes a save exact: the version that it expects does. What it prevents is that many requests try again and again, and that
//! the one that lost once goes on losing to those that come new and needn't rebase.
//!
//! A request that came second twice joins the queue of its process, and so does any that comes while there is a queue; those of one process
//! then save in turn. If that doesn't help, other processes are in the crowd: then the first of the queue asks the store for a lease.

use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use session_core::{Key, Random};
use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, sleep, timeout},
};

use super::Shared;
use crate::{backend::Backend, error::Error, lock::lock};

/// So many conflicts tell of a crowd in this process; most are of two requests.
const QUEUE_FROM: u32 = 2;

/// So many conflicts tell of a crowd that isn't in this process alone.
const LEASE_FROM: u32 = 4;

/// What a holder that crashed costs the others. Saving takes a few round trips to the store.
const LEASE: Duration = Duration::from_millis(250);

/// So that requests that collided don't collide again.
const JITTER: Duration = Duration::from_millis(1);

/// How often a lease is asked for: about once in half of that.
const POLL: Duration = Duration::from_millis(8);

/// Who waited so long goes on without queue or lease.
const LONGEST_WAIT: Duration = Duration::from_millis(1_000);

/// The queues of the sessions that a crowd saves just now: made by who stands in line first, gone with who leaves last. So there are never more than
/// requests that met another, nobody waits for another session's crowd, and who finds nobody in line pays nothing.
#[derive(Default)]
pub(super) struct Queues {
    queues: Mutex<HashMap<Key, Queue>>,
    /// How many there are: usually none, which is seen without a lock.
    count: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    /// Fair: it is had in the order in which it is asked for.
    head: Arc<tokio::sync::Mutex<()>>,
    /// How many stand in line, the first included.
    length: usize,
}

impl Queues {
    /// A place in the line before a session, if there is one.
    fn join(&self, key: &Key) -> Option<Place<'_>> {
        // To miss a line that begins this very moment harms nobody.
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut queues = self.lock();
        let queue = queues.get_mut(key)?;
        queue.length += 1;
        Some(Place { queues: self, key: *key, head: Arc::clone(&queue.head) })
    }

    /// A place in the line before a session, which begins with it if there was none.
    fn line_up(&self, key: &Key) -> Place<'_> {
        let mut queues = self.lock();
        let queue = queues.entry(*key).or_default();
        queue.length += 1;
        let place = Place { queues: self, key: *key, head: Arc::clone(&queue.head) };
        self.count.store(queues.len(), Ordering::Relaxed);
        place
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Queue>> {
        lock(&self.queues)
    }
}

/// A place in a line, until it is dropped.
struct Place<'a> {
    queues: &'a Queues,
    key: Key,
    head: Arc<tokio::sync::Mutex<()>>,
}

impl<'a> Place<'a> {
    /// Waits to be the first; `None` if that took too long.
    async fn first(self) -> Option<First<'a>> {
        let head = timeout(LONGEST_WAIT, Arc::clone(&self.head).lock_owned()).await.ok()?;
        Some(First { _head: head, _place: self })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(&self.key) {
            queue.length -= 1;
            if queue.length == 0 {
                queues.remove(&self.key);
                self.queues.count.store(queues.len(), Ordering::Relaxed);
            }
        }
    }
}

/// The first in a line. Lets the next one in before it leaves.
struct First<'a> {
    _head: OwnedMutexGuard<()>,
    _place: Place<'a>,
}

/// A request's place among those that save the same session.
pub(super) struct Turn<'a> {
    key: Option<Key>,
    conflicts: u32,
    queued: Option<First<'a>>,
    lease: Lease,
}

enum Lease {
    NotAsked,
    Held {
        holder: u64,
    },
    /// Waited for in vain.
    Missed,
}

impl<'a> Turn<'a> {
    /// Waits behind those that wait already, if there is something to write. A session that isn't stored yet has no key, and nobody else
    /// to save it.
    pub(super) async fn begin<T>(shared: &'a Shared<T>, key: Option<Key>, writes: bool) -> Self {
        let mut turn = Self { key, conflicts: 0, queued: None, lease: Lease::NotAsked };
        if writes && let Some(place) = key.and_then(|key| shared.queues.join(&key)) {
            turn.queued = Box::pin(place.first()).await;
        }
        turn
    }

    /// After a conflict, waits for a good moment for the next try.
    pub(super) async fn wait<T>(
        &mut self,
        shared: &'a Shared<T>,
        backend: &impl Backend,
    ) -> Result<(), Error> {
        self.conflicts += 1;
        let Some(key) = self.key else { return Ok(()) };
        if self.conflicts == QUEUE_FROM && self.queued.is_none() {
            self.queued = shared.queues.line_up(&key).first().await;
            return Ok(());
        }
        if self.conflicts == LEASE_FROM {
            self.lease = lease(backend, &key, shared.random()).await?;
            return Ok(());
        }
        // Never for long: what the store holds now is the base of the next try, and others go on replacing it.
        match self.lease {
            _ if self.conflicts < QUEUE_FROM => Ok(()),
            Lease::Held { .. } => Ok(()),
            Lease::NotAsked | Lease::Missed => sleep_up_to(JITTER, shared.random()).await,
        }
    }

    /// Lets the next one in. (A request that is cancelled doesn't come here: its lease ends by itself.)
    pub(super) async fn end(self, backend: &impl Backend) {
        if let (Lease::Held { holder }, Some(key)) = (&self.lease, &self.key)
            && let Err(error) = Box::pin(backend.release(key, *holder)).await
        {
            tracing::debug!(%error, "a lease was not given back; it ends by itself");
        }
    }
}

async fn lease(backend: &impl Backend, key: &Key, random: &dyn Random) -> Result<Lease, Error> {
    let mut holder = [0; 8];
    random.fill(&mut holder)?;
    let holder = u64::from_le_bytes(holder);
    let until = Instant::now() + LONGEST_WAIT;
    while Instant::now() < until {
        match backend.lease(key, holder, LEASE).await {
            Ok(true) => return Ok(Lease::Held { holder }),
            Ok(false) => sleep_up_to(POLL, random).await?,
            // Whether the store works shows when it is written to.
            Err(_) => break,
        }
    }
    Ok(Lease::Missed)
}

async fn sleep_up_to(most: Duration, random: &dyn Random) -> Result<(), Error> {
    let mut dice = [0; 4];
    random.fill(&mut dice)?;
    sleep(most.mul_f64(f64::from(u32::from_le_bytes(dice)) / f64::from(u32::MAX))).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use core::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    fn keys() -> [Key; 2] {
        // Alike in all but one bit.
        let mut other = [7; 16];
        other[15] = 6;
        [Key::from_bytes([7; 16]), Key::from_bytes(other)]
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_another_sessions_crowd() {
        let (queues, [crowded, other]) = (Queues::default(), keys());
        let begun = Instant::now();
        let first = queues.line_up(&crowded).first().await;
        assert!(first.is_some());
        assert!(queues.join(&other).is_none());
        assert!(queues.line_up(&other).first().await.is_some());
        assert_eq!(begun.elapsed(), Duration::ZERO);

        // Its own crowd does, as long as is bearable.
        let place = queues.join(&crowded).expect("a line");
        assert!(place.first().await.is_none());
        assert_eq!(begun.elapsed(), LONGEST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_moves_in_order_and_ends_with_who_leaves_last() {
        let (queues, [key, _]) = (Queues::default(), keys());
        assert!(queues.join(&key).is_none(), "nobody is in line yet");
        let first = queues.line_up(&key).first().await;
        let mut cancelled = Box::pin(queues.line_up(&key).first());
        let mut second = pin!(queues.join(&key).expect("a line").first());
        let mut third = pin!(queues.line_up(&key).first());
        assert!((&mut cancelled).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        drop(cancelled);
        drop(first);
        assert!((&mut third).now_or_never().is_none(), "not before the second");
        let second = (&mut second).now_or_never().flatten().expect("the second's turn");
        assert_eq!(queues.lock()[&key].length, 2);
        drop(second);
        drop(third.await);
        assert!(queues.lock().is_empty() && queues.count.load(Ordering::Relaxed) == 0);
    }
}
