//! The time that an operation may take in all.

use core::{future::Future, time::Duration};

use tokio::time::{Instant, timeout};

use crate::store::StoreError;

/// When an operation must be done.
pub(super) struct Deadline {
    begun: Instant,
    total: Duration,
}

impl Deadline {
    /// So long from now.
    pub(super) fn after(total: Duration) -> Self {
        Self { begun: Instant::now(), total }
    }

    /// What is left; zero once it has passed.
    pub(super) fn remaining(&self) -> Duration {
        self.total.saturating_sub(self.begun.elapsed())
    }

    /// Waits for one try: `most` at the longest, and never beyond the deadline. The try is dropped then.
    pub(super) async fn bound<R>(
        &self,
        most: Duration,
        attempt: impl Future<Output = Result<R, StoreError>>,
    ) -> Result<R, StoreError> {
        let after = most.min(self.remaining());
        timeout(after, attempt).await.unwrap_or(Err(StoreError::TimedOut { after }))
    }
}

#[cfg(test)]
mod tests {
    use core::future::pending;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_try_ends_at_its_own_limit_or_at_the_deadline() {
        let deadline = Deadline::after(SECOND * 3);
        let hung = || pending::<Result<(), _>>();
        assert_eq!(deadline.bound(SECOND * 2, hung()).await, Err(StoreError::TimedOut { after: SECOND * 2 }));
        assert_eq!(deadline.remaining(), SECOND);
        assert_eq!(deadline.bound(SECOND * 2, hung()).await, Err(StoreError::TimedOut { after: SECOND }));
        assert_eq!(deadline.remaining(), Duration::ZERO);
        assert_eq!(
            deadline.bound(SECOND * 2, hung()).await,
            Err(StoreError::TimedOut { after: Duration::ZERO })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_passed_on_whatever_the_limit() {
        let deadline = Deadline::after(Duration::MAX);
        assert_eq!(deadline.bound(Duration::MAX, async { Ok(7) }).await, Ok(7));
        let full = StoreError::Full { capacity: Some(1) };
        assert_eq!(deadline.bound(SECOND, async { Err::<(), _>(full.clone()) }).await, Err(full));
    }
}
