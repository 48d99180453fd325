//! The inputs of a circom circuit, and what can be wrong with them.
//!
//! The program knows its input signals by hashes of their names, and not which of them are public: that follows from their
//! positions in the witness. So both members of a document are read as one set of signals.

use edgeprove_circom_witness::{InputError as SignalError, Inputs, MemberError};

use crate::proof_systems::inputs::{self, Fault, InputDocument, InputError, PRIVATE_INPUTS, PUBLIC_INPUTS};

const MEMBERS: [&str; 2] = [PRIVATE_INPUTS, PUBLIC_INPUTS];

/// Reads the signals of a document, for a circuit with so many values in all of its inputs.
pub fn read(document: &InputDocument, values_max: u32) -> Result<Inputs, InputError> {
    Inputs::parse_members(document.json(), &MEMBERS, values_max)
        .map_err(|MemberError { member, error }| translate(error, MEMBERS.get(member).copied()))
}

/// What is wrong with these signals, by the error of the program.
#[must_use]
pub fn error(error: SignalError, signals: &Inputs) -> InputError {
    let member = match &error {
        SignalError::UnknownSignal { signal } | SignalError::WrongLength { signal, .. } => {
            signals.member_of(signal)
        }
        SignalError::TooLong { .. }
        | SignalError::NotJson { .. }
        | SignalError::NotAnObject
        | SignalError::NamesTooLong
        | SignalError::TooManySignals { .. }
        | SignalError::Duplicate { .. }
        | SignalError::NotAnInteger { .. }
        | SignalError::NotBelowModulus { .. }
        | SignalError::Missing { .. } => None,
    };
    translate(error, member.and_then(|member| MEMBERS.get(member).copied()))
}

fn translate(error: SignalError, member: Option<&'static str>) -> InputError {
    let member = member.unwrap_or(PRIVATE_INPUTS);
    let field =
        |signal: &str, fault| InputError::Field { field: format!("{member}.{}", shown(signal)), fault };
    match error {
        SignalError::NotJson { line, column } => InputError::NotJson { line, column },
        SignalError::TooLong { .. }
        | SignalError::NotAnObject
        | SignalError::NamesTooLong
        | SignalError::TooManySignals { .. } => InputError::Shape { what: format!("`{member}`: {error}") },
        SignalError::Duplicate { signal } => field(&signal, Fault::Twice),
        SignalError::NotAnInteger { signal, position } => {
            let expected = "an integer: a JSON number of at most 64 bits, or a string with decimal digits, or with \
                            hexadecimal ones after 0x";
            field(&signal, Fault::Value { position, expected })
        }
        SignalError::NotBelowModulus { signal, position } => {
            let expected = "below the modulus of BN254's scalar field";
            field(&signal, Fault::Value { position, expected })
        }
        SignalError::UnknownSignal { signal } => {
            field(&signal, Fault::Unknown { expected: "an input signal of the circuit".to_owned() })
        }
        SignalError::WrongLength { signal, expected, given } => {
            field(&signal, Fault::Mismatch { expected: values(expected), found: values(given) })
        }
        SignalError::Missing { expected, given } => InputError::Field {
            field: PRIVATE_INPUTS.to_owned(),
            fault: Fault::Mismatch {
                expected: format!("{} in all input signals", values(expected)),
                found: values(given),
            },
        },
    }
}

fn values(count: impl TryInto<u64>) -> String {
    match count.try_into() {
        Ok(1) => "1 value".to_owned(),
        Ok(count) => format!("{count} values"),
        Err(_) => "too many values".to_owned(),
    }
}

/// The name of a signal as an error shows it, such as `points[0].x`. A name that no program would use is not repeated,
/// because it may be a value that is in the wrong place.
fn shown(signal: &str) -> &str {
    let is_part = |part: &str| {
        let (name, indices) = part.split_at(part.find('[').unwrap_or(part.len()));
        let is_index = |c: char| c.is_ascii_digit() || matches!(c, '[' | ']');
        inputs::shown(name) != "?" && indices.len() <= 32 && indices.chars().all(is_index)
    };
    if signal.split('.').count() <= 8 && signal.split('.').all(is_part) { signal } else { "?" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str) -> String {
        let document = InputDocument::parse(json.as_bytes().to_vec()).unwrap();
        read(&document, 8).unwrap_err().to_string()
    }

    #[test]
    fn both_members_are_one_set_of_signals() {
        let json = br#"{"circuitId": "a", "privateInputs": {"in": 4}, "publicInputs": {"p": {"x": [1, 2]}}}"#;
        let signals = read(&InputDocument::parse(json.to_vec()).unwrap(), 8).unwrap();
        assert_eq!(signals.names().collect::<Vec<_>>(), ["in", "p.x"]);
    }

    #[test]
    fn errors_name_the_field_and_no_value() {
        for (json, expected) in [
            (r#"{"privateInputs": {"a": 1}, "publicInputs": {"a": 2}}"#, "publicInputs.a: it is there twice"),
            (r#"{"privateInputs": {"a": [1, "4242x"]}}"#, "privateInputs.a: value 1 must be an integer"),
            (r#"{"privateInputs": {}, "publicInputs": {"a": 4242.5}}"#, "publicInputs.a: value 0 must be"),
            (r#"{"privateInputs": {"4242": true}}"#, "privateInputs.?: value 0 must be"),
            (r#"{"privateInputs": {"a": [{"b": {"c": null}}]}}"#, "privateInputs.a[0].b.c: value 0"),
        ] {
            let fault = fault(json);
            assert!(fault.starts_with(expected) && !fault.contains("4242"), "{fault}");
        }
    }

    #[test]
    fn names_that_no_program_uses_are_not_shown() {
        for name in ["a", "points[0].x", "a.b.c", "_x1[0][12]"] {
            assert_eq!(shown(name), name);
        }
        let long = "n".repeat(65);
        for name in ["", "4242", "a.4242", "a[x]", "a b", &long, "a.b.c.d.e.f.g.h.i"] {
            assert_eq!(shown(name), "?", "{name}");
        }
    }
}
