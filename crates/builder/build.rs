//! Reads the pinned versions of the compilers from `versions.toml` into the binary.

use std::fs;

use serde::Deserialize;

#[derive(Deserialize)]
struct Versions {
    bb: Release,
    noir: Release,
    circom_npm: Circom,
}

#[derive(Deserialize)]
struct Release {
    version: String,
}

#[derive(Deserialize)]
struct Circom {
    circom2: String,
    circomlib: String,
    solc: String,
    #[serde(rename = "@ethereumjs/evm")]
    evm: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "../../versions.toml";
    println!("cargo:rerun-if-changed={file}");
    let Versions { bb, noir, circom_npm } = toml::from_str(&fs::read_to_string(file)?)?;
    println!("cargo:rustc-env=EDGEPROVE_BUILDER_BB={}", bb.version);
    println!("cargo:rustc-env=EDGEPROVE_BUILDER_NOIR={}", noir.version);
    println!("cargo:rustc-env=EDGEPROVE_BUILDER_CIRCOM2={}", circom_npm.circom2);
    println!("cargo:rustc-env=EDGEPROVE_BUILDER_CIRCOMLIB={}", circom_npm.circomlib);
    println!("cargo:rustc-env=EDGEPROVE_BUILDER_SOLC={}", circom_npm.solc);
    println!("cargo:rustc-env=EDGEPROVE_BUILDER_EVM={}", circom_npm.evm);
    Ok(())
}
