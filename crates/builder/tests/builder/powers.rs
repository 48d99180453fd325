//! Keys from powers of tau.

use std::{fs, num::NonZeroUsize, path::PathBuf, sync::Arc, sync::atomic::AtomicBool};

use edgeprove_builder::{BuildLimits, Fate, Powers, SetupTrust, Versions};
use edgeprove_groth16::{PowersError, Threads, powers::write_new};
use edgeprove_templates::Language;

use crate::{
    builds::{NoNoir, build, builder, instance},
    support::Fixture,
};

fn new_powers(folder: &tempfile::TempDir, power: u32) -> PathBuf {
    let path = folder.path().join(format!("{power}.ptau"));
    let file = fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let threads = Threads::of_width(NonZeroUsize::MIN).unwrap();
    write_new(&file, power, "test", &threads, &AtomicBool::new(false)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_from_powers_that_are_large_enough() {
    let (fixture, folder) = (Fixture::new().await, tempfile::tempdir().unwrap());
    let without = builder(&fixture.sandbox, BuildLimits::default()).await;
    let instance = instance("rangeCheck", Language::Circom);
    let powers = Arc::new(Powers::open(&new_powers(&folder, 8)).unwrap());
    let built =
        build(&without.clone().with_powers(Some(Arc::clone(&powers))), &instance, &NoNoir).await.unwrap();
    assert_eq!(built.powers.as_ref().map(|powers| *powers.digest()), Some(*powers.digest()));
    assert_eq!(built.trust, Some(SetupTrust::Local));

    let small = new_powers(&folder, 7);
    let too_small = without.with_powers(Some(Arc::new(Powers::open(&small).unwrap())));
    let error = build(&too_small, &instance, &NoNoir).await.unwrap_err();
    assert_eq!(error.fate(), Fate::Permanent);
    let detail = error.public_detail();
    assert!(detail.contains("193 constraints") && detail.contains("the file has power 7"), "{detail}");

    // A file that changes makes no keys, and the operator may repair it.
    let changed = new_powers(&folder, 9);
    let opened = Powers::open(&changed).unwrap();
    fs::write(&changed, "").unwrap();
    let error = build(&too_small.with_powers(Some(Arc::new(opened))), &instance, &NoNoir).await.unwrap_err();
    assert_eq!(error.fate(), Fate::Temporary, "{error:?}");
    assert!(!error.public_detail().contains(folder.path().to_str().unwrap()));
    fixture.assert_nothing_is_left();
}

#[test]
fn powers_are_part_of_what_identifies_a_circom_circuit() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = [1, 2].map(|power| Powers::open(&new_powers(&folder, power)).unwrap());
    let versions = Versions::pinned();
    let of =
        |language, powers| instance("rangeCheck", language).circuit_id(&versions.identity(language, powers));
    let circom = [None, Some(&first), Some(&second)].map(|powers| of(Language::Circom, powers));
    assert!(circom[0] != circom[1] && circom[1] != circom[2] && circom[0] != circom[2]);
    assert_eq!(of(Language::Noir, None), of(Language::Noir, Some(&first)));
}

#[test]
fn what_is_no_powers_of_tau_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Powers::open(folder.path()), Err(PowersError::Io(_))));
    fs::write(folder.path().join("text"), "text").unwrap();
    assert!(matches!(Powers::open(&folder.path().join("text")), Err(PowersError::Format(_))));
}
