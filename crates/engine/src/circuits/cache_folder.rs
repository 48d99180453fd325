//! A folder of files that depend on a program and on the proving backend.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use edgeprove_files::{Draft, regular_file};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Largest file that is read: a verification key has some kilobytes.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// The member with the checksum of all other members.
const CHECKSUM: &str = "sha256";

/// A file of the cache.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored<T> {
    /// There is none, or it cannot be read.
    Absent,
    /// It differs from what was written.
    Damaged,
    /// What was written.
    Whole(T),
}

/// A folder with one file per program, purpose and backend.
#[derive(Debug, Clone)]
pub(super) struct CacheFolder {
    dir: PathBuf,
    /// The part of the backend's identity that the files depend on. It is safe in a file name.
    backend: String,
}

impl CacheFolder {
    pub(super) fn new(dir: &Path, backend: String) -> Self {
        Self { dir: dir.to_owned(), backend }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn backend(&self) -> &str {
        &self.backend
    }

    /// The file for one purpose.
    pub(super) fn file(&self, program_sha256: &[u8; 32], purpose: &str) -> PathBuf {
        self.dir.join(format!("{}-{purpose}-{}.json", hex::encode(program_sha256), self.backend))
    }

    /// Reads a file. Anything but a readable file is logged and counts as absent.
    pub(super) fn read<T: DeserializeOwned>(file: &Path) -> Stored<T> {
        match regular_file::read(file, FILE_MAX_BYTES) {
            Ok(content) => decode(&content).map_or(Stored::Damaged, Stored::Whole),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stored::Absent,
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "a file of the cache cannot be read");
                Stored::Absent
            }
        }
    }

    /// Writes a file with its checksum, as a whole or not at all, and creates the folder if needed.
    pub(super) fn write<T: Serialize>(&self, file: &Path, content: &T) -> io::Result<()> {
        let content = encode(content)?;
        fs::create_dir_all(&self.dir)?;
        // Another server may write the same file at the same time: the last rename wins, and both contents are right.
        let mut draft = Draft::create(file, 0o666)?;
        draft.write_all(&content)?;
        draft.rename()
    }
}

fn checksum(members: &Map<String, Value>) -> serde_json::Result<String> {
    Ok(hex::encode(Sha256::digest(serde_json::to_vec(members)?)))
}

fn encode<T: Serialize>(content: &T) -> serde_json::Result<Vec<u8>> {
    let Value::Object(mut members) = serde_json::to_value(content)? else {
        return Err(serde::ser::Error::custom("the content of a cache file is not an object"));
    };
    let checksum = checksum(&members)?;
    members.insert(CHECKSUM.to_owned(), checksum.into());
    serde_json::to_vec(&members)
}

/// The content of a file; `None` if it differs from what was written.
fn decode<T: DeserializeOwned>(content: &[u8]) -> Option<T> {
    let mut members: Map<String, Value> = serde_json::from_slice(content).ok()?;
    let stated = members.remove(CHECKSUM)?;
    let is_whole = stated == checksum(&members).ok()?;
    is_whole.then(|| serde_json::from_value(Value::Object(members)).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::{env, process::Command};

    use super::*;

    /// Set in a process whose files can have 512 bytes.
    const WITHIN: &str = "EDGEPROVE_TEST_SMALL_FILES";

    fn names(dir: &Path) -> Vec<PathBuf> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_write_that_fails_leaves_no_file() {
        if env::var_os(WITHIN).is_none() {
            let test = "circuits::cache_folder::tests::a_write_that_fails_leaves_no_file";
            let mut again = Command::new("sh");
            again.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"]);
            again.arg(env::current_exe().unwrap()).args(["--exact", test]).env(WITHIN, "1");
            let output = again.output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && printed.contains("1 passed"), "{output:?}");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let cache = CacheFolder::new(dir.path(), "bb".to_owned());
        let file = cache.file(&[7; 32], "vk");
        let large = serde_json::json!({ "vk": "00".repeat(4096) });
        for _ in 0..3 {
            assert_eq!(cache.write(&file, &large).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
            assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
        }
        // What fits is written.
        let small = serde_json::json!({ "vk": "00" });
        cache.write(&file, &small).unwrap();
        assert_eq!(CacheFolder::read(&file), Stored::Whole(small));
        assert_eq!(names(dir.path()), [file]);
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let written = encode(&serde_json::json!({ "gates": 5, "vk": "AQID", "peaks": { "2": 20 } })).unwrap();
        assert_eq!(decode::<Value>(&written).unwrap()["gates"], 5);
        for at in 0..written.len() {
            let mut changed = written.clone();
            changed[at] ^= 1;
            assert_eq!(decode::<Value>(&changed), None, "byte {at}");
            assert_eq!(decode::<Value>(&written[..at]), None, "cut to {at}");
        }
    }
}
