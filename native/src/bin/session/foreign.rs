//! `open --format crystal` and `--format iron`: what other libraries sealed.

use core::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::{
    SessionData, Timestamp,
    interop::{
        KeyError, Refusal,
        crystal::{Digest, Encryptor, Kdf, LegacyDigest, SessionJson, open_value},
        iron::Iron,
    },
};

use crate::{
    output::{Failure, Report, Rows, moment, now, yes_or_no},
    secrets::SecretSource,
    token::readable,
};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A token of this library
    Session,
    /// A data cookie or a sealed Redis value of the Crystal library `session`
    Crystal,
    /// A seal of iron-session
    Iron,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Crystal => "crystal",
            Self::Iron => "iron",
        }
    }
}

#[derive(Args)]
#[group(skip)]
pub(crate) struct CrystalOptions {
    /// The encryption key was derived with that many iterations (`use_kdf`, `kdf_iterations`)
    #[arg(long, value_name = "N")]
    kdf_iterations: Option<u32>,
    /// … and this salt (`kdf_salt`)
    #[arg(long, value_name = "SALT", requires = "kdf_iterations", default_value = "session_kdf_salt")]
    kdf_salt: String,
    /// Accept a signature by HMAC-SHA1 (`digest_fallback`)
    #[arg(long)]
    allow_sha1: bool,
}

#[derive(Serialize)]
struct ForeignJson {
    ok: bool,
    format: &'static str,
    payload: String,
    expires_at: Option<u64>,
    expired: bool,
}

/// What a token of another library holds. Any of the secrets may have sealed it.
pub(crate) fn open(
    format: Format,
    token: &[u8],
    secrets: &SecretSource,
    options: &CrystalOptions,
    (at, ignore_expiry): (Option<u64>, bool),
) -> Result<Report, Failure> {
    let at = at.map_or_else(now, Timestamp::from_millis);
    let mut refusal = Refusal::Malformed;
    for secret in secrets.as_written()? {
        let opened = match format {
            Format::Iron => open_iron(token, &secret),
            _ => open_crystal(token, &secret, options),
        };
        match opened.map_err(|error| Failure::unusable(format_args!("the secret can't be used: {error}")))? {
            Ok((payload, expires_at)) => {
                let expired = expires_at.is_some_and(|end| at >= end);
                if expired && !ignore_expiry {
                    return Err(Failure::foreign(
                        Refusal::Expired,
                        "see it all the same with --ignore-expiry",
                    ));
                }
                return report(format, &payload, (expires_at, expired), at);
            }
            Err(reason) => refusal = reason,
        }
    }
    let hint = match refusal {
        Refusal::Digest => "was it signed by SHA-1? Then --allow-sha1",
        Refusal::Forged => "was it changed, or is its secret not among those given?",
        Refusal::Malformed if format == Format::Crystal => {
            "is it the value alone, and are --kdf-iterations and --kdf-salt those it was sealed with?"
        }
        _ => "",
    };
    Err(Failure::foreign(refusal, hint))
}

const MOMENT: Duration = Duration::from_millis(1);

/// Whatever an application keeps.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Fields(serde_json::Map<String, Value>);

impl SessionData for Fields {}

type Opened = Result<(Vec<u8>, Option<Timestamp>), Refusal>;

fn open_crystal(token: &[u8], secret: &str, options: &CrystalOptions) -> Result<Opened, KeyError> {
    let salt = options.kdf_salt.as_bytes();
    let kdf = options.kdf_iterations.map(|iterations| Kdf { salt, iterations });
    let mut opened = Err(Refusal::Digest);
    // Whichever it was configured with; to ask for another one is worth a second derivation.
    for digest in [Digest::Sha256, Digest::Sha384, Digest::Sha512] {
        let mut encryptor = Encryptor::with_digest(secret.as_bytes(), kdf, digest)?;
        if options.allow_sha1 {
            encryptor = encryptor.allow(LegacyDigest::Sha1, Timestamp::MAX);
        }
        opened = open_value(token, Some(&encryptor), now());
        if !matches!(opened, Err(Refusal::Digest)) {
            break;
        }
    }
    Ok(opened.map(|json| {
        // Of a value that is no session there is nothing to say about an end.
        let session = SessionJson::<Fields>::parse(&json).ok();
        // There the moment it ends is its last.
        let end = session.and_then(|session| session.expires_at).map(|end| end.timestamp() + MOMENT);
        (json.to_vec(), end)
    }))
}

fn open_iron(token: &[u8], secret: &str) -> Result<Opened, KeyError> {
    // Whatever id the password has there: it is the one that the seal names.
    let id = token.split(|byte| *byte == b'*').nth(1).and_then(|id| core::str::from_utf8(id).ok());
    let iron = match Iron::new(id.unwrap_or_default(), secret) {
        Err(KeyError::PasswordId) => return Ok(Err(Refusal::Malformed)),
        other => other?,
    };
    // The end is judged by the caller.
    let opened = iron.open(token, Timestamp::from_millis(0));
    Ok(opened.map(|opened| {
        let end = Some(opened.expires_at()).filter(|end| *end != Timestamp::MAX);
        (opened.json().to_vec(), end)
    }))
}

fn report(
    format: Format,
    payload: &[u8],
    (expires_at, expired): (Option<Timestamp>, bool),
    at: Timestamp,
) -> Result<Report, Failure> {
    let json = ForeignJson {
        ok: true,
        format: format.name(),
        payload: STANDARD.encode(payload),
        expires_at: expires_at.map(Timestamp::as_millis),
        expired,
    };
    let text = Rows::default()
        .row("format", format.name())
        .row("expires", expires_at.map_or_else(|| "never said".into(), |end| moment(end, at)))
        .row("expired", yes_or_no(expired))
        .then(&readable(payload));
    Report::new(&json, text)
}
