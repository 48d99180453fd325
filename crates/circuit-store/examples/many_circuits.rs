//! Fills a list of circuits, for measurements of large lists.
//!
//! `cargo run --release -p edgeprove-circuit-store --example many_circuits -- DIR COUNT` copies the first circuit in the data
//! folder DIR of a stopped server until the list has COUNT circuits, and prints the id of the last one. The copies can be
//! listed and looked up; they have no files. `cargo xtask bench --rows registry` runs this.

#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::{env, error::Error, sync::Arc};

use edgeprove_artifacts::{ArtifactSettings, ArtifactStore, KeySettings, LocationSettings};
use edgeprove_circuit_store::{Bounds, CircuitStore, NewCircuit, package::PackedFile};
use edgeprove_job_queue::store::{Database, DatabaseLocation};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let [_, folder, count] = &env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: many_circuits DIR COUNT".into());
    };
    let database = Database::open(&DatabaseLocation::Folder(folder.into())).await?;
    // The server does not know these artifacts.
    let settings = ArtifactSettings { location: LocationSettings::Temporary, keys: KeySettings::Random };
    let artifacts = Arc::new(ArtifactStore::open(&settings)?);
    let bounds = Bounds { circuits_max: u32::MAX, bytes_max: u64::MAX >> 1 };
    let store = CircuitStore::new(database, artifacts, bounds);
    let first = store.list(None, 1).await?.pop().ok_or("the folder has no circuit")?.circuit;
    let mut last = first.id.clone();
    for number in store.totals().await?.circuits..count.parse()? {
        last = format!("copy-{number:06}").parse()?;
        let copy = NewCircuit { id: last.clone(), hash: format!("{number:064x}"), ..first.clone() };
        store.publish(copy, &[PackedFile { name: "empty", content: Vec::new().into() }]).await?;
    }
    println!("{last}");
    Ok(())
}
