//! How requests that save one session at the same time get out of each other's way: first by chance, then one after the other.

use core::time::Duration;

use session_core::{Key, Random};
use tokio::time::{Instant, sleep};

use crate::{backend::Backend, error::Error};

/// How many conflicts are left to chance. So many in a row tell that there is a crowd, which would go on colliding: each save of one costs all
/// others a try.
const BY_CHANCE: u32 = 4;

/// What a holder that crashed costs the others. Saving takes a few round trips to the store.
const LEASE: Duration = Duration::from_millis(250);

/// Who waited so long saves without a lease: it only helps, and the version of the record keeps the save exact.
const LONGEST_WAIT: Duration = Duration::from_millis(1_000);

/// A request's place among those that save the same session.
#[derive(Default)]
pub(super) struct Turn {
    conflicts: u32,
    lease: Lease,
}

#[derive(Default)]
enum Lease {
    #[default]
    NotAsked,
    Held(Key, u64),
    /// Waited for in vain.
    Missed,
}

impl Turn {
    /// Waits for a good moment for the next try.
    pub(super) async fn wait(
        &mut self,
        backend: &impl Backend,
        key: Option<Key>,
        random: &dyn Random,
    ) -> Result<(), Error> {
        self.conflicts += 1;
        if let (Lease::NotAsked, Some(key)) = (&self.lease, key)
            && self.conflicts >= BY_CHANCE
        {
            self.lease = queue(backend, key, random).await?;
            // Others may still come, and where a store has no leases, all of them do: from here on by chance again.
            self.conflicts = 0;
            return Ok(());
        }
        // At once after the first: most conflicts are of two requests.
        match self.conflicts.checked_sub(2) {
            Some(exponent) => sleep_up_to(Duration::from_millis(1 << exponent.min(5)), random).await,
            None => Ok(()),
        }
    }

    /// Lets the next one in. (A request that is cancelled doesn't come here: its lease ends by itself.)
    pub(super) async fn end(self, backend: &impl Backend) {
        if let Lease::Held(key, holder) = self.lease
            && let Err(error) = backend.release(&key, holder).await
        {
            tracing::debug!(%error, "a lease was not given back; it ends by itself");
        }
    }
}

async fn queue(backend: &impl Backend, key: Key, random: &dyn Random) -> Result<Lease, Error> {
    let mut holder = [0; 8];
    random.fill(&mut holder)?;
    let holder = u64::from_le_bytes(holder);
    let until = Instant::now() + LONGEST_WAIT;
    while Instant::now() < until {
        match backend.lease(&key, holder, LEASE).await {
            Ok(true) => return Ok(Lease::Held(key, holder)),
            Ok(false) => sleep_up_to(Duration::from_millis(8), random).await?,
            // Whether the store works shows when it is written to.
            Err(_) => break,
        }
    }
    Ok(Lease::Missed)
}

/// A random time, so that requests that collided don't collide again.
async fn sleep_up_to(most: Duration, random: &dyn Random) -> Result<(), Error> {
    let mut dice = [0; 4];
    random.fill(&mut dice)?;
    sleep(most.mul_f64(f64::from(u32::from_le_bytes(dice)) / f64::from(u32::MAX))).await;
    Ok(())
}
