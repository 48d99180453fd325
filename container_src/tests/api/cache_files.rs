//! Caches that someone changed: the files of verification keys and memory peaks, and the proof cache in the memory of the
//! server. No caller gets an invalid proof or the proof of another caller.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use edgeprove_protocol::{Target::NoirRecursive, answer::CircuitStatus, headers};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::{Response, Sample, TestServer, eventually, samples, settings::Settings, skipped};

/// Circuits, and a folder of their keys, for several starts.
struct Keys {
    circuits: TempDir,
    folder: TempDir,
    samples: Vec<Sample>,
}

impl Keys {
    fn of(count: u32) -> Self {
        let circuits = tempfile::tempdir().unwrap();
        let samples = (1..=count)
            .map(|factor| samples::square(circuits.path(), &format!("c{factor}"), factor))
            .collect();
        Self { circuits, folder: tempfile::tempdir().unwrap(), samples }
    }

    /// Starts a server, and waits until every circuit is loaded.
    #[track_caller]
    fn start(&self, change: impl FnOnce(&mut Settings)) -> TestServer {
        let server = TestServer::start(|s| {
            s.circuits = Some(self.circuits.path().to_owned());
            self.folder.path().clone_into(&mut s.keys);
            (s.circuit, s.sample) = (None, None);
            change(s);
        });
        eventually("every circuit is loaded", || {
            let circuits = server.health().circuits;
            circuits.iter().all(|circuit| circuit.status == CircuitStatus::Ready).then_some(())
        });
        server
    }

    /// The hash of each circuit's key, by name.
    fn hashes(server: &TestServer) -> BTreeMap<String, String> {
        let circuits = server.health().circuits.into_iter();
        circuits.map(|circuit| (circuit.id.to_string(), circuit.vk_hash.unwrap())).collect()
    }

    /// Where each circuit's key came from, by name.
    fn sources(server: &TestServer) -> BTreeMap<String, String> {
        let lines = server.log_lines();
        let loaded = lines.iter().filter(|line| line["vk_from"].is_string());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        loaded.map(|line| (text(&line["circuit"]), text(&line["vk_from"]))).collect()
    }

    /// The file of the key with this hash, and its content.
    #[track_caller]
    fn file(&self, hash: &str) -> (PathBuf, Value) {
        let files = fs::read_dir(self.folder.path()).unwrap().flatten().map(|entry| entry.path());
        let mut read = files.filter_map(|file| {
            let content: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
            Some((file, content))
        });
        let hash = hash.trim_start_matches("0x");
        read.find(|(_, key)| key["vk_hash"] == hash).expect("the cache has the key")
    }

    #[track_caller]
    fn assert_proves(server: &TestServer, sample: &Sample, hash: &str) {
        let path = format!("/api/prove/{}", sample.name);
        let response = server.prove_request_at(&path, &sample.witness).send();
        response.assert_proves(sample, NoirRecursive);
        assert_eq!(response.header(headers::VK_HASH), hash, "{}", sample.name);
    }
}

/// Changes a byte of a file, at the first place after this text.
#[track_caller]
fn change_byte_after(file: &Path, text: &str, offset: usize) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let byte = &mut bytes[at + text.len() + offset];
    *byte = if *byte == b'1' { b'2' } else { b'1' };
    fs::write(file, bytes).unwrap();
}

#[test]
fn damaged_key_files_are_replaced() {
    const SIZE: &str = "\"dyadic_size\":";
    let keys = Keys::of(8);
    let server = keys.start(|_| {});
    let hashes = Keys::hashes(&server);
    server.finish();
    let file = |number: usize| keys.file(&hashes[&format!("c{number}")]).0;
    let files: Vec<PathBuf> = (1..=8).map(file).collect();
    change_byte_after(&files[0], "\"vk\":\"", 100);
    change_byte_after(&files[1], "\"vk_hash\":\"", 10);
    change_byte_after(&files[2], SIZE, 0);
    change_byte_after(&files[3], "\"gates\":", 0);
    let text = fs::read(&files[4]).unwrap();
    fs::write(&files[4], &text[..text.len() / 2]).unwrap();
    // The keys of two circuits, exchanged.
    let aside = keys.folder.path().join("aside");
    for (from, to) in [(&files[5], &aside), (&files[6], &files[5]), (&aside, &files[6])] {
        fs::rename(from, to).unwrap();
    }
    // Files that are nothing of the cache.
    fs::write(keys.folder.path().join("foreign.json"), "{}").unwrap();
    fs::write(keys.folder.path().join(".hidden"), [0; 100]).unwrap();

    let server = keys.start(|_| {});
    let sources = Keys::sources(&server);
    for (sample, number) in keys.samples.iter().zip(1..) {
        let expected = if number == 8 { "cache" } else { "prover" };
        assert_eq!(sources[&sample.name], expected, "{}", sample.name);
    }
    assert_eq!(Keys::hashes(&server), hashes);
    for sample in &keys.samples {
        Keys::assert_proves(&server, sample, &hashes[&sample.name]);
    }
    server.finish();
    let server = keys.start(|_| {});
    assert!(Keys::sources(&server).values().all(|source| source == "cache"), "the files are whole again");
    server.finish();
}

/// Writes a file of the cache with its right checksum, as only someone does who means to.
fn forge(file: &Path, mut content: Value) {
    let members = content.as_object_mut().unwrap();
    members.remove("sha256");
    let sum = hex::encode(Sha256::digest(serde_json::to_vec(&members).unwrap()));
    members.insert("sha256".to_owned(), sum.into());
    fs::write(file, content.to_string()).unwrap();
}

/// Puts the key of the second circuit in the place of the first one's. The first proof shows it.
#[track_caller]
fn a_forged_key_is_replaced(keys: &Keys, change: impl Fn(&mut Settings)) {
    let [right, other] = &keys.samples[..] else { panic!("two circuits") };
    let server = keys.start(&change);
    let hashes = Keys::hashes(&server);
    let hash = &hashes[&right.name];
    server.finish();
    let (file, mut content) = keys.file(hash);
    let (_, foreign) = keys.file(&hashes[&other.name]);
    for member in ["vk", "vk_hash", "gates", "dyadic_size"] {
        content[member] = foreign[member].clone();
    }
    forge(&file, content);

    let server = keys.start(&change);
    assert_eq!(Keys::sources(&server)[&right.name], "cache", "the file was forged well");
    Keys::assert_proves(&server, right, hash);
    Keys::assert_proves(&server, other, &hashes[&other.name]);
    assert_eq!(Keys::hashes(&server), hashes);
    server.wait_for_log_line("an error names the circuit", |line| {
        line["level"] == "ERROR" && line["circuit"] == *right.name
    });
    server.finish();
    // The file is right again.
    let server = keys.start(&change);
    assert_eq!(Keys::sources(&server)[&right.name], "cache");
    assert_eq!(Keys::hashes(&server), hashes);
    server.finish();
}

#[test]
fn a_key_of_another_circuit_is_replaced() {
    a_forged_key_is_replaced(&Keys::of(2), |_| {});
}

#[test]
fn a_key_of_another_circuit_is_replaced_without_verify() {
    a_forged_key_is_replaced(&Keys::of(2), |s| s.flag("--verify", "off"));
}

#[test]
fn a_key_of_a_larger_circuit_is_replaced() {
    let mut keys = Keys::of(1);
    keys.samples.push(samples::squares(keys.circuits.path(), "larger", 2000));
    a_forged_key_is_replaced(&keys, |_| {});
}

#[test]
fn a_damaged_memory_peak_refuses_no_proof() {
    let keys = Keys::of(1);
    let (sample, is_peak) = (&keys.samples[0], |file: &Path| file.to_string_lossy().contains("-memory-"));
    let server = keys.start(|_| {});
    let hash = Keys::hashes(&server)[&sample.name].clone();
    Keys::assert_proves(&server, sample, &hash);
    let find = || {
        let mut files = fs::read_dir(keys.folder.path()).unwrap().flatten().map(|entry| entry.path());
        files.find(|file| is_peak(file))
    };
    eventually("the peak is measured", || {
        let circuits = server.health().circuits;
        circuits.iter().any(|circuit| circuit.memory_peak_bytes.is_some()).then_some(())
    });
    server.finish();
    let file = find().expect("the peak is stored");
    let mut content: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for peak in content["peak_bytes"].as_object_mut().unwrap().values_mut() {
        *peak = (1_u64 << 43).into();
    }
    fs::write(&file, content.to_string()).unwrap();
    let server = keys.start(|s| s.flag("--memory-max", "2GiB"));
    Keys::assert_proves(&server, sample, &hash);
    server.finish();
}

/// The writable memory of a process.
struct Memory {
    pid: i32,
    file: File,
}

impl Memory {
    fn of(pid: i32) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem")).unwrap();
        Self { pid, file }
    }

    /// Replaces these bytes everywhere, and returns how often. They begin at a multiple of 16, as memory is allocated.
    fn replace(&self, old: &[u8], new: &[u8]) -> usize {
        const ALIGNMENT: usize = 16;
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid)).unwrap();
        let mut replaced = 0;
        for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
            let (range, _) = line.split_once(' ').unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let address = |text: &str| u64::from_str_radix(text, 16).unwrap();
            let (start, end) = (address(start), address(end));
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            // Not every page can be read.
            if self.file.read_exact_at(&mut bytes, start).is_err() {
                continue;
            }
            for at in (0..bytes.len()).step_by(ALIGNMENT) {
                if bytes[at..].starts_with(old) {
                    self.file.write_all_at(new, start + at as u64).unwrap();
                    replaced += 1;
                }
            }
        }
        replaced
    }
}

/// The number of look-ups in the proof cache with this result.
#[track_caller]
fn look_ups(server: &TestServer, result: &str) -> u64 {
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let series = format!("edgeprove_proof_cache_requests_total{{result=\"{result}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series));
    value.unwrap_or_else(|| panic!("no {series}in {text}")).parse().unwrap()
}

#[test]
fn a_cached_proof_that_was_changed_in_memory_is_not_used() {
    let server = TestServer::start(|s| {
        s.flag("--proof-cache", "4");
        let digest = |key: &str| hex::encode(Sha256::digest(key));
        let keys = format!("alice:{},bob:{}", digest("alice's"), digest("bob's"));
        s.environment.push(("EDGEPROVE_API_KEYS".to_owned(), keys));
        s.sample = None;
    });
    if skipped::lacks_memory_of(server.pid()) {
        return;
    }
    let by = |name: &str| -> Response {
        server.prove_request(&samples::range_check().witness).header(headers::API_KEY, name).send()
    };
    let proof_of = |response: &Response| {
        response.assert_proves(samples::range_check(), NoirRecursive);
        response.body.clone()
    };
    let [alices, bobs] = ["alice's", "bob's"].map(|name| proof_of(&by(name)));
    assert_eq!(proof_of(&by("alice's")), alices, "it is cached");
    let memory = Memory::of(server.pid());

    // Bob's proof in the place of Alice's: both are valid proofs of the same statement.
    assert!(memory.replace(&alices, &bobs) > 0, "the cached proof is in memory");
    let second = by("alice's");
    let proved_again = proof_of(&second);
    assert_eq!((look_ups(&server, "tampered"), second.header(headers::PROOF_CACHE)), (1, ""));
    assert!(proved_again != bobs && proved_again != alices, "the proof is another caller's or the old one");

    // One bit of one proof.
    let mut changed = proved_again.clone();
    changed[proved_again.len() / 2] ^= 1;
    assert!(memory.replace(&proved_again, &changed) > 0, "the cached proof is in memory");
    let third = by("alice's");
    assert_ne!(proof_of(&third), changed);
    assert_eq!((look_ups(&server, "tampered"), third.header(headers::PROOF_CACHE)), (2, ""));
    // What was stored again is used again.
    assert_eq!(by("alice's").header(headers::PROOF_CACHE), "hit");
    server.finish();
}
