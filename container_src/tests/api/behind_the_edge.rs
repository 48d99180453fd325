//! A server that shares a secret with its edge: who is let in, what is believed, and what the edge is told.

use std::{process::Command, time::Duration};

use edgeprove_protocol::{Load, ProblemType, Target, headers};
use http::Method;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Answer, Connection, TestServer, client::Ask, eventually, places, processes, samples, settings::Settings,
};

const SECRET: &str = "-4f1c/the+secret=of~this.edge";
const CLIENT: (&str, &str) = (headers::CLIENT_IP, "2001:db8::7");
const USER: (&str, &str) = (headers::AUTHENTICATED_USER, "alice-2.dev_x");

fn share_the_secret(settings: &mut Settings) {
    settings.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
}

/// A server with a secret, which its log must not show in the end.
struct Guarded(TestServer);

impl Guarded {
    #[track_caller]
    fn start(change: impl FnOnce(&mut Settings)) -> Self {
        Self(TestServer::start(|settings| {
            share_the_secret(settings);
            change(settings);
        }))
    }

    /// A request as the edge sends it.
    fn as_the_edge(&self, method: Method, path: &str) -> Ask {
        self.0.ask(method, path).header(headers::EDGE_SECRET, SECRET)
    }

    #[track_caller]
    fn finish(self) {
        let log = self.0.log();
        assert!(!log.contains(SECRET), "the log shows the secret");
        assert!(!log.contains(headers::EDGE_SECRET), "the log shows headers");
        self.0.finish();
    }
}

/// The one line that the log has of an answered request.
#[track_caller]
fn line_of(server: &TestServer, answer: &Answer) -> Value {
    let id = answer.header(headers::REQUEST_ID);
    assert!(!id.is_empty());
    let lines = requests(server).into_iter().filter(|line| line["span"]["request_id"] == id);
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["status"], answer.status.as_u16());
    lines[0].clone()
}

/// The log's lines of requests.
fn requests(server: &TestServer) -> Vec<Value> {
    let log = server.log();
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["message"].as_str().unwrap().starts_with("request")).collect()
}

#[track_caller]
fn load(answer: &Answer) -> Load {
    let text = answer.header(headers::PROVER_LOAD);
    text.parse().unwrap_or_else(|error| panic!("{error}: {text:?} in {answer:?}"))
}

const IDLE: Load = Load { running: 0, waiting: 0, cores: 2 };

#[test]
fn nobody_but_the_edge_is_let_in() {
    let guarded = Guarded::start(|s| s.flag("--cors-origin", "*"));
    let server = &guarded.0;
    let range = &samples::range().witness;
    let strangers = || {
        let get =
            ["/", "/api/health", "/health", "/problems/internal", "/nothing?/livez", "/livez/", "//readyz"];
        let mut asked: Vec<Ask> = get.iter().map(|path| server.ask(Method::GET, path)).collect();
        asked.push(server.posting(range));
        asked.push(server.posting_to("/api/prove/range_check", range));
        asked.push(server.ask(Method::DELETE, "/api/prove"));
        let preflight = server.ask(Method::OPTIONS, "/api/prove").header("origin", "https://app.example");
        asked.push(preflight.header("access-control-request-method", "POST"));
        asked
    };
    for ask in strangers() {
        let answer = ask.header(CLIENT.0, CLIENT.1).header(USER.0, USER.1).send();
        let problem = answer.refused(ProblemType::NotFromTheEdge);
        assert!(problem.detail.contains("from its edge only"), "{}", problem.detail);
        assert_eq!(load(&answer), IDLE);
        let line = line_of(server, &answer);
        assert_eq!(line["code"], "not_from_the_edge");
        assert!(
            line.get("client_ip").is_none() && line.get("user").is_none(),
            "a stranger is believed: {line}"
        );
    }
    let almost = [&SECRET[1..], &SECRET.to_uppercase(), &format!("{SECRET}x"), "", "EdgeSecret(…)"];
    for (ask, wrong) in strangers().into_iter().zip(almost.into_iter().cycle()) {
        let answer = ask.header(headers::EDGE_SECRET, wrong).header(CLIENT.0, CLIENT.1).send();
        let problem = answer.refused(ProblemType::NotFromTheEdge);
        assert!(problem.detail.contains("is not this server's"), "{}", problem.detail);
        assert!(!problem.detail.contains(SECRET));
        assert!(line_of(server, &answer).get("client_ip").is_none());
    }
    for ask in strangers() {
        let twice = ask.header(headers::EDGE_SECRET, "first").header(headers::EDGE_SECRET, SECRET);
        twice.send().refused(ProblemType::NotFromTheEdge);
    }
    guarded.finish();
}

#[test]
fn the_edge_is_let_in_and_believed() {
    let guarded = Guarded::start(|_| {});
    let server = &guarded.0;
    let range = samples::range();
    let mut ask = guarded.as_the_edge(Method::POST, "/api/prove").header("content-type", "application/gzip");
    ask.body.clone_from(&range.witness);
    let answer =
        ask.header(CLIENT.0, CLIENT.1).header(USER.0, USER.1).header("x-request-id", "edge-1").send();
    answer.proves(range, Target::NoirRecursive);
    assert_eq!(answer.header(headers::REQUEST_ID), "edge-1");
    assert_eq!(load(&answer), IDLE);
    let line = line_of(server, &answer);
    assert_eq!((&line["client_ip"], &line["user"]), (&CLIENT.1.into(), &USER.1.into()));
    assert!(line["prove_ms"].is_number(), "{line}");

    let refused = guarded.as_the_edge(Method::GET, "/nothing").header(CLIENT.0, "192.0.2.1").send();
    refused.refused(ProblemType::NotFound);
    let line = line_of(server, &refused);
    assert_eq!(line["client_ip"], "192.0.2.1");
    assert!(line.get("user").is_none(), "{line}");

    let long = "n".repeat(headers::USER_MAX_BYTES + 1);
    for (ip, user) in
        [("192.0.2.1, 192.0.2.2", "a b"), ("nowhere", "a\"b"), ("", ""), ("192.0.2.1:80", &long)]
    {
        let ask = guarded.as_the_edge(Method::GET, "/").header(CLIENT.0, ip).header(USER.0, user);
        let answer = ask.send();
        assert_eq!(answer.status, 200);
        let line = line_of(server, &answer);
        assert!(line.get("client_ip").is_none() && line.get("user").is_none(), "{line}");
    }
    guarded.finish();
}

#[test]
fn a_caller_who_leaves_is_named_as_well() {
    let guarded = Guarded::start(|_| {});
    let server = &guarded.0;
    let witness = &samples::range().witness;
    let provers = server.provers();
    assert!(provers.iter().all(|bb| bb.freeze()));
    let lines = [
        format!("Content-Length: {}", witness.len()),
        format!("X-Edge-Secret: {SECRET}"),
        format!("{}: {}", CLIENT.0, CLIENT.1),
    ];
    let lines = lines.each_ref().map(String::as_str);
    let mut asker = Connection::post_head(server.address(), "/api/prove", &lines);
    asker.send(witness);
    eventually("a proof is at work", || (load(&server.get("/livez")).running == 1).then_some(()));
    drop(asker);
    eventually("the log has a line of it", || {
        let left = requests(server).into_iter().find(|line| line["route"] == "/api/prove")?;
        assert!(left["message"].as_str().unwrap().contains("the client left"), "{left}");
        assert_eq!(left["client_ip"], CLIENT.1);
        Some(())
    });
    for bb in provers {
        bb.signal(Signal::CONT);
    }
    guarded.finish();
}

#[test]
fn probes_need_no_secret() {
    let guarded = Guarded::start(|_| {});
    let server = &guarded.0;
    for path in ["/livez", "/readyz"] {
        let asked = [
            server.ask(Method::GET, path),
            server.ask(Method::GET, path).header(headers::EDGE_SECRET, "another"),
            guarded.as_the_edge(Method::GET, path),
        ];
        for ask in asked {
            let answer = ask.send();
            assert_eq!(answer.status, 200);
            assert_eq!(load(&answer), IDLE);
        }
    }
    let ready = server.get("/readyz").json();
    assert_eq!(ready, serde_json::json!({ "status": "ready", "running": 0, "waiting": 0 }));

    for secret in ["", "short", SECRET] {
        let mut check = Command::new(places::edgeprove());
        check.env_clear().args(["healthcheck", "--listen", &server.address().to_string()]);
        let output = processes::run(check.env("EDGEPROVE_EDGE_SECRET", secret), Duration::from_secs(30));
        assert!(output.status.success(), "{output:?}");
    }
    guarded.finish();
}

#[test]
fn an_upload_of_a_stranger_is_refused_before_it_is_sent() {
    let guarded = Guarded::start(|_| {});
    let server = &guarded.0;
    // Nothing of the body is ever sent.
    let mut upload = Connection::post_head(server.address(), "/api/prove", &["Content-Length: 50000000"]);
    upload.answer().refused(ProblemType::NotFromTheEdge);
    let lines =
        ["Content-Length: 1000", "Expect: 100-continue", "X-Edge-Secret: another-secret-of-another-edge"];
    for _ in 0..20 {
        let mut upload = Connection::post_head(server.address(), "/api/prove", &lines);
        // The first answer there is: no 100 comes before it.
        upload.answer().refused(ProblemType::NotFromTheEdge);
    }
    // Such a client sends all of it before it listens.
    let large = vec![b'x'; 16 << 20];
    for path in ["/api/prove", "/nothing"] {
        server.posting_to(path, &large).send().refused(ProblemType::NotFromTheEdge);
    }
    assert!(server.spooled().is_empty());
    guarded.finish();
}

#[test]
fn without_a_secret_nobody_is_believed() {
    let server = TestServer::plain();
    let asked = [
        server.ask(Method::GET, "/"),
        server.ask(Method::GET, "/").header(headers::EDGE_SECRET, SECRET),
        server.ask(Method::GET, "/").header(headers::EDGE_SECRET, ""),
    ];
    for ask in asked {
        let answer = ask.header(CLIENT.0, CLIENT.1).header(USER.0, USER.1).send();
        assert_eq!(answer.status, 200);
        let line = line_of(&server, &answer);
        assert!(line.get("client_ip").is_none() && line.get("user").is_none(), "{line}");
    }
    assert!(!server.log().contains(SECRET));
}

#[test]
fn every_answer_says_how_busy_the_server_is() {
    let server = TestServer::start(|s| s.flag("--cors-origin", "*"));
    let (mut asker, bb) = server.freeze_midway();
    let waiter = Connection::post(server.address(), "/api/prove", &samples::range().witness);
    let busy = Load { running: 1, waiting: 1, cores: 2 };
    eventually("one waits", || (load(&server.get("/livez")) == busy).then_some(()));
    let answers = [
        server.get("/"),
        server.get("/readyz"),
        server.get("/api/health"),
        server.get("/nothing"),
        server.ask(Method::PUT, "/api/prove").send(),
        server.post(b"no witness"),
        server.ask(Method::OPTIONS, "/api/prove").header("origin", "https://app.example").send(),
    ];
    for answer in answers {
        assert_eq!(load(&answer), busy, "{answer:?}");
        let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
        assert!(!exposed.contains(headers::PROVER_LOAD), "pages may read it: {exposed}");
    }
    bb.signal(Signal::CONT);
    asker.answer().proof_of(samples::range());
    drop(waiter);
    eventually("nothing runs", || (load(&server.get("/livez")) == IDLE).then_some(()));
}

#[test]
fn a_secret_that_is_none_is_a_fault_and_not_quoted() {
    let long = "s".repeat(headers::EDGE_SECRET_MAX_BYTES + 1);
    for bad in ["", "fifteen-letters", "sixteen letters!", "0123456789abcdef\n", "0123456789abcdé-f", &long]
    {
        let failed = TestServer::fails_to_start(|s| {
            s.flag("--prover-queue-max", &0);
            s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), bad.to_owned()));
        });
        assert_eq!(failed.code, Some(64), "{}", failed.words);
        for words in
            ["2 errors", "--edge-secret (EDGEPROVE_EDGE_SECRET)", "16 to 256 printable", "--prover-queue-max"]
        {
            assert!(failed.words.contains(words), "{words:?} is not in: {}", failed.words);
        }
        assert!(
            bad.is_empty() || !failed.words.contains(bad.trim()),
            "the secret is quoted: {}",
            failed.words
        );
    }
    let failed = TestServer::fails_to_start(|s| s.flag("--edge-secret", "-4f1c"));
    assert_eq!(failed.code, Some(64), "{}", failed.words);
    assert!(!failed.words.contains("4f1c"), "{}", failed.words);
}

#[test]
fn help_does_not_show_the_secret() {
    for page in ["--help", "-h"] {
        let mut help = Command::new(places::edgeprove());
        help.env_clear().args(["serve", page]).env("EDGEPROVE_EDGE_SECRET", SECRET);
        let output = processes::run(&mut help, Duration::from_secs(30));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("EDGEPROVE_EDGE_SECRET") && !text.contains(SECRET), "{text}");
    }
}
