//! Metrics, in the text format of Prometheus.
//!
//! Every series is defined once, in [`SERIES`] or [`jobs::SERIES`], and each event that is counted has one function
//! here. No label takes a value that a caller chooses: circuits are those of the registry, routes are patterns, failures
//! are the codes of [`ProblemType`]. A user, an id, a path or an address is never a label.
//!
//! Counters and histograms exist from the start, at zero: [`Exposition::declare`]. A rate of a series that appears with
//! its first event misses that event.
//!
//! Without [`start`], as on the command line, recording costs nothing and has no effect.
//!
//! ```
//! use std::time::Duration;
//!
//! use edgeprove_telemetry::metrics;
//!
//! let exposition = metrics::start()?;
//! metrics::http_request("/livez", Some(200), None, Duration::from_millis(2));
//! assert!(exposition.render().contains(r#"edgeprove_http_requests_total{route="/livez",status="2xx"} 1"#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`mod@series`]: the definition of a series.
//! - [`jobs`]: series of jobs and of the proof cache.
//! - `declaration`: every series at zero.

mod declaration;
pub mod jobs;
pub mod series;

use std::{sync::OnceLock, time::Duration};

use edgeprove_protocol::{CircuitId, Priority, ProblemType, Target};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
pub use series::{Kind, Series};
use series::{render_seconds, series, text};

pub use self::declaration::Declared;
use crate::process::ProcessUse;

/// Media type of the text format.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets of every histogram, in seconds: from a refused request to the longest request.
pub const BUCKETS_S: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

series! {
    /// Requests, by route and class of status: `2xx` and so on, or `abandoned` where the client left before the answer.
    HTTP_REQUESTS = Counter "edgeprove_http_requests_total" ["route", "status"];
    /// Time from a request's head to its answer's head, by route and class of status.
    HTTP_DURATION = Histogram "edgeprove_http_request_duration_seconds" ["route", "status"];
    /// Answers that are a problem document, by route and code.
    HTTP_PROBLEMS = Counter "edgeprove_http_problems_total" ["route", "code"];
    /// Bytes of request bodies that arrived, of refused ones too.
    UPLOADED = Counter "edgeprove_upload_bytes_total" [];
    /// Proofs that were requested of a known circuit, by outcome: `success`, `caller_error` where the request or the
    /// witness was at fault, `server_error` where the service was, or `abandoned` where the client left.
    PROOFS = Counter "edgeprove_proofs_total" ["circuit", "target", "outcome"];
    /// Proofs that failed, by circuit and the problem's code.
    FAILURES = Counter "edgeprove_proof_failures_total" ["circuit", "code"];
    /// Duration of each stage of the proofs that succeeded: `queue`, `prove`, `verify`, and for synchronous requests
    /// `upload` and `total`. Proofs from the cache are not included.
    STAGES = Histogram "edgeprove_proof_stage_duration_seconds" ["circuit", "stage"];
    /// Proofs that run.
    PROOFS_ACTIVE = Gauge "edgeprove_proofs_active" [];
    /// Proofs that wait for a prover, by priority.
    PROOFS_WAITING = Gauge "edgeprove_proofs_waiting" ["priority"];
    /// 1 if `/readyz` answers 200, else 0.
    READY = Gauge "edgeprove_ready" [];
    /// Circuits by status: `loading`, `ready`, `failed`.
    CIRCUITS = Gauge "edgeprove_circuits" ["status"];
    /// Most memory that a bb process has used for a proof, by circuit and number of threads; 0 before the first one.
    CIRCUIT_MEMORY = Gauge "edgeprove_circuit_memory_peak_bytes" ["circuit", "threads"];
    /// Look-ups in the cache of verification keys: `hit`, `miss`.
    KEY_CACHE = Counter "edgeprove_key_cache_requests_total" ["result"];
    /// Memory that all provers together may use; 0 without a limit.
    MEMORY_MAX = Gauge "edgeprove_memory_max_bytes" [];
    /// Memory that is reserved for the proofs that run.
    MEMORY_RESERVED = Gauge "edgeprove_memory_reserved_bytes" [];
    /// Running bb processes.
    BB_PROCESSES = Gauge "edgeprove_prover_processes" [];
    /// Resident memory of all bb processes.
    BB_MEMORY = Gauge "edgeprove_prover_resident_memory_bytes" [];
    /// CPU time of all bb processes since the start, of those that ended too.
    BB_CPU = Counter "edgeprove_prover_cpu_seconds_total" [];
    /// bb processes that were replaced, by reason: `failed`, `stopped`, `invalid_proof`, and of healthy ones
    /// `proof_limit`, `memory_growth`, `memory_reclaim`.
    BB_RESTARTS = Counter "edgeprove_prover_restarts_total" ["reason"];
    /// Free space on the disk of a folder: `spool`, `keys`, and `data` where jobs are stored in a folder.
    DISK_FREE = Gauge "edgeprove_disk_free_bytes" ["folder"];
    /// Size of the disk of a folder.
    DISK_SIZE = Gauge "edgeprove_disk_size_bytes" ["folder"];
    /// Always 1; the labels are the versions that run.
    BUILD = Gauge "edgeprove_build_info" ["version", "bb", "noir", "architecture"];
    /// When the server started, in seconds since 1970.
    STARTED = Gauge "edgeprove_process_start_time_seconds" [];
    /// CPU time of the server since its start, without its bb processes.
    PROCESS_CPU = Counter "edgeprove_process_cpu_seconds_total" [];
    /// Resident memory of the server, without its bb processes.
    PROCESS_MEMORY = Gauge "edgeprove_process_resident_memory_bytes" [];
    /// Threads of the server.
    PROCESS_THREADS = Gauge "edgeprove_process_threads" [];
    /// Open files and sockets of the server.
    PROCESS_FILES = Gauge "edgeprove_process_open_fds" [];
    /// Most files and sockets that the server may open; 0 without a limit.
    PROCESS_FILES_MAX = Gauge "edgeprove_process_max_fds" [];
}

/// All series with their values, as text.
#[derive(Clone)]
pub struct Exposition(PrometheusHandle);

/// Starts recording, for the whole process. A second call returns the same exposition.
pub fn start() -> Result<Exposition, BuildError> {
    static STARTED: OnceLock<Exposition> = OnceLock::new();
    if let Some(started) = STARTED.get() {
        return Ok(started.clone());
    }
    let mut builder = PrometheusBuilder::new();
    for series in all().filter(|series| series.kind == Kind::Histogram) {
        builder = builder.set_buckets_for_metric(Matcher::Full(series.name.to_owned()), &BUCKETS_S)?;
    }
    let exposition = Exposition(builder.install_recorder()?);
    all().for_each(Series::describe);
    Ok(STARTED.get_or_init(|| exposition).clone())
}

/// Every series of the server.
pub fn all() -> impl Iterator<Item = &'static Series> {
    SERIES.iter().chain(jobs::SERIES).copied()
}

impl Exposition {
    /// All series, in the text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.0.render();
        render_seconds(&mut text);
        text
    }

    /// Moves recorded durations into their buckets. The server calls it every few seconds, because the memory of
    /// recorded durations would grow where no client calls [`Self::render`].
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// The outcome of a proof that was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The proof was returned.
    Success,
    /// It failed with this problem.
    Problem(ProblemType),
    /// It failed with this problem at a limit that its caller set, below that of the server.
    CallersLimit(ProblemType),
    /// The client left before it finished.
    Abandoned,
}

impl Outcome {
    /// Every value of the label `outcome`.
    pub const LABELS: [&str; 4] = ["success", "caller_error", "server_error", "abandoned"];

    /// The value of the label `outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Problem(kind) if is_callers_fault(kind) => "caller_error",
            Self::CallersLimit(_) => "caller_error",
            Self::Problem(_) => "server_error",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Whether a caller can avoid this problem: a success rate that counted it would show the callers and not the service.
#[must_use]
pub const fn is_callers_fault(problem: ProblemType) -> bool {
    problem.status() < 500 || matches!(problem, ProblemType::DeadlineCannotBeMet)
}

/// The classes of a status, and the one of a request that was not answered.
const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "abandoned"];

/// Counts a request that was answered, or whose client left (`status` is `None`). `route` is the pattern, never the
/// path.
pub fn http_request(route: &str, status: Option<u16>, problem: Option<ProblemType>, took: Duration) {
    let [informational, success, redirect, refused, failed, abandoned] = STATUS_CLASSES;
    let class = match status {
        Some(100..200) => informational,
        Some(200..300) => success,
        Some(300..400) => redirect,
        Some(400..500) => refused,
        Some(_) => failed,
        None => abandoned,
    };
    HTTP_REQUESTS.add(1, [text(route), class.into()]);
    HTTP_DURATION.record(took, [text(route), class.into()]);
    if let Some(kind) = problem {
        HTTP_PROBLEMS.add(1, [text(route), kind.code().into()]);
    }
}

/// Counts bytes of a request body.
pub fn uploaded(bytes: usize) {
    UPLOADED.add(bytes as u64, []);
}

/// Counts a proof that was requested, once it has an outcome.
pub fn proof_ended(circuit: &CircuitId, target: Target, outcome: Outcome) {
    PROOFS.add(1, [text(circuit.as_str()), target.as_str().into(), outcome.as_str().into()]);
    if let Outcome::Problem(kind) | Outcome::CallersLimit(kind) = outcome {
        FAILURES.add(1, [text(circuit.as_str()), kind.code().into()]);
    }
}

/// A part of a proof's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimedStage {
    /// The upload of the witness. Only synchronous requests have one.
    Upload,
    /// The wait for a prover.
    Queue,
    /// Proving.
    Prove,
    /// Verifying.
    Verify,
    /// The whole request, from its head to the proof. Only synchronous requests have it.
    Total,
}

impl TimedStage {
    /// Every stage, in order.
    pub const ALL: [Self; 5] = [Self::Upload, Self::Queue, Self::Prove, Self::Verify, Self::Total];

    /// The value of the label `stage`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Queue => "queue",
            Self::Prove => "prove",
            Self::Verify => "verify",
            Self::Total => "total",
        }
    }
}

/// Records how long one stage of a successful proof took. A stage that a proof did not have is not recorded.
pub fn record_stage(circuit: &CircuitId, stage: TimedStage, duration: Duration) {
    STAGES.record(duration, [text(circuit.as_str()), stage.as_str().into()]);
}

/// Counts a look-up in the cache of verification keys.
pub fn key_looked_up(found: bool) {
    KEY_CACHE.add(1, [if found { "hit" } else { "miss" }.into()]);
}

/// Sets how many proofs run, and how many wait, by [`Priority::level`].
pub fn proofs(active: usize, waiting: [usize; Priority::ALL.len()]) {
    PROOFS_ACTIVE.set(active as u64, []);
    for (priority, waiting) in Priority::ALL.into_iter().zip(waiting) {
        PROOFS_WAITING.set(waiting as u64, [priority.as_str().into()]);
    }
}

/// Sets whether the server is ready.
pub fn ready(ready: bool) {
    READY.set(u64::from(ready), []);
}

/// Sets the number of circuits by status.
pub fn circuits(loading: usize, ready: usize, failed: usize) {
    for (status, count) in [("loading", loading), ("ready", ready), ("failed", failed)] {
        CIRCUITS.set(count as u64, [status.into()]);
    }
}

/// Sets the measured memory peak of a circuit.
pub fn circuit_memory(circuit: &CircuitId, threads: usize, peak_bytes: u64) {
    CIRCUIT_MEMORY.set(peak_bytes, [text(circuit.as_str()), threads.to_string().into()]);
}

/// Sets the memory limit of the provers, and the memory that is reserved.
pub fn memory(max_bytes: Option<u64>, reserved_bytes: u64) {
    MEMORY_MAX.set(max_bytes.unwrap_or(0), []);
    MEMORY_RESERVED.set(reserved_bytes, []);
}

/// Sets the number of bb processes, their memory, and the CPU time of all that have run.
pub fn bb(processes: usize, resident_bytes: u64, cpu_seconds: f64) {
    BB_PROCESSES.set(processes as u64, []);
    BB_MEMORY.set(resident_bytes, []);
    BB_CPU.raise_seconds(cpu_seconds);
}

/// Sets how many bb processes were replaced since the start.
pub fn bb_restarts(reason: &'static str, count: u64) {
    BB_RESTARTS.set_count(count, [reason.into()]);
}

/// Sets free space and size of the disk of a folder.
pub fn disk(folder: &'static str, free_bytes: u64, size_bytes: u64) {
    DISK_FREE.set(free_bytes, [folder.into()]);
    DISK_SIZE.set(size_bytes, [folder.into()]);
}

/// Sets the versions that run, and when the server started, since 1970.
pub fn build(version: &'static str, bb: &str, noir: &'static str, started: Duration) {
    BUILD.set(1, [version.into(), text(bb), noir.into(), std::env::consts::ARCH.into()]);
    STARTED.set_s(started.as_secs_f64(), []);
}

/// Sets the resources that the server itself uses.
pub fn process(used: ProcessUse) {
    PROCESS_CPU.raise_seconds(used.cpu_seconds);
    PROCESS_MEMORY.set(used.resident_bytes, []);
    PROCESS_THREADS.set(used.threads, []);
    PROCESS_FILES.set(used.open_files, []);
    PROCESS_FILES_MAX.set(used.open_files_max.unwrap_or(0), []);
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fmt::Write as _};

    use edgeprove_protocol::answer::Timings;

    use super::*;

    const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/METRICS.md");
    const MARK: &str =
        "<!-- A test writes the tables below: EDGEPROVE_BLESS=1 cargo test -p edgeprove-telemetry docs -->\n";

    fn table(title: &str, series: &[&Series]) -> String {
        let mut doc = format!("\n## {title}\n\n| series | kind | labels | |\n|---|---|---|---|\n");
        for series in series {
            let labels: Vec<String> = series.labels.iter().map(|label| format!("`{label}`")).collect();
            let kind = format!("{:?}", series.kind).to_lowercase();
            let help = series.help.trim().trim_end_matches('.');
            writeln!(doc, "| `{}` | {kind} | {} | {help} |", series.name, labels.join(", ")).unwrap();
        }
        doc
    }

    #[test]
    fn the_docs_list_every_series() {
        let doc = std::fs::read_to_string(DOC).unwrap();
        let prose = doc.split(MARK).next().unwrap();
        let right = format!("{prose}{MARK}{}{}", table("Server", SERIES), table("Jobs", jobs::SERIES));
        if std::env::var_os("EDGEPROVE_BLESS").is_some() {
            std::fs::write(DOC, &right).unwrap();
        } else {
            assert!(
                doc == right,
                "docs/METRICS.md is out of date: run EDGEPROVE_BLESS=1 cargo test -p edgeprove-telemetry docs"
            );
        }
    }

    /// The words that begin like the name of a series.
    fn series_in(text: &str) -> impl Iterator<Item = &str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("edgeprove_") && !word.ends_with('_'))
    }

    #[test]
    fn queries_and_alerts_in_the_docs_name_series_that_exist() {
        let known: HashSet<&str> = all().map(|series| series.name).collect();
        let mut named = 0;
        for file in
            ["METRICS.md", "OPERATIONS.md", "API.md", "WEBHOOKS.md", "LOGGING.md", "DOCKER.md", "EDGE.md"]
        {
            let text = std::fs::read_to_string(std::path::Path::new(DOC).with_file_name(file)).unwrap();
            for word in series_in(&text) {
                let parts = ["_bucket", "_sum", "_count"];
                let histogram = parts.iter().find_map(|part| word.strip_suffix(part)).unwrap_or(word);
                assert!(known.contains(histogram), "{file}: there is no series {word}");
                named += 1;
            }
        }
        assert!(named > 40, "{named}");
    }

    #[test]
    fn stages_have_the_names_that_answers_use() {
        let names = Timings::default().stages().map(|(name, _)| name);
        assert_eq!(TimedStage::ALL.map(TimedStage::as_str), names);
    }

    #[test]
    fn names_follow_the_rules_and_are_unique() {
        let mut seen = HashSet::new();
        for series in all() {
            assert!(seen.insert(series.name), "{} is defined twice", series.name);
            assert!(series.name.starts_with("edgeprove_"));
            assert!(series.name.bytes().all(|byte| matches!(byte, b'_' | b'a'..=b'z' | b'0'..=b'9')));
            assert_eq!(series.kind == Kind::Counter, series.name.ends_with("_total"), "{}", series.name);
            assert_eq!(series.kind == Kind::Histogram, series.name.ends_with("_duration_seconds"));
            let words: Vec<&str> = series.name.split('_').collect();
            let has = |forbidden: &[&str]| words.iter().any(|word| forbidden.contains(word));
            assert!(
                !has(&["ms", "milliseconds", "us", "minutes", "kb", "mb", "mib", "percent"]),
                "a base unit"
            );
            assert!(!has(&["counter", "gauge", "histogram", "count", "sum", "bucket"]), "{}", series.name);
            let units = words.iter().filter(|word| ["seconds", "bytes"].contains(word)).count();
            let is_last = words.iter().rev().find(|word| **word != "total");
            assert!(
                units <= 1
                    && (units == 0 || is_last.is_some_and(|last| matches!(*last, "seconds" | "bytes")))
            );
        }
        assert!(BUCKETS_S.is_sorted());
    }

    #[test]
    fn a_refused_request_is_no_failure_of_the_service() {
        let label = |kind| Outcome::Problem(kind).as_str();
        assert_eq!(label(ProblemType::WitnessUnsatisfied), "caller_error");
        assert_eq!(label(ProblemType::DeadlineCannotBeMet), "caller_error");
        assert_eq!(label(ProblemType::ProverBusy), "server_error");
        for &kind in ProblemType::ALL {
            assert!(Outcome::LABELS.contains(&label(kind)));
            assert_eq!(Outcome::CallersLimit(kind).as_str(), "caller_error");
        }
    }
}
