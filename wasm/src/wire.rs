//! How byte strings cross the border: JavaScript writes fields into one buffer of linear memory, and reads the answer from another.
//!
//! A field is its length (u32, little-endian) and its bytes; a length of `u32::MAX` stands for an absent field. That costs one copy in each
//! direction and no allocation, where an argument of type `String` costs both a copy and an allocation.

use alloc::{vec, vec::Vec};

use session_core::Timestamp;
use zeroize::Zeroize as _;

/// Inputs up to this length keep their memory between calls; that of a longer one goes back to the allocator.
const KEPT: usize = 16 * 1024;

/// The buffer that JavaScript writes into.
pub(crate) struct Input(Vec<u8>);

impl Input {
    pub(crate) const EMPTY: Self = Self(Vec::new());

    /// Room for `length` bytes.
    pub(crate) fn reserve(&mut self, length: usize) -> *const u8 {
        if self.0.len() < length || self.0.len() > KEPT {
            self.wipe();
            // Given back first, and of few sizes: what one long header leaves to the allocator serves the next, whatever their lengths.
            self.0 = Vec::new();
            self.0 = vec![0; length.max(KEPT).next_power_of_two()];
        }
        self.0.as_ptr()
    }

    pub(crate) fn wipe(&mut self) {
        self.0.as_mut_slice().zeroize();
    }

    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields(&self.0)
    }

    /// The one field of a call that has one.
    pub(crate) fn field(&self) -> &[u8] {
        self.fields().next().unwrap_or_default()
    }
}

/// Milliseconds as JavaScript counts them. A fraction is cut off; what isn't a time is the epoch.
pub(crate) const fn timestamp(millis: f64) -> Timestamp {
    Timestamp::from_millis(millis as u64)
}

/// The reverse, exact for the next 280,000 years.
pub(crate) const fn millis(timestamp: Timestamp) -> [u8; 8] {
    (timestamp.as_millis() as f64).to_le_bytes()
}

/// Reads fields in the order in which they were written.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next field; `None` if it is absent, or if the input ends early.
    pub(crate) fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        if length == u32::MAX {
            self.0 = rest;
            return None;
        }
        let (field, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(field)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        self.next().and_then(|field| core::str::from_utf8(field).ok())
    }

    /// A float of eight bytes.
    pub(crate) fn number(&mut self) -> Option<f64> {
        self.next().and_then(|field| field.try_into().ok()).map(f64::from_le_bytes)
    }

    /// One byte, 0 or 1.
    pub(crate) fn flag(&mut self) -> Option<bool> {
        self.next().map(|field| field == [1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order_and_absence_is_not_emptiness() {
        let mut fields = Fields(b"\x02\0\0\0ab\xff\xff\xff\xff\0\0\0\0\x01\0\0\0c");
        assert_eq!(fields.next(), Some(&b"ab"[..]));
        assert_eq!(fields.next(), None);
        assert_eq!(fields.next(), Some(&b""[..]));
        assert_eq!(fields.next(), Some(&b"c"[..]));
        assert_eq!(fields.next(), None);
    }

    #[test]
    fn a_length_that_lies_gives_nothing() {
        for input in [&b"\x05\0\0\0abcd"[..], b"\xfe\xff\xff\xff", b"\x01\0\0", b""] {
            assert_eq!(Fields(input).next(), None, "{input:?}");
        }
    }
}
