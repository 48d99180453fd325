//! The storage of artifacts and its encryption key, as far as the start of a server shows it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use edgeprove_testkit::s3::{BUCKET, S3Server};

use crate::support::TestServer;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_data_folder_gets_a_lasting_artifact_folder_and_key() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut key = None;
    for _ in 0..2 {
        let server = TestServer::start(|s| s.flag("--data", &data.display()));
        server.assert_healthy();
        let (folder, file) = (data.join("artifacts"), data.join("artifact.key"));
        assert_eq!((mode(&data), mode(&folder), mode(&file)), (0o700, 0o700, 0o600));
        let found = fs::read_to_string(file).unwrap();
        assert!(!server.log().contains(found.trim()), "the log contains the key");
        assert!(server.log().contains(&folder.display().to_string()), "the log names the folder");
        assert_eq!(key.get_or_insert(found.clone()), &found, "the key has changed");
    }
}

#[test]
fn an_unreachable_bucket_does_not_prevent_the_start() {
    let mut bucket = S3Server::start();
    bucket.stop();
    let server = TestServer::start(|s| {
        s.flag("--artifacts", &format!("s3://{BUCKET}/jobs"));
        s.flags.push("--ephemeral-jobs".to_owned());
        s.environment.extend(bucket.environment());
        s.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), KEY.to_owned()));
    });
    server.assert_healthy();
    let log = server.log();
    assert!(log.contains(&format!("s3://{BUCKET}/jobs")));
    assert!(bucket.environment().iter().all(|(name, value)| !name.contains("KEY") || !log.contains(value)));
    assert!(!log.contains(KEY));
}

#[test]
fn a_bucket_without_an_encryption_key_is_a_config_error() {
    let failed = TestServer::fails_to_start(|s| {
        s.flag("--artifacts", "s3://my-bucket");
        s.flag("--prover-queue-max", "0");
    });
    assert_eq!(failed.code, Some(64));
    for part in ["EDGEPROVE_ARTIFACT_KEY", "--prover-queue-max"] {
        assert!(failed.stderr.contains(part), "{part:?} is not in: {}", failed.stderr);
    }
}

#[test]
fn an_invalid_encryption_key_is_reported_but_not_shown() {
    let secret = "hunter2hunter2hunter2hunter2";
    for value in [secret, &format!("{KEY},{secret}"), ""] {
        let failed = TestServer::fails_to_start(|s| {
            s.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), value.to_owned()));
        });
        assert_eq!(failed.code, Some(64));
        assert!(failed.stderr.contains("EDGEPROVE_ARTIFACT_KEY"), "{}", failed.stderr);
        assert!(!failed.stderr.contains(secret) && !failed.stderr.contains(KEY), "{}", failed.stderr);
    }
}

#[test]
fn an_unusable_key_file_or_folder_prevents_the_start() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("artifact.key"), "no key").unwrap();
    let failed = TestServer::fails_to_start(|s| s.flag("--data", &data.display()));
    assert_eq!(failed.code, Some(64));
    assert!(failed.stderr.contains("artifact.key"), "{}", failed.stderr);
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
    assert_eq!(failed.code, Some(64));
    assert!(failed.stderr.contains("photo.jpg"), "{}", failed.stderr);
    assert_eq!(mode(&photos), 0o755);
}
