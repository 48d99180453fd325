//! Languages, and names that need no escaping in source text, paths and messages.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The language of a template.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Noir, proved by bb.
    Noir,
    /// circom, proved with Groth16.
    Circom,
}

impl Language {
    /// Every language. The first one of a template is the one that a caller gets who names none.
    pub const ALL: [Self; 2] = [Self::Noir, Self::Circom];

    /// Its name on the wire, and the name of its folder.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Noir => "noir",
            Self::Circom => "circom",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The maximum length of a template's name: with a hyphen and 40 digits it is a circuit id.
pub(crate) const TEMPLATE_NAME_MAX: usize = 23;

/// The maximum length of other names.
const NAME_MAX: usize = 40;

/// Whether a text is a name such as `rangeCheck`, which begins with a small letter and has letters and digits.
pub(crate) fn is_camel_case(name: &str, max: usize) -> bool {
    is_name(name, max) && name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.contains('_')
}

/// Whether a text can be the name of a parameter.
pub(crate) fn is_parameter(name: &str) -> bool {
    is_camel_case(name, NAME_MAX)
}

/// Whether a text can be the name of an input or the text of an enum: small letters first, then letters, digits and `_`.
pub(crate) fn is_identifier(name: &str) -> bool {
    is_name(name, NAME_MAX) && name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Whether a text can be the name of a template in circom's source, such as `RangeCheck`.
pub(crate) fn is_pascal_case(name: &str) -> bool {
    is_name(name, NAME_MAX) && name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains('_')
}

fn is_name(name: &str, max: usize) -> bool {
    (1..=max).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A name as a constant in source text: `minValue` is `MIN_VALUE`.
pub(crate) fn constant(name: &str) -> String {
    let mut constant = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !constant.is_empty() {
            constant.push('_');
        }
        constant.push(c.to_ascii_uppercase());
    }
    constant
}

/// The beginning of a caller's text, for a message: without control characters, and never long.
pub(crate) fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 40;
    let mut shown: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(CHARACTERS_MAX)
        .map(|c| if c == '`' { '\'' } else { c })
        .collect();
    if text.chars().count() > CHARACTERS_MAX {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_other_characters_are_refused() {
        for good in ["a", "rangeCheck", "v2"] {
            assert!(is_parameter(good) && is_identifier(good), "{good}");
        }
        let long = "a".repeat(41);
        for bad in ["", "A", "1a", "a.b", "a/b", "a b", "a\"", "a*/", "a;", "ä", long.as_str()] {
            assert!(!is_parameter(bad) && !is_identifier(bad), "{bad:?}");
        }
        assert!(is_pascal_case("RangeCheck") && !is_pascal_case("rangeCheck") && !is_pascal_case("R()"));
    }

    #[test]
    fn a_constant_has_the_words_of_the_name() {
        assert_eq!(constant("min"), "MIN");
        assert_eq!(constant("minValue2"), "MIN_VALUE2");
    }

    #[test]
    fn a_long_text_is_shortened() {
        assert_eq!(shown("mi`n\n"), "mi'n");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), 41);
    }
}
