-- Times are milliseconds since 1970. What a column means stands in src/job.rs; the checks are its invariants.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    version TEXT NOT NULL,
    owner TEXT NOT NULL,
    priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 3),
    rank INTEGER NOT NULL,
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
    payload TEXT,
    input TEXT,
    result TEXT,
    outcome TEXT,
    stage TEXT,
    percent INTEGER NOT NULL CHECK (percent BETWEEN 0 AND 100),
    UNIQUE (owner, idempotency_key)
) STRICT;

-- The order of work.
CREATE INDEX jobs_by_turn ON jobs (rank, seq) WHERE status = 'queued';
-- Leases that run out.
CREATE INDEX jobs_by_lease ON jobs (lease_until) WHERE status = 'running';
-- Each owner's jobs, the latest last; and those that count against the owner's bound.
CREATE INDEX jobs_by_owner ON jobs (owner, seq);
CREATE INDEX jobs_unfinished ON jobs (owner) WHERE finished_at IS NULL;
-- What expires and what is deleted.
-- (Partial ones: with an index on the status, SQLite would not take the order of work from its own.)
CREATE INDEX jobs_to_expire ON jobs (expires_at) WHERE status IN ('completed', 'failed', 'cancelled');
CREATE INDEX jobs_to_delete ON jobs (expires_at) WHERE status = 'expired';
CREATE INDEX jobs_with_doomed_input ON jobs (seq) WHERE input IS NOT NULL AND finished_at IS NOT NULL;
CREATE INDEX jobs_with_doomed_result ON jobs (seq) WHERE result IS NOT NULL AND status = 'expired';
