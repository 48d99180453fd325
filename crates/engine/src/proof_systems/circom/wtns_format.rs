//! The format of a witness of circom, checked as a stream.
//!
//! All integers are little-endian. A `.wtns` file of version 2 is the magic, the version and the number of sections; a
//! section with the length of a value, the modulus and the number of values; and a section with the values, the first of
//! which is 1.

use std::io::{self, Read};

use edgeprove_groth16::{FormatError, is_canonical, scalar_modulus};
use edgeprove_protocol::{HasProblemType, ProblemType};
use zeroize::Zeroizing;

/// Bytes of a value.
const VALUE_BYTES: usize = 32;
/// Bytes before the number of values.
const HEAD_BYTES: usize = 12 + 12 + 4 + VALUE_BYTES;
/// Bytes before the first value.
const HEADER_BYTES: usize = HEAD_BYTES + 4 + 12;
/// Values that are read at once.
const VALUES_AT_ONCE: usize = 1024;

/// A decompressed upload is not a witness of the circuit. No variant has a value.
#[derive(Debug, thiserror::Error)]
pub enum WtnsError {
    /// It begins as another file.
    #[error("{}", not_wtns(*.is_noir))]
    NotWtns {
        /// Whether it begins as a witness of Noir.
        is_noir: bool,
    },
    /// It has another version or other sections.
    #[error("the header of the .wtns file is not that of version 2 as snarkjs writes it")]
    Header,
    /// It is one over another field.
    #[error("the .wtns file is not one over BN254's scalar field: compile the circuit with `--prime bn128`")]
    OtherField,
    /// It is a witness of another circuit.
    #[error("the .wtns file has {found} values, but a witness of this circuit has {wanted}")]
    OtherCircuit {
        /// How many values it has.
        found: u32,
        /// How many a witness has.
        wanted: u32,
    },
    /// It ends early.
    #[error("the .wtns file ends within value {index}")]
    EndsEarly {
        /// The value that is incomplete.
        index: u32,
    },
    /// Something follows its last value.
    #[error("the .wtns file goes on after its last value")]
    TrailingBytes,
    /// A value is not below the modulus.
    #[error("value {index} of the .wtns file is not below the modulus")]
    NotCanonical {
        /// The position of the value.
        index: u32,
    },
    /// The first value is not 1.
    #[error("the first value of the .wtns file is not 1")]
    NotOne,
    /// The file does not have its format. It was checked before, and has changed since.
    #[error(transparent)]
    Format(FormatError),
    /// The spooled file could not be read.
    #[error("the spooled witness could not be read")]
    Read(#[source] io::Error),
}

fn not_wtns(is_noir: bool) -> &'static str {
    if is_noir {
        "it is a witness of Noir, and the circuit is one of circom: send a .wtns file"
    } else {
        "it is no .wtns file: it does not begin with `wtns`"
    }
}

impl HasProblemType for WtnsError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::NotWtns { .. }
            | Self::Header
            | Self::OtherField
            | Self::EndsEarly { .. }
            | Self::TrailingBytes
            | Self::NotCanonical { .. }
            | Self::NotOne
            | Self::Format(_) => ProblemType::WitnessMalformed,
            Self::OtherCircuit { .. } => ProblemType::WitnessOfAnotherCircuit,
            Self::Read(_) => ProblemType::WitnessPreparationFailed,
        }
    }
}

/// The length of a file with this number of values.
#[must_use]
pub fn file_bytes(values: u32) -> u64 {
    HEADER_BYTES as u64 + u64::from(values) * VALUE_BYTES as u64
}

/// Reads a witness to its end, and checks that it has the format and this number of values. Memory does not grow with it.
pub fn check(decompressed: &mut dyn Read, values: u32) -> Result<(), WtnsError> {
    let mut header = [0; HEADER_BYTES];
    let length = fill(decompressed, &mut header)?;
    check_header(&header[..length], values)?;
    let mut buffer = Zeroizing::new(vec![0; VALUES_AT_ONCE * VALUE_BYTES]);
    let mut index = 0;
    while index < values {
        let wanted = usize::try_from(values - index).map_or(VALUES_AT_ONCE, |left| left.min(VALUES_AT_ONCE));
        let length = fill(decompressed, &mut buffer[..wanted * VALUE_BYTES])?;
        let (whole, _) = buffer[..length].as_chunks::<VALUE_BYTES>();
        for value in whole {
            if !is_canonical(value) {
                return Err(WtnsError::NotCanonical { index });
            }
            if index == 0 && !(value[0] == 1 && value[1..].iter().all(|byte| *byte == 0)) {
                return Err(WtnsError::NotOne);
            }
            index += 1;
        }
        if whole.len() < wanted {
            return Err(WtnsError::EndsEarly { index });
        }
    }
    if fill(decompressed, &mut [0])? > 0 { Err(WtnsError::TrailingBytes) } else { Ok(()) }
}

/// Reads so many values after the first one, which is 1, of a witness with this number of values: big-endian. The values that
/// follow are not read.
pub fn first_values(
    decompressed: &mut dyn Read,
    values: u32,
    wanted: u32,
) -> Result<Vec<[u8; VALUE_BYTES]>, WtnsError> {
    let mut header = [0; HEADER_BYTES];
    let length = fill(decompressed, &mut header)?;
    check_header(&header[..length], values)?;
    let mut value = [0; VALUE_BYTES];
    let mut first = Vec::new();
    for index in 0..=wanted {
        if fill(decompressed, &mut value)? < VALUE_BYTES {
            return Err(WtnsError::EndsEarly { index });
        }
        if index > 0 {
            let mut big_endian = value;
            big_endian.reverse();
            first.push(big_endian);
        }
    }
    Ok(first)
}

fn check_header(header: &[u8], values: u32) -> Result<(), WtnsError> {
    if !header.starts_with(b"wtns") {
        return Err(WtnsError::NotWtns { is_noir: header.starts_with(&[3, 0x91]) });
    }
    let Some((head, rest)) = header.split_first_chunk::<HEAD_BYTES>() else { return Err(WtnsError::Header) };
    let mut expected = [2_u32, 2, 1].map(u32::to_le_bytes).concat();
    expected.extend((4 + VALUE_BYTES as u64 + 4).to_le_bytes());
    let value_bytes = u32::try_from(VALUE_BYTES).unwrap_or_default().to_le_bytes();
    if head[4..24] != expected || head[24..28] != value_bytes {
        return Err(WtnsError::Header);
    }
    if head[28..] != scalar_modulus() {
        return Err(WtnsError::OtherField);
    }
    let Some((found, rest)) = rest.split_first_chunk() else { return Err(WtnsError::Header) };
    let found = u32::from_le_bytes(*found);
    if found != values {
        return Err(WtnsError::OtherCircuit { found, wanted: values });
    }
    let mut section = 2_u32.to_le_bytes().to_vec();
    section.extend((u64::from(values) * VALUE_BYTES as u64).to_le_bytes());
    if rest == section { Ok(()) } else { Err(WtnsError::Header) }
}

/// Fills the buffer as far as there are bytes.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, WtnsError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(WtnsError::Read(error)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A witness with the values 1, 2, 3 and so on.
    fn wtns(values: u32) -> Vec<u8> {
        let mut file = b"wtns".to_vec();
        file.extend([2_u32, 2, 1].map(u32::to_le_bytes).concat());
        file.extend(40_u64.to_le_bytes());
        file.extend(32_u32.to_le_bytes());
        file.extend(scalar_modulus());
        file.extend(values.to_le_bytes());
        file.extend(2_u32.to_le_bytes());
        file.extend((u64::from(values) * 32).to_le_bytes());
        for value in 1..=values {
            file.extend(value.to_le_bytes());
            file.extend([0; 28]);
        }
        file
    }

    #[test]
    fn the_first_values_are_those_after_the_one() {
        let file = wtns(5);
        let first = first_values(&mut file.as_slice(), 5, 2).unwrap();
        assert_eq!(first.iter().map(|value| value[31]).collect::<Vec<_>>(), [2, 3]);
        assert!(first.iter().all(|value| value[..31] == [0; 31]));
        let cut = &file[..HEADER_BYTES + 2 * VALUE_BYTES];
        let error = first_values(&mut &cut[..], 5, 2).unwrap_err();
        assert!(matches!(error, WtnsError::EndsEarly { index: 2 }), "{error}");
    }

    fn error(file: &[u8], values: u32) -> WtnsError {
        check(&mut &file[..], values).unwrap_err()
    }

    #[test]
    fn a_witness_of_the_right_length_is_accepted() {
        for values in [1, 2, 1023, 1024, 1025, 5000] {
            let file = wtns(values);
            assert_eq!(file.len() as u64, file_bytes(values));
            check(&mut file.as_slice(), values).unwrap();
            assert_eq!(
                edgeprove_groth16::WitnessValues::read(&file).unwrap().len() as u64,
                u64::from(values)
            );
        }
    }

    #[test]
    fn other_lengths_are_refused() {
        let file = wtns(1100);
        // The header and the first value; then around the end of the values that are read at once; then the end.
        let at_once = HEADER_BYTES + VALUES_AT_ONCE * VALUE_BYTES;
        let lengths =
            (0..HEADER_BYTES + 33).chain(at_once - 33..at_once + 34).chain(file.len() - 33..file.len());
        for length in lengths {
            let error = error(&file[..length], 1100);
            match length {
                0..4 => assert!(matches!(error, WtnsError::NotWtns { is_noir: false }), "{length}: {error}"),
                4..HEADER_BYTES => assert!(matches!(error, WtnsError::Header), "{length}: {error}"),
                _ => {
                    let index = u32::try_from((length - HEADER_BYTES) / 32).unwrap();
                    assert!(matches!(error, WtnsError::EndsEarly { index: at } if at == index), "{error}");
                }
            }
        }
        assert!(matches!(error(&[file, vec![0]].concat(), 1100), WtnsError::TrailingBytes));
        let other = error(&wtns(5), 6);
        assert!(matches!(other, WtnsError::OtherCircuit { found: 5, wanted: 6 }), "{other}");
        assert_eq!(other.kind(), ProblemType::WitnessOfAnotherCircuit);
    }

    #[test]
    fn damaged_values_and_headers_are_refused() {
        let with = |at: usize, bytes: &[u8]| {
            let mut file = wtns(3);
            file[at..at + bytes.len()].copy_from_slice(bytes);
            error(&file, 3)
        };
        assert!(matches!(with(HEADER_BYTES + 64, &scalar_modulus()), WtnsError::NotCanonical { index: 2 }));
        assert!(matches!(with(HEADER_BYTES, &[2]), WtnsError::NotOne));
        assert!(matches!(with(28, &[2]), WtnsError::OtherField));
        for at in [4, 8, 12, 16, 24, 64, 68] {
            assert!(matches!(with(at, &[9]), WtnsError::Header), "{at}");
        }
        let mut largest = scalar_modulus();
        largest[0] -= 1;
        let mut file = wtns(3);
        file[HEADER_BYTES + 64..].copy_from_slice(&largest);
        check(&mut file.as_slice(), 3).unwrap();
        assert!(matches!(error(&[3, 0x91, 0x91], 3), WtnsError::NotWtns { is_noir: true }));
    }
}
