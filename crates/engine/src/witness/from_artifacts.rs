//! Copies stored witnesses from the artifact store back into the spool.
//!
//! It is here because the artifact store does not know what its artifacts are used for.

use edgeprove_artifacts::{ArtifactError, ArtifactKind, ArtifactName, ArtifactStore};
use edgeprove_spool::{Spool, SpoolError, SpoolFile};

/// Decrypts an artifact into files of the spool, in constant memory.
///
/// `cuts` are ascending byte offsets. Each ends one file, and the rest goes into the last file. The files are returned
/// only when the whole artifact is read and authentic. On any error, and if the future is dropped, the files are wiped.
pub async fn fetch_into(
    store: &ArtifactStore,
    name: &ArtifactName,
    kind: ArtifactKind,
    spool: &Spool,
    cuts: &[u64],
) -> Result<Vec<SpoolFile>, ArtifactError> {
    let failed = |error: SpoolError| ArtifactError::Destination(Box::new(error));
    let mut reader = store.reader(name, kind).await?;
    let (mut files, mut cuts) = (Vec::new(), cuts.iter().copied());
    let (mut file, mut cut) = (spool.create().map_err(failed)?, cuts.next());
    let mut read = 0;
    while let Some(mut bytes) = reader.next().await? {
        while let Some(before) = cut.and_then(|cut| usize::try_from(cut.saturating_sub(read)).ok())
            && before <= bytes.len()
        {
            let head = bytes.split_to(before);
            read += head.len() as u64;
            if !head.is_empty() {
                file.append(head).await.map_err(failed)?;
            }
            files.push(std::mem::replace(&mut file, spool.create().map_err(failed)?));
            cut = cuts.next();
        }
        read += bytes.len() as u64;
        if !bytes.is_empty() {
            file.append(bytes).await.map_err(failed)?;
        }
    }
    files.push(file);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use edgeprove_artifacts::{ArtifactKey, ArtifactSettings, KeyRing, KeySettings, LocationSettings};

    fn store_and_spool(home: &tempfile::TempDir) -> (ArtifactStore, Spool) {
        let location = LocationSettings::Folder(home.path().join("artifacts"));
        let keys = KeySettings::Given(KeyRing::new(ArtifactKey::random().unwrap()));
        let store = ArtifactStore::open(&ArtifactSettings { location, keys }).unwrap();
        (store, Spool::open(&home.path().join("spool")).unwrap())
    }

    async fn assert_empty(spool: &Spool) {
        tokio::time::timeout(Duration::from_mins(2), spool.drained()).await.unwrap();
        assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_stored_witness_is_copied_to_the_spool() {
        let home = tempfile::tempdir().unwrap();
        let (store, spool) = store_and_spool(&home);
        for len in [0, 10, 200_000] {
            let witness: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let name = store.put_bytes(ArtifactKind::Witness, &witness).await.unwrap();
            let [file] = fetch_into(&store, &name, ArtifactKind::Witness, &spool, &[])
                .await
                .unwrap()
                .try_into()
                .unwrap();
            assert_eq!(fs::read(file.path()).unwrap(), witness);
            assert_eq!(file.len(), witness.len() as u64);
        }
        assert_empty(&spool).await;
    }

    #[tokio::test]
    async fn several_witnesses_are_copied_to_separate_files() {
        let home = tempfile::tempdir().unwrap();
        let (store, spool) = store_and_spool(&home);
        // An artifact's chunks have 64 KiB.
        for lengths in [&[1, 2][..], &[65_536, 1], &[65_535, 2, 200_000], &[200_000, 65_536, 7, 7]] {
            let part = |at: usize, len: &usize| vec![u8::try_from(at).unwrap() + 1; *len];
            let parts: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(at, len)| part(at, len)).collect();
            let name = store.put_bytes(ArtifactKind::Witness, &parts.concat()).await.unwrap();
            let ends = lengths.iter().scan(0, |end, len| {
                *end += *len as u64;
                Some(*end)
            });
            let cuts: Vec<u64> = ends.take(lengths.len() - 1).collect();
            let files = fetch_into(&store, &name, ArtifactKind::Witness, &spool, &cuts).await.unwrap();
            let found: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file.path()).unwrap()).collect();
            assert!(found == parts, "{lengths:?}");
        }
        assert_empty(&spool).await;
    }

    #[tokio::test]
    async fn nothing_of_a_damaged_artifact_is_left() {
        let home = tempfile::tempdir().unwrap();
        let (store, spool) = store_and_spool(&home);
        let name = store.put_bytes(ArtifactKind::Witness, &vec![7; 200_000]).await.unwrap();
        let path = home.path().join("artifacts").join(name.to_string());
        let stored = fs::read(&path).unwrap();
        // Three chunks are whole; the end is missing.
        fs::write(&path, &stored[..stored.len() - 1]).unwrap();
        let error = fetch_into(&store, &name, ArtifactKind::Witness, &spool, &[]).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Damaged { chunk: 3, .. }), "{error:?}");
        let error = fetch_into(&store, &name, ArtifactKind::Proof, &spool, &[]).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Damaged { chunk: 0, .. }), "{error:?}");
        assert_empty(&spool).await;
    }

    #[tokio::test]
    async fn a_failing_spool_is_not_a_damaged_artifact() {
        let home = tempfile::tempdir().unwrap();
        let (store, spool) = store_and_spool(&home);
        let name = store.put_bytes(ArtifactKind::Witness, b"content").await.unwrap();
        // A file replaces the spool's folder.
        fs::remove_dir_all(home.path().join("spool")).unwrap();
        fs::write(home.path().join("spool"), b"").unwrap();
        let error = fetch_into(&store, &name, ArtifactKind::Witness, &spool, &[]).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Destination(_)) && error.is_retryable(), "{error:?}");
    }
}
