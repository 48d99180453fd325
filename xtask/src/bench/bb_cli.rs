//! bb itself, without any server: a baseline of the server.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use shared_child::SharedChild;
use tempfile::TempDir;

use super::{milliseconds, process_stats};

/// bb waits for the network without a limit if the CRS has too few points. The CRS has enough for every circuit that
/// the server loaded, so no proof takes this long.
const LIMIT: Duration = Duration::from_mins(5);

/// A request for the BLAKE2s hash of no bytes, in bb's msgpack protocol: the length, then
/// `[["Blake2s", {"data": b""}]]`.
const BLAKE2S_REQUEST: &[u8] = b"\x12\0\0\0\x91\x92\xa7Blake2s\x81\xa4data\xc4\0";

/// The program and its CRS.
#[derive(Debug, Clone)]
pub(super) struct Bb {
    pub(super) program: PathBuf,
    pub(super) crs: PathBuf,
    /// Whether it uses its newer multiplication, which is not bb's default.
    pub(super) newer_msm: bool,
    /// How many threads it uses; without a number, one for each core.
    pub(super) threads: Option<usize>,
}

/// The source of the verification key for `bb prove`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key<'a> {
    /// `-k FILE`.
    Ready(&'a Path),
    /// `--write_vk`: bb computes it for this proof.
    ComputedForProof,
}

impl Bb {
    /// Computes a circuit's verification key and returns its file.
    pub(super) fn write_key(&self, circuit: &Path, dir: &Path) -> anyhow::Result<PathBuf> {
        let mut command = self.command("write_vk");
        command.arg("-b").arg(circuit).arg("-o").arg(dir);
        run(&mut command, dir)?;
        Ok(dir.join("vk"))
    }

    /// Proves as a user of the command line does. Returns the time from the start of the process to its end, in
    /// milliseconds. The proof is written to `out`, which must exist.
    pub(super) fn prove(
        &self,
        circuit: &Path,
        witness: &Path,
        key: Key<'_>,
        out: &Path,
    ) -> anyhow::Result<f64> {
        let mut command = self.command("prove");
        command.arg("-b").arg(circuit).arg("-w").arg(witness).arg("-o").arg(out);
        match key {
            Key::Ready(file) => command.arg("-k").arg(file),
            Key::ComputedForProof => command.arg("--write_vk"),
        };
        run(&mut command, out)
    }

    /// Proves and returns the CPU time of the process, in milliseconds.
    ///
    /// No other child of this process may end meanwhile: the system counts the CPU time of all children together.
    pub(super) fn proof_cpu_ms(
        &self,
        circuit: &Path,
        witness: &Path,
        key: Key<'_>,
        out: &Path,
    ) -> anyhow::Result<f64> {
        let before = process_stats::ended_children_cpu_ms()?;
        self.prove(circuit, witness, key, out)?;
        Ok(process_stats::ended_children_cpu_ms()? - before)
    }

    /// Starts a daemon and sends it one small request. Returns the time from its start to its response, in
    /// milliseconds.
    pub(super) fn start(&self) -> anyhow::Result<f64> {
        let started = Instant::now();
        let mut child = Command::new(&self.program)
            .args(["msgpack", "run"])
            .env("CRS_PATH", &self.crs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("bb cannot be started")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (mut stdin, mut stdout) = stdin.zip(stdout).context("bb has no pipes")?;
        stdin.write_all(BLAKE2S_REQUEST).context("bb does not read its input")?;
        let mut head = [0; 4];
        stdout.read_exact(&mut head).context("bb does not respond")?;
        let mut response = vec![0; u32::from_le_bytes(head) as usize];
        stdout.read_exact(&mut response).context("bb's response is incomplete")?;
        let took = milliseconds(started.elapsed());
        // It exits when its standard input ends.
        drop(stdin);
        let status = child.wait()?;
        let name: &[u8] = b"Blake2sResponse";
        if !status.success() || !response.windows(name.len()).any(|window| window == name) {
            bail!("`bb msgpack run` did not respond as expected, {status}");
        }
        Ok(took)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(verb).arg("-c").arg(&self.crs);
        // The user's own settings for bb are not measured.
        command.env_remove("BB_MSM_LEGACY").env_remove("BB_MSM_NEW").env_remove("HARDWARE_CONCURRENCY");
        if self.newer_msm {
            command.env("BB_MSM_NEW", "1");
        }
        if let Some(threads) = self.threads {
            command.env("HARDWARE_CONCURRENCY", threads.to_string());
        }
        command
    }
}

/// Runs bb to its end with its log in `dir`. Returns the time in milliseconds.
fn run(command: &mut Command, dir: &Path) -> anyhow::Result<f64> {
    let log = dir.join("log");
    // Not a pipe: a thread that reads it would cost CPU time.
    let file = File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let started = Instant::now();
    let child = SharedChild::spawn(command).context("bb cannot be started")?;
    let status = child.wait_timeout(LIMIT)?;
    let took = milliseconds(started.elapsed());
    match status {
        Some(status) if status.success() => Ok(took),
        Some(status) => {
            let output = std::fs::read(&log).unwrap_or_default();
            bail!("bb failed, {status}\n{}", String::from_utf8_lossy(&output));
        }
        None => {
            child.kill()?;
            child.wait()?;
            bail!("bb did not end within {} s", LIMIT.as_secs())
        }
    }
}

/// A temporary folder for the output of one bb.
pub(super) fn scratch() -> anyhow::Result<TempDir> {
    tempfile::tempdir().context("a temporary folder cannot be created")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_begins_with_its_length() {
        let (length, body) = BLAKE2S_REQUEST.split_at(4);
        assert_eq!(u32::from_le_bytes(length.try_into().unwrap()) as usize, body.len());
    }

    #[test]
    fn the_error_of_a_failed_program_has_its_output() {
        let dir = scratch().unwrap();
        let error = run(Command::new("sh").args(["-c", "echo why; exit 3"]), dir.path()).unwrap_err();
        assert_eq!(error.to_string(), "bb failed, exit status: 3\nwhy\n");
        assert!(run(&mut Command::new("true"), dir.path()).unwrap() > 0.0);
    }
}
