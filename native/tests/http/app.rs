//! A little application, described without a framework.

use std::{pin::Pin, sync::Arc};

use serde::{Deserialize, Serialize};
use session_native::{
    MergePolicies, MergePolicy, SessionData, SessionHandle,
    csrf::CsrfGuard,
    store::Freshness,
    web::{RequireAuth, SessionLayer, SessionRejection},
};

use crate::support::{Data, World};

pub(crate) type Handle = SessionHandle<Data>;

/// The data of a second session.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Cart {
    pub(crate) items: Vec<String>,
    /// Two requests must not change it at once.
    pub(crate) address: String,
}

impl SessionData for Cart {
    fn merge_policies() -> MergePolicies {
        MergePolicies::new().field("address", MergePolicy::Fail)
    }
}

/// What a handler does with its session, by its path or name.
pub(crate) type Act = (&'static str, fn(&Handle));

/// What a handler answers.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Content,
}

#[derive(Clone)]
pub(crate) enum Content {
    Text(String),
    /// A stream that never ends, and never gives anything.
    Endless,
    /// None any more: the connection speaks another protocol from here on.
    Upgraded,
}

impl Reply {
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn endless() -> Self {
        Self { body: Content::Endless, ..Self::from("") }
    }

    pub(crate) fn upgraded() -> Self {
        Self { body: Content::Upgraded, ..Self::from((101, "")) }
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self { status: 200, headers: Vec::new(), body: Content::Text(text) }
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<()> for Reply {
    fn from((): ()) -> Self {
        "".into()
    }
}

impl From<(u16, &str)> for Reply {
    fn from((status, text): (u16, &str)) -> Self {
        Self { status, ..text.into() }
    }
}

type Later = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Handler<A> = Arc<dyn Fn(A) -> Later + Send + Sync>;
type Tried = Pin<Box<dyn Future<Output = Result<(), SessionRejection>> + Send>>;

/// What stands under a path, for every method.
#[derive(Clone)]
pub(crate) enum Route {
    /// Takes no session.
    Plain(Reply),
    /// Takes the session and the request's body.
    Session(Handler<(Handle, String)>),
    /// Takes the session, and leaves it to the framework to answer for a failure.
    Trying(Arc<dyn Fn(Handle) -> Tried + Send + Sync>),
    Cart(Handler<SessionHandle<Cart>>),
    Both(Handler<(Handle, SessionHandle<Cart>)>),
}

/// Routes under a prefix, behind one guard.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    pub(crate) prefix: &'static str,
    /// What an extension asks of a cache.
    pub(crate) freshness: Option<Freshness>,
    /// It stands at the routes, where the guard doesn't see it.
    pub(crate) asks_inside: bool,
    pub(crate) guard: Option<RequireAuth<Data>>,
    pub(crate) routes: Vec<(&'static str, Route)>,
}

/// From the outside in: a guard against other origins, carts, sessions, and scopes.
#[derive(Clone, Default)]
pub(crate) struct App {
    pub(crate) csrf: Option<CsrfGuard>,
    pub(crate) carts: Option<SessionLayer<Cart>>,
    pub(crate) sessions: Option<SessionLayer<Data>>,
    pub(crate) scopes: Vec<Scope>,
}

impl Scope {
    pub(crate) fn plain(mut self, path: &'static str, reply: impl Into<Reply>) -> Self {
        self.routes.push((path, Route::Plain(reply.into())));
        self
    }

    pub(crate) fn on<F, R>(mut self, path: &'static str, handler: F) -> Self
    where
        F: Fn(Handle, String) -> R + Send + Sync + 'static,
        R: Future<Output: Into<Reply>> + Send + 'static,
    {
        let handler: Handler<(Handle, String)> = Arc::new(move |(session, body)| {
            let reply = handler(session, body);
            Box::pin(async move { reply.await.into() })
        });
        self.routes.push((path, Route::Session(handler)));
        self
    }

    pub(crate) fn trying<F, R>(mut self, path: &'static str, handler: F) -> Self
    where
        F: Fn(Handle) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), SessionRejection>> + Send + 'static,
    {
        self.routes.push((path, Route::Trying(Arc::new(move |session| Box::pin(handler(session))))));
        self
    }

    pub(crate) fn on_cart<F, R>(mut self, path: &'static str, handler: F) -> Self
    where
        F: Fn(SessionHandle<Cart>) -> R + Send + Sync + 'static,
        R: Future<Output: Into<Reply>> + Send + 'static,
    {
        let handler: Handler<SessionHandle<Cart>> = Arc::new(move |cart| {
            let reply = handler(cart);
            Box::pin(async move { reply.await.into() })
        });
        self.routes.push((path, Route::Cart(handler)));
        self
    }

    /// A handler that does one thing at once.
    pub(crate) fn act(self, path: &'static str, act: impl Fn(&Handle) + Send + Sync + 'static) -> Self {
        self.on(path, move |session, _| {
            act(&session);
            core::future::ready(())
        })
    }

    pub(crate) fn guarded(mut self, guard: RequireAuth<Data>) -> Self {
        self.guard = Some(guard);
        self
    }

    /// The application of these routes, with the sessions of a world.
    pub(crate) fn of(self, world: &World) -> App {
        let sessions = Some(SessionLayer::new(world.sessions.clone()));
        App { sessions, scopes: vec![self], ..App::default() }
    }
}

/// The routes most tests need.
pub(crate) fn routes() -> Scope {
    Scope::default()
        .plain("/untouched", "untouched")
        .on("/read", async |session, _| session.data().visits.to_string())
        .act("/write", |session| session.update(|data| data.visits += 1))
        .on("/login", async |session, name| session.authenticate(name))
        .on("/who", async |session, _| session.subject().unwrap_or_default())
        .on("/logout", async |session, _| match session.destroy().await {
            Ok(()) => (200, "signed out"),
            Err(_) => (503, "you are still signed in"),
        })
}
