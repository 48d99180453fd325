//! The place of a new job in the order of work: [`edgeprove_job_rules::turn`].

use async_trait::async_trait;
use edgeprove_job_rules::{
    priority::Rank,
    sql::intake,
    time::UnixMillis,
    turn::{OrderKey, Turn, Turns, TurnsOfPriority},
};
use edgeprove_protocol::Priority;
use sqlx::{SqlStr, any::AnyRow};

use super::rows::{count, get};
use crate::store::{
    Session, StoreError,
    session::{Text, Transaction, Value, values},
};

/// Executes statements, within a transaction or not.
#[async_trait]
pub(super) trait Execute: Send {
    async fn execute(&mut self, statement: SqlStr, values: Vec<Value>) -> Result<Vec<AnyRow>, StoreError>;

    fn text(&self, statement: impl Text) -> SqlStr
    where
        Self: Sized;
}

#[async_trait]
impl Execute for Session {
    async fn execute(&mut self, statement: SqlStr, values: Vec<Value>) -> Result<Vec<AnyRow>, StoreError> {
        self.rows(statement, values).await
    }

    fn text(&self, statement: impl Text) -> SqlStr {
        statement.text(self.dialect())
    }
}

#[async_trait]
impl Execute for Transaction<'_> {
    async fn execute(&mut self, statement: SqlStr, values: Vec<Value>) -> Result<Vec<AnyRow>, StoreError> {
        self.rows(statement, values).await
    }

    fn text(&self, statement: impl Text) -> SqlStr {
        statement.text(self.dialect())
    }
}

/// The place of a job of this account and priority that arrives now.
pub(super) async fn place(
    account: &str,
    priority: Priority,
    now: UnixMillis,
    statements: &mut impl Execute,
) -> Result<OrderKey, StoreError> {
    let text = statements.text(intake::TURNS);
    let rows = statements.execute(text, values![account, i64::from(priority.level()), now].into()).await?;
    let mut of = [TurnsOfPriority::default(); Priority::ALL.len()];
    for row in &rows {
        let turn = |column| Ok::<_, StoreError>(get::<Option<i64>>(row, column)?.map(Turn));
        let turns = TurnsOfPriority {
            own: turn("own")?,
            running: turn("running")?,
            queued: turn("queued")?,
            last: turn("last")?,
        };
        if let Some(of) = of.get_mut(level(row)?) {
            *of = turns;
        }
    }
    let turns = Turns::new(priority, of);
    let mut followers = [None; Priority::ALL.len()];
    if turns.have_followers() {
        let text = statements.text(intake::FOLLOWERS);
        let after = turns.after().map(|turn| Value::from(turn.0));
        for row in &statements.execute(text, after.into()).await? {
            if let Some(follower) = followers.get_mut(level(row)?) {
                *follower = Some(Rank(get(row, "rank")?));
            }
        }
    }
    Ok(turns.place(now, followers))
}

fn level(row: &AnyRow) -> Result<usize, StoreError> {
    count(row, "priority")
}
