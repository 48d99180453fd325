//! Reads the file with the inputs of a circuit.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use edgeprove_engine::proof_systems::inputs::{InputDocument, InputError};
use edgeprove_protocol::limits::INPUTS_MAX_BYTES;

use super::exit_status::Failure;

/// The file with the inputs cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("the inputs {} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the inputs {} have more than {INPUTS_MAX_BYTES} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("the inputs {} cannot be used", path.display())]
    Invalid {
        path: PathBuf,
        #[source]
        source: InputError,
    },
}

/// Reads the inputs; `-` is standard input. A FIFO is read too, so that another program can write them.
pub(super) fn read(path: &Path) -> Result<InputDocument, Failure> {
    let json = read_bounded(path)?;
    InputDocument::parse(json).map_err(|source| data(Unusable::Invalid { path: path.to_owned(), source }))
}

/// The bytes of the inputs, of which nothing but the number is checked.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, Failure> {
    let named = || path.to_owned();
    let json = read_bytes(path).map_err(|source| no_input(Unusable::Unreadable { path: named(), source }))?;
    if json.len() as u64 > INPUTS_MAX_BYTES {
        return Err(data(Unusable::TooLarge { path: named() }));
    }
    Ok(json)
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(INPUTS_MAX_BYTES + 1).read_to_end(&mut json)?;
    } else {
        File::open(path)?.take(INPUTS_MAX_BYTES + 1).read_to_end(&mut json)?;
    }
    Ok(json)
}

fn data(error: Unusable) -> Failure {
    Failure::Data(Box::new(error))
}

fn no_input(error: Unusable) -> Failure {
    Failure::NoInput(Box::new(error))
}
