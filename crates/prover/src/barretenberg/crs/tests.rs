//! Folders with a CRS, whole and damaged. No real points are needed: only real ones pass the comparison with the
//! ceremony, and the tests of the server have some.

use edgeprove_protocol::crs::{G1_COMPRESSED_FILE, G1_GENERATOR, points_needed};
use tempfile::TempDir;

use super::*;

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// Points that begin with the generator.
fn g1(points: usize) -> Vec<u8> {
    let mut bytes = vec![0; points * 64];
    bytes[..64].copy_from_slice(&G1_GENERATOR);
    bytes
}

/// Compressed points that begin with the generator.
fn compressed(points: usize) -> Vec<u8> {
    let mut bytes = vec![0; points * 32];
    bytes[31] = 1;
    bytes
}

#[track_caller]
fn assert_damaged(files: &[(&str, &[u8])], expected: CrsFault) {
    let error = Crs::open(folder(files).path(), None, CheckedList::ReadAndWrite).unwrap_err();
    assert!(matches!(error, CrsError::Damaged { fault, .. } if fault == expected), "{error}");
}

#[test]
fn damage_is_named() {
    let points = g1(600);
    assert_damaged(&[(G1_FILE, &[])], CrsFault::PartialPoint);
    assert_damaged(&[(G1_FILE, &points[1..])], CrsFault::PartialPoint);
    assert_damaged(&[(G1_FILE, &points[64..])], CrsFault::NotTheGenerator);
    assert_damaged(&[(G1_FILE, &points)], CrsFault::NotTheCeremony { from: 0, to: 511 });
    let large = g1(200_000);
    assert_damaged(&[(G1_FILE, &large)], CrsFault::NotTheCeremony { from: 0, to: 131_071 });
    let short = compressed(600);
    assert_damaged(&[(G1_COMPRESSED_FILE, &short[1..])], CrsFault::PartialPoint);
    assert_damaged(&[(G1_COMPRESSED_FILE, &short[32..])], CrsFault::NotTheGenerator);
    assert_damaged(&[(G1_COMPRESSED_FILE, &short)], CrsFault::NotTheCeremony { from: 0, to: 511 });
    let few = g1(5);
    assert_damaged(&[(G1_FILE, &few), (G2_FILE, &[0; 127])], CrsFault::G2Length);
    assert_damaged(&[(G1_FILE, &few), (G2_FILE, &[0; 128])], CrsFault::G2NotTheCeremony);
}

#[test]
fn a_folder_without_enough_points_is_refused() {
    let error = Crs::open(Path::new("/nonexistent"), None, CheckedList::ReadAndWrite).unwrap_err();
    assert!(matches!(error, CrsError::Unreadable { .. }), "{error}");
    for points in [1, 65, 511] {
        let (points, small) = (g1(points), compressed(points));
        for files in [[(G1_FILE, points.as_slice())], [(G1_COMPRESSED_FILE, small.as_slice())]] {
            let error = Crs::open(folder(&files).path(), None, CheckedList::ReadAndWrite).unwrap_err();
            assert!(matches!(error, CrsError::TooFew { .. }), "{error}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(G1_FILE)).unwrap();
    let error = Crs::open(dir.path(), None, CheckedList::ReadAndWrite).unwrap_err();
    assert!(matches!(error, CrsError::Unreadable { .. }), "{error}");
}

#[test]
fn a_checked_file_is_not_read_again_until_it_changes() {
    let (dir, cache) = (folder(&[(G1_FILE, &g1(4097))]), tempfile::tempdir().unwrap());
    let path = dir.path().join(G1_FILE);
    assert!(
        Crs::open(dir.path(), Some(cache.path()), CheckedList::ReadAndWrite).is_err(),
        "the points are wrong"
    );
    // As if they had been right.
    let mut checked = CheckedFiles::read(Some(cache.path()), CheckedList::ReadAndWrite);
    checked.add(&fs::metadata(&path).unwrap(), 4097);
    let crs = Crs::open(dir.path(), Some(cache.path()), CheckedList::ReadAndWrite).unwrap();
    assert_eq!((crs.points, crs.checked_points, crs.has_unchecked_points()), (4097, 4097, false));
    assert!((points_needed(4096)..points_needed(8192)).contains(&crs.points));
    assert_eq!(crs.files(), [G1_FILE]);

    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(10);
    fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    assert!(
        Crs::open(dir.path(), Some(cache.path()), CheckedList::ReadAndWrite).is_err(),
        "the file has changed"
    );
    fs::write(cache.path().join("crs-checked"), "damaged\n\u{fffd}").unwrap();
    assert!(Crs::open(dir.path(), Some(cache.path()), CheckedList::ReadAndWrite).is_err());
}

#[test]
fn points_beyond_the_digests_count_as_unchecked() {
    let crs = |points, checked_points| Crs { dir: PathBuf::new(), points, checked_points };
    assert!(!crs(3000, 2048).has_unchecked_points(), "bb uses 2,048 of them");
    assert!(!crs(131_073, 131_072).has_unchecked_points());
    assert!(crs(65_537, 32_769).has_unchecked_points());
}
