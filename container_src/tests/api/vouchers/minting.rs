//! Who mints vouchers, within which limits, and behind an edge.

use std::{fs, process::Command};

use edgeprove_protocol::{ProblemType, headers, voucher::KeyFingerprint};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{APP, Keyed, keys, minted};
use crate::support::{TestServer, client::Request, eventually, paths, processes, samples, wait};

const EDGE_SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn vouchers_take_from_the_limits_of_their_key() {
    let keyed = Keyed::start_with("proofs_per_day = 2", |s| s.flag("--vouchers-per-minute", "11"));
    let voucher = keyed.mint(&json!({"circuit": "range_check", "uses": 50, "priority": "LOW"}));
    let first = keyed.prove(&voucher).send();
    first.assert_proof_of(samples::range_check());
    assert_eq!(first.header("ratelimit"), "", "a page sees nothing of the limits of its key");
    let by_alice =
        keyed.server.prove_request(&samples::range_check().witness).header(headers::API_KEY, "alice");
    by_alice.send().assert_proof_of(samples::range_check());
    keyed.prove(&voucher).send().assert_refused(ProblemType::QuotaExceeded);
    // Without a priority, a page has that of its voucher.
    let by_bob = minted(&keyed.mint_by("bob", &json!({"circuit": "range_check", "priority": "LOW"})));
    let job = keyed.submit(&by_bob).send().assert_accepted();
    assert_eq!(job.priority.as_str(), "LOW");
    let refused = keyed.mint_by("bob", &json!({"circuit": "range_check", "priority": "HIGH"}));
    refused.assert_refused(ProblemType::NotAllowed);
    minted(&keyed.mint_by("carol", &json!({"circuit": "range_check", "priority": "HIGH"})));
    // Two at once, and eleven a minute.
    let limited = eventually("too many were minted", || {
        let response = keyed.mint_by("alice", &json!({"circuit": "range_check"}));
        (response.status != 201).then_some(response)
    });
    let problem = limited.assert_refused_for_now(ProblemType::RateLimited);
    assert!(problem.detail.contains("11 new vouchers"), "{}", problem.detail);
}

#[test]
fn minting_needs_a_key_and_valid_members() {
    let keyed = Keyed::start_with("", |s| {
        s.flag("--voucher-uses", "10");
        s.flag("--voucher-validity", "2m");
    });
    let mint = |body: &Value| keyed.mint_by("alice", body);
    for (member, value) in [
        ("circuit", json!("../etc")),
        ("uses", json!(11)),
        ("expires", json!(121)),
        ("origin", json!("app.example")),
        ("priority", json!("SOON")),
        ("subject", json!("a b")),
    ] {
        let mut body = json!({"circuit": "range_check"});
        body[member] = value;
        let problem = mint(&body).assert_refused(ProblemType::InvalidRequest);
        assert_eq!(problem.field.as_deref(), Some(member), "{problem:?}");
    }
    mint(&json!({"circuit": "range_check", "key": "alice"})).assert_refused(ProblemType::InvalidRequest);
    mint(&json!([])).assert_refused(ProblemType::InvalidRequest);
    let large = json!({"circuit": "range_check", "subject": "x".repeat(20_000)});
    mint(&large).assert_refused(ProblemType::InputsTooLarge);
    let text = keyed.by("alice", Method::POST, "/v1/vouchers");
    text.send().assert_refused(ProblemType::UnsupportedMediaType);
    let without_key = keyed.server.json_request("/v1/vouchers", r#"{"circuit": "range_check"}"#);
    without_key.send().assert_refused(ProblemType::ApiKeyRequired);
    let open = TestServer::start_default();
    let of_nobody = open.json_request("/v1/vouchers", r#"{"circuit": "range_check"}"#).send();
    of_nobody.assert_refused(ProblemType::ApiKeyRequired);
}

#[test]
fn behind_an_edge_only_the_edge_presents_vouchers() {
    let keyed = Keyed::start_with("", |s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), EDGE_SECRET.to_owned()));
    });
    let by_edge = |request: Request| request.header(headers::EDGE_SECRET, EDGE_SECRET);
    let fingerprint = KeyFingerprint::of(&Sha256::digest("alice").into()).to_string();
    let mint = |with_key: bool| {
        let body = json!({"circuit": "range_check", "uses": 2, "origin": APP}).to_string();
        let request = by_edge(keyed.server.json_request("/v1/vouchers", body));
        let request = request.header(headers::AUTHENTICATED_USER, "alice");
        if with_key { request.header(headers::KEY_FINGERPRINT, &fingerprint).send() } else { request.send() }
    };
    mint(false).assert_refused(ProblemType::VouchersDisabled);
    let voucher = minted(&mint(true));
    let prove = || keyed.server.prove_request(&samples::range_check().witness);
    // The edge has checked origin and key, and names them.
    let page = by_edge(prove())
        .header(headers::AUTHENTICATED_USER, "alice")
        .header(headers::VOUCHER, &voucher.voucher);
    page.send().assert_proof_of(samples::range_check());
    let list = by_edge(keyed.server.request(Method::GET, "/v1/proofs"))
        .header(headers::AUTHENTICATED_USER, "ops")
        .header(headers::VOUCHER, &voucher.voucher);
    list.send().assert_refused(ProblemType::VoucherNotAllowed);
    prove().header(headers::VOUCHER, &voucher.voucher).send().assert_refused(ProblemType::NotFromTheEdge);
    let forged =
        by_edge(prove()).header(headers::AUTHENTICATED_USER, "alice").header(headers::VOUCHER, "epv1.a.b");
    forged.send().assert_refused(ProblemType::VoucherInvalid);

    // Without an edge the header means nothing.
    let direct = Keyed::start();
    let voucher = direct.mint(&json!({"circuit": "range_check"}));
    let sent = direct
        .server
        .prove_request(&samples::range_check().witness)
        .header(headers::VOUCHER, &voucher.voucher);
    sent.send().assert_refused(ProblemType::ApiKeyRequired);

    // An edge could not check vouchers of a secret that it does not have.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keys.toml"), keys("")).unwrap();
    let without = TestServer::start(|s| {
        s.flag("--keys-file", &dir.path().join("keys.toml").display());
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), EDGE_SECRET.to_owned()));
    });
    let mint = by_edge(without.json_request("/v1/vouchers", r#"{"circuit": "range_check"}"#))
        .header(headers::AUTHENTICATED_USER, "alice")
        .header(headers::KEY_FINGERPRINT, &fingerprint);
    mint.send().assert_refused(ProblemType::VouchersDisabled);
}

#[test]
fn the_command_line_mints_a_voucher() {
    let keyed = Keyed::start();
    let key = keyed.dir.path().join("key");
    fs::write(&key, "alice\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(paths::edgeprove());
        let url = format!("http://{}", keyed.server.address());
        command.env_clear().args(["voucher", "--server", &url, "--key-file"]).arg(&key).args(arguments);
        let output = processes::run(&mut command, wait::LIMIT);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let all =
        ["--circuit", "range_check", "--uses", "2", "--expires", "1m", "--priority", "low", "--origin", APP];
    let (code, token, error) = run(&all);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{token}");
    let request = keyed.server.prove_request(&samples::range_check().witness).header("origin", APP);
    // The origin of the page must be allowed to call as well.
    let refused = request.header(headers::API_KEY, token.trim()).send();
    refused.assert_refused(ProblemType::OriginNotAllowed);
    let (code, token, _) = run(&["--circuit", "range_check"]);
    assert_eq!(code, Some(0));
    let request = keyed.server.prove_request(&samples::range_check().witness);
    request.header(headers::API_KEY, token.trim()).send().assert_proof_of(samples::range_check());
    let (code, document, _) = run(&["--circuit", "range_check", "--subject", "user-1", "--json"]);
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!((code, document["subject"].as_str()), (Some(0), Some("user-1")));
    let (code, _, error) = run(&["--circuit", "../x", "--expires", "soon"]);
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("--circuit") && error.contains("--expires"), "{error}");
    let (code, _, error) = run(&["--circuit", "range_check", "--uses", "1000"]);
    assert_eq!(code, Some(65), "{error}");
    assert!(error.contains("`uses`"), "{error}");
}
