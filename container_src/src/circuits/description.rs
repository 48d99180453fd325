//! The description of a stored circuit: stored with it, and shown by `GET /v1/circuits/{circuit}`.

use edgeprove_builder::BuiltContract;
use edgeprove_engine::circuits::Circuit;
use edgeprove_protocol::{
    Target,
    answer::{CircuitSetup, CircuitVerifier, ContractGas},
};
use edgeprove_templates::{Instance, Language};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::PublishedFile;

/// The description of a stored circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Where it comes from.
    #[serde(flatten)]
    pub source: Source,
    /// Its language.
    pub language: Language,
    /// The targets that its proofs can have.
    pub targets: Vec<Target>,
    /// Its gates or constraints.
    pub gates: u64,
    /// Its circuit size.
    pub circuit_size: u64,
    /// Hash of its verification key, `0x` and 64 hexadecimal digits.
    pub vk_hash: String,
    /// Who must be trusted that nobody can prove false statements with its keys: for an uploaded circuit as its operator
    /// declared. `None` where keys need no setup of their own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trust: Option<String>,
    /// How its keys were made here; `None` where keys need no setup, where they were uploaded, and where an earlier version
    /// described the circuit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub setup: Option<CircuitSetup>,
    /// Its inputs with their types, as JSON; `null` where its files do not name them.
    pub inputs: Value,
    /// Its verifier contract; `None` where an earlier version described the circuit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verifier: Option<CircuitVerifier>,
    /// Its files.
    pub artifacts: Vec<FileDescription>,
}

/// Where a stored circuit comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Source {
    /// It was built from a template.
    Built {
        /// The name of the template.
        template: String,
        /// The values of all parameters of the template.
        params: Map<String, Value>,
    },
    /// An operator uploaded it.
    Uploaded {
        /// The name that the operator gave it.
        name: String,
        /// Whether a sample was proved and its proof verified before it was published.
        sample_proved: bool,
    },
}

impl Source {
    /// The template and the parameters of an instance.
    #[must_use]
    pub fn of_template(instance: &Instance) -> Self {
        Self::Built { template: instance.template().name().to_owned(), params: params(instance) }
    }
}

/// One file of a stored circuit.
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
    /// Describes a loaded circuit with these files.
    #[must_use]
    pub fn new(
        source: Source,
        language: Language,
        (trust, setup): (Option<String>, Option<CircuitSetup>),
        contract: Option<&BuiltContract>,
        files: &[PublishedFile],
        loaded: &Circuit,
    ) -> Self {
        let key = loaded.ready_key(loaded.target);
        Self {
            source,
            language,
            targets: loaded.targets().to_vec(),
            gates: key.as_ref().map_or(0, |key| key.size.gates),
            circuit_size: key.as_ref().map_or(0, |key| key.size.dyadic_size),
            vk_hash: key.map(|key| format!("0x{}", hex::encode(key.vk_hash))).unwrap_or_default(),
            inputs: serde_json::to_value(loaded.inputs()).unwrap_or_default(),
            trust,
            setup,
            verifier: contract.map(verifier),
            artifacts: files
                .iter()
                .map(|file| FileDescription {
                    name: file.name.to_owned(),
                    bytes: file.content.len(),
                    sha256: hex::encode(file.sha256),
                })
                .collect(),
        }
    }
}

fn verifier(contract: &BuiltContract) -> CircuitVerifier {
    let (gas, error) = match &contract.gas {
        Ok(gas) => (Some(ContractGas { deploy: gas.deploy, verify: gas.verify }), None),
        Err(reason) => (None, Some(reason.to_string())),
    };
    let (flavor, audited) = (contract.flavor.as_str().to_owned(), contract.flavor.is_audited());
    CircuitVerifier { flavor, audited, gas, error }
}

/// The values of all parameters, defaults included, as JSON.
#[must_use]
pub fn params(instance: &Instance) -> Map<String, Value> {
    // The canonical form is a JSON object.
    serde_json::from_str(&instance.parameters().canonical().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_of_both_sources_are_read_again() {
        let stored = |source: &str| {
            format!(
                r#"{{{source}, "language": "noir", "targets": ["evm"], "gates": 1, "circuit_size": 2, "vk_hash": "0x",
                    "inputs": null, "artifacts": []}}"#
            )
        };
        for (json, expected) in [
            (
                r#""template": "t", "params": {"min": 1}"#,
                Source::Built {
                    template: "t".to_owned(),
                    params: [("min".to_owned(), Value::from(1))].into_iter().collect(),
                },
            ),
            (
                r#""name": "n", "sample_proved": true"#,
                Source::Uploaded { name: "n".to_owned(), sample_proved: true },
            ),
        ] {
            let read: Description = serde_json::from_str(&stored(json)).unwrap();
            assert_eq!(read.source, expected);
            let again: Description = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
            assert_eq!(again, read);
        }
        serde_json::from_str::<Description>(&stored(r#""template": "t""#)).unwrap_err();
    }
}
