//! Tools that exceed a limit, leave something behind, or are cancelled.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use edgeprove_builder::{Isolation, Limits, Required, Sandbox, Tool, ToolError};
use edgeprove_testkit::wait::eventually;

use crate::support::{Fixture, javascript, limits, processes_below, required, shell};

/// The error of a tool.
async fn error_of(fixture: &Fixture, tool: Tool, limits: Limits) -> ToolError {
    let workspace = fixture.sandbox.workspace(None).unwrap();
    fixture.sandbox.run(tool, &workspace, limits).await.unwrap_err()
}

#[tokio::test]
async fn a_tool_gets_a_private_folder_and_nothing_else() {
    let fixture = Fixture::new().await;
    let workspace = fixture.sandbox.workspace(None).unwrap();
    let mode = fs::metadata(workspace.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let env = Tool { name: String::from("env"), program: "/usr/bin/env".into(), arguments: Vec::new() };
    let output = fixture.sandbox.run(env, &workspace, limits()).await.unwrap();
    let mut names: Vec<_> = str::from_utf8(&output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split('=').next().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "PATH", "TMPDIR"]);

    let script = "cat; echo result > file; echo out; echo err >&2; pwd";
    let output = fixture.sandbox.run(shell(script), &workspace, limits()).await.unwrap();
    assert_eq!(output.stdout, format!("out\n{}\n", workspace.path().display()).into_bytes());
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(workspace.read("file", 100).unwrap(), b"result\n");
    drop(workspace);
    fixture.assert_nothing_is_left();
}

#[tokio::test]
async fn a_tool_that_loops_is_killed() {
    let fixture = Fixture::new().await;
    let limits = Limits { time: Duration::from_millis(300), ..limits() };
    let error = error_of(&fixture, shell("trap '' TERM; while :; do :; done"), limits).await;
    assert!(matches!(error, ToolError::TimedOut { .. }), "{error}");
    fixture.assert_nothing_is_left();
}

#[tokio::test]
async fn memory_of_all_processes_is_limited() {
    let fixture = Fixture::new().await;
    let limits = Limits { memory_bytes: 300 << 20, ..limits() };
    let eat = "const eaten = []; for (;;) eaten.push(Buffer.alloc(1 << 20, 1));";
    let error = error_of(&fixture, javascript(eat), limits).await;
    assert!(matches!(error, ToolError::OutOfMemory { .. }), "{error}");
    // A child of a child, in a process group of its own.
    let spawn = format!(
        "require('child_process').spawn(process.execPath, ['-e', {eat:?}], {{detached: true}}); \
         setInterval(() => {{}}, 1000)"
    );
    let error = error_of(&fixture, javascript(&spawn), limits).await;
    assert!(matches!(error, ToolError::OutOfMemory { .. }), "{error}");
    fixture.assert_nothing_is_left();
}

#[tokio::test]
async fn output_without_end_is_not_stored() {
    let fixture = Fixture::new().await;
    let limits = Limits { output_bytes: 100_000, ..limits() };
    for script in ["yes", "yes >&2", "yes & yes >&2"] {
        let error = error_of(&fixture, shell(script), limits).await;
        assert!(matches!(error, ToolError::TooMuchOutput { .. }), "{script}: {error}");
    }
    // As much as is allowed.
    let workspace = fixture.sandbox.workspace(None).unwrap();
    let script = "head -c 100000 /dev/zero";
    let output = fixture.sandbox.run(shell(script), &workspace, limits).await.unwrap();
    assert_eq!(output.stdout.len(), 100_000);
    drop(workspace);
    fixture.assert_nothing_is_left();
}

#[tokio::test]
async fn writing_without_end_is_stopped() {
    let fixture = Fixture::new().await;
    let limits = Limits { folder_bytes: 10 << 20, ..limits() };
    let many = "i=0; while :; do head -c 1000000 /dev/zero > f$i; i=$((i+1)); done";
    // The last one ends with success before it is measured.
    for script in ["cat /dev/zero > file", many, "truncate -s 10485761 file"] {
        let error = error_of(&fixture, shell(script), limits).await;
        assert!(matches!(error, ToolError::TooLarge { .. }), "{script}: {error}");
    }
    fixture.assert_nothing_is_left();
}

#[tokio::test]
async fn limits_of_the_kernel_hold_from_the_start() {
    let limits = Limits { folder_bytes: 10 << 20, ..limits() };
    for fixture in [Fixture::new().await, Fixture::without_namespaces().await] {
        for _ in 0..15 {
            let tool =
                Tool { program: "/bin/cat".into(), arguments: vec!["/proc/self/limits".into()], ..shell("") };
            let workspace = fixture.sandbox.workspace(None).unwrap();
            let printed = fixture.sandbox.run(tool, &workspace, limits).await.unwrap().stdout;
            let printed = str::from_utf8(&printed).unwrap();
            for (limit, value) in
                [("Max file size", "10486272"), ("Max core file size", "0"), ("Max open files", "1024")]
            {
                let line = printed.lines().find_map(|line| line.strip_prefix(limit)).unwrap();
                let both: Vec<_> = line.split_whitespace().take(2).collect();
                assert_eq!(both, [value, value], "{limit}: {printed}");
            }
        }
    }
}

#[tokio::test]
async fn too_many_files_are_stopped() {
    let fixture = Fixture::new().await;
    let limits = Limits { files: 1_000, ..limits() };
    let files = "for (let i = 0; i < 100000; i++) require('fs').writeFileSync('f' + i, '')";
    let nested = "for (;;) { require('fs').mkdirSync('d'); process.chdir('d') }";
    // Below a path that is longer than the system opens.
    let hidden = format!(
        "for (let i = 0; i < 17; i++) {{ require('fs').mkdirSync('{0}'); process.chdir('{0}') }} {files}",
        "d".repeat(255)
    );
    for script in [files, nested, &hidden] {
        let error = error_of(&fixture, javascript(script), limits).await;
        assert!(matches!(error, ToolError::TooManyFiles { .. }), "{script}: {error}");
    }
    fixture.assert_nothing_is_left();
}

#[tokio::test]
async fn too_many_processes_are_stopped() {
    let fixture = Fixture::new().await;
    let limits = Limits { processes: 20, ..limits() };
    let script = "for i in 1 2 3 4 5 6 7 8 9; do (sleep 600 & sleep 600 & sleep 600 & wait) & done; wait";
    let error = error_of(&fixture, shell(script), limits).await;
    assert!(matches!(error, ToolError::TooManyProcesses { .. }), "{error}");
    fixture.assert_nothing_is_left();
}

#[tokio::test]
async fn no_process_outlives_its_tool() {
    let fixture = Fixture::new().await;
    // The second one holds the output open.
    let mut scripts = vec!["sleep 600 > /dev/null 2>&1 &", "sleep 600 &"];
    if fixture.sandbox.isolation().ends_every_process() {
        scripts.push("setsid sh -c 'trap \"\" TERM HUP; sleep 600' > /dev/null 2>&1 &");
        scripts.push("setsid sleep 600 &");
    }
    for script in scripts {
        let workspace = fixture.sandbox.workspace(None).unwrap();
        fixture.sandbox.run(shell(script), &workspace, limits()).await.unwrap();
        drop(workspace);
        fixture.assert_nothing_is_left();
    }
    let fixture = Fixture::without_namespaces().await;
    for script in ["sleep 600 > /dev/null 2>&1 &", "sleep 600 &"] {
        let workspace = fixture.sandbox.workspace(None).unwrap();
        fixture.sandbox.run(shell(script), &workspace, limits()).await.unwrap();
        drop(workspace);
        fixture.assert_nothing_is_left();
    }
    // Processes in groups of their own, which descend from the tool when it exceeds a limit.
    let script = "setsid sh -c 'setsid sleep 600 & wait' > /dev/null 2>&1 & yes";
    let error = error_of(&fixture, shell(script), limits()).await;
    assert!(matches!(error, ToolError::TooMuchOutput { .. }), "{error}");
    fixture.assert_nothing_is_left();
}

#[tokio::test]
async fn a_failure_has_its_message_without_paths() {
    let fixture = Fixture::new().await;
    let script = "echo \"cannot read /run/secrets/key.pem or $PWD/src/main.nr:3\" >&2; exit 3";
    let error = error_of(&fixture, shell(script), limits()).await;
    assert_eq!(error.to_string(), "the shell failed with exit code 3: cannot read … or src/main.nr:3");
    // The first process of a namespace cannot kill itself.
    let fixture = Fixture::without_namespaces().await;
    let error = error_of(&fixture, shell("kill -11 $$; sleep 600"), limits()).await;
    assert_eq!(error.to_string(), "the shell was killed by signal 11: it printed nothing");
}

#[tokio::test]
async fn a_tool_reaches_no_network() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!(
        "require('net').connect({port}, '127.0.0.1').on('connect', () => process.exit(0)) \
         .on('error', (error) => {{ console.error(error.code); process.exit(1) }})"
    );
    let fixture = Fixture::new().await;
    let workspace = fixture.sandbox.workspace(None).unwrap();
    let result = fixture.sandbox.run(javascript(&connect), &workspace, limits()).await;
    if required() == Required::NoNetwork || fixture.sandbox.isolation().blocks_network() {
        assert!(matches!(result, Err(ToolError::Failed { .. })), "{result:?}");
        assert!(listener.accept().is_err());
    } else {
        drop((result, listener.accept()));
    }
    // Without namespaces the same tool connects.
    let fixture = Fixture::without_namespaces().await;
    assert!(!fixture.sandbox.isolation().blocks_network());
    let workspace = fixture.sandbox.workspace(None).unwrap();
    fixture.sandbox.run(javascript(&connect), &workspace, limits()).await.unwrap();
    assert!(listener.accept().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn cancellation_leaves_no_process_and_no_file() {
    for fixture in [Fixture::new().await, Fixture::without_namespaces().await] {
        let workspace = fixture.sandbox.workspace(None).unwrap();
        let path = workspace.path().to_owned();
        let script = "sleep 600 & echo 1 > file; while :; do echo 2 > other; done";
        let sandbox = fixture.sandbox.clone();
        let started = path.join("other");
        let started = tokio::task::spawn_blocking(move || {
            eventually("the tool has started", || started.exists().then_some(()));
        });
        let run = async move { sandbox.run(shell(script), &workspace, limits()).await };
        tokio::select! {
            result = run => panic!("{result:?}"),
            started = started => started.unwrap(),
        }
        fixture.assert_nothing_is_left();
        assert!(!path.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_kills_its_tools() {
    let fixture = Fixture::new().await;
    let workspace = fixture.sandbox.workspace(None).unwrap();
    let path = fixture.spool.path().to_owned();
    let stop = async {
        let started =
            move || eventually("the tool runs", || (!processes_below(&path).is_empty()).then_some(()));
        tokio::task::spawn_blocking(started).await.unwrap();
        fixture.supervisor.stop().await;
    };
    let run = fixture.sandbox.run(shell("sleep 600 & wait"), &workspace, limits());
    let (result, ()) = tokio::join!(run, stop);
    assert!(matches!(result, Err(ToolError::Stopping)), "{result:?}");
    drop(workspace);
    fixture.assert_nothing_is_left();
}

/// The folder in which the process that is killed opens its spool.
const HELPER_FOLDER: &str = "EDGEPROVE_TEST_KILLED_SERVER";

#[tokio::test]
#[ignore = "another test starts it as a process and kills it"]
async fn helper_that_runs_tools_until_it_is_killed() {
    let Some(folder) = std::env::var_os(HELPER_FOLDER) else { return };
    let fixture = Fixture::open(tempfile::tempdir().unwrap(), Path::new(&folder)).await;
    let (inner, outer) =
        (fixture.sandbox.clone(), fixture.sandbox.clone().with_isolation(Isolation::ProcessGroup));
    let run = async |sandbox: Sandbox| {
        let workspace = sandbox.workspace(None).unwrap();
        let script = "trap '' TERM HUP PIPE; sleep 600 & while :; do echo 1 > runs; sleep 1; done";
        sandbox.run(shell(script), &workspace, limits()).await.unwrap();
    };
    tokio::join!(run(inner), run(outer));
}

/// A process that does not outlive its test.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_killed_server_leaves_no_tool() {
    let home = tempfile::tempdir().unwrap();
    let helper = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "sandbox::helper_that_runs_tools_until_it_is_killed"])
        .env(HELPER_FOLDER, home.path())
        .stdout(Stdio::null())
        .spawn();
    let helper = Helper(helper.unwrap());
    let spool = home.path().join("spool");
    let below = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    eventually("both tools run", || {
        let folders = below(&spool).flat_map(|server| below(&server).collect::<Vec<_>>());
        (folders.filter(|folder| folder.join("runs").exists()).count() == 2).then_some(())
    });
    // SIGKILL.
    drop(helper);
    eventually("no tool is left", || processes_below(&spool).is_empty().then_some(()));
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let fixture = Fixture::new().await;
    let tool = Tool { program: "/nowhere/circom".into(), ..shell("") };
    let error = error_of(&fixture, tool, limits()).await;
    assert!(matches!(error, ToolError::NotFound { .. }), "{error}");
    assert!(!error.to_string().contains("nowhere"), "{error}");
}
