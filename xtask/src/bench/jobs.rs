//! Jobs: the time until one starts, jobs a second without work, and the cost of watchers; and a cached proof.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use edgeprove_protocol::{JobDocument, JobStatus};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde::Deserialize;

use super::{
    client::Client,
    fixture::{Fixture, Workload},
    milliseconds, process_stats,
    report::{Figure, Goal, Row, Unit},
    sampling,
};
use crate::{interrupt, process, server::Server};

/// From the first byte of a request until its job starts, in milliseconds, on an idle server.
const START_MAX_MS: f64 = 10.0;
/// Jobs a second without work.
const NOOPS_MIN: f64 = 1000.0;
const NOOPS: usize = 5000;
/// Concurrent submitters, as requests would be, and the default number of a server's workers.
const SUBMITTERS: usize = 16;
const WORKERS: usize = 4;

const WATCHERS: usize = 1000;
/// The time over which the cost of watchers is measured, and the pause before it.
const WINDOW: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(5);
/// The most CPU time of all watchers, in milliseconds a second: one hundredth of a core.
const WATCHING_MAX_MS: f64 = 10.0;

const DAY_MS: f64 = 86_400_000.0;

/// All rows.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let workload = fixture.smallest();
    let mut rows = vec![until_started(fixture, workload)?, cached(fixture, workload)?, noops(fixture)?];
    rows.extend(watchers(fixture, workload)?);
    Ok(rows)
}

/// A folder for a database, on a disk as in production and not in memory.
fn data_folder(fixture: &Fixture) -> anyhow::Result<tempfile::TempDir> {
    tempfile::tempdir_in(&fixture.ready.paths.target).context("a folder for jobs cannot be created")
}

fn serve_with_data(fixture: &Fixture, data: &Path, more: &[&str]) -> anyhow::Result<Server> {
    let data = data.join("data").display().to_string();
    fixture.serve(&[&["--data", &data], more].concat())
}

fn until_started(fixture: &Fixture, workload: &Workload) -> anyhow::Result<Row> {
    let data = data_folder(fixture)?;
    let server = serve_with_data(fixture, data.path(), &[])?;
    let client = Client::new(server.url());
    let submit = || {
        let submitted =
            SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's clock is not set")?;
        let (accepted_ms, job) = client.submit(&workload.name, &workload.witness_bytes)?;
        let finished = follow(&client, &job)?;
        let started =
            finished.started_at.as_deref().and_then(ms_of_day).context("a job has no start time")?;
        // The start time has whole milliseconds, rounded down. One more makes it an upper bound.
        let until_started = (started + 1.0 - milliseconds(submitted)).rem_euclid(DAY_MS);
        Ok((until_started, accepted_ms))
    };
    let mut samples = sampling::repeated(fixture.rounds + 1, submit)?;
    // The first job also reads its circuit's history from the database.
    samples.remove(0);
    let (started, accepted) = samples.into_iter().unzip();
    let figure = |name: &str, samples| Figure::new(name, Unit::Milliseconds, samples);
    let what = "from a POST until its job starts, SQLite on a disk";
    let from = vec![figure("until it is accepted", accepted)];
    Ok(Row::with_goal(what, figure("started", started), Goal::AtMost(START_MAX_MS), from).of(workload))
}

/// Waits until the job has finished.
fn follow(client: &Client, job: &JobDocument) -> anyhow::Result<JobDocument> {
    // The stream ends with the job.
    client.get(&job.links.events)?;
    let finished: JobDocument = client.get_json(&job.links.this)?;
    ensure!(finished.status == JobStatus::Completed, "a job is {}: {:?}", finished.status, finished.error);
    Ok(finished)
}

/// The milliseconds since midnight of an RFC 3339 time in UTC.
fn ms_of_day(time: &str) -> Option<f64> {
    let (_, time) = time.strip_suffix('Z')?.split_once('T')?;
    let mut seconds = 0.0;
    for (unit, part) in [3600.0, 60.0, 1.0].into_iter().zip(time.splitn(3, ':')) {
        seconds += unit * part.parse::<f64>().ok()?;
    }
    Some(seconds * 1000.0)
}

fn cached(fixture: &Fixture, workload: &Workload) -> anyhow::Result<Row> {
    let server = fixture.serve(&["--proof-cache", "50"])?;
    let client = Client::new(server.url());
    client.prove(&workload.name, &workload.witness_bytes)?;
    let mut again = || Ok(client.prove(&workload.name, &workload.witness_bytes)?.ms);
    let mut uncached = || Ok(client.prove_uncached(&workload.name, &workload.witness_bytes)?.ms);
    let [again, uncached] = sampling::in_turn(fixture.rounds, &mut [&mut again, &mut uncached])?;
    let again = Figure::new("a cached proof", Unit::Milliseconds, again);
    let uncached = Figure::new("a new proof", Unit::Milliseconds, uncached);
    let what = "a cached proof over a new one";
    Ok(Row::without_goal(what, Figure::ratio(&again, &uncached), vec![again, uncached]).of(workload))
}

/// The output of `crates/job-queue/examples/noop_jobs.rs`, as far as a row needs it.
#[derive(Debug, Deserialize)]
struct Noops {
    jobs_per_second: f64,
    bare_per_second: f64,
    submit_ms: f64,
    start_ms: f64,
}

fn noops(fixture: &Fixture) -> anyhow::Result<Row> {
    let program = process::example(&fixture.ready.paths, "edgeprove-job-queue", "noop_jobs")?;
    let run = || {
        let data = data_folder(fixture)?;
        let mut command = Command::new(&program);
        command.arg(data.path()).args([NOOPS, SUBMITTERS, WORKERS].map(|number| number.to_string()));
        let output = command.output().with_context(|| format!("{} cannot be run", program.display()))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} failed: {stderr}", program.display());
        Ok(serde_json::from_slice::<Noops>(&output.stdout)?)
    };
    let samples = sampling::repeated(fixture.few_rounds(), run)?;
    let figure =
        |name: &str, unit, of: fn(&Noops) -> f64| Figure::new(name, unit, samples.iter().map(of).collect());
    let from = vec![
        figure("bare SQLite, one job after the other", Unit::JobsPerSecond, |noops| noops.bare_per_second),
        figure("a single job is accepted after", Unit::Milliseconds, |noops| noops.submit_ms),
        figure("and starts after", Unit::Milliseconds, |noops| noops.start_ms),
    ];
    let jobs = figure("jobs", Unit::JobsPerSecond, |noops| noops.jobs_per_second);
    Ok(Row::with_goal("jobs a second without work", jobs, Goal::AtLeast(NOOPS_MIN), from))
}

/// Watchers of a job that makes no progress, because its bb is stopped.
fn watchers(fixture: &Fixture, workload: &Workload) -> anyhow::Result<Vec<Row>> {
    let what = format!("CPU time of {WATCHERS} idle watchers, a second");
    if !process_stats::is_supported() {
        return Ok(vec![Row::skipped(what, "this system has no /proc")]);
    }
    allow_open_files()?;
    let data = data_folder(fixture)?;
    let bounds = ["--connections", "--requests-per-caller", "--watchers", "--watchers-per-caller"];
    let mut flags: Vec<&str> = bounds.into_iter().flat_map(|bound| [bound, "2000"]).collect();
    flags.extend(["--prove-timeout", "30m"]);
    let server = serve_with_data(fixture, data.path(), &flags)?;
    let client = Client::new(server.url());
    // With an estimate the percentage of the job below stops to rise within seconds. Without one it would rise for minutes,
    // and each watcher would get an event a second.
    client.prove_uncached(&workload.name, &workload.witness_bytes)?;
    let provers = process_stats::children(server.pid())?;
    let signal = |signal| provers.iter().try_for_each(|prover| send_signal(prover.pid, signal));
    signal(Signal::STOP)?;
    let (_, job) = client.submit(&workload.name, &workload.witness_bytes)?;
    let measure = || {
        let window = || {
            thread::sleep(SETTLE);
            interrupt::check()?;
            let before = process_stats::cpu_ms(server.pid())?;
            thread::sleep(WINDOW);
            let spent = process_stats::cpu_ms(server.pid())? - before;
            Ok::<_, anyhow::Error>(spent / WINDOW.as_secs_f64())
        };
        let (alone, before) = (window()?, process_stats::anonymous_mib(server.pid())?);
        let watching =
            (0..WATCHERS).map(|_| watch(server.url(), &job)).collect::<anyhow::Result<Vec<_>>>()?;
        let watched = window()?;
        let grown = (process_stats::anonymous_mib(server.pid())? - before).max(0.0);
        drop(watching);
        #[expect(clippy::cast_precision_loss, reason = "some thousand watchers")]
        Ok((alone, watched, grown * 1024.0 / WATCHERS as f64))
    };
    // Only the first watchers allocate memory. Later ones reuse it, so the largest growth is the result.
    let measured = sampling::repeated(fixture.few_rounds(), measure);
    signal(Signal::CONT)?;
    let measured = measured?;
    follow(&client, &job)?;
    let each = |of: fn(&(f64, f64, f64)) -> f64| measured.iter().map(of).collect::<Vec<_>>();
    let ms = |name: &str, samples| Figure::new(name, Unit::Milliseconds, samples);
    let added = ms("added", each(|(alone, watched, _)| watched - alone));
    let from =
        vec![ms("with them", each(|(_, watched, _)| *watched)), ms("without", each(|(alone, ..)| *alone))];
    let grown = measured.iter().map(|(_, _, grown)| *grown).fold(0.0, f64::max);
    let memory = Figure::new("each", Unit::Kibibytes, vec![grown]);
    Ok(vec![
        Row::with_goal(what, added, Goal::AtMost(WATCHING_MAX_MS), from),
        Row::without_goal("memory of the server for each watcher", memory, Vec::new()),
    ])
}

/// Opens a watcher and waits for its first event.
fn watch(url: &str, job: &JobDocument) -> anyhow::Result<BufReader<TcpStream>> {
    let host = url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(host).context("a watcher cannot connect to the server")?;
    write!(connection, "GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", job.links.events)?;
    let mut connection = BufReader::with_capacity(2048, connection);
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        ensure!(connection.read_line(&mut line)? > 0, "a watcher received no event");
    }
    Ok(connection)
}

/// Raises the limit of open files of this process and its children to the system's maximum.
fn allow_open_files() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("the limit of open files cannot be raised")
}

fn send_signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("the process id is not valid")?;
    Ok(kill_process(pid, signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_millisecond() {
        for (time, ms) in [
            ("2026-11-21T00:00:00Z", 0.0),
            ("2026-11-21T01:02:03.5Z", 3_723_500.0),
            ("1970-01-01T23:59:59.999Z", 86_399_999.0),
        ] {
            assert!((ms_of_day(time).unwrap() - ms).abs() < 1e-6, "{time}");
        }
        for bad in ["", "2026-11-21", "2026-11-21T01:02:xZ", "2026-11-21T01:02:03+01:00"] {
            assert_eq!(ms_of_day(bad), None, "{bad}");
        }
    }
}
