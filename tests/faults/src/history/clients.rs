//! Clients that work on sessions at random, and write down what happens.

use core::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use session_native::{
    Client, Error, Rejection, Session, SessionData, Sessions, SetCookie, State, Store, Stored,
    store::Freshness,
};
use tokio::{task::JoinSet, time::sleep};

use super::{Action, Answer, FIELDS, History, Moment, Operation, Outcome};
use crate::servers::until;

/// What the sessions hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// Whose it is.
    pub owner: String,
    /// Goes up by one at a time.
    pub count: u64,
    /// By number, so that fields are merged one by one.
    pub fields: BTreeMap<usize, u64>,
}

impl SessionData for Data {}

/// How much is done, by whom.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// How many clients work at the same time.
    pub clients: usize,
    /// How many sessions live at the same time. Few: then clients meet.
    pub sessions: usize,
    /// How many operations are recorded at least; clients go on until the faults are over too.
    pub operations: usize,
    /// How many of a hundred requests sign out.
    pub sign_outs: u32,
    /// How old an answer may be: [`History::staleness`]. If it is more than none, a quarter of the loads are exact all the same.
    pub staleness: Duration,
    /// Whether the store tries again by itself. Then who is told that the session has ended may have done something to it before.
    pub is_retried: bool,
    /// Where chance begins.
    pub seed: u64,
}

impl Default for Workload {
    fn default() -> Self {
        let staleness = Duration::ZERO;
        Self {
            clients: 16,
            sessions: 8,
            operations: 20_000,
            sign_outs: 2,
            staleness,
            is_retried: false,
            seed: 1,
        }
    }
}

/// Lets clients work on sessions until they have done enough and `faults` are over, then waits until the store answers, and loads every
/// session by each of its tokens once more.
///
/// `faults` gets a clock, by which it can tell when acknowledgements were worth nothing: [`History::at_risk`].
///
/// # Panics
/// If an operation fails in a way that no fault explains, or the store doesn't answer a minute after the faults.
pub async fn run<S: Store>(
    sessions: &Sessions<Data, Stored<S>>,
    workload: Workload,
    faults: impl AsyncFnOnce(&dyn Fn() -> Moment),
) -> History {
    run_on(core::slice::from_ref(sessions), workload, faults).await
}

/// As [`run`], on several nodes that share a store, each with a provider of its own: any of them serves any request.
///
/// # Panics
/// As [`run`], and if there is no node.
pub async fn run_on<S: Store>(
    nodes: &[Sessions<Data, Stored<S>>],
    workload: Workload,
    faults: impl AsyncFnOnce(&dyn Fn() -> Moment),
) -> History {
    let world = Arc::new(World {
        nodes: nodes.into(),
        workload,
        start: Instant::now(),
        slots: (0..workload.sessions).map(|_| Mutex::default()).collect(),
        dead: Mutex::default(),
        clock: AtomicU64::new(1),
        created: AtomicUsize::new(0),
        recorded: AtomicUsize::new(0),
        are_faults_over: AtomicBool::new(false),
    });
    let mut clients = JoinSet::new();
    for client in 0..workload.clients {
        let rng = Rng::with_seed(workload.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ client as u64);
        clients.spawn(Worker::new(Arc::clone(&world), rng).work());
    }
    faults(&|| world.now()).await;
    world.are_faults_over.store(true, Ordering::SeqCst);
    let mut operations = clients.join_all().await.concat();
    // From here on every node knows all that was done.
    sleep(workload.staleness).await;
    operations.extend(audit(&world).await);
    History { operations, at_risk: 0..0, staleness: workload.staleness }
}

/// Loads every session by each of its tokens, on every node.
async fn audit<S: Store>(world: &Arc<World<S>>) -> Vec<Operation> {
    let mut auditor = Worker::new(Arc::clone(world), Rng::with_seed(0));
    let slots = world.slots.iter().flat_map(|slot| lock(slot).clone());
    let tokens: Vec<_> = slots.chain(lock(&world.dead).iter().cloned()).collect();
    for ticket in tokens {
        for node in 0..world.nodes.len() {
            auditor.node = node;
            until("the store answers", async || auditor.load(&ticket).await.is_ok()).await;
        }
    }
    auditor.operations
}

struct World<S> {
    nodes: Box<[Sessions<Data, Stored<S>>]>,
    workload: Workload,
    start: Instant,
    /// The sessions that live, as their owners' browsers know them.
    slots: Box<[Mutex<Option<Ticket>>]>,
    /// Tokens that were replaced, or whose sessions have ended.
    dead: Mutex<Vec<Ticket>>,
    clock: AtomicU64,
    created: AtomicUsize,
    recorded: AtomicUsize,
    are_faults_over: AtomicBool,
}

/// A token of a session.
#[derive(Clone)]
struct Ticket {
    session: usize,
    token: usize,
    cookie: String,
}

impl<S> World<S> {
    fn now(&self) -> Moment {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a commit whose outcome is unknown is tried again with the same session, as a client of the store that is told "unavailable" may do.
const TRIES: usize = 3;
/// After an error, a client waits so long: otherwise those that fail fast would do nothing else.
const PAUSE: Duration = Duration::from_millis(5);

struct Worker<S> {
    world: Arc<World<S>>,
    rng: Rng,
    /// Which one serves the request that is under way.
    node: usize,
    operations: Vec<Operation>,
}

/// The store did not answer.
struct NoAnswer;

/// When an operation began.
#[derive(Clone, Copy)]
struct Begin {
    moment: Moment,
    time: Duration,
}

impl<S: Store> Worker<S> {
    fn new(world: Arc<World<S>>, rng: Rng) -> Self {
        Self { world, rng, node: 0, operations: Vec::new() }
    }

    fn sessions(&self) -> &Sessions<Data, Stored<S>> {
        &self.world.nodes[self.node]
    }

    fn begin(&self) -> Begin {
        let moment = self.world.now();
        Begin { moment, time: self.world.start.elapsed() }
    }

    async fn work(mut self) -> Vec<Operation> {
        let world = Arc::clone(&self.world);
        let enough = world.workload.operations;
        while world.recorded.load(Ordering::SeqCst) < enough || !world.are_faults_over.load(Ordering::SeqCst)
        {
            self.node = self.rng.usize(..world.nodes.len());
            let slot = self.rng.usize(..world.slots.len());
            let ticket = lock(&world.slots[slot]).clone();
            let Some(ticket) = ticket else {
                self.create(slot).await;
                continue;
            };
            let done = match self.rng.u32(..100) {
                0..8 => self.load_dead().await,
                8..40 => self.load(&ticket).await.map(drop),
                dice => match self.load(&ticket).await {
                    Ok(Some(session)) => {
                        if self.rng.u32(..8) == 0 {
                            // A slow request: others come in between.
                            tokio::task::yield_now().await;
                            sleep(Duration::from_millis(self.rng.u64(..4))).await;
                        }
                        self.act(dice, slot, &ticket, session).await
                    }
                    // The browser's token is dead, and its answer with a new one was lost: it begins anew.
                    Ok(None) => {
                        self.bury(slot, &ticket);
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            };
            if done.is_err() {
                sleep(PAUSE).await;
            }
        }
        self.operations
    }

    async fn act(
        &mut self,
        dice: u32,
        slot: usize,
        ticket: &Ticket,
        session: Session<Data>,
    ) -> Result<(), NoAnswer> {
        match dice {
            dice if dice + self.world.workload.sign_outs >= 100 => self.destroy(slot, ticket, session).await,
            40..68 => self.increment(ticket, session).await,
            68..88 => self.change(ticket, session).await,
            _ => self.rotate(slot, ticket, session, dice < 93).await,
        }
    }

    async fn create(&mut self, slot: usize) {
        let number = self.world.created.fetch_add(1, Ordering::SeqCst);
        let name = name(number);
        let mut session = self.sessions().create();
        session.authenticate(name.clone());
        session.data_mut().owner = name;
        let begun = self.begin();
        let (cookie, outcome) = self.commit(&mut session).await;
        let ticket = Ticket { session: number, token: 0, cookie: cookie.unwrap_or_default() };
        self.record(&ticket, begun, Action::Create, outcome);
        if outcome != Outcome::Done {
            return sleep(PAUSE).await;
        }
        let mut slot = lock(&self.world.slots[slot]);
        match *slot {
            // Another client was faster.
            Some(_) => lock(&self.world.dead).push(ticket),
            None => *slot = Some(ticket),
        }
    }

    /// Loads by a token that was replaced, or whose session has ended.
    async fn load_dead(&mut self) -> Result<(), NoAnswer> {
        let ticket = self.rng.choice(&*lock(&self.world.dead)).cloned();
        match ticket {
            Some(ticket) => self.load(&ticket).await.map(drop),
            None => Ok(()),
        }
    }

    async fn load(&mut self, ticket: &Ticket) -> Result<Option<Session<Data>>, NoAnswer> {
        let begun = self.begin();
        let is_exact = self.world.workload.staleness.is_zero() || self.rng.u32(..4) == 0;
        let freshness = if is_exact { Freshness::Linearizable } else { Freshness::Cached };
        let cookie = [ticket.cookie.as_bytes()];
        let loaded = self.sessions().load_with(cookie, &Client::default(), freshness).await;
        let (answer, session) = match loaded {
            Ok(session) => match session.state() {
                State::Active => (answer_of(&session), Ok(Some(session))),
                State::Anonymous(Some(Rejection::Revoked)) => (Answer::Ended, Ok(None)),
                State::Anonymous(Some(Rejection::Superseded | Rejection::Reused)) => {
                    (Answer::Replaced, Ok(None))
                }
                other => panic!("an authentic token of this minute: {other:?}"),
            },
            Err(Error::Store(_)) => (Answer::Nothing, Err(NoAnswer)),
            Err(other) => panic!("a load: {other}"),
        };
        let outcome = if session.is_ok() { Outcome::Done } else { Outcome::NotDone };
        self.record(ticket, begun, Action::Load(answer), outcome);
        if let Some(load) = self.operations.last_mut() {
            load.is_exact = is_exact;
        }
        session
    }

    async fn increment(&mut self, ticket: &Ticket, mut session: Session<Data>) -> Result<(), NoAnswer> {
        let begun = self.begin();
        let increment = |data: &mut Data| {
            data.count += 1;
            data.count
        };
        let (count, outcome) = match self.sessions().update(&mut session, increment).await {
            Ok(count) => (Some(count), Outcome::Done),
            Err(error) => (None, self.outcome_of(&error)),
        };
        self.record(ticket, begun, Action::Increment(count), outcome);
        answered(outcome)
    }

    async fn change(&mut self, ticket: &Ticket, mut session: Session<Data>) -> Result<(), NoAnswer> {
        let (field, begun) = (self.rng.usize(..FIELDS), self.begin());
        // The moment is no other operation's.
        session.data_mut().fields.insert(field, begun.moment);
        let (_, outcome) = self.commit(&mut session).await;
        self.record(ticket, begun, Action::Change(field, begun.moment), outcome);
        answered(outcome)
    }

    async fn rotate(
        &mut self,
        slot: usize,
        ticket: &Ticket,
        mut session: Session<Data>,
        by_login: bool,
    ) -> Result<(), NoAnswer> {
        let begun = self.begin();
        if by_login {
            session.authenticate(name(ticket.session));
        } else {
            session.regenerate();
        }
        let (cookie, outcome) = self.commit(&mut session).await;
        // One rotation of a token succeeds, so that this number is given once.
        let new = cookie.map(|cookie| Ticket { cookie, token: ticket.token + 1, ..ticket.clone() });
        self.record(ticket, begun, Action::Rotate(new.as_ref().map(|new| new.token)), outcome);
        if let Some(new) = new {
            self.replace(slot, ticket, Some(new));
        }
        answered(outcome)
    }

    async fn destroy(
        &mut self,
        slot: usize,
        ticket: &Ticket,
        mut session: Session<Data>,
    ) -> Result<(), NoAnswer> {
        let begun = self.begin();
        let outcome = match self.sessions().destroy(&mut session).await {
            Ok(_) => Outcome::Done,
            Err(error) => self.outcome_of(&error),
        };
        self.record(ticket, begun, Action::Destroy, outcome);
        if outcome == Outcome::Done {
            self.bury(slot, ticket);
        }
        answered(outcome)
    }

    /// Commits, and tries again with the same session while the outcome is unknown.
    async fn commit(&self, session: &mut Session<Data>) -> (Option<String>, Outcome) {
        let mut outcome = Outcome::NotDone;
        for _ in 0..TRIES {
            match self.sessions().commit(session).await {
                Ok(cookie) => return (cookie.as_ref().map(cookie_of), Outcome::Done),
                Err(error) => {
                    // What an earlier try did is not known any better by one that was refused.
                    outcome = outcome.max(self.outcome_of(&error));
                    if matches!(error, Error::Ended(_) | Error::Contended) {
                        return (None, outcome);
                    }
                }
            }
            sleep(PAUSE).await;
        }
        (None, outcome)
    }

    fn outcome_of(&self, error: &Error) -> Outcome {
        match error {
            Error::Ended(Rejection::Revoked) if self.world.workload.is_retried => Outcome::Unknown,
            Error::Ended(_) | Error::Contended => Outcome::NotDone,
            Error::Store(_) => Outcome::Unknown,
            other => panic!("no fault explains this: {other}"),
        }
    }

    fn bury(&self, slot: usize, ticket: &Ticket) {
        self.replace(slot, ticket, None);
    }

    /// The browser of a session gets a new token, or none.
    fn replace(&self, slot: usize, old: &Ticket, new: Option<Ticket>) {
        let mut slot = lock(&self.world.slots[slot]);
        if slot.as_ref().is_some_and(|now| (now.session, now.token) == (old.session, old.token)) {
            *slot = new;
            lock(&self.world.dead).push(old.clone());
        } else {
            // Someone else did something to it meanwhile. What the store thinks of this token is asked later all the same.
            lock(&self.world.dead).extend(new);
        }
    }

    fn record(&mut self, ticket: &Ticket, begun: Begin, action: Action, outcome: Outcome) {
        let time = begun.time..self.world.start.elapsed();
        let ended = self.world.now();
        self.world.recorded.fetch_add(1, Ordering::SeqCst);
        let Ticket { session, token, .. } = *ticket;
        let (node, begun) = (self.node, begun.moment);
        let is_exact = false;
        self.operations.push(Operation {
            session,
            token,
            begun,
            ended,
            time,
            node,
            is_exact,
            action,
            outcome,
        });
    }
}

fn name(session: usize) -> String {
    format!("owner-{session}")
}

fn answer_of(session: &Session<Data>) -> Answer {
    let Data { owner, count, fields } = session.data();
    // The subject stands in the token too, the owner in the data alone: both have to be the same session's.
    let number = owner.strip_prefix("owner-").and_then(|number| number.parse().ok());
    let owner = number.filter(|_| session.subject() == Some(owner));
    let fields = core::array::from_fn(|field| fields.get(&field).copied().unwrap_or(0));
    Answer::Active { owner, count: *count, fields }
}

fn answered(outcome: Outcome) -> Result<(), NoAnswer> {
    if outcome == Outcome::Unknown { Err(NoAnswer) } else { Ok(()) }
}

/// The `Cookie` header of a browser that was sent this.
#[must_use]
pub fn cookie_of(set_cookie: &SetCookie) -> String {
    let text = set_cookie.as_str();
    text.split_once(';').map_or(text, |(pair, _)| pair).to_owned()
}
