//! The bodies and the proofs of jobs: objects in R2, encrypted before they leave the Worker.
//!
//! Reading order: [`Artifacts`] is all that other modules use; [`crate::artifact_format`] has the bytes of an object.
//!
//! A body streams from its request into the bucket, and never is in WebAssembly's memory. An object appears whole or not at all. A
//! name is used once. `docs/decisions/0007-artifacts-encrypted-in-chunks.md` has the reasons.
//!
//! Imports run down this list only.
//! - [`streams`]: encrypts and decrypts streams.
//! - [`web_crypto`]: the cipher and the digest of the runtime.

pub mod streams;
pub mod web_crypto;

use std::{pin::pin, time::Duration};

use futures_util::future::{Either, select};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::spawn_local;
use worker::{
    Delay, Env,
    js_sys::{Date, Object, Uint8Array},
};

use crate::{
    artifact_format::{self, Head, ObjectName},
    artifact_keys::ArtifactKeys,
    bindings,
    bucket::{Bucket, BucketObject},
    edge_error::EdgeError,
    js_error::message,
    settings::Settings,
};
use streams::{Opening, Reader, SealError};
use web_crypto::{Cipher, random_salt};

/// How long the bucket may take for a request without a body.
const BRIEF_LIMIT: Duration = Duration::from_secs(10);
/// How long a body of the edge's own may take.
const WRITE_LIMIT: Duration = Duration::from_mins(2);
/// How long the rest of a body is read that was refused.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// The objects of a deployment.
#[derive(Clone)]
pub struct Artifacts {
    bucket: Bucket,
    keys: ArtifactKeys,
}

/// Why a body was not stored.
#[derive(Debug, PartialEq, Eq)]
pub enum PutError<E> {
    /// It ended before its length, or its sender left.
    BrokenOff {
        /// Bytes that arrived.
        received: u64,
    },
    /// It has more bytes than its length.
    TooLong,
    /// It did not arrive in time.
    TooSlow {
        /// The time limit.
        limit: Duration,
    },
    /// Its beginning was refused.
    Refused(E),
    /// The edge or the bucket failed.
    Failed(EdgeError),
}

impl Artifacts {
    /// The bucket and the keys. It sends no request.
    pub fn open(env: &Env, settings: &Settings) -> Result<Self, EdgeError> {
        let keys = settings.artifact_keys.clone();
        let missing = || EdgeError::BindingMissing {
            binding: bindings::ARTIFACTS,
            reason: "EDGEPROVE_ARTIFACT_KEY is not set".to_owned(),
        };
        Ok(Self { bucket: bindings::artifacts(env)?, keys: keys.ok_or_else(missing)? })
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &ArtifactKeys {
        &self.keys
    }

    /// Encrypts and stores a body of a known length, and returns its SHA-256. `check` sees its first chunk. After an error no
    /// object of this name exists, and the rest of the body was read for a moment.
    pub async fn put<E>(
        &self,
        name: &str,
        source: &web_sys::ReadableStream,
        bytes: u64,
        limit: Duration,
        check: impl FnOnce(&Uint8Array) -> Result<(), E>,
    ) -> Result<[u8; 32], PutError<E>> {
        let reader = Reader::new(source).map_err(failed)?;
        let stored = match select(pin!(self.store(name, &reader, bytes, check)), Delay::from(limit)).await {
            Either::Left((stored, _)) => stored,
            Either::Right(_) => Err(PutError::TooSlow { limit }),
        };
        if stored.is_err() {
            reader.discard(DRAIN_LIMIT).await;
        }
        stored
    }

    async fn store<E>(
        &self,
        name: &str,
        reader: &Reader,
        bytes: u64,
        check: impl FnOnce(&Uint8Array) -> Result<(), E>,
    ) -> Result<[u8; 32], PutError<E>> {
        let object =
            ObjectName::read(name).ok_or_else(|| failed("the name of an object is invalid".into()))?;
        let head = Head::new(self.keys.current_id(), random_salt().map_err(failed)?);
        let cipher = self.cipher(&head, &object).await.map_err(PutError::Failed)?;
        let cipher = cipher.ok_or_else(|| failed("no key encrypts".into()))?;
        let sealed = artifact_format::sealed_bytes(bytes).ok_or(PutError::TooLong)?;
        let (writer, readable) = streams::pipe(sealed).map_err(failed)?;
        let stored = self.bucket.put(name, &readable).map_err(failed)?;
        let sealing = pin!(streams::seal(reader, bytes, &head, &cipher, &writer, check));
        let error = match select(sealing, stored).await {
            Either::Left((Ok(digest), stored)) => {
                return stored.await.map(|_| digest).map_err(failed);
            }
            Either::Left((Err(error), stored)) => {
                // A stream that fails is no object.
                writer.fail("the body is incomplete").await;
                let _ = stored.await;
                error
            }
            // The bucket does not wait for the whole body where it refuses the object.
            Either::Right((Err(refused), _)) => return Err(failed(refused)),
            Either::Right((Ok(_), sealing)) => match sealing.await {
                Ok(digest) => return Ok(digest),
                Err(error) => error,
            },
        };
        Err(match error {
            SealError::BrokenOff { received } => PutError::BrokenOff { received },
            SealError::TooLong => PutError::TooLong,
            SealError::Refused(refused) => PutError::Refused(refused),
            SealError::Failed(error) => failed(error),
        })
    }

    /// Encrypts and stores a body of a known length that the edge itself received, such as a proof of a container.
    pub async fn write_stream(
        &self,
        name: &str,
        source: &web_sys::ReadableStream,
        bytes: u64,
    ) -> Result<(), EdgeError> {
        let stored = self.put(name, source, bytes, WRITE_LIMIT, |_| Ok::<_, EdgeError>(())).await;
        stored.map(drop).map_err(|error| match error {
            PutError::Failed(error) | PutError::Refused(error) => error,
            PutError::TooSlow { limit } => EdgeError::TimedOut { limit },
            PutError::BrokenOff { .. } | PutError::TooLong => unavailable("the body has another length"),
        })
    }

    /// Encrypts and stores these bytes.
    pub async fn write(&self, name: &str, content: &[u8]) -> Result<(), EdgeError> {
        let bytes: Object = Uint8Array::from(content).into();
        let response = web_sys::Response::new_with_opt_buffer_source(Some(&bytes)).map_err(of_bucket)?;
        let body = response.body().ok_or_else(|| unavailable("the body has no stream"))?;
        self.write_stream(name, &body, content.len() as u64).await
    }

    /// The content of an object and its length; `None` if there is no such object. The first chunk is decrypted before this
    /// returns. A chunk that was changed makes the stream fail before its end.
    pub async fn stream(&self, name: &str) -> Result<Option<(web_sys::ReadableStream, u64)>, EdgeError> {
        let Some((mut opening, bytes)) = self.begin(name).await? else { return Ok(None) };
        let (writer, readable) = streams::pipe(bytes).map_err(of_bucket)?;
        let first = opening.next().await.map_err(|error| damaged(name, &error))?;
        spawn_local(opening.pump(first.unwrap_or_default(), writer));
        Ok(Some((readable, bytes)))
    }

    /// The content of an object; `None` if there is no such object. One with more than `max_bytes` is an error.
    pub async fn read(&self, name: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, EdgeError> {
        let Some((mut opening, bytes)) = self.begin(name).await? else { return Ok(None) };
        if bytes > max_bytes as u64 {
            return Err(damaged(name, &format!("it has {bytes} bytes, more than {max_bytes}").into()));
        }
        let mut content = Vec::new();
        while let Some(piece) = opening.next().await.map_err(|error| damaged(name, &error))? {
            content.extend_from_slice(&piece.to_vec());
        }
        Ok(Some(content))
    }

    /// Deletes an object. One that does not exist counts as deleted.
    pub async fn delete(&self, name: &str) -> Result<(), EdgeError> {
        briefly(self.bucket.delete(name)).await
    }

    /// Stores an empty object as a mark, if there is none of this name. Returns whether there was none.
    pub async fn mark(&self, name: &str) -> Result<bool, EdgeError> {
        briefly(self.bucket.create(name)).await
    }

    /// Looks at up to `limit` objects after the name `after`, in the order of their names, and returns those that are older than
    /// `age`.
    pub async fn older_than(
        &self,
        prefix: &str,
        age: Duration,
        after: Option<&str>,
        limit: u32,
    ) -> Result<OldObjects, EdgeError> {
        let objects = briefly(self.bucket.list(prefix, after, limit)).await?;
        let before = Date::now() - age.as_secs_f64() * 1000.0;
        let is_old = |object: &&BucketObject| object.uploaded().value_of() < before;
        let names = objects.iter().filter(is_old).map(BucketObject::key).collect();
        let is_full = objects.len() >= limit as usize;
        Ok(OldObjects { names, next: objects.last().filter(|_| is_full).map(BucketObject::key) })
    }

    /// An object that is there, and the length of its content.
    async fn begin(&self, name: &str) -> Result<Option<(Opening, u64)>, EdgeError> {
        let broken = |text: &str| damaged(name, &text.into());
        let object_name = ObjectName::read(name).ok_or_else(|| broken("its name is invalid"))?;
        let Some(object) = briefly(self.bucket.get(name)).await? else { return Ok(None) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no object is that long")]
        let sealed = object.size() as u64;
        let bytes = artifact_format::plain_bytes(sealed).ok_or_else(|| broken("no object has its length"))?;
        let body = object.body().ok_or_else(|| broken("it has no content"))?;
        let reader = Reader::new(&body).map_err(of_bucket)?;
        let head = Opening::head(&reader).await.map_err(of_bucket)?;
        let head = head.ok_or_else(|| broken("it has another format"))?;
        let cipher = self.cipher(&head, &object_name).await?;
        let cipher = cipher.ok_or_else(|| {
            broken(&format!("its key {} is not in EDGEPROVE_ARTIFACT_KEY", hex::encode(head.key_id())))
        })?;
        Ok(Some((Opening::new(reader, cipher, bytes), bytes)))
    }

    async fn cipher(&self, head: &Head, name: &ObjectName) -> Result<Option<Cipher>, EdgeError> {
        let Some(key) = self.keys.own_key(head) else { return Ok(None) };
        Cipher::new(&key, head, name).await.map(Some).map_err(of_bucket)
    }
}

/// A part of the objects of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldObjects {
    /// The names of those that are old.
    pub names: Vec<String>,
    /// The name after which the next part begins; `None` at the end.
    pub next: Option<String>,
}

/// The outcome of a request to the bucket, within its time limit.
async fn briefly<T>(work: impl Future<Output = Result<T, JsValue>>) -> Result<T, EdgeError> {
    match select(pin!(work), Delay::from(BRIEF_LIMIT)).await {
        Either::Left((outcome, _)) => outcome.map_err(of_bucket),
        Either::Right(_) => Err(unavailable("the bucket does not respond")),
    }
}

fn failed<E>(error: JsValue) -> PutError<E> {
    PutError::Failed(of_bucket(error))
}

#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
fn of_bucket(error: JsValue) -> EdgeError {
    unavailable(&message(&error))
}

fn unavailable(reason: &str) -> EdgeError {
    EdgeError::ArtifactsUnavailable { reason: reason.to_owned() }
}

fn damaged(name: &str, reason: &JsValue) -> EdgeError {
    EdgeError::ArtifactDamaged { reason: format!("{name}: {}", message(reason)) }
}
