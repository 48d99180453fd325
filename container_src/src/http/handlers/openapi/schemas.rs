//! The schemas of bodies: JSON Schema 2020-12, from the types.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// Where the document has its schemas.
const COMPONENTS: &str = "/components/schemas";

/// Collects the schemas that a document refers to.
pub struct Schemas {
    /// Of what the server sends.
    sent: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        Self { sent: settings().for_serialize().into_generator() }
    }
}

fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = COMPONENTS.into();
        settings.meta_schema = None;
    })
}

impl Schemas {
    /// A reference to the schema of what the server sends.
    pub fn of<T: JsonSchema>(&mut self) -> Value {
        self.sent.subschema_for::<T>().to_value()
    }

    /// The schemas by name.
    #[must_use]
    pub fn into_components(mut self) -> Map<String, Value> {
        let mut all = self.sent.take_definitions(true);
        for schema in all.values_mut() {
            tidy(schema);
        }
        all
    }
}

/// The schema of what the server receives. It has everything in one place: what may be left out differs from what is sent.
#[must_use]
pub fn received<T: JsonSchema>() -> Value {
    let settings = settings().for_deserialize().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// Removes what is a matter of Rust: titles that repeat the name of a type, and formats that JSON Schema does not know.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let is_schema = members.contains_key("type") || members.contains_key("anyOf");
            if is_schema {
                members.retain(|name, value| name != "title" || !value.is_string());
                members.retain(|name, _| name != "format");
            }
            if let Some(Value::String(description)) = members.get_mut("description") {
                // Documentation is written for readers of the code.
                *description = description.replace("`None`", "`null`").replace('\n', " ");
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Bytes, which are not described further.
#[must_use]
pub fn bytes() -> Value {
    json!({})
}

/// Text.
#[must_use]
pub fn text() -> Value {
    json!({ "type": "string" })
}

/// Server-sent events. OpenAPI 3.1 has no words for the items of a stream, so nothing is required.
#[must_use]
pub fn events() -> Value {
    json!({ "description": "Server-sent events. The data of each is JSON." })
}

/// The inputs of a circuit.
#[must_use]
pub fn inputs() -> Value {
    let values = |description: &str| json!({ "type": "object", "description": description });
    json!({
        "type": "object",
        "properties": {
            "circuitId": {
                "type": "string",
                "pattern": "^[A-Za-z0-9_-]{1,64}$",
                "description": "The circuit, where neither the path nor the query names it.",
            },
            "privateInputs": values("The private inputs, by name."),
            "publicInputs": values("The public inputs, by name."),
        },
        "required": ["privateInputs"],
        "additionalProperties": false,
    })
}

/// A proof that a caller sends, with its public inputs.
#[must_use]
pub fn sent_proof() -> Value {
    json!({
        "type": "object",
        "properties": {
            "proof": proof(),
            "publicInputs": { "type": "array", "items": { "type": "string" }, "maxItems": 4096 },
        },
        "required": ["proof", "publicInputs"],
        "additionalProperties": false,
    })
}

/// A proof in one of its two forms.
#[must_use]
pub fn proof() -> Value {
    let array = |items: Value, length: u8| -> Value {
        json!({ "type": "array", "items": items, "minItems": length, "maxItems": length })
    };
    let point = array(text(), 3);
    json!({
        "description": "The proof of bb in base64, or the object that snarkjs writes.",
        "anyOf": [
            { "type": "string", "contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/]*={0,2}$" },
            {
                "type": "object",
                "properties": {
                    "pi_a": point.clone(),
                    "pi_b": array(array(text(), 2), 3),
                    "pi_c": point,
                    "protocol": { "const": "groth16" },
                    "curve": { "const": "bn128" },
                },
                "required": ["pi_a", "pi_b", "pi_c", "protocol", "curve"],
                "additionalProperties": false,
            },
        ],
    })
}

/// A proof in an answer: the type of the member `proof`.
pub struct ProofForm;

impl JsonSchema for ProofForm {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ProofForm".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> schemars::Schema {
        schemars::Schema::try_from(proof()).unwrap_or_default()
    }
}
