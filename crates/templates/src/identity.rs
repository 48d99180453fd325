//! The hash that identifies a circuit, and the circuit id that is derived from it.

use std::{collections::BTreeMap, fmt};

use edgeprove_protocol::CircuitId;
use sha2::{Digest as _, Sha256};

use crate::{canonical_json::Canonical, names::Language, parameters::Parameters};

/// The versions of the programs that make a circuit's artifacts, by name: compiler, prover and whatever else
/// changes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toolchain(BTreeMap<String, String>);

/// The identity of a circuit: SHA-256 over canonical JSON of template, language, parameters, toolchain and files.
///
/// The files are part of it, so a changed template is another circuit, and so is a change in how parameters are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CircuitHash([u8; 32]);

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Toolchain {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(versions: I) -> Self {
        Self(versions.into_iter().map(|(name, version)| (name.into(), version.into())).collect())
    }
}

impl Toolchain {
    pub(crate) fn canonical(&self) -> Canonical {
        Canonical::object(self.0.iter().map(|(name, version)| (name, Canonical::Text(version.clone()))))
    }
}

impl CircuitHash {
    pub(crate) fn of(
        name: &str,
        language: Language,
        parameters: &Parameters,
        toolchain: &Toolchain,
        files: &BTreeMap<String, String>,
    ) -> Self {
        let digests =
            files.iter().map(|(path, text)| (path, Canonical::Text(hex::encode(Sha256::digest(text)))));
        let identity = Canonical::object([
            ("files", Canonical::object(digests)),
            ("language", Canonical::Text(language.as_str().to_owned())),
            ("name", Canonical::Text(name.to_owned())),
            ("parameters", parameters.canonical()),
            ("toolchain", toolchain.canonical()),
        ]);
        Self(Sha256::digest(identity.to_string()).into())
    }

    /// The bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The circuit id: the template's name, a hyphen, and the first 40 hexadecimal digits of the hash.
    ///
    /// 160 bits do not collide by chance. A registry stores the whole hash beside the id and compares it.
    #[expect(clippy::expect_used, reason = "a template whose name makes no circuit id is not read")]
    pub(crate) fn circuit_id(&self, name: &str) -> CircuitId {
        const DIGITS: usize = 40;
        let digits = self.to_string();
        format!("{name}-{}", &digits[..DIGITS])
            .parse()
            .expect("the name was checked when the template was read")
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for CircuitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
