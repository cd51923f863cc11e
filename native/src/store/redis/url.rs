//! Where Redis is: the forms of `REDIS_URL`.

use redis::{ConnectionInfo, IntoConnectionInfo as _};

use crate::store::StoreError;

/// Servers, and how they work together.
pub(super) enum Servers {
    /// One server.
    Single(Box<ConnectionInfo>),
    /// Sentinels that know which server is the primary of a service.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<ConnectionInfo>,
        /// The name of the service.
        service: String,
        /// How to sign in at the primary: user, password, database.
        primary: Box<ConnectionInfo>,
    },
    /// Some nodes of a cluster, from which the others are learned.
    Cluster(Vec<ConnectionInfo>),
}

impl Servers {
    /// Reads a URL.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| malformed("it has no scheme"))?;
        let (base, kind) = match scheme.split_once('+') {
            Some((base, kind @ ("sentinel" | "cluster"))) => (base, Some(kind)),
            _ => (scheme, None),
        };
        if !matches!(base, "redis" | "rediss" | "valkey" | "valkeys") && kind.is_some() {
            return Err(malformed("its scheme is unknown"));
        }
        let Some(kind) = kind else { return Ok(Self::Single(Box::new(info(url)?))) };

        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match hosts.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), hosts),
        };
        let hosts = hosts.split(',').filter(|host| !host.is_empty());
        if kind == "cluster" {
            if !matches!(path, "" | "0") {
                return Err(malformed("a cluster has no databases but 0"));
            }
            let nodes = hosts.map(|host| info(&format!("{base}://{user}{host}")));
            return Ok(Self::Cluster(some(nodes.collect::<Result<_, _>>()?)?));
        }
        let (service, database) = path.split_once('/').unwrap_or((path, ""));
        if service.is_empty() {
            return Err(malformed("the name of the service is missing: redis+sentinel://host:26379/name"));
        }
        // The colons of an IPv6 address stand in brackets.
        let has_port = |host: &str| host.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
        let with_port = |host: &str| if has_port(host) { host.to_owned() } else { format!("{host}:26379") };
        let sentinels = hosts.map(|host| info(&format!("{base}://{}", with_port(host))));
        Ok(Self::Sentinel {
            sentinels: some(sentinels.collect::<Result<_, _>>()?)?,
            service: service.to_owned(),
            primary: Box::new(info(&format!("{base}://{user}primary/{database}"))?),
        })
    }
}

fn info(url: &str) -> Result<ConnectionInfo, StoreError> {
    // The parser's message doesn't repeat the URL, which may hold a password.
    url.into_connection_info().map_err(|error| malformed(&error.to_string()))
}

fn some(nodes: Vec<ConnectionInfo>) -> Result<Vec<ConnectionInfo>, StoreError> {
    if nodes.is_empty() { Err(malformed("it names no host")) } else { Ok(nodes) }
}

fn malformed(why: &str) -> StoreError {
    StoreError::misconfigured(format!("the URL of Redis can't be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let single = |url| matches!(Servers::parse(url), Ok(Servers::Single(_)));
        assert!(single("redis://localhost"));
        assert!(single("rediss://user:pass@redis.example:6380/2"));
        assert!(single("valkey://localhost"));
        assert!(single("redis+unix:///run/redis.sock?db=1"));
        assert!(single("unix:///run/redis.sock"));
        match Servers::parse("redis+sentinel://u:p%40@a:1,b,[::1]/main/3") {
            Ok(Servers::Sentinel { sentinels, service, primary }) => {
                let addresses: Vec<String> = sentinels.iter().map(|info| info.addr().to_string()).collect();
                assert_eq!(addresses, ["a:1", "b:26379", "::1:26379"]);
                assert_eq!((service.as_str(), primary.redis_settings().db()), ("main", 3));
                assert_eq!(primary.redis_settings().password(), Some("p@"));
                assert_eq!(sentinels[0].redis_settings().password(), None);
            }
            _ => panic!("no sentinels"),
        }
        match Servers::parse("rediss+cluster://:p@a,b:7001") {
            Ok(Servers::Cluster(nodes)) => {
                let addresses: Vec<String> = nodes.iter().map(|info| info.addr().to_string()).collect();
                assert_eq!(addresses, ["a:6379", "b:7001"]);
            }
            _ => panic!("no cluster"),
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, why) in [
            ("localhost:6379", "it has no scheme"),
            ("http+cluster://a:hunter2@b", "its scheme is unknown"),
            ("http://a:hunter2@b", "Redis URL did not parse"),
            ("redis+cluster://:hunter2@", "it names no host"),
            ("redis+cluster://:hunter2@a/1", "a cluster has no databases but 0"),
            ("redis+sentinel://:hunter2@a", "the name of the service is missing"),
            ("redis://:hunter2@a/x", "Invalid database number"),
        ] {
            let error = Servers::parse(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(why) && !error.contains("hunter2"), "{url}: {error}");
        }
    }
}
