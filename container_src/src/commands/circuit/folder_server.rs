//! A server of a data folder, which runs for as long as one command takes.
//!
//! It is this program, as a child process on a free port of this machine. Only the command knows the key for it.

use std::{
    env, fs, io,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    commands::{
        exit_status::{Failure, other},
        remote_server::{ClientKey, RemoteServer, ServerUrl},
    },
    config::{RawSetting, raw_setting, setting::Setting as _},
};

/// Longest time until the server answers. It need not be ready, which a server without a circuit never is.
const START_LIMIT: Duration = Duration::from_mins(5);
/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(50);
/// Most bytes of the server's log that are shown where it does not start.
const LOG_SHOWN_BYTES: usize = 4096;
/// Settings of a server for others: who may call it, and where it listens.
const SETTINGS_FOR_OTHERS: [&str; 8] = [
    "DATABASE_URL",
    "EDGEPROVE_ADDR_FILE",
    "EDGEPROVE_API_KEYS",
    "EDGEPROVE_EDGE_SECRET",
    "EDGEPROVE_KEYS_FILE",
    "EDGEPROVE_LOG_FORMAT",
    "EDGEPROVE_PROBE_LISTEN",
    "EDGEPROVE_VOUCHER_SECRET",
];

/// The server of a folder. It is killed when this is dropped.
pub(super) struct FolderServer {
    child: Child,
    url: String,
    key: String,
    /// Its address and its log.
    _files: TempDir,
}

/// The server of a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderServerError {
    #[error("the data folder {folder} does not exist")]
    NoFolder { folder: String },
    #[error("a server of the data folder cannot be started")]
    Start(#[source] io::Error),
    #[error("the server of the data folder ended with {status}: {log}")]
    Ended { status: std::process::ExitStatus, log: String },
    #[error(
        "the server of the data folder did not answer within {}",
        humantime::format_duration(START_LIMIT)
    )]
    TooLate,
}

impl FolderServer {
    /// Starts a server of this folder, and waits until it answers.
    pub(super) async fn start(folder: &Path) -> Result<Self, Failure> {
        Self::start_inner(folder).await.map_err(other)
    }

    async fn start_inner(folder: &Path) -> Result<Self, FolderServerError> {
        // `serve` would create it, and a misspelt name would look like a folder without circuits.
        if !folder.is_dir() {
            return Err(FolderServerError::NoFolder { folder: folder.display().to_string() });
        }
        let files = tempfile::tempdir().map_err(FolderServerError::Start)?;
        let (address_file, log_file) = (files.path().join("address"), files.path().join("log"));
        let key = random_key().map_err(FolderServerError::Start)?;
        let digest = hex::encode(Sha256::digest(&key));
        let log = fs::File::create(&log_file).map_err(FolderServerError::Start)?;
        let mut command = Command::new(env::current_exe().map_err(FolderServerError::Start)?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--page", "off", "--log", "warn", "--addr-file"]);
        command.arg(&address_file).arg("--data").arg(folder);
        for name in SETTINGS_FOR_OTHERS {
            command.env_remove(name);
        }
        command.env("EDGEPROVE_KEYS", format!("[keys.command]\nrole = 'operator'\nsha256 = ['{digest}']\n"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let child = command.spawn().map_err(FolderServerError::Start)?;
        let mut server = Self { child, url: String::new(), key, _files: files };
        server.wait_for_answers(&address_file, &log_file).await?;
        Ok(server)
    }

    async fn wait_for_answers(&mut self, address: &Path, log: &Path) -> Result<(), FolderServerError> {
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            if let Some(status) = self.child.try_wait().map_err(FolderServerError::Start)? {
                return Err(FolderServerError::Ended { status, log: end_of(log) });
            }
            if let Ok(address) = fs::read_to_string(address) {
                self.url = format!("http://{}", address.trim());
                if self.answers().await {
                    return Ok(());
                }
            }
            tokio::time::sleep(POLL).await;
        }
        Err(FolderServerError::TooLate)
    }

    async fn answers(&self) -> bool {
        let Ok(url) = ServerUrl::read(&self.url) else { return false };
        let Ok(server) = RemoteServer::new(url, None) else { return false };
        matches!(server.get_any_status("/livez").await, Ok((StatusCode::OK, _)))
    }

    /// The URL, as a setting.
    pub(super) fn url(&self) -> RawSetting<ServerUrl> {
        let Ok(url) = raw_setting(&self.url);
        url
    }

    /// The key, as a setting.
    pub(super) fn key(&self) -> RawSetting<ClientKey> {
        let Ok(key) = raw_setting(&self.key);
        key
    }

    /// Lets the server finish what it does, and stops it.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // It fails where the server has ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
        self.child.wait().await.map(drop).map_err(|error| other(FolderServerError::Start(error)))
    }
}

fn random_key() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// The end of the log, in one line.
fn end_of(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_SHOWN_BYTES)..]).into_owned();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
