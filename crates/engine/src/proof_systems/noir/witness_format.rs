//! Checks the format of a decompressed witness as a stream, without storing any of it.
//!
//! Noir writes a *witness stack*: one byte that names the format, then `MessagePack`. bb 5.0.0 accepts the compact format
//! only: `[[[0, {0: bin32, 1: bin32, ...}]]]`, that is a stack of one item, the item's function (`main`) and its map from
//! witness index to field element, big-endian, in ascending order of the indices. Noir may omit indices that the circuit
//! skips; bb fills those with random values.
//!
//! bb would refuse some of the witnesses that are refused here, and would accept others wrongly: an index of four
//! billion makes it allocate until it dies, it reduces a value beyond the modulus silently, and it ignores bytes after the
//! end. No error contains a value, and the buffers that values pass through are wiped.

mod error;
mod reader;

use std::io::Read;

pub use error::{Fault, Found, StackError};
use reader::Reader;

/// Bytes of a field element.
const VALUE_BYTES: u32 = 32;
/// The order of BN254's scalar field, big-endian. Every value is below it.
pub(super) const MODULUS: [u8; VALUE_BYTES as usize] = [
    0x30, 0x64, 0x4e, 0x72, 0xe1, 0x31, 0xa0, 0x29, 0xb8, 0x50, 0x45, 0xb6, 0x81, 0x81, 0x58, 0x5d, 0x28,
    0x33, 0xe8, 0x48, 0x79, 0xb9, 0x70, 0x91, 0x43, 0xe1, 0xf5, 0x93, 0xf0, 0x00, 0x00, 0x01,
];
/// Most bytes of one entry: five for the index, five for the value's head, and the value.
const ENTRY_BYTES_MAX: u64 = 5 + 5 + VALUE_BYTES as u64;
/// Most bytes before the first entry, with some reserve.
const HEAD_BYTES_MAX: u64 = 64;

/// The shape that a circuit expects of its witnesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WitnessShape {
    /// The largest index, as bb counts: the largest index of every witness must equal it. `None` for a circuit without
    /// witnesses, whose only witness is the empty map.
    pub max_index: Option<u32>,
}

impl WitnessShape {
    /// The largest size of a decompressed witness of this shape, in bytes.
    #[must_use]
    pub fn decompressed_bytes_max(self) -> u64 {
        HEAD_BYTES_MAX + self.witnesses() * ENTRY_BYTES_MAX
    }

    /// The number of witnesses that bb reserves memory for.
    #[must_use]
    pub fn witnesses(self) -> u64 {
        self.max_index.map_or(0, |max| u64::from(max) + 1)
    }
}

/// The content of a witness that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WitnessSummary {
    /// Items on the stack: always one.
    pub items: u32,
    /// Witnesses that have a value.
    pub entries: u64,
}

/// Reads a decompressed witness to its end and checks its format and its shape. Blocking; memory does not grow with the
/// input.
///
/// 1. The format byte is that of compact `MessagePack`, else [`StackError::Format`].
/// 2. The stack has one item, for function 0, else [`StackError::Malformed`].
/// 3. Each index is above the one before and each value is 32 bytes below the modulus, else `Malformed`; no index
///    is above the circuit's largest, else [`StackError::OtherCircuit`].
/// 4. Nothing follows, else `Malformed`; the last index is the circuit's largest, else `OtherCircuit`.
pub fn check(decompressed: impl Read, shape: &WitnessShape) -> Result<WitnessSummary, StackError> {
    read(decompressed, shape, |_, _| {})
}

/// As [`check`], and calls `visit` with each index and its value, big-endian.
pub fn read(
    decompressed: impl Read,
    shape: &WitnessShape,
    visit: impl FnMut(u32, &[u8; VALUE_BYTES as usize]),
) -> Result<WitnessSummary, StackError> {
    let mut reader = Reader::new(decompressed);
    match reader.byte("the format byte")? {
        3 => {}
        byte => return Err(StackError::Format { found: Found::of(byte) }),
    }
    reader.array_of(1, "the stack file")?;
    reader.array_of(1, "the stack")?;
    reader.array_of(2, "the stack's item")?;
    let function = reader.index("the item's function")?;
    if function != 0 {
        return Err(reader.fault(Fault::OtherFunction { function }));
    }
    let entries = reader.map_len("the item's witness map")?;
    let last = check_entries(&mut reader, entries, shape.max_index, visit)?;
    reader.end()?;
    if last == shape.max_index {
        Ok(WitnessSummary { items: 1, entries: entries.into() })
    } else {
        Err(StackError::OtherCircuit { got: last, want: shape.max_index })
    }
}

/// Reads the map's entries and returns the last index. The length comes from the file and may be wrong, so nothing but
/// the end of this loop depends on it.
fn check_entries<R: Read>(
    reader: &mut Reader<R>,
    entries: u32,
    want: Option<u32>,
    mut visit: impl FnMut(u32, &[u8; VALUE_BYTES as usize]),
) -> Result<Option<u32>, StackError> {
    let mut last = None;
    for _ in 0..entries {
        let index = reader.index("a witness index")?;
        if let Some(last) = last
            && index <= last
        {
            return Err(reader.fault(Fault::NotAscending { index, last }));
        }
        if Some(index) > want {
            return Err(StackError::OtherCircuit { got: Some(index), want });
        }
        let value = reader.value(index)?;
        if *value >= MODULUS {
            return Err(reader.fault(Fault::BeyondModulus { index }));
        }
        visit(index, &value);
        last = Some(index);
    }
    Ok(last)
}

#[cfg(test)]
mod tests;
