//! Compiles programs, and measures the time of those that run.
//!
//! A running program checks at every function and loop whether the engine's epoch has changed. One thread increments
//! the epoch while programs run, and sleeps otherwise.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use wasmtime::{Config, Engine, OptLevel};

/// How often a running program looks at its deadline.
const TICK: Duration = Duration::from_millis(10);

/// The most native stack that a program may use. It runs on the caller's stack, which must be larger.
const MAX_STACK_BYTES: usize = 512 << 10;

/// Compiles programs of circuits. A process needs one. Clones share it.
#[derive(Clone)]
pub struct WitnessEngine {
    engine: Engine,
    ticker: Arc<Ticker>,
}

impl std::fmt::Debug for WitnessEngine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WitnessEngine").finish_non_exhaustive()
    }
}

/// The engine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The machine is not supported.
    #[error("no WebAssembly engine for this machine: {0}")]
    Unsupported(String),
    /// No thread could be started.
    #[error("the thread that measures time could not be started")]
    Thread(#[source] std::io::Error),
}

impl WitnessEngine {
    /// Starts the engine.
    pub fn start() -> Result<Self, EngineError> {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .max_wasm_stack(MAX_STACK_BYTES)
            .cranelift_opt_level(OptLevel::Speed)
            // An error needs no stack trace of the program: it could name anything.
            .wasm_backtrace_max_frames(None)
            // circom uses WebAssembly's first version.
            .wasm_multi_memory(false)
            .wasm_memory64(false)
            .wasm_tail_call(false)
            .wasm_simd(false)
            .wasm_relaxed_simd(false);
        let engine = Engine::new(&config).map_err(|error| EngineError::Unsupported(error.to_string()))?;
        let ticker = Ticker::start(engine.clone()).map_err(EngineError::Thread)?;
        Ok(Self { engine, ticker: Arc::new(ticker) })
    }

    pub(crate) fn wasm(&self) -> &Engine {
        &self.engine
    }

    /// Lets time pass for programs until the guard is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        self.ticker.shared.change(|state| state.running += 1);
        Running { ticker: &self.ticker }
    }
}

/// A program runs.
pub(crate) struct Running<'a> {
    ticker: &'a Ticker,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.ticker.shared.change(|state| state.running -= 1);
    }
}

/// The thread that increments the epoch.
struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    is_stopped: bool,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }
}

impl Ticker {
    fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("witness-timer".to_owned()).spawn(move || {
            let mut state = for_thread.state.lock();
            while !state.is_stopped {
                if state.running == 0 {
                    for_thread.changed.wait(&mut state);
                } else {
                    for_thread.changed.wait_for(&mut state, TICK);
                    engine.increment_epoch();
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.change(|state| state.is_stopped = true);
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic: it only waits and counts.
            drop(thread.join());
        }
    }
}
