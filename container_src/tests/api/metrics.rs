//! The metrics of a server that has had some traffic.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use edgeprove_protocol::{JobStatus, ProblemType, Target::NoirRecursive, headers};
use http::Method;
use rustix::process::Signal;

use crate::{
    jobs::JobServer,
    support::{Response, TestServer, eventually, samples},
};

/// The type and the labels of a series.
type Shape = (String, BTreeSet<String>);

/// A parsed response of `/metrics`.
pub(crate) struct Metrics {
    pub(crate) text: String,
    /// The kind of each series.
    pub(crate) kinds: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
}

impl Metrics {
    #[track_caller]
    pub(crate) fn fetch(server: &TestServer) -> Self {
        let response = server.get("/metrics");
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let text = String::from_utf8(response.body).unwrap();
        let kinds = text.lines().filter_map(|line| {
            let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
            Some((name.to_owned(), kind.to_owned()))
        });
        let values = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        });
        Self { kinds: kinds.collect(), values: values.collect(), text }
    }

    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        *self.values.get(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }

    /// Every exposed series, with its type and its labels.
    fn shapes(&self) -> BTreeMap<String, Shape> {
        let shape = |(name, kind): (&String, &String)| {
            let lines = self.values.keys().filter(|line| series_of(line, kind) == name);
            let labels = lines.flat_map(|line| labels(line)).filter(|label| label != "le").collect();
            (name.clone(), (kind.clone(), labels))
        };
        self.kinds.iter().map(shape).collect()
    }
}

/// The series that a line belongs to. A histogram has lines with three suffixes.
fn series_of<'a>(line: &'a str, kind: &str) -> &'a str {
    let name = line.split('{').next().unwrap();
    let parts = ["_bucket", "_sum", "_count"];
    let part = (kind == "histogram").then(|| parts.iter().find_map(|part| name.strip_suffix(part)));
    part.flatten().unwrap_or(name)
}

/// The names of the labels of a line. No label value of this server contains a comma or a quote.
fn labels(line: &str) -> Vec<String> {
    let inner = line.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
    inner.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect()
}

/// The series in a table of `docs/METRICS.md`.
fn documented(heading: &str) -> BTreeMap<String, Shape> {
    let doc = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/METRICS.md")).unwrap();
    let (_, table) = doc.split_once(&format!("\n## {heading}\n")).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let shape = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let unquoted = |text: &str| text.trim_matches('`').to_owned();
        let labels = cells[3].split(", ").filter(|label| !label.is_empty()).map(unquoted).collect();
        (unquoted(cells[1]), (cells[2].to_owned(), labels))
    };
    rows.map(shape).collect()
}

/// Sends requests of several kinds: a proof, two invalid witnesses, an unknown circuit, an unknown path.
#[track_caller]
fn send_requests(server: &TestServer) -> Response {
    let range = samples::range_check();
    let proof = server.prove(&range.witness);
    proof.assert_proves(range, NoirRecursive);
    server.prove(&samples::unsatisfied()).assert_refused(ProblemType::WitnessUnsatisfied);
    server.prove(b"no witness").assert_refused(ProblemType::WitnessNotGzip);
    server
        .prove_request_at("/api/prove/nothing", &range.witness)
        .send()
        .assert_refused(ProblemType::CircuitNotFound);
    server.get("/no/such/path").assert_refused(ProblemType::NotFound);
    proof
}

#[test]
fn exactly_the_documented_series_are_exposed() {
    let server = TestServer::start_default();
    let proof = send_requests(&server);
    let metrics = Metrics::fetch(&server);
    let (shapes, own, jobs) = (metrics.shapes(), documented("Server"), documented("Jobs"));
    assert!(own.len() > 20 && !jobs.is_empty());
    for (name, shape) in own.iter().chain(&jobs) {
        assert_eq!(shapes.get(name), Some(shape), "{name}");
    }
    for (name, shape) in &shapes {
        assert_eq!(
            own.get(name).or_else(|| jobs.get(name)),
            Some(shape),
            "{name} is not documented like this"
        );
        assert!(metrics.text.contains(&format!("# HELP {name} ")), "{name} has no help text");
    }
    assert!(!samples::contains_secret(metrics.text.as_bytes()), "the metrics contain a private value");
    assert!(!metrics.text.contains(proof.header(headers::REQUEST_ID)), "the metrics contain a request id");
    assert!(!metrics.text.contains("no/such"), "the metrics contain a path");
}

#[test]
fn every_series_exists_at_zero_from_the_start() {
    let server = TestServer::start_default();
    let metrics = Metrics::fetch(&server);
    let shapes = metrics.shapes();
    for (name, shape) in documented("Server").iter().chain(&documented("Jobs")) {
        assert_eq!(shapes.get(name), Some(shape), "{name}");
    }
    let circuit = r#"circuit="range_check""#;
    let mut zero = Vec::new();
    for outcome in ["success", "caller_error", "server_error", "abandoned"] {
        for target in ["noir-recursive", "evm"] {
            zero.push(format!(
                r#"edgeprove_proofs_total{{{circuit},target="{target}",outcome="{outcome}"}}"#
            ));
        }
    }
    for stage in ["upload", "queue", "prove", "verify", "total"] {
        zero.push(format!(r#"edgeprove_proof_stage_duration_seconds_count{{{circuit},stage="{stage}"}}"#));
    }
    for priority in ["LOW", "NORMAL", "HIGH", "CRITICAL"] {
        let kind = r#"kind="prove""#;
        zero.push(format!(r#"edgeprove_proofs_waiting{{priority="{priority}"}}"#));
        zero.push(format!(r#"edgeprove_jobs_accepted_total{{{kind},priority="{priority}"}}"#));
        zero.push(format!(r#"edgeprove_jobs_wait_duration_seconds_count{{{kind},priority="{priority}"}}"#));
    }
    for code in ProblemType::ALL.iter().map(|problem| problem.code()) {
        zero.push(format!(r#"edgeprove_proof_failures_total{{{circuit},code="{code}"}}"#));
        zero.push(format!(r#"edgeprove_http_problems_total{{route="/api/prove",code="{code}"}}"#));
    }
    zero.push(r#"edgeprove_http_requests_total{route="/v1/proofs/{id}",status="5xx"}"#.to_owned());
    for series in zero {
        assert!(metrics.value(&series) < f64::EPSILON, "{series}: {}", metrics.value(&series));
    }
}

#[test]
fn metrics_count_the_cpu_time_of_bb() {
    let server = TestServer::start_default();
    let cpu = || Metrics::fetch(&server).value("edgeprove_prover_cpu_seconds_total");
    let before = cpu();
    for _ in 0..3 {
        server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());
    }
    let after = eventually("bb has used CPU time", || Some(cpu()).filter(|&cpu| cpu > before));
    // The time of a bb that ends is not lost.
    for bb in server.provers() {
        bb.signal(Signal::KILL);
    }
    server.assert_healthy();
    assert!(cpu() >= after, "{} < {after}", cpu());
    assert!(Metrics::fetch(&server).value("edgeprove_process_cpu_seconds_total") > 0.0);
}

#[test]
fn metrics_count_requests_and_proofs() {
    let server = TestServer::start_default();
    send_requests(&server);
    let metrics = eventually("nothing runs any more", || {
        Some(Metrics::fetch(&server)).filter(|metrics| metrics.value("edgeprove_proofs_active") < 0.5)
    });
    let proofs = |outcome: &str| {
        let labels = format!(r#"circuit="range_check",target="noir-recursive",outcome="{outcome}""#);
        metrics.value(&format!("edgeprove_proofs_total{{{labels}}}"))
    };
    for (series, value) in [
        (r#"edgeprove_http_requests_total{route="/api/prove",status="2xx"}"#, 1.0),
        (r#"edgeprove_http_requests_total{route="/api/prove",status="4xx"}"#, 2.0),
        (r#"edgeprove_http_requests_total{route="unknown",status="4xx"}"#, 1.0),
        (r#"edgeprove_http_problems_total{route="/api/prove/{circuit}",code="circuit_not_found"}"#, 1.0),
        (r#"edgeprove_http_request_duration_seconds_count{route="/api/prove",status="2xx"}"#, 1.0),
        (r#"edgeprove_circuits{status="ready"}"#, 1.0),
        ("edgeprove_ready", 1.0),
        ("edgeprove_proofs_active", 0.0),
        (r#"edgeprove_proofs_waiting{priority="NORMAL"}"#, 0.0),
        (r#"edgeprove_prover_restarts_total{reason="failed"}"#, 0.0),
    ] {
        assert!((metrics.value(series) - value).abs() < f64::EPSILON, "{series}: {}", metrics.value(series));
    }
    for (outcome, count) in
        [("success", 1.0), ("caller_error", 2.0), ("server_error", 0.0), ("abandoned", 0.0)]
    {
        assert!((proofs(outcome) - count).abs() < f64::EPSILON, "{outcome}");
    }
    for code in ["witness_unsatisfied", "witness_not_gzip"] {
        let failures = format!(r#"edgeprove_proof_failures_total{{circuit="range_check",code="{code}"}}"#);
        assert!((metrics.value(&failures) - 1.0).abs() < f64::EPSILON, "{code}");
    }
    for stage in ["upload", "queue", "prove", "verify", "total"] {
        let of = |part: &str| {
            let labels = format!(r#"circuit="range_check",stage="{stage}""#);
            metrics.value(&format!("edgeprove_proof_stage_duration_seconds_{part}{{{labels}}}"))
        };
        assert!((of("count") - 1.0).abs() < f64::EPSILON, "{stage}");
        assert!(of("sum") < 600.0 && (stage != "prove" || of("sum") > 0.001), "{stage}: {} s", of("sum"));
    }
    let uploaded = metrics.value("edgeprove_upload_bytes_total");
    let one = u32::try_from(samples::range_check().witness.len()).unwrap();
    assert!(uploaded >= 2.0 * f64::from(one), "{uploaded}");
    let provers = metrics.value("edgeprove_prover_processes");
    assert!((provers - 3.0).abs() < f64::EPSILON);
    for series in [
        "edgeprove_prover_resident_memory_bytes",
        "edgeprove_process_resident_memory_bytes",
        r#"edgeprove_disk_free_bytes{folder="spool"}"#,
        "edgeprove_memory_max_bytes",
    ] {
        assert!(metrics.value(series) > 1e6, "{series}: {}", metrics.value(series));
    }
}

#[test]
fn a_request_whose_client_left_is_counted() {
    let server = TestServer::start_default();
    let (client, _bb) = server.suspend_mid_proof();
    drop(client);
    let left = r#"edgeprove_proofs_total{circuit="range_check",target="noir-recursive",outcome="abandoned"}"#;
    eventually("the request is counted", || {
        Metrics::fetch(&server).values.get(left).copied().filter(|&count| count >= 1.0)
    });
    let stopped = r#"edgeprove_prover_restarts_total{reason="stopped"}"#;
    eventually("its bb is replaced", || {
        Some(Metrics::fetch(&server).value(stopped)).filter(|&count| count >= 1.0)
    });
    assert!(
        Metrics::fetch(&server)
            .value(r#"edgeprove_http_requests_total{route="/api/prove",status="abandoned"}"#)
            >= 1.0
    );
    server.assert_healthy();
}

#[test]
fn metrics_need_no_edge_secret() {
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), "0123456789abcdef".to_owned()));
        s.wait_until_ready = true;
    });
    Metrics::fetch(&server);
    server.request(Method::GET, "/").send().assert_refused(ProblemType::NotFromTheEdge);
}

#[test]
fn the_series_of_jobs_have_their_values() {
    let jobs = JobServer::start(|s| s.flag("--job-workers", "1"));
    let witness = &samples::range_check().witness;
    let kind = r#"kind="prove""#;
    let provers: Vec<_> = jobs.server.provers().into_iter().filter(|bb| bb.suspend()).collect();
    let running = jobs.submit(witness);
    eventually("the job runs", || (jobs.job(&running).status == JobStatus::Running).then_some(()));
    let low = jobs.submission(witness).header(headers::PRIORITY, "LOW").send().assert_accepted();
    let unsatisfied = jobs.submit(&samples::unsatisfied());
    let cancelled = jobs.submit(witness);
    // The gauges are read from the queue from time to time.
    let assert_depths = |depths: [(&str, f64); 3]| {
        eventually("the gauges have their values", || {
            let metrics = Metrics::fetch(&jobs.server);
            let is_right = |(series, value): &(&str, f64)| {
                (metrics.value(&format!("edgeprove_jobs_{series}")) - value).abs() < f64::EPSILON
            };
            depths.iter().all(is_right).then_some(())
        });
    };
    let [normal, low_priority] =
        ["NORMAL", "LOW"].map(|priority| format!(r#"queued{{{kind},priority="{priority}"}}"#));
    let active = format!("running{{{kind}}}");
    assert_depths([(&normal, 2.0), (&low_priority, 1.0), (&active, 1.0)]);
    assert_eq!(jobs.server.request(Method::DELETE, &cancelled.links.this).send().status, 200);
    for bb in provers {
        bb.resume();
    }
    for job in [&running, &low, &unsatisfied] {
        jobs.wait_until_finished(job);
    }
    assert_depths([(&normal, 0.0), (&low_priority, 0.0), (&active, 0.0)]);
    let metrics = Metrics::fetch(&jobs.server);
    for (series, value) in [
        (r#"accepted_total{KIND,priority="NORMAL"}"#, 3.0),
        (r#"accepted_total{KIND,priority="LOW"}"#, 1.0),
        (r#"finished_total{KIND,outcome="completed"}"#, 2.0),
        (r#"finished_total{KIND,outcome="cancelled"}"#, 1.0),
        (r#"finished_total{KIND,outcome="caller_error"}"#, 1.0),
        (r#"finished_total{KIND,outcome="server_error"}"#, 0.0),
        (r#"failures_total{KIND,code="witness_unsatisfied"}"#, 1.0),
        ("leases_lost_total{KIND}", 0.0),
        (r#"wait_duration_seconds_count{KIND,priority="NORMAL"}"#, 2.0),
        (r#"wait_duration_seconds_count{KIND,priority="LOW"}"#, 1.0),
        ("run_duration_seconds_count{KIND}", 3.0),
    ] {
        let series = format!("edgeprove_jobs_{}", series.replace("KIND", kind));
        let found = metrics.value(&series);
        assert!((found - value).abs() < f64::EPSILON, "{series}: {found}, not {value}");
    }
    // Durations are those of the jobs: all of them waited for the suspended prover.
    assert!(
        metrics.value(&format!("edgeprove_jobs_wait_duration_seconds_sum{{{kind},priority=\"LOW\"}}")) > 0.0
    );
    assert!(metrics.value(&format!("edgeprove_jobs_run_duration_seconds_sum{{{kind}}}")) > 0.0);
    jobs.server.finish();
}
