-- Sealed bodies that have arrived. src/sql/sealed_bodies.rs describes the columns.
CREATE TABLE sealed_bodies (
    id TEXT NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

CREATE INDEX sealed_bodies_expired ON sealed_bodies (expires_at);
