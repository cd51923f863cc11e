//! What browsers and thieves can do with a session that is bound to a device.

use core::time::Duration;

use http::Method;
use serde_json::{Value, json};
use session_native::{Client, Rejection, Store as _};

use crate::{
    browser::{Browser, Device, parameter},
    site::{LIFE, Site, World},
    support::store::{Fault, Op},
};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The cookies of the sites here.
const SESSION: &str = "session";
const BOUND: &str = "session-device";

/// Signs in, and binds the session.
async fn signed_in<'a, S: Site>(world: &World, site: &'a S) -> Browser<'a, S> {
    let mut browser = Browser::new(site, &world.clock);
    assert_eq!(browser.post("/login").await.status(), 200);
    assert!(browser.bound.is_some(), "the browser registered");
    browser
}

/// The whole protocol: sign-in, first proof, refreshes, sign-out.
async fn whole(world: &World, site: &impl Site) {
    let mut browser = Browser::new(site, &world.clock);
    let offered = browser.send(Method::POST, "/login", &[]).await;
    let offer = browser.offer.take().unwrap();
    assert!(offer.starts_with(r#"(ES256);path="/device";challenge=""#), "{offer}");
    assert_eq!(offered.headers()["cache-control"], "no-store");
    let first = browser.register(&offer).await;
    assert_eq!(first.headers()["content-type"], "application/json");
    assert_eq!(first.headers()["cache-control"], "no-store");
    let instructions: Value = serde_json::from_str(first.body()).unwrap();
    let credential =
        json!({ "type": "cookie", "name": BOUND, "attributes": "Path=/; HttpOnly; SameSite=Lax" });
    assert_eq!(
        instructions,
        json!({
            "session_identifier": browser.bound.as_ref().unwrap().id,
            "refresh_url": "/device",
            "scope": { "include_site": false },
            "credentials": [credential],
        })
    );
    // The browser is told nine tenths of what counts here.
    let set_cookie = first.headers()["set-cookie"].to_str().unwrap();
    assert!(set_cookie.contains("; Max-Age=540;"), "{set_cookie}");

    for _ in 0..24 {
        world.advance(Duration::from_secs(300));
        let account = browser.get("/account").await;
        assert_eq!((account.status().as_u16(), &**account.body()), (200, "ada"));
        assert!(browser.offer.is_none());
    }
    // The bound cookie is good for one visit more.
    assert_eq!(browser.proofs, 1 + 12);

    assert_eq!(browser.post("/logout").await.status(), 200);
    world.advance(LIFE);
    assert_eq!(browser.get("/account").await.status(), 401);
    assert!(browser.bound.is_none(), "the browser was told that it is over");
    assert_eq!(world.bindings.stats().sessions, 0);
}

#[tokio::test]
async fn a_bound_session_goes_on_by_proofs_until_the_sign_out() {
    let world = World::new();
    whole(&world, &world.axum()).await;
}

#[cfg(feature = "actix")]
#[tokio::test]
async fn a_bound_session_goes_on_by_proofs_in_actix_web() {
    let world = World::new();
    whole(&world, &world.actix()).await;
}

#[tokio::test]
async fn a_stolen_cookie_is_dead_after_the_life_of_one_proof_though_its_owner_goes_on() {
    let world = World::new();
    let site = world.axum();
    let mut browser = signed_in(&world, &site).await;
    world.advance(LIFE);
    assert_eq!(browser.get("/account").await.status(), 200);

    let mut thief = browser.steal();
    // Without the bound cookie the session's is worth nothing at all; with it, what is left of the proof's time. (The browser would have sent it
    // for nine tenths of that; a thief sends it for as long as it pleases.)
    let bound = browser.cookie(BOUND).unwrap().to_owned();
    thief.forget(BOUND);
    assert_eq!(thief.get("/account").await.status(), 401);
    thief.plant(BOUND, &bound);
    world.advance(LIFE - MILLISECOND);
    assert_eq!(thief.get("/account").await.status(), 200);
    assert_eq!(browser.get("/account").await.status(), 200);
    assert_eq!(browser.proofs, 3, "the owner has proved the device again meanwhile");
    world.advance(MILLISECOND);
    assert_eq!(thief.get("/account").await.status(), 401);
    assert_eq!(*world.refused.lock().unwrap(), [Rejection::BoundElsewhere; 2]);
    // To a refused request the session is none, also where nobody must be signed in; its cookies are left alone.
    let public = thief.get("/public").await;
    assert_eq!((&**public.body(), public.headers().contains_key("set-cookie")), ("", false));
    assert_eq!(browser.get("/account").await.status(), 200);
}

// Row 10: without its device a cookie is good for one thing, which harms nobody for long: a browser that lost its key can sign out.
#[tokio::test]
async fn a_cookie_without_its_device_can_still_sign_out() {
    let world = World::new();
    let site = world.axum();
    let mut browser = signed_in(&world, &site).await;
    world.advance(LIFE);
    let mut copy = browser.steal();
    copy.forget(BOUND);
    assert_eq!(copy.get("/account").await.status(), 401);
    assert_eq!(copy.post("/logout").await.status(), 200);
    assert_eq!(*world.refused.lock().unwrap(), [Rejection::BoundElsewhere; 2]);
    assert_eq!(browser.get("/account").await.status(), 401);
    assert_eq!(world.refused.lock().unwrap().last(), Some(&Rejection::Revoked));
    assert_eq!(world.bindings.stats().sessions, 0);
}

#[tokio::test]
async fn a_session_cookie_that_is_stolen_before_the_first_refresh_dies_with_the_first_proof() {
    let world = World::new();
    let site = world.axum();
    let browser = signed_in(&world, &site).await;
    let mut thief = browser.steal();
    thief.forget(BOUND);
    world.advance(LIFE - MILLISECOND);
    // Requests that were on their way while the browser registered come so, too.
    assert_eq!(thief.get("/account").await.status(), 200);
    world.advance(MILLISECOND);
    assert_eq!(thief.get("/account").await.status(), 401);
}

#[tokio::test]
async fn a_thief_has_no_proof() {
    let world = World::new();
    let site = world.axum();
    let mut browser = signed_in(&world, &site).await;
    let id = format!("\"{}\"", browser.bound.as_ref().unwrap().id);
    let (mut thief, device) = (browser.steal(), Device::new());
    // The challenge is to be had, and of no use without the key.
    let asked = thief.send(Method::POST, "/device", &[("sec-secure-session-id", &id)]).await;
    let challenge = crate::browser::challenge_of(&asked).unwrap();
    for proof in [device.proof(&challenge), device.first_proof(&challenge), String::new(), "junk".into()] {
        let fields = [("sec-secure-session-id", &*id), ("secure-session-response", &*proof)];
        assert_eq!(thief.send(Method::POST, "/device", &fields).await.status(), 400, "{proof}");
        // Nor can it bind the session anew.
        let fields = [("secure-session-response", &*proof)];
        assert_eq!(thief.send(Method::POST, "/device", &fields).await.status(), 400, "{proof}");
    }
    // The owner is none the worse for it, and may still use the challenge that the thief asked for.
    let proof = browser.bound.as_ref().unwrap().device.proof(&challenge);
    assert_eq!(browser.prove(&proof).await.status(), 200);
}

#[tokio::test]
async fn a_challenge_is_good_once() {
    let world = World::new();
    let site = world.axum();
    let mut browser = Browser::new(&site, &world.clock);
    browser.send(Method::POST, "/login", &[]).await;
    let offer = browser.offer.take().unwrap();
    let device = Device::new();
    let first = device.first_proof(parameter(&offer, "challenge"));
    assert_eq!(browser.register_with(device, "/device", &first).await.status(), 200);
    // The same proof again, and the same challenge with another device.
    assert_eq!(
        browser.send(Method::POST, "/device", &[("secure-session-response", &first)]).await.status(),
        400
    );
    let other = Device::new().first_proof(parameter(&offer, "challenge"));
    assert_eq!(
        browser.send(Method::POST, "/device", &[("secure-session-response", &other)]).await.status(),
        400
    );

    let challenge = browser.challenge().await;
    let unused = browser.challenge().await;
    assert_ne!(challenge, unused);
    let proof = browser.bound.as_ref().unwrap().device.proof(&challenge);
    assert_eq!(browser.prove(&proof).await.status(), 200);
    // The same proof, a new signature of the same challenge, and one that was given for the same proof to come: each is answered with a new
    // challenge, because two tabs of an honest browser may do so.
    let again = browser.bound.as_ref().unwrap().device.proof(&challenge);
    let other = browser.bound.as_ref().unwrap().device.proof(&unused);
    for spent in [&proof, &again, &other, &first] {
        let answer = browser.prove(spent).await;
        assert_eq!(answer.status(), 403);
        assert!(!answer.headers().contains_key("set-cookie"));
        assert!(crate::browser::challenge_of(&answer).is_some());
    }
    let key = world.sessions.ids().await.unwrap()[0];
    let version = world.bindings.load(&key, session_native::store::Lookup::default()).await.unwrap();
    assert_eq!(version.unwrap().record.version.counter, 2, "two proofs counted");
}

#[tokio::test]
async fn a_challenge_is_good_for_five_minutes() {
    let world = World::new();
    let site = world.axum();
    for (wait, first, later) in
        [(Duration::from_secs(300) - MILLISECOND, 200, 200), (Duration::from_secs(300), 400, 403)]
    {
        let mut browser = Browser::new(&site, &world.clock);
        browser.send(Method::POST, "/login", &[]).await;
        let offer = browser.offer.take().unwrap();
        world.advance(wait);
        assert_eq!(browser.register(&offer).await.status(), first, "{wait:?}");

        let mut browser = signed_in(&world, &site).await;
        let challenge = browser.challenge().await;
        world.advance(wait);
        let proof = browser.bound.as_ref().unwrap().device.proof(&challenge);
        assert_eq!(browser.prove(&proof).await.status(), later, "{wait:?}");
    }
}

#[tokio::test]
async fn a_challenge_is_good_for_one_session() {
    let world = World::new();
    let site = world.axum();
    let mut thief = Browser::new(&site, &world.clock);
    thief.send(Method::POST, "/login", &[]).await;
    let offer = thief.offer.take().unwrap();
    // The thief has an account here, too: its challenge binds no session of another.
    let mut victim = Browser::ignorant(&site, &world.clock);
    victim.post("/login").await;
    assert_eq!(victim.steal().register(&offer).await.status(), 400);

    let (mut one, mut two) = (signed_in(&world, &site).await, signed_in(&world, &site).await);
    let challenge = one.challenge().await;
    let proof = two.bound.as_ref().unwrap().device.proof(&challenge);
    assert_eq!(two.prove(&proof).await.status(), 403);
    // A challenge to bind is none to refresh, and the other way round.
    let fresh = two.challenge().await;
    assert_eq!(
        victim.steal().register(&format!("(ES256);path=\"/device\";challenge=\"{fresh}\"")).await.status(),
        400
    );
    let proof = two.bound.as_ref().unwrap().device.proof(parameter(&offer, "challenge"));
    assert_eq!(two.prove(&proof).await.status(), 403);
}

#[tokio::test]
async fn a_browser_without_the_protocol_goes_on_as_ever() {
    let world = World::new();
    let site = world.axum();
    let mut browser = Browser::ignorant(&site, &world.clock);
    assert_eq!(browser.post("/login").await.status(), 200);
    for _ in 0..40 {
        world.advance(Duration::from_secs(1800));
        let account = browser.get("/account").await;
        assert_eq!((account.status().as_u16(), &**account.body()), (200, "ada"));
    }
    assert!(browser.cookie(BOUND).is_none());
    assert_eq!(world.bindings.stats().sessions, 0, "nothing was written for it");
}

#[tokio::test]
async fn a_sign_out_is_final() {
    let world = World::new();
    let site = world.axum();
    let mut browser = signed_in(&world, &site).await;
    let before = browser.steal();
    let challenge = browser.challenge().await;
    assert_eq!(browser.post("/logout").await.status(), 200);
    // With everything from before, and the key.
    let bound = browser.bound.take().unwrap();
    let proofs = [bound.device.proof(&challenge), bound.device.first_proof(&challenge)];
    let mut restored = before.steal();
    restored.bound = Some(bound);
    assert_eq!(restored.ask_for_challenge().await.status(), 401);
    for proof in &proofs {
        assert_eq!(restored.prove(proof).await.status(), 401);
        let first = restored.send(Method::POST, "/device", &[("secure-session-response", proof)]).await;
        assert_eq!(first.status(), 401);
    }
    assert_eq!(restored.send(Method::GET, "/account", &[]).await.status(), 401);
    assert_eq!(world.bindings.stats().sessions, 0);
}

#[tokio::test]
async fn a_rotation_keeps_the_binding() {
    let world = World::new();
    let site = world.axum();
    let mut browser = signed_in(&world, &site).await;
    let key = world.sessions.ids().await.unwrap()[0];
    let device = world.sessions.device(&key).await.unwrap().unwrap();
    let (token, challenge) = (browser.cookie(SESSION).unwrap().to_owned(), browser.challenge().await);
    // A step-up is a rotation, too, and offers nothing to a session that is bound.
    for path in ["/regenerate", "/step-up"] {
        world.advance(SECOND);
        assert_eq!(browser.send(Method::POST, path, &[]).await.status(), 200);
        assert!(browser.offer.is_none());
        assert_ne!(browser.cookie(SESSION).unwrap(), token);
        assert_eq!(browser.get("/account").await.status(), 200);
    }
    let proof = browser.bound.as_ref().unwrap().device.proof(&challenge);
    assert_eq!(browser.prove(&proof).await.status(), 200);
    world.advance(LIFE);
    assert_eq!(browser.get("/account").await.status(), 200);
    let later = world.sessions.device(&key).await.unwrap().unwrap();
    assert_eq!((&later.key, later.bound_at), (&device.key, device.bound_at));
    assert_eq!(later.proven_at.since(device.proven_at), LIFE + 2 * SECOND);
}

/// A browser proves its device by itself, at any time: also while it waits for the answer with a new token.
async fn crosses_a_rotation(world: &World, site: &impl Site) {
    let mut browser = signed_in(world, site).await;
    let old = browser.cookie(SESSION).unwrap().to_owned();
    let challenge = browser.challenge().await;
    let mut other_tab = world.sessions.load(format!("{SESSION}={old}"), &Client::default()).await.unwrap();
    other_tab.regenerate();
    let set = world.sessions.commit(&mut other_tab).await.unwrap().unwrap();
    let proof = browser.bound.as_ref().unwrap().device.proof(&challenge);
    for answer in [browser.ask_for_challenge().await, browser.prove(&proof).await] {
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (503, &"1".parse().unwrap())
        );
        assert!(!answer.headers().contains_key("set-cookie"));
    }
    browser.refresh().await;
    assert!(browser.bound.is_some(), "it keeps its key, and tries again");

    browser.plant(SESSION, set.value());
    world.advance(LIFE);
    assert_eq!(browser.get("/account").await.status(), 200);
    // Long after the rotation nobody waits for an answer any more.
    browser.plant(SESSION, &old);
    assert_eq!(browser.ask_for_challenge().await.status(), 401);
}

#[tokio::test]
async fn a_proof_that_crosses_a_rotation_is_to_be_sent_again() {
    let world = World::new();
    crosses_a_rotation(&world, &world.axum()).await;
}

#[cfg(feature = "actix")]
#[tokio::test]
async fn a_proof_that_crosses_a_rotation_is_to_be_sent_again_in_actix_web() {
    let world = World::new();
    crosses_a_rotation(&world, &world.actix()).await;
}

#[tokio::test]
async fn who_signs_in_as_another_binds_anew() {
    let world = World::new();
    let site = world.axum();
    let mut browser = signed_in(&world, &site).await;
    let key = world.sessions.ids().await.unwrap()[0];
    let thumbprint = async || world.sessions.device(&key).await.unwrap().unwrap().key.thumbprint();
    let before = (thumbprint().await, browser.challenge().await);
    world.advance(SECOND);
    // On the same session: it may be one that someone else has prepared, and has bound to a device of theirs.
    assert_eq!(browser.send(Method::POST, "/grace", &[]).await.status(), 200);
    let offer = browser.offer.take().unwrap();
    assert_eq!(world.sessions.ids().await.unwrap(), [key]);
    // The old binding is nobody's: it proves nothing, and keeps nobody out.
    assert_eq!(browser.ask_for_challenge().await.status(), 401);
    let old = browser.bound.take().unwrap().device;
    let challenges = [&*before.1, parameter(&offer, "challenge")];
    for challenge in challenges {
        let id = format!("\"{key}\"");
        let fields = [("sec-secure-session-id", &*id), ("secure-session-response", &old.proof(challenge))];
        assert_eq!(browser.send(Method::POST, "/device", &fields).await.status(), 401);
    }
    let late = browser.steal();
    assert_eq!(browser.register(&offer).await.status(), 200);
    assert_ne!(thumbprint().await, before.0);
    // Once.
    assert_eq!(late.steal().register(&offer).await.status(), 400);
    world.advance(LIFE);
    assert_eq!(browser.get("/account").await.body(), "grace");
    let mut thief = browser.steal();
    thief.forget(BOUND);
    assert_eq!(thief.get("/account").await.status(), 401);
    // And who doesn't take up the offer is as unbound as anyone.
    assert_eq!(browser.send(Method::POST, "/login", &[]).await.status(), 200);
    browser.bound = None;
    world.advance(LIFE);
    assert_eq!(browser.get("/account").await.body(), "ada");
}

#[tokio::test]
async fn who_lost_the_key_signs_in_anew() {
    let world = World::new();
    let site = world.axum();
    let mut browser = signed_in(&world, &site).await;
    let lost = browser.bound.take().unwrap();
    world.advance(LIFE);
    assert_eq!(browser.get("/account").await.status(), 401);
    assert_eq!(browser.post("/login").await.status(), 200);
    assert_eq!(browser.get("/account").await.status(), 200);
    let id = browser.bound.as_ref().unwrap().id.clone();
    assert_ne!(id, lost.id, "it is another session");
    // What the browser may still know of the one before is over, and takes nothing from the new one.
    let new = browser.bound.replace(lost).unwrap();
    assert_eq!(browser.ask_for_challenge().await.status(), 401);
    browser.refresh().await;
    assert!(browser.bound.is_none());
    browser.bound = Some(new);
    world.advance(LIFE);
    assert_eq!(browser.get("/account").await.status(), 200);
}

#[tokio::test]
async fn a_binding_is_offered_with_a_sign_in_alone() {
    let world = World::new();
    let site = world.axum();
    let mut browser = Browser::ignorant(&site, &world.clock);
    browser.send(Method::GET, "/public", &[]).await;
    assert!(browser.offer.is_none());
    browser.send(Method::POST, "/login", &[]).await;
    assert!(browser.offer.is_some());
    let mut hasty = Browser::ignorant(&site, &world.clock);
    assert_eq!(hasty.send(Method::POST, "/in-and-out", &[]).await.status(), 200);
    assert!(hasty.offer.is_none());
    for (method, path) in
        [(Method::GET, "/account"), (Method::POST, "/regenerate"), (Method::POST, "/logout")]
    {
        assert_eq!(browser.send(method, path, &[]).await.status(), 200);
        assert!(browser.offer.is_none(), "{path}");
    }
}

#[tokio::test]
async fn proofs_keep_no_session_from_its_idle_timeout() {
    let world = World::new();
    let site = world.axum();
    let mut browser = signed_in(&world, &site).await;
    let key = world.sessions.ids().await.unwrap()[0];
    let end = async || world.sessions.get(&key).await.unwrap().unwrap().expires_at;
    let before = end().await;
    for _ in 0..7 {
        world.advance(Duration::from_secs(500));
        browser.refresh().await;
        assert!(browser.bound.is_some());
        assert_eq!(end().await, before);
    }
    world.advance(Duration::from_secs(100));
    browser.refresh().await;
    assert!(browser.bound.is_none(), "an hour without a visit");
}

#[tokio::test]
async fn the_bound_cookie_spares_the_look_at_the_binding() {
    let world = World::new();
    let site = world.axum();
    let mut browser = signed_in(&world, &site).await;
    let looks = async |browser: &mut Browser<'_, _>, path| {
        let before = world.stage.calls();
        assert_eq!(browser.send(Method::GET, path, &[]).await.status(), 200);
        world.stage.calls() - before
    };
    assert_eq!(looks(&mut browser, "/account").await, 0);
    browser.forget(BOUND);
    assert_eq!(looks(&mut browser, "/account").await, 1);
    assert_eq!(looks(&mut Browser::ignorant(&site, &world.clock), "/public").await, 0);
}

#[tokio::test]
async fn without_the_bindings_nobody_is_taken_for_unbound() {
    let world = World::new();
    let site = world.axum();
    let mut browser = signed_in(&world, &site).await;
    world.stage.down(true);
    // Who has just proved the device doesn't notice.
    assert_eq!(browser.send(Method::GET, "/account", &[]).await.status(), 200);
    let mut thief = browser.steal();
    thief.forget(BOUND);
    assert_eq!(thief.get("/account").await.status(), 503);
    assert_eq!(browser.ask_for_challenge().await.status(), 503, "the browser keeps the key, and tries again");
    // A sign-in is not kept from anyone; it is unbound, and says so in the log.
    let mut other = Browser::new(&site, &world.clock);
    assert_eq!(other.post("/login").await.status(), 200);
    assert!(other.bound.is_none());
    assert_eq!(browser.post("/logout").await.status(), 200);
    world.stage.down(false);
    assert_eq!(thief.get("/account").await.status(), 401);
}

#[tokio::test]
async fn a_proof_whose_answer_was_lost_is_asked_for_again() {
    let world = World::new();
    let site = world.axum();
    let mut browser = signed_in(&world, &site).await;
    let challenge = browser.challenge().await;
    let proof = browser.bound.as_ref().unwrap().device.proof(&challenge);
    world.stage.fail(Op::Save, Fault::After);
    assert_eq!(browser.prove(&proof).await.status(), 503);
    assert_eq!(browser.prove(&proof).await.status(), 403);
    world.advance(LIFE);
    assert_eq!(browser.get("/account").await.status(), 200);
}
