//! A page in a real Chromium. This module serves the page, which runs by itself and reports its outcome.

use std::{
    env,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use axum::{
    Json, Router,
    extract::State,
    response::Html,
    routing::{get, post},
};
use edgeprove_testkit::wait::LIMIT;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// A page with an address of its own.
#[derive(Debug)]
pub struct Page {
    port: u16,
    input: Arc<Mutex<Value>>,
    outcomes: Receiver<Value>,
}

#[derive(Clone)]
struct Served {
    html: &'static str,
    input: Arc<Mutex<Value>>,
    outcomes: Sender<Value>,
}

impl Page {
    /// Serves this document at `/` and its input at `/input`, and receives its outcome at `/outcome`, as long as the
    /// process of the test lives.
    #[track_caller]
    pub fn serve(html: &'static str) -> Self {
        let listener =
            std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
        listener.set_nonblocking(true).expect("the listener can be made non-blocking");
        let port = listener.local_addr().expect("the listener has an address").port();
        let (sender, outcomes) = mpsc::channel();
        let input = Arc::new(Mutex::new(Value::Null));
        let router = Router::new()
            .route("/", get(async |State(served): State<Served>| Html(served.html)))
            .route("/input", get(input_of_page))
            .route("/outcome", post(outcome))
            .with_state(Served { html, input: Arc::clone(&input), outcomes: sender });
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio starts");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("tokio takes over the listener");
                axum::serve(listener, router).await.expect("the server runs");
            });
        });
        Self { port, input, outcomes }
    }

    /// Sets the input that the page fetches.
    pub fn set_input(&self, value: Value) {
        *self.input.lock() = value;
    }

    /// Its origin under a host name of this machine. To a browser, each host name is a different origin.
    pub fn origin(&self, host: &str) -> String {
        format!("http://{host}:{}", self.port)
    }

    /// Opens the page in a browser and waits for its outcome.
    #[track_caller]
    pub fn outcome(&self, origin: &str) -> Value {
        let _browser = Browser::open(&format!("{origin}/"));
        self.outcomes.recv_timeout(LIMIT).expect("the page reports")
    }
}

async fn input_of_page(State(served): State<Served>) -> Json<Value> {
    Json(served.input.lock().clone())
}

async fn outcome(State(served): State<Served>, Json(outcome): Json<Value>) {
    // An error means that the test has ended.
    let _ = served.outcomes.send(outcome);
}

/// A Chromium with one open page. Dropping it ends Chromium.
struct Browser {
    child: Child,
    _profile: TempDir,
}

impl Browser {
    #[track_caller]
    fn open(url: &str) -> Self {
        use std::os::unix::process::CommandExt as _;
        let profile = tempfile::tempdir().expect("a folder can be created");
        let child = Command::new(program())
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg("--disable-dev-shm-usage")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // Keeps the page open after it has loaded.
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
        // Chromium starts more processes, all in one process group.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The program in `CHROMIUM`, otherwise the first one on the PATH.
fn program() -> PathBuf {
    let given = env::var_os("CHROMIUM").filter(|path| !path.is_empty()).map(PathBuf::from);
    let named = || {
        let path = env::var_os("PATH").unwrap_or_default();
        let names = ["chromium", "chromium-browser", "google-chrome"];
        env::split_paths(&path)
            .flat_map(|dir| names.map(|name| dir.join(name)))
            .find(|program| program.exists())
    };
    given.or_else(named).expect("Chromium is on the PATH, or in CHROMIUM")
}
