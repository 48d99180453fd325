//! How keys are set, and what callers without one are counted by. Edge and server read the same list and count alike.

use std::net::IpAddr;

use crate::headers;

/// The request bears no key that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It bears none at all.
    #[error("send an API key as `Authorization: Bearer KEY` or `X-Api-Key: KEY`")]
    NoKey,
    /// It bears one that is not known.
    #[error("the API key is not known")]
    UnknownKey,
}

/// The key that a request bears, given its headers by name.
pub fn presented_key<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Option<&'a [u8]> {
    let bearer = header("authorization").and_then(|value| {
        let (scheme, key) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    let plain = || header(headers::API_KEY).map(<[u8]>::trim_ascii);
    bearer.or_else(plain).filter(|key| !key.is_empty())
}

/// The bytes of a digest.
pub type Digest = [u8; 32];

/// An API key as it is set: its name and the SHA-256 of its text. Whoever reads the settings cannot call.
///
/// A key is a long random text, so that a plain digest of it gives nothing away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDigest {
    /// What the key's holder is called.
    pub name: String,
    /// SHA-256 of the key's text.
    pub digest: Digest,
}

/// What is wrong with a list of keys. Nothing of the list is quoted, since it might be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyListFault {
    /// An entry is of another form.
    #[error("entry {at} is not NAME:SHA256, as 64 hexadecimal digits")]
    Form {
        /// Its place, from 1.
        at: usize,
    },
    /// An entry has a name that no key can have.
    #[error("entry {at} has a name that is not 1 to {max} of A-Z a-z 0-9 - _ .", max = headers::USER_MAX_BYTES)]
    Name {
        /// Its place, from 1.
        at: usize,
    },
    /// Two entries have one name.
    #[error("entry {at} has the name of an earlier one")]
    Twice {
        /// The place of the second, from 1.
        at: usize,
    },
}

/// Reads `NAME:SHA256` pairs separated by commas or white space. The digest is that of the key's text, in hexadecimal
/// digits.
pub fn parse_keys(text: &str) -> Result<Vec<NamedDigest>, KeyListFault> {
    let mut keys: Vec<NamedDigest> = Vec::new();
    let pairs = text.split([',', ' ', '\t', '\n', '\r']).filter(|pair| !pair.is_empty());
    for (pair, at) in pairs.zip(1..) {
        let (name, digest) = pair.split_once(':').ok_or(KeyListFault::Form { at })?;
        if !headers::is_acceptable_user(name.as_bytes()) {
            return Err(KeyListFault::Name { at });
        }
        let digest = parse_digest(digest).ok_or(KeyListFault::Form { at })?;
        if keys.iter().any(|other| other.name == name) {
            return Err(KeyListFault::Twice { at });
        }
        keys.push(NamedDigest { name: name.to_owned(), digest });
    }
    Ok(keys)
}

/// Reads a digest of 64 hexadecimal digits.
#[must_use]
pub fn parse_digest(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
}

/// What a caller without a key is counted by: its address. IPv6 addresses are counted by their first 64 bits, of which
/// one caller commonly has as many addresses as it likes.
#[must_use]
pub fn address_account(ip: Option<IpAddr>) -> String {
    match ip {
        Some(IpAddr::V4(ip)) => format!("ip:{ip}"),
        Some(IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
            Some(ip) => format!("ip:{ip}"),
            None => format!("ip:{:x}", ip.to_bits() >> 64),
        },
        None => "ip:unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_names_and_digests_however_they_are_separated() {
        let (one, two) = ("07".repeat(32), "AB".repeat(32));
        let keys = parse_keys(&format!(" alice:{one},\n bob-2.x:{two}\n,")).unwrap();
        let wanted = [("alice", [7; 32]), ("bob-2.x", [0xab; 32])];
        assert!(keys.iter().map(|key| (key.name.as_str(), key.digest)).eq(wanted));
        assert_eq!(parse_keys(" ,\n"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_list_of_keys_is_a_fault_that_quotes_nothing() {
        let good = "07".repeat(32);
        let twice = format!("a:{good},a:{good}");
        for (bad, wanted) in [
            ("secret", KeyListFault::Form { at: 1 }),
            ("alice:secret", KeyListFault::Form { at: 1 }),
            ("alice:", KeyListFault::Form { at: 1 }),
            (&format!(":{good}"), KeyListFault::Name { at: 1 }),
            (&format!("a:{good},b c:{good}"), KeyListFault::Form { at: 2 }),
            (&twice, KeyListFault::Twice { at: 2 }),
        ] {
            let fault = parse_keys(bad).unwrap_err();
            assert_eq!(fault, wanted, "{bad}");
            assert!(!fault.to_string().contains("secret"), "{fault}");
        }
    }

    #[test]
    fn addresses_that_one_caller_has_many_of_are_counted_as_one() {
        let account = |ip: &str| address_account(ip.parse().ok());
        assert_eq!(account("192.0.2.1"), "ip:192.0.2.1");
        assert_eq!(account("::ffff:192.0.2.1"), "ip:192.0.2.1");
        assert_eq!(account("2001:db8:1:2::1"), account("2001:db8:1:2:ffff::9"));
        assert_ne!(account("2001:db8:1:2::1"), account("2001:db8:1:3::1"));
        assert_eq!(account("nonsense"), "ip:unknown");
    }
}
