//! Sessions in one Redis, by many tasks at a time: the raw client beside our store, and requests beside other libraries'.

mod requests;
mod server;
mod store;

use std::time::Duration;

use requests::{ACTIX, ACTIX_SESSION, AXUM, TOWER};
use server::Meter;
use session_faults::servers::RedisServer;
use session_native::{RedisStore, Sessions, Stored};
use store::{EVALSHA, GET, STORE};
use tokio::runtime::{Builder, Runtime};

use crate::{
    data::Data,
    measure::{Contestant, Effort, Samples, Spread, Time},
    report::{Bar, Bound, Chart, Goal, Section, Table, duration, ratio},
};

/// Tasks at work at the same time.
const TASKS: usize = 64;
/// Bytes of data, as JSON.
const SIZE: usize = 400;

pub fn sessions(effort: Effort) -> Section {
    let mut section = Section::new("Redis");
    section.note(format!(
        "One `redis-server` of this machine, {TASKS} tasks, one multiplexed connection for each contestant, {SIZE} B of data. Records lie there as they are: nobody encrypts or deflates here. \
         Our saves compare versions and publish a message for caches, in one script; tower-sessions and actix-session SET over what is there. tower-sessions writes MessagePack, actix-session JSON within JSON. \
         Rates are by the clock on the wall and include the server's work; CPU time of the client is that of its process alone; the server's is the mean of all rounds, by `INFO`. axum on two threads, actix-web on one.",
    ));
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let server = runtime.block_on(RedisServer::start());
    let url = server.url();
    let effort = effort.long();
    let meter = Meter::new(&url);

    let loads = store::loads(&runtime, &url, &meter, effort);
    table(&mut section, "load", &loads, &meter, GET);
    section.goals.push(Goal::new(
        "Redis load: operations/s, to the raw GET",
        rates(&loads, STORE, GET),
        Bound::AtLeast(0.8),
    ));
    let meter = Meter::new(&url);
    let saves = store::saves(&runtime, &url, &meter, effort);
    table(&mut section, "save", &saves, &meter, EVALSHA);
    section.goals.push(Goal::new(
        "Redis commit: operations/s, to the raw call of the script",
        rates(&saves, STORE, EVALSHA),
        Bound::AtLeast(0.8),
    ));

    let mut charts = vec![("load".into(), bars(&loads)), ("save".into(), bars(&saves))];
    for (path, work) in [("/read", "a request that reads"), ("/write", "a request that reads and writes")] {
        let meter = Meter::new(&url);
        let axum = requests::axum(&runtime, &url, path, &meter, effort);
        table(&mut section, work, &axum, &meter, TOWER);
        let measured = rates(&axum, AXUM, TOWER);
        section.goals.push(Goal::new(
            format!("Redis, {work}: requests/s, to tower-sessions'"),
            measured,
            Bound::AtLeast(1.5),
        ));
        let actix = requests::actix(&url, path, &meter, effort);
        table(&mut section, work, &actix, &meter, ACTIX_SESSION);
        for (samples, ours, theirs) in [(&axum, AXUM, TOWER), (&actix, ACTIX, ACTIX_SESSION)] {
            section.figure(
                format!("Redis, {TASKS} tasks: {work} ({})", ours.trim_start_matches("session: ")),
                format!("{:.0} k/s", per_second(samples, ours)),
                format!("{theirs} {:.0} % of that", rates(samples, theirs, ours).median * 100.0),
            );
        }
        charts.push((work.into(), bars(&axum).into_iter().chain(bars(&actix)).collect()));
    }
    section.charts.push(Chart {
        name: "redis".into(),
        title: format!("Sessions in Redis, {TASKS} tasks"),
        unit: "thousand operations a second",
        groups: charts,
    });
    section
}

fn table(section: &mut Section, work: &str, samples: &Samples, meter: &Meter, reference: &str) {
    let mut table = Table::new([
        work,
        "rate",
        "ratio of rates (quartiles)",
        "client's CPU time",
        "ratio of CPU times (quartiles)",
        "server's CPU time",
    ]);
    for name in samples.names() {
        let rate = format!("{:.0} k/s", per_second(samples, name));
        let cpu = duration(samples.time(Time::Cpu, name).median);
        let server = duration(meter.time(name));
        table.row(if name == reference {
            [name.into(), rate, "1".into(), cpu, "1".into(), server]
        } else {
            [
                name.into(),
                rate,
                ratio(rates(samples, name, reference)),
                cpu,
                ratio(samples.ratio(Time::Cpu, name, reference)),
                server,
            ]
        });
    }
    section.tables.push(table);
}

/// Operations a second of `name`, to those of `reference`.
fn rates(samples: &Samples, name: &str, reference: &str) -> Spread {
    samples.ratio(Time::Wall, name, reference).inverse()
}

/// Thousands.
fn per_second(samples: &Samples, name: &str) -> f64 {
    1e6 / samples.time(Time::Wall, name).median
}

fn bars(samples: &Samples) -> Vec<Bar> {
    samples
        .names()
        .map(|name| Bar {
            name: name.into(),
            value: samples.time(Time::Wall, name).inverse().map(|rate| rate * 1e6),
        })
        .collect()
}

/// Does the work in each of the tasks.
fn tasks<'a, F>(
    runtime: &'a Runtime,
    meter: &Meter,
    name: &str,
    mut task: impl FnMut(usize, usize) -> F + 'a,
) -> Contestant<'a>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (meter, own) = (meter.clone(), name.to_owned());
    Contestant::of_many(name, TASKS, move |turns| {
        meter.measure(&own, turns * TASKS, || {
            let running: Vec<_> = (0..TASKS).map(|number| runtime.spawn(task(number, turns))).collect();
            runtime.block_on(async {
                for task in running {
                    task.await.expect("a task");
                }
            });
        });
    })
}

type InRedis = Sessions<Data, Stored<RedisStore>>;

/// For whoever works on a machine that stands still for a while: that is a slow answer, which the median passes over, and no failure.
const PATIENCE: Duration = Duration::from_secs(60);

async fn connect(url: &str) -> RedisStore {
    let store = RedisStore::builder(url).response_timeout(PATIENCE).operation_timeout(PATIENCE);
    store.connect().await.expect("a store")
}
