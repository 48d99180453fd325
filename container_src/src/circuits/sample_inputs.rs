//! Sample inputs of configured circuits: `NAME.toml` beside the circuit's file, in the form of Noir's `Prover.toml`.
//!
//! They are for everybody who may see the circuit, so that a page can show a form with values that can be proved. The server reads no
//! other file for this: a `Prover.toml` with real inputs is never shown unless somebody gives it the circuit's name.

use std::path::{Path, PathBuf};

use edgeprove_files::regular_file;
use serde_json::{Map, Value};

/// Largest file, in bytes.
const FILE_MAX_BYTES: u64 = 256 << 10;
/// The largest integer that every JSON reader reads as it is.
const JSON_INTEGER_MAX: i64 = (1 << 53) - 1;

/// Sample inputs by name, as a request for a proof takes them.
pub type SampleInputs = Map<String, Value>;

/// Why the file with sample inputs of a circuit cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SampleInputsError {
    /// It cannot be read.
    #[error("the sample inputs {} cannot be read", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// It is no TOML, or has a value that no input can have.
    #[error("the sample inputs {} are invalid: {}", .0.display(), .1)]
    Invalid(PathBuf, &'static str),
}

/// The sample inputs of the circuit in this file; `None` where it has none.
pub fn of_circuit(circuit: &Path) -> Result<Option<SampleInputs>, SampleInputsError> {
    let path = circuit.with_extension("toml");
    match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SampleInputsError::Read(path, error)),
        Ok(_) => {}
    }
    let text = regular_file::read_to_string(&path, FILE_MAX_BYTES);
    let text = text.map_err(|error| SampleInputsError::Read(path.clone(), error))?;
    // The error of the parser quotes the file, which an error must not: it may have values.
    let invalid = |reason| SampleInputsError::Invalid(path.clone(), reason);
    let table: toml::Table = toml::from_str(&text).map_err(|_| invalid("they are no TOML"))?;
    let inputs = table.into_iter().map(|(name, value)| Some((name, json(value)?)));
    let inputs: Option<SampleInputs> = inputs.collect();
    inputs.map(Some).ok_or_else(|| invalid("inputs are integers, texts, booleans, arrays and tables"))
}

/// A value as JSON; `None` for a fraction or a time.
fn json(value: toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) if number.abs() <= JSON_INTEGER_MAX => Value::from(number),
        toml::Value::Integer(number) => Value::String(number.to_string()),
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Array(items) => items.into_iter().map(json).collect::<Option<_>>()?,
        toml::Value::Table(fields) => Value::Object(
            fields.into_iter().map(|(name, field)| Some((name, json(field)?))).collect::<Option<_>>()?,
        ),
        toml::Value::Float(_) | toml::Value::Datetime(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn sample(text: &str) -> Result<Option<SampleInputs>, SampleInputsError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("c.toml"), text).unwrap();
        of_circuit(&folder.path().join("c.json"))
    }

    #[test]
    fn inputs_are_read_as_a_request_has_them() {
        let text = "value = \"0x2a\"\nmin = 10\nbig = 9007199254740992\nflags = [true]\n[point]\nx = -1\n";
        let expected = json!({
            "value": "0x2a", "min": 10, "big": "9007199254740992", "flags": [true], "point": {"x": -1}
        });
        assert_eq!(sample(text).unwrap().map(Value::Object), Some(expected));
    }

    #[test]
    fn a_circuit_without_the_file_has_no_sample() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Prover.toml"), "secret = 1").unwrap();
        assert!(of_circuit(&folder.path().join("c.json")).unwrap().is_none());
    }

    #[test]
    fn an_invalid_file_is_an_error_without_its_values() {
        for text in ["secret = ", "secret = 1.5", "secret = 2026-01-01", "[[secret]]\nx = [1.5]"] {
            let error = sample(text).unwrap_err().to_string();
            assert!(error.contains("c.toml") && !error.contains("secret"), "{error}");
        }
        let long = format!("a = \"{}\"", "x".repeat(usize::try_from(FILE_MAX_BYTES).unwrap()));
        assert!(matches!(sample(&long), Err(SampleInputsError::Read(..))));
    }
}
