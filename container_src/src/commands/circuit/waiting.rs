//! Waits for work that a server does after its answer: a build or a deployment.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::commands::{exit_status::Failure, remote_server::RemoteServer};

/// How often the state of the work is requested.
const POLL: Duration = Duration::from_secs(1);

/// Work that a command waits for.
pub(super) trait Awaited {
    /// What is being done, for the progress.
    fn doing(&self) -> String;
    /// Path of the answer that has the state of the work.
    fn path(&self) -> String;
    /// The part of that answer that is about this work. `None`: the server does not know the work any more.
    fn part_of(&self, answer: Value) -> Option<Value>;
    /// Whether the work has ended, by this part. The error has the reason of a failure.
    fn has_ended(&self, part: &Value) -> Result<bool, Failure>;
    /// The failure of work that the server does not know any more.
    fn gone(&self) -> Failure;
    /// The failure of work that did not end within this time.
    fn too_late(&self, wait: Duration) -> Failure;
}

/// Waits for the end of work, whose first state is `part`, and returns its last state.
pub(super) async fn until_ended(
    server: &RemoteServer,
    work: &impl Awaited,
    mut part: Value,
    wait: Duration,
) -> Result<Value, Failure> {
    let (started, progress, path) = (Instant::now(), Progress::start(), work.path());
    while !work.has_ended(&part)? {
        if started.elapsed() >= wait {
            return Err(work.too_late(wait));
        }
        progress.show(&work.doing(), started.elapsed());
        tokio::time::sleep(POLL).await;
        match server.json(Method::GET, &path, None).await {
            Ok(answer) => part = work.part_of(answer).ok_or_else(|| work.gone())?,
            Err(error) if error.is_not_found() => return Err(work.gone()),
            // A server that is busy or starts again does not end the work.
            Err(error) if error.may_succeed_later() && started.elapsed() < wait => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(part)
}

/// The progress, on standard error where that is a terminal.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn start() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar
        });
        Self(bar)
    }

    fn show(&self, what: &str, elapsed: Duration) {
        if let Some(bar) = &self.0 {
            bar.set_message(format!("{what}, for {} s", elapsed.as_secs()));
            bar.tick();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
