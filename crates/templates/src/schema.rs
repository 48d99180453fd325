//! The types of a template's parameters, written as JSON Schema.
//!
//! A template has a small subset of JSON Schema: an object with integers (`minimum`, `maximum`, `enum`), booleans and
//! strings with an `enum`. A general validator would accept far more than this crate can print as source text, and its
//! errors repeat the value; it would add dozens of crates as well. So the subset has types of its own, which read and
//! write JSON Schema.
//!
//! Two rules are not JSON Schema's. An integer may be a string of decimal digits, and beyond ±(2^53 - 1) it must be one,
//! because parsers would round it. A number with a fraction or an exponent is no integer, also if the fraction is zero.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    canonical_json::{Canonical, SAFE_INTEGER, is_safe},
    names,
};

/// The smallest integer of a parameter: what the languages have as 64 bits.
const INTEGER_MIN: i128 = i64::MIN as i128;
/// The largest one.
const INTEGER_MAX: i128 = u64::MAX as i128;

/// The parameters of a template, by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ObjectSchema")]
pub struct ParameterSchema {
    pub(crate) properties: BTreeMap<String, Property>,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Property {
    pub(crate) kind: PropertyType,
    pub(crate) description: String,
    /// The value where a caller gives none. `None`: the parameter is required.
    pub(crate) default: Option<ParameterValue>,
}

/// The values that a parameter can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PropertyType {
    /// The bounds are included. `values`: only these; empty for all.
    Integer {
        minimum: i128,
        maximum: i128,
        values: Vec<i128>,
    },
    Boolean,
    /// One of these texts, never empty.
    Choice(Vec<String>),
}

/// A value that fits its parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterValue {
    /// A whole number of at most 64 bits.
    Integer(i128),
    /// `true` or `false`.
    Boolean(bool),
    /// One of the texts of an enum.
    Choice(String),
}

impl ParameterValue {
    /// The value in canonical JSON.
    #[must_use]
    pub fn canonical(&self) -> Canonical {
        match self {
            Self::Integer(value) => Canonical::Integer(*value),
            Self::Boolean(value) => Canonical::Boolean(*value),
            Self::Choice(text) => Canonical::Text(text.clone()),
        }
    }
}

impl PropertyType {
    pub(crate) fn accepts(&self, value: &ParameterValue) -> bool {
        match (self, value) {
            (Self::Integer { minimum, maximum, values }, ParameterValue::Integer(value)) => {
                (minimum..=maximum).contains(&value) && (values.is_empty() || values.contains(value))
            }
            (Self::Boolean, ParameterValue::Boolean(_)) => true,
            (Self::Choice(texts), ParameterValue::Choice(text)) => texts.contains(text),
            _ => false,
        }
    }
}

/// What a caller should send, for a message.
impl fmt::Display for PropertyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: Vec<String>| values.join(", ");
        match self {
            Self::Integer { values, .. } if !values.is_empty() => {
                write!(f, "one of {}", list(values.iter().map(i128::to_string).collect()))
            }
            Self::Integer { minimum, maximum, .. } => {
                write!(f, "a whole number from {minimum} to {maximum}")?;
                if is_safe(*minimum) && is_safe(*maximum) {
                    return Ok(());
                }
                write!(f, ", as a string if it is beyond {SAFE_INTEGER}")
            }
            Self::Boolean => f.write_str("true or false"),
            Self::Choice(texts) => {
                write!(f, "one of {}", list(texts.iter().map(|text| format!("\"{text}\"")).collect()))
            }
        }
    }
}

/// The schema as a template's author writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ObjectSchema {
    r#type: String,
    properties: BTreeMap<String, PropertySchema>,
    required: Vec<String>,
    additional_properties: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PropertySchema {
    r#type: TypeName,
    description: String,
    minimum: Option<i128>,
    maximum: Option<i128>,
    r#enum: Option<Vec<Value>>,
    default: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum TypeName {
    Integer,
    Boolean,
    String,
}

impl TryFrom<ObjectSchema> for ParameterSchema {
    type Error = String;

    fn try_from(schema: ObjectSchema) -> Result<Self, String> {
        if schema.r#type != "object" || schema.additional_properties {
            return Err("the parameters are an object with `\"additionalProperties\": false`".to_owned());
        }
        let mut properties = BTreeMap::new();
        for (name, property) in schema.properties {
            if !names::is_parameter(&name) {
                return Err(format!("`{name}` is no name for a parameter"));
            }
            let property =
                Property::try_from(property).map_err(|error| format!("parameter `{name}`: {error}"))?;
            if schema.required.contains(&name) == property.default.is_some() {
                return Err(format!("parameter `{name}` needs either a default or to be required"));
            }
            properties.insert(name, property);
        }
        match schema.required.iter().find(|name| !properties.contains_key(*name)) {
            Some(name) => Err(format!("`{name}` is required, but no property")),
            None => Ok(Self { properties }),
        }
    }
}

impl TryFrom<PropertySchema> for Property {
    type Error = String;

    fn try_from(schema: PropertySchema) -> Result<Self, String> {
        let kind = match (schema.r#type, schema.minimum, schema.maximum, schema.r#enum) {
            (TypeName::Integer, Some(minimum), Some(maximum), values) => {
                let values = values.unwrap_or_default().iter().map(integer).collect::<Result<Vec<_>, _>>()?;
                let fits = |value: &i128| (minimum..=maximum).contains(value);
                let is_bounded = minimum >= INTEGER_MIN && maximum <= INTEGER_MAX && minimum <= maximum;
                // Noir has signed and unsigned integers of 64 bits, and no type for both.
                let has_type = minimum >= 0 || maximum <= i128::from(i64::MAX);
                if !is_bounded || !has_type || !values.iter().all(fits) {
                    return Err("the bounds do not fit a type of 64 bits, or not the enum".to_owned());
                }
                PropertyType::Integer { minimum, maximum, values }
            }
            (TypeName::Boolean, None, None, None) => PropertyType::Boolean,
            (TypeName::String, None, None, Some(values)) if !values.is_empty() => {
                let texts: Option<Vec<_>> =
                    values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
                let texts = texts.filter(|texts| texts.iter().all(|text| names::is_identifier(text)));
                PropertyType::Choice(texts.ok_or("the enum has a value that is no name")?)
            }
            _ => {
                return Err(
                    "an integer has minimum and maximum, a string an enum, a boolean neither".to_owned()
                );
            }
        };
        let default = schema.default.as_ref().map(|value| default_of(&kind, value)).transpose()?;
        Ok(Self { kind, description: schema.description, default })
    }
}

fn integer(value: &Value) -> Result<i128, String> {
    let signed = value.as_i64().map(i128::from);
    signed.or_else(|| value.as_u64().map(i128::from)).ok_or_else(|| "a value is no integer".to_owned())
}

fn default_of(kind: &PropertyType, value: &Value) -> Result<ParameterValue, String> {
    let value = match (kind, value) {
        (PropertyType::Integer { .. }, number) => ParameterValue::Integer(integer(number)?),
        (PropertyType::Boolean, Value::Bool(value)) => ParameterValue::Boolean(*value),
        (PropertyType::Choice(_), Value::String(text)) => ParameterValue::Choice(text.clone()),
        _ => return Err("the default has another type".to_owned()),
    };
    if kind.accepts(&value) { Ok(value) } else { Err("the default is not accepted".to_owned()) }
}

/// The schema for callers, as JSON Schema. It states that integers may be strings.
impl Serialize for ParameterSchema {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let required: Vec<_> = self
            .properties
            .iter()
            .filter(|(_, property)| property.default.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        let properties: BTreeMap<_, _> =
            self.properties.iter().map(|(name, property)| (name, property.for_callers())).collect();
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
        .serialize(serializer)
    }
}

impl Property {
    fn for_callers(&self) -> Value {
        let mut schema = match &self.kind {
            PropertyType::Integer { minimum, maximum, values } if values.is_empty() => {
                // JSON Schema applies bounds to numbers only, and patterns to strings only.
                let mut schema = json!({
                    "type": ["integer", "string"],
                    "minimum": json_integer((*minimum).max(-SAFE_INTEGER)),
                    "maximum": json_integer((*maximum).min(SAFE_INTEGER)),
                    "pattern": "^(0|-?[1-9][0-9]*)$",
                });
                if !is_safe(*minimum) || !is_safe(*maximum) {
                    schema["$comment"] = json!(format!(
                        "numbers beyond {SAFE_INTEGER} are strings of decimal digits, from {minimum} to {maximum}"
                    ));
                }
                schema
            }
            PropertyType::Integer { values, .. } => {
                let numbers = values.iter().map(|value| json_integer(*value));
                let texts = values.iter().map(|value| json!(value.to_string()));
                json!({ "enum": numbers.chain(texts).collect::<Vec<_>>() })
            }
            PropertyType::Boolean => json!({ "type": "boolean" }),
            PropertyType::Choice(texts) => json!({ "type": "string", "enum": texts }),
        };
        schema["description"] = json!(self.description);
        match &self.default {
            Some(ParameterValue::Integer(value)) => schema["default"] = json_integer(*value),
            Some(ParameterValue::Boolean(value)) => schema["default"] = json!(value),
            Some(ParameterValue::Choice(text)) => schema["default"] = json!(text),
            None => {}
        }
        schema
    }
}

/// A number where every parser reads it exactly, otherwise a string.
fn json_integer(value: i128) -> Value {
    match i64::try_from(value) {
        Ok(number) if is_safe(value) => json!(number),
        _ => json!(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(properties: &Value, required: &Value) -> Result<ParameterSchema, String> {
        let schema = json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        });
        serde_json::from_value(schema).map_err(|error| error.to_string())
    }

    fn property(schema: &Value) -> Result<ParameterSchema, String> {
        read(&json!({ "x": schema }), &json!(["x"]))
    }

    #[test]
    fn a_schema_outside_of_the_subset_is_refused() {
        let good = json!({ "type": "integer", "minimum": 0, "maximum": 9, "description": "" });
        assert!(property(&good).is_ok());
        for (member, value) in [
            ("type", json!("number")),
            ("type", json!("boolean")),
            ("minimum", json!(10)),
            ("minimum", json!(0.5)),
            ("minimum", Value::Null),
            ("maximum", json!(1e20)),
            ("enum", json!([10])),
            ("enum", json!(["a"])),
            ("pattern", json!("x")),
            ("description", Value::Null),
        ] {
            let mut bad = good.clone();
            bad[member] = value;
            assert!(property(&bad).is_err(), "{bad}");
        }
        for bad in [
            json!({ "type": "integer", "minimum": -1, "maximum": u64::MAX, "description": "" }),
            json!({ "type": "string", "description": "" }),
            json!({ "type": "string", "enum": [], "description": "" }),
            json!({ "type": "string", "enum": ["a b"], "description": "" }),
            json!({ "type": "object", "description": "" }),
        ] {
            assert!(property(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_parameter_is_required_or_has_a_default() {
        let with = json!({ "x": { "type": "boolean", "description": "", "default": true } });
        let without = json!({ "x": { "type": "boolean", "description": "" } });
        assert!(read(&with, &json!([])).is_ok());
        assert!(read(&without, &json!(["x"])).is_ok());
        assert!(read(&with, &json!(["x"])).is_err());
        assert!(read(&without, &json!([])).is_err());
        assert!(read(&json!({}), &json!(["x"])).is_err());
        assert!(read(&json!({ "x.y": without["x"] }), &json!(["x.y"])).is_err());
        let wrong = json!({ "x": { "type": "boolean", "description": "", "default": "yes" } });
        assert!(read(&wrong, &json!([])).is_err());
    }

    #[test]
    fn callers_see_that_large_integers_are_strings() {
        let schema = property(&json!({
            "type": "integer", "minimum": 0, "maximum": u64::MAX, "description": "a bound",
        }));
        let shown = serde_json::to_value(schema.unwrap()).unwrap();
        assert_eq!(shown["required"], json!(["x"]));
        assert_eq!(shown["properties"]["x"]["maximum"], json!(9_007_199_254_740_991_u64));
        assert!(shown["properties"]["x"]["$comment"].as_str().unwrap().contains("18446744073709551615"));
    }
}
