//! Says what is being done: a moving line on a terminal, plain lines anywhere else.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// One thing that takes a while. Dropped without [`Step::done`], it leaves nothing on the terminal.
#[derive(Debug)]
pub(crate) struct Step {
    title: String,
    bar: Option<ProgressBar>,
}

impl Step {
    /// Begins; `doing` says how.
    pub(crate) fn begin(title: impl Into<String>, doing: &str) -> Self {
        let title = title.into();
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_style(style("{spinner} {prefix}: {wide_msg}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar.with_prefix(title.clone())
        });
        let step = Self { title, bar };
        step.now(doing);
        step
    }

    /// Says what is being done now.
    pub(crate) fn now(&self, doing: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(doing.to_owned()),
            None => eprintln!("  {}: {doing}", self.title),
        }
    }

    /// As [`caution`], above the moving line.
    pub(crate) fn caution(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| caution(text)),
            None => caution(text),
        }
    }

    /// Turns the line into a bar of so many bytes and gives it, to be moved on. Hidden where there is no terminal.
    pub(crate) fn bytes(&self, total: u64) -> ProgressBar {
        let Some(bar) = &self.bar else { return ProgressBar::hidden() };
        bar.set_length(total);
        bar.set_position(0);
        bar.set_style(style("{spinner} {prefix}: [{wide_bar}] {bytes}/{total_bytes}"));
        bar.clone()
    }

    /// Ends, with what came of it.
    pub(crate) fn done(self, outcome: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        done(&self.title, outcome);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Something that is ready.
pub(crate) fn done(title: &str, outcome: &str) {
    eprintln!("✓ {title}: {outcome}");
}

/// Something that the user should know, though nothing failed.
pub(crate) fn caution(text: &str) {
    eprintln!("! {text}");
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
