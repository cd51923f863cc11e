//! Sessions counted for Prometheus: `cargo run -p session-native --example metrics`, open <http://127.0.0.1:3000/> a few times, then
//! <http://127.0.0.1:3000/metrics>.

use std::error::Error;

use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use session_native::{
    Config, MemoryStore, OsRandom, Resilient, Secret, SessionData, SessionHandle, Sessions, Stored,
    axum::SessionLayer, observe,
};

#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Visitor {
    visits: u64,
}
impl SessionData for Visitor {}

type Store = Resilient<MemoryStore>;
type Provider = Sessions<Visitor, Stored<Store>>;

/// Counts a visit.
async fn visit(session: SessionHandle<Visitor>) -> Result<String, StatusCode> {
    let visits = session.update_now(|visitor| {
        visitor.visits += 1;
        visitor.visits
    });
    let visits = visits.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(format!("Visit {visits}\n"))
}

/// What Prometheus scrapes. Who may read it is up to the network: it is on a port of its own in most places.
async fn scrape(State((sessions, prometheus)): State<(Provider, PrometheusHandle)>) -> String {
    // Brings `session.active_count` up to date. If the store can't say, the last number stands, and `session.error` tells.
    let _ = sessions.len().await;
    prometheus.run_upkeep();
    prometheus.render()
}

pub(crate) fn app(prometheus: PrometheusHandle) -> Result<Router, Box<dyn Error>> {
    let config = Config::development(Secret::generate(&OsRandom)?);
    let sessions = Provider::new(config, Resilient::new(MemoryStore::new()))?;
    Ok(Router::new()
        .route("/", get(visit))
        .layer(SessionLayer::new(sessions.clone()))
        .route("/metrics", get(scrape))
        .with_state((sessions, prometheus)))
}

/// Makes Prometheus the recorder of this process. Buckets make histograms of the times; without them they would be summaries.
pub(crate) fn record() -> Result<PrometheusHandle, Box<dyn Error>> {
    let buckets = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0];
    let prometheus = PrometheusBuilder::new().set_buckets(&buckets)?.install_recorder()?;
    observe::describe();
    Ok(prometheus)
}

#[allow(dead_code, reason = "the test drives the application without a network")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}/metrics", listener.local_addr()?);
    axum::serve(listener, app(record()?)?).await?;
    Ok(())
}
