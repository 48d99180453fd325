//! Circuits that were built, for every server that shares a database and an artifact store.
//!
//! The files of a circuit are one artifact, its package. A row of the database names it, and is written last, so a circuit is
//! in the list exactly if all of it is stored. A published circuit never changes; its id follows from everything that its
//! files depend on.
//!
//! Start with [`CircuitStore`]. It knows neither compilers nor provers: the description of a circuit is a text of its caller.
//!
//! - [`package`]: the files of a circuit as one artifact.
//! - [`deployments`]: contracts of circuits on chains.

pub mod deployments;
pub mod package;

use std::sync::Arc;

use edgeprove_artifacts::{ArtifactError, ArtifactKind, ArtifactName, ArtifactStore};
use edgeprove_job_queue::store::{
    Database, Durability, StoreError,
    session::{Value, host_now},
};
use edgeprove_job_rules::{sql::circuits, time::UnixMillis};
use edgeprove_protocol::{CircuitId, HasProblemType, ProblemType, Target};
use sqlx::{Row as _, any::AnyRow};

use package::{InvalidPackage, PackedFile};

/// How much may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most circuits.
    pub circuits_max: u32,
    /// The most bytes of all packages.
    pub bytes_max: u64,
}

/// What is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// The number of circuits.
    pub circuits: u64,
    /// The bytes of all packages.
    pub bytes: u64,
}

/// The place of a circuit among those that prove the same at other sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyPlace {
    /// The family: a text that all its circuits have, and no others.
    pub family: String,
    /// A larger circuit has a larger number.
    pub size: i64,
}

/// A circuit that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCircuit {
    /// Its id.
    pub id: CircuitId,
    /// The whole hash of its identity, of which the id has a part.
    pub hash: String,
    /// Its version: the digest of its program, 64 hexadecimal digits.
    pub version: String,
    /// The target of its proofs where a request names none.
    pub target: Target,
    /// A text of its publisher.
    pub description: String,
    /// Its family, where it has one.
    pub family: Option<FamilyPlace>,
}

/// What is known of a circuit without a look at its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedCircuit {
    /// Its id.
    pub id: CircuitId,
    /// Its version.
    pub version: String,
    /// Its family, where it has one.
    pub family: Option<FamilyPlace>,
}

/// A published circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCircuit {
    /// What was published.
    pub circuit: NewCircuit,
    /// The artifact with its files.
    pub package: ArtifactName,
    /// The size of the package, in bytes.
    pub package_bytes: u64,
    /// When it was published.
    pub published_at: UnixMillis,
}

/// Why circuits cannot be read or published.
#[derive(Debug, thiserror::Error)]
pub enum CircuitStoreError {
    /// The database failed.
    #[error("the list of circuits could not be read or changed")]
    Database(#[from] StoreError),
    /// The artifact store failed.
    #[error("the files of a circuit could not be stored or read")]
    Artifact(#[from] ArtifactError),
    /// The files cannot be packed or unpacked.
    #[error(transparent)]
    Package(#[from] InvalidPackage),
    /// As much is stored as may be.
    #[error(
        "the server stores {} circuits with {} MiB, and may store {} with {} MiB: an operator can remove some",
        totals.circuits, totals.bytes >> 20, bounds.circuits_max, bounds.bytes_max >> 20
    )]
    Full {
        /// What is stored.
        totals: Totals,
        /// What may be stored.
        bounds: Bounds,
    },
    /// A row of the database is not a circuit.
    #[error("the list of circuits has a row that is not a circuit: {what}")]
    Corrupt {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl HasProblemType for CircuitStoreError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Database(_) => ProblemType::JobStoreUnavailable,
            Self::Artifact(error) => error.kind(),
            Self::Package(_) | Self::Corrupt { .. } => ProblemType::StoredDataDamaged,
            Self::Full { .. } => ProblemType::TooManyCircuits,
        }
    }
}

/// Published circuits. Clones share the same database and artifacts.
///
/// ```
/// # use std::sync::Arc;
/// # use edgeprove_artifacts::{ArtifactSettings, ArtifactStore, KeySettings, LocationSettings};
/// # use edgeprove_circuit_store::{Bounds, CircuitStore, NewCircuit, package::PackedFile};
/// # use edgeprove_job_queue::store::{Database, DatabaseLocation};
/// # use edgeprove_protocol::Target;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (location, keys) = (LocationSettings::Temporary, KeySettings::Random);
/// # let artifacts = Arc::new(ArtifactStore::open(&ArtifactSettings { location, keys })?);
/// let database = Database::open(&DatabaseLocation::Memory).await?;
/// let store = CircuitStore::new(database, artifacts, Bounds { circuits_max: 10, bytes_max: 1 << 20 });
/// let circuit = NewCircuit {
///     id: "square-01".parse()?,
///     hash: "01".repeat(32),
///     version: "02".repeat(32),
///     target: Target::Evm,
///     description: "{}".to_owned(),
///     family: None,
/// };
/// let files = [PackedFile { name: "circuit.json", content: "{}".into() }];
/// store.publish(circuit.clone(), &files).await?;
///
/// let stored = store.find(&circuit.id).await?.expect("it was published");
/// assert_eq!(stored.circuit, circuit);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CircuitStore {
    database: Database,
    artifacts: Arc<ArtifactStore>,
    bounds: Bounds,
}

impl CircuitStore {
    /// The circuits in this database, with their files in this store.
    #[must_use]
    pub const fn new(database: Database, artifacts: Arc<ArtifactStore>, bounds: Bounds) -> Self {
        Self { database, artifacts, bounds }
    }

    /// Publishes a circuit: stores its files, then its row. When this returns, both are durable. A circuit that is published
    /// already is not changed.
    ///
    /// If the future is dropped, or after an error, upkeep removes files that no row names.
    pub async fn publish(
        &self,
        circuit: NewCircuit,
        files: &[PackedFile<'_>],
    ) -> Result<StoredCircuit, CircuitStoreError> {
        if let Some(stored) = self.find(&circuit.id).await? {
            return Ok(stored);
        }
        let package_bytes = package::bytes(files);
        self.check_space(package_bytes).await?;
        let package = self.artifacts.put(ArtifactKind::Circuit, package::reader(files)?).await?;
        let published_at = host_now();
        let Bounds { circuits_max, bytes_max } = self.bounds;
        let NewCircuit { id, hash, version, target, description, family } = circuit.clone();
        let (family, family_size) = family.map(|place| (place.family, place.size)).unzip();
        let values: [Value; 12] = [
            id.as_str().into(),
            hash.into(),
            version.into(),
            target.as_str().into(),
            description.into(),
            package.to_string().into(),
            signed(package_bytes).into(),
            published_at.into(),
            family.into(),
            family_size.into(),
            circuits_max.into(),
            signed(bytes_max).into(),
        ];
        let mut session = self.database.session(Durability::Write).await?;
        let row = session.row(circuits::PUBLISH, values).await?;
        drop(session);
        self.database.sync().await?;
        if row.is_some() {
            return Ok(StoredCircuit { circuit, package, package_bytes, published_at });
        }
        // Another server was faster, or filled the last place.
        match self.find(&id).await? {
            Some(stored) => Ok(stored),
            None => Err(CircuitStoreError::Full { totals: self.totals().await?, bounds: self.bounds }),
        }
    }

    /// Replaces the description of a published circuit. `None`: it was removed meanwhile.
    pub async fn describe(
        &self,
        circuit: &NewCircuit,
        description: String,
    ) -> Result<Option<StoredCircuit>, CircuitStoreError> {
        let mut session = self.database.session(Durability::Write).await?;
        let values: [Value; 3] =
            [circuit.id.as_str().into(), circuit.hash.clone().into(), description.into()];
        let row = session.row(circuits::DESCRIBE, values).await?;
        drop(session);
        self.database.sync().await?;
        row.as_ref().map(stored).transpose()
    }

    /// Fails if no circuit of this size may be published.
    pub async fn check_space(&self, bytes: u64) -> Result<(), CircuitStoreError> {
        let (totals, bounds) = (self.totals().await?, self.bounds);
        if totals.circuits < u64::from(bounds.circuits_max)
            && totals.bytes.saturating_add(bytes) <= bounds.bytes_max
        {
            Ok(())
        } else {
            Err(CircuitStoreError::Full { totals, bounds })
        }
    }

    /// Counts what is stored.
    pub async fn totals(&self) -> Result<Totals, CircuitStoreError> {
        let mut session = self.database.session(Durability::Read).await?;
        let row = session.row(circuits::TOTALS, []).await?;
        let row = row.ok_or(CircuitStoreError::Corrupt { what: "they cannot be counted" })?;
        Ok(Totals { circuits: number(&row, "circuits")?, bytes: number(&row, "bytes")? })
    }

    /// Finds a circuit.
    pub async fn find(&self, id: &CircuitId) -> Result<Option<StoredCircuit>, CircuitStoreError> {
        let mut session = self.database.session(Durability::Read).await?;
        let row = session.row(circuits::FIND, [id.as_str().into()]).await?;
        row.as_ref().map(stored).transpose()
    }

    /// Lists circuits by id: those after `after`, at most `limit`.
    pub async fn list(
        &self,
        after: Option<&CircuitId>,
        limit: u32,
    ) -> Result<Vec<StoredCircuit>, CircuitStoreError> {
        let mut session = self.database.session(Durability::Read).await?;
        let after = after.map_or("", CircuitId::as_str);
        let rows = session.rows(circuits::LIST, [after.into(), limit.into()]).await?;
        rows.iter().map(stored).collect()
    }

    /// Every circuit, by id.
    pub async fn all(&self) -> Result<Vec<ListedCircuit>, CircuitStoreError> {
        let mut session = self.database.session(Durability::Read).await?;
        let rows = session.rows(circuits::VERSIONS, []).await?;
        let listed =
            |row| Ok(ListedCircuit { id: id(row)?, version: text(row, "version")?, family: family(row)? });
        rows.iter().map(listed).collect()
    }

    /// Removes a circuit, and returns whether it was there. Its files are removed by upkeep, so that a server which loads
    /// them at this moment still can.
    pub async fn remove(&self, id: &CircuitId) -> Result<bool, CircuitStoreError> {
        let mut session = self.database.session(Durability::Write).await?;
        let is_removed = session.row(circuits::REMOVE, [id.as_str().into()]).await?.is_some();
        drop(session);
        self.database.sync().await?;
        Ok(is_removed)
    }

    /// Opens the files of a circuit.
    pub async fn files(&self, circuit: &StoredCircuit) -> Result<package::Files, CircuitStoreError> {
        let reader = self.artifacts.reader(&circuit.package, ArtifactKind::Circuit).await?;
        Ok(package::Files::new(reader, circuit.package_bytes))
    }
}

fn stored(row: &AnyRow) -> Result<StoredCircuit, CircuitStoreError> {
    let corrupt = |what| CircuitStoreError::Corrupt { what };
    let target = text(row, "target")?.parse().map_err(|_| corrupt("unknown target"))?;
    Ok(StoredCircuit {
        circuit: NewCircuit {
            id: id(row)?,
            hash: text(row, "hash")?,
            version: text(row, "version")?,
            target,
            description: text(row, "description")?,
            family: family(row)?,
        },
        package: text(row, "package")?.parse().map_err(|_| corrupt("invalid name of a package"))?,
        package_bytes: number(row, "package_bytes")?,
        published_at: UnixMillis(row.try_get("published_at").map_err(StoreError::from)?),
    })
}

fn id(row: &AnyRow) -> Result<CircuitId, CircuitStoreError> {
    text(row, "id")?.parse().map_err(|_| CircuitStoreError::Corrupt { what: "invalid id" })
}

fn family(row: &AnyRow) -> Result<Option<FamilyPlace>, CircuitStoreError> {
    let family: Option<String> = row.try_get("family").map_err(StoreError::from)?;
    let size: Option<i64> = row.try_get("family_size").map_err(StoreError::from)?;
    match (family, size) {
        (Some(family), Some(size)) => Ok(Some(FamilyPlace { family, size })),
        (None, None) => Ok(None),
        _ => Err(CircuitStoreError::Corrupt { what: "a family without a size" }),
    }
}

fn text(row: &AnyRow, column: &str) -> Result<String, CircuitStoreError> {
    Ok(row.try_get(column).map_err(StoreError::from)?)
}

fn number(row: &AnyRow, column: &str) -> Result<u64, CircuitStoreError> {
    let number: i64 = row.try_get(column).map_err(StoreError::from)?;
    u64::try_from(number).map_err(|_| CircuitStoreError::Corrupt { what: "a negative number" })
}

/// The database has signed numbers.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
