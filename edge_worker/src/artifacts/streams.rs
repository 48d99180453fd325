//! Encrypts and decrypts streams one chunk at a time. At most a few chunks are in memory, and none of them in WebAssembly's.

use std::{pin::pin, time::Duration};

use futures_util::future::{Either, select};
use wasm_bindgen::{JsCast as _, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use worker::{
    Delay,
    js_sys::{self, BigInt, Promise, Uint8Array},
};

use super::web_crypto::{Cipher, Digest, Writer};
use crate::artifact_format::{HEAD_LENGTH, Head, TAG_BYTES, chunk_bytes, chunks};

#[wasm_bindgen]
extern "C" {
    /// A stream of bytes.
    type Source;
    /// A reader that fills a buffer.
    type SourceReader;
    /// The outcome of a read.
    type Read;
    /// The options of a reader.
    type ReaderOptions;
    /// A stream of the runtime that outputs what is written to it, and whose length is known.
    type FixedLengthStream;
    /// The end that is written to.
    type Sink;

    #[wasm_bindgen(method, catch, js_name = getReader)]
    fn get_reader(this: &Source, options: &JsValue) -> Result<SourceReader, JsValue>;
    /// The runtime's own method: it waits until the buffer is full or the stream ends.
    #[wasm_bindgen(method, catch, js_name = readAtLeast)]
    fn read_at_least(this: &SourceReader, min: u32, buffer: &Uint8Array) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn cancel(this: &SourceReader) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, getter)]
    fn value(this: &Read) -> JsValue;

    #[wasm_bindgen(constructor, catch)]
    fn new(length: BigInt) -> Result<FixedLengthStream, JsValue>;
    #[wasm_bindgen(method, getter)]
    fn readable(this: &FixedLengthStream) -> web_sys::ReadableStream;
    #[wasm_bindgen(method, getter)]
    fn writable(this: &FixedLengthStream) -> Sink;
    #[wasm_bindgen(method, catch, js_name = getWriter)]
    fn get_writer(this: &Sink) -> Result<Writer, JsValue>;
}

/// Both ends of a stream with a known length.
pub fn pipe(bytes: u64) -> Result<(Writer, web_sys::ReadableStream), JsValue> {
    let stream = FixedLengthStream::new(BigInt::from(bytes))?;
    Ok((stream.writable().get_writer()?, stream.readable()))
}

/// Reads pieces of wanted lengths.
pub struct Reader(SourceReader);

impl Reader {
    /// The reader of a stream of bytes of the runtime: the body of a request, of a response or of an object.
    pub fn new(source: &web_sys::ReadableStream) -> Result<Self, JsValue> {
        let options = js_sys::Object::new();
        js_sys::Reflect::set(&options, &"mode".into(), &"byob".into())?;
        Ok(Self(source.unchecked_ref::<Source>().get_reader(&options)?))
    }

    /// The next bytes: as many as wanted, or fewer at the end.
    pub async fn read(&self, wanted: u32) -> Result<Uint8Array, JsValue> {
        let read = self.0.read_at_least(wanted.max(1), &Uint8Array::new_with_length(wanted.max(1)))?;
        let value = JsFuture::from(read).await?.unchecked_into::<Read>().value();
        // At the end the runtime returns an empty piece, or none.
        Ok(value.dyn_into().unwrap_or_else(|_| Uint8Array::new_with_length(0)))
    }

    /// Reads and discards what is left, for at most `limit`, and cancels the stream then.
    pub async fn discard(&self, limit: Duration) {
        let rest = async { while self.read(64 << 10).await.is_ok_and(|piece| piece.length() > 0) {} };
        if let Either::Right(_) = select(pin!(rest), Delay::from(limit)).await {
            let _ = self.0.cancel();
        }
    }
}

/// Why a content could not be encrypted.
#[derive(Debug)]
pub enum SealError<E> {
    /// The content ended before its length, or its source failed.
    BrokenOff {
        /// Bytes that arrived.
        received: u64,
    },
    /// There are more bytes than the length.
    TooLong,
    /// Its beginning was refused.
    Refused(E),
    /// The runtime failed, or what is written to.
    Failed(JsValue),
}

/// Encrypts a content of a known length, and returns its SHA-256. `check` sees the first chunk before anything is written.
pub async fn seal<E>(
    reader: &Reader,
    bytes: u64,
    head: &Head,
    cipher: &Cipher,
    writer: &Writer,
    check: impl FnOnce(&Uint8Array) -> Result<(), E>,
) -> Result<[u8; 32], SealError<E>> {
    let failed = SealError::Failed;
    let digest = Digest::new().map_err(failed)?;
    let count = chunks(bytes).ok_or_else(|| failed("the content is too long".into()))?;
    let mut check = Some(check);
    let mut received = 0;
    for chunk in 0..count {
        let wanted = chunk_bytes(bytes, chunk);
        let broken_off = |received| SealError::BrokenOff { received };
        let content = match wanted {
            0 => Uint8Array::new_with_length(0),
            wanted => reader.read(wanted).await.map_err(|_| broken_off(received))?,
        };
        received += u64::from(content.length());
        if content.length() < wanted {
            return Err(broken_off(received));
        }
        if let Some(check) = check.take() {
            check(&content).map_err(SealError::Refused)?;
            writer.put(&Uint8Array::from(head.0.as_slice())).await.map_err(failed)?;
        }
        digest.add(&content).await.map_err(failed)?;
        let sealed = cipher.seal(chunk, chunk + 1 == count, &content).await.map_err(failed)?;
        // A whole object appears only with its last chunk, so what follows it is looked for before.
        if chunk + 1 == count && reader.read(1).await.is_ok_and(|more| more.length() > 0) {
            return Err(SealError::TooLong);
        }
        writer.put(&sealed).await.map_err(failed)?;
    }
    writer.finish().await.map_err(failed)?;
    digest.finish().await.map_err(failed)
}

/// An object that is decrypted.
pub struct Opening {
    reader: Reader,
    cipher: Cipher,
    bytes: u64,
    count: u32,
    next: u32,
}

impl Opening {
    /// Reads the head of an object; `None` if it is none.
    pub async fn head(reader: &Reader) -> Result<Option<Head>, JsValue> {
        let bytes = reader.read(HEAD_LENGTH).await?;
        Ok(Head::read(&bytes.to_vec()))
    }

    /// The rest of an object whose content has this length.
    #[must_use]
    pub fn new(reader: Reader, cipher: Cipher, bytes: u64) -> Self {
        Self { reader, cipher, bytes, count: chunks(bytes).unwrap_or_default(), next: 0 }
    }

    /// The content of the next chunk; `None` after the last one. An error is a chunk that is missing or was changed.
    pub async fn next(&mut self) -> Result<Option<Uint8Array>, JsValue> {
        if self.next >= self.count {
            return Ok(None);
        }
        let (chunk, is_last) = (self.next, self.next + 1 == self.count);
        let sealed = self.reader.read(chunk_bytes(self.bytes, chunk) + TAG_BYTES).await?;
        let opened = self.cipher.open(chunk, is_last, &sealed).await;
        self.next += 1;
        opened.map(Some).ok_or_else(|| format!("chunk {chunk} is damaged").into())
    }

    /// Writes the content from this chunk on. After a chunk that is damaged, the reader of the content fails.
    pub async fn pump(mut self, first: Uint8Array, writer: Writer) {
        let mut content = Some(first);
        while let Some(piece) = content {
            if writer.put(&piece).await.is_err() {
                // Nobody reads it any more.
                let _ = self.reader.0.cancel();
                return;
            }
            content = match self.next().await {
                Ok(content) => content,
                Err(_) => return writer.fail("the stored data is damaged").await,
            };
        }
        let _ = writer.finish().await;
    }
}
