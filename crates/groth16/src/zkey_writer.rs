//! Writes `.zkey` files that snarkjs reads.

use ark_bn254::{Fq, Fr};
use ark_ff::One as _;

use crate::{
    curve::PointBytes,
    field,
    r1cs::{R1cs, Terms},
    sections::{Writer, write_field},
    zkey::{FORMAT, GROTH16, Zkey},
};

/// The digest of the circuit in the record of a ceremony. Without a ceremony there is none.
const NO_CIRCUIT_HASH: [u8; 64] = [0; 64];

/// The bytes of a `.zkey` file. The matrices come from the circuit, and those of `key` are not used.
pub(crate) fn write(circuit: &R1cs, key: &Zkey) -> Vec<u8> {
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
        bytes.extend(NO_CIRCUIT_HASH);
        bytes.extend(0_u32.to_le_bytes());
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
