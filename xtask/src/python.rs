//! Python with the packages of a lock file, in a virtual environment in `target`: for the tests of `web/python`, for
//! `cargo xtask contract`, and for `cargo xtask chart`.
//!
//! Nothing else in the repository needs Python: where there is none, these tests are skipped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context;

use crate::{digest, paths::Paths, process, progress::Step};

/// The oldest supported release: `requires-python` of the package.
const OLDEST: (u32, u32) = (3, 10);
/// The names under which an interpreter may be installed. The first one that fits is used.
const NAMES: [&str; 5] = ["python3", "python3.13", "python3.12", "python3.11", "python3.10"];
/// Installing takes seconds. The limit is for a registry that neither answers nor refuses a connection.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);

/// Why the tests are skipped without Python.
pub(crate) const MISSING: &str = "no Python 3.10 or newer with the modules venv and ensurepip";

/// The folder of the package.
pub(crate) fn package_dir(paths: &Paths) -> PathBuf {
    paths.root.join("web/python")
}

/// The interpreter of the environment for the tests of `web/python`. See [`environment_of`].
pub(crate) fn environment(paths: &Paths) -> anyhow::Result<Option<PathBuf>> {
    environment_of(paths, "python", &package_dir(paths).join("requirements-dev.txt"))
}

/// The interpreter of an environment with the packages of a lock file. It is made or renewed where needed. `None`: this machine has no
/// Python that fits.
pub(crate) fn environment_of(paths: &Paths, name: &str, lock: &Path) -> anyhow::Result<Option<PathBuf>> {
    let Some(base) = NAMES.into_iter().find(|name| fits(name)) else { return Ok(None) };
    let stamp = digest::of_file(lock)?;
    let folder = paths.target.join(name);
    let python = folder.join("bin/python");
    let stamp_file = folder.join(".edgeprove-stamp");
    if fits(&python.to_string_lossy()) && fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(Some(python));
    }
    let step = Step::start(format!("Python packages of {name}"), "pip install");
    let install = || {
        process::read(base, &["-m", "venv", "--clear", text(&folder)?], INSTALL_LIMIT)?;
        let arguments =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"];
        process::read(&python, &[arguments.as_slice(), &[text(lock)?]].concat(), INSTALL_LIMIT)
    };
    install().with_context(|| format!("the packages of {} cannot be installed", lock.display()))?;
    fs::write(&stamp_file, stamp).with_context(|| format!("{} cannot be written", stamp_file.display()))?;
    step.done(&format!("installed in {}", folder.display()));
    Ok(Some(python))
}

/// Whether a program is a Python that is new enough and can make environments.
fn fits(program: &str) -> bool {
    let (major, minor) = OLDEST;
    // Debian has `venv` without `ensurepip`, which makes no environment.
    let script =
        format!("import ensurepip, sys, venv; raise SystemExit(sys.version_info < ({major}, {minor}))");
    process::succeeds(Command::new(program).args(["-c", &script]).stderr(Stdio::null()))
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::repository_root;

    #[test]
    fn the_oldest_python_is_that_of_the_package() {
        let package = fs::read_to_string(repository_root().join("web/python/pyproject.toml")).unwrap();
        let (major, minor) = OLDEST;
        assert!(package.contains(&format!("requires-python = \">={major}.{minor}\"")));
        assert!(MISSING.contains(&format!("Python {major}.{minor} or newer")));
    }

    #[test]
    fn other_programs_do_not_fit() {
        for program in ["false", "no-such-program-0", "/"] {
            assert!(!fits(program), "{program}");
        }
    }
}
