//! The CRS: the ceremony's points, in the two files that bb reads.
//!
//! The points come from the first source with enough of them: the installed files, the internet, a crate. From every
//! source they are compared with the pinned digests before they are installed. An installed CRS never becomes smaller.

mod points;
mod sources;

use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::Path};

use anyhow::Context;
use edgeprove_protocol::crs::{G1_FILE as G1, G1_POINT_BYTES, G2_FILE as G2, largest_circuit};

use super::{Finding, SetupContext};
use crate::{
    digest,
    progress::{self, Step},
};
use points::{Validity, round_up_to_pinned, validity};

const TITLE: &str = "CRS";

/// The number of points with which every circuit of this repository can be proved: 2^15 + 1. Installed by default.
pub(crate) const EVERY_CIRCUIT: u32 = 32_769;

/// The number of G1 points in a folder.
pub(crate) fn points(dir: &Path) -> anyhow::Result<u32> {
    let path = dir.join(G1);
    let length = fs::metadata(&path).with_context(|| format!("{} cannot be read", path.display()))?.len();
    u32::try_from(length / G1_POINT_BYTES)
        .with_context(|| format!("{} is larger than any CRS", path.display()))
}

/// Reports whether there is a CRS that bb can use, with at least the requested number of points.
pub(super) fn inspect(context: &SetupContext) -> anyhow::Result<Finding> {
    let dir = &context.paths.crs;
    let missing = |why: String| Ok(Finding::missing(TITLE, why));
    if !dir.join(G1).is_file() {
        return missing(format!("{} does not exist", dir.join(G1).display()));
    }
    let have = points(dir)?;
    match validity(&dir.join(G1), &context.versions.crs.prefix)? {
        Validity::Valid => {}
        Validity::TooFew => return missing(format!("{} has only {have} points", dir.join(G1).display())),
        Validity::Damaged => return missing(format!("{} is damaged", dir.join(G1).display())),
    }
    if digest::of_file(&dir.join(G2)).ok().as_ref() != Some(&context.versions.crs.g2.sha256) {
        return missing(format!("{} is missing or damaged", dir.join(G2).display()));
    }
    match context.crs_points {
        Some(wanted) if have < wanted => missing(format!("{have} points, {wanted} requested")),
        _ => Ok(Finding::present(TITLE, describe(have, dir))),
    }
}

/// Installs the points that [`inspect`] misses, as far as a source is reachable.
pub(super) fn install(context: &SetupContext) -> anyhow::Result<()> {
    let (dir, pins) = (&context.paths.crs, &context.versions.crs);
    let step = Step::start(TITLE, "checking the installed points");
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be created", dir.display()))?;
    write_file(&dir.join(G2), &g2(context)?)?;

    let g1 = dir.join(G1);
    let have = match g1.is_file().then(|| validity(&g1, &pins.prefix)).transpose()? {
        Some(Validity::Valid) => points(dir)?,
        _ => 0,
    };
    let wanted = round_up_to_pinned(context.crs_points.unwrap_or(EVERY_CIRCUIT), &pins.prefix);
    // A valid CRS that lacked only the G2 point is complete now, unless more points were requested.
    if have < wanted && (have == 0 || context.crs_points.is_some()) {
        match sources::from_internet(pins, wanted, &step) {
            Ok(points) => write_file(&g1, &points)?,
            Err(error) => {
                step.warn(&format!("the CRS cannot be downloaded: {error:#}"));
                if have == 0 {
                    write_file(&g1, &sources::from_crate(pins, &step)?)?;
                }
            }
        }
    }

    let have = points(dir)?;
    step.done(&describe(have, dir));
    if have < wanted {
        progress::warn(&format!(
            "these points are enough for circuits up to size {} only, and tests that need more are skipped; \
             with internet access, `cargo xtask setup --crs-points {wanted}` installs the rest",
            largest_circuit(have.into())
        ));
    }
    Ok(())
}

fn describe(points: u32, dir: &Path) -> String {
    format!(
        "{points} points, for circuits up to size {}, in {}",
        largest_circuit(points.into()),
        dir.display()
    )
}

/// The one point of G2.
fn g2(context: &SetupContext) -> anyhow::Result<Vec<u8>> {
    let pin = &context.versions.crs.g2;
    let point = hex::decode(pin.hex.concat()).context("[crs.g2] hex in versions.toml is not hexadecimal")?;
    anyhow::ensure!(
        digest::of_bytes(&point) == pin.sha256,
        "[crs.g2] in versions.toml: hex and sha256 disagree"
    );
    Ok(point)
}

/// Replaces a file as a whole. A bb that reads it meanwhile gets the old or the new one, never a part.
fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(bytes)?;
        // In an image, another user reads it.
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        file.persist(path)?;
        Ok::<_, std::io::Error>(())
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{setup::tests::context_in, versions::Prefix};

    /// Bytes in place of points, and pins for these bytes.
    fn pin_fake_points(context: &mut SetupContext, counts: &[u32]) -> Vec<u8> {
        let bytes: Vec<u8> = (0..=255).cycle().take(64 * 64).collect();
        context.versions.crs.prefix = counts
            .iter()
            .map(|&points| Prefix { points, sha256: digest::of_bytes(&bytes[..points as usize * 64]) })
            .collect();
        context.versions.crs.urls = vec![];
        fs::create_dir_all(&context.paths.crs).unwrap();
        bytes
    }

    #[test]
    fn a_missing_g2_point_is_installed_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut context = context_in(dir.path());
        let bytes = pin_fake_points(&mut context, &[5, 9]);
        let g1 = context.paths.crs.join(G1);
        // More points than any pin covers, as bb leaves them when it downloads them itself.
        fs::write(&g1, &bytes[..12 * 64]).unwrap();
        assert!(!inspect(&context).unwrap().present);
        install(&context).unwrap();
        assert!(inspect(&context).unwrap().present);
        assert_eq!(fs::read(&g1).unwrap(), bytes[..12 * 64]);
        assert_eq!(fs::metadata(context.paths.crs.join(G2)).unwrap().len(), 128);
    }

    #[test]
    fn unreachable_points_do_not_remove_installed_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut context = context_in(dir.path());
        let bytes = pin_fake_points(&mut context, &[5, 9]);
        let g1 = context.paths.crs.join(G1);
        fs::write(&g1, &bytes[..6 * 64]).unwrap();
        context.crs_points = Some(9);
        install(&context).unwrap();
        assert_eq!(fs::read(&g1).unwrap(), bytes[..6 * 64]);
        assert_eq!(inspect(&context).unwrap().note, "6 points, 9 requested");
    }

    #[test]
    fn too_few_or_wrong_points_count_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let mut context = context_in(dir.path());
        let mut bytes = pin_fake_points(&mut context, &[5, 9]);
        write_file(&context.paths.crs.join(G2), &g2(&context).unwrap()).unwrap();
        let g1 = context.paths.crs.join(G1);
        fs::write(&g1, &bytes[..4 * 64]).unwrap();
        assert!(inspect(&context).unwrap().note.ends_with("has only 4 points"));
        fs::write(&g1, &bytes[..9 * 64]).unwrap();
        assert!(inspect(&context).unwrap().present);
        bytes[8 * 64] ^= 1;
        fs::write(&g1, &bytes[..9 * 64]).unwrap();
        assert!(inspect(&context).unwrap().note.ends_with("is damaged"));
    }
}
