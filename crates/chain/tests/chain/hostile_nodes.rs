//! Nodes that lie, hang, redirect, or send without end.

use std::time::Duration;

use edgeprove_chain::{DeployError, Node, NodeError};
use edgeprove_outbound::{AllowedHost, AllowedHosts, Timeouts};
use edgeprove_testkit::{
    ethereum::{ANVIL_CHAIN, Anvil, FakeAnswer, FakeNode},
    eventually,
    wait::LIMIT,
};
use serde_json::{Value, json};

use crate::support::{Memory, deploy, key, node};

const COIN: u128 = 1_000_000_000_000_000_000;

/// The error with a node that answers everything like this.
async fn asked(answer: FakeAnswer) -> NodeError {
    asked_within(answer, Duration::from_secs(30)).await
}

async fn asked_within(answer: FakeAnswer, request: Duration) -> NodeError {
    let fake = FakeNode::start(move |_, _| answer.clone());
    let allowed = AllowedHosts(vec![fake.address().to_string().parse().unwrap()]);
    let timeouts = Timeouts { connect: Duration::from_secs(5), request };
    let node = Node::new(allowed.admit(&fake.url()).unwrap(), timeouts).unwrap();
    let error = node.chain_id().await.unwrap_err();
    assert!(!error.to_string().contains("s3cr3t"), "{error}");
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
    error
}

#[tokio::test]
async fn a_node_has_bounded_time_and_size() {
    let silent = asked_within(FakeAnswer::Silence, Duration::from_millis(200)).await;
    assert!(matches!(silent, NodeError::TooSlow { .. }), "{silent}");
    assert!(matches!(asked(FakeAnswer::BreakOff).await, NodeError::Unreachable { .. }));
    assert!(matches!(asked(FakeAnswer::Endless).await, NodeError::TooLarge { .. }));
    let large = FakeAnswer::Result("0".repeat(2 << 20).into());
    assert!(matches!(asked(large).await, NodeError::TooLarge { .. }));
}

#[tokio::test]
async fn only_proper_answers_count() {
    let http = |status: &str, body: &str| {
        FakeAnswer::Bytes(
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes(),
        )
    };
    for body in ["", "<html>", "{}", "[]", r#"{"id":99,"result":"0x1"}"#, r#"{"result":"0x1"}"#, "null"] {
        let error = asked(http("200 OK", body)).await;
        assert!(matches!(error, NodeError::Improper { .. }), "{body}: {error}");
    }
    for result in [
        json!(null),
        json!(1),
        json!("1"),
        json!("0x"),
        json!("0x-1"),
        json!("0x1ffffffffffffffff"),
        json!({}),
    ] {
        let error = asked(FakeAnswer::Result(result.clone())).await;
        assert!(matches!(error, NodeError::Improper { .. }), "{result}: {error}");
    }
    for status in ["404 Not Found", "500 Internal Server Error", "204 No Content"] {
        assert!(matches!(asked(http(status, "")).await, NodeError::Status { .. }), "{status}");
    }
    let message = format!("no key s3cr3t-key,\u{7} see https://internal.example/x {}", "y".repeat(10_000));
    let NodeError::Refused { code, message, .. } = asked(FakeAnswer::Error(-32_000, message)).await else {
        panic!()
    };
    assert!(
        code == -32_000 && message.starts_with("no key …,  see … yyy") && message.len() < 400,
        "{message}"
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let inner = FakeNode::start(|_, _| FakeAnswer::Result("0x1".into()));
    for status in ["301", "302", "303", "307", "308"] {
        let head =
            format!("HTTP/1.1 {status} Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", inner.url());
        let error = asked(FakeAnswer::Bytes(head.into_bytes())).await;
        assert!(
            matches!(&error, NodeError::Status { status: found, .. } if found.as_str() == status),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_name_must_not_lead_to_an_internal_address() {
    let fake = FakeNode::start(|_, _| FakeAnswer::Result("0x7a69".into()));
    let port = fake.address().port();
    let ask = |allowed: AllowedHost, scheme: &str| {
        let url = AllowedHosts(vec![allowed]).admit(&format!("{scheme}://localhost:{port}/")).unwrap();
        let node = Node::new(url, Timeouts::default()).unwrap();
        async move { node.chain_id().await }
    };
    let error = ask(AllowedHost::AnyPublic, "https").await.unwrap_err();
    assert!(matches!(error, NodeError::InternalAddress { .. }), "{error}");
    // The operator may allow it.
    let listed = format!("localhost:{port}").parse().unwrap();
    assert_eq!(ask(listed, "http").await.unwrap(), ANVIL_CHAIN);
}

/// Deploys by a node that answers one method like this, and everything else as a real node does. The error comes with the
/// number of transactions in blocks, which is at least that of the transactions that were sent.
async fn deployed(method: &'static str, answer: Value, limit: Duration, sent: u64) -> (DeployError, u64) {
    let anvil = Anvil::start();
    let (key, journal, to) = (key(7), Memory::default(), anvil.address());
    let account = key.address().to_string();
    anvil.give_coins(&account, COIN);
    let liar = FakeNode::start(move |asked, _| {
        if asked == method { FakeAnswer::Result(answer.clone()) } else { FakeAnswer::Forward(to) }
    });
    let error = deploy(&node(&liar.url()), &key, &journal, limit).await.unwrap_err();
    // The node puts a transaction into a block soon after it has it.
    let in_blocks = eventually("the transactions are in blocks", || {
        Some(anvil.transactions(&account)).filter(|in_blocks| *in_blocks >= sent)
    });
    (error, in_blocks)
}

#[tokio::test]
async fn a_node_that_lies_is_found_out() {
    let hash = format!("0x{}", "07".repeat(32));
    let fees = json!({ "oldestBlock": "0x0", "baseFeePerGas": ["0x1", "0xffffffffffffffffffff"], "reward": [["0x1"]] });
    for (method, answer, sent) in [
        ("eth_chainId", json!("0x1"), 0),
        ("eth_feeHistory", fees, 0),
        ("eth_maxPriorityFeePerGas", json!("0xffffffffffffff"), 0),
        ("eth_estimateGas", json!("0xffffffffffff"), 0),
        ("eth_getTransactionCount", json!("0xffffffffffffffff"), 0),
        ("eth_sendRawTransaction", json!(hash), 0),
        ("eth_getCode", json!("0x"), 1),
        ("eth_getTransactionReceipt", json!(null), 1),
        ("eth_getTransactionReceipt", json!({ "transactionHash": hash }), 1),
    ] {
        // These errors are found once the transaction is in a block. The others last as long as the deployment.
        let is_after_block = method == "eth_getCode" || answer.is_null();
        let limit = if is_after_block { LIMIT } else { Duration::from_millis(100) };
        let (error, transactions) = deployed(method, answer.clone(), limit, sent).await;
        assert_eq!(transactions, sent, "{method}: {error}");
        let is_expected = match method {
            "eth_chainId" => matches!(error, DeployError::WrongChain { found: 1, .. }),
            "eth_feeHistory" | "eth_maxPriorityFeePerGas" => matches!(error, DeployError::AbsurdFee { .. }),
            "eth_estimateGas" => matches!(error, DeployError::TooMuchGas { .. }),
            "eth_sendRawTransaction" | "eth_getCode" => matches!(error, DeployError::Contradiction { .. }),
            "eth_getTransactionReceipt" if answer.is_null() => {
                matches!(error, DeployError::UnknownContract { .. })
            }
            // The nonce is that of no transaction that can be in a block.
            "eth_getTransactionCount" => {
                matches!(error, DeployError::Node(_) | DeployError::NotInBlock { .. })
            }
            // The receipt is that of another transaction.
            _ => matches!(error, DeployError::Node(_)),
        };
        assert!(is_expected, "{method} {answer}: {error}");
    }
}
