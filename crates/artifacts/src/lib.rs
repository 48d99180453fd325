//! Witnesses and proofs that outlive a request: kept in a folder or a bucket, encrypted, under random names.
//!
//! A job names its artefacts and holds nothing of them. Whoever has the folder or the bucket has nothing without the
//! keys, and whoever changes something there is found out when it is read.
//!
//! Reading order:
//! - [`ArtifactStore`]: all that can be done. Start here.
//! - `sealing`: what an artefact looks like at rest, and why nobody can tamper with it.
//! - `keys`, `key_file`: what it is encrypted under.
//! - `folder`, `bucket`: the two places.
//! - `settings`: where and under which keys; `error`: what can go wrong.

mod bucket;
mod error;
mod folder;
mod key_file;
mod keys;
mod name;
mod sealing;
mod settings;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use edgeprove_telemetry::keyed_hash::{Mac as _, hmac_sha256, update_part};
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use tempfile::TempDir;
use tokio::{fs::File, io::AsyncRead};

pub use error::ArtifactError;
pub use keys::{ArtifactKey, KEY_BYTES, KeyId, KeyRing};
pub use name::{ArtifactKind, ArtifactName, InvalidArtifactName};
pub use settings::{
    ArtifactSettings, BucketOptions, BucketSettings, KeySettings, PlaceSettings, RetryPolicy,
};

use bucket::Bucket;
use folder::Folder;
use sealing::{HEAD_BYTES, Opening, Sealing};

/// Sets fingerprints apart from whatever else a key is used for.
const FINGERPRINT_INFO: &[u8] = b"edgeprove artifact fingerprint";

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be used.
    #[error("the artefacts' folder cannot be used")]
    Folder(#[from] ArtifactError),
    /// The folder serves another purpose, which closing it to others could harm.
    #[error(
        "{} is open to others and holds other files, such as {}: give the artefacts a folder of their own",
        path.display(),
        example.display()
    )]
    HoldsOtherFiles {
        /// The folder.
        path: PathBuf,
        /// One thing in it that is no artefact.
        example: PathBuf,
    },
    /// There is no place or key even for what need not last.
    #[error("no temporary folder or key can be made for artefacts")]
    Scratch(#[source] io::Error),
    /// The file of the data folder's key cannot be read or made.
    #[error("the artefacts' key cannot be had from {}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds something else. It is not made anew, since what was encrypted before could then never be read again.
    #[error("{} holds no key of 32 bytes, hex or base64: bring it back from where it was kept", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The bucket's settings make no sense.
    #[error("the artefacts' bucket cannot be used so")]
    Bucket(#[source] object_store::Error),
}

/// A store of artefacts. Clones share it.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    place: Place,
    keys: KeyRing,
    /// Goes with the last clone.
    _scratch: Option<Arc<TempDir>>,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(Folder),
    Bucket(Bucket),
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Artefacts that were deleted.
    pub deleted: usize,
    /// Unfinished writes that were deleted.
    pub drafts: usize,
    /// Artefacts that could not be deleted; the next sweep tries again.
    pub failed: usize,
}

impl ArtifactStore {
    /// Opens a store. A folder is made and written to; a bucket is not asked for anything yet. Blocking.
    pub fn open(settings: &ArtifactSettings) -> Result<Self, OpenError> {
        let mut scratch = None;
        // The folder first: the key's file lies beside it.
        let place = match &settings.place {
            PlaceSettings::Folder(path) => Place::Folder(Folder::open(path)?),
            PlaceSettings::Bucket(settings) => Place::Bucket(Bucket::open(settings)?),
            PlaceSettings::Scratch => {
                let dir = tempfile::Builder::new()
                    .prefix("edgeprove-jobs-")
                    .tempdir()
                    .map_err(OpenError::Scratch)?;
                let folder = Folder::open(&dir.path().join("artifacts"))?;
                scratch = Some(Arc::new(dir));
                Place::Folder(folder)
            }
        };
        let keys = match &settings.keys {
            KeySettings::Given(keys) => keys.clone(),
            KeySettings::GivenOr(keys, file) => {
                let mut keys = keys.clone();
                if let Some(own) = key_file::read(file)? {
                    keys.add_former(own);
                }
                keys
            }
            KeySettings::Own(file) => KeyRing::new(key_file::read_or_make(file)?),
            KeySettings::New => {
                KeyRing::new(ArtifactKey::random().map_err(|error| OpenError::Scratch(error.into()))?)
            }
        };
        Ok(Self { place, keys, _scratch: scratch })
    }

    /// A digest of these parts in this order that only who has the store's keys can make. It stays the same when a new key
    /// is put before the old one.
    #[must_use]
    pub fn fingerprint(&self, parts: &[&[u8]]) -> [u8; 32] {
        let key = self.keys.oldest().derive(&[], FINGERPRINT_INFO);
        let mut mac = hmac_sha256(&key);
        for part in parts {
            update_part(&mut mac, part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Keeps what a source yields to its end, in constant memory, and returns its name. When this returns, it is as
    /// durable as the place is. On any error, and if the future is dropped, nothing of that name is there, or it is an
    /// orphan for [`Self::sweep`].
    pub async fn put<R>(&self, kind: ArtifactKind, source: R) -> Result<ArtifactName, ArtifactError>
    where
        R: AsyncRead + Unpin,
    {
        let name = ArtifactName::random();
        let sealing = Sealing::new(self.keys.current(), kind, name, source)?;
        match &self.place {
            Place::Folder(folder) => folder.put(name, sealing).await?,
            Place::Bucket(bucket) => bucket.put(name, sealing).await?,
        }
        Ok(name)
    }

    /// Keeps a file's content.
    pub async fn put_file(&self, kind: ArtifactKind, path: &Path) -> Result<ArtifactName, ArtifactError> {
        self.put(kind, File::open(path).await.map_err(ArtifactError::Source)?).await
    }

    /// Keeps some bytes.
    pub async fn put_bytes(&self, kind: ArtifactKind, bytes: &[u8]) -> Result<ArtifactName, ArtifactError> {
        self.put(kind, bytes).await
    }

    /// Begins to read an artefact. Its head is read, so that a key which is missing is known at once.
    pub async fn reader(
        &self,
        name: &ArtifactName,
        kind: ArtifactKind,
    ) -> Result<ArtifactReader, ArtifactError> {
        let name = *name;
        let mut pieces = match &self.place {
            Place::Folder(folder) => folder.get(name).await?,
            Place::Bucket(bucket) => bucket.get(name).await?,
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

    /// Reads a small artefact whole, if it has no more than so many bytes.
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

    /// Deletes an artefact. One that is not there is as good as deleted.
    pub async fn delete(&self, name: &ArtifactName) -> Result<(), ArtifactError> {
        match &self.place {
            Place::Folder(folder) => folder.delete(*name).await,
            Place::Bucket(bucket) => bucket.delete(*name).await,
        }
    }

    /// Deletes what nobody refers to and was not written a moment ago, in which somebody may be about to. A crash
    /// between the two leaves such.
    ///
    /// `older_than` must exceed the time between writing an artefact and referring to it, and the difference of the
    /// clocks of a bucket and of this machine.
    pub async fn sweep(
        &self,
        older_than: Duration,
        is_referred_to: impl Fn(&ArtifactName) -> bool,
    ) -> Result<Swept, ArtifactError> {
        // Before 1970 nothing was written.
        let before = SystemTime::now().checked_sub(older_than).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut swept = Swept::default();
        let mut artifacts = match &self.place {
            Place::Folder(folder) => {
                swept.drafts = folder.sweep_drafts(before).await?;
                folder.list().await?
            }
            Place::Bucket(bucket) => bucket.list(),
        };
        while let Some((name, written)) = artifacts.try_next().await? {
            if written >= before || is_referred_to(&name) {
                continue;
            }
            match self.delete(&name).await {
                Ok(()) => swept.deleted += 1,
                Err(error) => {
                    swept.failed += 1;
                    tracing::warn!(%name, error = edgeprove_telemetry::chain(&error), "an orphan among the artefacts stays");
                }
            }
        }
        Ok(swept)
    }

    /// Whether the place takes artefacts at the moment, found out by writing and deleting something. Costs two requests
    /// where it is a bucket.
    pub async fn probe(&self) -> Result<(), ArtifactError> {
        match &self.place {
            Place::Folder(folder) => folder.probe().await,
            Place::Bucket(bucket) => bucket.probe().await,
        }
    }

    /// The place, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.place {
            Place::Folder(folder) => folder.path().display().to_string(),
            Place::Bucket(bucket) => bucket.url(),
        }
    }

    /// Whether other servers can have the same artefacts.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.place, Place::Bucket(_))
    }

    /// The name of the key that new artefacts are encrypted under.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.keys.current().id()
    }
}

/// An artefact being read, a chunk at a time.
///
/// Every chunk is authentic when it is given out, but only with the end it is known that none is missing: until then
/// nothing may be done with it that could not be undone.
pub struct ArtifactReader {
    name: ArtifactName,
    /// `None` once all have come.
    pieces: Option<BoxStream<'static, Result<Bytes, ArtifactError>>>,
    opening: Opening,
}

impl ArtifactReader {
    /// The next chunk, at most 64 KiB; `None` once all is there and whole. The bytes are overwritten when they are
    /// dropped.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ArtifactError> {
        loop {
            if let Some(chunk) = self.opening.next()? {
                return Ok(Some(chunk));
            }
            let Some(pieces) = &mut self.pieces else { return self.opening.last() };
            match pieces.next().await {
                Some(Ok(piece)) => self.opening.push(&piece),
                Some(Err(error)) => {
                    // The end of a stream that failed is not the artefact's.
                    self.pieces = None;
                    self.opening.give_up();
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
