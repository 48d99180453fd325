//! `edgeprove circuit`: circuits of a server, from the command line. What concerns builds is in [`crate::built_circuits`].

use std::{fs, path::Path, process::Command};

use http::Method;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::{
    TestServer, circom_files::CircomFolder, paths, processes, reserved_port::ReservedPort, wait,
};

/// The key of an operator.
const KEY: &str = "the key of an operator who uploads";

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `edgeprove circuit` against a server.
pub(crate) fn circuit_command(server: &TestServer, arguments: &[&str]) -> Ended {
    run(arguments, &[("EDGEPROVE_SERVER", &format!("http://{}", server.address()))])
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(paths::edgeprove());
    command.env_clear().envs(variables.iter().copied()).arg("circuit").args(arguments);
    let output = processes::run(&mut command, wait::LONG_LIMIT);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ended =
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(!ended.stderr.contains(KEY) && !ended.stderr.contains("panic"), "{ended:?}");
    ended
}

struct Operator {
    server: TestServer,
    files: CircomFolder,
    data: tempfile::TempDir,
}

impl Operator {
    fn start() -> Self {
        let (files, data) = (CircomFolder::new(), tempfile::tempdir().unwrap());
        let circuit = files.add("range");
        files.add_constraints(&circuit, "range");
        fs::write(data.path().join("key"), format!("{KEY}\n")).unwrap();
        let keys = data.path().join("keys.toml");
        let digest = hex::encode(Sha256::digest(KEY));
        fs::write(&keys, format!("[keys.olga]\nrole = 'operator'\nsha256 = ['{digest}']\n")).unwrap();
        let server = TestServer::start(|settings| {
            settings.flag("--data", &data.path().join("data").display());
            settings.flag("--keys-file", &keys.display());
            settings.sample = None;
        });
        Self { server, files, data }
    }

    /// Runs a command with the key.
    fn run(&self, arguments: &[&str]) -> Ended {
        let (url, key) = (format!("http://{}/", self.server.address()), self.data.path().join("key"));
        let key = key.display().to_string();
        run(&[arguments, &["--server", &url, "--key-file", &key]].concat(), &[])
    }

    /// Uploads the circuit `range`, with this file in the place of the key.
    fn add(&self, key: &Path, more: &[&str]) -> Ended {
        let path = |name: &str| self.files.at(name).display().to_string();
        let (r1cs, wasm, zkey) = (path("range.r1cs"), path("range.wasm"), key.display().to_string());
        let add = ["add", "range", "--r1cs", &r1cs, "--wasm", &wasm, "--zkey", &zkey];
        self.run(&[&add[..], more].concat())
    }
}

#[test]
fn circuits_are_added_listed_shown_and_removed() {
    let operator = Operator::start();
    let input = operator.data.path().join("input.json");
    fs::write(&input, json!({"in": 60, "randomPublicSignal": 7}).to_string()).unwrap();
    let zkey = operator.files.at("range.zkey");
    let more = ["--input", &input.display().to_string(), "--trust", "ceremony"];
    let added = operator.add(&zkey, &more);
    assert_eq!(added.code, Some(0), "{added:?}");
    let id = added.stdout.trim();
    assert!(id.starts_with("range-"), "{id}");
    let again = operator.add(&zkey, &["--trust", "ceremony", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!((document["id"].as_str(), &document["uploaded"]["sample_proved"]), (Some(id), &json!(true)));

    let list = operator.run(&["list"]);
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{list:?}");
    assert!(lines[0].starts_with("ID ") && lines[1].contains("configured"), "{list:?}");
    let cells: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(cells[..3], [id, "uploaded", "ready"], "{list:?}");
    let list = operator.run(&["list", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(document["circuits"][1]["id"], id);
    let shown = operator.run(&["show", id]);
    for part in [id, "trust:       ceremony", "sample:      proved", "/artifacts/verifier.sol"] {
        assert!(shown.stdout.contains(part), "{part}: {shown:?}");
    }
    let shown = operator.run(&["show", id, "--json"]);
    assert!(shown.stdout.contains("\"origin\": \"uploaded\""), "{shown:?}");

    assert_eq!(operator.run(&["rm", id]).code, Some(0));
    let gone = operator.run(&["rm", id]);
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.stderr.contains("circuit_not_found"), "{gone:?}");
    operator.server.finish();
}

#[test]
fn refusals_have_the_exit_statuses_of_other_commands() {
    let operator = Operator::start();
    let zkey = operator.files.at("range.zkey");
    let broken = operator.data.path().join("broken.zkey");
    fs::write(&broken, "not a key").unwrap();
    let url = format!("http://{}", operator.server.address());
    let port = ReservedPort::new();
    let nobody = format!("http://{}", port.address());
    let range = ["--param", "min=1", "--param", "max=2"];
    for (ended, code, part) in [
        (operator.add(&broken, &[]), 65, "circuit.zkey is not a Groth16 key"),
        (operator.add(Path::new("/none/a.zkey"), &[]), 66, "/none/a.zkey cannot be read"),
        (operator.add(operator.data.path(), &[]), 66, "cannot be read"),
        (operator.add(&zkey, &["--trust", "full"]), 64, "one of ceremony, local, unknown"),
        (operator.add(&zkey, &["--program", "a.json"]), 2, "cannot be used with"),
        (operator.run(&["add", "a"]), 2, "--program"),
        (operator.run(&["add", "a/b", "--program", "a.json"]), 64, "NAME: `a/b` is not a name"),
        (operator.run(&["show", "none"]), 1, "circuit_not_found"),
        (operator.run(&[&["build", "none"][..], &range].concat()), 65, "template_not_found"),
        (operator.run(&[&["build", "rangeCheck"][..], &range].concat()), 1, "builder_unavailable"),
        (operator.run(&["build", "a", "--param", "min"]), 64, "is not a parameter as NAME=VALUE"),
        (run(&["rm", "a", "--server", &url], &[]), 1, "api_key_required"),
        (run(&["rm", "a", "--server", &url], &[("EDGEPROVE_CLIENT_KEY", "wrong")]), 1, "api_key_required"),
        (
            run(&["list", "--server", "ftp://a"], &[]),
            64,
            "--server (EDGEPROVE_SERVER): `ftp://a` is not a URL",
        ),
        (run(&["list", "--server", &nobody], &[]), 1, "did not answer"),
        (run(&["list", "--key-file", "/none"], &[]), 64, "/none cannot be read"),
    ] {
        assert_eq!(ended.code, Some(code), "{part}: {ended:?}");
        assert!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
    let listed = run(&["list", "--server", &url], &[("EDGEPROVE_CLIENT_KEY", KEY)]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let left = operator.server.request(Method::GET, "/v1/circuits").send().json();
    assert_eq!(left["circuits"].as_array().map(Vec::len), Some(1), "nothing was published");
    operator.server.finish();
}

#[test]
fn a_data_folder_needs_no_running_server() {
    let (files, home) = (CircomFolder::new(), tempfile::tempdir().unwrap());
    let circuit = files.add("range");
    files.add_constraints(&circuit, "range");
    let at = |name: &str| home.path().join(name).display().to_string();
    let (data, bb, crs) = (at("data"), paths::bb().display().to_string(), paths::crs().display().to_string());
    let (keys, spool) = (at("keys"), at("spool"));
    let variables = [
        ("EDGEPROVE_BB", bb.as_str()),
        ("EDGEPROVE_CRS", &crs),
        ("EDGEPROVE_CACHE_DIR", &keys),
        ("EDGEPROVE_SPOOL_DIR", &spool),
        // Inside a container, the temporary folder of a test is lost with it.
        ("EDGEPROVE_EPHEMERAL_JOBS", "true"),
        // Settings of the server that usually has the folder, which would shut the command out.
        ("EDGEPROVE_EDGE_SECRET", "a secret of an edge, which is long enough"),
        ("EDGEPROVE_SERVER", "http://127.0.0.1:9"),
    ];
    let on_folder = |arguments: &[&str]| run(&[arguments, &["--data", &data]].concat(), &variables);
    let missing = on_folder(&["list"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr.contains("does not exist") && !Path::new(&data).exists(), "{missing:?}");

    fs::create_dir(&data).unwrap();
    let path = |name: &str| files.at(name).display().to_string();
    let (r1cs, wasm, zkey) = (path("range.r1cs"), path("range.wasm"), path("range.zkey"));
    let added = on_folder(&["add", "range", "--r1cs", &r1cs, "--wasm", &wasm, "--zkey", &zkey]);
    assert_eq!(added.code, Some(0), "{added:?}");
    let id = added.stdout.trim();
    let listed = on_folder(&["list"]);
    assert!(listed.code == Some(0) && listed.stdout.contains(id), "{listed:?}");

    let server = TestServer::start(|settings| {
        settings.flag("--data", &data);
        settings.sample = None;
    });
    let shown = circuit_command(&server, &["show", id]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let taken = on_folder(&["list"]);
    assert_eq!(taken.code, Some(1), "{taken:?}");
    assert!(taken.stderr.contains("the server of the data folder ended"), "{taken:?}");
    server.finish();

    let removed = on_folder(&["rm", id]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert!(!on_folder(&["list"]).stdout.contains(id));
}
