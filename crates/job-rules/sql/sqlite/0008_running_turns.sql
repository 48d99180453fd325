-- The last turn among running jobs, for the place of a new one: without it, every running job is read for each new one.
CREATE INDEX jobs_running_turns ON jobs (priority, turn) WHERE status = 'running';
