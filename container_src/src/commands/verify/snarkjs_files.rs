//! A Groth16 proof in the files of snarkjs: `proof.json`, `public.json` and `verification_key.json`.

use std::{num::NonZeroUsize, path::PathBuf, thread};

use edgeprove_groth16::{JsonError, Proof, PublicSignals, Threads, VerifyingKey};
use edgeprove_protocol::Target;

use super::{Misfit, Unusable};

/// Why the proof does not verify; `None` if it does.
pub(super) fn misfit(
    [proof, signals, key]: &[(PathBuf, Vec<u8>); 3],
    target: Option<Target>,
) -> Result<Option<Misfit>, Unusable> {
    if let Some(asked) = target.filter(|asked| *asked != Target::Groth16) {
        return Ok(Some(Misfit::Target { key: Target::Groth16, asked }));
    }
    let (proof, signals) = (read(proof, Proof::from_json)?, read(signals, PublicSignals::from_json)?);
    let key = read(key, VerifyingKey::from_json)?;
    let (wanted, given) = (key.public_signals(), signals.len());
    if wanted != given {
        return Ok(Some(Misfit::PublicInputs { key: wanted as u64, given }));
    }
    let is_valid = all_cores().and_then(|threads| {
        key.prepare()
            .verify_on(&proof, &signals, &threads)
            .map_err(|error| Unusable::NotVerified(Box::new(error)))
    })?;
    Ok((!is_valid).then_some(Misfit::Changed))
}

fn all_cores() -> Result<Threads, Unusable> {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Threads::of_width(cores).map_err(|error| Unusable::NotVerified(Box::new(error)))
}

fn read<T>(
    (path, json): &(PathBuf, Vec<u8>),
    parse: impl FnOnce(&[u8]) -> Result<T, JsonError>,
) -> Result<T, Unusable> {
    parse(json).map_err(|source| Unusable::NotOfSnarkjs { path: path.clone(), source })
}
