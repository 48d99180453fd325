//! The audit log: what it tells, that it is kept whatever happens, and that changes show.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use edgeprove_protocol::{ProblemType, headers};
use http::Method;
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{Answer, TestServer, eventually, places, processes, samples, settings::Settings};

const KEY: &str = "the operator's";
const LIMIT: Duration = Duration::from_mins(1);

/// Where a server keeps its log, and who looks at it.
struct Desk(tempfile::TempDir);

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let holder = |name: &str, role: &str, key: &str| {
            format!("[keys.{name}]\nrole = '{role}'\nsha256 = ['{}']\n", hex::encode(Sha256::digest(key)))
        };
        let keys = [holder("alice", "operator", KEY), holder("bob", "user", "bob's")].concat();
        fs::write(desk.at("keys.toml"), keys).unwrap();
        desk
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.at("audit.jsonl")
    }

    fn settle(&self, settings: &mut Settings) {
        settings.flag("--audit", &self.log().display());
    }

    /// A server whose callers need no key.
    #[track_caller]
    fn open(&self) -> TestServer {
        TestServer::start(|s| self.settle(s))
    }

    /// A server whose callers need one.
    #[track_caller]
    fn locked(&self) -> TestServer {
        TestServer::start(|s| {
            self.settle(s);
            s.flag("--keys-file", &self.at("keys.toml").display());
        })
    }

    #[track_caller]
    fn text(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap();
        assert!(!samples::shows_secret(text.as_bytes()), "the log shows a private value");
        text
    }

    #[track_caller]
    fn entries(&self) -> Vec<Value> {
        entries(&self.text())
    }

    /// Actions, each with its outcome.
    #[track_caller]
    fn story(&self) -> Vec<String> {
        let tell = |entry: &Value| match entry["outcome"].as_str() {
            Some(outcome) => format!("{} {outcome}", entry["action"].as_str().unwrap()),
            None => entry["action"].as_str().unwrap().to_owned(),
        };
        self.entries().iter().map(tell).collect()
    }
}

fn entries(text: &str) -> Vec<Value> {
    let parsed = |line: &str| serde_json::from_str::<Value>(line).unwrap()["entry"].clone();
    text.lines().map(parsed).collect()
}

#[track_caller]
fn run(command: &mut Command) -> Said {
    let output = processes::run(command, LIMIT);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn edgeprove(words: &[&str]) -> Command {
    let mut command = Command::new(places::edgeprove());
    command.env_clear().arg("audit").args(words);
    command
}

#[track_caller]
fn verify(file: &Path, more: &[&str]) -> Said {
    run(edgeprove(&["verify", file.to_str().unwrap()]).args(more))
}

/// The head that a verification tells.
#[track_caller]
fn head(said: &Said) -> String {
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    said.out.lines().find_map(|line| line.strip_prefix("head: ")).unwrap().to_owned()
}

#[track_caller]
fn broken(said: &Said, words: &str) {
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.out.contains(words), "{words:?} is not in: {}", said.out);
}

fn export(server: &TestServer, query: &str) -> Answer {
    server.ask(Method::GET, &format!("/v1/audit{query}")).header(headers::API_KEY, KEY).send()
}

#[test]
fn the_log_tells_who_asked_for_what_and_what_became_of_it() {
    let desk = Desk::new();
    let server = desk.locked();
    let by_bob = |witness: &[u8]| server.posting(witness).header(headers::API_KEY, "bob's");
    let proved = by_bob(&samples::range().witness).send();
    proved.proof_of(samples::range());
    by_bob(&samples::unsatisfied()).send().refused(ProblemType::WitnessUnsatisfied);
    by_bob(b"no witness").send().refused(ProblemType::WitnessNotGzip);
    let urgent = by_bob(&samples::range().witness).header(headers::PRIORITY, "CRITICAL").send();
    urgent.refused(ProblemType::NotAllowed);
    server.finish();

    assert_eq!(
        desk.story(),
        [
            "server.started",
            "proof.synchronous ok",
            "proof.synchronous witness_unsatisfied",
            "proof.synchronous witness_not_gzip",
            "key.refused not_allowed",
            "server.stopped"
        ]
    );
    let entries = desk.entries();
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
    assert_eq!(fs::metadata(desk.log()).unwrap().permissions().mode() & 0o777, 0o600);
    let said = verify(&desk.log(), &[]);
    assert!(said.out.starts_with("whole: 6 entries\n"), "{}", said.out);
}

#[test]
fn strangers_fill_no_log() {
    let desk = Desk::new();
    let server = desk.locked();
    for _ in 0..30 {
        server.posting(b"").header(headers::API_KEY, "a guess").send().refused(ProblemType::ApiKeyRequired);
    }
    server.finish();
    let entries = desk.entries();
    assert!(entries.len() < 25, "{entries:?}");
    assert_eq!(entries[1]["action"], "key.refused");
    assert_eq!(
        (&entries[1]["actor"], &entries[1]["outcome"]),
        (&"anonymous".into(), &"api_key_required".into())
    );
}

#[test]
fn operators_read_it_piece_by_piece() {
    let desk = Desk::new();
    let server = desk.locked();
    for _ in 0..5 {
        server.posting(b"x").header(headers::API_KEY, KEY).send().refused(ProblemType::WitnessNotGzip);
    }
    let all = export(&server, "");
    assert_eq!((all.status.as_u16(), all.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!(String::from_utf8(all.body.clone()).unwrap(), desk.text());
    assert_eq!(all.header(headers::AUDIT_HEAD), head(&verify(&desk.log(), &[])));
    let piece = export(&server, "?after=2&limit=3");
    let lines: Vec<String> = desk.text().lines().skip(2).take(3).map(|line| format!("{line}\n")).collect();
    assert_eq!(String::from_utf8(piece.body.clone()).unwrap(), lines.concat());
    assert_eq!(export(&server, "?after=6").body, b"");
    for bad in ["?after=-1", "?after=x", "?before=1", "?limit=many"] {
        export(&server, bad).refused(ProblemType::InvalidRequest);
    }

    // The piece continues what it says, and the command gives the same while the server runs.
    fs::write(desk.at("piece"), &piece.body).unwrap();
    let said = verify(&desk.at("piece"), &[]);
    assert!(said.out.contains("whole: 3 entries\nbegins after: 2:"), "{}", said.out);
    let exported =
        run(edgeprove(&["export", "--after", "2", "--limit", "3"]).env("EDGEPROVE_AUDIT", desk.log()));
    assert_eq!((exported.code, exported.out.into_bytes()), (Some(0), piece.body));
    server.finish();
}

#[test]
fn a_change_is_found_where_it_is() {
    let desk = Desk::new();
    let server = desk.open();
    for _ in 0..6 {
        server.post(b"x").refused(ProblemType::WitnessNotGzip);
    }
    server.finish();
    let lines: Vec<String> = desk.text().lines().map(|line| format!("{line}\n")).collect();
    assert_eq!(lines.len(), 8);
    let whole = verify(&desk.log(), &[]);
    let head = head(&whole);
    assert_eq!(verify(&desk.log(), &["--anchor", &head]).code, Some(0));

    let other = desk.at("other.jsonl");
    let verify_other = |lines: &[String], more: &[&str]| {
        fs::write(&other, lines.concat()).unwrap();
        verify(&other, more)
    };
    let mut changed = lines.clone();
    changed[3] = changed[3].replace("witness_not_gzip", "ok");
    broken(&verify_other(&changed, &[]), "broken at line 4: entry 4 was changed");
    let without = [&lines[..4], &lines[5..]].concat();
    broken(&verify_other(&without, &[]), "broken at line 5: entry 5 is missing");
    changed[3] = "nonsense\n".to_owned();
    broken(&verify_other(&changed, &[]), "broken at line 4: it is not an entry");
    changed[3] = "x".repeat(100_000);
    broken(&verify_other(&changed, &[]), "broken at line 4");

    // Cut off at the end it is whole by itself, which only an anchor shows.
    assert_eq!(verify_other(&lines[..6], &[]).code, Some(0));
    broken(&verify_other(&lines[..6], &["--anchor", &head]), "broken at line 7: entry 8");
    let torn = [&lines[..6], &[lines[6][..40].to_owned()]].concat();
    let said = verify_other(&torn, &[]);
    assert!(said.code == Some(0) && said.out.contains("without an end was left out"), "{}", said.out);

    // From standard input, and what cannot be read at all.
    let log = fs::File::open(desk.log()).unwrap();
    let piped = edgeprove(&["verify", "-"]).stdin(log).stdout(Stdio::piped()).output().unwrap();
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), whole.out);
    let missing = verify(&desk.at("missing"), &[]);
    assert!(missing.code == Some(66) && missing.err.contains("cannot be read"), "{}", missing.err);
    assert_eq!(
        run(&mut edgeprove(&["export", "--audit", desk.at("missing").to_str().unwrap()])).code,
        Some(66)
    );
    assert_eq!(verify(desk.0.path(), &[]).code, Some(66), "a folder");
    let odd = verify(&desk.log(), &["--anchor", "8"]);
    assert!(odd.code == Some(64) && odd.err.contains("--anchor"), "{}", odd.err);
    assert_eq!(run(&mut edgeprove(&["export"])).code, Some(64));
}

#[test]
fn a_server_that_is_killed_leaves_a_chain_that_goes_on() {
    let desk = Desk::new();
    let mut answered = 0;
    for _ in 0..3 {
        let mut server = desk.open();
        for _ in 0..5 {
            server.post(b"x").refused(ProblemType::WitnessNotGzip);
            answered += 1;
        }
        let (asker, bb) = server.freeze_midway();
        server.kill();
        bb.signal(Signal::KILL);
        drop(asker);
        let refused = desk.story().iter().filter(|told| told.ends_with("witness_not_gzip")).count();
        assert_eq!(refused, answered, "what was answered is on record");
    }
    // The end of a line that was being written.
    let text = desk.text();
    let mut log = fs::OpenOptions::new().append(true).open(desk.log()).unwrap();
    log.write_all(b"{\"entry\":{\"action\":\"proof.sync").unwrap();
    drop(log);
    let server = desk.open();
    server.assert_well();
    server.finish();
    assert!(desk.text().starts_with(&text));
    let more = desk.story().split_off(text.lines().count());
    assert_eq!(more, ["log.repaired", "server.started", "proof.synchronous ok", "server.stopped"]);
    let aside = fs::read_to_string(desk.at("audit.jsonl.torn")).unwrap();
    assert_eq!(aside, "{\"entry\":{\"action\":\"proof.sync\n");
    head(&verify(&desk.log(), &[]));
}

#[test]
fn a_caller_who_leaves_is_on_record() {
    let desk = Desk::new();
    let server = desk.open();
    let (asker, bb) = server.freeze_midway();
    drop(asker);
    eventually("it is told", || {
        desk.story().contains(&"proof.synchronous abandoned".to_owned()).then_some(())
    });
    bb.signal(Signal::CONT);
    server.assert_well();
}

#[test]
fn a_log_that_cannot_be_had_keeps_the_server_from_starting() {
    let desk = Desk::new();
    let fails = |file: &Path, words: &str| {
        let failed = TestServer::fails_to_start(|s| s.flag("--audit", &file.display()));
        assert_eq!(failed.code, Some(1), "{}", failed.words);
        assert!(failed.words.contains(words), "{words:?} is not in: {}", failed.words);
    };
    fails(Path::new("/nonexistent/audit.jsonl"), "cannot be opened");
    fails(Path::new("/dev/full"), "cannot be written");
    fs::write(desk.at("notes"), "somebody's notes\n").unwrap();
    fails(&desk.at("notes"), "is damaged, or is none");
    assert_eq!(fs::read_to_string(desk.at("notes")).unwrap(), "somebody's notes\n");
    let server = desk.open();
    fails(&desk.log(), "is written by another process");
    server.assert_well();
}

#[test]
fn nothing_is_done_that_cannot_be_put_on_record() {
    if places::lacks_mount_namespaces() {
        return;
    }
    let desk = Desk::new();
    let small = desk.at("small");
    fs::create_dir(&small).unwrap();
    let server = TestServer::start(|s| {
        let mount = "mount -t tmpfs -o size=65536,mode=700 tmpfs \"$1\" && shift && exec \"$@\"";
        let mut wrapper = places::namespace(&["--mount"]);
        wrapper.args(["sh", "-c", mount, "sh"]).arg(&small);
        s.wrapper = Some(wrapper);
        s.flag("--audit", &small.join("audit.jsonl").display());
    });
    server.assert_well();
    let inside = |name: &str| -> PathBuf {
        format!("/proc/{}/root{}", server.pid(), small.join(name).display()).into()
    };
    let mut filler = fs::File::create(inside("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    drop(filler);

    // What is left of the log's last page takes some entries yet.
    let code = |answer: &Answer| answer.json()["code"].as_str().unwrap().to_owned();
    eventually("the log is full", || (code(&server.post(b"x")) == "audit_unavailable").then_some(()));
    let problem = server.post(&samples::range().witness).refused_for_now(ProblemType::AuditUnavailable);
    assert!(!problem.detail.contains("jsonl"), "a caller is told no path: {}", problem.detail);
    let told = server.health().problems;
    assert!(told.iter().any(|problem| problem.contains("audit log")), "{told:?}");
    fs::remove_file(inside("filler")).unwrap();
    eventually("work goes on", || (server.post(&samples::range().witness).status == 200).then_some(()));
    assert_eq!(server.health().problems, Vec::<String>::new());
    server.assert_well();

    fs::copy(inside("audit.jsonl"), desk.log()).unwrap();
    head(&verify(&desk.log(), &[]));
}

#[test]
fn the_verifier_of_the_docs_verifies_an_export() {
    if places::lacks_python() {
        return;
    }
    let desk = Desk::new();
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/AUDIT.md")).unwrap();
    let script = docs.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(script.lines().count() <= 16, "it is to be short");
    fs::write(desk.at("verify.py"), script).unwrap();
    let python = |file: &Path| run(Command::new("python3").arg(desk.at("verify.py")).arg(file));

    let server = desk.locked();
    server.posting(&samples::range().witness).header(headers::API_KEY, KEY).send().proof_of(samples::range());
    server.posting(b"x").header(headers::API_KEY, KEY).send().refused(ProblemType::WitnessNotGzip);
    server.posting(b"").send().refused(ProblemType::ApiKeyRequired);
    let (whole, piece) = (export(&server, ""), export(&server, "?after=1"));
    server.finish();
    for answer in [&whole, &piece] {
        fs::write(desk.at("export"), &answer.body).unwrap();
        let said = python(&desk.at("export"));
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert_eq!(format!("whole, head {}\n", head(&verify(&desk.at("export"), &[]))), said.out);
    }
    let text = String::from_utf8(whole.body).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let forged = [
        (text.replacen("key:alice", "key:bob", 1), "line 2"),
        (text.replacen("\"seq\":3}", "\"seq\":4}", 1), "line 3"),
        (format!("{}\n{}\n", lines[0], lines[2]), "line 2"),
        (text.replacen("{\"entry\"", "{ \"entry\"", 1), "line 1"),
    ];
    for (text, words) in forged {
        fs::write(desk.at("export"), text).unwrap();
        let said = python(&desk.at("export"));
        assert!(said.code == Some(1) && said.err.contains(words), "{words}: {}{}", said.out, said.err);
        assert!(verify(&desk.at("export"), &[]).out.contains(words), "both find it at the same place");
    }
}
