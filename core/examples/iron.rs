//! Opens and seals for `tests/iron`: reads lines of JSON, writes a line for each.
//!
//! `{"passwords": {"1": …}, "now": ms, "seal": …}` gives what the seal holds; with `"json"` and `"ttl"` (seconds, 0 for ever) instead of `"seal"`, a seal.
//! What is refused gives `refused: ` and why.

use std::{error::Error, io, time::Duration};

use serde::Deserialize;
use session_core::{OsRandom, Timestamp, interop::iron::Iron};

#[derive(Deserialize)]
struct Order {
    passwords: std::collections::BTreeMap<String, String>,
    now: Timestamp,
    seal: Option<String>,
    json: Option<String>,
    #[serde(default)]
    ttl: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    for line in io::stdin().lines() {
        println!("{}", obey(&line?)?);
    }
    Ok(())
}

fn obey(line: &str) -> Result<String, Box<dyn Error>> {
    let Order { passwords, now, seal, json, ttl } = serde_json::from_str(line)?;
    let mut passwords = passwords.iter();
    let (id, password) = passwords.next().ok_or("no password")?;
    let mut iron = Iron::new(id, password)?;
    for (id, password) in passwords {
        iron = iron.password(id, password)?;
    }
    if let Some(json) = json {
        let ttl = (ttl > 0).then_some(Duration::from_secs(ttl));
        return Ok(iron.seal(json.as_bytes(), ttl, now, &OsRandom)?);
    }
    Ok(match iron.open(seal.ok_or("neither `seal` nor `json`")?.as_bytes(), now) {
        Ok(opened) => String::from_utf8(opened.json().to_vec())?,
        Err(refusal) => format!("refused: {}", refusal.code()),
    })
}
