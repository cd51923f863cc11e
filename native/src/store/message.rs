//! The form of the messages by which writes tell the caches of other processes: 33 bytes, `kind | tag [16] | version [16]`. They name no session: a
//! tag is a [`Key`](session_core::Key) or a [`SubjectTag`](session_core::SubjectTag), both hashes. The stores write them, `cached` reads them.

use session_core::Version;

const LEN: usize = 33;

pub(super) type Message = [u8; LEN];

/// A record was saved, and has this version now.
pub(super) const SAVED: u8 = b's';
/// A record was deleted.
pub(super) const DELETED: u8 = b'd';
/// A subject's epoch moved on. It stands where a version has its counter, so epochs are ordered as versions are.
pub(super) const EPOCH: u8 = b'e';
/// Every record was deleted.
pub(super) const CLEARED: u8 = b'c';

pub(super) fn write(kind: u8, tag: &[u8; 16], version: Version) -> Message {
    let mut message = [0; LEN];
    message[0] = kind;
    message[1..17].copy_from_slice(tag);
    message[17..].copy_from_slice(&version.to_bytes());
    message
}
