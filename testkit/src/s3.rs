//! A bucket on a real S3 server, which checks signatures and keeps objects as files. It can be stopped and started again.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{runtime, sync::oneshot, task::JoinSet};

/// The bucket that is there from the start.
pub const BUCKET: &str = "edgeprove-test";

const ACCESS_KEY: &str = "AKIATESTTESTTESTTEST";
const SECRET_KEY: &str = "a-secret-that-only-the-tests-know";

/// A running S3 server with one bucket.
#[derive(Debug)]
pub struct S3Server {
    root: TempDir,
    address: SocketAddr,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl S3Server {
    /// Starts a server on a port of its own.
    pub fn start() -> Self {
        let root = tempfile::Builder::new().prefix("edgeprove-s3-").tempdir().unwrap();
        fs::create_dir(root.path().join(BUCKET)).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let running = Some(serve(root.path(), listener));
        Self { root, address, running }
    }

    /// The environment by which a program finds it.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_with(SECRET_KEY)
    }

    /// The same with a secret that the server does not know.
    pub fn wrong_environment(&self) -> Vec<(String, String)> {
        self.environment_with("another-secret")
    }

    fn environment_with(&self, secret: &str) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.address);
        [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder that the bucket's objects are files of.
    pub fn bucket(&self) -> PathBuf {
        self.root.path().join(BUCKET)
    }

    /// The folder of everything, unfinished uploads included.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Closes its port and every connection. The objects stay.
    pub fn stop(&mut self) {
        let Some(Running { stop, thread }) = self.running.take() else { return };
        // It may have ended already; then joining tells why.
        let _ = stop.send(());
        thread.join().expect("the S3 server ends");
    }

    /// Opens the same port again.
    #[track_caller]
    pub fn resume(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let listener = TcpListener::bind(self.address).unwrap();
        self.running = Some(serve(self.root.path(), listener));
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(root: &Path, listener: TcpListener) -> Running {
    let mut service = S3ServiceBuilder::new(FileSystem::new(root).expect("the folder is there"));
    service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = service.build();
    let (stop, stopped) = oneshot::channel();
    let serve = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Dropping the runtime at the end drops every connection.
        runtime.block_on(async {
            tokio::select! {
                failed = accept(listener, service) => failed.expect("connections can be accepted"),
                _ = stopped => {}
            }
        });
    };
    let thread = thread::Builder::new().name("s3".to_owned()).spawn(serve).unwrap();
    Running { stop, thread }
}

async fn accept(listener: TcpListener, service: S3Service) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await?;
        let service = service.clone();
        connections.spawn(async move {
            let http = Builder::new(TokioExecutor::new());
            // A client that goes away is no failure of the server's.
            let _ = http.serve_connection(TokioIo::new(socket), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}
