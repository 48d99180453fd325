//! Tests of the store, on real file systems and a real S3 server.

#[cfg(target_os = "linux")]
mod bucket;
#[cfg(target_os = "linux")]
mod faults;
mod folder;
#[cfg(target_os = "linux")]
mod memory;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::*;

const MIB: usize = 1 << 20;

fn keys() -> KeyRing {
    KeyRing::new(ArtifactKey::random().unwrap())
}

fn folder_settings(path: &Path, keys: KeyRing) -> ArtifactSettings {
    ArtifactSettings { location: LocationSettings::Folder(path.to_owned()), keys: KeySettings::Given(keys) }
}

fn store_in(path: &Path) -> ArtifactStore {
    ArtifactStore::open(&folder_settings(path, keys())).unwrap()
}

/// Content that gzip cannot compress, without repeated parts.
fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    let mut content = Vec::with_capacity(len + 4);
    while content.len() < len {
        content.extend(next());
    }
    content.truncate(len);
    content
}

/// A source that yields some bytes and then fails.
fn failing_after(bytes: Vec<u8>) -> impl AsyncRead + Unpin {
    let pieces = [Ok(Bytes::from(bytes)), Err(io::Error::other("the upload broke off"))];
    tokio_util::io::StreamReader::new(futures_util::stream::iter(pieces))
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Every file in a folder and its subfolders.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Whether a text occurs in any file or file name in a folder, plain, in hex or in base64.
fn is_found(dir: &Path, canary: &str) -> bool {
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, canary);
    let forms = [canary.to_owned(), hex::encode(canary), encoded.trim_end_matches('=').to_owned()];
    files(dir).iter().any(|file| {
        let content = fs::read(file).unwrap();
        forms.iter().any(|form| {
            content.windows(form.len()).any(|window| window == form.as_bytes())
                || file.display().to_string().contains(form)
        })
    })
}
