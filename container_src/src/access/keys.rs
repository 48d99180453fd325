//! Whose key is whose, and how keys are written down.
//!
//! Keys are kept as SHA-256 digests and compared in constant time. Faults quote nothing of what was written: it might be
//! a key that somebody put in the place of its digest.

use std::{collections::BTreeMap, fmt, io, path::PathBuf};

use edgeprove_protocol::{
    caller::{Digest, NamedDigest, parse_digest},
    headers,
};
use serde::Deserialize;
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;

use super::role::{Limits, Rate, Role, UnknownRole};

/// Largest file of keys: some ten thousand of them.
pub const FILE_MAX_BYTES: u64 = 4 << 20;

/// What somebody may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Which things.
    pub role: Role,
    /// And how much of them.
    pub limits: Limits,
}

/// SHA-256 of a key that somebody presented.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest(Digest);

impl KeyDigest {
    /// That of a key's text.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(sha2::Sha256::digest(key).into())
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// All keys, and what their holders may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRing {
    holders: BTreeMap<String, Profile>,
    digests: Vec<NamedDigest>,
    anonymous: Profile,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("the keys in {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// What was read cannot be used.
    #[error("the keys in {} cannot be used: {}", path.display(), faults.join("; "))]
    Faulty {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        faults: Vec<String>,
    },
    /// Keys were set, and the new version has none.
    #[error("they name nobody any more, which would let anybody in: start the server anew if that is meant")]
    NobodyLeft,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    anonymous: Option<RawAnonymous>,
    #[serde(default)]
    keys: BTreeMap<String, RawKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAnonymous {
    role: Option<String>,
    per_minute: Option<u32>,
    burst: Option<u32>,
    proofs_per_day: Option<u32>,
    unfinished_max: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    sha256: Vec<String>,
    role: Option<String>,
    per_minute: Option<u32>,
    burst: Option<u32>,
    proofs_per_day: Option<u32>,
    unfinished_max: Option<u32>,
}

impl KeyRing {
    /// The keys of the environment, whose holders are users. `anonymous` is the role of those without a key.
    #[must_use]
    pub fn new(keys: Vec<NamedDigest>, anonymous: Role) -> Self {
        let holders = keys.iter().map(|key| (key.name.clone(), Profile::default())).collect();
        let anonymous = Profile { role: anonymous, limits: Limits::default() };
        Self { holders, digests: keys, anonymous }
    }

    /// These keys and those of a file's text; all that is wrong with it at once.
    pub fn with_file(mut self, text: &str) -> Result<Self, Vec<String>> {
        let file: RawFile = toml::from_str(text).map_err(|error| vec![unquoted(text, &error)])?;
        let mut faults = Vec::new();
        if let Some(RawAnonymous { role, per_minute, burst, proofs_per_day, unfinished_max }) = file.anonymous
        {
            self.anonymous.role = read_role("anonymous", role, &mut faults).unwrap_or(self.anonymous.role);
            let rate = rate("anonymous", per_minute, burst, &mut faults);
            self.anonymous.limits = Limits { rate, proofs_per_day, unfinished_max };
        }
        for ((name, key), at) in file.keys.into_iter().zip(1..) {
            if !headers::is_acceptable_user(name.as_bytes()) {
                let max = headers::USER_MAX_BYTES;
                faults.push(format!("name {at}, by the alphabet, is not 1 to {max} of A-Z a-z 0-9 - _ ."));
                continue;
            }
            let RawKey { sha256, role, per_minute, burst, proofs_per_day, unfinished_max } = key;
            for digest in sha256 {
                match parse_digest(&digest) {
                    Some(digest) => self.digests.push(NamedDigest { name: name.clone(), digest }),
                    None => {
                        faults.push(format!("keys.{name}.sha256 holds what is not 64 hexadecimal digits"));
                    }
                }
            }
            let whose = format!("keys.{name}");
            let role = read_role(&whose, role, &mut faults).unwrap_or_default();
            let rate = rate(&whose, per_minute, burst, &mut faults);
            let profile = Profile { role, limits: Limits { rate, proofs_per_day, unfinished_max } };
            if self.holders.insert(name.clone(), profile).is_some() {
                faults.push(format!("{name} has a key in the environment as well"));
            }
        }
        let mut seen: Vec<&NamedDigest> = self.digests.iter().collect();
        seen.sort_by_key(|key| key.digest);
        for pair in seen.windows(2).filter(|pair| pair[0].digest == pair[1].digest) {
            faults.push(format!("{} and {} have the same key", pair[0].name, pair[1].name));
        }
        if faults.is_empty() { Ok(self) } else { Err(faults) }
    }

    /// Whether callers need a key: one is set, or somebody is named.
    #[must_use]
    pub fn are_set(&self) -> bool {
        !self.holders.is_empty()
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether there is no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// What somebody of this name may do.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.holders.get(name)
    }

    /// What somebody may do who has no name here.
    #[must_use]
    pub fn anonymous(&self) -> &Profile {
        &self.anonymous
    }

    /// Whose key this is.
    #[must_use]
    pub fn holder(&self, presented: &KeyDigest) -> Option<(&str, &Profile)> {
        // Every key is looked at, and every byte: how long it takes tells nothing.
        let mut found = None;
        for key in &self.digests {
            if bool::from(key.digest.ct_eq(&presented.0)) {
                found = Some(key);
            }
        }
        let (name, profile) = self.holders.get_key_value(&found?.name)?;
        Some((name, profile))
    }
}

fn read_role(whose: &str, role: Option<String>, faults: &mut Vec<String>) -> Option<Role> {
    role?.parse().map_err(|error: UnknownRole| faults.push(format!("{whose}: {error}"))).ok()
}

fn rate(whose: &str, per_minute: Option<u32>, burst: Option<u32>, faults: &mut Vec<String>) -> Option<Rate> {
    if per_minute == Some(0) || burst == Some(0) {
        faults.push(format!("{whose}: per_minute and burst are at least 1"));
    }
    if per_minute.is_none() && burst.is_some() {
        faults.push(format!("{whose}: a burst needs a per_minute"));
    }
    // A second's worth at least, so that whoever sets one number gets what it says.
    per_minute.map(|per_minute| Rate { per_minute, burst: burst.unwrap_or_else(|| per_minute.div_ceil(60)) })
}

/// What TOML's reader says, with the line and without the values.
fn unquoted(text: &str, error: &toml::de::Error) -> String {
    let mut words = String::new();
    for (at, part) in error.message().split('"').enumerate() {
        words.push_str(if at % 2 == 0 { part } else { "…" });
    }
    let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    // The reader's own words may go over several lines.
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.map_or_else(|| words.clone(), |line| format!("line {line}: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex_of(key: &str) -> String {
        hex::encode(sha2::Sha256::digest(key))
    }

    fn ring() -> KeyRing {
        let text = format!(
            "[anonymous]\nrole = 'user'\nper_minute = 6\n\
             [keys.alice]\nsha256 = ['{}', '{}']\nrole = 'operator'\n\
             [keys.bob]\nsha256 = ['{}']\nper_minute = 600\nburst = 20\nproofs_per_day = 5\nunfinished_max = 2\n\
             [keys.carol]\nsha256 = []\n",
            hex_of("old"),
            hex_of("new"),
            hex_of("bob's")
        );
        KeyRing::new(Vec::new(), Role::Operator).with_file(&text).unwrap()
    }

    #[test]
    fn a_holder_is_found_by_any_of_its_keys_and_by_no_other() {
        let ring = ring();
        let holder = |key: &str| ring.holder(&KeyDigest::of(key.as_bytes())).map(|(name, _)| name);
        assert_eq!(
            (holder("old"), holder("new"), holder("bob's")),
            (Some("alice"), Some("alice"), Some("bob"))
        );
        for stranger in ["", "ol", "old ", &hex_of("old")] {
            assert_eq!(holder(stranger), None, "{stranger}");
        }
        assert_eq!(ring.profile("alice").unwrap().role, Role::Operator);
        let bob = ring.profile("bob").unwrap();
        assert_eq!(bob.role, Role::User);
        assert_eq!(
            bob.limits,
            Limits {
                rate: Some(Rate { per_minute: 600, burst: 20 }),
                proofs_per_day: Some(5),
                unfinished_max: Some(2)
            }
        );
        assert_eq!(ring.profile("carol"), Some(&Profile::default()));
        assert_eq!(ring.anonymous().role, Role::User, "the file goes before the flag");
        assert_eq!(ring.anonymous().limits.rate, Some(Rate { per_minute: 6, burst: 1 }));
    }

    #[test]
    fn the_environment_and_a_file_add_up() {
        let digest = |byte| vec![NamedDigest { name: "alice".to_owned(), digest: [byte; 32] }];
        let bob = format!("[keys.bob]\nsha256 = ['{}']", hex::encode([7; 32]));
        let both = KeyRing::new(digest(8), Role::User).with_file(&bob).unwrap();
        assert_eq!(both.len(), 2);
        let same = KeyRing::new(digest(7), Role::User).with_file(&bob).unwrap_err();
        assert_eq!(same, ["alice and bob have the same key"]);
        let twice = KeyRing::new(digest(8), Role::User).with_file("[keys.alice]\nsha256 = []").unwrap_err();
        assert_eq!(twice, ["alice has a key in the environment as well"]);
        assert!(!KeyRing::new(Vec::new(), Role::User).with_file("").unwrap().are_set());
    }

    #[test]
    fn faults_are_told_at_once_and_quote_nothing() {
        let text = "[anonymous]\nburst = 2\n[keys.\"a b\"]\nsha256 = []\n\
                    [keys.bob]\nsha256 = ['hunter2', 'hunter2']\nper_minute = 0\nrole = 'hunter2'";
        let faults = KeyRing::default().with_file(text).unwrap_err();
        assert_eq!(
            faults,
            [
                "anonymous: a burst needs a per_minute",
                "name 1, by the alphabet, is not 1 to 64 of A-Z a-z 0-9 - _ .",
                "keys.bob.sha256 holds what is not 64 hexadecimal digits",
                "keys.bob.sha256 holds what is not 64 hexadecimal digits",
                "keys.bob: a role is one of user, priority, operator",
                "keys.bob: per_minute and burst are at least 1",
            ]
        );
        for bad in [
            "[keys.bob]\nsha256 = 'hunter2'",
            "[keys.bob]\nsha256 = ['hunter2'",
            "[keys.bob]\nsha256 = []\nper_minute = 'hunter2'",
            "[keys.bob]\nsha256 = []\nper_minute = -1",
            "[keys.bob]\nrole = 'user'",
            "[keys.bob]\nsha256 = []\nlimit = 1",
            "[key.bob]",
            "keys = 'hunter2'",
            "hunter2",
        ] {
            let faults = KeyRing::default().with_file(bad).unwrap_err();
            assert_eq!(faults.len(), 1);
            assert!(faults[0].starts_with("line "), "{}", faults[0]);
            assert!(!faults[0].contains("hunter2"), "{bad}: {}", faults[0]);
        }
    }
}
