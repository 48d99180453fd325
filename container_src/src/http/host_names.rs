//! The names under which the server may be called.
//!
//! A page can give its own name the address of this machine, after its browser has loaded it (DNS rebinding). The browser
//! then takes the server for a part of the page. Only the `Host` of its requests still shows the page's name.

use std::{net::IpAddr, str::FromStr};

use http::uri::Authority;

/// A name of the server in lower case, or `*` for every name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

/// The text is not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a host name has no scheme, port or path")]
pub struct InvalidHostName;

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self(text.to_owned()));
        }
        match HostAndPort::parse(text) {
            Some(HostAndPort { host, port: None }) => Ok(Self(host)),
            Some(_) | None => Err(InvalidHostName),
        }
    }
}

/// The names under which the server may be called, beside `localhost` and loopback addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNames(Vec<HostName>);

impl HostNames {
    /// The names of a server that listens on this address. `None` where every name is allowed.
    #[must_use]
    pub fn new(named: Vec<HostName>, listens_on: IpAddr) -> Option<Self> {
        let allows_all = named.iter().any(|name| name.0 == "*");
        let is_limited = !named.is_empty() || listens_on.to_canonical().is_loopback();
        (is_limited && !allows_all).then_some(Self(named))
    }

    /// Whether a request may name this host.
    #[must_use]
    pub fn allow(&self, host: &str) -> bool {
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        host == "localhost"
            || address.is_some_and(|address| address.to_canonical().is_loopback())
            || self.0.iter().any(|name| name.0 == host)
    }
}

/// The host and the port of a URL or of a `Host` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAndPort {
    /// The host in lower case; an IPv6 address stands in brackets.
    pub host: String,
    /// The port, if there is one.
    pub port: Option<u16>,
}

impl HostAndPort {
    /// Parses `HOST` or `HOST:PORT`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        let has_more = text.contains('@') || text.ends_with(':');
        (!has_more && !authority.host().is_empty()).then(|| Self::of(&authority))
    }

    /// Host and port of the authority of a URL.
    #[must_use]
    pub fn of(authority: &Authority) -> Self {
        Self { host: authority.host().to_ascii_lowercase(), port: authority.port_u16() }
    }

    /// The port, or the default port of this scheme.
    #[must_use]
    pub fn port_for(&self, scheme: &str) -> Option<u16> {
        self.port.or(match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn names(texts: &[&str], listens_on: IpAddr) -> Option<HostNames> {
        HostNames::new(texts.iter().map(|text| text.parse().unwrap()).collect(), listens_on)
    }

    #[test]
    fn a_loopback_server_has_only_the_names_of_loopback() {
        let names = names(&[], LOOPBACK).unwrap();
        for own in ["localhost", "127.0.0.1", "127.3.2.1", "[::1]"] {
            assert!(names.allow(own), "{own}");
        }
        for foreign in ["evil.example", "localhost.evil.example", "0.0.0.0", "192.0.2.1", "[::]", ""] {
            assert!(!names.allow(foreign), "{foreign}");
        }
    }

    #[test]
    fn given_names_are_checked_on_every_address() {
        let given = names(&["Prove.example"], ANY).unwrap();
        assert!(given.allow("prove.example") && given.allow("localhost") && !given.allow("evil.example"));
        assert_eq!(names(&[], ANY), None);
        assert_eq!(names(&["*"], LOOPBACK), None);
        assert!(names(&[], IpAddr::V6(Ipv6Addr::LOCALHOST)).is_some());
        assert!(names(&[], "::ffff:127.0.0.1".parse().unwrap()).is_some());
    }

    #[test]
    fn a_host_name_has_no_port() {
        for good in ["prove.example", "192.0.2.1", "[2001:db8::1]", "*"] {
            assert!(good.parse::<HostName>().is_ok(), "{good}");
        }
        for bad in ["", "prove.example:80", "https://prove.example", "a/b", "a b", "user@a", "a:"] {
            assert_eq!(bad.parse::<HostName>(), Err(InvalidHostName), "{bad}");
        }
    }

    #[test]
    fn a_missing_port_is_that_of_the_scheme() {
        let host = HostAndPort::parse("Prove.Example").unwrap();
        assert_eq!((host.host.as_str(), host.port_for("https")), ("prove.example", Some(443)));
        assert_eq!(HostAndPort::parse("[::1]:8080").unwrap().port_for("http"), Some(8080));
        assert_eq!(HostAndPort::parse("a").unwrap().port_for("chrome-extension"), None);
    }
}
