//! Compares answers of a real server with its OpenAPI document, `docs/openapi.json`: status, media type, problem code, and every
//! member of JSON.

use std::{collections::HashSet, fs, net::SocketAddr, path::Path, sync::LazyLock};

use edgeprove_protocol::{
    endpoints::{self, Method},
    problem,
};
use http::{Uri, header};
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
fn compare(operation: &Value, response: &Response) -> Result<(), String> {
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
    let mut schema = content["schema"].clone();
    schema["components"] = json!({ "schemas": DOCUMENT["components"]["schemas"] });
    let validator = jsonschema::draft202012::new(&schema).expect("the schema is valid");
    let faults = validator.iter_errors(&found).map(|error| format!("{}: {error}", error.instance_path()));
    let faults: Vec<_> = faults.collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
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
