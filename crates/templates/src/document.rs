//! A template on the wire: `GET /v1/templates` and `GET /v1/templates/{name}`.

use std::collections::BTreeMap;

use edgeprove_protocol::{HasProblemType, ProblemType};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    catalogue::{Catalogue, Entry},
    instance::Instance,
    names::Language,
    parameters::Check,
    sample::Sample,
    schema::ParameterSchema,
    template::{Input, Size},
};

/// `GET /v1/templates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct TemplateList {
    /// The templates, by name.
    pub templates: Vec<TemplateSummary>,
}

/// One template of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct TemplateSummary {
    /// Its name.
    pub name: String,
    /// Its languages. The first is the one that a caller gets who names none.
    pub languages: Vec<Language>,
    /// What a proof shows, in one sentence.
    pub proves: String,
    /// The path of everything else about it.
    pub template: String,
}

/// `GET /v1/templates/{name}`.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct TemplateDocument {
    /// Its name.
    pub name: String,
    /// Its languages. The first is the one that a caller gets who names none.
    pub languages: Vec<Language>,
    /// What a proof shows, in one sentence.
    pub proves: String,
    /// Its parameters, as JSON Schema. They are constants of a circuit: other values are another circuit.
    #[schemars(with = "Map<String, Value>")]
    pub parameters: ParameterSchema,
    /// Conditions on several parameters.
    pub checks: Vec<Check>,
    /// For parameters that another template has as public inputs: its name.
    pub public_in: BTreeMap<String, String>,
    /// The parameter whose values make a family of circuits, the largest value at the largest size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The public inputs, in the order of the proof.
    pub public_inputs: Vec<Input>,
    /// The private inputs.
    pub private_inputs: Vec<Input>,
    /// Parameters and inputs to begin with.
    pub sample: SampleDocument,
    /// The sizes of the circuit with the sample parameters, by language.
    pub sizes: BTreeMap<Language, Size>,
}

/// The sample of a template.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct SampleDocument {
    /// Parameters.
    pub parameters: Map<String, Value>,
    /// Inputs that the circuit with these parameters accepts.
    pub accepted: Vec<Sample>,
    /// Inputs that it refuses.
    pub refused: Vec<Sample>,
}

/// A template whose samples cannot be computed. A test computes those of every embedded template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template {template} has no samples: {reason}")]
pub struct NoSamples {
    /// The template.
    pub template: String,
    /// Why.
    pub reason: String,
}

impl HasProblemType for NoSamples {
    fn kind(&self) -> ProblemType {
        ProblemType::Internal
    }
}

impl TemplateList {
    /// The list of a catalogue.
    #[must_use]
    pub fn of(catalogue: &Catalogue) -> Self {
        let summary = |entry: &Entry| {
            let template = entry.first();
            TemplateSummary {
                name: template.name().to_owned(),
                languages: languages(entry),
                proves: template.proves().to_owned(),
                template: format!("/v1/templates/{}", template.name()),
            }
        };
        Self { templates: catalogue.entries().map(summary).collect() }
    }
}

impl TemplateDocument {
    /// The document of the templates of one name.
    pub fn of(entry: &Entry) -> Result<Self, NoSamples> {
        let template = entry.first();
        let no_samples = |reason: String| NoSamples { template: template.name().to_owned(), reason };
        let sample = Instance::sample(template).map_err(|error| no_samples(error.to_string()))?;
        let accepted = sample.accepted_samples().map_err(|error| no_samples(error.to_string()))?;
        let refused = sample.refused_samples().map_err(|error| no_samples(error.to_string()))?;
        Ok(Self {
            name: template.name().to_owned(),
            languages: languages(entry),
            proves: template.proves().to_owned(),
            parameters: template.parameters().clone(),
            checks: template.checks().to_vec(),
            public_in: template.public_in().clone(),
            family: template.family().map(ToOwned::to_owned),
            public_inputs: template.public_inputs().to_vec(),
            private_inputs: template.private_inputs().to_vec(),
            sample: SampleDocument { parameters: template.samples().parameters.clone(), accepted, refused },
            sizes: entry.templates().map(|template| (template.language(), template.size())).collect(),
        })
    }
}

fn languages(entry: &Entry) -> Vec<Language> {
    entry.templates().map(|template| template.language()).collect()
}
