//! Uploads: streamed to disk while they are checked, and gone without a trace afterwards.
//!
//! - [`intake`]: takes an upload in, refusing at the first byte that shows it is no witness. Start here.
//! - [`stack`]: holds the inflated bytes against Noir's format and the circuit's shape.
//! - [`spool`]: the files it all lives in, which wipe themselves.
//! - `kept`: back into the spool from the artefacts.

pub mod intake;
mod kept;
pub mod spool;
pub mod stack;

use intake::Upload;
use spool::SpoolError;
use stack::{StackError, WitnessShape};

/// A complete upload is no witness of the circuit it was sent for.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Its content is not right.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// It could not be read back.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The check broke off, because the server stops.
    #[error("the check was given up")]
    GivenUp,
}

/// Holds a complete upload against Noir's format and a circuit's shape, off the async threads.
pub async fn checked(upload: Upload, shape: WitnessShape) -> Result<Upload, CheckError> {
    let check = move || {
        stack::check(upload.file.inflated()?, &shape)?;
        Ok(upload)
    };
    // Reading panics on no input; a runtime that shuts down drops the task.
    tokio::task::spawn_blocking(check).await.unwrap_or(Err(CheckError::GivenUp))
}
