//! Compares answers of a real server with its OpenAPI document, `docs/openapi.json`: status, media type, problem code, and every
//! member of JSON.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, LazyLock},
};

use edgeprove_protocol::{
    endpoints::{self, Method},
    problem,
};
use http::{Uri, header};
use jsonschema::Validator;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::client::Response;

/// The addresses of the servers of this process. An edge has answers of its own.
static SERVERS: LazyLock<Mutex<HashSet<SocketAddr>>> = LazyLock::new(Mutex::default);

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut document: Value = serde_json::from_str(&text).expect("the document is JSON");
    close(&mut document["components"]["schemas"]);
    document
});

/// The validators of the schemas that were used, by the address of the schema in [`DOCUMENT`]. Tests poll.
static VALIDATORS: LazyLock<Mutex<HashMap<usize, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// Answers from this address are checked.
pub(crate) fn register(server: SocketAddr) {
    SERVERS.lock().insert(server);
}

/// Checks an answer. Requests that are not of the contract, such as an unknown path or another method, are not checked.
#[track_caller]
pub(crate) fn check(method: &http::Method, uri: &Uri, response: &Response) {
    let is_of_server = uri.authority().and_then(|authority| authority.as_str().parse().ok());
    if *method == http::Method::HEAD || !is_of_server.is_some_and(|server| SERVERS.lock().contains(&server)) {
        return;
    }
    let Some(endpoint) = endpoints::on_server().find(|endpoint| {
        Some(endpoint.method) == Method::of_request(method.as_str()) && endpoint.matches(uri.path())
    }) else {
        return;
    };
    let operation = &DOCUMENT["paths"][endpoint.path][method.as_str().to_ascii_lowercase()];
    if let Err(fault) = compare(operation, response) {
        let body = String::from_utf8_lossy(&response.body[..response.body.len().min(2000)]);
        panic!("{method} {} {}: {fault}: {body}", endpoint.path, response.status);
    }
}

/// Compares an answer with its operation.
fn compare(operation: &'static Value, response: &Response) -> Result<(), String> {
    let described = &operation["responses"][response.status.as_str()];
    if !described.is_object() {
        return Err("the contract has no such status".to_owned());
    }
    let media = response.header(header::CONTENT_TYPE.as_str());
    if media.is_empty() || response.body.is_empty() {
        return Ok(());
    }
    let plain = media.split(';').next().unwrap_or_default();
    let content = [media, plain, "*/*"].iter().find_map(|media| described["content"].get(media));
    let content = content.ok_or_else(|| format!("the contract has no such media type: {media}"))?;
    if ![problem::MEDIA_TYPE, "application/json"].contains(&plain) {
        return Ok(());
    }
    let found: Value = serde_json::from_slice(&response.body).map_err(|error| error.to_string())?;
    let validator = validator_of(&content["schema"]);
    let faults = validator.iter_errors(&found).map(|error| format!("{}: {error}", error.instance_path()));
    let faults: Vec<_> = faults.collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

fn validator_of(schema: &'static Value) -> Arc<Validator> {
    let mut validators = VALIDATORS.lock();
    let validator = validators.entry(std::ptr::from_ref(schema).addr()).or_insert_with(|| {
        let mut whole = schema.clone();
        whole["components"] = json!({ "schemas": DOCUMENT["components"]["schemas"] });
        Arc::new(jsonschema::draft202012::new(&whole).expect("the schema is valid"))
    });
    Arc::clone(validator)
}

/// Closes every object with named members: a member that the contract does not name is a fault.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            close_members(members);
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn close_members(members: &mut Map<String, Value>) {
    let is_object = members.get("type").is_some_and(|kind| kind == "object");
    if is_object && members.get("properties").is_some_and(Value::is_object) {
        members.entry("additionalProperties").or_insert(false.into());
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn fault(status: StatusCode, media: &'static str, body: &Value) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, media.parse().unwrap())]);
        let response = Response { status, headers, body: body.to_string().into_bytes() };
        compare(&DOCUMENT["paths"]["/livez"]["get"], &response).err()
    }

    #[test]
    fn an_answer_that_differs_from_the_document_is_a_fault() {
        let json = "application/json";
        assert_eq!(fault(StatusCode::OK, json, &json!({ "status": "live" })), None);
        for body in [json!({}), json!({ "status": 1 }), json!({ "status": "live", "other": 1 })] {
            assert!(fault(StatusCode::OK, json, &body).is_some(), "{body}");
        }
        assert!(fault(StatusCode::ACCEPTED, json, &json!({ "status": "live" })).is_some());
        assert!(fault(StatusCode::OK, "text/plain", &json!({ "status": "live" })).is_some());
        let problem = |code| {
            let kind = edgeprove_protocol::ProblemType::from_code(code).unwrap();
            json!(edgeprove_protocol::Problem::new(kind, "because", None))
        };
        let internal = StatusCode::INTERNAL_SERVER_ERROR;
        assert_eq!(fault(internal, problem::MEDIA_TYPE, &problem("internal")), None);
        assert!(fault(internal, problem::MEDIA_TYPE, &problem("proof_failed")).is_some());
    }
}
