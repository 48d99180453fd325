//! Jobs that arrive together have the order of jobs that arrive one after the other.

use edgeprove_job_rules::{
    priority::Rank,
    sql::{intake, work},
    time::UnixMillis,
};
use edgeprove_protocol::Priority;
use serde_json::{Value as Json, json};
use sqlx::{Executor as _, Row as _};
use tokio::runtime::Builder;

use crate::database::{Database, Location, bound, values};

/// A sequence of numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

struct NewJob {
    id: String,
    account: String,
    priority: Priority,
}

impl NewJob {
    fn random(numbers: &mut Numbers, id: String) -> Self {
        let account = format!("key:{}", numbers.below(4));
        let priority = Priority::ALL[usize::try_from(numbers.below(3)).unwrap()];
        Self { id, account, priority }
    }

    fn rank(&self, now: i64) -> i64 {
        Rank::new(self.priority, UnixMillis(now)).0
    }
}

async fn arrive_alone(database: &mut Database, job: &NewJob, now: i64) {
    let level = i64::from(job.priority.level());
    let (none, most) = (None::<String>, i64::from(u32::MAX));
    let values = values![
        job.account.as_str(),
        level,
        now,
        job.rank(now),
        job.id.as_str(),
        "prove",
        "maze",
        "1",
        "owner",
        3_i64,
        none.clone(),
        none.clone(),
        "{}",
        none,
        most,
        most,
        0_i64,
    ];
    let inserted =
        bound(intake::ENQUEUE.postgres, &values).fetch_all(&mut database.connection).await.unwrap();
    assert_eq!(inserted.len(), 1);
}

/// The objects of the statement for several jobs.
fn list(jobs: &[NewJob], now: i64, queued_max: u32, unfinished_max: u32, has_shares: bool) -> String {
    let object = |(n, job): (usize, &NewJob)| {
        json!({
            "n": n, "account": job.account, "level": job.priority.level(), "arrival_rank": job.rank(now), "id": job.id,
            "kind": "prove", "subject": "maze", "version": "1", "owner": "owner", "max_attempts": 3, "payload": "{}",
            "queued_max": queued_max, "unfinished_max": unfinished_max, "has_shares": has_shares,
        })
    };
    jobs.iter().enumerate().map(object).collect::<Json>().to_string()
}

async fn arrive_together(database: &mut Database, now: i64, list: String) -> usize {
    let values = values![now, list];
    let statement = bound(intake::POSTGRES_ENQUEUE_SEVERAL, &values);
    statement.fetch_all(&mut database.connection).await.unwrap().len()
}

async fn order_of_work(database: &mut Database) -> Vec<String> {
    let rows = sqlx::query("SELECT id FROM jobs WHERE status = 'queued' ORDER BY rank, turn, seq");
    rows.fetch_all(&mut database.connection).await.unwrap().iter().map(|row| row.get("id")).collect()
}

#[test]
fn jobs_that_arrive_together_have_the_usual_order() {
    let Some(location) = Location::postgres() else { return };
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut database = location.create().await;
        let (mut numbers, mut now, mut ids) = (Numbers(7), 1_000_000_i64, 0_u32);
        let mut next = |numbers: &mut Numbers| {
            ids += 1;
            NewJob::random(numbers, format!("job {ids:05}"))
        };
        for round in 0..60 {
            // Some jobs are queued, some run, and some have finished.
            for _ in 0..numbers.below(6) {
                now += i64::try_from(numbers.below(90_000)).unwrap();
                let job = next(&mut numbers);
                arrive_alone(&mut database, &job, now).await;
            }
            for _ in 0..numbers.below(5) {
                let claim = values![now, now + 1000, r#"[["prove"]]"#, "worker"];
                let claimed = database.rows(work::CLAIM, &claim).await;
                if let Some(job) = claimed.first().filter(|_| numbers.below(2) == 0) {
                    let (id, token) = (job.get::<String, _>("id"), job.get::<i64, _>("lease_token"));
                    let finish = values![id, token, now, "completed", "{}", None::<String>, now + 5000];
                    assert_eq!(database.rows(work::FINISH, &finish).await.len(), 1);
                }
            }
            now += i64::try_from(numbers.below(90_000)).unwrap();
            let batch: Vec<_> = (0..2 + numbers.below(8)).map(|_| next(&mut numbers)).collect();

            database.connection.execute("BEGIN").await.unwrap();
            for job in &batch {
                arrive_alone(&mut database, job, now).await;
            }
            let usual = order_of_work(&mut database).await;
            database.connection.execute("ROLLBACK").await.unwrap();
            let all = list(&batch, now, u32::MAX, u32::MAX, false);
            assert_eq!(arrive_together(&mut database, now, all).await, batch.len());
            assert_eq!(order_of_work(&mut database).await, usual, "round {round}");
        }
        location.remove().await;
    });
}

#[test]
fn jobs_that_arrive_together_are_all_within_the_bounds() {
    let Some(location) = Location::postgres() else { return };
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut database = location.create().await;
        let of = |account: &str, n: usize| NewJob {
            id: format!("{account} {n}"),
            account: account.to_owned(),
            priority: Priority::Normal,
        };
        let batch = |account: &str, from: usize, count: usize| -> Vec<_> {
            (from..from + count).map(|n| of(account, n)).collect()
        };
        let mut arrive = async |jobs: &[NewJob], queued_max, unfinished_max, has_shares| {
            arrive_together(&mut database, 1000, list(jobs, 1000, queued_max, unfinished_max, has_shares))
                .await
        };
        assert_eq!(arrive(&batch("a", 0, 5), 4, 100, false).await, 0, "the queue takes four");
        assert_eq!(arrive(&batch("a", 0, 4), 4, 100, false).await, 4);
        assert_eq!(arrive(&batch("b", 0, 1), 4, 100, false).await, 0);
        assert_eq!(arrive(&batch("a", 4, 2), 100, 5, false).await, 0, "the account has one place");
        assert_eq!(arrive(&batch("a", 4, 1), 100, 5, false).await, 1);
        // Five are queued, all of one account. Of twelve slots seven are free: it may have two more, and another account four.
        assert_eq!(arrive(&batch("a", 5, 2), 12, 100, true).await, 0);
        assert_eq!(arrive(&batch("a", 5, 1), 12, 100, true).await, 1);
        assert_eq!(arrive(&batch("b", 0, 4), 12, 100, true).await, 0);
        assert_eq!(arrive(&batch("b", 0, 3), 12, 100, true).await, 3);
        location.remove().await;
    });
}
