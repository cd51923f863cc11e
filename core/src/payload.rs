//! The text inside tokens and records: a line of what every session has, a line of what some have, the data. `core/FORMAT.md` specifies it.

use alloc::borrow::Cow;

use memchr::memchr;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    binding::Fingerprint,
    encoding,
    error::{Error, Unreadable},
    flash::Messages,
    id::{Key, SessionId},
    json::{Object, append_json, from_json},
    time::Timestamp,
    wiped::Wiped,
};

/// Everything but the application's data, as it is written.
pub(crate) struct Meta<'a> {
    /// In tokens the session's secret id; in records its key, which binds a record to where it lies.
    pub(crate) name: &'a [u8; 16],
    pub(crate) rot: u64,
    pub(crate) iat: Timestamp,
    pub(crate) abs: Timestamp,
    /// In tokens which save this is; in records when the session was last rotated, or 0.
    pub(crate) last: u64,
    pub(crate) attributes: Attributes<'a>,
}

/// What not every session has, in the order in which it is written.
#[derive(Serialize)]
pub(crate) struct Attributes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sub: Option<&'a str>,
    /// When the subject last proved who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth: Option<Timestamp>,
    /// The subject's epoch at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bind: Option<&'a Fingerprint>,
    #[serde(skip_serializing_if = "Messages::is_empty")]
    pub(crate) flash: &'a Messages,
}

impl Attributes<'_> {
    fn is_empty(&self) -> bool {
        self.sub.is_none()
            && self.auth.is_none()
            && self.epoch.is_none()
            && self.bind.is_none()
            && self.flash.is_empty()
    }
}

impl Meta<'_> {
    /// The payload of a token without data.
    pub(crate) fn without_data(&self) -> Result<Wiped, Error> {
        self.lines(0)
    }

    /// Both lines, with `room` behind them.
    fn lines(&self, room: usize) -> Result<Wiped, Error> {
        let mut bytes = Wiped::with_capacity(META_LEN + room);
        bytes.extend_from_slice(&*Zeroizing::new(encoding::encode_array::<16, 22>(self.name)));
        for number in [self.rot, self.iat.as_millis(), self.abs.as_millis(), self.last] {
            bytes.push(b'.');
            bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        bytes.push(b'\n');
        if !self.attributes.is_empty() {
            append_json(&mut bytes, &self.attributes)?;
        }
        Ok(bytes)
    }
}

/// Everything but the application's data, as it is read.
pub(crate) struct Parsed<'a> {
    name: Zeroizing<[u8; 16]>,
    pub(crate) rot: u64,
    pub(crate) iat: Timestamp,
    pub(crate) abs: Timestamp,
    last: u64,
    pub(crate) attributes: ParsedAttributes<'a>,
}

/// Unknown ones are passed over, duplicate ones refused.
#[derive(Default, Deserialize)]
pub(crate) struct ParsedAttributes<'a> {
    #[serde(default, borrow)]
    pub(crate) sub: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(crate) auth: Option<Timestamp>,
    #[serde(default)]
    pub(crate) epoch: Option<u64>,
    #[serde(default)]
    pub(crate) bind: Option<Object<Fingerprint>>,
    #[serde(default)]
    pub(crate) flash: Messages,
}

impl<'a> Parsed<'a> {
    /// Reads both lines. Gives too where the data begins, if there is any.
    pub(crate) fn of(payload: &'a [u8]) -> Result<(Self, Option<usize>), Error> {
        Self::of_lines(payload).ok_or(Error::Unreadable(Unreadable::Payload))
    }

    fn of_lines(payload: &'a [u8]) -> Option<(Self, Option<usize>)> {
        let (first, rest) = split(payload, b'\n');
        let (second, data) = split(rest?, b'\n');
        let mut parsed = Self::of_first_line(first)?;
        if !second.is_empty() {
            Object(parsed.attributes) = from_json(second)?;
        }
        Some((parsed, data.map(|data| payload.len() - data.len())))
    }

    fn of_first_line(line: &[u8]) -> Option<Self> {
        let (name, rest) = split(line, b'.');
        let (rot, rest) = split(rest?, b'.');
        let (iat, rest) = split(rest?, b'.');
        let (abs, last) = split(rest?, b'.');
        Some(Self {
            name: encoding::decode_array(name)?.into(),
            rot: number(rot)?,
            iat: Timestamp::from_millis(number(iat)?),
            abs: Timestamp::from_millis(number(abs)?),
            last: number(last?)?,
            attributes: ParsedAttributes::default(),
        })
    }

    /// Of a token.
    pub(crate) fn id(&self) -> SessionId {
        SessionId::from_bytes(*self.name)
    }

    /// Of a record.
    pub(crate) fn key(&self) -> Key {
        Key::from_bytes(*self.name)
    }

    /// Of a token: which save it was made after.
    pub(crate) const fn counter(&self) -> u64 {
        self.last
    }

    /// Of a record.
    pub(crate) fn rotated_at(&self) -> Option<Timestamp> {
        (self.last != 0).then(|| Timestamp::from_millis(self.last))
    }

    pub(crate) fn subject(&self) -> Option<&str> {
        self.attributes.sub.as_deref()
    }
}

/// What is before the first `end`, and what is behind it if there is one.
fn split(text: &[u8], end: u8) -> (&[u8], Option<&[u8]>) {
    match memchr(end, text) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// Digits, in the one way to write a number.
fn number(digits: &[u8]) -> Option<u64> {
    match digits {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] => digits.iter().try_fold(0_u64, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
            number.checked_mul(10)?.checked_add(digit.into())
        }),
        _ => None,
    }
}

/// A payload with data. Wiped when dropped.
#[derive(Clone)]
pub(crate) struct Payload {
    bytes: Wiped,
    /// Where the data begins.
    data: usize,
}

/// Room for both lines; flash messages or a long subject take more, at the price of moving them.
const META_LEN: usize = 256;

impl Payload {
    pub(crate) fn compose(meta: &Meta<'_>, data: &[u8]) -> Result<Self, Error> {
        let mut bytes = meta.lines(1 + data.len())?;
        bytes.push(b'\n');
        let start = bytes.len();
        bytes.extend_from_slice(data);
        Ok(Self { bytes, data: start })
    }

    /// Reads everything but the data, of which `with` takes what it needs.
    pub(crate) fn read<R>(
        bytes: Wiped,
        with: impl FnOnce(Parsed<'_>) -> Result<R, Error>,
    ) -> Result<(Self, R), Error> {
        let (parsed, data) = Parsed::of(&bytes)?;
        let taken = with(parsed)?;
        let data = data.ok_or(Error::Unreadable(Unreadable::Payload))?;
        Ok((Self { bytes, data }, taken))
    }

    /// What was read or composed before.
    pub(crate) fn parsed(&self) -> Result<Parsed<'_>, Error> {
        Parsed::of(&self.bytes).map(|(parsed, _)| parsed)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The application's data: a JSON text.
    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[self.data..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"oKGio6SlpqeoqaqrrK2urw.0.1.2.3";

    fn data_of(payload: &[u8]) -> Result<alloc::vec::Vec<u8>, Error> {
        Payload::read(Wiped::from(payload.to_vec()), |_| Ok(())).map(|(payload, ())| payload.data().to_vec())
    }

    #[test]
    fn data_is_all_that_is_behind_the_second_line() {
        for data in [&b"null"[..], b"{\n}\n", b""] {
            assert_eq!(data_of(&[HEAD, b"\n\n", data].concat()).unwrap(), data);
            assert_eq!(data_of(&[HEAD, b"\n{}\n", data].concat()).unwrap(), data);
        }
        for none in [&b""[..], b"\n", b"\n{}"] {
            assert_eq!(data_of(&[HEAD, none].concat()), Err(Error::Unreadable(Unreadable::Payload)));
        }
    }

    #[test]
    fn numbers_are_written_in_one_way() {
        assert_eq!(
            [&b"0"[..], b"10", b"18446744073709551615"].map(number),
            [Some(0), Some(10), Some(u64::MAX)]
        );
        for other in
            [&b""[..], b"00", b"01", b"+1", b"-1", b" 1", b"1 ", b"1.0", b"1e3", b"18446744073709551616"]
        {
            assert_eq!(number(other), None, "{other:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_no_payload() {
        for attributes in [&b"{\"later\":\"\x89\"}"[..], b"{\"\xff\":1}", b"{\"later\":[\"\xed\xa0\x80\"]}"] {
            let payload = [HEAD, b"\n", attributes, b"\n{}"].concat();
            assert_eq!(data_of(&payload), Err(Error::Unreadable(Unreadable::Payload)), "{attributes:?}");
        }
    }

    #[test]
    fn attributes_are_an_object() {
        for other in ["null", "1", "[]", r#"[null,null,null,null,{}]"#, "{", "{}{}", " "] {
            let payload = [HEAD, b"\n", other.as_bytes(), b"\n{}"].concat();
            assert_eq!(data_of(&payload), Err(Error::Unreadable(Unreadable::Payload)), "{other}");
        }
    }
}
