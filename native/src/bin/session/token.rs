//! `inspect`, `open` and `seal`: what can be done with a token, by whom.

use core::time::Duration;
use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Read as _},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{ArgGroup, Args, ValueEnum};
use serde::Serialize;
use session_core::{
    CookieOptions, Header, Kind, MAX_TOKEN_LEN, OsRandom, Plaintext, Rejection, Timestamp, TokenCodec,
    interop::iron::MAX_SEAL_LEN,
};
use zeroize::Zeroizing;

use crate::{
    foreign::{self, CrystalOptions, Format},
    output::{Failure, Report, Rows, complain, harmless, moment, now, yes_or_no},
    secrets::SecretSource,
};

#[derive(Args)]
struct TokenSource {
    /// The token, as it stands in the cookie; `-` reads it from standard input, which keeps it out of process lists and shell
    /// histories
    #[arg(value_name = "TOKEN")]
    token: OsString,
}

/// As long as a token of any library can be.
const MOST_READ: u64 = if MAX_TOKEN_LEN > MAX_SEAL_LEN { MAX_TOKEN_LEN as u64 } else { MAX_SEAL_LEN as u64 };

impl TokenSource {
    /// The token's characters. Of standard input no more is read than a token can have, with some space around it.
    fn read(&self) -> Result<Vec<u8>, Failure> {
        let mut token = Vec::new();
        if self.token == "-" {
            io::stdin()
                .lock()
                .take(2 * MOST_READ)
                .read_to_end(&mut token)
                .map_err(|error| Failure::unusable(format_args!("standard input can't be read: {error}")))?;
        } else {
            token.extend_from_slice(self.token.as_encoded_bytes());
        }
        Ok(token.trim_ascii().to_vec())
    }
}

fn parse_header(token: &[u8]) -> Result<Header, Failure> {
    Header::parse(token).map_err(|reason| {
        Failure::refused(reason, "expected the value of a session cookie alone, without its name or quotes")
    })
}

/// The kinds by the names that they have on the command line and in JSON.
const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::CookieHeld => "cookie",
        Kind::Reference => "reference",
        Kind::Record => "record",
    }
}

const fn describe(kind: Kind) -> &'static str {
    match kind {
        Kind::CookieHeld => "cookie (holds the whole session)",
        Kind::Reference => "reference (names a session in a store)",
        Kind::Record => "record (of a store, not a token)",
    }
}

#[derive(Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    token: TokenSource,
}

#[derive(Serialize)]
struct InspectJson {
    ok: bool,
    version: u8,
    kind: &'static str,
    key_id: String,
    expires_at: u64,
    deflated: bool,
    token_len: usize,
    ciphertext_len: usize,
}

impl Inspect {
    pub(crate) fn run(&self) -> Result<Report, Failure> {
        let token = self.token.read()?;
        let header = parse_header(&token)?;
        let (token_len, ciphertext_len) = (token.len(), header.ciphertext_len());
        let json = InspectJson {
            ok: true,
            version: header.version(),
            kind: kind_name(header.kind()),
            key_id: header.key_id().to_string(),
            expires_at: header.expires_at().as_millis(),
            deflated: header.is_deflated(),
            token_len,
            ciphertext_len,
        };
        let text = Rows::default()
            .row("version", header.version())
            .row("kind", describe(header.kind()))
            .row("key id", header.key_id())
            .row("expires", moment(header.expires_at(), now()))
            .row("deflated", yes_or_no(header.is_deflated()))
            .row("size", format_args!("{token_len} characters, {ciphertext_len} bytes of ciphertext"))
            .then("Nothing of this is verified: `session open` does that.");
        Report::new(&json, text)
    }
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  session open --cookie-name __Host-session - < token.txt
  session open --cookie-name __Host-session --secret-file secrets.txt --json - < token.txt | jq -r .payload | base64 -d
  session open --format crystal --kdf-iterations 100000 --allow-sha1 - < cookie.txt
  session open --format iron - < seal.txt

What is shown contains the session's id: treat it like the token. JSON in it is laid out for
reading; the exact bytes are in the output of --json, in base64.")]
pub(crate) struct Open {
    #[command(flatten)]
    token: TokenSource,
    /// The cookie that the token was sealed for: in any other it doesn't open
    #[arg(long, value_name = "NAME", value_parser = cookie_name, required_unless_present = "format")]
    cookie_name: Option<String>,
    /// Who made the token. Other libraries' secrets are taken as they are written
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    crystal: CrystalOptions,
    #[command(flatten)]
    secrets: SecretSource,
    /// Judge the expiry at this time, in milliseconds since 1970 [default: now]
    #[arg(long, value_name = "UNIX_MS")]
    at: Option<u64>,
    /// Show what an expired token holds, too; the output says whether it has expired
    #[arg(long, conflicts_with = "at")]
    ignore_expiry: bool,
}

#[derive(Serialize)]
struct OpenJson {
    ok: bool,
    payload: String,
    kind: &'static str,
    key_id: String,
    expires_at: u64,
    expired: bool,
    deflated: bool,
}

impl Open {
    pub(crate) fn run(&self) -> Result<Report, Failure> {
        let token = self.token.read()?;
        if let Some(format @ (Format::Crystal | Format::Iron)) = self.format {
            return foreign::open(
                format,
                &token,
                &self.secrets,
                &self.crystal,
                (self.at, self.ignore_expiry),
            );
        }
        let Some(cookie_name) = &self.cookie_name else {
            return Err(Failure::unusable("name the cookie with --cookie-name: a token opens in no other"));
        };
        let header = parse_header(&token)?;
        let ring = self.secrets.key_ring()?;
        if header.kind() == Kind::Record {
            return Err(Failure::refused(Rejection::WrongCookie, "this is a record of a store, not a token"));
        }
        let codec = TokenCodec::new(&ring, header.kind(), cookie_name);
        let at = self.at.map_or_else(now, Timestamp::from_millis);
        let judged_at = if self.ignore_expiry { Timestamp::from_millis(0) } else { at };
        let opened = codec
            .open(&token, judged_at)
            .map_err(|reason| Failure::refused(reason, hint(cookie_name, reason, &header, at)))?;
        let expired = at >= opened.expires_at();
        let json = OpenJson {
            ok: true,
            payload: STANDARD.encode(opened.payload()),
            kind: kind_name(codec.kind()),
            key_id: opened.key_id().to_string(),
            expires_at: opened.expires_at().as_millis(),
            expired,
            deflated: header.is_deflated(),
        };
        let age = if opened.key_id() == ring.sealing_key_id() { "current" } else { "previous" };
        let text = Rows::default()
            .row("kind", describe(codec.kind()))
            .row("key id", format_args!("{} ({age})", opened.key_id()))
            .row("expires", moment(opened.expires_at(), at))
            .row("expired", yes_or_no(expired))
            .row("deflated", yes_or_no(header.is_deflated()))
            .then(&readable(opened.payload()));
        Report::new(&json, text)
    }
}

fn hint(cookie_name: &str, reason: Rejection, header: &Header, at: Timestamp) -> String {
    match reason {
        Rejection::UnknownKey => {
            format!("it names the key {}: is the secret of that key among those given?", header.key_id())
        }
        Rejection::Forged => {
            format!("it was changed, or sealed for a cookie of another name than {cookie_name}")
        }
        // Comes after the tag's check, so the time is authentic.
        Rejection::Expired => {
            format!(
                "its time was up {}: see it all the same with --ignore-expiry",
                moment(header.expires_at(), at)
            )
        }
        _ => String::new(),
    }
}

/// A payload for people: the JSON in it laid out, or all of it in base64 where that isn't what it is.
pub(crate) fn readable(payload: &[u8]) -> String {
    let text = str::from_utf8(payload).ok();
    text.and_then(|text| laid_out(text).or_else(|| session_laid_out(text))).map_or_else(
        || {
            format!(
                "Neither a session nor JSON; {} bytes in base64:\n{}",
                payload.len(),
                STANDARD.encode(payload)
            )
        },
        |text| harmless(&text),
    )
}

fn laid_out(json: &str) -> Option<String> {
    let value = serde_json::from_str::<serde_json::Value>(json).ok()?;
    serde_json::to_string_pretty(&value).ok()
}

/// What a session's token holds: a line, and JSON behind it (`core/FORMAT.md`, section 6).
fn session_laid_out(payload: &str) -> Option<String> {
    let (first, rest) = payload.split_once('\n')?;
    let (attributes, data) = rest.split_once('\n').unwrap_or((rest, ""));
    let json = [attributes, data].into_iter().filter(|json| !json.is_empty());
    let json = json.map(laid_out).collect::<Option<Vec<_>>>()?;
    (first.split('.').count() == 5).then(|| [&[first.to_owned()], &json[..]].concat().join("\n"))
}

#[derive(Clone, Copy, ValueEnum)]
enum TokenKind {
    /// A token that holds the whole session
    Cookie,
    /// A token that names a session in a store
    Reference,
}

impl From<TokenKind> for Kind {
    fn from(kind: TokenKind) -> Self {
        match kind {
            TokenKind::Cookie => Self::CookieHeld,
            TokenKind::Reference => Self::Reference,
        }
    }
}

#[derive(Args)]
#[command(
    group = ArgGroup::new("expiry").required(true).args(["expires_in", "expires_at"]),
    after_help = "\
Examples:
  printf %s '{\"hello\":\"world\"}' | session seal --cookie-name demo --expires-in 3600
  session seal --cookie-name demo --kind reference --expires-at 1767225600000 < payload.txt

Standard input is sealed byte for byte, a line feed at its end included. A server that is to accept the token wants
the payload that core/FORMAT.md specifies."
)]
pub(crate) struct Seal {
    /// The cookie that the token is for
    #[arg(long, value_name = "NAME", value_parser = cookie_name)]
    cookie_name: String,
    /// What the token is
    #[arg(long, value_enum, default_value = "cookie")]
    kind: TokenKind,
    /// Expire that many seconds from now
    #[arg(long, value_name = "SECONDS")]
    expires_in: Option<u64>,
    /// Expire at this time, in milliseconds since 1970
    #[arg(long, value_name = "UNIX_MS")]
    expires_at: Option<u64>,
    /// Compress where that makes the token shorter. The length of a compressed token tells about its content: don't, where
    /// others can write text beside a secret
    #[arg(long)]
    deflate: bool,
    #[command(flatten)]
    secrets: SecretSource,
}

#[derive(Serialize)]
struct SealJson<'a> {
    ok: bool,
    token: &'a str,
    kind: &'static str,
    key_id: String,
    expires_at: u64,
    deflated: bool,
}

impl Seal {
    pub(crate) fn run(&self) -> Result<Report, Failure> {
        let ring = self.secrets.key_ring()?;
        let codec = TokenCodec::new(&ring, self.kind.into(), &self.cookie_name);
        let plaintext = read_payload()?;
        let expires_at = match (self.expires_at, self.expires_in) {
            (Some(at), _) => Timestamp::from_millis(at),
            (None, seconds) => now() + Duration::from_secs(seconds.unwrap_or_default()),
        };
        let token = codec.seal(plaintext, expires_at, self.deflate, &OsRandom).map_err(Failure::unusable)?;
        // A token that no browser would keep is of no use.
        let cookie = CookieOptions { name: self.cookie_name.clone(), ..CookieOptions::default() };
        cookie.set(&token, Duration::ZERO).map_err(Failure::unusable)?;
        let json = SealJson {
            ok: true,
            token: &token,
            kind: kind_name(codec.kind()),
            key_id: ring.sealing_key_id().to_string(),
            expires_at: expires_at.as_millis(),
            deflated: parse_header(token.as_bytes())?.is_deflated(),
        };
        Report::new(&json, token.clone())
    }
}

/// Standard input, to its end.
fn read_payload() -> Result<Plaintext, Failure> {
    /// Far more than fits a cookie, deflated or not; a bound on what is read.
    const MOST: usize = session_core::MAX_INFLATED;
    let stdin = io::stdin().lock();
    if stdin.is_terminal() {
        // A payload can be typed without being told how.
        let _ = complain("Type the payload; Ctrl-D ends it.");
    }
    let mut payload = Zeroizing::new(Vec::new());
    stdin
        .take(MOST as u64 + 1)
        .read_to_end(&mut payload)
        .map_err(|error| Failure::unusable(format_args!("standard input can't be read: {error}")))?;
    if payload.len() > MOST {
        return Err(Failure::unusable(format_args!("the payload on standard input exceeds {MOST} bytes")));
    }
    Ok(Plaintext::from(payload.as_slice()))
}

/// A name that a cookie can have.
fn cookie_name(name: &str) -> Result<String, session_core::ConfigError> {
    let cookie = CookieOptions { name: name.to_owned(), ..CookieOptions::default() };
    cookie.validate().map(|()| cookie.name)
}
