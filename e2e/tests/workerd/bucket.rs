//! What the edge's bucket holds, as the local R2 keeps it: a database of the objects, and a file for the content of each. The file of an
//! object that was not stored to its end may stay on the disk, so only the database counts.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use edgeprove_artifacts::{
    ArtifactKind, ArtifactSettings, ArtifactStore, KeyRing, KeySettings, LocationSettings,
};
use edgeprove_e2e::Edge;
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};

/// The key of the objects.
pub(crate) const ARTIFACT_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The objects: the name of each, and the file of its content.
pub(crate) fn objects(edge: &Edge) -> Vec<(String, PathBuf)> {
    let all = files(&edge.state().join("v3/r2"));
    let databases = all.iter().filter(|file| file.extension().is_some_and(|extension| extension == "sqlite"));
    let named = databases.flat_map(|database| names_in(database));
    let of_blob = |blob: String| all.iter().find(|file| file.ends_with(Path::new("blobs").join(&blob)));
    // An object that was deleted since the database was read has no file.
    named.filter_map(|(name, blob)| Some((name, of_blob(blob)?.clone()))).collect()
}

/// The names of the objects in a database of the local R2, and those of their files.
fn names_in(database: &Path) -> Vec<(String, String)> {
    runtime().block_on(async {
        let options = SqliteConnectOptions::new().filename(database).read_only(true);
        let mut connection = options.busy_timeout(Duration::from_mins(1)).connect().await.unwrap();
        let names = sqlx::query_as("SELECT key, blob_id FROM _mf_objects WHERE blob_id IS NOT NULL");
        match names.fetch_all(&mut connection).await {
            Ok(names) => names,
            // The table is made with the first object.
            Err(sqlx::Error::Database(error)) if error.message().contains("no such table") => Vec::new(),
            Err(error) => panic!("{}: {error}", database.display()),
        }
    })
}

/// The contents of the objects that a server with the key reads as witnesses.
pub(crate) fn witnesses(edge: &Edge) -> Vec<Vec<u8>> {
    objects(edge).iter().filter_map(|(name, blob)| open(blob, name.strip_prefix("jobs/witness/")?)).collect()
}

/// Reads an object with the server's own code.
fn open(blob: &Path, name: &str) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("artifacts");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(blob, folder.join(name)).ok()?;
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    let store = ArtifactStore::open(&ArtifactSettings {
        location: LocationSettings::Folder(folder),
        keys: KeySettings::Given(KeyRing::read(ARTIFACT_KEY).unwrap()),
    })
    .unwrap();
    runtime().block_on(store.read(&name.parse().ok()?, ArtifactKind::Witness, 64 << 20)).ok()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
