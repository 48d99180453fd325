//! The path of a page: `noir_js` computes the witness, and bb.js in WebAssembly verifies the proof.

use std::{fs, path::Path, process::Command};

use crate::support::{TestServer, paths, processes, samples, wait};

/// Runs `circuit/verify_files.mjs`, which has neither the circuit nor a CRS, on the files of `edgeprove prove`.
#[test]
fn bb_js_verifies_with_a_key_and_no_crs() {
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../circuit/verify_files.mjs");
    let witness = dir.path().join("witness.gz");
    fs::write(&witness, &samples::range_check().witness).unwrap();
    for target in ["noir-recursive", "evm"] {
        let out = dir.path().join(target);
        let mut prove = Command::new(paths::edgeprove());
        prove.args(["prove", "--target", target, "--circuit"]).arg(&samples::range_check().circuit);
        prove.arg("--witness").arg(&witness).arg("--out").arg(&out).env_clear();
        prove.env("BB_PATH", paths::bb()).env("CRS_PATH", paths::crs());
        prove
            .env("EDGEPROVE_CACHE_DIR", paths::shared_keys())
            .env("EDGEPROVE_SPOOL_DIR", dir.path().join("spool"));
        let proved = processes::run(&mut prove, wait::LIMIT);
        assert!(proved.status.success(), "{}", String::from_utf8_lossy(&proved.stderr));

        let verdict = || {
            let mut verify = Command::new("node");
            let output = processes::run(verify.arg(&script).arg(&out).arg(target), wait::LONG_LIMIT);
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
        };
        assert_eq!(verdict(), "valid\n");
        let mut inputs = fs::read(out.join("public_inputs")).unwrap();
        inputs[31] ^= 1;
        fs::write(out.join("public_inputs"), inputs).unwrap();
        assert_eq!(verdict(), "invalid\n");
    }
}

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
