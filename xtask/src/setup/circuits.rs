//! The circuits: compiled, and solved for their sample inputs.
//!
//! A stamp beside each result holds what it was made of, so that a second run takes no time and an edit to a
//! source, an input or a pin makes just what depends on it anew.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow};

use super::{Finding, Job, npm};
use crate::{digest, paths::NpmProject, process, progress::Step};

/// The largest circuit takes seconds.
const COMPILE_LIMIT: Duration = Duration::from_mins(5);

/// The results for one circuit, in the folder that a server is pointed at.
struct Results {
    circuit: PathBuf,
    witness: PathBuf,
    stamp: PathBuf,
}

impl Results {
    fn of(job: &Job, name: &str) -> Self {
        let file = |extension| job.paths.circuits.join(format!("{name}.{extension}"));
        Self { circuit: file("json"), witness: file("gz"), stamp: file("stamp") }
    }

    /// What the stamp must say: what the results were made of, and what they are.
    fn expected_stamp(&self, sources: &str) -> anyhow::Result<String> {
        Ok([sources, &digest::of_file(&self.circuit)?, &digest::of_file(&self.witness)?].join("\n"))
    }
}

/// One finding for each circuit of the repository, named by its folder.
pub(super) fn look(job: &Job) -> anyhow::Result<Vec<Finding>> {
    names(job)?
        .into_iter()
        .map(|name| {
            let results = Results::of(job, &name);
            let expected = results.expected_stamp(&sources(job, &name)?);
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

/// Compiles one circuit and makes its witness.
pub(super) fn make(job: &Job, name: &str) -> anyhow::Result<()> {
    npm::install(job, NpmProject::Circuit)?;
    let step = Step::begin(name, "compiling the circuit and solving it for its sample inputs");
    let package = package(job, name);
    let inputs = inputs(&package.join("Prover.toml"))?;
    fs::create_dir_all(&job.paths.circuits)
        .with_context(|| format!("{} cannot be made", job.paths.circuits.display()))?;
    let results = Results::of(job, name);
    // A result without a stamp is never taken for a finished one.
    drop(fs::remove_file(&results.stamp));

    let script = job.paths.circuit_dir().join("compile.mjs");
    let arguments =
        [&script, &package, &results.circuit, &results.witness].map(|path| path.to_string_lossy());
    let arguments = arguments.each_ref().map(AsRef::as_ref);
    process::read_with("node", &arguments, COMPILE_LIMIT, |node| node.stdin_bytes(inputs))?;

    let stamp = results.expected_stamp(&sources(job, name)?)?;
    fs::write(&results.stamp, stamp)
        .with_context(|| format!("{} cannot be written", results.stamp.display()))?;
    step.done(&results.circuit.display().to_string());
    Ok(())
}

fn package(job: &Job, name: &str) -> PathBuf {
    job.paths.circuit_dir().join("noir").join(name)
}

/// The circuits of the repository, sorted.
fn names(job: &Job) -> anyhow::Result<Vec<String>> {
    let room = package(job, "");
    let folders = fs::read_dir(&room).with_context(|| format!("{} cannot be read", room.display()))?;
    let folders = folders.flatten().filter(|folder| folder.path().join("Nargo.toml").is_file());
    let mut names: Vec<_> = folders.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    Ok(names)
}

/// The sample inputs as JSON, which is what `noir_js` takes; nargo reads the TOML itself.
fn inputs(path: &Path) -> anyhow::Result<Vec<u8>> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let inputs: toml::Table =
        toml::from_str(&text).with_context(|| format!("{} is no TOML", path.display()))?;
    Ok(serde_json::to_vec(&inputs)?)
}

/// Digest of all that the results depend on.
fn sources(job: &Job, name: &str) -> anyhow::Result<String> {
    let room = job.paths.circuit_dir();
    let mut files = files_under(&package(job, name).join("src"))?;
    files.extend(["Nargo.toml", "Prover.toml"].map(|file| package(job, name).join(file)));
    files.extend(["compile.mjs", "noir.mjs", "package-lock.json"].map(|file| room.join(file)));
    let lines: Vec<_> = files
        .iter()
        .map(|file| {
            let named = file.strip_prefix(&room).map_err(|_| anyhow!("{} is outside", file.display()))?;
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
    use crate::setup::tests::job_in;

    /// A repository with one circuit, which looks as if it had been compiled.
    fn compiled(dir: &Path) -> Job {
        let mut job = job_in(dir);
        job.paths.root = dir.join("root");
        let package = package(&job, "c");
        for file in
            ["noir/c/src/main.nr", "noir/c/Nargo.toml", "noir/c/Prover.toml", "compile.mjs", "noir.mjs"]
        {
            let path = job.paths.circuit_dir().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        fs::write(job.paths.circuit_dir().join("package-lock.json"), "{}").unwrap();
        fs::create_dir_all(package.join("src/inner")).unwrap();
        fs::create_dir_all(&job.paths.circuits).unwrap();
        let results = Results::of(&job, "c");
        fs::write(&results.circuit, "circuit").unwrap();
        fs::write(&results.witness, "witness").unwrap();
        let stamp = results.expected_stamp(&sources(&job, "c").unwrap()).unwrap();
        fs::write(&results.stamp, stamp).unwrap();
        job
    }

    fn is_fresh(job: &Job) -> bool {
        let findings = look(job).unwrap();
        assert_eq!(findings.len(), 1);
        findings[0].present
    }

    #[test]
    fn any_change_to_what_a_circuit_is_made_of_makes_it_stale() {
        for file in [
            "noir/c/src/main.nr",
            "noir/c/src/inner/new.nr",
            "noir/c/Prover.toml",
            "noir.mjs",
            "package-lock.json",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let job = compiled(dir.path());
            assert!(is_fresh(&job));
            fs::write(job.paths.circuit_dir().join(file), "changed").unwrap();
            assert!(!is_fresh(&job), "{file}");
        }
    }

    #[test]
    fn a_damaged_or_lost_result_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let job = compiled(dir.path());
        let results = Results::of(&job, "c");
        fs::write(&results.witness, "other").unwrap();
        assert!(!is_fresh(&job));
        fs::remove_file(&results.witness).unwrap();
        assert!(!is_fresh(&job));
    }

    #[test]
    fn sample_inputs_become_the_json_that_noir_js_takes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Prover.toml");
        fs::write(&path, "x = \"0x2\"\nflags = [true]\n[[members]]\ny = 3\n").unwrap();
        let json: serde_json::Value = serde_json::from_slice(&inputs(&path).unwrap()).unwrap();
        assert_eq!(json, serde_json::json!({"x": "0x2", "flags": [true], "members": [{"y": 3}]}));
    }
}
