//! Artefacts as objects of an S3 bucket, for servers that share their work: Amazon's, Cloudflare's R2, and others that
//! speak the same.
//!
//! No call lasts for ever: a request that falls silent is given up and tried again some times, and all tries together
//! have a bound.

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

use super::{
    ArtifactError, ArtifactName, OpenError,
    sealing::Sealing,
    settings::{BucketSettings, RetryPolicy},
};

/// Bytes of a part of a large object, and what an upload holds in memory. S3 takes no less, and R2 wants all parts but
/// the last to be of one size.
const PART_BYTES: usize = 5 << 20;
/// What is written and deleted to see whether that can be done. No artefact has such a name.
const PROBE: &str = "probe";

/// A bucket of artefacts.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    store: Arc<AmazonS3>,
    name: Arc<str>,
    prefix: Path,
    patience: RetryPolicy,
}

impl Bucket {
    /// Readies a bucket for use. It is not asked for anything yet: one that is away today may be back tomorrow.
    pub(super) fn open(settings: &BucketSettings) -> Result<Self, OpenError> {
        // reqwest looks for it here. Whoever was first has installed the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let patience = settings.patience;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_client_options(client_options(&patience).map_err(OpenError::Bucket)?)
            // One by one, which every store understands.
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig {
                max_retries: patience.retries,
                retry_timeout: patience.transfer,
                backoff: BackoffConfig { max_backoff: Duration::from_secs(2), ..BackoffConfig::default() },
            });
        for (name, value) in settings.options.iter() {
            // Of those that concern other programs there are many.
            let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() else { continue };
            let is_endpoint = matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint);
            if is_endpoint && value.starts_with("http://") {
                builder = builder.with_allow_http(true);
            }
            builder = builder.with_config(key, value);
        }
        let store = builder.build().map_err(OpenError::Bucket)?;
        let prefix = Path::parse(&settings.prefix).map_err(|error| OpenError::Bucket(error.into()))?;
        Ok(Self { store: Arc::new(store), name: settings.bucket.as_str().into(), prefix, patience })
    }

    pub(super) async fn put<R>(&self, name: ArtifactName, sealing: Sealing<R>) -> Result<(), ArtifactError>
    where
        R: AsyncRead + Unpin,
    {
        let (doing, limit) = ("write to it", self.patience.transfer);
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
        let begun = timeout_at(deadline, self.store.put_multipart(&path)).await;
        let mut upload = begun.map_err(too_slow)?.map_err(of_bucket)?;
        let written = timeout_at(deadline, write_parts(upload.as_mut(), first, &mut parts)).await;
        let written = written.map_err(too_slow).flatten();
        if written.is_err() {
            // The store throws half an object away by itself, but not everywhere soon.
            match timeout(self.patience.brief, upload.abort()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "an upload to the bucket could not be called off"),
                Err(_) => tracing::warn!("an upload to the bucket could not be called off in time"),
            }
        }
        written
    }

    pub(super) async fn get(
        &self,
        name: ArtifactName,
    ) -> Result<BoxStream<'static, Result<Bytes, ArtifactError>>, ArtifactError> {
        let (doing, limit) = ("read from it", self.patience.transfer);
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

    /// Deletes an object. One that is not there is as good as deleted.
    pub(super) async fn delete(&self, name: ArtifactName) -> Result<(), ArtifactError> {
        match self.briefly("delete from it", self.store.delete(&self.path(&name.to_string()))).await {
            Err(ArtifactError::Refused { source: Error::NotFound { .. }, .. }) => Ok(()),
            deleted => deleted,
        }
    }

    /// Every artefact with the time it was written.
    pub(super) fn list(&self) -> BoxStream<'static, Result<(ArtifactName, SystemTime), ArtifactError>> {
        let (doing, limit) = ("list it", self.patience.brief);
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
            // The prefix itself, and no folder beneath it.
            let mut within = object.location.prefix_match(&prefix).into_iter().flatten();
            let name = within.next().and_then(|part| part.as_ref().parse().ok());
            let name = name.filter(|_| within.next().is_none());
            std::future::ready(Ok(name.map(|name| (name, object.last_modified.into()))))
        });
        named.boxed()
    }

    /// Sees that an object can be written and deleted.
    pub(super) async fn probe(&self) -> Result<(), ArtifactError> {
        let path = self.path(PROBE);
        let probed = async {
            self.store.put(&path, PutPayload::from_static(b"probe")).await?;
            self.store.delete(&path).await
        };
        self.briefly("write to it", probed).await
    }

    /// Its address.
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
        let limit = self.patience.brief;
        let called = timeout(limit, call).await.map_err(|_| ArtifactError::TooSlow { doing, limit })?;
        called.map_err(|error| ArtifactError::of_bucket(doing, error))
    }
}

fn client_options(patience: &RetryPolicy) -> Result<ClientOptions, Error> {
    let mut options = ClientOptions::new()
        .with_connect_timeout(patience.connect)
        .with_read_timeout(patience.silence)
        .with_timeout(patience.transfer);
    // Beside those of the system, of which an image from scratch has none.
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        options = options.with_root_certificate(Certificate::from_der(certificate)?);
    }
    Ok(options)
}

/// The bytes of an artefact, cut into parts of just [`PART_BYTES`].
struct Parts<R> {
    sealing: Sealing<R>,
    /// What was beyond the last part.
    left: Option<Bytes>,
}

impl<R: AsyncRead + Unpin> Parts<R> {
    /// The next part. Less than a whole one, or nothing, means that it is the last.
    async fn next(&mut self) -> Result<PutPayload, ArtifactError> {
        let (mut part, mut room) = (Vec::new(), PART_BYTES);
        while room > 0 {
            let next = match self.left.take() {
                Some(left) => Some(left),
                None => self.sealing.next().await?,
            };
            let Some(mut bytes) = next else { break };
            if bytes.len() > room {
                self.left = Some(bytes.split_off(room));
            }
            room -= bytes.len();
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
    // One at a time, so that no more than one is in memory.
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
