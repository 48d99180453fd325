//! Reads the pinned versions of bb and Noir, and the digests of the CRS, from `versions.toml` into the binary.

use std::{collections::BTreeMap, env, fs, path::Path};

use serde::Deserialize;

#[derive(Deserialize)]
struct Versions {
    bb: Bb,
    noir: Noir,
    crs: Crs,
}

#[derive(Deserialize)]
struct Bb {
    version: String,
    reports: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Noir {
    version: String,
}

#[derive(Deserialize)]
struct Crs {
    prefix: Vec<Prefix>,
    compressed_prefix: Vec<Prefix>,
    pieces: Pieces,
    g2: G2,
}

#[derive(Deserialize)]
struct Pieces {
    points: u64,
    sha256: Vec<String>,
    compressed_sha256: Vec<String>,
}

#[derive(Deserialize)]
struct G2 {
    sha256: String,
}

#[derive(Deserialize)]
struct Prefix {
    points: u64,
    sha256: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "../../versions.toml";
    println!("cargo:rerun-if-changed={file}");
    let versions: Versions = toml::from_str(&fs::read_to_string(file)?)?;
    let Bb { version, reports } = versions.bb;
    // bb is not published for other platforms. A bb that is built there prints its release.
    let reports = reports.get(&platform()?).unwrap_or(&version);
    println!("cargo:rustc-env=EDGEPROVE_BB_VERSION={version}");
    println!("cargo:rustc-env=EDGEPROVE_BB_REPORTS={reports}");
    println!("cargo:rustc-env=EDGEPROVE_NOIR_VERSION={}", versions.noir.version);
    let Crs { prefix, compressed_prefix, pieces, g2 } = versions.crs;
    println!("cargo:rustc-env=EDGEPROVE_G2_SHA256={}", g2.sha256);
    let prefixes = |pins: Vec<Prefix>| -> Vec<_> {
        pins.into_iter().map(|Prefix { points, sha256 }| (points, sha256)).collect()
    };
    let (points, compressed) = (prefixes(prefix), prefixes(compressed_prefix));
    let pins = format!(
        "Pins {{ piece_points: {}, points: Digests {{ prefixes: &{points:?}, pieces: &{:?} }}, \
         compressed: Digests {{ prefixes: &{compressed:?}, pieces: &{:?} }} }}",
        pieces.points, pieces.sha256, pieces.compressed_sha256
    );
    fs::write(Path::new(&env::var("OUT_DIR")?).join("crs_pins.rs"), pins)?;
    Ok(())
}

/// Returns the target platform as `versions.toml` names it.
fn platform() -> Result<String, env::VarError> {
    let arch = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    };
    Ok(format!("{}-{arch}", env::var("CARGO_CFG_TARGET_OS")?))
}
