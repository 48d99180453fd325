//! Damaged files are errors, never panics, and no header makes us allocate more than the file justifies.

use edgeprove_groth16::{
    FormatError, KeyError, ProveError, ProvingKey, R1cs, Trust, WitnessValues, ZkeyInfo,
};
use edgeprove_test_circom::CircomCircuit;

use crate::support::{RANGE_INPUTS, own_zkey, threads, witness, wtns};

/// The offset and length of a section's content.
fn section(file: &[u8], number: u32) -> (usize, usize) {
    let mut at = 12;
    loop {
        let id = u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let length = u64::from_le_bytes(file[at + 4..at + 12].try_into().unwrap());
        let length = usize::try_from(length).unwrap();
        if id == number {
            return (at + 12, length);
        }
        at += 12 + length;
    }
}

/// Writes a word at an offset inside a section.
fn with_word(file: &[u8], number: u32, offset: usize, word: u32) -> Vec<u8> {
    let mut changed = file.to_vec();
    let at = section(file, number).0 + offset;
    changed[at..at + 4].copy_from_slice(&word.to_le_bytes());
    changed
}

/// Offsets all over a file, more at its head.
fn offsets(length: usize) -> impl Iterator<Item = usize> {
    (0..length.min(400)).chain((400..length).step_by(length / 300 + 1))
}

fn zkey() -> Vec<u8> {
    own_zkey(&CircomCircuit::compile("range"))
}

#[track_caller]
fn error(zkey: &[u8]) -> String {
    let KeyError::Format(error) = ProvingKey::read(zkey, Trust::OwnSetup, &threads()).unwrap_err() else {
        panic!("a panic");
    };
    error.to_string()
}

#[test]
fn headers_of_keys_are_checked() {
    let zkey = zkey();
    let info = ZkeyInfo::read(&zkey).unwrap();
    // Section 2: two moduli with their lengths, then wires, public signals and domain.
    let (wires, public, domain) = (72, 76, 80);
    let with = |offset, word| error(&with_word(&zkey, 2, offset, word));
    assert_eq!(with(0, 31), "the .zkey file is not one over BN254");
    assert_eq!(with(4, 1), "the .zkey file is not one over BN254");
    assert_eq!(with(40, 1), "the .zkey file is not one over BN254");
    assert!(with(wires, u32::MAX).contains("does not fit its content"));
    assert!(with(wires, info.wires - 1).contains("does not fit its content"));
    assert!(with(wires, 0).contains("the number of public signals 2; it must be below 0"));
    assert!(with(public, u32::MAX).contains("the number of public signals 4294967295"));
    assert!(with(public, 3).contains("contradicts itself") || with(public, 3).contains("does not fit"));
    for size in [0, 3, 64, 256, 1 << 31, u32::MAX] {
        assert!(with(domain, size).contains("its domain"), "{size}");
    }
    assert_eq!(
        error(&with_word(&zkey, 1, 0, 2)),
        "the .zkey file contradicts itself: it is not a key of Groth16"
    );
}

#[test]
fn coefficients_of_keys_are_checked() {
    let zkey = zkey();
    let info = ZkeyInfo::read(&zkey).unwrap();
    let with = |offset, word| error(&with_word(&zkey, 4, offset, word));
    assert!(with(0, u32::MAX).contains("does not fit its content"));
    assert!(with(0, 0).contains("does not fit its content"));
    // The first coefficient: matrix, constraint, wire.
    assert_eq!(with(4, 2), "the .zkey file has a coefficient of matrix 2; it must be below 2");
    assert!(with(8, u32::MAX).contains("its domain does not fit"));
    assert!(with(8, info.domain_size).contains("its domain does not fit"));
    assert!(with(8, info.constraints).contains("do not connect the public wires"));
    let wire = format!("the .zkey file has a coefficient of wire {0}; it must be below {0}", info.wires);
    assert_eq!(with(12, info.wires), wire);
    assert!(with(44, u32::MAX).contains("coefficient 0 of the .zkey file is not below"));
    // The last one connects the last public wire.
    let last = section(&zkey, 4).1 - 44;
    assert!(with(last + 8, 0).contains("do not connect the public wires"));
    assert!(with(last, 1).contains("do not connect the public wires"));
}

#[test]
fn points_of_foreign_keys_are_checked() {
    let zkey = zkey();
    let names = ["the public signals", "", "A", "B in G1", "B in G2", "C", "H"];
    for (number, what) in (3..).zip(names).filter(|(number, _)| *number != 4) {
        let changed = with_word(&zkey, number, 0, 7);
        let checked = ProvingKey::read(&changed, Trust::Checked, &threads()).unwrap_err();
        let expected = FormatError::InvalidPoint { format: "zkey", what, index: 0 };
        assert_eq!(checked, KeyError::Format(expected), "{number}");
        // A coordinate that is not below the modulus is refused in any case.
        let changed = with_word(&zkey, number, 28, u32::MAX);
        assert!(error(&changed).contains("is not below the field's modulus"), "{number}");
    }
    let mut infinity = zkey.clone();
    let at = section(&zkey, 2).0 + 84;
    infinity[at..at + 64].fill(0);
    assert!(error(&infinity).contains("point at infinity"));
    // Delta in G1 replaced by beta in G1: both are points, but of different numbers.
    let mut swapped = zkey.clone();
    let (beta, delta) = (at + 64, at + 64 + 64 + 128 + 128);
    swapped.copy_within(beta..beta + 64, delta);
    let checked = ProvingKey::read(&swapped, Trust::Checked, &threads()).unwrap_err();
    assert!(checked.to_string().contains("beta or delta differs"), "{checked}");
}

#[test]
fn no_damage_to_a_key_panics() {
    let circuit = CircomCircuit::compile("range");
    let (zkey, witness, threads) = (zkey(), witness(&circuit, RANGE_INPUTS), threads());
    let mut refused = 0;
    for offset in offsets(zkey.len()) {
        let mut changed = zkey.clone();
        changed[offset] ^= 0x41;
        match ProvingKey::read(&changed, Trust::OwnSetup, &threads) {
            Err(KeyError::Panicked(_)) => panic!("reading panicked at {offset}"),
            // A wrong point shows in the proof, unless the wire has the value 0.
            Ok(key) if offset % 16 == 0 => match key.prove(&witness, &threads) {
                Ok(_) => {}
                Err(ProveError::Unsatisfied) => refused += 1,
                Err(error) => panic!("{offset}: {error}"),
            },
            Err(KeyError::Format(_)) | Ok(_) => {}
        }
    }
    assert!(refused > 3, "{refused}");
}

#[test]
fn truncated_files_are_errors() {
    let circuit = CircomCircuit::compile("range");
    let (zkey, r1cs, wtns) = (zkey(), circuit.r1cs(), wtns(&circuit, RANGE_INPUTS));
    for end in offsets(zkey.len()) {
        ZkeyInfo::read(&zkey[..end]).unwrap_err();
    }
    for end in offsets(r1cs.len()) {
        R1cs::read(&r1cs[..end]).unwrap_err();
    }
    for end in offsets(wtns.len()) {
        WitnessValues::read(&wtns[..end]).unwrap_err();
    }
}

#[test]
fn no_damage_to_other_files_panics() {
    let circuit = CircomCircuit::compile("range");
    let (r1cs, wtns) = (circuit.r1cs(), wtns(&circuit, RANGE_INPUTS));
    let mut refused = 0;
    for byte in [0x01, 0xff] {
        for offset in offsets(r1cs.len()) {
            let mut changed = r1cs.clone();
            changed[offset] ^= byte;
            refused += usize::from(R1cs::read(&changed).is_err());
        }
        for offset in offsets(wtns.len()) {
            let mut changed = wtns.clone();
            changed[offset] ^= byte;
            refused += usize::from(WitnessValues::read(&changed).is_err());
        }
    }
    assert!(refused > 200, "{refused}");
}
