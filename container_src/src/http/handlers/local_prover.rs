//! `GET /local-prover`, `GET /local-prover/{name}`: what a page needs to prove in the browser, where the server has a folder with it
//! (`--page-local`). `GET /v1/circuits/{circuit}/program`: the program of a configured circuit, which only then is for everybody.

use std::{io::SeekFrom, path::PathBuf, time::UNIX_EPOCH};

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use edgeprove_files::regular_file;
use edgeprove_page::WORKER_POLICY;
use edgeprove_protocol::ProblemType;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::page::{accepts_gzip, texts};
use crate::http::{
    api_error::ApiError,
    extract::CircuitPath,
    local_prover::{COMPRESSED, POINTS, WORKER},
    state::AppState,
};

/// The piece that is read at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// What a page needs to prove in the browser.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LocalProver {
    /// Whether the server has it.
    available: bool,
    /// The path of the worker.
    worker: Option<String>,
    /// The path of the points of the CRS.
    crs: Option<String>,
    /// The names of the files.
    files: Vec<String>,
}

/// 200 with the paths of the worker and of the points; `available` is false where the server has no such folder.
pub async fn local_prover(State(app): State<AppState>) -> Json<LocalProver> {
    let local = app.options.page.local_prover.as_deref();
    Json(LocalProver {
        available: local.is_some(),
        worker: local.map(|_| format!("/local-prover/{WORKER}")),
        crs: local.map(|_| format!("/local-prover/{POINTS}")),
        files: local.map(|local| local.names().map(str::to_owned).collect()).unwrap_or_default(),
    })
}

/// 200 with the file, 206 with a part of it, 304 where the caller has it; 404 where there is no such file or folder; 416 for a part
/// that the file does not have.
pub async fn file(
    State(app): State<AppState>,
    name: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    let no_file =
        || ApiError::new(ProblemType::NotFound, "the server has no such file for proofs in the browser");
    let local = app.options.page.local_prover.as_deref().ok_or_else(no_file)?;
    let Ok(Path(name)) = name else { return Err(no_file()) };
    let plain = local.find(&name).ok_or_else(no_file)?;
    let range = request.get(header::RANGE).and_then(|range| range.to_str().ok()).and_then(Range::parse);
    let compressed =
        local.find(&format!("{name}{COMPRESSED}")).filter(|_| range.is_none() && accepts_gzip(&request));
    let is_compressed = compressed.is_some();
    let (found, tag) = open(compressed.unwrap_or(plain)).await.map_err(|_| no_file())?;

    let mut response = if edgeprove_page::has_tag(texts(&request, &header::IF_NONE_MATCH), &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        found.part(range).await.map_err(|_| no_file())?
    };
    let headers = response.headers_mut();
    if is_compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
    for (name, value) in [
        (header::CONTENT_TYPE, media_type(&name)),
        // A file may be replaced by one of the same name, so a cache asks each time.
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "Accept-Encoding"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, WORKER_POLICY),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !is_compressed {
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    Ok(response)
}

/// 200 with the program; 404 where the circuit is no configured one of Noir, and without `--page-local`.
pub async fn program(
    State(app): State<AppState>,
    CircuitPath(name): CircuitPath,
) -> Result<Response, ApiError> {
    let no_program = || {
        let detail = "the server gives no program of this circuit to everybody: only of a configured circuit of Noir, and with \
                      --page-local";
        ApiError::new(ProblemType::CircuitNotFound, detail)
    };
    let programs = app.browser_programs.as_deref().ok_or_else(no_program)?;
    let program = programs.get(&name.ok_or_else(no_program)?).await.ok_or_else(no_program)?;
    let mut response = program.into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// A part of a file: the first byte, and the last one, if it is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    last: Option<u64>,
}

impl Range {
    /// Reads `bytes=N-` and `bytes=N-M`. The whole file is the answer to any other form, as RFC 9110 allows.
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
        let first = first.parse().ok()?;
        let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
        last.is_none_or(|last| last >= first).then_some(Self { first, last })
    }
}

/// An open file.
struct Found {
    file: tokio::fs::File,
    bytes: u64,
}

/// Opens a file. Its entity tag follows from its size and the time of its last change.
async fn open(path: PathBuf) -> std::io::Result<(Found, String)> {
    let opened = tokio::task::spawn_blocking(move || {
        let file = regular_file::open(&path)?;
        let metadata = file.metadata()?;
        Ok::<_, std::io::Error>((file, metadata))
    });
    let (file, metadata) = opened.await.map_err(std::io::Error::other)??;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let tag = format!("W/\"{:x}-{modified:x}\"", metadata.len());
    Ok((Found { file: file.into(), bytes: metadata.len() }, tag))
}

impl Found {
    /// The whole file, or a part of it.
    async fn part(self, range: Option<Range>) -> std::io::Result<Response> {
        let Self { mut file, bytes } = self;
        let Some(Range { first, last }) = range else {
            return Ok(stream(StatusCode::OK, file, bytes, None));
        };
        if first >= bytes {
            let whole = [(header::CONTENT_RANGE, format!("bytes */{bytes}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, whole).into_response());
        }
        let last = last.unwrap_or(u64::MAX).min(bytes - 1);
        file.seek(SeekFrom::Start(first)).await?;
        let part = format!("bytes {first}-{last}/{bytes}");
        Ok(stream(StatusCode::PARTIAL_CONTENT, file, last - first + 1, Some(part)))
    }
}

fn stream(status: StatusCode, file: tokio::fs::File, bytes: u64, part: Option<String>) -> Response {
    // A file that grows meanwhile must not exceed the announced length.
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(bytes), PIECE_BYTES));
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    let part = part.and_then(|part| HeaderValue::from_str(&part).ok());
    headers.extend(part.map(|part| (header::CONTENT_RANGE, part)));
    response
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "wasm")) => "application/wasm",
        Some((_, "json")) => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_one_part_are_read() {
        assert_eq!(Range::parse("bytes=0-63"), Some(Range { first: 0, last: Some(63) }));
        assert_eq!(Range::parse("bytes=5-"), Some(Range { first: 5, last: None }));
        for other in ["bytes=-5", "bytes=5-4", "bytes=0-1,3-4", "bytes=a-b", "items=0-1", "bytes=0", ""] {
            assert_eq!(Range::parse(other), None, "{other}");
        }
    }
}
