//! iron-session's seals: nothing opens but what was sealed.

use core::time::Duration;
use std::sync::LazyLock;

use session_core::{Timestamp, interop::iron::Iron};
use sha1::Sha1;

use crate::{Any, Given, NOW, format, input::Input, reference};

const PASSWORD: &str = "a-password-of-at-least-32-characters";

static IRON: LazyLock<Iron> = LazyLock::new(|| Iron::new("1", PASSWORD).unwrap());

/// With a password that nothing was ever sealed with.
static VICTIM: LazyLock<Iron> =
    LazyLock::new(|| Iron::new("1", "victim-victim-victim-victim-victim").unwrap());

pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(3) {
        0 => {
            let any = input.rest();
            assert!(VICTIM.open(any, NOW).is_err(), "forged");
            assert!(IRON.open(any, NOW).is_err(), "forged");
        }
        1 => altered(&mut input),
        _ => authentic(&mut input),
    }
}

fn altered(input: &mut Input<'_>) {
    let (random, ttl, json) = (Given(input.array()), input.below(100), input.piece());
    let seal = IRON.seal(json, Some(Duration::from_secs(ttl as u64)), NOW, &random).unwrap().into_bytes();
    if seal.len() <= session_core::interop::iron::MAX_SEAL_LEN {
        let opened = IRON.open(&seal, NOW).expect("what was sealed opens");
        assert_eq!(opened.json(), json);
        let _ = opened.into_foreign::<Any>();
    }
    // The suffix stands outside of the seal: `Fe26.2*…~2`, `…~` and the seal alone are one.
    let changed = input.altered(&seal);
    if let Ok(opened) = IRON.open(&changed, NOW) {
        assert_eq!(opened.json(), json);
        let body = |seal: &[u8]| seal.split(|byte| *byte == b'~').next().unwrap().to_vec();
        assert!(body(&changed) == body(&seal), "opened although changed");
    }
    assert!(VICTIM.open(&seal, NOW).is_err(), "opened with another password");
}

/// Made by one who has the password, of parts that are anything.
fn authentic(input: &mut Input<'_>) {
    let mut part = || input.text().replace(['*', '~'], "");
    let (salt, expiry, mac_salt, mut iv, mut ciphertext) = (part(), part(), part(), part(), part());
    let key = derive(&salt);
    if input.below(4) > 0 {
        let bytes = input.array();
        iv = format::base64(&bytes);
        ciphertext = format::base64(&format::encrypt(&key, &bytes, input.rest()));
    }
    let base = format!("Fe26.2*1*{salt}*{iv}*{ciphertext}*{expiry}");
    let mac = format::base64(&format::hmac(&derive(&mac_salt), base.as_bytes()));
    let found = IRON.open(format!("{base}*{mac_salt}*{mac}").as_bytes(), NOW);

    let expected = (|| {
        let ends = match &*expiry {
            "" => u64::MAX,
            digits if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                return None;
            }
            digits => digits.parse().unwrap_or(u64::MAX),
        };
        let iv = reference::base64url(iv.as_bytes())?.try_into().ok()?;
        let json = reference::decrypt(&key, &iv, &reference::base64url(ciphertext.as_bytes())?)?;
        (NOW.as_millis() < ends.saturating_add(60_000)).then_some((json, Timestamp::from_millis(ends)))
    })();
    let long = base.len() + mac_salt.len() + mac.len() + 2 > session_core::interop::iron::MAX_SEAL_LEN;
    let found = found.ok().map(|opened| (opened.json().to_vec(), opened.expires_at()));
    assert_eq!(found, expected.filter(|_| !long));
}

fn derive(salt: &str) -> [u8; 32] {
    let mut key = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha1>(PASSWORD.as_bytes(), salt.as_bytes(), 1, &mut key);
    key
}
