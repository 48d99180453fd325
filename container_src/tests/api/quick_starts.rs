//! The quick starts of docs/QUICKSTART.md and the files in `deploy/` that they install.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use edgeprove_testkit::{
    paths,
    processes::{self, Process},
    reserved_port::ReservedPort,
    skipped,
};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    jobs::JobServer,
    support::{eventually, samples},
};

const LIMIT: Duration = Duration::from_mins(2);

/// A file of the repository.
#[track_caller]
fn text(name: &str) -> String {
    fs::read_to_string(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(name)).unwrap()
}

/// The commands of a section of the document.
#[track_caller]
fn commands(heading: &str) -> Vec<String> {
    let document = text("docs/QUICKSTART.md");
    let (_, section) = document.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// What a shell prints for commands, which must succeed. `edgeprove` is the server of this build.
#[track_caller]
fn shell(script: &str, folder: &Path) -> String {
    let server = paths::edgeprove();
    let path = format!("{}:{}", server.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", script]).current_dir(folder);
    let output = processes::run(bash.env("PATH", path).env("BB_PATH", paths::bb()), LIMIT);
    let [printed, output_text] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{script}\n{printed}{output_text}");
    printed
}

#[test]
fn the_commands_with_curl_prove() {
    if ["curl", "jq"].into_iter().any(skipped::lacks_program) {
        return;
    }
    let jobs = JobServer::start(|_| ());
    let folder = tempfile::tempdir().unwrap();
    let blocks = commands("curl");
    assert_eq!(blocks.len(), 2);
    let script = blocks.concat().replace("127.0.0.1:8080", &jobs.server.address().to_string());
    let printed = shell(&script, folder.path());
    assert_eq!(printed, "valid\nevent: done\nvalid\n");
    jobs.server.finish();
}

#[test]
fn the_unit_for_systemd_has_settings_that_the_server_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let unit = text("deploy/systemd/edgeprove.service");
    let of_unit = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    let file = text("deploy/systemd/environment");
    let of_file = file.lines().filter(|line| !line.starts_with('#'));
    // The same settings, with folders of this test.
    let settings: Vec<(String, String)> = of_unit
        .chain(of_file)
        .map(|line| {
            let (name, value) = line.split_once('=').unwrap();
            let value = match name {
                "BB_PATH" => paths::bb().display().to_string(),
                "CRS_PATH" => paths::crs().display().to_string(),
                "EDGEPROVE_CIRCUITS" => {
                    paths::circuit_file("range_check.json").parent().unwrap().display().to_string()
                }
                _ => value.replace("SHA256", &"0".repeat(64)),
            };
            let value = value.strip_prefix("/var/").map_or(value.clone(), &at);
            (name.to_owned(), value.strip_prefix("/run/").map_or(value.clone(), &at))
        })
        .collect();
    assert!(settings.len() >= 9, "{settings:?}");
    for folder in ["lib/edgeprove", "cache", "edgeprove"] {
        fs::create_dir_all(at(folder)).unwrap();
        fs::set_permissions(at(folder), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let mut check = Command::new(paths::edgeprove());
    check.arg("check-config").env_clear().envs(settings).env("HOME", folder.path());
    let output = processes::run(&mut check, LIMIT);
    let output_text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{output_text}");

    if skipped::lacks_program("systemd-analyze") {
        return;
    }
    let verified = unit.replace("/usr/local/bin/edgeprove", &paths::edgeprove().display().to_string());
    fs::write(at("edgeprove.service"), verified).unwrap();
    let output =
        processes::run(Command::new("systemd-analyze").args(["verify", &at("edgeprove.service")]), LIMIT);
    let output_text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !output_text.contains("edgeprove.service:"), "{output_text}");
}

#[test]
fn the_unit_of_a_prover_has_settings_that_exist() {
    let unit = text("deploy/systemd/edgeprove-work.service");
    let file = text("deploy/systemd/work");
    assert!(unit.contains("ExecStart=/usr/local/bin/edgeprove work\n"));
    let help = processes::run(Command::new(paths::edgeprove()).args(["work", "--help"]).env_clear(), LIMIT);
    // Long lines are wrapped.
    let help = String::from_utf8_lossy(&help.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let of_unit = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    let of_file = file.lines().filter(|line| !line.starts_with('#'));
    for line in of_unit.chain(of_file) {
        let (name, _) = line.split_once('=').unwrap();
        // The variables of other tools that `serve` and `work` read have no flag.
        let is_known = matches!(name, "BB_PATH" | "CRS_PATH") || help.contains(&format!("[env: {name}"));
        assert!(is_known, "{name}: {help}");
    }
    if skipped::lacks_program("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edgeprove-work.service");
    fs::write(&path, unit.replace("/usr/local/bin/edgeprove", &paths::edgeprove().display().to_string()))
        .unwrap();
    let output = processes::run(Command::new("systemd-analyze").arg("verify").arg(&path), LIMIT);
    let output_text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !output_text.contains("edgeprove-work.service:"), "{output_text}");
}

/// A running nginx, with its certificate and its log in a folder.
struct Nginx {
    child: Child,
    folder: TempDir,
    port: ReservedPort,
}

impl Nginx {
    /// Starts nginx with the configuration of `deploy/`, in front of a server.
    #[track_caller]
    fn start(server: SocketAddr) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), ReservedPort::new());
        let config = text("deploy/nginx/edgeprove.conf")
            .replace("127.0.0.1:8080", &server.to_string())
            .replace("listen 443", &format!("listen {}", port.address()))
            .replace("/etc/letsencrypt/live/prover.example/", &format!("{}/", folder.path().display()));
        let head = "daemon off; pid nginx.pid; error_log stderr; events {}\nhttp { access_log off; \
                    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; \
                    uwsgi_temp_path uwsgi; scgi_temp_path scgi;";
        fs::write(folder.path().join("nginx.conf"), format!("{head}\n{config}\n}}\n")).unwrap();
        let certificate = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=prover.example \
                           -addext subjectAltName=DNS:prover.example -keyout privkey.pem -out fullchain.pem";
        shell(certificate, folder.path());
        let child = Command::new("nginx")
            .args(["-p", &folder.path().display().to_string(), "-c", "nginx.conf", "-e", "stderr"])
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let started = Self { child, folder, port };
        eventually("nginx listens", || TcpStream::connect(started.port.address()).ok());
        started
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("nginx: {}", fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
        // With SIGTERM it ends its workers too. An error means that it has ended.
        if let Some(pid) = Process::find(self.child.id().cast_signed()) {
            pid.signal(Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs nginx: cargo xtask test --heavy"]
fn nginx_passes_uploads_and_events_on() {
    if ["nginx", "curl", "openssl"].into_iter().any(skipped::lacks_program) {
        return;
    }
    let jobs = JobServer::start(|s| s.flag("--allowed-host", "prover.example"));
    let nginx = Nginx::start(jobs.server.address());
    fs::write(nginx.folder.path().join("witness.gz"), &samples::range_check().witness).unwrap();
    let port = nginx.port.address().port();
    let url = format!("https://prover.example:{port}");
    let curl = format!("curl -sS --cacert fullchain.pem --resolve prover.example:{port}:127.0.0.1");
    let send = format!("{curl} -f -H 'Content-Type: application/gzip' --data-binary @witness.gz");
    let script = format!(
        "{send} -H 'Accept: application/x-tar' -o proof.tar {url}/api/prove/range_check\n\
         edgeprove verify proof.tar\n\
         id=$({send} '{url}/v1/proofs?circuit=range_check' | sed 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/')\n\
         {curl} -fN {url}/v1/proofs/$id/events | grep '^event: done'\n\
         {curl} -o /dev/null -w '%{{http_code}} %{{http_version}}\\n' {url}/metrics"
    );
    assert_eq!(shell(&script, nginx.folder.path()), "valid\nevent: done\n403 2\n");
    drop(nginx);
    jobs.server.finish();
}
