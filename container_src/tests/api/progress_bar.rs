//! The progress bar of `edgeprove prove`: shown on a terminal, and nowhere else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{
    command_line::WorkFolder,
    support::{processes, samples, skipped, wait},
};

const STAGES: [&str; 4] = ["loading the circuit", "reading the witness", "proving", "writing the proof"];

/// The command line that proves a witness.
fn prove(folder: &WorkFolder, witness: &Path) -> Command {
    let (circuit, out) = (&samples::range_check().circuit, folder.at("out"));
    folder.command(&[&"prove", &"--circuit", circuit, &"--witness", &witness, &"--out", &out])
}

/// Runs a command in a terminal of its own, with this redirection in its shell. Returns what the terminal showed.
#[track_caller]
fn in_terminal(folder: &WorkFolder, command: &Command, redirection: &str) -> (Output, String) {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    // A terminal that nobody looks at has no size.
    let line = format!("stty rows 30 cols 120 && exec {} {redirection}", words.join(" "));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line]).arg(folder.at("typescript"));
    script.env_clear().env("TERM", "xterm").env("PATH", std::env::var_os("PATH").unwrap());
    script.env("SHELL", "/bin/sh");
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = processes::run(&mut script, wait::LIMIT);
    let shown = String::from_utf8(output.stdout.clone()).unwrap();
    folder.assert_tidy();
    (output, shown)
}

/// The lines that a terminal shows in the end, without those that were drawn over.
fn lines(shown: &str) -> Vec<&str> {
    let lines = shown.split('\n').map(|line| line.trim_end_matches('\r'));
    lines.map(|line| line.rsplit("\u{1b}[2K").next().unwrap_or(line)).collect()
}

/// Whether a text has control characters other than the ends of its lines.
fn has_control_characters(text: &str) -> bool {
    text.chars().any(|character| character.is_control() && character != '\n')
}

#[test]
fn a_terminal_shows_each_stage_of_a_proof() {
    if skipped::lacks_program("script") {
        return;
    }
    let folder = WorkFolder::new();
    let (output, shown) = in_terminal(&folder, &prove(&folder, &folder.at("witness.gz")), "");
    assert_eq!(output.status.code(), Some(0), "{shown:?}");
    let mut rest = shown.as_str();
    for (number, stage) in (1..).zip(STAGES) {
        let step = format!("{number}/{} {stage}", STAGES.len());
        let at = rest.find(&step).unwrap_or_else(|| panic!("{step:?} does not follow in {rest:?}"));
        rest = &rest[at..];
    }
    assert!(rest.contains("4/4 proved"), "{rest:?}");
    assert!(shown.contains('\u{1b}'), "the bar is not drawn in place: {shown:?}");
    assert!(shown.contains('█'), "there is no bar: {shown:?}");
    // The bar, the lines of the log and the result do not share a line.
    let lines = lines(shown.trim_end());
    assert!(lines.iter().any(|line| line.contains("INFO")), "there is a log: {shown:?}");
    for line in &lines {
        let (has_bar, has_text) = (line.contains('█'), line.contains("INFO") || line.contains('{'));
        assert!(!(has_bar && has_text), "{line:?} in {shown:?}");
    }
    let last = *lines.last().unwrap();
    let summary: serde_json::Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{last:?}"));
    assert_eq!(summary["verified"], true);
}

#[test]
fn a_failure_on_a_terminal_has_its_own_line() {
    if skipped::lacks_program("script") {
        return;
    }
    let folder = WorkFolder::new();
    let bad = folder.at("bad.gz");
    fs::write(&bad, samples::unsatisfied()).unwrap();
    let (output, shown) = in_terminal(&folder, &prove(&folder, &bad), "");
    assert_eq!(output.status.code(), Some(1), "{shown:?}");
    let last = *lines(shown.trim_end()).last().unwrap();
    assert!(last.starts_with("edgeprove: ") && !has_control_characters(last), "{shown:?}");
    assert!(!shown.contains("proved"), "{shown:?}");
}

#[test]
fn a_pipe_or_a_file_gets_no_progress() {
    let folder = WorkFolder::new();
    let output = processes::run(&mut prove(&folder, &folder.at("witness.gz")), wait::LIMIT);
    assert_eq!(output.status.code(), Some(0));
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    for text in [&stdout, &stderr] {
        assert!(!has_control_characters(text), "{text:?}");
    }
    assert!(STAGES.iter().all(|stage| !stderr.contains(&format!("/4 {stage}"))), "{stderr:?}");
    assert_eq!(stdout.lines().count(), 1, "{stdout:?}");

    if skipped::lacks_program("script") {
        return;
    }
    // Only standard output is a terminal.
    let file: PathBuf = folder.at("stderr");
    let redirection = format!("2>'{}'", file.display());
    let (output, shown) = in_terminal(&folder, &prove(&folder, &folder.at("witness.gz")), &redirection);
    assert_eq!(output.status.code(), Some(0), "{shown:?}");
    assert!(!has_control_characters(&fs::read_to_string(&file).unwrap()));
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}
