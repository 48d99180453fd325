-- One chain for all who share the database. What a line means stands in src/audit.rs. Rows are only ever added.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY CHECK (seq >= 1),
    previous TEXT NOT NULL,
    entry TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
