//! AES-256-GCM and SHA-256 of the Workers runtime: about forty times as fast as in WebAssembly, and the content is never copied into
//! WebAssembly's memory.

use wasm_bindgen::{JsCast as _, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use worker::js_sys::{self, Array, ArrayBuffer, Object, Promise, Reflect, Uint8Array};

use crate::{
    artifact_format::{Head, ObjectName, SALT_BYTES, TAG_BYTES, nonce},
    artifact_keys::KEY_BYTES,
};

#[wasm_bindgen]
extern "C" {
    /// `crypto`.
    type Crypto;
    /// `crypto.subtle`.
    type Subtle;
    /// A key that cannot be read.
    #[derive(Clone)]
    type CryptoKey;
    /// A stream of the runtime that computes the digest of what is written to it.
    type DigestStream;
    /// The writer of a stream.
    pub type Writer;

    #[wasm_bindgen(thread_local_v2, js_name = crypto)]
    static CRYPTO: Crypto;

    #[wasm_bindgen(method, getter)]
    fn subtle(this: &Crypto) -> Subtle;
    #[wasm_bindgen(method, catch, js_name = getRandomValues)]
    fn get_random_values(this: &Crypto, array: &Uint8Array) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, getter, js_name = DigestStream)]
    fn digest_stream(this: &Crypto) -> js_sys::Function;

    #[wasm_bindgen(method, catch, js_name = importKey)]
    fn import_key(
        this: &Subtle,
        format: &str,
        key: &Uint8Array,
        algorithm: &str,
        extractable: bool,
        usages: &Array,
    ) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn encrypt(
        this: &Subtle,
        options: &Object,
        key: &CryptoKey,
        data: &Uint8Array,
    ) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn decrypt(
        this: &Subtle,
        options: &Object,
        key: &CryptoKey,
        data: &Uint8Array,
    ) -> Result<Promise, JsValue>;

    #[wasm_bindgen(method, getter)]
    fn digest(this: &DigestStream) -> Promise;
    #[wasm_bindgen(method, catch, js_name = getWriter)]
    fn get_writer(this: &DigestStream) -> Result<Writer, JsValue>;

    /// Writes one piece.
    #[wasm_bindgen(method, catch)]
    fn write(this: &Writer, piece: &JsValue) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn close(this: &Writer) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn abort(this: &Writer, reason: &JsValue) -> Result<Promise, JsValue>;
}

impl Writer {
    /// Writes a piece, and waits until there is space for the next one.
    pub async fn put(&self, piece: &JsValue) -> Result<(), JsValue> {
        JsFuture::from(self.write(piece)?).await.map(drop)
    }

    /// Ends the stream.
    pub async fn finish(&self) -> Result<(), JsValue> {
        JsFuture::from(self.close()?).await.map(drop)
    }

    /// Makes the reader of the stream fail.
    pub async fn fail(&self, reason: &str) {
        // There is nothing to do about a stream that has failed already.
        if let Ok(aborted) = self.abort(&js_sys::Error::new(reason)) {
            let _ = JsFuture::from(aborted).await;
        }
    }
}

/// A new salt.
pub fn random_salt() -> Result<[u8; SALT_BYTES], JsValue> {
    let salt = Uint8Array::from([0; SALT_BYTES].as_slice());
    CRYPTO.with(|crypto| crypto.get_random_values(&salt))?;
    let mut bytes = [0; SALT_BYTES];
    salt.copy_to(&mut bytes);
    Ok(bytes)
}

/// Encrypts and decrypts the chunks of one object.
pub struct Cipher {
    key: CryptoKey,
    associated: Uint8Array,
}

impl Cipher {
    /// The cipher of an object with this head and name.
    pub async fn new(own_key: &[u8; KEY_BYTES], head: &Head, name: &ObjectName) -> Result<Self, JsValue> {
        let usages = Array::of2(&"encrypt".into(), &"decrypt".into());
        let bytes = Uint8Array::from(own_key.as_slice());
        let imported = CRYPTO.with(Crypto::subtle).import_key("raw", &bytes, "AES-GCM", false, &usages)?;
        let key = JsFuture::from(imported).await?.unchecked_into();
        bytes.fill(0, 0, bytes.length());
        Ok(Self { key, associated: Uint8Array::from(name.associated(head).as_slice()) })
    }

    /// Encrypts a chunk.
    pub async fn seal(&self, chunk: u32, is_last: bool, content: &Uint8Array) -> Result<Uint8Array, JsValue> {
        let options = self.options(chunk, is_last)?;
        let sealed = CRYPTO.with(Crypto::subtle).encrypt(&options, &self.key, content)?;
        Ok(Uint8Array::new(&JsFuture::from(sealed).await?))
    }

    /// Decrypts a chunk; `None` if it was changed, or is not the chunk with this number.
    pub async fn open(&self, chunk: u32, is_last: bool, sealed: &Uint8Array) -> Option<Uint8Array> {
        let options = self.options(chunk, is_last).ok()?;
        let opened = CRYPTO.with(Crypto::subtle).decrypt(&options, &self.key, sealed).ok()?;
        let content: ArrayBuffer = JsFuture::from(opened).await.ok()?.unchecked_into();
        Some(Uint8Array::new(&content))
    }

    fn options(&self, chunk: u32, is_last: bool) -> Result<Object, JsValue> {
        let options = Object::new();
        let iv = Uint8Array::from(nonce(chunk, is_last).as_slice());
        for (name, value) in [
            ("name", &JsValue::from("AES-GCM")),
            ("iv", &iv),
            ("additionalData", &self.associated),
            ("tagLength", &JsValue::from(8 * TAG_BYTES)),
        ] {
            Reflect::set(&options, &name.into(), value)?;
        }
        Ok(options)
    }
}

/// Computes the SHA-256 of what is written to it.
pub struct Digest {
    stream: DigestStream,
    writer: Writer,
}

impl Digest {
    /// The digest of nothing yet.
    pub fn new() -> Result<Self, JsValue> {
        let class = CRYPTO.with(Crypto::digest_stream);
        let stream = Reflect::construct(&class, &Array::of1(&"SHA-256".into()))?;
        let stream: DigestStream = stream.unchecked_into();
        let writer = stream.get_writer()?;
        Ok(Self { stream, writer })
    }

    /// Adds a piece.
    pub async fn add(&self, piece: &Uint8Array) -> Result<(), JsValue> {
        self.writer.put(piece).await
    }

    /// The digest.
    pub async fn finish(self) -> Result<[u8; 32], JsValue> {
        self.writer.finish().await?;
        let digest = Uint8Array::new(&JsFuture::from(self.stream.digest()).await?);
        let mut bytes = [0; 32];
        if digest.length() == 32 {
            digest.copy_to(&mut bytes);
        }
        Ok(bytes)
    }
}
