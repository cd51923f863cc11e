//! What is asked at the same time is asked together: one command for many, of whose answer each gets its part.
//!
//! Nobody waits for company. Where few are asking, each is served alone; otherwise a question is put into a queue, and a task takes out what is there
//! whenever it has its turn. Those who got the answers of one batch ask their next questions in one go, so batches form by themselves, and grow
//! with what is going on.
//!
//! A question only joins a batch that is yet to be sent: no answer tells of a time before it was asked.

use core::{
    pin::{Pin, pin},
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::{Either, select};
use tokio::{
    sync::{
        mpsc::{self, error::SendError},
        oneshot,
    },
    task::yield_now,
};

use super::error::closed;
use crate::store::StoreError;

/// How many are served alone: a batch of two or three spares less than the way through the queue costs.
const FEW: usize = 4;
/// What a batch may weigh.
const LIMIT: usize = 128;
/// So many bytes weigh as much as a question does: who sends half a megabyte holds up the server, and whoever waits for another's answer.
pub(super) const BYTES: usize = 4096;

/// Gathers questions.
pub(super) struct Batches<Q, A> {
    queue: mpsc::UnboundedSender<Waiting<Q, A>>,
    /// How many are asking, in batches and alone.
    asking: AtomicUsize,
}

/// Someone who waits for an answer, or did.
struct Waiting<Q, A> {
    question: Q,
    answer: oneshot::Sender<Result<A, StoreError>>,
}

impl<Q: Send + 'static, A: Send + 'static> Batches<Q, A> {
    /// Starts the task, which ends with this.
    ///
    /// `send` asks questions and gives the answers, in the same order; an error is everyone's. Several batches may be under way. `weigh` says how much of
    /// [`LIMIT`] a question takes up.
    pub(super) fn start<Sent>(
        weigh: impl Fn(&Q) -> usize + Send + 'static,
        send: impl Fn(Vec<Q>) -> Sent + Send + Sync + 'static,
    ) -> Self
    where
        Sent: Future<Output = Result<Vec<A>, StoreError>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(gather(waiting, weigh, send));
        Self { queue, asking: AtomicUsize::new(0) }
    }

    /// Asks together with others; or alone, while there are few. Whoever gives up disturbs nobody.
    pub(super) fn ask<Alone>(
        &self,
        question: Q,
        alone: impl FnOnce(Q) -> Alone,
    ) -> impl Future<Output = Result<A, StoreError>>
    where
        Alone: Future<Output = Result<A, StoreError>>,
    {
        let asking = Asking::begin(&self.asking);
        // In a box: those who wait for a batch, of whom there are many, needn't have room for it.
        let alone = |question| Reply::Alone(Box::pin(alone(question)));
        let reply = if asking.others < FEW {
            alone(question)
        } else {
            let (answer, answered) = oneshot::channel();
            match self.queue.send(Waiting { question, answer }) {
                Ok(()) => Reply::Together(answered),
                // The runtime of the task has ended, and with it the connections: they say so.
                Err(SendError(waiting)) => alone(waiting.question),
            }
        };
        async move {
            let _asking = asking;
            match reply {
                Reply::Alone(answer) => answer.await,
                Reply::Together(answered) => answered.await.unwrap_or_else(|_| Err(closed())),
            }
        }
    }
}

/// Where an answer comes from.
enum Reply<A, Alone> {
    Alone(Pin<Box<Alone>>),
    Together(oneshot::Receiver<Result<A, StoreError>>),
}

/// One of those who ask.
struct Asking<'a> {
    all: &'a AtomicUsize,
    others: usize,
}

impl<'a> Asking<'a> {
    fn begin(all: &'a AtomicUsize) -> Self {
        Self { all, others: all.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn gather<Q, A, Sent>(
    mut queue: mpsc::UnboundedReceiver<Waiting<Q, A>>,
    weigh: impl Fn(&Q) -> usize,
    send: impl Fn(Vec<Q>) -> Sent,
) where
    Q: Send + 'static,
    A: Send + 'static,
    Sent: Future<Output = Result<Vec<A>, StoreError>> + Send + 'static,
{
    while let Some(first) = queue.recv().await {
        // Woken by the first, it may be the next to run: those who are ready to ask come before it.
        yield_now().await;
        let most = queue.len() + 1;
        let (mut questions, mut answers) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let (mut weight, mut next) = (0, Some(first));
        while let Some(Waiting { question, answer }) = next {
            if !answer.is_closed() {
                weight += weigh(&question);
                questions.push(question);
                answers.push(answer);
            }
            next = if weight < LIMIT { queue.try_recv().ok() } else { None };
        }
        if !questions.is_empty() {
            tokio::spawn(hand_out(send(questions), answers));
        }
    }
}

/// Gives everyone their answer, or the error that is everyone's. If all have given up, nobody waits any more: what is under way is dropped, and held
/// against its connection as that of a single one would be.
async fn hand_out<A>(
    sent: impl Future<Output = Result<Vec<A>, StoreError>>,
    mut waiting: Vec<oneshot::Sender<Result<A, StoreError>>>,
) {
    let all_gone = async {
        for waiting in &mut waiting {
            waiting.closed().await;
        }
    };
    let answers = match select(pin!(sent), pin!(all_gone)).await {
        Either::Left((answers, _)) => answers,
        Either::Right(_) => return,
    };
    match answers {
        Ok(answers) if answers.len() == waiting.len() => {
            waiting.into_iter().zip(answers).for_each(|(waiting, answer)| drop(waiting.send(Ok(answer))));
        }
        other => {
            // Whose answer is whose can't be told.
            let error = other.err().unwrap_or(StoreError::Malformed);
            waiting.into_iter().for_each(|waiting| drop(waiting.send(Err(error.clone()))));
        }
    }
}

#[cfg(test)]
mod tests {
    use core::future::pending;

    use futures_util::FutureExt as _;

    use super::*;

    type Ask<'a> = Pin<Box<dyn Future<Output = Result<u32, StoreError>> + 'a>>;
    /// What was sent, and how it is answered.
    type Sent = (Vec<u32>, oneshot::Sender<Result<Vec<u32>, StoreError>>);

    /// Batches before a server that answers when the test does. A question weighs as much as it says.
    struct Fixture {
        batches: Batches<u32, u32>,
    }

    impl Fixture {
        fn new() -> (Self, mpsc::UnboundedReceiver<Sent>) {
            let (on_the_wire, sent) = mpsc::unbounded_channel();
            let send = move |questions| {
                let (answer, answered) = oneshot::channel();
                on_the_wire.send((questions, answer)).expect("the test listens");
                async { answered.await.expect("an answer") }
            };
            (Self { batches: Batches::start(|weight| *weight as usize, send) }, sent)
        }

        /// So many who are served alone, and never are.
        fn busy(&self, count: usize) -> Vec<Ask<'_>> {
            (0..count).map(|_| asked(self.batches.ask(0, |_| pending()))).collect()
        }

        fn ask(&self, question: u32) -> Ask<'_> {
            asked(self.batches.ask(question, async |_| panic!("it is served alone")))
        }
    }

    /// One who has asked, and has no answer yet. Nothing else runs meanwhile.
    fn asked<'a>(ask: impl Future<Output = Result<u32, StoreError>> + 'a) -> Ask<'a> {
        let mut ask: Ask<'a> = Box::pin(ask);
        assert!(ask.as_mut().now_or_never().is_none());
        ask
    }

    fn tenfold(questions: &[u32]) -> Result<Vec<u32>, StoreError> {
        Ok(questions.iter().map(|question| question * 10).collect())
    }

    #[tokio::test]
    async fn few_are_served_alone() {
        let (fixture, mut sent) = Fixture::new();
        let busy = fixture.busy(FEW - 1);
        assert_eq!(fixture.batches.ask(1, async |question| Ok(question + 6)).await, Ok(7));
        drop(busy);
        assert_eq!(fixture.batches.asking.load(Ordering::Relaxed), 0);
        assert!(sent.try_recv().is_err());
    }

    #[tokio::test]
    async fn everyone_gets_their_own_answer() {
        let (fixture, mut sent) = Fixture::new();
        let _busy = fixture.busy(FEW);
        let asks: Vec<_> = (1..=9).map(|question| fixture.ask(question)).collect();
        let (questions, answer) = sent.recv().await.expect("a batch");
        assert_eq!(questions, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        answer.send(tenfold(&questions)).expect("it is waited for");
        for (question, ask) in (1..).zip(asks) {
            assert_eq!(ask.await, Ok(question * 10));
        }
        assert!(sent.try_recv().is_err());
    }

    #[tokio::test]
    async fn who_gives_up_moves_nobody() {
        let (fixture, mut sent) = Fixture::new();
        let _busy = fixture.busy(FEW);
        let mut asks: Vec<_> = (1..=5).map(|question| fixture.ask(question)).collect();
        drop(asks.remove(1));
        let (questions, answer) = sent.recv().await.expect("a batch");
        assert_eq!(questions, [1, 3, 4, 5], "what nobody waits for isn't sent");
        drop(asks.remove(1));
        answer.send(tenfold(&questions)).expect("it is waited for");
        for (question, ask) in [1, 4, 5].into_iter().zip(asks) {
            assert_eq!(ask.await, Ok(question * 10));
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_dropped() {
        let (fixture, mut sent) = Fixture::new();
        let _busy = fixture.busy(FEW);
        let asks = [fixture.ask(1), fixture.ask(2)];
        let (_, mut answer) = sent.recv().await.expect("a batch");
        drop(asks);
        answer.closed().await;
        // Not even sent, if there is nobody any more.
        drop([fixture.ask(3), fixture.ask(4)]);
        let last = fixture.ask(5);
        assert_eq!(sent.recv().await.expect("a batch").0, [5]);
        drop(last);
    }

    #[tokio::test]
    async fn a_failure_is_everyones_and_the_next_batch_is_another() {
        let (fixture, mut sent) = Fixture::new();
        let _busy = fixture.busy(FEW);
        let gone = StoreError::unavailable("it is gone");
        let answers = [
            (Err(gone.clone()), [Err(gone.clone()), Err(gone.clone()), Err(gone)]),
            // Whose they are nobody knows.
            (
                Ok(vec![1, 2]),
                [Err(StoreError::Malformed), Err(StoreError::Malformed), Err(StoreError::Malformed)],
            ),
            (Ok(vec![10, 20, 30]), [Ok(10), Ok(20), Ok(30)]),
        ];
        for (given, expected) in answers {
            let asks = [fixture.ask(1), fixture.ask(2), fixture.ask(3)];
            let (_, answer) = sent.recv().await.expect("a batch");
            answer.send(given).expect("it is waited for");
            for (ask, expected) in asks.into_iter().zip(expected) {
                assert_eq!(ask.await, expected);
            }
        }
    }

    #[tokio::test]
    async fn what_is_on_the_wire_is_joined_by_nobody() {
        let (fixture, mut sent) = Fixture::new();
        let _busy = fixture.busy(FEW);
        let before = fixture.ask(1);
        let (first, answer_first) = sent.recv().await.expect("a batch");
        let after = fixture.ask(2);
        // It isn't kept waiting by the first either.
        let (second, answer_second) = sent.recv().await.expect("another batch");
        assert_eq!((&*first, &*second), (&[1][..], &[2][..]));
        answer_second.send(tenfold(&second)).expect("it is waited for");
        assert_eq!(after.await, Ok(20));
        answer_first.send(tenfold(&first)).expect("it is waited for");
        assert_eq!(before.await, Ok(10));
    }

    #[tokio::test]
    async fn no_batch_weighs_more_than_its_last_question_adds() {
        let (fixture, mut sent) = Fixture::new();
        let _busy = fixture.busy(FEW);
        let heavy = LIMIT as u32;
        let _asks = [50, 50, 50, 50, heavy, 1, 1].map(|weight| fixture.ask(weight));
        for expected in [&[50, 50, 50][..], &[50, heavy], &[1, 1]] {
            assert_eq!(sent.recv().await.expect("a batch").0, expected);
        }
    }
}
