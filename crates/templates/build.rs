//! Embeds the templates of `circuit/noir/templates` and `circuit/circom/templates`: a constant with the files of each.
//!
//! Cargo watches the folders as a whole, so a new template or file needs no change here.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let circuits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../circuit").canonicalize()?;
    let mut code = String::from("pub(crate) const TEMPLATES: &[(&str, &[(&str, &str)])] = &[\n");
    for language in ["noir", "circom"] {
        let folder = circuits.join(language).join("templates");
        println!("cargo:rerun-if-changed={}", folder.display());
        for template in sorted_entries(&folder)? {
            if !template.is_dir() {
                continue;
            }
            let shown = template.strip_prefix(&circuits).unwrap_or(&template).display().to_string();
            let _ = writeln!(code, "    ({shown:?}, &[");
            for file in files_under(&template)? {
                let name = file.strip_prefix(&template).unwrap_or(&file).display().to_string();
                let _ = writeln!(code, "        ({name:?}, include_str!({:?})),", file.display().to_string());
            }
            code.push_str("    ]),\n");
        }
    }
    code.push_str("];\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(PathBuf::from(out).join("templates.rs"), code)
}

/// All files under a folder, sorted.
fn files_under(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in sorted_entries(folder)? {
        if path.is_dir() {
            files.extend(files_under(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// The entries of a folder, sorted, without hidden ones and without what nargo leaves.
fn sorted_entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != "target" && !name.to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}
