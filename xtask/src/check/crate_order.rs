//! Dependencies between the workspace's crates: they run down the table of crates in `docs/ARCHITECTURE.md`.
//!
//! The table is the first one in which the first cell of a row names a workspace member's folder. A crate may depend
//! only on crates in rows further down; crates in one row do not depend on each other. Dependencies of tests are
//! free, because cargo never compiles them into another crate.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, bail};

use super::{Outcome, files};

const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";

/// The check.
pub(super) fn check(root: &Path) -> anyhow::Result<Outcome> {
    let document = read(root, ARCHITECTURE)?;
    files::passed_unless(&violations(&members(root)?, &document)?)
}

fn read(root: &Path, name: &str) -> anyhow::Result<String> {
    fs::read_to_string(root.join(name)).with_context(|| format!("{name} cannot be read"))
}

/// A crate of the workspace.
#[derive(Debug)]
struct Member {
    /// Relative to the root, without a slash at the end.
    folder: String,
    manifest: String,
}

/// All members that the root's `Cargo.toml` names, sorted by folder.
fn members(root: &Path) -> anyhow::Result<Vec<Member>> {
    let workspace: toml::Table = read(root, "Cargo.toml")?.parse()?;
    let patterns = workspace.get("workspace").and_then(|workspace| workspace.get("members"));
    let patterns = patterns.and_then(|members| members.as_array()).context("Cargo.toml names no members")?;
    let mut folders = Vec::new();
    for pattern in patterns.iter().filter_map(|pattern| pattern.as_str()) {
        let Some(parent) = pattern.strip_suffix("/*") else {
            folders.push(pattern.to_owned());
            continue;
        };
        let entries = fs::read_dir(root.join(parent)).with_context(|| format!("{parent} cannot be read"))?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let inside = names.map(|name| format!("{parent}/{name}"));
        folders.extend(inside.filter(|folder| root.join(folder).join("Cargo.toml").is_file()));
    }
    folders.sort_unstable();
    let member = |folder: String| {
        let manifest = read(root, &format!("{folder}/Cargo.toml"))?;
        Ok(Member { folder, manifest })
    };
    folders.into_iter().map(member).collect()
}

fn violations(members: &[Member], document: &str) -> anyhow::Result<Vec<String>> {
    let ranks = ranks(members, document);
    if ranks.is_empty() {
        bail!("{ARCHITECTURE} has no table whose first column names the crates' folders");
    }
    let mut names = BTreeMap::new();
    for member in members {
        names.insert(package_name(member)?, member.folder.as_str());
    }
    let mut violations = Vec::new();
    for Member { folder, manifest } in members {
        let Some(own_rank) = ranks.get(folder.as_str()) else {
            violations.push(format!("{folder}/Cargo.toml: {ARCHITECTURE} does not list this crate"));
            continue;
        };
        for dependency in dependencies(&manifest.parse()?) {
            let Some(target) = names.get(&dependency) else { continue };
            let Some(rank) = ranks.get(target).filter(|rank| *rank <= own_rank) else { continue };
            let position = if rank == own_rank { "in the same row" } else { "above it" };
            let line = manifest.lines().position(|line| line.starts_with(&dependency)).map_or(1, |i| i + 1);
            violations.push(format!(
                "{folder}/Cargo.toml:{line}: {folder} depends on {target}, which {ARCHITECTURE} lists {position}"
            ));
        }
    }
    Ok(violations)
}

/// Each member's folder with the number of its row.
fn ranks<'a>(members: &'a [Member], document: &str) -> BTreeMap<&'a str, usize> {
    let mut ranks = BTreeMap::new();
    for (row, line) in document.lines().enumerate() {
        let Some(cells) = line.strip_prefix('|') else {
            if ranks.is_empty() {
                continue;
            }
            // The table has ended.
            break;
        };
        // Every second piece lies between backticks.
        let named = cells.split('|').next().unwrap_or_default().split('`').skip(1).step_by(2);
        for folder in named.map(|name| name.trim_end_matches('/')) {
            if let Some(member) = members.iter().find(|member| member.folder == folder) {
                ranks.insert(member.folder.as_str(), row);
            }
        }
    }
    ranks
}

fn package_name(member: &Member) -> anyhow::Result<String> {
    let manifest: toml::Table = member.manifest.parse()?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(|name| name.as_str());
    name.map(str::to_owned).with_context(|| format!("{}/Cargo.toml names no package", member.folder))
}

/// The packages that a crate, its build script included, is compiled with.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let of = |table: &toml::Table| {
        let sections =
            ["dependencies", "build-dependencies"].map(|name| table.get(name)?.as_table().cloned());
        sections.into_iter().flatten().flatten().collect::<Vec<_>>()
    };
    let targets = manifest.get("target").and_then(|targets| targets.as_table());
    let of_targets =
        targets.into_iter().flat_map(|targets| targets.values().filter_map(|target| target.as_table()));
    let entries = of(manifest).into_iter().chain(of_targets.flat_map(of));
    let package = |(name, entry): (String, toml::Value)| {
        entry.get("package").and_then(|package| package.as_str()).map_or(name, str::to_owned)
    };
    entries.map(package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# A\n\n| other | table |\n|---|---|\n| `docs/` | x |\n\n| crate | what |\n|---|---|\n\
                            | `server/` | on top, uses `crates/low` |\n| `crates/middle/`, `crates/beside` | two |\n\
                            | `crates/low/` | pure |\n\nLater | `server/` |\n\n| again |\n|---|\n| `server` |\n";

    fn member(folder: &str, dependencies: &str) -> Member {
        let name = folder.rsplit('/').next().unwrap();
        let manifest = format!("[package]\nname = \"p-{name}\"\n{dependencies}");
        Member { folder: folder.to_owned(), manifest }
    }

    fn found(changed: &[(&str, &str)]) -> Vec<String> {
        let folders = ["crates/beside", "crates/low", "crates/middle", "server"];
        let dependencies = |folder| changed.iter().find(|(name, _)| *name == folder).map_or("", |(_, d)| *d);
        let members = folders.map(|folder| member(folder, dependencies(folder)));
        violations(&members, DOCUMENT).unwrap()
    }

    #[test]
    fn dependencies_down_the_table_pass() {
        let server =
            "[dependencies]\np-middle.workspace = true\nother = \"1\"\n[build-dependencies]\np-low = \"1\"";
        assert!(found(&[("server", server)]).is_empty());
        assert!(found(&[("crates/low", "[dev-dependencies]\np-middle.workspace = true\n")]).is_empty());
    }

    #[test]
    fn dependencies_up_or_across_are_violations() {
        assert_eq!(
            found(&[("crates/low", "[dependencies]\np-middle.workspace = true\n")]),
            [
                "crates/low/Cargo.toml:4: crates/low depends on crates/middle, which docs/ARCHITECTURE.md lists above it"
            ]
        );
        let beside = found(&[("crates/beside", "[target.x.dependencies]\nm = { package = \"p-middle\" }\n")]);
        assert!(beside[0].ends_with("lists in the same row"), "{beside:?}");
    }

    #[test]
    fn a_crate_that_the_table_lacks_is_a_violation() {
        let members = [member("server", ""), member("new", "")];
        let found = violations(&members, DOCUMENT).unwrap();
        assert_eq!(found, ["new/Cargo.toml: docs/ARCHITECTURE.md does not list this crate"]);
        assert!(violations(&members, "no table").is_err());
    }

    #[test]
    fn members_are_found_behind_a_pattern() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["crates/a", "crates/empty", "b"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("Cargo.toml"), "[workspace]\nmembers = [\"crates/*\", \"b\"]\n").unwrap();
        for folder in ["crates/a", "b"] {
            fs::write(dir.path().join(folder).join("Cargo.toml"), "").unwrap();
        }
        let folders: Vec<_> = members(dir.path()).unwrap().into_iter().map(|member| member.folder).collect();
        assert_eq!(folders, ["b", "crates/a"]);
    }
}
