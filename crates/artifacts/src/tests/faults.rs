//! A disk with changed files, a full disk and a read-only disk.

use std::{env, os::unix::fs::FileExt as _, process::Command};

use edgeprove_testkit::{processes, skipped};

use super::*;

/// Variable that is set in the inner run of a test: the path of the small file system.
const WITHIN: &str = "EDGEPROVE_TEST_WITHIN";
/// Size of the small file system.
const BYTES: usize = 256 << 10;

#[tokio::test]
async fn any_change_of_a_file_is_detected() {
    let home = tempfile::tempdir().unwrap();
    let store = store_in(home.path());
    let one = store.put_bytes(ArtifactKind::Witness, &content(200_000)).await.unwrap();
    let other = store.put_bytes(ArtifactKind::Witness, &content(200_000)).await.unwrap();
    let proof = store.put_bytes(ArtifactKind::Proof, &content(200_000)).await.unwrap();
    let path = |name: ArtifactName| home.path().join(name.to_string());
    let damage = async |name: ArtifactName| match store.read(&name, ArtifactKind::Witness, MIB).await {
        Err(error @ ArtifactError::Damaged { .. }) => assert!(!error.is_retryable()),
        other => panic!("{:?}", other.map(|content| content.len())),
    };
    let right = fs::read(path(one)).unwrap();

    let file = fs::File::options().write(true).open(path(one)).unwrap();
    file.write_all_at(b"x", 150_000).unwrap();
    damage(one).await;
    fs::write(path(one), &right[..right.len() - 1]).unwrap();
    damage(one).await;
    fs::write(path(one), &right[..100_000]).unwrap();
    damage(one).await;
    fs::write(path(one), b"").unwrap();
    damage(one).await;
    fs::write(path(one), &right).unwrap();
    assert!(store.read(&one, ArtifactKind::Witness, MIB).await.is_ok());

    // Each file is complete, but has the name of another.
    fs::rename(path(other), home.path().join("aside")).unwrap();
    fs::rename(path(one), path(other)).unwrap();
    fs::rename(home.path().join("aside"), path(one)).unwrap();
    damage(one).await;
    damage(other).await;
    damage(proof).await;
    assert!(store.read(&proof, ArtifactKind::Proof, MIB).await.is_ok());
}

#[test]
fn an_error_names_a_folder_that_cannot_be_created() {
    // The kernel lets no user create a folder here, not even root.
    let settings = folder_settings(Path::new("/proc/self/fd/artifacts"), keys());
    let error = ArtifactStore::open(&settings).unwrap_err();
    assert!(matches!(error, OpenError::Folder(_)), "{error:?}");
    assert!(edgeprove_telemetry::chain(&error).contains("/proc/self/fd/artifacts"), "{error}");
}

#[tokio::test]
async fn a_removed_folder_is_reported_and_not_created_again() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("artifacts");
    let store = store_in(&dir);
    fs::remove_dir(&dir).unwrap();
    // The disk may be mounted again soon, which would hide files that were written under its mount point.
    for error in [
        store.put_bytes(ArtifactKind::Proof, b"x").await.unwrap_err(),
        store.read(&ArtifactName::random(), ArtifactKind::Proof, 100).await.unwrap_err(),
        store.probe().await.unwrap_err(),
        store.sweep(Duration::ZERO, |_| false).await.unwrap_err(),
    ] {
        assert!(matches!(error, ArtifactError::Io { .. }) && error.is_retryable(), "{error:?}");
    }
    fs::create_dir(&dir).unwrap();
    store.put_bytes(ArtifactKind::Proof, b"x").await.unwrap();
}

/// Runs one test of this program again, on a small file system in a mount namespace of its own. Returns its path in the
/// inner run, and `None` in the outer one.
fn on_a_small_disk(test: &str) -> Option<PathBuf> {
    if let Some(dir) = env::var_os(WITHIN) {
        return Some(dir.into());
    }
    if skipped::lacks_mount_namespaces() {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={BYTES},mode=700 tmpfs \"$1\" && shift && exec \"$@\"");
    let mut command: Command = skipped::namespace(&["--mount"]);
    command.args(["sh", "-c", &mount, "sh"]).arg(dir.path()).arg(env::current_exe().unwrap());
    command.args(["--exact", &format!("tests::faults::{test}"), "--nocapture"]);
    command.env(WITHIN, dir.path());
    let output = processes::run(&mut command, Duration::from_mins(1));
    let output_text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output_text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output_text.contains("1 passed"), "the test has not run: {output_text}");
    None
}

#[test]
fn on_a_full_disk_writes_fail_and_deletes_work() {
    let Some(dir) = on_a_small_disk("on_a_full_disk_writes_fail_and_deletes_work") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = store_in(&dir.join("artifacts"));
        let stored = store.put_bytes(ArtifactKind::Witness, &content(100_000)).await.unwrap();
        let large = content(BYTES);
        for _ in 0..3 {
            let error = store.put_bytes(ArtifactKind::Witness, &large).await.unwrap_err();
            assert!(matches!(error, ArtifactError::Full { .. }) && error.is_retryable(), "{error:?}");
            assert_eq!(names(&dir.join("artifacts")), [stored.to_string()].into(), "no draft stays");
        }
        // A smaller artifact fits.
        let small = store.put_bytes(ArtifactKind::Proof, b"a proof").await.unwrap();
        store.probe().await.unwrap();

        // Full to the last byte: writes fail, but deletes work.
        let mut filler = fs::File::create(dir.join("filler")).unwrap();
        while io::Write::write_all(&mut filler, &[1; 4096]).is_ok() {}
        for error in
            [store.put_bytes(ArtifactKind::Proof, b"x").await.unwrap_err(), store.probe().await.unwrap_err()]
        {
            assert!(matches!(error, ArtifactError::Full { .. }), "{error:?}");
        }
        assert_eq!(store.read(&stored, ArtifactKind::Witness, MIB).await.unwrap().len(), 100_000);
        for name in [stored, small] {
            store.delete(&name).await.unwrap();
        }
        store.put_bytes(ArtifactKind::Witness, &content(80_000)).await.unwrap();
        assert_eq!(store.sweep(Duration::ZERO, |_| false).await.unwrap().deleted, 1);
    });
}

#[test]
fn a_read_only_disk_is_not_reported_as_full() {
    let Some(dir) = on_a_small_disk("a_read_only_disk_is_not_reported_as_full") else { return };
    let remount = |how: &str| {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,{how}")]).arg(&dir);
        assert!(command.status().unwrap().success());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = store_in(&dir.join("artifacts"));
        let stored = store.put_bytes(ArtifactKind::Proof, b"a proof").await.unwrap();
        remount("ro");
        for error in [
            store.put_bytes(ArtifactKind::Proof, b"x").await.unwrap_err(),
            store.delete(&stored).await.unwrap_err(),
            store.probe().await.unwrap_err(),
        ] {
            assert!(matches!(error, ArtifactError::NotWritable { .. }) && error.is_retryable(), "{error:?}");
        }
        let swept = store.sweep(Duration::ZERO, |_| false).await.unwrap();
        assert_eq!(swept, Swept { deleted: 0, drafts: 0, failed: 1 });
        assert_eq!(store.read(&stored, ArtifactKind::Proof, MIB).await.unwrap(), b"a proof");
        remount("rw");
        store.probe().await.unwrap();
        store.delete(&stored).await.unwrap();
    });
}
