//! From the artefacts back into the spool. It stands here because the artefacts know nothing of what they are used for.

use super::spool::{Spool, SpoolError, SpoolFile};
use crate::artifacts::{ArtifactError, ArtifactKind, ArtifactName, ArtifactStore};

impl ArtifactStore {
    /// Reads an artefact into a file of the spool, in constant memory. The file is handed out only when all of it is
    /// there and authentic; on any error, and if the future is dropped, what was written is wiped.
    pub async fn fetch_into(
        &self,
        name: &ArtifactName,
        kind: ArtifactKind,
        spool: &Spool,
    ) -> Result<SpoolFile, ArtifactError> {
        let failed = |error: SpoolError| ArtifactError::Target(Box::new(error));
        let mut reader = self.reader(name, kind).await?;
        let mut file = spool.create().map_err(failed)?;
        while let Some(bytes) = reader.next().await? {
            if !bytes.is_empty() {
                file.append(bytes).await.map_err(failed)?;
            }
        }
        Ok(file)
    }
}
