//! The parameters of a caller as JSON has them, before any check.
//!
//! An ordinary JSON object would hide a parameter that is given twice, and a number that was rounded.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// The maximum number of members. No template has as many parameters.
const MEMBERS_MAX: usize = 64;

/// The parameters of a caller: the members of one JSON object, in its order.
///
/// A request has them as a member of its own type, or [`str::parse`] reads them alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RawParameters(Vec<(String, RawValue)>);

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RawValue {
    Null,
    Boolean(bool),
    /// A number without fraction and exponent that fits into 64 bits.
    Integer(i128),
    /// Any other number.
    Float,
    Text(String),
    List,
    Object,
}

impl RawParameters {
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl std::str::FromStr for RawParameters {
    type Err = serde_json::Error;

    fn from_str(json: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(json)
    }
}

impl From<&Map<String, Value>> for RawParameters {
    fn from(members: &Map<String, Value>) -> Self {
        Self(members.iter().map(|(name, value)| (name.clone(), value.into())).collect())
    }
}

impl From<&Value> for RawValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Boolean(*value),
            Value::Number(number) => {
                let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
                integer.map_or(Self::Float, Self::Integer)
            }
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(_) => Self::List,
            Value::Object(_) => Self::Object,
        }
    }
}

impl RawValue {
    /// What it is, for a message. The value itself may be long, or private.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Float => "a number with a fraction or exponent, or one that is too large".to_owned(),
            Self::Text(text) => format!("a string of {} characters", text.chars().count()),
            Self::List => "a list".to_owned(),
            Self::Object => "an object".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for RawParameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = RawParameters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawParameters, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(A::Error::custom(format!("more than {MEMBERS_MAX} parameters")));
                    }
                    members.push(member);
                }
                Ok(RawParameters(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = RawValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<RawValue, E> {
                Ok(RawValue::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
                Ok(RawValue::Boolean(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
                Ok(RawValue::Integer(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
                Ok(RawValue::Integer(value.into()))
            }

            fn visit_f64<E>(self, _: f64) -> Result<RawValue, E> {
                Ok(RawValue::Float)
            }

            fn visit_str<E>(self, text: &str) -> Result<RawValue, E> {
                Ok(RawValue::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawValue, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RawValue::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(RawValue::Object)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_json_value_has_its_kind() {
        let json = r#"{"a":null,"a":true,"b":-7,"c":1.0,"d":1e2,"e":18446744073709551616,"f":"x","g":[[1]],"h":{"i":{}}}"#;
        let raw: RawParameters = json.parse().unwrap();
        let values: Vec<_> = raw.members().map(|(_, value)| value.clone()).collect();
        let expected = [
            RawValue::Null,
            RawValue::Boolean(true),
            RawValue::Integer(-7),
            RawValue::Float,
            RawValue::Float,
            RawValue::Float,
            RawValue::Text("x".into()),
            RawValue::List,
            RawValue::Object,
        ];
        assert_eq!(values, expected);
        let members: Map<String, Value> = serde_json::from_str(json).unwrap();
        let raw = RawParameters::from(&members);
        assert!(raw.members().map(|(_, value)| value).eq(&expected[1..]));
    }

    #[test]
    fn only_one_object_of_bounded_size_is_read() {
        for bad in ["", "[]", "3", "null", "\"min\"", "{} {}", "{\"a\":1", "{\"a\":1e400}", "{a:1}"] {
            assert!(bad.parse::<RawParameters>().is_err(), "{bad}");
        }
        let many: Vec<_> = (0..65).map(|i| format!("\"p{i}\":0")).collect();
        let json = format!("{{{}}}", many.join(","));
        assert!(json.parse::<RawParameters>().unwrap_err().to_string().contains("more than 64"));
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let raw: RawParameters = deep.parse().unwrap();
        assert!(raw.members().eq([("a", &RawValue::List)]), "it is skipped without recursion");
    }
}
