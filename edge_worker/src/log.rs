//! Log lines as JSON: one for each request, and one for each event of a container. `docs/LOGGING.md` describes them.

use serde::Serialize;

/// The line of a request. It never has a body, a key, a query or a path that a caller chose.
#[derive(Debug, Clone, Serialize)]
pub struct RequestLine<'a> {
    /// Always `request`.
    pub event: &'static str,
    /// The id of the request, which the container's log and the response have, too.
    pub request_id: &'a str,
    /// The method.
    pub method: &'a str,
    /// The pattern of the path.
    pub route: &'static str,
    /// The status of the response.
    pub status: u16,
    /// Time from the head of the request to the head of the response, in milliseconds.
    pub total_ms: u64,
    /// The number of the container that got the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<u16>,
    /// The name of the caller's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The trace that the request belongs to, if its caller sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// The caller's span in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<&'a str>,
    /// The code of the problem, if it is the edge's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// Its cause, if the caller got less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'a str>,
}

/// The line of an event of a container.
#[derive(Debug, Clone, Serialize)]
pub struct ContainerLine<'a> {
    /// The event.
    pub event: &'static str,
    /// The name of the container; empty if its object could not read its settings.
    pub container: &'a str,
    /// The request during which it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    /// Details for people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub detail: &'a str,
}

/// The text of a line.
#[must_use]
pub fn text(line: &impl Serialize) -> String {
    // Serialising cannot fail: a line has text keys and derived serialisers.
    serde_json::to_string(line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_leaves_out_what_is_not_known() {
        let line = RequestLine {
            event: "request",
            request_id: "r1",
            method: "POST",
            route: "/api/prove",
            status: 200,
            total_ms: 120,
            instance: Some(0),
            user: None,
            trace_id: None,
            span_id: None,
            code: None,
            cause: None,
        };
        let expected = r#"{"event":"request","request_id":"r1","method":"POST","route":"/api/prove","status":200,"total_ms":120,"instance":0}"#;
        assert_eq!(text(&line), expected);
    }

    #[test]
    fn an_event_names_its_container_and_request() {
        let failed = ContainerLine {
            event: "container_request_failed",
            container: "prover-0",
            request_id: Some("r1"),
            detail: "the container ended: exit status 137",
        };
        let expected = r#"{"event":"container_request_failed","container":"prover-0","request_id":"r1","detail":"the container ended: exit status 137"}"#;
        assert_eq!(text(&failed), expected);
        let started =
            ContainerLine { event: "container_started", container: "prover-0", request_id: None, detail: "" };
        assert_eq!(text(&started), r#"{"event":"container_started","container":"prover-0"}"#);
    }
}
