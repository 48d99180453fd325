//! A proof, its public inputs and its verification key, in the files of bb or of snarkjs; and one tar file with the three.

use std::{
    io::{self, Read},
    path::Path,
};

use edgeprove_files::regular_file;
use edgeprove_protocol::{ProofSystem, Target};
use edgeprove_prover::{ProofParts, groth16};
use tar::{Archive, Builder, EntryType, Header};

/// The program whose files they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileFormat {
    /// As `bb prove` writes them and `bb verify` reads them.
    #[default]
    Bb,
    /// As snarkjs writes and reads them: JSON.
    Snarkjs,
}

impl FileFormat {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Bb, Self::Snarkjs];

    /// The format of the proofs for a target.
    #[must_use]
    pub const fn of(target: Target) -> Self {
        match target.proof_system() {
            ProofSystem::UltraHonk => Self::Bb,
            ProofSystem::Groth16 => Self::Snarkjs,
        }
    }

    /// The formats of which a folder has a file.
    #[must_use]
    pub fn found_in(dir: &Path) -> Vec<Self> {
        let has_file = |format: &Self| format.names().iter().any(|name| dir.join(name).is_file());
        Self::ALL.into_iter().filter(has_file).collect()
    }

    /// The names of the files with the proof, the public inputs and the verification key.
    #[must_use]
    pub const fn names(self) -> [&'static str; 3] {
        match self {
            Self::Bb => ["proof", "public_inputs", "vk"],
            Self::Snarkjs => ["proof.json", "public.json", "verification_key.json"],
        }
    }
}

/// Largest file, and largest tar file. Proofs and keys have a few kilobytes.
pub const FILE_MAX_BYTES: u64 = 16 << 20;
/// Most entries of a tar file that are looked at.
const ENTRIES_MAX: usize = 64;

/// The contents of the three files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProofFiles {
    /// Whose files they are.
    pub format: FileFormat,
    /// The proof; for bb, 32-byte fields without the public inputs.
    pub proof: Vec<u8>,
    /// The public inputs; for bb, 32-byte fields, big-endian.
    pub public_inputs: Vec<u8>,
    /// The verification key.
    pub vk: Vec<u8>,
}

/// A tar file does not have the three files.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// It is no tar file.
    #[error("it is not a tar file")]
    NotTar(#[source] io::Error),
    /// A file is missing.
    #[error("the tar file has no file `{0}`")]
    Missing(&'static str),
    /// A file is there twice.
    #[error("the tar file has the file `{0}` twice")]
    Twice(&'static str),
    /// It has files of two formats, of which one may be of another proof.
    #[error(
        "the tar file has files of bb and files of snarkjs: unpack it, and name the files by their flags"
    )]
    TwoFormats,
    /// It has too many files.
    #[error("the tar file has more than {ENTRIES_MAX} files")]
    TooManyEntries,
}

impl ProofFiles {
    /// The files of a proof. `None`: the fields are not those of a proof for this target.
    #[must_use]
    pub fn of(target: Target, parts: &ProofParts, vk: &[u8]) -> Option<Self> {
        let vk = vk.to_vec();
        Some(match target.proof_system() {
            ProofSystem::UltraHonk => Self {
                format: FileFormat::Bb,
                proof: parts.proof.as_flattened().to_vec(),
                public_inputs: parts.public_inputs.as_flattened().to_vec(),
                vk,
            },
            ProofSystem::Groth16 => {
                let (proof, signals) = groth16::read_parts(parts)?;
                let (proof, public_inputs) = (proof.to_json().into_bytes(), signals.to_json().into_bytes());
                Self { format: FileFormat::Snarkjs, proof, public_inputs, vk }
            }
        })
    }

    /// The names of the files and their contents.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &[u8]); 3] {
        let [proof, public_inputs, vk] = self.format.names();
        [(proof, &self.proof), (public_inputs, &self.public_inputs), (vk, &self.vk)]
    }

    /// Writes a tar file. The same contents give the same bytes.
    #[must_use]
    pub fn to_tar(&self) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        for (name, bytes) in self.named() {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            // Writing to memory cannot fail, and the names fit.
            let _ = tar.append_data(&mut header, name, bytes);
        }
        tar.into_inner().unwrap_or_default()
    }

    /// Reads a tar file, whose files may be in a folder. Other files are ignored.
    pub fn from_tar(bytes: &[u8]) -> Result<Self, TarError> {
        let mut found: [[Option<Vec<u8>>; 3]; FileFormat::ALL.len()] = Default::default();
        for (index, entry) in Archive::new(bytes).entries().map_err(TarError::NotTar)?.enumerate() {
            let mut entry = entry.map_err(TarError::NotTar)?;
            if index >= ENTRIES_MAX {
                return Err(TarError::TooManyEntries);
            }
            let path = entry.path().map_err(TarError::NotTar)?;
            let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            let is_file = entry.header().entry_type() == EntryType::Regular;
            let known = FileFormat::ALL.iter().flat_map(|format| format.names());
            for (known, found) in known.zip(found.as_flattened_mut()) {
                if is_file && name.as_deref() == Some(known) {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content).map_err(TarError::NotTar)?;
                    if found.replace(content).is_some() {
                        return Err(TarError::Twice(known));
                    }
                }
            }
        }
        let sets = FileFormat::ALL.into_iter().zip(found);
        let mut sets = sets.filter(|(_, found)| found.iter().any(Option::is_some));
        let (format, found) = sets.next().unwrap_or((FileFormat::Bb, [None, None, None]));
        if sets.next().is_some() {
            return Err(TarError::TwoFormats);
        }
        let ([proof, public_inputs, vk], names) = (found, format.names());
        Ok(Self {
            format,
            proof: proof.ok_or(TarError::Missing(names[0]))?,
            public_inputs: public_inputs.ok_or(TarError::Missing(names[1]))?,
            vk: vk.ok_or(TarError::Missing(names[2]))?,
        })
    }
}

/// Whether the file begins as a tar file: its first header has the magic of POSIX or GNU.
#[must_use]
pub fn is_tar(first_bytes: &[u8]) -> bool {
    first_bytes.get(257..262).is_some_and(|magic| magic == b"ustar")
}

/// Reads a file of at most [`FILE_MAX_BYTES`]; `None` if it is larger.
pub fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match regular_file::read(path, FILE_MAX_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> ProofFiles {
        let format = FileFormat::Bb;
        ProofFiles { format, proof: vec![1; 640], public_inputs: Vec::new(), vk: vec![3; 1888] }
    }

    #[test]
    fn files_survive_the_way_through_a_tar_file() {
        let tar = files().to_tar();
        assert!(is_tar(&tar) && tar.len().is_multiple_of(512));
        assert_eq!(tar, files().to_tar(), "the same bytes each time");
        assert_eq!(ProofFiles::from_tar(&tar).unwrap(), files());
        let of_snarkjs = ProofFiles { format: FileFormat::Snarkjs, ..files() };
        assert_eq!(ProofFiles::from_tar(&of_snarkjs.to_tar()).unwrap(), of_snarkjs);
    }

    #[test]
    fn a_tar_file_without_the_three_files_is_refused() {
        assert!(matches!(ProofFiles::from_tar(&[7; 2048]), Err(TarError::NotTar(_))));
        assert!(matches!(ProofFiles::from_tar(&[]), Err(TarError::Missing("proof"))));
        let mut tar = Builder::new(Vec::new());
        for name in ["out/proof", "out/vk", "other"] {
            let mut header = Header::new_gnu();
            header.set_size(4);
            tar.append_data(&mut header, name, b"1234".as_slice()).unwrap();
        }
        let bytes = tar.get_ref().clone();
        assert!(matches!(ProofFiles::from_tar(&bytes), Err(TarError::Missing("public_inputs"))));
        let mut header = Header::new_gnu();
        header.set_size(0);
        tar.append_data(&mut header, "vk", b"".as_slice()).unwrap();
        assert!(matches!(ProofFiles::from_tar(tar.get_ref()), Err(TarError::Twice("vk"))));
        let mut both = Builder::new(Vec::new());
        for name in ["proof", "public_inputs", "vk", "old/proof.json"] {
            let mut header = Header::new_gnu();
            header.set_size(4);
            both.append_data(&mut header, name, b"1234".as_slice()).unwrap();
        }
        assert!(matches!(ProofFiles::from_tar(&both.into_inner().unwrap()), Err(TarError::TwoFormats)));
        assert!(!is_tar(b"short") && !is_tar(&[0; 512]));
    }
}
