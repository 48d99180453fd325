-- Circuits that were built and may be proved. src/sql/circuits.rs describes the columns.
CREATE TABLE circuits (
    id TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    version TEXT NOT NULL,
    target TEXT NOT NULL,
    description TEXT NOT NULL,
    package TEXT NOT NULL,
    package_bytes INTEGER NOT NULL CHECK (package_bytes > 0),
    published_at INTEGER NOT NULL,
    family TEXT,
    family_size INTEGER,
    CHECK ((family IS NULL) = (family_size IS NULL))
) STRICT;

-- The latest job of a subject, among those with idempotency keys.
CREATE INDEX jobs_by_subject ON jobs (subject, seq) WHERE idempotency_key IS NOT NULL;

-- Contracts of circuits that were deployed, or are on their way. src/sql/deployments.rs describes the columns.
CREATE TABLE deployments (
    circuit TEXT NOT NULL,
    version TEXT NOT NULL,
    chain_id INTEGER NOT NULL,
    deployer TEXT NOT NULL,
    job_id TEXT NOT NULL,
    record TEXT NOT NULL,
    completed_at INTEGER,
    PRIMARY KEY (circuit, version, chain_id, deployer)
) STRICT;
