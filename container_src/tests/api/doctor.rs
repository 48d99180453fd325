//! `edgeprove doctor` finds planted faults, and prints how to fix them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use edgeprove_protocol::ProblemType;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{
    TestServer,
    clock::Clock,
    inputs, paths,
    postgres::Cluster,
    processes,
    reserved_port::ReservedPort,
    s3::{self, S3Server},
    samples, wait,
};

/// The key of a caller.
const KEY: &str = "the key of a caller who asks the doctor";

/// What the command found.
struct Examined {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Examined {
    fn with(mut command: Command) -> Self {
        let output = processes::run(command.arg("--json"), wait::LONG_LIMIT);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(
            !stdout.contains(KEY) && !stderr.contains(KEY) && !stderr.contains("panic"),
            "{stdout}{stderr}"
        );
        let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
        let findings = report["findings"].as_array().unwrap().clone();
        let faults = findings.iter().filter(|finding| finding["severity"] == "fault").count();
        assert_eq!(report["faults"], faults);
        let examined = Self { code: output.status.code(), findings };
        assert_eq!(examined.code, Some(i32::from(faults > 0)), "{report:#}");
        examined
    }

    /// Whether there is such a finding.
    fn has(&self, severity: &str, check: &str) -> bool {
        self.findings.iter().any(|finding| finding["severity"] == severity && finding["check"] == check)
    }

    /// There is a fault or a warning of this check, with these words and a remedy.
    #[track_caller]
    fn assert_found(&self, severity: &str, check: &str, part: &str) {
        let is_it = |finding: &&Value| {
            finding["severity"] == severity
                && finding["check"] == check
                && finding["detail"].as_str().unwrap().contains(part)
        };
        let found = self.findings.iter().find(is_it);
        let found = found.unwrap_or_else(|| panic!("{severity} {check} {part}: {:#?}", self.findings));
        assert!(found["fix"].as_str().is_some_and(|fix| fix.len() > 10), "{found}");
    }

    #[track_caller]
    fn assert_no_fault(&self) {
        assert_eq!(self.code, Some(0), "{:#?}", self.findings);
    }
}

/// A machine on which a server could be started.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        fs::copy(&samples::range_check().circuit, machine.circuit()).unwrap();
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn circuit(&self) -> PathBuf {
        self.at("range_check.json")
    }

    /// Examines it with other settings than the usual ones.
    fn examine(&self, change: impl FnOnce(&mut Command) -> &mut Command) -> Examined {
        let mut command = Command::new(paths::edgeprove());
        command.env_clear().arg("doctor").env("BB_PATH", paths::bb()).env("CRS_PATH", paths::crs());
        command.env("EDGEPROVE_LISTEN", "127.0.0.1:0").env("EDGEPROVE_SPOOL_DIR", self.at("spool"));
        command.env("EDGEPROVE_CACHE_DIR", self.at("cache")).env("EDGEPROVE_DATA", self.at("data"));
        command.env("EDGEPROVE_CIRCUIT", self.circuit()).env("EDGEPROVE_ARTIFACT_KEY", "5a".repeat(32));
        change(&mut command);
        Examined::with(command)
    }
}

#[test]
fn a_machine_that_can_prove_has_no_fault() {
    let machine = Machine::new();
    let examined = machine.examine(|run| run);
    examined.assert_no_fault();
    for check in ["settings", "bb", "crs", "clock", "circuits", "database", "artifacts", "audit", "keys"] {
        assert!(examined.has("ok", check), "{check}: {:#?}", examined.findings);
    }
    assert!(!machine.at("data").exists(), "a database was created");
}

#[test]
fn faults_of_settings_and_files_are_found() {
    let machine = Machine::new();
    let file = |name: &str, content: &[u8]| {
        fs::write(machine.at(name), content).unwrap();
        fs::set_permissions(machine.at(name), fs::Permissions::from_mode(0o755)).unwrap();
        machine.at(name)
    };

    let other_bb = file("other bb", b"#!/bin/sh\necho 4.0.0\n");
    machine.examine(|run| run.env("BB_PATH", other_bb)).assert_found("fault", "settings", "4.0.0");

    let nobody = file("keys.toml", b"# nobody\n");
    let examined = machine.examine(|run| run.env("EDGEPROVE_KEYS_FILE", nobody));
    examined.assert_found("fault", "settings", "keys.toml");

    let no_circuit = file("cut.json", &fs::read(machine.circuit()).unwrap()[..1000]);
    let examined = machine.examine(|run| run.env("EDGEPROVE_CIRCUIT", no_circuit));
    examined.assert_found("fault", "settings", "cut.json");

    let examined = machine.examine(|run| run.env("EDGEPROVE_CIRCIUT", "x").env("EDGEPROVE_CORES", "0"));
    examined.assert_found("fault", "settings", "cores");
    examined.assert_found("warning", "settings", "EDGEPROVE_CIRCIUT");

    let folder = file("no folder", b"");
    let examined = machine.examine(|run| run.env("EDGEPROVE_DATA", folder));
    examined.assert_found("fault", "settings", "no folder");

    let open = "0.0.0.0:0";
    machine.examine(|run| run.env("EDGEPROVE_LISTEN", open)).assert_found("warning", "keys", "everybody");
    let examined = machine.examine(|run| run.env_remove("EDGEPROVE_CIRCUIT"));
    examined.assert_found("warning", "circuits", "there is none");
}

#[test]
fn a_crs_with_too_few_points_is_found() {
    let (machine, crs) = (Machine::new(), tempfile::tempdir().unwrap());
    let points = fs::read(paths::crs().join("bn254_g1.dat")).unwrap();
    fs::write(crs.path().join("bn254_g1.dat"), &points[..64 << 10]).unwrap();
    fs::copy(paths::crs().join("bn254_g2.dat"), crs.path().join("bn254_g2.dat")).unwrap();
    let examined = machine.examine(|run| run.env("CRS_PATH", crs.path()));
    examined.assert_found("fault", "circuits", "range_check");
}

#[test]
fn a_changed_audit_log_is_found() {
    let machine = Machine::new();
    let log = machine.at("audit.jsonl");
    let server = TestServer::start(|settings| settings.flag("--audit", &log.display()));
    server.assert_healthy();
    server.finish();
    let examine = || machine.examine(|run| run.env("EDGEPROVE_AUDIT", &log));
    examine().assert_no_fault();
    let text = fs::read_to_string(&log).unwrap();
    let changed = text.replacen("server.started", "server.stopped", 1);
    assert_ne!(changed, text);
    fs::write(&log, changed).unwrap();
    examine().assert_found("fault", "audit", "was changed");
}

#[test]
fn an_unreachable_database_is_found() {
    let (machine, port) = (Machine::new(), ReservedPort::new());
    let url = format!("postgres://user:hunter2@{}/edgeprove", port.address());
    let examined = machine.examine(|run| {
        run.env_remove("EDGEPROVE_DATA")
            .env("DATABASE_URL", url)
            .env("EDGEPROVE_ARTIFACTS", machine.at("artifacts"))
    });
    examined.assert_found("fault", "database", "");
    assert!(!format!("{:?}", examined.findings).contains("hunter2"));
}

#[test]
fn a_clock_that_differs_from_the_database_is_found() {
    let Some(cluster) = Cluster::start() else { return };
    let (machine, clock) = (Machine::new(), Clock::new());
    let examine = |ahead_s| {
        clock.set_offset(ahead_s);
        machine.examine(|run| {
            run.env_remove("EDGEPROVE_DATA").env("DATABASE_URL", cluster.url());
            run.env("EDGEPROVE_ARTIFACTS", machine.at("artifacts")).envs(clock.environment())
        })
    };
    examine(0).assert_no_fault();
    examine(-90).assert_found("fault", "clock", "database differ by");
    examine(-900_000_000).assert_found("fault", "clock", "before the release");
}

#[test]
fn an_unusable_bucket_is_found() {
    let (machine, mut bucket) = (Machine::new(), S3Server::start());
    let examine = |environment: Vec<(String, String)>| {
        machine
            .examine(|run| run.env("EDGEPROVE_ARTIFACTS", format!("s3://{}", s3::BUCKET)).envs(environment))
    };
    examine(bucket.environment()).assert_no_fault();
    examine(bucket.wrong_environment()).assert_found("fault", "artifacts", "");
    let environment = bucket.environment();
    bucket.stop();
    examine(environment).assert_found("fault", "artifacts", "");
}

fn ask(url: &str, change: impl FnOnce(&mut Command) -> &mut Command) -> Examined {
    let mut command = Command::new(paths::edgeprove());
    command.env_clear().args(["doctor", url]).env("BB_PATH", paths::bb());
    change(&mut command);
    Examined::with(command)
}

fn url_of(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A file with inputs of the sample circuit.
fn inputs_file(folder: &Path) -> PathBuf {
    let path = folder.join("inputs.json");
    fs::write(&path, inputs::range_check().to_string()).unwrap();
    path
}

#[test]
fn a_server_that_proves_has_no_fault() {
    let (server, folder) = (TestServer::start_default(), tempfile::tempdir().unwrap());
    let inputs = inputs_file(folder.path());
    let examined = ask(&url_of(server.address()), |run| run.arg("--inputs").arg(&inputs));
    examined.assert_no_fault();
    for check in
        ["connection", "version", "bb", "noir", "health", "circuits", "clock", "proof", "verification"]
    {
        assert!(examined.has("ok", check), "{check}: {:#?}", examined.findings);
    }
    for check in ["service", "sealing", "receipts", "receipt"] {
        assert!(examined.has("ok", check), "{check}: {:#?}", examined.findings);
    }
    assert!(ask(&url_of(server.address()), |run| run).has("skipped", "proof"));
    server.finish();
}

#[test]
fn an_address_without_a_server_is_found() {
    let port = ReservedPort::new();
    ask(&url_of(port.address()), |run| run).assert_found("fault", "connection", "did not answer");
    let other = Proxy::start(None, |_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec());
    ask(&url_of(other.0), |run| run).assert_found("fault", "connection", "not one of Edgeprove");
}

#[test]
fn an_unknown_key_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    let digest = hex::encode(Sha256::digest(KEY));
    fs::write(&keys, format!("[keys.olga]\nsha256 = ['{digest}']\n")).unwrap();
    let server = TestServer::start(|settings| {
        settings.flag("--keys-file", &keys.display());
        settings.sample = None;
    });
    let ask = |key: &str| ask(&url_of(server.address()), |run| run.env("EDGEPROVE_CLIENT_KEY", key));
    assert!(ask(KEY).has("ok", "key"));
    ask("another key than that one").assert_found("fault", "key", ProblemType::ApiKeyRequired.code());
    server.finish();
}

#[test]
fn a_circuit_that_a_server_cannot_load_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let broken = samples::with_index(folder.path(), "broken", u32::MAX);
    let server = TestServer::start(|settings| settings.flag("--circuit", &broken.display()));
    ask(&url_of(server.address()), |run| run).assert_found("fault", "circuits", "broken");
    server.finish();
}

/// Forwards each connection to a server, and changes what comes back; or answers by itself.
struct Proxy(SocketAddr);

impl Proxy {
    fn start(to: Option<SocketAddr>, change: impl Fn(Vec<u8>) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // The thread ends with the process of the test.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let _ = serve(client, to, &change);
            }
        });
        Self(address)
    }
}

fn serve(
    mut client: TcpStream,
    to: Option<SocketAddr>,
    change: &impl Fn(Vec<u8>) -> Vec<u8>,
) -> std::io::Result<()> {
    let request = read_request(&mut client)?;
    let mut answer = Vec::new();
    if let Some(to) = to {
        let mut server = TcpStream::connect(to)?;
        server.write_all(&request)?;
        server.read_to_end(&mut answer)?;
    }
    client.write_all(&change(answer))
}

/// The request, which asks for the end of the connection.
fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = client.read(&mut piece)?;
        request.extend_from_slice(&piece[..read]);
        let Some(head) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        if read == 0 || request.len() >= head + 4 + length {
            let rest = request.split_off(head);
            request.extend_from_slice(b"\r\nConnection: close");
            return Ok([request, rest].concat());
        }
    }
}

/// The answer with other text of the same length.
fn replaced(mut answer: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    if let Some(at) = answer.windows(from.len()).position(|found| found == from.as_bytes()) {
        answer[at..at + from.len()].copy_from_slice(to.as_bytes());
    }
    answer
}

#[test]
fn changed_answers_of_a_server_are_found() {
    // The proof is the first file of a tar file: its head has the mark, and 512 bytes in all.
    const PROOF: usize = 512 - 257;
    let (server, folder) = (TestServer::start_default(), tempfile::tempdir().unwrap());
    let inputs = inputs_file(folder.path());
    let through = |change: fn(Vec<u8>) -> Vec<u8>| {
        let proxy = Proxy::start(Some(server.address()), change);
        ask(&url_of(proxy.0), |run| run.arg("--inputs").arg(&inputs))
    };
    through(|answer| answer).assert_no_fault();
    let version = json!(env!("CARGO_PKG_VERSION"));
    assert_eq!(version, "0.1.0");
    let examined = through(|answer| replaced(answer, "\"version\":\"0.1.0\"", "\"version\":\"0.0.9\""));
    examined.assert_found("warning", "version", "0.0.9");
    let examined = through(|answer| replaced(answer, "\"timestamp\":\"20", "\"timestamp\":\"19"));
    examined.assert_found("fault", "clock", "differ by");
    through(|answer| replaced(answer, "\"verify\":true", "\"verify\":null")).assert_found(
        "fault",
        "connection",
        "not one of Edgeprove",
    );
    // A field far behind the first ones is changed.
    let examined = through(|mut answer| {
        if let Some(at) = answer.windows(5).position(|found| found == b"ustar") {
            answer[at + PROOF + 200 * 32 + 31] ^= 1;
        }
        answer
    });
    examined.assert_found("fault", "verification", "does not verify");
    examined.assert_found("fault", "receipt", "of another proof");
    server.finish();
}

/// The answer with another character after these bytes.
fn with_change_after(mut answer: Vec<u8>, mark: &str) -> Vec<u8> {
    if let Some(at) = answer.windows(mark.len()).position(|found| found == mark.as_bytes()) {
        let changed = &mut answer[at + mark.len()];
        *changed = if *changed == b'A' { b'B' } else { b'A' };
    }
    answer
}

#[test]
fn keys_that_clients_cannot_use_are_found() {
    let server = TestServer::start_default();
    let through = |change: fn(Vec<u8>) -> Vec<u8>| {
        ask(&url_of(Proxy::start(Some(server.address()), change).0), |run| run)
    };
    through(|answer| answer).assert_no_fault();
    // The keys of sealed bodies are the first of the document.
    let examined = through(|answer| replaced(answer, "\"expires_at\":\"20", "\"expires_at\":\"19"));
    examined.assert_found("fault", "sealing", "has expired");
    let examined = through(|answer| replaced(answer, "\"not_before\":\"20", "\"not_before\":\"29"));
    examined.assert_found("fault", "sealing", "is not valid before");
    let examined = through(|answer| replaced(answer, "\"kem\":32", "\"kem\":99"));
    examined.assert_found("warning", "sealing", "algorithms");
    let examined = through(|answer| replaced(answer, "=\",\"not_before", "!\",\"not_before"));
    examined.assert_found("fault", "sealing", "damaged");
    let examined = through(|answer| replaced(answer, "\"timestamp\":\"20", "\"timestamp\":\"19"));
    examined.assert_found("fault", "service", "s old");
    let examined = through(|answer| replaced(answer, "\"sealing\":{", "\"seating\":{"));
    examined.assert_found("warning", "sealing", "has no key");
    let examined = through(|answer| replaced(answer, "\"limits\":{", "\"limbos\":{"));
    examined.assert_found("fault", "service", "cannot be read");
    let examined = through(|answer| with_change_after(answer, "\"kid\":\""));
    examined.assert_found("fault", "receipts", "is not the one of its id");
    let examined = through(|answer| with_change_after(answer, "\"Ed25519\",\"x\":\""));
    examined.assert_found("fault", "receipts", "is not the one of its id");
    let examined = through(|answer| {
        let first = replaced(answer, "\"expires_at\":\"20", "\"expired_at\":\"20");
        let second = replaced(first, "\"expires_at\":\"20", "\"expires_at\":\"19");
        replaced(second, "\"expired_at\":\"20", "\"expires_at\":\"20")
    });
    examined.assert_found("fault", "receipts", "has expired");
    server.finish();

    let server = TestServer::start(|settings| {
        settings.flag("--receipts", "off");
        settings.flag("--sealing", "off");
    });
    let examined = ask(&url_of(server.address()), |run| run);
    examined.assert_found("warning", "receipts", "signs no receipts");
    examined.assert_found("warning", "sealing", "has no key");
    examined.assert_no_fault();
    server.finish();
}

#[test]
fn receipts_that_nobody_can_verify_are_found() {
    let (server, folder) = (TestServer::start_default(), tempfile::tempdir().unwrap());
    let inputs = inputs_file(folder.path());
    let through = |change: Box<dyn Fn(Vec<u8>) -> Vec<u8> + Send>| {
        let proxy = Proxy::start(Some(server.address()), change);
        ask(&url_of(proxy.0), |run| run.arg("--inputs").arg(&inputs))
    };
    let examined = through(Box::new(|answer| replaced(answer, "x-receipt:", "x-nothing:")));
    examined.assert_found("fault", "receipt", "without a receipt");
    let examined = through(Box::new(|answer| with_change_after(answer, "x-receipt: eyJ")));
    examined.assert_found("fault", "receipt", "is not valid");
    // Another server without a common secret stands behind the same address.
    let other = TestServer::start_default();
    let document = other.get("/.well-known/edgeprove").body;
    let examined = through(Box::new(move |answer| {
        let is_document = answer.windows(12).any(|found| found == b"\"receipts\":{");
        let length = format!("connection: close\r\ncontent-length: {}", document.len());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{length}\r\n\r\n");
        if is_document { [head.as_bytes(), &document].concat() } else { answer }
    }));
    examined.assert_found("fault", "receipt", "none of the given keys");
    other.finish();
    server.finish();
}

#[test]
fn a_server_without_jobs_or_verification_is_warned_of() {
    let server = TestServer::start(|settings| settings.flag("--verify", "off"));
    let examined = ask(&url_of(server.address()), |run| run);
    examined.assert_found("warning", "verification", "not verified");
    examined.assert_found("warning", "jobs", "disabled");
    examined.assert_no_fault();
    server.finish();
}
