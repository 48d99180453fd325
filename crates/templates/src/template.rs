//! One template as its folder describes it: `template.json`, and source files that never change.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use edgeprove_protocol::CircuitId;
use serde::{Deserialize, Serialize};

use crate::{
    names::{self, Language},
    parameters::Check,
    sample::Samples,
    schema::{ParameterSchema, PropertyType},
};

/// The file with a template's description.
const DESCRIPTION: &str = "template.json";
/// The generated file with the parameters of a Noir circuit.
pub(crate) const NOIR_PARAMETERS: &str = "src/parameters.nr";
/// The generated file with the main component of a circom circuit.
pub(crate) const CIRCOM_MAIN: &str = "main.circom";
/// The file with the template of a circom circuit.
pub(crate) const CIRCOM_TEMPLATE: &str = "template.circom";

/// A template. All its rules have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    description: Description,
    sources: BTreeMap<String, String>,
}

/// The content of `template.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) language: Language,
    pub(crate) proves: String,
    pub(crate) parameters: ParameterSchema,
    pub(crate) checks: Vec<Check>,
    pub(crate) public_inputs: Vec<Input>,
    pub(crate) private_inputs: Vec<Input>,
    pub(crate) public_in: BTreeMap<String, String>,
    pub(crate) family: Option<String>,
    pub(crate) circom: Option<CircomMain>,
    pub(crate) size: Size,
    pub(crate) sample: Samples,
}

/// An input of the circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// What it is, for people.
    pub description: String,
}

/// The main component of a circom circuit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CircomMain {
    /// The template's name in the source.
    pub(crate) template: String,
    /// The parameters, in the order of the template's arguments.
    pub(crate) arguments: Vec<String>,
}

/// The size of the circuit with the sample parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Gates of a Noir circuit, as bb counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gates: Option<u64>,
    /// The circuit size of a Noir circuit: a power of two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_size: Option<u64>,
    /// Constraints of a circom circuit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraints: Option<u64>,
}

/// A folder that is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template in {folder} is invalid: {reason}")]
pub struct InvalidTemplate {
    /// The folder, below `circuit/`.
    pub folder: String,
    /// What is wrong.
    pub reason: String,
}

impl Template {
    /// Reads a template from the files of its folder. `folder` is its path below `circuit/`.
    pub fn read(
        folder: &str,
        files: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, InvalidTemplate> {
        let invalid = |reason: String| InvalidTemplate { folder: folder.to_owned(), reason };
        let mut sources: BTreeMap<String, String> = files.into_iter().collect();
        let text = sources.remove(DESCRIPTION).ok_or_else(|| invalid(format!("it has no {DESCRIPTION}")))?;
        let description: Description =
            serde_json::from_str(&text).map_err(|error| invalid(format!("{DESCRIPTION}: {error}")))?;
        let template = Self { description, sources };
        template.check_files(folder).map_err(invalid)?;
        template.description.check().map_err(invalid)?;
        Ok(template)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Its language.
    #[must_use]
    pub const fn language(&self) -> Language {
        self.description.language
    }

    /// What a proof shows, in one sentence.
    #[must_use]
    pub fn proves(&self) -> &str {
        &self.description.proves
    }

    /// The types of its parameters.
    #[must_use]
    pub const fn parameters(&self) -> &ParameterSchema {
        &self.description.parameters
    }

    /// The conditions on several parameters.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.description.checks
    }

    /// The public inputs, in the order of the proof.
    #[must_use]
    pub fn public_inputs(&self) -> &[Input] {
        &self.description.public_inputs
    }

    /// The private inputs.
    #[must_use]
    pub fn private_inputs(&self) -> &[Input] {
        &self.description.private_inputs
    }

    /// For parameters that another template has as public inputs: the name of that template. All parameters of a template
    /// are constants of its circuits.
    #[must_use]
    pub const fn public_in(&self) -> &BTreeMap<String, String> {
        &self.description.public_in
    }

    /// The parameter whose values make a family: circuits that differ in it only prove the same at different sizes, the
    /// largest value at the largest size.
    #[must_use]
    pub fn family(&self) -> Option<&str> {
        self.description.family.as_deref()
    }

    /// The size of the circuit with the sample parameters.
    #[must_use]
    pub const fn size(&self) -> Size {
        self.description.size
    }

    /// The samples, as expressions of the parameters.
    #[must_use]
    pub const fn samples(&self) -> &Samples {
        &self.description.sample
    }

    /// The source files, which every circuit of the template has unchanged.
    #[must_use]
    pub const fn sources(&self) -> &BTreeMap<String, String> {
        &self.sources
    }

    pub(crate) const fn circom(&self) -> Option<&CircomMain> {
        self.description.circom.as_ref()
    }

    /// The first way in which templates of one name differ, where only the language may.
    pub(crate) fn difference(&self, other: &Self) -> Option<&'static str> {
        let (a, b) = (&self.description, &other.description);
        let differences = [
            (a.proves != b.proves, "proves"),
            (a.parameters != b.parameters, "parameters"),
            (a.checks != b.checks, "checks"),
            (a.public_inputs != b.public_inputs, "public_inputs"),
            (a.private_inputs != b.private_inputs, "private_inputs"),
            (a.public_in != b.public_in, "public_in"),
            (a.family != b.family, "family"),
            (a.sample != b.sample, "sample"),
        ];
        differences.into_iter().find_map(|(differs, what)| differs.then_some(what))
    }

    fn check_files(&self, folder: &str) -> Result<(), String> {
        let language = self.language();
        if folder != format!("{language}/templates/{}", self.name()) {
            return Err(format!("name and language belong to {language}/templates/{}", self.name()));
        }
        let (required, generated): (&[&str], _) = match language {
            Language::Noir => (&["Nargo.toml", "src/main.nr"], NOIR_PARAMETERS),
            Language::Circom => (&[CIRCOM_TEMPLATE], CIRCOM_MAIN),
        };
        if let Some(missing) = required.iter().find(|file| !self.sources.contains_key(**file)) {
            return Err(format!("it has no {missing}"));
        }
        if self.sources.contains_key(generated) {
            return Err(format!(
                "{generated} is generated from the parameters, and must not be in the folder"
            ));
        }
        Ok(())
    }
}

impl Description {
    fn check(&self) -> Result<(), String> {
        self.check_names()?;
        self.check_parameters()?;
        self.check_samples()
    }

    fn check_names(&self) -> Result<(), String> {
        let is_id = format!("{}-{}", self.name, "0".repeat(40)).parse::<CircuitId>().is_ok();
        if !names::is_camel_case(&self.name, names::TEMPLATE_NAME_MAX) || !is_id {
            return Err(format!("`{}` is no name for a template", self.name));
        }
        if self.proves.trim().is_empty() || self.proves.contains('\n') {
            return Err("`proves` must be one sentence".to_owned());
        }
        // A Solidity verifier needs a public input, and without one a proof could be replayed anywhere.
        if self.public_inputs.is_empty() {
            return Err("it has no public input".to_owned());
        }
        let inputs: Vec<_> =
            self.public_inputs.iter().chain(&self.private_inputs).map(|input| input.name.as_str()).collect();
        if let Some(bad) = inputs.iter().find(|name| !names::is_identifier(name)) {
            return Err(format!("`{bad}` is no name for an input"));
        }
        match duplicate(&inputs) {
            Some(name) => Err(format!("two inputs have the name `{name}`")),
            None => Ok(()),
        }
    }

    fn check_parameters(&self) -> Result<(), String> {
        if let Some(check) = self.checks.iter().find(|check| !check.fits(&self.parameters)) {
            return Err(format!("a check names no integer parameters: {check:?}"));
        }
        let properties = &self.parameters.properties;
        if let Some(name) = self.public_in.keys().find(|name| !properties.contains_key(*name)) {
            return Err(format!("`public_in` names `{name}`, which is no parameter"));
        }
        let is_integer = |name: &String| {
            properties.get(name).is_some_and(|found| matches!(found.kind, PropertyType::Integer { .. }))
        };
        if let Some(name) = self.family.as_ref().filter(|name| !is_integer(name)) {
            return Err(format!("`family` names `{name}`, which is no integer parameter"));
        }
        let constants: Vec<String> = properties
            .iter()
            .flat_map(|(name, property)| {
                let texts = match &property.kind {
                    PropertyType::Choice(texts) => texts.as_slice(),
                    PropertyType::Integer { .. } | PropertyType::Boolean => &[],
                };
                let of_texts = texts.iter().map(|text| choice_constant(name, text));
                std::iter::once(names::constant(name)).chain(of_texts).collect::<Vec<_>>()
            })
            .collect();
        if let Some(name) = duplicate(&constants) {
            return Err(format!("two parameters would be the constant `{name}`"));
        }
        match (self.language, &self.circom) {
            (Language::Noir, None) => Ok(()),
            (Language::Circom, Some(main)) if names::is_pascal_case(&main.template) => {
                let arguments: BTreeSet<_> = main.arguments.iter().collect();
                if arguments.len() == main.arguments.len() && arguments == properties.keys().collect() {
                    Ok(())
                } else {
                    Err("`circom.arguments` must name each parameter once".to_owned())
                }
            }
            (Language::Noir, Some(_)) => Err("`circom` is for templates in circom".to_owned()),
            (Language::Circom, _) => Err("`circom.template` must name the template in the source".to_owned()),
        }
    }

    fn check_samples(&self) -> Result<(), String> {
        let inputs: BTreeSet<_> =
            self.public_inputs.iter().chain(&self.private_inputs).map(|input| &input.name).collect();
        if self.sample.accepted.is_empty() || self.sample.refused.is_empty() {
            return Err("it needs a sample that is accepted and one that is refused".to_owned());
        }
        for sample in self.sample.accepted.iter().chain(&self.sample.refused) {
            if sample.inputs.keys().collect::<BTreeSet<_>>() != inputs {
                return Err(format!("the sample `{}` must have each input once", sample.name));
            }
            let unknown = sample.inputs.values().find_map(|input| input.unknown_parameter(&self.parameters));
            if let Some(name) = unknown {
                return Err(format!(
                    "the sample `{}` names `{name}`, which is no integer parameter",
                    sample.name
                ));
            }
        }
        Ok(())
    }
}

/// The constant for one text of an enum.
pub(crate) fn choice_constant(parameter: &str, text: &str) -> String {
    format!("{}_{}", names::constant(parameter), names::constant(text))
}

fn duplicate<T: AsRef<str>>(names: &[T]) -> Option<&str> {
    let mut seen = BTreeSet::new();
    names.iter().map(AsRef::as_ref).find(|name| !seen.insert(*name))
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.name(), self.language())
    }
}
