//! The messages that writes of the store publish: 33 bytes, `kind | tag [16] | version [16]`. They name no session: a tag is a
//! [`Key`](session_core::Key) or a [`SubjectTag`](session_core::SubjectTag), both hashes.

use session_core::Version;

use super::protocol::{Change, EntryId, Kind};

const LEN: usize = 33;

/// The change that a message tells of; `None` if it is no message of this version of the library.
pub(super) fn decode(message: &[u8]) -> Option<Change> {
    let (kind, rest) = message.split_first()?;
    let (tag, version) = rest.split_first_chunk::<16>()?;
    let version = Version::from_bytes(version.try_into().ok()?);
    let id = |kind| EntryId { kind, tag: *tag };
    match kind {
        b's' => Some(Change::Saved(id(Kind::Record), version)),
        b'd' => Some(Change::Gone(id(Kind::Record))),
        // The epoch stands where a version has its counter, so epochs are ordered as versions are.
        b'e' => Some(Change::Saved(id(Kind::Epoch), version)),
        b'c' => Some(Change::Cleared),
        _ => None,
    }
}

/// The message of a change; subjects are never gone.
pub(super) fn encode(change: Change) -> [u8; LEN] {
    let (kind, tag, version) = match change {
        Change::Saved(EntryId { kind: Kind::Record, tag }, version) => (b's', tag, version),
        Change::Saved(EntryId { kind: Kind::Epoch, tag }, version) => (b'e', tag, version),
        Change::Gone(EntryId { tag, .. }) => (b'd', tag, Version::default()),
        Change::Cleared => (b'c', [0; 16], Version::default()),
    };
    let mut message = [0; LEN];
    message[0] = kind;
    message[1..17].copy_from_slice(&tag);
    message[17..].copy_from_slice(&version.to_bytes());
    message
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
