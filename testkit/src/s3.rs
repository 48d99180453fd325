//! A bucket on a real S3 server, which checks signatures and stores objects as files. It can be stopped and started
//! again.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
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

use crate::reserved_port::ReservedPort;

/// The bucket that exists from the start.
pub const BUCKET: &str = "edgeprove-test";

const ACCESS_KEY: &str = "AKIATESTTESTTESTTEST";
const SECRET_KEY: &str = "a-secret-that-only-the-tests-know";

/// A running S3 server with one bucket.
#[derive(Debug)]
pub struct S3Server {
    root: TempDir,
    /// Stays reserved while the server is stopped, so that the server can use it again.
    port: ReservedPort,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl S3Server {
    /// Starts a server.
    pub fn start() -> Self {
        let root = tempfile::Builder::new().prefix("edgeprove-s3-").tempdir().unwrap();
        fs::create_dir(root.path().join(BUCKET)).unwrap();
        let mut server = Self { root, port: ReservedPort::new(), running: None };
        server.resume();
        server
    }

    /// The environment that a program needs to use the bucket.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_with(SECRET_KEY)
    }

    /// The environment of a program with a wrong secret.
    pub fn wrong_environment(&self) -> Vec<(String, String)> {
        self.environment_with("another-secret")
    }

    fn environment_with(&self, secret: &str) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.address());
        [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The folder with the objects of the bucket.
    pub fn bucket(&self) -> PathBuf {
        self.root.path().join(BUCKET)
    }

    /// The folder with everything that the server stores, including unfinished uploads.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Stops listening and closes every connection. The objects stay.
    pub fn stop(&mut self) {
        let Some(Running { stop, thread }) = self.running.take() else { return };
        // The thread may have ended already. Then `join` reports why.
        let _ = stop.send(());
        thread.join().expect("the S3 server ends");
    }

    /// Listens on the same port again.
    #[track_caller]
    pub fn resume(&mut self) {
        assert!(self.running.is_none(), "the server runs");
        let listener = TcpListener::bind(self.address()).unwrap();
        self.running = Some(serve(self.root.path(), listener));
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(root: &Path, listener: TcpListener) -> Running {
    let mut service = S3ServiceBuilder::new(FileSystem::new(root).expect("the folder exists"));
    service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = service.build();
    let (stop, stopped) = oneshot::channel();
    let serve = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // At the end, dropping the runtime closes every connection.
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
            // An error means that the client closed the connection, which is not a failure of the server.
            let _ = http.serve_connection(TokioIo::new(socket), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}
