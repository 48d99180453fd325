//! The files of a circuit as one tar file.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
};

use bytes::Bytes;
use edgeprove_artifacts::ArtifactReader;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use tokio::{
    fs::{self, File},
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
};
use tokio_util::io::{ReaderStream, StreamReader};

use crate::CircuitStoreError;

/// The size of a block of a tar file, in bytes.
const BLOCK: usize = 512;
/// The most files of a circuit.
const FILES_MAX: usize = 16;
/// The longest name of a file.
const NAME_MAX: usize = 64;

/// One file that is packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedFile<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its content.
    pub content: Content,
}

/// The content of a file that is packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// The bytes of a file on the disk, which nobody changes meanwhile.
    File {
        /// The file.
        path: PathBuf,
        /// Its size, in bytes.
        bytes: u64,
    },
}

impl Content {
    /// The size, in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<B: Into<Bytes>> From<B> for Content {
    fn from(bytes: B) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// The files cannot be packed, or a package is none.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPackage {
    /// A file has a name that is not allowed.
    #[error("a file of a circuit has a name that is not allowed")]
    Name,
    /// There are too many files.
    #[error("a circuit has more than {FILES_MAX} files")]
    TooManyFiles,
    /// It ends early, or has other bytes than a package.
    #[error("the package of a circuit is damaged")]
    Damaged,
    /// There is no such file in it.
    #[error("the circuit has no such file")]
    NoSuchFile,
    /// A file could not be written.
    #[error("a file of a circuit could not be written")]
    Destination(#[source] io::Error),
}

/// Whether a file may have this name: letters, digits, `.`, `_` and `-`, and no dot at the beginning.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_allowed) && !name.starts_with('.')
}

/// The size of a package with these files, in bytes.
#[must_use]
pub fn bytes(files: &[PackedFile<'_>]) -> u64 {
    let block = BLOCK as u64;
    let file = |file: &PackedFile<'_>| block + file.content.len().next_multiple_of(block);
    files.iter().map(file).sum::<u64>() + 2 * block
}

/// Bytes that are read from a file at once.
const READ_BYTES: usize = 256 * 1024;

type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The pieces of a content. A file that has become shorter or longer is an error.
fn pieces(content: &Content) -> Pieces {
    match content {
        Content::Bytes(bytes) => Box::pin(stream::iter([Ok(bytes.clone())])),
        Content::File { path, bytes } => {
            let (path, bytes) = (path.clone(), *bytes);
            let open = async move {
                let file = File::open(path).await?;
                if file.metadata().await?.len() != bytes {
                    return Err(io::Error::other("the file has another size than before"));
                }
                Ok(ReaderStream::with_capacity(file.take(bytes), READ_BYTES))
            };
            Box::pin(stream::once(open).try_flatten())
        }
    }
}

/// Reads files as one tar file, without a copy of their content.
pub fn reader(files: &[PackedFile<'_>]) -> Result<impl AsyncRead + Unpin + use<>, InvalidPackage> {
    if files.len() > FILES_MAX {
        return Err(InvalidPackage::TooManyFiles);
    }
    let zeros = Bytes::from_static(&[0; 2 * BLOCK]);
    let mut parts: Vec<Pieces> = Vec::new();
    for PackedFile { name, content } in files {
        if !is_name(name) {
            return Err(InvalidPackage::Name);
        }
        let mut header = tar::Header::new_ustar();
        header.set_path(name).map_err(|_| InvalidPackage::Name)?;
        header.set_size(content.len());
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_cksum();
        let padding = content.len().next_multiple_of(BLOCK as u64) - content.len();
        // Less than a block.
        let padding = usize::try_from(padding).unwrap_or_default();
        parts.push(pieces(&Bytes::copy_from_slice(header.as_bytes()).into()));
        parts.push(pieces(content));
        parts.push(pieces(&zeros.slice(..padding).into()));
    }
    parts.push(pieces(&zeros.into()));
    let is_piece = |piece: &Bytes| future::ready(!piece.is_empty());
    Ok(StreamReader::new(Box::pin(stream::iter(parts).flatten().try_filter(is_piece))))
}

/// The files of a stored circuit, read one after the other.
pub struct Files {
    reader: ArtifactReader,
    /// Bytes that were read and belong to nothing yet.
    ahead: Bytes,
    /// Bytes that are still to come, if the package has its size.
    left: u64,
    /// The rest of the present file, and the padding after it.
    in_file: (u64, u64),
}

impl Files {
    pub(crate) fn new(reader: ArtifactReader, bytes: u64) -> Self {
        Self { reader, ahead: Bytes::new(), left: bytes, in_file: (0, 0) }
    }

    /// Unpacks all files into a folder, and reads the package to its end, which proves that it is complete.
    pub async fn unpack_into(mut self, folder: &Path) -> Result<(), CircuitStoreError> {
        while let Some(name) = self.next_file().await? {
            let failed = InvalidPackage::Destination;
            let mut file = File::create_new(folder.join(&name)).await.map_err(failed)?;
            while let Some(piece) = self.next_piece().await? {
                file.write_all(&piece).await.map_err(failed)?;
            }
            file.flush().await.map_err(failed)?;
        }
        Ok(())
    }

    /// Finds a file and returns it, with its size. [`Self::next_piece`] returns its content.
    pub async fn find(mut self, name: &str) -> Result<(Self, u64), CircuitStoreError> {
        while let Some(found) = self.next_file().await? {
            if found == name {
                let size = self.in_file.0;
                return Ok((self, size));
            }
        }
        Err(InvalidPackage::NoSuchFile.into())
    }

    /// The next bytes of the present file; `None` at its end.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>, CircuitStoreError> {
        if self.in_file.0 == 0 {
            return Ok(None);
        }
        let piece = self.take(self.in_file.0).await?;
        self.in_file.0 -= piece.len() as u64;
        Ok(Some(piece))
    }

    /// Goes to the next file, and returns its name; `None` at the end of the package.
    async fn next_file(&mut self) -> Result<Option<String>, CircuitStoreError> {
        while self.in_file.0 > 0 {
            self.next_piece().await?;
        }
        while self.in_file.1 > 0 {
            let padding = self.take(self.in_file.1).await?;
            self.in_file.1 -= padding.len() as u64;
        }
        let mut block = Vec::with_capacity(BLOCK);
        while block.len() < BLOCK {
            let piece = self.take((BLOCK - block.len()) as u64).await?;
            block.extend_from_slice(&piece);
        }
        if block.iter().all(|byte| *byte == 0) {
            return self.end().await.map(|()| None);
        }
        let header = tar::Header::from_byte_slice(&block);
        let size = header.entry_size().ok().filter(|_| header.entry_type().is_file());
        let name = header.path().ok().and_then(|path| path.to_str().map(str::to_owned));
        let (Some(size), Some(name)) = (size, name.filter(|name| is_name(name))) else {
            return Err(InvalidPackage::Damaged.into());
        };
        self.in_file = (size, size.next_multiple_of(BLOCK as u64) - size);
        Ok(Some(name))
    }

    /// Reads the rest. The store itself reports a package that is cut.
    async fn end(&mut self) -> Result<(), CircuitStoreError> {
        while self.left > 0 {
            self.take(self.left).await?;
        }
        match self.reader.next().await? {
            None => Ok(()),
            Some(_) => Err(InvalidPackage::Damaged.into()),
        }
    }

    /// Takes between one byte and `max` bytes.
    async fn take(&mut self, max: u64) -> Result<Bytes, CircuitStoreError> {
        while self.ahead.is_empty() {
            self.ahead = self.reader.next().await?.ok_or(InvalidPackage::Damaged)?;
        }
        let length = self.ahead.len().min(usize::try_from(max).unwrap_or(usize::MAX));
        let taken = self.ahead.split_to(length);
        self.left = self.left.checked_sub(length as u64).ok_or(InvalidPackage::Damaged)?;
        Ok(taken)
    }
}

/// Writes files into a folder as [`Files::unpack_into`] does.
pub async fn write_into(files: &[PackedFile<'_>], folder: &Path) -> Result<(), InvalidPackage> {
    for PackedFile { name, content } in files {
        if !is_name(name) {
            return Err(InvalidPackage::Name);
        }
        let path = folder.join(name);
        match content {
            Content::Bytes(bytes) => fs::write(path, bytes).await,
            Content::File { path: source, .. } => fs::copy(source, path).await.map(drop),
        }
        .map_err(InvalidPackage::Destination)?;
    }
    Ok(())
}
