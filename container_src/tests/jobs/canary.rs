//! A private value that nothing else looks like is proved with, and then looked for wherever it must not be: in every
//! file that servers, databases and buckets have, and in all that is said, while jobs are worked on and afterwards.
//!
//! The spool alone is left out while a server runs: it is where witnesses are, until they are wiped.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{JobId, JobStatus, ProblemType};
use edgeprove_testkit::{
    Answer, Sample, TestServer,
    postgres::Cluster,
    s3::{BUCKET, S3Server},
    samples,
    settings::Settings,
};
use flate2::read::GzDecoder;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{Place, WORK, freeze, until_over, until_running};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// Below the field's modulus.
const VALUE: &str = "0bb5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9fafbfcfdfe0112233445";
/// The same in decimal.
const IN_DECIMAL: &str = "5296613019840916370524061202856847850114276872349027242683043035687264924741";

/// A sample with a private value, and what to look for.
struct Canary {
    sample: Sample,
    dir: TempDir,
    parts: Vec<Vec<u8>>,
    since: SystemTime,
}

impl Canary {
    fn new() -> Self {
        // The times of files are a little coarser than the clock.
        let since = SystemTime::now() - Duration::from_secs(1);
        let dir = tempfile::tempdir().unwrap();
        let value: [u8; 32] = hex::decode(VALUE).unwrap().try_into().unwrap();
        let sample = samples::square_of_bytes(dir.path(), "canary", &value);
        let reversed: Vec<u8> = value.iter().rev().copied().collect();
        let sent = &sample.witness;
        // Of each form the middle, so that it is found where its ends were cut off.
        let mut parts =
            vec![value[8..24].to_vec(), reversed[8..24].to_vec(), IN_DECIMAL.as_bytes()[20..50].to_vec()];
        // As it was sent: its head is the same for all witnesses.
        let tail = &sent[sent.len() / 2..sent.len() - 8];
        parts.push(tail.to_vec());
        for bytes in [&value[8..24], &reversed[8..24], tail] {
            parts.extend([hex::encode(bytes).into_bytes(), hex::encode_upper(bytes).into_bytes()]);
            // In base64 a text looks different at each of three places.
            for skipped in 0..3 {
                parts.push(STANDARD.encode(&bytes[skipped..skipped + 12]).into_bytes());
            }
        }
        Self { sample, dir, parts, since }
    }

    /// A witness of the same private value that is none.
    fn unsatisfied(&self) -> Sample {
        Sample { witness: samples::altered(&self.sample.witness, 1, 5), ..self.sample.clone() }
    }

    /// Whether these bytes, or what they hold in gzip, show the value.
    fn is_in(&self, bytes: &[u8]) -> bool {
        // In one go over what may be a lot of bytes.
        let firsts = self.parts.iter().fold([false; 256], |mut firsts, part| {
            firsts[usize::from(part[0])] = true;
            firsts
        });
        for (at, &byte) in bytes.iter().enumerate() {
            if firsts[usize::from(byte)] && self.parts.iter().any(|part| bytes[at..].starts_with(part)) {
                return true;
            }
        }
        inflated(bytes).iter().any(|inner| self.is_in(inner))
    }

    /// How many files were looked at, of those that were written to since there is this canary; or the first that shows
    /// the value.
    fn look_for(&self, folders: &[PathBuf], but: Option<&Path>) -> Result<usize, PathBuf> {
        let mut looked_at = 0;
        for path in folders.iter().flat_map(|folder| files(folder)) {
            if but.is_some_and(|but| path.starts_with(but)) {
                continue;
            }
            // Files come and go while servers work.
            let Ok(written) = fs::metadata(&path).and_then(|about| about.modified()) else { continue };
            if written < self.since {
                continue;
            }
            let Ok(bytes) = fs::read(&path) else { continue };
            looked_at += 1;
            if self.is_in(&bytes) {
                return Err(path);
            }
        }
        Ok(looked_at)
    }

    #[track_caller]
    fn assert_not_told(&self, answer: &Answer) {
        let text = format!("{answer:?}");
        assert!(!self.is_in(&answer.body) && !self.is_in(text.as_bytes()), "it is told: {text}");
    }
}

/// What is in the gzip streams that begin anywhere in these bytes.
fn inflated(bytes: &[u8]) -> Vec<Vec<u8>> {
    let starts = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(&[0x1f, 0x8b, 8]));
    let inflate = |at: usize| {
        let mut inner = Vec::new();
        // Some of them only look like it, and others are cut off.
        let _ = GzDecoder::new(&bytes[at..]).take(1 << 20).read_to_end(&mut inner);
        inner
    };
    starts.map(inflate).filter(|inner| !inner.is_empty()).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn it_would_be_found() {
    let canary = Canary::new();
    let (value, sent) = (hex::decode(VALUE).unwrap(), &canary.sample.witness);
    let reversed: Vec<u8> = value.iter().rev().copied().collect();
    let json = format!("{{\"value\":\"0x{}\"}}", VALUE.to_uppercase());
    let shown = [
        value.clone(),
        reversed,
        sent.clone(),
        samples::inflate(sent),
        json.clone().into_bytes(),
        format!("x = {IN_DECIMAL}").into_bytes(),
        samples::gzip(json.as_bytes()),
        [b"ab".as_slice(), &samples::gzip(&samples::inflate(sent))].concat(),
        STANDARD.encode(&value).into_bytes(),
        STANDARD.encode([b"a", sent.as_slice()].concat()).into_bytes(),
        hex::encode(sent).into_bytes(),
    ];
    for (number, bytes) in shown.iter().enumerate() {
        assert!(canary.is_in(bytes), "{number}");
        fs::write(canary.dir.path().join("file"), bytes).unwrap();
        let folders = [canary.dir.path().to_owned()];
        assert_eq!(canary.look_for(&folders, None), Err(canary.dir.path().join("file")));
    }
    assert!(!canary.is_in(&samples::range().witness));
    assert!(canary.is_in(&canary.unsatisfied().witness));
}

/// Puts the canary through everything that can happen to a job, and looks for it.
fn proves_without_a_trace(place: &Place, elsewhere: &[PathBuf], settle: &dyn Fn(&mut Settings)) {
    let canary = Canary::new();
    let spool = place.at("spool");
    fs::create_dir(place.at("temporary")).unwrap();
    let serve = || {
        TestServer::start(|settings| {
            settle(settings);
            let temporary = place.at("temporary").display().to_string();
            settings.environment.push(("TMPDIR".to_owned(), temporary));
            settings.spool = Some(spool.clone());
            settings.keys = place.at("keys");
            settings.circuit = Some(canary.sample.circuit.clone());
            settings.good = Some(canary.sample.clone());
            settings.flag("--audit", &place.audit().display());
            settings.flag("--job-workers", "2");
            settings.flag("--lease", "1s");
            settings.flag("--proof-cache", "50");
        })
    };
    let folders: Vec<_> = std::iter::once(place.at("")).chain(elsewhere.iter().cloned()).collect();
    let hand_in = |server: &TestServer, sample: &Sample| -> JobId {
        let answer = server.handing_in(sample).header("idempotency-key", &Uuid::new_v4().to_string()).send();
        canary.assert_not_told(&answer);
        answer.accepted().id
    };

    // One dies in the middle of it.
    let mut server = serve();
    freeze(&server);
    let interrupted = hand_in(&server, &canary.sample);
    until_running(&server, 1);
    canary.look_for(&folders, Some(&spool)).unwrap();
    let log = server.log();
    server.kill();
    drop(server);
    assert!(!canary.is_in(log.as_bytes()));

    let server = serve();
    // What it left behind in the spool is wiped by now.
    let is_over = AtomicBool::new(false);
    let (proved, failed) = thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looked_at = 0;
            while !is_over.load(Ordering::Relaxed) {
                looked_at += canary.look_for(&folders, Some(&spool)).unwrap();
            }
            looked_at
        });
        let proved: Vec<_> = (0..6).map(|_| hand_in(&server, &canary.sample)).collect();
        let failed = hand_in(&server, &canary.unsatisfied());
        for event in server.events(proved[5]) {
            assert!(!canary.is_in(format!("{event:?}").as_bytes()));
        }
        until_over(&server);
        is_over.store(true, Ordering::Relaxed);
        assert!(looking.join().unwrap() > 0);
        (proved, failed)
    });
    for id in proved.iter().chain([&interrupted]) {
        let answer = server.get(&format!("/v1/proofs/{id}/proof"));
        canary.assert_not_told(&answer);
        answer.proof_of(&canary.sample);
    }
    let unsatisfied = server.over(failed, WORK);
    assert_eq!(unsatisfied.status, JobStatus::Failed);
    assert_eq!(unsatisfied.error.unwrap().code, ProblemType::WitnessUnsatisfied);
    let failed = format!("/v1/proofs/{failed}/proof");
    let paths = ["/v1/proofs", "/v1/queue", "/v1/audit", "/metrics", "/api/health", "/", failed.as_str()];
    for path in paths {
        canary.assert_not_told(&server.get(path));
    }
    canary.assert_not_told(&server.post(&canary.sample.witness));
    let log = server.log();
    server.finish();
    assert!(!canary.is_in(log.as_bytes()));
    assert!(canary.look_for(&folders, None).unwrap() > 0);
}

#[test]
fn sqlite_and_a_folder_show_nothing_private() {
    let place = Place::new();
    let data = place.at("data");
    proves_without_a_trace(&place, &[], &|settings| settings.flag("--data", &data.display()));
}

#[test]
fn postgresql_and_a_bucket_show_nothing_private() {
    let Some(cluster) = Cluster::start() else { return };
    let (place, bucket) = (Place::new(), S3Server::start());
    let elsewhere = [cluster.folder().to_owned(), bucket.root().to_owned()];
    proves_without_a_trace(&place, &elsewhere, &|settings| {
        settings.environment.push(("DATABASE_URL".to_owned(), cluster.url()));
        settings.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), KEY.to_owned()));
        settings.environment.extend(bucket.environment());
        settings.flag("--artifacts", &format!("s3://{BUCKET}/jobs"));
    });
}
