//! What the messages of writes mean to a cache.

use session_core::Version;

use super::protocol::{Change, EntryId, Kind};
use crate::store::message::{CLEARED, DELETED, EPOCH, Message, SAVED, write};

/// The change that a message tells of; `None` if it is no message of this version of the library.
pub(super) fn decode(message: &[u8]) -> Option<Change> {
    let (kind, rest) = message.split_first()?;
    let (tag, version) = rest.split_first_chunk::<16>()?;
    let version = Version::from_bytes(version.try_into().ok()?);
    let id = |kind| EntryId { kind, tag: *tag };
    match *kind {
        SAVED => Some(Change::Saved(id(Kind::Record), version)),
        DELETED => Some(Change::Gone(id(Kind::Record))),
        EPOCH => Some(Change::Saved(id(Kind::Epoch), version)),
        CLEARED => Some(Change::Cleared),
        _ => None,
    }
}

/// The message of a change; subjects are never gone.
pub(super) fn encode(change: Change) -> Message {
    match change {
        Change::Saved(EntryId { kind: Kind::Record, tag }, version) => write(SAVED, &tag, version),
        Change::Saved(EntryId { kind: Kind::Epoch, tag }, version) => write(EPOCH, &tag, version),
        Change::Gone(EntryId { tag, .. }) => write(DELETED, &tag, Version::default()),
        Change::Cleared => write(CLEARED, &[0; 16], Version::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back() {
        let version = Version { counter: 7, nonce: 9 };
        let record = EntryId { kind: Kind::Record, tag: [3; 16] };
        let epoch = EntryId { kind: Kind::Epoch, tag: [4; 16] };
        for change in [
            Change::Saved(record, version),
            Change::Saved(epoch, Version { counter: 2, nonce: 0 }),
            Change::Gone(record),
            Change::Cleared,
        ] {
            assert_eq!(decode(&encode(change)), Some(change));
        }
    }

    #[test]
    fn the_bytes_are_fixed() {
        let id = EntryId { kind: Kind::Epoch, tag: *b"0123456789abcdef" };
        let message = encode(Change::Saved(id, Version { counter: 258, nonce: 0 }));
        assert_eq!(&message, b"e0123456789abcdef\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn what_is_no_message_is_none() {
        let message = encode(Change::Gone(EntryId { kind: Kind::Record, tag: [1; 16] }));
        let long = [message.as_slice(), b"x"].concat();
        for other in [&message[..32], &long, b"", b"x", &[b'x'; 33]] {
            assert_eq!(decode(other), None, "{other:?}");
        }
    }
}
