//! Reads `multipart/form-data` (RFC 7578) in bounded memory and in time that is linear in its length.
//!
//! A form has a preamble, and parts that a delimiter separates: a line of two hyphens and the boundary. Nothing is stored
//! but the last piece of the body and the head of one part. What follows the last delimiter is not read.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use edgeprove_engine::witness::intake::{Pace, TooSlow};
use edgeprove_protocol::ProblemType;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, header};

use super::api_error::ApiError;

/// Most bytes before the first part. Programs that make forms write none.
const PREAMBLE_MAX_BYTES: usize = 1024;
/// Most bytes of a part's head.
const HEAD_MAX_BYTES: usize = 4096;
/// Most characters of a boundary (RFC 2046).
const BOUNDARY_MAX_CHARS: usize = 70;
/// The end of a line, which belongs to the delimiter after it.
const LINE_END: &[u8] = b"\r\n";
/// The end of a part's head.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Why a form cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// There is too much before the first part.
    #[error("more than {PREAMBLE_MAX_BYTES} bytes come before the first part")]
    Preamble,
    /// The head of a part is too long.
    #[error("the head of a part has more than {HEAD_MAX_BYTES} bytes")]
    HeadTooLong,
    /// The head of a part is not one.
    #[error("the head of a part is not valid")]
    Head,
    /// The form ends within a part or before its last delimiter.
    #[error("it ends before its last delimiter")]
    Truncated,
    /// The whole form is too large.
    #[error("it has more than {max_bytes} bytes")]
    TooLarge {
        /// The most bytes that it may have.
        max_bytes: u64,
    },
    /// No bytes arrived for too long.
    #[error("no bytes arrived for {} ms", idle.as_millis())]
    Stalled {
        /// The longest pause.
        idle: Duration,
    },
    /// The form arrives below the minimum speed.
    #[error("only {received} bytes arrived in {seconds} s: send at least 1 KiB per second")]
    TooSlow {
        /// The bytes that arrived.
        received: u64,
        /// Since when, in seconds.
        seconds: u64,
    },
    /// The body broke off.
    #[error("the body broke off")]
    Body(#[source] axum::Error),
}

impl FormError {
    /// The answer to the request: 400, 408, or that of `too_large`.
    pub fn refusal(&self, too_large: impl FnOnce() -> ApiError) -> ApiError {
        match self {
            Self::TooLarge { .. } => too_large(),
            Self::Stalled { .. } | Self::TooSlow { .. } => {
                ApiError::new(ProblemType::UploadStalled, self.to_string())
            }
            Self::Preamble | Self::HeadTooLong | Self::Head | Self::Truncated | Self::Body(_) => {
                let detail = format!("the body is not valid multipart/form-data: {self}");
                ApiError::new(ProblemType::InvalidRequest, detail)
            }
        }
    }
}

/// Where in the form the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Preamble,
    Content,
    /// Behind a delimiter: a head follows, or the end.
    AfterDelimiter,
    End,
}

/// A form that arrives.
pub struct Form<'body, S> {
    body: &'body mut S,
    /// The line end, two hyphens, and the boundary.
    delimiter: Vec<u8>,
    /// Bytes that arrived and were not returned yet.
    pending: BytesMut,
    position: Position,
    max_bytes: u64,
    pace: Pace,
    idle: Duration,
}

impl<'body, S> Form<'body, S>
where
    S: Stream<Item = Result<Bytes, axum::Error>> + Unpin,
{
    /// A form of at most `max_bytes` with this boundary. `idle` is the longest pause between two pieces of a head.
    pub fn new(body: &'body mut S, boundary: &str, max_bytes: u64, idle: Duration) -> Self {
        Self {
            body,
            delimiter: [LINE_END, b"--", boundary.as_bytes()].concat(),
            // The first delimiter may be the first line of the body.
            pending: LINE_END.into(),
            position: Position::Preamble,
            max_bytes,
            pace: Pace::new(idle),
            idle,
        }
    }

    /// Fails if the form is larger than allowed or arrives too slowly.
    pub fn check(&self) -> Result<(), FormError> {
        let (received, seconds, max_bytes) = (self.pace.received, self.pace.seconds(), self.max_bytes);
        if received > max_bytes {
            return Err(FormError::TooLarge { max_bytes });
        }
        self.pace.check().map_err(|TooSlow| FormError::TooSlow { received, seconds })
    }

    /// Skips the rest of the current part and reads the head of the next one. Returns its name, which may be empty;
    /// `None` at the end of the form.
    pub async fn next_part(&mut self) -> Result<Option<String>, FormError> {
        let (idle, mut skipped) = (self.idle, 0);
        let stalled = |_| FormError::Stalled { idle };
        while matches!(self.position, Position::Preamble | Position::Content) {
            let is_preamble = self.position == Position::Preamble;
            let next = tokio::time::timeout(idle, poll_fn(|context| self.poll_content(context))).await;
            let Some(piece) = next.map_err(stalled)? else { break };
            skipped += piece?.len();
            if is_preamble && skipped > PREAMBLE_MAX_BYTES {
                return Err(FormError::Preamble);
            }
        }
        if self.position == Position::End {
            return Ok(None);
        }
        let mut searched = 0;
        loop {
            if self.pending.starts_with(b"--") {
                self.position = Position::End;
                return Ok(None);
            }
            let from = searched.min(self.pending.len());
            if let Some(at) = find(&self.pending[from..], HEAD_END) {
                let head = self.pending.split_to(from + at + HEAD_END.len());
                if head.len() > HEAD_MAX_BYTES {
                    return Err(FormError::HeadTooLong);
                }
                self.position = Position::Content;
                return name(&head).map(Some);
            }
            if self.pending.len() > HEAD_MAX_BYTES {
                return Err(FormError::HeadTooLong);
            }
            searched = self.pending.len().saturating_sub(HEAD_END.len() - 1);
            let more = tokio::time::timeout(idle, poll_fn(|context| self.poll_more(context))).await;
            more.map_err(stalled)??;
        }
    }

    /// The content of the current part, or the preamble, up to the next delimiter.
    fn poll_content(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, FormError>>> {
        loop {
            if !matches!(self.position, Position::Preamble | Position::Content) {
                return Poll::Ready(None);
            }
            match find(&self.pending, &self.delimiter) {
                Some(0) => {
                    let _ = self.pending.split_to(self.delimiter.len());
                    self.position = Position::AfterDelimiter;
                    return Poll::Ready(None);
                }
                Some(at) => return Poll::Ready(Some(Ok(self.pending.split_to(at).freeze()))),
                None => {}
            }
            // The last bytes may be the beginning of a delimiter.
            let complete = self.pending.len().saturating_sub(self.delimiter.len() - 1);
            if complete > 0 {
                return Poll::Ready(Some(Ok(self.pending.split_to(complete).freeze())));
            }
            if let Err(error) = ready!(self.poll_more(context)) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<(), FormError>> {
        let piece = match ready!(self.body.poll_next_unpin(context)) {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Poll::Ready(Err(FormError::Body(error))),
            None => return Poll::Ready(Err(FormError::Truncated)),
        };
        // Its outcome is part of the check.
        let _ = self.pace.receive(piece.len());
        if let Err(error) = self.check() {
            return Poll::Ready(Err(error));
        }
        self.pending.extend_from_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

/// The content of the current part.
impl<S> Stream for Form<'_, S>
where
    S: Stream<Item = Result<Bytes, axum::Error>> + Unpin,
{
    type Item = Result<Bytes, FormError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_content(context)
    }
}

/// The position of a text that begins with a carriage return.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|&byte| byte == b'\r') {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// The name in the head of a part. The head begins behind the delimiter.
fn name(head: &[u8]) -> Result<String, FormError> {
    let head = std::str::from_utf8(head).map_err(|_| FormError::Head)?;
    let mut lines = head.split("\r\n");
    // White space may follow the delimiter.
    if lines.next().is_none_or(|rest| !rest.trim_matches([' ', '\t']).is_empty()) {
        return Err(FormError::Head);
    }
    for line in lines.filter(|line| !line.is_empty()) {
        let (field, value) = line.split_once(':').ok_or(FormError::Head)?;
        if !field.eq_ignore_ascii_case("content-disposition") {
            continue;
        }
        let mut parameters = parameters(value);
        return match parameters.next() {
            Some(kind) if kind.eq_ignore_ascii_case("form-data") => {
                Ok(parameters.find_map(|parameter| value_of(&parameter, "name")).unwrap_or_default())
            }
            Some(_) | None => Err(FormError::Head),
        };
    }
    Ok(String::new())
}

/// The boundary of a `multipart/form-data` body; `None` for other bodies.
#[must_use]
pub fn boundary(headers: &HeaderMap) -> Option<String> {
    let media = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let mut parameters = parameters(media);
    parameters.next().filter(|media| media.eq_ignore_ascii_case("multipart/form-data"))?;
    let boundary = parameters.find_map(|parameter| value_of(&parameter, "boundary"))?;
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "'()+_,-./:=? ".contains(c);
    let is_boundary = (1..=BOUNDARY_MAX_CHARS).contains(&boundary.len()) && boundary.chars().all(is_valid);
    (is_boundary && !boundary.ends_with(' ')).then_some(boundary)
}

/// The parts of a header's value between semicolons, as far as those are not in quotes.
pub(super) fn parameters(value: &str) -> impl Iterator<Item = String> + use<> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in value.chars() {
        match c {
            ';' if !is_quoted => parts.push(std::mem::take(&mut part)),
            _ => {
                is_quoted ^= c == '"' && !is_escaped;
                part.push(c);
            }
        }
        is_escaped = c == '\\' && is_quoted && !is_escaped;
    }
    parts.push(part);
    parts.into_iter().map(|part| part.trim().to_owned())
}

/// The value of a parameter with this name, without its quotes.
pub(super) fn value_of(parameter: &str, wanted: &str) -> Option<String> {
    let (name, value) = parameter.split_once('=')?;
    let value = value.trim();
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    name.trim().eq_ignore_ascii_case(wanted).then(|| unquoted.to_owned())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http::HeaderValue;

    use super::*;

    const IDLE: Duration = Duration::from_mins(1);

    /// The parts of a body that arrives in pieces of this size.
    async fn read(body: &[u8], piece: usize, max_bytes: u64) -> Result<Vec<(String, Vec<u8>)>, FormError> {
        let pieces: Vec<_> = body.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut body = stream::iter(pieces);
        let mut form = Form::new(&mut body, "x-1", max_bytes, IDLE);
        let mut parts = Vec::new();
        while let Some(name) = form.next_part().await? {
            let mut content = Vec::new();
            while let Some(piece) = form.next().await {
                content.extend(piece?);
            }
            parts.push((name, content));
        }
        Ok(parts)
    }

    fn part(name: &str, content: &[u8]) -> Vec<u8> {
        let head =
            format!("--x-1\r\nContent-Type: a/b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
        [head.as_bytes(), content, b"\r\n"].concat()
    }

    #[tokio::test]
    async fn parts_arrive_whole_in_pieces_of_any_size() {
        let tricky = b"\r\n--x\r\r\n--x-\r\n-\r\n\r\n--x".as_slice();
        let contents = [&b"one"[..], b"", tricky, &[b'\r'; 300], &[7; 5000]];
        let names = ["a", "", "b_2", "c", "d"];
        let parts: Vec<_> = names.iter().zip(contents).map(|(name, content)| part(name, content)).collect();
        for preamble in [&b""[..], b"\r\n", b"not a part\r\n"] {
            let body = [preamble, &parts.concat(), b"--x-1--\r\nnot read"].concat();
            for piece in [1, 2, 3, 7, 100, body.len()] {
                let read = read(&body, piece, 1 << 20).await.unwrap();
                let wanted: Vec<_> =
                    names.map(str::to_owned).into_iter().zip(contents.map(<[u8]>::to_vec)).collect();
                assert!(read == wanted, "pieces of {piece}");
            }
        }
        assert_eq!(read(b"--x-1--", 3, 100).await.unwrap(), []);
    }

    #[tokio::test]
    async fn everything_but_content_is_bounded() {
        let long = vec![b'y'; 1 << 20];
        for piece in [1000, 1 << 21] {
            let error = read(&long, piece, u64::MAX).await.unwrap_err();
            assert!(matches!(error, FormError::Preamble), "{error}");
            let head = [b"--x-1\r\nX: ", &long[..], b"\r\n\r\n"].concat();
            let error = read(&head, piece, u64::MAX).await.unwrap_err();
            assert!(matches!(error, FormError::HeadTooLong), "{error}");
        }
        let body = part("a", &long);
        let error = read(&body, 1000, 5000).await.unwrap_err();
        assert!(matches!(error, FormError::TooLarge { max_bytes: 5000 }), "{error}");
    }

    #[tokio::test]
    async fn a_broken_form_is_an_error() {
        let whole = part("a", b"content");
        for length in 0..whole.len() {
            let error = read(&whole[..length], 5, 1 << 20).await.unwrap_err();
            assert!(matches!(error, FormError::Truncated), "{length}: {error}");
        }
        for head in ["x\r\n\r\n", "\r\nno colon\r\n\r\n", "\r\nContent-Disposition: attachment\r\n\r\n"] {
            let error = read(format!("--x-1{head}").as_bytes(), 100, 1 << 20).await.unwrap_err();
            assert!(matches!(error, FormError::Head), "{head:?}: {error}");
        }
    }

    #[tokio::test]
    async fn silence_within_a_head_ends() {
        let start = stream::iter([Ok(Bytes::from_static(b"--x-1\r\nContent"))]);
        let mut body = start.chain(stream::pending());
        let idle = Duration::from_millis(20);
        let error = Form::new(&mut body, "x-1", 100, idle).next_part().await.unwrap_err();
        assert!(matches!(error, FormError::Stalled { .. }), "{error}");
    }

    #[test]
    fn names_are_found_beside_other_parameters() {
        for (value, wanted) in [
            ("form-data; name=\"a\"", "a"),
            ("FORM-DATA; filename=\"x; name=b\\\"; name=c\"; Name = a", "a"),
            ("form-data; filename=\"a\"", ""),
        ] {
            let head = format!(" \t\r\nContent-Disposition: {value}\r\n\r\n");
            assert_eq!(name(head.as_bytes()).unwrap(), wanted, "{value}");
        }
    }

    #[test]
    fn only_forms_with_a_boundary_are_forms() {
        let boundary = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            boundary(&[(header::CONTENT_TYPE, value)].into_iter().collect())
        };
        assert_eq!(boundary("multipart/form-data; boundary=----a1").as_deref(), Some("----a1"));
        assert_eq!(boundary("Multipart/Form-Data;charset=x; BOUNDARY=\"a b\"").as_deref(), Some("a b"));
        for none in ["multipart/form-data", "multipart/mixed; boundary=a", "multipart/form-data; boundary="] {
            assert_eq!(boundary(none), None, "{none}");
        }
        assert_eq!(boundary(&format!("multipart/form-data; boundary={}", "a".repeat(71))), None);
    }
}
