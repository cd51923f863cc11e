//! Bindings on a real Redis server, beside the sessions.

use core::time::Duration;

use session_faults::servers::RedisServer;
use session_native::{ManualClock, RedisStore, Sessions, dbsc::DeviceBound};

use crate::{
    browser::{Browser, challenge_of},
    site::Axum,
    support::{Data, config},
};

#[tokio::test]
async fn the_protocol_runs_on_redis() {
    let server = RedisServer::start().await;
    // However busy the machine is.
    let long = Duration::from_secs(30);
    let builder = || RedisStore::builder(server.url()).response_timeout(long).operation_timeout(long);
    let store = async |prefix| builder().prefix(prefix).connect().await.unwrap();
    let (kept, bindings) = (store("sessions").await, store("devices").await);
    let sessions = Sessions::<Data, _>::new(config(), kept.clone()).unwrap();
    let sessions = sessions.device_bound(DeviceBound::at("/device", bindings.clone())).unwrap();
    let site = Axum::new(sessions.clone());

    let mut browser = Browser::new(&site, &ManualClock::default());
    browser.post("/login").await;
    let key = sessions.ids().await.unwrap()[0];
    let device = sessions.device(&key).await.unwrap().unwrap();
    let challenge = browser.challenge().await;
    let proof = browser.bound.as_ref().unwrap().device.proof(&challenge);
    assert_eq!(browser.prove(&proof).await.status(), 200);
    assert!(challenge_of(&browser.prove(&proof).await).is_some(), "a replay");
    let later = sessions.device(&key).await.unwrap().unwrap();
    assert_eq!(later.key, device.key);
    assert!(later.proven_at >= device.proven_at);

    // Many at once, of one challenge: one counts.
    let challenge = browser.challenge().await;
    let bound = browser.bound.as_ref().unwrap();
    let (id, cookie) =
        (format!("\"{}\"", bound.id), format!("session={}", browser.cookie("session").unwrap()));
    let proofs = (0..20).map(|_| {
        let (site, id, cookie, proof) = (&site, &id, &cookie, bound.device.proof(&challenge));
        async move {
            let fields =
                [("cookie", &**cookie), ("sec-secure-session-id", id), ("secure-session-response", &proof)];
            let mut tab = Browser::ignorant(site, &ManualClock::default());
            tab.send(http::Method::POST, "/device", &fields).await.status().as_u16()
        }
    });
    let mut statuses = futures_util::future::join_all(proofs).await;
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1..].iter().all(|status| *status == 403)), (200, true), "{statuses:?}");

    browser.post("/logout").await;
    assert!(sessions.device(&key).await.unwrap().is_none());
    assert_eq!(browser.ask_for_challenge().await.status(), 401);
}
