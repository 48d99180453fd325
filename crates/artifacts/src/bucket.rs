//! Artifacts as objects of an S3 bucket, for servers that share their work: Amazon S3, Cloudflare R2, and compatible
//! stores.
//!
//! No call lasts for ever: a request without progress is aborted and retried a limited number of times, and all tries
//! together have a time limit.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{
    BackoffConfig, Certificate, ClientOptions, Error, MultipartUpload, ObjectStore as _, ObjectStoreExt as _,
    PutPayload, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
};
use tokio::{
    io::AsyncRead,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    error::{ArtifactError, OpenError},
    name::ArtifactName,
    sealing::Sealing,
    settings::{BucketSettings, RetryPolicy},
};

/// Bytes of a part of a large object, and of an upload in memory. S3 accepts no smaller parts, and R2 requires all
/// parts but the last to have the same size.
const PART_BYTES: usize = 5 << 20;
/// Name of the object that a probe writes and deletes. No artifact has such a name.
const PROBE: &str = "probe";

/// A bucket of artifacts.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    store: Arc<AmazonS3>,
    name: Arc<str>,
    prefix: Path,
    retry: RetryPolicy,
}

impl Bucket {
    /// Sets up the client. It sends no request: a bucket that is unavailable now may be available later.
    pub(super) fn open(settings: &BucketSettings) -> Result<Self, OpenError> {
        // reqwest uses the process-wide provider. An earlier call has installed the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let retry = settings.retry;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_client_options(client_options(&retry).map_err(OpenError::Bucket)?)
            // Deletes objects one by one, which every store supports.
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig {
                max_retries: retry.retries,
                retry_timeout: retry.transfer,
                backoff: BackoffConfig { max_backoff: Duration::from_secs(2), ..BackoffConfig::default() },
            });
        for (name, value) in settings.options.iter() {
            // Many variables concern other programs.
            let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() else { continue };
            let is_endpoint = matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint);
            if is_endpoint && value.starts_with("http://") {
                builder = builder.with_allow_http(true);
            }
            builder = builder.with_config(key, value);
        }
        let store = builder.build().map_err(OpenError::Bucket)?;
        let prefix = Path::parse(&settings.prefix).map_err(|error| OpenError::Bucket(error.into()))?;
        Ok(Self { store: Arc::new(store), name: settings.bucket.as_str().into(), prefix, retry })
    }

    pub(super) async fn put<R>(&self, name: ArtifactName, sealing: Sealing<R>) -> Result<(), ArtifactError>
    where
        R: AsyncRead + Unpin,
    {
        let (doing, limit) = ("write to it", self.retry.transfer);
        let path = self.path(&name.to_string());
        let mut parts = Parts { sealing, left: None };
        let deadline = Instant::now() + limit;
        let too_slow = |_| ArtifactError::TooSlow { doing, limit };
        let of_bucket = |error| ArtifactError::of_bucket(doing, error);

        let first = parts.next().await?;
        if first.content_length() < PART_BYTES {
            let put = timeout_at(deadline, self.store.put(&path, first)).await;
            return put.map_err(too_slow)?.map(|_| ()).map_err(of_bucket);
        }
        let started = timeout_at(deadline, self.store.put_multipart(&path)).await;
        let mut upload = started.map_err(too_slow)?.map_err(of_bucket)?;
        let written = timeout_at(deadline, write_parts(upload.as_mut(), first, &mut parts)).await;
        let written = written.map_err(too_slow).flatten();
        if written.is_err() {
            // Some stores remove the parts of an unfinished upload only after days.
            match timeout(self.retry.brief, upload.abort()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "an upload to the bucket could not be aborted"),
                Err(_) => tracing::warn!("an upload to the bucket could not be aborted in time"),
            }
        }
        written
    }

    pub(super) async fn get(
        &self,
        name: ArtifactName,
    ) -> Result<BoxStream<'static, Result<Bytes, ArtifactError>>, ArtifactError> {
        let (doing, limit) = ("read from it", self.retry.transfer);
        let deadline = Instant::now() + limit;
        let path = self.path(&name.to_string());
        let got = timeout_at(deadline, self.store.get(&path)).await;
        let got = got.map_err(|_| ArtifactError::TooSlow { doing, limit })?.map_err(|error| match error {
            Error::NotFound { .. } => ArtifactError::Missing { name },
            error => ArtifactError::of_bucket(doing, error),
        })?;
        let pieces = stream::try_unfold(got.into_stream(), move |mut pieces| async move {
            match timeout_at(deadline, pieces.try_next()).await {
                Ok(Ok(piece)) => Ok(piece.map(|piece| (piece, pieces))),
                Ok(Err(error)) => Err(ArtifactError::of_bucket(doing, error)),
                Err(_) => Err(ArtifactError::TooSlow { doing, limit }),
            }
        });
        Ok(pieces.boxed())
    }

    /// Deletes an object. An object that does not exist counts as deleted.
    pub(super) async fn delete(&self, name: ArtifactName) -> Result<(), ArtifactError> {
        match self.briefly("delete from it", self.store.delete(&self.path(&name.to_string()))).await {
            Err(ArtifactError::Refused { source: Error::NotFound { .. }, .. }) => Ok(()),
            deleted => deleted,
        }
    }

    /// Every artifact with the time it was written.
    pub(super) fn list(&self) -> BoxStream<'static, Result<(ArtifactName, SystemTime), ArtifactError>> {
        let (doing, limit) = ("list it", self.retry.brief);
        let prefix = self.prefix.clone();
        let found = self.store.list(Some(&self.prefix));
        let found = stream::try_unfold(found, move |mut found| async move {
            match timeout(limit, found.try_next()).await {
                Ok(Ok(object)) => Ok(object.map(|object| (object, found))),
                Ok(Err(error)) => Err(ArtifactError::of_bucket(doing, error)),
                Err(_) => Err(ArtifactError::TooSlow { doing, limit }),
            }
        });
        let named = found.try_filter_map(move |object| {
            // Objects directly under the prefix only.
            let mut within = object.location.prefix_match(&prefix).into_iter().flatten();
            let name = within.next().and_then(|part| part.as_ref().parse().ok());
            let name = name.filter(|_| within.next().is_none());
            std::future::ready(Ok(name.map(|name| (name, object.last_modified.into()))))
        });
        named.boxed()
    }

    /// Checks that an object can be written and deleted.
    pub(super) async fn probe(&self) -> Result<(), ArtifactError> {
        let path = self.path(PROBE);
        let probed = async {
            self.store.put(&path, PutPayload::from_static(b"probe")).await?;
            self.store.delete(&path).await
        };
        self.briefly("write to it", probed).await
    }

    /// The bucket's address, for people.
    pub(super) fn url(&self) -> String {
        format!("s3://{}/{}", self.name, self.prefix)
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    async fn briefly<T>(
        &self,
        doing: &'static str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, ArtifactError> {
        let limit = self.retry.brief;
        let called = timeout(limit, call).await.map_err(|_| ArtifactError::TooSlow { doing, limit })?;
        called.map_err(|error| ArtifactError::of_bucket(doing, error))
    }
}

fn client_options(retry: &RetryPolicy) -> Result<ClientOptions, Error> {
    let mut options = ClientOptions::new()
        .with_connect_timeout(retry.connect)
        .with_read_timeout(retry.silence)
        .with_timeout(retry.transfer);
    // In addition to the certificates of the system: an image from scratch has none.
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        options = options.with_root_certificate(Certificate::from_der(certificate)?);
    }
    Ok(options)
}

/// The bytes of an artifact, cut into parts of exactly [`PART_BYTES`].
struct Parts<R> {
    sealing: Sealing<R>,
    /// Bytes that did not fit into the part before.
    left: Option<Bytes>,
}

impl<R: AsyncRead + Unpin> Parts<R> {
    /// The next part. A part shorter than [`PART_BYTES`], or an empty one, is the last.
    async fn next(&mut self) -> Result<PutPayload, ArtifactError> {
        let (mut part, mut missing) = (Vec::new(), PART_BYTES);
        while missing > 0 {
            let next = match self.left.take() {
                Some(left) => Some(left),
                None => self.sealing.next().await?,
            };
            let Some(mut bytes) = next else { break };
            if bytes.len() > missing {
                self.left = Some(bytes.split_off(missing));
            }
            missing -= bytes.len();
            part.push(bytes);
        }
        Ok(part.into_iter().collect())
    }
}

async fn write_parts<R>(
    upload: &mut dyn MultipartUpload,
    first: PutPayload,
    parts: &mut Parts<R>,
) -> Result<(), ArtifactError>
where
    R: AsyncRead + Unpin,
{
    let of_bucket = |error| ArtifactError::of_bucket("write to it", error);
    let mut part = first;
    // One part at a time, so that only one is in memory.
    while part.content_length() > 0 {
        let is_last = part.content_length() < PART_BYTES;
        upload.put_part(part).await.map_err(of_bucket)?;
        if is_last {
            break;
        }
        part = parts.next().await?;
    }
    upload.complete().await.map(|_| ()).map_err(of_bucket)
}
