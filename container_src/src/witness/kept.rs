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

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::artifacts::{ArtifactKey, ArtifactSettings, KeyRing, KeySettings, PlaceSettings};

    fn store_and_spool(home: &tempfile::TempDir) -> (ArtifactStore, Spool) {
        let place = PlaceSettings::Folder(home.path().join("artifacts"));
        let keys = KeySettings::Given(KeyRing::new(ArtifactKey::random().unwrap()));
        let store = ArtifactStore::open(&ArtifactSettings { place, keys }).unwrap();
        (store, Spool::open(&home.path().join("spool")).unwrap())
    }

    async fn assert_drained(spool: &Spool) {
        tokio::time::timeout(Duration::from_secs(10), spool.drained()).await.unwrap();
        assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_witness_comes_back_into_the_spool() {
        let home = tempfile::tempdir().unwrap();
        let (store, spool) = store_and_spool(&home);
        for len in [0, 10, 200_000] {
            let witness: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let name = store.put_bytes(ArtifactKind::Witness, &witness).await.unwrap();
            let file = store.fetch_into(&name, ArtifactKind::Witness, &spool).await.unwrap();
            assert_eq!(fs::read(file.path()).unwrap(), witness);
            assert_eq!(file.len(), witness.len() as u64);
        }
        assert_drained(&spool).await;
    }

    #[tokio::test]
    async fn of_one_that_is_damaged_nothing_stays() {
        let home = tempfile::tempdir().unwrap();
        let (store, spool) = store_and_spool(&home);
        let name = store.put_bytes(ArtifactKind::Witness, &vec![7; 200_000]).await.unwrap();
        let path = home.path().join("artifacts").join(name.to_string());
        let kept = fs::read(&path).unwrap();
        // Three chunks are whole; the end is missing.
        fs::write(&path, &kept[..kept.len() - 1]).unwrap();
        let error = store.fetch_into(&name, ArtifactKind::Witness, &spool).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Damaged { chunk: 3, .. }), "{error:?}");
        let error = store.fetch_into(&name, ArtifactKind::Proof, &spool).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Damaged { chunk: 0, .. }), "{error:?}");
        assert_drained(&spool).await;
    }

    #[tokio::test]
    async fn a_spool_that_fails_is_no_fault_of_the_artefact() {
        let home = tempfile::tempdir().unwrap();
        let (store, spool) = store_and_spool(&home);
        let name = store.put_bytes(ArtifactKind::Witness, b"content").await.unwrap();
        // A file stands where the spool was.
        fs::remove_dir_all(home.path().join("spool")).unwrap();
        fs::write(home.path().join("spool"), b"").unwrap();
        let error = store.fetch_into(&name, ArtifactKind::Witness, &spool).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Target(_)) && error.is_retryable(), "{error:?}");
    }
}
