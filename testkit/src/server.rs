//! Starts a server as a process of its own. At its end, it checks what must be true of every server: its spool is
//! empty, it exits with 0 when it is asked to, no child is left, and its log contains neither a panic nor a private
//! value.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    thread,
    time::Duration,
};

use edgeprove_protocol::{Target, answer::Health, headers};
use http::Method;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    Connection, Response,
    client::Request,
    contract,
    processes::{self, Process},
    samples::{self, Sample},
    settings::{ServerFolder, Settings},
    wait::{eventually, try_eventually},
};

/// A running server.
#[derive(Debug)]
pub struct TestServer {
    // Dropped before the folder that the server uses.
    guard: ProcessGuard,
    folder: ServerFolder,
    address: SocketAddr,
    /// The process of the server itself, also where a wrapper started it.
    pid: i32,
    provers: usize,
    sample: Option<Sample>,
    has_wrapper: bool,
    has_ended: bool,
}

/// Kills a server and its children when a test ends, whichever way it ends.
#[derive(Debug)]
struct ProcessGuard {
    child: Child,
    log: PathBuf,
    crs: PathBuf,
}

impl Drop for ProcessGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().filter(|line| !is_probe(line)).collect();
            for line in lines.iter().skip(lines.len().saturating_sub(40)) {
                eprintln!("server: {line}");
            }
        }
        // An error means that the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for bb in processes::with_crs(&self.crs) {
            bb.signal(Signal::KILL);
        }
    }
}

/// How a server ended that could not start.
#[derive(Debug)]
pub struct FailedStart {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// Its standard error.
    pub stderr: String,
}

impl TestServer {
    /// Starts a server of `range_check` with the settings of [`Settings::new`].
    #[track_caller]
    pub fn start_default() -> Self {
        Self::start(|_| {})
    }

    /// Starts a server with changed settings.
    #[track_caller]
    pub fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new();
        change(&mut settings);
        let folder = ServerFolder::new(&settings);
        let (provers, sample, wait) = (settings.provers, settings.sample.clone(), settings.wait_until_ready);
        let has_wrapper = settings.wrapper.is_some();
        let child = folder.command(settings).spawn().expect("the server can be started");
        let pid = i32::try_from(child.id()).unwrap();
        let mut guard = ProcessGuard { child, log: folder.log(), crs: folder.crs() };
        let address = eventually("the server listens", || {
            let status = guard.child.try_wait().unwrap();
            assert!(status.is_none(), "the server ended with {status:?}");
            fs::read_to_string(folder.address_file()).ok()?.trim().parse().ok()
        });
        contract::register(address);
        let server = Self { guard, folder, address, pid, provers, sample, has_wrapper, has_ended: false };
        if wait {
            server.wait_until_ready();
        }
        server
    }

    /// Starts a server with settings that prevent its start, and returns how it ended.
    #[track_caller]
    pub fn fails_to_start(change: impl FnOnce(&mut Settings)) -> FailedStart {
        let mut settings = Settings::new();
        change(&mut settings);
        let folder = ServerFolder::new(&settings);
        let child = folder.command(settings).spawn().expect("the server can be started");
        let mut guard = ProcessGuard { child, log: folder.log(), crs: folder.crs() };
        let status = eventually("the server ends", || guard.child.try_wait().unwrap());
        assert!(!folder.address_file().exists(), "the server opened a port");
        processes::assert_none_with_crs(&folder.crs());
        assert_eq!(entries(&folder.spool), Vec::<PathBuf>::new());
        let stderr = fs::read_to_string(folder.log()).unwrap();
        FailedStart { code: status.code(), stderr }
    }

    /// Waits until `/readyz` reports that the server can prove.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        eventually("the server is ready", || {
            let response = self.request(Method::GET, "/readyz").try_send();
            response.is_ok_and(|response| response.status == 200).then_some(())
        });
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process number of the server.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sets the process number of the server, where the server is a child of the process that the test started.
    pub fn set_pid(&mut self, pid: i32) {
        self.pid = pid;
    }

    /// The spool folder.
    pub fn spool(&self) -> &Path {
        &self.folder.spool
    }

    /// A path in the mount namespace of the server, as a path for the test.
    pub fn path_in_namespace(&self, path: &Path) -> PathBuf {
        // The kernel shows the root folder of a process that cannot dump its core to root alone.
        if !self.has_wrapper {
            return path.to_owned();
        }
        format!("/proc/{}/root{}", self.pid, path.display()).into()
    }

    /// Fills the server's file system at this path, except for this many pages. Removing the returned file frees it.
    #[track_caller]
    pub fn fill_disk(&self, path: &Path, spare_pages: u64) -> PathBuf {
        let path = self.path_in_namespace(path);
        let mut filler = fs::File::create(&path).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        let len = filler.metadata().unwrap().len();
        filler.set_len(len - spare_pages * 4096).unwrap();
        path
    }

    /// The text of the log so far.
    pub fn log(&self) -> String {
        String::from_utf8(fs::read(self.folder.log()).unwrap()).expect("the log is text")
    }

    /// The complete lines of the log so far, as JSON.
    #[track_caller]
    pub fn log_lines(&self) -> Vec<Value> {
        let log = self.log();
        let complete = log.rsplit_once('\n').map_or("", |(complete, _)| complete);
        complete.lines().map(parse_log_line).collect()
    }

    /// Waits until a line of the log meets a condition, and returns the first such line.
    ///
    /// Conditions are about fields, levels and spans. The message is for people, and may be reworded at any time.
    #[track_caller]
    pub fn wait_for_log_line(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || self.log_lines().into_iter().find(&condition))
    }

    /// The line that the log has for a response. The server may write it shortly after it has sent the response.
    #[track_caller]
    pub fn wait_for_request_line(&self, response: &Response) -> Value {
        let id = response.header(headers::REQUEST_ID);
        assert!(!id.is_empty(), "{response:?}");
        let status = response.status.as_u16();
        self.wait_for_log_line("the request is logged", |line| {
            line["span"]["request_id"] == id && line["status"] == status && line["route"].is_string()
        })
    }

    /// A request to the server.
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request::new(self.address, method, path)
    }

    /// Sends a GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send()
    }

    /// A request for a proof of the default circuit.
    pub fn prove_request(&self, witness: &[u8]) -> Request {
        self.prove_request_at("/api/prove", witness)
    }

    /// A request for a proof at this path.
    pub fn prove_request_at(&self, path: &str, witness: &[u8]) -> Request {
        Request::prove(self.address, path, witness)
    }

    /// Requests a proof of the default circuit.
    #[track_caller]
    pub fn prove(&self, witness: &[u8]) -> Response {
        self.prove_request(witness).send()
    }

    /// The health report.
    #[track_caller]
    pub fn health(&self) -> Health {
        let response = self.get("/api/health");
        serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {response:?}"))
    }

    /// The bb processes of the server, including fake ones and orphans.
    pub fn provers(&self) -> Vec<Process> {
        processes::with_crs(&self.folder.crs())
    }

    /// Sends a request while every bb is suspended, so that the first proof never ends.
    pub fn with_suspended_provers(&self, send: impl FnOnce() -> Response) -> Response {
        let provers = self.provers();
        for bb in &provers {
            bb.signal(Signal::STOP);
        }
        let response = send();
        for bb in provers {
            bb.resume();
        }
        response
    }

    /// The files in the spool.
    pub fn spool_files(&self) -> Vec<PathBuf> {
        let spool = self.path_in_namespace(&self.folder.spool);
        entries(&spool).iter().flat_map(|folder| entries(folder)).collect()
    }

    /// Waits until nothing of earlier requests is left: no file in the spool, no running proof, and no child except the
    /// warm provers.
    #[track_caller]
    pub fn assert_idle(&self) {
        try_eventually("the server is idle", || {
            let (spooled, provers, dead) = (self.spool_files(), self.provers(), self.dead_children());
            let health = self.health();
            let (running, waiting) = (health.prover.running, health.prover.waiting);
            let is_idle = spooled.is_empty() && dead == 0 && running + waiting == 0;
            (is_idle && provers.len() == self.provers).then_some(()).ok_or_else(|| {
                format!("{spooled:?}, {dead} dead, {running} running, {waiting} waiting, {provers:?}")
            })
        });
    }

    fn dead_children(&self) -> usize {
        processes::children(self.pid).iter().filter(|child| child.state == 'Z').count()
    }

    /// The server becomes idle, proves, and becomes idle again.
    #[track_caller]
    pub fn assert_healthy(&self) {
        self.assert_idle();
        let sample = self.sample.as_ref().expect("this server has a sample to prove");
        let path = format!("/api/prove/{}", sample.name);
        let response = self.prove_request_at(&path, &sample.witness).send();
        response.assert_proves(sample, Target::NoirRecursive);
        self.assert_idle();
    }

    /// Requests a proof and suspends bb while it computes the proof. The request waits until bb continues or is killed.
    #[track_caller]
    pub fn suspend_mid_proof(&self) -> (Connection, Process) {
        const TICKS: u64 = 2;
        const ATTEMPTS: usize = 200;
        let sample = self.sample.as_ref().expect("this server has a sample to prove");
        let proved = self.health().prover.proofs;
        for _ in 0..ATTEMPTS {
            let before = self.provers();
            let mut connection = Connection::post(self.address, "/api/prove", &sample.witness);
            let is_working = |now: &Process| {
                let then = before.iter().find(|then| then.pid == now.pid).map_or(0, |then| then.ticks);
                now.ticks >= then + TICKS
            };
            let bb = eventually("bb works", || {
                let working = self.provers().into_iter().find(is_working);
                // The proof may have finished before this look.
                working.map(Some).or_else(|| (self.health().prover.proofs > proved).then_some(None))
            });
            if let Some(bb) = bb {
                if bb.suspend() && self.is_waiting_for_bb(&connection) {
                    return (connection, bb);
                }
                bb.resume();
            }
            assert_eq!(connection.read_response().status, 200);
        }
        panic!("no proof could be interrupted in {ATTEMPTS} attempts");
    }

    /// Whether the server waits for bb. It may instead have received bb's answer just before bb was suspended, and then
    /// needs some time to answer: in several rounds, in each of which the server answers another request.
    fn is_waiting_for_bb(&self, connection: &Connection) -> bool {
        const ROUNDS: usize = 3;
        (0..ROUNDS).all(|_| {
            self.health().prover.running > 0 && !connection.receives_within(Duration::from_millis(30))
        })
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: Signal) {
        Process::find(self.pid).expect("the server runs").signal(signal);
    }

    /// Waits until the server ends, and checks what it leaves behind.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let status = self.wait_for_exit_in_shared_spool();
        assert_eq!(entries(&self.folder.spool), Vec::<PathBuf>::new(), "something is left in the spool");
        status
    }

    /// As [`Self::wait_for_exit`], where other servers use the same spool.
    #[track_caller]
    pub fn wait_for_exit_in_shared_spool(&mut self) -> ExitStatus {
        let status = eventually("the server ends", || self.guard.child.try_wait().unwrap());
        self.has_ended = true;
        processes::assert_none_with_crs(&self.folder.crs());
        self.check_log();
        status
    }

    /// Kills the server with SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait_until_killed();
    }

    /// Waits until the server is gone, after it was sent a SIGKILL.
    #[track_caller]
    pub fn wait_until_killed(&mut self) {
        eventually("the server is gone", || self.guard.child.try_wait().unwrap());
        self.has_ended = true;
        self.check_log();
    }

    #[track_caller]
    fn check_log(&self) {
        assert_clean(&self.log());
    }

    /// Asks the server to end, and checks that it does so properly.
    #[track_caller]
    pub fn finish(mut self) {
        self.end();
    }

    #[track_caller]
    fn end(&mut self) {
        eventually("the spool is empty", || self.spool_files().is_empty().then_some(()));
        self.signal(Signal::TERM);
        let status = self.wait_for_exit();
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if !thread::panicking() && !self.has_ended {
            self.end();
        }
    }
}

/// Checks that a log has neither a panic nor a private value.
#[track_caller]
pub(crate) fn assert_clean(log: &str) {
    assert!(!samples::contains_secret(log.as_bytes()), "the log contains a private value:\n{log}");
    for line in log.lines() {
        assert!(!is_panic(&parse_log_line(line)), "the process panicked: {line}");
    }
}

#[track_caller]
pub(crate) fn parse_log_line(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("not a line of JSON ({error}): {line}"))
}

/// Whether a line of the log reports a panic: only such a line has a location in the source code,
/// `file.rs:LINE:COLUMN`.
fn is_panic(line: &Value) -> bool {
    let is_location = |text: &str| {
        let numbers = text.split_once(".rs:").map(|(_, numbers)| numbers.split(':'));
        numbers.is_some_and(|mut numbers| numbers.all(|number| number.parse::<u32>().is_ok()))
    };
    let mut values = line.as_object().into_iter().flat_map(|fields| fields.values());
    line["level"] == "ERROR" && values.any(|value| value.as_str().is_some_and(is_location))
}

/// Whether a line of the log is about one of the many requests that a test sends while it waits.
fn is_probe(line: &str) -> bool {
    ["/readyz", "/api/health"].iter().any(|route| line.contains(&format!("\"route\":\"{route}\"")))
}

/// The paths in a folder; none if the folder does not exist.
pub(crate) fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
