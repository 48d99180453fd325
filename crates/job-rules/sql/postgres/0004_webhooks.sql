-- Callers that are notified when a job has finished. src/sql/webhooks.rs describes the columns.
CREATE TABLE webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    job_kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    account TEXT NOT NULL,
    host TEXT NOT NULL,
    url TEXT,
    url_digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT,
    attempts BIGINT NOT NULL CHECK (attempts >= 0 AND (attempts = 0 OR due_at IS NOT NULL)),
    body TEXT,
    ended_at BIGINT CHECK ((ended_at IS NULL) = (url IS NOT NULL)),
    UNIQUE (job_id, account, url_digest)
);

-- Those that wait for their job, those that are due, and those that count against the bounds.
CREATE INDEX webhooks_waiting ON webhooks (job_id) WHERE due_at IS NULL;
CREATE INDEX webhooks_due ON webhooks (attempts, due_at) WHERE ended_at IS NULL AND due_at IS NOT NULL;
CREATE INDEX webhooks_owed ON webhooks (account) WHERE ended_at IS NULL;
CREATE INDEX webhooks_ended ON webhooks (ended_at) WHERE ended_at IS NOT NULL;
