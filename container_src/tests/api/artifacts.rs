//! Where artefacts are kept and under which key, as far as a start shows it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use edgeprove_testkit::s3::{BUCKET, S3Server};

use crate::support::TestServer;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_data_folder_gets_a_folder_and_a_key_that_last() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut key = None;
    for _ in 0..2 {
        let server = TestServer::start(|s| s.flag("--data", &data.display()));
        server.assert_well();
        let (folder, file) = (data.join("artifacts"), data.join("artifact.key"));
        assert_eq!((mode(&data), mode(&folder), mode(&file)), (0o700, 0o700, 0o600));
        let found = fs::read_to_string(file).unwrap();
        assert!(!server.log().contains(found.trim()), "the key is in the log");
        assert!(server.log().contains(&folder.display().to_string()));
        assert_eq!(key.get_or_insert(found.clone()), &found, "the key is another one");
    }
}

#[test]
fn a_bucket_that_is_away_keeps_no_server_from_starting() {
    let mut bucket = S3Server::start();
    bucket.stop();
    let server = TestServer::start(|s| {
        s.flag("--artifacts", &format!("s3://{BUCKET}/jobs"));
        s.flags.push("--ephemeral-jobs".to_owned());
        s.environment.extend(bucket.environment());
        s.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), KEY.to_owned()));
    });
    server.assert_well();
    let log = server.log();
    assert!(log.contains(&format!("s3://{BUCKET}/jobs")));
    assert!(bucket.environment().iter().all(|(name, value)| !name.contains("KEY") || !log.contains(value)));
    assert!(!log.contains(KEY));
}

#[test]
fn a_bucket_without_a_key_is_a_fault_and_told_with_the_others() {
    let failed = TestServer::fails_to_start(|s| {
        s.flag("--artifacts", "s3://my-bucket");
        s.flag("--prover-queue-max", "0");
    });
    assert_eq!(failed.code, Some(64));
    for words in [
        "2 faults",
        "a bucket needs a key that all its servers share",
        "EDGEPROVE_ARTIFACT_KEY",
        "--prover-queue-max",
    ] {
        assert!(failed.words.contains(words), "{words:?} is not in: {}", failed.words);
    }
}

#[test]
fn a_key_that_is_none_is_told_and_not_shown() {
    let secret = "hunter2hunter2hunter2hunter2";
    for value in [secret, &format!("{KEY},{secret}"), ""] {
        let failed = TestServer::fails_to_start(|s| {
            s.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), value.to_owned()));
        });
        assert_eq!(failed.code, Some(64));
        assert!(failed.words.contains("EDGEPROVE_ARTIFACT_KEY"), "{}", failed.words);
        assert!(!failed.words.contains(secret) && !failed.words.contains(KEY), "{}", failed.words);
    }
}

#[test]
fn what_cannot_be_used_keeps_the_server_from_starting() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("artifact.key"), "no key").unwrap();
    let failed = TestServer::fails_to_start(|s| s.flag("--data", &data.display()));
    assert_eq!(failed.code, Some(1));
    assert!(failed.words.contains("artifact.key holds no key of 32 bytes"), "{}", failed.words);
    assert_eq!(fs::read_to_string(data.join("artifact.key")).unwrap(), "no key");

    let photos = home.path().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::set_permissions(&photos, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(photos.join("photo.jpg"), "mine").unwrap();
    let failed = TestServer::fails_to_start(|s| {
        s.flag("--artifacts", &photos.display());
        s.flags.push("--ephemeral-jobs".to_owned());
        s.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), KEY.to_owned()));
    });
    assert_eq!(failed.code, Some(1));
    assert!(failed.words.contains("photo.jpg"), "{}", failed.words);
    assert_eq!(mode(&photos), 0o755);
}
