//! `ClientFingerprint`: what a session was bound to.

use alloc::string::String;
use core::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Unkeyed hashes of a client's address and `User-Agent`, as the Crystal library keeps them. Here sessions are bound by
/// [`ClientBinding`](crate::ClientBinding), whose hashes are keyed; this one is for comparing with what was kept there.
///
/// ```
/// use session_core::interop::crystal::Fingerprint;
///
/// let kept = Fingerprint::new(Some("203.0.113.7"), Some("Mozilla/5.0"));
/// assert_eq!(kept.mismatch(&Fingerprint::new(Some("203.0.113.7"), None)), Some("user_agent"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_agent_hash: Option<String>,
}

impl Fingerprint {
    /// Of an address as text (there the first one in `X-Forwarded-For`, which any client can write) and a `User-Agent`; what
    /// sessions aren't bound to is `None`.
    #[must_use]
    pub fn new(ip: Option<&str>, user_agent: Option<&str>) -> Self {
        Self { ip_hash: ip.map(hash), user_agent_hash: user_agent.map(hash) }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ip_hash.is_none() && self.user_agent_hash.is_none()
    }

    /// What of this fingerprint a client doesn't match: `ip` or `user_agent`. What is missing doesn't match either.
    #[must_use]
    pub fn mismatch(&self, client: &Self) -> Option<&'static str> {
        if self.ip_hash.is_some() && self.ip_hash != client.ip_hash {
            return Some("ip");
        }
        (self.user_agent_hash.is_some() && self.user_agent_hash != client.user_agent_hash)
            .then_some("user_agent")
    }
}

fn hash(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        let written = write!(hex, "{byte:02x}");
        debug_assert!(written.is_ok(), "writing to a string doesn't fail");
    }
    hex
}
