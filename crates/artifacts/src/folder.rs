//! Artifacts as files of one folder.
//!
//! A file is written under another name, flushed and then renamed: it exists complete or not at all, also after a power
//! cut. Only the server's user may read it. It is overwritten before it is removed: its content is encrypted, but
//! someone may find the key later.

use std::{
    fs::{self, DirBuilder, Metadata, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use edgeprove_files::{Draft, draft, regular_file, trusted_path, writable_folder};
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use rustix::process::geteuid;
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

use crate::{
    error::{ArtifactError, OpenError},
    name::ArtifactName,
    sealing::{HEAD_BYTES, SEALED_CHUNK_BYTES, Sealing},
};
use edgeprove_spool::zero_fill::overwrite;

/// Written and removed as a test.
const PROBE: [u8; 4096] = [0; 4096];

/// A folder of artifacts.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: Arc<PathBuf>,
}

impl Folder {
    /// Opens a folder: creates it if it does not exist, closes it to other users and checks that it can be written to.
    ///
    /// Fails if it is open to other users and contains anything but artifacts: it may then serve another purpose. Also fails
    /// if another user owns it or could exchange it.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |doing| move |error| ArtifactError::of_file(doing, path, error);
        trusted_path::check_parents(path)?;
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create"))?;
        if must_be_closed(path)? {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed("restrict"))?;
        }
        trusted_path::check_folder(path, &fs::metadata(path).map_err(failed("inspect"))?)?;
        let folder = Self { path: Arc::new(path.to_owned()) };
        probe(path)?;
        Ok(folder)
    }

    /// Fails where [`Self::open`] would fail, and changes nothing. `None` if the folder does not exist yet.
    pub(super) fn examine(path: &Path) -> Result<Option<Self>, OpenError> {
        trusted_path::check_parents(path)?;
        let exists = fs::symlink_metadata(path).is_ok();
        let checked = writable_folder::check(path);
        checked.map_err(|error| ArtifactError::of_file("write to", path, error))?;
        if !exists {
            return Ok(None);
        }
        // The server closes the folder itself where it can.
        if !must_be_closed(path)? {
            let found = fs::metadata(path).map_err(|error| ArtifactError::of_file("inspect", path, error))?;
            trusted_path::check_folder(path, &found)?;
        }
        Ok(Some(Self { path: Arc::new(path.to_owned()) }))
    }

    /// The folder's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The heads of artifacts, of this many at most. Blocking.
    pub(super) fn heads(&self, max: usize) -> Result<Vec<Vec<u8>>, ArtifactError> {
        let failed = |doing| move |error| ArtifactError::of_file(doing, &self.path, error);
        let mut heads = Vec::new();
        for entry in fs::read_dir(self.path.as_path()).map_err(failed("list"))? {
            let path = entry.map_err(failed("list"))?.path();
            // One that cannot be read is reported when its job needs it.
            let opened = regular_file::open_no_link(OpenOptions::new().read(true), &path);
            let Some(file) = artifact_name(&path).and(opened.ok()) else { continue };
            let mut head = Vec::new();
            if io::Read::read_to_end(&mut io::Read::take(file, HEAD_BYTES as u64), &mut head).is_ok() {
                heads.push(head);
            }
            if heads.len() == max {
                break;
            }
        }
        Ok(heads)
    }

    pub(super) async fn put<R>(
        &self,
        name: ArtifactName,
        mut sealing: Sealing<R>,
    ) -> Result<(), ArtifactError>
    where
        R: AsyncRead + Unpin,
    {
        let path = self.file(name);
        let failed = |error| ArtifactError::of_file("write", &path, error);
        let target = path.clone();
        let draft = blocking(move || Draft::create(&target, 0o600)).await.map_err(failed)?;
        let mut file = tokio::fs::File::from_std(draft.file().try_clone().map_err(failed)?);
        while let Some(bytes) = sealing.next().await? {
            file.write_all(&bytes).await.map_err(failed)?;
        }
        // Without it, the last write may still be in tokio's buffer.
        file.flush().await.map_err(failed)?;
        blocking(move || draft.rename_durably()).await.map_err(failed)
    }

    pub(super) async fn get(
        &self,
        name: ArtifactName,
    ) -> Result<BoxStream<'static, Result<Bytes, ArtifactError>>, ArtifactError> {
        let path = self.file(name);
        let opened = blocking({
            let path = path.clone();
            move || regular_file::open_no_link(OpenOptions::new().read(true), &path)
        });
        let file = opened.await.map(tokio::fs::File::from_std).map_err(|error| match error.kind() {
            // Without its folder the artifact may still exist: the disk may be unmounted.
            io::ErrorKind::NotFound if self.path.is_dir() => ArtifactError::Missing { name },
            _ => ArtifactError::of_file("open", &path, error),
        })?;
        let pieces = ReaderStream::with_capacity(file, SEALED_CHUNK_BYTES);
        Ok(pieces.map_err(move |error| ArtifactError::of_file("read", &path, error)).boxed())
    }

    /// Overwrites a file and removes it. A file that does not exist counts as removed.
    pub(super) async fn delete(&self, name: ArtifactName) -> Result<(), ArtifactError> {
        let path = self.file(name);
        let deleted = blocking({
            let path = path.clone();
            move || delete(&path)
        });
        deleted.await.map_err(|error| ArtifactError::of_file("delete", &path, error))
    }

    /// Every artifact with the time it was written.
    pub(super) async fn list(
        &self,
    ) -> Result<BoxStream<'static, Result<(ArtifactName, SystemTime), ArtifactError>>, ArtifactError> {
        let found =
            self.list_files(|path, found| Some((artifact_name(path)?, found.modified().ok()?))).await?;
        Ok(stream::iter(found.into_iter().map(Ok)).boxed())
    }

    /// Removes unfinished files that were last written before this time, and returns their number. Only a crash leaves
    /// such files: a write that fails or is dropped removes its own.
    pub(super) async fn sweep_drafts(&self, before: SystemTime) -> Result<usize, ArtifactError> {
        let is_old = move |found: &Metadata| found.modified().is_ok_and(|time| time < before);
        let drafts = self
            .list_files(move |path, found| (is_draft(path) && is_old(found)).then(|| path.to_owned()))
            .await?;
        let count = drafts.len();
        for draft in drafts {
            let removed = blocking({
                let draft = draft.clone();
                move || delete(&draft)
            });
            removed.await.map_err(|error| ArtifactError::of_file("delete", &draft, error))?;
        }
        Ok(count)
    }

    /// Checks that a file can be written.
    pub(super) async fn probe(&self) -> Result<(), ArtifactError> {
        let folder = Arc::clone(&self.path);
        let probed = tokio::task::spawn_blocking(move || probe(&folder)).await;
        probed.map_err(|error| ArtifactError::of_file("probe", &self.path, error.into()))?
    }

    fn file(&self, name: ArtifactName) -> PathBuf {
        self.path.join(name.to_string())
    }

    async fn list_files<T, F>(&self, wanted: F) -> Result<Vec<T>, ArtifactError>
    where
        T: Send + 'static,
        F: Fn(&Path, &Metadata) -> Option<T> + Send + 'static,
    {
        let folder = Arc::clone(&self.path);
        let found = blocking(move || {
            let mut found = Vec::new();
            for entry in fs::read_dir(folder.as_path())? {
                let entry = entry?;
                // A file that was removed meanwhile is skipped.
                let Ok(metadata) = entry.metadata() else { continue };
                found.extend(metadata.is_file().then(|| wanted(&entry.path(), &metadata)).flatten());
            }
            Ok(found)
        });
        found.await.map_err(|error| ArtifactError::of_file("list", &self.path, error))
    }
}

/// Whether the folder is open to other users and this user can close it. Fails if it has anything but artifacts.
fn must_be_closed(path: &Path) -> Result<bool, OpenError> {
    let failed = |doing| move |error| ArtifactError::of_file(doing, path, error);
    let found = fs::metadata(path).map_err(failed("inspect"))?;
    let is_ours_and_open = found.uid() == geteuid().as_raw() && found.mode() & 0o077 != 0;
    if !is_ours_and_open {
        return Ok(false);
    }
    for entry in fs::read_dir(path).map_err(failed("list"))? {
        let entry = entry.map_err(failed("list"))?;
        if !is_ours(&entry.path()) {
            return Err(OpenError::ContainsOtherFiles { path: path.to_owned(), example: entry.path() });
        }
    }
    Ok(true)
}

fn delete(path: &Path) -> io::Result<()> {
    let opened = regular_file::open_no_link(OpenOptions::new().write(true), path);
    let overwritten = match opened {
        Ok(file) => overwrite(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => overwritten,
        removed => removed.and(overwritten),
    }
}

fn probe(folder: &Path) -> Result<(), ArtifactError> {
    let path = folder.join("probe");
    // It never gets its name, so several servers may do this at once.
    let written = Draft::create(&path, 0o600).and_then(|mut draft| io::Write::write_all(&mut draft, &PROBE));
    written.map_err(|error| ArtifactError::of_file("write", &path, error))
}

fn artifact_name(path: &Path) -> Option<ArtifactName> {
    path.file_name()?.to_str()?.parse().ok()
}

fn is_draft(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == draft::EXTENSION)
}

fn is_ours(path: &Path) -> bool {
    artifact_name(path).is_some() || is_draft(path)
}

async fn blocking<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.into()))
}
