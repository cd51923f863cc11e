//! What a client can tell of why its cookie was refused: nothing.

use std::collections::BTreeSet;

use http::{HeaderMap, Method, header};
use session_core::{Kind, TokenCodec};
use session_native::{Clock as _, Config, OsRandom, Rejection, Secret, web::RequireAuth};

use crate::{
    app::routes,
    client::{Framework, Server, request},
    support::{World, config},
};

/// Status, header fields and body, without what differs by chance.
async fn answer(server: &Server, method: Method, path: &str, cookie: &str) -> (u16, HeaderMap, String) {
    let mut answer = server.send(request(method, path, cookie)).await;
    answer.headers.remove(header::DATE);
    if let Some(set) = answer.headers.get_mut(header::SET_COOKIE) {
        // The token of the new session: as long as any other.
        let (pair, attributes) = set.to_str().unwrap().split_once(';').unwrap();
        *set = format!("{};{attributes}", pair.len()).parse().unwrap();
    }
    (answer.status, answer.headers.clone(), answer.text().await)
}

// Row 24: byte for byte the same answer, whatever a cookie was refused for.
pub(crate) async fn every_refused_cookie_is_answered_alike<F: Framework>() {
    let world = World::new();
    let stranger = World::with(Config::testing(Secret::generate(&OsRandom).unwrap()), |sessions| sessions);
    let open = F::start(routes().of(&world));
    let guarded = F::start(routes().guarded(RequireAuth::unauthorized()).of(&world));

    let rotate = async |cookie: &str| {
        let mut session = world.load(cookie).await.unwrap();
        session.regenerate();
        world.commit(&mut session).await.unwrap();
    };
    let expired = world.sign_in("ada").await;
    world.clock.advance(config().expiry.idle());
    let reused = world.sign_in("ada").await;
    rotate(&reused).await;
    world.clock.advance(config().rotation_grace);
    let revoked = world.sign_in("ada").await;
    world.sessions.destroy(&mut world.load(&revoked).await.unwrap()).await.unwrap();
    let superseded = world.sign_in("ada").await;
    rotate(&superseded).await;
    let living = world.sign_in("ada").await;
    let mut forged = living.clone();
    let last = forged.len() - 3;
    let other = if &forged[last..=last] == "A" { "B" } else { "A" };
    forged.replace_range(last..=last, other);
    let held = TokenCodec::new(&config().keys, Kind::CookieHeld, "session");
    let wrong =
        held.seal(b"{}".into(), world.clock.now() + config().expiry.idle(), false, &OsRandom).unwrap();
    let cookies = [
        "session=rubbish".to_owned(),
        format!("session=B{}", &living["session=A".len()..]), // another version
        format!("session={}", "A".repeat(4097)),
        format!("session={wrong}"),
        stranger.sign_in("ada").await,
        forged,
        expired,
        reused,
        revoked,
        superseded,
    ];

    let mut reasons = BTreeSet::new();
    for cookie in &cookies {
        reasons.insert(world.load(cookie).await.unwrap().rejection().expect("refused").code());
    }
    let all: BTreeSet<_> = Rejection::ALL.map(Rejection::code).into();
    assert_eq!(all.difference(&reasons).collect::<Vec<_>>(), [&"bound-elsewhere"], "every other one occurs");

    for (server, method, path) in [
        (&open, Method::GET, "/read"),
        (&open, Method::GET, "/who"),
        (&open, Method::POST, "/logout"),
        (&guarded, Method::GET, "/who"),
        (&guarded, Method::POST, "/write"),
        (&open, Method::POST, "/write"),
    ] {
        let expected = answer(server, method.clone(), path, &cookies[0]).await;
        let writes = core::ptr::eq(server, &raw const open) && path == "/write";
        let removes = path == "/logout";
        assert_eq!(expected.1.contains_key(header::SET_COOKIE), writes || removes, "{path}");
        // A request with a token that was replaced just now gets no cookie, which could overwrite the new one (row 8).
        let alike = if writes { &cookies[..cookies.len() - 1] } else { &cookies[..] };
        for (number, cookie) in alike.iter().enumerate() {
            assert_eq!(
                answer(server, method.clone(), path, cookie).await,
                expected,
                "{path}, cookie {number}"
            );
        }
    }
}
