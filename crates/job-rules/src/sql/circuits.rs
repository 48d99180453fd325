//! Circuits that were built: each once, and no more than a bound allows.
//!
//! A row is written when the circuit can be proved. Only its description changes later, where more is known of it. So a circuit without a row is not published, whatever
//! became of its build.

use super::Statement;

/// Publishes a circuit, if there is none of its id and the bounds allow it.
///
/// Binds 1 id, 2 hash of its identity, 3 version, 4 target of its proofs where a request names none, 5 description in a format
/// of the caller, 6 name of the artifact with its files, 7 their size in bytes, 8 now, 9 its family, 10 its size in the
/// family, both NULL where it has none, 11 maximum number of circuits, 12 maximum size of all packages in bytes. Returns `id`.
/// No row: the circuit is published already, or a bound is reached.
pub const PUBLISH: Statement = statement! {
    "INSERT INTO circuits (id, hash, version, target, description, package, package_bytes, published_at, \
     family, family_size) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM (" totals ") AS total \
     WHERE total.circuits < $11 AND total.bytes + $7 <= $12 ON CONFLICT (id) DO NOTHING RETURNING id"
};

/// Counts the circuits and the bytes of their packages.
///
/// Binds nothing. Returns `circuits` and `bytes`.
pub const TOTALS: Statement = statement! { totals };

/// Reads a circuit.
///
/// Binds 1 id. Returns the circuit.
pub const FIND: Statement = statement! { "SELECT " circuit_columns " FROM circuits WHERE id = $1" };

/// Reads the circuits by id, a page at a time.
///
/// Binds 1 the last id of the previous page or an empty text, 2 maximum number of circuits. Returns circuits.
pub const LIST: Statement = statement! {
    "SELECT " circuit_columns " FROM circuits WHERE id > $1 ORDER BY id LIMIT $2"
};

/// Reads which circuits there are.
///
/// Binds nothing. Returns `id`, `version`, `family` and `family_size` of each.
pub const VERSIONS: Statement = statement! {
    "SELECT id, version, family, family_size FROM circuits ORDER BY id"
};

/// Replaces the description of a circuit.
///
/// Binds 1 id, 2 hash of its identity, 3 description. Returns the circuit. No row: there is no such circuit any more.
pub const DESCRIBE: Statement = statement! {
    "UPDATE circuits SET description = $3 WHERE id = $1 AND hash = $2 RETURNING " circuit_columns
};

/// Removes a circuit. Its package is then an artifact that nothing names, which upkeep removes.
///
/// Binds 1 id. Returns `id`. No row: there is no such circuit.
pub const REMOVE: Statement = statement! { "DELETE FROM circuits WHERE id = $1 RETURNING id" };
