//! The log: one format, chosen at the start, on standard error. Standard output is for the results of commands.

use std::{
    borrow::Cow,
    error::Error,
    fmt::Write,
    io::{self, IsTerminal},
    sync::OnceLock,
    time::Duration,
};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// The form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Runs a write to the terminal while something else that is drawn there is not in its way.
type Pause = dyn Fn(&mut dyn FnMut()) + Send + Sync;

static PAUSE: OnceLock<Box<Pause>> = OnceLock::new();

/// Standard error, for whole lines.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = Ok(0);
        let mut write = || written = io::Write::write(&mut io::stderr(), bytes);
        match PAUSE.get() {
            Some(pause) => pause(&mut write),
            None => write(),
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut io::stderr())
    }
}

/// Has every later line of the log written by `pause`, which removes what it drew on the terminal, such as a progress bar,
/// calls its argument and draws again. A second call changes nothing.
pub fn pause_for_lines(pause: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) {
    // Only the first one counts.
    let _ = PAUSE.set(Box::new(pause));
}

/// Installs the log for the whole process. A second call changes nothing.
pub fn start(format: LogFormat, filter: &EnvFilter) {
    let registry = tracing_subscriber::registry().with(filter.clone());
    let human = || {
        let colour = std::io::stderr().is_terminal();
        fmt::layer().with_writer(|| Lines).with_target(false).with_ansi(colour)
    };
    let json = || fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(|| Lines);
    // Only tests call this twice, and they can use the first log.
    let _ = match format {
        LogFormat::Human => registry.with(human()).try_init(),
        LogFormat::Json => registry.with(json()).try_init(),
    };
}

/// The name of threads that work on private values.
pub const PRIVATE_VALUES_THREAD: &str = "private-values";

/// Writes the message of every panic to the log instead of standard error. `without_values` removes from it what could
/// be a value of a witness: a library that asserts may quote what it worked on. Of a thread that works on private values
/// only the place is logged.
pub fn log_panics(without_values: fn(&str) -> String) {
    std::panic::set_hook(Box::new(move |panic| {
        let is_private = std::thread::current().name() == Some(PRIVATE_VALUES_THREAD);
        let message = match panic.payload_as_str() {
            Some(_) if is_private => "the message may have private values",
            Some(message) => message,
            None => "without a message",
        };
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, message = without_values(message), "panicked");
    }));
}

/// A duration in whole milliseconds, a number in every log format.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The text in one line: control characters, such as line feeds in a file's name, are escaped.
///
/// ```
/// assert_eq!(edgeprove_telemetry::one_line("a\nb"), "a\\nb");
/// ```
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.into()
}

/// An error and all its causes in one line, separated by colons. Control characters are escaped.
///
/// ```
/// let cause = std::io::Error::other("disk on fire");
/// assert_eq!(edgeprove_telemetry::chain(&cause), "disk on fire");
/// ```
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors end with the text of their cause already.
        if !line.ends_with(&text) {
            // Writing to a string cannot fail.
            let _ = write!(line, ": {text}");
        }
        cause = error.source();
    }
    match one_line(&line) {
        Cow::Borrowed(_) => line,
        Cow::Owned(escaped) => escaped,
    }
}
