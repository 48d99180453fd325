//! One line of JSON for each request, which joins the container's line by the request's id.

use serde::Serialize;

/// What the log says of a request. Never a payload, a key, a query or a path that a caller made up.
#[derive(Debug, Clone, Serialize)]
pub struct Line<'a> {
    /// What happened.
    pub event: &'static str,
    /// As in the container's log and in the answer.
    pub request_id: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path's pattern.
    pub route: &'static str,
    /// The answer's status.
    pub status: u16,
    /// From the request's head to the answer's, in milliseconds.
    pub total_ms: u64,
    /// The container that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<u16>,
    /// The name of the caller's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The problem, where it is the edge's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// Its cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'a str>,
}

impl Line<'_> {
    /// The line.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A container's object has something to tell.
#[derive(Debug, Clone, Serialize)]
pub struct ContainerEvent<'a> {
    /// What happened.
    pub event: &'static str,
    /// The container's name; empty where its object could not even read its settings.
    pub container: &'a str,
    /// The request that it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    /// More of it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub what: &'a str,
}

impl ContainerEvent<'_> {
    /// The line.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_without_what_is_not_known() {
        let line = Line {
            event: "request",
            request_id: "r1",
            method: "POST",
            route: "/api/prove",
            status: 200,
            total_ms: 120,
            instance: Some(0),
            user: None,
            code: None,
            cause: None,
        };
        let expected = r#"{"event":"request","request_id":"r1","method":"POST","route":"/api/prove","status":200,"total_ms":120,"instance":0}"#;
        assert_eq!(line.text(), expected);
    }

    #[test]
    fn an_event_of_a_container_names_the_request_it_happened_to() {
        let fault = ContainerEvent {
            event: "container_fault",
            container: "prover-0",
            request_id: Some("r1"),
            what: "the container ended: exit status 137",
        };
        let expected = r#"{"event":"container_fault","container":"prover-0","request_id":"r1","what":"the container ended: exit status 137"}"#;
        assert_eq!(fault.text(), expected);
        let started =
            ContainerEvent { event: "container_started", container: "prover-0", request_id: None, what: "" };
        assert_eq!(started.text(), r#"{"event":"container_started","container":"prover-0"}"#);
    }
}
