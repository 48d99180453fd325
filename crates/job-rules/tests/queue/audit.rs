//! The audit log's statements: several servers append to one chain at the same time.

use edgeprove_job_rules::{
    audit::{Action, Actor, Entry, Link, Record, Verifier},
    sql::{
        Dialect,
        audit::{APPEND, HEAD, POSTGRES_LOCK_AUDIT, READ},
    },
};
use sqlx::{Executor as _, Row as _};
use tokio::task::JoinSet;

use crate::database::{Database, Location, bound, values};

const SERVERS: usize = 4;
const ENTRIES_EACH: u64 = 25;

fn entry(server: usize) -> Entry {
    Entry::new("2026-11-21T09:43:23.731Z".to_owned(), Actor::Key(format!("s{server}")), Action::JobStarted)
}

impl Database {
    async fn begin(&mut self) {
        let begin = match self.dialect {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN",
        };
        self.connection.execute(begin).await.unwrap();
        if self.dialect == Dialect::Postgres {
            self.connection.execute(POSTGRES_LOCK_AUDIT).await.unwrap();
        }
    }

    async fn head(&mut self) -> Link {
        let row = self.row(HEAD, &[]).await;
        row.map_or(Link::START, |row| Link {
            seq: u64::try_from(row.get::<i64, _>("seq")).unwrap(),
            hash: row.get::<String, _>("hash").parse().unwrap(),
        })
    }

    async fn append(&mut self, record: &Record) -> bool {
        let seq = i64::try_from(record.seq).unwrap();
        let (previous, hash) = (record.previous.to_string(), record.hash.to_string());
        let values = values![seq, previous, record.entry.clone(), hash];
        let outcome = bound(APPEND.text(self.dialect), &values).fetch_optional(&mut self.connection).await;
        outcome.is_ok_and(|row| row.is_some())
    }
}

async fn one_chain(location: Location) {
    let mut database = location.create().await;
    let mut servers = JoinSet::new();
    for server in 0..SERVERS {
        let location = location.clone();
        servers.spawn(async move {
            let mut database = location.connect().await;
            for _ in 0..ENTRIES_EACH {
                database.begin().await;
                let record = Record::after(database.head().await, &entry(server));
                assert!(database.append(&record).await);
                database.connection.execute("COMMIT").await.unwrap();
            }
        });
    }
    servers.join_all().await;

    let mut verifier = Verifier::default();
    let all = i64::try_from(SERVERS).unwrap() * i64::try_from(ENTRIES_EACH).unwrap();
    let (page, mut after) = (30, 0);
    while after < all {
        let rows = database.rows(READ, &values![after, page]).await;
        assert_eq!(rows.len(), usize::try_from(page.min(all - after)).unwrap());
        for row in rows {
            after += 1;
            let record = Record {
                seq: u64::try_from(row.get::<i64, _>("seq")).unwrap(),
                previous: row.get::<String, _>("previous").parse().unwrap(),
                entry: row.get("entry"),
                hash: row.get::<String, _>("hash").parse().unwrap(),
            };
            verifier.take(&record.line()).unwrap();
        }
    }
    let chain = verifier.finish().unwrap();
    assert_eq!((chain.begins_after, chain.head), (Link::START, database.head().await));
    assert_eq!(chain.head.seq, u64::try_from(all).unwrap());

    // A server that appends without the lock is refused, and the chain does not fork.
    let head = database.head().await;
    let late = Record::after(head, &entry(0));
    assert!(database.append(&Record::after(head, &entry(1))).await);
    assert!(!database.append(&late).await);
    let stray = Record::after(Link { seq: head.seq + 1, hash: head.hash }, &entry(2));
    assert!(!database.append(&stray).await);
    let beyond =
        Record::after(Link { seq: head.seq + 9, hash: edgeprove_job_rules::audit::Hash::NONE }, &entry(2));
    assert!(!database.append(&beyond).await);
    assert_eq!(database.head().await.seq, head.seq + 1);
    location.remove().await;
}

#[tokio::test]
async fn several_servers_on_one_sqlite_file_write_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    one_chain(Location::file(&dir.path().join("database"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_servers_on_one_postgresql_write_one_chain() {
    if let Some(location) = Location::postgres() {
        one_chain(location).await;
    }
}
