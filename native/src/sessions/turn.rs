//! How requests that save one session at the same time get out of each other's way: two by chance, a crowd one after the other.
//!
//! Nothing here makes a save exact: the version that it expects does. What it prevents is that many requests try again and again, and that
//! the one that lost once goes on losing to those that come new and needn't rebase.
//!
//! A request that came second twice joins the queue of its process, and so does any that comes while there is a queue; those of one process
//! then save in turn. If that doesn't help, other processes are in the crowd: then the first of the queue asks the store for a lease.

use core::time::Duration;

use session_core::{Key, Random};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep, timeout},
};

use super::Shared;
use crate::{backend::Backend, error::Error};

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

/// One queue for each session that a crowd saves; several share one if their keys want it so. Who finds nobody waiting pays nothing.
pub(super) struct Queues([Mutex<()>; 256]);

impl Default for Queues {
    fn default() -> Self {
        Self(core::array::from_fn(|_| Mutex::default()))
    }
}

impl Queues {
    fn of(&self, key: &Key) -> &Mutex<()> {
        // A key is a hash: any byte is as good as the others.
        &self.0[usize::from(key.as_bytes()[0])]
    }
}

/// A request's place among those that save the same session.
pub(super) struct Turn<'a> {
    key: Option<Key>,
    conflicts: u32,
    queued: Option<MutexGuard<'a, ()>>,
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
        if writes
            && let Some(queue) = key.map(|key| shared.queues.of(&key))
            && queue.try_lock().is_err()
        {
            turn.queued = timeout(LONGEST_WAIT, queue.lock()).await.ok();
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
            self.queued = timeout(LONGEST_WAIT, shared.queues.of(&key).lock()).await.ok();
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
            && let Err(error) = backend.release(key, *holder).await
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
