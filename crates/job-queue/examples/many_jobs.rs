//! Fills a queue, for tests and measurements of large ones.
//!
//! `cargo run -p edgeprove-job-queue --example many_jobs -- DIR COUNT` adds COUNT jobs to the data folder DIR of a stopped server:
//! six of ten are copies of a queued job of that folder, three of a completed one, and one of ten is a completed one that
//! failed. The copies have no artifacts. They can be listed and cancelled; no server proves them, because they are of a version of
//! their circuit that there is not.

use std::{env, error::Error};

use edgeprove_job_queue::store::{Database, DatabaseLocation, Durability};

/// The columns that copies share with their original.
const SHARED: &str =
    "kind, subject, owner, account, priority, rank, turn, max_attempts, lease_token, payload";

/// The problem of jobs that failed.
const FAILED: &str = r#"{"failed":{"type":"/problems/proof_timeout","title":"The proof took too long","status":504,"detail":"the proof took longer than 90 s","error":"The proof took too long","message":"the proof took longer than 90 s","code":"proof_timeout","retryable":true,"severity":"error"}}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let [_, folder, count] = &env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: many_jobs DIR COUNT".into());
    };
    let count: u32 = count.parse()?;
    let database = Database::open(&DatabaseLocation::Folder(folder.into())).await?;
    let queued = copies(count / 10 * 6, "queued", "NULL, NULL, NULL, NULL, NULL, NULL");
    // Ended between now and 50 minutes ago.
    let ended = "started_at - number % 3000 * 1000, finished_at - number % 3000 * 1000, expires_at";
    let completed = copies(count / 10 * 3, "completed", &format!("{ended}, outcome, NULL, NULL"));
    let failed = copies(
        count / 10,
        "completed",
        &format!("{ended}, '{FAILED}', 'proving', started_at - number % 3000 * 1000"),
    );
    let failed = failed.replacen("'completed' AS status", "'failed' AS status", 1);
    let mut session = database.session(Durability::Write).await?;
    for statement in [queued, completed, failed] {
        session.rows(&*statement.leak(), []).await?;
    }
    drop(session);
    database.close().await;
    Ok(())
}

/// Copies the first job of this status. `ends` are start, end, expiry, outcome, stage and its start of the copies.
fn copies(count: u32, status: &str, ends: &str) -> String {
    format!(
        "WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {count}) \
         INSERT INTO jobs (id, status, version, {SHARED}, run_at, enqueued_at, attempts, started_at, finished_at, expires_at, \
         outcome, stage, stage_started_at) \
         SELECT lower(printf('%s-%s-4%s-8%s-%s', hex(randomblob(4)), hex(randomblob(2)), \
         substr(hex(randomblob(2)), 2), substr(hex(randomblob(2)), 2), hex(randomblob(6)))) AS id, \
         '{status}' AS status, 'copy' AS version, {SHARED}, \
         run_at - number % 3000 * 1000, enqueued_at - number % 3000 * 1000, \
         CASE WHEN '{status}' = 'queued' THEN 0 ELSE attempts END, {ends} FROM numbers, \
         (SELECT * FROM jobs WHERE status = '{status}' ORDER BY seq LIMIT 1) AS original"
    )
}
