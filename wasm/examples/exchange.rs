//! The Rust side of the exchange between Rust and JavaScript that `tests/runtimes` runs in every runtime.
//!
//! `exchange seal COUNT` prints random sessions, sealed as a Rust server does. `exchange open` reads what JavaScript sealed (the same form, on
//! standard input) and compares: the session, and what it is said to hold.

use std::{
    error::Error,
    io::Read as _,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use session_core::{
    Config, Kind, OsRandom, Random as _, Secret, Session, SessionData, Timestamp, TokenCodec,
    lifecycle::CommitContext,
};

/// A session and its token.
#[derive(Debug, Serialize, Deserialize)]
struct Sample {
    token: String,
    subject: Option<String>,
    notice: Option<String>,
    key: String,
    data: Value,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Data(Value);

impl Default for Data {
    fn default() -> Self {
        Self(json!({}))
    }
}

impl SessionData for Data {}

fn main() -> Result<(), Box<dyn Error>> {
    let secret = Secret::from_env("SESSION_SECRET")?;
    let config = Config::production(secret);
    let codec = TokenCodec::new(&config.keys, Kind::CookieHeld, &config.cookie.name);
    let now = Timestamp::from_millis(0) + SystemTime::UNIX_EPOCH.elapsed()?;
    match std::env::args().collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "seal", count] => {
            let samples: Result<Vec<_>, _> =
                (0..count.parse()?).map(|_| seal(&config, &codec, now)).collect();
            println!("{}", serde_json::to_string(&samples?)?);
        }
        [_, "open"] => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            let samples: Vec<Sample> = serde_json::from_str(&text)?;
            for (index, sample) in samples.iter().enumerate() {
                open(&codec, now, sample).map_err(|error| format!("sample {index}: {error}"))?;
            }
            println!("{}", samples.len());
        }
        _ => return Err("usage: exchange seal COUNT | exchange open < SAMPLES".into()),
    }
    Ok(())
}

fn seal(config: &Config, codec: &TokenCodec, now: Timestamp) -> Result<Sample, Box<dyn Error>> {
    let mut session = Session::<Data>::anonymous(&config.expiry, now, None);
    let subject = chance()?.then(|| text(12)).transpose()?;
    let notice = chance()?.then(|| text(40)).transpose()?;
    *session.data_mut() = Data(object(3)?);
    if let Some(subject) = &subject {
        session.authenticate(format!("u{subject}"));
    }
    if let Some(notice) = &notice {
        session.flash_mut().set_notice(notice.clone());
    }
    let draft = session
        .wanted()
        .draft(&CommitContext {
            now,
            expiry: &config.expiry,
            ring: &config.keys,
            binding: None,
            random: &OsRandom,
            kind: Kind::CookieHeld,
        })?
        .ok_or("a wanted session is saved")?;
    let token = codec.seal(draft.payload().into(), draft.expires_at(), chance()?, &OsRandom)?;
    let session = Session::<Data>::from_cookie(codec.open(token.as_bytes(), now)?)?;
    Ok(Sample {
        token,
        subject: session.subject().map(Into::into),
        notice,
        key: session.key().ok_or("a stored session has a key")?.to_string(),
        data: session.data().0.clone(),
    })
}

fn open(codec: &TokenCodec, now: Timestamp, sample: &Sample) -> Result<(), Box<dyn Error>> {
    let opened = codec.open(sample.token.as_bytes(), now)?;
    if opened.expires_at() > now + Duration::from_secs(3700) {
        return Err("lives too long".into());
    }
    let session = Session::<Data>::from_cookie(opened)?;
    let key = session.key().map(|key| key.to_string());
    for (what, same) in [
        ("data", session.data().0 == sample.data),
        ("subject", session.subject() == sample.subject.as_deref()),
        ("notice", session.flash().notice() == sample.notice.as_deref()),
        ("key", key.as_ref() == Some(&sample.key)),
    ] {
        if !same {
            return Err(format!("another {what} came out than went in: {sample:?}").into());
        }
    }
    Ok(())
}

/// A random JSON object.
fn object(depth: u8) -> Result<Value, Box<dyn Error>> {
    let mut fields = serde_json::Map::new();
    for _ in 0..byte()? % 5 {
        let value = match byte()? % 6 {
            0 => Value::Null,
            1 => json!(chance()?),
            2 => json!(i32::from_le_bytes([byte()?, byte()?, byte()?, byte()?])),
            3 => json!(f64::from(byte()?) / 8.0),
            4 if depth > 0 => object(depth - 1)?,
            5 if depth > 0 => json!([object(depth - 1)?, text(3)?]),
            _ => json!(text(20)?),
        };
        fields.insert(text(8)?, value);
    }
    Ok(Value::Object(fields))
}

/// Random text: plain, controls, quotes, everything that UTF-8 has.
fn text(most: u8) -> Result<String, Box<dyn Error>> {
    (0..byte()? % most)
        .map(|_| {
            let code = match byte()? % 4 {
                0 => u32::from(byte()?) << 8 | u32::from(byte()?),
                1 => 0x1f600 + u32::from(byte()? % 64),
                _ => u32::from(byte()? % 128),
            };
            Ok(char::from_u32(code).unwrap_or('"'))
        })
        .collect()
}

fn chance() -> Result<bool, Box<dyn Error>> {
    Ok(byte()? & 1 == 1)
}

fn byte() -> Result<u8, Box<dyn Error>> {
    let mut bytes = [0];
    OsRandom.fill(&mut bytes)?;
    Ok(bytes[0])
}
