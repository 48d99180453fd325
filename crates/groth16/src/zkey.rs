//! Reads `.zkey` files of Groth16: the key of a circuit, with its constraints.
//!
//! Sections: 1 the proof system; 2 sizes and the points of the verifying key; 3 a point for each public signal;
//! 4 the coefficients of the matrices A and B; 5 to 9 the points for A, B in both groups, C and H; 10 the record of a
//! ceremony, which proving does not need.

use ark_bn254::{Bn254, Fq, Fr, G1Affine, G2Affine};
use ark_ec::{AffineRepr as _, pairing::Pairing as _};
use ark_ff::One as _;
use rayon::iter::{IndexedParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};

use crate::{
    curve::{G1_BYTES, G2_BYTES, PointBytes},
    field::{self, FIELD_BYTES},
    matrix::{Matrix, Term},
    r1cs::{MAX_DOMAIN_SIZE, domain_size},
    sections::{Format, FormatError, Reader, Sections},
    verifying_key::VerifyingKey,
};

pub(crate) const FORMAT: Format = Format { name: "zkey", version: 1, last_section: 10 };

/// The number of Groth16 in section 1.
pub(crate) const GROTH16: u32 = 1;

/// Bytes of a coefficient: matrix, constraint, wire, value.
const COEFFICIENT_BYTES: usize = 12 + FIELD_BYTES;

/// Where a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// From anybody: each point is checked to be on the curve and in its group. That takes a second for 30,000
    /// constraints. It does not show that the ceremony was honest, nor that the key is one of a particular circuit:
    /// `snarkjs zkey verify` compares it with a `.r1cs` and a powers-of-tau file.
    Checked,
    /// From this program's own setup, or checked earlier: coordinates are checked to be below the modulus only.
    OwnSetup,
}

/// The numbers that describe a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZkeyInfo {
    /// Wires of the circuit, the constant 1 included.
    pub wires: u32,
    /// Public signals: outputs and inputs.
    pub public_signals: u32,
    /// Constraints of the circuit.
    pub constraints: u32,
    /// The number of values over which a proof interpolates: a power of two.
    pub domain_size: u32,
}

impl ZkeyInfo {
    /// Reads sizes without points, and checks that the sections have the lengths that they need.
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        Ok(Layout::read(bytes)?.info)
    }

    /// The memory that the key takes once it is read, in bytes, and at most: a point is an eighth larger than in the file,
    /// and the transforms have tables of their own.
    #[must_use]
    pub fn memory_bytes(&self, file_bytes: u64) -> u64 {
        file_bytes.saturating_add(file_bytes / 8).saturating_add(u64::from(self.domain_size) * 128)
    }
}

/// All parts of a key.
pub(crate) struct Zkey {
    pub(crate) info: ZkeyInfo,
    pub(crate) verifying_key: VerifyingKey,
    pub(crate) beta_g1: G1Affine,
    pub(crate) delta_g1: G1Affine,
    pub(crate) a: Matrix,
    pub(crate) b: Matrix,
    pub(crate) a_query: Vec<G1Affine>,
    pub(crate) b_g1_query: Vec<G1Affine>,
    pub(crate) b_g2_query: Vec<G2Affine>,
    pub(crate) c_query: Vec<G1Affine>,
    pub(crate) h_query: Vec<G1Affine>,
}

impl Zkey {
    /// Reads a key. The points are checked on the threads of the current pool.
    pub(crate) fn read(bytes: &[u8], trust: Trust) -> Result<Self, FormatError> {
        let layout = Layout::read(bytes)?;
        let Header { alpha_g1, beta_g1, beta_g2, gamma_g2, delta_g1, delta_g2 } =
            Header::read(&layout, trust)?;
        let matrices = Matrices::read(&layout)?;
        Ok(Self {
            info: layout.info,
            verifying_key: VerifyingKey {
                alpha_g1,
                beta_g2,
                gamma_g2,
                delta_g2,
                ic: points("the public signals", layout.ic, trust)?,
            },
            beta_g1,
            delta_g1,
            a: matrices.a,
            b: matrices.b,
            a_query: points("A", layout.a, trust)?,
            b_g1_query: points("B in G1", layout.b_g1, trust)?,
            b_g2_query: points("B in G2", layout.b_g2, trust)?,
            c_query: points("C", layout.c, trust)?,
            h_query: points("H", layout.h, trust)?,
        })
    }
}

/// The sections of a file, with lengths that fit each other.
struct Layout<'a> {
    info: ZkeyInfo,
    header: Reader<'a>,
    ic: &'a [[u8; G1_BYTES]],
    coefficients: &'a [[u8; COEFFICIENT_BYTES]],
    a: &'a [[u8; G1_BYTES]],
    b_g1: &'a [[u8; G1_BYTES]],
    b_g2: &'a [[u8; G2_BYTES]],
    c: &'a [[u8; G1_BYTES]],
    h: &'a [[u8; G1_BYTES]],
}

impl<'a> Layout<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let sections = Sections::read(FORMAT, bytes)?;
        let mut system = sections.section(1)?;
        if system.u32()? != GROTH16 {
            return Err(inconsistent("it is not a key of Groth16"));
        }
        system.finish()?;

        let mut header = sections.section(2)?;
        header.expect_field(field::modulus_bytes::<Fq>())?;
        header.expect_field(field::modulus_bytes::<Fr>())?;
        let (wires, public_signals, domain) = (header.u32()?, header.u32()?, header.u32()?);
        if public_signals >= wires {
            return Err(out_of_range("the number of public signals", public_signals, wires));
        }
        if !domain.is_power_of_two() || u64::from(domain) > MAX_DOMAIN_SIZE {
            return Err(domain_error());
        }

        let mut coefficients = sections.section(4)?;
        let count = coefficients.u32()? as usize;
        let coefficients = coefficients.chunks(count)?;
        // The last constraints connect the public wires, one each.
        let last = coefficients.iter().map(Coefficient::constraint).max();
        let constraints = last.and_then(|last| last.checked_sub(public_signals));
        let constraints = constraints.ok_or_else(|| inconsistent("it has no constraints"))?;
        if domain_size(constraints, public_signals) != u64::from(domain) {
            return Err(inconsistent("its domain does not fit its constraints"));
        }
        let (wire_count, public_count) = (wires as usize, public_signals as usize);
        Ok(Self {
            info: ZkeyInfo { wires, public_signals, constraints, domain_size: domain },
            header,
            ic: sections.section(3)?.chunks(public_count + 1)?,
            coefficients,
            a: sections.section(5)?.chunks(wire_count)?,
            b_g1: sections.section(6)?.chunks(wire_count)?,
            b_g2: sections.section(7)?.chunks(wire_count)?,
            c: sections.section(8)?.chunks(wire_count - public_count - 1)?,
            h: sections.section(9)?.chunks(domain as usize)?,
        })
    }
}

struct Header {
    alpha_g1: G1Affine,
    beta_g1: G1Affine,
    beta_g2: G2Affine,
    gamma_g2: G2Affine,
    delta_g1: G1Affine,
    delta_g2: G2Affine,
}

impl Header {
    fn read(layout: &Layout<'_>, trust: Trust) -> Result<Self, FormatError> {
        let mut reader = layout.header.clone();
        let header = Self {
            alpha_g1: point("alpha", 0, reader.array()?, trust)?,
            beta_g1: point("beta", 0, reader.array()?, trust)?,
            beta_g2: point("beta", 1, reader.array()?, trust)?,
            gamma_g2: point("gamma", 0, reader.array()?, trust)?,
            delta_g1: point("delta", 0, reader.array()?, trust)?,
            delta_g2: point("delta", 1, reader.array()?, trust)?,
        };
        reader.finish()?;
        let g1 = [header.alpha_g1, header.beta_g1, header.delta_g1];
        let g2 = [header.beta_g2, header.gamma_g2, header.delta_g2];
        if g1.iter().any(G1Affine::is_zero) || g2.iter().any(G2Affine::is_zero) {
            return Err(inconsistent("a point of its verifying key is the point at infinity"));
        }
        if trust == Trust::Checked {
            header.check_groups()?;
        }
        Ok(header)
    }

    /// Beta and delta are in the file in both groups.
    fn check_groups(&self) -> Result<(), FormatError> {
        let is_same = |g1: G1Affine, g2: G2Affine| {
            Bn254::pairing(g1, G2Affine::generator()) == Bn254::pairing(G1Affine::generator(), g2)
        };
        if is_same(self.beta_g1, self.beta_g2) && is_same(self.delta_g1, self.delta_g2) {
            return Ok(());
        }
        Err(inconsistent("beta or delta differs between the two groups"))
    }
}

struct Coefficient {
    matrix: u32,
    constraint: u32,
    wire: u32,
    value: [u8; FIELD_BYTES],
}

impl Coefficient {
    fn read(bytes: &[u8; COEFFICIENT_BYTES]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        let word = |index: usize| u32::from_le_bytes(words[index]);
        let value = std::array::from_fn(|index| bytes[12 + index]);
        Self { matrix: word(0), constraint: word(1), wire: word(2), value }
    }

    fn constraint(bytes: &[u8; COEFFICIENT_BYTES]) -> u32 {
        Self::read(bytes).constraint
    }
}

struct Matrices {
    a: Matrix,
    b: Matrix,
}

impl Matrices {
    fn read(layout: &Layout<'_>) -> Result<Self, FormatError> {
        let ZkeyInfo { wires, public_signals, constraints, .. } = layout.info;
        // Bounded by the domain, which is bounded by the section with its points.
        let rows = constraints as usize;
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let mut public_wires = vec![false; public_signals as usize + 1];
        for (index, bytes) in layout.coefficients.iter().enumerate() {
            let Coefficient { matrix, constraint, wire, value } = Coefficient::read(bytes);
            let not_canonical = FormatError::NotCanonical { format: FORMAT.name, what: "coefficient", index };
            let coefficient = field::coefficient_from_zkey(&value).ok_or(not_canonical)?;
            if wire >= wires {
                return Err(out_of_range("a coefficient of wire", wire, wires));
            }
            let terms = match matrix {
                0 => &mut a,
                1 => &mut b,
                _ => return Err(out_of_range("a coefficient of matrix", matrix, 2)),
            };
            if constraint < constraints {
                terms.push((constraint, Term { wire, coefficient }));
                continue;
            }
            // The prover puts the public wires there itself.
            let is_public = matrix == 0 && wire == constraint - constraints && coefficient.is_one();
            let seen = public_wires.get_mut(wire as usize).filter(|seen| is_public && !**seen);
            *seen.ok_or_else(|| inconsistent("its last constraints do not connect the public wires"))? = true;
        }
        if public_wires.contains(&false) {
            return Err(inconsistent("its last constraints do not connect the public wires"));
        }
        Ok(Self { a: Matrix::from_terms(rows, a), b: Matrix::from_terms(rows, b) })
    }
}

fn points<const N: usize, P: PointBytes<N>>(
    what: &'static str,
    chunks: &[[u8; N]],
    trust: Trust,
) -> Result<Vec<P>, FormatError> {
    match trust {
        Trust::Checked => {
            chunks.par_iter().enumerate().map(|(index, bytes)| point(what, index, bytes, trust)).collect()
        }
        Trust::OwnSetup => {
            chunks.iter().enumerate().map(|(index, bytes)| point(what, index, bytes, trust)).collect()
        }
    }
}

fn point<const N: usize, P: PointBytes<N>>(
    what: &'static str,
    index: usize,
    bytes: &[u8; N],
    trust: Trust,
) -> Result<P, FormatError> {
    let format = FORMAT.name;
    let point = P::from_bytes(bytes).ok_or(FormatError::NotCanonical { format, what, index })?;
    if trust == Trust::Checked && !point.is_valid() {
        return Err(FormatError::InvalidPoint { format, what, index });
    }
    Ok(point)
}

pub(crate) fn domain_error() -> FormatError {
    inconsistent("its domain is not a power of two of at most 2^27")
}

fn inconsistent(reason: &'static str) -> FormatError {
    FormatError::Inconsistent { format: FORMAT.name, reason }
}

fn out_of_range(what: &'static str, value: u32, limit: u32) -> FormatError {
    FormatError::OutOfRange { format: FORMAT.name, what, value: value.into(), limit: limit.into() }
}
