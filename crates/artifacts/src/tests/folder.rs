use std::{
    fs::{File, FileTimes},
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::PathBuf,
};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn age(path: &Path, by: Duration) {
    let then = SystemTime::now() - by;
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
}

#[tokio::test]
async fn content_is_read_back_and_closed_to_other_users() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data").join("artifacts");
    let store = store_in(&dir);
    assert_eq!(mode(&dir), 0o700);
    assert!(names(&dir).is_empty(), "opening leaves nothing behind");
    let canary = "canary-4a1f-of-a-private-value";
    let witness = [content(300_000), canary.repeat(100).into_bytes()].concat();
    let name = store.put(ArtifactKind::Witness, witness.as_slice()).await.unwrap();
    let proof = store.put_bytes(ArtifactKind::Proof, canary.as_bytes()).await.unwrap();
    let file = home.path().join("witness.gz");
    fs::write(&file, &witness).unwrap();
    let from_file = store.put_file(ArtifactKind::Witness, &file).await.unwrap();
    fs::remove_file(&file).unwrap();

    let all = [name, proof, from_file].map(|name| name.to_string());
    assert_eq!(names(&dir), all.clone().into());
    assert!(all.iter().all(|name| mode(&dir.join(name)) == 0o600));
    assert!(!is_found(home.path(), canary) && !is_found(home.path(), &canary[..12]));
    for name in [name, from_file] {
        let read = store.read(&name, ArtifactKind::Witness, witness.len()).await.unwrap();
        assert!(read == witness);
    }
    assert_eq!(store.read(&proof, ArtifactKind::Proof, 1000).await.unwrap(), canary.as_bytes());
    let too_large = store.read(&name, ArtifactKind::Witness, witness.len() - 1).await.unwrap_err();
    assert!(matches!(too_large, ArtifactError::TooLarge { .. }), "{too_large:?}");
    store.probe().await.unwrap();
    assert_eq!(names(&dir), all.into());
    assert_eq!((store.location(), store.is_shared()), (dir.display().to_string(), false));
}

#[tokio::test]
async fn a_deleted_artifact_is_overwritten_before() {
    let home = tempfile::tempdir().unwrap();
    let store = store_in(home.path());
    let name = store.put_bytes(ArtifactKind::Witness, &content(200_000)).await.unwrap();
    // An open descriptor outlives the name and still reads the content.
    let mut watched = File::open(home.path().join(name.to_string())).unwrap();
    store.delete(&name).await.unwrap();
    let mut left = Vec::new();
    watched.read_to_end(&mut left).unwrap();
    assert!(left.len() > 200_000 && left.iter().all(|&byte| byte == 0));
    assert!(names(home.path()).is_empty());

    store.delete(&name).await.unwrap();
    let error = store.read(&name, ArtifactKind::Witness, MIB).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Missing { .. }) && !error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_symbolic_link_is_not_followed() {
    let home = tempfile::tempdir().unwrap();
    let store = store_in(&home.path().join("artifacts"));
    let name = store.put_bytes(ArtifactKind::Proof, b"a proof").await.unwrap();
    let (path, elsewhere) = (home.path().join("artifacts").join(name.to_string()), home.path().join("mine"));
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(store.read(&name, ArtifactKind::Proof, MIB).await.is_err());
    let before = fs::read(&elsewhere).unwrap();
    // The error reports that nothing was overwritten; the link is removed all the same.
    assert!(store.delete(&name).await.is_err());
    assert!(fs::read(&elsewhere).unwrap() == before && !path.is_symlink());
}

#[tokio::test]
async fn an_interrupted_write_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let store = store_in(home.path());
    let error = store.put(ArtifactKind::Witness, failing_after(content(300_000))).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Source(_)), "{error:?}");
    assert!(names(home.path()).is_empty());

    // A source that never ends, dropped in the middle.
    let (mut feed, source) = tokio::io::duplex(MIB);
    let putting = store.put(ArtifactKind::Witness, source);
    tokio::io::AsyncWriteExt::write_all(&mut feed, &content(MIB)).await.unwrap();
    let draft_has_content = async {
        while !files(home.path()).iter().any(|path| fs::metadata(path).is_ok_and(|file| file.len() > 0)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        put = putting => panic!("the source has no end, but the write ended: {put:?}"),
        () = draft_has_content => {}
    }
    assert!(names(home.path()).is_empty());

    let error = store.put_file(ArtifactKind::Witness, &home.path().join("none")).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Source(_)), "{error:?}");
}

#[tokio::test]
async fn old_orphans_are_swept() {
    let home = tempfile::tempdir().unwrap();
    let store = store_in(home.path());
    let put = async || store.put_bytes(ArtifactKind::Witness, b"content").await.unwrap();
    let (fresh, orphan, needed) = (put().await, put().await, put().await);
    let hour = Duration::from_hours(1);
    for name in [orphan, needed] {
        age(&home.path().join(name.to_string()), hour * 2);
    }
    let (draft, old_draft) = (format!("{fresh}.part"), format!("{orphan}.part"));
    for (name, by) in [(draft.as_str(), hour / 2), (&old_draft, hour * 2), ("not-ours", hour * 2)] {
        fs::write(home.path().join(name), "x").unwrap();
        age(&home.path().join(name), by);
    }
    let swept = store.sweep(hour, |name| *name == needed).await.unwrap();
    assert_eq!(swept, Swept { deleted: 1, drafts: 1, failed: 0 });
    let left = [fresh.to_string(), needed.to_string(), draft, "not-ours".to_owned()];
    assert_eq!(names(home.path()), left.into());
    assert_eq!(store.sweep(hour, |name| *name == needed).await.unwrap(), Swept::default());
    // However wrong the clock is, no artifact is older than 1970.
    assert_eq!(store.sweep(Duration::MAX, |_| false).await.unwrap(), Swept::default());
}

#[tokio::test]
async fn an_open_folder_is_closed_if_it_has_artifacts_only() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("artifacts");
    let settings = folder_settings(&dir, keys());
    let name = ArtifactStore::open(&settings).unwrap().put_bytes(ArtifactKind::Proof, b"x").await.unwrap();
    fs::write(dir.join("draft.part"), b"x").unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let store = ArtifactStore::open(&settings).unwrap();
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(store.read(&name, ArtifactKind::Proof, 1).await.unwrap(), b"x");

    fs::write(dir.join("photo.jpg"), b"mine").unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let error = ArtifactStore::open(&settings).unwrap_err();
    assert!(matches!(error, OpenError::ContainsOtherFiles { .. }), "{error:?}");
    assert!(error.to_string().contains("photo.jpg"), "{error}");
    assert_eq!(mode(&dir), 0o755);
}

/// The key file of a data folder, and the settings of a store in it.
fn of_data_folder(home: &Path) -> (PathBuf, ArtifactSettings) {
    let file = home.join("artifact.key");
    let location = LocationSettings::Folder(home.join("artifacts"));
    (file.clone(), ArtifactSettings { location, keys: KeySettings::File(file) })
}

#[tokio::test]
async fn the_key_of_the_data_folder_is_reused() {
    let home = tempfile::tempdir().unwrap();
    let (file, settings) = of_data_folder(home.path());
    let store = ArtifactStore::open(&settings).unwrap();
    let name = store.put_bytes(ArtifactKind::Proof, b"a proof").await.unwrap();
    let key = store.key();
    drop(store);
    let store = ArtifactStore::open(&settings).unwrap();
    assert_eq!(store.key(), key);
    assert_eq!(store.read(&name, ArtifactKind::Proof, 100).await.unwrap(), b"a proof");

    // From now on with a key from the settings. The key file still decrypts what it encrypted.
    let given = keys();
    let settings =
        ArtifactSettings { keys: KeySettings::GivenAndFile(given.clone(), file.clone()), ..settings };
    let store = ArtifactStore::open(&settings).unwrap();
    assert_eq!(store.key(), given.current().id());
    assert_eq!(store.read(&name, ArtifactKind::Proof, 100).await.unwrap(), b"a proof");
    fs::remove_file(&file).unwrap();
    let store = ArtifactStore::open(&settings).unwrap();
    assert!(!file.exists(), "with a key from the settings no file is created");
    let error = store.read(&name, ArtifactKind::Proof, 100).await.unwrap_err();
    assert!(matches!(error, ArtifactError::UnknownKey { key: missing, .. } if missing == key), "{error:?}");
}

#[tokio::test]
async fn a_missing_key_is_not_replaced_beside_artifacts() {
    let home = tempfile::tempdir().unwrap();
    let (file, settings) = of_data_folder(home.path());
    let store = ArtifactStore::open(&settings).unwrap();
    let name = store.put_bytes(ArtifactKind::Proof, b"a proof").await.unwrap();
    fs::remove_file(&file).unwrap();
    let error = ArtifactStore::open(&settings).unwrap_err();
    assert!(matches!(&error, OpenError::KeyMissing { path, .. } if *path == file), "{error:?}");
    assert!(!file.exists());
    // Without artifacts a new key harms nobody.
    store.delete(&name).await.unwrap();
    ArtifactStore::open(&settings).unwrap();
    assert!(file.exists());
}

#[tokio::test]
async fn a_key_can_be_replaced() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (ArtifactKey::random().unwrap(), ArtifactKey::random().unwrap());
    let store = |keys| ArtifactStore::open(&folder_settings(home.path(), keys)).unwrap();
    let name = store(KeyRing::new(old.clone())).put_bytes(ArtifactKind::Proof, b"old").await.unwrap();

    let mut both = KeyRing::new(new.clone());
    both.add_former(old.clone());
    let rotated = store(both);
    assert_eq!(rotated.read(&name, ArtifactKind::Proof, 100).await.unwrap(), b"old");
    let newer = rotated.put_bytes(ArtifactKind::Proof, b"new").await.unwrap();

    let alone = store(KeyRing::new(new.clone()));
    assert_eq!(alone.read(&newer, ArtifactKind::Proof, 100).await.unwrap(), b"new");
    let error = alone.read(&name, ArtifactKind::Proof, 100).await.unwrap_err();
    assert!(matches!(error, ArtifactError::UnknownKey { key, .. } if key == old.id()), "{error:?}");
    assert!(error.to_string().contains(&old.id().to_string()) && !error.is_retryable());
}

#[tokio::test]
async fn a_sealed_text_opens_as_what_it_is_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_in(dir.path());
    let text = "https://user:password@host.example/path?key=1";
    let sealed = store.seal_text(ArtifactKind::CallbackUrl, text).await.unwrap();
    assert_ne!(sealed, store.seal_text(ArtifactKind::CallbackUrl, text).await.unwrap());
    assert_eq!(*store.open_text(ArtifactKind::CallbackUrl, &sealed).unwrap(), text);
    assert!(store.open_text(ArtifactKind::Proof, &sealed).is_err());
    let changed = format!("{}AAAA", &sealed[..sealed.len() - 4]);
    for wrong in ["", "AAAA", "no base64", &sealed[..40], &sealed[..sealed.len() - 8], &changed] {
        assert!(store.open_text(ArtifactKind::CallbackUrl, wrong).is_err(), "{wrong}");
    }
}
