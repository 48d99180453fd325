//! What a large artefact costs in memory, measured on a process of its own.

use std::{env, process::Command};

use edgeprove_testkit::{
    processes,
    s3::{BUCKET, S3Server},
};

use super::*;

/// What tells a test that it is the one within, and which place to use.
const WITHIN: &str = "EDGEPROVE_TEST_MEMORY";
/// The largest upload there is by default.
const BYTES: u64 = 64 << 20;

/// Runs one test of this program again in a process of its own.
fn alone(test: &str, dir: &Path, environment: Vec<(String, String)>) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", &format!("tests::memory::{test}"), "--nocapture"]);
    command.env(WITHIN, dir).envs(environment);
    let output = processes::run(&mut command, Duration::from_mins(3));
    let told = String::from_utf8_lossy(&output.stdout);
    #[expect(clippy::print_stdout, reason = "it holds the figure")]
    {
        println!("{told}");
    }
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("1 passed"), "it has run: {told}");
}

/// The most memory that this process ever had, in bytes.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Puts a large file, fetches it, and returns by how much that raised the peak.
fn raised_by(store: &ArtifactStore, dir: &Path) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let once = async |file: &Path| {
            let name = store.put_file(ArtifactKind::Witness, file).await.unwrap();
            let mut reader = store.reader(&name, ArtifactKind::Witness).await.unwrap();
            let mut read = 0;
            while let Some(chunk) = reader.next().await.unwrap() {
                read += chunk.len() as u64;
            }
            store.delete(&name).await.unwrap();
            read
        };
        // What libraries set up for the first of all artefacts is none of the large one's.
        fs::write(dir.join("small"), b"small").unwrap();
        assert_eq!(once(&dir.join("small")).await, 5);
        let before = peak();
        // Holes cost the disk nothing.
        fs::File::create(dir.join("large")).unwrap().set_len(BYTES).unwrap();
        assert_eq!(once(&dir.join("large")).await, BYTES);
        let raised = peak() - before;
        #[expect(clippy::print_stdout, reason = "the figure, for who runs this test with --nocapture")]
        {
            println!("{} MiB raised the peak by {} KiB", BYTES >> 20, raised / 1024);
        }
        raised
    })
}

#[test]
fn in_a_folder_it_is_a_few_chunks() {
    let Some(dir) = env::var_os(WITHIN).map(PathBuf::from) else {
        let dir = tempfile::tempdir().unwrap();
        return alone("in_a_folder_it_is_a_few_chunks", dir.path(), Vec::new());
    };
    let raised = raised_by(&store_in(&dir.join("artifacts")), &dir);
    assert!(raised < 8 * MIB, "{} KiB", raised / 1024);
}

#[test]
fn in_a_bucket_it_is_a_few_parts() {
    let Some(dir) = env::var_os(WITHIN).map(PathBuf::from) else {
        let (server, dir) = (S3Server::start(), tempfile::tempdir().unwrap());
        return alone("in_a_bucket_it_is_a_few_parts", dir.path(), server.environment());
    };
    let bucket = BucketSettings {
        bucket: BUCKET.to_owned(),
        prefix: String::new(),
        options: env::vars().filter(|(name, _)| name.starts_with("AWS_")).collect(),
        patience: RetryPolicy::default(),
    };
    let keys = KeySettings::Given(keys());
    let settings = ArtifactSettings { place: PlaceSettings::Bucket(bucket), keys };
    let raised = raised_by(&ArtifactStore::open(&settings).unwrap(), &dir);
    assert!(raised < 40 * MIB, "{} KiB", raised / 1024);
}
