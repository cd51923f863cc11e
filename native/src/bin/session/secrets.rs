//! Where secrets come from: the environment or a file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use session_core::{KeyRing, OsRandom, Secret, SecretError};
use zeroize::Zeroizing;

use crate::output::{Failure, Report};

const CURRENT: &str = "SESSION_SECRET";
const PREVIOUS: &str = "SESSION_PREVIOUS_SECRETS";

#[derive(Args)]
pub(crate) struct SecretSource {
    /// Read the secrets from FILE, not from SESSION_SECRET and SESSION_PREVIOUS_SECRETS. One a line, the current one first,
    /// previous ones below it; empty lines and lines that begin with `#` are passed over
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl SecretSource {
    /// All keys; the current one seals.
    pub(crate) fn key_ring(&self) -> Result<KeyRing, Failure> {
        let (current, previous) = self.secrets()?;
        Ok(previous.iter().fold(KeyRing::new(&current), KeyRing::with_previous))
    }

    /// The current secret, and those that only open.
    pub(crate) fn secrets(&self) -> Result<(Secret, Vec<Secret>), Failure> {
        match &self.secret_file {
            Some(path) => from_file(path),
            None => from_environment(),
        }
    }
}

fn from_environment() -> Result<(Secret, Vec<Secret>), Failure> {
    let current = Secret::from_env(CURRENT).map_err(|error| match error {
        SecretError::Missing { .. } => Failure::unusable(format_args!("{error}, or name a --secret-file")),
        _ => Failure::unusable(format_args!("{CURRENT}: {error}")),
    })?;
    let previous = Secret::previous_from_env(PREVIOUS)
        .map_err(|error| Failure::unusable(format_args!("{PREVIOUS}: {error}")))?;
    Ok((current, previous))
}

fn from_file(path: &Path) -> Result<(Secret, Vec<Secret>), Failure> {
    let name = path.display();
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| Failure::unusable(format_args!("the secret file {name} can't be read: {error}")))?;
    let mut secrets = text
        .lines()
        .map(str::trim)
        .zip(1..)
        .filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, number)| {
            Secret::parse(line)
                .map_err(|error| Failure::unusable(format_args!("{name}, line {number}: {error}")))
        });
    let current = secrets.next().unwrap_or_else(|| {
        Err(Failure::unusable(format_args!("{name} holds no secret: put one of `session keygen` there")))
    })?;
    Ok((current, secrets.collect::<Result<_, _>>()?))
}

#[derive(Serialize)]
struct KeygenJson<'a> {
    ok: bool,
    secret: &'a str,
    key_id: String,
}

/// A new secret, on a line of its own.
pub(crate) fn keygen() -> Result<Report, Failure> {
    let secret = Secret::generate(&OsRandom).map_err(Failure::unusable)?;
    let written = secret.expose();
    let key_id = KeyRing::new(&secret).sealing_key_id().to_string();
    Report::new(&KeygenJson { ok: true, secret: &written, key_id }, String::clone(&written))
}
