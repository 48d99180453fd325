//! What `/metrics` tells of a server that has had some traffic.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use edgeprove_protocol::{ProblemType, Target::NoirRecursive, headers};
use http::Method;

use crate::support::{Answer, TestServer, eventually, samples};

/// Kind and labels of a series.
type Shape = (String, BTreeSet<String>);

/// What an answer tells, by the names and labels of its lines.
struct Told {
    text: String,
    kinds: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
}

impl Told {
    #[track_caller]
    fn by(server: &TestServer) -> Self {
        let answer = server.get("/metrics");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let text = String::from_utf8(answer.body).unwrap();
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

    /// Every series that is told, with its kind and its labels.
    fn shapes(&self) -> BTreeMap<String, Shape> {
        let shape = |(name, kind): (&String, &String)| {
            let lines = self.values.keys().filter(|line| series_of(line, kind) == name);
            let labels = lines.flat_map(|line| labels(line)).filter(|label| label != "le").collect();
            (name.clone(), (kind.clone(), labels))
        };
        self.kinds.iter().map(shape).collect()
    }
}

/// The series that a line belongs to: a histogram has lines of three kinds.
fn series_of<'a>(line: &'a str, kind: &str) -> &'a str {
    let name = line.split('{').next().unwrap();
    let parts = ["_bucket", "_sum", "_count"];
    let part = (kind == "histogram").then(|| parts.iter().find_map(|part| name.strip_suffix(part)));
    part.flatten().unwrap_or(name)
}

/// The names of a line's labels. No value of ours holds a comma or a quote.
fn labels(line: &str) -> Vec<String> {
    let inner = line.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
    inner.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect()
}

/// The series of a table of `docs/METRICS.md`.
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

/// One of each: a proof, a witness that is none, one of another circuit, an unknown path.
#[track_caller]
fn traffic(server: &TestServer) -> Answer {
    let range = samples::range();
    let proof = server.post(&range.witness);
    proof.proves(range, NoirRecursive);
    server.post(&samples::unsatisfied()).refused(ProblemType::WitnessUnsatisfied);
    server.post(b"no witness").refused(ProblemType::WitnessNotGzip);
    server.posting_to("/api/prove/nothing", &range.witness).send().refused(ProblemType::CircuitNotFound);
    server.get("/no/such/path").refused(ProblemType::NotFound);
    proof
}

#[test]
fn every_documented_series_is_told_and_no_other() {
    let server = TestServer::plain();
    let proof = traffic(&server);
    eventually("what the proof took is told", || {
        Told::by(&server).kinds.contains_key("edgeprove_circuit_memory_peak_bytes").then_some(())
    });
    let told = Told::by(&server);
    let (shapes, own, jobs) = (told.shapes(), documented("Server"), documented("Jobs"));
    assert!(own.len() > 20 && !jobs.is_empty());
    for (name, shape) in &own {
        assert_eq!(shapes.get(name), Some(shape), "{name}");
    }
    for (name, shape) in &shapes {
        assert_eq!(own.get(name).or_else(|| jobs.get(name)), Some(shape), "{name} is not documented so");
        assert!(told.text.contains(&format!("# HELP {name} ")), "{name} is not explained");
    }
    assert!(!samples::shows_secret(told.text.as_bytes()), "a private value is told");
    assert!(!told.text.contains(proof.header(headers::REQUEST_ID)), "an id is told");
    assert!(!told.text.contains("no/such"), "a path is told");
}

#[test]
fn it_counts_what_happened() {
    let server = TestServer::plain();
    traffic(&server);
    let told = Told::by(&server);
    let proofs = |outcome: &str| {
        let labels = format!(r#"circuit="range_check",target="noir-recursive",outcome="{outcome}""#);
        told.value(&format!("edgeprove_proofs_total{{{labels}}}"))
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
        assert!((told.value(series) - value).abs() < f64::EPSILON, "{series}: {}", told.value(series));
    }
    for outcome in ["success", "witness_unsatisfied", "witness_not_gzip"] {
        assert!((proofs(outcome) - 1.0).abs() < f64::EPSILON, "{outcome}");
    }
    for stage in ["upload", "queue", "prove", "verify", "total"] {
        let of = |part: &str| {
            let labels = format!(r#"circuit="range_check",stage="{stage}""#);
            told.value(&format!("edgeprove_proof_stage_duration_seconds_{part}{{{labels}}}"))
        };
        assert!((of("count") - 1.0).abs() < f64::EPSILON, "{stage}");
        assert!(of("sum") < 60.0 && (stage != "prove" || of("sum") > 0.001), "{stage}: {} s", of("sum"));
    }
    let uploaded = told.value("edgeprove_upload_bytes_total");
    let one = u32::try_from(samples::range().witness.len()).unwrap();
    assert!(uploaded >= 2.0 * f64::from(one), "{uploaded}");
    let provers = told.value("edgeprove_prover_processes");
    assert!((provers - 3.0).abs() < f64::EPSILON);
    for series in [
        "edgeprove_prover_resident_memory_bytes",
        "edgeprove_process_resident_memory_bytes",
        r#"edgeprove_disk_free_bytes{folder="spool"}"#,
        "edgeprove_memory_max_bytes",
    ] {
        assert!(told.value(series) > 1e6, "{series}: {}", told.value(series));
    }
}

#[test]
fn a_client_that_leaves_is_counted_as_one() {
    let server = TestServer::plain();
    let (asker, _bb) = server.freeze_midway();
    drop(asker);
    let left = r#"edgeprove_proofs_total{circuit="range_check",target="noir-recursive",outcome="abandoned"}"#;
    eventually("it is counted", || Told::by(&server).values.get(left).copied().filter(|&count| count >= 1.0));
    let stopped = r#"edgeprove_prover_restarts_total{reason="stopped"}"#;
    eventually("its bb is replaced", || Some(Told::by(&server).value(stopped)).filter(|&count| count >= 1.0));
    assert!(
        Told::by(&server).value(r#"edgeprove_http_requests_total{route="/api/prove",status="left"}"#) >= 1.0
    );
    server.assert_well();
}

#[test]
fn it_is_open_where_requests_must_come_from_the_edge() {
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), "0123456789abcdef".to_owned()));
        s.wait_until_ready = true;
    });
    Told::by(&server);
    server.ask(Method::GET, "/").send().refused(ProblemType::NotFromTheEdge);
}
