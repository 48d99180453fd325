//! The container of `.r1cs`, `.wtns`, `.zkey` and `.ptau` files.
//!
//! All integers are little-endian. A file is its format's name in four letters, a version and the number of sections,
//! then the sections, each with its number (32 bits) and its length (64 bits).

use crate::field::{self, FIELD_BYTES};

/// Bytes of a section's number and length.
pub(crate) const SECTION_HEAD: usize = 12;

/// A file that is damaged, or that is not one of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The file has another format.
    #[error("this is no .{format} file: it does not start with `{format}`")]
    WrongMagic {
        /// The expected format.
        format: &'static str,
    },
    /// The file has another version of the format.
    #[error("the .{format} file has version {version}; version {expected} is needed")]
    WrongVersion {
        /// The format.
        format: &'static str,
        /// The version in the file.
        version: u32,
        /// The version that is understood.
        expected: u32,
    },
    /// The file ends inside a section or a header.
    #[error("the .{format} file ends early")]
    Truncated {
        /// The format.
        format: &'static str,
    },
    /// Bytes follow the last section.
    #[error("the .{format} file goes on after its last section")]
    TrailingBytes {
        /// The format.
        format: &'static str,
    },
    /// A section appears twice.
    #[error("the .{format} file has section {section} twice")]
    DuplicateSection {
        /// The format.
        format: &'static str,
        /// The number of the section.
        section: u32,
    },
    /// A section that the format does not define, or whose meaning is not supported.
    #[error("the .{format} file has section {section}, which is not supported")]
    UnknownSection {
        /// The format.
        format: &'static str,
        /// The number of the section.
        section: u32,
    },
    /// A section is missing.
    #[error("the .{format} file has no section {section}")]
    MissingSection {
        /// The format.
        format: &'static str,
        /// The number of the section.
        section: u32,
    },
    /// A section does not have the length that its content needs.
    #[error("section {section} of the .{format} file has {length} bytes, which does not fit its content")]
    SectionLength {
        /// The format.
        format: &'static str,
        /// The number of the section.
        section: u32,
        /// Its length.
        length: usize,
    },
    /// The file is one over another field or curve.
    #[error("the .{format} file is not one over BN254")]
    WrongField {
        /// The format.
        format: &'static str,
    },
    /// A number is not in its range.
    #[error("the .{format} file has {what} {value}; it must be below {limit}")]
    OutOfRange {
        /// The format.
        format: &'static str,
        /// What the number counts.
        what: &'static str,
        /// The number.
        value: u64,
        /// The first number that is too large.
        limit: u64,
    },
    /// A value or coordinate is not below its modulus.
    #[error("{what} {index} of the .{format} file is not below the field's modulus")]
    NotCanonical {
        /// The format.
        format: &'static str,
        /// What the value is.
        what: &'static str,
        /// Which one, counted from 0.
        index: usize,
    },
    /// A point is not on the curve or not in the subgroup.
    #[error("point {index} of {what} in the .{format} file is not a valid point of the curve")]
    InvalidPoint {
        /// The format.
        format: &'static str,
        /// What the points are.
        what: &'static str,
        /// Which one, counted from 0.
        index: usize,
    },
    /// Parts of the file contradict each other.
    #[error("the .{format} file contradicts itself: {reason}")]
    Inconsistent {
        /// The format.
        format: &'static str,
        /// The contradiction.
        reason: &'static str,
    },
}

/// A kind of file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    /// The largest number of a section.
    pub(crate) last_section: u32,
}

/// The sections of a file.
#[derive(Debug)]
pub(crate) struct Sections<'a> {
    format: Format,
    /// At the index of the section's number.
    sections: Vec<Option<&'a [u8]>>,
}

impl<'a> Sections<'a> {
    pub(crate) fn read(format: Format, bytes: &'a [u8]) -> Result<Self, FormatError> {
        let name = format.name;
        if !bytes.starts_with(name.as_bytes()) {
            return Err(FormatError::WrongMagic { format: name });
        }
        let mut reader = Reader { format: name, section: 0, bytes: &bytes[name.len()..] };
        let (version, expected) = (reader.u32()?, format.version);
        if version != expected {
            return Err(FormatError::WrongVersion { format: name, version, expected });
        }
        let count = reader.u32()?;
        let mut sections = vec![None; format.last_section as usize + 1];
        for _ in 0..count {
            if reader.bytes.len() < SECTION_HEAD {
                return Err(FormatError::Truncated { format: name });
            }
            let (section, length) = (reader.u32()?, reader.u64()?);
            let length = usize::try_from(length).map_err(|_| FormatError::Truncated { format: name })?;
            let content = reader.take(length)?;
            let slot = sections.get_mut(section as usize).filter(|_| section > 0);
            match slot {
                None => return Err(FormatError::UnknownSection { format: name, section }),
                Some(Some(_)) => return Err(FormatError::DuplicateSection { format: name, section }),
                Some(slot) => *slot = Some(content),
            }
        }
        if !reader.bytes.is_empty() {
            return Err(FormatError::TrailingBytes { format: name });
        }
        Ok(Self { format, sections })
    }

    /// A reader for a section that must be there.
    pub(crate) fn section(&self, section: u32) -> Result<Reader<'a>, FormatError> {
        let format = self.format.name;
        let bytes = self.sections.get(section as usize).copied().flatten();
        let bytes = bytes.ok_or(FormatError::MissingSection { format, section })?;
        Ok(Reader { format, section, bytes })
    }
}

/// Reads from the front of a section.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    pub(crate) format: &'static str,
    pub(crate) section: u32,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) =
            self.bytes.split_at_checked(length).ok_or(FormatError::Truncated { format: self.format })?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], FormatError> {
        let (taken, rest) =
            self.bytes.split_first_chunk().ok_or(FormatError::Truncated { format: self.format })?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(*self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(*self.array()?))
    }

    /// Reads the number of bytes of a value and the modulus.
    pub(crate) fn expect_field(&mut self, modulus: [u8; FIELD_BYTES]) -> Result<(), FormatError> {
        let has_field = self.u32()? as usize == FIELD_BYTES && *self.array()? == modulus;
        if has_field { Ok(()) } else { Err(FormatError::WrongField { format: self.format }) }
    }

    /// The rest as pieces of equal length, exactly as many as expected.
    pub(crate) fn chunks<const N: usize>(&self, count: usize) -> Result<&'a [[u8; N]], FormatError> {
        let (chunks, rest) = self.bytes.as_chunks();
        if chunks.len() != count || !rest.is_empty() {
            return Err(self.wrong_length());
        }
        Ok(chunks)
    }

    /// The section must end here.
    pub(crate) fn finish(&self) -> Result<(), FormatError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.wrong_length()) }
    }

    fn wrong_length(&self) -> FormatError {
        FormatError::SectionLength { format: self.format, section: self.section, length: self.bytes.len() }
    }
}

/// Writes a file.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(format: Format, sections: u32) -> Self {
        let mut bytes = format.name.as_bytes().to_vec();
        bytes.extend(format.version.to_le_bytes());
        bytes.extend(sections.to_le_bytes());
        Self { bytes }
    }

    /// Appends a section that `write` fills.
    pub(crate) fn section(&mut self, section: u32, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend(section.to_le_bytes());
        let length_at = self.bytes.len();
        self.bytes.extend([0; 8]);
        write(&mut self.bytes);
        let length = (self.bytes.len() - length_at - 8) as u64;
        self.bytes[length_at..length_at + 8].copy_from_slice(&length.to_le_bytes());
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// The number of bytes of a value and the modulus, as headers have them.
pub(crate) fn write_field<F: ark_ff::PrimeField<BigInt = ark_ff::BigInt<4>>>(bytes: &mut Vec<u8>) {
    bytes.extend(32_u32.to_le_bytes());
    bytes.extend(field::modulus_bytes::<F>());
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format { name: "test", version: 1, last_section: 2 };

    fn file(sections: &[(u32, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(FORMAT, u32::try_from(sections.len()).unwrap());
        for (number, content) in sections {
            writer.section(*number, |bytes| bytes.extend(*content));
        }
        writer.finish()
    }

    #[track_caller]
    fn error(bytes: &[u8]) -> FormatError {
        Sections::read(FORMAT, bytes).unwrap_err()
    }

    #[test]
    fn sections_are_found_by_number() {
        let bytes = file(&[(2, b"two"), (1, b"")]);
        let sections = Sections::read(FORMAT, &bytes).unwrap();
        assert_eq!(sections.section(2).unwrap().bytes, b"two");
        assert_eq!(sections.section(1).unwrap().bytes, b"");
        let bytes = file(&[(1, b"")]);
        let missing = Sections::read(FORMAT, &bytes).unwrap().section(2).unwrap_err();
        assert_eq!(missing, FormatError::MissingSection { format: "test", section: 2 });
    }

    #[test]
    fn damaged_containers_are_refused() {
        let format = "test";
        let good = file(&[(1, b"one"), (2, b"two")]);
        assert_eq!(error(b"tes"), FormatError::WrongMagic { format });
        assert_eq!(error(b"zkey\x01\0\0\0\0\0\0\0"), FormatError::WrongMagic { format });
        for end in 4..good.len() {
            assert_eq!(error(&good[..end]), FormatError::Truncated { format }, "{end}");
        }
        assert_eq!(error(&[good.as_slice(), b"x"].concat()), FormatError::TrailingBytes { format });
        for section in [0, 3, u32::MAX] {
            let unknown = FormatError::UnknownSection { format, section };
            assert_eq!(error(&file(&[(section, b"")])), unknown);
        }
        assert_eq!(error(&file(&[(1, b""), (1, b"")])), FormatError::DuplicateSection { format, section: 1 });
        let mut version = good.clone();
        version[4] = 9;
        assert_eq!(error(&version), FormatError::WrongVersion { format, version: 9, expected: 1 });
    }

    #[test]
    fn huge_lengths_and_counts_allocate_nothing() {
        let mut bytes = file(&[(1, b"one")]);
        bytes[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(error(&bytes), FormatError::Truncated { format: "test" });
        let mut bytes = file(&[]);
        bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(error(&bytes), FormatError::Truncated { format: "test" });
    }
}
