//! Reads `.ptau` files in pieces.

use std::{fs::File, io, os::unix::fs::FileExt as _, time::SystemTime};

use ark_bn254::Fq;
use rayon::iter::{IndexedParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};

use super::{FORMAT, MAX_POWER, PowersDigest, PowersError, contribution::Contribution, inconsistent};
use crate::{
    blake2b::Blake2b,
    curve::{G1_BYTES, G2_BYTES, PointBytes},
    field,
    lagrange::Steps,
    sections::{FormatError, Reader, SECTION_HEAD},
};

pub(crate) const TAU_G1: u32 = 2;
pub(crate) const TAU_G2: u32 = 3;
pub(crate) const ALPHA_G1: u32 = 4;
pub(crate) const BETA_G1: u32 = 5;
pub(crate) const BETA_G2: u32 = 6;
pub(crate) const CONTRIBUTIONS: u32 = 7;
pub(crate) const LAGRANGE_TAU_G1: u32 = 12;
pub(crate) const LAGRANGE_TAU_G2: u32 = 13;
pub(crate) const LAGRANGE_ALPHA_G1: u32 = 14;
pub(crate) const LAGRANGE_BETA_G1: u32 = 15;

/// Bytes of the section with the field and the power.
const HEADER_BYTES: u64 = 4 + 32 + 4 + 4;
/// The longest section with contributions.
const CONTRIBUTIONS_MAX_BYTES: u64 = 1 << 20;
/// Bytes that are hashed at once.
const HASHED_BYTES: usize = 1 << 20;

/// The numbers that describe a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowersInfo {
    /// The power of two of the largest domain.
    pub power: u32,
    /// That of the file of which this one is the beginning.
    pub ceremony_power: u32,
    /// How many contributed.
    pub contributions: usize,
}

impl PowersInfo {
    /// The size of the largest domain. A circuit takes one value of it for each constraint and each public signal, and one
    /// more.
    #[must_use]
    pub const fn domain_size(&self) -> u64 {
        1 << self.power
    }
}

/// An open `.ptau` file whose sections have the right lengths. The points in it are not checked.
#[derive(Debug)]
pub struct PowersFile {
    file: File,
    info: PowersInfo,
    /// Where the content of each section starts, at the index of its number.
    starts: [u64; 16],
    contributions: Vec<Contribution>,
    opened_as: Stamp,
}

/// What changes when a file is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self { bytes: found.len(), modified: found.modified().ok() })
    }
}

/// Whether points are checked to be on the curve and in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Points {
    /// They are.
    Checked,
    /// They are on the curve. In G2, that is not enough to be in the group.
    OnCurve,
}

impl PowersFile {
    /// Reads the header and the contributions of an open file, and the lengths of all sections.
    pub fn open(file: File) -> Result<Self, PowersError> {
        let opened_as = Stamp::of(&file)?;
        let sections = find_sections(&file, opened_as.bytes)?;
        let header = section(&sections, 1)?;
        check_length(1, header, HEADER_BYTES)?;
        let header = read_at(&file, header.start, HEADER_BYTES)?;
        let mut header = Reader { format: FORMAT.name, section: 1, bytes: &header };
        header.expect_field(field::modulus_bytes::<Fq>())?;
        let (power, ceremony_power) = (header.u32()?, header.u32()?);
        if !(1..=MAX_POWER).contains(&power) {
            return Err(PowersError::Power { power, max: MAX_POWER });
        }
        if ceremony_power < power {
            return Err(inconsistent("its power is larger than that of its ceremony"));
        }
        let mut starts = [0; 16];
        for (number, bytes) in lengths(power) {
            let found = match section(&sections, number) {
                Err(_) if number >= LAGRANGE_TAU_G1 => {
                    return Err(PowersError::NotPrepared { section: number });
                }
                found => found?,
            };
            check_length(number, found, bytes)?;
            starts[number as usize] = found.start;
        }
        let found = section(&sections, CONTRIBUTIONS)?;
        if found.bytes > CONTRIBUTIONS_MAX_BYTES {
            return Err(inconsistent("its contributions have more than 1 MiB"));
        }
        let bytes = read_at(&file, found.start, found.bytes)?;
        let contributions =
            Contribution::read_all(Reader { format: FORMAT.name, section: CONTRIBUTIONS, bytes: &bytes })?;
        let info = PowersInfo { power, ceremony_power, contributions: contributions.len() };
        Ok(Self { file, info, starts, contributions, opened_as })
    }

    /// The numbers that describe the file.
    #[must_use]
    pub const fn info(&self) -> PowersInfo {
        self.info
    }

    /// BLAKE2b-512 of the file. Takes a second for each gigabyte. Ends early where `is_cancelled` is set.
    pub fn digest(&self, is_cancelled: &std::sync::atomic::AtomicBool) -> Result<PowersDigest, PowersError> {
        let (mut hasher, mut buffer) = (Blake2b::new(), vec![0; HASHED_BYTES]);
        let mut offset = 0;
        while offset < self.opened_as.bytes {
            Steps(is_cancelled).next()?;
            let left = usize::try_from(self.opened_as.bytes - offset).unwrap_or(usize::MAX);
            let piece = &mut buffer[..left.min(HASHED_BYTES)];
            self.file.read_exact_at(piece, offset)?;
            hasher.update(piece);
            offset += piece.len() as u64;
        }
        self.check_unchanged()?;
        Ok(PowersDigest(hasher.finish()))
    }

    /// Fails if the file has been changed since it was opened, as far as its length and its time show it.
    pub fn check_unchanged(&self) -> Result<(), PowersError> {
        if Stamp::of(&self.file)? == self.opened_as { Ok(()) } else { Err(PowersError::Changed) }
    }

    pub(crate) fn contributions(&self) -> &[Contribution] {
        &self.contributions
    }

    /// Reads points of a section, on the threads of the current pool. A caller reads as many as its memory allows.
    pub(crate) fn points<const N: usize, P: PointBytes<N>>(
        &self,
        section: u32,
        range: std::ops::Range<u64>,
        checks: Points,
    ) -> Result<Vec<P>, PowersError> {
        let start = self.starts[section as usize] + range.start * N as u64;
        let bytes = read_at(&self.file, start, (range.end - range.start) * N as u64)?;
        let first = usize::try_from(range.start).unwrap_or_default();
        let (format, what) = (FORMAT.name, section_name(section));
        let read = |(index, bytes): (usize, &[u8; N])| {
            let index = first + index;
            let point = P::from_bytes(bytes).ok_or(FormatError::NotCanonical { format, what, index })?;
            let is_valid = !point.is_infinity()
                && match checks {
                    Points::Checked => point.is_valid(),
                    Points::OnCurve => point.is_curve_point(),
                };
            if is_valid { Ok(point) } else { Err(FormatError::InvalidPoint { format, what, index }) }
        };
        let points: Result<Vec<P>, FormatError> =
            bytes.as_chunks().0.par_iter().enumerate().map(read).collect();
        Ok(points?)
    }

    /// One point of a section.
    pub(crate) fn point<const N: usize, P: PointBytes<N>>(
        &self,
        section: u32,
        index: u64,
        checks: Points,
    ) -> Result<P, PowersError> {
        let points = self.points(section, index..index + 1, checks)?;
        points.first().copied().ok_or_else(|| inconsistent("a point is missing"))
    }
}

/// What the points of a section are, for messages.
pub(crate) const fn section_name(section: u32) -> &'static str {
    match section {
        TAU_G1 => "tau in G1",
        TAU_G2 => "tau in G2",
        ALPHA_G1 => "alpha tau in G1",
        BETA_G1 => "beta tau in G1",
        BETA_G2 => "beta in G2",
        LAGRANGE_TAU_G1 => "Lagrange tau in G1",
        LAGRANGE_TAU_G2 => "Lagrange tau in G2",
        LAGRANGE_ALPHA_G1 => "Lagrange alpha tau in G1",
        LAGRANGE_BETA_G1 => "Lagrange beta tau in G1",
        _ => "the contributions",
    }
}

/// The sections with points, and their lengths in bytes.
pub(super) fn lengths(power: u32) -> [(u32, u64); 9] {
    let (size, g1, g2) = (1_u64 << power, G1_BYTES as u64, G2_BYTES as u64);
    [
        (TAU_G1, (2 * size - 1) * g1),
        (TAU_G2, size * g2),
        (ALPHA_G1, size * g1),
        (BETA_G1, size * g1),
        (BETA_G2, g2),
        // The domains of 1, 2, 4 ... values, one after the other, and in G1 one more.
        (LAGRANGE_TAU_G1, (4 * size - 1) * g1),
        (LAGRANGE_TAU_G2, (2 * size - 1) * g2),
        (LAGRANGE_ALPHA_G1, (2 * size - 1) * g1),
        (LAGRANGE_BETA_G1, (2 * size - 1) * g1),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Extent {
    start: u64,
    bytes: u64,
}

/// Finds the sections by their heads, without reading them. There are at most as many as the format has numbers.
fn find_sections(file: &File, file_bytes: u64) -> Result<[Option<Extent>; 16], PowersError> {
    let format = FORMAT.name;
    let truncated = || PowersError::from(FormatError::Truncated { format });
    let start = (FORMAT.name.len() + 8) as u64;
    let mut head = [0; 12];
    // A file that is shorter is none of this format.
    let is_long_enough = file_bytes >= start;
    if is_long_enough {
        file.read_exact_at(&mut head, 0)?;
    }
    if !head.starts_with(format.as_bytes()) {
        return Err(FormatError::WrongMagic { format }.into());
    }
    let mut reader = Reader { format, section: 0, bytes: &head[FORMAT.name.len()..] };
    let (version, count, expected) = (reader.u32()?, reader.u32()?, FORMAT.version);
    if version != expected {
        return Err(FormatError::WrongVersion { format, version, expected }.into());
    }
    let mut sections = [None; 16];
    let mut offset = start;
    for _ in 0..count {
        let content = offset.checked_add(SECTION_HEAD as u64).filter(|content| *content <= file_bytes);
        let content = content.ok_or_else(truncated)?;
        file.read_exact_at(&mut head, offset)?;
        let mut reader = Reader { format, section: 0, bytes: &head };
        let (section, bytes) = (reader.u32()?, reader.u64()?);
        offset = content.checked_add(bytes).filter(|end| *end <= file_bytes).ok_or_else(truncated)?;
        match sections.get_mut(section as usize).filter(|_| section > 0) {
            None => return Err(FormatError::UnknownSection { format, section }.into()),
            Some(Some(_)) => return Err(FormatError::DuplicateSection { format, section }.into()),
            Some(slot) => *slot = Some(Extent { start: content, bytes }),
        }
    }
    if offset < file_bytes {
        return Err(FormatError::TrailingBytes { format }.into());
    }
    Ok(sections)
}

fn section(sections: &[Option<Extent>; 16], section: u32) -> Result<Extent, FormatError> {
    let found = sections.get(section as usize).copied().flatten();
    found.ok_or(FormatError::MissingSection { format: FORMAT.name, section })
}

fn check_length(section: u32, found: Extent, expected: u64) -> Result<(), FormatError> {
    if found.bytes == expected {
        return Ok(());
    }
    let length = usize::try_from(found.bytes).unwrap_or(usize::MAX);
    Err(FormatError::SectionLength { format: FORMAT.name, section, length })
}

fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
