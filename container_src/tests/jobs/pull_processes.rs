//! Real provers that pull, each a process with its own bb: under faults of provers, server and clock.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use edgeprove_protocol::{JobId, JobStatus, Problem, ProblemType, Target};
use edgeprove_testkit::{
    TestServer,
    circuit_form::CircuitForm,
    clock::Clock,
    eventually,
    puller::{PullerSettings, TestPuller},
    reserved_port::ReservedPort,
    wait::{LONG_LIMIT, within},
};
use http::Method;
use rustix::process::Signal;

use crate::{
    pull_support::{FLEET, OTHERS, PullFolder, sample},
    support::{
        assert_none_twice, assert_proved, assert_whole, entries, submit_jobs, verified_entries,
        wait_until_all_finished, wait_until_completed, wait_until_running,
    },
};

fn url(server: &TestServer) -> String {
    format!("http://{}", server.address())
}

#[track_caller]
fn start_puller(server: &TestServer) -> TestPuller {
    TestPuller::start(&url(server), FLEET, |_| {})
}

/// The provers by whom each job was completed have ended it once, and the log is whole.
#[track_caller]
fn assert_log_is_whole(folder: &PullFolder, server: TestServer, jobs: &[JobId]) {
    server.finish();
    let entries = verified_entries(&folder.0.audit_log());
    assert_whole(jobs, &entries);
    assert_none_twice(&[entries]);
}

#[test]
fn two_provers_share_the_jobs() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let mut provers = [start_puller(&server), start_puller(&server)];
    provers.iter().for_each(TestPuller::wait_until_claiming);
    let jobs = submit_jobs(&server, sample(), 12);
    wait_until_all_finished(&server);
    assert_proved(&server, &jobs, sample());
    assert!(provers.iter().all(|prover| prover.started() > 0), "one prover has done all");
    eventually("the spools are empty", || {
        provers.iter().all(|prover| prover.spool_files().is_empty()).then_some(())
    });
    provers.iter_mut().for_each(TestPuller::finish);
    assert_log_is_whole(&folder, server, &jobs);
}

#[test]
fn the_jobs_of_a_prover_that_vanishes_go_to_others() {
    let folder = PullFolder::new();
    let server = folder.start_server("2s");
    let mut victim = TestPuller::start(&url(&server), FLEET, |settings| settings.flag("--concurrency", "3"));
    let jobs = submit_jobs(&server, sample(), 6);
    wait_until_running(&server, 1);
    victim.kill();
    let mut other = start_puller(&server);
    wait_until_all_finished(&server);
    assert_proved(&server, &jobs, sample());
    other.finish();
    assert_log_is_whole(&folder, server, &jobs);
}

/// Suspends every bb of a prover, so that its jobs keep running.
#[track_caller]
fn suspend(prover: &TestPuller) {
    let suspended = prover.provers().into_iter().filter(|bb| bb.suspend()).count();
    assert!(suspended > 0);
}

#[test]
fn a_prover_that_is_asked_to_end_finishes_its_jobs() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let mut prover = start_puller(&server);
    prover.wait_until_claiming();
    suspend(&prover);
    let jobs = submit_jobs(&server, sample(), 2);
    wait_until_running(&server, 1);
    prover.signal(Signal::TERM);
    eventually("it claims no more jobs", || {
        prover.log_lines().iter().any(|line| line["drain_s"].is_number()).then_some(())
    });
    prover.provers().into_iter().for_each(edgeprove_testkit::processes::Process::resume);
    assert_eq!(prover.wait_for_exit().code(), Some(0));
    assert_eq!(server.count_jobs(JobStatus::Completed), 1);
    assert_eq!(server.count_jobs(JobStatus::Queued), 1);
    let mut other = start_puller(&server);
    wait_until_all_finished(&server);
    other.finish();
    assert_log_is_whole(&folder, server, &jobs);
}

#[test]
fn a_prover_that_may_not_finish_returns_its_jobs() {
    let folder = PullFolder::new();
    // Not by the end of the lease.
    let server = folder.start_server("10m");
    let mut prover = TestPuller::start(&url(&server), FLEET, |settings| settings.flag("--drain", "0s"));
    prover.wait_until_claiming();
    suspend(&prover);
    let id = server.submit(sample());
    wait_until_running(&server, 1);
    prover.signal(Signal::TERM);
    eventually("the job is returned", || (server.job(id).status == JobStatus::Queued).then_some(()));
    assert_eq!(server.job(id).attempts, 0);
    assert_eq!(prover.wait_for_exit().code(), Some(0));
    let mut other = start_puller(&server);
    wait_until_all_finished(&server);
    other.finish();
    assert_log_is_whole(&folder, server, &[id]);
}

#[test]
fn a_cancelled_job_ends_its_bb() {
    let folder = PullFolder::new();
    let server = folder.start_server("3s");
    let mut prover = start_puller(&server);
    prover.wait_until_claiming();
    suspend(&prover);
    let before: BTreeSet<i32> = prover.provers().iter().map(|bb| bb.pid).collect();
    let id = server.submit(sample());
    eventually("the proof has started", || (server.job(id).stage.as_str() == "proving").then_some(()));
    assert_eq!(server.request(Method::DELETE, &format!("/v1/proofs/{id}")).send().status, 202);
    eventually("the job is cancelled", || (server.job(id).status == JobStatus::Cancelled).then_some(()));
    eventually("another bb is there", || {
        prover.provers().iter().any(|bb| !before.contains(&bb.pid)).then_some(())
    });
    // The prover goes on.
    prover.provers().into_iter().for_each(edgeprove_testkit::processes::Process::resume);
    let next = server.submit(sample());
    wait_until_all_finished(&server);
    assert_proved(&server, &[next], sample());
    prover.finish();
    assert_log_is_whole(&folder, server, &[id, next]);
}

#[test]
fn provers_work_on_while_the_server_is_away() {
    let folder = PullFolder::new();
    let port = ReservedPort::new();
    let start = || {
        TestServer::start(|settings| {
            folder.configure(settings, "20s");
            settings.flag("--listen", &port.address());
        })
    };
    let mut server = start();
    let mut provers = [start_puller(&server), start_puller(&server)];
    provers.iter().for_each(TestPuller::wait_until_claiming);
    // All are at work, and cannot end before the server is away.
    provers.iter().for_each(suspend);
    let jobs = submit_jobs(&server, sample(), 6);
    wait_until_running(&server, 2);
    server.kill();
    for prover in &provers {
        prover.provers().into_iter().for_each(edgeprove_testkit::processes::Process::resume);
        prover.provers().into_iter().for_each(edgeprove_testkit::processes::Process::resume);
        eventually("the outcome cannot be reported", || {
            prover
                .log_lines()
                .iter()
                .any(|line| line["level"] == "WARN" && line["job"].is_string())
                .then_some(())
        });
    }
    let server = start();
    wait_until_all_finished(&server);
    assert_proved(&server, &jobs, sample());
    for id in &jobs {
        assert_eq!(server.job(*id).attempts, 1, "work was thrown away");
    }
    provers.iter_mut().for_each(TestPuller::finish);
    server.finish();
    assert_none_twice(&[entries(&folder.0.audit_log())]);
}

#[test]
fn the_clock_of_a_prover_does_not_matter() {
    let folder = PullFolder::new();
    let server = folder.start_server("3s");
    let clocks = [Clock::new(), Clock::new()];
    clocks[0].set_offset(86_400);
    clocks[1].set_offset(-86_400);
    let mut provers = clocks.each_ref().map(|clock| {
        TestPuller::start(&url(&server), FLEET, |settings| settings.environment.extend(clock.environment()))
    });
    let jobs = submit_jobs(&server, sample(), 6);
    wait_until_all_finished(&server);
    assert_proved(&server, &jobs, sample());
    assert!(jobs.iter().all(|id| server.job(*id).attempts == 1));
    provers.iter_mut().for_each(TestPuller::finish);
}

#[test]
fn a_circuit_that_the_server_stores_is_fetched() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let form = CircuitForm::named("stored").with("program", fs::read(&sample().circuit).unwrap());
    let entry = form.publish(&server);
    let mut prover = TestPuller::start(&url(&server), FLEET, |settings| settings.circuit = None);
    let mut without =
        TestPuller::start(&url(&server), FLEET, |settings| settings.flag("--stored-circuits", "off"));
    let stored = edgeprove_testkit::Sample { name: entry.id.to_string(), ..sample().clone() };
    let jobs = submit_jobs(&server, &stored, 3);
    wait_until_all_finished(&server);
    for id in &jobs {
        let proof = server.get(&format!("/v1/proofs/{id}/proof")).assert_proof_of(&stored);
        let inputs = stored.public_inputs.as_flattened();
        assert!(edgeprove_testkit::bb::verifies(&stored.circuit, Target::NoirRecursive, &proof, inputs));
    }
    assert_eq!(without.started(), 0, "it takes no stored circuits");
    prover.finish();
    without.finish();
}

#[test]
fn a_refused_prover_ends_with_the_remedy() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let fails = |key: &str, change: &dyn Fn(&mut PullerSettings)| {
        TestPuller::start(&url(&server), key, |settings| change(settings)).fails()
    };
    for (_, key) in OTHERS {
        let (code, log) = fails(key, &|_| {});
        assert_eq!(code, Some(1));
        assert!(log.contains("not_allowed") && log.contains("`prover`"), "{log}");
    }
    let (code, log) = fails("nobody's key", &|_| {});
    assert!(code == Some(1) && log.contains("api_key_required"), "{log}");
    let (code, log) = fails(FLEET, &|settings| {
        settings.circuit = None;
        settings.flag("--stored-circuits", "off");
    });
    assert!(code == Some(64) && log.contains("--circuit"), "{log}");
}

#[test]
fn the_settings_of_a_prover_are_checked() {
    let start = |from: &str, flags: &[(&str, &str)]| {
        TestPuller::start(from, FLEET, |settings| {
            for (name, value) in flags {
                settings.flag(name, value);
            }
        })
        .fails()
    };
    for (from, flags, named) in [
        ("http://prover.example", &[][..], "--plain-http"),
        ("http://10.1.2.3:80", &[], "--plain-http"),
        ("ftp://127.0.0.1", &[], "--from"),
        ("https://127.0.0.1", &[("--concurrency", "0")], "--concurrency"),
        ("https://127.0.0.1", &[("--name", "a b")], "--name"),
        ("https://127.0.0.1", &[("--drain", "soon")], "--drain"),
    ] {
        let (code, log) = start(from, flags);
        assert_eq!(code, Some(64), "{log}");
        assert!(log.contains(named), "{named}: {log}");
        assert!(!log.contains(FLEET), "{log}");
    }
}

/// A server that gives this answer to every request.
fn hostile_server(answer: impl Fn(&mut std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            answer(&mut stream);
        }
    });
    format!("http://{address}")
}

fn write_problem(stream: &mut std::net::TcpStream, problem: &Problem) {
    let body = serde_json::to_string(problem).unwrap();
    let head = format!(
        "HTTP/1.1 {} X\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        problem.status,
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes());
}

#[test]
fn a_newer_server_makes_a_prover_end() {
    let detail = "this server speaks version 7 to 9: install the same version of edgeprove at both";
    let problem = Problem::new(ProblemType::ProverVersionMismatch, detail, None);
    let url = hostile_server(move |stream| write_problem(stream, &problem));
    let (code, log) = TestPuller::start(&url, FLEET, |_| {}).fails();
    assert_eq!(code, Some(1));
    assert!(log.contains("install the same version"), "{log}");
}

#[test]
fn a_prover_survives_a_server_that_talks_nonsense() {
    // Garbage, an answer without an end, one that breaks off, and a proxy that reports an error.
    let answers: [&str; 4] = [
        "HTTP/1.1 502 X\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops",
        "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{\"pro",
        "not HTTP at all\r\n\r\n",
        "HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
    ];
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let url = hostile_server(move |stream| {
        let next = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let _ = stream.write_all(answers[next % answers.len()].as_bytes());
    });
    let mut prover = TestPuller::start(&url, FLEET, |_| {});
    eventually("it has tried several times", || {
        let failed = prover.log_lines().iter().filter(|line| line["level"] == "WARN").count();
        (failed >= 5).then_some(())
    });
    prover.finish();
}

#[test]
fn an_endless_answer_is_cut_off() {
    let url = hostile_server(|stream| {
        let _ = stream
            .write_all(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n[");
        let spaces = vec![b' '; 1 << 16];
        while stream.write_all(&spaces).is_ok() {}
    });
    let (code, log) = TestPuller::start(&url, FLEET, |_| {}).fails();
    assert_eq!(code, Some(1));
    assert!(log.contains("larger than it may be"), "{log}");
}

#[test]
fn a_prover_answers_probes_where_it_is_asked_to() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let address = folder.0.path("address");
    let mut prover = TestPuller::start(&url(&server), FLEET, |settings| {
        settings.flag("--probe-listen", "127.0.0.1:0");
        settings.flag("--addr-file", &address.display());
    });
    let to = eventually("the address is written", || {
        fs::read_to_string(&address).ok()?.trim().parse::<std::net::SocketAddr>().ok()
    });
    let get = |path: &str| edgeprove_testkit::client::Request::new(to, Method::GET, path).send();
    assert_eq!(get("/livez").status, 200);
    eventually("it is ready", || (get("/readyz").status == 200).then_some(()));
    server.submit(sample());
    wait_until_completed(&server, 1);
    within(LONG_LIMIT, "the proof is counted", || {
        let metrics = String::from_utf8(get("/metrics").body).unwrap();
        metrics
            .lines()
            .any(|line| line.starts_with("edgeprove_proofs_total{") && line.ends_with(" 1"))
            .then_some(())
    });
    assert_eq!(get("/api/prove").status, 404);
    prover.finish();
}
