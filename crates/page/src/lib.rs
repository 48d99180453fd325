//! The built pages of `web/page`, and the headers with which they are served. Server and edge serve the same: a server has
//! the content of the files embedded, and the edge has it as assets of the Worker.
//!
//! `GET /` is the document for callers that prefer HTML, and the list of endpoints for all others ([`prefers_html`]).
//! Everything that the document loads is at `/assets/` with a name that contains its hash, so caches may store it for good.
//!
//! `docs/decisions/0020-built-pages-committed.md` has the reasons.

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The name of the document in the built files.
const DOCUMENT: &str = "index.html";

/// A file of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageFile {
    /// Its name.
    pub name: &'static str,
    /// Its media type, as in `Content-Type`.
    pub media_type: &'static str,
    /// Its entity tag. It is a weak one: the compressed bytes have it, too.
    pub tag: &'static str,
    /// Its content.
    #[cfg(feature = "text")]
    pub text: &'static str,
    /// Its content, compressed with gzip.
    #[cfg(feature = "gzip")]
    pub gzip: &'static [u8],
}

/// `Cache-Control` of the document: it names the files of one version, so a cache asks each time whether it changed.
pub const DOCUMENT_CACHE: &str = "no-cache";
/// `Cache-Control` of the files, whose names change with their content.
pub const ASSET_CACHE: &str = "public, max-age=31536000, immutable";

/// What the document may load and do. Nothing comes from another host, no script and no style is inline, and no page can show it in
/// a frame. Icons are the only `data:` URLs. Workers have a policy of their own: [`WORKER_POLICY`].
pub const DOCUMENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                                   connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; \
                                   frame-ancestors 'none'";
/// What a worker may do that proves in the browser: it compiles WebAssembly, which the document may not. bb.js has its WebAssembly in
/// a `data:` URL.
pub const WORKER_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self' data:; \
                                 worker-src 'self'; frame-ancestors 'none'";

/// Headers of the document, beside type, tag and cache.
pub const DOCUMENT_HEADERS: [(&str, &str); 5] = [
    ("content-security-policy", DOCUMENT_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// The document. `None` is never the answer of a build: a test ensures it.
#[must_use]
pub fn document() -> Option<&'static PageFile> {
    FILES.iter().find(|file| file.name == DOCUMENT)
}

/// A file that the document loads.
#[must_use]
pub fn asset(name: &str) -> Option<&'static PageFile> {
    FILES.iter().find(|file| file.name == name && name != DOCUMENT)
}

/// Whether a caller with these values of `Accept` prefers HTML: a browser that opens the address does, and curl does not. HTML must be
/// named, and JSON not be preferred to it.
#[must_use]
pub fn prefers_html<'a>(accept: impl IntoIterator<Item = &'a str>) -> bool {
    let (mut html, mut json) = (0, 0);
    for range in accept.into_iter().flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let quality = match parts.next() {
            Some(media) if media.eq_ignore_ascii_case("text/html") => &mut html,
            Some(media) if media.eq_ignore_ascii_case("application/json") => &mut json,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        *quality = (*quality).max(weight.map_or(1000, thousandths));
    }
    html > 0 && html >= json
}

/// A weight (RFC 9110, section 12.4.2) in thousandths; 0 for what is none.
fn thousandths(weight: &str) -> u32 {
    match weight.trim().split_once('.').unwrap_or((weight.trim(), "")) {
        ("1", rest) if rest.bytes().all(|digit| digit == b'0') => 1000,
        ("0", rest) if rest.len() <= 3 && rest.bytes().all(|digit| digit.is_ascii_digit()) => {
            format!("{rest:0<3}").parse().unwrap_or(0)
        }
        _ => 0,
    }
}

/// Whether the values of `If-None-Match` have this tag (RFC 9110, section 13.1.2). Tags are compared weakly.
#[must_use]
pub fn has_tag<'a>(if_none_match: impl IntoIterator<Item = &'a str>, tag: &str) -> bool {
    let mut tags = if_none_match.into_iter().flat_map(|value| value.split(',')).map(str::trim);
    let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
    tags.any(|known| known == "*" || opaque(known) == opaque(tag))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn browsers_prefer_html_and_other_clients_json() {
        let prefers = |accept: &str| prefers_html([accept]);
        for accept in [
            "text/html",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/json;q=0.5, Text/HTML;q=0.9",
            "text/html;level=1; q=0.300",
        ] {
            assert!(prefers(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/*",
            "application/json",
            "text/html;q=0",
            "text/html;q=0.5,application/json",
            "text/html;q=x",
        ] {
            assert!(!prefers(accept), "{accept}");
        }
        assert!(!prefers_html([]));
        assert!(!prefers_html(["text/html;q=0.1", "application/json"]));
    }

    #[test]
    fn a_tag_is_found_in_any_form() {
        for known in ["\"a\"", "W/\"a\"", "\"b\" , \"a\"", "*"] {
            assert!(has_tag([known], "\"a\""), "{known}");
        }
        assert!(has_tag(["\"a\""], "W/\"a\""));
        assert!(!has_tag(["\"b\"", ""], "\"a\""));
    }

    #[cfg(feature = "text")]
    #[test]
    fn the_document_loads_only_files_that_are_embedded() {
        let text = document().unwrap().text;
        let loaded: Vec<&str> =
            text.split("\"assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(loaded.len() >= 3, "{loaded:?}");
        for name in &loaded {
            assert!(asset(name).is_some(), "{name}");
        }
        // Other addresses are those of namespaces and of the icon in the document itself.
        for attribute in text.split(" src=\"").chain(text.split(" href=\"")).skip(1) {
            assert!(!attribute.starts_with("http") && !attribute.starts_with('/'), "{attribute}");
        }
        assert!(asset(DOCUMENT).is_none() && asset("").is_none());
    }

    #[cfg(feature = "text")]
    #[test]
    fn nothing_in_the_document_is_inline() {
        let text = document().unwrap().text;
        for forbidden in ["<style", " style=", "<script>", " onclick", "javascript:"] {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
        assert_eq!(
            text.matches("<script").count(),
            text.matches("<script src=").count() + text.matches("<script type=\"module\" src=").count()
        );
        assert!(!DOCUMENT_POLICY.contains("unsafe") && !DOCUMENT_POLICY.contains("http"));
    }

    #[cfg(all(feature = "text", feature = "gzip"))]
    #[test]
    fn every_file_is_smaller_when_compressed() {
        // gzip adds 18 bytes to what it cannot compress.
        for file in FILES.iter().filter(|file| file.text.len() > 1024) {
            assert!(
                file.gzip.starts_with(&[0x1f, 0x8b]) && file.gzip.len() < file.text.len(),
                "{}",
                file.name
            );
        }
    }
}
