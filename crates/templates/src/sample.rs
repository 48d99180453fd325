//! Inputs of a circuit as expressions of its parameters, so that a template has samples for all parameters.
//!
//! | expression | value |
//! |---|---|
//! | `5`, `"5"`, `"0x05"`, `true` | itself |
//! | `[a, b]`, `{"x": a}` | a list, or the fields of a struct |
//! | `{"$parameter": "min", "plus": -1}` | an integer parameter; `plus` may be left out |
//! | `{"$repeat": a, "times": n}` | a list with n times a |
//! | `{"$poseidon2": list}` | the Poseidon2 sponge over the list, as Noir and bb compute it |
//! | `{"$merkle_root": leaf, "depth": n}` | the root of the tree with this first leaf, whose other leaves are zero |

use std::collections::BTreeMap;

use acir::{AcirField as _, FieldElement};
use bn254_blackbox_solver::poseidon2_permutation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    names,
    parameters::Parameters,
    schema::{ParameterSchema, ParameterValue, PropertyType},
};

/// The maximum length of a list, and the maximum depth of a tree.
const TIMES_MAX: i128 = 10_000;

/// Inputs for one sample, by name.
pub type InputExpressions = BTreeMap<String, Expression>;

/// The samples of a template.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// Parameters for a sample circuit, as a caller would send them.
    pub parameters: Map<String, Value>,
    /// Inputs that the circuit accepts. The first is the sample of the documentation.
    pub accepted: Vec<SampleInputs>,
    /// Inputs that the circuit refuses, or that do not fit the types of its inputs.
    pub refused: Vec<SampleInputs>,
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleInputs {
    /// What is special about it.
    pub name: String,
    /// The inputs.
    pub inputs: InputExpressions,
}

/// The inputs of one sample for certain parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Sample {
    /// What is special about it.
    pub name: String,
    /// The inputs, by name. Integers are strings of decimal digits or, with `0x`, of hexadecimal ones.
    pub inputs: Map<String, Value>,
}

/// An expression. The module's documentation has the table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct Expression(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Boolean(bool),
    Integer(String),
    List(Vec<Node>),
    Struct(BTreeMap<String, Node>),
    Parameter { name: String, plus: i128 },
    Repeat { value: Box<Node>, times: Box<Node> },
    Poseidon2(Box<Node>),
    MerkleRoot { leaf: Box<Node>, depth: Box<Node> },
}

/// An expression that has no value for these parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sample cannot be computed: {0}")]
pub struct InvalidSample(String);

fn invalid(what: impl Into<String>) -> InvalidSample {
    InvalidSample(what.into())
}

impl SampleInputs {
    /// The inputs for these parameters.
    pub(crate) fn evaluate(&self, parameters: &Parameters) -> Result<Sample, InvalidSample> {
        let inputs = self
            .inputs
            .iter()
            .map(|(name, Expression(node))| Ok((name.clone(), node.evaluate(parameters)?)))
            .collect::<Result<_, InvalidSample>>()?;
        Ok(Sample { name: self.name.clone(), inputs })
    }
}

impl Expression {
    /// The first parameter that the expression names and the schema has not as an integer.
    pub(crate) fn unknown_parameter(&self, schema: &ParameterSchema) -> Option<String> {
        self.0.unknown_parameter(schema)
    }
}

impl TryFrom<Value> for Expression {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        Node::read(value).map(Self)
    }
}

impl Node {
    fn read(value: Value) -> Result<Self, String> {
        match value {
            Value::Bool(value) => Ok(Self::Boolean(value)),
            Value::Number(number) if number.is_i64() || number.is_u64() => {
                Ok(Self::Integer(number.to_string()))
            }
            Value::String(text) if element(&text).is_some() => Ok(Self::Integer(text)),
            Value::Array(values) => {
                Ok(Self::List(values.into_iter().map(Self::read).collect::<Result<_, _>>()?))
            }
            Value::Object(members) => {
                if let Some(operator) = members.keys().find(|key| key.starts_with('$')).cloned() {
                    return Self::operation(&operator, members);
                }
                let member = |(name, value): (String, Value)| Ok((name, Self::read(value)?));
                Ok(Self::Struct(members.into_iter().map(member).collect::<Result<_, String>>()?))
            }
            other => Err(format!("{other} is no value of an input")),
        }
    }

    fn operation(operator: &str, mut members: Map<String, Value>) -> Result<Self, String> {
        let mut take = |name: &str| members.remove(name);
        let mut child = |name: &str| {
            let value = take(name).ok_or_else(|| format!("`{operator}` needs `{name}`"))?;
            Self::read(value).map(Box::new)
        };
        let node = match operator {
            "$parameter" => {
                let name = match take(operator) {
                    Some(Value::String(name)) if names::is_parameter(&name) => name,
                    _ => return Err("`$parameter` needs the name of a parameter".to_owned()),
                };
                let plus = match take("plus") {
                    None => 0,
                    Some(Value::String(digits)) => digits.parse().map_err(|_| "`plus` is no integer")?,
                    Some(number) => number.as_i64().ok_or("`plus` is no integer")?.into(),
                };
                Self::Parameter { name, plus }
            }
            "$repeat" => Self::Repeat { value: child(operator)?, times: child("times")? },
            "$poseidon2" => Self::Poseidon2(child(operator)?),
            "$merkle_root" => Self::MerkleRoot { leaf: child(operator)?, depth: child("depth")? },
            other => return Err(format!("`{other}` is no operator")),
        };
        match members.keys().next() {
            Some(unknown) => Err(format!("`{operator}` has no `{unknown}`")),
            None => Ok(node),
        }
    }

    fn unknown_parameter(&self, schema: &ParameterSchema) -> Option<String> {
        let unknown = |node: &Self| node.unknown_parameter(schema);
        match self {
            Self::Boolean(_) | Self::Integer(_) => None,
            Self::List(nodes) => nodes.iter().find_map(unknown),
            Self::Struct(members) => members.values().find_map(unknown),
            Self::Parameter { name, .. } => {
                let kind = schema.properties.get(name).map(|property| &property.kind);
                (!matches!(kind, Some(PropertyType::Integer { .. }))).then(|| name.clone())
            }
            Self::Repeat { value: a, times: b } | Self::MerkleRoot { leaf: a, depth: b } => {
                unknown(a).or_else(|| unknown(b))
            }
            Self::Poseidon2(node) => unknown(node),
        }
    }

    fn evaluate(&self, parameters: &Parameters) -> Result<Value, InvalidSample> {
        match self {
            Self::Boolean(value) => Ok(Value::Bool(*value)),
            Self::Integer(text) => Ok(Value::String(text.clone())),
            Self::List(nodes) => Ok(Value::Array(
                nodes.iter().map(|node| node.evaluate(parameters)).collect::<Result<_, _>>()?,
            )),
            Self::Struct(members) => {
                let member = |(name, node): (&String, &Self)| Ok((name.clone(), node.evaluate(parameters)?));
                Ok(Value::Object(members.iter().map(member).collect::<Result<_, InvalidSample>>()?))
            }
            Self::Parameter { name, plus } => match parameters.get(name) {
                Some(ParameterValue::Integer(value)) => {
                    let sum = value.checked_add(*plus).ok_or_else(|| invalid("`plus` is too large"))?;
                    Ok(Value::String(sum.to_string()))
                }
                _ => Err(invalid(format!("`{name}` is no integer parameter"))),
            },
            Self::Repeat { value, times } => {
                let value = value.evaluate(parameters)?;
                Ok(Value::Array(vec![value; times.count(parameters)?]))
            }
            Self::Poseidon2(list) => {
                let Value::Array(values) = list.evaluate(parameters)? else {
                    return Err(invalid("`$poseidon2` needs a list"));
                };
                let elements = values.iter().map(field).collect::<Result<Vec<_>, _>>()?;
                Ok(text(poseidon2(&elements)?))
            }
            Self::MerkleRoot { leaf, depth } => {
                let mut node = field(&leaf.evaluate(parameters)?)?;
                for _ in 0..depth.count(parameters)? {
                    node = poseidon2(&[node, FieldElement::zero()])?;
                }
                Ok(text(node))
            }
        }
    }

    fn count(&self, parameters: &Parameters) -> Result<usize, InvalidSample> {
        let value = self.evaluate(parameters)?;
        let count: Option<i128> = value.as_str().and_then(|digits| digits.parse().ok());
        let count = count.filter(|count| (0..=TIMES_MAX).contains(count));
        count
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| invalid(format!("a count is no integer from 0 to {TIMES_MAX}")))
    }
}

/// A field element from decimal or hexadecimal digits.
fn element(text: &str) -> Option<FieldElement> {
    let digits = text.strip_prefix("0x");
    let is_number = match digits {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()),
    };
    if is_number { FieldElement::try_from_str(text) } else { None }
}

fn field(value: &Value) -> Result<FieldElement, InvalidSample> {
    value.as_str().and_then(element).ok_or_else(|| invalid("a hash needs field elements"))
}

fn text(element: FieldElement) -> Value {
    Value::String(format!("0x{}", hex::encode(element.to_be_bytes())))
}

/// The Poseidon2 sponge with three elements a turn. Its initial value contains the number of elements.
fn poseidon2(elements: &[FieldElement]) -> Result<FieldElement, InvalidSample> {
    const RATE: usize = 3;
    let permute = |state: &[FieldElement]| {
        poseidon2_permutation(state).map_err(|error| invalid(format!("Poseidon2: {error}")))
    };
    let length = FieldElement::from(u128::try_from(elements.len()).unwrap_or(u128::MAX) << 64);
    let mut state = vec![FieldElement::zero(), FieldElement::zero(), FieldElement::zero(), length];
    for (turn, chunk) in elements.chunks(RATE).enumerate() {
        if turn > 0 {
            state = permute(&state)?;
        }
        for (cell, element) in state.iter_mut().zip(chunk) {
            *cell += *element;
        }
    }
    permute(&state)?.first().copied().ok_or_else(|| invalid("Poseidon2 has no result"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> ParameterSchema {
        serde_json::from_value(json!({
            "type": "object",
            "properties": {
                "n": { "type": "integer", "minimum": 0, "maximum": u64::MAX, "description": "" },
                "flag": { "type": "boolean", "description": "", "default": true },
            },
            "required": ["n"],
            "additionalProperties": false,
        }))
        .unwrap()
    }

    fn evaluate(expression: Value, n: u64) -> Result<Value, String> {
        let raw = format!(r#"{{"n":"{n}"}}"#).parse().unwrap();
        let parameters = Parameters::check(&raw, &schema(), &[]).unwrap();
        Node::read(expression)?.evaluate(&parameters).map_err(|error| error.to_string())
    }

    #[test]
    fn expressions_have_the_values_of_the_table() {
        for (expression, value) in [
            (json!(5), json!("5")),
            (json!(-5), json!("-5")),
            (json!("0x05"), json!("0x05")),
            (json!({ "a": [true, "7"] }), json!({ "a": [true, "7"] })),
            (json!({ "$parameter": "n" }), json!("3")),
            (json!({ "$parameter": "n", "plus": -4 }), json!("-1")),
            (json!({ "$parameter": "n", "plus": "18446744073709551616" }), json!("18446744073709551619")),
            (json!({ "$repeat": false, "times": { "$parameter": "n" } }), json!([false, false, false])),
        ] {
            assert_eq!(evaluate(expression.clone(), 3), Ok(value), "{expression}");
        }
    }

    /// bb.js computed this nullifier of the sample inputs of `merkle_membership`, independently of this code.
    #[test]
    fn hashes_are_those_of_bb() {
        let inputs: toml::Table =
            include_str!("../../../circuit/noir/merkle_membership/Prover.toml").parse().unwrap();
        let (secret, scope) = (&inputs["members"][0]["secret"], &inputs["scope"]);
        let nullifier = inputs["nullifiers"][0].as_str().unwrap();
        let expression = json!({ "$poseidon2": [secret.as_str().unwrap(), scope.as_str().unwrap()] });
        assert_eq!(evaluate(expression, 0), Ok(json!(nullifier)));
    }

    #[test]
    fn a_root_is_the_hash_of_each_level_with_zero() {
        let leaf = json!({ "$poseidon2": [42, 0] });
        let root =
            |depth: u64| evaluate(json!({ "$merkle_root": leaf, "depth": { "$parameter": "n" } }), depth);
        assert_eq!(root(0), evaluate(leaf.clone(), 0));
        let two = json!({ "$poseidon2": [{ "$poseidon2": [leaf, 0] }, 0] });
        assert_eq!(root(2), evaluate(two, 0));
    }

    #[test]
    fn other_expressions_are_refused() {
        for bad in [
            json!(null),
            json!(1.5),
            json!("ten"),
            json!("0x"),
            json!({ "$eval": "1" }),
            json!({ "$parameter": "n", "minus": 1 }),
            json!({ "$parameter": 1 }),
            json!({ "$parameter": "n", "plus": 0.5 }),
            json!({ "$repeat": 1 }),
            json!({ "$repeat": 1, "times": "x" }),
        ] {
            assert!(serde_json::from_value::<Expression>(bad.clone()).is_err(), "{bad}");
        }
        let too_long = json!({ "$repeat": 1, "times": { "$parameter": "n" } });
        assert!(evaluate(too_long.clone(), 10_000).is_ok());
        assert!(evaluate(too_long, 10_001).is_err());
        assert!(evaluate(json!({ "$poseidon2": 1 }), 0).is_err());
        assert!(evaluate(json!({ "$poseidon2": [true] }), 0).is_err());
    }

    #[test]
    fn only_integer_parameters_are_in_expressions() {
        let unknown = |expression: Value| {
            serde_json::from_value::<Expression>(expression).unwrap().unknown_parameter(&schema())
        };
        assert_eq!(unknown(json!({ "$repeat": 1, "times": { "$parameter": "n" } })), None);
        assert_eq!(unknown(json!([{ "a": { "$parameter": "flag" } }])), Some("flag".into()));
        assert_eq!(unknown(json!({ "$poseidon2": [{ "$parameter": "m" }] })), Some("m".into()));
    }
}
