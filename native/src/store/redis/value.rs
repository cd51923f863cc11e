//! A record as Redis keeps it: version (16 bytes), expiry (8 bytes, big-endian milliseconds), subject (16 bytes, zeros for none), the random halves
//! of the four versions before (8 bytes each, the last one first), payload.
//!
//! The scripts read the version and the subject where they stand, write the expiry in place when a session is touched, and fill in the versions
//! before: by them a save that is tried again, because its answer was lost, is known though others have come after it.

use bytes::{Buf as _, Bytes};
use session_core::{SubjectTag, Timestamp, Version};

use crate::store::{Record, StoreError};

/// How many versions before its own a record remembers.
pub(super) const VERSIONS_BEFORE: u64 = 4;
const NONCES: [u8; 8 * VERSIONS_BEFORE as usize] = [0; 8 * VERSIONS_BEFORE as usize];
const HEAD: usize = 40 + NONCES.len();
const NOBODY: [u8; 16] = [0; 16];

/// The beginning of a value, as far as a writer knows it.
pub(super) type Head = [u8; 40];

pub(super) fn encode(record: &Record) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD + record.payload.len());
    value.extend_from_slice(&head(record));
    value.extend_from_slice(&NONCES);
    value.extend_from_slice(&record.payload);
    value
}

pub(super) fn head(record: &Record) -> Head {
    let mut head = [0; 40];
    head[..16].copy_from_slice(&record.version.to_bytes());
    head[16..24].copy_from_slice(&expiry(record.expires_at));
    head[24..].copy_from_slice(record.subject.as_ref().map_or(&NOBODY, |subject| subject.as_bytes()));
    head
}

/// The expiry as it stands in a value.
pub(super) const fn expiry(expires_at: Timestamp) -> [u8; 8] {
    expires_at.as_millis().to_be_bytes()
}

/// What was found under a record's name; a tombstone is nothing.
pub(super) fn read(value: Option<Vec<u8>>) -> Result<Option<Record>, StoreError> {
    value.filter(|value| !value.is_empty()).map(decode).transpose()
}

/// The payload shares the value's memory.
pub(super) fn decode(value: Vec<u8>) -> Result<Record, StoreError> {
    let mut value = Bytes::from(value);
    if value.len() < HEAD {
        return Err(StoreError::Malformed);
    }
    let version = Version::from_bytes(value.get_u128().to_be_bytes());
    let expires_at = Timestamp::from_millis(value.get_u64());
    let subject = value.get_u128().to_be_bytes();
    value.advance(NONCES.len());
    let subject = (subject != NOBODY).then(|| SubjectTag::from_bytes(subject));
    Ok(Record::new(version, expires_at, value).of_subject(subject))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back() {
        let version = Version { counter: 7, nonce: 9 };
        let plain = Record::new(version, Timestamp::from_millis(1_000), "{}");
        for record in [plain.clone(), plain.of_subject(Some(SubjectTag::new("42")))] {
            assert_eq!(decode(encode(&record)), Ok(record));
        }
    }

    #[test]
    fn what_is_too_short_is_no_record() {
        assert_eq!(decode(vec![0; HEAD - 1]), Err(StoreError::Malformed));
        assert!(decode(vec![0; HEAD]).is_ok());
        assert_eq!((read(None), read(Some(Vec::new()))), (Ok(None), Ok(None)));
        assert_eq!(read(Some(vec![0])), Err(StoreError::Malformed));
    }
}
