//! What holds for every file of the repository, whatever its language.

use std::{fs, path::Path, time::Duration};

use anyhow::bail;

use super::Outcome;
use crate::process;

/// A file longer than this does more than one thing.
const MAX_LINES: usize = 600;

/// Written by a program and read by one.
const LOCK_FILES: [&str; 2] = ["Cargo.lock", "package-lock.json"];

/// How cargo's own lock file names the index of the public registry, in every checkout anywhere.
const CARGO_INDEX: &str = "registry+https://github.com/rust-lang/";

/// Names of registries' hosts, in two pieces so that this file holds none of them.
const HOSTS: [(&str, &str); 6] = [
    ("crates", ".io"),
    ("npmjs", ".org"),
    ("npmjs", ".com"),
    ("deb.debian", ".org"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
];

const GIT_LIMIT: Duration = Duration::from_secs(30);

/// No file of ours is longer than [`MAX_LINES`].
pub(super) fn lengths(root: &Path) -> anyhow::Result<Outcome> {
    none(&each_file(root, too_long)?)
}

/// No file names a registry's host: which registry is used is for the user's own settings to say.
pub(super) fn registry_hosts(root: &Path) -> anyhow::Result<Outcome> {
    none(&each_file(root, named_hosts)?)
}

fn none(faults: &[String]) -> anyhow::Result<Outcome> {
    if faults.is_empty() { Ok(Outcome::Passed) } else { bail!("{}", faults.join("\n")) }
}

/// Faults of all files that are committed or would be, except those that are not text.
fn each_file(root: &Path, faults: fn(&str, &str) -> Vec<String>) -> anyhow::Result<Vec<String>> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let names = process::read_with("git", &arguments, GIT_LIMIT, |git| git.dir(root))?;
    let names = names.split_terminator('\0');
    // A file may be deleted and not yet committed as such.
    let texts = names.filter_map(|name| Some((name, fs::read_to_string(root.join(name)).ok()?)));
    Ok(texts.flat_map(|(name, text)| faults(name, &text)).collect())
}

fn too_long(name: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let is_lock = LOCK_FILES.iter().any(|lock| name.rsplit('/').next() == Some(*lock));
    if is_lock || lines <= MAX_LINES {
        vec![]
    } else {
        vec![format!("{name} has {lines} lines, more than {MAX_LINES}")]
    }
}

fn named_hosts(name: &str, text: &str) -> Vec<String> {
    let hosts = HOSTS.map(|(label, domain)| format!("{label}{domain}"));
    let found = |line: &str| {
        let line = line.split_once(CARGO_INDEX).map_or(line, |(before, _)| before);
        hosts.iter().find(|host| line.contains(host.as_str())).cloned()
    };
    let lines = text.lines().enumerate();
    lines.filter_map(|(i, line)| Some(format!("{name}:{} names {}", i + 1, found(line)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lock_file_may_be_long() {
        let long = "line\n".repeat(MAX_LINES + 1);
        assert_eq!(too_long("src/a.rs", &long), ["src/a.rs has 601 lines, more than 600"]);
        assert!(too_long("src/a.rs", &long[5..]).is_empty());
        assert!(too_long("circuit/package-lock.json", &long).is_empty());
    }

    #[test]
    fn a_host_is_found_but_not_in_the_name_of_cargos_index() {
        let host = ["crates", "io"].join(".");
        assert_eq!(named_hosts("f", &format!("a\nsee https://{host}/x")), [format!("f:2 names {host}")]);
        assert!(named_hosts("Cargo.lock", &format!("source = \"{CARGO_INDEX}{host}-index\"")).is_empty());
    }

    #[test]
    fn committed_and_new_files_are_looked_at_and_ignored_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            process::read_with("git", arguments, GIT_LIMIT, |git| git.dir(dir.path())).unwrap();
        };
        git(&["init", "--quiet"]);
        fs::write(dir.path().join("committed"), "").unwrap();
        fs::write(dir.path().join("deleted"), "").unwrap();
        git(&["add", "."]);
        fs::remove_file(dir.path().join("deleted")).unwrap();
        for (name, text) in [(".gitignore", "ignored"), ("new", ""), ("ignored", "")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::write(dir.path().join("binary"), [0xff]).unwrap();
        let mut seen = each_file(dir.path(), |name, _| vec![name.to_owned()]).unwrap();
        seen.sort_unstable();
        assert_eq!(seen, [".gitignore", "committed", "new"]);
    }
}
