//! Compiles the standard library from its source, which is in a Debian package.
//!
//! The compiler and the source must have the same release, and cargo compiles a standard library only with unstable
//! flags. Both work for the release that `versions.toml` pins; other releases are not tried. The package comes from
//! this machine's Debian mirror, with a separate list of sources, so the machine's own lists do not change.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};

use super::{QUERY_LIMIT, TARGET, is_library};
use crate::{digest, process, progress::Step, setup::SetupContext, versions::RustSrc};

/// The package has forty-five megabytes; the lists of packages come with it.
const APT_LIMIT: Duration = Duration::from_mins(5);
/// It takes half a minute on two cores.
const BUILD_LIMIT: Duration = Duration::from_mins(15);

/// The folder with apt's lists of sources.
const APT: &str = "/etc/apt";
/// The keys are part of every Debian.
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The manifest of an empty crate. cargo compiles the standard library as its dependency.
const MANIFEST: &str = r#"[package]
name = "nothing"
version = "0.0.0"
edition = "2024"
[lib]
path = "lib.rs"
crate-type = ["cdylib"]
[workspace]
"#;

/// Installs the compiled library in the compiler's own folder.
pub(super) fn install(context: &SetupContext, library: &Path, step: &Step) -> anyhow::Result<()> {
    let pin = &context.versions.rust_src;
    let about = process::read("rustc", &["--version", "--verbose"], QUERY_LIMIT)?;
    let release = about.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or_default();
    if release != pin.rust {
        bail!("this machine's Rust is {release}, but the package is for {}", pin.rust);
    }
    let sysroot = PathBuf::from(process::read("rustc", &["--print", "sysroot"], QUERY_LIMIT)?.trim());
    fs::create_dir_all(&context.paths.target)
        .with_context(|| format!("{} cannot be created", context.paths.target.display()))?;
    let scratch =
        tempfile::tempdir_in(&context.paths.target).context("a temporary folder cannot be created")?;

    // rustup installs its component rust-src here.
    let source = sysroot.join("lib/rustlib/src/rust");
    let _link = if source.join("library/Cargo.lock").is_file() {
        None
    } else {
        step.set_activity(&format!("fetching its source, Debian's package {} {}", pin.package, pin.version));
        Some(SourceLink::create(&fetch(pin, scratch.path())?, &source)?)
    };
    step.set_activity("compiling it, once; this takes half a minute");
    let compiled = compile(scratch.path())?;
    copy_library(&compiled, library)
}

/// Fetches the package and returns the folder with the source.
fn fetch(pin: &RustSrc, scratch: &Path) -> anyhow::Result<PathBuf> {
    let scratch_of = |name: &str| scratch.join(name).to_string_lossy().into_owned();
    for folder in ["parts", "lists/partial", "cache/archives/partial", "unpacked"] {
        fs::create_dir_all(scratch.join(folder)).context("the temporary folder cannot be written")?;
    }
    let mirror = debian_mirror(Path::new(APT)).context("this machine has no Debian mirror")?;
    let sources = format!(
        "Types: deb\nURIs: {mirror}\nSuites: {}\nComponents: main\nSigned-By: {DEBIAN_KEYS}\n",
        pin.suite
    );
    fs::write(scratch.join("parts/debian.sources"), sources)
        .context("the temporary folder cannot be written")?;
    let options = [
        "Dir::Etc::sourcelist=/dev/null".to_owned(),
        format!("Dir::Etc::sourceparts={}", scratch_of("parts")),
        format!("Dir::State::lists={}", scratch_of("lists")),
        format!("Dir::Cache={}", scratch_of("cache")),
        // Without this, apt continues with older lists after an error, but there are none.
        "APT::Update::Error-Mode=any".to_owned(),
        // By default apt downloads as another user, who cannot write to root's folders.
        "APT::Sandbox::User=root".to_owned(),
    ];
    let apt = |command: &[&str]| {
        let options = options.iter().flat_map(|option| ["-o", option]);
        let arguments: Vec<_> =
            ["--quiet"].into_iter().chain(options).chain(command.iter().copied()).collect();
        process::read_with("apt-get", &arguments, APT_LIMIT, |apt| apt.dir(scratch))
    };
    apt(&["update"])?;
    apt(&["download", &format!("{}={}", pin.package, pin.version)])?;

    let files = fs::read_dir(scratch).context("the temporary folder cannot be read")?;
    let mut files = files.flatten().map(|file| file.path());
    let package = files
        .find(|file| file.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get succeeded, but there is no package file")?;
    let found = digest::of_file(&package)?;
    if found != pin.sha256 {
        bail!("the package has the SHA-256 {found}, but versions.toml pins {}", pin.sha256);
    }
    let unpacked = scratch_of("unpacked");
    process::read("dpkg-deb", &["--extract", &package.to_string_lossy(), &unpacked], APT_LIMIT)?;
    Ok(Path::new(&unpacked).join(format!("usr/src/rustc-{}", pin.rust)))
}

/// The mirror of this machine's Debian packages.
fn debian_mirror(apt: &Path) -> Option<String> {
    let parts = fs::read_dir(apt.join("sources.list.d")).into_iter().flatten().flatten();
    let mut files: Vec<_> = parts.map(|part| part.path()).collect();
    // apt ignores files with other extensions.
    files.retain(|file| {
        file.extension().is_some_and(|extension| extension == "list" || extension == "sources")
    });
    files.sort_unstable();
    files.insert(0, apt.join("sources.list"));
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    texts.flat_map(|text| mirrors(&text)).find(|uri| uri.trim_end_matches('/').ends_with("/debian"))
}

/// The addresses in a list of sources, in either of apt's two formats.
fn mirrors(text: &str) -> Vec<String> {
    let of_line = |line: &str| -> Vec<String> {
        if let Some(uris) = line.strip_prefix("URIs:") {
            uris.split_whitespace().map(str::to_owned).collect()
        } else if let Some(rest) = line.strip_prefix("deb ") {
            let rest = rest.trim_start();
            // Options may come first, in brackets. They may contain spaces.
            let rest = rest.strip_prefix('[').and_then(|rest| Some(rest.split_once(']')?.1)).unwrap_or(rest);
            rest.split_whitespace().next().map(str::to_owned).into_iter().collect()
        } else {
            vec![]
        }
    };
    text.lines().flat_map(of_line).collect()
}

/// A link to the source where cargo looks for it, removed when this is dropped.
struct SourceLink(PathBuf);

impl SourceLink {
    fn create(source: &Path, path: &Path) -> anyhow::Result<Self> {
        let create = || {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            // A link that an interrupted run left.
            if path.is_symlink() {
                fs::remove_file(path)?;
            }
            symlink(source, path)
        };
        create().with_context(|| format!("{} cannot be created", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for SourceLink {
    fn drop(&mut self) {
        // If this fails, the next run replaces the link.
        let _ = fs::remove_file(&self.0);
    }
}

/// Compiles the library and returns the folder with the compiled crates.
fn compile(scratch: &Path) -> anyhow::Result<PathBuf> {
    let package = scratch.join("nothing");
    fs::create_dir_all(&package)
        .and_then(|()| fs::write(package.join("Cargo.toml"), MANIFEST))
        .and_then(|()| fs::write(package.join("lib.rs"), ""))
        .context("the temporary folder cannot be written")?;
    let target = scratch.join("target");
    let target_dir = target.to_string_lossy();
    let mut arguments = vec!["build", "--release", "--target", TARGET, "--target-dir", &target_dir];
    arguments.push("-Zbuild-std=std,panic_abort,panic_unwind");
    process::read_with(process::cargo_path(), &arguments, BUILD_LIMIT, |cargo| {
        cargo
            .dir(&package)
            .env("RUSTC_BOOTSTRAP", "1")
            // Link-time optimisation of the edge needs the bitcode.
            .env("RUSTFLAGS", "-Cembed-bitcode=yes -Clto=no")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
    })?;
    Ok(target.join(TARGET).join("release/deps"))
}

/// Copies the crates. The folder is replaced as a whole, so it never contains a part of the library.
fn copy_library(compiled: &Path, library: &Path) -> anyhow::Result<()> {
    let copy = || {
        let parent = library.parent().unwrap_or(library);
        fs::create_dir_all(parent)?;
        let partial = tempfile::tempdir_in(parent)?;
        let crates = fs::read_dir(compiled)?.flatten().map(|file| file.path());
        for file in crates.filter(|file| file.extension().is_some_and(|extension| extension == "rlib")) {
            fs::copy(&file, partial.path().join(file.file_name().unwrap_or_default()))?;
        }
        if !is_library(partial.path()) {
            return Err(std::io::Error::other("cargo compiled no standard library"));
        }
        fs::set_permissions(partial.path(), fs::metadata(parent)?.permissions())?;
        // rustup may leave an empty folder.
        let _ = fs::remove_dir(library);
        fs::rename(partial.keep(), library)
    };
    copy().with_context(|| format!("{} cannot be written", library.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debian_mirror_is_found_in_both_list_formats() {
        let dir = tempfile::tempdir().unwrap();
        let parts = dir.path().join("sources.list.d");
        fs::create_dir(&parts).unwrap();
        assert_eq!(debian_mirror(dir.path()), None);
        fs::write(parts.join("off.list.disabled"), "deb http://off.example/debian trixie main").unwrap();
        fs::write(parts.join("tool.list"), "deb https://tool.example/apt stable main").unwrap();
        fs::write(
            parts.join("debian.sources"),
            "Types: deb\nURIs: http://s.example/debian-security http://m.example/debian/\nSuites: trixie\n",
        )
        .unwrap();
        assert_eq!(debian_mirror(dir.path()).unwrap(), "http://m.example/debian/");
        let old = "# deb http://no.example/debian x\ndeb [arch=amd64 signed-by=/k] http://o.example/debian x main\n";
        fs::write(dir.path().join("sources.list"), old).unwrap();
        assert_eq!(debian_mirror(dir.path()).unwrap(), "http://o.example/debian");
    }

    #[test]
    fn a_library_is_installed_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (compiled, library) = (dir.path().join("deps"), dir.path().join("target/lib"));
        fs::create_dir_all(&compiled).unwrap();
        fs::write(compiled.join("libcore-1.rlib"), "core").unwrap();
        assert!(copy_library(&compiled, &library).is_err());
        assert!(!library.exists());
        fs::write(compiled.join("libstd-1.rlib"), "std").unwrap();
        fs::write(compiled.join("libstd-1.rmeta"), "").unwrap();
        fs::create_dir_all(&library).unwrap();
        copy_library(&compiled, &library).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&library).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort_unstable();
        assert_eq!(names, ["libcore-1.rlib", "libstd-1.rlib"]);
        assert_eq!(
            fs::read_dir(dir.path().join("target")).unwrap().count(),
            1,
            "no temporary folder is left"
        );
    }

    #[test]
    fn the_source_is_linked_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("src/rust");
        for _ in 0..2 {
            let link = SourceLink::create(dir.path(), &path).unwrap();
            assert!(path.join("src").is_dir());
            std::mem::forget(link);
        }
        drop(SourceLink::create(dir.path(), &path).unwrap());
        assert!(!path.is_symlink());
    }
}
