//! JSON with one text for equal values, as in RFC 8785: sorted keys, no white space, the shortest escapes.
//!
//! It has the values that the identity of a circuit needs: objects, strings, booleans and integers. RFC 8785 has
//! numbers only as far as every JSON parser reads them exactly, so an integer beyond ±(2^53 - 1) is a string.

use std::{collections::BTreeMap, fmt};

/// The largest integer that every JSON parser reads exactly: 2^53 - 1.
pub const SAFE_INTEGER: i128 = (1 << 53) - 1;

/// A value. Its `Display` is the canonical text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Canonical {
    /// An object. The keys are ASCII, for which the order of bytes is the order of RFC 8785.
    Object(BTreeMap<String, Canonical>),
    /// A string.
    Text(String),
    /// `true` or `false`.
    Boolean(bool),
    /// A number, or a string of decimal digits where it is beyond [`SAFE_INTEGER`].
    Integer(i128),
}

impl Canonical {
    /// An object with these members.
    pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(members) => {
                f.write_str("{")?;
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        f.write_str(",")?;
                    }
                    write_text(f, key)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
            Self::Text(text) => write_text(f, text),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) if is_safe(*value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "\"{value}\""),
        }
    }
}

/// Whether every JSON parser reads this integer exactly.
#[must_use]
pub fn is_safe(value: i128) -> bool {
    (-SAFE_INTEGER..=SAFE_INTEGER).contains(&value)
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\u{8}' => f.write_str("\\b")?,
            '\t' => f.write_str("\\t")?,
            '\n' => f.write_str("\\n")?,
            '\u{c}' => f.write_str("\\f")?,
            '\r' => f.write_str("\\r")?,
            '\0'..' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            other => write!(f, "{other}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_sorted_and_nothing_separates_values() {
        let value = Canonical::object([
            ("b", Canonical::Integer(-3)),
            ("a", Canonical::object([("x", Canonical::Boolean(true))])),
            ("B", Canonical::Text("é\u{1f}\"\\\n".into())),
        ]);
        assert_eq!(value.to_string(), r#"{"B":"é\u001f\"\\\n","a":{"x":true},"b":-3}"#);
    }

    #[test]
    fn integers_that_parsers_would_round_are_strings() {
        let text = |value| Canonical::Integer(value).to_string();
        assert_eq!(text(SAFE_INTEGER), "9007199254740991");
        assert_eq!(text(SAFE_INTEGER + 1), "\"9007199254740992\"");
        assert_eq!(text(-SAFE_INTEGER - 1), "\"-9007199254740992\"");
    }

    proptest! {
        #[test]
        fn a_json_parser_reads_every_string_back(text: String) {
            let canonical = Canonical::Text(text.clone()).to_string();
            prop_assert_eq!(serde_json::from_str::<String>(&canonical).unwrap(), text);
        }
    }
}
