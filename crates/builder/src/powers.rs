//! The powers of tau that keys of circom's circuits are made from.

use std::{fmt, path::Path, sync::atomic::AtomicBool};

use edgeprove_files::regular_file;
use edgeprove_groth16::{PowersDigest, PowersError, PowersFile, PowersInfo, PowersOrigin};

/// An open powers-of-tau file, and its digest.
pub struct Powers {
    file: PowersFile,
    digest: PowersDigest,
}

impl Powers {
    /// Opens a file and computes its digest, which takes a second for each gigabyte. Its points are not checked:
    /// `edgeprove ptau import` and `verify` do that. Blocking.
    pub fn open(path: &Path) -> Result<Self, PowersError> {
        let file = PowersFile::open(regular_file::open(path)?)?;
        let digest = file.digest(&AtomicBool::new(false))?;
        Ok(Self { file, digest })
    }

    /// BLAKE2b-512 of the file.
    #[must_use]
    pub const fn digest(&self) -> &PowersDigest {
        &self.digest
    }

    /// Where the file comes from, as far as its digest shows it.
    #[must_use]
    pub fn origin(&self) -> PowersOrigin {
        self.digest.origin()
    }

    /// The numbers that describe the file.
    #[must_use]
    pub const fn info(&self) -> PowersInfo {
        self.file.info()
    }

    pub(crate) const fn file(&self) -> &PowersFile {
        &self.file
    }
}

impl fmt::Debug for Powers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Powers")
            .field("info", &self.info())
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
