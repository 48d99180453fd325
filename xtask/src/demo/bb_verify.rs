//! Verifies a proof with `bb verify`, independently of the server: in its own process, with its own verification key.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use edgeprove_protocol::answer::ProofAnswer;

use crate::{process, setup::Ready};

/// bb waits for the network without a limit if the CRS has too few points. It has enough for a circuit that was just
/// proved, so this limit is not reached.
const BB_LIMIT: Duration = Duration::from_mins(1);

/// Returns the time that `bb verify` took, or an error with its output if it rejects the proof.
pub(super) fn verify(ready: &Ready, name: &str, answer: &ProofAnswer) -> anyhow::Result<Duration> {
    let folder = tempfile::tempdir().context("a temporary folder cannot be created")?;
    let file = |name: &str| folder.path().join(name);
    let circuit = ready.paths.circuits.join(format!("{name}.json"));
    let target = answer.target.as_str();
    let [crs, out, vk, proof, public_inputs, circuit] =
        [&ready.paths.crs, folder.path(), &file("vk"), &file("proof"), &file("public_inputs"), &circuit]
            .map(|path: &Path| path.to_string_lossy().into_owned());

    let bb = ready.paths.bb(&ready.versions.bb.version);
    process::read(&bb, &["write_vk", "-b", &circuit, "-o", &out, "-t", target, "-c", &crs], BB_LIMIT)?;
    let vk_hash = fs::read(file("vk_hash")).context("bb wrote no hash of its verification key")?;
    if answer.vk_hash != format!("0x{}", hex::encode(vk_hash)) {
        bail!("bb computes another verification key than the server's, {}", answer.vk_hash);
    }

    let write = || {
        fs::write(&proof, BASE64_STANDARD.decode(&answer.proof)?)?;
        fs::write(&public_inputs, concatenated(&answer.public_inputs)?)?;
        Ok::<_, anyhow::Error>(())
    };
    write().context("the server's response cannot be decoded")?;
    let started = Instant::now();
    let arguments = ["verify", "-p", &proof, "-i", &public_inputs, "-k", &vk, "-t", target, "-c", &crs];
    process::read(&bb, &arguments, BB_LIMIT)?;
    Ok(started.elapsed())
}

/// The fields as in bb's file: 32 bytes each, without separators.
fn concatenated(fields: &[String]) -> anyhow::Result<Vec<u8>> {
    let fields = fields.iter().map(|field| {
        let digits = field.strip_prefix("0x").with_context(|| format!("{field} does not begin with 0x"))?;
        let bytes = hex::decode(digits)?;
        if bytes.len() != 32 {
            bail!("{field} is not a field of 32 bytes");
        }
        Ok(bytes)
    });
    Ok(fields.collect::<anyhow::Result<Vec<_>>>()?.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_concatenated_and_must_have_32_bytes() {
        let one = format!("0x{:064x}", 1);
        let two = format!("0x{:064x}", 2);
        let bytes = concatenated(&[one.clone(), two]).unwrap();
        assert_eq!((bytes.len(), bytes[31], bytes[63]), (64, 1, 2));
        for bad in [&one[2..], "0x01", &one.replace('1', "g")] {
            assert!(concatenated(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
