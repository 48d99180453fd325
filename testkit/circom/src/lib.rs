//! Circuits in circom, and snarkjs as judge of witnesses, keys and proofs.
//!
//! Compiled circuits and powers of tau are stored in the target folder, under the digest of their sources.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a test that cannot go on has failed, and a panic reports it"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The folder with the packages and scripts.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../circuit/circom");
    assert!(
        folder.join("node_modules").exists(),
        "{}/node_modules does not exist: run `cargo xtask setup --only circom`",
        folder.display()
    );
    folder.canonicalize().unwrap()
}

/// Cargo's target folder.
fn target() -> PathBuf {
    // The program of a test is in `target/PROFILE/deps`.
    env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

/// Runs a script of `circuit/circom`. Returns its output, or what it wrote to the standard error stream.
pub fn node(script: &str, operands: &[&Path]) -> Result<String, String> {
    let output = command(script, operands).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The command that runs a script of `circuit/circom`.
pub fn command(script: &str, operands: &[&Path]) -> Command {
    let folder = folder();
    let mut node = Command::new("node");
    node.arg(folder.join(script)).args(operands).current_dir(folder);
    node
}

/// Runs a command of snarkjs (`circuit/circom/snarkjs.mjs`).
pub fn snarkjs(name: &str, operands: &[&Path]) -> Result<String, String> {
    let operands: Vec<&Path> = [Path::new(name)].into_iter().chain(operands.iter().copied()).collect();
    node("snarkjs.mjs", &operands)
}

/// A file or folder in the target folder. `write` creates it once, at the path that it gets.
fn stored(name: &str, write: impl FnOnce(&Path)) -> PathBuf {
    let dir = target().join("circom");
    let path = dir.join(name);
    if !path.exists() {
        fs::create_dir_all(&dir).unwrap();
        let scratch = tempfile::tempdir_in(&dir).unwrap();
        let new = scratch.path().join("new");
        write(&new);
        // Another test may have been faster, and a folder cannot replace one that has files.
        if fs::rename(&new, &path).is_err() {
            assert!(path.exists(), "{} does not exist", path.display());
        }
    }
    path
}

/// The path of a powers-of-tau file from snarkjs.
pub fn snarkjs_powers(power: u32) -> PathBuf {
    stored(&format!("{power}.ptau"), |powers| {
        snarkjs("ptau", &[Path::new(&power.to_string()), powers]).unwrap();
    })
}

/// The path of a powers-of-tau file of a ceremony, of power 8.
pub fn ceremony_powers() -> PathBuf {
    let path = folder().join("8.ptau");
    assert!(path.exists(), "{} does not exist: run `cargo xtask setup --only circom`", path.display());
    path
}

/// A compiled circuit.
#[derive(Debug, Clone)]
pub struct CircomCircuit {
    name: String,
    dir: PathBuf,
}

impl CircomCircuit {
    /// Compiles a circuit of `circuit/circom/tests`.
    pub fn compile(name: &str) -> Self {
        let tests = folder().join("tests");
        let source = tests.join(format!("{name}.circom"));
        // A circuit may include others.
        let mut files: Vec<_> = fs::read_dir(&tests).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| *file == source || file.to_string_lossy().ends_with("_template.circom"));
        files.sort();
        let sources: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        Self::compile_files(&source, &sources.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Compiles a circuit in a folder of its own. `texts` are those of all files of the circuit.
    pub fn compile_files(source: &Path, texts: &[&str]) -> Self {
        let name = source.file_stem().unwrap().to_str().unwrap().to_owned();
        let dir = stored(&format!("{name}-{:016x}", digest(texts)), |dir| {
            fs::create_dir(dir).unwrap();
            node("compile.mjs", &[source, dir]).unwrap();
        });
        Self { name, dir }
    }

    /// The path of the constraints.
    pub fn r1cs_path(&self) -> PathBuf {
        self.dir.join(format!("{}.r1cs", self.name))
    }

    /// The path of the program that computes witnesses.
    pub fn wasm_path(&self) -> PathBuf {
        self.dir.join(format!("{0}_js/{0}.wasm", self.name))
    }

    /// The constraints.
    pub fn r1cs(&self) -> Vec<u8> {
        fs::read(self.r1cs_path()).unwrap()
    }

    /// The program that computes witnesses.
    pub fn wasm(&self) -> Vec<u8> {
        fs::read(self.wasm_path()).unwrap()
    }

    /// The witness that snarkjs computes, or its error.
    pub fn snarkjs_witness(&self, inputs: &str) -> Result<Vec<u8>, String> {
        let dir = tempfile::tempdir().unwrap();
        let [input_file, witness] = ["inputs.json", "witness.wtns"].map(|name| dir.path().join(name));
        fs::write(&input_file, inputs).unwrap();
        snarkjs("witness", &[&self.wasm_path(), &input_file, &witness])?;
        Ok(fs::read(witness).unwrap())
    }

    /// The path of a key from snarkjs, with a powers-of-tau file of snarkjs.
    pub fn snarkjs_zkey(&self, power: u32) -> PathBuf {
        let powers = snarkjs_powers(power);
        let stem = self.dir.file_name().unwrap().to_string_lossy();
        stored(&format!("{stem}.zkey"), |zkey| {
            snarkjs("setup", &[&self.r1cs_path(), &powers, zkey]).unwrap();
        })
    }
}

/// A digest of a circuit's sources, of the script that compiles them and of the pinned packages. It need not be
/// cryptographic.
fn digest(texts: &[&str]) -> u64 {
    let ours = [include_str!("../../../versions.toml"), include_str!("../../../circuit/circom/compile.mjs")];
    texts
        .iter()
        .chain(&ours)
        .flat_map(|text| text.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
