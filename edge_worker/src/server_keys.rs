//! Reads the keys of `EDGEPROVE_KEYS`: a text in the form of the server's keys file (`docs/ACCESS.md`).
//!
//! The edge needs the digests and the names of their holders, to admit a caller before a container wakes. It needs the roles,
//! and the bounds of unfinished jobs, where it accepts jobs itself. Other limits are the container's, which gets the whole text and
//! checks the rest of it.

use std::collections::BTreeMap;

use edgeprove_protocol::{
    caller::{NamedDigest, parse_digest},
    headers,
    role::Role,
};
use serde::Deserialize;

/// An error in the text. It quotes nothing of it: a key in the clear may be in the place of its digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerKeysFault {
    /// The text is not TOML, or `keys` is not a table of tables.
    #[error("line {line} is not TOML in the form of a keys file")]
    Form {
        /// The line, from 1.
        line: usize,
    },
    /// The name of a holder has characters that are not allowed, or is too long.
    #[error("key name {at} (in alphabetical order) is not 1 to {max} of A-Z a-z 0-9 - _ .", max = headers::USER_MAX_BYTES)]
    Name {
        /// Its position, from 1.
        at: usize,
    },
    /// A digest of a holder is not one.
    #[error("key {at} (in alphabetical order) has a sha256 that is not 64 hexadecimal digits")]
    Digest {
        /// The position of the holder, from 1.
        at: usize,
    },
    /// No holder has a key, here or in `API_KEYS`, and callers without one are not allowed.
    #[error(
        "no name has a key, here or in API_KEYS, and the table [anonymous] does not have `allowed = true`"
    )]
    NoKeys,
    /// Two holders have the same key.
    #[error("two names have the same key")]
    SameKey,
}

/// What the edge needs of a keys file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerKeys {
    /// The keys. A holder may have several, or none.
    pub keys: Vec<NamedDigest>,
    /// Whether callers without a key are admitted beside the holders of keys.
    pub allows_anonymous: bool,
    /// What each holder may do.
    pub profiles: BTreeMap<String, Profile>,
    /// What callers without a key may do.
    pub anonymous: Profile,
}

/// What a caller may do with jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Profile {
    /// Its role.
    pub role: Role,
    /// Its largest number of unfinished jobs, if it is lower than that of all callers.
    pub unfinished_max: Option<u32>,
}

#[derive(Deserialize)]
struct KeysFile {
    #[serde(default)]
    anonymous: Anonymous,
    #[serde(default)]
    keys: BTreeMap<String, Holder>,
}

#[derive(Default, Deserialize)]
struct Anonymous {
    #[serde(default)]
    allowed: bool,
    role: Option<String>,
    unfinished_max: Option<u32>,
}

#[derive(Deserialize)]
struct Holder {
    #[serde(default)]
    sha256: Vec<String>,
    role: Option<String>,
    unfinished_max: Option<u32>,
}

/// Reads a keys file.
pub fn parse(text: &str) -> Result<ServerKeys, ServerKeysFault> {
    let file: KeysFile = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ServerKeysFault::Form { line: 1 + before.matches('\n').count() }
    })?;
    let (mut digests, mut profiles) = (Vec::new(), BTreeMap::new());
    for ((name, holder), at) in file.keys.into_iter().zip(1..) {
        if !headers::is_acceptable_user(name.as_bytes()) {
            return Err(ServerKeysFault::Name { at });
        }
        for digest in holder.sha256 {
            let digest = parse_digest(&digest).ok_or(ServerKeysFault::Digest { at })?;
            digests.push(NamedDigest { name: name.clone(), digest });
        }
        profiles.insert(name, profile(holder.role.as_deref(), holder.unfinished_max));
    }
    let Anonymous { allowed, role, unfinished_max } = file.anonymous;
    let anonymous = profile(role.as_deref(), unfinished_max);
    Ok(ServerKeys { keys: digests, allows_anonymous: allowed, profiles, anonymous })
}

/// A role that this edge does not know is that of users: a newer server may know more of them.
fn profile(role: Option<&str>, unfinished_max: Option<u32>) -> Profile {
    let role = role.and_then(|role| role.parse().ok()).unwrap_or_default();
    Profile { role, unfinished_max }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "617d6c49988b1ad5364bb98a83557af28881314ce3355722ed6faf14877fc893";

    #[test]
    fn holders_have_several_keys_or_none() {
        let other = "0A".repeat(32);
        let text = format!(
            "[anonymous]\nper_minute = 60\nunfinished_max = 1\n[keys.ops]\nsha256 = ['{KEY}', '{other}']\nrole = 'operator'\n\
             of_a_newer_server = 1\n[keys.partner]\nrole = 'of a newer server'\nproofs_per_day = 5\nunfinished_max = 3\n"
        );
        let found = parse(&text).unwrap();
        assert!(found.keys.iter().all(|key| key.name == "ops") && !found.allows_anonymous);
        assert_eq!(
            found.keys.iter().map(|key| hex::encode(key.digest)).collect::<Vec<_>>(),
            [KEY.to_owned(), other.to_lowercase()]
        );
        assert_eq!(found.profiles["ops"], Profile { role: Role::Operator, unfinished_max: None });
        assert_eq!(found.profiles["partner"], Profile { role: Role::User, unfinished_max: Some(3) });
        assert_eq!(found.anonymous, Profile { role: Role::User, unfinished_max: Some(1) });
        assert_eq!(parse("\n"), Ok(ServerKeys::default()));
        assert!(parse("[anonymous]\nallowed = true").unwrap().allows_anonymous);
    }

    #[test]
    fn an_error_has_a_position_and_quotes_nothing() {
        for (text, fault) in [
            ("\nhunter2", ServerKeysFault::Form { line: 2 }),
            ("[keys.ops]\nsha256 = 'hunter2'", ServerKeysFault::Form { line: 2 }),
            ("[keys.ops]\nrole = ['hunter2']", ServerKeysFault::Form { line: 2 }),
            ("keys = 'hunter2'", ServerKeysFault::Form { line: 1 }),
            ("[keys.ops]\nsha256 = ['hunter2']", ServerKeysFault::Digest { at: 1 }),
            ("[keys.a]\n[keys.'hunter2 ']\n", ServerKeysFault::Name { at: 2 }),
        ] {
            let found = parse(text).unwrap_err();
            assert_eq!(found, fault, "{text}");
            assert!(!found.to_string().contains("hunter2"), "{found}");
        }
    }
}
