//! Deployments of verifier contracts, on a real Ethereum node.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use edgeprove_artifacts::{
    ArtifactKey, ArtifactSettings, ArtifactStore, KeyRing, KeySettings, LocationSettings,
};
use edgeprove_chain::DeployerKey;
use edgeprove_circuit_store::{Bounds, CircuitStore, NewCircuit, package::PackedFile};
use edgeprove_job_queue::store::{Database, DatabaseLocation, OpenError, sqlite::DataFolder};
use edgeprove_protocol::{
    ProblemType, Target,
    answer::{DeploymentEntry, DeploymentStatus},
    headers,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    circuit_commands::circuit_command,
    support::{
        Receiver, Response, TestServer,
        ethereum::{ANVIL_CHAIN, Anvil, FakeAnswer, FakeNode, RICH_ACCOUNT, RICH_KEY, linked_contracts},
        eventually,
        postgres::Cluster,
        secret_search::assert_absent,
        settings::Settings,
        wait::{LIMIT, within},
    },
    webhooks,
};

/// The key of an account without coins.
const POOR_KEY: &str = "0x00000000000000000000000000000000000000000000000000000000c0ffee01";
/// A key of artifacts that servers share.
const ARTIFACT_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// What looks like a key in the URL of a fake node.
const URL_KEY: &str = "s3cr3t-key";

/// Publishes two circuits in a data folder: `deployable`, and `bare`, which has no compiled contracts.
fn publish(data: &Path) {
    let keys = KeySettings::File(data.join("artifact.key"));
    publish_in(Database::in_folder(DataFolder::claim(data).unwrap()), data.join("artifacts"), keys);
}

fn publish_in(
    database: impl Future<Output = Result<Database, OpenError>>,
    artifacts: PathBuf,
    keys: KeySettings,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = database.await.unwrap();
        let location = LocationSettings::Folder(artifacts);
        let artifacts = Arc::new(ArtifactStore::open(&ArtifactSettings { location, keys }).unwrap());
        let store =
            CircuitStore::new(database.clone(), artifacts, Bounds { circuits_max: 10, bytes_max: 1 << 20 });
        let contracts = linked_contracts().to_string();
        for (id, file) in [("deployable", "verifier.json"), ("bare", "verifier.sol")] {
            let description = json!({
                "template": "rangeCheck", "language": "circom", "params": {}, "targets": ["groth16"], "gates": 1,
                "circuit_size": 1, "vk_hash": "0x00", "inputs": null, "artifacts": [],
            });
            let circuit = NewCircuit {
                id: id.parse().unwrap(),
                hash: "01".repeat(32),
                version: "02".repeat(32),
                target: Target::Groth16,
                description: description.to_string(),
                family: None,
            };
            let content = contracts.clone().into_bytes().into();
            store.publish(circuit, &[PackedFile { name: file, content }]).await.unwrap();
        }
        database.close().await;
    });
}

/// A server that deploys by this node, for operators without a key.
fn deployer(data: &Path, node: &str) -> impl Fn(&mut Settings) + use<> {
    let (data, node) = (data.join("data"), node.to_owned());
    move |settings| {
        settings.flag("--data", &data.display());
        settings.flag("--anonymous-role", "operator");
        settings.flag("--deploy-rpc", &node);
    }
}

fn request(server: &TestServer, circuit: &str, body: &Value) -> Response {
    server.json_request(&format!("/v1/circuits/{circuit}/deploy"), body.to_string()).send()
}

fn deployments(server: &TestServer, circuit: &str) -> Vec<DeploymentEntry> {
    let response = server.get(&format!("/v1/circuits/{circuit}"));
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_value(response.json()["deployments"].clone()).unwrap_or_default()
}

/// Waits until the only deployment of `deployable` has ended.
#[track_caller]
fn wait_until_ended(server: &TestServer) -> DeploymentEntry {
    within(LIMIT, "the deployment ends", || {
        let [entry] = deployments(server, "deployable").try_into().ok()?;
        Some(entry).filter(|entry: &DeploymentEntry| entry.status != DeploymentStatus::Pending)
    })
}

/// Calls the verifier, which calls its library.
fn call(anvil: &Anvil, entry: &DeploymentEntry) -> String {
    let call = json!({ "to": entry.address, "gas": "0x100000" });
    anvil.ask("eth_call", &json!([call, "latest"])).as_str().unwrap().to_owned()
}

#[test]
fn contracts_are_deployed_once_and_listed() {
    let (data, anvil) = (tempfile::tempdir().unwrap(), Anvil::start());
    publish(&data.path().join("data"));
    let to = anvil.address();
    let node = FakeNode::start(move |_, _| FakeAnswer::Forward(to));
    let audit = data.path().join("audit.jsonl");
    let receiver = Receiver::start_default();
    let server = TestServer::start(|settings| {
        webhooks::to(&[&receiver])(settings);
        deployer(data.path(), &node.address().to_string())(settings);
        settings.flag("--audit", &audit.display());
    });
    let before = anvil.ask("evm_snapshot", &json!([]));
    assert!(deployments(&server, "deployable").is_empty());
    let body = json!({ "rpcUrl": node.url(), "privateKey": RICH_KEY, "chainId": ANVIL_CHAIN });
    let first = server.json_request("/v1/circuits/deployable/deploy", body.to_string());
    let first = first.header(headers::CALLBACK_URL, &receiver.url("/")).send();
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.header("location"), "/v1/circuits/deployable");
    let again = request(&server, "deployable", &body);
    let entry = wait_until_ended(&server);
    assert_eq!(entry.status, DeploymentStatus::Deployed, "{entry:?}");
    if again.status == 202 {
        assert_eq!(again.json()["job_id"], first.json()["job_id"]);
    }
    assert_eq!((entry.chain_id, entry.deployer.as_str()), (ANVIL_CHAIN, RICH_ACCOUNT));
    let names: Vec<_> = entry.contracts.iter().map(|contract| contract.name.as_str()).collect();
    assert_eq!(names, ["Library", "Verifier"]);
    assert_eq!(entry.address.as_ref(), Some(&entry.contracts[1].address));
    for contract in &entry.contracts {
        let receipt = anvil.ask("eth_getTransactionReceipt", &json!([contract.transaction]));
        assert_eq!(receipt["contractAddress"].as_str().unwrap(), contract.address.to_lowercase());
    }
    assert_eq!(call(&anvil, &entry), format!("0x{:064x}", 42));

    let event = webhooks::assert_signed(&webhooks::wait_for(&receiver, 1)[0]);
    assert_eq!(event["type"], "deploy.completed");
    assert_eq!(serde_json::from_value::<DeploymentEntry>(event["data"].clone()).unwrap(), entry);

    // The same again, also with the key in another form, deploys nothing.
    let body = json!({ "rpcUrl": node.url(), "privateKey": format!("0x{}", RICH_KEY.to_uppercase()) });
    let response = request(&server, "deployable", &body);
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(serde_json::from_slice::<DeploymentEntry>(&response.body).unwrap(), entry);
    assert_eq!(anvil.transactions(RICH_ACCOUNT), 2);
    assert!(deployments(&server, "bare").is_empty());

    let log = String::from_utf8(server.get("/v1/audit").body).unwrap();
    let is_entry = |line: &&str| line.contains("\"circuit.deployed\"") && line.contains("\"deployable\"");
    let [line] = log.lines().filter(is_entry).collect::<Vec<_>>()[..] else { panic!("one entry: {log}") };
    let verifier = format!("\"eip155:{}:{}\"", entry.chain_id, entry.address.as_deref().unwrap());
    assert!(line.contains(&verifier), "{line}");

    // The chain loses the blocks, so that there is no contract where it was.
    anvil.ask("evm_revert", &json!([before]));
    assert_eq!(anvil.transactions(RICH_ACCOUNT), 0);
    let response = request(&server, "deployable", &body);
    assert_eq!(response.status, 202, "{response:?}");
    let entry = wait_until_ended(&server);
    assert_eq!(entry.status, DeploymentStatus::Deployed, "{entry:?}");
    assert_eq!(call(&anvil, &entry), format!("0x{:064x}", 42));
    assert_eq!(anvil.transactions(RICH_ACCOUNT), 2);
    let text = server.log();
    assert!(!text.contains(RICH_KEY) && !text.contains(URL_KEY));
    server.assert_healthy();
    drop(server);
    assert_absent(data.path(), &[RICH_KEY, &RICH_KEY.to_uppercase(), URL_KEY]);
}

#[test]
fn a_command_deploys_and_prints_the_address() {
    let (data, anvil) = (tempfile::tempdir().unwrap(), Anvil::start());
    publish(&data.path().join("data"));
    let server = TestServer::start(deployer(data.path(), &anvil.address().to_string()));
    let key_file = |key: &str| {
        let path = data.path().join(format!("account {}", &key[..6]));
        fs::write(&path, format!("{key}\n")).unwrap();
        path.display().to_string()
    };
    let url = format!("http://{}", anvil.address());
    let deploy = |id: &str, key: &str, more: &[&str]| {
        let (key, limit) = (key_file(key), "5m");
        let arguments = ["deploy", id, "--rpc-url", &url, "--private-key-file", &key, "--wait", limit];
        let ended = circuit_command(&server, &[&arguments[..], more].concat());
        assert!(!ended.stderr.contains(RICH_KEY), "{ended:?}");
        ended
    };
    let deployed = deploy("deployable", RICH_KEY, &["--chain-id", &ANVIL_CHAIN.to_string()]);
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    let [entry] = deployments(&server, "deployable").try_into().unwrap();
    assert_eq!(Some(deployed.stdout.trim()), entry.address.as_deref());
    let again = deploy("deployable", RICH_KEY, &["--json"]);
    assert_eq!(serde_json::from_str::<DeploymentEntry>(&again.stdout).unwrap(), entry);

    let poor = deploy("deployable", POOR_KEY, &[]);
    assert_eq!(poor.code, Some(1), "{poor:?}");
    assert!(poor.stderr.contains("were not deployed") && poor.stderr.contains("coins"), "{poor:?}");
    for (id, key, more, code, reason) in [
        ("deployable", RICH_KEY, &["--chain-id", "5"][..], 65, "chain"),
        ("deployable", "no key", &[], 65, "a private key is 64"),
        ("bare", RICH_KEY, &[], 1, "circuit_not_deployable"),
        ("none", RICH_KEY, &[], 1, "circuit_not_found"),
        ("deployable", RICH_KEY, &["--chain-id", "x"], 64, "--chain-id"),
    ] {
        let refused = deploy(id, key, more);
        assert_eq!(refused.code, Some(code), "{refused:?}");
        assert!(refused.stderr.contains(reason), "{reason}: {refused:?}");
    }
    let both = ["deploy", "deployable", "--rpc-url", &url, "--private-key-file", "-", "--key-file", "-"];
    let refused = circuit_command(&server, &both);
    assert_eq!(refused.code, Some(64), "{refused:?}");
    assert!(refused.stderr.contains("both be standard input"), "{refused:?}");
    server.finish();
}

#[test]
fn wrong_requests_for_deployments_are_refused() {
    let data = tempfile::tempdir().unwrap();
    publish(&data.path().join("data"));
    let node = FakeNode::start(|_, _| FakeAnswer::Result(json!("0x1")));
    let broken = FakeNode::start(|_, _| FakeAnswer::BreakOff);
    let moved =
        b"HTTP/1.1 307 Moved\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_vec();
    let moved = FakeNode::start(move |_, _| FakeAnswer::Bytes(moved.clone()));
    let refusing =
        FakeNode::start(|_, _| FakeAnswer::Error(-32_000, format!("the key {URL_KEY} is invalid")));
    let allowed = [&node, &broken, &moved, &refusing].map(|node| node.address().to_string()).join(",");
    let server = TestServer::start(deployer(data.path(), &format!("{allowed},*")));
    let (url, key) = (node.url(), RICH_KEY);
    let valid = json!({ "rpcUrl": url, "privateKey": key });
    let with = |name: &str, value: Value| {
        let mut body = valid.clone();
        body[name] = value;
        body
    };

    let short = &key[1..];
    for private_key in
        [json!(short), json!("hunter2hunter2"), json!(20_261_130_123_u64), json!(null), json!([key])]
    {
        let problem = request(&server, "deployable", &with("privateKey", private_key.clone()));
        let problem = problem.assert_refused(ProblemType::InvalidRequest);
        assert_eq!(problem.field.as_deref(), Some("privateKey"));
        let shown = private_key.to_string();
        let shown = shown.trim_matches(['"', '[', ']']);
        assert!(shown == "null" || !serde_json::to_string(&problem).unwrap().contains(shown), "{problem:?}");
    }
    for chain_id in [json!("1"), json!(0), json!(-1), json!(1.5), json!(u64::MAX), json!(2)] {
        let problem = request(&server, "deployable", &with("chainId", chain_id));
        assert_eq!(problem.assert_refused(ProblemType::InvalidRequest).field.as_deref(), Some("chainId"));
    }
    for url in [json!(""), json!(7), json!("rpc.example"), json!("file:///etc/passwd")] {
        let problem = request(&server, "deployable", &with("rpcUrl", url));
        assert_eq!(problem.assert_refused(ProblemType::InvalidRequest).field.as_deref(), Some("rpcUrl"));
    }
    for url in [
        "http://rpc.example/",
        "http://127.0.0.1:1/",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/",
        "https://[::ffff:10.0.0.1]/",
        // A name of an internal address.
        "https://localhost/",
    ] {
        let response = request(&server, "deployable", &with("rpcUrl", json!(url)));
        response.assert_refused(ProblemType::NodeNotAllowed);
    }
    for node in [broken, moved] {
        let response = request(&server, "deployable", &with("rpcUrl", json!(node.url())));
        response.assert_refused_for_now(ProblemType::NodeUnavailable);
    }
    let problem = request(&server, "deployable", &with("rpcUrl", json!(refusing.url())));
    let problem = problem.assert_refused_for_now(ProblemType::DeploymentFailed);
    assert!(problem.detail.contains("is invalid") && !problem.detail.contains(URL_KEY), "{}", problem.detail);
    for body in [json!({}), json!([]), json!({ "rpcUrl": url }), with("other", json!(1))] {
        request(&server, "deployable", &body).assert_refused(ProblemType::InvalidRequest);
    }
    let large = json!({ "x": "x".repeat(20_000) });
    request(&server, "deployable", &large).assert_refused(ProblemType::CircuitTooLarge);
    for circuit in ["range_check", "none", "a%2fb"] {
        request(&server, circuit, &valid).assert_refused(ProblemType::CircuitNotFound);
    }
    request(&server, "bare", &valid).assert_refused(ProblemType::CircuitNotDeployable);
    assert!(deployments(&server, "deployable").is_empty());
    let log = server.log();
    assert!(!log.contains(&key[1..]) && !log.contains(URL_KEY) && !log.contains("20261130123"));
    server.assert_healthy();
}

#[test]
fn only_operators_deploy_and_see_why_it_failed() {
    let (data, anvil) = (tempfile::tempdir().unwrap(), Anvil::start());
    publish(&data.path().join("data"));
    let keys = data.path().join("keys.toml");
    let digest = |key: &str| hex::encode(Sha256::digest(key));
    let entry =
        |name: &str, role: &str| format!("[keys.{name}]\nrole = '{role}'\nsha256 = ['{}']\n", digest(name));
    fs::write(&keys, [entry("alice", "operator"), entry("carol", "priority")].concat()).unwrap();
    let settings = |settings: &mut Settings| {
        settings.flag("--data", &data.path().join("data").display());
        settings.flag("--keys-file", &keys.display());
    };
    let body = json!({ "rpcUrl": anvil.url(), "privateKey": POOR_KEY });
    let ask = |server: &TestServer, key: &str| {
        let request = server.json_request("/v1/circuits/deployable/deploy", body.to_string());
        request.header("x-api-key", key).send()
    };

    // Nothing is deployed without a list of nodes.
    let server = TestServer::start(settings);
    ask(&server, "alice").assert_refused(ProblemType::DeployingDisabled);
    server.finish();

    let server = TestServer::start(|s| {
        settings(s);
        s.flag("--deploy-rpc", &anvil.address());
    });
    ask(&server, "carol").assert_refused(ProblemType::NotAllowed);
    request(&server, "deployable", &body).assert_refused(ProblemType::ApiKeyRequired);
    assert_eq!(ask(&server, "alice").status, 202);
    let seen = wait_until_ended(&server);
    assert_eq!((seen.status, seen.error, seen.address), (DeploymentStatus::Failed, None, None));
    let seen = server
        .request(http::Method::GET, "/v1/circuits/deployable")
        .header("x-api-key", "alice")
        .send()
        .json();
    let error = &seen["deployments"][0]["error"];
    assert_eq!(error["code"], "deployment_failed", "{seen}");
    assert!(error["detail"].as_str().unwrap().contains("has 0 coins"), "{error}");

    // With coins the same request succeeds.
    anvil.give_coins(seen["deployments"][0]["deployer"].as_str().unwrap(), 1_000_000_000_000_000_000);
    assert_eq!(ask(&server, "alice").status, 202);
    let entry = within(LIMIT, "the contracts are deployed", || {
        Some(wait_until_ended(&server)).filter(|entry| entry.status == DeploymentStatus::Deployed)
    });
    assert_eq!(call(&anvil, &entry), format!("0x{:064x}", 42));
    assert!(!server.log().contains(&POOR_KEY[2..]));
}

#[test]
fn a_killed_server_deploys_nothing_twice() {
    let (data, anvil) = (tempfile::tempdir().unwrap(), Anvil::start());
    publish(&data.path().join("data"));
    let body = json!({ "rpcUrl": anvil.url(), "privateKey": RICH_KEY });
    anvil.ask("evm_setAutomine", &json!([false]));
    let settings = deployer(data.path(), &anvil.address().to_string());
    let mut server = TestServer::start(&settings);
    assert_eq!(request(&server, "deployable", &body).status, 202);
    within(LIMIT, "the first transaction is sent", || {
        let pending = anvil.ask("eth_getTransactionCount", &json!([RICH_ACCOUNT, "pending"]));
        (pending == "0x1").then_some(())
    });
    server.kill();

    // The key is gone, so the next server cannot go on by itself.
    let mut server = TestServer::start(&settings);
    let failed = wait_until_ended(&server);
    assert_eq!(failed.status, DeploymentStatus::Failed, "{failed:?}");
    let error = failed.error.unwrap();
    assert!(
        matches!(error.code.known(), Some(ProblemType::WorkerLost | ProblemType::DeploymentFailed)),
        "{error:?}"
    );

    // The same request waits for the transaction of before.
    assert_eq!(request(&server, "deployable", &body).status, 202);
    anvil.ask("evm_setAutomine", &json!([true]));
    anvil.ask("evm_mine", &json!([]));
    let entry = wait_until_ended(&server);
    assert_eq!(entry.status, DeploymentStatus::Deployed, "{entry:?}");
    assert_eq!(anvil.transactions(RICH_ACCOUNT), 2);
    assert_eq!(call(&anvil, &entry), format!("0x{:064x}", 42));
    server.assert_healthy();

    // A server that shuts down finishes what it began, and accepts nothing more.
    anvil.ask("evm_setAutomine", &json!([false]));
    let body = json!({ "rpcUrl": anvil.url(), "privateKey": POOR_KEY });
    let account = begin_poor_deployment(&server, &anvil, &body);
    server.signal(Signal::TERM);
    eventually("the server reports that it is not ready", || {
        (server.get("/readyz").status == 503).then_some(())
    });
    request(&server, "deployable", &body).assert_refused_for_now(ProblemType::NotReady);
    anvil.ask("evm_setAutomine", &json!([true]));
    anvil.ask("evm_mine", &json!([]));
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert_eq!(anvil.transactions(&account), 2);
}

/// Starts a deployment by the account of [`POOR_KEY`], which gets coins, and waits until its first transaction waits for a
/// block. Returns the account.
#[track_caller]
fn begin_poor_deployment(server: &TestServer, anvil: &Anvil, body: &Value) -> String {
    let account = DeployerKey::parse(POOR_KEY).unwrap().address().to_string();
    anvil.give_coins(&account, 1_000_000_000_000_000_000);
    let response = request(server, "deployable", body);
    assert_eq!(response.status, 202, "{response:?}");
    eventually("the first transaction is sent", || {
        let pending = anvil.ask("eth_getTransactionCount", &json!([account, "pending"]));
        (pending == "0x1").then_some(())
    });
    account
}

#[test]
fn another_server_takes_over_a_waiting_deployment() {
    let Some(cluster) = Cluster::start() else { return };
    let (folder, anvil) = (tempfile::tempdir().unwrap(), Anvil::start());
    let artifacts = folder.path().join("artifacts");
    let location = DatabaseLocation::Postgres(cluster.url().parse().unwrap());
    let keys = KeySettings::Given(KeyRing::new(ArtifactKey::read(ARTIFACT_KEY).unwrap()));
    publish_in(Database::open(&location), artifacts.clone(), keys);
    let settings = |settings: &mut Settings| {
        settings.environment.push(("DATABASE_URL".to_owned(), cluster.url()));
        settings.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), ARTIFACT_KEY.to_owned()));
        settings.flag("--artifacts", &artifacts.display());
        settings.flag("--anonymous-role", "operator");
        settings.flag("--deploy-rpc", &anvil.address());
    };
    anvil.ask("evm_setAutomine", &json!([false]));
    let mut first = TestServer::start(settings);
    let running = json!({ "rpcUrl": anvil.url(), "privateKey": POOR_KEY });
    begin_poor_deployment(&first, &anvil, &running);
    // One deployment runs at a time on a server with few workers, so that this one waits.
    let body = json!({ "rpcUrl": anvil.url(), "privateKey": RICH_KEY });
    let waiting = request(&first, "deployable", &body);
    assert_eq!(waiting.status, 202, "{waiting:?}");
    first.kill();

    let second = TestServer::start(settings);
    let again = request(&second, "deployable", &body);
    assert_eq!(again.status, 202, "{again:?}");
    assert_eq!(again.json()["job_id"], waiting.json()["job_id"]);
    anvil.ask("evm_setAutomine", &json!([true]));
    let entry = within(LIMIT, "the contracts are deployed", || {
        let entries = deployments(&second, "deployable");
        entries
            .into_iter()
            .find(|entry| entry.deployer == RICH_ACCOUNT && entry.status != DeploymentStatus::Pending)
    });
    assert_eq!(entry.status, DeploymentStatus::Deployed, "{entry:?}");
    assert_eq!(call(&anvil, &entry), format!("0x{:064x}", 42));
    second.assert_healthy();
}
