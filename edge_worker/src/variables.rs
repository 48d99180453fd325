//! Variables and secrets as the Worker's bindings hold them, and their one form for the settings: text.
//!
//! `wrangler.toml` also allows lists, numbers and booleans, and a secret of the Secrets Store is an object. A value that
//! is not a text must not count as not set, because the default of a setting may be more open.

use std::collections::BTreeMap;

/// Variables and secrets by name.
pub type Vars = BTreeMap<String, String>;

/// Bindings by name.
pub type Values = BTreeMap<String, Value>;

/// The value of a binding.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// A text: a variable, or a secret.
    Text(String),
    /// A number in `wrangler.toml`.
    Number(f64),
    /// A boolean in `wrangler.toml`.
    Boolean(bool),
    /// A list in `wrangler.toml`.
    List(Vec<Self>),
    /// A secret of the Secrets Store that the store did not return.
    UnreadableSecret,
    /// Anything else: a table in `wrangler.toml`, or a binding of the platform.
    Other,
}

/// A value that is not the text of a setting. The value is not quoted: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormFault {
    /// A list, for a setting that is one value.
    #[error("it is a list; this setting is one text")]
    List,
    /// A list with entries that are lists or tables.
    #[error("it is a list with entries that are not texts")]
    Nested,
    /// A table, or a binding of the platform.
    #[error(
        "it is neither a text nor a secret; set it as a variable, a secret or a secret of the Secrets Store"
    )]
    Other,
    /// The Secrets Store has no such secret, or does not respond.
    #[error("the Secrets Store returned no secret; check store_id and secret_name of this binding")]
    UnreadableSecret,
}

impl Value {
    /// The text of a setting. A list becomes a text with commas if the setting `is_list`.
    pub fn text(&self, is_list: bool) -> Result<String, FormFault> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Number(number) => Ok(number_text(*number)),
            Self::Boolean(boolean) => Ok(boolean.to_string()),
            Self::List(_) if !is_list => Err(FormFault::List),
            Self::List(entries) => {
                let texts = entries.iter().map(|entry| match entry {
                    Self::List(_) => Err(FormFault::Nested),
                    entry => entry.text(false).map_err(|_| FormFault::Nested),
                });
                Ok(texts.collect::<Result<Vec<_>, _>>()?.join(","))
            }
            Self::UnreadableSecret => Err(FormFault::UnreadableSecret),
            Self::Other => Err(FormFault::Other),
        }
    }
}

/// The text of a number. The standard library's text of a floating-point number would be a seventieth of the whole Worker.
fn number_text(number: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the number is whole, and far below the limits of the type"
    )]
    let whole = (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64);
    match whole {
        Some(whole) => whole.to_string(),
        None => serde_json::to_string(&number).unwrap_or_default(),
    }
}

/// A value without the white space and the byte order mark that tools add to secrets: a newline at the end above all.
#[must_use]
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|character: char| character.is_whitespace() || character == '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(entries: &[&str]) -> Value {
        Value::List(entries.iter().map(|&entry| Value::Text(entry.to_owned())).collect())
    }

    #[test]
    fn numbers_and_booleans_are_the_texts_that_they_look_like() {
        for (value, expected) in [
            (Value::Number(10.0), "10"),
            (Value::Number(1.5), "1.5"),
            (Value::Boolean(true), "true"),
            (Value::Text(" as it is\n".to_owned()), " as it is\n"),
        ] {
            assert_eq!(value.text(false).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_list_is_the_value_of_a_list_only() {
        let list = texts(&["https://a.example", "https://b.example"]);
        assert_eq!(list.text(true).as_deref(), Ok("https://a.example,https://b.example"));
        assert_eq!(list.text(false), Err(FormFault::List));
        assert_eq!(Value::List(Vec::new()).text(true).as_deref(), Ok(""));
        for nested in [texts(&["a"]), Value::Other, Value::UnreadableSecret] {
            assert_eq!(Value::List(vec![nested]).text(true), Err(FormFault::Nested));
        }
    }

    #[test]
    fn a_value_without_a_text_is_a_fault() {
        assert_eq!(Value::Other.text(true), Err(FormFault::Other));
        assert_eq!(Value::UnreadableSecret.text(true), Err(FormFault::UnreadableSecret));
    }

    #[test]
    fn what_tools_add_to_a_secret_is_removed() {
        for text in ["a b\n", "\r\na b\r\n", "\u{feff}a b", " \ta b\u{a0}"] {
            assert_eq!(trimmed(text), "a b", "{text:?}");
        }
    }
}
