//! Writes `.zkey` files that snarkjs reads.

use ark_bn254::{Fq, Fr};
use ark_ff::One as _;

use crate::{
    blake2b::DIGEST_BYTES,
    curve::PointBytes,
    field,
    r1cs::{R1cs, Terms},
    sections::{Writer, write_field},
    zkey::{FORMAT, GROTH16, Zkey},
};

/// What a key records of its own ceremony.
pub(crate) struct Record {
    /// The digest of the circuit with the powers of tau.
    pub(crate) circuit_hash: [u8; DIGEST_BYTES],
    /// How many contributed to the key.
    pub(crate) contributions: u32,
    /// What they published, as a file has it.
    pub(crate) published: Vec<u8>,
}

impl Record {
    /// That of a key without powers of tau.
    pub(crate) const NONE: Self =
        Self { circuit_hash: [0; DIGEST_BYTES], contributions: 0, published: Vec::new() };
}

/// The bytes of a `.zkey` file. The matrices come from the circuit, and those of `key` are not used.
pub(crate) fn write(circuit: &R1cs, key: &Zkey, record: &Record) -> Vec<u8> {
    let mut writer = Writer::new(FORMAT, 10);
    writer.section(1, |bytes| bytes.extend(GROTH16.to_le_bytes()));
    writer.section(2, |bytes| {
        write_field::<Fq>(bytes);
        write_field::<Fr>(bytes);
        for number in [key.info.wires, key.info.public_signals, key.info.domain_size] {
            bytes.extend(number.to_le_bytes());
        }
        let verifying = &key.verifying_key;
        bytes.extend(verifying.alpha_g1.to_bytes());
        bytes.extend(key.beta_g1.to_bytes());
        bytes.extend(verifying.beta_g2.to_bytes());
        bytes.extend(verifying.gamma_g2.to_bytes());
        bytes.extend(key.delta_g1.to_bytes());
        bytes.extend(verifying.delta_g2.to_bytes());
    });
    writer.section(3, |bytes| points(bytes, &key.verifying_key.ic));
    writer.section(4, |bytes| coefficients(bytes, circuit));
    writer.section(5, |bytes| points(bytes, &key.a_query));
    writer.section(6, |bytes| points(bytes, &key.b_g1_query));
    writer.section(7, |bytes| points(bytes, &key.b_g2_query));
    writer.section(8, |bytes| points(bytes, &key.c_query));
    writer.section(9, |bytes| points(bytes, &key.h_query));
    writer.section(10, |bytes| {
        bytes.extend(record.circuit_hash);
        bytes.extend(record.contributions.to_le_bytes());
        bytes.extend(&record.published);
    });
    writer.finish()
}

fn points<const N: usize, P: PointBytes<N>>(bytes: &mut Vec<u8>, points: &[P]) {
    bytes.reserve(N * points.len());
    for point in points {
        bytes.extend(point.to_bytes());
    }
}

fn coefficients(bytes: &mut Vec<u8>, circuit: &R1cs) {
    let count_at = bytes.len();
    bytes.extend(0_u32.to_le_bytes());
    let mut count = 0_u32;
    let mut write = |matrix: u32, constraint: u32, wire: u32, value: &Fr| {
        for number in [matrix, constraint, wire] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(field::coefficient_to_zkey(value));
        count += 1;
    };
    for (index, constraint) in (0..).zip(circuit.constraints()) {
        let mut row = |matrix, terms: &Terms| {
            for (wire, value) in terms {
                write(matrix, index, *wire, value);
            }
        };
        row(0, &constraint.a);
        row(1, &constraint.b);
    }
    let info = circuit.info();
    for wire in 0..=info.public_signals() {
        write(0, info.constraints + wire, wire, &Fr::one());
    }
    bytes[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
}
