use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    thread,
};

use edgeprove_files::trusted_path::UntrustedPath;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn the_first_start_creates_a_key_and_later_ones_read_it() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("data").join("artifact.key");
    assert!(read(&path).unwrap().is_none());
    let key = read_or_create(&path).unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(read_or_create(&path).unwrap().id(), key.id());
    assert_eq!(read(&path).unwrap().unwrap().id(), key.id());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", key.to_hex().as_str()));
}

#[test]
fn servers_that_start_at_the_same_time_share_a_key() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("artifact.key");
    let ids: BTreeSet<String> = thread::scope(|scope| {
        let start = || read_or_create(&path).unwrap().id().to_string();
        let starts: Vec<_> = (0..16).map(|_| scope.spawn(start)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no draft is left");
}

#[test]
fn a_key_that_others_can_read_is_closed_to_them() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("artifact.key");
    let key = read_or_create(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(read_or_create(&path).unwrap().id(), key.id());
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_key_of_another_user_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("data").join("artifact.key");
    read_or_create(&path).unwrap();
    for owned in [path.as_path(), path.parent().unwrap()] {
        if chown(owned, Some(1234), None).is_err() {
            // Only root can give a file away.
            return;
        }
        let refused = read_or_create(&path).unwrap_err();
        assert!(
            matches!(&refused, OpenError::Untrusted(UntrustedPath::Owner { owner: 1234, path }) if path == owned),
            "{refused:?}"
        );
        let examined = examine(&path).unwrap_err();
        assert_eq!(examined.to_string(), refused.to_string());
        chown(owned, Some(0), None).unwrap();
    }
    read_or_create(&path).unwrap();
}

#[test]
fn a_file_without_a_key_is_never_replaced() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("artifact.key");
    for wrong in [&b""[..], b"secret\n", &[0xff; 32], &[b'0'; 63], &vec![b'0'; 100_000]] {
        fs::write(&path, wrong).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for error in [read_or_create(&path).unwrap_err(), read(&path).unwrap_err()] {
            assert!(matches!(error, OpenError::NotAKey { .. }), "{error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), wrong);
    }
}

#[test]
fn an_error_names_the_path_of_the_key() {
    let error = read_or_create(Path::new("/proc/self/fd/artifact.key")).unwrap_err();
    assert!(matches!(error, OpenError::KeyFile { .. }), "{error:?}");
    assert!(error.to_string().contains("/proc/self/fd/artifact.key"), "{error}");
}
