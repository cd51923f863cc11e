//! Client binding: a session that only works from the address or the browser it began with.
//!
//! A weak defence (addresses change, User-Agents can be copied), so it is off by default. What is kept is a keyed hash, different
//! for every session: neither a store nor a cookie tells where its user was.

use alloc::string::String;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    crypto::{KeyId, KeyRing, Keys},
    encoding,
    error::{ConfigError, Rejection},
    id::{SessionId, deserialize_bytes},
};

/// What is known about the client of a request. Where the address comes from is the framework's matter: never from a header that
/// an untrusted peer could have written.
///
/// ```
/// use session_core::Client;
///
/// let client = Client { ip: Some("203.0.113.7".parse()?), user_agent: Some(b"Mozilla/5.0") };
/// assert_ne!(client, Client::default());
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client<'a> {
    /// The client's address, if it is known for certain.
    pub ip: Option<IpAddr>,
    /// The request's `User-Agent`, if it has one.
    pub user_agent: Option<&'a [u8]>,
}

/// What sessions are bound to.
///
/// ```
/// use session_core::ClientBinding;
///
/// // The same /24 or /48 and the same browser.
/// let binding = ClientBinding::ip_prefix(24, 48)?.and_user_agent();
/// # Ok::<(), session_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientBinding {
    ip: Option<(u8, u8)>,
    user_agent: bool,
}

impl ClientBinding {
    /// The whole IP address. For IPv6 its /64, within which a device changes addresses by itself (RFC 8981).
    #[must_use]
    pub const fn ip() -> Self {
        Self { ip: Some((32, 64)), user_agent: false }
    }

    /// The first bits of the IP address: `v4` of 32, `v6` of 128.
    ///
    /// # Errors
    /// [`ConfigError::PrefixLength`] for more bits than an address has; [`ConfigError::EmptyBinding`] for none.
    pub const fn ip_prefix(v4: u8, v6: u8) -> Result<Self, ConfigError> {
        if v4 > 32 || v6 > 128 {
            return Err(ConfigError::PrefixLength);
        }
        if v4 == 0 || v6 == 0 {
            return Err(ConfigError::EmptyBinding);
        }
        Ok(Self { ip: Some((v4, v6)), user_agent: false })
    }

    /// The `User-Agent`.
    #[must_use]
    pub const fn user_agent() -> Self {
        Self { ip: None, user_agent: true }
    }

    /// The `User-Agent` too.
    #[must_use]
    pub const fn and_user_agent(self) -> Self {
        Self { user_agent: true, ..self }
    }

    /// Whether the address is part of it.
    #[must_use]
    pub const fn uses_ip(&self) -> bool {
        self.ip.is_some()
    }

    /// Whether the `User-Agent` is part of it.
    #[must_use]
    pub const fn uses_user_agent(&self) -> bool {
        self.user_agent
    }

    /// The fingerprint of a client for one session, under the ring's sealing key.
    pub(crate) fn fingerprint(&self, ring: &KeyRing, id: &SessionId, client: &Client<'_>) -> Fingerprint {
        self.under(ring.sealing(), id, client)
    }

    /// The fields of a payload's `bind` (`kid`, `ip`, `ua`) for a session of this client, under the key with the id `kid` or the sealing
    /// key: for hosts that compose payloads themselves, as JavaScript does. `None` if there is no such key.
    #[must_use]
    pub fn payload_fields(
        &self,
        ring: &KeyRing,
        id: &SessionId,
        kid: Option<&str>,
        client: &Client<'_>,
    ) -> Option<[Option<String>; 3]> {
        let keys = match kid {
            Some(kid) => ring.find(KeyId::from_bytes(encoding::decode_array(kid.as_bytes())?))?,
            None => ring.sealing(),
        };
        let Fingerprint { key_id, ip, user_agent } = self.under(keys, id, client);
        let text = |hash: Hash| encoding::encode(&hash.0);
        Some([Some(encoding::encode(key_id.as_bytes())), ip.map(text), user_agent.map(text)])
    }

    /// Whether the client is the one whose fingerprint was kept. A fingerprint that lacks what the policy asks for is a
    /// mismatch, and so is a missing header where there was one.
    pub(crate) fn check(
        &self,
        ring: &KeyRing,
        id: &SessionId,
        kept: &Fingerprint,
        client: &Client<'_>,
    ) -> Result<(), Rejection> {
        let keys = ring.find(kept.key_id).ok_or(Rejection::BoundElsewhere)?;
        let actual = self.under(keys, id, client);
        // Keyed hashes of what the client sent: it learns nothing from how long comparing takes.
        if actual.ip != kept.ip.filter(|_| self.ip.is_some())
            || actual.user_agent != kept.user_agent.filter(|_| self.user_agent)
        {
            return Err(Rejection::BoundElsewhere);
        }
        Ok(())
    }

    fn under(&self, keys: &Keys, id: &SessionId, client: &Client<'_>) -> Fingerprint {
        let hash = |kind: &[u8], value: &[u8]| Hash::of(&keys.binding_hash([kind, id.as_bytes(), value]));
        Fingerprint {
            key_id: keys.id,
            ip: self.ip.map(|(v4, v6)| match client.ip.map(|ip| ip.to_canonical()) {
                Some(IpAddr::V4(ip)) => hash(b"ipv4", &masked_v4(ip, v4).octets()),
                Some(IpAddr::V6(ip)) => hash(b"ipv6", &masked_v6(ip, v6).octets()),
                None => hash(b"no-ip", b""),
            }),
            user_agent: self.user_agent.then(|| match client.user_agent {
                Some(user_agent) => hash(b"user-agent", user_agent),
                None => hash(b"no-user-agent", b""),
            }),
        }
    }
}

const fn masked_v4(ip: Ipv4Addr, bits: u8) -> Ipv4Addr {
    // `checked_shr` of a whole word is the one case that must give zero.
    let mask = match u32::MAX.checked_shr(bits as u32) {
        Some(host) => !host,
        None => u32::MAX,
    };
    Ipv4Addr::from_bits(ip.to_bits() & mask)
}

const fn masked_v6(ip: Ipv6Addr, bits: u8) -> Ipv6Addr {
    let mask = match u128::MAX.checked_shr(bits as u32) {
        Some(host) => !host,
        None => u128::MAX,
    };
    Ipv6Addr::from_bits(ip.to_bits() & mask)
}

/// What a session keeps of its client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    #[serde(rename = "kid", with = "key_id")]
    pub(crate) key_id: KeyId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip: Option<Hash>,
    #[serde(rename = "ua", default, skip_serializing_if = "Option::is_none")]
    user_agent: Option<Hash>,
}

/// Half of an HMAC-SHA256: 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hash([u8; 16]);

impl Hash {
    fn of(tag: &[u8; 32]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&tag[..16]);
        Self(half)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encoding::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_bytes(deserializer, "22 characters of base64url").map(Self)
    }
}

mod key_id {
    use super::*;

    pub(super) fn serialize<S: Serializer>(id: &KeyId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encoding::encode(id.as_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyId, D::Error> {
        deserialize_bytes(deserializer, "6 characters of base64url").map(KeyId::from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{crypto::Secret, random::OsRandom};

    fn ring() -> KeyRing {
        KeyRing::new(&Secret::generate(&OsRandom).unwrap())
    }

    fn client<'a>(ip: &str, user_agent: &'a str) -> Client<'a> {
        Client { ip: ip.parse().ok(), user_agent: (!user_agent.is_empty()).then_some(user_agent.as_bytes()) }
    }

    fn accepts(policy: ClientBinding, first: Client<'_>, second: Client<'_>) -> bool {
        let (ring, id) = (ring(), SessionId::generate(&OsRandom).unwrap());
        let kept = policy.fingerprint(&ring, &id, &first);
        policy.check(&ring, &id, &kept, &second).is_ok()
    }

    #[test]
    fn the_seeds_cases() {
        let both = ClientBinding::ip().and_user_agent();
        let here = client("203.0.113.7", "Mozilla/5.0");
        assert!(accepts(both, here, here));
        assert!(!accepts(both, here, client("203.0.113.8", "Mozilla/5.0")));
        assert!(!accepts(both, here, client("203.0.113.7", "curl")));
        assert!(!accepts(both, here, client("203.0.113.7", "")), "a missing header is a mismatch");
        assert!(!accepts(both, here, client("", "Mozilla/5.0")), "a missing address is a mismatch");
        assert!(!accepts(both, client("", ""), here));
        assert!(accepts(ClientBinding::ip(), here, client("203.0.113.7", "curl")));
        assert!(accepts(ClientBinding::user_agent(), here, client("198.51.100.4", "Mozilla/5.0")));
    }

    #[test]
    fn an_empty_header_is_not_a_missing_one() {
        let policy = ClientBinding::user_agent();
        let empty = Client { user_agent: Some(b""), ..Client::default() };
        assert!(!accepts(policy, empty, Client::default()));
    }

    #[test]
    fn prefixes_are_compared_by_their_bits() {
        let policy = ClientBinding::ip_prefix(24, 48).unwrap();
        assert!(accepts(policy, client("203.0.113.7", ""), client("203.0.113.250", "")));
        assert!(!accepts(policy, client("203.0.113.7", ""), client("203.0.114.7", "")));
        assert!(accepts(policy, client("2001:db8:1::1", ""), client("2001:db8:1:ffff::9", "")));
        assert!(!accepts(policy, client("2001:db8:1::1", ""), client("2001:db8:2::1", "")));
        assert!(accepts(ClientBinding::ip(), client("::ffff:203.0.113.7", ""), client("203.0.113.7", "")));
        let exact = ClientBinding::ip_prefix(32, 128).unwrap();
        assert!(!accepts(exact, client("2001:db8::1", ""), client("2001:db8::2", "")));
        assert_eq!(ClientBinding::ip_prefix(33, 64), Err(ConfigError::PrefixLength));
        assert_eq!(ClientBinding::ip_prefix(32, 129), Err(ConfigError::PrefixLength));
        assert_eq!(ClientBinding::ip_prefix(0, 64), Err(ConfigError::EmptyBinding));
    }

    #[test]
    fn a_fingerprint_belongs_to_one_session_and_one_key() {
        let (policy, here) = (ClientBinding::ip(), client("203.0.113.7", ""));
        let (ring, id) = (ring(), SessionId::generate(&OsRandom).unwrap());
        let kept = policy.fingerprint(&ring, &id, &here);
        let other = SessionId::generate(&OsRandom).unwrap();
        assert!(policy.check(&ring, &other, &kept, &here).is_err());
        assert!(policy.check(&self::ring(), &id, &kept, &here).is_err());
    }

    #[test]
    fn a_policy_that_grew_or_shrank() {
        let (ring, id, here) =
            (ring(), SessionId::generate(&OsRandom).unwrap(), client("203.0.113.7", "Mozilla/5.0"));
        let both = ClientBinding::ip().and_user_agent();
        let kept = both.fingerprint(&ring, &id, &here);
        assert!(ClientBinding::ip().check(&ring, &id, &kept, &client("203.0.113.7", "curl")).is_ok());
        let kept = ClientBinding::ip().fingerprint(&ring, &id, &here);
        assert!(both.check(&ring, &id, &kept, &here).is_err());
    }
}
