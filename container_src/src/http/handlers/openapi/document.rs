//! Makes the OpenAPI document.

use std::sync::LazyLock;

use edgeprove_protocol::{
    Problem,
    endpoints::{self, Class, Endpoint},
    headers,
    receipt::Receipt,
};
use serde_json::{Map, Value, json};

use super::{operation::Tag, operations, schemas::Schemas};

/// The version of the format.
const OPENAPI: &str = "3.1.0";

/// The document as JSON, made at the first use.
pub(super) static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// Makes the document.
pub(super) fn document() -> Value {
    let mut schemas = Schemas::default();
    let mut paths = Map::new();
    for operation in operations::all() {
        // A test compares the operations with the endpoints.
        let Some(endpoint) = endpoints::find_on_server(operation.method, operation.path) else { continue };
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        let method = operation.method.as_str().to_ascii_lowercase();
        path[method] = operation.document(endpoint.summary, security(endpoint), &mut schemas);
    }
    // Every operation refers to it.
    schemas.of::<Problem>();
    // The text in `receipt` has it.
    schemas.of::<Receipt>();
    json!({
        "openapi": OPENAPI,
        "info": {
            "title": "Edgeprove",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Makes zero-knowledge proofs on a server.",
            "description": "Send a witness or inputs, and get a verified proof. Every failure is a problem document (RFC 9457) with a \
                            stable code; `GET /problems/{code}` explains it.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "This server, or the edge in front of it." }],
        "tags": Tag::ALL.map(|tag| json!({ "name": tag.name(), "description": tag.description() })),
        "paths": paths,
        "components": {
            "schemas": schemas.into_components(),
            "securitySchemes": {
                "apiKey": {
                    "type": "apiKey", "in": "header", "name": headers::API_KEY,
                    "description": "An API key, where the server has any.",
                },
                "bearer": {
                    "type": "http", "scheme": "bearer",
                    "description": "An API key, or the voucher of a page.",
                },
                "linkToken": {
                    "type": "apiKey", "in": "query", "name": endpoints::LINK_TOKEN,
                    "description": "The token of a job's link, with which a page without a key reads this job.",
                },
            },
        },
    })
}

/// Which of the security schemes a request may use. The empty one stands for a server without keys.
fn security(endpoint: &Endpoint) -> Value {
    match endpoint.class {
        Class::Info | Class::Probe => json!([]),
        Class::LinkedJob => json!([{}, { "apiKey": [] }, { "bearer": [] }, { "linkToken": [] }]),
        Class::Proof
        | Class::Circuit
        | Class::JobList
        | Class::Job
        | Class::Voucher
        | Class::Work
        | Class::Operator => json!([{}, { "apiKey": [] }, { "bearer": [] }]),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, env, fs, path::Path};

    use edgeprove_protocol::ProblemType;

    use super::*;

    #[test]
    fn every_endpoint_has_one_operation() {
        let described: Vec<_> =
            operations::all().iter().map(|operation| (operation.method, operation.path)).collect();
        let expected: BTreeSet<_> =
            endpoints::on_server().map(|endpoint| (endpoint.method, endpoint.path)).collect();
        assert_eq!(described.len(), expected.len(), "an operation stands twice");
        assert_eq!(BTreeSet::from_iter(described), expected);
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let all = operations::all();
        let names: BTreeSet<_> = all.iter().map(|operation| operation.id).collect();
        assert_eq!(names.len(), all.len());
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric())));
    }

    #[test]
    fn every_problem_of_a_server_is_named_somewhere() {
        let named: BTreeSet<_> =
            operations::all().iter().flat_map(|operation| operation.problems.clone()).collect();
        // The edge alone answers with these.
        let of_edge = [
            ProblemType::EdgeMisconfigured,
            ProblemType::ContainerLost,
            ProblemType::ContainerBadResponse,
            ProblemType::ContainerUnavailable,
            ProblemType::LengthRequired,
        ];
        for kind in ProblemType::ALL {
            // No operation has a wrong method.
            let elsewhere = of_edge.contains(kind) || *kind == ProblemType::MethodNotAllowed;
            assert_eq!(named.contains(kind), !elsewhere, "{}", kind.code());
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 30, "{found:?}");
        for reference in found {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
    }

    #[test]
    fn the_committed_document_is_that_of_the_code() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
        // People read the differences between its versions.
        let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if env::var_os("EDGEPROVE_BLESS").is_some() {
            fs::write(&file, &text).unwrap();
        }
        let committed = fs::read_to_string(&file).unwrap_or_default();
        assert!(committed == text, "docs/openapi.json is old: run this test with EDGEPROVE_BLESS=1");
    }
}
