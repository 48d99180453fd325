//! The data folder: its lock, its permissions, and the errors of a damaged or unsuitable one.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use edgeprove_job_queue::{
    EnqueueError, Enqueued, JobOutcome, QueueError,
    store::{Database, DatabaseLocation, Durability, OpenError, StoreError},
};
use edgeprove_job_rules::{
    idempotency::{BodyDigest, Idempotency},
    job::NewJob,
    queue_bounds::{Bounds, Full},
    transition::Rules,
};
use futures_util::future::join_all;
use sqlx::Row as _;

use crate::support::{Fixture, claim, job, queue_at, queue_in, submit};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn accepted_jobs_are_there_after_the_next_start() {
    let database = Fixture::file();
    let first = queue_in(&database.folder()).await;
    let stored = submit(&first, job()).await;
    first.database().close().await;
    drop(first);
    let second = queue_in(&database.folder()).await;
    assert_eq!(second.get(stored.id).await.unwrap(), Some(stored.clone()));
    assert_eq!(claim(&second).await.id, stored.id);
}

#[tokio::test]
async fn other_users_cannot_read_the_folder() {
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
async fn a_second_server_reports_who_uses_the_folder() {
    let database = Fixture::file();
    let queue = queue_in(&database.folder()).await;
    let refused = Database::open(&database.location).await.unwrap_err();
    let message = refused.to_string();
    assert!(matches!(refused, OpenError::InUse { holder: Some(_), .. }), "{refused:?}");
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    drop(queue);
    Database::open(&database.location).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_reported_as_corrupt() {
    let database = Fixture::file();
    fs::create_dir(database.folder()).unwrap();
    fs::write(database.folder().join("edgeprove.db"), "some other text in a long file".repeat(100)).unwrap();
    let refused = Database::open(&database.location).await.unwrap_err();
    assert!(matches!(refused, OpenError::Store(StoreError::Corrupt(_))), "{refused:?}");
}

#[tokio::test]
async fn an_error_names_a_folder_that_cannot_be_created() {
    let database = Fixture::file();
    fs::write(database.folder(), "").unwrap();
    let location = DatabaseLocation::Folder(database.folder().join("data"));
    let refused = Database::open(&location).await.unwrap_err();
    assert!(matches!(&refused, OpenError::Folder { path, .. } if path.ends_with("data")), "{refused:?}");
}

/// The first version had no counters. Those of the jobs that it had accepted are made when the folder is opened.
#[tokio::test]
async fn a_folder_of_the_first_version_is_migrated() {
    let database = Fixture::file();
    let first = queue_in(&database.folder()).await;
    for _ in 0..3 {
        submit(&first, job()).await;
    }
    claim(&first).await;
    let mut session = first.database().session(Durability::Write).await.unwrap();
    for undone in [
        "DROP TRIGGER jobs_arrived",
        "DROP TRIGGER jobs_changed",
        "DROP TRIGGER jobs_requeued",
        "DROP TABLE job_counts",
        "DROP TABLE queue_counts",
        "DROP TABLE circuits",
        "DROP TABLE deployments",
        "DROP TABLE webhooks",
        "DROP TABLE voucher_uses",
        "DROP TABLE sealed_bodies",
        "DROP INDEX jobs_by_subject",
        "DROP INDEX jobs_running_turns",
        "DELETE FROM edgeprove_versions WHERE version > 1",
    ] {
        session.rows(undone, []).await.unwrap();
    }
    drop(session);
    first.database().close().await;
    drop(first);
    let bounds = Bounds { queued_max: 3, unfinished_per_account_max: 100, has_shares: false };
    let second = queue_at(&database.location, Rules::default(), bounds).await;
    submit(&second, job()).await;
    let refused = second.enqueue(job(), None).await;
    assert!(matches!(refused, Err(EnqueueError::Full(Full::Queue { queued: 3 }))), "{refused:?}");
    let bounds = Bounds { queued_max: 100, unfinished_per_account_max: 4, has_shares: false };
    second.database().close().await;
    drop(second);
    let third = queue_at(&database.location, Rules::default(), bounds).await;
    let refused = third.enqueue(job(), None).await;
    assert!(matches!(refused, Err(EnqueueError::Full(Full::Account { unfinished: 4 }))), "{refused:?}");
}

/// The jobs of a server that did not count them are counted once.
#[tokio::test]
async fn jobs_of_an_earlier_version_are_counted_on_postgres() {
    let Some(database) = Fixture::postgres().await else { return };
    let bounds = Bounds { queued_max: 4, unfinished_per_account_max: 4, has_shares: false };
    let first = database.queue_with(Rules::default(), bounds).await;
    for _ in 0..3 {
        submit(&first, job()).await;
    }
    claim(&first).await;
    let before = first.count().await.unwrap().jobs;
    let mut session = first.database().session(Durability::Write).await.unwrap();
    for undone in [
        "DROP TRIGGER jobs_arrived ON jobs",
        "DROP TRIGGER jobs_deleted ON jobs",
        "DROP TRIGGER jobs_changed ON jobs",
        "DROP FUNCTION count_arrived_jobs",
        "DROP FUNCTION count_deleted_jobs",
        "DROP FUNCTION count_changed_jobs",
        "DROP TABLE job_counts",
        "DROP TABLE queue_counts",
        "DELETE FROM edgeprove_versions WHERE version = 9",
    ] {
        session.rows(undone, []).await.unwrap();
    }
    drop(session);
    first.database().close().await;
    let second = database.queue_with(Rules::default(), bounds).await;
    assert_eq!(second.count().await.unwrap().jobs, before);
    submit(&second, job()).await;
    let refused = second.enqueue(job(), None).await;
    assert!(matches!(refused, Err(EnqueueError::Full(Full::Account { unfinished: 4 }))), "{refused:?}");
    second.database().close().await;
    database.remove().await;
}

#[tokio::test]
async fn the_database_of_a_newer_server_is_refused() {
    for database in Fixture::all().await {
        if database.name == "memory" {
            continue;
        }
        let queue = database.queue().await;
        let mut session = queue.database().session(Durability::Write).await.unwrap();
        let later = "INSERT INTO edgeprove_versions (version, name) VALUES (1000, 'later')";
        session.rows(later, []).await.unwrap();
        drop(session);
        queue.database().close().await;
        drop(queue);
        let refused = Database::open(&database.location).await.unwrap_err();
        assert!(matches!(refused, OpenError::Newer { found: 1000, .. }), "{}: {refused:?}", database.name);
        database.remove().await;
    }
}

/// The server syncs SQLite's log itself, so that no commit waits for the disk.
#[tokio::test]
async fn sqlite_commits_to_its_log_and_readers_write_nothing() {
    let database = Fixture::file();
    let database = Database::open(&database.location).await.unwrap();
    let mut session = database.session(Durability::Write).await.unwrap();
    let normal = session.row("PRAGMA synchronous", []).await.unwrap().unwrap();
    assert_eq!(normal.get::<i64, _>(0), 1);
    let mode = session.row("PRAGMA journal_mode", []).await.unwrap().unwrap();
    assert_eq!(mode.get::<String, _>(0), "wal");
    let mut session = database.session(Durability::Read).await.unwrap();
    assert!(matches!(
        session.rows("DELETE FROM jobs", []).await,
        Err(StoreError::Unavailable(_) | StoreError::Refused(_))
    ));
}

/// A write in a log that lost its name would be lost with the server.
#[tokio::test]
async fn a_sync_fails_when_the_log_was_replaced() {
    let database = Fixture::file();
    let queue = queue_in(&database.folder()).await;
    queue.database().sync().await.unwrap();
    let log = database.folder().join("edgeprove.db-wal");
    fs::rename(&log, log.with_extension("old")).unwrap();
    let refused = queue.database().sync().await.unwrap_err();
    assert!(matches!(&refused, StoreError::Replaced { path } if *path == log), "{refused:?}");
    assert!(queue.database().is_failing());
}

/// A response to a caller waits for the disk; a report of a worker does not.
#[tokio::test]
async fn only_responses_to_callers_wait_for_the_disk() {
    let database = Fixture::file();
    let queue = queue_in(&database.folder()).await;
    let syncs = || queue.database().syncs();
    let before = syncs();
    let named = || {
        let key = "order 7".parse().unwrap();
        NewJob { idempotency: Some(Idempotency { key, body: BodyDigest([7; 32]) }), ..job() }
    };
    let first = submit(&queue, named()).await;
    assert_eq!(syncs(), before + 1, "the job is accepted");
    let again = queue.enqueue(named(), None).await.unwrap();
    assert!(matches!(again, Enqueued::Known(known) if known.id == first.id));
    assert_eq!(syncs(), before + 2, "another caller may have submitted it and may still wait for the disk");
    let claimed = claim(&queue).await;
    queue.finish(claimed.id, claimed.lease_token, &JobOutcome::Released).await.unwrap();
    assert_eq!(syncs(), before + 2, "a worker does not wait");
    queue.cancel(first.id, None).await.unwrap();
    assert_eq!(syncs(), before + 3, "the job is cancelled");

    // Callers that wait at the same time may share a sync: how many do depends on the disk. The tests of syncs have slow ones.
    let (before, submitted) = (syncs(), 40);
    let many = (0..submitted).map(|_| queue.enqueue(job(), None));
    assert!(join_all(many).await.iter().all(Result::is_ok));
    let shared = syncs() - before;
    assert!((1..=submitted).contains(&shared), "{shared} syncs for {submitted} jobs");
}

#[tokio::test]
async fn a_full_disk_is_reported_and_used_again_once_it_has_space() {
    let database = Fixture::file();
    let queue = queue_in(&database.folder()).await;
    let limit = async |pages: &'static str| {
        let mut session = queue.database().session(Durability::Write).await.unwrap();
        session.rows(pages, []).await.unwrap();
    };
    // The file cannot grow beyond its present size.
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
