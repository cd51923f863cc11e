//! What becomes of fields that two requests changed, and of what a request wanted to write into a session that was rotated meanwhile.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure")]

mod support;

use core::cell::Cell;
use std::{rc::Rc, sync::Arc};

use serde::{Deserialize, Serialize};
use session_native::{
    Client, CoreError, Error, MemoryStore, MergePolicies, MergePolicy, Query as _, Rejection, Session,
    SessionData, Sessions, State, Stored, SubjectTag,
};
use support::{
    config, cookie_of,
    explore::{Grain, Request, explore},
    store::{Fault, Op, Stage, StagedStore},
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Shop {
    visits: u32,
    best: i64,
    theme: String,
    language: String,
    address: String,
    cart: Cart,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Cart {
    items: Vec<u32>,
    voucher: Option<String>,
}

impl SessionData for Shop {
    fn merge_policies() -> MergePolicies {
        MergePolicies::new()
            .field("visits", MergePolicy::Sum)
            .field("best", MergePolicy::Max)
            .field("language", MergePolicy::Theirs)
            .field("address", MergePolicy::Fail)
            .field("cart.items", MergePolicy::Union)
            .survives_rotation("cart.items")
            .survives_rotation("visits")
    }
}

struct Site {
    sessions: Sessions<Shop, Stored<StagedStore>>,
    memory: MemoryStore,
    stage: Arc<Stage>,
}

impl Site {
    fn new() -> Self {
        Self::on(MemoryStore::new(), Arc::default())
    }

    fn on(memory: MemoryStore, stage: Arc<Stage>) -> Self {
        let store = StagedStore::new(memory.clone(), Arc::clone(&stage));
        Self { sessions: Sessions::new(config(), store).unwrap(), memory, stage }
    }

    async fn load(&self, cookie: &str) -> Session<Shop> {
        self.sessions.load(cookie, &Client::default()).await.unwrap()
    }

    /// A whole request; the cookie that its client has afterwards.
    async fn visit(&self, cookie: &str, handler: impl FnOnce(&mut Session<Shop>)) -> String {
        let mut session = self.load(cookie).await;
        handler(&mut session);
        let sent = self.sessions.commit(&mut session).await.unwrap();
        sent.as_ref().map_or_else(|| cookie.to_owned(), cookie_of)
    }

    async fn data(&self, cookie: &str) -> Shop {
        let session = self.load(cookie).await;
        assert_eq!(session.state(), State::Active);
        session.data().clone()
    }
}

#[tokio::test]
async fn each_field_is_merged_under_its_policy() {
    let site = Site::new();
    let cookie = site
        .visit("", |session| {
            let data = session.data_mut();
            data.visits = 5;
            data.cart.items = vec![1, 2];
        })
        .await;
    let mut slow = site.load(&cookie).await;
    site.visit(&cookie, |session| {
        let data = session.data_mut();
        data.visits += 2;
        data.best = 30;
        (data.theme, data.language) = ("dark".into(), "fr".into());
        data.cart.items = vec![1, 2, 3];
    })
    .await;
    let data = slow.data_mut();
    data.visits += 1;
    data.best = 20;
    (data.theme, data.language) = ("blue".into(), "de".into());
    data.address = "Rue 1".into();
    data.cart.items = vec![2, 4];
    site.sessions.commit(&mut slow).await.unwrap();
    assert_eq!(slow.data(), &site.data(&cookie).await);
    let expected = Shop {
        visits: 8,
        best: 30,
        theme: "blue".into(),
        language: "fr".into(),
        address: "Rue 1".into(),
        cart: Cart { items: vec![2, 3, 4], voucher: None },
    };
    assert_eq!(slow.data(), &expected);
}

#[tokio::test]
async fn a_conflict_that_must_not_be_saves_nothing() {
    let site = Site::new();
    let cookie = site.visit("", |session| session.data_mut().visits = 1).await;
    let mut slow = site.load(&cookie).await;
    site.visit(&cookie, |session| session.data_mut().address = "Rue 1".into()).await;
    slow.data_mut().address = "Rue 2".into();
    slow.data_mut().visits += 1;
    for _ in 0..2 {
        let error = site.sessions.commit(&mut slow).await.unwrap_err();
        assert!(error.is_conflict() && !error.is_unavailable());
        assert!(matches!(error, Error::Core(CoreError::MergeConflict { field }) if field == "address"));
        let data = site.data(&cookie).await;
        assert_eq!((data.visits, data.address.as_str()), (1, "Rue 1"));
    }
    // An exact update is done on what is there: it conflicts with nothing.
    let mut other = site.load(&cookie).await;
    site.visit(&cookie, |session| session.data_mut().address = "Rue 3".into()).await;
    site.sessions.update(&mut other, |data| data.address.push('!')).await.unwrap();
    assert_eq!(site.data(&cookie).await.address, "Rue 3!");
}

#[tokio::test]
async fn a_sum_that_its_type_cannot_hold_saves_nothing() {
    let site = Site::new();
    let cookie = site.visit("", |session| session.data_mut().visits = 2).await;
    let mut slow = site.load(&cookie).await;
    site.visit(&cookie, |session| session.data_mut().visits = 0).await;
    slow.data_mut().visits = 0;
    assert!(matches!(
        site.sessions.commit(&mut slow).await,
        Err(Error::Core(CoreError::Unreadable(session_native::Unreadable::Data)))
    ));
    assert_eq!(site.data(&cookie).await.visits, 0);
}

/// What a request that was slower than a rotation wanted to write.
fn change_everything(session: &mut Session<Shop>) {
    session.flash_mut().set_notice("mine");
    let data = session.data_mut();
    data.visits += 1;
    data.theme = "mine".into();
    data.address = "mine".into();
    data.cart = Cart { items: vec![1, 2], voucher: Some("mine".into()) };
}

#[tokio::test]
async fn only_declared_fields_survive_a_rotation() {
    for rotate in [Session::<Shop>::regenerate, |session: &mut Session<Shop>| session.authenticate("ada")] {
        let site = Site::new();
        let old = site.visit("", |session| session.data_mut().cart.items = vec![1]).await;
        let mut slow = site.load(&old).await;
        let mut later = site.load(&old).await;
        let new = site
            .visit(&old, |session| {
                rotate(session);
                session.data_mut().visits = 7;
                session.data_mut().cart.items = vec![1, 3];
            })
            .await;
        let before = site.load(&new).await;

        change_everything(&mut slow);
        assert!(matches!(site.sessions.commit(&mut slow).await, Err(Error::Ended(Rejection::Superseded))));
        assert_eq!((slow.state(), slow.subject()), (State::Anonymous(Some(Rejection::Superseded)), None));
        assert_eq!(slow.data(), &Shop::default(), "the request sees nothing of the session of after");
        assert!(site.sessions.commit(&mut slow).await.unwrap().is_none(), "and gets no cookie");

        let after = site.load(&new).await;
        let expected =
            Shop { visits: 8, cart: Cart { items: vec![1, 3, 2], voucher: None }, ..before.data().clone() };
        assert_eq!(after.data(), &expected);
        assert_eq!(
            (after.subject(), after.rotation(), after.authenticated_at(), after.flash().notice()),
            (before.subject(), 1, before.authenticated_at(), None)
        );

        // Nothing of what is declared was changed: nothing is written.
        later.data_mut().theme = "late".into();
        assert!(matches!(site.sessions.commit(&mut later).await, Err(Error::Ended(Rejection::Superseded))));
        assert_eq!(site.load(&new).await.version(), after.version());
        // What arrives with the old token is refused, whatever is declared.
        assert_eq!(site.load(&old).await.rejection(), Some(Rejection::Superseded));
    }
}

#[tokio::test]
async fn nothing_survives_from_one_subject_to_another() {
    let site = Site::new();
    let old = site.visit("", |session| session.authenticate("ada")).await;
    let (mut slow, mut rival) = (site.load(&old).await, site.load(&old).await);
    let new = site.visit(&old, |session| session.authenticate("bob")).await;
    change_everything(&mut slow);
    // Who signs in at the same time takes nothing along into the other's session.
    rival.authenticate("eve");
    change_everything(&mut rival);
    for mut late in [slow, rival] {
        assert!(matches!(site.sessions.commit(&mut late).await, Err(Error::Ended(Rejection::Superseded))));
    }
    assert_eq!(site.data(&new).await, Shop::default());

    let visitor = site.visit("", |session| session.data_mut().best = 1).await;
    let mut rival = site.load(&visitor).await;
    let new = site.visit(&visitor, |session| session.authenticate("bob")).await;
    rival.authenticate("eve");
    change_everything(&mut rival);
    assert!(matches!(site.sessions.commit(&mut rival).await, Err(Error::Ended(Rejection::Superseded))));
    assert_eq!(site.data(&new).await, Shop { best: 1, ..Shop::default() });
}

#[tokio::test]
async fn nothing_survives_the_end_of_a_session() {
    let site = Site::new();
    let old = site.visit("", |session| session.authenticate("ada")).await;
    let mut slow = site.load(&old).await;
    site.sessions.destroy(&mut site.load(&old).await).await.unwrap();
    change_everything(&mut slow);
    assert!(matches!(site.sessions.commit(&mut slow).await, Err(Error::Ended(Rejection::Revoked))));
    assert!(site.memory.by_subject(&SubjectTag::new("ada")).await.unwrap().is_empty());
}

#[tokio::test]
async fn survivors_that_were_not_saved_can_be_saved_again() {
    let site = Site::new();
    let old = site.visit("", |session| session.data_mut().theme = "x".into()).await;
    let mut slow = site.load(&old).await;
    let new = site.visit(&old, |session| session.authenticate("ada")).await;
    slow.data_mut().visits = 1;
    // The first save finds the rotation; the second, of what survives, fails. (Faults are taken in order: this one lets the first pass.)
    site.stage.pass(Op::Save, 1);
    site.stage.fail(Op::Save, Fault::Before);
    assert!(matches!(site.sessions.commit(&mut slow).await, Err(Error::Store(_))));
    assert_eq!(slow.subject(), None, "and shows nothing of the session of after");
    assert!(site.stage.all_failed());
    assert!(matches!(site.sessions.commit(&mut slow).await, Err(Error::Ended(Rejection::Superseded))));
    assert_eq!(site.data(&new).await.visits, 1);
}

/// In every order of the store's operations: what survives is written once and for its own session alone, and brings nothing back.
#[test]
fn survivors_race_a_sign_in_and_an_end() {
    for revoked in [false, true] {
        explore(&format!("a survivor, a sign-in, revoked: {revoked}"), Grain::Operations, async |world| {
            let site = Rc::new(Site::on(world.memory.clone(), Arc::clone(&world.stage)));
            let old = site.visit("", |session| session.data_mut().best = 1).await;
            let key = site.load(&old).await.key().unwrap();
            let (counted, new) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None)));
            let mut requests: Vec<Request> = Vec::new();
            requests.push(Box::pin({
                let (site, old, counted) = (Rc::clone(&site), old.clone(), Rc::clone(&counted));
                async move {
                    let mut session = site.load(&old).await;
                    if session.state() != State::Active {
                        return;
                    }
                    counted.set(1);
                    session.data_mut().visits += 1;
                    session.data_mut().theme = "mine".into();
                    match site.sessions.commit(&mut session).await {
                        Ok(cookie) => assert!(cookie.is_none()),
                        Err(Error::Ended(_)) => assert_eq!(session.subject(), None),
                        Err(error) => panic!("{error}"),
                    }
                }
            }));
            requests.push(Box::pin({
                let (site, old, new) = (Rc::clone(&site), old.clone(), Rc::clone(&new));
                async move {
                    let mut session = site.load(&old).await;
                    if session.state() == State::Active {
                        session.authenticate("ada");
                        let cookie = site.sessions.commit(&mut session).await.ok().flatten();
                        new.set(cookie.as_ref().map(cookie_of));
                    }
                }
            }));
            if revoked {
                let site = Rc::clone(&site);
                requests.push(Box::pin(async move { assert!(site.sessions.revoke(&key).await.unwrap()) }));
            }
            let check = async move {
                if revoked {
                    return assert_eq!(site.memory.len().await.unwrap(), 0, "brought back");
                }
                let session = site.load(&new.take().unwrap()).await;
                assert_eq!((session.subject(), session.data().visits), (Some("ada"), counted.get()));
            };
            (requests, check)
        });
    }
}
