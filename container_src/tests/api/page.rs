//! The page for browsers: `GET /` with `Accept: text/html`, and the files that it loads.

use std::io::Read as _;

use edgeprove_protocol::ProblemType;
use flate2::read::GzDecoder;

use crate::support::{Response, TestServer};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[track_caller]
fn open(server: &TestServer, path: &str, headers: &[(&'static str, &str)]) -> Response {
    headers
        .iter()
        .fold(server.request(http::Method::GET, path), |request, (name, value)| request.header(name, value))
        .send()
}

/// The names of the files that the page loads.
fn files(document: &str) -> Vec<String> {
    let names = document.split("\"assets/").skip(1).filter_map(|rest| rest.split('"').next());
    names.map(str::to_owned).collect()
}

#[test]
fn browsers_get_the_page_and_other_clients_the_endpoints() {
    let server = TestServer::start_default();
    let page = open(&server, "/", &[("accept", BROWSER)]);
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cache-control"), "no-cache");
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");

    let tag = page.header("etag").to_owned();
    let known = open(&server, "/", &[("accept", BROWSER), ("if-none-match", &tag)]);
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    for accept in ["*/*", "application/json"] {
        let list = open(&server, "/", &[("accept", accept)]);
        assert_eq!(list.header("content-type"), "application/json", "{accept}");
        assert!(list.header("vary").to_ascii_lowercase().contains("accept"));
        assert!(list.json()["endpoints"].as_array().unwrap().len() > 20);
    }
}

#[test]
fn every_file_of_the_page_is_compressed_and_cached_for_good() {
    let server = TestServer::start_default();
    let document = open(&server, "/", &[("accept", BROWSER)]).body;
    let document = String::from_utf8(document).unwrap();
    let files = files(&document);
    assert!(files.len() >= 3, "{files:?}");
    for name in files {
        let path = format!("/assets/{name}");
        let plain = open(&server, &path, &[]);
        assert_eq!((plain.status.as_u16(), plain.header("content-encoding")), (200, ""), "{name}");
        assert_eq!(plain.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(plain.header("x-content-type-options"), "nosniff");
        let compressed = open(&server, &path, &[("accept-encoding", "gzip, br")]);
        assert_eq!(compressed.header("content-encoding"), "gzip", "{name}");
        let mut text = Vec::new();
        GzDecoder::new(compressed.body.as_slice()).read_to_end(&mut text).unwrap();
        assert_eq!(text, plain.body, "{name}");
        let tag = plain.header("etag").to_owned();
        assert_eq!(open(&server, &path, &[("if-none-match", &tag)]).status, 304);
    }
    for path in ["/assets/index.html", "/assets/..%2Findex.html", "/assets/%ff"] {
        server.get(path).assert_refused(ProblemType::NotFound);
    }
}

#[test]
fn the_page_can_be_switched_off() {
    let server = TestServer::start(|s| s.flag("--page", "off"));
    let list = open(&server, "/", &[("accept", BROWSER)]);
    assert_eq!(list.header("content-type"), "application/json");
    server.get("/assets/main.js").assert_refused(ProblemType::NotFound);
}
