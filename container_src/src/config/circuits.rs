//! The circuits to prove.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use clap::Args;
use edgeprove_files::regular_file;
use edgeprove_protocol::{CircuitId, ProofSystem, Target};

use super::setting::{Faults, RawSetting, Setting, raw_setting};
use crate::{circuits::sample_inputs, engine::settings::CircuitSettings};
use edgeprove_engine::{
    circuits::{family::CircuitFamily, registry::CircuitSource},
    proof_systems::proof_system,
};

impl Setting for Target {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "noir-recursive, evm or groth16".to_owned())
    }
}

/// `evm`, or `NAME=evm` for one circuit.
#[derive(Debug, Clone)]
struct TargetRule {
    circuit: Option<CircuitId>,
    target: Target,
}

impl Setting for TargetRule {
    fn read(text: &str) -> Result<Self, String> {
        let wanted = "TARGET or CIRCUIT=TARGET, where TARGET is noir-recursive, evm or groth16";
        let (circuit, target) = match text.split_once('=') {
            Some((circuit, target)) => (Some(circuit.parse().map_err(|_| wanted.to_owned())?), target),
            None => (None, text),
        };
        Ok(Self { circuit, target: target.parse().map_err(|_| wanted.to_owned())? })
    }
}

/// Flags of the circuits.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Circuits")]
pub struct CircuitArgs {
    /// Compiled circuit: target/NAME.json of `nargo compile`, or the key NAME.zkey of a circom circuit, with its program
    /// NAME.wasm (or `NAME_js/NAME.wasm`) and possibly its constraints NAME.r1cs beside it. Its name is the file's name
    /// without the extension. NAME.toml beside it has sample inputs, as Prover.toml of Noir has them, and is for everybody. May be repeated; several in one value are separated by commas. The first one is the default
    /// circuit, for requests that name none.
    #[arg(long, env = "EDGEPROVE_CIRCUIT", value_name = "FILE", value_delimiter = ',')]
    circuit: Vec<PathBuf>,

    /// Folder of compiled circuits, each with the name of its file without the extension. The files of a circom circuit
    /// may be in a folder of their own, NAME/NAME.zkey. If there is only one circuit, it is the default circuit. Hidden
    /// files, and files whose names do not end in .json or .zkey, are skipped.
    #[arg(long, env = "EDGEPROVE_CIRCUITS", value_name = "DIR")]
    circuits: Option<PathBuf>,

    /// Target of proofs whose request names none: `noir-recursive` (verified by bb and bb.js) or `evm` (verified in
    /// Solidity). `NAME=evm` sets it for one circuit. Several are separated by commas. Default: noir-recursive. The target
    /// of circom circuits is always `groth16` (verified by snarkjs and in Solidity).
    #[arg(long, env = "EDGEPROVE_TARGET", value_name = "[NAME=]TARGET", value_delimiter = ',', value_parser = raw_setting::<TargetRule>)]
    target: Vec<RawSetting<TargetRule>>,

    /// Circuits with the same purpose and different sizes, the largest first: `maze_64,maze_32,maze_16`. If the machine
    /// has too little memory for one, the server proves the next smaller one if the request has a witness for it, and
    /// else names it in the problem. Several families are separated by semicolons.
    #[arg(long, env = "EDGEPROVE_CIRCUIT_FAMILY", value_name = "NAMES", value_delimiter = ';', value_parser = raw_setting::<CircuitFamily>)]
    circuit_family: Vec<RawSetting<CircuitFamily>>,
}

impl Setting for CircuitFamily {
    fn read(text: &str) -> Result<Self, String> {
        let names: Result<Vec<CircuitId>, _> = text.split(',').map(|name| name.trim().parse()).collect();
        let names = names.map_err(|error| format!("names of circuits, separated by commas: {error}"))?;
        Self::new(names).map_err(|error| format!("a family of circuits: {error}"))
    }
}

impl CircuitArgs {
    /// Reads the flags and the folder.
    pub fn read(self, faults: &mut Faults) -> Option<CircuitSettings> {
        let rules = faults.take_all("target", self.target);
        let mut files = self.circuits.map(|dir| list(&dir, faults)).unwrap_or_default();
        let mut named: Vec<(CircuitId, PathBuf)> = Vec::new();
        for file in self.circuit.into_iter().filter(|file| !file.as_os_str().is_empty()) {
            if let Err(error) = regular_file::check_path(&file) {
                faults.add(format!("--circuit (EDGEPROVE_CIRCUIT): {}: {error}", file.display()));
            } else if !file.is_file() {
                faults.add(format!("--circuit (EDGEPROVE_CIRCUIT): there is no file {}", file.display()));
            }
            let Some(id) = name(&file, faults) else { continue };
            if let Some((_, other)) = named.iter().find(|(other, path)| *other == id && *path != file) {
                faults.add(format!(
                    "--circuit (EDGEPROVE_CIRCUIT): {} and {} have the same name, {id}",
                    other.display(),
                    file.display()
                ));
            }
            named.push((id, file));
        }
        // A circuit that is named replaces one with the same name in the folder.
        files.retain(|(id, _)| !named.iter().any(|(other, _)| other == id));
        let default = named.first().map(|(id, _)| id.clone());
        files.extend(named);
        for rule in rules.iter().filter_map(|rule| rule.circuit.as_ref()) {
            if !files.iter().any(|(id, _)| id == rule) {
                faults.add(format!("--target (EDGEPROVE_TARGET): there is no circuit {rule}"));
            }
        }
        let families = faults.take_all("circuit-family", self.circuit_family);
        let mut members = HashSet::new();
        for id in families.iter().flat_map(CircuitFamily::members) {
            if !files.iter().any(|(other, _)| other == id) {
                faults.add(format!("--circuit-family (EDGEPROVE_CIRCUIT_FAMILY): there is no circuit {id}"));
            }
            if !members.insert(id) {
                faults.add(format!("--circuit-family (EDGEPROVE_CIRCUIT_FAMILY): {id} is in two families"));
            }
        }
        let sources: Vec<_> = files
            .into_iter()
            .map(|(id, path)| CircuitSource { target: target(&rules, &id, &path, faults), id, path })
            .collect();
        let samples = sources.iter().filter_map(|source| {
            let sample = faults.ok(sample_inputs::of_circuit(&source.path)).flatten()?;
            Some((source.id.clone(), sample))
        });
        let samples = samples.collect();
        Some(CircuitSettings { sources, default, families, samples })
    }
}

/// The target of a circuit where a request names none. A rule for all circuits is for those whose proof system has it.
fn target(rules: &[TargetRule], id: &CircuitId, path: &Path, faults: &mut Faults) -> Target {
    let targets = proof_system(path).unwrap_or(ProofSystem::UltraHonk).targets();
    let own = rules.iter().rev().find(|rule| rule.circuit.as_ref() == Some(id));
    if let Some(TargetRule { target, .. }) = own.filter(|rule| !targets.contains(&rule.target)) {
        let known = targets.iter().map(|target| target.as_str()).collect::<Vec<_>>().join(" or ");
        faults.add(format!(
            "--target (EDGEPROVE_TARGET): proofs of {id} cannot have the target {target}: choose {known}"
        ));
    }
    let mut general = rules.iter().rev().filter(|rule| rule.circuit.is_none());
    let rule = own.or_else(|| general.find(|rule| targets.contains(&rule.target)));
    rule.map_or(targets[0], |rule| rule.target)
}

fn list(dir: &Path, faults: &mut Faults) -> Vec<(CircuitId, PathBuf)> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            faults.add(format!("--circuits (EDGEPROVE_CIRCUITS): {} cannot be read: {error}", dir.display()));
            return Vec::new();
        }
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.map(|path| key_in_folder(&path).unwrap_or(path)).collect();
    // macOS writes `._maze.json` beside a circuit, and editors hide their copies in the same way.
    let is_hidden =
        |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    // Anything but a file, such as a link without a target, is a circuit that cannot be loaded: it must not be missing
    // without a word.
    paths.retain(|path| proof_system(path).is_some() && !is_hidden(path));
    paths.sort();
    let mut found: Vec<(CircuitId, PathBuf)> = Vec::new();
    for path in paths {
        let Some(id) = name(&path, faults) else { continue };
        if let Some((_, other)) = found.iter().find(|(other, _)| *other == id) {
            faults.add(format!(
                "--circuits (EDGEPROVE_CIRCUITS): {} and {} have the same name, {id}",
                other.display(),
                path.display()
            ));
        }
        found.push((id, path));
    }
    found
}

/// The key of a circom circuit that has a folder of its own, `NAME/NAME.zkey`.
fn key_in_folder(folder: &Path) -> Option<PathBuf> {
    let mut name = folder.file_name()?.to_owned();
    name.push(".zkey");
    let key = folder.join(name);
    (folder.is_dir() && key.exists()).then_some(key)
}

fn name(file: &Path, faults: &mut Faults) -> Option<CircuitId> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    stem.parse().map_err(|error| faults.add(format!("the circuit file {}: {error}", file.display()))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_and_other_files_of_a_folder_are_no_circuits() {
        let dir = tempfile::tempdir().unwrap();
        let other = [
            "._maze.json",
            ".maze.json",
            ".#maze.json",
            "maze.json~",
            "#maze.json#",
            "maze.json.bak",
            "maze.gz",
        ];
        for file in other.iter().chain(&["maze.json", "range_check.json"]) {
            std::fs::write(dir.path().join(file), "{}").unwrap();
        }
        let mut faults = Faults::default();
        let circuits = list(dir.path(), &mut faults);
        let names: Vec<&str> = circuits.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(names, ["maze", "range_check"]);
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn a_key_may_be_in_a_folder_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["range", "range_js", "empty", ".hidden", "other"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for file in ["range/range.zkey", "other/different.zkey", ".hidden/.hidden.zkey", "single.zkey"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let mut faults = Faults::default();
        let circuits = list(dir.path(), &mut faults);
        let names: Vec<&str> = circuits.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(names, ["range", "single"]);
        assert_eq!(faults, Faults::default());
        std::fs::write(dir.path().join("range.json"), "{}").unwrap();
        list(dir.path(), &mut faults);
        assert_ne!(faults, Faults::default(), "two circuits with one name");
    }

    #[test]
    fn the_target_follows_from_the_proof_system() {
        let rules = ["evm", "b=groth16", "c=noir-recursive"].map(|rule| TargetRule::read(rule).unwrap());
        let mut faults = Faults::default();
        let mut of = |file: &str| {
            let id = file.split('.').next().unwrap().parse().unwrap();
            target(&rules, &id, Path::new(file), &mut faults)
        };
        assert_eq!(
            ["a.json", "a.zkey", "b.zkey"].map(&mut of),
            [Target::Evm, Target::Groth16, Target::Groth16]
        );
        assert_eq!(of("c.json"), Target::NoirRecursive);
        assert_eq!(faults, Faults::default());
        let mut faults = Faults::default();
        target(&rules, &"b".parse().unwrap(), Path::new("b.json"), &mut faults);
        assert_ne!(faults, Faults::default());
    }
}
