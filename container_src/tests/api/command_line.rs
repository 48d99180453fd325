//! The commands other than `serve`: they read and write files, and end with an exit code and a message.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use edgeprove_protocol::Target::{self, Evm, NoirRecursive};
use edgeprove_prover::barretenberg::version::{BB_VERSION, NOIR_VERSION};
use rustix::process::Signal;

use crate::support::{
    Sample, TestServer, bb, eventually, paths,
    processes::{self, Process},
    reserved_port::ReservedPort,
    samples, wait,
};

/// The result of a command.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    #[track_caller]
    fn assert_success(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    #[track_caller]
    fn assert_failure(self, code: i32, part: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(part), "{part:?} is not in: {}", self.stderr);
        assert!(
            self.stderr.lines().last().unwrap().starts_with("edgeprove: ") || code == 64,
            "{}",
            self.stderr
        );
        assert!(!self.stderr.contains("panic"), "{}", self.stderr);
        assert!(!samples::contains_secret(self.stderr.as_bytes()), "{}", self.stderr);
    }
}

/// The folder that commands work in. It is checked for what they leave behind.
pub(super) struct WorkFolder(tempfile::TempDir);

impl WorkFolder {
    pub(super) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir(folder.at("crs")).unwrap();
        for name in ["bn254_g1.dat", "bn254_g2.dat"] {
            symlink(paths::crs().join(name), folder.at("crs").join(name)).unwrap();
        }
        fs::write(folder.at("witness.gz"), &samples::range_check().witness).unwrap();
        folder
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn command(&self, arguments: &[&dyn AsRef<OsStr>]) -> Command {
        let mut command = Command::new(paths::edgeprove());
        command
            .args(arguments)
            .env_clear()
            .env("BB_PATH", paths::bb())
            .env("CRS_PATH", self.at("crs"))
            .env("EDGEPROVE_CACHE_DIR", paths::shared_keys())
            .env("EDGEPROVE_SPOOL_DIR", self.at("spool"))
            .env("EDGEPROVE_CORES", "2");
        command
    }

    /// Runs a command to its end, and checks that it leaves neither a process nor a witness.
    #[track_caller]
    fn run(&self, arguments: &[&dyn AsRef<OsStr>]) -> Ended {
        self.run_command(&mut self.command(arguments))
    }

    #[track_caller]
    fn run_command(&self, command: &mut Command) -> Ended {
        let output = processes::run(command, wait::LIMIT);
        self.assert_tidy();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    pub(super) fn assert_tidy(&self) {
        // The command itself had this CRS too, but it has ended.
        processes::assert_none_with_crs(&self.at("crs"));
        let left = fs::read_dir(self.at("spool")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "something is left in the spool");
    }

    /// Runs `edgeprove prove` for `range_check`.
    #[track_caller]
    fn prove(&self, witness: &Path, target: Target) -> Ended {
        let circuit = &samples::range_check().circuit;
        let (out, target) = (self.at("out"), target.as_str());
        self.run(&[
            &"prove",
            &"--circuit",
            circuit,
            &"--witness",
            &witness,
            &"--out",
            &out,
            &"--target",
            &target,
        ])
    }

    #[track_caller]
    fn assert_proof_written(&self, sample: &Sample, target: Target) {
        let read = |name: &str| fs::read(self.at("out").join(name)).unwrap();
        assert_eq!(read("public_inputs"), sample.public_inputs.as_flattened());
        assert!(bb::verifies(&sample.circuit, target, &read("proof"), &read("public_inputs")));
        assert_eq!(hex::encode(read("vk_hash")), bb::verification_key_hash(&sample.circuit, target));
    }
}

#[test]
fn prove_writes_what_bb_and_verify_accept() {
    let folder = WorkFolder::new();
    for target in [NoirRecursive, Evm] {
        let line = folder.prove(&folder.at("witness.gz"), target).assert_success();
        let summary: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(summary["target"], target.as_str());
        assert_eq!(summary["verified"], true);
        assert!(summary["timings"]["prove_ms"].as_f64().unwrap() > 0.0);
        folder.assert_proof_written(samples::range_check(), target);
        let verdict = folder.run(&[&"verify", &folder.at("out"), &"--target", &target.as_str()]);
        assert_eq!(verdict.assert_success(), "valid\n");
    }
}

#[test]
fn prove_reads_a_witness_from_standard_input() {
    let folder = WorkFolder::new();
    let (circuit, out) = (&samples::range_check().circuit, folder.at("out"));
    let arguments: [&dyn AsRef<OsStr>; 7] =
        [&"prove", &"--circuit", circuit, &"--witness", &"-", &"--out", &out];
    let mut command = folder.command(&arguments);
    command.stdin(File::open(folder.at("witness.gz")).unwrap()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    folder.assert_tidy();
    folder.assert_proof_written(samples::range_check(), NoirRecursive);
}

#[test]
fn prove_works_with_one_bb_for_each_proof() {
    let folder = WorkFolder::new();
    let (circuit, witness, out) =
        (&samples::range_check().circuit, folder.at("witness.gz"), folder.at("out"));
    let arguments: [&dyn AsRef<OsStr>; 9] =
        [&"prove", &"--prover", &"process", &"--circuit", circuit, &"--witness", &witness, &"--out", &out];
    folder.run(&arguments).assert_success();
    folder.assert_proof_written(samples::range_check(), NoirRecursive);
}

#[test]
fn prove_reports_an_invalid_witness() {
    let folder = WorkFolder::new();
    let good = &samples::range_check().witness;
    let file = folder.at("bad.gz");
    for (body, part) in [
        (Vec::new(), ""),
        (b"hello".to_vec(), "gzip"),
        (good[..good.len() - 1].to_vec(), ""),
        (samples::gzip(b"hello"), "text"),
        (samples::altered(good, 7, 1), "6"),
        (samples::unsatisfied(), "constraint"),
        (samples::gzip_of_zeros(1 << 24), "bytes"),
    ] {
        fs::write(&file, body).unwrap();
        folder.prove(&file, NoirRecursive).assert_failure(1, part);
        assert!(!folder.at("out").exists(), "a proof was written");
    }
    for missing in [folder.at("nothing.gz"), folder.0.path().to_owned()] {
        let part = format!("the witness {} cannot be read", missing.display());
        folder.prove(&missing, NoirRecursive).assert_failure(66, &part);
    }
}

#[test]
fn a_missing_witness_is_found_before_bb_is_run() {
    let folder = WorkFolder::new();
    let (circuit, out) = (&samples::range_check().circuit, folder.at("out"));
    let arguments: [&dyn AsRef<OsStr>; 7] =
        [&"prove", &"--circuit", circuit, &"-w", &folder.at("nothing.gz"), &"-o", &out];
    let mut command = folder.command(&arguments);
    folder.run_command(command.env("BB_PATH", "/nonexistent/bb")).assert_failure(66, "witness");
}

#[test]
fn errors_of_prove_are_about_a_file() {
    let folder = WorkFolder::new();
    let good = &samples::range_check().witness;
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4].fill(0xff);
    for body in [Vec::new(), b"{}".to_vec(), b"hello".to_vec(), good[..3].to_vec(), damaged] {
        fs::write(folder.at("bad.gz"), body).unwrap();
        let ended = folder.prove(&folder.at("bad.gz"), NoirRecursive);
        for word in ["body", "send", "curl", "upload"] {
            assert!(!ended.stderr.contains(word), "{word}: {}", ended.stderr);
        }
        ended.assert_failure(1, "bad.gz");
    }
}

#[test]
fn prove_replaces_a_link_and_not_its_target() {
    let folder = WorkFolder::new();
    let (out, target) = (folder.at("out"), folder.at("target"));
    fs::create_dir(&out).unwrap();
    fs::write(&target, "unchanged").unwrap();
    for name in ["proof", "vk_hash"] {
        symlink(&target, out.join(name)).unwrap();
    }
    folder.prove(&folder.at("witness.gz"), NoirRecursive).assert_success();
    folder.assert_proof_written(samples::range_check(), NoirRecursive);
    assert_eq!(fs::read_to_string(&target).unwrap(), "unchanged");
    let mut names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["proof", "public_inputs", "vk", "vk_hash"]);
}

#[test]
fn prove_reports_an_invalid_circuit() {
    let folder = WorkFolder::new();
    let (bad, witness, out) = (folder.at("bad.json"), folder.at("witness.gz"), folder.at("out"));
    let prove =
        |circuit: &Path| folder.run(&[&"prove", &"--circuit", &circuit, &"-w", &witness, &"-o", &out]);
    fs::write(&bad, "{}").unwrap();
    prove(&bad).assert_failure(1, "circuit");
    prove(&folder.at("missing.json")).assert_failure(64, "missing.json");
    folder.run(&[&"prove", &"-w", &witness, &"-o", &out]).assert_failure(64, "--circuit");
}

#[test]
fn prove_reports_an_output_it_cannot_write() {
    let folder = WorkFolder::new();
    let (circuit, witness) = (&samples::range_check().circuit, folder.at("witness.gz"));
    let under_a_file = witness.join("out");
    let arguments: [&dyn AsRef<OsStr>; 7] =
        [&"prove", &"--circuit", circuit, &"-w", &witness, &"-o", &under_a_file];
    folder.run(&arguments).assert_failure(1, "witness.gz/out");
}

#[test]
fn an_interrupted_prove_leaves_no_witness_behind() {
    let circuit = &samples::range_check().circuit;
    for signal in [Signal::INT, Signal::TERM] {
        // The test cannot see when bb works. It tries one moment after the other, until a proof was interrupted.
        let interrupted = (0..200_u64).map(Duration::from_millis).step_by(3).any(|pause| {
            let folder = WorkFolder::new();
            let (witness, out) = (folder.at("witness.gz"), folder.at("out"));
            let arguments: [&dyn AsRef<OsStr>; 7] =
                [&"prove", &"--circuit", circuit, &"-w", &witness, &"-o", &out];
            let child =
                folder.command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let own = i32::try_from(child.id()).unwrap();
            eventually("the witness is in the spool, or the proof is written already", || {
                let spooled = fs::read_dir(folder.at("spool")).into_iter().flatten().flatten();
                let mut files =
                    spooled.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
                let witness = files.any(|file| file.file_name().to_string_lossy().ends_with(".gz"));
                (witness || out.exists()).then_some(())
            });
            thread::sleep(pause);
            let mut others =
                processes::with_crs(&folder.at("crs")).into_iter().filter(|process| process.pid != own);
            let was_proving = others.any(|process| process.state == 'R');
            Process::find(own).unwrap().signal(signal);
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            folder.assert_tidy();
            assert_eq!(out.join("vk_hash").exists(), output.status.success(), "{stderr}");
            was_proving && !output.status.success()
        });
        assert!(interrupted, "no proof was interrupted");
    }
}

#[test]
fn verify_reports_why_a_proof_does_not_verify() {
    let folder = WorkFolder::new();
    folder.prove(&folder.at("witness.gz"), NoirRecursive).assert_success();
    let out = folder.at("out");
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.at(name), bytes).unwrap();
        folder.at(name)
    };
    let invalid = |arguments: &[&dyn AsRef<OsStr>], part: &str| {
        let arguments: Vec<_> =
            [&"verify" as &dyn AsRef<OsStr>, &out].iter().chain(arguments).copied().collect();
        let ended = folder.run(&arguments);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stdout.starts_with("invalid: ") && ended.stdout.contains(part), "{part:?}: {ended:?}");
    };
    let proof = fs::read(out.join("proof")).unwrap();
    let mut flipped = proof.clone();
    flipped[proof.len() / 2 + 31] ^= 1;
    invalid(&[&"--proof", &write("flipped", &flipped)], "the proof or a public input was changed");
    let [min, max] = samples::range_check().public_inputs[..] else { unreachable!("two public inputs") };
    let inputs = write("inputs", &[max, min].concat());
    invalid(&[&"--public-inputs", &inputs], "public input was changed");
    invalid(&[&"--public-inputs", &write("one", &min)], "2 public inputs, and there are 1");
    invalid(&[&"--proof", &write("cut", &proof[32..])], &format!("{} fields", proof.len() / 32 - 1));
    invalid(&[&"--target", &"evm"], "--target is evm");

    let square = samples::square(folder.0.path(), "square", 1);
    let key = write("square-vk", &bb::verification_key_bytes(&square.circuit, NoirRecursive));
    invalid(&[&"--vk", &key], "another circuit");
}

#[test]
fn verify_has_a_status_for_each_kind_of_bad_input() {
    let folder = WorkFolder::new();
    folder.prove(&folder.at("witness.gz"), NoirRecursive).assert_success();
    let out = folder.at("out");
    let files = [out.join("proof"), out.join("public_inputs"), out.join("vk")];
    assert_eq!(
        folder.run(&[&"verify", &"-p", &files[0], &"-i", &files[1], &"-k", &files[2]]).assert_success(),
        "valid\n"
    );
    folder.run(&[&"verify"]).assert_failure(64, "proof");
    folder.run(&[&"verify", &out, &"--target", &"solidity"]).assert_failure(64, "--target");
    folder.run(&[&"verify", &out, &"--vk", &folder.at("nothing")]).assert_failure(66, "nothing");
    folder.run(&[&"verify", &folder.at("nothing")]).assert_failure(66, "nothing");
    folder.run(&[&"verify", &folder.at("crs")]).assert_failure(66, "proof");

    let proof = fs::read(out.join("proof")).unwrap();
    fs::write(folder.at("truncated"), &proof[1..]).unwrap();
    folder.run(&[&"verify", &out, &"--proof", &folder.at("truncated")]).assert_failure(65, "32");
    let large = File::create(folder.at("large")).unwrap();
    large.set_len(1 << 30).unwrap();
    folder.run(&[&"verify", &out, &"--proof", &folder.at("large")]).assert_failure(65, "large");
    folder.run(&[&"verify", &folder.at("truncated")]).assert_failure(65, "tar file");
    for key in [vec![7; 1888], vec![7; 100], fs::read(&files[0]).unwrap()] {
        fs::write(folder.at("no-key"), key).unwrap();
        folder.run(&[&"verify", &out, &"--vk", &folder.at("no-key")]).assert_failure(65, "verification key");
    }
    // Points that are not on the curve: bb refuses the key, and does not hang.
    let mut key = fs::read(&files[2]).unwrap();
    key[96..].fill(1);
    fs::write(folder.at("no-points"), key).unwrap();
    let ended = folder.run(&[&"verify", &out, &"--vk", &folder.at("no-points")]);
    assert!(matches!(ended.code, Some(1 | 65)), "{ended:?}");
}

#[test]
fn warm_fills_the_cache_and_fails_if_any_circuit_does() {
    let folder = WorkFolder::new();
    let keys = folder.at("keys");
    folder
        .run(&[&"warm", &"--circuit", &samples::range_check().circuit, &"--cache-dir", &keys])
        .assert_success();
    let cached = fs::read_dir(&keys).unwrap().flatten();
    let cached = cached.filter(|entry| entry.file_name() != "crs-checked");
    assert_eq!(cached.count(), 2, "one key per target");
    let server = TestServer::start(|s| s.keys.clone_from(&keys));
    assert!(server.log_lines().iter().all(|line| line["vk_from"] != "prover"), "bb computed a key");
    drop(server);

    fs::create_dir(folder.at("circuits")).unwrap();
    fs::write(folder.at("circuits").join("bad.json"), "{}").unwrap();
    let arguments: [&dyn AsRef<OsStr>; 5] =
        [&"warm", &"--circuit", &samples::range_check().circuit, &"--circuits", &folder.at("circuits")];
    folder.run(&arguments).assert_failure(1, "1 of 2");
}

#[test]
fn healthcheck_reports_whether_a_server_is_ready() {
    let server = TestServer::start_default();
    let folder = WorkFolder::new();
    let check = |address: &str| folder.run(&[&"healthcheck", &"--listen", &address]);
    let address = server.address().to_string();
    check(&address).assert_success();
    check(&format!("0.0.0.0:{}", server.address().port())).assert_success();
    server.finish();
    let port = ReservedPort::new();
    check(&port.address().to_string()).assert_failure(1, "");
    check("nowhere").assert_failure(64, "nowhere");

    fs::write(folder.at("bad.json"), "{}").unwrap();
    let unready =
        TestServer::start(|s| (s.circuit, s.wait_until_ready) = (Some(folder.at("bad.json")), false));
    check(&unready.address().to_string()).assert_failure(1, "503");
}

#[test]
fn version_and_help_show_versions_and_flags() {
    let folder = WorkFolder::new();
    let version = folder.run(&[&"--version"]).assert_success();
    assert!(version.starts_with("edgeprove "), "{version}");
    assert!(
        version.contains(&format!("bb {BB_VERSION}")) && version.contains(&format!("Noir {NOIR_VERSION}"))
    );
    let help = folder.run(&[&"serve", &"--help"]).assert_success();
    for flag in ["--listen", "--circuit", "--circuits", "--cors-origin", "--prover", "--spool-dir", "--drain"]
    {
        let variable = format!("EDGEPROVE_{}", flag[2..].to_ascii_uppercase().replace('-', "_"));
        assert!(help.contains(flag) && help.contains(&variable), "{flag}");
    }
    let typo = folder.run(&[&"serve", &"--lisen", &"x"]);
    assert_eq!(typo.code, Some(2));
    assert!(typo.stderr.contains("--listen"), "the message suggests the flag: {}", typo.stderr);
}
