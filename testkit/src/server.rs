//! One server as a process of its own. When it goes, it is held against what must be true of every server: nothing is
//! left in its spool, it ends with 0 when asked to, no child outlives it, and its log holds neither a panic nor a
//! private value.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    thread,
    time::Duration,
};

use edgeprove_protocol::{Target, answer::Health};
use http::Method;
use rustix::process::Signal;

use crate::{
    Answer, Connection,
    client::Ask,
    eventually,
    processes::{self, Process},
    samples::{self, Sample},
    settings::{Room, Settings},
    wait::within,
};

/// Longest time to end when there is nothing left to do.
const END: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub struct TestServer {
    // Goes before the room it lives in.
    leash: Leash,
    room: Room,
    address: SocketAddr,
    /// The server itself, where a wrapper started it.
    pid: i32,
    provers: usize,
    good: Option<Sample>,
    ended: bool,
}

/// Keeps a server and its children from outliving a test, whichever way that ends.
#[derive(Debug)]
struct Leash {
    child: Child,
    log: PathBuf,
    crs: PathBuf,
}

impl Drop for Leash {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let told: Vec<&str> = log.lines().filter(|line| !is_probe(line)).collect();
            for line in told.iter().skip(told.len().saturating_sub(40)) {
                eprintln!("server: {line}");
            }
        }
        // Nothing is to be done about what is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for bb in processes::with_crs(&self.crs) {
            bb.signal(Signal::KILL);
        }
    }
}

/// How a server that could not start ended.
#[derive(Debug)]
pub struct FailedStart {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// Its standard error.
    pub words: String,
}

impl TestServer {
    /// A server of `range_check`.
    #[track_caller]
    pub fn plain() -> Self {
        Self::start(|_| {})
    }

    /// A server with other settings than [`Settings::new`] gives.
    #[track_caller]
    pub fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new();
        change(&mut settings);
        let room = Room::new(&settings);
        let (provers, good, wait) = (settings.provers, settings.good.clone(), settings.wait_until_ready);
        let child = room.command(settings).spawn().expect("the server can be started");
        let pid = i32::try_from(child.id()).unwrap();
        let mut leash = Leash { child, log: room.log(), crs: room.crs() };
        let address = eventually("the server listens", || {
            let status = leash.child.try_wait().unwrap();
            assert!(status.is_none(), "the server ended with {status:?}");
            fs::read_to_string(room.address_file()).ok()?.trim().parse().ok()
        });
        let server = Self { leash, room, address, pid, provers, good, ended: false };
        if wait {
            server.wait_until_ready();
        }
        server
    }

    /// Starts a server that cannot, and says how it ended.
    #[track_caller]
    pub fn fails_to_start(change: impl FnOnce(&mut Settings)) -> FailedStart {
        let mut settings = Settings::new();
        change(&mut settings);
        let room = Room::new(&settings);
        let child = room.command(settings).spawn().expect("the server can be started");
        let mut leash = Leash { child, log: room.log(), crs: room.crs() };
        let status = within(END, "the server gives up", || leash.child.try_wait().unwrap());
        assert!(!room.address_file().exists(), "a port was opened");
        assert_eq!(processes::with_crs(&room.crs()), [], "a child is left");
        assert_eq!(entries(&room.spool), Vec::<PathBuf>::new());
        let words = fs::read_to_string(room.log()).unwrap();
        FailedStart { code: status.code(), words }
    }

    /// Waits until it says that it can prove.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        eventually("the server is ready", || {
            let answer = self.ask(Method::GET, "/readyz").try_send();
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        });
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's own process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Takes another process for the server: its wrapper's child.
    pub fn is_really(&mut self, pid: i32) {
        self.pid = pid;
    }

    /// The folder of its uploads.
    pub fn spool(&self) -> &Path {
        &self.room.spool
    }

    /// A path as the server sees it, which may have a view of its own.
    pub fn view(&self, path: &Path) -> PathBuf {
        format!("/proc/{}/root{}", self.pid, path.display()).into()
    }

    /// Fills the server's file system around this path to the last byte but for so many pages, by a file there, which
    /// is to be removed.
    #[track_caller]
    pub fn fill_disk(&self, path: &Path, spare_pages: u64) -> PathBuf {
        let path = self.view(path);
        let mut filler = fs::File::create(&path).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        let len = filler.metadata().unwrap().len();
        filler.set_len(len - spare_pages * 4096).unwrap();
        path
    }

    /// The log up to now.
    pub fn log(&self) -> String {
        String::from_utf8(fs::read(self.room.log()).unwrap()).expect("the log is text")
    }

    /// A request to it.
    pub fn ask(&self, method: Method, path: &str) -> Ask {
        Ask::new(self.address, method, path)
    }

    /// Its answer to a GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).send()
    }

    /// A request for a proof of the default circuit.
    pub fn posting(&self, witness: &[u8]) -> Ask {
        self.posting_to("/api/prove", witness)
    }

    /// A request for a proof at this path.
    pub fn posting_to(&self, path: &str, witness: &[u8]) -> Ask {
        Ask::to_prove(self.address, path, witness)
    }

    /// Its answer to a request for a proof of the default circuit.
    #[track_caller]
    pub fn post(&self, witness: &[u8]) -> Answer {
        self.posting(witness).send()
    }

    /// What it says of itself.
    #[track_caller]
    pub fn health(&self) -> Health {
        let answer = self.get("/api/health");
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// Its bb processes, those of a fake and orphans included.
    pub fn provers(&self) -> Vec<Process> {
        processes::with_crs(&self.room.crs())
    }

    /// Files in the spool.
    pub fn spooled(&self) -> Vec<PathBuf> {
        // A server in a mount namespace of its own has another view of the path.
        entries(&self.view(&self.room.spool)).iter().flat_map(|folder| entries(folder)).collect()
    }

    /// Waits until nothing of earlier requests is left: no file in the spool, no proof at work, no child beyond the
    /// provers that are always there.
    #[track_caller]
    pub fn assert_idle(&self) {
        let mut seen = String::new();
        let idle = || {
            let (spooled, provers, dead) = (self.spooled(), self.provers(), self.dead_children());
            let health = self.health();
            let (running, waiting) = (health.prover.running, health.prover.waiting);
            let clean = spooled.is_empty() && dead == 0 && running + waiting == 0;
            seen = format!("{spooled:?}, {dead} dead, {running} running, {waiting} waiting, {provers:?}");
            (clean && provers.len() == self.provers).then_some(())
        };
        // Not by `eventually`, so that what was seen last can be told.
        let mut idle = idle;
        for _ in 0..2000 {
            if idle().is_some() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the server does not become idle: {seen}");
    }

    fn dead_children(&self) -> usize {
        processes::children(self.pid).iter().filter(|child| child.state == 'Z').count()
    }

    /// The server is idle, proves, and is idle again.
    #[track_caller]
    pub fn assert_well(&self) {
        self.assert_idle();
        let good = self.good.as_ref().expect("this server can prove");
        let answer = self.posting_to(&format!("/api/prove/{}", good.name), &good.witness).send();
        answer.proves(good, Target::NoirRecursive);
        self.assert_idle();
    }

    /// Asks for a proof and stops bb in the middle of making it. The request waits until bb goes on or is killed.
    #[track_caller]
    pub fn freeze_midway(&self) -> (Connection, Process) {
        const TICKS: u64 = 2;
        let good = self.good.as_ref().expect("this server can prove");
        let proved = self.health().prover.proofs;
        for _ in 0..50 {
            let before = self.provers();
            let mut asker = Connection::post(self.address, "/api/prove", &good.witness);
            let at_work = |now: &Process| {
                let then = before.iter().find(|then| then.pid == now.pid).map_or(0, |then| then.ticks);
                now.ticks >= then + TICKS
            };
            let bb = eventually("bb works", || {
                let busy = self.provers().into_iter().find(at_work);
                // A proof may be over before anybody looks.
                busy.map(Some).or_else(|| (self.health().prover.proofs > proved).then_some(None))
            });
            if let Some(bb) = bb
                && bb.freeze()
                && !asker.hears_within(Duration::from_millis(50))
                && self.health().prover.running > 0
            {
                return (asker, bb);
            }
            if let Some(bb) = bb {
                bb.signal(Signal::CONT);
            }
            assert_eq!(asker.answer().status, 200);
        }
        panic!("no proof could be stopped midway in fifty attempts");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        Process::look(self.pid).expect("the server lives").signal(signal);
    }

    /// Waits for the server to end and checks what it leaves behind.
    #[track_caller]
    pub fn ends(&mut self) -> ExitStatus {
        let status = self.ends_beside_others();
        assert_eq!(entries(&self.room.spool), Vec::<PathBuf>::new(), "something is left in the spool");
        status
    }

    /// The same where other servers use the spool as well.
    #[track_caller]
    pub fn ends_beside_others(&mut self) -> ExitStatus {
        let status = within(END, "the server ends", || self.leash.child.try_wait().unwrap());
        self.ended = true;
        assert_eq!(processes::with_crs(&self.room.crs()), [], "a child outlives the server");
        self.check_log();
        status
    }

    /// Kills the server, as a platform does that has lost its patience.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.is_dead();
    }

    /// Waits until the server is gone that was sent a SIGKILL.
    pub fn is_dead(&mut self) {
        within(END, "the server is dead", || self.leash.child.try_wait().unwrap());
        self.ended = true;
        self.check_log();
    }

    fn check_log(&self) {
        let log = self.log();
        assert!(!samples::shows_secret(log.as_bytes()), "the log shows a private value:\n{log}");
        for line in log.lines() {
            let json = serde_json::from_str::<serde_json::Value>(line);
            let json = json.unwrap_or_else(|error| panic!("not a line of JSON ({error}): {line}"));
            assert_ne!(json["message"], "a panic", "{line}");
        }
    }

    /// Asks the server to end and checks how it does.
    #[track_caller]
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        eventually("the spool is empty", || self.spooled().is_empty().then_some(()));
        self.signal(Signal::TERM);
        let status = self.ends();
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if !thread::panicking() && !self.ended {
            self.end();
        }
    }
}

/// Whether a line of the log is about one of the many questions that a test asks while it waits.
fn is_probe(line: &str) -> bool {
    ["/readyz", "/api/health"].iter().any(|route| line.contains(&format!("\"route\":\"{route}\"")))
}

/// The paths in a folder; none if there is no folder.
fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
