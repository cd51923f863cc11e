//! Looks into a live store, and ends sessions there.

use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use clap::Args;
use futures_util::TryStreamExt as _;
use serde::Serialize;
use serde_json::Value;
use session_core::{Config, Key, Rejection, SubjectTag, Summary, Timestamp};
use session_native::{Query as _, RedisStore, Sessions, Store as _, Stored};

use crate::{
    output::{Failure, Report, Rows, harmless, moment, now},
    secrets::SecretSource,
};

/// Which store.
#[derive(Args)]
pub(crate) struct Live {
    /// Where Redis is; REDIS_URL by default, which is the place for a URL with a password
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// What the names of the application's keys begin with
    #[arg(long, default_value = "session")]
    prefix: String,
}

impl Live {
    async fn connect(&self) -> Result<RedisStore, Failure> {
        let url = self.redis_url.clone().or_else(|| env::var("REDIS_URL").ok());
        let url =
            url.ok_or_else(|| Failure::unusable("REDIS_URL is not set, and there is no --redis-url"))?;
        RedisStore::builder(url).prefix(&self.prefix).connect().await.map_err(Failure::unusable)
    }

    /// With the keys that open what is sealed.
    async fn sessions(&self, secrets: &SecretSource) -> Result<Sessions<Value, Stored<RedisStore>>, Failure> {
        let (current, previous) = secrets.secrets()?;
        let mut config = previous.iter().fold(Config::production(current), Config::previous_secret);
        // Whatever form a record has is read; nothing is written.
        config.encrypt_at_rest = false;
        Sessions::new(config, self.connect().await?).map_err(Failure::unusable)
    }
}

#[derive(Args)]
pub(crate) struct List {
    /// Only the sessions of this subject
    #[arg(long)]
    subject: Option<String>,
    /// No more than this many
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    #[command(flatten)]
    live: Live,
    #[command(flatten)]
    secrets: SecretSource,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The public name of the session, as `session list` shows it
    #[arg(allow_hyphen_values = true)]
    tag: Key,
    #[command(flatten)]
    live: Live,
    #[command(flatten)]
    secrets: SecretSource,
}

#[derive(Args)]
pub(crate) struct Revoke {
    /// The public name of the session
    #[arg(required_unless_present = "subject", conflicts_with = "subject", allow_hyphen_values = true)]
    tag: Option<Key>,
    /// Every session of this subject
    #[arg(long)]
    subject: Option<String>,
    #[command(flatten)]
    live: Live,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Args)]
pub(crate) struct Count {
    #[command(flatten)]
    live: Live,
}

#[derive(Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    live: Live,
    #[command(flatten)]
    consent: Consent,
}

/// Of someone who knows that it can't be undone.
#[derive(Args)]
struct Consent {
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

impl Consent {
    fn ask(&self, what: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::unusable(format_args!(
                "this would {what}: add --yes to do so without being asked"
            )));
        }
        let mut answer = String::new();
        write!(io::stderr(), "This will {what}. Type yes to go on: ")
            .and_then(|()| io::stdin().read_line(&mut answer))
            .map_err(Failure::unusable)?;
        if answer.trim() == "yes" { Ok(()) } else { Err(Failure::unusable("nothing was done")) }
    }
}

#[derive(Serialize)]
struct SessionJson<'a> {
    key: String,
    subject: Option<&'a str>,
    created_at: u64,
    authenticated_at: Option<u64>,
    expires_at: u64,
    absolute_end: u64,
    rotation: u64,
}

impl<'a> From<&'a Summary<Value>> for SessionJson<'a> {
    fn from(summary: &'a Summary<Value>) -> Self {
        Self {
            key: summary.key.to_string(),
            subject: summary.subject.as_deref(),
            created_at: summary.created_at.as_millis(),
            authenticated_at: summary.authenticated_at.map(Timestamp::as_millis),
            expires_at: summary.expires_at.as_millis(),
            absolute_end: summary.absolute_end.as_millis(),
            rotation: summary.rotation,
        }
    }
}

#[derive(Serialize)]
struct ListJson<'a> {
    ok: bool,
    sessions: Vec<SessionJson<'a>>,
}

impl List {
    pub(crate) async fn run(&self) -> Result<Report, Failure> {
        let sessions = self.live.sessions(&self.secrets).await?;
        let mut found: Vec<Summary<Value>> = Vec::new();
        if let Some(subject) = &self.subject {
            found = sessions.by_subject(subject).await.map_err(Failure::unusable)?;
        } else {
            let mut all = core::pin::pin!(sessions.stream());
            while found.len() < self.limit
                && let Some(summary) = all.try_next().await.map_err(Failure::unusable)?
            {
                found.push(summary);
            }
        }
        found.truncate(self.limit);
        found.sort_by_key(|summary| summary.created_at);
        let now = now();
        let mut text = String::new();
        for summary in &found {
            let subject = harmless(summary.subject.as_deref().unwrap_or("-"));
            // Writing to a string can't fail.
            let _ = writeln!(text, "{}  {subject}  expires {}", summary.key, moment(summary.expires_at, now));
        }
        if found.is_empty() {
            text.push_str("no sessions");
        }
        Report::new(&ListJson { ok: true, sessions: found.iter().map(SessionJson::from).collect() }, text)
    }
}

#[derive(Serialize)]
struct ShowJson<'a> {
    ok: bool,
    session: SessionJson<'a>,
    data: &'a Value,
}

impl Show {
    pub(crate) async fn run(&self) -> Result<Report, Failure> {
        let sessions = self.live.sessions(&self.secrets).await?;
        let found = sessions.get(&self.tag).await.map_err(Failure::unusable)?;
        let summary = found.ok_or_else(gone)?;
        let now = now();
        let mut rows = Rows::default()
            .row("key", summary.key)
            .row("subject", harmless(summary.subject.as_deref().unwrap_or("-")))
            .row("created", moment(summary.created_at, now))
            .row("expires", moment(summary.expires_at, now))
            .row("ends", moment(summary.absolute_end, now));
        if let Some(at) = summary.authenticated_at {
            rows = rows.row("signed in", moment(at, now));
        }
        let data = serde_json::to_string_pretty(&summary.data).map_err(Failure::unusable)?;
        let text = rows.row("rotation", summary.rotation).then(&harmless(&data));
        Report::new(&ShowJson { ok: true, session: (&summary).into(), data: &summary.data }, text)
    }
}

#[derive(Serialize)]
struct DoneJson {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<u64>,
}

impl Revoke {
    pub(crate) async fn run(&self) -> Result<Report, Failure> {
        let store = self.live.connect().await?;
        if let Some(subject) = &self.subject {
            self.consent.ask("end every session of this subject")?;
            store.revoke_subject(&SubjectTag::new(subject)).await.map_err(Failure::unusable)?;
            return Report::new(
                &DoneJson { ok: true, sessions: None },
                "every session of it is ended".into(),
            );
        }
        let Some(tag) = &self.tag else { return Err(Failure::unusable("name a session, or a --subject")) };
        self.consent.ask("end this session")?;
        if store.delete(tag).await.map_err(Failure::unusable)? {
            Report::new(&DoneJson { ok: true, sessions: Some(1) }, "it is ended".into())
        } else {
            Err(gone())
        }
    }
}

impl Count {
    pub(crate) async fn run(&self) -> Result<Report, Failure> {
        let sessions = self.live.connect().await?.len().await.map_err(Failure::unusable)?;
        Report::new(&DoneJson { ok: true, sessions: Some(sessions) }, sessions.to_string())
    }
}

impl Purge {
    pub(crate) async fn run(&self) -> Result<Report, Failure> {
        let store = self.live.connect().await?;
        let sessions = store.len().await.map_err(Failure::unusable)?;
        self.consent.ask(&format!("end all {sessions} sessions"))?;
        store.clear().await.map_err(Failure::unusable)?;
        Report::new(
            &DoneJson { ok: true, sessions: Some(sessions) },
            format!("{sessions} sessions are ended"),
        )
    }
}

fn gone() -> Failure {
    Failure::refused(Rejection::Revoked, "The store has no such session: it has ended, or never was.")
}
