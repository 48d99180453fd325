//! The audit log: its entries, that it survives crashes, and that changes to it are found.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use edgeprove_protocol::{ProblemType, headers};
use http::Method;
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{
    Response, TestServer, eventually, paths, processes, samples, settings::Settings, skipped, wait,
};

pub(crate) const KEY: &str = "the operator's";
/// The folder of an audit log and of a keys file.
pub(crate) struct AuditFolder(tempfile::TempDir);

/// The result of a command.
pub(crate) struct CommandResult {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    stderr: String,
}

impl AuditFolder {
    pub(crate) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let entry = |name: &str, role: &str, key: &str| {
            format!("[keys.{name}]\nrole = '{role}'\nsha256 = ['{}']\n", hex::encode(Sha256::digest(key)))
        };
        let users = [entry("bob", "user", "bob's"), entry("carol", "user", "carol's")].concat();
        let keys = [entry("alice", "operator", KEY), users].concat();
        fs::write(folder.at("keys.toml"), keys).unwrap();
        folder
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.at("audit.jsonl")
    }

    pub(crate) fn configure(&self, settings: &mut Settings) {
        settings.flag("--audit", &self.log().display());
    }

    /// Starts a server whose callers need no key.
    #[track_caller]
    pub(crate) fn start_open(&self) -> TestServer {
        TestServer::start(|s| self.configure(s))
    }

    /// Starts a server whose callers need a key.
    #[track_caller]
    pub(crate) fn start_keyed(&self) -> TestServer {
        TestServer::start(|s| {
            self.configure(s);
            s.flag("--keys-file", &self.at("keys.toml").display());
        })
    }

    #[track_caller]
    pub(crate) fn text(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap();
        assert!(!samples::contains_secret(text.as_bytes()), "the log contains a private value");
        text
    }

    #[track_caller]
    pub(crate) fn entries(&self) -> Vec<Value> {
        entries(&self.text())
    }

    /// The action of each entry, with its outcome.
    #[track_caller]
    pub(crate) fn actions(&self) -> Vec<String> {
        let describe = |entry: &Value| match entry["outcome"].as_str() {
            Some(outcome) => format!("{} {outcome}", entry["action"].as_str().unwrap()),
            None => entry["action"].as_str().unwrap().to_owned(),
        };
        self.entries().iter().map(describe).collect()
    }
}

pub(crate) fn entries(text: &str) -> Vec<Value> {
    let parsed = |line: &str| serde_json::from_str::<Value>(line).unwrap()["entry"].clone();
    text.lines().map(parsed).collect()
}

#[track_caller]
pub(crate) fn run(command: &mut Command) -> CommandResult {
    let output = processes::run(command, wait::LIMIT);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    CommandResult { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

pub(crate) fn edgeprove(arguments: &[&str]) -> Command {
    let mut command = Command::new(paths::edgeprove());
    command.env_clear().arg("audit").args(arguments);
    command
}

#[track_caller]
pub(crate) fn verify(file: &Path, more: &[&str]) -> CommandResult {
    run(edgeprove(&["verify", file.to_str().unwrap()]).args(more))
}

/// The head that a verification prints.
#[track_caller]
pub(crate) fn head(result: &CommandResult) -> String {
    assert_eq!(result.code, Some(0), "{}{}", result.stdout, result.stderr);
    result.stdout.lines().find_map(|line| line.strip_prefix("head: ")).unwrap().to_owned()
}

#[track_caller]
fn assert_broken_at(result: &CommandResult, line: usize) {
    assert_eq!(result.code, Some(1), "{}{}", result.stdout, result.stderr);
    assert!(result.stdout.contains(&format!("line {line}")), "{}", result.stdout);
}

pub(crate) fn export(server: &TestServer, query: &str) -> Response {
    server.request(Method::GET, &format!("/v1/audit{query}")).header(headers::API_KEY, KEY).send()
}

#[test]
fn each_request_is_recorded_with_its_caller_and_outcome() {
    let folder = AuditFolder::new();
    let server = folder.start_keyed();
    let by_bob = |witness: &[u8]| server.prove_request(witness).header(headers::API_KEY, "bob's");
    let proved = by_bob(&samples::range_check().witness).send();
    proved.assert_proof_of(samples::range_check());
    by_bob(&samples::unsatisfied()).send().assert_refused(ProblemType::WitnessUnsatisfied);
    by_bob(b"no witness").send().assert_refused(ProblemType::WitnessNotGzip);
    let urgent = by_bob(&samples::range_check().witness).header(headers::PRIORITY, "CRITICAL").send();
    urgent.assert_refused(ProblemType::NotAllowed);
    server.finish();

    assert_eq!(
        folder.actions(),
        [
            "server.started",
            "proof.synchronous ok",
            "proof.synchronous witness_unsatisfied",
            "proof.synchronous witness_not_gzip",
            "key.refused not_allowed",
            "server.stopped"
        ]
    );
    let entries = folder.entries();
    let proof = &entries[1];
    assert_eq!((&proof["actor"], &proof["circuit"]), (&"key:bob".into(), &"range_check".into()));
    assert_eq!(proof["request_id"], proved.header(headers::REQUEST_ID));
    assert_eq!((&entries[0]["actor"], &entries[4]["actor"]), (&"server".into(), &"key:bob".into()));
    let worker = proof["worker"].as_str().unwrap();
    assert!(!worker.is_empty() && entries.iter().all(|entry| entry["worker"] == worker));
    for entry in &entries {
        let time: jiff::Timestamp = entry["time"].as_str().unwrap().parse().unwrap();
        assert!(time.duration_until(jiff::Timestamp::now()).abs() < jiff::SignedDuration::from_mins(5));
    }
    assert_eq!(fs::metadata(folder.log()).unwrap().permissions().mode() & 0o777, 0o600);
    let result = verify(&folder.log(), &[]);
    assert!(result.code == Some(0) && result.stdout.contains("6 entries"), "{}", result.stdout);
}

#[test]
fn unauthenticated_requests_do_not_fill_the_log() {
    let folder = AuditFolder::new();
    let server = folder.start_keyed();
    for _ in 0..30 {
        server
            .prove_request(b"")
            .header(headers::API_KEY, "a guess")
            .send()
            .assert_refused(ProblemType::ApiKeyRequired);
    }
    server.finish();
    let entries = folder.entries();
    assert!(entries.len() < 25, "{entries:?}");
    assert_eq!(entries[1]["action"], "key.refused");
    assert_eq!(
        (&entries[1]["actor"], &entries[1]["outcome"]),
        (&"anonymous".into(), &"api_key_required".into())
    );
}

#[test]
fn operators_export_the_log_in_parts() {
    let folder = AuditFolder::new();
    let server = folder.start_keyed();
    for _ in 0..5 {
        server
            .prove_request(b"x")
            .header(headers::API_KEY, KEY)
            .send()
            .assert_refused(ProblemType::WitnessNotGzip);
    }
    let all = export(&server, "");
    assert_eq!((all.status.as_u16(), all.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!(String::from_utf8(all.body.clone()).unwrap(), folder.text());
    assert_eq!(all.header(headers::AUDIT_HEAD), head(&verify(&folder.log(), &[])));
    let part = export(&server, "?after=2&limit=3");
    let lines: Vec<String> = folder.text().lines().skip(2).take(3).map(|line| format!("{line}\n")).collect();
    assert_eq!(String::from_utf8(part.body.clone()).unwrap(), lines.concat());
    assert_eq!(export(&server, "?after=6").body, b"");
    for bad in ["?after=-1", "?after=x", "?before=1", "?limit=many"] {
        export(&server, bad).assert_refused(ProblemType::InvalidRequest);
    }

    // A part names the entry before it, and the command exports the same part while the server runs.
    fs::write(folder.at("part"), &part.body).unwrap();
    let result = verify(&folder.at("part"), &[]);
    assert!(result.stdout.contains("3 entries") && result.stdout.contains(": 2:"), "{}", result.stdout);
    let exported =
        run(edgeprove(&["export", "--after", "2", "--limit", "3"]).env("EDGEPROVE_AUDIT", folder.log()));
    assert_eq!((exported.code, exported.stdout.into_bytes()), (Some(0), part.body));
    server.finish();
}

#[test]
fn verification_finds_the_line_of_a_change() {
    let folder = AuditFolder::new();
    let server = folder.start_open();
    for _ in 0..6 {
        server.prove(b"x").assert_refused(ProblemType::WitnessNotGzip);
    }
    server.finish();
    let lines: Vec<String> = folder.text().lines().map(|line| format!("{line}\n")).collect();
    assert_eq!(lines.len(), 8);
    let whole = verify(&folder.log(), &[]);
    let head = head(&whole);
    assert_eq!(verify(&folder.log(), &["--anchor", &head]).code, Some(0));

    let other = folder.at("other.jsonl");
    let verify_other = |lines: &[String], more: &[&str]| {
        fs::write(&other, lines.concat()).unwrap();
        verify(&other, more)
    };
    let mut changed = lines.clone();
    changed[3] = changed[3].replace("witness_not_gzip", "ok");
    assert_broken_at(&verify_other(&changed, &[]), 4);
    let without = [&lines[..4], &lines[5..]].concat();
    assert_broken_at(&verify_other(&without, &[]), 5);
    changed[3] = "nonsense\n".to_owned();
    assert_broken_at(&verify_other(&changed, &[]), 4);
    changed[3] = "x".repeat(100_000);
    assert_broken_at(&verify_other(&changed, &[]), 4);

    // A log without its last entries is valid in itself. Only an anchor shows that entries are missing.
    assert_eq!(verify_other(&lines[..6], &[]).code, Some(0));
    assert_broken_at(&verify_other(&lines[..6], &["--anchor", &head]), 7);
    let torn = [&lines[..6], &[lines[6][..40].to_owned()]].concat();
    let result = verify_other(&torn, &[]);
    assert_eq!(result.code, Some(0), "{}", result.stdout);

    // A log on standard input, and files that cannot be read.
    let log = fs::File::open(folder.log()).unwrap();
    let piped = edgeprove(&["verify", "-"]).stdin(log).stdout(Stdio::piped()).output().unwrap();
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), whole.stdout);
    let missing = verify(&folder.at("missing"), &[]);
    assert!(missing.code == Some(66) && missing.stderr.contains("missing"), "{}", missing.stderr);
    assert_eq!(
        run(&mut edgeprove(&["export", "--audit", folder.at("missing").to_str().unwrap()])).code,
        Some(66)
    );
    assert_eq!(verify(folder.0.path(), &[]).code, Some(66), "a folder");
    let invalid = verify(&folder.log(), &["--anchor", "8"]);
    assert!(invalid.code == Some(64) && invalid.stderr.contains("--anchor"), "{}", invalid.stderr);
    assert_eq!(run(&mut edgeprove(&["export"])).code, Some(64));
}

#[test]
fn the_chain_continues_after_a_server_was_killed() {
    let folder = AuditFolder::new();
    let mut answered = 0;
    for _ in 0..3 {
        let mut server = folder.start_open();
        for _ in 0..5 {
            server.prove(b"x").assert_refused(ProblemType::WitnessNotGzip);
            answered += 1;
        }
        let (client, bb) = server.suspend_mid_proof();
        server.kill();
        bb.signal(Signal::KILL);
        drop(client);
        let refused = folder.actions().iter().filter(|action| action.ends_with("witness_not_gzip")).count();
        assert_eq!(refused, answered, "every answered request is recorded");
    }
    // A line whose writing was interrupted.
    let text = folder.text();
    let mut log = fs::OpenOptions::new().append(true).open(folder.log()).unwrap();
    log.write_all(b"{\"entry\":{\"action\":\"proof.sync").unwrap();
    drop(log);
    let server = folder.start_open();
    server.assert_healthy();
    server.finish();
    assert!(folder.text().starts_with(&text));
    let more = folder.actions().split_off(text.lines().count());
    assert_eq!(more, ["log.repaired", "server.started", "proof.synchronous ok", "server.stopped"]);
    let aside = fs::read_to_string(folder.at("audit.jsonl.torn")).unwrap();
    assert_eq!(aside, "{\"entry\":{\"action\":\"proof.sync\n");
    head(&verify(&folder.log(), &[]));
}

#[test]
fn a_proof_whose_caller_left_is_recorded() {
    let folder = AuditFolder::new();
    let server = folder.start_open();
    let (client, bb) = server.suspend_mid_proof();
    drop(client);
    eventually("the proof is recorded", || {
        folder.actions().contains(&"proof.synchronous abandoned".to_owned()).then_some(())
    });
    bb.resume();
    server.assert_healthy();
}

#[test]
fn an_unusable_log_prevents_the_start() {
    let folder = AuditFolder::new();
    let fails = |file: &Path| {
        let failed = TestServer::fails_to_start(|s| s.flag("--audit", &file.display()));
        assert_eq!(failed.code, Some(64), "{}", failed.stderr);
        let path = file.display().to_string();
        assert!(failed.stderr.contains(&path), "{path} is not in: {}", failed.stderr);
    };
    fails(Path::new("/nonexistent/audit.jsonl"));
    fails(Path::new("/dev/full"));
    fs::write(folder.at("notes"), "somebody's notes\n").unwrap();
    fails(&folder.at("notes"));
    assert_eq!(fs::read_to_string(folder.at("notes")).unwrap(), "somebody's notes\n");
    let server = folder.start_open();
    fails(&folder.log());
    server.assert_healthy();
}

#[test]
fn work_is_refused_while_it_cannot_be_recorded() {
    if skipped::lacks_mount_namespaces() {
        return;
    }
    let folder = AuditFolder::new();
    let small = folder.at("small");
    fs::create_dir(&small).unwrap();
    let server = TestServer::start(|s| {
        let mount = "mount -t tmpfs -o size=65536,mode=700 tmpfs \"$1\" && shift && exec \"$@\"";
        let mut wrapper = skipped::namespace(&["--mount"]);
        wrapper.args(["sh", "-c", mount, "sh"]).arg(&small);
        s.wrapper = Some(wrapper);
        s.flag("--audit", &small.join("audit.jsonl").display());
    });
    server.assert_healthy();
    let inside = |name: &str| -> PathBuf {
        format!("/proc/{}/root{}", server.pid(), small.join(name).display()).into()
    };
    let mut filler = fs::File::create(inside("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    drop(filler);

    // The last page of the log has space left for some entries.
    let code = |response: &Response| response.json()["code"].as_str().unwrap().to_owned();
    eventually("the log is full", || (code(&server.prove(b"x")) == "audit_unavailable").then_some(()));
    let problem =
        server.prove(&samples::range_check().witness).assert_refused_for_now(ProblemType::AuditUnavailable);
    assert!(!problem.detail.contains("jsonl"), "the problem contains a path: {}", problem.detail);
    let problems = server.health().problems;
    assert!(problems.iter().any(|problem| problem.contains("audit")), "{problems:?}");
    fs::remove_file(inside("filler")).unwrap();
    eventually("the server proves again", || {
        (server.prove(&samples::range_check().witness).status == 200).then_some(())
    });
    assert_eq!(server.health().problems, Vec::<String>::new());
    server.assert_healthy();

    fs::copy(inside("audit.jsonl"), folder.log()).unwrap();
    head(&verify(&folder.log(), &[]));
}

#[test]
fn the_documented_verifier_verifies_an_export() {
    if skipped::lacks_python() {
        return;
    }
    let folder = AuditFolder::new();
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/AUDIT.md")).unwrap();
    let script = docs.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(script.lines().count() <= 16, "the script is short");
    fs::write(folder.at("verify.py"), script).unwrap();
    let python = |file: &Path| run(Command::new("python3").arg(folder.at("verify.py")).arg(file));

    let server = folder.start_keyed();
    server
        .prove_request(&samples::range_check().witness)
        .header(headers::API_KEY, KEY)
        .send()
        .assert_proof_of(samples::range_check());
    server
        .prove_request(b"x")
        .header(headers::API_KEY, KEY)
        .send()
        .assert_refused(ProblemType::WitnessNotGzip);
    server.prove_request(b"").send().assert_refused(ProblemType::ApiKeyRequired);
    let (whole, part) = (export(&server, ""), export(&server, "?after=1"));
    server.finish();
    for response in [&whole, &part] {
        fs::write(folder.at("export"), &response.body).unwrap();
        let result = python(&folder.at("export"));
        assert_eq!(result.code, Some(0), "{}", result.stderr);
        assert!(result.stdout.contains(&head(&verify(&folder.at("export"), &[]))), "{}", result.stdout);
    }
    let text = String::from_utf8(whole.body).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let forged = [
        (text.replacen("key:alice", "key:bob", 1), "line 2"),
        (text.replacen("\"seq\":3}", "\"seq\":4}", 1), "line 3"),
        (format!("{}\n{}\n", lines[0], lines[2]), "line 2"),
        (text.replacen("{\"entry\"", "{ \"entry\"", 1), "line 1"),
    ];
    for (text, line) in forged {
        fs::write(folder.at("export"), text).unwrap();
        let result = python(&folder.at("export"));
        assert!(
            result.code == Some(1) && result.stderr.contains(line),
            "{line}: {}{}",
            result.stdout,
            result.stderr
        );
        assert!(verify(&folder.at("export"), &[]).stdout.contains(line), "both find the same line");
    }
}
