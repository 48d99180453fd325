use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    time::Duration,
};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn drained(spool: &Spool) {
    tokio::time::timeout(Duration::from_mins(2), spool.drained()).await.unwrap();
}

#[tokio::test]
async fn only_the_owner_enters_and_nothing_stays() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("deep").join("spool");
    let spool = Spool::open(&dir).unwrap();
    assert_eq!((mode(&dir), mode(spool.path())), (0o700, 0o700));
    assert_eq!((spool.len(), spool.swept()), (0, 0));

    let mut file = spool.create().unwrap();
    file.append(Bytes::from_static(b"sec")).await.unwrap();
    file.append(Bytes::from_static(b"ret")).await.unwrap();
    assert_eq!(fs::read(file.path()).unwrap(), b"secret");
    assert_eq!((mode(file.path()), file.len(), spool.len()), (0o600, 6, 1));
    assert!(file.path().to_str().unwrap().ends_with(".witness.gz"));

    let scratch = spool.create_dir().unwrap();
    fs::create_dir(scratch.path().join("within")).unwrap();
    fs::write(scratch.path().join("within").join("proof"), b"proof").unwrap();
    symlink("/etc/hostname", scratch.path().join("link")).unwrap();
    let linked = home.path().join("linked");
    fs::write(&linked, b"not its own").unwrap();
    fs::hard_link(&linked, scratch.path().join("hard")).unwrap();
    assert_eq!((mode(scratch.path()), spool.len()), (0o700, 2));

    drop(file);
    drop(scratch);
    drained(&spool).await;
    assert!(names(spool.path()).is_empty() && spool.is_empty());
    assert!(Path::new("/etc/hostname").exists(), "a link is removed, not followed");
    assert_eq!(fs::read(&linked).unwrap(), b"not its own");

    drop(spool);
    assert!(names(&dir).is_empty());
}

#[tokio::test]
async fn content_is_overwritten_before_the_file_is_removed() {
    let home = tempfile::tempdir().unwrap();
    let spool = Spool::open(home.path()).unwrap();
    let secret = vec![0xa5; 200_000];
    let mut file = spool.create().unwrap();
    file.append(secret.clone().into()).await.unwrap();
    let scratch = spool.create_dir().unwrap();
    fs::write(scratch.path().join("proof"), &secret).unwrap();
    // Open descriptors outlive the names and still read the content.
    let mut watched = [File::open(file.path()).unwrap(), File::open(scratch.path().join("proof")).unwrap()];
    drop((file, scratch));
    drained(&spool).await;
    for watched in &mut watched {
        let mut left = Vec::new();
        watched.read_to_end(&mut left).unwrap();
        assert!(left.len() == secret.len() && left.iter().all(|&byte| byte == 0));
    }
}

#[tokio::test]
async fn a_write_cannot_follow_the_wipe() {
    let home = tempfile::tempdir().unwrap();
    let spool = Spool::open(home.path()).unwrap();
    let file = spool.create().unwrap();
    let content = Arc::clone(&file.content);
    drop(file);
    drained(&spool).await;
    assert!(matches!(content.write(b"late", 0), Err(SpoolError::Wiped { .. })));
    let mut left = [0; 4];
    assert_eq!(content.file.read_at(&mut left, 0).unwrap(), 0);
}

#[tokio::test]
async fn the_bytes_of_all_files_are_bounded_and_given_back() {
    let home = tempfile::tempdir().unwrap();
    let spool = Spool::open_bounded(home.path(), 100).unwrap();
    let (mut first, mut second) = (spool.of_owner("a").create().unwrap(), spool.create().unwrap());
    first.append(vec![1; 50].into()).await.unwrap();
    let error = first.append(vec![1].into()).await.unwrap_err();
    assert!(matches!(error, SpoolError::OverBudget { bound: Bound::Owner, max_bytes: 100 }), "{error}");
    second.append(vec![2; 50].into()).await.unwrap();
    let error = second.append(vec![2].into()).await.unwrap_err();
    assert!(matches!(error, SpoolError::OverBudget { bound: Bound::All, max_bytes: 100 }), "{error}");
    assert_eq!((fs::read(first.path()).unwrap().len(), spool.used_bytes()), (50, 100));
    // What opens a file again keeps no bytes.
    let source = first.source();
    drop((first, second));
    drained(&spool).await;
    assert_eq!(spool.used_bytes(), 0);
    assert!(source.open().is_err());
}

#[tokio::test]
async fn a_file_that_was_exchanged_is_not_opened() {
    let home = tempfile::tempdir().unwrap();
    let spool = Spool::open(home.path()).unwrap();
    let mut file = spool.create().unwrap();
    file.append(Bytes::from_static(b"checked")).await.unwrap();
    let path = file.path().to_owned();
    assert!(file.source().open().is_ok());
    fs::rename(&path, path.with_extension("moved")).unwrap();
    fs::write(&path, b"another").unwrap();
    assert!(matches!(file.source().open(), Err(SpoolError::Replaced { .. })));
    fs::remove_file(&path).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert!(matches!(file.decompressed(), Err(SpoolError::Replaced { .. })));
    fs::rename(path.with_extension("moved"), &path).unwrap();
    assert!(file.source().open().is_ok());
}

#[test]
fn files_are_wiped_without_a_runtime_and_after_the_spool() {
    let home = tempfile::tempdir().unwrap();
    let spool = Spool::open(home.path()).unwrap();
    let file = spool.create().unwrap();
    fs::write(file.path(), b"secret").unwrap();
    drop(spool);
    assert!(file.path().exists());
    drop(file);
    assert!(names(home.path()).is_empty());
}

#[tokio::test]
async fn a_start_wipes_the_files_of_dead_servers_only() {
    let home = tempfile::tempdir().unwrap();
    let orphan = home.path().join("server-of-a-crash");
    fs::create_dir_all(orphan.join("scratch")).unwrap();
    fs::write(orphan.join("a.witness.gz"), b"secret").unwrap();
    fs::write(orphan.join("scratch").join("proof"), b"secret").unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut watched = File::open(orphan.join("a.witness.gz")).unwrap();

    let first = Spool::open(home.path()).unwrap();
    assert_eq!((first.swept(), mode(home.path())), (2, 0o700));
    assert!(!orphan.exists());
    let mut left = String::new();
    watched.read_to_string(&mut left).unwrap();
    assert_eq!(left, "\0\0\0\0\0\0");

    let mut file = first.create().unwrap();
    file.append(Bytes::from_static(b"alive")).await.unwrap();
    let second = Spool::open(home.path()).unwrap();
    assert_eq!(second.swept(), 0);
    assert_eq!(fs::read(file.path()).unwrap(), b"alive");
    assert_eq!(names(home.path()).len(), 2);
}

/// Fills a folder as a program might that does not wish it to be removed.
fn fill_hostile(folder: &Path, outside: &Path) {
    fs::create_dir_all(folder.join("closed/inner")).unwrap();
    fs::write(folder.join("closed/inner/file"), b"x").unwrap();
    symlink(outside, folder.join("link")).unwrap();
    fs::hard_link(outside.join("mine"), folder.join("hard")).unwrap();
    // More folders than a path could name.
    let mut deepest = folder.join("deep");
    fs::create_dir(&deepest).unwrap();
    for _ in 0..40 {
        let above = folder.join("above");
        fs::create_dir(&above).unwrap();
        fs::rename(&deepest, above.join("d".repeat(200))).unwrap();
        fs::rename(&above, folder.join("deep")).unwrap();
        deepest = folder.join("deep");
    }
    for closed in ["closed/inner", "closed", "deep", "."] {
        fs::set_permissions(folder.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
    }
}

#[tokio::test]
async fn a_hostile_plain_folder_is_removed_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let outside = home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("mine"), b"untouched").unwrap();
    let spool = Spool::open(&home.path().join("spool")).unwrap();
    let plain = spool.create_plain_dir().unwrap();
    assert_eq!(mode(plain.path()), 0o700);
    fs::write(plain.path().join("result"), b"no secret").unwrap();
    let mut watched = File::open(plain.path().join("result")).unwrap();
    fill_hostile(plain.path(), &outside);

    drop(plain);
    drained(&spool).await;
    assert!(names(spool.path()).is_empty());
    assert_eq!(fs::read(outside.join("mine")).unwrap(), b"untouched");
    let mut left = String::new();
    watched.read_to_string(&mut left).unwrap();
    assert_eq!(left, "no secret", "it is removed, not overwritten");
}

#[tokio::test]
async fn a_start_removes_plain_folders_of_dead_servers() {
    let home = tempfile::tempdir().unwrap();
    let outside = home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("mine"), b"untouched").unwrap();
    let dir = home.path().join("spool");
    let plain = dir.join("server-of-a-crash").join("plain-build");
    fs::create_dir_all(&plain).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(plain.join("result"), b"no secret").unwrap();
    let mut watched = File::open(plain.join("result")).unwrap();
    fill_hostile(&plain, &outside);

    let spool = Spool::open(&dir).unwrap();
    assert_eq!((spool.swept(), names(&dir).len()), (0, 1));
    let mut left = String::new();
    watched.read_to_string(&mut left).unwrap();
    assert_eq!(left, "no secret");
    assert_eq!(fs::read(outside.join("mine")).unwrap(), b"untouched");
}

#[tokio::test]
async fn a_removed_folder_is_created_and_locked_again() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("spool");
    let spool = Spool::open(&dir).unwrap();
    let lost = spool.create().unwrap();
    let mut watched = lost.content.file.try_clone().unwrap();
    fs::write(lost.path(), b"secret").unwrap();
    fs::remove_dir_all(&dir).unwrap();

    let mut file = spool.create().unwrap();
    file.append(Bytes::from_static(b"alive")).await.unwrap();
    assert_eq!((mode(&dir), mode(spool.path()), mode(file.path())), (0o700, 0o700, 0o600));
    drop(lost);
    let second = Spool::open(&dir).unwrap();
    assert_eq!(second.swept(), 0);
    assert_eq!(fs::read(file.path()).unwrap(), b"alive");

    fs::remove_dir_all(&dir).unwrap();
    drop((file, spool.create_dir().unwrap()));
    drained(&spool).await;
    let mut left = String::new();
    watched.read_to_string(&mut left).unwrap();
    assert_eq!(left, "\0\0\0\0\0\0", "a file without a name is overwritten too");
}

#[test]
fn many_servers_can_start_at_once() {
    let home = tempfile::tempdir().unwrap();
    let spools: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = (0..16).map(|_| scope.spawn(|| Spool::open(home.path()).unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(names(home.path()).len(), 16);
    assert!(spools.iter().all(|spool| spool.path().exists() && spool.swept() == 0));
}

#[test]
fn a_directory_for_another_purpose_is_refused_unchanged() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("target");
    fs::create_dir(&target).unwrap();
    let link = home.path().join("link");
    symlink(&target, &link).unwrap();
    let file = home.path().join("file");
    fs::write(&file, b"mine").unwrap();
    for path in [&link, &link.join(""), &file] {
        let error = Spool::open(path).unwrap_err();
        assert!(matches!(error, SpoolError::NotADirectory { .. }), "{path:?}: {error:?}");
    }

    fs::write(target.join("photo.jpg"), b"mine").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Spool::open(&target).unwrap_err();
    assert!(matches!(error, SpoolError::ContainsOtherFiles { .. }), "{error:?}");
    assert!(error.to_string().contains("photo.jpg"), "{error}");
    assert_eq!((mode(&target), fs::read(target.join("photo.jpg")).unwrap()), (0o755, b"mine".to_vec()));
}

#[test]
fn errors_differ_by_the_action_they_need() {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull, TimedOut};
    for (kind, words) in [
        (StorageFull, "no space is left for /spool/x"),
        (QuotaExceeded, "no space is left for /spool/x"),
        (ReadOnlyFilesystem, "/spool/x cannot be written"),
        (PermissionDenied, "/spool/x cannot be written"),
        (TimedOut, "could not create /spool/x"),
    ] {
        let error = SpoolError::of("create", Path::new("/spool/x"), kind.into());
        assert!(error.to_string().contains(words), "{error}");
        assert!(std::error::Error::source(&error).is_some(), "the cause is preserved");
    }
}

#[test]
fn a_directory_that_cannot_be_created_is_named() {
    // The kernel lets no user create a directory here, not even root.
    let error = Spool::open(Path::new("/proc/self/fd/spool")).unwrap_err();
    assert!(error.to_string().contains("/proc/self/fd/spool"), "{error}");
}

#[tokio::test]
async fn a_wipe_is_observed_and_not_assumed() {
    let home = tempfile::tempdir().unwrap();
    let spool = Spool::open(&home.path().join("spool")).unwrap();
    let written = async || {
        let mut file = spool.create().unwrap();
        file.append(Bytes::from_static(b"secret")).await.unwrap();
        file
    };
    let observed = async |file: SpoolFile| {
        let observer = file.wipe_observer();
        let early = tokio::time::timeout(Duration::ZERO, observer.clone().is_wiped()).await;
        assert!(early.is_err(), "the file is still there");
        drop(file);
        tokio::time::timeout(Duration::from_mins(2), observer.is_wiped()).await.unwrap()
    };
    assert!(observed(written().await).await);

    // Someone gave it another name, or removed its own.
    let file = written().await;
    let other = home.path().join("other");
    fs::hard_link(file.path(), &other).unwrap();
    assert!(!observed(file).await, "it has another name");
    assert_eq!(fs::read(&other).unwrap(), [0; 6], "its content is overwritten all the same");
    let file = written().await;
    fs::remove_file(file.path()).unwrap();
    assert!(observed(file).await);
    let file = written().await;
    let path = file.path().to_owned();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(!observed(file).await, "something else has its name");
    fs::remove_dir(path).unwrap();
}
