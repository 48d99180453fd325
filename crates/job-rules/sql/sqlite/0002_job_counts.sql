-- The numbers of jobs that the bounds are compared with. Triggers keep them, because a new job would otherwise count the rows
-- of all others. PostgreSQL has none: all servers would write, and wait for, the same row.
CREATE TABLE job_counts (
    account TEXT NOT NULL PRIMARY KEY,
    queued INTEGER NOT NULL CHECK (queued BETWEEN 0 AND unfinished),
    unfinished INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- One row.
CREATE TABLE queue_counts (queued INTEGER NOT NULL CHECK (queued >= 0)) STRICT;

INSERT INTO job_counts
    SELECT account, sum(status = 'queued'), count(*) FROM jobs WHERE finished_at IS NULL GROUP BY account;
INSERT INTO queue_counts SELECT count(*) FROM jobs WHERE status = 'queued';

-- Jobs arrive queued, and only finished ones are deleted.
CREATE TRIGGER jobs_arrived AFTER INSERT ON jobs BEGIN
    INSERT INTO job_counts VALUES (NEW.account, 1, 1)
        ON CONFLICT (account) DO UPDATE SET queued = queued + 1, unfinished = unfinished + 1;
    UPDATE queue_counts SET queued = queued + 1;
END;
CREATE TRIGGER jobs_changed AFTER UPDATE OF status ON jobs
    WHEN OLD.status <> NEW.status AND OLD.finished_at IS NULL
BEGIN
    UPDATE job_counts SET
        queued = queued + (NEW.status = 'queued') - (OLD.status = 'queued'),
        unfinished = unfinished - (NEW.finished_at IS NOT NULL)
        WHERE account = NEW.account;
    DELETE FROM job_counts WHERE account = NEW.account AND unfinished = 0;
    UPDATE queue_counts SET queued = queued + (NEW.status = 'queued') - (OLD.status = 'queued');
END;
