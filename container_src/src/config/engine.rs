//! The settings of every command that proves or verifies: provers, bb, the CRS and the log.

use clap::Args;

use super::{
    Faults, Purpose,
    environment::Environment,
    log::{LogArgs, LogSettings},
    program::ProgramArgs,
    proving::ProvingArgs,
};
use crate::engine::settings::{EngineSettings, VerifierSettings};

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

impl EngineArgs {
    /// Reads the flags, and checks that bb has the right version.
    pub async fn read(
        self,
        environment: &Environment,
        purpose: Purpose,
        faults: &mut Faults,
    ) -> Option<(EngineSettings, LogSettings)> {
        let proving = self.proving.read(faults);
        let program = self.program.read(environment, purpose, faults).await;
        let log = self.log.read(faults);
        let (proving, mut program) = (proving?, program?);
        program.bb.memory_max_bytes = proving.scheduler.memory_max_bytes;
        Some((EngineSettings { proving, program }, log?))
    }

    /// Reads the flags that concern the verification of a proof, and checks that bb has the right version.
    pub async fn read_for_verification(
        self,
        environment: &Environment,
        faults: &mut Faults,
    ) -> Option<(VerifierSettings, LogSettings)> {
        let proving = self.proving.read(faults);
        let verifier = self.program.read_for_verification(environment, faults).await;
        let log = self.log.read(faults);
        let (proving, verifier) = (proving?, verifier?);
        let memory_max_bytes = proving.scheduler.memory_max_bytes;
        Some((VerifierSettings { memory_max_bytes, ..verifier }, log?))
    }
}
