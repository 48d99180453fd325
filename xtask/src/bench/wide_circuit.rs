//! A circuit that proves quickly and whose witness may have any size, for measurements of large uploads.
//!
//! The server accepts as many bytes as a witness of the circuit can have, so a small circuit accepts small uploads only.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use flate2::{Compression, write::GzEncoder};

/// The name of the circuit.
pub(super) const NAME: &str = "wide";
/// The largest index of its witness.
const LAST_INDEX: u32 = 1_399_999;
/// The program `w1 = w0 * w0` with the private parameters 0 and [`LAST_INDEX`] and the public parameter 1, as `samples::wide`
/// of the test kit makes it.
const BYTECODE: &str = "H4sIAAAAAAAA/2OeNHHagomNqxyLi1OLSqJSi/InT5x8RMEgxa/ooeECzR0BrtsaGyNiNYxfeFTuLJjo/PDr5A8MIDBx0hEFMAM3YGQkqIRhEsM5BtGY/RMZJ0yYAAA3cIDijAAAAA==";
/// Bytes of a value.
const VALUE_BYTES: usize = 32;
/// Bytes of an entry of the witness's map: an index of four bytes, a value, and their heads.
const ENTRY_BYTES: usize = 5 + 2 + VALUE_BYTES;

/// Writes the compiled circuit into a folder, and returns its path.
pub(super) fn write(dir: &Path, noir_version: &str) -> anyhow::Result<PathBuf> {
    let file = dir.join(format!("{NAME}.json"));
    let content = serde_json::json!({ "noir_version": noir_version, "bytecode": BYTECODE });
    fs::write(&file, content.to_string()).with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(file)
}

/// A witness of the circuit, as a gzip stream of about this many bytes. It is not compressed.
pub(super) fn witness(bytes: usize) -> anyhow::Result<Vec<u8>> {
    let between = u32::try_from(bytes / ENTRY_BYTES)?.min(LAST_INDEX - 2);
    // The format of compact MessagePack, a stack of one item, function 0, and its map of witnesses.
    let mut stack = vec![3, 0x91, 0x91, 0x92, 0, 0xdf];
    stack.extend((between + 3).to_be_bytes());
    // The root and its square, then values that the circuit does not use.
    entry(&mut stack, 0, 11);
    entry(&mut stack, 1, 121);
    (2..between + 2).for_each(|index| entry(&mut stack, index, index));
    entry(&mut stack, LAST_INDEX, 0);
    let mut gzip = GzEncoder::new(Vec::with_capacity(bytes), Compression::none());
    gzip.write_all(&stack)?;
    Ok(gzip.finish()?)
}

fn entry(stack: &mut Vec<u8>, index: u32, value: u32) {
    stack.push(0xce);
    stack.extend(index.to_be_bytes());
    stack.extend([0xc4, 32]);
    stack.extend([0; VALUE_BYTES - size_of::<u32>()]);
    stack.extend(value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_has_about_the_wanted_size() {
        for bytes in [1_000, 1_000_000] {
            let length = witness(bytes).unwrap().len();
            assert!(length.abs_diff(bytes) < 500, "{length}");
        }
    }
}
