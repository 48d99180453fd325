//! The description of a built circuit: stored with it, and shown by `GET /v1/circuits/{circuit}`.

use edgeprove_builder::BuiltCircuit;
use edgeprove_engine::circuits::Circuit;
use edgeprove_protocol::Target;
use edgeprove_templates::{Instance, Language};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The description of a built circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The name of its template.
    pub template: String,
    /// Its language.
    pub language: Language,
    /// The values of all parameters of the template.
    pub params: Map<String, Value>,
    /// The targets that its proofs can have.
    pub targets: Vec<Target>,
    /// Its gates or constraints.
    pub gates: u64,
    /// Its circuit size.
    pub circuit_size: u64,
    /// Hash of its verification key, `0x` and 64 hexadecimal digits.
    pub vk_hash: String,
    /// Who must be trusted that nobody can prove false statements with its keys; `None` where keys need no setup of their
    /// own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trust: Option<String>,
    /// Its inputs with their types, as JSON; `null` where its files do not name them.
    pub inputs: Value,
    /// Its files.
    pub artifacts: Vec<FileDescription>,
}

/// One file of a built circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDescription {
    /// Its name.
    pub name: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

impl Description {
    /// Describes a circuit that was built and loaded.
    #[must_use]
    pub fn new(instance: &Instance, built: &BuiltCircuit, loaded: &Circuit) -> Self {
        let key = loaded.ready_key(loaded.target);
        let template = instance.template();
        Self {
            template: template.name().to_owned(),
            language: template.language(),
            params: params(instance),
            targets: loaded.targets().to_vec(),
            gates: key.as_ref().map_or(0, |key| key.size.gates),
            circuit_size: key.as_ref().map_or(0, |key| key.size.dyadic_size),
            vk_hash: key.map(|key| format!("0x{}", hex::encode(key.vk_hash))).unwrap_or_default(),
            inputs: serde_json::to_value(loaded.inputs()).unwrap_or_default(),
            trust: built.trust.map(|trust| trust.as_str().to_owned()),
            artifacts: built
                .artifacts
                .iter()
                .map(|artifact| FileDescription {
                    name: artifact.name().to_owned(),
                    bytes: artifact.bytes().len() as u64,
                    sha256: hex::encode(artifact.sha256()),
                })
                .collect(),
        }
    }
}

/// The values of all parameters, defaults included, as JSON.
#[must_use]
pub fn params(instance: &Instance) -> Map<String, Value> {
    // The canonical form is a JSON object.
    serde_json::from_str(&instance.parameters().canonical().to_string()).unwrap_or_default()
}
