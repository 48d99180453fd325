//! The data folder: whose it is, who may see it, and what is wrong with it where something is.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use edgeprove_job_queue::{
    EnqueueError, Enqueued, JobOutcome, QueueError,
    store::{Database, DatabaseLocation, Durability, OpenError, StoreError},
};
use edgeprove_job_rules::{
    idempotency::{BodyDigest, Idempotency},
    job::NewJob,
};
use futures_util::future::join_all;
use sqlx::Row as _;

use crate::support::{Fixture, claim, job, queue_in, submit};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn what_was_taken_in_is_there_after_the_next_start() {
    let database = Fixture::file();
    let first = queue_in(&database.folder()).await;
    let kept = submit(&first, job()).await;
    first.database().close().await;
    drop(first);
    let second = queue_in(&database.folder()).await;
    assert_eq!(second.get(kept.id).await.unwrap(), Some(kept.clone()));
    assert_eq!(claim(&second).await.id, kept.id);
}

#[tokio::test]
async fn nobody_else_may_look_into_it() {
    let database = Fixture::file();
    let folder = database.folder();
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let queue = queue_in(&folder).await;
    submit(&queue, job()).await;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_second_server_is_told_who_has_the_folder() {
    let database = Fixture::file();
    let queue = queue_in(&database.folder()).await;
    let refused = Database::open(&database.place).await.unwrap_err();
    let told = refused.to_string();
    assert!(matches!(refused, OpenError::InUse { holder: Some(_), .. }), "{refused:?}");
    assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
    drop(queue);
    Database::open(&database.place).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_said_to_be_none() {
    let database = Fixture::file();
    fs::create_dir(database.folder()).unwrap();
    fs::write(
        database.folder().join("edgeprove.db"),
        "a letter to somebody, and quite a long one".repeat(100),
    )
    .unwrap();
    let refused = Database::open(&database.place).await.unwrap_err();
    assert!(matches!(refused, OpenError::Store(StoreError::Corrupt(_))), "{refused:?}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_named() {
    let database = Fixture::file();
    fs::write(database.folder(), "").unwrap();
    let place = DatabaseLocation::Folder(database.folder().join("data"));
    let refused = Database::open(&place).await.unwrap_err();
    assert!(matches!(&refused, OpenError::Folder { path, .. } if path.ends_with("data")), "{refused:?}");
}

#[tokio::test]
async fn a_later_servers_database_is_left_alone() {
    for database in Fixture::all().await {
        if database.name == "memory" {
            continue;
        }
        let queue = database.queue().await;
        let mut session = queue.database().session(Durability::WriteDurably).await.unwrap();
        let later = "INSERT INTO edgeprove_versions (version, name) VALUES (1000, 'later')";
        session.rows(later, []).await.unwrap();
        drop(session);
        queue.database().close().await;
        drop(queue);
        let refused = Database::open(&database.place).await.unwrap_err();
        assert!(matches!(refused, OpenError::Newer { found: 1000, .. }), "{}: {refused:?}", database.name);
        database.remove().await;
    }
}

/// What decides on which commits are on the disk when they are answered.
#[tokio::test]
async fn promises_are_kept_on_the_disk() {
    let database = Fixture::file();
    let database = Database::open(&database.place).await.unwrap();
    let (normal, full) = (1_i64, 2_i64);
    for (promise, synchronous) in [(Durability::Write, normal), (Durability::WriteDurably, full)] {
        let mut session = database.session(promise).await.unwrap();
        let row = session.row("PRAGMA synchronous", []).await.unwrap().unwrap();
        assert_eq!(row.get::<i64, _>(0), synchronous, "{promise:?}");
        let row = session.row("PRAGMA journal_mode", []).await.unwrap().unwrap();
        assert_eq!(row.get::<String, _>(0), "wal");
    }
    let mut session = database.session(Durability::Read).await.unwrap();
    assert!(matches!(
        session.rows("DELETE FROM jobs", []).await,
        Err(StoreError::Unavailable(_) | StoreError::Refused(_))
    ));
}

/// Only what is written makes SQLite wait for the disk.
#[tokio::test]
async fn to_sync_is_to_write() {
    let database = Fixture::file();
    let queue = queue_in(&database.folder()).await;
    let log = || fs::read(database.folder().join("edgeprove.db-wal")).unwrap();
    let mut before = log();
    for _ in 0..3 {
        queue.database().sync().await.unwrap();
        let after = log();
        assert!(after != before, "nothing was written");
        before = after;
    }
}

/// What is promised to a caller waits for the disk, and what a worker says does not.
#[tokio::test]
async fn only_promises_wait_for_the_disk() {
    let database = Fixture::file();
    let queue = queue_in(&database.folder()).await;
    let syncs = async || {
        let mut session = queue.database().session(Durability::Read).await.unwrap();
        let row = session.row("SELECT touched FROM edgeprove_versions WHERE version = 1", []).await;
        row.unwrap().unwrap().get::<i64, _>("touched")
    };
    let before = syncs().await;
    let named = || {
        let key = "order 7".parse().unwrap();
        NewJob { idempotency: Some(Idempotency { key, body: BodyDigest([7; 32]) }), ..job() }
    };
    let first = submit(&queue, named()).await;
    assert_eq!(syncs().await, before + 1, "it is taken in");
    let again = queue.enqueue(named(), None).await.unwrap();
    assert!(matches!(again, Enqueued::Known(known) if known.id == first.id));
    assert_eq!(
        syncs().await,
        before + 2,
        "it may have been taken in a moment ago, by a caller who still waits"
    );
    let claimed = claim(&queue).await;
    queue.finish(claimed.id, claimed.lease_token, &JobOutcome::Released).await.unwrap();
    assert_eq!(syncs().await, before + 2, "a worker's word");
    queue.cancel(first.id, None).await.unwrap();
    assert_eq!(syncs().await, before + 3, "it is called off");

    // Those who wait at the same time share the trip.
    let asked = 40;
    let many = (0..asked).map(|_| queue.enqueue(job(), None));
    assert!(join_all(many).await.iter().all(Result::is_ok));
    let trips = syncs().await - before - 3;
    assert!((1..asked).contains(&trips), "{trips} trips to the disk for {asked} jobs");
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full_and_used_again_once_it_is_not() {
    let database = Fixture::file();
    let queue = queue_in(&database.folder()).await;
    let limit = async |pages: &'static str| {
        let mut session = queue.database().session(Durability::Write).await.unwrap();
        session.rows(pages, []).await.unwrap();
    };
    // The file cannot grow beyond what it is.
    limit("PRAGMA max_page_count = 1").await;
    let long = || NewJob { payload: "long".repeat(50_000), ..job() };
    let refused = queue.enqueue(long(), None).await;
    assert!(
        matches!(&refused, Err(EnqueueError::Queue(QueueError(error @ StoreError::DiskFull(_)))) if error.is_transient()),
        "{refused:?}"
    );
    limit("PRAGMA max_page_count = 1000000").await;
    submit(&queue, long()).await;
}
