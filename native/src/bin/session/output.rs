//! What the commands print, for people and for programs, and how they end.

use core::{
    fmt::{self, Write as _},
    time::Duration,
};
use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::SystemTime,
};

use serde::Serialize;
use session_core::{Rejection, Timestamp, interop::Refusal};

/// What a command has to say when it succeeded, both ways.
pub(crate) struct Report {
    json: String,
    text: String,
}

impl Report {
    /// `json` holds strings, numbers and booleans alone, which can always be written.
    pub(crate) fn new(json: &impl Serialize, text: String) -> Result<Self, Failure> {
        let json = serde_json::to_string(json).map_err(Failure::unusable)?;
        Ok(Self { json, text })
    }
}

/// How a command ends when it doesn't succeed.
pub(crate) enum Failure {
    /// The token was looked at and refused: exit status 1.
    Refused {
        /// Why, as a code.
        code: &'static str,
        /// Why, for people.
        reason: String,
        /// What an operator may look at next.
        hint: String,
    },
    /// The command can't do its work: exit status 2.
    Unusable(String),
}

impl Failure {
    pub(crate) fn unusable(message: impl fmt::Display) -> Self {
        Self::Unusable(message.to_string())
    }

    pub(crate) fn refused(reason: Rejection, hint: impl Into<String>) -> Self {
        Self::Refused { code: reason.code(), reason: reason.to_string(), hint: hint.into() }
    }

    /// A token of another library.
    pub(crate) fn foreign(reason: Refusal, hint: impl Into<String>) -> Self {
        Self::Refused { code: reason.code(), reason: reason.to_string(), hint: hint.into() }
    }
}

#[derive(Serialize)]
struct RefusedJson {
    ok: bool,
    reason: &'static str,
}

#[derive(Serialize)]
struct UnusableJson<'a> {
    ok: bool,
    error: &'a str,
}

/// Prints the result and gives the exit status. With `json` it all goes to standard output; without, failures go to standard
/// error.
pub(crate) fn finish(result: Result<Report, Failure>, json: bool) -> ExitCode {
    let (status, printed) = match (&result, json) {
        (Ok(report), true) => (0, print(&report.json)),
        (Ok(report), false) => (0, print(&report.text)),
        (Err(Failure::Refused { code, .. }), true) => {
            (1, print_json(&RefusedJson { ok: false, reason: code }))
        }
        (Err(Failure::Refused { code, reason, hint }), false) => {
            (1, complain(&format!("refused ({code}): {reason}\n{hint}")))
        }
        (Err(Failure::Unusable(error)), true) => (2, print_json(&UnusableJson { ok: false, error })),
        (Err(Failure::Unusable(error)), false) => (2, complain(&format!("error: {error}"))),
    };
    match printed {
        Ok(()) => ExitCode::from(status),
        // Whoever read our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(status),
        Err(error) => {
            // Nothing is left to do when this can't be written either.
            let _ = complain(&format!("error: standard output can't be written: {error}"));
            ExitCode::from(2)
        }
    }
}

fn print_json(value: &impl Serialize) -> io::Result<()> {
    print(&serde_json::to_string(value)?)
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end_matches('\n'))?;
    out.flush()
}

/// A line for people, on standard error.
pub(crate) fn complain(text: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'))
}

/// Lines of a name and a value, aligned.
#[derive(Default)]
pub(crate) struct Rows(String);

impl Rows {
    pub(crate) fn row(mut self, name: &str, value: impl fmt::Display) -> Self {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "{name:<10}{value}");
        self
    }

    /// Ends the rows with free text below an empty line.
    pub(crate) fn then(mut self, text: &str) -> String {
        self.0.push('\n');
        self.0.push_str(text);
        self.0
    }
}

pub(crate) const fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// The clock's time.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// A point in time for people: the date, and how far it is from `now`.
pub(crate) fn moment(at: Timestamp, now: Timestamp) -> String {
    /// RFC 3339 has four digits for a year: this is the first second that needs five.
    const YEAR_10000: u64 = 253_402_300_800;
    let whole_seconds = |span: Duration| humantime::format_duration(Duration::from_secs(span.as_secs()));
    let date = if at.as_millis() < YEAR_10000 * 1000 {
        humantime::format_rfc3339_millis(at.into()).to_string()
    } else {
        format!("{} ms after 1970", at.as_millis())
    };
    if at > now {
        format!("{date} (in {})", whole_seconds(at.since(now)))
    } else {
        format!("{date} ({} ago)", whole_seconds(now.since(at)))
    }
}

/// Text that does nothing to a terminal: control characters other than line feeds as `\u00XX`, which JSON reads as the same.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\n' {
            // Writing to a string can't fail.
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_well() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        assert_eq!(moment(now + Duration::from_millis(90_500), now), "2023-11-14T22:14:50.500Z (in 1m 30s)");
        assert_eq!(moment(now, now), "2023-11-14T22:13:20.000Z (0s ago)");
        assert_eq!(
            moment(Timestamp::from_millis(0), now).split(' ').next(),
            Some("1970-01-01T00:00:00.000Z")
        );
    }

    #[test]
    fn a_lie_about_the_expiry_is_shown_as_it_is() {
        let shown = moment(Timestamp::MAX, Timestamp::from_millis(0));
        assert!(shown.starts_with("18446744073709551615 ms after 1970 (in "), "{shown}");
        let last = Timestamp::from_millis(253_402_300_799_999);
        assert!(moment(last, last).starts_with("9999-12-31T23:59:59.999Z"));
        let next = last + Duration::from_millis(1);
        assert!(moment(next, next).starts_with("253402300800000 ms"));
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        let json = serde_json::to_string_pretty(&["a\u{1b}[2J\u{7f}\u{9b}31m é"]).unwrap();
        let shown = harmless(&json);
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), ["a\u{1b}[2J\u{7f}\u{9b}31m é"]);
    }
}
