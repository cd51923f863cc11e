//! Records: what a store gives back, by accident or on purpose.

use std::sync::LazyLock;

use session_core::{Key, MAX_INFLATED, RecordCodec, Unreadable};

use crate::{
    Given,
    format::{self, Parts},
    input::Input,
    keys, reference, ring,
};

const HERE: Key = Key::from_bytes([7; 16]);
const THERE: Key = Key::from_bytes([8; 16]);

/// Plain, deflating, sealing, both.
static CODECS: LazyLock<[RecordCodec; 4]> = LazyLock::new(|| {
    let plain = RecordCodec::new(&ring());
    let sealing = plain.clone().encrypted(true);
    [plain.clone(), plain.deflated_from(Some(0)), sealing.clone(), sealing.deflated_from(Some(0))]
});

static KEYS: LazyLock<[format::Keys; 2]> = LazyLock::new(keys);

pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(3) {
        0 => any(input.rest()),
        1 => written(&mut input),
        _ => authentic(&mut input),
    }
}

/// What nobody sealed for this key.
fn any(stored: &[u8]) {
    agree(stored);
    assert!(CODECS[2].decode(&THERE, stored).is_err(), "forged");
}

/// What was written comes back; where it is sealed, nothing else does, and nowhere else.
fn written(input: &mut Input<'_>) {
    let codec = &CODECS[input.below(4)];
    let iv = Given(input.array());
    let payload = [b"{", input.piece()].concat();
    let stored = codec.encode(&HERE, &payload, &iv).unwrap();
    assert_eq!(*codec.decode(&HERE, &stored[..]).unwrap(), payload);
    let changed = input.altered(&stored);
    agree(&changed);
    if stored[0] == 1 {
        assert_eq!(codec.decode(&THERE, &stored[..]), Err(Unreadable::Seal));
        assert!(changed == stored || CODECS[2].decode(&HERE, &changed[..]).is_err(), "read although changed");
    }
}

/// As only one who has a key can seal it.
fn authentic(input: &mut Input<'_>) {
    let keys = &KEYS[input.below(2)];
    let flags = if input.below(8) == 0 { input.byte() } else { 0b100 | input.byte() & 1 };
    let iv = input.array();
    let body = match input.below(3) {
        0 => [&[2][..], &format::frame(input.rest())].concat(),
        1 => format::frame(input.rest()),
        _ => input.rest().to_vec(),
    };
    agree(&Parts::new(keys, flags, u64::MAX, iv, &body).sealed(keys, HERE.as_bytes()));
}

/// The codecs and the reference give the same.
fn agree(stored: &[u8]) {
    let expected = match stored.first() {
        Some(1) => reference::open_record(stored, HERE.as_bytes())
            .ok_or(Unreadable::Seal)
            .and_then(|plain| form(&plain)),
        _ => form(stored),
    };
    let found = CODECS[0].decode(&HERE, stored).map(|payload| payload.to_vec());
    assert!(
        found.as_ref().is_ok_and(|payload| payload.len() <= MAX_INFLATED.max(stored.len())) || found.is_err()
    );
    assert_eq!(found, expected);
    // Who demands sealed records gets nothing else.
    let strict = CODECS[2].decode(&HERE, stored).map(|payload| payload.to_vec());
    match stored.first() {
        Some(1) => assert_eq!(strict, expected),
        Some(_) => assert_eq!(strict, Err(Unreadable::NotEncrypted)),
        None => assert!(strict.is_err()),
    }
}

fn form(plain: &[u8]) -> Result<Vec<u8>, Unreadable> {
    match plain.first() {
        Some(b'!'..=b'~') => Ok(plain.to_vec()),
        Some(2) => reference::inflate_frame(&plain[1..]).ok_or(Unreadable::Inflate),
        _ => Err(Unreadable::Payload),
    }
}
