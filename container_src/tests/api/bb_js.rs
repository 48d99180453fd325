//! The path of a page: `noir_js` computes the witness, and bb.js in WebAssembly verifies the proof.

use std::{path::Path, process::Command};

use crate::support::{TestServer, paths, processes, samples, wait};

/// Runs `circuit/verify_server_proofs.mjs`. It proves and verifies for both targets, as bytes and as JSON, and checks
/// that other public inputs are rejected.
#[test]
fn a_witness_of_noir_js_gives_proofs_that_bb_js_verifies() {
    let server = TestServer::start_default();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../circuit/verify_server_proofs.mjs");
    let mut page = Command::new("node");
    page.arg(script)
        .arg(format!("http://{}/api/prove", server.address()))
        .arg(&samples::range_check().circuit)
        .arg(r#"{"value":17,"min":1,"max":99}"#)
        .env("CRS_PATH", paths::crs());
    let output = processes::run(&mut page, wait::LONG_LIMIT);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout.matches("verified by bb.js as bytes and as JSON").count(), 2, "{stdout}");
    server.assert_healthy();
}
