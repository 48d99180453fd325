//! Checks the parameters of a caller against a schema and the checks of a template.
//!
//! Every fault is reported, with the name of the parameter and what was expected. A long value is never repeated.

use std::{collections::BTreeMap, fmt};

use edgeprove_protocol::{HasProblemType, ProblemType};
use serde::{Deserialize, Serialize};

use crate::{
    canonical_json::{Canonical, is_safe},
    names,
    raw_parameters::{RawParameters, RawValue},
    schema::{ParameterSchema, ParameterValue, PropertyType},
};

/// The maximum number of faults in one message.
const FAULTS_MAX: usize = 10;

/// Values for all parameters of a template, defaults included. They fit the schema and the checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, ParameterValue>);

/// A condition on several parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "check", rename_all = "snake_case", deny_unknown_fields)]
pub enum Check {
    /// `left <= right`, both integers.
    LessOrEqual {
        /// The name of a parameter.
        left: String,
        /// The name of a parameter.
        right: String,
    },
}

/// Values that are not parameters of the template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", faults.join("; "))]
pub struct InvalidParameters {
    faults: Vec<String>,
}

impl InvalidParameters {
    /// The faults, at most ten. Each names a parameter and what was expected.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl HasProblemType for InvalidParameters {
    fn kind(&self) -> ProblemType {
        ProblemType::InvalidRequest
    }
}

impl Check {
    /// Whether both sides are integers of the schema.
    pub(crate) fn fits(&self, schema: &ParameterSchema) -> bool {
        let Self::LessOrEqual { left, right } = self;
        [left, right].into_iter().all(|name| {
            let property = schema.properties.get(name);
            property.is_some_and(|property| matches!(property.kind, PropertyType::Integer { .. }))
        })
    }

    fn fault(&self, values: &BTreeMap<String, ParameterValue>) -> Option<String> {
        let Self::LessOrEqual { left, right } = self;
        let (Some(ParameterValue::Integer(a)), Some(ParameterValue::Integer(b))) =
            (values.get(left), values.get(right))
        else {
            // Another fault has been reported for a value that is absent or no integer.
            return None;
        };
        (a > b).then(|| format!("`{left}` must be at most `{right}`: {a} is more than {b}"))
    }
}

impl Parameters {
    /// Checks the values of a caller, and adds the defaults.
    pub(crate) fn check(
        raw: &RawParameters,
        schema: &ParameterSchema,
        checks: &[Check],
    ) -> Result<Self, InvalidParameters> {
        let mut values = BTreeMap::new();
        let mut faults = Vec::new();
        let mut given: Vec<&str> = Vec::new();
        for (name, value) in raw.members() {
            if given.contains(&name) {
                faults.push(format!("`{}` is given twice", names::shown(name)));
                continue;
            }
            given.push(name);
            let Some(property) = schema.properties.get(name) else {
                faults.push(unknown(name, schema));
                continue;
            };
            match read(&property.kind, value) {
                Some(value) => drop(values.insert(name.to_owned(), value)),
                None => faults.push(format!("`{name}` must be {}, not {}", property.kind, value.kind())),
            }
        }
        for (name, property) in schema.properties.iter().filter(|(name, _)| !given.contains(&name.as_str())) {
            match &property.default {
                Some(default) => drop(values.insert(name.clone(), default.clone())),
                None => faults.push(format!("`{name}` is missing: it must be {}", property.kind)),
            }
        }
        faults.extend(checks.iter().filter_map(|check| check.fault(&values)));
        faults.truncate(FAULTS_MAX);
        if faults.is_empty() { Ok(Self(values)) } else { Err(InvalidParameters { faults }) }
    }

    /// The values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ParameterValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&ParameterValue> {
        self.0.get(name)
    }

    /// The values in canonical JSON. Equal parameters have the same text, whatever their order and spelling was.
    #[must_use]
    pub fn canonical(&self) -> Canonical {
        Canonical::object(self.iter().map(|(name, value)| (name, value.canonical())))
    }
}

/// The canonical text.
impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.canonical().fmt(f)
    }
}

fn unknown(name: &str, schema: &ParameterSchema) -> String {
    let known: Vec<_> = schema.properties.keys().map(|name| format!("`{name}`")).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("`{}` is not a parameter of this template; its parameters are: {known}", names::shown(name))
}

fn read(kind: &PropertyType, value: &RawValue) -> Option<ParameterValue> {
    let value = match (kind, value) {
        // A parser before this one may have rounded a larger number.
        (PropertyType::Integer { .. }, RawValue::Integer(value)) if is_safe(*value) => {
            ParameterValue::Integer(*value)
        }
        (PropertyType::Integer { .. }, RawValue::Text(digits)) => ParameterValue::Integer(decimal(digits)?),
        (PropertyType::Boolean, RawValue::Boolean(value)) => ParameterValue::Boolean(*value),
        (PropertyType::Choice(_), RawValue::Text(text)) => ParameterValue::Choice(text.clone()),
        _ => return None,
    };
    kind.accepts(&value).then_some(value)
}

/// A string of decimal digits, without a plus and without leading zeros.
fn decimal(digits: &str) -> Option<i128> {
    const LENGTH_MAX: usize = 20;
    if digits.len() > LENGTH_MAX {
        return None;
    }
    let value: i128 = digits.parse().ok()?;
    (value.to_string() == digits).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn schema() -> ParameterSchema {
        serde_json::from_value(json!({
            "type": "object",
            "properties": {
                "min": { "type": "integer", "minimum": 0, "maximum": u64::MAX, "description": "" },
                "max": { "type": "integer", "minimum": 0, "maximum": u64::MAX, "description": "" },
                "shift": { "type": "integer", "minimum": -5, "maximum": 5, "description": "", "default": 0 },
                "size": { "type": "integer", "minimum": 1, "maximum": 9, "enum": [1, 9], "description": "",
                          "default": 1 },
                "strict": { "type": "boolean", "description": "", "default": false },
                "mode": { "type": "string", "enum": ["exact", "threshold"], "description": "", "default": "exact" },
            },
            "required": ["min", "max"],
            "additionalProperties": false,
        }))
        .unwrap()
    }

    fn checks() -> Vec<Check> {
        serde_json::from_value(json!([{ "check": "less_or_equal", "left": "min", "right": "max" }])).unwrap()
    }

    fn check(json: &str) -> Result<String, InvalidParameters> {
        let raw: RawParameters = json.parse().unwrap();
        Parameters::check(&raw, &schema(), &checks()).map(|parameters| parameters.to_string())
    }

    #[track_caller]
    fn assert_refused(json: &str, fault: &str) {
        let error = check(json).unwrap_err();
        assert!(error.to_string().contains(fault), "{error}");
        assert!(error.to_string().len() < 1000, "{error}");
    }

    #[test]
    fn defaults_are_added() {
        let all =
            r#"{"max":"18446744073709551615","min":7,"mode":"exact","shift":0,"size":1,"strict":false}"#;
        assert_eq!(check(r#"{"min":7,"max":"18446744073709551615"}"#).unwrap(), all);
        assert_eq!(check(all).unwrap(), all);
    }

    #[test]
    fn unknown_missing_and_repeated_parameters_are_refused() {
        assert_refused(
            r#"{"min":1}"#,
            "`max` is missing: it must be a whole number from 0 to 18446744073709551615",
        );
        assert_refused(
            r#"{"min":1,"max":2,"Min":1}"#,
            "`Min` is not a parameter of this template; its parameters are: `max`",
        );
        assert_refused(r#"{"min":1,"max":2,"min":1}"#, "`min` is given twice");
        assert_refused(r#"{"min":1,"min":2}"#, "`max` is missing");
        for name in ["__proto__", "min\\u0000", "../min", "min*/", "min; assert(true)"] {
            assert_refused(
                &format!(r#"{{"min":1,"max":2,"{name}":1}}"#),
                "is not a parameter of this template",
            );
        }
        let long = "x".repeat(100_000);
        assert_refused(&format!(r#"{{"min":1,"max":2,"{long}":1}}"#), "…` is not a parameter");
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        for value in
            ["null", "true", "1.0", "1.5", "1e3", "[1]", "{\"a\":1}", "\"\"", "\"+1\"", "\"01\"", "\" 1\""]
        {
            assert_refused(
                &format!(r#"{{"min":{value},"max":9}}"#),
                "`min` must be a whole number from 0 to",
            );
        }
        for value in ["\"0x10\"", "\"1_000\"", "\"1.0\"", "\"-0\"", "\"ten\"", "\"١\"", "\"1;\"", "\"1*/\""]
        {
            assert_refused(&format!(r#"{{"min":{value},"max":9}}"#), "`min` must be");
        }
        assert_refused(
            r#"{"min":1,"max":2,"strict":"true"}"#,
            "`strict` must be true or false, not a string",
        );
        assert_refused(
            r#"{"min":1,"max":2,"mode":"Exact"}"#,
            "`mode` must be one of \"exact\", \"threshold\"",
        );
        assert_refused(r#"{"min":1,"max":2,"size":5}"#, "`size` must be one of 1, 9, not 5");
    }

    #[test]
    fn integers_have_bounds_and_large_ones_are_strings() {
        assert!(check(r#"{"min":9007199254740991,"max":"9007199254740992"}"#).is_ok());
        for value in ["9007199254740992", "18446744073709551615", "18446744073709551616", "1e300"] {
            assert_refused(
                &format!(r#"{{"min":0,"max":{value}}}"#),
                "as a string if it is beyond 9007199254740991",
            );
        }
        assert_refused(r#"{"min":0,"max":"18446744073709551616"}"#, "`max` must be");
        assert_refused(r#"{"min":-1,"max":1}"#, "`min` must be a whole number from 0");
        assert_refused(
            r#"{"min":0,"max":1,"shift":-6}"#,
            "`shift` must be a whole number from -5 to 5, not -6",
        );
        let digits = "9".repeat(1_000_000);
        assert_refused(&format!(r#"{{"min":0,"max":"{digits}"}}"#), "not a string of 1000000 characters");
    }

    #[test]
    fn the_bounds_must_be_in_order() {
        assert!(check(r#"{"min":5,"max":5}"#).is_ok());
        assert_refused(r#"{"min":6,"max":5}"#, "`min` must be at most `max`: 6 is more than 5");
    }

    #[test]
    fn all_faults_are_reported_up_to_a_limit() {
        let error = check(r#"{"max":-1,"mode":1,"x":1}"#).unwrap_err();
        assert_eq!(error.faults().len(), 4, "{error}");
        let many: Vec<_> = (0..40).map(|i| format!("\"p{i}\":0")).collect();
        assert_eq!(check(&format!("{{{}}}", many.join(","))).unwrap_err().faults().len(), FAULTS_MAX);
    }

    #[test]
    fn a_check_names_integers_of_the_schema() {
        let check = |left: &str| Check::LessOrEqual { left: left.into(), right: "max".into() };
        assert!(check("min").fits(&schema()));
        assert!(!check("mode").fits(&schema()));
        assert!(!check("other").fits(&schema()));
        assert!(
            serde_json::from_value::<Check>(json!({ "check": "eval", "left": "a", "right": "b" })).is_err()
        );
    }

    proptest! {
        #[test]
        fn every_text_is_read_or_refused_with_a_short_message(json: String, text: String) {
            if let Ok(raw) = json.parse::<RawParameters>() {
                drop(Parameters::check(&raw, &schema(), &checks()));
            }
            let json = json!({ "min": text, "max": "18446744073709551615", (text.clone()): 1 }).to_string();
            let raw: RawParameters = json.parse().unwrap();
            if let Err(error) = Parameters::check(&raw, &schema(), &checks()) {
                prop_assert!(error.to_string().len() < 1000);
            }
        }

        #[test]
        fn an_accepted_integer_is_printed_as_it_is(value: u64) {
            let json = format!(r#"{{"min":0,"max":"{value}"}}"#);
            let raw: RawParameters = json.parse().unwrap();
            let parameters = Parameters::check(&raw, &schema(), &checks()).unwrap();
            prop_assert_eq!(parameters.get("max"), Some(&ParameterValue::Integer(value.into())));
        }
    }
}
