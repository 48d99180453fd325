//! What a running program may do: the imports of circom's runtime, memory, time.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use wasmtime::{Caller, Extern, Linker, ResourceLimiter, Store, UpdateDeadline};

/// Characters of a message that are read from a program.
const MAX_MESSAGE_CHARS: usize = 1024;

/// Locations of one exception: the templates that were being computed, innermost first.
const MAX_LOCATIONS: usize = 32;

/// The module that circom's programs import from.
pub(crate) const IMPORT_MODULE: &str = "runtime";

/// The function that prints where an assertion failed.
pub(crate) const PRINT_ERROR: &str = "printErrorMessage";

/// The functions of that module, and whether each has a parameter.
pub(crate) const IMPORTS: [(&str, bool); 4] = [
    ("exceptionHandler", true),
    (PRINT_ERROR, false),
    ("writeBufferMessage", false),
    ("showSharedRWMemory", false),
];

/// What a program may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest program.
    pub program_bytes: usize,
    /// The longest function of a program. It bounds the time and the memory of the compiler.
    pub function_bytes: usize,
    /// The largest memory, declared or grown.
    pub memory_bytes: usize,
    /// The most entries of a table. circom needs one for each template.
    pub table_entries: usize,
    /// The longest time for one witness.
    pub time: Duration,
}

impl Default for Limits {
    /// Enough for circuits of some millions of signals.
    fn default() -> Self {
        Self {
            program_bytes: 128 << 20,
            function_bytes: 1 << 20,
            memory_bytes: 1 << 30,
            table_entries: 1 << 18,
            time: Duration::from_mins(1),
        }
    }
}

/// An exception that a circuit raised, with its location in the source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}{}", Locations(locations))]
pub struct CircuitException {
    /// What happened.
    pub kind: ExceptionKind,
    /// The templates and functions that were being computed, innermost first. Empty where circom names none.
    pub locations: Vec<Location>,
}

/// The exceptions of circom's runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExceptionKind {
    /// The circuit has no such input signal.
    SignalNotFound,
    /// More values than input signals.
    TooManySignals,
    /// An input signal has a value already.
    SignalAlreadySet,
    /// An assertion or a constraint failed: the inputs do not satisfy the circuit.
    AssertFailed,
    /// The program's memory could not grow.
    OutOfMemory,
    /// An index beyond an array of input signals.
    IndexOutOfRange,
    /// A code that circom does not define.
    Unknown,
}

impl ExceptionKind {
    fn of(code: i32) -> Self {
        match code {
            1 => Self::SignalNotFound,
            2 => Self::TooManySignals,
            3 => Self::SignalAlreadySet,
            4 => Self::AssertFailed,
            5 => Self::OutOfMemory,
            6 => Self::IndexOutOfRange,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for ExceptionKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SignalNotFound => "the circuit has no such input signal",
            Self::TooManySignals => "more values than input signals",
            Self::SignalAlreadySet => "an input signal was given twice",
            Self::AssertFailed => "the inputs do not satisfy the circuit: an assertion failed",
            Self::OutOfMemory => "the circuit's program is out of memory",
            Self::IndexOutOfRange => "an index exceeds an array of input signals",
            Self::Unknown => "the circuit raised an exception that circom does not define",
        })
    }
}

/// A line of a circuit's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The name of the template or function. circom appends a number to a template's name.
    pub name: String,
    /// The line in the file that defines it.
    pub line: u32,
}

impl Location {
    /// Reads circom's static message, such as `Error in template Range_3 line: 12`. Another text may contain values of
    /// inputs, so that only this form is accepted. A program that hides a value in such a name does so on purpose.
    fn parse(message: &str) -> Option<Self> {
        let rest = message.trim().strip_prefix("Error in ")?;
        let (_, rest) =
            rest.split_once(' ').filter(|(what, _)| matches!(*what, "template" | "function" | "bus"))?;
        let (name, line) = rest.split_once(" line: ")?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$');
        let line = line.trim_end_matches(['.', ' ']).parse().ok()?;
        let is_valid = !name.is_empty() && name.len() <= 200 && name.chars().all(is_name);
        is_valid.then(|| Self { name: name.to_owned(), line })
    }
}

/// Prints locations after an exception.
struct Locations<'a>(&'a [Location]);

impl fmt::Display for Locations<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Location { name, line }) in self.0.iter().enumerate() {
            let lead = if index == 0 { " in" } else { ", called from" };
            write!(formatter, "{lead} {name} line {line}")?;
        }
        Ok(())
    }
}

/// Why a program was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    Exception(CircuitException),
    Deadline,
    Cancelled,
    MemoryLimit,
    TableLimit,
}

/// The state of one run.
pub(crate) struct HostState {
    limits: Limits,
    /// `None`: later than the clock can represent.
    deadline: Option<Instant>,
    cancelled: Option<Arc<AtomicBool>>,
    locations: Vec<Location>,
    is_reading_message: bool,
    stop: Option<Stop>,
}

impl HostState {
    pub(crate) fn new(limits: Limits, cancelled: Option<Arc<AtomicBool>>) -> Self {
        Self {
            limits,
            deadline: Instant::now().checked_add(limits.time),
            cancelled,
            locations: Vec::new(),
            is_reading_message: false,
            stop: None,
        }
    }

    /// Why the program was stopped, if it was the host that stopped it.
    pub(crate) fn take_stop(&mut self) -> Option<Stop> {
        self.stop.take()
    }

    /// Records the first reason, and returns the error that ends the program.
    fn stop(&mut self, stop: Stop) -> wasmtime::Error {
        self.stop.get_or_insert(stop);
        wasmtime::Error::msg("stopped by the host")
    }

    fn check_time(&mut self) -> Result<UpdateDeadline, wasmtime::Error> {
        if self.cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed)) {
            return Err(self.stop(Stop::Cancelled));
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(self.stop(Stop::Deadline));
        }
        Ok(UpdateDeadline::Continue(1))
    }
}

impl ResourceLimiter for HostState {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.limits.memory_bytes {
            return Err(self.stop(Stop::MemoryLimit));
        }
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.limits.table_entries {
            return Err(self.stop(Stop::TableLimit));
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}

/// Gives a store its limits.
pub(crate) fn bound(store: &mut Store<HostState>) {
    store.limiter(|state| state);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut context| context.data_mut().check_time());
}

/// Defines the imports of circom's runtime, and nothing else.
pub(crate) fn define_imports(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let [exception, error_message, log_message, log_value] = IMPORTS.map(|(name, _)| name);
    linker.func_wrap(
        IMPORT_MODULE,
        exception,
        |mut caller: Caller<'_, HostState>, code: i32| -> wasmtime::Result<()> {
            let state = caller.data_mut();
            let locations = std::mem::take(&mut state.locations);
            let exception = CircuitException { kind: ExceptionKind::of(code), locations };
            Err(state.stop(Stop::Exception(exception)))
        },
    )?;
    linker.func_wrap(
        IMPORT_MODULE,
        error_message,
        |mut caller: Caller<'_, HostState>| -> wasmtime::Result<()> {
            let message = read_message(&mut caller)?;
            let locations = &mut caller.data_mut().locations;
            if locations.len() < MAX_LOCATIONS {
                locations.extend(Location::parse(&message));
            }
            Ok(())
        },
    )?;
    // What a circuit logs may be private: it is read from the program, as it expects, and dropped.
    linker.func_wrap(
        IMPORT_MODULE,
        log_message,
        |mut caller: Caller<'_, HostState>| -> wasmtime::Result<()> { read_message(&mut caller).map(drop) },
    )?;
    linker.func_wrap(IMPORT_MODULE, log_value, || {})?;
    Ok(())
}

/// Reads the message that the program has ready, character by character.
fn read_message(caller: &mut Caller<'_, HostState>) -> wasmtime::Result<String> {
    let next_char = caller.get_export("getMessageChar").and_then(Extern::into_func);
    let next_char = next_char.ok_or_else(|| wasmtime::Error::msg("the program exports no getMessageChar"))?;
    let next_char = next_char.typed::<(), i32>(&caller)?;
    if std::mem::replace(&mut caller.data_mut().is_reading_message, true) {
        return Err(wasmtime::Error::msg("getMessageChar logs a message itself"));
    }
    let mut message = String::new();
    for _ in 0..MAX_MESSAGE_CHARS {
        match next_char.call(&mut *caller, ())? {
            0 => break,
            code => message.extend(u32::try_from(code).ok().and_then(char::from_u32)),
        }
    }
    caller.data_mut().is_reading_message = false;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_static_locations_are_read_from_messages() {
        let location = |name: &str, line| Some(Location { name: name.to_owned(), line });
        assert_eq!(Location::parse("Error in template Range_3 line: 12"), location("Range_3", 12));
        assert_eq!(Location::parse("Error in function log_2 line: 7.\n"), location("log_2", 7));
        for message in [
            "",
            "4242",
            "Error in template Range_3 line: 12 value 4242",
            "Error in template a b line: 1",
            "Error in secret 4242 line: 1",
            "Error in template  line: 1",
            "Error in template A line: 99999999999",
        ] {
            assert_eq!(Location::parse(message), None, "{message}");
        }
    }

    #[test]
    fn exceptions_name_the_line() {
        let locations = [("Inner_1", 3), ("Main_2", 9)];
        let locations = locations.map(|(name, line)| Location { name: name.to_owned(), line });
        let exception = CircuitException { kind: ExceptionKind::of(4), locations: locations.to_vec() };
        assert_eq!(
            exception.to_string(),
            "the inputs do not satisfy the circuit: an assertion failed in Inner_1 line 3, called from Main_2 line 9"
        );
        assert_eq!(ExceptionKind::of(77), ExceptionKind::Unknown);
    }
}
