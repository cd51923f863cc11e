//! The Redis store keeps the contract of stores.

#![cfg(feature = "redis")]

use core::time::Duration;
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use session_conformance::Harness;
use session_native::{Clock as _, RedisStore, SystemClock, Timestamp};

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--bind", "127.0.0.1"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Redis {
    store: RedisStore,
    _server: Server,
}

impl Redis {
    async fn new() -> Self {
        let server = Server::start();
        let url = format!("redis://127.0.0.1:{}", server.port);
        for _ in 0..100 {
            if let Ok(store) = RedisStore::connect(&url).await {
                return Self { store, _server: server };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{:?}", RedisStore::connect(&url).await.err());
    }
}

impl Harness for Redis {
    type Store = RedisStore;

    const GRAIN: Duration = Duration::from_millis(100);

    fn store(&self) -> &RedisStore {
        &self.store
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }
}

session_conformance::store_tests!(Redis::new().await);
session_conformance::query_tests!(Redis::new().await);
