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
    /// The container's name.
    pub container: &'a str,
    /// More of it.
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
}
