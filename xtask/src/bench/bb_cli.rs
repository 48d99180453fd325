//! bb itself, without any server: the baseline.

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

use super::milliseconds;

/// bb waits for the network for ever when it misses points; it never should, with a circuit that the server loaded.
const LIMIT: Duration = Duration::from_mins(5);

/// Asks bb for the BLAKE2s hash of nothing, in its msgpack protocol: the length, then `[["Blake2s", {"data": b""}]]`.
const QUESTION: &[u8] = b"\x12\0\0\0\x91\x92\xa7Blake2s\x81\xa4data\xc4\0";

/// The program and its CRS.
#[derive(Debug, Clone)]
pub(super) struct Bb {
    pub(super) program: PathBuf,
    pub(super) crs: PathBuf,
    /// Whether it multiplies in its newer way, which bb itself does only when told to.
    pub(super) newer_msm: bool,
}

/// Where `bb prove` gets its verification key from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key<'a> {
    /// `-k FILE`.
    Ready(&'a Path),
    /// `--write_vk`: it is computed for this proof.
    MadeAnew,
}

impl Bb {
    /// Makes a circuit's verification key; gives its file.
    pub(super) fn make_key(&self, circuit: &Path, dir: &Path) -> anyhow::Result<PathBuf> {
        let mut command = self.command("write_vk");
        command.arg("-b").arg(circuit).arg("-o").arg(dir);
        run(&mut command, dir)?;
        Ok(dir.join("vk"))
    }

    /// Proves as a user of the command line would, on all cores. Gives the time of the whole process, from its start
    /// to its end, in milliseconds. The proof is in `out`, which must exist.
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
            Key::MadeAnew => command.arg("--write_vk"),
        };
        run(&mut command, out)
    }

    /// Starts a daemon and asks it one small thing. Gives the time from its start to its answer, in milliseconds.
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
        stdin.write_all(QUESTION).context("bb does not listen")?;
        let mut head = [0; 4];
        stdout.read_exact(&mut head).context("bb does not answer")?;
        let mut answer = vec![0; u32::from_le_bytes(head) as usize];
        stdout.read_exact(&mut answer).context("bb breaks off its answer")?;
        let took = milliseconds(started.elapsed());
        // It leaves when its standard input ends.
        drop(stdin);
        let status = child.wait()?;
        let name: &[u8] = b"Blake2sResponse";
        if !status.success() || !answer.windows(name.len()).any(|window| window == name) {
            bail!("`bb msgpack run` did not answer as it should, {status}");
        }
        Ok(took)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(verb).arg("-c").arg(&self.crs);
        // Whatever the user has set for their own bb is not what is measured.
        command.env_remove("BB_MSM_LEGACY").env_remove("BB_MSM_NEW");
        if self.newer_msm {
            command.env("BB_MSM_NEW", "1");
        }
        command
    }
}

/// Runs bb to its end; `dir` takes its log. In milliseconds.
fn run(command: &mut Command, dir: &Path) -> anyhow::Result<f64> {
    let log = dir.join("log");
    // A file, because nobody would empty a pipe, and a thread that did would cost time of its own.
    let file = File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let started = Instant::now();
    let child = SharedChild::spawn(command).context("bb cannot be started")?;
    let status = child.wait_timeout(LIMIT)?;
    let took = milliseconds(started.elapsed());
    match status {
        Some(status) if status.success() => Ok(took),
        Some(status) => {
            let said = std::fs::read(&log).unwrap_or_default();
            bail!("bb failed, {status}\n{}", String::from_utf8_lossy(&said));
        }
        None => {
            child.kill()?;
            child.wait()?;
            bail!("bb did not end within {} s", LIMIT.as_secs())
        }
    }
}

/// A folder for what one bb writes.
pub(super) fn scratch() -> anyhow::Result<TempDir> {
    tempfile::tempdir().context("no temporary folder can be made")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_as_long_as_it_says() {
        let (length, body) = QUESTION.split_at(4);
        assert_eq!(u32::from_le_bytes(length.try_into().unwrap()) as usize, body.len());
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let dir = scratch().unwrap();
        let error = run(Command::new("sh").args(["-c", "echo why; exit 3"]), dir.path()).unwrap_err();
        assert_eq!(error.to_string(), "bb failed, exit status: 3\nwhy\n");
        assert!(run(&mut Command::new("true"), dir.path()).unwrap() > 0.0);
    }
}
