//! Removes values from bb's messages, because bb may quote values of the circuit it works on.

/// Replaces runs of hexadecimal digits that are longer than any address, size or count that bb prints. Such a run could
/// be a value of the witness.
#[must_use]
pub fn without_values(message: &str) -> String {
    const HARMLESS_LENGTH_MAX: usize = 12;
    let mut redacted = String::with_capacity(message.len());
    let mut run = String::new();
    for character in message.chars().chain(std::iter::once('\n')) {
        if character.is_ascii_hexdigit() {
            run.push(character);
            continue;
        }
        if run.len() > HARMLESS_LENGTH_MAX {
            redacted.push('…');
        } else {
            redacted.push_str(&run);
        }
        run.clear();
        if character != '\n' {
            redacted.push(character);
        }
    }
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_removed_from_messages() {
        let field = "2a".repeat(32);
        let message =
            format!("Assertion failed: (0x{field} == 7U) Actual  : 123456789012345678901 at row 4096");
        let redacted = without_values(&message);
        assert_eq!(redacted, "Assertion failed: (0x… == 7U) Actual  : … at row 4096");
    }
}
