//! Metrics, in the text format of Prometheus.
//!
//! Every series is written down once, in [`SERIES`] or [`jobs::SERIES`], and every room that has something to tell calls
//! a function here. No label can take a value that a caller chooses: circuits are those of the registry, routes are
//! patterns, outcomes are the codes of [`ProblemType`]. A user, an id, a path or an address is never one.
//!
//! Without [`start`], as on the command line, telling costs nothing and goes nowhere.
//!
//! - [`mod@series`]: what a series is.
//! - [`jobs`]: what the jobs' room tells.

pub mod jobs;
pub mod series;

use std::{sync::OnceLock, time::Duration};

use edgeprove_protocol::{CircuitId, Priority, ProblemType, Target, answer::Timings};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
pub use series::{Kind, Series};
use series::{series, text};

use super::process::ProcessUse;

/// Media type of the text format.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of every histogram of durations, in seconds: from a refused request to the longest a request may take.
pub const BUCKETS_S: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

series! {
    /// Requests answered, by route and class of status (`2xx` and so on; `left` where the client did not wait).
    HTTP_REQUESTS = Counter "edgeprove_http_requests_total" ["route", "status"];
    /// From a request's head to its answer's, by route and class of status.
    HTTP_DURATION = Histogram "edgeprove_http_request_duration_seconds" ["route", "status"];
    /// Requests answered with a problem, by route and code.
    HTTP_PROBLEMS = Counter "edgeprove_http_problems_total" ["route", "code"];
    /// Bytes of bodies that arrived, whether they were kept or refused.
    UPLOADED = Counter "edgeprove_upload_bytes_total" [];
    /// Requests for a proof of a circuit there is, by how they ended: `success`, a problem's code, or `abandoned` where the client left.
    PROOFS = Counter "edgeprove_proofs_total" ["circuit", "target", "outcome"];
    /// Where the time of proofs that succeeded went: `upload`, `queue`, `prove`, `verify`, `total`.
    STAGES = Histogram "edgeprove_proof_stage_duration_seconds" ["circuit", "stage"];
    /// Proofs at work.
    PROOFS_ACTIVE = Gauge "edgeprove_proofs_active" [];
    /// Requests that wait for a prover, by priority.
    PROOFS_WAITING = Gauge "edgeprove_proofs_waiting" ["priority"];
    /// Whether proofs can be made: 1 or 0, as `/readyz` says.
    READY = Gauge "edgeprove_ready" [];
    /// Circuits by status: `loading`, `ready`, `failed`.
    CIRCUITS = Gauge "edgeprove_circuits" ["status"];
    /// The most memory that a bb took for a proof, by circuit and threads, as measured.
    CIRCUIT_MEMORY = Gauge "edgeprove_circuit_memory_peak_bytes" ["circuit", "threads"];
    /// Looks into the cache of verification keys: `hit`, `miss`.
    KEY_CACHE = Counter "edgeprove_key_cache_requests_total" ["result"];
    /// Memory that provers may take together; without a limit 0.
    MEMORY_MAX = Gauge "edgeprove_memory_max_bytes" [];
    /// Memory that the proofs at work are expected to take at most.
    MEMORY_RESERVED = Gauge "edgeprove_memory_reserved_bytes" [];
    /// bb processes.
    BB_PROCESSES = Gauge "edgeprove_prover_processes" [];
    /// Resident memory of all bb processes.
    BB_MEMORY = Gauge "edgeprove_prover_resident_memory_bytes" [];
    /// bb processes put in the place of others, by reason: `failed`, `stopped`, `distrusted`, and, of healthy ones, `worn`, `grown`, `shed`.
    BB_RESTARTS = Counter "edgeprove_prover_restarts_total" ["reason"];
    /// Space left on the disk of a folder: `spool`, `keys`, and `data` where jobs are kept in one.
    DISK_FREE = Gauge "edgeprove_disk_free_bytes" ["folder"];
    /// Size of the disk of a folder.
    DISK_SIZE = Gauge "edgeprove_disk_size_bytes" ["folder"];
    /// Always 1; the labels say what runs.
    BUILD = Gauge "edgeprove_build_info" ["version", "bb", "noir", "architecture"];
    /// Seconds since the start.
    UPTIME = Gauge "edgeprove_uptime_seconds" [];
    /// CPU time of the server since its start, without bb.
    PROCESS_CPU = Gauge "edgeprove_process_cpu_seconds" [];
    /// Resident memory of the server, without bb.
    PROCESS_MEMORY = Gauge "edgeprove_process_resident_memory_bytes" [];
    /// Threads of the server.
    PROCESS_THREADS = Gauge "edgeprove_process_threads" [];
    /// Open files and sockets of the server.
    PROCESS_FILES = Gauge "edgeprove_process_open_fds" [];
    /// How many files and sockets may be open; without a limit 0.
    PROCESS_FILES_MAX = Gauge "edgeprove_process_max_fds" [];
}

/// What is told, as text.
#[derive(Clone)]
pub struct Exposition(PrometheusHandle);

/// Begins to keep what is told, for the whole process. A second call gives the same.
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

/// Every series of every room.
pub fn all() -> impl Iterator<Item = &'static Series> {
    SERIES.iter().chain(jobs::SERIES)
}

impl Exposition {
    /// All series, in the text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Takes in what histograms were told. Left undone for long, that would take ever more memory where nobody reads.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// How a request for a proof ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a proof.
    Success,
    /// With a problem.
    Problem(ProblemType),
    /// The client left.
    Abandoned,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Problem(kind) => kind.code(),
            Self::Abandoned => "abandoned",
        }
    }
}

/// A request was answered, or its client left. `route` is the pattern and never the path.
pub fn http_request(route: &str, status: Option<u16>, problem: Option<ProblemType>, took: Duration) {
    let class = match status {
        Some(100..200) => "1xx",
        Some(200..300) => "2xx",
        Some(300..400) => "3xx",
        Some(400..500) => "4xx",
        Some(_) => "5xx",
        None => "left",
    };
    HTTP_REQUESTS.add(1, [text(route), class.into()]);
    HTTP_DURATION.record(took, [text(route), class.into()]);
    if let Some(kind) = problem {
        HTTP_PROBLEMS.add(1, [text(route), kind.code().into()]);
    }
}

/// A piece of a body arrived.
pub fn uploaded(bytes: usize) {
    UPLOADED.add(bytes as u64, []);
}

/// A request for a proof ended.
pub fn proof_ended(circuit: &CircuitId, target: Target, outcome: Outcome) {
    PROOFS.add(1, [text(circuit.as_str()), target.as_str().into(), outcome.as_str().into()]);
}

/// A proof was made, and this is where its time went.
pub fn proof_made(circuit: &CircuitId, timings: &Timings) {
    for (stage, ms) in timings.stages() {
        STAGES.record_s(ms / 1000.0, [text(circuit.as_str()), stage.into()]);
    }
}

/// A verification key was looked for in the cache.
pub fn key_looked_up(found: bool) {
    KEY_CACHE.add(1, [if found { "hit" } else { "miss" }.into()]);
}

/// What is at work and what waits, by [`Priority::level`].
pub fn proofs(active: usize, waiting: [usize; Priority::ALL.len()]) {
    PROOFS_ACTIVE.set(active as u64, []);
    for (priority, waiting) in Priority::ALL.into_iter().zip(waiting) {
        PROOFS_WAITING.set(waiting as u64, [priority.as_str().into()]);
    }
}

/// Whether proofs can be made.
pub fn ready(ready: bool) {
    READY.set(u64::from(ready), []);
}

/// How many circuits there are.
pub fn circuits(loading: usize, ready: usize, failed: usize) {
    for (status, count) in [("loading", loading), ("ready", ready), ("failed", failed)] {
        CIRCUITS.set(count as u64, [status.into()]);
    }
}

/// What proofs of a circuit take.
pub fn circuit_memory(circuit: &CircuitId, threads: usize, peak_bytes: u64) {
    CIRCUIT_MEMORY.set(peak_bytes, [text(circuit.as_str()), threads.to_string().into()]);
}

/// Memory that may be taken, and memory that is promised.
pub fn memory(max_bytes: Option<u64>, promised_bytes: u64) {
    MEMORY_MAX.set(max_bytes.unwrap_or(0), []);
    MEMORY_RESERVED.set(promised_bytes, []);
}

/// The bb processes at this moment.
pub fn bb(processes: usize, resident_bytes: u64) {
    BB_PROCESSES.set(processes as u64, []);
    BB_MEMORY.set(resident_bytes, []);
}

/// bb processes that were put in the place of others since the start.
pub fn bb_restarts(reason: &'static str, count: u64) {
    BB_RESTARTS.is_now(count, [reason.into()]);
}

/// The disk of a folder.
pub fn disk(folder: &'static str, free_bytes: u64, size_bytes: u64) {
    DISK_FREE.set(free_bytes, [folder.into()]);
    DISK_SIZE.set(size_bytes, [folder.into()]);
}

/// What runs, and since when.
pub fn build(version: &'static str, bb: &str, noir: &'static str, uptime: Duration) {
    BUILD.set(1, [version.into(), text(bb), noir.into(), std::env::consts::ARCH.into()]);
    UPTIME.set_s(uptime.as_secs_f64(), []);
}

/// What the server itself takes.
pub fn process(taken: ProcessUse) {
    // No counter: those of the facade are whole numbers.
    PROCESS_CPU.set_s(taken.cpu_seconds, []);
    PROCESS_MEMORY.set(taken.resident_bytes, []);
    PROCESS_THREADS.set(taken.threads, []);
    PROCESS_FILES.set(taken.open_files, []);
    PROCESS_FILES_MAX.set(taken.open_files_max.unwrap_or(0), []);
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fmt::Write as _};

    use super::*;

    const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/METRICS.md");
    const MARK: &str = "<!-- The tables below are written by a test: EDGEPROVE_BLESS=1 cargo test -p edgeprove-telemetry docs -->\n";

    fn table(title: &str, series: &[Series]) -> String {
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
    fn the_docs_list_every_series_as_it_is() {
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

    #[test]
    fn names_follow_the_rules_and_are_unique() {
        let mut seen = HashSet::new();
        for series in all() {
            assert!(seen.insert(series.name), "{} stands twice", series.name);
            assert!(series.name.starts_with("edgeprove_"));
            assert!(series.name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()));
            assert_eq!(series.kind == Kind::Counter, series.name.ends_with("_total"), "{}", series.name);
            assert_eq!(series.kind == Kind::Histogram, series.name.ends_with("_duration_seconds"));
        }
        assert!(BUCKETS_S.is_sorted());
    }
}
