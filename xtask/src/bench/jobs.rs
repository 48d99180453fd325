//! Jobs: what it costs to hand work in instead of waiting for it, to watch it, and to ask for the same again.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::{Path, PathBuf},
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

/// From a request's first byte until its job is begun, in milliseconds, on an idle server.
const BEGUN_MAX_MS: f64 = 10.0;
/// Jobs a second that are nothing but jobs.
const NOOPS_MIN: f64 = 1000.0;
const NOOPS: usize = 5000;
/// Who hands them in at a time, as requests would, and the workers of a server that is left as it comes.
const SUBMITTERS: usize = 16;
const WORKERS: usize = 4;

const WATCHERS: usize = 1000;
/// For how long it is looked what they cost, and how long the server is left alone before.
const WINDOW: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(1);
/// What all of them may cost: a hundredth of a core, in milliseconds of its time a second.
const WATCHING_MAX_MS: f64 = 10.0;

const DAY_MS: f64 = 86_400_000.0;

/// All of them.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let workload = fixture.smallest();
    let mut rows = vec![until_begun(fixture, workload)?, remembered(fixture, workload)?, noops(fixture)?];
    rows.extend(watchers(fixture, workload)?);
    Ok(rows)
}

/// A folder for a database: on a disk, as a server's would be, and not in memory.
fn folder(fixture: &Fixture) -> anyhow::Result<tempfile::TempDir> {
    tempfile::tempdir_in(&fixture.ready.paths.target).context("no folder for jobs can be made")
}

fn keeping(fixture: &Fixture, data: &Path, more: &[&str]) -> anyhow::Result<Server> {
    let data = data.join("data").display().to_string();
    fixture.serve(&[&["--data", &data], more].concat())
}

fn until_begun(fixture: &Fixture, workload: &Workload) -> anyhow::Result<Row> {
    let data = folder(fixture)?;
    let server = keeping(fixture, data.path(), &[])?;
    let client = Client::new(server.url());
    let submit = || {
        let asked = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine has no date")?;
        let (accepted_ms, job) = client.submit(&workload.name, &workload.witness_bytes)?;
        let over = follow(&client, &job)?;
        let begun = over.started_at.as_deref().and_then(ms_of_day).context("a job was never begun")?;
        // It is told in whole milliseconds: what is left out of the last one is counted.
        let until_begun = (begun + 1.0 - milliseconds(asked)).rem_euclid(DAY_MS);
        Ok((until_begun, accepted_ms))
    };
    let mut samples = sampling::repeated(fixture.rounds + 1, submit)?;
    // The first one has its circuit's history to look for.
    samples.remove(0);
    let (begun, accepted) = samples.into_iter().unzip();
    let figure = |name: &str, samples| Figure::new(name, Unit::Milliseconds, samples);
    let what = "from a POST until its job is begun, SQLite on a disk";
    let from = vec![figure("until it is accepted", accepted)];
    Ok(Row::held(what, figure("begun", begun), Goal::AtMost(BEGUN_MAX_MS), from).of(workload))
}

/// Waits until the job is over.
fn follow(client: &Client, job: &JobDocument) -> anyhow::Result<JobDocument> {
    // The stream ends with the job.
    client.get(&job.links.events)?;
    let over: JobDocument = client.get_json(&job.links.this)?;
    ensure!(over.status == JobStatus::Completed, "a job is {}: {:?}", over.status, over.error);
    Ok(over)
}

/// Of an RFC 3339 time in UTC the milliseconds since midnight.
fn ms_of_day(time: &str) -> Option<f64> {
    let (_, time) = time.strip_suffix('Z')?.split_once('T')?;
    let mut seconds = 0.0;
    for (unit, part) in [3600.0, 60.0, 1.0].into_iter().zip(time.splitn(3, ':')) {
        seconds += unit * part.parse::<f64>().ok()?;
    }
    Some(seconds * 1000.0)
}

fn remembered(fixture: &Fixture, workload: &Workload) -> anyhow::Result<Row> {
    let server = fixture.serve(&["--proof-cache", "50"])?;
    let client = Client::new(server.url());
    client.prove(&workload.name, &workload.witness_bytes)?;
    let mut again = || Ok(client.prove(&workload.name, &workload.witness_bytes)?.ms);
    let mut anew = || Ok(client.prove_anew(&workload.name, &workload.witness_bytes)?.ms);
    let [again, anew] = sampling::in_turn(fixture.rounds, &mut [&mut again, &mut anew])?;
    let again = Figure::new("a remembered proof", Unit::Milliseconds, again);
    let anew = Figure::new("a new one", Unit::Milliseconds, anew);
    let what = "a proof that is asked for again over one that is made";
    Ok(Row::told(what, Figure::ratio(&again, &anew), vec![again, anew]).of(workload))
}

/// What `container_src/examples/noop_jobs.rs` prints, as far as it is told here.
#[derive(Debug, Deserialize)]
struct Noops {
    jobs_per_second: f64,
    bare_per_second: f64,
    submit_ms: f64,
    start_ms: f64,
}

fn noops(fixture: &Fixture) -> anyhow::Result<Row> {
    let program = build_noops(fixture)?;
    let run = || {
        let data = folder(fixture)?;
        let mut command = Command::new(&program);
        command.arg(data.path()).args([NOOPS, SUBMITTERS, WORKERS].map(|number| number.to_string()));
        let output = command.output().with_context(|| format!("{} cannot be run", program.display()))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} failed: {complaint}", program.display());
        Ok(serde_json::from_slice::<Noops>(&output.stdout)?)
    };
    let samples = sampling::repeated(fixture.few_rounds(), run)?;
    let figure =
        |name: &str, unit, of: fn(&Noops) -> f64| Figure::new(name, unit, samples.iter().map(of).collect());
    let from = vec![
        figure("bare SQLite, one by one", Unit::JobsPerSecond, |noops| noops.bare_per_second),
        figure("a lone one is accepted after", Unit::Milliseconds, |noops| noops.submit_ms),
        figure("and begun after", Unit::Milliseconds, |noops| noops.start_ms),
    ];
    let jobs = figure("jobs", Unit::JobsPerSecond, |noops| noops.jobs_per_second);
    Ok(Row::held("jobs a second that are nothing but jobs", jobs, Goal::AtLeast(NOOPS_MIN), from))
}

fn build_noops(fixture: &Fixture) -> anyhow::Result<PathBuf> {
    eprintln!("  noop_jobs: building it, profile release");
    let build = ["build", "--locked", "--package", "edgeprove", "--example", "noop_jobs", "--release"];
    process::run(process::cargo(&build).current_dir(&fixture.ready.paths.root))?;
    Ok(fixture.ready.paths.target.join("release/examples/noop_jobs"))
}

/// Watchers of a job that does not move, because its bb is stopped.
fn watchers(fixture: &Fixture, workload: &Workload) -> anyhow::Result<Vec<Row>> {
    let what = format!("processor time of {WATCHERS} idle watchers, a second");
    if !process_stats::is_known() {
        return Ok(vec![Row::skipped(what, "this system has no /proc to read it from")]);
    }
    allow_open_files()?;
    let data = folder(fixture)?;
    let server = keeping(fixture, data.path(), &["--connections", "2000", "--prove-timeout", "30m"])?;
    let provers = process_stats::children(server.pid())?;
    let signal = |signal| provers.iter().try_for_each(|prover| send(prover.pid, signal));
    signal(Signal::STOP)?;
    let client = Client::new(server.url());
    let (_, job) = client.submit(&workload.name, &workload.witness_bytes)?;
    let measure = || {
        let window = || {
            thread::sleep(SETTLE);
            interrupt::go_on()?;
            let before = process_stats::processor_ms(server.pid())?;
            thread::sleep(WINDOW);
            let spent = process_stats::processor_ms(server.pid())? - before;
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
    // What the first take of memory, later ones find there.
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
        Row::held(what, added, Goal::AtMost(WATCHING_MAX_MS), from),
        Row::told("memory of the server for each watcher", memory, Vec::new()),
    ])
}

/// A watcher that has heard how the job is.
fn watch(url: &str, job: &JobDocument) -> anyhow::Result<BufReader<TcpStream>> {
    let host = url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(host).context("a watcher finds no server")?;
    write!(connection, "GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", job.links.events)?;
    let mut connection = BufReader::with_capacity(2048, connection);
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        ensure!(connection.read_line(&mut line)? > 0, "a watcher is told nothing");
    }
    Ok(connection)
}

/// This process and those that it starts may have as many files open as the system lets them.
fn allow_open_files() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("too few files may be open")
}

fn send(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no such process")?;
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
