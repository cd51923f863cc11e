//! JSON: session data written and read, how deep it may be nested, and objects that are objects.

use alloc::string::ToString as _;
use core::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

use crate::{
    error::{Error, Unreadable},
    session::SessionData,
    wiped::Wiped,
};

/// How deep readers follow arrays and objects into one another.
const MOST_NESTED: usize = 127;

/// Whether readers would give up on a JSON text.
pub(crate) fn is_nested_too_deep(json: &[u8]) -> bool {
    // A text with that few brackets, and most are such, needn't be followed. They differ in one bit, and are counted in bytes, so that the
    // compiler looks at many at once.
    let brackets = |part: &[u8]| part.iter().fold(0_u8, |count, byte| count + u8::from(byte | 0x20 == b'{'));
    let all: usize = json.chunks(255).map(|part| usize::from(brackets(part))).sum();
    all > MOST_NESTED && nesting(json) > MOST_NESTED
}

/// How deep arrays and objects of a JSON text are nested.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

pub(crate) fn read_data<T: SessionData>(json: &[u8]) -> Result<T, Error> {
    from_json(json).ok_or(Error::Unreadable(Unreadable::Data))
}

pub(crate) fn parse(json: &[u8]) -> Result<Value, Error> {
    from_json(json).ok_or(Error::Unreadable(Unreadable::Data))
}

/// Checked to be text as a whole, and not string by string.
pub(crate) fn from_json<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    serde_json::from_str(core::str::from_utf8(json).ok()?).ok()
}

pub(crate) fn to_value(data: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(data).map_err(|error| Error::Serialize(error.to_string()))
}

/// Wiped when dropped: it may hold anything that a session holds. `room` is about how long the text will be: one that outgrows it is moved.
pub(crate) fn to_json(value: &impl Serialize, room: usize) -> Result<Wiped, Error> {
    let mut json = Wiped::with_capacity(room);
    append_json(&mut json, value)?;
    Ok(json)
}

/// As [`to_json`], behind what `json` holds.
pub(crate) fn append_json(json: &mut Wiped, value: &impl Serialize) -> Result<(), Error> {
    #[cfg(feature = "std")]
    let result = serde_json::to_writer(&mut **json, value);
    // Without `std` it takes no buffer of ours.
    #[cfg(not(feature = "std"))]
    let result = serde_json::to_vec(value).map(|text| json.extend_from_slice(&Wiped::from(text)));
    result.map_err(|error| Error::Serialize(error.to_string()))
}

/// Whether there may be an integer that needs more than 64 bits: 19 digits in a row, of which one stands at a multiple of 19.
pub(crate) fn may_hold_wide_integer(json: &[u8]) -> bool {
    const DIGITS: usize = 19;

    let is_digit = |byte: &&u8| byte.is_ascii_digit();
    (0..json.len()).step_by(DIGITS).filter(|at| json[*at].is_ascii_digit()).any(|at| {
        let (before, behind) = json.split_at(at);
        let before = before.iter().rev().take_while(is_digit).count();
        before + behind.iter().take_while(is_digit).count() >= DIGITS
    })
}

/// Whether two texts of one length may be the same bytes in another order. Nearly every change of a value says no.
pub(crate) fn may_be_reordered(a: &[u8], b: &[u8]) -> bool {
    let sum = |text: &[u8]| text.iter().map(|byte| u32::from(*byte)).fold(0, u32::wrapping_add);
    sum(a) == sum(b)
}

/// Reads a `T` from an object alone: what serde derives for a struct takes an array of its fields as well.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_nested_too_deep_is_refused() {
        let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
        assert!(!is_nested_too_deep(&nested(MOST_NESTED)));
        assert!(is_nested_too_deep(&nested(MOST_NESTED + 1)));
        assert!(!is_nested_too_deep(&b"[],".repeat(1_000)), "many, side by side");
        assert!(!is_nested_too_deep(&[&b"\""[..], &b"[".repeat(1_000), b"\""].concat()), "in a string");
    }

    #[test]
    fn a_wide_integer_is_found_wherever_it_stands() {
        for before in 0..40 {
            let text = |number: &str| [&b" ".repeat(before)[..], number.as_bytes(), b"}"].concat();
            assert!(may_hold_wide_integer(&text("-9223372036854775809")), "{before}");
            assert!(may_hold_wide_integer(&text("18446744073709551616")), "{before}");
            assert!(!may_hold_wide_integer(&text("1700000000000")), "{before}");
        }
    }

    #[test]
    fn a_map_in_another_order_may_be_the_same() {
        assert!(may_be_reordered(br#"{"a":1,"b":2}"#, br#"{"b":2,"a":1}"#));
        assert!(!may_be_reordered(br#"{"visits":1}"#, br#"{"visits":2}"#));
    }
}
