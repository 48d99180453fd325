//! A page in a real Chromium: it is served here, does its work by itself, and reports what came of it.

use std::{
    env,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    response::Html,
    routing::{get, post},
};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// A browser's first start takes its time.
const LIMIT: Duration = Duration::from_mins(1);

/// A page at an address of its own, with what it needs.
#[derive(Debug)]
pub struct Page {
    port: u16,
    given: Arc<Mutex<Value>>,
    outcomes: Receiver<Value>,
}

#[derive(Clone)]
struct Served {
    html: &'static str,
    given: Arc<Mutex<Value>>,
    outcomes: Sender<Value>,
}

impl Page {
    /// Serves this document at `/`, what the page is given at `/given`, and takes its outcome at `/outcome`. It lives as
    /// long as the test's process.
    #[track_caller]
    pub fn serve(html: &'static str) -> Self {
        let listener =
            std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
        listener.set_nonblocking(true).expect("it can be awaited");
        let port = listener.local_addr().expect("it has an address").port();
        let (sender, outcomes) = mpsc::channel();
        let given = Arc::new(Mutex::new(Value::Null));
        let router = Router::new()
            .route("/", get(async |State(served): State<Served>| Html(served.html)))
            .route("/given", get(what_is_given))
            .route("/outcome", post(outcome))
            .with_state(Served { html, given: Arc::clone(&given), outcomes: sender });
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio starts");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it can be awaited");
                axum::serve(listener, router).await.expect("it serves");
            });
        });
        Self { port, given, outcomes }
    }

    /// What the page works with from now on.
    pub fn give(&self, value: Value) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    /// Where it is, under one of the names that lead to this machine: each is another origin to a browser.
    pub fn origin(&self, host: &str) -> String {
        format!("http://{host}:{}", self.port)
    }

    /// Opens it in a browser and waits for what it reports.
    #[track_caller]
    pub fn outcome(&self, origin: &str) -> Value {
        let _browser = Browser::open(&format!("{origin}/"));
        self.outcomes.recv_timeout(LIMIT).expect("the page reports")
    }
}

async fn what_is_given(State(served): State<Served>) -> Json<Value> {
    Json(served.given.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

async fn outcome(State(served): State<Served>, Json(outcome): Json<Value>) {
    // A test that has failed no longer listens.
    let _ = served.outcomes.send(outcome);
}

/// A Chromium with one page, for as long as this lives.
struct Browser {
    child: Child,
    _profile: TempDir,
}

impl Browser {
    #[track_caller]
    fn open(url: &str) -> Self {
        use std::os::unix::process::CommandExt as _;
        let profile = tempfile::tempdir().expect("a folder can be made");
        let child = Command::new(program())
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg("--disable-dev-shm-usage")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // Keeps it open, as a user would.
            .args(["--remote-debugging-port=0", url])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("Chromium can be started");
        Self { child, _profile: profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It has processes of its own, all in one group.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// `CHROMIUM`, or what is found on the path.
fn program() -> PathBuf {
    let given = env::var_os("CHROMIUM").filter(|path| !path.is_empty()).map(PathBuf::from);
    let named = || {
        let path = env::var_os("PATH").unwrap_or_default();
        let names = ["chromium", "chromium-browser", "google-chrome"];
        env::split_paths(&path)
            .flat_map(|dir| names.map(|name| dir.join(name)))
            .find(|program| program.exists())
    };
    given.or_else(named).expect("there is no Chromium on the path; CHROMIUM names one")
}
