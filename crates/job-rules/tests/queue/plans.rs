//! SQLite accepts every statement, and frequent statements find their rows by an index.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeprove_job_rules::sql::{
    self, Dialect, Statement, intake, sealed_bodies, upkeep, view, webhooks, work,
};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use tokio::runtime::Builder;

use crate::database::{Database, Location};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn sqlite_accepts_every_statement() {
    block_on(async {
        let mut database = Location::memory().create().await;
        for (name, statement) in sql::ALL {
            let explained = AssertSqlSafe(format!("EXPLAIN {}", statement.sqlite));
            let steps = database.connection.fetch_all(explained).await;
            assert!(steps.is_ok_and(|steps| !steps.is_empty()), "{name}");
        }
    });
}

#[test]
fn postgres_returns_its_clock() {
    let Some(location) = Location::postgres() else { return };
    block_on(async {
        let mut database = location.create().await;
        let by_postgres = database.connection.fetch_one(sql::POSTGRES_NOW).await.unwrap().get::<i64, _>(0);
        let by_host = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let apart = by_host.abs_diff(Duration::from_millis(by_postgres.unsigned_abs()));
        assert!(apart < Duration::from_hours(1), "{apart:?} apart");
        location.remove().await;
    });
}

async fn plan(database: &mut Database, statement: Statement) -> Vec<String> {
    assert_eq!(database.dialect, Dialect::Sqlite);
    let explained = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.sqlite));
    let rows = database.connection.fetch_all(explained).await.unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}

/// No frequent statement reads or sorts rows whose number grows with the table. The queue itself is bounded.
#[test]
fn frequent_statements_scan_no_table() {
    block_on(async {
        let mut database = Location::memory().create().await;
        let often = [
            intake::ENQUEUE,
            intake::FIND_BY_KEY,
            intake::LOAD,
            work::CLAIM,
            work::HEARTBEAT,
            work::REPORT_STAGE,
            work::FINISH,
            work::RETRY,
            work::RELEASE,
            work::NEXT_DUE,
            view::GET,
            view::LATEST,
            view::LIST,
            view::LIST_OLDEST,
            view::AHEAD,
            view::AHEAD_OF_NEW_JOB,
            view::QUEUED,
            view::BUSY,
            view::RUN_TIMES,
            upkeep::CANCEL,
            upkeep::REQUEUE,
            upkeep::REAP,
            upkeep::ABANDON,
            upkeep::EXPIRE,
            upkeep::DOOMED_ARTIFACTS,
            upkeep::FORGET_ARTIFACT,
            upkeep::DELETE,
            sealed_bodies::REMEMBER,
            sealed_bodies::FORGET,
        ];
        for statement in often {
            let plan = plan(&mut database, statement).await;
            let scans = |step: &&String| step.contains("SCAN jobs") && !step.contains("USING");
            assert_eq!(plan.iter().find(scans), None, "{}: {plan:#?}", statement.sqlite);
        }
        for statement in [
            webhooks::OWE,
            webhooks::FIND,
            webhooks::FINISHED,
            webhooks::MAKE_DUE,
            webhooks::CLAIM,
            webhooks::END,
            webhooks::STATE,
            webhooks::SETTLE,
            webhooks::FORGET,
            webhooks::FORGET_ORPHANS,
        ] {
            let plan = plan(&mut database, statement).await;
            let scans = |step: &&String| {
                (step.contains("SCAN webhooks") || step.contains("SCAN jobs")) && !step.contains("USING")
            };
            assert_eq!(plan.iter().find(scans), None, "{}: {plan:#?}", statement.sqlite);
        }
        let claim = plan(&mut database, work::CLAIM).await;
        assert!(claim.iter().any(|step| step.contains("USING INDEX jobs_by_turn")), "{claim:#?}");
        for statement in [
            work::CLAIM,
            intake::ENQUEUE,
            view::QUEUED,
            view::LIST,
            view::LIST_OLDEST,
            view::LIST_ALL,
            view::LIST_ALL_OLDEST,
            view::RUN_TIMES,
            upkeep::EXPIRE,
            upkeep::DELETE,
        ] {
            let plan = plan(&mut database, statement).await;
            assert!(
                !plan.iter().any(|step| step.contains("ORDER BY")),
                "{} sorts: {plan:#?}",
                statement.sqlite
            );
        }
    });
}
