//! `GET /` for browsers, and `GET /assets/{name}`: the page, which is embedded in the program.

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use edgeprove_page::{ASSET_CACHE, DOCUMENT_CACHE, DOCUMENT_HEADERS, PageFile};
use edgeprove_protocol::ProblemType;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::http::{api_error::ApiError, state::AppState};

/// The page, for a caller that prefers HTML; `None` for others, and with `--page off`.
pub(super) fn document(app: &AppState, request: &HeaderMap) -> Option<Response> {
    if !app.options.page.is_on || !edgeprove_page::prefers_html(texts(request, &header::ACCEPT)) {
        return None;
    }
    let mut response = response_of(edgeprove_page::document()?, DOCUMENT_CACHE, request);
    for (name, value) in DOCUMENT_HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    Some(response)
}

/// 200 with the file, compressed where the caller knows gzip; 304 where the caller has it; 404 where there is no such file, and with
/// `--page off`.
pub async fn asset(
    State(app): State<AppState>,
    name: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    let file =
        name.ok().and_then(|Path(name)| edgeprove_page::asset(&name)).filter(|_| app.options.page.is_on);
    let file = file.ok_or_else(|| {
        let detail =
            "the page has no such file: load it again, it may be one of another version of the server";
        ApiError::new(ProblemType::NotFound, detail)
    })?;
    let mut response = response_of(file, ASSET_CACHE, &request);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn response_of(file: &'static PageFile, cache: &'static str, request: &HeaderMap) -> Response {
    let is_known = edgeprove_page::has_tag(texts(request, &header::IF_NONE_MATCH), file.tag);
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else if accepts_gzip(request) {
        ([(header::CONTENT_ENCODING, "gzip")], file.gzip).into_response()
    } else {
        file.text.into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_static(file.tag));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if is_known {
        headers.remove(header::CONTENT_TYPE);
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.media_type));
    }
    response
}

/// The values of a header that are text.
pub(super) fn texts<'a>(request: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    request.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// Whether the caller can decompress gzip, by `Accept-Encoding`.
pub(super) fn accepts_gzip(request: &HeaderMap) -> bool {
    let mut codings = texts(request, &header::ACCEPT_ENCODING).flat_map(|value| value.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        is_gzip && weight.is_none_or(|weight| weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_those_who_accept_it() {
        let accepts = |value: &'static str| {
            accepts_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        for value in ["gzip", "br, GZIP;q=0.5", "*", "deflate, gzip, br"] {
            assert!(accepts(value), "{value}");
        }
        for value in ["", "br", "gzip;q=0", "gzip; q=0.000", "x-gzip2", "gzip;q=x"] {
            assert!(!accepts(value), "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
