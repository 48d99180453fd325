//! Programs of configured circuits, for pages that compute witnesses and prove in the browser.
//!
//! A page gets what `noir_js` and bb.js need of a program: its bytecode and its ABI, and neither its source nor its debug information.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use edgeprove_engine::{circuits::registry::CircuitSource, proof_systems::proof_system};
use edgeprove_files::regular_file;
use edgeprove_protocol::{CircuitId, ProofSystem};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

/// Largest file, in bytes. Larger circuits are none for a browser.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// The programs. Each is read when it is first asked for, and stays in memory.
#[derive(Debug)]
pub struct BrowserPrograms {
    programs: BTreeMap<CircuitId, (PathBuf, OnceCell<Option<Bytes>>)>,
}

/// The members that a browser needs.
#[derive(Debug, Serialize, Deserialize)]
struct Program<'a> {
    #[serde(default)]
    noir_version: Option<String>,
    #[serde(borrow)]
    abi: &'a RawValue,
    #[serde(borrow)]
    bytecode: &'a RawValue,
}

impl BrowserPrograms {
    /// Those of the circuits of Noir among these.
    #[must_use]
    pub fn new<'a>(sources: impl IntoIterator<Item = &'a CircuitSource>) -> Self {
        let is_noir = |source: &&CircuitSource| proof_system(&source.path) == Some(ProofSystem::UltraHonk);
        let noir = sources.into_iter().filter(is_noir);
        Self {
            programs: noir
                .map(|source| (source.id.clone(), (source.path.clone(), OnceCell::new())))
                .collect(),
        }
    }

    /// Whether there is a program of this circuit.
    #[must_use]
    pub fn has(&self, id: &CircuitId) -> bool {
        self.programs.contains_key(id)
    }

    /// The program of a circuit; `None` where there is none, or its file cannot be read.
    pub async fn get(&self, id: &CircuitId) -> Option<Bytes> {
        let (path, cell) = self.programs.get(id)?;
        let read = || async {
            let path = path.clone();
            let program = tokio::task::spawn_blocking(move || read(&path)).await.ok()?;
            if program.is_none() {
                tracing::warn!(circuit = %id, "the program of the circuit cannot be read for pages");
            }
            program
        };
        cell.get_or_init(read).await.clone()
    }
}

fn read(path: &Path) -> Option<Bytes> {
    let file = regular_file::read(path, FILE_MAX_BYTES).ok()?;
    let program: Program<'_> = serde_json::from_slice(&file).ok()?;
    serde_json::to_vec(&program).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::Target;

    use super::*;

    #[tokio::test]
    async fn a_program_has_neither_source_nor_debug_information() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        let whole = r#"{"noir_version":"1","hash":"2","abi":{"a":1},"bytecode":"H4s","debug_symbols":"x","file_map":{"1":{"source":"secret"}}}"#;
        std::fs::write(&path, whole).unwrap();
        let source = |id: &str, path: &Path| CircuitSource {
            id: id.parse().unwrap(),
            path: path.to_owned(),
            target: Target::NoirRecursive,
        };
        let sources = [
            source("c", &path),
            source("gone", &folder.path().join("gone.json")),
            source("k", Path::new("k.zkey")),
        ];
        let programs = BrowserPrograms::new(&sources);
        let text = programs.get(&"c".parse().unwrap()).await.unwrap();
        assert_eq!(text, r#"{"noir_version":"1","abi":{"a":1},"bytecode":"H4s"}"#);
        for id in ["gone", "k", "other"] {
            assert!(programs.get(&id.parse().unwrap()).await.is_none(), "{id}");
        }
        assert!(!programs.has(&"k".parse().unwrap()));
    }
}
