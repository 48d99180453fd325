//! PostgreSQL servers for tests: one that all tests share, and private ones that a test may stop and start.
//!
//! Both need PostgreSQL's programs (Debian's package `postgresql`); without them the test is recorded as skipped.

use std::{env, fs, path::Path, sync::OnceLock};

pub use edgeprove_test_postgres::Stop;

use crate::{
    processes::{self, Process},
    skipped::skip,
};

/// The URL of the PostgreSQL server that all tests share. A test uses a schema of its own in it.
///
/// `EDGEPROVE_TEST_POSTGRES` names the server, such as `postgres:///test?host=/run/postgresql&user=postgres`. Without
/// the variable, this process starts one. `None`: that is not possible, and the test is recorded as skipped.
pub fn shared_url() -> Option<String> {
    static OWN: OnceLock<Option<edgeprove_test_postgres::Cluster>> = OnceLock::new();
    if let Some(url) = env::var("EDGEPROVE_TEST_POSTGRES").ok().filter(|url| !url.is_empty()) {
        return Some(url);
    }
    // A static value is never dropped, but the server ends with this process in any case.
    let own = OWN.get_or_init(|| edgeprove_test_postgres::Cluster::start().expect("PostgreSQL starts"));
    if own.is_none() {
        skip_without_programs();
    }
    own.as_ref().map(edgeprove_test_postgres::Cluster::url)
}

fn skip_without_programs() {
    skip("needs PostgreSQL's programs, which are not installed");
}

/// A PostgreSQL server of one test. Dropping it stops the server and removes its data.
#[derive(Debug)]
pub struct Cluster(edgeprove_test_postgres::Cluster);

impl Cluster {
    /// Creates and starts one. `None`: this machine lacks the programs, and the test is recorded as skipped.
    #[track_caller]
    pub fn start() -> Option<Self> {
        let cluster = edgeprove_test_postgres::Cluster::start().expect("PostgreSQL starts");
        if cluster.is_none() {
            skip_without_programs();
        }
        cluster.map(Self)
    }

    /// Starts the server after [`Cluster::stop`] and waits until it accepts connections.
    #[track_caller]
    pub fn start_again(&self) {
        self.0.start_again().expect("PostgreSQL starts again");
    }

    /// Stops the server and waits until it has stopped.
    #[track_caller]
    pub fn stop(&self, how: Stop) {
        self.0.stop(how).expect("PostgreSQL stops");
    }

    /// The processes of the server. While they are suspended, connections stay open and get no answer.
    #[track_caller]
    pub fn processes(&self) -> Vec<Process> {
        let file = fs::read_to_string(self.folder().join("data/postmaster.pid")).unwrap();
        let pid = file
            .lines()
            .next()
            .and_then(|pid| pid.parse().ok())
            .expect("the file begins with a process number");
        let main = Process::find(pid).expect("PostgreSQL runs");
        std::iter::once(main).chain(processes::children(pid)).collect()
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// The folder of everything that the server writes, its log included.
    pub fn folder(&self) -> &Path {
        self.0.folder()
    }
}
