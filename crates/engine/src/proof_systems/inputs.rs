//! The JSON document with the inputs of a circuit, and what can be wrong with it.
//!
//! ```json
//! {"circuitId": "range_check", "privateInputs": {"value": 42}, "publicInputs": {"min": 18, "max": 120}}
//! ```
//!
//! `circuitId` and `publicInputs` may be left out. The document is read twice: [`InputDocument::parse`] checks its outer
//! shape and finds the name of the circuit, then the circuit's proof system reads the inputs straight from the bytes. No
//! tree of values is built between, so nothing but the bytes has to be wiped. No error contains a value.

use std::fmt;

use edgeprove_protocol::{HasProblemType, ProblemType};
use serde::de::{self, DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use zeroize::Zeroizing;

/// The member with the name of the circuit.
pub const CIRCUIT_ID: &str = "circuitId";
/// The member with the private inputs.
pub const PRIVATE_INPUTS: &str = "privateInputs";
/// The member with the public inputs.
pub const PUBLIC_INPUTS: &str = "publicInputs";

/// Most characters of a caller's own field name that an error shows.
const NAME_MAX_CHARS: usize = 64;

/// The bytes of a document, which are wiped when it is dropped.
pub struct InputDocument {
    json: Zeroizing<Vec<u8>>,
    circuit: Option<String>,
}

impl fmt::Debug for InputDocument {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("InputDocument(…)")
    }
}

impl InputDocument {
    /// Checks that the bytes are JSON with the members of such a document, each once and of the right type.
    pub fn parse(json: Vec<u8>) -> Result<Self, InputError> {
        let json = Zeroizing::new(json);
        // Editors of Windows write a byte order mark.
        let text = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&json);
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let mut outline = Outline::default();
        let read = deserializer.deserialize_any(&mut outline).and_then(|()| deserializer.end());
        if let Err(error) = read {
            if text.trim_ascii().is_empty() {
                return Err(InputError::Empty);
            }
            return Err(outline.error.unwrap_or_else(|| InputError::not_json(&error)));
        }
        if !outline.has_private {
            return Err(InputError::shape(format!("it has no `{PRIVATE_INPUTS}`")));
        }
        let circuit = outline.circuit;
        Ok(Self { json, circuit })
    }

    /// The name of the circuit, if the document has one.
    #[must_use]
    pub fn circuit(&self) -> Option<&str> {
        self.circuit.as_deref()
    }

    /// The JSON text.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        self.json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.json)
    }
}

/// What is wrong with inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// There is no text.
    #[error("the JSON with the inputs is empty")]
    Empty,
    /// The text is not JSON.
    #[error("the inputs are not valid JSON, at line {line}, column {column}")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The byte in the line.
        column: usize,
    },
    /// The JSON is not a document with inputs.
    #[error(
        "the JSON must be {{\"{CIRCUIT_ID}\": \"NAME\", \"{PRIVATE_INPUTS}\": {{…}}, \"{PUBLIC_INPUTS}\": {{…}}}}, where \
         `{CIRCUIT_ID}` and `{PUBLIC_INPUTS}` may be left out; {what}"
    )]
    Shape {
        /// What it is instead.
        what: String,
    },
    /// A field does not fit the circuit.
    #[error("{field}: {fault}")]
    Field {
        /// The path of the field, such as `privateInputs.voters[3].age`.
        field: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

impl InputError {
    /// The JSON parser refused the text. Its own message is not used, because it may quote the text.
    #[must_use]
    pub fn not_json(error: &serde_json::Error) -> Self {
        Self::NotJson { line: error.line(), column: error.column() }
    }

    fn shape(what: impl Into<String>) -> Self {
        Self::Shape { what: what.into() }
    }

    /// The path of the field that is wrong, where it is one field.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Field { field, .. } => Some(field),
            Self::Empty | Self::NotJson { .. } | Self::Shape { .. } => None,
        }
    }
}

impl HasProblemType for InputError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Empty | Self::NotJson { .. } | Self::Shape { .. } => ProblemType::InvalidRequest,
            Self::Field { .. } => ProblemType::InvalidInputs,
        }
    }

    fn field(&self) -> Option<&str> {
        self.field()
    }
}

/// What is wrong with a field. No variant holds its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is missing.
    #[error("it is missing; expected {expected}")]
    Missing {
        /// What it should be.
        expected: String,
    },
    /// There is no such field.
    #[error("there is no such field; expected {expected}")]
    Unknown {
        /// The fields that there are.
        expected: String,
    },
    /// It is there twice.
    #[error("it is there twice")]
    Twice,
    /// It is of another kind, size or range.
    #[error("expected {expected}, found {found}")]
    Mismatch {
        /// What it should be.
        expected: String,
        /// The kind of what it is.
        found: String,
    },
    /// One of its values is wrong.
    #[error("value {position} must be {expected}")]
    Value {
        /// The position of the value among all values of the field, from 0.
        position: usize,
        /// What it should be.
        expected: &'static str,
    },
    /// It is a public parameter.
    #[error("it is a public parameter of the circuit: move it to `{PUBLIC_INPUTS}`")]
    IsPublic,
    /// It is a private parameter.
    #[error("it is a private parameter of the circuit: move it to `{PRIVATE_INPUTS}`")]
    IsPrivate,
}

/// The names for an error message, at most ten of them.
#[must_use]
pub fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN_MAX: usize = 10;
    let count = names.len();
    let mut shown: Vec<String> = names.take(SHOWN_MAX).map(|name| format!("`{}`", shown(name))).collect();
    if count > SHOWN_MAX {
        shown.push(format!("{} more", count - SHOWN_MAX));
    }
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

/// A field name as an error shows it. A name that no program would use is not repeated, because it may be a value that
/// is in the wrong place.
#[must_use]
pub fn shown(name: &str) -> &str {
    let is_name = |(at, byte): (usize, u8)| {
        byte == b'_' || byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit()
    };
    let fits = !name.is_empty() && name.len() <= NAME_MAX_CHARS;
    if fits && name.bytes().enumerate().all(is_name) { name } else { "?" }
}

/// The outer shape of a document.
#[derive(Default)]
struct Outline {
    circuit: Option<String>,
    has_private: bool,
    has_public: bool,
    /// The reason of the error that the deserializer returns.
    error: Option<InputError>,
}

impl Outline {
    fn fail<E: de::Error>(&mut self, what: impl Into<String>) -> E {
        self.error = Some(InputError::shape(what));
        E::custom("")
    }

    fn no_object<E: de::Error>(&mut self) -> E {
        self.fail("it is not an object")
    }
}

impl<'de> Visitor<'de> for &mut Outline {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            let is_known = match name.as_str() {
                CIRCUIT_ID => {
                    if self.circuit.is_some() {
                        return Err(self.fail(format!("it has `{CIRCUIT_ID}` twice")));
                    }
                    let mut text = None;
                    members.next_value_seed(Text(&mut text))?;
                    if text.is_none() {
                        return Err(self.fail(format!("its `{CIRCUIT_ID}` is not a string")));
                    }
                    self.circuit = text;
                    continue;
                }
                PRIVATE_INPUTS => std::mem::replace(&mut self.has_private, true),
                PUBLIC_INPUTS => std::mem::replace(&mut self.has_public, true),
                _ => return Err(self.fail(format!("it has another member, `{}`", shown(&name)))),
            };
            if is_known {
                return Err(self.fail(format!("it has `{name}` twice")));
            }
            let mut is_object = false;
            members.next_value_seed(Object(&mut is_object))?;
            if !is_object {
                return Err(self.fail(format!("its `{name}` is not an object")));
            }
        }
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Err(self.no_object())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Err(self.no_object())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Err(self.no_object())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Err(self.no_object())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Err(self.no_object())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Err(self.no_object())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(self.no_object())
    }
}

/// Reads any value, and keeps it where it is a text.
struct Text<'a>(&'a mut Option<String>);
/// Reads any value, and notes whether it is an object.
struct Object<'a>(&'a mut bool);

macro_rules! skip_scalars {
    () => {
        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a value")
        }

        fn visit_bool<E>(self, _: bool) -> Result<(), E> {
            Ok(())
        }

        fn visit_u64<E>(self, _: u64) -> Result<(), E> {
            Ok(())
        }

        fn visit_i64<E>(self, _: i64) -> Result<(), E> {
            Ok(())
        }

        fn visit_f64<E>(self, _: f64) -> Result<(), E> {
            Ok(())
        }

        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
            Ok(())
        }
    };
}

impl<'de> Visitor<'de> for Text<'_> {
    type Value = ();

    skip_scalars!();

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        *self.0 = Some(text.to_owned());
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    skip_scalars!();

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        *self.0 = true;
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

macro_rules! seed {
    ($name:ident) => {
        impl<'de> DeserializeSeed<'de> for $name<'_> {
            type Value = ();

            fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.deserialize_any(self)
            }
        }
    };
}

seed!(Text);
seed!(Object);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<InputDocument, InputError> {
        InputDocument::parse(text.as_bytes().to_vec())
    }

    #[test]
    fn a_document_may_name_its_circuit() {
        let circuit = |text| parse(text).unwrap().circuit().map(str::to_owned);
        assert_eq!(circuit(r#"{"privateInputs":{"a":[1,{"b":"c"}]}}"#), None);
        let named = r#" {"publicInputs":{}, "circuitId":"a\u0062","privateInputs":{"a":1.5e3,"a":null}} "#;
        assert_eq!(circuit(named).as_deref(), Some("ab"));
        assert_eq!(circuit("\u{feff}{\"privateInputs\":{}}"), None);
    }

    #[test]
    fn json_of_another_shape_is_refused() {
        for (text, expected) in [
            ("5", "not an object"),
            ("\"5\"", "not an object"),
            ("-5", "not an object"),
            ("0.5", "not an object"),
            ("null", "not an object"),
            ("true", "not an object"),
            ("[]", "not an object"),
            ("{}", "no `privateInputs`"),
            (r#"{"publicInputs":{}}"#, "no `privateInputs`"),
            (r#"{"value":1}"#, "another member, `value`"),
            (r#"{"18 years":1}"#, "another member, `?`"),
            (r#"{"privateInputs":{},"privateInputs":{}}"#, "`privateInputs` twice"),
            (r#"{"privateInputs":{},"publicInputs":{},"publicInputs":{}}"#, "`publicInputs` twice"),
            (r#"{"circuitId":"a","circuitId":"a"}"#, "`circuitId` twice"),
            (r#"{"circuitId":null,"privateInputs":{}}"#, "`circuitId` is not a string"),
            (r#"{"circuitId":{"a":1},"privateInputs":{}}"#, "`circuitId` is not a string"),
            (r#"{"privateInputs":[]}"#, "`privateInputs` is not an object"),
            (r#"{"privateInputs":"x"}"#, "`privateInputs` is not an object"),
            (r#"{"privateInputs":{},"publicInputs":null}"#, "`publicInputs` is not an object"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, InputError::Shape { .. }), "{text}: {error}");
            assert!(error.to_string().ends_with(expected), "{text}: {error}");
            assert_eq!(error.kind(), ProblemType::InvalidRequest);
        }
    }

    #[test]
    fn text_that_is_no_json_is_refused_by_its_place() {
        let deep = format!("{{\"privateInputs\":{}", "[".repeat(100_000));
        for empty in ["", " \n", "\u{feff}"] {
            assert_eq!(parse(empty).unwrap_err(), InputError::Empty);
        }
        for text in
            ["{", "{\"privateInputs\":{}", "{\"privateInputs\":{}}x", "\u{1}", "{\"privateInputs\" 5}", &deep]
        {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, InputError::NotJson { .. }), "{error}");
        }
        let error = parse("{\"privateInputs\":\n {\"a\": secret}}").unwrap_err();
        assert_eq!(error, InputError::NotJson { line: 2, column: 8 });
        assert!(!error.to_string().contains("secret"));
    }
}
