mod fixture;

use std::{num::NonZeroUsize, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use edgeprove_audit::{AuditError, AuditSink, Page, PageRange, filter::EntryFilter};
use edgeprove_job_rules::audit::{Action, Actor, Link, Outcome};
use edgeprove_protocol::{HasProblemType as _, Priority};
use edgeprove_telemetry::supervisor::Supervisor;
use futures_util::poll;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use parking_lot::Mutex;

use super::*;
use crate::proving::{ProofStage, ProvingError};
use fixture::{Fixture, PROVE, Response, VERIFY, id, witness_stack};

/// An audit log in memory, which can be made to fail.
#[derive(Default)]
struct MemoryLog {
    entries: Mutex<Vec<Entry>>,
    fails: Mutex<bool>,
}

#[async_trait]
impl AuditSink for MemoryLog {
    async fn append(&self, entries: Vec<Entry>) -> Result<Link, AuditError> {
        if *self.fails.lock() {
            return Err(AuditError::WriterEnded);
        }
        self.entries.lock().extend(entries);
        Ok(Link::START)
    }

    async fn read(&self, _filter: EntryFilter, _range: PageRange) -> Result<Page, AuditError> {
        Ok(Page::default())
    }

    async fn head(&self) -> Result<Link, AuditError> {
        Ok(Link::START)
    }
}

struct World {
    fixture: Fixture,
    service: ProofService,
    log: Arc<MemoryLog>,
    metrics: PrometheusHandle,
}

impl World {
    async fn new(recorder: &PrometheusRecorder) -> Self {
        Self::of(Fixture::new().await, recorder)
    }

    fn of(fixture: Fixture, recorder: &PrometheusRecorder) -> Self {
        let log = Arc::new(MemoryLog::default());
        let sink = Arc::clone(&log) as Arc<dyn AuditSink>;
        let service = ProofService::new(Parts {
            proving: Arc::clone(&fixture.proving),
            circuits: Arc::clone(&fixture.circuits),
            cache: ProofCache::new(8).unwrap(),
            estimator: Arc::new(DurationEstimator::new(NonZeroUsize::MIN)),
            audit: Audit::new(sink, "server".to_owned(), Supervisor::default()),
        });
        Self { fixture, service, log, metrics: recorder.handle() }
    }

    fn circuit(&self, name: &str) -> Arc<Circuit> {
        self.fixture.circuits.find(Some(&id(name))).unwrap()
    }

    async fn candidate(&self, name: &str) -> Candidate {
        let (witness, digest) = self.fixture.witness(name.as_bytes()).await;
        Candidate { circuit: self.circuit(name), target: Target::NoirRecursive, witness, digest }
    }

    async fn candidates(&self, smaller: bool) -> Candidates {
        let first = self.candidate("large").await;
        let smaller = if smaller { vec![self.candidate("small").await] } else { Vec::new() };
        Candidates { first, smaller }
    }

    /// Opens the account of a proof of `large` with an audit entry.
    fn open(&self) -> ProofAccount {
        let entry = Entry::new(String::new(), Actor::Anonymous, Action::ProofSynchronous);
        self.service.open(&self.circuit("large"), Target::NoirRecursive, Priority::Normal, Some(entry))
    }

    async fn prove(&self, request: ProofRequest<'_>) -> Result<CompletedProof, ProofFailure> {
        self.open().prove(self.candidates(false).await, request, &|_| ()).await
    }

    /// Every sample of one series: its labels' values in the text format, and its value.
    fn samples(&self, series: &str) -> Vec<(String, f64)> {
        let text = self.metrics.render();
        let sample = |line: &str| {
            let (name, value) = line.strip_prefix(series)?.strip_prefix('{')?.split_once("} ")?;
            let labels: Vec<&str> = name.split(',').filter_map(|label| label.split('"').nth(1)).collect();
            Some((labels.join(" "), value.parse().unwrap()))
        };
        let mut samples: Vec<_> = text.lines().filter_map(sample).collect();
        samples.sort_by(|a, b| a.0.cmp(&b.0));
        samples
    }

    fn counted(&self) -> Vec<(String, f64)> {
        self.samples("edgeprove_proofs_total")
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.log.entries.lock().iter().filter_map(|entry| entry.outcome).collect()
    }

    fn expected(&self, circuit: &str) -> Option<Duration> {
        self.service.estimate(&id(circuit)).map(|estimate| estimate.expected)
    }
}

fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new().build_recorder()
}

/// A request that may use the cache of this tenant.
fn request(tenant: Option<&str>) -> ProofRequest<'_> {
    ProofRequest {
        tenant,
        cache: CachePolicy { read: true, write: true },
        urgency: Urgency::default(),
        timeout: None,
        when_busy: WhenBusy::Refuse,
    }
}

fn sample(labels: &str, value: f64) -> (String, f64) {
    (labels.to_owned(), value)
}

/// One duration of each stage of a circuit's proofs.
fn once(circuit: &str) -> [(String, f64); 3] {
    ["prove", "queue", "verify"].map(|stage| sample(&format!("{circuit} {stage}"), 1.0))
}

#[tokio::test(start_paused = true)]
async fn a_new_proof_is_counted_timed_learnt_and_recorded() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new(&recorder).await;
    let stages = Mutex::new(Vec::new());
    let candidates = world.candidates(false).await;
    let on_stage = |stage| stages.lock().push(stage);
    let proof = world.open().prove(candidates, request(Some("alice")), &on_stage).await.unwrap();

    assert_eq!((proof.circuit.id.as_str(), proof.fallback_from), ("large", None));
    assert!(proof.result.verified && !proof.result.cached);
    assert_eq!(stages.into_inner(), [ProofStage::Proving, ProofStage::Verifying]);
    assert_eq!(world.counted(), [sample("large noir-recursive success", 1.0)]);
    let series = "edgeprove_proof_stage_duration_seconds";
    let (prove, verify) = (PROVE.as_secs_f64(), VERIFY.as_secs_f64());
    assert_eq!(
        world.samples(&format!("{series}_sum")),
        [sample("large prove", prove), sample("large queue", 0.0), sample("large verify", verify)],
        "the stages `upload` and `total` belong to requests"
    );
    assert_eq!(world.samples(&format!("{series}_count")), once("large"));
    assert_eq!(world.expected("large"), Some(PROVE + VERIFY));
    assert_eq!(world.outcomes(), [Outcome::Ok]);
}

#[tokio::test(start_paused = true)]
async fn a_cached_proof_counts_but_teaches_nothing() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new(&recorder).await;
    let first = world.prove(request(Some("alice"))).await.unwrap();
    let again = world.prove(request(Some("alice"))).await.unwrap();
    assert!(!first.result.cached && again.result.cached);
    assert_eq!(again.result.parts, first.result.parts);

    assert_eq!(world.counted(), [sample("large noir-recursive success", 2.0)]);
    assert_eq!(world.samples("edgeprove_proof_stage_duration_seconds_count"), once("large"));
    assert_eq!(world.expected("large"), Some(PROVE + VERIFY));
    assert_eq!(world.outcomes(), [Outcome::Ok, Outcome::Ok]);
    let lookups = world.samples("edgeprove_proof_cache_requests_total");
    assert_eq!(lookups, [sample("hit", 1.0), sample("miss", 1.0)]);
}

#[tokio::test(start_paused = true)]
async fn the_cache_is_per_tenant_and_off_without_one() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new(&recorder).await;
    let read_only =
        ProofRequest { cache: CachePolicy { read: true, write: false }, ..request(Some("carol")) };
    for request in [request(None), request(None), read_only, request(Some("alice")), request(Some("bob"))] {
        assert!(!world.prove(request).await.unwrap().result.cached, "{request:?}");
    }
    assert_eq!(world.samples("edgeprove_proof_cache_requests_total"), [sample("miss", 3.0)]);
    let fresh = ProofRequest { cache: CachePolicy { read: false, write: true }, ..request(Some("alice")) };
    assert!(!world.prove(fresh).await.unwrap().result.cached);
    assert!(world.prove(request(Some("alice"))).await.unwrap().result.cached);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_timed_on_the_circuit_that_was_proved() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new(&recorder).await;
    world.fixture.backend.respond([Response::Timeout]);
    let candidates = world.candidates(true).await;
    let proof = world.open().prove(candidates, request(Some("alice")), &|_| ()).await.unwrap();

    assert_eq!((proof.circuit.id.as_str(), proof.fallback_from), ("small", Some(id("large"))));
    assert_eq!(world.counted(), [sample("large noir-recursive success", 1.0)]);
    let sums = world.samples("edgeprove_proof_stage_duration_seconds_sum");
    assert_eq!(sums[0], sample("small prove", PROVE.as_secs_f64()), "the failed attempt does not count");
    assert!(sums.iter().all(|(labels, _)| labels.starts_with("small ")), "{sums:?}");
    assert_eq!((world.expected("small"), world.expected("large")), (Some(PROVE + VERIFY), None));
    assert_eq!(world.outcomes(), [Outcome::Ok]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_names_its_circuit_and_the_next_smaller_one() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new(&recorder).await;
    world.fixture.backend.respond([Response::Timeout]);
    let failure = world.prove(request(None)).await.unwrap_err();
    assert_eq!(failure.kind(), ProblemType::ProofTimeout);
    assert_eq!((failure.circuit, failure.fallback_circuit), (id("large"), Some(id("small"))));

    world.fixture.backend.respond([Response::Timeout, Response::Timeout]);
    let candidates = world.candidates(true).await;
    let failure = world.open().prove(candidates, request(None), &|_| ()).await.unwrap_err();
    assert_eq!((failure.circuit, failure.fallback_circuit), (id("small"), None));

    assert_eq!(world.counted(), [sample("large noir-recursive server_error", 2.0)]);
    assert!(world.samples("edgeprove_proof_stage_duration_seconds_count").is_empty());
    assert_eq!(world.expected("large"), None);
    assert_eq!(world.outcomes(), [Outcome::Failed(ProblemType::ProofTimeout); 2]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_witness_is_counted_and_recorded() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new(&recorder).await;
    world.open().fail(ProblemType::WitnessNotGzip).await;
    assert_eq!(world.counted(), [sample("large noir-recursive caller_error", 1.0)]);
    assert_eq!(world.outcomes(), [Outcome::Failed(ProblemType::WitnessNotGzip)]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_proof_counts_as_abandoned() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new(&recorder).await;
    drop(world.open());
    world.fixture.backend.respond([Response::Silence]);
    let proof = tokio::time::timeout(Duration::from_secs(1), world.prove(request(None))).await;
    assert!(proof.is_err(), "the prover never responds");
    assert_eq!(world.counted(), [sample("large noir-recursive abandoned", 2.0)]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.outcomes(), [Outcome::Abandoned; 2]);
    assert_eq!(world.service.proving().scheduler().status().running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_released_proof_is_neither_counted_nor_recorded() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new(&recorder).await;
    world.open().release();
    let job = ProofRequest { when_busy: WhenBusy::Wait, ..request(None) };
    world.fixture.backend.respond([Response::Stopping]);
    let failure = world.prove(job).await.unwrap_err();
    assert!(matches!(failure.error, ProofError::Proving(ProvingError::Stopping)));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((world.counted(), world.outcomes()), (Vec::new(), Vec::new()));

    world.fixture.backend.respond([Response::Stopping]);
    world.prove(request(None)).await.unwrap_err();
    assert_eq!(world.counted(), [sample("large noir-recursive server_error", 1.0)], "a request is answered");
}

#[tokio::test(start_paused = true)]
async fn a_proof_without_its_audit_entry_is_not_returned() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new(&recorder).await;
    *world.log.fails.lock() = true;
    let failure = world.prove(request(None)).await.unwrap_err();
    assert!(matches!(failure.error, ProofError::Audit(_)));
    assert_eq!((failure.kind(), failure.fallback_circuit), (ProblemType::AuditUnavailable, None));
    assert_eq!(world.counted(), [sample("large noir-recursive server_error", 1.0)]);

    world.open().fail(ProblemType::WitnessEmpty).await;
    let empty = sample("large noir-recursive caller_error", 1.0);
    assert!(world.counted().contains(&empty), "the first problem is the one that counts");
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_a_full_prover_queue_and_a_request_fails() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new(&recorder).await;
    let working = world.fixture.proving.permit().await.unwrap();
    let mut waiting = pin!(world.fixture.proving.permit());
    assert!(poll!(waiting.as_mut()).is_pending());

    let failure = world.prove(request(None)).await.unwrap_err();
    assert_eq!(failure.kind(), ProblemType::ProverBusy);
    assert_eq!(world.counted(), [sample("large noir-recursive server_error", 1.0)]);

    let job = ProofRequest { when_busy: WhenBusy::Wait, ..request(None) };
    let mut job = pin!(world.prove(job));
    assert!(tokio::time::timeout(Duration::from_secs(1), job.as_mut()).await.is_err());
    drop(working);
    drop(waiting.await.unwrap());
    job.await.unwrap();
    let success = sample("large noir-recursive success", 1.0);
    assert!(world.counted().contains(&success), "{:?}", world.counted());
}

#[tokio::test(start_paused = true)]
async fn a_doubtful_key_is_blamed_before_the_witness() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let is_doubtful =
        |world: &World| world.circuit("large").ready_key(Target::NoirRecursive).unwrap().is_doubtful();
    // No witness of this test can be judged. The generated key is that of the cache: so the witness must be at fault.
    let world = World::of(Fixture::new().await.restarted().await, &recorder);
    assert!(is_doubtful(&world));
    world.fixture.backend.respond([Response::InvalidProof]);
    let failure = world.prove(request(None)).await.unwrap_err();
    assert_eq!(failure.kind(), ProblemType::WitnessUnsatisfied);
    assert!(!is_doubtful(&world));

    // It is another one, and no proof verifies under either.
    let world = World::of(world.fixture.restarted().await, &recorder);
    world.fixture.backend.generate_other_keys();
    world.fixture.backend.respond([Response::InvalidProof, Response::InvalidProof]);
    let failure = world.prove(request(None)).await.unwrap_err();
    assert_eq!(failure.kind(), ProblemType::ProofInvalid);
    assert!(is_doubtful(&world));

    // A proof verifies under the other one.
    world.fixture.backend.respond([Response::InvalidProof, Response::Proof]);
    assert_eq!(&world.prove(request(None)).await.unwrap().result.key.circuit.vk[..], b"other vk");
    assert!(!is_doubtful(&world));
}

#[tokio::test(start_paused = true)]
async fn an_invalid_proof_is_blamed_on_witness_or_prover() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new(&recorder).await;
    // The circuit `large` asserts that witness 1 equals witness 2.
    for (values, problem) in
        [([0, 7, 8], ProblemType::WitnessUnsatisfied), ([0, 7, 7], ProblemType::ProofInvalid)]
    {
        world.fixture.backend.respond([Response::InvalidProof]);
        let (witness, digest) = world.fixture.witness(&witness_stack(&values)).await;
        let first = Candidate { witness, digest, ..world.candidate("large").await };
        let candidates = Candidates { first, smaller: Vec::new() };
        let failure = world.open().prove(candidates, request(None), &|_| ()).await.unwrap_err();
        assert_eq!(failure.kind(), problem);
    }
    let expected = [("caller_error", 1.0), ("server_error", 1.0)]
        .map(|(outcome, count)| sample(&format!("large noir-recursive {outcome}"), count));
    assert_eq!(world.counted(), expected);
}
