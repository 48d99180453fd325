//! Removes the assertions from a program, so that it computes a witness also for inputs that do not satisfy the circuit.
//!
//! A circuit's constraints are what a proof shows. A program's assertions stop an honest prover only. Without them, the
//! witness shows whether the constraints alone refuse the inputs.

use std::ops::Range;

use crate::functions;

/// The index of `printErrorMessage` among the imports. circom's programs have no other function of this number.
pub(crate) const PRINT_ERROR_INDEX: u8 = 1;

/// The end of an assertion that failed: `call $printErrorMessage`, `i32.const 4`, `return`, `end`.
const FAILURE: [u8; 6] = [0x10, PRINT_ERROR_INDEX, 0x41, 4, 0x0f, 0x0b];

/// The same without the code and the return: `nop`.
const CONTINUATION: [u8; 6] = [0x10, PRINT_ERROR_INDEX, 1, 1, 1, 0x0b];

/// The program without assertions. `None`: it is no valid module.
pub(crate) fn remove(wasm: &[u8]) -> Option<Vec<u8>> {
    let code: Range<usize> = functions::code_section(wasm)?;
    let mut changed = wasm.to_vec();
    let section = changed.get_mut(code)?;
    let mut at = 0;
    while let Some(rest) = section.get_mut(at..) {
        let Some(end) = rest.first_chunk_mut::<{ FAILURE.len() }>() else { break };
        if *end == FAILURE {
            *end = CONTINUATION;
        }
        at += 1;
    }
    Some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ends_of_assertions_are_removed() {
        let program = |failure: &str| {
            let text = format!(
                r#"(module
                    (import "runtime" "exceptionHandler" (func (param i32)))
                    (import "runtime" "printErrorMessage" (func))
                    (memory 1)
                    (func (param i32) (result i32)
                        (if (local.get 0) (then (call 1) {failure}))
                        (if (local.get 0) (then (call 1) (return (i32.const 5))))
                        (drop (i32.const 4))
                        (i32.const 0))
                    (data (i32.const 0) "\10\01\41\04\0f\0b"))"#
            );
            wat::parse_str(text).unwrap()
        };
        let removed = remove(&program("(return (i32.const 4))")).unwrap();
        assert_eq!(removed, program("(nop) (nop) (nop)"));
        // There is nothing more to remove.
        assert_eq!(remove(&removed).unwrap(), removed);
        assert_eq!(remove(b"short"), None);
    }
}
