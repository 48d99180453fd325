//! The holders of keys, and the format of the keys file.
//!
//! Keys are stored as SHA-256 digests and compared in constant time. Errors never quote a value of the file: it could
//! be a key that was written instead of its digest.

use std::{collections::BTreeMap, fmt, io, path::PathBuf};

use edgeprove_files::trusted_path::UntrustedPath;
use edgeprove_protocol::{
    caller::{Digest, EMPTY_KEY, NamedDigest, find_key, is_of_empty_text, parse_digest},
    headers,
    voucher::KeyFingerprint,
};
use serde::Deserialize;
use sha2::Digest as _;

use super::role::{Limits, Rate, Role, UnknownRole};

/// Largest keys file: some ten thousand keys.
pub const FILE_MAX_BYTES: u64 = 4 << 20;

/// Role and limits of a caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// The role.
    pub role: Role,
    /// The limits.
    pub limits: Limits,
}

/// SHA-256 of the key of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest(Digest);

impl KeyDigest {
    /// The digest of a key's text.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(sha2::Sha256::digest(key).into())
    }

    /// The digest itself.
    #[must_use]
    pub fn bytes(self) -> Digest {
        self.0
    }

    /// The fingerprint of the key, for vouchers that are minted with it.
    #[must_use]
    pub fn fingerprint(&self) -> KeyFingerprint {
        KeyFingerprint::of(&self.0)
    }
}

impl From<Digest> for KeyDigest {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// All keys, with role and limits of their holders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRing {
    holders: BTreeMap<String, Profile>,
    digests: Vec<NamedDigest>,
    anonymous: Profile,
    /// Whether callers without a key are accepted although there are holders.
    allows_anonymous: bool,
}

/// Digests that this project's documentation once had as samples. Everybody knows their keys.
const SAMPLES: [&str; 3] = [
    "87cbebfeebc05f7c54ac9336c4b4bbec831227a641951a4bde7edd56020f8590",
    "617d6c49988b1ad5364bb98a83557af28881314ce3355722ed6faf14877fc893",
    "ba7bdc677461cc6d8273c760f266c58b54551876a4f482b887f31947f6ee4d0b",
];

/// The keys file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Another user could change the file, and so give out keys.
    #[error("the keys file is not safe from other users: {fault}, or mount it read-only")]
    Untrusted {
        /// What is open to the other user.
        fault: UntrustedPath,
    },
    /// The file cannot be read.
    #[error("the keys file {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file's content is invalid.
    #[error("the keys file {} is invalid: {}", path.display(), errors.join("; "))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All errors.
        errors: Vec<String>,
    },
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
    #[serde(default)]
    allowed: bool,
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
    /// The keys of the environment. Their holders have the role `user`. `anonymous` is the role of callers without a
    /// key.
    #[must_use]
    pub fn new(keys: Vec<NamedDigest>, anonymous: Role) -> Self {
        let holders = keys.iter().map(|key| (key.name.clone(), Profile::default())).collect();
        let anonymous = Profile { role: anonymous, limits: Limits::default() };
        Self { holders, digests: keys, anonymous, allows_anonymous: false }
    }

    /// Adds the keys of a file's text. Returns all errors of the text at once. A text that names nobody is an error: with
    /// an emptied file every caller would be accepted.
    pub fn with_file(mut self, text: &str) -> Result<Self, Vec<String>> {
        let file: RawFile = toml::from_str(text).map_err(|error| vec![unquoted(text, &error)])?;
        let mut faults = Vec::new();
        let is_empty = file.keys.is_empty() && file.anonymous.is_none();
        if let Some(anonymous) = file.anonymous {
            let RawAnonymous { allowed, role, per_minute, burst, proofs_per_day, unfinished_max } = anonymous;
            self.allows_anonymous = allowed;
            self.anonymous.role = read_role("anonymous", role, &mut faults).unwrap_or(self.anonymous.role);
            if self.anonymous.role == Role::Prover {
                faults.push(format!("anonymous: the role must not be prover: {}", Role::PROVERS_NEED_KEYS));
            }
            let rate = rate("anonymous", per_minute, burst, &mut faults);
            self.anonymous.limits = Limits { rate, proofs_per_day, unfinished_max };
        }
        for ((name, key), at) in file.keys.into_iter().zip(1..) {
            if !headers::is_acceptable_user(name.as_bytes()) {
                let max = headers::USER_MAX_BYTES;
                faults.push(format!(
                    "key name {at} (in alphabetical order) is invalid: use 1 to {max} of A-Z a-z 0-9 - _ ."
                ));
                continue;
            }
            let RawKey { sha256, role, per_minute, burst, proofs_per_day, unfinished_max } = key;
            for digest in sha256 {
                let is_sample = SAMPLES.iter().any(|sample| sample.eq_ignore_ascii_case(&digest));
                match parse_digest(&digest) {
                    _ if is_sample => faults.push(format!(
                        "keys.{name}.sha256 has a sample of the documentation, whose key everybody knows: \
                         `edgeprove keys new {name}` prints a new key and its line"
                    )),
                    Some(digest) if is_of_empty_text(&digest) => faults.push(format!(
                        "keys.{name}.sha256 has {EMPTY_KEY}; `edgeprove keys new {name}` prints a new key and its line"
                    )),
                    Some(digest) => self.digests.push(NamedDigest { name: name.clone(), digest }),
                    None => faults.push(format!(
                        "keys.{name}.sha256 has an entry that is not 64 hexadecimal digits: \
                         `edgeprove keys new {name}` prints a new key and its line"
                    )),
                }
            }
            let whose = format!("keys.{name}");
            let role = read_role(&whose, role, &mut faults).unwrap_or_default();
            let rate = rate(&whose, per_minute, burst, &mut faults);
            let profile = Profile { role, limits: Limits { rate, proofs_per_day, unfinished_max } };
            if self.holders.insert(name.clone(), profile).is_some() {
                faults.push(format!("{name} also has a key in the environment"));
            }
        }
        let mut seen: Vec<&NamedDigest> = self.digests.iter().collect();
        seen.sort_by_key(|key| key.digest);
        for pair in seen.windows(2).filter(|pair| pair[0].digest == pair[1].digest) {
            faults.push(format!("{} and {} have the same key", pair[0].name, pair[1].name));
        }
        let is_open = self.holders.is_empty() && !self.allows_anonymous;
        if faults.is_empty() && (is_empty || is_open) {
            faults.push(
                "no key holder is named: add a table such as [keys.alice], or accept callers without a key by \
                 `allowed = true` in the table [anonymous]"
                    .to_owned(),
            );
        }
        if faults.is_empty() { Ok(self) } else { Err(faults) }
    }

    /// Whether callers without a key are accepted: there is no holder, or the file allows them beside holders.
    #[must_use]
    pub fn accepts_anonymous(&self) -> bool {
        self.allows_anonymous || self.holders.is_empty()
    }

    /// The number of holders.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether there is no holder.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// Role and limits of the holder with this name.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.holders.get(name)
    }

    /// Role and limits of callers without an entry.
    #[must_use]
    pub fn anonymous(&self) -> &Profile {
        &self.anonymous
    }

    /// The holder of this key: name, role and limits.
    #[must_use]
    pub fn holder(&self, presented: &KeyDigest) -> Option<(&str, &Profile)> {
        let key = find_key(&self.digests, &presented.0)?;
        let (name, profile) = self.holders.get_key_value(&key.name)?;
        Some((name, profile))
    }

    /// Whether the holder of this name has the key with this fingerprint.
    #[must_use]
    pub fn has_key(&self, name: &str, key: KeyFingerprint) -> bool {
        let own = self.digests.iter().filter(|other| other.name == name);
        self.holders.contains_key(name)
            && own.map(|own| KeyFingerprint::of(&own.digest)).any(|own| own == key)
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
    // By default the requests of one second, so that `per_minute` alone is enough.
    per_minute.map(|per_minute| Rate { per_minute, burst: burst.unwrap_or_else(|| per_minute.div_ceil(60)) })
}

/// The message of the TOML parser, with the line and without values.
fn unquoted(text: &str, error: &toml::de::Error) -> String {
    let mut message = String::new();
    for (at, part) in error.message().split('"').enumerate() {
        message.push_str(if at % 2 == 0 { part } else { "…" });
    }
    let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    // The message may have several lines.
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}"))
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
    fn a_holder_is_found_by_each_of_its_keys_only() {
        let ring = ring();
        let holder = |key: &str| ring.holder(&KeyDigest::of(key.as_bytes())).map(|(name, _)| name);
        assert_eq!(
            (holder("old"), holder("new"), holder("bob's")),
            (Some("alice"), Some("alice"), Some("bob"))
        );
        for unknown in ["", "ol", "old ", &hex_of("old")] {
            assert_eq!(holder(unknown), None, "{unknown}");
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
        assert_eq!(ring.anonymous().role, Role::User, "the file overrides the flag");
        assert_eq!(ring.anonymous().limits.rate, Some(Rate { per_minute: 6, burst: 1 }));
    }

    #[test]
    fn keys_of_environment_and_file_are_combined() {
        let digest = |byte| vec![NamedDigest { name: "alice".to_owned(), digest: [byte; 32] }];
        let bob = format!("[keys.bob]\nsha256 = ['{}']", hex::encode([7; 32]));
        let both = KeyRing::new(digest(8), Role::User).with_file(&bob).unwrap();
        assert_eq!(both.len(), 2);
        let same = KeyRing::new(digest(7), Role::User).with_file(&bob).unwrap_err();
        assert_eq!(same, ["alice and bob have the same key"]);
        let twice = KeyRing::new(digest(8), Role::User).with_file("[keys.alice]\nsha256 = []").unwrap_err();
        assert_eq!(twice, ["alice also has a key in the environment"]);
    }

    #[test]
    fn a_text_that_names_nobody_is_an_error() {
        let env = || vec![NamedDigest { name: "alice".to_owned(), digest: [8; 32] }];
        let limits = "[anonymous]\nper_minute = 6\n";
        for text in ["", "# [keys.alice]\n", "[keys]\n", limits, "[anonymous]\nallowed = false\n"] {
            let faults = KeyRing::new(Vec::new(), Role::User).with_file(text).unwrap_err();
            assert!(faults[0].contains("[keys.alice]") && faults[0].contains("allowed = true"), "{faults:?}");
        }
        assert!(KeyRing::new(env(), Role::User).with_file("").is_err());
        let limited = KeyRing::new(env(), Role::User).with_file(limits).unwrap();
        assert!(!limited.accepts_anonymous());
        let open = KeyRing::default().with_file("[anonymous]\nallowed = true\n").unwrap();
        assert!(open.accepts_anonymous() && open.is_empty());
        let both = "[anonymous]\nallowed = true\n[keys.bob]\nsha256 = []\n";
        assert!(KeyRing::default().with_file(both).unwrap().accepts_anonymous());
        assert!(!ring().accepts_anonymous());
    }

    #[test]
    fn sample_keys_are_refused() {
        for sample in SAMPLES {
            let text = format!("[keys.bob]\nsha256 = ['{}']", sample.to_ascii_uppercase());
            let faults = KeyRing::default().with_file(&text).unwrap_err();
            assert!(faults[0].contains("edgeprove keys new bob"), "{faults:?}");
        }
    }

    #[test]
    fn digests_of_an_empty_text_are_refused() {
        use sha2::{Digest as _, Sha256};

        for empty in ["", "\n"] {
            let text = format!("[keys.bob]\nsha256 = ['{}']", hex::encode(Sha256::digest(empty)));
            let faults = KeyRing::default().with_file(&text).unwrap_err();
            assert!(faults[0].contains("keys.bob") && faults[0].contains("empty text"), "{faults:?}");
        }
    }

    #[test]
    fn all_errors_are_reported_without_values() {
        let text = "[anonymous]\nburst = 2\n[keys.\"a b\"]\nsha256 = []\n\
                    [keys.bob]\nsha256 = ['hunter2', 'hunter2']\nper_minute = 0\nrole = 'hunter2'";
        let faults = KeyRing::default().with_file(text).unwrap_err();
        assert_eq!(
            faults,
            [
                "anonymous: a burst needs a per_minute",
                "key name 1 (in alphabetical order) is invalid: use 1 to 64 of A-Z a-z 0-9 - _ .",
                "keys.bob.sha256 has an entry that is not 64 hexadecimal digits: \
                 `edgeprove keys new bob` prints a new key and its line",
                "keys.bob.sha256 has an entry that is not 64 hexadecimal digits: \
                 `edgeprove keys new bob` prints a new key and its line",
                "keys.bob: a role is one of prover, observer, user, priority, operator",
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
