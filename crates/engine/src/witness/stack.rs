//! Reads an inflated witness as bb will, without keeping any of it, and says what is wrong with it.
//!
//! Noir writes a *witness stack*: one byte that names the format, then `MessagePack`. bb 5.0.0 takes the compact
//! format only: `[[[0, {0: bin32, 1: bin32, ...}]]]`, that is a stack of one item, the item's function (`main`) and
//! its map from witness index to field element, big-endian, in ascending order of the indices. Noir may leave out
//! indices that the circuit skips; bb fills those with random values.
//!
//! bb itself would refuse or, worse, believe much of what is refused here: an index of four billion makes it
//! allocate until it dies, a value beyond the modulus is reduced without a word, and bytes after the end are
//! ignored. Values are never kept, and none finds its way into an error.

mod error;
mod reader;

use std::io::Read;

pub use error::{Fault, Found, StackError};
use reader::Reader;

/// Bytes of a field element.
const VALUE_BYTES: u32 = 32;
/// The order of BN254's scalar field, big-endian. Every value is below it.
const MODULUS: [u8; VALUE_BYTES as usize] = [
    0x30, 0x64, 0x4e, 0x72, 0xe1, 0x31, 0xa0, 0x29, 0xb8, 0x50, 0x45, 0xb6, 0x81, 0x81, 0x58, 0x5d, 0x28,
    0x33, 0xe8, 0x48, 0x79, 0xb9, 0x70, 0x91, 0x43, 0xe1, 0xf5, 0x93, 0xf0, 0x00, 0x00, 0x01,
];
/// Most bytes that one entry takes: an index in five, a value's head in at most five, and the value.
const ENTRY_BYTES_MAX: u64 = 5 + 5 + VALUE_BYTES as u64;
/// Most bytes before the first entry and a generous rest.
const HEAD_BYTES_MAX: u64 = 64;

/// What a circuit expects of its witnesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WitnessShape {
    /// The largest index, as bb counts: every witness must have exactly this one as its largest.
    pub max_index: u32,
}

impl WitnessShape {
    /// Most bytes that an inflated witness of this shape can have.
    #[must_use]
    pub fn inflated_bytes_max(self) -> u64 {
        HEAD_BYTES_MAX + (u64::from(self.max_index) + 1) * ENTRY_BYTES_MAX
    }
}

/// What a witness was found to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WitnessSummary {
    /// Items on the stack: always one.
    pub items: u32,
    /// Witnesses that have a value.
    pub entries: u64,
}

/// Reads an inflated witness to its end and holds it against the circuit's shape. Blocking; memory does not grow
/// with the input.
///
/// 1. The format byte is that of compact `MessagePack`, else [`StackError::Format`].
/// 2. The stack has one item, for function 0, else [`StackError::Malformed`].
/// 3. Each index is above the one before and each value is 32 bytes below the modulus, else `Malformed`; no index
///    is above the circuit's largest, else [`StackError::OtherCircuit`].
/// 4. Nothing follows, else `Malformed`; the last index is the circuit's largest, else `OtherCircuit`.
pub fn check(inflated: impl Read, shape: &WitnessShape) -> Result<WitnessSummary, StackError> {
    let mut reader = Reader::new(inflated);
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
    let last = check_entries(&mut reader, entries, shape.max_index)?;
    reader.end()?;
    match last {
        Some(last) if last == shape.max_index => Ok(WitnessSummary { items: 1, entries: entries.into() }),
        last => Err(StackError::OtherCircuit { got: last, want: shape.max_index }),
    }
}

/// Reads the map's entries and returns the last index. The map's length is the file's own word, so that nothing
/// may depend on it but the end of this loop.
fn check_entries<R: Read>(
    reader: &mut Reader<R>,
    entries: u32,
    want: u32,
) -> Result<Option<u32>, StackError> {
    let mut last = None;
    for _ in 0..entries {
        let index = reader.index("a witness index")?;
        if let Some(last) = last
            && index <= last
        {
            return Err(reader.fault(Fault::NotAscending { index, last }));
        }
        if index > want {
            return Err(StackError::OtherCircuit { got: Some(index), want });
        }
        if reader.value(index)? >= MODULUS {
            return Err(reader.fault(Fault::BeyondModulus { index }));
        }
        last = Some(index);
    }
    Ok(last)
}

#[cfg(test)]
mod tests;
