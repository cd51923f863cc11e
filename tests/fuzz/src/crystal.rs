//! What the Crystal library writes: nothing opens but what was signed, however it is spelled.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use serde_json::Value;
use session_core::{
    Timestamp,
    interop::crystal::{
        ClusterMessage, Digest, Encryptor, Fingerprint, LegacyDigest, SessionJson, Time, Verifier,
        open_value, seal_value,
    },
};

use crate::{Any, Given, NOW, input::Input, reference};

const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// As a site has it that still takes old signatures.
static ENCRYPTOR: LazyLock<Encryptor> = LazyLock::new(|| legacy(SECRET));

/// With a secret that nothing was ever sealed with.
static VICTIM: LazyLock<Encryptor> = LazyLock::new(|| legacy(b"victim victim victim victim vict"));

fn legacy(secret: &[u8]) -> Encryptor {
    let until = Timestamp::from_millis(NOW.as_millis() + 1);
    Encryptor::new(secret, None).unwrap().allow(LegacyDigest::Sha1, until).allow(LegacyDigest::Md5, until)
}

pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(5) {
        0 => {
            let any = input.rest();
            assert!(open_value(any, Some(&VICTIM), NOW).is_err(), "forged");
            assert!(open_value(any, Some(&ENCRYPTOR), NOW).is_err(), "forged");
        }
        1 => altered(&mut input),
        2 => authentic(input.rest()),
        3 => session(input.rest()),
        _ => smaller(input.rest()),
    }
}

/// Sealed, and changed on its way: spelled otherwise it may still open, and is then what was sealed.
fn altered(input: &mut Input<'_>) {
    let (iv, compress, json) = (Given(input.array()), input.below(2) == 0, input.piece());
    let sealed = seal_value(json, Some(&ENCRYPTOR), compress.then_some(0), &iv).unwrap();
    let inflated_json = compress || !json.starts_with(&[0x1f, 0x8b]);
    if inflated_json {
        assert_eq!(*open_value(&sealed, Some(&ENCRYPTOR), NOW).unwrap(), json);
    }
    let changed = input.altered(&sealed);
    if let Ok(opened) = open_value(&changed, Some(&ENCRYPTOR), NOW)
        && inflated_json
    {
        assert_eq!(*opened, json, "opened to something that was never sealed");
    }
}

/// Signed by one who has the key, and whatever he likes.
fn authentic(bytes: &[u8]) {
    let signed = Verifier::new(SECRET, Digest::Sha256).sign(bytes);
    let found = ENCRYPTOR.open(signed.as_bytes(), NOW).map(|plain| plain.to_vec()).ok();
    let (blocks, iv) = bytes.split_last_chunk::<16>().unwrap_or((&[], &[0; 16]));
    assert_eq!(found, reference::decrypt(SECRET, iv, blocks));
    // The other form, and a signature of another length, which names another digest.
    let dashes = format!(
        "{}--{}",
        URL_SAFE.encode(bytes),
        URL_SAFE.encode(&signed.as_bytes()[..signed.len().min(20)])
    );
    assert!(ENCRYPTOR.open(dashes.as_bytes(), NOW).is_err(), "forged");
}

/// A session's JSON: what was read can be written, and read again as the same.
fn session(json: &[u8]) {
    let Ok(session) = SessionJson::<Any>::parse(json) else { return };
    assert!(serde_json::from_slice::<Value>(json).is_ok_and(|value| value.is_object()));
    let written = session.to_json().expect("an object, as it was read");
    let again = SessionJson::<Any>::parse(written.as_bytes()).expect("what was written can be read");
    assert_eq!(again.session_id, session.session_id);
    // Whole seconds are written.
    let seconds = |time: &Option<Time>| time.as_ref().map(|time| time.timestamp().as_millis() / 1000);
    assert_eq!(seconds(&again.created_at), seconds(&session.created_at));
    assert_eq!(seconds(&again.expires_at), seconds(&session.expires_at));
    assert_eq!(*again.to_json().unwrap(), *written, "written in one way");
    let ends = session.expires_at.map(|time| time.timestamp());
    if session.into_foreign(NOW).is_ok() {
        assert!(ends.is_some_and(|end| end >= NOW), "imported although it has ended");
    }
}

fn smaller(json: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<ClusterMessage>(json) {
        let written = serde_json::to_string(&message).unwrap();
        let again: ClusterMessage = serde_json::from_str(&written).expect("what was written can be read");
        assert_eq!(serde_json::to_string(&again).unwrap(), written);
    }
    if let Ok(kept) = serde_json::from_slice::<Fingerprint>(json) {
        assert_eq!(kept.mismatch(&kept), None);
        let written = serde_json::to_string(&kept).unwrap();
        assert!(serde_json::from_str::<Fingerprint>(&written).unwrap() == kept);
    }
}
