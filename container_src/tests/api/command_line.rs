//! The commands besides `serve`: files in, files out, an exit status and a sentence.

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
    Sample, TestServer, bb, eventually, places,
    processes::{self, Process},
    samples,
};

const LIMIT: Duration = Duration::from_mins(1);

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    #[track_caller]
    fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    #[track_caller]
    fn badly(self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(words), "{words:?} is not in: {}", self.stderr);
        assert!(
            self.stderr.lines().last().unwrap().starts_with("edgeprove: ") || code == 64,
            "{}",
            self.stderr
        );
        assert!(!self.stderr.contains("panic"), "{}", self.stderr);
        assert!(!samples::shows_secret(self.stderr.as_bytes()), "{}", self.stderr);
    }
}

/// Where commands are typed: folders of their own, and an eye on what is left behind.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::create_dir(desk.at("crs")).unwrap();
        for name in ["bn254_g1.dat", "bn254_g2.dat"] {
            symlink(places::crs().join(name), desk.at("crs").join(name)).unwrap();
        }
        fs::write(desk.at("witness.gz"), &samples::range().witness).unwrap();
        desk
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, words: &[&dyn AsRef<OsStr>]) -> Command {
        let mut command = Command::new(places::edgeprove());
        command
            .args(words)
            .env_clear()
            .env("BB_PATH", places::bb())
            .env("CRS_PATH", self.at("crs"))
            .env("EDGEPROVE_CACHE_DIR", places::shared_keys())
            .env("EDGEPROVE_SPOOL_DIR", self.at("spool"))
            .env("EDGEPROVE_CORES", "2");
        command
    }

    /// Runs a command to its end; it leaves no child and no witness.
    #[track_caller]
    fn run(&self, words: &[&dyn AsRef<OsStr>]) -> Ended {
        self.run_command(&mut self.command(words))
    }

    #[track_caller]
    fn run_command(&self, command: &mut Command) -> Ended {
        let output = processes::run(command, LIMIT);
        self.assert_tidy();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    fn assert_tidy(&self) {
        // The command itself has the folder in its environment too, but has ended.
        assert_eq!(processes::with_crs(&self.at("crs")), [], "a child is left");
        let left = fs::read_dir(self.at("spool")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "something is left in the spool");
    }

    /// `edgeprove prove` of a sample.
    #[track_caller]
    fn prove(&self, witness: &Path, target: Target) -> Ended {
        let circuit = &samples::range().circuit;
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
    fn holds_a_proof_of(&self, sample: &Sample, target: Target) {
        let read = |name: &str| fs::read(self.at("out").join(name)).unwrap();
        assert_eq!(read("public_inputs"), sample.public_inputs.as_flattened());
        assert!(bb::verifies(&sample.circuit, target, &read("proof"), &read("public_inputs")));
        assert_eq!(hex::encode(read("vk_hash")), bb::verification_key_hash(&sample.circuit, target));
    }
}

#[test]
fn prove_writes_what_bb_and_verify_accept() {
    let desk = Desk::new();
    for target in [NoirRecursive, Evm] {
        let line = desk.prove(&desk.at("witness.gz"), target).well();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(told["target"], target.as_str());
        assert_eq!(told["verified"], true);
        assert!(told["timings"]["prove_ms"].as_f64().unwrap() > 0.0);
        desk.holds_a_proof_of(samples::range(), target);
        let verdict = desk.run(&[&"verify", &desk.at("out"), &"--target", &target.as_str()]);
        assert_eq!(verdict.well(), "valid\n");
    }
}

#[test]
fn prove_reads_a_witness_from_standard_input() {
    let desk = Desk::new();
    let (circuit, out) = (&samples::range().circuit, desk.at("out"));
    let words: [&dyn AsRef<OsStr>; 7] = [&"prove", &"--circuit", circuit, &"--witness", &"-", &"--out", &out];
    let mut command = desk.command(&words);
    command.stdin(File::open(desk.at("witness.gz")).unwrap()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    desk.assert_tidy();
    desk.holds_a_proof_of(samples::range(), NoirRecursive);
}

#[test]
fn prove_works_with_one_bb_for_each_proof() {
    let desk = Desk::new();
    let (circuit, witness, out) = (&samples::range().circuit, desk.at("witness.gz"), desk.at("out"));
    let words: [&dyn AsRef<OsStr>; 9] =
        [&"prove", &"--prover", &"process", &"--circuit", circuit, &"--witness", &witness, &"--out", &out];
    desk.run(&words).well();
    desk.holds_a_proof_of(samples::range(), NoirRecursive);
}

#[test]
fn prove_says_what_is_wrong_with_a_witness() {
    let desk = Desk::new();
    let good = &samples::range().witness;
    let file = desk.at("bad.gz");
    for (body, words) in [
        (Vec::new(), "no bytes"),
        (b"hello".to_vec(), "does not begin as gzip"),
        (good[..good.len() - 1].to_vec(), "cut short"),
        (samples::gzip(b"hello"), "is text"),
        (samples::altered(good, 7, 1), "the last witness of this circuit is number 6"),
        (samples::unsatisfied(), "does not satisfy the circuit's constraints"),
        (samples::gzip_of_zeros(1 << 24), "decompresses to more than"),
    ] {
        fs::write(&file, body).unwrap();
        desk.prove(&file, NoirRecursive).badly(1, words);
        assert!(!desk.at("out").exists(), "a proof was written");
    }
    desk.prove(&desk.at("nothing.gz"), NoirRecursive).badly(1, "nothing.gz: No such file");
    desk.prove(desk.0.path(), NoirRecursive).badly(1, "");
}

#[test]
fn prove_says_what_is_wrong_with_a_circuit() {
    let desk = Desk::new();
    let (bad, witness, out) = (desk.at("bad.json"), desk.at("witness.gz"), desk.at("out"));
    let prove = |circuit: &Path| desk.run(&[&"prove", &"--circuit", &circuit, &"-w", &witness, &"-o", &out]);
    fs::write(&bad, "{}").unwrap();
    prove(&bad).badly(1, "not a compiled Noir circuit");
    prove(&desk.at("missing.json")).badly(64, "there is no file");
    desk.run(&[&"prove", &"-w", &witness, &"-o", &out]).badly(64, "name the compiled circuit");
}

#[test]
fn prove_says_where_it_could_not_write() {
    let desk = Desk::new();
    let (circuit, witness) = (&samples::range().circuit, desk.at("witness.gz"));
    let under_a_file = witness.join("out");
    let words: [&dyn AsRef<OsStr>; 7] =
        [&"prove", &"--circuit", circuit, &"-w", &witness, &"-o", &under_a_file];
    desk.run(&words).badly(1, "witness.gz/out: Not a directory");
}

#[test]
fn interrupted_midway_prove_leaves_no_witness_behind() {
    let circuit = &samples::range().circuit;
    for signal in [Signal::INT, Signal::TERM] {
        // When bb is at work is for nobody outside to see, so every moment is tried until one was the right one.
        let midway = (0..200_u64).map(Duration::from_millis).step_by(3).any(|pause| {
            let desk = Desk::new();
            let (witness, out) = (desk.at("witness.gz"), desk.at("out"));
            let words: [&dyn AsRef<OsStr>; 7] =
                [&"prove", &"--circuit", circuit, &"-w", &witness, &"-o", &out];
            let child = desk.command(&words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let own = i32::try_from(child.id()).unwrap();
            eventually("the witness is in the spool, or the proof is made already", || {
                let spooled = fs::read_dir(desk.at("spool")).into_iter().flatten().flatten();
                let mut files =
                    spooled.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
                let witness = files.any(|file| file.file_name().to_string_lossy().ends_with(".gz"));
                (witness || out.exists()).then_some(())
            });
            thread::sleep(pause);
            Process::look(own).unwrap().signal(signal);
            let output = child.wait_with_output().unwrap();
            let words = String::from_utf8(output.stderr).unwrap();
            desk.assert_tidy();
            assert_eq!(words.contains("interrupted"), !output.status.success(), "{words}");
            assert_eq!(out.join("vk_hash").exists(), output.status.success(), "{words}");
            words.contains("a proof was stopped")
        });
        assert!(midway, "no proof was at work at any moment");
    }
}

#[test]
fn verify_tells_a_wrong_proof_from_files_that_are_none() {
    let desk = Desk::new();
    desk.prove(&desk.at("witness.gz"), NoirRecursive).well();
    let out = desk.at("out");
    let invalid =
        |ended: Ended| assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "invalid\n"), "{ended:?}");

    let proof = fs::read(out.join("proof")).unwrap();
    let mut flipped = proof.clone();
    flipped[proof.len() / 2] ^= 1;
    fs::write(desk.at("flipped"), flipped).unwrap();
    invalid(desk.run(&[&"verify", &out, &"--proof", &desk.at("flipped")]));
    fs::write(
        desk.at("inputs"),
        [samples::range().public_inputs[1], samples::range().public_inputs[0]].concat(),
    )
    .unwrap();
    invalid(desk.run(&[&"verify", &out, &"--public-inputs", &desk.at("inputs")]));
    invalid(desk.run(&[&"verify", &out, &"--target", &"evm"]));
    let files = [out.join("proof"), out.join("public_inputs"), out.join("vk")];
    assert_eq!(
        desk.run(&[&"verify", &"-p", &files[0], &"-i", &files[1], &"-k", &files[2]]).well(),
        "valid\n"
    );

    fs::write(desk.at("odd"), &proof[1..]).unwrap();
    desk.run(&[&"verify", &out, &"--proof", &desk.at("odd")]).badly(1, "no number of 32-byte fields");
    desk.run(&[&"verify", &out, &"--vk", &desk.at("nothing")]).badly(1, "cannot be read: No such file");
    desk.run(&[&"verify"]).badly(1, "name the proof file");
    let large = File::create(desk.at("large")).unwrap();
    large.set_len(1 << 30).unwrap();
    desk.run(&[&"verify", &out, &"--proof", &desk.at("large")]).badly(1, "larger than any proof");
    // What is no key of bb is refused and does not hang.
    fs::write(desk.at("no-key"), [7; 1888]).unwrap();
    let ended = desk.run(&[&"verify", &out, &"--vk", &desk.at("no-key")]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

#[test]
fn warm_fills_the_cache_and_fails_if_any_circuit_does() {
    let desk = Desk::new();
    let keys = desk.at("keys");
    desk.run(&[&"warm", &"--circuit", &samples::range().circuit, &"--cache-dir", &keys]).well();
    assert_eq!(fs::read_dir(&keys).unwrap().count(), 2, "a key for each verifier");
    let server = TestServer::start(|s| s.keys.clone_from(&keys));
    assert!(!server.log().contains("\"vk_from\":\"prover\""));
    drop(server);

    fs::create_dir(desk.at("circuits")).unwrap();
    fs::write(desk.at("circuits").join("bad.json"), "{}").unwrap();
    let words: [&dyn AsRef<OsStr>; 5] =
        [&"warm", &"--circuit", &samples::range().circuit, &"--circuits", &desk.at("circuits")];
    desk.run(&words).badly(1, "1 of 2 circuits failed");
}

#[test]
fn healthcheck_says_whether_a_server_is_ready() {
    let server = TestServer::plain();
    let desk = Desk::new();
    let check = |address: &str| desk.run(&[&"healthcheck", &"--listen", &address]);
    let address = server.address().to_string();
    check(&address).well();
    check(&format!("0.0.0.0:{}", server.address().port())).well();
    server.finish();
    // Nobody listens there: the port of a server that ended may be another's by now.
    check("127.0.0.1:1").badly(1, "refused");
    check("nowhere").badly(64, "is not an address");

    fs::write(desk.at("bad.json"), "{}").unwrap();
    let unready = TestServer::start(|s| (s.circuit, s.wait_until_ready) = (Some(desk.at("bad.json")), false));
    check(&unready.address().to_string()).badly(1, "503");
}

#[test]
fn version_and_help_name_what_it_was_built_for() {
    let desk = Desk::new();
    let version = desk.run(&[&"--version"]).well();
    assert!(version.starts_with("edgeprove "), "{version}");
    assert!(
        version.contains(&format!("bb {BB_VERSION}")) && version.contains(&format!("Noir {NOIR_VERSION}"))
    );
    let help = desk.run(&[&"serve", &"--help"]).well();
    for flag in ["--listen", "--circuit", "--circuits", "--cors-origin", "--prover", "--spool-dir", "--drain"]
    {
        let variable = format!("EDGEPROVE_{}", flag[2..].to_ascii_uppercase().replace('-', "_"));
        assert!(help.contains(flag) && help.contains(&variable), "{flag}");
    }
    let typo = desk.run(&[&"serve", &"--lisen", &"x"]);
    assert_eq!(typo.code, Some(2));
    assert!(typo.stderr.contains("--listen"), "it says what was meant: {}", typo.stderr);
}
