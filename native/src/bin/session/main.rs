//! The `session` command: makes secrets, looks into tokens, opens and seals them; lists and ends the sessions of a live store.
//!
//! Secrets come from the environment or a file, never from an argument: other users of the machine can read those.

mod live;
mod output;
mod secrets;
mod token;

use std::{env, ffi::OsStr, process::ExitCode};

use clap::{Parser, Subcommand};

use output::{Failure, Report};

const ABOUT: &str = "Makes secrets, looks into session tokens, lists and ends sessions in Redis.";

const EXAMPLES: &str = "\
Examples:
  export SESSION_SECRET=$(session keygen)
  session inspect - < token.txt
  session open --cookie-name __Host-session - < token.txt
  printf %s '{\"hello\":\"world\"}' | session seal --cookie-name demo --expires-in 3600
  export REDIS_URL=redis://localhost
  session list --subject ada
  session revoke --subject ada

Secrets:
  SESSION_SECRET             seals and opens
  SESSION_PREVIOUS_SECRETS   separated by commas, only open: tokens from before a rotation
  --secret-file FILE         instead of both; see `session open --help`
  A secret is never an argument: arguments show in process lists and shell histories.

Exit status:
  0  done
  1  the token is refused, or there is no such session
  2  wrong usage, no usable secret, or input that can't be read";

#[derive(Parser)]
#[command(name = "session", version, about = ABOUT, after_help = EXAMPLES)]
struct Cli {
    /// Print one JSON object: {"ok":true,...}, {"ok":false,"reason":CODE} or {"ok":false,"error":TEXT}
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new random secret for SESSION_SECRET
    Keygen,
    /// Show what anyone can read in a token: version, kind, key id, expiry, sizes. Needs no secret, verifies nothing
    Inspect(token::Inspect),
    /// Verify a token and show what it holds
    Open(token::Open),
    /// Seal standard input into a token
    Seal(token::Seal),
    /// List the sessions in a live store
    List(live::List),
    /// Show one of them, with its data
    Show(live::Show),
    /// End one session, or all of a subject
    Revoke(live::Revoke),
    /// Count the sessions in a live store
    Count(live::Count),
    /// End every session in a live store
    Purge(live::Purge),
}

impl Command {
    fn run(&self) -> Result<Report, Failure> {
        match self {
            Self::Keygen => secrets::keygen(),
            Self::Inspect(inspect) => inspect.run(),
            Self::Open(open) => open.run(),
            Self::Seal(seal) => seal.run(),
            Self::List(list) => live(list.run()),
            Self::Show(show) => live(show.run()),
            Self::Revoke(revoke) => live(revoke.run()),
            Self::Count(count) => live(count.run()),
            Self::Purge(purge) => live(purge.run()),
        }
    }
}

/// Waits for what a store has to say.
fn live(command: impl Future<Output = Result<Report, Failure>>) -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::unusable)?.block_on(command)
}

fn main() -> ExitCode {
    // Before clap, which repeats an argument that it doesn't expect.
    if env::args_os().skip(1).any(|argument| is_secret(&argument)) {
        let failure = Failure::unusable(
            "a secret is among the arguments, where process lists and shell histories show it: make a new one, \
             and put it in SESSION_SECRET or a --secret-file",
        );
        return output::finish(Err(failure), false);
    }
    let cli = Cli::parse();
    output::finish(cli.command.run(), cli.json)
}

/// Whether the argument, or the value in `--option=value`, has the written form of a random secret. A token never has.
fn is_secret(argument: &OsStr) -> bool {
    let argument = argument.as_encoded_bytes();
    let value = argument.iter().position(|&byte| byte == b'=').map_or(argument, |at| &argument[at + 1..]);
    [argument, value].iter().any(|text| text.starts_with(b"sk1_"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn secrets_are_recognised_wherever_they_stand() {
        for argument in ["sk1_abc", "--secret=sk1_abc", "--secret-file=sk1_abc"] {
            assert!(is_secret(argument.as_ref()), "{argument}");
        }
        for argument in ["AQAAsk1_", "--secret-file", "/run/secrets/sk1_file", "-", ""] {
            assert!(!is_secret(argument.as_ref()), "{argument}");
        }
    }
}
