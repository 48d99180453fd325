//! A proof, its public inputs and its verification key, as `bb prove` writes them to files and as `bb verify` reads them;
//! and one tar file with the three.

use std::{
    io::{self, Read},
    path::Path,
};

use edgeprove_files::regular_file;
use tar::{Archive, Builder, EntryType, Header};

/// The name of the proof's file.
pub const PROOF: &str = "proof";
/// The name of the public inputs' file.
pub const PUBLIC_INPUTS: &str = "public_inputs";
/// The name of the verification key's file.
pub const VK: &str = "vk";
/// Largest file, and largest tar file. Proofs and keys have a few kilobytes.
pub const FILE_MAX_BYTES: u64 = 16 << 20;
/// Most entries of a tar file that are looked at.
const ENTRIES_MAX: usize = 64;

/// The contents of the three files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProofFiles {
    /// The proof: 32-byte fields without the public inputs.
    pub proof: Vec<u8>,
    /// The public inputs: 32-byte fields, big-endian.
    pub public_inputs: Vec<u8>,
    /// The verification key, in bb's encoding.
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
    /// It has too many files.
    #[error("the tar file has more than {ENTRIES_MAX} files")]
    TooManyEntries,
}

impl ProofFiles {
    /// Writes a tar file. The same contents give the same bytes.
    #[must_use]
    pub fn to_tar(&self) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        for (name, bytes) in [(PROOF, &self.proof), (PUBLIC_INPUTS, &self.public_inputs), (VK, &self.vk)] {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            // Writing to memory cannot fail, and the names fit.
            let _ = tar.append_data(&mut header, name, bytes.as_slice());
        }
        tar.into_inner().unwrap_or_default()
    }

    /// Reads a tar file, whose files may be in a folder. Other files are ignored.
    pub fn from_tar(bytes: &[u8]) -> Result<Self, TarError> {
        let mut found: [Option<Vec<u8>>; 3] = [None, None, None];
        for (index, entry) in Archive::new(bytes).entries().map_err(TarError::NotTar)?.enumerate() {
            let mut entry = entry.map_err(TarError::NotTar)?;
            if index >= ENTRIES_MAX {
                return Err(TarError::TooManyEntries);
            }
            let path = entry.path().map_err(TarError::NotTar)?;
            let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            let is_file = entry.header().entry_type() == EntryType::Regular;
            for (known, found) in [PROOF, PUBLIC_INPUTS, VK].into_iter().zip(&mut found) {
                if is_file && name.as_deref() == Some(known) {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content).map_err(TarError::NotTar)?;
                    if found.replace(content).is_some() {
                        return Err(TarError::Twice(known));
                    }
                }
            }
        }
        let [proof, public_inputs, vk] = found;
        Ok(Self {
            proof: proof.ok_or(TarError::Missing(PROOF))?,
            public_inputs: public_inputs.ok_or(TarError::Missing(PUBLIC_INPUTS))?,
            vk: vk.ok_or(TarError::Missing(VK))?,
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
        ProofFiles { proof: vec![1; 640], public_inputs: Vec::new(), vk: vec![3; 1888] }
    }

    #[test]
    fn files_survive_the_way_through_a_tar_file() {
        let tar = files().to_tar();
        assert!(is_tar(&tar) && tar.len().is_multiple_of(512));
        assert_eq!(tar, files().to_tar(), "the same bytes each time");
        assert_eq!(ProofFiles::from_tar(&tar).unwrap(), files());
    }

    #[test]
    fn a_tar_file_without_the_three_files_is_refused() {
        assert!(matches!(ProofFiles::from_tar(&[7; 2048]), Err(TarError::NotTar(_))));
        assert!(matches!(ProofFiles::from_tar(&[]), Err(TarError::Missing(PROOF))));
        let mut tar = Builder::new(Vec::new());
        for name in ["out/proof", "out/vk", "other"] {
            let mut header = Header::new_gnu();
            header.set_size(4);
            tar.append_data(&mut header, name, b"1234".as_slice()).unwrap();
        }
        let bytes = tar.get_ref().clone();
        assert!(matches!(ProofFiles::from_tar(&bytes), Err(TarError::Missing(PUBLIC_INPUTS))));
        let mut header = Header::new_gnu();
        header.set_size(0);
        tar.append_data(&mut header, "vk", b"".as_slice()).unwrap();
        assert!(matches!(ProofFiles::from_tar(tar.get_ref()), Err(TarError::Twice(VK))));
        assert!(!is_tar(b"short") && !is_tar(&[0; 512]));
    }
}
