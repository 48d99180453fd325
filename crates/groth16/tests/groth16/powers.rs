//! Powers of tau: what we make is accepted by snarkjs, what snarkjs makes is read, and damaged files are refused.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Mutex, atomic::AtomicBool},
};

use edgeprove_groth16::{
    FormatError, PowersError, PowersFile, PowersOrigin, R1cs, SetupError, Trust, powers::write_new,
    setup_from_powers,
};
use edgeprove_test_circom::{self as circom, CircomCircuit};
use tempfile::TempDir;

use crate::support::{RANGE_INPUTS, read, snarkjs_verifies, threads, witness};

/// The power of two of the range circuit's domain.
const RANGE_POWER: u32 = 7;

fn goes_on() -> AtomicBool {
    AtomicBool::new(false)
}

/// A file of our own in a new folder.
fn new_powers(power: u32) -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.ptau");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    write_new(&file, power, "test", &threads(), &goes_on()).unwrap();
    (dir, path)
}

fn open(path: &Path) -> PowersFile {
    PowersFile::open(File::open(path).unwrap()).unwrap()
}

fn check(path: &Path) -> Result<(), PowersError> {
    PowersFile::open(File::open(path).unwrap())?.check(&threads(), &goes_on(), &|_| {})
}

fn key(circuit: &CircomCircuit, powers: &Path) -> Result<Vec<u8>, SetupError> {
    setup_from_powers(&R1cs::read(&circuit.r1cs()).unwrap(), &open(powers), &threads(), &goes_on())
}

#[test]
fn snarkjs_accepts_powers_of_ours_and_makes_keys_of_them() {
    let (dir, powers) = new_powers(RANGE_POWER);
    assert_eq!(circom::snarkjs("check-ptau", &[&powers]).unwrap(), "true");
    let circuit = CircomCircuit::compile("range");
    let zkey = dir.path().join("key.zkey");
    circom::snarkjs("setup", &[&circuit.r1cs_path(), &powers, &zkey]).unwrap();
    let key = read(&fs::read(&zkey).unwrap(), Trust::Checked);
    let proved = key.prove(&witness(&circuit, RANGE_INPUTS), &threads()).unwrap();
    let verification_key = key.verifying_key().to_json();
    assert!(snarkjs_verifies(&verification_key, &proved.proof.to_json(), &proved.signals.to_json()));
}

#[test]
fn snarkjs_accepts_keys_of_ours_with_powers_of_either() {
    let circuit = CircomCircuit::compile("range");
    let (dir, ours) = new_powers(RANGE_POWER);
    // One that is larger than the circuit.
    for powers in [ours, circom::snarkjs_powers(RANGE_POWER), circom::snarkjs_powers(8)] {
        let bytes = key(&circuit, &powers).unwrap();
        let path = dir.path().join("key.zkey");
        fs::write(&path, &bytes).unwrap();
        let operands = [circuit.r1cs_path(), powers.clone(), path];
        let operands = operands.each_ref().map(AsRef::as_ref);
        assert_eq!(circom::snarkjs("check-key", &operands).unwrap(), "true", "{}", powers.display());
        let key = read(&bytes, Trust::Checked);
        let proved = key.prove(&witness(&circuit, RANGE_INPUTS), &threads()).unwrap();
        let verification_key = key.verifying_key().to_json();
        assert!(snarkjs_verifies(&verification_key, &proved.proof.to_json(), &proved.signals.to_json()));
    }
    // Another circuit is noticed.
    let operands = [
        CircomCircuit::compile("shapes").r1cs_path(),
        circom::snarkjs_powers(8),
        dir.path().join("key.zkey"),
    ];
    assert_ne!(circom::snarkjs("check-key", &operands.each_ref().map(AsRef::as_ref)).as_deref(), Ok("true"));
}

#[test]
fn powers_of_both_pass_the_check() {
    let (_dir, ours) = new_powers(3);
    for (path, power) in [(ours, 3), (circom::snarkjs_powers(RANGE_POWER), RANGE_POWER)] {
        let powers = open(&path);
        let info = powers.info();
        assert_eq!((info.power, info.ceremony_power, info.contributions), (power, power, 1));
        let sections = Mutex::new(Vec::new());
        powers.check(&threads(), &goes_on(), &|section| sections.lock().unwrap().push(section)).unwrap();
        assert_eq!(sections.into_inner().unwrap().len(), 9);
        assert_eq!(powers.digest(&goes_on()).unwrap().origin(), PowersOrigin::Local);
    }
}

#[test]
fn powers_of_a_ceremony_pass_the_check_and_make_keys() {
    let path = circom::ceremony_powers();
    let powers = open(&path);
    let info = powers.info();
    // 54 contributions and a beacon, to a file of which this is the beginning.
    assert_eq!((info.power, info.ceremony_power, info.contributions), (8, 28, 55));
    assert_eq!(powers.digest(&goes_on()).unwrap().origin(), PowersOrigin::Ceremony);
    check(&path).unwrap();
    let (circuit, dir) = (CircomCircuit::compile("range"), tempfile::tempdir().unwrap());
    let zkey = dir.path().join("key.zkey");
    fs::write(&zkey, key(&circuit, &path).unwrap()).unwrap();
    assert_eq!(circom::snarkjs("check-key", &[&circuit.r1cs_path(), &path, &zkey]).unwrap(), "true");
}

#[test]
fn powers_of_many_pieces_pass_the_check() {
    // The longest sections are read in several pieces.
    let (_dir, path) = new_powers(13);
    check(&path).unwrap();
    let powers = open(&path);
    let cancelled = AtomicBool::new(true);
    assert!(matches!(powers.check(&threads(), &cancelled, &|_| {}), Err(PowersError::Cancelled)));
    assert!(matches!(powers.digest(&cancelled), Err(PowersError::Cancelled)));
    let bytes = fs::read(&path).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for (section, start, end) in sections(&path).into_iter().filter(|(section, ..)| [2, 12].contains(section))
    {
        // The first point in the place of the last one.
        file.write_all_at(&bytes[start..start + 64], (end - 64) as u64).unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains("contradicts itself"), "{section}: {error}");
        file.write_all_at(&bytes[end - 64..end], (end - 64) as u64).unwrap();
    }
}

#[test]
fn circuits_that_do_not_fit_are_refused_with_numbers() {
    let (_dir, powers) = new_powers(RANGE_POWER - 1);
    let error = key(&CircomCircuit::compile("range"), &powers).unwrap_err();
    let expected = SetupError::DoesNotFit { constraints: 97, public_signals: 2, needed: 7, power: 6 };
    assert_eq!(error.to_string(), expected.to_string());
}

#[test]
fn impossible_powers_are_refused() {
    let file = tempfile::tempfile().unwrap();
    for power in [0, 21, 255, u32::MAX] {
        let error = write_new(&file, power, "test", &threads(), &goes_on()).unwrap_err();
        assert_eq!(error.to_string(), format!("the power {power} is not in 1 to 20"));
    }
    assert_eq!(file.metadata().unwrap().len(), 0);
    let cancelled = write_new(&file, 4, "test", &threads(), &AtomicBool::new(true));
    assert!(matches!(cancelled, Err(PowersError::Cancelled)));
    let (_dir, path) = new_powers(3);
    let good = fs::read(&path).unwrap();
    for power in [0_u32, 23, 255, u32::MAX] {
        // Both powers of the header.
        let changed = [&good[..60], &power.to_le_bytes(), &power.to_le_bytes(), &good[68..]].concat();
        assert_eq!(open_error(&changed), format!("the power {power} is not in 1 to 22"));
    }
    let larger = [&good[..60], &4_u32.to_le_bytes(), &good[64..]].concat();
    assert!(open_error(&larger).contains("its power is larger than that of its ceremony"));
    let larger = [&good[..60], &4_u32.to_le_bytes(), &4_u32.to_le_bytes(), &good[68..]].concat();
    assert!(open_error(&larger).starts_with("section 2 of the .ptau file has 960 bytes"));
}

#[track_caller]
fn open_error(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.ptau");
    fs::write(&path, bytes).unwrap();
    PowersFile::open(File::open(&path).unwrap()).unwrap_err().to_string()
}

/// The number, start and end of each section.
fn sections(path: &Path) -> Vec<(u32, usize, usize)> {
    let bytes = fs::read(path).unwrap();
    let mut sections = Vec::new();
    let mut offset = 12;
    while offset < bytes.len() {
        let number = u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap());
        let length = u64::from_le_bytes(bytes[offset + 4..offset + 12].try_into().unwrap());
        let start = offset + 12;
        offset = start + usize::try_from(length).unwrap();
        sections.push((number, start, offset));
    }
    sections
}

#[test]
fn cut_and_extended_files_are_refused() {
    let (_dir, path) = new_powers(2);
    let good = fs::read(&path).unwrap();
    for (section, start, end) in sections(&path) {
        // The file ends in the section, or in its head.
        for cut in [start - 5, start, end - 1] {
            let error = open_error(&good[..cut]);
            let expected = FormatError::Truncated { format: "ptau" }.to_string();
            assert_eq!(error, expected, "{section} at {cut}");
        }
        // The section is left out, one byte shorter, twice there, or unknown.
        let without = [&good[..8], &10_u32.to_le_bytes(), &good[12..start - 12], &good[end..]].concat();
        let error = open_error(&without);
        let missing = FormatError::MissingSection { format: "ptau", section }.to_string();
        let is_expected = if section >= 12 { error.contains("prepare phase2") } else { error == missing };
        assert!(is_expected, "{section}: {error}");
        let length = (end - start - 1) as u64;
        let shorter =
            [&good[..start - 8], &length.to_le_bytes(), &good[start..end - 1], &good[end..]].concat();
        let error = open_error(&shorter);
        assert!(error.contains(&format!("section {section} of")) || error.contains("ends early"), "{error}");
        let twice = [&good[..8], &12_u32.to_le_bytes(), &good[12..end], &good[start - 12..]].concat();
        assert!(open_error(&twice).contains(&format!("has section {section} twice")));
        let unknown = [&good[..start - 12], &16_u32.to_le_bytes(), &good[start - 8..]].concat();
        assert!(open_error(&unknown).contains("has section 16, which is not supported"));
        // Lengths of which nothing is allocated.
        for length in [u64::MAX, 1 << 62, good.len() as u64] {
            let huge = [&good[..start - 8], &length.to_le_bytes(), &good[start..]].concat();
            assert_eq!(open_error(&huge), FormatError::Truncated { format: "ptau" }.to_string());
        }
    }
    let trailing = FormatError::TrailingBytes { format: "ptau" }.to_string();
    assert_eq!(open_error(&[&good[..], b"x"].concat()), trailing);
    assert!(open_error(b"zkey").contains("does not start with `ptau`"));
    assert!(open_error(b"").contains("does not start with `ptau`"));
    assert!(open_error(&[b"ptau\x02", &good[5..]].concat()).contains("has version 2"));
    let many = [&good[..8], &u32::MAX.to_le_bytes(), &good[12..]].concat();
    assert_eq!(open_error(&many), FormatError::Truncated { format: "ptau" }.to_string());
    let field = [&good[..40], &[9], &good[41..]].concat();
    assert!(open_error(&field).contains("is not one over BN254"));
}

#[test]
fn wrong_points_are_refused() {
    let (dir, path) = new_powers(3);
    let good = fs::read(&path).unwrap();
    let path = dir.path().join("changed.ptau");
    let error_of = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        check(&path).unwrap_err().to_string()
    };
    fs::write(&path, &good).unwrap();
    let sections = sections(&path);
    for (section, start, end) in &sections {
        let (section, start, end) = (*section, *start, *end);
        let length = match section {
            1 | 7 => continue,
            3 | 6 | 13 => 128,
            _ => 64,
        };
        let last = end - length;
        let at_last = |point: &[u8]| [&good[..last], point, &good[end..]].concat();
        // Off the curve, not below the modulus, and at infinity.
        let mut point = good[last..end].to_vec();
        point[0] ^= 1;
        assert!(error_of(&at_last(&point)).contains("is not a valid point of the curve"), "{section}");
        point[31] = 0xff;
        assert!(error_of(&at_last(&point)).contains("is not below the field's modulus"), "{section}");
        assert!(error_of(&at_last(&vec![0; length])).contains("is not a valid point"), "{section}");
        // A valid point, but not the right one.
        let other = if section == 6 {
            good[sections[2].1..][..128].to_vec()
        } else {
            good[start..][..length].to_vec()
        };
        let error = error_of(&at_last(&other));
        assert!(error.contains("contradicts itself"), "{section}: {error}");
        // Two points that were exchanged.
        if section != 6 {
            let swapped =
                [&good[..last - length], &good[last..end], &good[last - length..last], &good[end..]].concat();
            let error = error_of(&swapped);
            assert!(error.contains("contradicts itself"), "{section}: {error}");
        }
    }
    // Consistent powers, but of another tau than the rest of the file.
    let (_other_dir, other) = new_powers(3);
    let other = fs::read(other).unwrap();
    for (section, start, end) in &sections {
        let mixed = [&good[..*start], &other[*start..*end], &good[*end..]].concat();
        if *section != 1 {
            let error = error_of(&mixed);
            assert!(error.contains("contradicts itself"), "{section}: {error}");
        }
    }
    // Nobody contributed.
    let (_, start, end) = sections[6];
    let nobody = [&good[..start - 8], &4_u64.to_le_bytes(), &[0; 4], &good[end..]].concat();
    assert!(error_of(&nobody).contains("nobody contributed"));
    // More contributions than there are, and more parameters.
    for (at, value) in [(start, u32::MAX), (start, 2), (end - 10, 9), (end - 10, u32::MAX)] {
        let changed = [&good[..at], &value.to_le_bytes(), &good[at + 4..]].concat();
        fs::write(&path, &changed).unwrap();
        let error = PowersFile::open(File::open(&path).unwrap()).unwrap_err().to_string();
        assert!(error.contains("ends early"), "{error}");
    }
}

#[test]
fn no_damage_panics() {
    let (dir, path) = new_powers(2);
    let good = fs::read(&path).unwrap();
    let path = dir.path().join("changed.ptau");
    let mut accepted = Vec::new();
    for offset in (0..good.len()).step_by(29) {
        let mut changed = good.clone();
        changed[offset] ^= 0x41;
        fs::write(&path, &changed).unwrap();
        match check(&path) {
            Err(PowersError::Panicked(_)) => panic!("panicked at {offset}"),
            Err(_) => {}
            Ok(()) => accepted.push(offset),
        }
    }
    // Proofs of knowledge and transcripts of contributors are not checked.
    let (_, start, end) = sections(&path)[6];
    assert!(accepted.iter().all(|offset| (start..end).contains(offset)), "{accepted:?}");
}

#[test]
fn powers_that_change_after_they_were_opened_make_no_key() {
    let (_dir, path) = new_powers(RANGE_POWER);
    let powers = open(&path);
    let circuit = R1cs::read(&CircomCircuit::compile("range").r1cs()).unwrap();
    let cancelled = setup_from_powers(&circuit, &powers, &threads(), &AtomicBool::new(true));
    assert!(matches!(cancelled, Err(SetupError::Cancelled)));
    OpenOptions::new().append(true).open(&path).unwrap().set_len(100).unwrap();
    let error = setup_from_powers(&circuit, &powers, &threads(), &goes_on()).unwrap_err();
    assert!(matches!(error, SetupError::Powers(PowersError::Changed)), "{error}");
    assert!(matches!(powers.digest(&goes_on()), Err(PowersError::Changed | PowersError::Io(_))));
}
