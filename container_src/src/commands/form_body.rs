//! The parts of an upload as one body of `multipart/form-data` (RFC 7578), which streams files from the disk.

use std::{
    fs, io,
    path::{Path, PathBuf},
    pin::Pin,
};

use bytes::Bytes;
use edgeprove_files::regular_file;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::{fs::File, io::AsyncReadExt as _};
use tokio_util::io::ReaderStream;

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// A file that is to be uploaded cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read", path.display())]
pub(super) struct UnreadablePart {
    path: PathBuf,
    #[source]
    source: io::Error,
}

enum Piece {
    Bytes(Bytes),
    File { file: fs::File, bytes: u64 },
}

/// The body.
pub(super) struct FormBody {
    boundary: String,
    pieces: Vec<Piece>,
}

impl FormBody {
    /// Without parts.
    pub(super) fn new() -> Self {
        // Nobody can guess it, so that no file contains it.
        Self { boundary: format!("edgeprove-{}", uuid::Uuid::new_v4().simple()), pieces: Vec::new() }
    }

    /// Adds a part with a text.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.head(name, "");
        self.add(format!("{text}\r\n"));
    }

    /// Adds a part with the content of a file. The server gets neither its name nor its folder.
    pub(super) fn file(&mut self, name: &str, path: &Path) -> Result<(), UnreadablePart> {
        let unreadable = |source| UnreadablePart { path: path.to_owned(), source };
        let file = regular_file::open(path).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        self.head(name, "; filename=\"file\"");
        self.pieces.push(Piece::File { file, bytes });
        self.add("\r\n".to_owned());
        Ok(())
    }

    fn head(&mut self, name: &str, more: &str) {
        let boundary = &self.boundary;
        self.add(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n"));
    }

    fn add(&mut self, text: String) {
        self.pieces.push(Piece::Bytes(text.into()));
    }

    fn end(&self) -> String {
        format!("--{}--\r\n", self.boundary)
    }

    /// The value of `Content-Type`.
    pub(super) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// The length of the body.
    pub(super) fn bytes(&self) -> u64 {
        let piece = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File { bytes, .. } => *bytes,
        };
        self.pieces.iter().map(piece).sum::<u64>() + self.end().len() as u64
    }

    /// The bytes.
    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let end = Piece::Bytes(self.end().into());
        stream::iter(self.pieces.into_iter().chain([end])).flat_map(content)
    }
}

fn content(piece: Piece) -> Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> {
    match piece {
        Piece::Bytes(bytes) => Box::pin(stream::iter([Ok(bytes)])),
        Piece::File { file, bytes } => {
            let file = File::from_std(file).take(bytes);
            Box::pin(ReaderStream::with_capacity(file, READ_BYTES))
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;
    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    #[tokio::test]
    async fn a_form_has_the_length_that_it_announces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, "content").unwrap();
        let mut form = FormBody::new();
        form.text("name", "a");
        form.file("program", &path).unwrap();
        assert!(form.file("input", folder.path()).is_err(), "a folder");
        assert!(form.file("input", &folder.path().join("none")).is_err());
        // To open a named pipe would wait for its writer.
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(form.file("input", &pipe).is_err(), "a named pipe");
        let (boundary, bytes) = (form.boundary.clone(), form.bytes());
        assert_eq!(form.content_type(), format!("multipart/form-data; boundary={boundary}"));
        let sent: Vec<Bytes> = form.into_stream().try_collect().await.unwrap();
        let sent = String::from_utf8(sent.concat()).unwrap();
        assert_eq!(sent.len() as u64, bytes);
        assert_eq!(
            sent,
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\na\r\n--{boundary}\r\n\
                 Content-Disposition: form-data; name=\"program\"; filename=\"file\"\r\n\r\ncontent\r\n--{boundary}--\r\n"
            )
        );
    }
}
