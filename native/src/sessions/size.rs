//! How much of a request's memory its session takes while it waits for the store.
//!
//! Up to [`AT_HAND`] bytes glibc's allocator keeps some blocks for each thread. What is larger is had under a lock, and sets off that free blocks are
//! merged: where a request is begun by one thread and goes on in another, they wait for each other there.

use std::sync::Mutex;

use session_core::{Client, Config, OsRandom, Secret};
use session_faults::servers::RedisServer;

use super::{Sessions, Terms, save::Conflicting};
use crate::store::{Freshness, RedisStore};

/// Bytes.
const AT_HAND: usize = 1032;

#[tokio::test]
async fn what_a_request_waits_with_is_small() {
    let server = RedisServer::start().await;
    let store = RedisStore::connect(&server.url()).await.expect("a connection");
    let config = Config::development(Secret::generate(&OsRandom).expect("random bytes"));
    let sessions = Sessions::<(), _>::new(config, store).expect("a configuration");
    let (client, freshness) = (Client::default(), Freshness::default());
    let session = Mutex::new(Box::new(sessions.create()));
    let sizes = [
        size_of_val(&sessions.load_boxed([&b""[..]], &client, freshness)),
        size_of_val(&sessions.load_token(b"", Terms::new(&client, freshness))),
        size_of_val(&sessions.commit_cell(&session)),
        size_of_val(&sessions.contend(&session, Conflicting::Merge)),
    ];
    assert!(sizes.iter().all(|size| *size <= AT_HAND), "{sizes:?} bytes");
}
