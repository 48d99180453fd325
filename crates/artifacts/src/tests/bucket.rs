//! A real S3 server, and fake ones that misbehave.

use std::net::TcpListener;

use edgeprove_testkit::s3::{BUCKET, S3Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const PREFIX: &str = "edgeprove/v1";

/// Short time limits for tests in which requests time out.
const SHORT: RetryPolicy = RetryPolicy {
    connect: Duration::from_secs(1),
    silence: Duration::from_secs(1),
    brief: Duration::from_secs(3),
    transfer: Duration::from_secs(10),
    retries: 2,
};

/// Time limits that no request reaches, even on a busy machine.
const LONG: RetryPolicy = RetryPolicy {
    connect: Duration::from_mins(2),
    silence: Duration::from_mins(2),
    brief: Duration::from_mins(2),
    transfer: Duration::from_mins(5),
    retries: 2,
};

fn settings(environment: Vec<(String, String)>, keys: KeyRing, retry: RetryPolicy) -> ArtifactSettings {
    let bucket = BucketSettings {
        bucket: BUCKET.to_owned(),
        prefix: PREFIX.to_owned(),
        options: environment.into_iter().collect(),
        retry,
    };
    ArtifactSettings { location: LocationSettings::Bucket(bucket), keys: KeySettings::Given(keys) }
}

fn store_of(server: &S3Server) -> ArtifactStore {
    ArtifactStore::open(&settings(server.environment(), keys(), LONG)).unwrap()
}

fn object(server: &S3Server, name: ArtifactName) -> PathBuf {
    server.bucket().join(PREFIX).join(name.to_string())
}

#[tokio::test]
async fn every_server_with_the_key_reads_the_content() {
    let server = S3Server::start();
    let keys = keys();
    let open = || ArtifactStore::open(&settings(server.environment(), keys.clone(), LONG));
    let (one, other) = (open().unwrap(), open().unwrap());
    let canary = "canary-77c2-of-a-private-value";
    // Nothing, one part, a part with nothing left over, and several.
    let overhead = sealing::HEAD_BYTES + 16 * 80;
    for len in [0, 100_000, 5 * MIB - overhead, 6 * MIB + 345] {
        let mut witness = content(len);
        let visible = canary.len().min(len);
        witness[len - visible..].copy_from_slice(&canary.as_bytes()[..visible]);
        let name = one.put(ArtifactKind::Witness, witness.as_slice()).await.unwrap();
        assert!(object(&server, name).exists());
        assert!(other.read(&name, ArtifactKind::Witness, len).await.unwrap() == witness, "{len}");
        assert!(!is_found(server.root(), canary) && !is_found(server.root(), &canary[..12]), "{len}");
        other.delete(&name).await.unwrap();
        assert!(!object(&server, name).exists());
        one.delete(&name).await.unwrap();
        let error = one.read(&name, ArtifactKind::Witness, len).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Missing { .. }), "{error:?}");
    }
    assert_eq!((one.location(), one.is_shared()), (format!("s3://{BUCKET}/{PREFIX}"), true));
}

#[tokio::test]
async fn a_bucket_needs_no_prefix() {
    let server = S3Server::start();
    let mut settings = settings(server.environment(), keys(), LONG);
    let LocationSettings::Bucket(bucket) = &mut settings.location else { unreachable!() };
    bucket.prefix.clear();
    let store = ArtifactStore::open(&settings).unwrap();
    let name = store.put_bytes(ArtifactKind::Proof, b"a proof").await.unwrap();
    assert!(server.bucket().join(name.to_string()).exists());
    assert_eq!(store.read(&name, ArtifactKind::Proof, 100).await.unwrap(), b"a proof");
    assert_eq!(store.sweep(Duration::ZERO, |_| false).await.unwrap().deleted, 1);
}

#[tokio::test]
async fn any_change_of_an_object_is_detected() {
    let server = S3Server::start();
    let store = store_of(&server);
    let one = store.put_bytes(ArtifactKind::Witness, &content(200_000)).await.unwrap();
    let other = store.put_bytes(ArtifactKind::Witness, &content(200_000)).await.unwrap();
    let damage = async |name| match store.read(&name, ArtifactKind::Witness, MIB).await {
        Err(error @ ArtifactError::Damaged { .. }) => assert!(!error.is_retryable()),
        other => panic!("{:?}", other.map(|content| content.len())),
    };
    let right = fs::read(object(&server, one)).unwrap();
    let mut changed = right.clone();
    changed[70_000] ^= 1;
    for wrong in [&changed[..], &right[..100_000], &fs::read(object(&server, other)).unwrap()] {
        fs::write(object(&server, one), wrong).unwrap();
        damage(one).await;
    }
    fs::write(object(&server, one), &right).unwrap();
    assert!(store.read(&one, ArtifactKind::Witness, MIB).await.is_ok());
}

#[tokio::test]
async fn only_orphans_are_swept() {
    let server = S3Server::start();
    let store = store_of(&server);
    let put = async || store.put_bytes(ArtifactKind::Proof, b"content").await.unwrap();
    let (orphan, needed) = (put().await, put().await);
    for other in ["not-ours", "deeper/4f5b8d0e-0c43-4d5e-9f3a-6a5b4c3d2e1f"] {
        let path = server.bucket().join(PREFIX).join(other);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let hour = Duration::from_hours(1);
    assert_eq!(store.sweep(hour, |_| false).await.unwrap(), Swept::default(), "all are fresh");
    tokio::time::sleep(Duration::from_millis(10)).await;
    let swept = store.sweep(Duration::ZERO, |name| *name == needed).await.unwrap();
    assert_eq!(swept, Swept { deleted: 1, drafts: 0, failed: 0 });
    assert!(object(&server, needed).exists() && !object(&server, orphan).exists());
    assert_eq!(names(&server.bucket().join(PREFIX)).len(), 3);
    store.probe().await.unwrap();
    assert_eq!(names(&server.bucket().join(PREFIX)).len(), 3, "a probe leaves nothing");
}

#[tokio::test]
async fn an_interrupted_upload_leaves_nothing() {
    let server = S3Server::start();
    let store = store_of(&server);
    let before = files(server.root());
    for len in [100_000, 11 * MIB] {
        let error = store.put(ArtifactKind::Witness, failing_after(content(len))).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Source(_)), "{error:?}");
        assert_eq!(files(server.root()), before, "{len}");
    }
}

#[tokio::test]
async fn an_unavailable_bucket_is_reported_and_used_again() {
    let mut server = S3Server::start();
    let store = store_of(&server);
    let name = store.put_bytes(ArtifactKind::Proof, b"a proof").await.unwrap();
    server.stop();
    for error in [
        store.put_bytes(ArtifactKind::Proof, b"x").await.unwrap_err(),
        store.read(&name, ArtifactKind::Proof, 100).await.unwrap_err(),
        store.delete(&name).await.unwrap_err(),
        store.probe().await.unwrap_err(),
        store.sweep(Duration::ZERO, |_| false).await.unwrap_err(),
    ] {
        assert!(matches!(error, ArtifactError::Unavailable { .. }) && error.is_retryable(), "{error:?}");
    }
    server.resume();
    assert_eq!(store.read(&name, ArtifactKind::Proof, 100).await.unwrap(), b"a proof");
    store.probe().await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_not_an_outage() {
    let server = S3Server::start();
    let refused = async |settings: &ArtifactSettings| {
        let store = ArtifactStore::open(settings).unwrap();
        for error in
            [store.put_bytes(ArtifactKind::Proof, b"x").await.unwrap_err(), store.probe().await.unwrap_err()]
        {
            assert!(matches!(error, ArtifactError::Refused { .. }), "{error:?}");
            let message = edgeprove_telemetry::chain(&error);
            assert!(!message.contains("another-secret"), "{message}");
        }
    };
    refused(&settings(server.wrong_environment(), keys(), LONG)).await;
    let (_none, no_bucket) = answering("404 Not Found", "NoSuchBucket");
    refused(&settings(no_bucket, keys(), LONG)).await;
    let (asked, overloaded) = answering("503 Slow Down", "SlowDown");
    let store = ArtifactStore::open(&settings(overloaded, keys(), LONG)).unwrap();
    let error = store.put_bytes(ArtifactKind::Proof, b"x").await.unwrap_err();
    assert!(matches!(error, ArtifactError::Unavailable { .. }) && error.is_retryable(), "{error:?}");
    assert_eq!(*asked.count.borrow(), 1 + LONG.retries, "the number of retries is limited");
    let shown = format!("{:?}", settings(server.wrong_environment(), keys(), LONG));
    assert!(shown.contains("AWS_SECRET_ACCESS_KEY") && !shown.contains("another-secret"), "{shown}");
}

/// An endpoint that answers every request alike, until it is dropped.
struct Answering {
    count: tokio::sync::watch::Receiver<usize>,
    _tasks: tokio::task::JoinSet<()>,
}

fn answering(status: &'static str, code: &str) -> (Answering, Vec<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let environment = endpoint_at(&listener);
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let body = format!("<Error><Code>{code}</Code></Error>");
    let answer =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let (counted, count) = tokio::sync::watch::channel(0);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            counted.send_modify(|count| *count += 1);
            let mut request = [0; 16 << 10];
            let _ = socket.read(&mut request).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
        }
    });
    (Answering { count, _tasks: tasks }, environment)
}

/// The environment of an endpoint that accepts connections but is not S3.
fn endpoint_at(listener: &TcpListener) -> Vec<(String, String)> {
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

#[tokio::test]
async fn a_silent_endpoint_times_out() {
    // The kernel accepts the connections; nobody reads.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = ArtifactStore::open(&settings(endpoint_at(&listener), keys(), SHORT)).unwrap();
    let name = ArtifactName::random();
    for error in [
        store.put_bytes(ArtifactKind::Proof, b"x").await.unwrap_err(),
        store.read(&name, ArtifactKind::Proof, 100).await.unwrap_err(),
        store.delete(&name).await.unwrap_err(),
        store.probe().await.unwrap_err(),
    ] {
        let timed_out = matches!(error, ArtifactError::Unavailable { .. } | ArtifactError::TooSlow { .. });
        assert!(timed_out && error.is_retryable(), "{error:?}");
    }
}

#[tokio::test]
async fn a_slow_download_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let retry = RetryPolicy { transfer: Duration::from_secs(2), ..SHORT };
    let store = ArtifactStore::open(&settings(endpoint_at(&listener), keys(), retry)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    // Never silent for long, and never done.
    let trickle = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = socket.read(&mut request).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nETag: \"x\"\r\n\
                    Last-Modified: Sat, 21 Nov 2026 12:00:00 GMT\r\n\r\n\x01";
        socket.write_all(head.as_bytes()).await.unwrap();
        while socket.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::future::pending::<()>().await;
    };
    let name = ArtifactName::random();
    let error = tokio::select! {
        read = store.read(&name, ArtifactKind::Proof, 100) => read.unwrap_err(),
        () = trickle => unreachable!(),
    };
    let timed_out = matches!(error, ArtifactError::Unavailable { .. } | ArtifactError::TooSlow { .. });
    assert!(timed_out && error.is_retryable(), "{error:?}");
}
