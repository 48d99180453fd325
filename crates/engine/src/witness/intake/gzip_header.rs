//! The length of a gzip member's header (RFC 1952), found while the header arrives.
//!
//! The decoder that streams an upload accepts a name and a comment of any length; the decoders that read the spooled
//! file refuse long ones. This bound is below the bounds of all of them, so that every upload that is accepted can be
//! read again.

/// Largest header, in bytes. flate2 refuses a name or a comment of 65,535 bytes.
pub(super) const HEADER_MAX_BYTES: usize = 65_535;

/// Bytes before the optional fields: magic, method, flags, time, extra flags, system.
const FIXED_BYTES: usize = 10;
/// The position of the flags in those bytes.
const FLAGS_AT: usize = 3;

const HAS_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const UNDEFINED: u8 = 0b1110_0000;

/// The part of the header that the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Fixed,
    ExtraLength { low: Option<u8> },
    Extra { left: u16 },
    Name,
    Comment,
    Checksum { left: u8 },
    End,
}

/// The header is longer than [`HEADER_MAX_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeaderTooLong;

/// A header that arrives.
#[derive(Debug)]
pub(super) struct GzipHeader {
    part: Part,
    flags: u8,
    bytes: usize,
}

impl GzipHeader {
    pub(super) fn new() -> Self {
        Self { part: Part::Fixed, flags: 0, bytes: 0 }
    }

    /// Reads the header's next bytes. Bytes after the header are ignored.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(), HeaderTooLong> {
        for &byte in bytes {
            if self.part == Part::End {
                return Ok(());
            }
            self.part = self.after(byte);
            self.bytes += 1;
            if self.bytes > HEADER_MAX_BYTES {
                return Err(HeaderTooLong);
            }
        }
        Ok(())
    }

    /// Whether the flags have bits that RFC 1952 reserves.
    pub(super) fn has_undefined_flags(&self) -> bool {
        self.has(UNDEFINED)
    }

    fn after(&mut self, byte: u8) -> Part {
        if self.bytes == FLAGS_AT {
            self.flags = byte;
        }
        match self.part {
            Part::Fixed if self.bytes + 1 < FIXED_BYTES => Part::Fixed,
            Part::Fixed if self.has(HAS_EXTRA) => Part::ExtraLength { low: None },
            Part::ExtraLength { low: None } => Part::ExtraLength { low: Some(byte) },
            Part::ExtraLength { low: Some(low) } => match u16::from_le_bytes([low, byte]) {
                0 => self.after_extra(),
                left => Part::Extra { left },
            },
            Part::Extra { left } if left > 1 => Part::Extra { left: left - 1 },
            Part::Fixed | Part::Extra { .. } => self.after_extra(),
            Part::Name if byte != 0 => Part::Name,
            Part::Name => self.after_name(),
            Part::Comment if byte != 0 => Part::Comment,
            Part::Comment => self.after_comment(),
            Part::Checksum { left: 2.. } => Part::Checksum { left: 1 },
            Part::Checksum { .. } | Part::End => Part::End,
        }
    }

    fn after_extra(&self) -> Part {
        if self.has(HAS_NAME) { Part::Name } else { self.after_name() }
    }

    fn after_name(&self) -> Part {
        if self.has(HAS_COMMENT) { Part::Comment } else { self.after_comment() }
    }

    fn after_comment(&self) -> Part {
        if self.has(HAS_CHECKSUM) { Part::Checksum { left: 2 } } else { Part::End }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8, optional: &[&[u8]]) -> Vec<u8> {
        [&[0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 255][..], &optional.concat()].concat()
    }

    fn length(bytes: &[u8]) -> usize {
        let mut whole = GzipHeader::new();
        whole.advance(bytes).unwrap();
        let mut single = GzipHeader::new();
        for byte in bytes {
            single.advance(&[*byte]).unwrap();
        }
        assert_eq!((whole.part, whole.bytes), (single.part, single.bytes));
        assert_eq!(whole.part, Part::End);
        whole.bytes
    }

    #[test]
    fn every_optional_field_counts() {
        let (extra, name, comment, checksum) =
            (&[3, 0, 7, 0, 7][..], &b"name\0"[..], &b"a comment\0"[..], &[9, 9][..]);
        for (flags, optional) in [
            (0, vec![]),
            (1, vec![]),
            (HAS_EXTRA, vec![extra]),
            (HAS_EXTRA, vec![&[0, 0][..]]),
            (HAS_NAME, vec![name]),
            (HAS_NAME, vec![&b"\0"[..]]),
            (HAS_COMMENT, vec![comment]),
            (HAS_CHECKSUM, vec![checksum]),
            (HAS_EXTRA | HAS_COMMENT, vec![extra, comment]),
            (HAS_EXTRA | HAS_NAME | HAS_COMMENT | HAS_CHECKSUM, vec![extra, name, comment, checksum]),
        ] {
            let header = header(flags, &optional);
            let with_body = [&header[..], &[1; 100]].concat();
            assert_eq!(length(&with_body), header.len(), "{flags:#b}");
        }
    }

    #[test]
    fn a_header_beyond_the_bound_is_refused() {
        let name = |bytes: usize| [vec![b'n'; bytes - FIXED_BYTES - 1], vec![0]].concat();
        assert_eq!(length(&header(HAS_NAME, &[&name(HEADER_MAX_BYTES)])), HEADER_MAX_BYTES);
        for flags in [HAS_NAME, HAS_COMMENT] {
            let long = header(flags, &[&name(HEADER_MAX_BYTES + 1)]);
            assert_eq!(GzipHeader::new().advance(&long), Err(HeaderTooLong));
        }
    }
}
