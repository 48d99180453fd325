//! Reads `.wtns` files.

use std::fmt;

use ark_bn254::Fr;
use ark_ff::One as _;
use zeroize::Zeroizing;

use crate::{
    field,
    sections::{Format, FormatError, Sections},
};

const FORMAT: Format = Format { name: "wtns", version: 2, last_section: 2 };

/// The values of all wires of a circuit. The memory is overwritten when this is dropped.
pub struct WitnessValues(Zeroizing<Vec<Fr>>);

impl fmt::Debug for WitnessValues {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WitnessValues").field("values", &self.0.len()).finish_non_exhaustive()
    }
}

impl WitnessValues {
    /// Reads a `.wtns` file.
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let format = FORMAT.name;
        let sections = Sections::read(FORMAT, bytes)?;
        let mut header = sections.section(1)?;
        header.expect_field(field::modulus_bytes::<Fr>())?;
        let count = header.u32()? as usize;
        header.finish()?;
        let chunks = sections.section(2)?.chunks(count)?;
        let mut values = Zeroizing::new(Vec::with_capacity(count));
        for (index, bytes) in chunks.iter().enumerate() {
            let value = field::from_canonical(bytes);
            values.push(value.ok_or(FormatError::NotCanonical { format, what: "value", index })?);
        }
        if !values.first().is_some_and(Fr::is_one) {
            return Err(FormatError::Inconsistent { format, reason: "its first value is not 1" });
        }
        Ok(Self(values))
    }

    /// The number of values. The first is the constant 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: there is at least the constant 1.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn values(&self) -> &[Fr] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sections::{Writer, write_field};

    fn file(count: u32, values: &[[u8; 32]]) -> Vec<u8> {
        let mut writer = Writer::new(FORMAT, 2);
        writer.section(1, |bytes| {
            write_field::<Fr>(bytes);
            bytes.extend(count.to_le_bytes());
        });
        writer.section(2, |bytes| bytes.extend(values.concat()));
        writer.finish()
    }

    fn value(value: u64) -> [u8; 32] {
        field::to_canonical(&Fr::from(value))
    }

    #[test]
    fn values_are_read_in_order() {
        let witness = WitnessValues::read(&file(2, &[value(1), value(9)])).unwrap();
        assert_eq!(witness.values(), [Fr::from(1_u64), Fr::from(9_u64)]);
        assert_eq!(format!("{witness:?}"), "WitnessValues { values: 2, .. }");
    }

    #[test]
    fn damaged_files_are_refused() {
        let format = "wtns";
        let error = |bytes: &[u8]| WitnessValues::read(bytes).unwrap_err();
        let length = FormatError::SectionLength { format, section: 2, length: 64 };
        assert_eq!(error(&file(3, &[value(1), value(9)])), length);
        assert_eq!(error(&file(u32::MAX, &[value(1), value(9)])), length);
        let modulus = field::modulus_bytes::<Fr>();
        let not_canonical = FormatError::NotCanonical { format, what: "value", index: 1 };
        assert_eq!(error(&file(2, &[value(1), modulus])), not_canonical);
        let first = FormatError::Inconsistent { format, reason: "its first value is not 1" };
        assert_eq!(error(&file(1, &[value(2)])), first);
        assert_eq!(error(&file(0, &[])), first);
        let mut other_field = file(1, &[value(1)]);
        other_field[30] ^= 1;
        assert_eq!(error(&other_field), FormatError::WrongField { format });
    }
}
