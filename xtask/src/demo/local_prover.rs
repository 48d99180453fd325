//! The folder with which the server's page proves in the browser: `edgeprove serve --page-local`.

use std::{path::PathBuf, time::Duration};

use crate::{
    process,
    progress::Step,
    setup::{self, Ready},
};

/// Bundling takes a second.
const LIMIT: Duration = Duration::from_mins(2);

/// Makes the folder.
pub(super) fn provide(ready: &Ready) -> anyhow::Result<PathBuf> {
    let [_, page] = setup::web()?;
    let step = Step::start("page", "bundling what proves in the browser");
    let folder = ready.paths.target.join("local-prover");
    let [folder_text, crs] = [&folder, &ready.paths.crs].map(|path| path.to_string_lossy().into_owned());
    let points = ready.crs_points.min(setup::EVERY_CIRCUIT).to_string();
    let arguments = ["scripts/local_prover.mjs", &folder_text, &crs, &points];
    process::read_with("node", &arguments, LIMIT, |node| node.dir(page))?;
    step.done(&folder.display().to_string());
    Ok(folder)
}
