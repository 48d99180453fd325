//! The parts of an upload: names, files, and what its operator declares.

use std::{fmt, str::FromStr};

use edgeprove_engine::proof_systems::inputs::{InputDocument, InputError, PRIVATE_INPUTS};
use edgeprove_protocol::{CircuitId, HasProblemType, ProblemType, circuit_id::InvalidCircuitId};
use edgeprove_spool::SpoolFile;
use edgeprove_templates::Language;
use sha2::{Digest as _, Sha256};

/// Hexadecimal digits of the hash that an id has: 96 bits do not collide by chance, and the whole hash is compared.
const ID_DIGITS: usize = 24;

/// The name that an operator gives a circuit: letters, digits, `-` and `_`. With a part of the hash it becomes the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitName(String);

/// The text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of an uploaded circuit has 1 to {} characters of A-Z a-z 0-9 - _", CircuitName::MAX_BYTES)]
pub struct InvalidCircuitName;

impl CircuitName {
    /// Maximum length, in bytes.
    pub const MAX_BYTES: usize = CircuitId::MAX_BYTES - ID_DIGITS - 1;
}

impl FromStr for CircuitName {
    type Err = InvalidCircuitName;

    fn from_str(text: &str) -> Result<Self, InvalidCircuitName> {
        let is_name = text.len() <= Self::MAX_BYTES && text.parse::<CircuitId>().is_ok();
        if is_name { Ok(Self(text.to_owned())) } else { Err(InvalidCircuitName) }
    }
}

impl fmt::Display for CircuitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file that an upload can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// The compiled program of Noir.
    Program,
    /// The constraints of circom.
    R1cs,
    /// The program that computes witnesses, of circom.
    Wasm,
    /// The key of snarkjs.
    Zkey,
    /// The names of the signals, of circom.
    Sym,
}

impl FileKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Program, Self::R1cs, Self::Wasm, Self::Zkey, Self::Sym];
    /// The files that a circom circuit needs.
    const CIRCOM: [Self; 3] = [Self::R1cs, Self::Wasm, Self::Zkey];

    /// The name of its part in a form, and of its flag.
    #[must_use]
    pub const fn part(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::R1cs => "r1cs",
            Self::Wasm => "wasm",
            Self::Zkey => "zkey",
            Self::Sym => "sym",
        }
    }

    /// The name of the file of a stored circuit.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Program => "circuit.json",
            Self::R1cs => "circuit.r1cs",
            Self::Wasm => "circuit.wasm",
            Self::Zkey => "circuit.zkey",
            Self::Sym => "circuit.sym",
        }
    }
}

/// Who made the keys of a circom circuit, as the operator declares it. The server cannot check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeclaredTrust {
    /// Several parties, of which one is enough.
    Ceremony,
    /// One party.
    Local,
    /// It is not declared.
    Unknown,
}

/// The text is not a declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`trust` is one of ceremony, local, unknown")]
pub struct UnknownTrust;

impl DeclaredTrust {
    /// Every declaration.
    pub const ALL: [Self; 3] = [Self::Ceremony, Self::Local, Self::Unknown];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ceremony => "ceremony",
            Self::Local => "local",
            Self::Unknown => "unknown",
        }
    }
}

impl FromStr for DeclaredTrust {
    type Err = UnknownTrust;

    fn from_str(text: &str) -> Result<Self, UnknownTrust> {
        Self::ALL.into_iter().find(|trust| trust.as_str() == text).ok_or(UnknownTrust)
    }
}

/// A file that arrived.
#[derive(Debug)]
pub struct UploadedFile {
    /// Which one.
    pub kind: FileKind,
    /// Its content.
    pub file: SpoolFile,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
}

/// A circuit that arrived. Its files are removed when it is dropped.
#[derive(Debug)]
pub struct CircuitUpload {
    /// Its name.
    pub name: CircuitName,
    /// Its language.
    pub language: Language,
    /// Who made its keys; `None` for Noir.
    pub trust: Option<DeclaredTrust>,
    /// Its files, by kind.
    pub files: Vec<UploadedFile>,
    /// The inputs of a sample.
    pub sample: Option<InputDocument>,
}

/// The parts of an upload do not make a circuit.
#[derive(Debug, thiserror::Error)]
pub enum IncompleteUpload {
    /// There are files of both languages, or none.
    #[error(
        "an upload has either `program` (the compiled program of Noir) or `r1cs`, `wasm` and `zkey` (of circom and snarkjs)"
    )]
    Files,
    /// A file is missing.
    #[error("the part `{}` is missing: a circom circuit has `r1cs`, `wasm` and `zkey`", .0.part())]
    Missing(FileKind),
    /// A file is empty.
    #[error("the part `{}` has no bytes", .0.part())]
    Empty(FileKind),
    /// A Noir circuit has no keys of its own.
    #[error("`trust` is for circom circuits: keys of Noir circuits need no setup of their own")]
    Trust,
    /// The sample is not a document with inputs.
    #[error("the part `input`: {0}")]
    Sample(InputError),
}

impl HasProblemType for IncompleteUpload {
    fn kind(&self) -> ProblemType {
        ProblemType::InvalidRequest
    }
}

impl CircuitUpload {
    /// Checks that these files are those of one circuit. `sample` is a document with inputs or, for circom, an object with
    /// all signals.
    pub fn new(
        name: CircuitName,
        mut files: Vec<UploadedFile>,
        trust: Option<DeclaredTrust>,
        sample: Option<Vec<u8>>,
    ) -> Result<Self, IncompleteUpload> {
        files.sort_by_key(|file| file.kind);
        let has = |kind| files.iter().any(|file| file.kind == kind);
        let language = match (has(FileKind::Program), files.len()) {
            (true, 1) => Language::Noir,
            (true, _) | (false, 0) => return Err(IncompleteUpload::Files),
            (false, _) => Language::Circom,
        };
        if language == Language::Circom
            && let Some(missing) = FileKind::CIRCOM.into_iter().find(|kind| !has(*kind))
        {
            return Err(IncompleteUpload::Missing(missing));
        }
        if let Some(empty) = files.iter().find(|file| file.file.is_empty()) {
            return Err(IncompleteUpload::Empty(empty.kind));
        }
        let trust = match (language, trust) {
            (Language::Noir, None) => None,
            (Language::Noir, Some(_)) => return Err(IncompleteUpload::Trust),
            (Language::Circom, trust) => Some(trust.unwrap_or(DeclaredTrust::Unknown)),
        };
        let sample = sample.map(|json| read_sample(json, language)).transpose();
        let sample = sample.map_err(IncompleteUpload::Sample)?;
        Ok(Self { name, language, trust, files, sample })
    }

    /// SHA-256 over the name and the digests of the files, 64 hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("edgeprove uploaded circuit\n{}\n", self.name));
        for UploadedFile { kind, sha256, .. } in &self.files {
            hash.update(format!("{} {}\n", kind.file_name(), hex::encode(sha256)));
        }
        hex::encode(hash.finalize())
    }

    /// The id: the name, a hyphen and the beginning of the hash.
    pub fn id(&self, hash: &str) -> Result<CircuitId, InvalidCircuitId> {
        let digits: String = hash.chars().take(ID_DIGITS).collect();
        format!("{}-{digits}", self.name).parse()
    }
}

fn read_sample(json: Vec<u8>, language: Language) -> Result<InputDocument, InputError> {
    // Files of inputs for snarkjs have the signals themselves. The bytes of this copy are wiped when it is freed.
    let wrapped = (language == Language::Circom)
        .then(|| [format!("{{\"{PRIVATE_INPUTS}\":").as_bytes(), &json, b"}"].concat());
    match (InputDocument::parse(json), wrapped) {
        (Err(InputError::Shape { .. }), Some(wrapped)) => InputDocument::parse(wrapped),
        (read, _) => read,
    }
}

#[cfg(test)]
mod tests {
    use edgeprove_spool::Spool;

    use super::*;

    struct Parts {
        spool: Spool,
        _folder: tempfile::TempDir,
    }

    impl Parts {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self { spool: Spool::open(folder.path()).unwrap(), _folder: folder }
        }

        async fn upload(
            &self,
            name: &str,
            files: &[(FileKind, &'static [u8])],
            trust: Option<DeclaredTrust>,
            sample: Option<&str>,
        ) -> Result<CircuitUpload, IncompleteUpload> {
            let mut uploaded = Vec::new();
            for (kind, content) in files {
                let mut file = self.spool.create().unwrap();
                file.append((*content).into()).await.unwrap();
                uploaded.push(UploadedFile { kind: *kind, file, sha256: Sha256::digest(content).into() });
            }
            let sample = sample.map(|sample| sample.as_bytes().to_vec());
            CircuitUpload::new(name.parse().unwrap(), uploaded, trust, sample)
        }
    }

    const CIRCOM: [(FileKind, &[u8]); 3] =
        [(FileKind::Zkey, b"z"), (FileKind::R1cs, b"r"), (FileKind::Wasm, b"w")];

    #[tokio::test]
    async fn the_files_of_one_circuit_are_needed() {
        let parts = Parts::new();
        let refused = async |files: &[(FileKind, &'static [u8])], trust| {
            parts.upload("a", files, trust, None).await.unwrap_err().to_string()
        };
        assert!(refused(&[], None).await.starts_with("an upload has either"));
        assert!(refused(&[(FileKind::Program, b"p"), CIRCOM[0]], None).await.starts_with("an upload has"));
        assert!(refused(&CIRCOM[..2], None).await.starts_with("the part `wasm` is missing"));
        assert!(refused(&[(FileKind::Sym, b"s")], None).await.starts_with("the part `r1cs` is missing"));
        assert_eq!(refused(&[(FileKind::Program, b"")], None).await, "the part `program` has no bytes");
        let trust = Some(DeclaredTrust::Ceremony);
        assert!(refused(&[(FileKind::Program, b"p")], trust).await.starts_with("`trust` is for circom"));
    }

    #[tokio::test]
    async fn trust_is_never_claimed_silently() {
        let parts = Parts::new();
        let circom = parts.upload("a", &CIRCOM, None, None).await.unwrap();
        assert_eq!((circom.language, circom.trust), (Language::Circom, Some(DeclaredTrust::Unknown)));
        let noir = parts.upload("a", &[(FileKind::Program, b"p")], None, None).await.unwrap();
        assert_eq!((noir.language, noir.trust), (Language::Noir, None));
        for trust in DeclaredTrust::ALL {
            assert_eq!(trust.as_str().parse(), Ok(trust));
        }
        assert_eq!("Ceremony".parse::<DeclaredTrust>(), Err(UnknownTrust));
    }

    #[tokio::test]
    async fn the_hash_follows_from_name_and_content() {
        let parts = Parts::new();
        let hash = async |name, files: &[(FileKind, &'static [u8])]| {
            parts.upload(name, files, None, None).await.unwrap().hash()
        };
        let first = hash("a", &CIRCOM).await;
        let [z, r, w] = CIRCOM;
        assert_eq!(hash("a", &[w, z, r]).await, first, "the order of the parts is no part of it");
        for (name, files) in [
            ("b", vec![z, r, w]),
            ("a", vec![z, r, (FileKind::Wasm, b"other")]),
            ("a", vec![z, r, w, (FileKind::Sym, b"s")]),
        ] {
            assert_ne!(hash(name, &files).await, first, "{name} {files:?}");
        }
    }

    #[test]
    fn a_name_leaves_place_for_the_hash() {
        let longest = "n".repeat(CircuitName::MAX_BYTES);
        assert!(format!("{longest}-{}", "0".repeat(ID_DIGITS)).parse::<CircuitId>().is_ok());
        for good in ["a", "range-2_x", &longest] {
            assert!(good.parse::<CircuitName>().is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "a.b", "ä", &format!("{longest}n")] {
            assert_eq!(bad.parse::<CircuitName>(), Err(InvalidCircuitName), "{bad}");
        }
    }

    #[test]
    fn inputs_for_snarkjs_are_a_sample_too() {
        let document = br#"{"privateInputs": {"in": 1}}"#.to_vec();
        for language in [Language::Noir, Language::Circom] {
            assert_eq!(read_sample(document.clone(), language).unwrap().json(), document);
        }
        let signals = br#"{"in": 1}"#.to_vec();
        let wrapped = read_sample(signals.clone(), Language::Circom).unwrap();
        assert_eq!(wrapped.json(), br#"{"privateInputs":{"in": 1}}"#);
        read_sample(signals, Language::Noir).unwrap_err();
        read_sample(b"{\"in\":".to_vec(), Language::Circom).unwrap_err();
    }
}
