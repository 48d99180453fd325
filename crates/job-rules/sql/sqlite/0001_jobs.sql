-- Times are milliseconds since 1970. src/job.rs describes the columns; the checks are their invariants.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    version TEXT NOT NULL,
    owner TEXT NOT NULL,
    account TEXT NOT NULL DEFAULT '',
    priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 3),
    rank INTEGER NOT NULL,
    turn INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL
        CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled', 'expired')),
    run_at INTEGER NOT NULL,
    enqueued_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER CHECK ((finished_at IS NULL) = (status IN ('queued', 'running'))),
    expires_at INTEGER CHECK ((expires_at IS NULL) = (status IN ('queued', 'running'))),
    attempts INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND max_attempts),
    max_attempts INTEGER NOT NULL CHECK (max_attempts >= 1),
    lease_token INTEGER NOT NULL CHECK (lease_token >= attempts),
    lease_holder TEXT CHECK ((lease_holder IS NOT NULL) = (status = 'running')),
    lease_until INTEGER CHECK ((lease_until IS NOT NULL) = (status = 'running')),
    cancel_requested_at INTEGER CHECK (cancel_requested_at IS NULL OR status <> 'queued'),
    idempotency_key TEXT,
    body_digest TEXT CHECK ((body_digest IS NULL) = (idempotency_key IS NULL)),
    payload TEXT NOT NULL,
    input TEXT,
    result TEXT,
    outcome TEXT,
    stage TEXT,
    stage_started_at INTEGER CHECK ((stage_started_at IS NULL) = (stage IS NULL)),
    stage_estimate TEXT CHECK (stage_estimate IS NULL OR stage IS NOT NULL),
    UNIQUE (account, idempotency_key)
) STRICT;

-- The order of work.
CREATE INDEX jobs_by_turn ON jobs (rank, turn, seq) WHERE status = 'queued';
-- The turns of each priority, for the place of a new job.
CREATE INDEX jobs_of_priority ON jobs (priority, turn, seq, status) WHERE status = 'queued';
-- Leases that expire.
CREATE INDEX jobs_by_lease ON jobs (lease_until) WHERE status = 'running';
-- The jobs of each owner, the latest last; and those that count against the caller's limit, with the caller's turns.
CREATE INDEX jobs_by_owner ON jobs (owner, seq);
CREATE INDEX jobs_unfinished ON jobs (account, priority, turn, status, finished_at) WHERE finished_at IS NULL;
-- Jobs that expire and rows that are deleted.
-- (These are partial: with an index on the status, SQLite would not use jobs_by_turn for the order of work.)
CREATE INDEX jobs_to_expire ON jobs (expires_at) WHERE status IN ('completed', 'failed', 'cancelled');
CREATE INDEX jobs_to_delete ON jobs (expires_at) WHERE status = 'expired';
CREATE INDEX jobs_with_doomed_input ON jobs (seq) WHERE input IS NOT NULL AND finished_at IS NOT NULL;
CREATE INDEX jobs_with_doomed_result ON jobs (seq) WHERE result IS NOT NULL AND status = 'expired';
