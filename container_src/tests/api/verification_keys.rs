//! Verification keys over HTTP, and a proof with its public inputs and its key in one download.

use std::{fs, path::Path, process::Command};

use edgeprove_protocol::{
    ProblemType, ProofSystem,
    Target::{self, Evm, NoirRecursive},
    answer::{CircuitList, CircuitStatus},
    headers,
};
use http::Method;

use crate::support::{Response, Sample, TestServer, bb, paths, processes, samples, skipped, wait};

/// Unpacks a tar file with the ordinary program, and returns the names of its files.
#[track_caller]
fn unpack(tar: &[u8], into: &Path) -> Vec<String> {
    let file = into.join("proof.tar");
    fs::write(&file, tar).unwrap();
    let output = processes::run(Command::new("tar").arg("-xvf").arg(&file).arg("-C").arg(into), wait::LIMIT);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Checks that the download is a proof for bb and for `edgeprove verify`, both as they are.
#[track_caller]
fn assert_verifies(response: &Response, sample: &Sample, target: Target) {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), "application/x-tar");
    assert_eq!(response.header(headers::CIRCUIT_ID), sample.name);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(unpack(&response.body, dir.path()), ["proof", "public_inputs", "vk"]);
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("public_inputs"), sample.public_inputs.as_flattened());
    assert!(bb::verifies(&sample.circuit, target, &read("proof"), &read("public_inputs")));
    assert!(bb::verifies_with_key(target, &read("vk"), &read("proof"), &read("public_inputs")));

    // A verifier has no CRS, and no network to load one from.
    let mut verify = if skipped::lacks_network_namespaces() {
        Command::new(paths::edgeprove())
    } else {
        let mut verify = skipped::namespace(&["--net"]);
        verify.arg(paths::edgeprove());
        verify
    };
    verify.env_clear().arg("verify").arg(dir.path().join("proof.tar"));
    verify.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", dir.path());
    verify.env("BB_PATH", paths::bb()).env("EDGEPROVE_SPOOL_DIR", dir.path().join("spool"));
    let output = processes::run(&mut verify, wait::LIMIT);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "valid\n", "{output:?}");
    assert_eq!(output.status.code(), Some(0));
    let spooled = fs::read_dir(dir.path().join("spool")).unwrap().count();
    assert_eq!((spooled, dir.path().join(".bb-crs").exists()), (0, false), "nothing is left behind");
}

#[test]
fn one_download_holds_what_bb_and_verify_take() {
    let range = samples::range_check();
    let server = TestServer::start(|s| s.flags.push("--ephemeral-jobs".to_owned()));
    for &target in ProofSystem::UltraHonk.targets() {
        let path = format!("/api/prove?target={target}");
        let request = || server.prove_request_at(&path, &range.witness).header("accept", "application/x-tar");
        assert_verifies(&request().send(), range, target);
        assert_verifies(&request().header("prefer", "wait=60").send(), range, target);
        let job = request().header("prefer", "respond-async").send().assert_accepted();
        server.wait_until_finished(job.id, wait::LIMIT);
        let fetched = server.request(Method::GET, &job.links.proof).header("accept", "application/x-tar");
        assert_verifies(&fetched.send(), range, target);
    }
    server.assert_healthy();
}

#[test]
fn a_proof_without_public_inputs_is_one_download_too() {
    let dir = tempfile::tempdir().unwrap();
    let sample = samples::without_inputs(dir.path());
    let server = TestServer::start(|s| {
        (s.circuit, s.sample) = (Some(sample.circuit.clone()), Some(sample.clone()));
    });
    let request = server.prove_request(&sample.witness).header("accept", "application/x-tar");
    assert_verifies(&request.send(), &sample, NoirRecursive);
}

#[test]
fn the_key_of_a_circuit_is_that_of_bb() {
    let keys = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| s.keys = keys.path().to_owned());
    let get = |query: &str| server.request(Method::GET, &format!("/v1/circuits/range_check/vk{query}"));
    for (query, target) in
        [("", NoirRecursive), ("?target=evm", Evm), ("?target=noir-recursive", NoirRecursive)]
    {
        let response = get(query).send();
        assert_eq!(response.status, 200, "{response:?}");
        let hash = format!("0x{}", bb::verification_key_hash(&samples::range_check().circuit, target));
        assert_eq!(response.body, bb::verification_key_bytes(&samples::range_check().circuit, target));
        assert_eq!(response.header("content-type"), "application/octet-stream");
        assert_eq!(response.header("content-length"), response.body.len().to_string());
        assert_eq!(response.header(headers::VK_HASH), hash);
        let tag = response.header("etag");
        assert_eq!(tag, format!("\"{hash}\""));

        for known in [tag, "*", &format!("\"other\", W/{tag}")] {
            let response = get(query).header("if-none-match", known).send();
            assert_eq!((response.status.as_u16(), response.body.len()), (304, 0), "{known}");
            assert_eq!(response.header("etag"), tag);
        }
        assert_eq!(get(query).header("if-none-match", "\"other\"").send().status, 200);
    }
    let head = server.request(Method::HEAD, "/v1/circuits/range_check/vk").send();
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    get("?target=solidity").send().assert_refused(ProblemType::InvalidRequest);
    server.get("/v1/circuits/unknown/vk").assert_refused(ProblemType::CircuitNotFound);
    server.assert_healthy();
}

#[test]
fn the_list_of_circuits_has_sizes_and_keys() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("broken.json"), "{}").unwrap();
    let server = TestServer::start(|s| s.circuits = Some(dir.path().to_owned()));
    let response = server.get("/v1/circuits");
    let list: CircuitList = serde_json::from_slice(&response.body).unwrap();
    let [broken, range] = list.circuits.as_slice() else { panic!("{list:?}") };
    assert_eq!((broken.id.as_str(), broken.status, &broken.vk), ("broken", CircuitStatus::Failed, &None));
    assert_eq!((range.id.as_str(), range.status), ("range_check", CircuitStatus::Ready));
    assert_eq!((range.gates, range.circuit_size), (Some(2774), Some(4096)));
    assert_eq!(range.targets, ProofSystem::UltraHonk.targets());
    let key = server.get(range.vk.as_ref().unwrap());
    assert_eq!(range.vk_hash.as_deref(), Some(key.header(headers::VK_HASH)));
    server.get("/v1/circuits/broken/vk").assert_refused(ProblemType::CircuitCompilationFailed);
    // Callers do not learn the folders of the server.
    assert!(!String::from_utf8_lossy(&response.body).contains(dir.path().to_str().unwrap()));
    server.assert_healthy();
}
