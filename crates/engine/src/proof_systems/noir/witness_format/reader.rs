//! Reads `MessagePack` item by item from an untrusted stream. Every error names its position.

use std::{
    io::{self, Read},
    ops::Range,
};

use rmp::decode::{self, NumValueReadError, ValueReadError};
use zeroize::Zeroizing;

use super::{
    StackError, VALUE_BYTES,
    error::{Fault, kind},
};

/// Decompressed bytes that are read ahead.
const BUFFER_BYTES: usize = 16 * 1024;

/// A stream and the position in it.
pub(super) struct Reader<R> {
    bytes: Counting<WipedBuffer<R>>,
    /// The position of the current item.
    at: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(stream: R) -> Self {
        let stream = WipedBuffer::new(stream);
        Self { bytes: Counting { stream, count: 0 }, at: 0 }
    }

    /// An error about the current item.
    pub(super) fn fault(&self, what: Fault) -> StackError {
        StackError::Malformed { what, at: self.at }
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, StackError> {
        self.at = self.bytes.count;
        let mut byte = [0];
        self.bytes.read_exact(&mut byte).map_err(|error| self.broken(what, error))?;
        Ok(byte[0])
    }

    pub(super) fn array_of(&mut self, want: u32, what: &'static str) -> Result<(), StackError> {
        self.at = self.bytes.count;
        match decode::read_array_len(&mut self.bytes) {
            Ok(got) if got == want => Ok(()),
            Ok(got) => Err(self.fault(Fault::Count { what, want, got })),
            Err(error) => Err(self.mismatch(what, "an array", error)),
        }
    }

    pub(super) fn map_len(&mut self, what: &'static str) -> Result<u32, StackError> {
        self.at = self.bytes.count;
        decode::read_map_len(&mut self.bytes).map_err(|error| self.mismatch(what, "a map", error))
    }

    pub(super) fn index(&mut self, what: &'static str) -> Result<u32, StackError> {
        self.at = self.bytes.count;
        decode::read_int(&mut self.bytes).map_err(|error| match error {
            NumValueReadError::InvalidMarkerRead(error) | NumValueReadError::InvalidDataRead(error) => {
                self.broken(what, error)
            }
            NumValueReadError::TypeMismatch(marker) => {
                self.fault(Fault::Kind { what, want: "a number", got: kind(marker) })
            }
            NumValueReadError::OutOfRange => self.fault(Fault::IndexOutOfRange { what }),
        })
    }

    /// The value of one witness.
    pub(super) fn value(&mut self, index: u32) -> Result<Zeroizing<[u8; VALUE_BYTES as usize]>, StackError> {
        let what = "a value";
        self.at = self.bytes.count;
        let len = decode::read_bin_len(&mut self.bytes).map_err(|error| match error {
            ValueReadError::TypeMismatch(marker) if kind(marker) == "text" => {
                self.fault(Fault::TextValue { index })
            }
            error => self.mismatch(what, "bytes", error),
        })?;
        if len != VALUE_BYTES {
            return Err(self.fault(Fault::ValueLength { index, bytes: len }));
        }
        let mut value = Zeroizing::new([0; VALUE_BYTES as usize]);
        self.bytes.read_exact(value.as_mut_slice()).map_err(|error| self.broken(what, error))?;
        Ok(value)
    }

    pub(super) fn end(&mut self) -> Result<(), StackError> {
        self.at = self.bytes.count;
        loop {
            match self.bytes.read(&mut [0]) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(self.fault(Fault::BytesAfterEnd)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StackError::Read(error)),
            }
        }
    }

    fn mismatch(&self, what: &'static str, want: &'static str, error: ValueReadError) -> StackError {
        match error {
            ValueReadError::InvalidMarkerRead(error) | ValueReadError::InvalidDataRead(error) => {
                self.broken(what, error)
            }
            ValueReadError::TypeMismatch(marker) => self.fault(Fault::Kind { what, want, got: kind(marker) }),
        }
    }

    fn broken(&self, what: &'static str, error: io::Error) -> StackError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                StackError::Malformed { what: Fault::EndsWithin { what }, at: self.bytes.count }
            }
            _ => StackError::Read(error),
        }
    }
}

/// Reads ahead into a buffer that is wiped when it is dropped, because it holds values.
struct WipedBuffer<R> {
    stream: R,
    buffer: Zeroizing<Vec<u8>>,
    /// The part of the buffer that was not read yet.
    left: Range<usize>,
}

impl<R> WipedBuffer<R> {
    fn new(stream: R) -> Self {
        Self { stream, buffer: Zeroizing::new(vec![0; BUFFER_BYTES]), left: 0..0 }
    }
}

impl<R: Read> Read for WipedBuffer<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() {
            self.left = 0..self.stream.read(&mut self.buffer)?;
        }
        let count = self.left.len().min(into.len());
        into[..count].copy_from_slice(&self.buffer[self.left.start..][..count]);
        self.left.start += count;
        Ok(count)
    }
}

/// Counts the bytes that are read.
struct Counting<R> {
    stream: R,
    count: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(into)?;
        self.count += read as u64;
        Ok(read)
    }
}
