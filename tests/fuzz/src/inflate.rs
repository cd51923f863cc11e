//! Inflate, of records and of gzip: bounded, and the same as another implementation makes of it.

use std::sync::LazyLock;

use session_core::{Key, MAX_INFLATED, RecordCodec, Unreadable, interop::crystal};

use crate::{Given, NOW, input::Input, reference, ring};

const KEY: Key = Key::from_bytes([7; 16]);

static CODEC: LazyLock<RecordCodec> = LazyLock::new(|| RecordCodec::new(&ring()).deflated_from(Some(0)));

pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(4) {
        // A length that is right, and a stream that is anything.
        0 => {
            let stream = input.rest();
            framed(&[&u32::try_from(stream.len()).unwrap().to_be_bytes(), stream].concat());
        }
        // A length that is anything.
        1 => framed(input.rest()),
        2 => gzip(input.rest()),
        _ => round_trip(&mut input),
    }
}

fn framed(bytes: &[u8]) {
    let found = CODEC.decode(&KEY, [&[2], bytes].concat());
    match reference::inflate_frame(bytes) {
        Some(plain) => assert_eq!(*found.unwrap(), plain),
        None => assert_eq!(found, Err(Unreadable::Inflate)),
    }
}

fn gzip(bytes: &[u8]) {
    let Ok(plain) = crystal::open_value(bytes, None, NOW) else { return };
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        assert_eq!(*plain, bytes);
        return;
    }
    assert!(plain.len() <= MAX_INFLATED);
    assert_eq!(reference::inflate(&bytes[10..bytes.len() - 8]), Some(plain.to_vec()));
}

/// Text that repeats itself, so that it shrinks.
fn round_trip(input: &mut Input<'_>) {
    let (times, iv) = (1 + input.below(256), Given([0; 16]));
    let plain = [b"{", &input.rest().repeat(times)[..]].concat();
    let stored = CODEC.encode(&KEY, &plain, &iv).unwrap();
    assert!(stored.len() <= plain.len() && (stored[0] == b'{' || (stored.len() - 1) % 64 == 0));
    assert_eq!(*CODEC.decode(&KEY, &stored[..]).unwrap(), plain);
    if plain.len() <= MAX_INFLATED {
        let packed = crystal::seal_value(&plain, None, Some(0), &iv).unwrap();
        assert_eq!(*crystal::open_value(&packed, None, NOW).unwrap(), plain);
    }
}
