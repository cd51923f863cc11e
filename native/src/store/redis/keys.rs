//! The names under which things are kept in Redis.
//!
//! | name | type | what |
//! |---|---|---|
//! | `session:{3f}:s:<key>` | string | a record: [`value`](super::value); empty: a tombstone, there was one a moment ago |
//! | `session:{a1}:u:<tag>` | sorted set | the sessions of a subject, by when they end |
//! | `session:{a1}:c:<tag>` | set | sessions of a subject that are beyond its limit, until they are ended |
//! | `session:{a1}:e:<tag>` | string | the epoch of a subject, in decimal |
//! | `session:{3f}:l:<key>` | string | who may save a contended session next |
//! | `session:{00}:life` | string | random: another one if the data were replaced |
//! | `session:changes`, in a cluster `session:{3f}:changes` | channel | what was written |
//!
//! What is in braces is the first byte of the key or tag: the *bucket*. Redis Cluster places a name by it, so that all that a script touches is on one
//! node, and so that a bucket's changes are published where its records are.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use session_core::{Key, SubjectTag};

/// Makes and reads names.
pub(super) struct Keys {
    prefix: Box<str>,
}

impl Keys {
    /// `None` if the prefix holds a brace, which would move everything to one node.
    pub(super) fn new(prefix: &str) -> Option<Self> {
        (!prefix.contains(['{', '}'])).then(|| Self { prefix: prefix.into() })
    }

    pub(super) fn record(&self, key: &Key) -> String {
        self.name(bucket(key), "s:", key.as_bytes())
    }

    pub(super) fn lease(&self, key: &Key) -> String {
        self.name(bucket(key), "l:", key.as_bytes())
    }

    pub(super) fn index(&self, subject: &SubjectTag) -> String {
        self.name(subject.as_bytes()[0], "u:", subject.as_bytes())
    }

    pub(super) fn condemned(&self, subject: &SubjectTag) -> String {
        self.name(subject.as_bytes()[0], "c:", subject.as_bytes())
    }

    pub(super) fn epoch(&self, subject: &SubjectTag) -> String {
        self.name(subject.as_bytes()[0], "e:", subject.as_bytes())
    }

    /// The channel of everything.
    pub(super) fn channel(&self) -> String {
        format!("{}:changes", self.prefix)
    }

    /// The sharded channel of a bucket.
    pub(super) fn channel_of(&self, bucket: u8) -> String {
        self.name(bucket, "changes", &[])
    }

    /// The channel on which a command tells of the changes in a bucket.
    pub(super) fn channel_by(&self, publish: &str, bucket: u8) -> String {
        match publish {
            "" => String::new(),
            "PUBLISH" => self.channel(),
            _ => self.channel_of(bucket),
        }
    }

    /// The life of the data: see [`feed`](super::feed).
    #[cfg(feature = "cache")]
    pub(super) fn life(&self, bucket: u8) -> String {
        self.name(bucket, "life", &[])
    }

    /// A glob pattern that the names of all records match.
    pub(super) fn records(&self) -> String {
        let mut pattern = String::with_capacity(self.prefix.len() + 10);
        for letter in self.prefix.chars() {
            if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern + ":{??}:s:*"
    }

    /// The key of a record's name; `None` if it isn't one: the pattern also matches what other programs may have put there.
    pub(super) fn parse(&self, name: &[u8]) -> Option<Key> {
        let name = core::str::from_utf8(name).ok()?;
        let (_, text) = name.rsplit_once(":s:")?;
        let key = text.parse().ok()?;
        (self.record(&key) == name).then_some(key)
    }

    /// Every load makes one or two: in one piece, the tag as its `Display` writes it, without a text of its own in between.
    fn name(&self, bucket: u8, kind: &str, tag: &[u8]) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut name = String::with_capacity(self.prefix.len() + 32);
        name.push_str(&self.prefix);
        name.push_str(":{");
        name.push(DIGITS[usize::from(bucket >> 4)].into());
        name.push(DIGITS[usize::from(bucket & 15)].into());
        name.push_str("}:");
        name.push_str(kind);
        BASE64_URL_SAFE_NO_PAD.encode_string(tag, &mut name);
        name
    }
}

/// The bucket of a record.
pub(super) const fn bucket(key: &Key) -> u8 {
    key.as_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_records_name_is_read_back_and_nothing_else_is() {
        let keys = Keys::new("session").expect("a prefix");
        let key = Key::from_bytes([0x3f; 16]);
        let name = keys.record(&key);
        assert_eq!(name, "session:{3f}:s:Pz8_Pz8_Pz8_Pz8_Pz8_Pw");
        assert_eq!(keys.parse(name.as_bytes()), Some(key));
        for foreign in [
            "session:{3e}:s:Pz8_Pz8_Pz8_Pz8_Pz8_Pw",
            "other:{3f}:s:Pz8_Pz8_Pz8_Pz8_Pz8_Pw",
            "session:{3f}:u:Pz8_Pz8_Pz8_Pz8_Pz8_Pw",
            "session:{3f}:s:Pz8_Pz8_Pz8_Pz8_Pz8_Pw=",
            "session:{3f}:s:cart",
            "session:0b8a",
        ] {
            assert_eq!(keys.parse(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn a_prefix_is_no_pattern_and_no_hash_tag() {
        assert!(Keys::new("{app}").is_none());
        assert_eq!(Keys::new("a*[1]").expect("a prefix").records(), r"a\*\[1\]:{??}:s:*");
    }
}
