//! Noir's circuits: compiled here, and proved by the server's engine.

use std::sync::atomic::AtomicBool;

use edgeprove_prover::barretenberg::contract_call;
use edgeprove_templates::{Instance, sample::Sample, template::Input};
use serde::Deserialize;
use serde_json::Value;

use super::{
    BuildContext, BuildError, BuildStage, Builder, NoirBackend, NoirProver, Turn,
    contract::{ContractFiles, Origin, SampleCalls},
};
use crate::{
    artifact::Artifact,
    contract::{Flavor, NotDeployable},
    error::ToolError,
    gate::{self, ProvedSample, SampleProof},
};

/// The compiled program, in the compiler's working folder and as an artifact.
const PROGRAM: &str = "circuit.json";

impl Builder {
    pub(super) async fn build_noir(
        &self,
        turn: &Turn,
        instance: &Instance,
        noir: &dyn NoirBackend,
        context: &BuildContext<'_>,
    ) -> Result<(Vec<Artifact>, ContractFiles), BuildError> {
        let workspace = self.write_sources(turn, instance, |_| Ok(())).await?;
        let tool = self.toolchain.compile_noir(".", PROGRAM);
        let [program] = self.compile(turn, tool, workspace, [PROGRAM]).await?;
        let (checked, expected_version) = (instance.clone(), self.toolchain.versions().noir.clone());
        let read = move |_: &AtomicBool| {
            check(&program, &checked, &expected_version).map(|()| Artifact::new(PROGRAM, program))
        };
        let program = turn.blocking(read).await??;
        (context.on_stage)(BuildStage::MakingKeys);
        let prover = noir.load(&program).await?;
        (context.on_stage)(BuildStage::Checking);
        let prover: &dyn NoirProver = prover.as_ref();
        let ProvedSample { sample, .. } = gate::check(prover, instance).await?;
        let contract = if self.makes_contracts {
            self.noir_contract(turn, prover, &sample).await?
        } else {
            ContractFiles::none(Flavor::HonkZk, NotDeployable::NotMade)
        };
        Ok((vec![program], contract))
    }

    async fn noir_contract(
        &self,
        turn: &Turn,
        prover: &dyn NoirProver,
        sample: &Sample,
    ) -> Result<ContractFiles, BuildError> {
        let failed = |error| gate::failure(error, &sample.name);
        let key = prover.contract_key().await.map_err(failed)?;
        let proof = prover.prove_for_contract(&sample.inputs).await.map_err(failed)?;
        let calldata = |proof: &SampleProof| Ok(contract_call::calldata(&proof.proof, &proof.public_inputs));
        let calls = SampleCalls::new(sample.name.clone(), &proof, prover, calldata).map_err(failed)?;
        self.make_contract(turn, Flavor::HonkZk, Origin::KeyOfBb(key), calls).await
    }
}

/// The part of a program that a template describes.
#[derive(Deserialize)]
struct Program {
    /// The version, `+`, and the compiler's commit.
    noir_version: String,
    abi: Abi,
}

#[derive(Deserialize)]
struct Abi {
    parameters: Vec<Parameter>,
    return_type: Option<Value>,
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    visibility: String,
}

/// Compares a program with its template and the pinned compiler.
fn check(program: &[u8], instance: &Instance, expected_version: &str) -> Result<(), BuildError> {
    let differs = |reason: String| Err(BuildError::DiffersFromTemplate(reason));
    let Ok(program) = serde_json::from_slice::<Program>(program) else {
        return differs(String::from("it is no program of Noir"));
    };
    let found = program.noir_version.split('+').next().unwrap_or_default();
    if found != expected_version {
        let (tool, expected) = (String::from("Noir's compiler"), expected_version.to_owned());
        return Err(ToolError::WrongVersion { tool, expected, found: found.to_owned() }.into());
    }
    if program.abi.return_type.is_some_and(|kind| !kind.is_null()) {
        return differs(String::from("it returns a value, which would be a public input without a name"));
    }
    let template = instance.template();
    let parameters = &program.abi.parameters;
    let found = |is_public: bool| -> Vec<&str> {
        let chosen = parameters.iter().filter(|parameter| (parameter.visibility == "public") == is_public);
        chosen.map(|parameter| parameter.name.as_str()).collect()
    };
    let names = |inputs: &[Input]| inputs.iter().map(|input| input.name.clone()).collect::<Vec<_>>();
    let (public, private) = (names(template.public_inputs()), names(template.private_inputs()));
    if found(true) != public {
        return differs(format!(
            "its public inputs are {:?}, and the template states {public:?}",
            found(true)
        ));
    }
    let sorted = |mut names: Vec<String>| {
        names.sort_unstable();
        names
    };
    let found = sorted(found(false).into_iter().map(str::to_owned).collect());
    if found != sorted(private.clone()) {
        return differs(format!("its private inputs are {found:?}, and the template states {private:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use edgeprove_templates::{Catalogue, Language};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_program_must_have_the_inputs_of_its_template() {
        let catalogue = Catalogue::embedded().unwrap();
        let instance = Instance::sample(catalogue.find("rangeCheck", Some(Language::Noir)).unwrap()).unwrap();
        let program = |version: &str, inputs: &[(&str, &str)], return_type: Value| {
            let parameters: Vec<_> = inputs
                .iter()
                .map(|(name, visibility)| json!({"name": name, "type": {}, "visibility": visibility}))
                .collect();
            let abi = json!({"parameters": parameters, "return_type": return_type});
            json!({"noir_version": version, "abi": abi, "bytecode": ""}).to_string()
        };
        let right = [("value", "private"), ("context", "public")];
        let outcome = |program: String| check(program.as_bytes(), &instance, "1.0.0");
        outcome(program("1.0.0+abc", &right, Value::Null)).unwrap();

        let error = outcome(program("1.0.1+abc", &right, Value::Null)).unwrap_err();
        assert!(matches!(error, BuildError::Tool(ToolError::WrongVersion { .. })), "{error}");
        for wrong in [
            String::from("{}"),
            program("1.0.0", &right, json!({"abi_type": {}, "visibility": "public"})),
            program("1.0.0", &right[..1], Value::Null),
            program("1.0.0", &[("value", "public"), ("context", "public")], Value::Null),
            program("1.0.0", &[("other", "private"), ("context", "public")], Value::Null),
        ] {
            let error = outcome(wrong).unwrap_err();
            assert!(matches!(error, BuildError::DiffersFromTemplate(_)), "{error}");
        }
    }
}
