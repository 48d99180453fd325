//! Takes the pinned versions of bb and Noir from `versions.toml`, so that the binary knows what it was built for.

use serde::Deserialize;

#[derive(Deserialize)]
struct Versions {
    bb: Bb,
    noir: Noir,
}

#[derive(Deserialize)]
struct Bb {
    version: String,
    reports: String,
}

#[derive(Deserialize)]
struct Noir {
    version: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "../versions.toml";
    println!("cargo:rerun-if-changed={file}");
    let versions: Versions = toml::from_str(&std::fs::read_to_string(file)?)?;
    println!("cargo:rustc-env=EDGEPROVE_BB_VERSION={}", versions.bb.version);
    println!("cargo:rustc-env=EDGEPROVE_BB_REPORTS={}", versions.bb.reports);
    println!("cargo:rustc-env=EDGEPROVE_NOIR_VERSION={}", versions.noir.version);
    Ok(())
}
