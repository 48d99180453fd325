//! `GET /v1/templates` and `GET /v1/templates/{name}`.

use std::collections::BTreeSet;

use edgeprove_protocol::ProblemType;
use http::Method;
use serde_json::json;

use crate::support::TestServer;

#[test]
fn templates_are_listed_and_described() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.toml");
    std::fs::write(&keys, format!("[keys.alice]\nsha256 = ['{}']\n", "0".repeat(64))).unwrap();
    // Templates need no key, also where keys are set.
    let server = TestServer::start(|s| s.flag("--keys-file", &keys.display()));

    let list = server.get("/v1/templates").json();
    let names: BTreeSet<_> =
        list["templates"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    let expected = ["attestationThreshold", "merkleMembership", "rangeCheck", "rangeCheckPublic"];
    assert_eq!(names, expected.into());

    for entry in list["templates"].as_array().unwrap() {
        let response = server.get(entry["template"].as_str().unwrap());
        assert_eq!(response.status, 200, "{response:?}");
        let template = response.json();
        for member in ["name", "languages", "proves"] {
            assert_eq!(template[member], entry[member]);
        }
        assert_eq!(template["parameters"]["additionalProperties"], json!(false));
        assert!(!template["public_inputs"].as_array().unwrap().is_empty());
        assert!(!template["sample"]["accepted"].as_array().unwrap().is_empty());
        assert!(
            template["sizes"].as_object().unwrap().len() == template["languages"].as_array().unwrap().len()
        );
    }
    let range = server.get("/v1/templates/rangeCheck").json();
    assert_eq!(range["languages"], json!(["noir", "circom"]));
    assert_eq!(range["parameters"]["properties"]["min"]["minimum"], json!(0));
    assert_eq!(range["sample"]["refused"][0]["inputs"]["value"], json!("99"));

    let head = server.request(Method::HEAD, "/v1/templates/rangeCheck").send();
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
}

#[test]
fn an_unknown_template_is_refused_with_the_known_names() {
    let server = TestServer::start_default();
    for name in ["none", "RangeCheck", "rangeCheck.circom", "..%2FrangeCheck", "%00", "%FF", "rangeCheck%20"]
    {
        let problem =
            server.get(&format!("/v1/templates/{name}")).assert_refused(ProblemType::TemplateNotFound);
        assert!(problem.detail.contains("merkleMembership, rangeCheck"), "{}", problem.detail);
        assert!(!problem.detail.contains("none"), "the name is repeated: {}", problem.detail);
    }
    for path in ["/v1/templates/", "/v1/templates/rangeCheck/x", "/problems/%FF"] {
        server.get(path).assert_refused(ProblemType::NotFound);
    }
    let post = server.request(Method::POST, "/v1/templates").send();
    post.assert_refused(ProblemType::MethodNotAllowed);
    server.assert_healthy();
}
