//! Progress messages: an animated line on a terminal, plain lines elsewhere.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// A step that takes some time. Dropped without [`Step::done`], it leaves nothing on the terminal.
#[derive(Debug)]
pub(crate) struct Step {
    title: String,
    bar: Option<ProgressBar>,
}

impl Step {
    /// Starts a step. `activity` describes its first activity.
    pub(crate) fn start(title: impl Into<String>, activity: &str) -> Self {
        let title = title.into();
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_style(style("{spinner} {prefix}: {wide_msg}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar.with_prefix(title.clone())
        });
        let step = Self { title, bar };
        step.set_activity(activity);
        step
    }

    /// Shows the current activity.
    pub(crate) fn set_activity(&self, activity: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(activity.to_owned()),
            None => eprintln!("  {}: {activity}", self.title),
        }
    }

    /// As [`warn`], above the animated line.
    pub(crate) fn warn(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| warn(text)),
            None => warn(text),
        }
    }

    /// Turns the line into a progress bar of `total` bytes. The bar is hidden where there is no terminal.
    pub(crate) fn show_bytes(&self, total: u64) -> ProgressBar {
        let Some(bar) = &self.bar else { return ProgressBar::hidden() };
        bar.set_length(total);
        bar.set_position(0);
        bar.set_style(style("{spinner} {prefix}: [{wide_bar}] {bytes}/{total_bytes}"));
        bar.clone()
    }

    /// Ends the step and shows its result.
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

/// Shows a result.
pub(crate) fn done(title: &str, outcome: &str) {
    eprintln!("✓ {title}: {outcome}");
}

/// Shows a warning: the user should know it, but nothing failed.
pub(crate) fn warn(text: &str) {
    eprintln!("! {text}");
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
