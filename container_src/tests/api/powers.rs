//! Powers of tau: `edgeprove ptau`, and circuits whose keys are made from them.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
};

use edgeprove_protocol::{
    ProblemType,
    answer::{CircuitEntry, CircuitStatus, PowersOfTau},
};
use edgeprove_test_circom as circom;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    built_circuits::{build, builder, built, circuit, prove, range, request},
    command_line::WorkFolder,
    support::{
        TestServer,
        circom_files::snarkjs_verifies,
        processes::{self, Process},
        settings::Settings,
        wait::{LONG_LIMIT, eventually, within},
    },
};

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// The value of a line of the report.
    #[track_caller]
    fn value(&self, name: &str) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        let line = self.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{name} is not in {self:?}")).trim()
    }

    #[track_caller]
    fn assert_failure(&self, code: i32, part: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(part) && !self.stderr.contains("panic"), "{part:?}: {self:?}");
    }
}

fn command(work: &WorkFolder, arguments: &[&str]) -> Command {
    let mut command = work.command(&[&"ptau"]);
    // It needs neither.
    command.args(arguments).env_remove("BB_PATH").env_remove("CRS_PATH");
    command
}

fn ptau(work: &WorkFolder, arguments: &[&str]) -> Ended {
    let output = processes::run(&mut command(work, arguments), LONG_LIMIT);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// New powers of tau of this power, and their digest.
fn new_powers(work: &WorkFolder, power: u32) -> (String, String) {
    let path = work.at(&format!("{power}.ptau")).display().to_string();
    let ended = ptau(work, &["new", "--power", &power.to_string(), "--out", &path]);
    (path, ended.value("digest").to_owned())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn powers_are_made_described_verified_and_imported() {
    let work = WorkFolder::new();
    let (path, digest) = new_powers(&work, 4);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    for name in ["info", "verify"] {
        let ended = ptau(&work, &[name, &path]);
        assert_eq!(ended.value("power"), "4 (constraints and public signals of a circuit: at most 15)");
        assert_eq!((ended.value("contributions"), ended.value("origin")), ("1", "local"));
        assert_eq!(ended.value("digest"), digest);
    }
    let b2sum = processes::run(Command::new("b2sum").arg(&path), LONG_LIMIT);
    assert!(String::from_utf8(b2sum.stdout).unwrap().starts_with(&digest));

    // A symbolic link is followed, and a file that exists is replaced where that is asked for.
    let (link, out) = (work.at("link.ptau"), work.at("out.ptau"));
    symlink(&path, &link).unwrap();
    fs::write(&out, "old").unwrap();
    let out_text = out.to_str().unwrap();
    let arguments = ["import", link.to_str().unwrap(), "--out", out_text, "--digest", &digest];
    for arguments in [&arguments[..], &["new", "--power", "4", "--out", out_text]] {
        ptau(&work, arguments).assert_failure(1, "exists: choose another name");
        assert_eq!(fs::read(&out).unwrap(), b"old");
    }
    assert_eq!(ptau(&work, &[&arguments[..], &["--force"]].concat()).value("digest"), digest);
    assert!(fs::read(&out).unwrap() == fs::read(&path).unwrap());
}

#[test]
fn powers_of_a_ceremony_are_recognized() {
    let (work, path) = (WorkFolder::new(), circom::ceremony_powers());
    let out = work.at("out.ptau");
    let ended = ptau(&work, &["import", path.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert_eq!((ended.value("origin"), ended.value("contributions")), ("ceremony", "55"));
    assert_eq!(ended.value("ceremony power"), "28");
}

#[test]
fn wrong_powers_are_refused_and_leave_no_file() {
    let work = WorkFolder::new();
    let (path, _) = new_powers(&work, 4);
    let (damaged, out) = (work.at("damaged.ptau"), work.at("out.ptau"));
    let (damaged, out) = (damaged.to_str().unwrap(), out.to_str().unwrap());
    let good = fs::read(&path).unwrap();
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(damaged, &changed).unwrap();
    let before = names(work.at(".").as_path());
    let import = |file: &str| ptau(&work, &["import", file, "--out", out]);
    import(damaged).assert_failure(65, "point 30 of Lagrange beta tau in G1");
    ptau(&work, &["verify", damaged]).assert_failure(65, "is not a valid point");
    // Its points are not checked here.
    assert_eq!(ptau(&work, &["info", damaged]).value("origin"), "local");
    let other = "0".repeat(128);
    for name in ["import", "verify"] {
        let mut arguments = vec![name, path.as_str(), "--digest", other.as_str()];
        if name == "import" {
            arguments.extend(["--out", out]);
        }
        ptau(&work, &arguments).assert_failure(65, &format!("and not {other}"));
        arguments[3] = "00";
        ptau(&work, &arguments).assert_failure(64, "128 hexadecimal digits");
    }
    fs::write(damaged, &good[..good.len() - 1]).unwrap();
    import(damaged).assert_failure(65, "ends early");
    fs::write(damaged, "").unwrap();
    import(damaged).assert_failure(65, "does not start with `ptau`");
    fs::remove_file(damaged).unwrap();
    import(damaged).assert_failure(66, "cannot be read");
    for not_regular in ["/dev/zero", "."] {
        import(not_regular).assert_failure(66, "not a regular file");
    }
    for power in ["0", "21", "255"] {
        ptau(&work, &["new", "--power", power, "--out", out]).assert_failure(64, "must be 1 to 20");
    }
    ptau(&work, &["new", "--power", "x", "--out", out]).assert_failure(64, "--power");
    ptau(&work, &["new", "--power", "4", "--out", "/nowhere/x"]).assert_failure(1, "cannot be written");
    fs::write(damaged, "").unwrap();
    assert_eq!(names(work.at(".").as_path()), before);
}

#[test]
fn a_signal_stops_the_computation_and_removes_its_file() {
    let work = WorkFolder::new();
    let before = names(work.at(".").as_path());
    let out = work.at("large.ptau").display().to_string();
    let mut command = command(&work, &["new", "--power", "18", "--out", &out]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the file is being written", || (names(work.at(".").as_path()) != before).then_some(()));
    Process::find(i32::try_from(child.id()).unwrap()).unwrap().signal(Signal::TERM);
    let status = within(LONG_LIMIT, "the command ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1), "{status}");
    assert_eq!(names(work.at(".").as_path()), before);
}

/// A server that builds circuits with these powers.
fn builder_with(data: &Path, powers: &str) -> impl Fn(&mut Settings) {
    let (build, powers) = (builder(data), powers.to_owned());
    move |settings| {
        build(settings);
        settings.flag("--powers", &powers);
    }
}

#[test]
fn circom_circuits_are_built_from_powers_of_tau() {
    let (work, data) = (WorkFolder::new(), tempfile::tempdir().unwrap());
    let (powers, digest) = new_powers(&work, 8);
    let server = TestServer::start(builder_with(data.path(), &powers));
    let expected = PowersOfTau { origin: "local".to_owned(), digest, power: 8 };
    assert_eq!(server.health().powers.as_ref(), Some(&expected));
    let entry = build(&server, &range("circom"));
    let from = built(&entry);
    assert_eq!(from.trust.as_deref(), Some("local"), "the second phase is the server's own");
    assert_eq!(from.setup.as_ref().unwrap().powers.as_ref(), Some(&expected));

    // snarkjs accepts the key with the circuit and the powers, and a proof under it.
    let file = |name: &str| {
        let artifact = from.artifacts.iter().find(|file| file.name == name).unwrap();
        let path = work.at(name);
        fs::write(&path, server.get(&artifact.path).body).unwrap();
        path
    };
    let (r1cs, zkey) = (file("circuit.r1cs"), file("circuit.zkey"));
    assert_eq!(circom::snarkjs("check-key", &[&r1cs, Path::new(&powers), &zkey]).unwrap(), "true");
    let response = prove(&server, entry.id.as_str(), 123);
    assert_eq!(response.status, 200, "{response:?}");
    let answer: Value = serde_json::from_slice(&response.body).unwrap();
    let (key, signals) = (server.get(entry.vk.as_ref().unwrap()).body, &answer["publicSignals"]);
    assert!(snarkjs_verifies(&key, answer["proof"].to_string().as_bytes(), signals.to_string().as_bytes()));
    prove(&server, entry.id.as_str(), 99).assert_refused(ProblemType::WitnessUnsatisfied);
    assert_eq!(circuit(&server, entry.id.as_str()), entry);

    // Without them the same request is another circuit.
    drop(server);
    let server = TestServer::start(builder(data.path()));
    assert_eq!(server.health().powers, None);
    let other = build(&server, &range("circom"));
    assert_ne!(other.id, entry.id);
    assert_eq!(built(&other).setup.as_ref().unwrap().powers, None);
    let again = prove(&server, entry.id.as_str(), 123);
    assert_eq!(again.status, 200, "the first one can still be proved: {again:?}");
}

#[test]
fn a_circuit_that_does_not_fit_the_powers_is_refused_with_numbers() {
    let (work, data) = (WorkFolder::new(), tempfile::tempdir().unwrap());
    let (powers, _) = new_powers(&work, 7);
    let server = TestServer::start(builder_with(data.path(), &powers));
    let response = request(&server, &range("circom"));
    assert_eq!(response.status, 202, "{response:?}");
    let id = serde_json::from_slice::<CircuitEntry>(&response.body).unwrap().id;
    let failed = within(LONG_LIMIT, "the build fails", || {
        let entry = circuit(&server, id.as_str());
        (entry.status == CircuitStatus::Failed).then_some(entry)
    });
    let problem = failed.error.unwrap();
    assert_eq!(problem.code, ProblemType::CircuitCompilationFailed);
    let numbers =
        "193 constraints and 1 public signals, which need powers of tau of power 8; the file has power 7";
    assert!(problem.detail.contains(numbers), "{}", problem.detail);
}

#[test]
fn a_server_with_wrong_powers_does_not_start() {
    let (work, data) = (WorkFolder::new(), tempfile::tempdir().unwrap());
    let (powers, _) = new_powers(&work, 2);
    let good = fs::read(&powers).unwrap();
    fs::write(&powers, &good[..good.len() - 1]).unwrap();
    let folder = data.path().display().to_string();
    for (path, part) in
        [(powers.as_str(), "ends early"), ("/nowhere.ptau", "cannot be read"), (folder.as_str(), "a folder")]
    {
        let failed = TestServer::fails_to_start(builder_with(data.path(), path));
        assert_eq!(failed.code, Some(64), "{}", failed.stderr);
        for part in ["--powers", path, part] {
            assert!(failed.stderr.contains(part), "{part:?} is not in: {}", failed.stderr);
        }
    }
}
