//! The circuits: compiled, and executed with their sample inputs.
//!
//! A stamp beside each result contains the digest of its sources. A second run then takes no time, and a change of a
//! source, an input or a pin recompiles only the circuits that depend on it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow};

use super::{Finding, SetupContext};
use crate::{digest, process, progress::Step};

/// The largest circuit takes seconds.
const COMPILE_LIMIT: Duration = Duration::from_mins(5);

/// The results for one circuit, in the folder from which a server loads circuits.
struct Results {
    circuit: PathBuf,
    witness: PathBuf,
    /// The sample inputs, which the server shows.
    sample: PathBuf,
    stamp: PathBuf,
}

impl Results {
    fn of(context: &SetupContext, name: &str) -> Self {
        let file = |extension| context.paths.circuits.join(format!("{name}.{extension}"));
        Self { circuit: file("json"), witness: file("gz"), sample: file("toml"), stamp: file("stamp") }
    }

    /// The stamp of up-to-date results: the digests of the sources and of the results.
    fn expected_stamp(&self, sources: &str) -> anyhow::Result<String> {
        let digests = [&self.circuit, &self.witness, &self.sample].map(|file| digest::of_file(file));
        let digests = digests.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        Ok([sources, &digests.join("\n")].join("\n"))
    }
}

/// Reports for each circuit of the repository, named by its folder, whether it is compiled.
pub(super) fn inspect(context: &SetupContext) -> anyhow::Result<Vec<Finding>> {
    names(context)?
        .into_iter()
        .map(|name| {
            let results = Results::of(context, &name);
            let expected = results.expected_stamp(&sources(context, &name)?);
            let Ok(stamp) = fs::read_to_string(&results.stamp) else {
                return Ok(Finding::missing(name, "not compiled"));
            };
            if expected.is_ok_and(|expected| expected == stamp) {
                Ok(Finding::present(name, results.circuit.display().to_string()))
            } else {
                Ok(Finding::missing(name, "compiled from other sources or by another compiler"))
            }
        })
        .collect()
}

/// Compiles one circuit and computes its witness.
pub(super) fn compile(context: &SetupContext, name: &str) -> anyhow::Result<()> {
    let step = Step::start(name, "compiling the circuit and executing it with its sample inputs");
    let package = package(context, name);
    let inputs = inputs(&package.join("Prover.toml"))?;
    fs::create_dir_all(&context.paths.circuits)
        .with_context(|| format!("{} cannot be created", context.paths.circuits.display()))?;
    let results = Results::of(context, name);
    // Without a stamp, results of an interrupted run do not count as finished.
    drop(fs::remove_file(&results.stamp));

    let script = context.paths.circuit_dir().join("compile.mjs");
    let arguments =
        [&script, &package, &results.circuit, &results.witness].map(|path| path.to_string_lossy());
    let arguments = arguments.each_ref().map(AsRef::as_ref);
    process::read_with("node", &arguments, COMPILE_LIMIT, |node| node.stdin_bytes(inputs))?;
    fs::copy(package.join("Prover.toml"), &results.sample)
        .with_context(|| format!("{} cannot be written", results.sample.display()))?;

    let stamp = results.expected_stamp(&sources(context, name)?)?;
    fs::write(&results.stamp, stamp)
        .with_context(|| format!("{} cannot be written", results.stamp.display()))?;
    step.done(&results.circuit.display().to_string());
    Ok(())
}

fn package(context: &SetupContext, name: &str) -> PathBuf {
    context.paths.circuit_dir().join("noir").join(name)
}

/// The circuits of the repository, sorted.
fn names(context: &SetupContext) -> anyhow::Result<Vec<String>> {
    let packages = package(context, "");
    let folders =
        fs::read_dir(&packages).with_context(|| format!("{} cannot be read", packages.display()))?;
    let folders = folders.flatten().filter(|folder| folder.path().join("Nargo.toml").is_file());
    let mut names: Vec<_> = folders.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    Ok(names)
}

/// The sample inputs as JSON, the input format of `noir_js`. nargo reads the TOML itself.
fn inputs(path: &Path) -> anyhow::Result<Vec<u8>> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let inputs: toml::Table =
        toml::from_str(&text).with_context(|| format!("{} is not valid TOML", path.display()))?;
    Ok(serde_json::to_vec(&inputs)?)
}

/// The digest of everything that the results depend on.
fn sources(context: &SetupContext, name: &str) -> anyhow::Result<String> {
    let dir = context.paths.circuit_dir();
    let mut files = files_under(&package(context, name).join("src"))?;
    files.extend(["Nargo.toml", "Prover.toml"].map(|file| package(context, name).join(file)));
    files.extend(["compile.mjs", "noir.mjs", "package-lock.json"].map(|file| dir.join(file)));
    let lines: Vec<_> = files
        .iter()
        .map(|file| {
            let named = file
                .strip_prefix(&dir)
                .map_err(|_| anyhow!("{} is outside of the folder", file.display()))?;
            Ok(format!("{} {}", digest::of_file(file)?, named.display()))
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(digest::of_bytes(lines.join("\n").as_bytes()))
}

/// All files under a folder, sorted.
fn files_under(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("{} cannot be read", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_under(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::tests::context_in;

    /// A context with one circuit, whose results have a matching stamp.
    fn compiled(dir: &Path) -> SetupContext {
        let mut context = context_in(dir);
        context.paths.root = dir.join("root");
        let package = package(&context, "c");
        for file in
            ["noir/c/src/main.nr", "noir/c/Nargo.toml", "noir/c/Prover.toml", "compile.mjs", "noir.mjs"]
        {
            let path = context.paths.circuit_dir().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        fs::write(context.paths.circuit_dir().join("package-lock.json"), "{}").unwrap();
        fs::create_dir_all(package.join("src/inner")).unwrap();
        fs::create_dir_all(&context.paths.circuits).unwrap();
        let results = Results::of(&context, "c");
        fs::write(&results.circuit, "circuit").unwrap();
        fs::write(&results.witness, "witness").unwrap();
        fs::write(&results.sample, "sample").unwrap();
        let stamp = results.expected_stamp(&sources(&context, "c").unwrap()).unwrap();
        fs::write(&results.stamp, stamp).unwrap();
        context
    }

    fn is_fresh(context: &SetupContext) -> bool {
        let findings = inspect(context).unwrap();
        assert_eq!(findings.len(), 1);
        findings[0].present
    }

    #[test]
    fn a_change_of_any_source_makes_a_circuit_stale() {
        for file in [
            "noir/c/src/main.nr",
            "noir/c/src/inner/new.nr",
            "noir/c/Prover.toml",
            "noir.mjs",
            "package-lock.json",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let context = compiled(dir.path());
            assert!(is_fresh(&context));
            fs::write(context.paths.circuit_dir().join(file), "changed").unwrap();
            assert!(!is_fresh(&context), "{file}");
        }
    }

    #[test]
    fn a_damaged_or_missing_result_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let context = compiled(dir.path());
        let results = Results::of(&context, "c");
        fs::write(&results.witness, "other").unwrap();
        assert!(!is_fresh(&context));
        fs::remove_file(&results.witness).unwrap();
        assert!(!is_fresh(&context));
    }

    #[test]
    fn sample_inputs_become_the_json_of_noir_js() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Prover.toml");
        fs::write(&path, "x = \"0x2\"\nflags = [true]\n[[members]]\ny = 3\n").unwrap();
        let json: serde_json::Value = serde_json::from_slice(&inputs(&path).unwrap()).unwrap();
        assert_eq!(json, serde_json::json!({"x": "0x2", "flags": [true], "members": [{"y": 3}]}));
    }
}
