//! Which hosts may be called: those that the operator listed.
//!
//! A listed host is trusted, and may be internal. `*` stands for every other host, over HTTPS and at public addresses only.

use std::{fmt, net::IpAddr, str::FromStr};

use reqwest::Url;

use crate::{client::HostReach, reach::Reach};

/// The longest URL.
const URL_MAX_BYTES: usize = 2_048;
/// The port of an entry that has none.
const HTTPS_PORT: u16 = 443;
/// The entry for every host.
const ANY: &str = "*";

/// An entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedHost {
    /// Every host with a public address, over HTTPS.
    AnyPublic,
    /// One host and port.
    Host {
        /// The host, as a URL has it.
        host: String,
        /// The port.
        port: u16,
    },
}

/// A text that is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a host such as host.example, host.example:8545, 127.0.0.1:8545 or [::1]:8545, without scheme and path; or *"
)]
pub struct InvalidHost;

impl FromStr for AllowedHost {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if text == ANY {
            return Ok(Self::AnyPublic);
        }
        let is_in_brackets = text.ends_with(']');
        let (host, port) = match text.rsplit_once(':').filter(|_| !is_in_brackets) {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0).ok_or(InvalidHost)?),
            None => (text, HTTPS_PORT),
        };
        if host.is_empty() || host.contains(['/', '\\', '@', '?', '#', '*', '%']) {
            return Err(InvalidHost);
        }
        // In the same form as the host of a URL. A bare IPv6 address has colons, which leaves no host.
        let url = Url::parse(&format!("http://{host}/")).map_err(|_| InvalidHost)?;
        let host = url.host_str().filter(|_| url.port().is_none()).ok_or(InvalidHost)?;
        Ok(Self::Host { host: without_dot(host).to_owned(), port })
    }
}

/// The hosts that may be called. Empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(pub Vec<AllowedHost>);

/// Why a URL is refused, to follow the name of the member or header that has it. The URL is not repeated: it may have a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedUrl {
    /// It is no URL.
    #[error("must be a URL of at most {URL_MAX_BYTES} bytes such as https://host.example/path")]
    NoUrl,
    /// It is not listed.
    #[error("has a host and port that are not among those that the operator of this server allows")]
    NotListed,
    /// Only listed hosts may be used without HTTPS.
    #[error("must begin with https://: only hosts that the operator listed may be used without")]
    NotEncrypted,
    /// Its address is not public.
    #[error(
        "has an address that is not public, which is refused unless the operator lists the host, and for link-local addresses always"
    )]
    Internal,
}

impl AllowedHosts {
    /// Whether none may be used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks a URL.
    pub fn admit(&self, text: &str) -> Result<RemoteUrl, RefusedUrl> {
        if text.len() > URL_MAX_BYTES {
            return Err(RefusedUrl::NoUrl);
        }
        let mut url = Url::parse(text).map_err(|_| RefusedUrl::NoUrl)?;
        url.set_fragment(None);
        let (true, Some(host), Some(port)) =
            (matches!(url.scheme(), "http" | "https"), url.host_str(), url.port_or_known_default())
        else {
            return Err(RefusedUrl::NoUrl);
        };
        let host = without_dot(host).to_owned();
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let is_entry = |entry: &AllowedHost| *entry == AllowedHost::Host { host: host.clone(), port };
        let is_listed = self.0.iter().any(is_entry);
        if !is_listed {
            if !self.0.contains(&AllowedHost::AnyPublic) {
                return Err(RefusedUrl::NotListed);
            }
            if url.scheme() != "https" {
                return Err(RefusedUrl::NotEncrypted);
            }
        }
        let reach = if is_listed { HostReach::Listed } else { HostReach::PublicOnly };
        let url = RemoteUrl { url, host: format!("{host}:{port}"), reach };
        match address {
            Some(address) if !reach.includes(Reach::of(address)) => Err(RefusedUrl::Internal),
            _ => Ok(url),
        }
    }
}

/// The dot at the end of a name changes nothing.
fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// A URL that may be called. It may have a key, so only its host is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    url: Url,
    host: String,
    reach: HostReach,
}

impl RemoteUrl {
    /// Its host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Which addresses its host may have.
    #[must_use]
    pub fn reach(&self) -> HostReach {
        self.reach
    }

    /// The URL itself, for a request and nothing else.
    #[must_use]
    pub fn expose(&self) -> &Url {
        &self.url
    }

    /// Removes what may be a secret of the URL from a text, and other URLs.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        const SECRET_MIN_BYTES: usize = 4;
        let url = &self.url;
        let segments = url.path_segments().into_iter().flatten();
        let values = url.query().into_iter().flat_map(|query| query.split(['&', '=']));
        let user = [url.username(), url.password().unwrap_or_default()];
        let mut secrets: Vec<&str> = segments.chain(values).chain(user).collect();
        secrets.retain(|secret| secret.len() >= SECRET_MIN_BYTES);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut shown = text
            .split(' ')
            .map(|word| if word.contains("://") { "…" } else { word })
            .collect::<Vec<_>>()
            .join(" ");
        for secret in secrets {
            shown = shown.replace(secret, "…");
        }
        shown
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteUrl").field(&self.host).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(entries: &[&str]) -> AllowedHosts {
        AllowedHosts(entries.iter().map(|entry| entry.parse().unwrap()).collect())
    }

    #[test]
    fn only_listed_hosts_and_ports_are_admitted() {
        let nodes = allowed(&["rpc.example", "127.0.0.1:8545", "[::1]:8545", "Node.Internal:8545"]);
        for url in [
            "https://rpc.example/v2/key",
            "https://RPC.example.:443",
            "http://127.0.0.1:8545",
            "http://0x7f.1:8545/",
            "https://[0::1]:8545/",
            "http://node.internal:8545/?key=1",
            "https://user:password@rpc.example/",
        ] {
            assert!(nodes.admit(url).is_ok(), "{url}");
        }
        for url in [
            "http://rpc.example/",
            "https://rpc.example:8545/",
            "https://rpc.example.evil.example/",
            "https://rpc.example@evil.example/",
            "http://127.0.0.1/",
            "http://127.0.0.2:8545/",
            "http://localhost:8545/",
        ] {
            assert_eq!(nodes.admit(url).unwrap_err(), RefusedUrl::NotListed, "{url}");
        }
        for url in
            ["", "rpc.example", "file:///etc/passwd", "ftp://rpc.example/", "https://", &"x".repeat(3_000)]
        {
            assert_eq!(nodes.admit(url).unwrap_err(), RefusedUrl::NoUrl, "{url}");
        }
        assert_eq!(AllowedHosts::default().admit("https://rpc.example").unwrap_err(), RefusedUrl::NotListed);
    }

    #[test]
    fn a_star_is_every_public_host_over_https() {
        let nodes = allowed(&["*", "10.0.0.1:8545"]);
        for url in ["https://rpc.example/", "https://1.1.1.1/", "http://10.0.0.1:8545/"] {
            assert!(nodes.admit(url).is_ok(), "{url}");
        }
        assert_eq!(nodes.admit("http://rpc.example/").unwrap_err(), RefusedUrl::NotEncrypted);
        for url in
            ["https://10.0.0.1/", "https://127.1/", "https://[::ffff:127.0.0.1]/", "https://169.254.169.254/"]
        {
            assert_eq!(nodes.admit(url).unwrap_err(), RefusedUrl::Internal, "{url}");
        }
        // The service of a cloud that gives credentials is out of reach even where somebody lists it.
        let listed = allowed(&["169.254.169.254:80"]);
        assert_eq!(listed.admit("http://169.254.169.254/").unwrap_err(), RefusedUrl::Internal);
    }

    #[test]
    fn wrong_entries_are_refused() {
        for text in ["", ":8545", "a:0", "a:x", "a:70000", "https://a", "a/b", "::1", "u@a", "*.a", "a b"] {
            assert_eq!(text.parse::<AllowedHost>(), Err(InvalidHost), "{text}");
        }
    }

    #[test]
    fn the_key_of_a_url_is_not_shown() {
        let url = "https://user:passw0rd@rpc.example/v2/s3cr3tkey?token=t0ken";
        let url = allowed(&["rpc.example"]).admit(url).unwrap();
        assert_eq!(
            (url.host(), format!("{url:?}").as_str()),
            ("rpc.example:443", "RemoteUrl(\"rpc.example:443\")")
        );
        let shown =
            url.redact("s3cr3tkey of user has no t0ken, passw0rd: see https://rpc.example/v2/s3cr3tkey");
        assert_eq!(shown, "… of … has no …, …: see …");
    }
}
