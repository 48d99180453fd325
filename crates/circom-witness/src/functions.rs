//! The length of a program's functions, before it is compiled.
//!
//! The compiler takes one function after the other. Its time and memory grow faster than the length of a function, and only in
//! proportion to the number of functions. So a limit for each function bounds the compiler.

use std::ops::Range;

/// The section with the functions' bodies.
const CODE_SECTION: u8 = 10;

/// Bytes before the first section: the magic and the version.
const PREAMBLE_BYTES: usize = 8;

/// The length of the longest function, in bytes. `None` where the program is no valid module.
pub(crate) fn longest(wasm: &[u8]) -> Option<usize> {
    let section = wasm.get(code_section(wasm)?)?;
    if section.is_empty() {
        return Some(0);
    }
    let (count, mut bodies) = number(section)?;
    let mut longest = 0;
    for _ in 0..count {
        let (length, body) = number(bodies)?;
        bodies = body.get(length..)?;
        longest = longest.max(length);
    }
    Some(longest)
}

/// Where the bodies of all functions are; empty where there are none. `None` where the program is no valid module.
pub(crate) fn code_section(wasm: &[u8]) -> Option<Range<usize>> {
    let mut rest = wasm.get(PREAMBLE_BYTES..)?;
    let mut code = 0..0;
    while let Some((&id, after_id)) = rest.split_first() {
        let (length, content) = number(after_id)?;
        let (_, after) = content.split_at_checked(length)?;
        if id == CODE_SECTION {
            let start = wasm.len() - content.len();
            code = start..start + length;
        }
        rest = after;
    }
    Some(code)
}

/// An unsigned integer in LEB128 of at most 32 bits, and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u32;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        let shift = u32::try_from(7 * index).ok()?;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_function_is_found() {
        let long = "(drop (i32.const 7))".repeat(100);
        let text = format!("(module (func) (func {long}) (func (drop (i32.const 1))) (memory 1))");
        let wasm = wat::parse_str(text).unwrap();
        // Three bytes for each statement, the number of locals, and the end.
        assert_eq!(longest(&wasm), Some(302));
        assert_eq!(longest(&wat::parse_str("(module)").unwrap()), Some(0));
        for length in PREAMBLE_BYTES + 1..wasm.len() {
            // Some beginnings end after a section.
            assert!(longest(&wasm[..length]).is_none_or(|found| found == 0 || found == 302), "{length}");
        }
        assert_eq!(longest(b"short"), None);
        assert_eq!(longest(&[0, 0, 0, 0, 0, 0, 0, 0, 10, 0xff, 0xff, 0xff, 0xff, 0x0f]), None);
    }
}
