//! What a page does: `noir_js` makes the witness, and bb.js in WebAssembly verifies the answer.

use std::{path::Path, process::Command, time::Duration};

use crate::support::{TestServer, places, processes, samples};

/// Four verifications in WebAssembly take seconds.
const LIMIT: Duration = Duration::from_mins(3);

/// Runs `circuit/verify_server_proofs.mjs`: it proves and verifies for both targets, as bytes and as JSON, and checks
/// that changed public inputs are refused.
#[test]
fn a_witness_of_noir_js_gives_proofs_that_bb_js_verifies() {
    let server = TestServer::plain();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../circuit/verify_server_proofs.mjs");
    let mut page = Command::new("node");
    page.arg(script)
        .arg(format!("http://{}/api/prove", server.address()))
        .arg(&samples::range().circuit)
        .arg(r#"{"value":17,"min":1,"max":99}"#)
        .env("CRS_PATH", places::crs());
    let output = processes::run(&mut page, LIMIT);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("verified by bb.js as bytes and as JSON").count(), 2, "{said}");
    server.assert_well();
}
