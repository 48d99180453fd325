//! The board: its stream, who may see it, lists of the jobs of all callers, and changes of many jobs at once.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    path::PathBuf,
};

use edgeprove_protocol::{
    JobDocument, JobStatus, ProblemType,
    board::BatchResult,
    headers,
    job::{JobPage, TimedStage},
};
use http::Method;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{
    jobs::{JobServer, document},
    support::{
        Response, TestServer, client::Request, eventually, processes::Process, samples, settings::Settings,
        wait,
    },
};

const ROLES: [(&str, &str); 3] = [("ops", "operator"), ("eyes", "observer"), ("bob", "user")];

/// A server whose callers have these roles. The key of each is its name.
struct Watched {
    jobs: JobServer,
    keys: PathBuf,
    _folder: TempDir,
}

impl Watched {
    #[track_caller]
    fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (keys, log) = (folder.path().join("keys.toml"), folder.path().join("audit.jsonl"));
        write_keys(&keys, &ROLES);
        let jobs = JobServer::start(|s| {
            s.flag("--keys-file", &keys.display());
            s.flag("--audit", &log.display());
            s.sample = None;
            change(s);
        });
        Self { jobs, keys, _folder: folder }
    }

    fn server(&self) -> &TestServer {
        &self.jobs.server
    }

    fn request(&self, who: &str, method: Method, path: &str) -> Request {
        self.server().request(method, path).header(headers::API_KEY, who)
    }

    #[track_caller]
    fn submit(&self, who: &str) -> JobDocument {
        let request = self.jobs.submission(&samples::range_check().witness);
        document(&request.header(headers::API_KEY, who).send())
    }

    /// All pages of a list.
    #[track_caller]
    fn list(&self, who: &str, query: &str) -> Vec<JobDocument> {
        let mut jobs = Vec::new();
        let mut next = Some(format!("/v1/proofs?{query}"));
        while let Some(path) = next {
            let response = self.request(who, Method::GET, &path).send();
            let page: JobPage = serde_json::from_slice(&response.body).unwrap_or_else(|error| {
                panic!("{path}: {error}: {}", String::from_utf8_lossy(&response.body))
            });
            jobs.extend(page.jobs);
            next = page.next;
        }
        jobs
    }

    /// All batches of a change, and their sum.
    #[track_caller]
    fn change(&self, path: &str) -> (BatchResult, usize) {
        let (mut sum, mut batches) = (BatchResult::default(), 0);
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let response = self.request("ops", Method::POST, &path).send();
            let batch: BatchResult = serde_json::from_slice(&response.body).unwrap_or_else(|error| {
                panic!("{path}: {error}: {}", String::from_utf8_lossy(&response.body))
            });
            assert_eq!(batch.total.is_some(), batches == 0, "the first batch has the total");
            sum.total = sum.total.or(batch.total);
            sum.changed += batch.changed;
            for (code, jobs) in batch.refused {
                *sum.refused.entry(code).or_default() += jobs;
            }
            (next, batches) = (batch.next, batches + 1);
        }
        (sum, batches)
    }

    #[track_caller]
    fn job(&self, job: &JobDocument) -> JobDocument {
        document(&self.request("ops", Method::GET, &job.links.this).send())
    }

    /// The actions of the audit log that concern this job, with their actors.
    #[track_caller]
    fn audited(&self, job: &JobDocument) -> Vec<(String, String)> {
        let log = self.request("ops", Method::GET, "/v1/audit?last=1000").send();
        let text = String::from_utf8(log.body).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["entry"].clone());
        let of_job = entries.filter(|entry| entry["job_id"] == job.id.to_string());
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
        of_job.map(|entry| (text(&entry, "action"), text(&entry, "actor"))).collect()
    }
}

fn write_keys(file: &std::path::Path, roles: &[(&str, &str)]) {
    let entry = |(name, role): &(&str, &str)| {
        format!("[keys.{name}]\nrole = '{role}'\nsha256 = ['{}']\n", hex::encode(Sha256::digest(name)))
    };
    fs::write(file, roles.iter().map(entry).collect::<String>()).unwrap();
}

/// The board for one viewer, with all sections as they were sent last.
struct Viewer {
    stream: BufReader<TcpStream>,
    sections: Map<String, Value>,
}

impl Viewer {
    #[track_caller]
    fn open(server: &TestServer, key: &str) -> Self {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
        let (host, header) = (server.address(), headers::API_KEY);
        write!(
            stream,
            "GET /v1/board/events HTTP/1.1\r\nHost: {host}\r\n{header}: {key}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut stream = BufReader::new(stream);
        let mut status = String::new();
        stream.read_line(&mut status).unwrap();
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        Self { stream, sections: Map::new() }
    }

    /// Reads the next event; `None` at the end of the stream. An event is a chunk of its own, so its lines are whole.
    fn next(&mut self) -> Option<BTreeSet<String>> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data:") {
                let changed: Map<String, Value> = serde_json::from_str(data.trim()).unwrap();
                let names = changed.keys().cloned().collect();
                self.sections.extend(changed);
                return Some(names);
            }
        }
    }

    /// Reads until the board shows this.
    #[track_caller]
    fn wait_for(&mut self, what: &str, condition: impl Fn(&Map<String, Value>) -> bool) {
        while !condition(&self.sections) {
            assert!(self.next().is_some(), "the stream ended before: {what}: {:?}", self.sections);
        }
    }
}

fn assert_invalid(response: &Response) -> String {
    response.assert_refused(ProblemType::InvalidRequest).detail
}

#[test]
fn the_board_shows_jobs_provers_and_problems() {
    let watched = Watched::start(|_| {});
    let server = watched.server();
    let mut viewer = Viewer::open(server, "eyes");
    let first = viewer.next().unwrap();
    for section in
        ["server", "jobs", "provers", "proofs", "history", "cache", "problems", "circuits", "caller"]
    {
        assert!(first.contains(section), "{section} is missing: {first:?}");
    }
    let caller = &viewer.sections["caller"];
    assert_eq!((&caller["name"], &caller["role"]), (&"eyes".into(), &"observer".into()));
    assert_eq!((&caller["sees_all_jobs"], &caller["may_operate"]), (&true.into(), &false.into()));
    assert_eq!(viewer.sections["circuits"]["circuits"][0]["id"], "range_check");
    assert_eq!(viewer.sections["provers"]["cores"], 2);

    let job = watched.submit("bob");
    viewer.wait_for("the job is completed", |board| board["jobs"]["statuses"]["completed"] == 1);
    viewer.wait_for("the proof is counted", |board| board["proofs"]["all"]["success"] == 1);
    viewer.wait_for("its minute", |board| board["history"]["points"][0]["success"] == 1);
    let points = viewer.sections["history"]["points"].as_array().unwrap();
    assert!(points[0]["duration_ms"]["p99"].as_f64().unwrap() > 0.0, "{points:?}");
    assert!(!viewer.sections["provers"]["processes"].as_array().unwrap().is_empty());

    let unsatisfied = server.prove_request(&samples::unsatisfied()).header(headers::API_KEY, "bob").send();
    unsatisfied.assert_refused(ProblemType::WitnessUnsatisfied);
    viewer.wait_for("the problem", |board| board["problems"][0]["code"] == "witness_unsatisfied");
    let text = serde_json::to_string(&viewer.sections).unwrap();
    assert!(!text.contains(&job.id.to_string()) && !text.contains("bob"), "the board names a job: {text}");
}

#[test]
fn viewers_share_the_work_and_are_bounded() {
    let watched = Watched::start(|s| {
        s.flag("--watchers", "3");
        s.flag("--watchers-per-caller", "2");
    });
    let server = watched.server();
    let mut viewers = [Viewer::open(server, "eyes"), Viewer::open(server, "eyes")];
    for viewer in &mut viewers {
        viewer
            .wait_for("both watch", |board| board.get("server").is_some_and(|server| server["viewers"] == 2));
    }
    let third = watched.request("eyes", Method::GET, "/v1/board/events").send();
    third.assert_refused_for_now(ProblemType::RateLimited);
    let _other = Viewer::open(server, "bob");
    let full = watched.request("ops", Method::GET, "/v1/board/events").send();
    full.assert_refused_for_now(ProblemType::TooManyWatchers);
    // A caller that leaves frees a slot.
    drop(viewers);
    eventually("a slot is free", || {
        let response = watched.request("ops", Method::HEAD, "/v1/board/events").send();
        (response.status == 200).then_some(())
    });
}

#[test]
fn a_board_ends_with_its_key_and_shows_a_new_role() {
    let watched = Watched::start(|_| {});
    let mut ended = Viewer::open(watched.server(), "bob");
    let mut promoted = Viewer::open(watched.server(), "eyes");
    ended.next().unwrap();
    promoted.next().unwrap();
    write_keys(&watched.keys, &[("ops", "operator"), ("eyes", "operator")]);
    while ended.next().is_some() {}
    promoted.wait_for("the new role", |board| board["caller"]["may_operate"] == true);
    let refused = watched.request("bob", Method::GET, "/v1/board/events").send();
    refused.assert_refused(ProblemType::ApiKeyRequired);
}

#[test]
fn observers_see_all_jobs_and_change_nothing() {
    let watched = Watched::start(|s| s.flag("--job-workers", "1"));
    let server = watched.server();
    let (_running, provers) = suspended(&watched);
    let job = watched.submit("bob");
    let listed = watched.list("eyes", "owner=all&status=queued");
    assert_eq!((listed[0].id, listed[0].owner.as_deref()), (job.id, Some("key:bob")));
    assert_eq!(document(&watched.request("eyes", Method::GET, &job.links.this).send()).id, job.id);
    assert!(watched.list("bob", "limit=1")[0].owner.is_none(), "a caller knows who it is");

    let refused = |who: &str, method: Method, path: &str| {
        watched.request(who, method, path).send().assert_refused(ProblemType::NotAllowed).detail
    };
    for (method, path) in [
        (Method::DELETE, job.links.this.clone()),
        (Method::GET, job.links.proof.clone()),
        (Method::POST, format!("{}/retry", job.links.this)),
        (Method::POST, "/v1/board/cancel?owner=all".to_owned()),
        (Method::POST, "/v1/board/retry?owner=all".to_owned()),
        (Method::GET, "/v1/audit".to_owned()),
    ] {
        refused("eyes", method, &path);
    }
    let request = server.prove_request(&samples::range_check().witness).header(headers::API_KEY, "eyes");
    let detail = request.send().assert_refused(ProblemType::NotAllowed).detail;
    assert!(detail.contains("only reads"), "{detail}");
    // Others see their own jobs only.
    for query in ["owner=all", "owner=key:ops", "kind=build", "kind=all"] {
        refused("bob", Method::GET, &format!("/v1/proofs?{query}"));
    }
    for path in ["/v1/board/cancel", "/v1/board/retry"] {
        refused("bob", Method::POST, path);
    }
    for prover in &provers {
        prover.resume();
    }
}

/// Suspends every bb, and submits a job of bob that waits for one.
fn suspended(watched: &Watched) -> (JobDocument, Vec<Process>) {
    let provers = watched.server().provers();
    for prover in &provers {
        prover.suspend();
    }
    let job = watched.submit("bob");
    eventually("the job runs", || (watched.job(&job).status == JobStatus::Running).then_some(()));
    (job, provers)
}

#[test]
fn filters_select_jobs_in_both_orders() {
    let watched = Watched::start(|s| s.flag("--job-workers", "1"));
    let jobs: Vec<_> = ["bob", "ops", "bob"].iter().map(|who| watched.submit(who)).collect();
    let last = jobs.last().unwrap();
    eventually("all are completed", || {
        jobs.iter().all(|job| watched.job(job).status == JobStatus::Completed).then_some(())
    });
    let ids = |query: &str| -> Vec<_> { watched.list("ops", query).iter().map(|job| job.id).collect() };
    let all: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let reversed: Vec<_> = all.iter().rev().copied().collect();
    assert_eq!(ids("owner=all&limit=1"), reversed);
    assert_eq!(ids("owner=all&limit=2&order=oldest"), all);
    assert_eq!(ids("limit=1"), [all[1]], "by default a caller's own");
    assert_eq!(ids("owner=key:bob"), [all[2], all[0]]);
    let prefix = &last.id.to_string()[..13];
    assert_eq!(ids(&format!("owner=all&id={prefix}&circuit=range_check&status=queued,completed")), [last.id]);
    assert_eq!(ids("owner=all&kind=all&max_age=3600&priority=NORMAL"), reversed);
    for query in
        ["status=failed", "min_age=3600", "kind=build", "circuit=other", "priority=HIGH", "problem=internal"]
    {
        assert!(ids(&format!("owner=all&{query}")).is_empty(), "{query}");
    }
    let page = watched.request("ops", Method::GET, "/v1/proofs?owner=all&limit=1&total=true").send().json();
    assert_eq!((&page["total"], page["jobs"].as_array().unwrap().len()), (&3.into(), 1));
    for (query, part) in [
        ("status=lost", "`status` must be one of"),
        ("status=queued,queued,queued,queued,queued,queued,queued", "at most once"),
        ("id=%25", "`id`"),
        ("problem=nothing", "`problem`"),
        ("order=random", "`order`"),
        ("priority=URGENT", "`priority`"),
        ("kind=other", "`kind`"),
        ("max_age=99999999999", "`max_age`"),
        ("min_age=-1", "the query allows"),
        ("color=red", "the query allows"),
    ] {
        let response = watched.request("ops", Method::GET, &format!("/v1/proofs?owner=all&{query}")).send();
        let detail = assert_invalid(&response);
        assert!(detail.contains(part), "{query}: {detail}");
    }
}

#[test]
fn a_job_shows_the_times_of_its_stages() {
    use TimedStage::{Load, Prove, Queue, Upload, Verify, Witness};

    let watched = Watched::start(|_| {});
    let body = serde_json::json!({
        "circuitId": "range_check", "privateInputs": { "value": 42 }, "publicInputs": { "min": 18, "max": 120 },
    });
    let request = watched.request("bob", Method::POST, "/v1/proofs");
    let mut request = request.header("content-type", "application/json");
    request.body = body.to_string().into_bytes();
    let job = document(&request.send());
    let done = eventually("the job is completed", || {
        Some(watched.job(&job)).filter(|job| job.status == JobStatus::Completed)
    });
    let stages: Vec<_> = done.stages.iter().map(|bar| bar.stage).collect();
    assert_eq!(stages, [Upload, Witness, Queue, Load, Prove, Verify], "{:?}", done.stages);
    assert!(done.stages.iter().all(|bar| bar.duration_ms.is_some_and(|ms| ms >= 0.0)));
    assert!(done.stages.is_sorted_by(|a, b| a.started_at <= b.started_at), "{:?}", done.stages);
    let prove = &done.stages[4];
    assert!(prove.duration_ms.unwrap() > 1.0, "{prove:?}");
}

#[test]
fn operators_cancel_a_filtered_set_in_batches() {
    let watched = Watched::start(|s| s.flag("--job-workers", "1"));
    let (running, _provers) = suspended(&watched);
    let queued: Vec<_> = (0..5).map(|_| watched.submit("bob")).collect();
    let own = watched.submit("ops");
    let (sum, batches) = watched.change("/v1/board/cancel?owner=key:bob&status=queued&limit=2");
    assert_eq!((sum.total, sum.changed, sum.refused.len(), batches), (Some(5), 5, 0, 3));
    assert_eq!(watched.list("ops", "owner=all&status=queued")[0].id, own.id);
    for job in &queued {
        assert_eq!(watched.job(job).status, JobStatus::Cancelled);
    }
    let audited = watched.audited(&queued[0]);
    let by = |action: &str| audited.iter().find(|(name, _)| name == action).map(|(_, actor)| actor.as_str());
    assert_eq!(by("job.cancelled"), Some("key:ops"), "{audited:?}");
    assert_eq!(by("job.cancel_requested"), Some("key:ops"));

    // A running job ends when its worker stops. Nothing else is left.
    let (sum, _) = watched.change("/v1/board/cancel?owner=all");
    assert_eq!((sum.total, sum.changed), (Some(2), 2));
    eventually("its worker has stopped", || {
        (watched.job(&running).status == JobStatus::Cancelled).then_some(())
    });
    let (sum, batches) = watched.change("/v1/board/cancel?owner=all");
    assert_eq!((sum, batches), (BatchResult { total: Some(0), ..BatchResult::default() }, 1));
    for query in ["status=completed", "kind=build", "limit=101", "limit=0"] {
        let response = watched.request("ops", Method::POST, &format!("/v1/board/cancel?owner=all&{query}"));
        assert_invalid(&response.send());
    }
}

/// A witness that the circuit refuses, so that its job fails.
fn submit_failing(watched: &Watched) -> JobDocument {
    let request = watched.jobs.submission(&samples::unsatisfied()).header(headers::API_KEY, "bob");
    let job = document(&request.send());
    eventually("the job has failed", || Some(watched.job(&job)).filter(|job| job.status == JobStatus::Failed))
}

#[test]
fn a_failed_job_is_retried_while_its_witness_is_there() {
    let watched = Watched::start(|s| s.flag("--failed-witness-ttl", "1h"));
    let failed = submit_failing(&watched);
    let listed = &watched.list("ops", "owner=all&status=failed&problem=witness_unsatisfied")[0];
    assert!(listed.id == failed.id && listed.retry_until.is_some(), "{listed:?}");
    let path = format!("{}/retry", failed.links.this);
    let again = document(&watched.request("ops", Method::POST, &path).send());
    assert!(!again.status.is_finished() || again.status == JobStatus::Failed, "{again:?}");
    let twice = eventually("it has failed again", || {
        let audited = watched.audited(&failed);
        let failures = audited.iter().filter(|(action, _)| action == "job.failed").count();
        (failures == 2).then_some(audited)
    });
    let actions: Vec<_> = twice.iter().map(|(action, _)| action.as_str()).collect();
    let expected = ["job.accepted", "job.started", "job.failed", "job.requeued", "job.started", "job.failed"];
    assert_eq!(actions, expected);
    assert_eq!(twice[3].1, "key:ops");

    let (sum, _) = watched.change("/v1/board/retry?owner=all");
    assert_eq!((sum.total, sum.changed), (Some(1), 1));
    let completed = watched.submit("bob");
    eventually("it is completed", || (watched.job(&completed).status == JobStatus::Completed).then_some(()));
    let path = format!("{}/retry", completed.links.this);
    let problem =
        watched.request("ops", Method::POST, &path).send().assert_refused(ProblemType::JobNotRetryable);
    assert!(problem.detail.contains("is completed"), "{}", problem.detail);
    let unknown = "/v1/proofs/00000000-0000-4000-8000-000000000000/retry";
    watched.request("ops", Method::POST, unknown).send().assert_refused(ProblemType::JobNotFound);
}

#[test]
fn a_job_whose_witness_is_gone_is_not_retried() {
    let watched = Watched::start(|_| {});
    let failed = submit_failing(&watched);
    assert_eq!(watched.list("ops", "owner=all")[0].retry_until, None);
    let path = format!("{}/retry", failed.links.this);
    let problem =
        watched.request("ops", Method::POST, &path).send().assert_refused(ProblemType::JobNotRetryable);
    assert!(problem.detail.contains("--failed-witness-ttl"), "{}", problem.detail);
    let (sum, _) = watched.change("/v1/board/retry?owner=all");
    assert_eq!((sum.total, sum.changed, sum.refused["job_not_retryable"]), (Some(1), 0, 1));
}
