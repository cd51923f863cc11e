//! Requests that prove a device at the same time, in every order.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use http::HeaderMap;
use session_native::{MemoryStore, Sessions, Stored, dbsc::DeviceBound, web::SessionLayer};

use crate::{
    browser::{Device, parameter},
    support::{
        Data, World, config,
        explore::{Grain, Request, explore},
        store::StagedStore,
    },
};

type Bound = Sessions<Data, Stored<StagedStore>>;

fn sessions(world: &World) -> Bound {
    let memory = MemoryStore::builder().clock(world.clock.clone()).build();
    let staged = |memory| StagedStore::new(memory, Arc::clone(&world.stage));
    let sessions = Sessions::new(config(), staged(world.memory.clone())).unwrap().clock(world.clock.clone());
    sessions.device_bound(DeviceBound::at("/device", staged(memory))).unwrap()
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// Signs in: gives the cookie and the challenge for the first proof.
async fn sign_in(layer: &SessionLayer<Data>) -> (String, String) {
    let arrival = layer.arrive();
    arrival.session(None, &HeaderMap::new()).await.unwrap().authenticate("ada");
    let mut answer = HeaderMap::new();
    arrival.finish().await.write(&mut answer);
    let text = |name: &str| answer[name].to_str().unwrap();
    let cookie = text("set-cookie").split(';').next().unwrap().to_owned();
    (cookie, parameter(text("secure-session-registration"), "challenge").to_owned())
}

/// The status of a proof, or of the question for a challenge; and that challenge.
async fn send(layer: &SessionLayer<Data>, fields: &[(&'static str, &str)]) -> (u16, Option<String>) {
    let answer = layer.arrive().prove_device(None, &headers(fields)).await.unwrap();
    let mut sent = HeaderMap::new();
    answer.write(&mut sent);
    let field = sent.get("secure-session-challenge");
    let challenge = field.map(|field| field.to_str().unwrap().split('"').nth(1).unwrap().to_owned());
    (answer.status(), challenge)
}

/// What each request was answered.
type Statuses = Rc<RefCell<Vec<u16>>>;

fn request(layer: &SessionLayer<Data>, statuses: &Statuses, fields: Vec<(&'static str, String)>) -> Request {
    let (layer, statuses) = (layer.clone(), Rc::clone(statuses));
    Box::pin(async move {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
        let (status, _) = send(&layer, &fields).await;
        statuses.borrow_mut().push(status);
    })
}

#[test]
fn of_two_devices_one_is_bound() {
    explore("two first proofs", Grain::Answers, async |world| {
        let sessions = sessions(&world);
        let layer = SessionLayer::new(sessions.clone());
        let (cookie, challenge) = sign_in(&layer).await;
        let statuses = Statuses::default();
        let devices = [Device::new(), Device::new()];
        let first = |device: &Device| {
            let proof = device.first_proof(&challenge);
            request(&layer, &statuses, vec![("cookie", cookie.clone()), ("secure-session-response", proof)])
        };
        let requests = devices.iter().map(first).collect();
        (requests, async move {
            statuses.borrow_mut().sort_unstable();
            assert_eq!(*statuses.borrow(), [200, 400]);
        })
    });
}

#[test]
fn of_two_proofs_of_one_challenge_one_counts() {
    explore("two proofs of one challenge", Grain::Answers, async |world| {
        let sessions = sessions(&world);
        let layer = SessionLayer::new(sessions.clone());
        let (cookie, challenge) = sign_in(&layer).await;
        let device = Device::new();
        let first = device.first_proof(&challenge);
        assert_eq!(send(&layer, &[("cookie", &cookie), ("secure-session-response", &first)]).await.0, 200);
        let id = sessions.ids().await.unwrap()[0].to_string();
        let (_, challenge) = send(&layer, &[("cookie", &cookie), ("sec-secure-session-id", &id)]).await;
        let challenge = challenge.unwrap();

        let statuses = Statuses::default();
        let requests = (0..2).map(|_| {
            let proof = device.proof(&challenge);
            let fields = [
                ("cookie", cookie.clone()),
                ("sec-secure-session-id", id.clone()),
                ("secure-session-response", proof),
            ];
            request(&layer, &statuses, fields.into())
        });
        let requests = requests.collect();
        (requests, async move {
            statuses.borrow_mut().sort_unstable();
            assert_eq!(*statuses.borrow(), [200, 403]);
        })
    });
}

#[test]
fn a_proof_brings_no_session_back_that_is_being_signed_out() {
    explore("a proof against a sign-out", Grain::Answers, async |world| {
        let sessions = sessions(&world);
        let layer = SessionLayer::new(sessions.clone());
        let (cookie, challenge) = sign_in(&layer).await;
        let device = Device::new();
        let first = device.first_proof(&challenge);
        let statuses = Statuses::default();
        let sign_out = {
            let (layer, fields) = (layer.clone(), headers(&[("cookie", &cookie)]));
            Box::pin(async move {
                let arrival = layer.arrive();
                arrival.session(None, &fields).await.unwrap().destroy().await.unwrap();
                assert!(arrival.finish().await.failure().is_none());
            })
        };
        let proof = request(
            &layer,
            &statuses,
            vec![("cookie", cookie.clone()), ("secure-session-response", first.clone())],
        );
        let requests: Vec<Request> = vec![sign_out, proof];
        (requests, async move {
            assert!(matches!(**statuses.borrow(), [200 | 401]));
            let fields = headers(&[("cookie", &cookie)]);
            assert!(!layer.arrive().session(None, &fields).await.unwrap().is_authenticated());
            assert_eq!(
                send(&layer, &[("cookie", &cookie), ("secure-session-response", &first)]).await.0,
                401
            );
        })
    });
}
