//! `versions.toml`: the pinned versions, and a check of other files that must name the same versions.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{paths::NpmProject, platform::Platform};

/// The npm package that executes circuits, one of the packages of [`Noir`].
const NOIR_JS: &str = "@noir-lang/noir_js";

/// The sections of the file that xtask needs. Other programs may read other sections.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Versions {
    pub(crate) bb: Bb,
    pub(crate) noir: Noir,
    pub(crate) crs: Crs,
    pub(crate) powers: PowersCrate,
    pub(crate) cargo_deny: Tool,
    /// The crate `worker` and the program `worker-build`.
    pub(crate) worker: Tool,
    /// The crate `wasm-bindgen` and its program, which accepts only the same version of the crate.
    pub(crate) wasm_bindgen: Tool,
    /// The npm packages with which circuits in circom are tested.
    pub(crate) circom_npm: BTreeMap<String, String>,
    /// The npm packages of the edge.
    pub(crate) edge_npm: BTreeMap<String, String>,
    /// The npm packages that build and test the client package.
    pub(crate) sdk_npm: BTreeMap<String, String>,
    /// The npm packages that build and test the pages.
    pub(crate) page_npm: BTreeMap<String, String>,
    pub(crate) rust_src: RustSrc,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Bb {
    /// The npm package with the binaries.
    pub(crate) package: String,
    pub(crate) version: String,
    /// The output of `bb --version`.
    pub(crate) reports: BTreeMap<Platform, String>,
    pub(crate) sha256: BTreeMap<Platform, String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Noir {
    /// The npm packages that share the version.
    pub(crate) packages: Vec<String>,
    pub(crate) version: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Crs {
    /// Sources of the uncompressed points, in order of preference.
    pub(crate) urls: Vec<String>,
    /// Sorted by `points`, never empty; [`Versions::load`] ensures both.
    pub(crate) prefix: Vec<Prefix>,
    pub(crate) g2: G2,
    #[serde(rename = "crate")]
    pub(crate) carrier: Carrier,
}

/// The SHA-256 of the first `points` G1 points.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Prefix {
    pub(crate) points: u32,
    pub(crate) sha256: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct G2 {
    pub(crate) sha256: String,
    /// The 128 bytes, in lines of half a coordinate.
    pub(crate) hex: Vec<String>,
}

/// A crate with a file that contains G1 points.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Carrier {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The file, relative to the crate's root.
    pub(crate) path: String,
    pub(crate) sha256: String,
    /// The offset of the first point in the file.
    pub(crate) offset_bytes: usize,
    pub(crate) points: u32,
}

/// A crate with a powers-of-tau file.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PowersCrate {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The file, relative to the crate's root.
    pub(crate) path: String,
    pub(crate) sha256: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Tool {
    pub(crate) version: String,
}

/// A Debian package with the source of Rust's standard library.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RustSrc {
    /// The release of Rust that the source belongs to.
    pub(crate) rust: String,
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) suite: String,
    pub(crate) sha256: String,
}

impl Versions {
    /// Reads `versions.toml` in the repository's root.
    pub(crate) fn load(root: &Path) -> anyhow::Result<Self> {
        let path = root.join("versions.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is malformed", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut versions: Self = toml::from_str(text)?;
        versions.crs.prefix.sort_by_key(|prefix| prefix.points);
        if versions.crs.prefix.is_empty() {
            bail!("[[crs.prefix]] pins no prefix of the CRS");
        }
        Ok(versions)
    }

    /// Compares a project's `package.json` with the pins. npm compares the lock file with the package itself.
    pub(crate) fn check_npm(&self, project: NpmProject, package_json: &str) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Package {
            #[serde(default)]
            dependencies: BTreeMap<String, String>,
            #[serde(default)]
            dev_dependencies: BTreeMap<String, String>,
        }
        let Package { dependencies, dev_dependencies } = serde_json::from_str(package_json)?;
        for (name, version) in self.npm_pins(project) {
            let found = dependencies.get(name).or_else(|| dev_dependencies.get(name));
            check_same(name, version, found.map(String::as_str))?;
        }
        Ok(())
    }

    /// Names and versions of a project's pinned packages.
    pub(crate) fn npm_pins(&self, project: NpmProject) -> Vec<(&str, &str)> {
        match project {
            NpmProject::Circuit => {
                let noir = self.noir.packages.iter().map(|name| (name.as_str(), self.noir.version.as_str()));
                noir.chain([(self.bb.package.as_str(), self.bb.version.as_str())]).collect()
            }
            NpmProject::Circom => borrowed(&self.circom_npm),
            NpmProject::Edge => borrowed(&self.edge_npm),
            NpmProject::Page => borrowed(&self.page_npm),
            NpmProject::Sdk => {
                let of_prover = [
                    (NOIR_JS, self.noir.version.as_str()),
                    (self.bb.package.as_str(), self.bb.version.as_str()),
                ];
                borrowed(&self.sdk_npm).into_iter().chain(of_prover).collect()
            }
        }
    }

    /// Compares the workspace's `Cargo.toml` with the pins: the crates that implement bb's protocol, read Noir's
    /// formats or must match the edge's tools.
    pub(crate) fn check_cargo(&self, cargo_toml: &str) -> anyhow::Result<()> {
        let manifest: toml::Table = toml::from_str(cargo_toml)?;
        let dependencies = manifest.get("workspace").and_then(|workspace| workspace.get("dependencies"));
        let noir = ["acir", "acvm", "bn254_blackbox_solver"].map(|name| (name, &self.noir.version));
        let others = [
            ("barretenberg-rs", &self.bb.version),
            ("worker", &self.worker.version),
            ("wasm-bindgen", &self.wasm_bindgen.version),
        ];
        for (name, version) in noir.into_iter().chain(others) {
            let entry = dependencies.and_then(|table| table.get(name));
            let found = entry.and_then(|entry| entry.get("version").unwrap_or(entry).as_str());
            check_same(name, &format!("={version}"), found)?;
        }
        Ok(())
    }
}

fn borrowed(pins: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    pins.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect()
}

fn check_same(name: &str, pinned: &str, found: Option<&str>) -> anyhow::Result<()> {
    match found {
        Some(found) if found == pinned => Ok(()),
        Some(found) => bail!("{name} is {found}, but versions.toml pins {pinned}"),
        None => bail!("{name} is not a dependency, but versions.toml pins {pinned}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::repository_root;

    fn ours() -> Versions {
        Versions::load(&repository_root()).unwrap()
    }

    fn ours_with(file: &str, from: &str, to: &str) -> String {
        let text = fs::read_to_string(repository_root().join(file)).unwrap();
        let changed = text.replace(from, to);
        assert_ne!(text, changed, "{file} has no {from}");
        changed
    }

    #[test]
    fn a_different_npm_version_is_an_error() {
        let versions = ours();
        for project in NpmProject::ALL {
            let file = format!("{}/package.json", project.folder());
            let pins = versions.npm_pins(project);
            assert!(pins.len() >= 3);
            for (name, version) in pins {
                let changed = ours_with(
                    &file,
                    &format!("\"{name}\": \"{version}\""),
                    &format!("\"{name}\": \"^{version}\""),
                );
                let error = versions.check_npm(project, &changed).unwrap_err().to_string();
                assert_eq!(error, format!("{name} is ^{version}, but versions.toml pins {version}"));
                // With quotation marks: a name can be a part of another one.
                let gone = ours_with(&file, &format!("\"{name}\""), "\"another\"");
                let error = versions.check_npm(project, &gone).unwrap_err().to_string();
                assert_eq!(error, format!("{name} is not a dependency, but versions.toml pins {version}"));
            }
        }
    }

    #[test]
    fn a_different_crate_version_is_an_error() {
        let versions = ours();
        let changed = ours_with(
            "Cargo.toml",
            &format!("acvm = {{ version = \"={}\"", versions.noir.version),
            "acvm = { version = \"=1.0.0\"",
        );
        assert!(versions.check_cargo(&changed).unwrap_err().to_string().starts_with("acvm is =1.0.0, but"));
        let changed =
            ours_with("Cargo.toml", &format!("version = \"={}\"", versions.bb.version), "version = \"4\"");
        assert!(
            versions.check_cargo(&changed).unwrap_err().to_string().starts_with("barretenberg-rs is 4, but")
        );
    }

    #[test]
    fn prefixes_are_sorted_and_not_empty() {
        let text = fs::read_to_string(repository_root().join("versions.toml")).unwrap();
        let points: Vec<_> = Versions::parse(&text).unwrap().crs.prefix.iter().map(|p| p.points).collect();
        assert!(points.is_sorted() && points.len() > 1);
        assert!(Versions::parse(&text.replace("[[crs.prefix]]", "[[other]]")).is_err());
    }
}
