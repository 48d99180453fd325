//! Each retryable problem, and a client that follows docs/ERRORS.md: it waits for `Retry-After` and sends the same request
//! again, and once the cause is gone it has its result.

use std::{
    cell::{Cell, RefCell},
    fs,
    time::Duration,
};

use edgeprove_protocol::{JobDocument, JobStatus, headers};
use http::Method;
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

use crate::{
    circuits::{shortened_crs, swap_points},
    jobs::JobServer,
    local_files::make_fifo,
    prover_faults::{FakeBbServer, kill_all},
    support::{
        Connection, ProblemType, Response, RetryingClient, TestServer, eventually, fake_bb::Behaviour,
        postgres, processes::Process, samples, settings::Settings, skipped,
    },
    upload_bounds::{self, begin_upload, two_callers},
};

const KEY: &str = "alice's key";

/// Declares a test for each problem, and the list of these problems.
macro_rules! problems_on_demand {
    ($($kind:ident: $test:ident,)+) => {
        /// The retryable problems that a server produces on demand.
        const TRIED: &[ProblemType] = &[$(ProblemType::$kind),+];

        $(#[test]
        fn $test() {
            on_demand::$test(ProblemType::$kind);
        })+
    };
}

problems_on_demand! {
    UploadStalled: a_stalled_upload_is_sent_again,
    ProofNotReady: a_proof_is_fetched_when_it_is_ready,
    TooManyJobs: a_caller_with_too_many_jobs_waits,
    RateLimited: a_rate_limited_caller_waits,
    QuotaExceeded: a_caller_does_not_wait_for_its_quota,
    ProverCrashed: a_crashed_prover_is_tried_again,
    OutOfMemory: a_prover_without_memory_is_tried_again,
    ProofInvalid: an_invalid_proof_is_proved_again,
    ProverBusy: a_busy_prover_is_waited_for,
    TooManyConnections: a_connection_is_waited_for,
    ProverUnavailable: a_missing_prover_is_waited_for,
    QueueFull: a_full_queue_is_waited_for,
    TooManyWatchers: a_stream_is_opened_when_one_is_free,
    DeadlineCannotBeMet: a_deadline_is_met_when_the_queue_is_empty,
    JobStoreUnavailable: a_stopped_database_is_waited_for,
    ArtifactUnavailable: an_unreadable_artifact_is_read_again,
    NotReady: a_draining_server_is_replaced_by_the_next_one,
    AuditUnavailable: an_audit_log_is_waited_for,
    SpoolUnavailable: a_full_spool_is_waited_for,
    TooManyUploads: unfinished_uploads_are_waited_for,
    ProofTimeout: a_proof_that_took_too_long_is_tried_again,
    RequestTimeout: a_request_with_a_key_is_sent_again,
}

/// The retryable problems that are not tried here, and why.
const NOT_TRIED: &[(ProblemType, &str)] = &[
    (ProblemType::Internal, "it stands for faults that nobody knows"),
    (
        ProblemType::WitnessPreparationFailed,
        "the spool has to fail in the moment between writing and reading",
    ),
    (ProblemType::ContainerLost, "only the edge sends it"),
    (ProblemType::ContainerBadResponse, "only the edge sends it"),
    (ProblemType::ContainerUnavailable, "only the edge sends it"),
    (ProblemType::NodeUnavailable, "it is for people who deploy; `deployments` repeats their requests"),
    (ProblemType::DeploymentFailed, "it is for people who deploy; `deployments` repeats their requests"),
    (ProblemType::TooManyCallbacks, "10,000 webhooks would have to be owed; `store` fills smaller bounds"),
    (ProblemType::TooManyDeployments, "it is for people who deploy; `held_keys` fills all of them"),
];

#[test]
fn every_retryable_problem_is_tested_or_excused() {
    for &kind in ProblemType::ALL {
        let is_excused = NOT_TRIED.iter().any(|(excused, _)| *excused == kind);
        let listed = usize::from(TRIED.contains(&kind)) + usize::from(is_excused);
        assert_eq!(listed, usize::from(kind.retryable()), "{kind:?}");
    }
}

/// Sends until there is a result. The first response must be this problem; its cause is removed before the second
/// attempt.
#[track_caller]
fn retried(
    kind: ProblemType,
    mut send: impl FnMut(usize) -> Option<Response>,
    remove_cause: impl FnOnce(),
) -> Response {
    let mut remove_cause = Some(remove_cause);
    let retried = RetryingClient::default().run(|attempt| {
        if attempt == 1
            && let Some(remove_cause) = remove_cause.take()
        {
            remove_cause();
        }
        let response = send(attempt);
        if attempt == 0 {
            response.as_ref().expect("a response").assert_refused(kind);
        }
        response
    });
    assert_eq!(retried.refusals.first(), Some(&kind), "{retried:?}");
    retried.response
}

/// As [`retried`], for a proof of `range_check`.
#[track_caller]
fn proved_after_retry(kind: ProblemType, server: &TestServer, remove_cause: impl FnOnce()) {
    let witness = &samples::range_check().witness;
    let response = retried(kind, |_| server.prove_request(witness).try_send().ok(), remove_cause);
    response.assert_proof_of(samples::range_check());
}

#[track_caller]
fn suspend(server: &TestServer) -> Vec<Process> {
    let suspended: Vec<_> = server.provers().into_iter().filter(|bb| bb.suspend()).collect();
    assert!(!suspended.is_empty());
    suspended
}

fn resume(provers: &[Process]) {
    for bb in provers {
        bb.resume();
    }
}

/// Adds a keys file with one caller and these limits.
fn limit_caller(settings: &mut Settings, dir: &tempfile::TempDir, limits: &str) {
    let file = dir.path().join("keys.toml");
    let text = format!("[keys.alice]\nsha256 = ['{}']\n{limits}\n", hex::encode(Sha256::digest(KEY)));
    fs::write(&file, text).unwrap();
    settings.flag("--keys-file", &file.display());
    settings.sample = None;
}

/// The tests, each of which causes a problem of the given type.
mod on_demand {
    use super::*;

    pub(super) fn a_stalled_upload_is_sent_again(kind: ProblemType) {
        let server = TestServer::start(|s| s.flag("--upload-idle", "1s"));
        let witness = &samples::range_check().witness;
        let length = format!("Content-Length: {}", witness.len());
        let send = |attempt| {
            let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
            let sent = if attempt == 0 { witness.len() / 2 } else { witness.len() };
            upload.send(&witness[..sent]);
            upload.try_read_response().ok()
        };
        retried(kind, send, || ()).assert_proof_of(samples::range_check());
    }

    pub(super) fn a_proof_is_fetched_when_it_is_ready(kind: ProblemType) {
        let jobs = JobServer::start(|_| {});
        let provers = suspend(&jobs.server);
        let job = jobs.submit(&samples::range_check().witness);
        let response = retried(kind, |_| Some(jobs.server.get(&job.links.proof)), || resume(&provers));
        response.assert_proof_of(samples::range_check());
    }

    pub(super) fn a_caller_with_too_many_jobs_waits(kind: ProblemType) {
        let jobs = JobServer::start(|s| s.flag("--jobs-per-caller", "1"));
        let provers = suspend(&jobs.server);
        let witness = &samples::range_check().witness;
        let first = jobs.submit(witness);
        let send = |_| Some(jobs.submission(witness).header(headers::IDEMPOTENCY_KEY, "order-1").send());
        let response = retried(kind, send, || {
            resume(&provers);
            jobs.wait_until_finished(&first);
        });
        assert_ne!(response.assert_accepted().id, first.id);
    }

    pub(super) fn a_rate_limited_caller_waits(kind: ProblemType) {
        let dir = tempfile::tempdir().unwrap();
        let server = TestServer::start(|s| limit_caller(s, &dir, "per_minute = 10\nburst = 1"));
        let by = |body: &[u8]| server.prove_request(body).header(headers::API_KEY, KEY).send();
        by(b"").assert_refused(ProblemType::WitnessEmpty);
        // The time alone removes the cause.
        let response = retried(kind, |_| Some(by(&samples::range_check().witness)), || ());
        response.assert_proof_of(samples::range_check());
    }

    pub(super) fn a_caller_does_not_wait_for_its_quota(kind: ProblemType) {
        let dir = tempfile::tempdir().unwrap();
        let jobs = JobServer::start(|s| {
            limit_caller(s, &dir, "proofs_per_day = 2");
            s.flag("--job-workers", "1");
        });
        let provers = suspend(&jobs.server);
        let submission =
            || jobs.submission(&samples::range_check().witness).header(headers::API_KEY, KEY).send();
        let running = submission().assert_accepted();
        let by_key = |method: Method, path: &str| {
            jobs.server.request(method, path).header(headers::API_KEY, KEY).send()
        };
        eventually("the job runs", || {
            let job: JobDocument = by_key(Method::GET, &running.links.this).job();
            (job.status == JobStatus::Running).then_some(())
        });
        let queued = submission().assert_accepted();
        let client = RetryingClient::default();
        let given_up = client.run(|_| Some(submission()));
        given_up.response.assert_refused(kind);
        assert!(given_up.refusals.is_empty(), "{given_up:?}");
        let seconds: u64 = given_up.response.header("retry-after").parse().unwrap();
        assert!(Duration::from_secs(seconds) > client.wait_max, "a day has {seconds} seconds");

        assert_eq!(by_key(Method::DELETE, &queued.links.this).status, 200);
        eventually("the quota returns", || (submission().status == 202).then_some(()));
        resume(&provers);
    }

    /// A bb behaves like this while the cause lasts.
    fn retried_with(kind: ProblemType, behaviour: Behaviour, flags: &[(&str, &str)], timeout: &str) {
        let fake = FakeBbServer::new(flags);
        fake.switch_to_and_wait(behaviour);
        let witness = &samples::range_check().witness;
        let send = |_| fake.server.prove_request(witness).header(headers::TIMEOUT, timeout).try_send().ok();
        let response = retried(kind, send, || fake.switch_to_and_wait(Behaviour::Real));
        response.assert_proof_of(samples::range_check());
    }

    pub(super) fn a_crashed_prover_is_tried_again(kind: ProblemType) {
        retried_with(kind, Behaviour::Die, &[], "60");
    }

    pub(super) fn a_prover_without_memory_is_tried_again(kind: ProblemType) {
        retried_with(kind, Behaviour::TakeMemory, &[("--memory-max", "100MiB")], "60");
    }

    pub(super) fn a_proof_that_took_too_long_is_tried_again(kind: ProblemType) {
        retried_with(kind, Behaviour::Hang, &[], "5");
    }

    pub(super) fn an_invalid_proof_is_proved_again(kind: ProblemType) {
        let (crs, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let square = samples::square(dir.path(), "square", 1);
        shortened_crs(crs.path(), 3000);
        let server = TestServer::start(|s| {
            crs.path().clone_into(&mut s.crs);
            (s.circuit, s.sample) = (Some(square.circuit.clone()), None);
        });
        // bb reads the points with its first proof.
        swap_points(crs.path(), 3, 7);
        let response = retried(
            kind,
            |_| Some(server.prove(&square.witness)),
            || {
                swap_points(crs.path(), 3, 7);
                kill_all(&server);
                server.wait_until_ready();
            },
        );
        response.assert_proof_of(&square);
    }

    pub(super) fn a_busy_prover_is_waited_for(kind: ProblemType) {
        let server = TestServer::start(|s| s.flag("--prover-queue-max", &1));
        let (mut client, bb) = server.suspend_mid_proof();
        let mut waiter = Connection::post(server.address(), "/api/prove", &samples::range_check().witness);
        eventually("one request waits", || (server.health().prover.waiting == 1).then_some(()));
        proved_after_retry(kind, &server, || {
            bb.resume();
            for connection in [&mut client, &mut waiter] {
                connection.read_response().assert_proof_of(samples::range_check());
            }
        });
    }

    pub(super) fn a_connection_is_waited_for(kind: ProblemType) {
        let server = TestServer::start(|s| s.flag("--connections", &2));
        let lines = ["Content-Length: 1000", "Expect: 100-continue"];
        let uploads = [(); 2].map(|()| {
            eventually("the server accepts the upload", || {
                let mut upload = Connection::post_head(server.address(), "/api/prove", &lines);
                (upload.read_response().status == 100).then_some(upload)
            })
        });
        let send = |_| server.request(Method::GET, "/v1/circuits").try_send().ok();
        assert_eq!(retried(kind, send, || drop(uploads)).status, 200);
    }

    pub(super) fn a_missing_prover_is_waited_for(kind: ProblemType) {
        let fake = FakeBbServer::new(&[]);
        let (client, _) = fake.server.suspend_mid_proof();
        // The proof is tried once more, for which there is no bb.
        fake.fake.switch_to(Behaviour::ExitsAtStart);
        kill_all(&fake.server);
        let client = RefCell::new(client);
        let send = |attempt| match attempt {
            0 => client.borrow_mut().try_read_response().ok(),
            _ => fake.server.prove_request(&samples::range_check().witness).try_send().ok(),
        };
        let response = retried(kind, send, || {
            fake.fake.switch_to(Behaviour::Real);
            fake.server.wait_until_ready();
        });
        response.assert_proof_of(samples::range_check());
    }

    pub(super) fn a_full_queue_is_waited_for(kind: ProblemType) {
        let jobs = JobServer::start(|s| {
            s.flag("--job-workers", "1");
            s.flag("--job-queue-max", "1");
            s.flag("--jobs-per-caller", "4");
        });
        let witness = &samples::range_check().witness;
        let provers = suspend(&jobs.server);
        let running = jobs.submit(witness);
        eventually("the job runs", || (jobs.job(&running).status == JobStatus::Running).then_some(()));
        let queued = jobs.submit(witness);
        let send = |_| Some(jobs.submission(witness).header(headers::IDEMPOTENCY_KEY, "order-2").send());
        let response = retried(kind, send, || {
            resume(&provers);
            jobs.wait_until_finished(&queued);
        });
        assert_ne!(response.assert_accepted().id, queued.id);
    }

    pub(super) fn a_stream_is_opened_when_one_is_free(kind: ProblemType) {
        let jobs = JobServer::start(|s| s.flag("--watchers", "1"));
        let provers = suspend(&jobs.server);
        let job = jobs.submit(&samples::range_check().witness);
        let mut first = jobs.server.events(job.id);
        first.next().expect("the stream is open");
        let response = retried(
            kind,
            |_| Some(jobs.server.get(&job.links.events)),
            || {
                resume(&provers);
                assert!(first.last().is_some_and(|event| event.name == "done"));
            },
        );
        assert!(String::from_utf8(response.body).unwrap().contains("event: done"));
    }

    pub(super) fn a_deadline_is_met_when_the_queue_is_empty(kind: ProblemType) {
        const AHEAD_MAX: u32 = 120;
        const DEADLINE_S: u32 = 2;
        let jobs = JobServer::start(|s| {
            s.flag("--job-workers", "1");
            s.flag("--jobs-per-caller", &(AHEAD_MAX + 2));
            s.flag("--job-queue-max", &(AHEAD_MAX + 2));
        });
        let witness = &samples::range_check().witness;
        // The deadline is refused only if it is too short even by the lower bound, which is low while durations differ.
        let ahead = eventually("proofs take a known time", || {
            let fresh = jobs.server.prove_request(witness).header("cache-control", "no-cache");
            fresh.send().assert_proof_of(samples::range_check());
            let low_ms = jobs.server.get("/v1/estimate").json()["proving_ms"]["low"].as_f64()?;
            // As many as are needed: on a slow machine more would take longer than a client waits.
            let takes_too_long = |jobs: &u32| low_ms * f64::from(*jobs) > 1_100.0 * f64::from(DEADLINE_S);
            (1..=AHEAD_MAX).find(takes_too_long)
        });
        let provers = suspend(&jobs.server);
        let ahead: Vec<_> = (0..ahead).map(|_| jobs.submit(witness)).collect();
        // Many times the duration of one proof, and less than that of all of them.
        let deadline = DEADLINE_S.to_string();
        let send = |_| Some(jobs.submission(witness).header(headers::DEADLINE, &deadline).send());
        let response = retried(kind, send, || {
            for job in &ahead {
                jobs.server.request(Method::DELETE, &job.links.this).send();
            }
            resume(&provers);
        });
        response.assert_accepted();
    }

    pub(super) fn a_stopped_database_is_waited_for(kind: ProblemType) {
        let Some(cluster) = postgres::Cluster::start() else { return };
        let dir = tempfile::tempdir().unwrap();
        let server = TestServer::start(|s| {
            s.environment.push(("DATABASE_URL".to_owned(), cluster.url()));
            s.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), "01".repeat(32)));
            s.flag("--artifacts", &dir.path().join("artifacts").display());
        });
        cluster.stop(postgres::Stop::Fast);
        let witness = &samples::range_check().witness;
        let send = |_| {
            let request = server.prove_request(witness).header("prefer", "respond-async");
            Some(request.header(headers::IDEMPOTENCY_KEY, "order-3").send())
        };
        retried(kind, send, || cluster.start_again()).assert_accepted();
        server.finish();
    }

    pub(super) fn an_unreadable_artifact_is_read_again(kind: ProblemType) {
        let jobs = JobServer::start(|_| {});
        let job = jobs.submit(&samples::range_check().witness);
        jobs.wait_until_finished(&job);
        let aside = tempfile::tempdir().unwrap();
        let folder = jobs.data.path().join("artifacts");
        let files = || fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
        let moved: Vec<_> =
            files().map(|file| (aside.path().join(file.file_name().unwrap()), file)).collect();
        for (copy, file) in &moved {
            fs::copy(file, copy).unwrap();
            fs::remove_file(file).unwrap();
            make_fifo(file);
        }
        let response = retried(
            kind,
            |_| Some(jobs.server.get(&job.links.proof)),
            || {
                for (copy, file) in &moved {
                    fs::remove_file(file).unwrap();
                    fs::copy(copy, file).unwrap();
                }
            },
        );
        response.assert_proof_of(samples::range_check());
    }

    pub(super) fn a_draining_server_is_replaced_by_the_next_one(kind: ProblemType) {
        let mut old = TestServer::start_default();
        let (mut client, bb) = old.suspend_mid_proof();
        old.signal(Signal::TERM);
        eventually("the server reports that it is not ready", || {
            (old.get("/readyz").status == 503).then_some(())
        });
        let next = TestServer::start_default();
        let address = Cell::new(old.address());
        let witness = &samples::range_check().witness;
        let send =
            |_| crate::support::client::Request::prove(address.get(), "/api/prove", witness).try_send().ok();
        let response = retried(kind, send, || address.set(next.address()));
        response.assert_proof_of(samples::range_check());
        bb.resume();
        client.read_response().assert_proof_of(samples::range_check());
        assert_eq!(old.wait_for_exit().code(), Some(0));
    }

    pub(super) fn an_audit_log_is_waited_for(kind: ProblemType) {
        let dir = tempfile::tempdir().unwrap();
        let (log, aside) = (dir.path().join("audit.jsonl"), dir.path().join("aside"));
        let server = TestServer::start(|s| s.flag("--audit", &log.display()));
        fs::rename(&log, &aside).unwrap();
        proved_after_retry(kind, &server, || fs::rename(&aside, &log).unwrap());
        server.finish();
    }

    pub(super) fn a_full_spool_is_waited_for(kind: ProblemType) {
        if skipped::lacks_mount_namespaces() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        let server = TestServer::start(|s| {
            s.small_disk(&spool, 64 << 10, "");
            s.spool = Some(spool.clone());
        });
        let filler = server.fill_disk(&spool.join("filler"), 0);
        proved_after_retry(kind, &server, || fs::remove_file(filler).unwrap());
    }

    pub(super) fn unfinished_uploads_are_waited_for(kind: ProblemType) {
        let server = TestServer::start(two_callers);
        let range = samples::range_check();
        let padded = samples::padded(&range.witness, 1_000_000);
        let uploads = [(); 2].map(|()| begin_upload(&server, upload_bounds::ALICE, &padded));
        let send = |_| {
            let request = server.prove_request(&padded).header(headers::API_KEY, upload_bounds::ALICE);
            request.try_send().ok()
        };
        retried(kind, send, || drop(uploads)).assert_proof_of(range);
    }

    pub(super) fn a_request_with_a_key_is_sent_again(kind: ProblemType) {
        let jobs = JobServer::start(|s| s.flag("--request-timeout", "4s"));
        let provers = suspend(&jobs.server);
        let send = |_| {
            let request = jobs.server.prove_request(&samples::range_check().witness);
            Some(request.header(headers::IDEMPOTENCY_KEY, "order-4").send())
        };
        let response = retried(kind, send, || resume(&provers));
        response.assert_proof_of(samples::range_check());
        assert_eq!(jobs.server.count_jobs(JobStatus::Completed), 1, "the key makes one job of all attempts");
    }
}

/// The problem of a failed job does not change any more, so a client must not ask for it again.
#[test]
fn the_problem_of_a_failed_job_is_not_retryable() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("data").display().to_string();
    let fake = FakeBbServer::new(&[("--data", &path), ("--job-attempts", "1")]);
    fake.switch_to_and_wait(Behaviour::Die);
    let named = |key: &str| {
        let request = fake.server.prove_request(&samples::range_check().witness);
        request.header(headers::IDEMPOTENCY_KEY, key)
    };
    let failed = RetryingClient::default().run(|_| Some(named("order-5").send()));
    assert!(failed.refusals.is_empty(), "{failed:?}");
    assert_eq!((failed.response.status.as_u16(), failed.response.header("retry-after")), (500, ""));
    let problem = failed.response.json();
    assert_eq!((&problem["code"], &problem["retryable"]), (&"prover_crashed".into(), &false.into()));

    fake.switch_to_and_wait(Behaviour::Real);
    let job = named("order-5").header("prefer", "respond-async").send().assert_accepted();
    let error = job.error.expect("the job has failed");
    assert!(error.retryable, "a new job may succeed: {error:?}");
    assert_eq!(fake.server.get(&job.links.proof).json()["retryable"], false);
    named("order-6").send().assert_proof_of(samples::range_check());
}
