-- The numbers of jobs. Triggers keep them, because a new job and each look at the queue would otherwise count the rows of all others.
-- Each connection writes rows of its own, so that none waits for another; upkeep adds them up in the rows of shard 0.
-- Rows are updated often: the free space lets a new version of a row stay in its page.
CREATE TABLE job_counts (
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    priority BIGINT NOT NULL,
    shard BIGINT NOT NULL,
    queued BIGINT NOT NULL,
    running BIGINT NOT NULL,
    completed BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    expired BIGINT NOT NULL,
    PRIMARY KEY (account, kind, priority, shard)
) WITH (fillfactor = 50);
-- The queued jobs of all accounts.
CREATE TABLE queue_counts (shard BIGINT NOT NULL PRIMARY KEY, queued BIGINT NOT NULL) WITH (fillfactor = 10);

-- No job may come between the count and the triggers.
LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO job_counts
    SELECT account, kind, priority, 0,
        count(*) FILTER (WHERE status = 'queued'), count(*) FILTER (WHERE status = 'running'),
        count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'),
        count(*) FILTER (WHERE status = 'cancelled'), count(*) FILTER (WHERE status = 'expired')
    FROM jobs GROUP BY account, kind, priority;
INSERT INTO queue_counts SELECT 0, count(*) FROM jobs WHERE status = 'queued';

-- Each change leaves an old version of a row in the indexes that the queue is read by, until a vacuum.
ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Changes are counted by statement, because one changes many jobs. The search path is that of the tables, whoever changes a job.
CREATE FUNCTION count_arrived_jobs() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO job_counts AS counts
        SELECT account, kind, priority, pg_backend_pid(),
            count(*) FILTER (WHERE status = 'queued'),
            count(*) FILTER (WHERE status = 'running'),
            count(*) FILTER (WHERE status = 'completed'),
            count(*) FILTER (WHERE status = 'failed'),
            count(*) FILTER (WHERE status = 'cancelled'),
            count(*) FILTER (WHERE status = 'expired')
        FROM new_jobs GROUP BY account, kind, priority
    ON CONFLICT (account, kind, priority, shard) DO UPDATE SET
        queued = counts.queued + EXCLUDED.queued, running = counts.running + EXCLUDED.running,
        completed = counts.completed + EXCLUDED.completed, failed = counts.failed + EXCLUDED.failed,
        cancelled = counts.cancelled + EXCLUDED.cancelled, expired = counts.expired + EXCLUDED.expired;
    INSERT INTO queue_counts AS counts
        SELECT pg_backend_pid(), more FROM (SELECT (SELECT count(*) FROM new_jobs WHERE status = 'queued') AS more) AS change WHERE more <> 0
    ON CONFLICT (shard) DO UPDATE SET queued = counts.queued + EXCLUDED.queued;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_arrived AFTER INSERT ON jobs REFERENCING NEW TABLE AS new_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION count_arrived_jobs();

CREATE FUNCTION count_deleted_jobs() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO job_counts AS counts
        SELECT account, kind, priority, pg_backend_pid(),
            -count(*) FILTER (WHERE status = 'queued'),
            -count(*) FILTER (WHERE status = 'running'),
            -count(*) FILTER (WHERE status = 'completed'),
            -count(*) FILTER (WHERE status = 'failed'),
            -count(*) FILTER (WHERE status = 'cancelled'),
            -count(*) FILTER (WHERE status = 'expired')
        FROM old_jobs GROUP BY account, kind, priority
    ON CONFLICT (account, kind, priority, shard) DO UPDATE SET
        queued = counts.queued + EXCLUDED.queued, running = counts.running + EXCLUDED.running,
        completed = counts.completed + EXCLUDED.completed, failed = counts.failed + EXCLUDED.failed,
        cancelled = counts.cancelled + EXCLUDED.cancelled, expired = counts.expired + EXCLUDED.expired;
    INSERT INTO queue_counts AS counts
        SELECT pg_backend_pid(), more FROM (SELECT -(SELECT count(*) FROM old_jobs WHERE status = 'queued') AS more) AS change WHERE more <> 0
    ON CONFLICT (shard) DO UPDATE SET queued = counts.queued + EXCLUDED.queued;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs REFERENCING OLD TABLE AS old_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION count_deleted_jobs();

CREATE FUNCTION count_changed_jobs() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO job_counts AS counts
        SELECT account, kind, priority, pg_backend_pid(),
            count(*) FILTER (WHERE becomes.status = 'queued') - count(*) FILTER (WHERE was.status = 'queued'),
            count(*) FILTER (WHERE becomes.status = 'running') - count(*) FILTER (WHERE was.status = 'running'),
            count(*) FILTER (WHERE becomes.status = 'completed') - count(*) FILTER (WHERE was.status = 'completed'),
            count(*) FILTER (WHERE becomes.status = 'failed') - count(*) FILTER (WHERE was.status = 'failed'),
            count(*) FILTER (WHERE becomes.status = 'cancelled') - count(*) FILTER (WHERE was.status = 'cancelled'),
            count(*) FILTER (WHERE becomes.status = 'expired') - count(*) FILTER (WHERE was.status = 'expired')
        FROM (SELECT seq, status FROM old_jobs) AS was
            JOIN (SELECT seq, status, account, kind, priority FROM new_jobs) AS becomes USING (seq)
        WHERE was.status <> becomes.status GROUP BY account, kind, priority
    ON CONFLICT (account, kind, priority, shard) DO UPDATE SET
        queued = counts.queued + EXCLUDED.queued, running = counts.running + EXCLUDED.running,
        completed = counts.completed + EXCLUDED.completed, failed = counts.failed + EXCLUDED.failed,
        cancelled = counts.cancelled + EXCLUDED.cancelled, expired = counts.expired + EXCLUDED.expired;
    INSERT INTO queue_counts AS counts
        SELECT pg_backend_pid(), more FROM (SELECT (SELECT count(*) FROM new_jobs WHERE status = 'queued') - (SELECT count(*) FROM old_jobs WHERE status = 'queued') AS more) AS change WHERE more <> 0
    ON CONFLICT (shard) DO UPDATE SET queued = counts.queued + EXCLUDED.queued;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_changed AFTER UPDATE ON jobs REFERENCING OLD TABLE AS old_jobs NEW TABLE AS new_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION count_changed_jobs();
