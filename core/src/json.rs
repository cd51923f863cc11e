//! Session data as JSON, and what of it can be read again.

use alloc::{string::ToString as _, vec::Vec};

use serde::Serialize;
use serde_json::Value;

use crate::{
    error::{Error, Unreadable},
    session::SessionData,
};

/// How deep readers follow arrays and objects into one another.
pub(crate) const MOST_NESTED: usize = 127;

/// How deep arrays and objects of a JSON text are nested.
pub(crate) fn nesting(json: &[u8]) -> usize {
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
    serde_json::from_slice(json).map_err(|_| Error::Unreadable(Unreadable::Data))
}

pub(crate) fn parse(json: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(json).map_err(|_| Error::Unreadable(Unreadable::Data))
}

pub(crate) fn to_value(data: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(data).map_err(|error| Error::Serialize(error.to_string()))
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Serialize(error.to_string()))
}
