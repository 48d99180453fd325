//! Logs: one format, chosen once, on standard error. Standard output belongs to the commands' own results.

use std::{error::Error, fmt::Write, io::IsTerminal, time::Duration};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Installs the log for the whole process. A second call changes nothing.
pub fn start(format: LogFormat, filter: &EnvFilter) {
    let registry = tracing_subscriber::registry().with(filter.clone());
    let human = || {
        let colour = std::io::stderr().is_terminal();
        fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(colour)
    };
    let json = || fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(std::io::stderr);
    // Only tests call this twice, and the first log serves them as well.
    let _ = match format {
        LogFormat::Human => registry.with(human()).try_init(),
        LogFormat::Json => registry.with(json()).try_init(),
    };
}

/// Sends the words of a panic to the log, as any other line, and cuts out of them whatever could be a value of a
/// witness: a library that asserts may quote what it worked on.
pub fn log_panics(without_values: fn(&str) -> String) {
    std::panic::set_hook(Box::new(move |panic| {
        let words = panic.payload_as_str().unwrap_or("without words");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, words = without_values(words), "a panic");
    }));
}

/// Whole milliseconds, as a number that every log format writes as one.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An error and all its causes in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(line, ": {error}");
        cause = error.source();
    }
    line
}
