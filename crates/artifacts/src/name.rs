//! Names and kinds of artifacts.

use std::{fmt, str::FromStr};

use uuid::{Uuid, Variant, Version};

/// The name of an artifact: a random UUID, unique in every store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactName(Uuid);

impl ArtifactName {
    pub(super) fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The name with these bytes. Others than 16 are the name of nothing.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(Uuid::from_slice(bytes).unwrap_or_default())
    }

    pub(super) fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A text that is not the name of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an artifact's name is a random UUID in lower case, with hyphens")]
pub struct InvalidArtifactName;

impl FromStr for ArtifactName {
    type Err = InvalidArtifactName;

    /// Accepts only the form that [`fmt::Display`] writes, so that an artifact has exactly one name.
    fn from_str(text: &str) -> Result<Self, InvalidArtifactName> {
        let uuid = Uuid::try_parse(text).map_err(|_| InvalidArtifactName)?;
        let name = Self(uuid);
        let is_ours = uuid.get_version() == Some(Version::Random)
            && uuid.get_variant() == Variant::RFC4122
            && name.to_string() == text;
        if is_ours { Ok(name) } else { Err(InvalidArtifactName) }
    }
}

/// The kind of an artifact. Reading it as another kind fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArtifactKind {
    /// A gzipped witness.
    Witness,
    /// A proof with its public inputs and description.
    Proof,
    /// The files of a circuit that was built, as a tar file.
    Circuit,
    /// The URL of a webhook, which is stored as a text and in no file.
    CallbackUrl,
}

impl ArtifactKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Witness, Self::Proof, Self::Circuit, Self::CallbackUrl];

    /// The word for this kind, which is authenticated with every chunk and never changes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Witness => "witness",
            Self::Proof => "proof",
            Self::Circuit => "circuit",
            Self::CallbackUrl => "callback url",
        }
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_exactly_one_form() {
        let name = ArtifactName::random();
        assert_eq!(name.to_string().parse(), Ok(name));
        assert_ne!(name, ArtifactName::random());
        let text = name.to_string();
        for other in [
            text.to_uppercase(),
            text.replace('-', ""),
            format!("{{{text}}}"),
            format!("../{text}"),
            format!("{text}.part"),
            "00000000-0000-0000-0000-000000000000".to_owned(),
            "017f22e2-79b0-7cc3-98c4-dc0c0c07398f".to_owned(),
            String::new(),
        ] {
            assert_eq!(other.parse::<ArtifactName>(), Err(InvalidArtifactName), "{other}");
        }
    }
}
