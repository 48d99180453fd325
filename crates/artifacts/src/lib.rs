//! Encrypted bytes that outlive a request, in a folder or a bucket: the witnesses and proofs of jobs.
//!
//! A job stores the random names of its artifacts and nothing of their content. Without the keys the folder or bucket
//! reveals nothing, and a change of stored bytes is detected when they are read.
//!
//! Reading order: [`ArtifactStore`] is all that other crates use; `sealing` has the format of stored bytes.
//!
//! Imports run down this list only.
//!
//! - [`bucket`], [`folder`]: the two locations.
//! - [`sealed_text`]: short texts in a database.
//! - [`key_file`]: the key in the data folder.
//! - [`sealing`]: encrypts and decrypts; the format of stored bytes.
//! - [`settings`]: location and keys.
//! - [`error`]: errors by the person who can act on them.
//! - [`encryption_keys`]: the keys that encrypt artifacts.
//! - [`name`]: names and kinds of artifacts.

mod bucket;
mod encryption_keys;
mod error;
mod folder;
mod key_file;
mod name;
mod sealed_text;
mod sealing;
mod settings;

use std::{
    collections::BTreeSet,
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use edgeprove_files::{folder_of, writable_folder};
use edgeprove_telemetry::keyed_hash::{Mac as _, hmac_sha256, update_part};
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use tempfile::TempDir;
use tokio::{fs::File, io::AsyncRead};

pub use encryption_keys::{ArtifactKey, KeyId, KeyRing};
pub use error::{ArtifactError, OpenError};
pub use name::{ArtifactKind, ArtifactName, InvalidArtifactName};
pub use settings::{
    ArtifactSettings, BucketOptions, BucketSettings, KeySettings, LocationSettings, RetryPolicy,
};

use bucket::Bucket;
use folder::Folder;
use sealing::{HEAD_BYTES, Opening, Sealing, key_of};

/// Makes the key of fingerprints differ from every other key that is derived.
const FINGERPRINT_INFO: &[u8] = b"edgeprove artifact fingerprint";

/// Most artifacts of a folder whose key is checked at the start.
const HEADS_CHECKED_MAX: usize = 1_000;

/// A store of artifacts. Clones share it.
///
/// ```
/// use edgeprove_artifacts::{
///     ArtifactKey, ArtifactKind, ArtifactSettings, ArtifactStore, KeyRing, KeySettings, LocationSettings,
/// };
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let home = tempfile::tempdir()?;
/// let store = ArtifactStore::open(&ArtifactSettings {
///     location: LocationSettings::Folder(home.path().join("artifacts")),
///     keys: KeySettings::Given(KeyRing::new(ArtifactKey::random()?)),
/// })?;
/// let name = store.put_bytes(ArtifactKind::Proof, b"a proof").await?;
/// assert_eq!(store.read(&name, ArtifactKind::Proof, 1024).await?, b"a proof");
///
/// store.delete(&name).await?;
/// assert!(store.read(&name, ArtifactKind::Proof, 1024).await.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    location: Location,
    keys: KeyRing,
    /// Whether the last attempt to store an artifact failed.
    is_failing: Arc<AtomicBool>,
    /// Removed with the last clone.
    _temporary: Option<Arc<TempDir>>,
}

#[derive(Debug, Clone)]
enum Location {
    Folder(Folder),
    Bucket(Bucket),
}

impl Location {
    /// Whether a folder has artifacts. A bucket gets no request.
    fn has_artifacts(&self) -> Result<bool, OpenError> {
        match self {
            Self::Folder(folder) => Ok(!folder.heads(1)?.is_empty()),
            Self::Bucket(_) => Ok(false),
        }
    }

    /// Logs a warning where artifacts of a folder are encrypted under keys that are not in this ring.
    fn warn_of_unknown_keys(&self, keys: &KeyRing) -> Result<(), OpenError> {
        let Self::Folder(folder) = self else { return Ok(()) };
        let heads = folder.heads(HEADS_CHECKED_MAX)?;
        let unknown = heads.iter().filter_map(|head| key_of(head)).filter(|key| keys.find(*key).is_none());
        let unknown: BTreeSet<String> = unknown.map(|key| key.to_string()).collect();
        if !unknown.is_empty() {
            let missing = unknown.into_iter().collect::<Vec<_>>().join(", ");
            tracing::warn!(
                location = %self,
                missing,
                "artifacts are encrypted under keys that this server does not have: their jobs will fail; add the keys to \
                 EDGEPROVE_ARTIFACT_KEY"
            );
        }
        Ok(())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.path().display().fmt(f),
            Self::Bucket(bucket) => f.write_str(&bucket.url()),
        }
    }
}

/// The result of a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Deleted artifacts.
    pub deleted: usize,
    /// Deleted unfinished files.
    pub drafts: usize,
    /// Artifacts that could not be deleted; the next sweep tries again.
    pub failed: usize,
}

impl ArtifactStore {
    /// Opens a store. A folder is created if it does not exist, and written to as a test. A bucket gets no request.
    /// Blocking.
    pub fn open(settings: &ArtifactSettings) -> Result<Self, OpenError> {
        let mut temporary = None;
        // The folder comes first: the key file is beside it.
        let location = match &settings.location {
            LocationSettings::Folder(path) => Location::Folder(Folder::open(path)?),
            LocationSettings::Bucket(settings) => Location::Bucket(Bucket::open(settings)?),
            LocationSettings::Temporary => {
                let dir = tempfile::Builder::new()
                    .prefix("edgeprove-jobs-")
                    .tempdir()
                    .map_err(OpenError::TemporaryFolder)?;
                let folder = Folder::open(&dir.path().join("artifacts"))?;
                temporary = Some(Arc::new(dir));
                Location::Folder(folder)
            }
        };
        let keys = match &settings.keys {
            KeySettings::Given(keys) => keys.clone(),
            KeySettings::GivenAndFile(keys, file) => {
                let mut keys = keys.clone();
                if let Some(of_file) = key_file::read(file)? {
                    keys.add_former(of_file);
                }
                keys
            }
            KeySettings::File(file) if !file.exists() && location.has_artifacts()? => {
                return Err(OpenError::KeyMissing {
                    path: file.clone(),
                    folder: location.to_string().into(),
                });
            }
            KeySettings::File(file) => KeyRing::new(key_file::read_or_create(file)?),
            KeySettings::Random => KeyRing::new(ArtifactKey::random().map_err(OpenError::NoRandomness)?),
        };
        location.warn_of_unknown_keys(&keys)?;
        Ok(Self { location, keys, is_failing: Arc::default(), _temporary: temporary })
    }

    /// Fails where [`Self::open`] would fail, as far as this shows without a change on the disk. A bucket gets no request.
    /// Blocking.
    pub fn examine(settings: &ArtifactSettings) -> Result<(), OpenError> {
        let folder = match &settings.location {
            LocationSettings::Folder(path) => Folder::examine(path)?,
            LocationSettings::Bucket(settings) => {
                Bucket::open(settings)?;
                None
            }
            LocationSettings::Temporary => None,
        };
        let (KeySettings::File(file) | KeySettings::GivenAndFile(_, file)) = &settings.keys else {
            return Ok(());
        };
        if key_file::examine(file)?.is_some() || matches!(settings.keys, KeySettings::GivenAndFile(..)) {
            return Ok(());
        }
        if let Some(folder) = folder
            && !folder.heads(1)?.is_empty()
        {
            return Err(OpenError::KeyMissing { path: file.clone(), folder: folder.path().to_owned() });
        }
        // The key will be created there.
        let checked = writable_folder::check(folder_of(file));
        checked.map_err(|source| OpenError::KeyFile { path: file.clone(), source })
    }

    /// A keyed digest (HMAC-SHA-256) of these parts in this order. It stays the same when a new key is added before the
    /// old one.
    #[must_use]
    pub fn fingerprint(&self, parts: &[&[u8]]) -> [u8; 32] {
        let key = self.keys.oldest().derive(&[], FINGERPRINT_INFO);
        let mut mac = hmac_sha256(&key);
        for part in parts {
            update_part(&mut mac, part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Stores a source's bytes in constant memory, and returns the artifact's name. When this returns, the artifact is
    /// as durable as its location. After an error, or if the future is dropped, [`Self::sweep`] removes what is left.
    pub async fn put<R>(&self, kind: ArtifactKind, source: R) -> Result<ArtifactName, ArtifactError>
    where
        R: AsyncRead + Unpin,
    {
        let name = ArtifactName::random();
        let sealing = Sealing::new(self.keys.current(), kind, name, source)?;
        let stored = match &self.location {
            Location::Folder(folder) => folder.put(name, sealing).await,
            Location::Bucket(bucket) => bucket.put(name, sealing).await,
        };
        // A source that cannot be read is no fault of the location.
        if !matches!(stored, Err(ArtifactError::Source(_))) {
            self.is_failing.store(stored.is_err(), Ordering::Relaxed);
        }
        stored.map(|()| name)
    }

    /// Whether the last attempt to store an artifact failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Stores a file's content.
    pub async fn put_file(&self, kind: ArtifactKind, path: &Path) -> Result<ArtifactName, ArtifactError> {
        self.put(kind, File::open(path).await.map_err(ArtifactError::Source)?).await
    }

    /// Stores these bytes.
    pub async fn put_bytes(&self, kind: ArtifactKind, bytes: &[u8]) -> Result<ArtifactName, ArtifactError> {
        self.put(kind, bytes).await
    }

    /// Opens an artifact for reading. Its head is read at once, so that a missing key is reported here.
    pub async fn reader(
        &self,
        name: &ArtifactName,
        kind: ArtifactKind,
    ) -> Result<ArtifactReader, ArtifactError> {
        let name = *name;
        let mut pieces = match &self.location {
            Location::Folder(folder) => folder.get(name).await?,
            Location::Bucket(bucket) => bucket.get(name).await?,
        };
        let mut head = Vec::new();
        while head.len() < HEAD_BYTES {
            let Some(piece) = pieces.try_next().await? else { break };
            head.extend_from_slice(&piece);
        }
        let (head, rest) = head.split_at(head.len().min(HEAD_BYTES));
        let mut opening = Opening::new(&self.keys, kind, name, head)?;
        opening.push(rest);
        Ok(ArtifactReader { name, pieces: Some(pieces), opening })
    }

    /// Reads an artifact into memory. Fails if its content has more than `max_bytes`.
    pub async fn read(
        &self,
        name: &ArtifactName,
        kind: ArtifactKind,
        max_bytes: usize,
    ) -> Result<Vec<u8>, ArtifactError> {
        let mut reader = self.reader(name, kind).await?;
        let mut content = Vec::new();
        while let Some(bytes) = reader.next().await? {
            if content.len() + bytes.len() > max_bytes {
                return Err(ArtifactError::TooLarge { name: *name, max_bytes });
            }
            content.extend_from_slice(&bytes);
        }
        Ok(content)
    }

    /// Deletes an artifact. An artifact that does not exist counts as deleted.
    pub async fn delete(&self, name: &ArtifactName) -> Result<(), ArtifactError> {
        match &self.location {
            Location::Folder(folder) => folder.delete(*name).await,
            Location::Bucket(bucket) => bucket.delete(*name).await,
        }
    }

    /// Deletes artifacts that were written longer ago than `older_than` and to which nothing refers, and unfinished
    /// files. A crash between writing an artifact and storing its name leaves such artifacts.
    ///
    /// `older_than` must exceed the time between writing an artifact and storing its name, plus the difference between
    /// the bucket's clock and this machine's.
    pub async fn sweep(
        &self,
        older_than: Duration,
        is_referred_to: impl Fn(&ArtifactName) -> bool,
    ) -> Result<Swept, ArtifactError> {
        // No artifact is older than 1970.
        let before = SystemTime::now().checked_sub(older_than).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut swept = Swept::default();
        let mut artifacts = match &self.location {
            Location::Folder(folder) => {
                swept.drafts = folder.sweep_drafts(before).await?;
                folder.list().await?
            }
            Location::Bucket(bucket) => bucket.list(),
        };
        while let Some((name, written)) = artifacts.try_next().await? {
            if written >= before || is_referred_to(&name) {
                continue;
            }
            match self.delete(&name).await {
                Ok(()) => swept.deleted += 1,
                Err(error) => {
                    swept.failed += 1;
                    tracing::warn!(%name, error = edgeprove_telemetry::chain(&error), "an artifact without a job could not be deleted");
                }
            }
        }
        Ok(swept)
    }

    /// Checks that the location accepts artifacts, by writing and deleting one. A bucket gets two requests.
    pub async fn probe(&self) -> Result<(), ArtifactError> {
        match &self.location {
            Location::Folder(folder) => folder.probe().await,
            Location::Bucket(bucket) => bucket.probe().await,
        }
    }

    /// The location, for people: a path or an `s3://` address.
    #[must_use]
    pub fn location(&self) -> String {
        self.location.to_string()
    }

    /// Whether the location is a bucket, which other servers can use too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.location, Location::Bucket(_))
    }

    /// The id of the key that encrypts new artifacts.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.keys.current().id()
    }
}

/// Reads an artifact, one chunk at a time.
///
/// Every returned chunk is authentic, but only the end proves that no chunk is missing. Until then do nothing with the
/// content that cannot be undone.
pub struct ArtifactReader {
    name: ArtifactName,
    /// `None` when all bytes were read.
    pieces: Option<BoxStream<'static, Result<Bytes, ArtifactError>>>,
    opening: Opening,
}

impl ArtifactReader {
    /// The next chunk, at most 64 KiB; `None` when the content is complete. The bytes are overwritten on drop.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ArtifactError> {
        loop {
            if let Some(chunk) = self.opening.next()? {
                return Ok(Some(chunk));
            }
            let Some(pieces) = &mut self.pieces else { return self.opening.last() };
            match pieces.next().await {
                Some(Ok(piece)) => self.opening.push(&piece),
                Some(Err(error)) => {
                    // The end of a stream that failed is not the end of the artifact.
                    self.pieces = None;
                    self.opening.stop();
                    return Err(error);
                }
                None => self.pieces = None,
            }
        }
    }
}

impl fmt::Debug for ArtifactReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactReader").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
