//! API key lists, and the accounts of callers without a key. Edge and server use the same format and the same accounts.

use std::net::IpAddr;

use subtle::ConstantTimeEq as _;

use crate::{ProblemType, headers, problem::HasProblemType, voucher::InvalidVoucher};

/// The request has no known API key, or more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It has no key.
    #[error("send an API key as `Authorization: Bearer KEY` or `X-Api-Key: KEY`")]
    NoKey,
    /// Its key is not in the list.
    #[error("the API key is unknown")]
    UnknownKey,
    /// It has keys that differ, so that it is unclear who sends it.
    #[error("send one API key: the keys of this request differ")]
    SeveralKeys,
    /// It has a voucher, which is not valid.
    #[error(transparent)]
    Voucher(#[from] InvalidVoucher),
}

/// Finds the key of a request: `Authorization: Bearer KEY` or `X-Api-Key: KEY`. `header` returns the values of a header. Fails
/// if the request has different keys.
pub fn presented_key<'a, I>(header: impl Fn(&str) -> I) -> Result<Option<&'a [u8]>, Denied>
where
    I: IntoIterator<Item = &'a [u8]>,
{
    let bearer = header("authorization").into_iter().filter_map(|value| {
        let (scheme, key) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    let plain = header(headers::API_KEY).into_iter().map(<[u8]>::trim_ascii);
    let mut keys = bearer.chain(plain).filter(|key| !key.is_empty());
    let first = keys.next();
    if keys.any(|other| Some(other) != first) { Err(Denied::SeveralKeys) } else { Ok(first) }
}

/// The role of operators in a keys file.
pub const OPERATOR_ROLE: &str = "operator";

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// An API key as the settings have it: its name and the SHA-256 of its text. The settings alone do not allow a call.
///
/// A key is a long random text, so a plain digest does not reveal it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDigest {
    /// The name of the key's holder.
    pub name: String,
    /// SHA-256 of the key's text.
    pub digest: Digest,
}

/// An error in a list of keys. It never quotes the list, which might contain a key in the clear.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyListFault {
    /// An entry does not have the form `NAME:SHA256`.
    #[error("entry {at} is not NAME:SHA256, with the digest as 64 hexadecimal digits")]
    Form {
        /// Its position, from 1.
        at: usize,
    },
    /// An entry's name has characters that are not allowed, or is too long.
    #[error("entry {at} has a name that is not 1 to {max} of A-Z a-z 0-9 - _ .", max = headers::USER_MAX_BYTES)]
    Name {
        /// Its position, from 1.
        at: usize,
    },
    /// An entry's digest is that of an empty text.
    #[error("entry {at} has {EMPTY_KEY}")]
    EmptyKey {
        /// Its position, from 1.
        at: usize,
    },
    /// Two entries have the same name.
    #[error("entry {at} has the name of an earlier one")]
    Twice {
        /// The position of the second, from 1.
        at: usize,
    },
}

/// What is wrong with a digest of an empty text, for messages.
pub const EMPTY_KEY: &str = "the SHA-256 of an empty text: the key was empty when its digest was computed, for example an unset variable";

/// Whether this is the digest of a text without a character, or with a line feed alone, as `echo` writes it. No caller
/// can present such a key.
#[must_use]
pub fn is_of_empty_text(digest: &Digest) -> bool {
    const EMPTY: Digest = [
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
        0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ];
    const LINE_FEED: Digest = [
        0x01, 0xba, 0x47, 0x19, 0xc8, 0x0b, 0x6f, 0xe9, 0x11, 0xb0, 0x91, 0xa7, 0xc0, 0x51, 0x24, 0xb6, 0x4e,
        0xee, 0xce, 0x96, 0x4e, 0x09, 0xc0, 0x58, 0xef, 0x8f, 0x98, 0x05, 0xda, 0xca, 0x54, 0x6b,
    ];
    [EMPTY, LINE_FEED].contains(digest)
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
        if is_of_empty_text(&digest) {
            return Err(KeyListFault::EmptyKey { at });
        }
        if keys.iter().any(|other| other.name == name) {
            return Err(KeyListFault::Twice { at });
        }
        keys.push(NamedDigest { name: name.to_owned(), digest });
    }
    Ok(keys)
}

/// Finds the key with this digest. Every byte of every key is compared, so that the duration reveals nothing.
#[must_use]
pub fn find_key<'a>(keys: &'a [NamedDigest], presented: &Digest) -> Option<&'a NamedDigest> {
    let mut found = None;
    for key in keys {
        if bool::from(key.digest.ct_eq(presented)) {
            found = Some(key);
        }
    }
    found
}

/// Reads a digest of 64 hexadecimal digits.
#[must_use]
pub fn parse_digest(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
}

/// The account of a caller without a key: its address. IPv6 addresses share an account by their first 64 bits, since one
/// caller usually has a whole such range.
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

impl HasProblemType for Denied {
    fn kind(&self) -> ProblemType {
        match self {
            Self::NoKey | Self::UnknownKey => ProblemType::ApiKeyRequired,
            Self::SeveralKeys => ProblemType::InvalidRequest,
            Self::Voucher(invalid) => invalid.kind(),
        }
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
            (
                "alice:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
                KeyListFault::EmptyKey { at: 1 },
            ),
            (
                "alice:01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b",
                KeyListFault::EmptyKey { at: 1 },
            ),
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
    fn a_key_is_found_by_its_whole_digest_only() {
        let key = |name: &str, byte| NamedDigest { name: name.to_owned(), digest: [byte; 32] };
        let keys = [key("alice", 1), key("bob", 2)];
        assert_eq!(find_key(&keys, &[2; 32]), Some(&keys[1]));
        let mut almost = [2; 32];
        almost[31] = 3;
        assert_eq!((find_key(&keys, &almost), find_key(&[], &[1; 32])), (None, None));
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
