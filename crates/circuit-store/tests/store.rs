//! The store of circuits, in SQLite and with artifacts in a folder.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and a panic reports it")]

use std::{fs, sync::Arc};

use edgeprove_artifacts::{ArtifactSettings, ArtifactStore, KeySettings, LocationSettings};
use edgeprove_circuit_store::{
    Bounds, CircuitStore, CircuitStoreError, FamilyPlace, ListedCircuit, NewCircuit,
    package::{Content, InvalidPackage, PackedFile},
};
use edgeprove_job_queue::store::{Database, DatabaseLocation};
use edgeprove_protocol::Target;

/// A store of so many circuits and bytes.
async fn store(circuits_max: u32, bytes_max: u64) -> CircuitStore {
    let settings = ArtifactSettings { location: LocationSettings::Temporary, keys: KeySettings::Random };
    let artifacts = Arc::new(ArtifactStore::open(&settings).unwrap());
    let database = Database::open(&DatabaseLocation::Memory).await.unwrap();
    CircuitStore::new(database, artifacts, Bounds { circuits_max, bytes_max })
}

fn circuit(name: &str) -> NewCircuit {
    NewCircuit {
        id: name.parse().unwrap(),
        hash: "01".repeat(32),
        version: "02".repeat(32),
        target: Target::Groth16,
        description: format!("{{\"name\": \"{name}\"}}"),
        family: Some(FamilyPlace { family: "squares".to_owned(), size: 3 }),
    }
}

/// Files of these sizes, each with other bytes.
fn files(contents: &[(&'static str, usize)]) -> Vec<PackedFile<'static>> {
    let file = |(at, (name, bytes)): (usize, &(&'static str, usize))| PackedFile {
        name,
        content: vec![u8::try_from(at + 1).unwrap(); *bytes].into(),
    };
    contents.iter().enumerate().map(file).collect()
}

#[tokio::test]
async fn files_on_the_disk_are_stored_like_bytes() {
    let store = store(10, 64 << 20).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source");
    let expected: Vec<u8> = (0..700_001_u32).map(|at| at.to_le_bytes()[1]).collect();
    fs::write(&path, &expected).unwrap();
    let content = Content::File { path: path.clone(), bytes: expected.len() as u64 };
    let packed = [
        PackedFile { name: "circuit.zkey", content },
        PackedFile { name: "after", content: vec![7; 3].into() },
    ];
    let stored = store.publish(circuit("a"), &packed).await.unwrap();
    let unpacked = tempfile::tempdir().unwrap();
    store.files(&stored).await.unwrap().unpack_into(unpacked.path()).await.unwrap();
    assert_eq!(fs::read(unpacked.path().join("circuit.zkey")).unwrap(), expected);
    assert_eq!(fs::read(unpacked.path().join("after")).unwrap(), [7; 3]);

    // Nothing is published of a file that was changed.
    fs::write(&path, b"shorter").unwrap();
    store.publish(circuit("b"), &packed).await.unwrap_err();
    assert_eq!(store.find(&circuit("b").id).await.unwrap(), None);
}

#[tokio::test]
async fn files_of_every_size_come_back_unchanged() {
    let store = store(10, 64 << 20).await;
    let files =
        files(&[("empty", 0), ("one", 1), ("block", 512), ("more.wasm", 513), ("large.zkey", 3_000_000)]);
    let stored = store.publish(circuit("a"), &files).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    store.files(&stored).await.unwrap().unpack_into(folder.path()).await.unwrap();
    for file in &files {
        let Content::Bytes(expected) = &file.content else { panic!("a file on the disk") };
        assert_eq!(fs::read(folder.path().join(file.name)).unwrap(), *expected, "{}", file.name);
        let (mut found, bytes) = store.files(&stored).await.unwrap().find(file.name).await.unwrap();
        assert_eq!(bytes, file.content.len());
        let mut content = Vec::new();
        while let Some(piece) = found.next_piece().await.unwrap() {
            content.extend_from_slice(&piece);
        }
        assert_eq!(content, *expected);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), files.len());
    let missing = store.files(&stored).await.unwrap().find("other").await;
    assert!(matches!(missing.err(), Some(CircuitStoreError::Package(InvalidPackage::NoSuchFile))));
}

#[tokio::test]
async fn a_published_circuit_never_changes() {
    let store = store(10, 64 << 20).await;
    let first = store.publish(circuit("a"), &files(&[("circuit.json", 10)])).await.unwrap();
    let other = || NewCircuit { version: "03".repeat(32), ..circuit("a") };
    assert_eq!(store.publish(other(), &files(&[("circuit.json", 20)])).await.unwrap(), first);
    assert_eq!(store.find(&circuit("a").id).await.unwrap(), Some(first));

    // A removed one can be published again, as another.
    assert!(store.remove(&circuit("a").id).await.unwrap());
    assert!(!store.remove(&circuit("a").id).await.unwrap());
    assert_eq!(store.find(&circuit("a").id).await.unwrap(), None);
    store.publish(other(), &files(&[("circuit.json", 20)])).await.unwrap();
    let family = circuit("a").family;
    let listed = ListedCircuit { id: circuit("a").id, version: "03".repeat(32), family };
    assert_eq!(store.all().await.unwrap(), [listed]);
}

#[tokio::test]
async fn no_more_is_stored_than_the_bounds_allow() {
    let few = store(2, 64 << 20).await;
    for name in ["a", "b"] {
        few.publish(circuit(name), &files(&[("circuit.json", 10)])).await.unwrap();
    }
    let third = few.publish(circuit("c"), &files(&[("circuit.json", 10)])).await;
    assert!(matches!(third, Err(CircuitStoreError::Full { .. })), "{third:?}");
    // One that is there is no further one.
    few.publish(circuit("a"), &files(&[("circuit.json", 10)])).await.unwrap();

    let small = store(10, 10_000).await;
    let large = small.publish(circuit("a"), &files(&[("circuit.json", 20_000)])).await;
    assert!(matches!(large, Err(CircuitStoreError::Full { .. })), "{large:?}");
    small.publish(circuit("b"), &files(&[("circuit.json", 1_000)])).await.unwrap();
    let totals = small.totals().await.unwrap();
    // A header, two blocks of the file, and two at the end.
    assert_eq!((totals.circuits, totals.bytes), (1, 5 * 512));
}

#[tokio::test]
async fn pages_are_by_id_and_have_every_circuit_once() {
    let store = store(100, 64 << 20).await;
    for number in [3, 1, 4, 0, 2] {
        store.publish(circuit(&format!("c{number}")), &files(&[("circuit.json", 1)])).await.unwrap();
    }
    let mut listed = Vec::new();
    loop {
        let page = store.list(listed.last(), 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        listed.extend(page.into_iter().map(|stored| stored.circuit.id));
    }
    let names: Vec<_> = listed.iter().map(edgeprove_protocol::CircuitId::as_str).collect();
    assert_eq!(names, ["c0", "c1", "c2", "c3", "c4"]);
}

#[tokio::test]
async fn names_that_leave_a_folder_are_refused() {
    let store = store(10, 64 << 20).await;
    for name in ["", "..", ".hidden", "a/b", "/etc/passwd", "a\\b", "a b", "ä"] {
        let published = store.publish(circuit("a"), &files(&[(name, 1)])).await;
        assert!(matches!(published, Err(CircuitStoreError::Package(InvalidPackage::Name))), "{name:?}");
    }
    let many: Vec<_> = (0..17).map(|_| ("circuit.json", 1)).collect();
    let published = store.publish(circuit("a"), &files(&many)).await;
    assert!(matches!(published, Err(CircuitStoreError::Package(InvalidPackage::TooManyFiles))));
    assert_eq!(store.totals().await.unwrap().circuits, 0);
}
