//! What every command that proves or verifies needs to know: provers, bb and its data, logs.

use clap::Args;

use super::{
    Faults,
    log::{LogArgs, LogSettings},
    program::{Environment, ProgramArgs, ProgramSettings},
    proving::{ProvingArgs, ProvingSettings},
};

/// Flags of the engine.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    #[command(flatten)]
    proving: ProvingArgs,
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Settings of the engine.
#[derive(Debug)]
pub struct EngineSettings {
    /// Provers, queue and verification.
    pub proving: ProvingSettings,
    /// bb, its data, and the server's folders.
    pub program: ProgramSettings,
    /// Logs.
    pub log: LogSettings,
}

impl EngineArgs {
    /// Reads the flags.
    pub fn read(self, around: &Environment, faults: &mut Faults) -> Option<EngineSettings> {
        let proving = self.proving.read(faults);
        let program = self.program.read(around, faults);
        let log = self.log.read(faults);
        Some(EngineSettings { proving: proving?, program: program?, log: log? })
    }
}
