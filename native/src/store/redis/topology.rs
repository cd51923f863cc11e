//! What a node of a cluster says of all of them: `CLUSTER NODES`.

use redis::ConnectionAddr;

/// The addresses of the primaries that serve slots, reached as the node that gave this list was.
pub(super) fn primaries(nodes: &str, asked: &ConnectionAddr) -> Vec<ConnectionAddr> {
    let primaries = nodes.lines().filter_map(ClusterNode::read).filter(ClusterNode::is_serving);
    primaries.filter_map(|node| node.address(asked)).collect()
}

/// The buckets that the node that gave this list serves, without those whose slots are on the move.
pub(super) fn responsible(nodes: &str, slots: &[u16]) -> Vec<u8> {
    let myself = nodes.lines().filter_map(ClusterNode::read).find(|node| node.has("myself"));
    let Some(myself) = myself.filter(ClusterNode::is_serving) else { return Vec::new() };
    (0..=u8::MAX).zip(slots).filter(|(_, slot)| myself.serves(**slot)).map(|(bucket, _)| bucket).collect()
}

/// A line of `CLUSTER NODES`: `id host:port@bus[,hostname] flags primary ping pong epoch state slots…`.
struct ClusterNode<'a> {
    address: &'a str,
    flags: &'a str,
    slots: Vec<&'a str>,
}

impl<'a> ClusterNode<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (address, flags) = (fields.nth(1)?, fields.next()?);
        Some(Self { address, flags, slots: fields.skip(5).collect() })
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.split(',').any(|has| has == flag)
    }

    fn is_serving(&self) -> bool {
        self.has("master") && !self.has("fail") && !self.slots.is_empty()
    }

    /// Slots that are leaving stand in brackets after the ranges: `[77->-id]`.
    fn serves(&self, slot: u16) -> bool {
        let is_in = |range: &&str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
        };
        let is_moving = |moving: &&str| {
            moving.strip_prefix('[').is_some_and(|rest| rest.starts_with(&format!("{slot}-")))
        };
        self.slots.iter().any(is_in) && !self.slots.iter().any(is_moving)
    }

    /// Its address, reached as `asked` was.
    fn address(&self, asked: &ConnectionAddr) -> Option<ConnectionAddr> {
        let (address, hostname) = self.address.split_once(',').unwrap_or((self.address, ""));
        let (host, port) = address.split_once('@')?.0.rsplit_once(':')?;
        let port = port.parse().ok()?;
        Some(match asked {
            ConnectionAddr::TcpTls { host: asked, insecure, tls_params, .. } => {
                // Certificates are of names.
                let host = [hostname, host, asked].into_iter().find(|host| !host.is_empty())?.into();
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            ConnectionAddr::Tcp(asked, _) => {
                ConnectionAddr::Tcp(if host.is_empty() { asked } else { host }.into(), port)
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
07c37df 127.0.0.1:30004@31004,a.example slave e7d1eec 0 1426238317239 4 connected
e7d1eec 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-5460 7000 [93-<-292f8b3] [77->-e7d1eec]
67ed2db 127.0.0.1:30002@31002,b.example master - 0 1426238316232 2 connected 5461-6999 7001-10922
292f8b3 127.0.0.1:30003@31003 master,fail - 0 1426238318243 3 connected 10923-16383
";

    #[test]
    fn a_node_is_responsible_for_what_stays_with_it() {
        let slots = [0, 77, 78, 93, 5460, 5461, 7000, 770];
        // 93 is arriving: it has not got it yet, and when it has, it is asked again.
        assert_eq!(responsible(NODES, &slots), [0, 2, 4, 6, 7]);
        let demoted = NODES.replace("myself,master", "myself,slave");
        assert!(responsible(&demoted, &slots).is_empty());
    }

    #[test]
    fn primaries_are_found_as_the_first_node_was() {
        let addresses = |asked: ConnectionAddr| -> Vec<String> {
            primaries(NODES, &asked).iter().map(ToString::to_string).collect()
        };
        let plain = ConnectionAddr::Tcp("elsewhere".into(), 1);
        assert_eq!(addresses(plain), ["127.0.0.1:30001", "127.0.0.1:30002"]);
        let tls = ConnectionAddr::TcpTls { host: "x".into(), port: 1, insecure: false, tls_params: None };
        assert_eq!(addresses(tls), ["127.0.0.1:30001", "b.example:30002"]);
    }
}
