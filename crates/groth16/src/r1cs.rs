//! Reads `.r1cs` files: the constraints of a circuit.
//!
//! Wire 0 is the constant 1. Then come the public outputs, the public inputs, the private inputs, and the rest.

use ark_bn254::Fr;
use ark_ff::Zero as _;

use crate::{
    field,
    sections::{Format, FormatError, Reader, Sections},
    witness::WitnessValues,
};

/// Sections 4 and 5 are custom gates, which Groth16 does not have.
const FORMAT: Format = Format { name: "r1cs", version: 1, last_section: 3 };

const HEADER: u32 = 1;
const CONSTRAINTS: u32 = 2;
const LABELS: u32 = 3;

/// Bytes of a constraint without terms: the numbers of terms.
const EMPTY_CONSTRAINT_BYTES: usize = 12;

/// The largest domain: the field has roots of unity for twice as many values.
pub(crate) const MAX_DOMAIN_SIZE: u64 = 1 << 27;

/// The numbers that describe a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct R1csInfo {
    /// Wires, the constant 1 included.
    pub wires: u32,
    /// Public outputs.
    pub public_outputs: u32,
    /// Public inputs.
    pub public_inputs: u32,
    /// Private inputs. Some may have no wire, because no constraint uses them.
    pub private_inputs: u32,
    /// Constraints.
    pub constraints: u32,
}

impl R1csInfo {
    /// Reads the header of a `.r1cs` file, and checks that the sections have the lengths that it announces.
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        Ok(read_sections(bytes)?.0)
    }

    /// The number of public signals: outputs and inputs.
    #[must_use]
    pub fn public_signals(&self) -> u32 {
        self.public_outputs + self.public_inputs
    }

    /// The memory that the constraints take once they are read, in bytes, and at most: a term is a ninth larger than in
    /// the file, and a constraint has three lists.
    #[must_use]
    pub fn memory_bytes(&self, file_bytes: u64) -> u64 {
        file_bytes.saturating_add(file_bytes / 8).saturating_add(u64::from(self.constraints) * 128)
    }

    /// The number of values over which a proof interpolates: a power of two.
    #[must_use]
    pub fn domain_size(&self) -> u64 {
        domain_size(self.constraints, self.public_signals())
    }
}

/// The domain of a circuit: one value for each constraint, and one for each public wire.
pub(crate) fn domain_size(constraints: u32, public_signals: u32) -> u64 {
    (u64::from(constraints) + u64::from(public_signals) + 1).next_power_of_two()
}

/// Wires with their coefficients.
pub(crate) type Terms = Vec<(u32, Fr)>;

/// `a * b = c`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Constraint {
    pub(crate) a: Terms,
    pub(crate) b: Terms,
    pub(crate) c: Terms,
}

/// A circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct R1cs {
    info: R1csInfo,
    constraints: Vec<Constraint>,
}

impl R1cs {
    /// Reads a `.r1cs` file.
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let (info, mut reader) = read_sections(bytes)?;
        let mut terms = TermReader { wires: info.wires, index: 0 };
        let mut constraints = Vec::with_capacity(info.constraints as usize);
        for _ in 0..info.constraints {
            let [a, b, c] = [(); 3].map(|()| terms.read(&mut reader));
            constraints.push(Constraint { a: a?, b: b?, c: c? });
        }
        reader.finish()?;
        Ok(Self { info, constraints })
    }

    /// The numbers that describe the circuit.
    #[must_use]
    pub fn info(&self) -> R1csInfo {
        self.info
    }

    /// The first constraint that the witness does not satisfy, counted from 0. `None`: it satisfies all of them. A wire
    /// that the witness lacks counts as 0, so that its number of values should be compared before.
    #[must_use]
    pub fn first_unsatisfied(&self, witness: &WitnessValues) -> Option<usize> {
        let wires = witness.values();
        let sum = |terms: &Terms| {
            terms.iter().fold(Fr::zero(), |sum, (wire, coefficient)| {
                wires.get(*wire as usize).map_or(sum, |value| sum + *coefficient * value)
            })
        };
        self.constraints.iter().position(|Constraint { a, b, c }| sum(a) * sum(b) != sum(c))
    }

    pub(crate) fn constraints(&self) -> &[Constraint] {
        &self.constraints
    }
}

/// The header, and a reader for the constraints.
fn read_sections(bytes: &[u8]) -> Result<(R1csInfo, Reader<'_>), FormatError> {
    let format = FORMAT.name;
    let sections = Sections::read(FORMAT, bytes)?;
    let mut header = sections.section(HEADER)?;
    header.expect_field(field::modulus_bytes::<Fr>())?;
    let wires = header.u32()?;
    let (public_outputs, public_inputs, private_inputs) = (header.u32()?, header.u32()?, header.u32()?);
    let _labels = header.u64()?;
    let constraints = header.u32()?;
    header.finish()?;

    let public = u64::from(public_outputs) + u64::from(public_inputs);
    if public >= u64::from(wires) {
        let (what, limit) = ("the number of public signals", u64::from(wires));
        return Err(FormatError::OutOfRange { format, what, value: public, limit });
    }
    sections.section(LABELS)?.chunks::<8>(wires as usize)?;
    let reader = sections.section(CONSTRAINTS)?;
    let most = reader.bytes.len() / EMPTY_CONSTRAINT_BYTES;
    if constraints as usize > most {
        let (what, value, limit) = ("the number of constraints", constraints.into(), most as u64 + 1);
        return Err(FormatError::OutOfRange { format, what, value, limit });
    }
    let info = R1csInfo { wires, public_outputs, public_inputs, private_inputs, constraints };
    if info.domain_size() > MAX_DOMAIN_SIZE {
        let (what, value) = ("a domain of size", info.domain_size());
        return Err(FormatError::OutOfRange { format, what, value, limit: MAX_DOMAIN_SIZE + 1 });
    }
    Ok((info, reader))
}

struct TermReader {
    wires: u32,
    /// Counts the terms for errors.
    index: usize,
}

impl TermReader {
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<Terms, FormatError> {
        let format = reader.format;
        let count = reader.u32()? as usize;
        // Bounded by what is left of the file.
        let mut terms = Vec::with_capacity(count.min(reader.bytes.len() / (4 + field::FIELD_BYTES)));
        for _ in 0..count {
            let wire = reader.u32()?;
            if wire >= self.wires {
                let (what, limit) = ("a term with wire", self.wires.into());
                return Err(FormatError::OutOfRange { format, what, value: wire.into(), limit });
            }
            let not_canonical = FormatError::NotCanonical { format, what: "coefficient", index: self.index };
            terms.push((wire, field::from_canonical(reader.array()?).ok_or(not_canonical)?));
            self.index += 1;
        }
        Ok(terms)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sections::{Writer, write_field};

    /// One constraint: `wire 2 * wire 2 = wire 1`, with one public output.
    pub(crate) fn square() -> Vec<u8> {
        file(&Header::default())
    }

    struct Header {
        wires: u32,
        outputs: u32,
        constraints: u32,
        wire: u32,
        coefficient: [u8; 32],
    }

    impl Default for Header {
        fn default() -> Self {
            let coefficient = field::to_canonical(&Fr::from(1_u64));
            Self { wires: 3, outputs: 1, constraints: 1, wire: 2, coefficient }
        }
    }

    fn file(header: &Header) -> Vec<u8> {
        let mut writer = Writer::new(FORMAT, 3);
        writer.section(HEADER, |bytes| {
            write_field::<Fr>(bytes);
            for number in [header.wires, header.outputs, 0, 1] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(3_u64.to_le_bytes());
            bytes.extend(header.constraints.to_le_bytes());
        });
        writer.section(CONSTRAINTS, |bytes| {
            for wire in [2, header.wire, 1] {
                bytes.extend(1_u32.to_le_bytes());
                bytes.extend(u32::to_le_bytes(wire));
                bytes.extend(header.coefficient);
            }
        });
        writer.section(LABELS, |bytes| bytes.extend([0; 24]));
        writer.finish()
    }

    #[track_caller]
    fn error(header: &Header) -> String {
        R1cs::read(&file(header)).unwrap_err().to_string()
    }

    #[test]
    fn constraints_are_read() {
        let circuit = R1cs::read(&square()).unwrap();
        let one = Fr::from(1_u64);
        let constraint = Constraint { a: vec![(2, one)], b: vec![(2, one)], c: vec![(1, one)] };
        assert_eq!(circuit.constraints(), [constraint]);
        let info = R1csInfo::read(&square()).unwrap();
        assert_eq!(circuit.info(), info);
        assert_eq!((info.public_signals(), info.domain_size()), (1, 4));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let default = Header::default;
        assert_eq!(
            error(&Header { wire: 3, ..default() }),
            "the .r1cs file has a term with wire 3; it must be below 3"
        );
        assert_eq!(
            error(&Header { outputs: 3, ..default() }),
            "the .r1cs file has the number of public signals 3; it must be below 3"
        );
        assert_eq!(
            error(&Header { constraints: u32::MAX, ..default() }),
            "the .r1cs file has the number of constraints 4294967295; it must be below 11"
        );
        assert_eq!(error(&Header { constraints: 2, ..default() }), "the .r1cs file ends early");
        assert_eq!(
            error(&Header { constraints: 0, ..default() }),
            "section 2 of the .r1cs file has 120 bytes, which does not fit its content"
        );
        assert_eq!(
            error(&Header { wires: u32::MAX, ..default() }),
            "section 3 of the .r1cs file has 24 bytes, which does not fit its content"
        );
        assert_eq!(
            error(&Header { coefficient: field::modulus_bytes::<Fr>(), ..default() }),
            "coefficient 0 of the .r1cs file is not below the field's modulus"
        );
    }
}
