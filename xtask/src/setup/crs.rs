//! The CRS: the ceremony's points in the two files that bb reads.
//!
//! Taken from the first of these that has enough: what is there, the internet, a crate. Whatever the source, the
//! points are held against the pinned digests before they are put in place, and what is there never shrinks.

mod points;
mod sources;

use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::Path};

use anyhow::Context;

use super::{Finding, Job};
use crate::{
    digest,
    progress::{self, Step},
};
use points::{POINT_BYTES, Soundness, largest_circuit, round_up_to_pinned, soundness};

const TITLE: &str = "CRS";
const G1: &str = "bn254_g1.dat";
const G2: &str = "bn254_g2.dat";

/// With so many points every circuit of this repository can be proved: 2^15 rows and one. Fetched where there are none.
pub(crate) const EVERY_CIRCUIT: u32 = 32_769;

/// How many G1 points the folder has.
pub(crate) fn points(dir: &Path) -> anyhow::Result<u32> {
    let path = dir.join(G1);
    let length = fs::metadata(&path).with_context(|| format!("{} cannot be read", path.display()))?.len();
    u32::try_from(length / POINT_BYTES).with_context(|| format!("{} is larger than any CRS", path.display()))
}

/// Whether there is a CRS that bb can prove with, and that has as many points as were asked for.
pub(super) fn look(job: &Job) -> anyhow::Result<Finding> {
    let dir = &job.paths.crs;
    let missing = |why: String| Ok(Finding::missing(TITLE, why));
    if !dir.join(G1).is_file() {
        return missing(format!("there is no {}", dir.join(G1).display()));
    }
    let have = points(dir)?;
    match soundness(&dir.join(G1), &job.versions.crs.prefix)? {
        Soundness::Sound => {}
        Soundness::TooFew => return missing(format!("{} has {have} points only", dir.join(G1).display())),
        Soundness::Damaged => return missing(format!("{} is damaged", dir.join(G1).display())),
    }
    if digest::of_file(&dir.join(G2)).ok().as_ref() != Some(&job.versions.crs.g2.sha256) {
        return missing(format!("{} is missing or damaged", dir.join(G2).display()));
    }
    match job.crs_points {
        Some(wanted) if have < wanted => missing(format!("{have} points, {wanted} were asked for")),
        _ => Ok(Finding::present(TITLE, describe(have, dir))),
    }
}

/// Gets what [`look`] misses, as far as it can be had from here.
pub(super) fn get(job: &Job) -> anyhow::Result<()> {
    let (dir, pins) = (&job.paths.crs, &job.versions.crs);
    let step = Step::begin(TITLE, "looking at what is there");
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    put(&dir.join(G2), &g2(job)?)?;

    let g1 = dir.join(G1);
    let have = match g1.is_file().then(|| soundness(&g1, &pins.prefix)).transpose()? {
        Some(Soundness::Sound) => points(dir)?,
        _ => 0,
    };
    let wanted = round_up_to_pinned(job.crs_points.unwrap_or(EVERY_CIRCUIT), &pins.prefix);
    // A sound CRS of which only the G2 point was missing is complete now, unless more was asked for.
    if have < wanted && (have == 0 || job.crs_points.is_some()) {
        match sources::from_internet(pins, wanted, &step) {
            Ok(points) => put(&g1, &points)?,
            Err(error) => {
                step.caution(&format!("the CRS cannot be downloaded: {error:#}"));
                if have == 0 {
                    put(&g1, &sources::from_crate(pins, &step)?)?;
                }
            }
        }
    }

    let have = points(dir)?;
    step.done(&describe(have, dir));
    if have < wanted {
        progress::caution(&format!(
            "only circuits of up to {} rows can be proved with these points, and tests that need more are skipped; \
             with internet, `cargo xtask setup --crs-points {wanted}` gets the rest",
            largest_circuit(have)
        ));
    }
    Ok(())
}

fn describe(points: u32, dir: &Path) -> String {
    format!("{points} points, circuits of up to {} rows, in {}", largest_circuit(points), dir.display())
}

/// The one point of G2.
fn g2(job: &Job) -> anyhow::Result<Vec<u8>> {
    let pin = &job.versions.crs.g2;
    let point = hex::decode(pin.hex.concat()).context("[crs.g2] hex in versions.toml is no hexadecimal")?;
    anyhow::ensure!(
        digest::of_bytes(&point) == pin.sha256,
        "[crs.g2] in versions.toml: hex and sha256 disagree"
    );
    Ok(point)
}

/// Replaces a file as a whole: a bb that reads it meanwhile has the old one or the new one.
fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(bytes)?;
        // In an image it is another user who proves with it.
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        file.persist(path)?;
        Ok::<_, std::io::Error>(())
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{setup::tests::job_in, versions::Prefix};

    /// Points that are none, and pins that say they are.
    fn pretend(job: &mut Job, counts: &[u32]) -> Vec<u8> {
        let bytes: Vec<u8> = (0..=255).cycle().take(64 * 64).collect();
        job.versions.crs.prefix = counts
            .iter()
            .map(|&points| Prefix { points, sha256: digest::of_bytes(&bytes[..points as usize * 64]) })
            .collect();
        job.versions.crs.urls = vec![];
        fs::create_dir_all(&job.paths.crs).unwrap();
        bytes
    }

    #[test]
    fn a_sound_crs_is_left_alone_and_its_lost_g2_point_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut job = job_in(dir.path());
        let bytes = pretend(&mut job, &[5, 9]);
        let g1 = job.paths.crs.join(G1);
        // More than any pin covers, as a bb that downloaded for itself leaves it.
        fs::write(&g1, &bytes[..12 * 64]).unwrap();
        assert!(!look(&job).unwrap().present);
        get(&job).unwrap();
        assert!(look(&job).unwrap().present);
        assert_eq!(fs::read(&g1).unwrap(), bytes[..12 * 64]);
        assert_eq!(fs::metadata(job.paths.crs.join(G2)).unwrap().len(), 128);
    }

    #[test]
    fn asking_for_more_than_can_be_had_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut job = job_in(dir.path());
        let bytes = pretend(&mut job, &[5, 9]);
        let g1 = job.paths.crs.join(G1);
        fs::write(&g1, &bytes[..6 * 64]).unwrap();
        job.crs_points = Some(9);
        get(&job).unwrap();
        assert_eq!(fs::read(&g1).unwrap(), bytes[..6 * 64]);
        assert_eq!(look(&job).unwrap().note, "6 points, 9 were asked for");
    }

    #[test]
    fn too_few_or_wrong_points_are_no_crs() {
        let dir = tempfile::tempdir().unwrap();
        let mut job = job_in(dir.path());
        let mut bytes = pretend(&mut job, &[5, 9]);
        put(&job.paths.crs.join(G2), &g2(&job).unwrap()).unwrap();
        let g1 = job.paths.crs.join(G1);
        fs::write(&g1, &bytes[..4 * 64]).unwrap();
        assert!(look(&job).unwrap().note.ends_with("has 4 points only"));
        fs::write(&g1, &bytes[..9 * 64]).unwrap();
        assert!(look(&job).unwrap().present);
        bytes[8 * 64] ^= 1;
        fs::write(&g1, &bytes[..9 * 64]).unwrap();
        assert!(look(&job).unwrap().note.ends_with("is damaged"));
    }
}
