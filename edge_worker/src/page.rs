//! The page for browsers. Its files are assets of the Worker, so no container wakes for it.

use edgeprove_page::{ASSET_CACHE, DOCUMENT_CACHE, DOCUMENT_HEADERS, PageFile};
use edgeprove_protocol::endpoints::Endpoint;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    edge_error::EdgeError, edge_response::EdgeResponse, request_head::RequestHead, router::RouteError,
};

/// `GET /`: the page, where the caller prefers HTML and the page is on; else the list of endpoints.
#[must_use]
pub fn root(head: &RequestHead, is_on: bool) -> EdgeResponse {
    let is_wanted = is_on && edgeprove_page::prefers_html(texts(&head.headers, &header::ACCEPT));
    let document = edgeprove_page::document().filter(|_| is_wanted);
    let mut response = match document {
        Some(document) => {
            let mut response = response_of(document, DOCUMENT_CACHE, &head.headers);
            for (name, value) in DOCUMENT_HEADERS {
                response.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            response
        }
        None => EdgeResponse::endpoint_list(),
    };
    response.headers.append(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// `GET /assets/{name}`: a file of the page; 404 where there is none with this name, and where the page is off.
pub fn asset(head: &RequestHead, endpoint: &Endpoint, is_on: bool) -> Result<EdgeResponse, EdgeError> {
    let file = endpoint.parameter(&head.path).and_then(edgeprove_page::asset).filter(|_| is_on);
    let file = file.ok_or(RouteError::NotFound)?;
    let mut response = response_of(file, ASSET_CACHE, &head.headers);
    response.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// 304 where the caller has the file.
fn response_of(file: &PageFile, cache: &'static str, request: &HeaderMap) -> EdgeResponse {
    let is_known = edgeprove_page::has_tag(texts(request, &header::IF_NONE_MATCH), file.tag);
    let mut response = EdgeResponse::empty(if is_known { 304 } else { 200 });
    response.headers.insert(header::ETAG, HeaderValue::from_static(file.tag));
    response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if !is_known {
        response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.media_type));
        response.file = Some(file.name);
    }
    response
}

/// The values of a header that are text.
fn texts<'a>(request: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    request.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::{request_head::tests::head, router::route};

    const BROWSER: (&str, &str) = ("accept", "text/html,*/*;q=0.8");

    fn asset_at(path: &str, headers: &[(&str, &str)], is_on: bool) -> Result<EdgeResponse, EdgeError> {
        asset(&head(Method::GET, path, "", headers), route(&Method::GET, path).unwrap(), is_on)
    }

    #[test]
    fn browsers_get_the_page_and_others_the_list() {
        let answer = |headers: &[_], is_on| root(&head(Method::GET, "/", "", headers), is_on);
        let page = answer(&[BROWSER], true);
        assert_eq!(page.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert!(
            page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'")
        );
        assert_eq!(page.file, Some("index.html"));
        for list in [answer(&[], true), answer(&[("accept", "*/*")], true), answer(&[BROWSER], false)] {
            assert_eq!(list.headers[header::CONTENT_TYPE], "application/json");
            assert_eq!((&list.headers[header::VARY], list.file), (&HeaderValue::from_static("Accept"), None));
        }
        let tag = page.headers[header::ETAG].to_str().unwrap().to_owned();
        let known = answer(&[BROWSER, ("if-none-match", &tag)], true);
        assert_eq!((known.status, known.body.as_str(), known.file), (304, "", None));
        assert_eq!(known.headers[header::VARY], "Accept");
    }

    #[test]
    fn every_file_of_the_page_is_answered_and_no_other() {
        let dist = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/page/dist");
        let names =
            std::fs::read_dir(dist).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let names: Vec<String> = names.filter(|name| name != "index.html").collect();
        assert!(names.len() >= 3, "{names:?}");
        for name in names {
            let path = format!("/assets/{name}");
            let file = asset_at(&path, &[], true).unwrap();
            assert_eq!(
                (file.status, &file.headers[header::CACHE_CONTROL], file.file),
                (200, &HeaderValue::from_static(ASSET_CACHE), Some(name.as_str()))
            );
            assert!(asset_at(&path, &[], false).is_err(), "{name} with the page off");
        }
        for path in ["/assets/index.html", "/assets/other.js"] {
            assert!(asset_at(path, &[], true).is_err(), "{path}");
        }
    }
}
