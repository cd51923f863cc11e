//! Runs requests in every order that their store operations allow.

use core::{
    pin::Pin,
    task::{Context, Waker},
    time::Duration,
};

use super::World;

/// One request of a scenario.
pub(crate) type Request = Pin<Box<dyn Future<Output = ()>>>;

/// How finely requests are interleaved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grain {
    /// Others may run before each store operation: enough for all effects on the store.
    Operations,
    /// And between an operation and what the request makes of its answer.
    Answers,
}

/// Depth-first through all schedules: each is run on a fresh world, by following the choices of the one before up to the last that can
/// be made differently. Prints how many there were.
///
/// `scenario` sets up a world (whose operations don't stop yet) and gives the requests and a last check.
pub(crate) fn explore<Check: Future<Output = ()>>(
    name: &str,
    grain: Grain,
    scenario: impl AsyncFn(World) -> (Vec<Request>, Check),
) -> usize {
    /// More is a mistake in the scenario: it would take minutes.
    const MOST: usize = 100_000;

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut choices: Vec<Choice> = Vec::new();
        for schedules in 1..=MOST {
            let world = World::new();
            let (requests, check) = scenario(world.clone()).await;
            world.stage.stop_at_operations(true, grain == Grain::Answers);
            run(&world, requests, &mut choices).await;
            world.stage.stop_at_operations(false, false);
            check.await;

            while choices.pop_if(|choice| choice.taken + 1 == choice.runnable).is_some() {}
            match choices.last_mut() {
                Some(choice) => choice.taken += 1,
                None => {
                    println!("{name}: {schedules} schedules");
                    return schedules;
                }
            }
        }
        panic!("{name}: more than {MOST} schedules");
    })
}

/// Which of the requests that could go on did.
struct Choice {
    taken: usize,
    runnable: usize,
}

async fn run(world: &World, requests: Vec<Request>, choices: &mut Vec<Choice>) {
    let mut requests: Vec<(usize, Request)> = requests.into_iter().enumerate().collect();
    let mut context = Context::from_waker(Waker::noop());
    let mut step = 0;
    while !requests.is_empty() {
        if step == choices.len() {
            choices.push(Choice { taken: 0, runnable: requests.len() });
        }
        let Choice { taken, runnable } = choices[step];
        assert_eq!(runnable, requests.len(), "the scenario is not deterministic");
        step += 1;
        let (number, request) = &mut requests[taken];
        world.stage.run(*number);
        loop {
            if request.as_mut().poll(&mut context).is_ready() {
                drop(requests.remove(taken));
                break;
            }
            if world.stage.take_stopped() {
                break;
            }
            // It waits for its next try after a conflict.
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}
