//! The audit log: that it names the right actors, notices when its file changes, can be rotated and searched.

use std::{fs, thread, time::Duration};

use edgeprove_protocol::{JobDocument, JobStatus, ProblemType, headers};
use http::Method;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    audit::{AuditFolder, KEY, edgeprove, entries, export, head, run, verify},
    support::{Response, TestServer, client::Request, eventually, samples},
};

/// A request for a proof by the holder of a key.
fn prove_by(server: &TestServer, key: &str) -> Request {
    server.prove_request(&samples::range_check().witness).header(headers::API_KEY, key)
}

/// How many requests of this actor were refused for this reason.
fn refusals(entries: &[Value], actor: &str, outcome: &str) -> u64 {
    let is_one = |entry: &&Value| {
        entry["action"] == "key.refused" && entry["actor"] == actor && entry["outcome"] == outcome
    };
    entries.iter().filter(is_one).map(|entry| entry["times"].as_u64().unwrap_or(1)).sum()
}

#[test]
fn refusals_of_several_callers_keep_their_names() {
    let folder = AuditFolder::new();
    let server = folder.start_keyed();
    let urgent = |key: &str| {
        let request = prove_by(&server, key).header(headers::PRIORITY, "CRITICAL");
        request.send().assert_refused(ProblemType::NotAllowed);
    };
    // All within a second or two, and the last of them just before the end.
    for _ in 0..4 {
        prove_by(&server, "a guess").send().assert_refused(ProblemType::ApiKeyRequired);
        urgent("bob's");
        urgent("carol's");
        urgent("bob's");
    }
    server.finish();
    let entries = folder.entries();
    assert_eq!(refusals(&entries, "anonymous", "api_key_required"), 4, "{entries:?}");
    assert_eq!(refusals(&entries, "key:bob", "not_allowed"), 8, "{entries:?}");
    assert_eq!(refusals(&entries, "key:carol", "not_allowed"), 4, "{entries:?}");
    assert_eq!(entries.last().unwrap()["action"], "server.stopped");
}

#[test]
fn an_operators_cancel_is_recorded_as_the_operators() {
    let folder = AuditFolder::new();
    let keys = fs::read_to_string(folder.at("keys.toml")).unwrap();
    fs::write(folder.at("open.toml"), format!("[anonymous]\nallowed = true\n{keys}")).unwrap();
    let server = TestServer::start(|s| {
        folder.configure(s);
        s.flag("--keys-file", &folder.at("open.toml").display());
        s.flag("--data", &folder.at("data").display());
    });
    let status = |job: &JobDocument, key: &str| -> JobStatus {
        server.request(Method::GET, &job.links.this).header(headers::API_KEY, key).send().job().status
    };
    // A request without a key has all cores, so that a worker holds each job until it is cancelled.
    let (mut client, bb) = server.suspend_mid_proof();
    let jobs = [KEY, "bob's"].map(|canceller| {
        let submission = prove_by(&server, "bob's").header("prefer", "respond-async").send();
        let job: JobDocument = submission.assert_accepted();
        eventually("the job runs", || (status(&job, canceller) == JobStatus::Running).then_some(()));
        let request = server.request(Method::DELETE, &job.links.this).header(headers::API_KEY, canceller);
        assert_eq!(request.send().status, 202);
        eventually("the job is cancelled", || {
            (status(&job, canceller) == JobStatus::Cancelled).then_some(())
        });
        job
    });
    bb.resume();
    client.read_response().assert_proof_of(samples::range_check());
    let recorded = |job: &JobDocument| {
        let entries = folder.entries();
        let of_job = entries.into_iter().filter(|entry| entry["job_id"] == job.id.to_string());
        of_job.filter(|entry| entry["action"].as_str().unwrap().starts_with("job.cancel")).collect::<Vec<_>>()
    };
    let expected = [("key:alice", Value::from("key:bob")), ("key:bob", Value::Null)];
    for (job, (actor, owner)) in jobs.iter().zip(expected) {
        let cancels = eventually("both entries are written", || Some(recorded(job)).filter(|e| e.len() == 2));
        let actions: Vec<_> = cancels.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["job.cancel_requested", "job.cancelled"]);
        for entry in cancels {
            assert_eq!((&entry["actor"], &entry["owner"]), (&Value::from(actor), &owner), "{entry}");
        }
    }
    server.finish();
}

/// Expects that the server refuses work because of its log, and that health reports it.
#[track_caller]
fn assert_stopped(server: &TestServer) {
    let witness = &samples::range_check().witness;
    let problem = server.prove(witness).assert_refused_for_now(ProblemType::AuditUnavailable);
    assert!(!problem.detail.contains("jsonl"), "the problem contains a path: {}", problem.detail);
    let health = server.health();
    assert!(health.problems.iter().any(|problem| problem.contains("audit")), "{:?}", health.problems);
    assert!(!health.problems.concat().contains("jsonl"), "health contains a path: {:?}", health.problems);
}

#[track_caller]
fn assert_proves_again(server: &TestServer) {
    let witness = &samples::range_check().witness;
    eventually("the server proves again", || (server.prove(witness).status == 200).then_some(()));
    assert_eq!(server.health().problems, Vec::<String>::new());
}

#[test]
fn a_moved_replaced_or_cut_log_stops_work() {
    let folder = AuditFolder::new();
    let server = folder.start_open();
    let witness = &samples::range_check().witness;
    server.prove(witness).assert_proof_of(samples::range_check());
    fs::copy(folder.log(), folder.at("older")).unwrap();
    server.prove(witness).assert_proof_of(samples::range_check());

    fs::rename(folder.log(), folder.at("aside")).unwrap();
    assert_stopped(&server);
    fs::copy(folder.at("older"), folder.log()).unwrap();
    assert_stopped(&server);
    // A copy of the whole log is another file as well.
    fs::copy(folder.at("aside"), folder.log()).unwrap();
    assert_stopped(&server);
    fs::rename(folder.at("aside"), folder.log()).unwrap();
    assert_proves_again(&server);

    // The same file, overwritten by an older copy or with its last entry changed.
    let text = folder.text();
    let forged = text.replacen("\"outcome\":\"ok\"", "\"outcome\":\"no\"", 9);
    for content in [fs::read_to_string(folder.at("older")).unwrap(), forged, format!("{text}x")] {
        fs::write(folder.log(), content).unwrap();
        assert_stopped(&server);
        fs::write(folder.log(), &text).unwrap();
    }
    assert_proves_again(&server);
    server.finish();
    head(&verify(&folder.log(), &[]));
}

#[test]
fn a_proof_is_not_handed_out_if_the_log_moves_meanwhile() {
    let folder = AuditFolder::new();
    let server = folder.start_open();
    let (mut client, bb) = server.suspend_mid_proof();
    fs::rename(folder.log(), folder.at("aside")).unwrap();
    bb.resume();
    client.read_response().assert_refused_for_now(ProblemType::AuditUnavailable);
    fs::rename(folder.at("aside"), folder.log()).unwrap();
    assert_proves_again(&server);
    server.finish();
}

#[test]
fn a_log_is_rotated_at_sighup() {
    let folder = AuditFolder::new();
    let server = folder.start_open();
    server.prove(b"x").assert_refused(ProblemType::WitnessNotGzip);
    // Nothing was moved: nothing changes.
    server.signal(Signal::HUP);
    server.prove(b"x").assert_refused(ProblemType::WitnessNotGzip);
    fs::rename(folder.log(), folder.at("audit-1.jsonl")).unwrap();
    assert_stopped(&server);
    server.signal(Signal::HUP);
    eventually("the log is rotated", || folder.log().exists().then_some(()));
    assert_proves_again(&server);
    server.finish();

    let first = verify(&folder.at("audit-1.jsonl"), &[]);
    let second = verify(&folder.log(), &[]);
    assert!(second.stdout.contains(&format!("begins after: {}", head(&first))), "{}", second.stdout);
    assert_eq!(folder.actions()[0], "log.rotated");
    // Together they are one log, also after the next start.
    let server = folder.start_open();
    server.assert_healthy();
    server.finish();
    let whole = [fs::read(folder.at("audit-1.jsonl")).unwrap(), fs::read(folder.log()).unwrap()].concat();
    fs::write(folder.at("whole"), whole).unwrap();
    head(&verify(&folder.at("whole"), &[]));
}

/// The entries of an answer.
fn found(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{response:?}");
    entries(str::from_utf8(&response.body).unwrap())
}

/// The numbers of the lines of an answer.
fn numbers(text: &str) -> Vec<u64> {
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect()
}

#[test]
fn operators_search_the_log() {
    let folder = AuditFolder::new();
    let server = folder.start_keyed();
    let body = |key: &str| server.prove_request(b"x").header(headers::API_KEY, key);
    body("bob's").send().assert_refused(ProblemType::WitnessNotGzip);
    body("carol's").send().assert_refused(ProblemType::WitnessNotGzip);
    // Times in the log have milliseconds.
    thread::sleep(Duration::from_millis(5));
    let between = jiff::Timestamp::now().to_string();
    thread::sleep(Duration::from_millis(5));
    for _ in 0..3 {
        body("bob's").send().assert_refused(ProblemType::WitnessNotGzip);
    }
    // The log now has the entries 1 to 6: the start, then bob, carol and three times bob.
    for (query, wanted) in [
        ("actor=key:bob", &[2, 4, 5, 6][..]),
        ("actor=server", &[1]),
        ("actor=key:nobody", &[]),
        ("circuit=range_check", &[2, 3, 4, 5, 6]),
        ("circuit=other", &[]),
        ("action=server.started", &[1]),
        (&format!("since={between}"), &[4, 5, 6]),
        (&format!("until={between}&actor=key:bob"), &[2]),
        ("actor=key:bob&last=2", &[5, 6]),
        ("last=2", &[5, 6]),
        ("last=100", &[1, 2, 3, 4, 5, 6]),
        ("actor=key:bob&after=2&limit=1", &[4]),
    ] {
        let response = export(&server, &format!("?{query}"));
        assert_eq!(numbers(str::from_utf8(&response.body).unwrap()), wanted, "{query}");
        // The command finds the same.
        let flags: Vec<String> = query.split('&').map(|pair| format!("--{pair}")).collect();
        let exported = run(edgeprove(&["export"]).args(flags).env("EDGEPROVE_AUDIT", folder.log()));
        assert_eq!((exported.code, numbers(&exported.stdout).as_slice()), (Some(0), wanted), "{query}");
    }
    let invalid =
        ["actor=bob", "action=job", "since=yesterday", "last=1&after=2", "last=x", "circuit=../x", "who=bob"];
    for query in invalid {
        export(&server, &format!("?{query}")).assert_refused(ProblemType::InvalidRequest);
    }
    assert_eq!(
        run(edgeprove(&["export", "--actor", "bob"]).env("EDGEPROVE_AUDIT", folder.log())).code,
        Some(64)
    );
    server.finish();
}

#[test]
fn a_search_goes_on_page_by_page() {
    let folder = AuditFolder::new();
    let server = folder.start_keyed();
    for _ in 0..5 {
        let request = server.prove_request(b"x").header(headers::API_KEY, "bob's");
        request.send().assert_refused(ProblemType::WitnessNotGzip);
    }
    let (mut after, mut seen) = ("0".to_owned(), 0);
    loop {
        let page = export(&server, &format!("?limit=2&actor=key:bob&after={after}"));
        seen += found(&page).len();
        after = page.header(headers::AUDIT_NEXT).to_owned();
        if after.is_empty() {
            break;
        }
        assert_eq!(found(&page).len(), 2);
    }
    assert_eq!(seen, 5);
    server.finish();
}
