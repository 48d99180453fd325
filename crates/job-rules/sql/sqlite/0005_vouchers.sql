-- How often each voucher was used. src/sql/vouchers.rs describes the columns.
CREATE TABLE voucher_uses (
    id TEXT NOT NULL PRIMARY KEY,
    used INTEGER NOT NULL CHECK (used >= 0),
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX voucher_uses_expired ON voucher_uses (expires_at);
