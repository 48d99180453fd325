//! Ten thousand jobs, and a thousand watchers.

use std::{thread, time::Duration};

use edgeprove_job_queue::store::{Database, DatabaseLocation as Storage, Durability};
use edgeprove_protocol::{JobDocument, JobId, JobStatus, ProblemType};
use edgeprove_testkit::{Connection, TestServer, processes::Process, samples};
use http::Method;
use rustix::process::Signal;

use crate::support::{Place, assert_proved, freeze, hand_in, thaw, until_completed, until_running};

const JOBS: usize = 10_000;
const WATCHERS: usize = 1_000;
/// The kernel's clock for what processes take, as it is on every machine.
const MS_OF_A_TICK: u64 = 10;
/// For how long a process is watched.
const LOOK: Duration = Duration::from_secs(3);
/// How much more of a processor an answer may take where there are ten thousand jobs, in milliseconds. It is not what
/// it takes, which the benchmark tells, but far below what looking at each job for each other one would.
const MORE_MS_AT_MOST: u64 = 250;

const FLAGS: [(&str, &str); 4] =
    [("--job-workers", "1"), ("--job-queue-max", "20000"), ("--jobs-per-caller", "20000"), ("--drain", "1s")];

/// What answers take of a processor, in milliseconds.
#[derive(Debug)]
struct Costs([(&'static str, u64); 6]);

/// What it takes of the server's time to do this, on average. How busy others keep the machine is of no account.
#[track_caller]
fn cost(server: &TestServer, what: impl Fn()) -> u64 {
    const TIMES: u64 = 10;
    let ticks = || Process::look(server.pid()).unwrap().ticks;
    let before = ticks();
    (0..TIMES).for_each(|_| what());
    (ticks() - before) * MS_OF_A_TICK / TIMES
}

impl Costs {
    #[track_caller]
    fn of(server: &TestServer) -> Self {
        let last = server.hand_in(samples::range());
        let seen = |path: &str| assert_eq!(server.get(path).status, 200, "{path}");
        Self([
            ("submit", cost(server, || _ = server.hand_in(samples::range()))),
            ("job", cost(server, || drop(server.job(last)))),
            ("list", cost(server, || seen("/v1/proofs?limit=100"))),
            ("list of completed", cost(server, || seen("/v1/proofs?status=completed"))),
            ("queue", cost(server, || drop(server.queue()))),
            ("metrics", cost(server, || seen("/metrics"))),
        ])
    }

    #[track_caller]
    fn assert_not_much_more_than(&self, others: &Self) {
        eprintln!("with few jobs: {others:?}\nwith {JOBS}: {self:?}");
        for ((what, with_many), (_, with_few)) in self.0.iter().zip(&others.0) {
            assert!(
                *with_many < *with_few + MORE_MS_AT_MOST,
                "{what}: {with_many} ms instead of {with_few} ms"
            );
        }
    }
}

/// A server that works on one job and does not get on with it.
#[track_caller]
fn stuck(place: &Place) -> TestServer {
    let server = place.serve(&FLAGS);
    freeze(&server);
    server.hand_in(samples::range());
    until_running(&server, 1);
    server
}

/// Writes so many jobs into the database of a server that is not there, like one that is queued in it.
fn copy_jobs(place: &Place, jobs: usize) {
    let copy = format!(
        "WITH RECURSIVE copies(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM copies WHERE number < {jobs}) \
         INSERT INTO jobs (id, kind, subject, version, owner, priority, rank, status, run_at, enqueued_at, \
         attempts, max_attempts, lease_token, payload, percent) \
         SELECT lower(printf('%s-%s-4%s-8%s-%s', hex(randomblob(4)), hex(randomblob(2)), \
         substr(hex(randomblob(2)), 2), substr(hex(randomblob(2)), 2), hex(randomblob(6)))), \
         kind, subject, version, owner, priority, rank, status, run_at, enqueued_at, attempts, max_attempts, \
         lease_token, payload, percent FROM copies, (SELECT * FROM jobs WHERE status = 'queued' LIMIT 1)"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Database::open(&Storage::Folder(place.at("data"))).await.unwrap();
        let copy: &'static str = copy.leak();
        database.session(Durability::Write).await.unwrap().rows(copy, []).await.unwrap();
        database.close().await;
    });
}

/// Ends a server that is stuck.
#[track_caller]
fn end(mut server: TestServer) {
    server.signal(Signal::TERM);
    assert_eq!(server.ends().code(), Some(0));
}

#[test]
fn ten_thousand_jobs_make_nobody_wait() {
    let place = Place::new();
    let server = stuck(&place);
    let few = Costs::of(&server);
    end(server);
    copy_jobs(&place, JOBS);
    let server = stuck(&place);
    assert!(server.jobs_that_are(JobStatus::Queued) > 10_000);
    Costs::of(&server).assert_not_much_more_than(&few);
    let page: Vec<JobDocument> =
        serde_json::from_value(server.get("/v1/proofs?limit=100").json()["jobs"].take()).unwrap();
    assert!(page.iter().all(|job| job.queue_position > Some(9_900)), "they are the last");
    let cancelled = server.ask(Method::DELETE, &format!("/v1/proofs/{}", page[0].id)).send().job();
    assert_eq!(cancelled.status, JobStatus::Cancelled);
    assert!(server.get("/metrics").body.windows(16).any(|part| part == b"priority=\"NORMAL"));
    end(server);
}

/// What a process uses while nothing happens: CPU in clock ticks over a while, memory in bytes.
fn idle_use(server: &TestServer) -> (u64, u64) {
    let look = || Process::look(server.pid()).unwrap();
    let before = look();
    thread::sleep(LOOK);
    let after = look();
    (after.ticks - before.ticks, after.resident_bytes())
}

#[test]
fn a_thousand_idle_watchers_cost_nothing_to_speak_of() {
    let place = Place::new();
    let server = stuck(&place);
    let jobs = hand_in(&server, samples::range(), 10);
    let (ticks_alone, bytes_alone) = idle_use(&server);
    let watch = |id: &JobId| {
        let mut watcher = Connection::open(server.address());
        watcher.get(&format!("/v1/proofs/{id}/events"));
        watcher
    };
    let mut watchers: Vec<_> = jobs.iter().cycle().take(WATCHERS).map(watch).collect();
    for watcher in &watchers {
        assert!(watcher.hears_within(Duration::from_secs(20)), "a watcher hears nothing");
    }
    assert_eq!(server.queue()["watched"], jobs.len());
    let (ticks, bytes) = idle_use(&server);
    let each = bytes.saturating_sub(bytes_alone) / WATCHERS as u64;
    eprintln!("{ticks} ticks in {LOOK:?} instead of {ticks_alone}, {each} bytes for each watcher");
    assert!(ticks <= ticks_alone + 15, "{ticks} instead of {ticks_alone} ticks");
    assert!(each <= 64 << 10, "{each} bytes for each watcher");

    // All of them are still there.
    for id in &jobs {
        server.ask(Method::DELETE, &format!("/v1/proofs/{id}")).send().job();
    }
    for watcher in &mut watchers {
        watcher.end_sending();
        let told = String::from_utf8(watcher.rest()).unwrap();
        assert!(told.contains("event: done") && told.contains("cancelled"), "{told}");
    }
    drop(watchers);
    end(server);
}

#[test]
#[ignore = "hands in ten thousand jobs one by one"]
fn ten_thousand_jobs_are_taken_in_and_none_more() {
    const CALLERS: usize = 8;
    let place = Place::new();
    let server = place.serve(&[
        ("--job-workers", "1"),
        ("--job-queue-max", "10000"),
        ("--jobs-per-caller", "20000"),
        ("--prove-timeout", "1h"),
        ("--drain", "1s"),
    ]);
    freeze(&server);
    let first = server.hand_in(samples::range());
    until_running(&server, 1);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| hand_in(&server, samples::range(), JOBS / CALLERS));
        }
    });
    assert_eq!(server.jobs_that_are(JobStatus::Queued), JOBS as u64);
    server.handing_in(samples::range()).send().refused_for_now(ProblemType::QueueFull);
    let jobs = server.all_jobs();
    assert_eq!(jobs.len(), JOBS + 1);
    assert_eq!(jobs.last().map(|job| job.id), Some(first));
    thaw(&server);
    until_completed(&server, 20);
    // Whatever is at work and queued is kept for the next start.
    end(server);
    let server = place.serve(&[("--job-workers", "1"), ("--drain", "1s")]);
    let oldest: Vec<_> = jobs[JOBS - 19..].iter().map(|job| job.id).collect();
    assert_proved(&server, &oldest, samples::range());
    until_completed(&server, 30);
    end(server);
}
