-- A failed job that is queued again counts like one that arrives.
CREATE TRIGGER jobs_requeued AFTER UPDATE OF status ON jobs
    WHEN OLD.finished_at IS NOT NULL AND NEW.status = 'queued'
BEGIN
    INSERT INTO job_counts VALUES (NEW.account, 1, 1)
        ON CONFLICT (account) DO UPDATE SET queued = queued + 1, unfinished = unfinished + 1;
    UPDATE queue_counts SET queued = queued + 1;
END;
