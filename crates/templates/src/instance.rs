//! A template with values for its parameters: one circuit.

use std::{collections::BTreeMap, sync::Arc};

use edgeprove_protocol::CircuitId;

use crate::{
    canonical_json::Canonical,
    identity::{CircuitHash, Toolchain},
    parameters::{InvalidParameters, Parameters},
    raw_parameters::RawParameters,
    render,
    sample::{InvalidSample, Sample, SampleInputs},
    schema::ParameterValue,
    template::Template,
};

/// A template with values for its parameters.
#[derive(Debug, Clone)]
pub struct Instance {
    template: Arc<Template>,
    parameters: Parameters,
    files: BTreeMap<String, String>,
}

impl Instance {
    /// Checks the parameters of a caller.
    pub fn new(template: &Arc<Template>, parameters: &RawParameters) -> Result<Self, InvalidParameters> {
        let parameters = Parameters::check(parameters, template.parameters(), template.checks())?;
        let files = render::files(template, &parameters);
        Ok(Self { template: Arc::clone(template), parameters, files })
    }

    /// The circuit with the template's sample parameters.
    pub fn sample(template: &Arc<Template>) -> Result<Self, InvalidParameters> {
        Self::new(template, &RawParameters::from(&template.samples().parameters))
    }

    /// The template.
    #[must_use]
    pub const fn template(&self) -> &Arc<Template> {
        &self.template
    }

    /// The values of all parameters, defaults included.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The files for a compiler, by their paths in a folder of its own: those of the template, and one with the
    /// parameters. A Noir circuit is the package of that folder. A circom circuit begins with `main.circom`, and needs
    /// the package circomlib in the search path.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    /// The identity of the circuit as this toolchain makes it.
    #[must_use]
    pub fn hash(&self, toolchain: &Toolchain) -> CircuitHash {
        CircuitHash::of(
            self.template.name(),
            self.template.language(),
            &self.parameters,
            toolchain,
            &self.files,
        )
    }

    /// The circuit id that is derived from the hash.
    #[must_use]
    pub fn circuit_id(&self, toolchain: &Toolchain) -> CircuitId {
        self.hash(toolchain).circuit_id(self.template.name())
    }

    /// The name of its family, which the circuits of the template and toolchain have whose other parameters are equal, and
    /// its size in the family, which no other one has. `None` where the template has no families.
    #[must_use]
    pub fn family(&self, toolchain: &Toolchain) -> Option<(String, i64)> {
        let ordered = self.template.family()?;
        let &ParameterValue::Integer(size) = self.parameters.get(ordered)? else { return None };
        let others = self.parameters.iter().filter(|(name, _)| *name != ordered);
        let family = Canonical::object([
            ("language", Canonical::Text(self.template.language().as_str().to_owned())),
            ("name", Canonical::Text(self.template.name().to_owned())),
            ("parameters", Canonical::object(others.map(|(name, value)| (name, value.canonical())))),
            ("toolchain", toolchain.canonical()),
        ]);
        Some((family.to_string(), i64::try_from(size).ok()?))
    }

    /// Inputs that the circuit accepts. There is at least one.
    pub fn accepted_samples(&self) -> Result<Vec<Sample>, InvalidSample> {
        self.evaluate(&self.template.samples().accepted)
    }

    /// Inputs that the circuit refuses, or that do not fit the types of its inputs. There is at least one.
    pub fn refused_samples(&self) -> Result<Vec<Sample>, InvalidSample> {
        self.evaluate(&self.template.samples().refused)
    }

    fn evaluate(&self, samples: &[SampleInputs]) -> Result<Vec<Sample>, InvalidSample> {
        samples.iter().map(|sample| sample.evaluate(&self.parameters)).collect()
    }
}
