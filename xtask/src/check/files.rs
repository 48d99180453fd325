//! Rules for every file of the repository, whatever its language: its length, and the hosts it names.

use std::{fs, path::Path, time::Duration};

use anyhow::bail;

use super::Outcome;
use crate::process;

/// A longer file does more than one thing.
const MAX_LINES: usize = 600;

/// Programs write these files and programs read them.
pub(super) const LOCK_FILES: [&str; 2] = ["Cargo.lock", "package-lock.json"];

/// The built pages, which the server embeds: minified scripts.
const BUILT_PAGE: &str = "web/page/dist/";

/// A test writes the first one from the code, and a program the second one from the packages that another file names.
const WRITTEN_FROM_OTHERS: [&str; 2] = ["docs/openapi.json", "container_src/contract/requirements.txt"];

/// Cargo's lock file names the index of the public registry in this way, in every checkout.
const CARGO_INDEX: &str = "registry+https://github.com/rust-lang/";

/// Names of registries' hosts, in two pieces so that this file contains none of them.
const HOSTS: [(&str, &str); 6] = [
    ("crates", ".io"),
    ("npmjs", ".org"),
    ("npmjs", ".com"),
    ("deb.debian", ".org"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
];

const GIT_LIMIT: Duration = Duration::from_secs(30);

/// A text file of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextFile {
    /// Its path from the root, with slashes.
    pub(super) name: String,
    pub(super) text: String,
}

impl TextFile {
    /// Whether a program wrote it.
    pub(super) fn is_generated(&self) -> bool {
        LOCK_FILES.iter().any(|lock| self.name.rsplit('/').next() == Some(*lock))
            || self.name.starts_with(BUILT_PAGE)
            || WRITTEN_FROM_OTHERS.contains(&self.name.as_str())
    }
}

/// No file is longer than [`MAX_LINES`].
pub(super) fn lengths(root: &Path) -> anyhow::Result<Outcome> {
    let files = texts(root)?;
    passed_unless(&files.iter().filter_map(too_long).collect::<Vec<_>>())
}

/// No file names a registry's host: the user's own settings choose the registry.
pub(super) fn registry_hosts(root: &Path) -> anyhow::Result<Outcome> {
    let files = texts(root)?;
    passed_unless(&files.iter().flat_map(named_hosts).collect::<Vec<_>>())
}

/// An error that lists the violations, if there are any.
pub(super) fn passed_unless(violations: &[String]) -> anyhow::Result<Outcome> {
    if violations.is_empty() { Ok(Outcome::Passed) } else { bail!("{}", violations.join("\n")) }
}

/// All text files that are committed, or would be with the next commit.
pub(super) fn texts(root: &Path) -> anyhow::Result<Vec<TextFile>> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let names = process::read_with("git", &arguments, GIT_LIMIT, |git| git.dir(root))?;
    let names = names.split_terminator('\0');
    // git also lists a file that is deleted when the deletion is not committed.
    let read = |name: &str| {
        Some(TextFile { name: name.to_owned(), text: fs::read_to_string(root.join(name)).ok()? })
    };
    Ok(names.filter_map(read).collect())
}

fn too_long(file: &TextFile) -> Option<String> {
    let lines = file.text.lines().count();
    (lines > MAX_LINES && !file.is_generated())
        .then(|| format!("{} has {lines} lines, more than {MAX_LINES}", file.name))
}

fn named_hosts(file: &TextFile) -> Vec<String> {
    let hosts = HOSTS.map(|(label, domain)| format!("{label}{domain}"));
    let found = |line: &str| {
        let line = line.split_once(CARGO_INDEX).map_or(line, |(before, _)| before);
        hosts.iter().find(|host| line.contains(host.as_str())).cloned()
    };
    let lines = file.text.lines().enumerate();
    lines.filter_map(|(i, line)| Some(format!("{}:{} names {}", file.name, i + 1, found(line)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> TextFile {
        TextFile { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn only_a_generated_file_may_be_long() {
        let long = "line\n".repeat(MAX_LINES + 1);
        assert_eq!(too_long(&file("src/a.rs", &long)).unwrap(), "src/a.rs has 601 lines, more than 600");
        assert_eq!(too_long(&file("src/a.rs", &long[5..])), None);
        assert_eq!(too_long(&file("circuit/package-lock.json", &long)), None);
        assert_eq!(too_long(&file("web/page/dist/main.js", &long)), None);
        for name in WRITTEN_FROM_OTHERS {
            assert_eq!(too_long(&file(name, &long)), None);
            assert!(too_long(&file(&format!("other/{name}"), &long)).is_some());
        }
    }

    #[test]
    fn a_host_is_found_except_in_the_name_of_cargos_index() {
        let host = ["crates", "io"].join(".");
        let named = named_hosts(&file("f", &format!("a\nsee https://{host}/x")));
        assert_eq!(named, [format!("f:2 names {host}")]);
        let lock = file("Cargo.lock", &format!("source = \"{CARGO_INDEX}{host}-index\""));
        assert!(named_hosts(&lock).is_empty());
    }

    #[test]
    fn committed_and_new_text_files_are_checked() {
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
        let mut names: Vec<_> = texts(dir.path()).unwrap().into_iter().map(|file| file.name).collect();
        names.sort_unstable();
        assert_eq!(names, [".gitignore", "committed", "new"]);
    }
}
