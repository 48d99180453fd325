//! Memory that a large artifact needs, measured in a process of its own.

use std::{env, process::Command};

use edgeprove_testkit::{
    processes,
    s3::{BUCKET, S3Server},
};

use super::*;

/// Variable that is set in the inner run of a test: the folder to use.
const WITHIN: &str = "EDGEPROVE_TEST_MEMORY";
/// The default limit of uploads.
const BYTES: u64 = 64 << 20;

/// Runs one test of this program in a process of its own.
fn alone(test: &str, dir: &Path, environment: Vec<(String, String)>) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", &format!("tests::memory::{test}"), "--nocapture"]);
    command.env(WITHIN, dir).envs(environment);
    let output = processes::run(&mut command, Duration::from_mins(3));
    let output_text = String::from_utf8_lossy(&output.stdout);
    #[expect(clippy::print_stdout, reason = "it has the measured value")]
    {
        println!("{output_text}");
    }
    assert!(output.status.success(), "{output_text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output_text.contains("1 passed"), "the test has not run: {output_text}");
}

/// The memory peak of this process, in bytes.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Stores a large file, reads it back, and returns by how many bytes that raised the peak.
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
        // Memory that libraries allocate once must not count.
        fs::write(dir.join("small"), b"small").unwrap();
        assert_eq!(once(&dir.join("small")).await, 5);
        let before = peak();
        // A sparse file needs no space on the disk.
        fs::File::create(dir.join("large")).unwrap().set_len(BYTES).unwrap();
        assert_eq!(once(&dir.join("large")).await, BYTES);
        let raised = peak() - before;
        #[expect(clippy::print_stdout, reason = "the measured value, for a run with --nocapture")]
        {
            println!("{} MiB raised the peak by {} KiB", BYTES >> 20, raised / 1024);
        }
        raised
    })
}

#[test]
fn a_folder_needs_memory_for_a_few_chunks() {
    let Some(dir) = env::var_os(WITHIN).map(PathBuf::from) else {
        let dir = tempfile::tempdir().unwrap();
        return alone("a_folder_needs_memory_for_a_few_chunks", dir.path(), Vec::new());
    };
    let raised = raised_by(&store_in(&dir.join("artifacts")), &dir);
    assert!(raised < 8 * MIB, "{} KiB", raised / 1024);
}

#[test]
fn a_bucket_needs_memory_for_a_few_parts() {
    let Some(dir) = env::var_os(WITHIN).map(PathBuf::from) else {
        let (server, dir) = (S3Server::start(), tempfile::tempdir().unwrap());
        return alone("a_bucket_needs_memory_for_a_few_parts", dir.path(), server.environment());
    };
    let bucket = BucketSettings {
        bucket: BUCKET.to_owned(),
        prefix: String::new(),
        options: env::vars().filter(|(name, _)| name.starts_with("AWS_")).collect(),
        retry: RetryPolicy::default(),
    };
    let keys = KeySettings::Given(keys());
    let settings = ArtifactSettings { location: LocationSettings::Bucket(bucket), keys };
    let raised = raised_by(&ArtifactStore::open(&settings).unwrap(), &dir);
    assert!(raised < 40 * MIB, "{} KiB", raised / 1024);
}
