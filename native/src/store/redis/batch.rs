//! What is asked at the same time is asked together: one command for many, of whose answer each gets its part.
//!
//! Nobody waits for company. Where few are asking, each is served alone; otherwise a question is put into a queue, and a task takes out what is there
//! whenever it has its turn. Those who got the answers of one batch ask their next questions in one go, so batches form by themselves, and grow
//! with what is going on.
//!
//! There are two kinds of questions, each with a command of its own. One task asks both, and gives the answers in turn. So there are half as many
//! messages to the server; and requests in the one half of their work take turns with those in the other: what these have done with is what those
//! need next, which an allocator that keeps a few free blocks of each size for each thread has at hand. A crowd of one kind would use it up, and
//! threads would wait for each other before its locks.
//!
//! A question only joins a batch that is yet to be sent: no answer tells of a time before it was asked.

use core::{
    pin::{Pin, pin},
    sync::atomic::{AtomicUsize, Ordering},
};
use std::sync::Arc;

use futures_util::future::{Either, join, select};
use tokio::{
    sync::{
        Notify,
        mpsc::{self, error::SendError},
        oneshot,
    },
    task::{AbortHandle, yield_now},
};

use super::error::closed;
use crate::store::StoreError;

/// How many are served alone: a batch of two or three spares less than the way through the queue costs.
const FEW: usize = 4;
/// What a batch may weigh.
const LIMIT: usize = 128;
/// So many bytes weigh as much as a question does: who sends half a megabyte holds up the server, and whoever waits for another's answer.
pub(super) const BYTES: usize = 4096;

/// Answers questions of one kind.
pub(super) trait Answers: Send + Sync + 'static {
    type Question: Send + 'static;
    type Answer: Send + 'static;

    /// How much of [`LIMIT`] a question takes up.
    fn weigh(&self, question: &Self::Question) -> usize;

    /// Gives the answers, in the order of the questions; an error is everyone's. Several batches may be under way.
    fn answer(
        &self,
        questions: Vec<Self::Question>,
    ) -> impl Future<Output = Result<Vec<Self::Answer>, StoreError>> + Send;
}

/// Gathers questions of one kind.
pub(super) struct Batches<K: Answers> {
    queue: mpsc::UnboundedSender<Waiting<K>>,
    crowd: Arc<Crowd>,
    gatherer: AbortHandle,
}

/// What the two kinds share.
#[derive(Default)]
struct Crowd {
    /// How many are asking, in batches and alone.
    asking: AtomicUsize,
    /// Rung by who has put a question into a queue. (A queue wakes the gatherer by itself too, but would do so in the midst of its yielding.)
    bell: Notify,
}

/// Someone who waits for an answer, or did.
struct Waiting<K: Answers> {
    question: K::Question,
    answer: Reply<K>,
}

/// Where someone waits.
type Reply<K> = oneshot::Sender<Answered<K>>;
type Answered<K> = Result<<K as Answers>::Answer, StoreError>;
type AllAnswered<K> = Result<Vec<<K as Answers>::Answer>, StoreError>;

/// Starts the task that gathers the questions of two kinds. It ends with these.
pub(super) fn start<K: Answers, L: Answers>(first: Arc<K>, second: Arc<L>) -> (Batches<K>, Batches<L>) {
    let ((one, first), (other, second)) = (Queue::new(first), Queue::new(second));
    let crowd = Arc::<Crowd>::default();
    let gatherer = tokio::spawn(gather(first, second, Arc::clone(&crowd))).abort_handle();
    (
        Batches { queue: one, crowd: Arc::clone(&crowd), gatherer: gatherer.clone() },
        Batches { queue: other, crowd, gatherer },
    )
}

impl<K: Answers> Drop for Batches<K> {
    fn drop(&mut self) {
        self.gatherer.abort();
    }
}

impl<K: Answers> Batches<K> {
    /// Asks together with others; or alone, while there are few. Whoever gives up disturbs nobody.
    pub(super) fn ask<Alone>(
        &self,
        question: K::Question,
        alone: impl FnOnce(K::Question) -> Alone,
    ) -> impl Future<Output = Answered<K>>
    where
        Alone: Future<Output = Answered<K>>,
    {
        let asking = Asking::begin(&self.crowd.asking);
        // In a box: those who wait for a batch, of whom there are many, needn't have room for it.
        let alone = |question| Place::<K, _>::Alone(Box::pin(alone(question)));
        let place = if asking.others < FEW {
            alone(question)
        } else {
            let (answer, answered) = oneshot::channel();
            match self.queue.send(Waiting { question, answer }) {
                Ok(()) => {
                    self.crowd.bell.notify_one();
                    Place::Together(answered)
                }
                // The runtime of the task has ended, and with it the connections: they say so.
                Err(SendError(waiting)) => alone(waiting.question),
            }
        };
        async move {
            let _asking = asking;
            match place {
                Place::Alone(answer) => answer.await,
                Place::Together(answered) => answered.await.unwrap_or_else(|_| Err(closed())),
            }
        }
    }
}

/// Where an answer comes from.
enum Place<K: Answers, Alone> {
    Alone(Pin<Box<Alone>>),
    Together(oneshot::Receiver<Answered<K>>),
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

/// Questions that wait to be asked.
struct Queue<K: Answers> {
    waiting: mpsc::UnboundedReceiver<Waiting<K>>,
    answers: Arc<K>,
}

/// Questions that are asked together, and who waits for the answers.
struct Batch<K: Answers> {
    questions: Vec<K::Question>,
    waiting: Vec<Reply<K>>,
}

impl<K: Answers> Queue<K> {
    fn new(answers: Arc<K>) -> (mpsc::UnboundedSender<Waiting<K>>, Self) {
        let (queue, waiting) = mpsc::unbounded_channel();
        (queue, Self { waiting, answers })
    }

    /// What is there, as far as a batch goes.
    fn take(&mut self) -> Batch<K> {
        let most = self.waiting.len();
        let mut batch = Batch { questions: Vec::with_capacity(most), waiting: Vec::with_capacity(most) };
        let mut weight = 0;
        while weight < LIMIT
            && let Ok(Waiting { question, answer }) = self.waiting.try_recv()
        {
            if !answer.is_closed() {
                weight += self.answers.weigh(&question);
                batch.questions.push(question);
                batch.waiting.push(answer);
            }
        }
        batch
    }
}

async fn gather<K: Answers, L: Answers>(mut first: Queue<K>, mut second: Queue<L>, crowd: Arc<Crowd>) {
    loop {
        crowd.bell.notified().await;
        // Woken by the first, it may be the next to run: those who are ready to ask come before it.
        yield_now().await;
        let (one, other) = (first.take(), second.take());
        if !(one.waiting.is_empty() && other.waiting.is_empty()) {
            let sent = join(
                ask(Arc::clone(&first.answers), one.questions),
                ask(Arc::clone(&second.answers), other.questions),
            );
            tokio::spawn(hand_out::<K, L>(sent, one.waiting, other.waiting));
        }
        if !(first.waiting.is_empty() && second.waiting.is_empty()) {
            // Whoever is left over has rung before.
            crowd.bell.notify_one();
        }
    }
}

async fn ask<K: Answers>(answers: Arc<K>, questions: Vec<K::Question>) -> AllAnswered<K> {
    if questions.is_empty() { Ok(Vec::new()) } else { answers.answer(questions).await }
}

/// Gives everyone their answer, or the error that is everyone's of their kind. If all have given up, nobody waits any more: what is under way is
/// dropped, and held against its connection as that of a single one would be.
async fn hand_out<K: Answers, L: Answers>(
    sent: impl Future<Output = (AllAnswered<K>, AllAnswered<L>)>,
    mut first: Vec<Reply<K>>,
    mut second: Vec<Reply<L>>,
) {
    let all_gone = async {
        for waiting in &mut first {
            waiting.closed().await;
        }
        for waiting in &mut second {
            waiting.closed().await;
        }
    };
    let (one, other) = match select(pin!(sent), pin!(all_gone)).await {
        Either::Left((answers, _)) => answers,
        Either::Right(_) => return,
    };
    let (mut first, mut second) = (tell::<K>(first, one), tell::<L>(second, other));
    while first.next().is_some() | second.next().is_some() {}
}

/// Tells each who waits, one with every turn.
fn tell<K: Answers>(waiting: Vec<Reply<K>>, answers: AllAnswered<K>) -> impl Iterator<Item = ()> {
    let (answers, error) = match answers {
        Ok(answers) if answers.len() == waiting.len() => (answers, StoreError::Malformed),
        // Whose answer is whose can't be told.
        Ok(_) => (Vec::new(), StoreError::Malformed),
        Err(error) => (Vec::new(), error),
    };
    let mut answers = answers.into_iter();
    waiting.into_iter().map(move |waiting| drop(waiting.send(answers.next().ok_or_else(|| error.clone()))))
}

#[cfg(test)]
mod tests {
    use core::future::pending;

    use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};

    use super::*;

    type Ask<'a> = Pin<Box<dyn Future<Output = Result<u32, StoreError>> + 'a>>;
    /// What was sent, and how it is answered.
    type Sent = (Vec<u32>, oneshot::Sender<Result<Vec<u32>, StoreError>>);

    /// A server that answers when the test does. A question weighs as much as it says.
    struct Server {
        on_the_wire: mpsc::UnboundedSender<Sent>,
    }

    impl Answers for Server {
        type Question = u32;
        type Answer = u32;

        fn weigh(&self, question: &u32) -> usize {
            *question as usize
        }

        async fn answer(&self, questions: Vec<u32>) -> Result<Vec<u32>, StoreError> {
            let (answer, answered) = oneshot::channel();
            self.on_the_wire.send((questions, answer)).expect("the test listens");
            answered.await.expect("an answer")
        }
    }

    struct Fixture {
        batches: Batches<Server>,
        /// Of another kind.
        others: Batches<Server>,
    }

    impl Fixture {
        fn new() -> (Self, mpsc::UnboundedReceiver<Sent>) {
            let (fixture, sent, _) = Self::of_two();
            (fixture, sent)
        }

        fn of_two() -> (Self, mpsc::UnboundedReceiver<Sent>, mpsc::UnboundedReceiver<Sent>) {
            let ((first, sent), (second, sent_by_others)) =
                (mpsc::unbounded_channel(), mpsc::unbounded_channel());
            let servers = [first, second].map(|on_the_wire| Arc::new(Server { on_the_wire }));
            let [first, second] = servers;
            let (batches, others) = start(first, second);
            (Self { batches, others }, sent, sent_by_others)
        }

        /// So many who are served alone, and never are: of the other kind, whose server doesn't hear of them.
        fn busy(&self, count: usize) -> Vec<Ask<'_>> {
            (0..count).map(|_| asked(self.others.ask(0, |_| pending()))).collect()
        }

        fn ask(&self, question: u32) -> Ask<'_> {
            asked(self.batches.ask(question, async |_| panic!("it is served alone")))
        }

        fn ask_other(&self, question: u32) -> Ask<'_> {
            asked(self.others.ask(question, async |_| panic!("it is served alone")))
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
        assert_eq!(fixture.batches.crowd.asking.load(Ordering::Relaxed), 0);
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

    #[tokio::test]
    async fn two_kinds_are_asked_together_and_answered_in_turn() {
        let (fixture, mut sent, mut sent_by_others) = Fixture::of_two();
        let _busy = fixture.busy(FEW);
        let asks = [1, 2, 3].map(|question| fixture.ask(question));
        let others = [4, 5, 6, 7].map(|question| fixture.ask_other(question));
        let mut told = FuturesUnordered::from_iter(asks.into_iter().chain(others));
        assert!(told.next().now_or_never().is_none());
        let (ones, answer_ones) = sent.recv().await.expect("a batch");
        let (others, answer_others) = sent_by_others.recv().await.expect("a batch of the others");
        answer_ones.send(tenfold(&ones)).expect("it is waited for");
        yield_now().await;
        assert!(told.next().now_or_never().is_none(), "nobody is told before all can be");
        answer_others.send(tenfold(&others)).expect("it is waited for");
        let order: Vec<_> = told.collect().await;
        assert_eq!(order, [10, 40, 20, 50, 30, 60, 70].map(Ok));
    }

    #[tokio::test]
    async fn a_failure_of_one_kind_is_not_the_others() {
        let (fixture, mut sent, mut sent_by_others) = Fixture::of_two();
        let _busy = fixture.busy(FEW);
        let (ask, other) = (fixture.ask(1), fixture.ask_other(2));
        let gone = StoreError::unavailable("it is gone");
        sent.recv().await.expect("a batch").1.send(Err(gone.clone())).expect("it is waited for");
        let (others, answer) = sent_by_others.recv().await.expect("a batch of the others");
        answer.send(tenfold(&others)).expect("it is waited for");
        assert_eq!((ask.await, other.await), (Err(gone), Ok(20)));
    }
}
