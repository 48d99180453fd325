//! The edge in the real workerd, in front of a real server with a real bb; where a fault or an odd answer is wanted, in
//! front of a stand-in. No Docker Engine is needed.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and says so"
)]

mod admission;
mod faults;
mod hop;
mod proving;
mod settings;
mod streams;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The repository's `wrangler.toml` with a change, as a file in this folder.
fn variant(dir: &Path, change: impl FnOnce(&mut toml::Table)) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e is in the repository");
    let mut config: toml::Table =
        fs::read_to_string(root.join("wrangler.toml")).unwrap().parse().expect("it is TOML");
    // Paths in it count from where it lies.
    let absolute =
        |value: &mut toml::Value| *value = root.join(value.as_str().unwrap()).display().to_string().into();
    absolute(&mut config["main"]);
    absolute(&mut config["containers"][0]["image"]);
    config["build"].as_table_mut().unwrap().insert("cwd".to_owned(), root.display().to_string().into());
    config.remove("env");
    change(&mut config);
    let file = dir.join("wrangler.toml");
    fs::write(&file, config.to_string()).unwrap();
    file
}
