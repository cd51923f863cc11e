//! Where a request came from: the peer's address, or what trusted proxies say of it.

use core::net::IpAddr;

pub use ipnet::IpNet;

use crate::web::Headers;

/// The proxies whose `X-Forwarded-For` is believed.
///
/// A client can write into that header what it likes; only what the servers in front of this one appended is true. So the list is read
/// from its end, over the addresses of trusted proxies, to the first that isn't one: that is the client. If the peer itself isn't
/// trusted, the header is not looked at.
///
/// Without trusted proxies (the default) the client is the peer.
///
/// ```
/// use session_native::client::TrustedProxies;
///
/// let proxies = TrustedProxies::new(["10.0.0.0/8".parse()?, "2001:db8::/32".parse()?]);
/// let peer = Some("10.0.0.1".parse()?);
/// // The client wrote the first part itself.
/// let client = proxies.client_ip(peer, ["1.1.1.1, 203.0.113.7, 10.0.0.2"]);
/// assert_eq!(client, Some("203.0.113.7".parse()?));
///
/// let stranger = Some("198.51.100.4".parse()?);
/// assert_eq!(proxies.client_ip(stranger, ["1.1.1.1"]), stranger);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
}

impl TrustedProxies {
    /// Trusts the addresses of these networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self { networks: networks.into_iter().collect() }
    }

    /// The client's address: `peer` is that of the connection, `forwarded_for` the values of the `X-Forwarded-For` header fields in their
    /// order. `None` if the peer's address isn't known, or a trusted proxy wrote something that is no address.
    pub fn client_ip<'h>(
        &self,
        peer: Option<IpAddr>,
        forwarded_for: impl IntoIterator<Item = &'h str, IntoIter: DoubleEndedIterator>,
    ) -> Option<IpAddr> {
        let mut client = peer?.to_canonical();
        let mut hops = forwarded_for.into_iter().rev().flat_map(|value| value.rsplit(','));
        while self.trusts(client) {
            let Some(hop) = hops.next() else { break };
            client = parse_hop(hop.trim())?;
        }
        Some(client)
    }

    /// The same, of a request's header fields, which are only looked at if there is someone to be trusted.
    pub(crate) fn client_ip_of(&self, peer: Option<IpAddr>, headers: &impl Headers) -> Option<IpAddr> {
        let forwarded_for: Vec<&str> = if self.networks.is_empty() {
            Vec::new()
        } else {
            let values = headers.values("x-forwarded-for");
            values.map(|value| core::str::from_utf8(value).unwrap_or_default()).collect()
        };
        self.client_ip(peer, forwarded_for)
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }
}

/// An address as proxies write it: bare, with a port, or an IPv6 address in brackets.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let ip = hop.parse().ok().or_else(|| hop.parse().ok().map(|address: core::net::SocketAddr| address.ip()));
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    ip.or_else(bracketed).map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded_for: &[&str]) -> Option<String> {
        let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        proxies.client_ip(peer.parse().ok(), forwarded_for.iter().copied()).map(|ip| ip.to_string())
    }

    #[test]
    fn a_spoofed_header_has_no_effect_without_trust() {
        let peer = Some("203.0.113.7".parse().unwrap());
        assert_eq!(TrustedProxies::default().client_ip(peer, ["1.1.1.1"]), peer);
        assert_eq!(client("203.0.113.7", &["1.1.1.1"]).as_deref(), Some("203.0.113.7"));
    }

    #[test]
    fn the_last_untrusted_hop_is_the_client() {
        let cases: [(&[&str], &str); 8] = [
            (&[], "10.0.0.1"),
            (&["203.0.113.7"], "203.0.113.7"),
            (&["6.6.6.6, 203.0.113.7"], "203.0.113.7"),
            (&["6.6.6.6", "203.0.113.7 , 10.9.9.9"], "203.0.113.7"),
            (&["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            (&["203.0.113.7:4444"], "203.0.113.7"),
            (&["[2001:db8::1]:4444, [fd00::1]"], "2001:db8::1"),
            (&["::ffff:203.0.113.7"], "203.0.113.7"),
        ];
        for (forwarded_for, expected) in cases {
            assert_eq!(client("10.0.0.1", forwarded_for).as_deref(), Some(expected), "{forwarded_for:?}");
        }
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.7"]).as_deref(), Some("203.0.113.7"));
    }

    #[test]
    fn what_is_no_address_is_not_guessed() {
        for rubbish in ["unknown", "", "203.0.113.7, ", "a.b.c.d", "203.0.113.7:port"] {
            assert_eq!(client("10.0.0.1", &[rubbish]), None, "{rubbish:?}");
        }
        assert_eq!(client("", &["203.0.113.7"]), None);
    }
}
