//! The page for browsers: `GET /` with `Accept: text/html`, and the files that it loads.

use std::{
    fs,
    io::{Read as _, Write as _},
};

use edgeprove_protocol::ProblemType;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use crate::support::{Response, TestServer, samples};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[track_caller]
fn open(server: &TestServer, path: &str, headers: &[(&'static str, &str)]) -> Response {
    headers
        .iter()
        .fold(server.request(http::Method::GET, path), |request, (name, value)| request.header(name, value))
        .send()
}

/// The names of the files that the page loads.
fn files(document: &str) -> Vec<String> {
    let names = document.split("\"assets/").skip(1).filter_map(|rest| rest.split('"').next());
    names.map(str::to_owned).collect()
}

#[test]
fn browsers_get_the_page_and_other_clients_the_endpoints() {
    let server = TestServer::start_default();
    let page = open(&server, "/", &[("accept", BROWSER)]);
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cache-control"), "no-cache");
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");

    let tag = page.header("etag").to_owned();
    let known = open(&server, "/", &[("accept", BROWSER), ("if-none-match", &tag)]);
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    for accept in ["*/*", "application/json"] {
        let list = open(&server, "/", &[("accept", accept)]);
        assert_eq!(list.header("content-type"), "application/json", "{accept}");
        assert!(list.header("vary").to_ascii_lowercase().contains("accept"));
        assert!(list.json()["endpoints"].as_array().unwrap().len() > 20);
    }
}

#[test]
fn every_file_of_the_page_is_compressed_and_cached_for_good() {
    let server = TestServer::start_default();
    let document = open(&server, "/", &[("accept", BROWSER)]).body;
    let document = String::from_utf8(document).unwrap();
    let files = files(&document);
    assert!(files.len() >= 3, "{files:?}");
    for name in files {
        let path = format!("/assets/{name}");
        let plain = open(&server, &path, &[]);
        assert_eq!((plain.status.as_u16(), plain.header("content-encoding")), (200, ""), "{name}");
        assert_eq!(plain.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(plain.header("x-content-type-options"), "nosniff");
        let compressed = open(&server, &path, &[("accept-encoding", "gzip, br")]);
        assert_eq!(compressed.header("content-encoding"), "gzip", "{name}");
        let mut text = Vec::new();
        GzDecoder::new(compressed.body.as_slice()).read_to_end(&mut text).unwrap();
        assert_eq!(text, plain.body, "{name}");
        let tag = plain.header("etag").to_owned();
        assert_eq!(open(&server, &path, &[("if-none-match", &tag)]).status, 304);
    }
    for path in ["/assets/index.html", "/assets/..%2Findex.html", "/assets/%ff"] {
        server.get(path).assert_refused(ProblemType::NotFound);
    }
}

#[test]
fn the_page_can_be_switched_off() {
    let server = TestServer::start(|s| s.flag("--page", "off"));
    let list = open(&server, "/", &[("accept", BROWSER)]);
    assert_eq!(list.header("content-type"), "application/json");
    server.get("/assets/main.js").assert_refused(ProblemType::NotFound);
}

/// A folder as `--page-local` takes it.
fn local_prover() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("worker.js", b"postMessage('ready');");
    let mut compressed = GzEncoder::new(Vec::new(), Compression::default());
    compressed.write_all(b"postMessage('ready');").unwrap();
    write("worker.js.gz", &compressed.finish().unwrap());
    write("g1.dat", &[7; 1000]);
    write(".hidden", b"");
    folder
}

#[test]
fn the_files_for_proofs_in_the_browser_are_served_from_the_folder() {
    let folder = local_prover();
    let server = TestServer::start(|s| s.flag("--page-local", &folder.path().display()));
    let listed = server.get("/local-prover").json();
    assert_eq!(listed["available"], true);
    assert_eq!(listed["worker"], "/local-prover/worker.js");
    assert_eq!(listed["files"], serde_json::json!(["g1.dat", "worker.js"]));

    let worker = open(&server, "/local-prover/worker.js", &[]);
    assert_eq!(worker.header("content-type"), "text/javascript; charset=utf-8");
    assert!(worker.header("content-security-policy").contains("'wasm-unsafe-eval'"));
    assert_eq!(worker.body, b"postMessage('ready');");
    let compressed = open(&server, "/local-prover/worker.js", &[("accept-encoding", "gzip")]);
    assert_eq!(compressed.header("content-encoding"), "gzip");
    let tag = worker.header("etag").to_owned();
    assert_eq!(open(&server, "/local-prover/worker.js", &[("if-none-match", &tag)]).status, 304);

    let part =
        open(&server, "/local-prover/g1.dat", &[("range", "bytes=990-5000"), ("accept-encoding", "gzip")]);
    assert_eq!((part.status.as_u16(), part.header("content-range")), (206, "bytes 990-999/1000"));
    assert_eq!(part.body, [7; 10]);
    let beyond = open(&server, "/local-prover/g1.dat", &[("range", "bytes=1000-")]);
    assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, "bytes */1000"));
    assert_eq!(open(&server, "/local-prover/g1.dat", &[("range", "bytes=-5")]).body.len(), 1000);
    for path in [
        "/local-prover/.hidden",
        "/local-prover/..%2Fg1.dat",
        "/local-prover/%2Fetc%2Fpasswd",
        "/local-prover/other.js",
    ] {
        server.get(path).assert_refused(ProblemType::NotFound);
    }
    fs::remove_file(folder.path().join("g1.dat")).unwrap();
    server.get("/local-prover/g1.dat").assert_refused(ProblemType::NotFound);
}

#[test]
fn programs_of_mounted_circuits_are_given_only_for_proofs_in_the_browser() {
    let folder = local_prover();
    let server = TestServer::start(|s| s.flag("--page-local", &folder.path().display()));
    let circuit = server.get("/v1/circuits/range_check").json();
    let program = server.get(circuit["program"].as_str().unwrap()).json();
    let members: Vec<&String> = program.as_object().unwrap().keys().collect();
    assert_eq!(members, ["abi", "bytecode", "noir_version"], "neither source nor debug information");

    let other = TestServer::start_default();
    assert_eq!(other.get("/local-prover").json()["available"], false);
    assert!(other.get("/v1/circuits/range_check").json().get("program").is_none());
    other.get("/v1/circuits/range_check/program").assert_refused(ProblemType::CircuitNotFound);
    other.get("/local-prover/worker.js").assert_refused(ProblemType::NotFound);
}

#[test]
fn a_mounted_circuit_has_the_sample_beside_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let circuit = folder.path().join("range_check.json");
    fs::copy(&samples::range_check().circuit, &circuit).unwrap();
    fs::write(folder.path().join("range_check.toml"), "value = 42\nmin = \"0x0a\"\nmax = 100\n").unwrap();
    let server = TestServer::start(|s| s.circuit = Some(circuit.clone()));
    let sample = server.get("/v1/circuits/range_check").json()["sample"].clone();
    assert_eq!(sample, serde_json::json!({"value": 42, "min": "0x0a", "max": 100}));
    let body = serde_json::json!({
        "privateInputs": {"value": sample["value"]}, "publicInputs": {"min": sample["min"], "max": sample["max"]},
    });
    let mut request = server.request(http::Method::POST, "/api/prove/range_check");
    request.body = body.to_string().into_bytes();
    assert_eq!(request.header("content-type", "application/json").send().status, 200);
}
