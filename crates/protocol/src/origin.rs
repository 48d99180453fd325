//! Origins of pages, in the form that browsers send in `Origin`. Server and edge compare that form as a whole text.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The origin of a page: scheme, host and port, as browsers write them. It is in lower case, has no default port, and
/// an IPv6 address in it has its short form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

/// A text that is not an origin. It is not quoted: it might have a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an origin is http:// or https:// with a host, such as https://app.example, and has no path")]
pub struct InvalidOrigin;

impl Origin {
    /// The text of the `Origin` header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether its host is an IP address, which has no subdomains.
    #[must_use]
    pub fn has_address(&self) -> bool {
        let host = self.0.split_once("://").map_or("", |(_, authority)| authority);
        host.starts_with('[') || host.split(':').next().is_some_and(|host| host.parse::<Ipv4Addr>().is_ok())
    }
}

/// Reads an origin in any form that means the same: with upper case, with the default port of its scheme, with an IPv6
/// address in a longer form.
impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").ok_or(InvalidOrigin)?;
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(InvalidOrigin),
        };
        let (host, port) = split_port(authority)?;
        let host = host_as_browsers_send_it(host).ok_or(InvalidOrigin)?;
        let port =
            port.filter(|port| *port != default_port).map_or_else(String::new, |port| format!(":{port}"));
        Ok(Self(format!("{scheme}://{host}{port}")))
    }
}

/// Splits a host from its port, as they follow the scheme of a URL. A colon without a port that servers can have is an
/// error.
pub fn split_port(authority: &str) -> Result<(&str, Option<u16>), InvalidOrigin> {
    // The colons of an IPv6 address are in brackets.
    let after_address = authority.rfind(']').map_or(0, |end| end + 1);
    let Some(colon) = authority[after_address..].find(':') else { return Ok((authority, None)) };
    let (host, port) = authority.split_at(after_address + colon);
    let digits = port[1..].bytes().all(|byte| byte.is_ascii_digit());
    let port = port[1..].parse().ok().filter(|port| digits && *port > 0).ok_or(InvalidOrigin)?;
    Ok((host, Some(port)))
}

fn host_as_browsers_send_it(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']')?.parse().ok().map(short_form);
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    // Browsers keep the dot at the end of a complete name.
    let name = host.strip_suffix('.').unwrap_or(host);
    // Browsers write a host with a number at its end as four numbers, so that any other form would never match.
    let is_number = |label: &str| label.bytes().all(|b| b.is_ascii_digit()) || label.starts_with("0x");
    let ends_in_number = name.rsplit('.').next().is_some_and(is_number);
    let is_host =
        if ends_in_number { host.parse::<Ipv4Addr>().is_ok() } else { name.split('.').all(is_label) };
    is_host.then(|| host.to_owned())
}

fn short_form(address: Ipv6Addr) -> String {
    // Rust writes such an address with dots, and browsers do not.
    match (address.to_ipv4_mapped(), address.segments()) {
        (Some(_), [.., high, low]) => format!("[::ffff:{high:x}:{low:x}]"),
        (None, _) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_origin_is_the_one_that_browsers_send() {
        for (written, sent) in [
            ("https://app.example", "https://app.example"),
            ("https://app.example:443", "https://app.example"),
            ("http://app.example:80", "http://app.example"),
            ("http://app.example:443", "http://app.example:443"),
            ("https://app.example:80", "https://app.example:80"),
            ("HTTPS://App.Example:08443", "https://app.example:8443"),
            ("https://app.example.", "https://app.example."),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://my_host:65535", "http://my_host:65535"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://[0:0::1]:443", "https://[::1]"),
            ("https://[2001:DB8:0:0:1:0:0:1]", "https://[2001:db8::1:0:0:1]"),
            ("http://[::ffff:192.0.2.1]", "http://[::ffff:c000:201]"),
        ] {
            let origin: Origin = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(origin.as_str(), sent, "{written}");
            let is_address = sent.contains('[') || sent.contains("127.0.0.1");
            assert_eq!(origin.has_address(), is_address, "{sent}");
            assert_eq!(sent.parse(), Ok(origin), "{sent}");
        }
    }

    #[test]
    fn a_host_and_its_port_are_split() {
        for (authority, split) in [
            ("app.example", ("app.example", None)),
            ("app.example:8080", ("app.example", Some(8080))),
            ("[::1]", ("[::1]", None)),
            ("[::1]:65535", ("[::1]", Some(65_535))),
        ] {
            assert_eq!(split_port(authority), Ok(split), "{authority}");
        }
        for bad in ["app.example:", "app.example:0", "app.example:65536", "[::1]:+1", "::1"] {
            assert_eq!(split_port(bad), Err(InvalidOrigin), "{bad}");
        }
    }

    #[test]
    fn a_text_that_is_not_an_origin_is_an_error() {
        for bad in [
            "",
            "*",
            "null",
            "app.example",
            "//app.example",
            "https:app.example",
            "https://",
            "https://.",
            "https://:443",
            "https://app.example/",
            "https://app.example/x",
            "https://app.example:443/",
            "https://app.example?x",
            "https://app.example#x",
            "https://app.example\\x",
            "https://me@app.example",
            "https://me:hunter2@app.example",
            "https://*",
            "https://*.app.example",
            "https://a.*.example",
            "https://app..example",
            "https://.app.example",
            "https://app example",
            " https://app.example",
            "https://app.example\n",
            "https://app.example:",
            "https://app.example:0",
            "https://app.example:+1",
            "https://app.example:99999",
            "https://app.example:1:2",
            "https://b\u{fc}cher.example",
            "ftp://app.example",
            "http://127.1",
            "http://127.0.0.1.",
            "http://256.0.0.1",
            "http://0x7f.0.0.0x1",
            "http://[::1",
            "http://::1",
            "http://[::1]x",
            "http://[::1%25eth0]",
            "http://[app.example]",
        ] {
            assert_eq!(bad.parse::<Origin>(), Err(InvalidOrigin), "{bad}");
        }
    }
}
