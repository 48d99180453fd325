//! Webhooks: a server of the caller is notified when a job has finished.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use edgeprove_protocol::{JobDocument, JobId, JobStatus, ProblemType, headers};
use edgeprove_testkit::receiver::WebhookRequest;
use edgeprove_webhooks::{WebhookSecret, secret::signatures};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{
    Receiver, Reply, Response, TestServer,
    client::Request,
    eventually, paths,
    postgres::Cluster,
    processes, samples,
    secret_search::assert_absent,
    settings::Settings,
    wait::{LONG_LIMIT, within},
};

/// Two secrets, as while one replaces the other.
pub(crate) const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="];
/// Parts of a URL that nobody else may see.
const URL_SECRETS: [&str; 3] = ["hook-user", "hook-passw0rd", "hook-t0ken"];

/// A server that sends webhooks to these receivers.
pub(crate) fn to(receivers: &[&Receiver]) -> impl Fn(&mut Settings) + use<> {
    let hosts: Vec<_> = receivers.iter().map(|receiver| receiver.address().to_string()).collect();
    move |settings| {
        settings.flag("--webhook-hosts", &hosts.join(","));
        settings.environment.push(("EDGEPROVE_WEBHOOK_SECRET".to_owned(), SECRETS.join(",")));
        in_memory(settings);
    }
}

/// Jobs are stored in memory, unless the test names a folder.
fn in_memory(settings: &mut Settings) {
    settings.environment.push(("EDGEPROVE_EPHEMERAL_JOBS".to_owned(), "true".to_owned()));
}

fn submission(server: &TestServer, url: &str) -> Request {
    server.submission(samples::range_check()).header(headers::CALLBACK_URL, url)
}

fn submit(server: &TestServer, url: &str) -> JobId {
    submission(server, url).send().assert_accepted().id
}

/// Waits until this many requests have arrived.
#[track_caller]
pub(crate) fn wait_for(receiver: &Receiver, requests: usize) -> Vec<WebhookRequest> {
    within(LONG_LIMIT, "the webhooks arrive", || {
        Some(receiver.received()).filter(|received| received.len() >= requests)
    })
}

/// Checks everything that must be true of every webhook, and returns the event.
#[track_caller]
pub(crate) fn assert_signed(webhook: &WebhookRequest) -> Value {
    let (id, at) = (webhook.header("webhook-id"), webhook.header("webhook-timestamp"));
    let at: u64 = at.parse().expect("a number of seconds");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(id.starts_with("msg_") && !id.contains('.') && now.abs_diff(at) < 600, "{id} {at}");
    let secrets: Vec<WebhookSecret> = SECRETS.iter().map(|secret| secret.parse().unwrap()).collect();
    let body = std::str::from_utf8(&webhook.body).unwrap();
    let signed: Vec<_> = webhook.header("webhook-signature").split(' ').collect();
    let expected = signatures(&secrets, "anonymous", id, at, body);
    let expected: Vec<_> = expected.split(' ').collect();
    // The rest are signatures for the holder of the key.
    assert_eq!((signed.len(), &signed[..SECRETS.len()]), (2 * SECRETS.len(), &expected[..SECRETS.len()]));
    assert_eq!(webhook.header("content-type"), "application/json");
    assert!(!samples::contains_secret(&webhook.body), "{body}");
    let event = webhook.json();
    assert_eq!(event.as_object().unwrap().len(), 3, "{event}");
    event
}

fn metric(server: &TestServer, outcome: &str) -> u64 {
    let series = format!("edgeprove_webhooks_total{{kind=\"prove\",outcome=\"{outcome}\"}} ");
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(&series)).expect("the series exists");
    value.parse().unwrap()
}

/// Verifies a webhook with the code of the documentation, and a secret.
fn verifies_by_documentation(webhook: &WebhookRequest, body: &[u8], secret: &str) -> bool {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/WEBHOOKS.md");
    let document = fs::read_to_string(document).unwrap();
    let (_, snippet) = document.split_once("```js\n").expect("it has a snippet");
    let (snippet, _) = snippet.split_once("```").unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("body"), body).unwrap();
    let main = format!(
        "{snippet}\nimport {{ readFileSync }} from 'node:fs';\n\
         process.exit(verify(JSON.parse(process.argv[2]), readFileSync(process.argv[3]), process.argv[4]) ? 0 : 3);\n"
    );
    fs::write(dir.path().join("main.mjs"), main).unwrap();
    let output = Command::new("node")
        .arg(dir.path().join("main.mjs"))
        .arg(serde_json::to_string(&webhook.headers).unwrap())
        .arg(dir.path().join("body"))
        .arg(secret)
        .output()
        .expect("Node.js runs");
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
    code == Some(0)
}

#[test]
fn a_finished_job_is_reported_with_a_signature() {
    let (data, receiver) = (tempfile::tempdir().unwrap(), Receiver::start_default());
    let audit = data.path().join("audit.jsonl");
    let server = TestServer::start(|settings| {
        to(&[&receiver])(settings);
        settings.flag("--data", &data.path().join("data").display());
        settings.flag("--anonymous-role", "operator");
        settings.flag("--audit", &audit.display());
    });
    let [user, password, token] = URL_SECRETS;
    let url = format!("http://{user}:{password}@{}/hook?token={token}#part", receiver.address());
    let id = submit(&server, &url);
    let [webhook] = wait_for(&receiver, 1).try_into().unwrap();
    let event = assert_signed(&webhook);
    assert_eq!(webhook.path, format!("/hook?token={token}"));
    let basic =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{user}:{password}"));
    assert_eq!(webhook.header("authorization"), format!("Basic {basic}"));
    assert_eq!(event["type"], "prove.completed");
    let job = server.job(id);
    assert_eq!(event["timestamp"].as_str(), job.finished_at.as_deref());
    let reported: JobDocument = serde_json::from_value(event["data"].clone()).unwrap();
    assert_eq!((reported.status, reported), (JobStatus::Completed, job.clone()));
    let proof = server.get(&job.links.proof);
    proof.assert_proves(samples::range_check(), edgeprove_protocol::Target::NoirRecursive);

    assert!(verifies_by_documentation(&webhook, &webhook.body, SECRETS[1]));
    let changed = String::from_utf8(webhook.body.clone()).unwrap().replace("completed", "failed");
    assert!(!verifies_by_documentation(&webhook, changed.as_bytes(), SECRETS[1]));

    eventually("the delivery is counted", || (metric(&server, "delivered") == 1).then_some(()));
    eventually("the delivery is in the audit log", || {
        let log = String::from_utf8(server.get("/v1/audit").body).unwrap();
        let entry = log.lines().find(|line| line.contains("\"webhook.delivered\""))?.to_owned();
        assert!(entry.contains(&id.to_string()) && entry.contains("\"attempt\":1"), "{entry}");
        Some(())
    });
    let listed = server.get("/v1/proofs?owner=anonymous");
    let (log, secrets) = (server.log(), [&URL_SECRETS[..], &SECRETS[..], &[basic.as_str()]].concat());
    for secret in &secrets {
        assert!(!log.contains(secret) && !String::from_utf8_lossy(&listed.body).contains(secret));
    }
    assert_absent(data.path(), &secrets);
    assert_eq!(receiver.received().len(), 1);
    server.assert_healthy();
}

/// The secrets that `edgeprove keys webhook-secret` prints for the holder of a key.
fn secrets_of(name: &str) -> Vec<String> {
    let mut command = Command::new(paths::edgeprove());
    command.env_clear().env("EDGEPROVE_WEBHOOK_SECRET", SECRETS.join(","));
    let output = processes::run(command.args(["keys", "webhook-secret", name]), LONG_LIMIT);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_holder_verifies_own_webhooks_and_no_others() {
    let (data, receiver) = (tempfile::tempdir().unwrap(), Receiver::start_default());
    let keys = data.path().join("keys.toml");
    let digest = hex::encode(Sha256::digest("alice"));
    fs::write(&keys, format!("[keys.alice]\nrole = 'user'\nsha256 = ['{digest}']\n")).unwrap();
    let server = TestServer::start(|settings| {
        to(&[&receiver])(settings);
        settings.flag("--keys-file", &keys.display());
        settings.sample = None;
    });
    let submission = submission(&server, &format!("http://{}/hook", receiver.address()));
    submission.header(headers::API_KEY, "alice").send().assert_accepted();
    let [webhook] = wait_for(&receiver, 1).try_into().unwrap();
    assert_signed(&webhook);
    let verifies = |secret: &String| verifies_by_documentation(&webhook, &webhook.body, secret);
    let alice = secrets_of("alice");
    assert_eq!(alice.len(), SECRETS.len());
    assert!(alice.iter().all(verifies), "with the secret of before and the one of now");
    assert!(!secrets_of("bob").iter().any(verifies));
    let without = processes::run(
        Command::new(paths::edgeprove()).env_clear().args(["keys", "webhook-secret", "alice"]),
        LONG_LIMIT,
    );
    assert_eq!(without.status.code(), Some(64), "{without:?}");
    assert!(String::from_utf8_lossy(&without.stderr).contains("--webhook-secret"), "{without:?}");
}

#[test]
fn a_failing_receiver_is_called_again() {
    let receiver = Receiver::start(|number, _| match number {
        0 => Reply::status(500),
        1 => Reply::BreakOff,
        _ => Reply::status(204),
    });
    let server = TestServer::start(to(&[&receiver]));
    let id = submit(&server, &receiver.url("/"));
    let webhooks = wait_for(&receiver, 3);
    for webhook in &webhooks {
        assert_eq!(assert_signed(webhook)["data"]["id"], id.to_string());
        assert_eq!(
            (webhook.header("webhook-id"), &webhook.body),
            (webhooks[0].header("webhook-id"), &webhooks[0].body)
        );
    }
    let times: Vec<_> = webhooks.iter().map(|webhook| webhook.header("webhook-timestamp")).collect();
    assert!(times[0] < times[1] && times[1] < times[2], "{times:?}");
    let pauses: Vec<_> = webhooks.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(pauses[0] < pauses[1], "{pauses:?}");
    eventually("the attempts are counted", || {
        (metric(&server, "delivered") == 1 && metric(&server, "repeated") == 2).then_some(())
    });
}

#[test]
fn a_receiver_that_wants_none_is_left_alone() {
    let receiver = Receiver::start(|_, _| Reply::status(410));
    let server = TestServer::start(to(&[&receiver]));
    submit(&server, &receiver.url("/"));
    eventually("the webhook is given up", || (metric(&server, "given_up") == 1).then_some(()));
    assert_eq!((receiver.received().len(), metric(&server, "repeated")), (1, 0));
}

#[test]
fn hostile_answers_harm_nobody() {
    let target = Receiver::start_default();
    let location = format!("location: {}\r\n", target.url("/admin"));
    let moved = Receiver::start(move |_, _| Reply::Status(307, location.clone()));
    let endless = Receiver::start(|_, _| Reply::Endless);
    // The target of the redirect is not listed.
    let server = TestServer::start(to(&[&moved, &endless]));
    submit(&server, &moved.url("/"));
    submit(&server, &endless.url("/"));
    wait_for(&moved, 2);
    wait_for(&endless, 1);
    // Its status is an answer, and nobody waits for the end.
    eventually("the delivery is counted", || (metric(&server, "delivered") == 1).then_some(()));
    assert!(target.received().is_empty());
    server.assert_healthy();
}

#[test]
fn a_silent_receiver_delays_no_other_caller() {
    const SILENT: usize = 12;
    let (silent, good) = (Receiver::start(|_, _| Reply::Silence), Receiver::start_default());
    let server = TestServer::start(|settings| {
        to(&[&silent, &good])(settings);
        settings.flag("--jobs-per-caller", "100");
    });
    for number in 0..SILENT {
        submit(&server, &silent.url(&format!("/{number}")));
    }
    submit(&server, &good.url("/"));
    wait_for(&good, 1);
    // In the order of arrival, each would have waited for its time limit before.
    assert!(silent.received().len() < SILENT, "{}", silent.received().len());
    server.assert_healthy();
}

#[test]
fn callback_urls_are_checked() {
    let receiver = Receiver::start_default();
    let port = receiver.address().port();
    let server = TestServer::start(|settings| {
        in_memory(settings);
        settings.flag("--webhook-hosts", "*,hooks.example:8080");
        settings.environment.push(("EDGEPROVE_WEBHOOK_SECRET".to_owned(), SECRETS[0].to_owned()));
    });
    let refused = |url: &str, kind| {
        let problem = submission(&server, url).send().assert_refused(kind);
        assert!(!problem.detail.contains("t0ken"), "{}", problem.detail);
    };
    for url in
        ["", "hooks.example", "ftp://hooks.example/t0ken", "https://a.example/t0ken, https://b.example/"]
    {
        refused(url, ProblemType::InvalidRequest);
    }
    refused(&format!("https://a.example/{}", "x".repeat(3_000)), ProblemType::InvalidRequest);
    for url in [
        "http://a.example/t0ken".to_owned(),
        format!("https://127.0.0.1:{port}/t0ken"),
        "https://[::ffff:10.0.0.1]/t0ken".to_owned(),
        "https://169.254.169.254/t0ken".to_owned(),
    ] {
        refused(&url, ProblemType::CallbackNotAllowed);
    }
    let twice = submission(&server, "https://a.example/").header(headers::CALLBACK_URL, "https://b.example/");
    twice.send().assert_refused(ProblemType::InvalidRequest);
    // A request that makes no job.
    let witness = &samples::range_check().witness;
    let waiting = server.prove_request(witness).header(headers::CALLBACK_URL, "https://a.example/");
    waiting.send().assert_refused(ProblemType::InvalidRequest);

    // A name that leads to an internal address.
    submit(&server, &format!("https://localhost:{port}/t0ken"));
    let line = server.wait_for_log_line("the attempt fails", |line| {
        line["host"] == format!("localhost:{port}") && line["attempt"] == 1 && line["error"].is_string()
    });
    assert!(line["error"].as_str().unwrap().contains("internal"), "{line}");
    assert!(receiver.received().is_empty() && !server.log().contains("t0ken"));

    let without = TestServer::start(in_memory);
    submission(&without, &receiver.url("/")).send().assert_refused(ProblemType::CallbackNotAllowed);
}

#[test]
fn webhooks_need_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secrets");
    fs::write(&file, format!("{}\n\n{}\n", SECRETS[0], SECRETS[1])).unwrap();
    let receiver = Receiver::start_default();
    let fails = |change: &dyn Fn(&mut Settings)| {
        let failed = TestServer::fails_to_start(|settings| {
            settings.flag("--webhook-hosts", &receiver.address());
            change(settings);
        });
        assert_eq!(failed.code, Some(64), "{}", failed.stderr);
        failed.stderr
    };
    assert!(fails(&|_| {}).contains("--webhook-secret"));
    let weak = fails(&|settings| settings.flag("--webhook-secret", "whsec_d2Vhaw=="));
    assert!(weak.contains("24 to 64") && !weak.contains("d2Vhaw"), "{weak}");
    let both = fails(&|settings| {
        settings.flag("--webhook-secret", SECRETS[0]);
        settings.flag("--webhook-secret-file", &file.display());
    });
    assert!(both.contains("keep one of them"), "{both}");
    let wrong = dir.path().join("wrong");
    fs::write(&wrong, format!("{}\nwhsec_d2Vhaw==\n", SECRETS[0])).unwrap();
    let wrong = fails(&|settings| settings.flag("--webhook-secret-file", &wrong.display()));
    assert!(wrong.contains("line 2") && !wrong.contains("d2Vhaw"), "{wrong}");

    let server = TestServer::start(|settings| {
        in_memory(settings);
        settings.flag("--webhook-hosts", &receiver.address());
        settings.flag("--webhook-secret-file", &file.display());
    });
    submit(&server, &receiver.url("/"));
    assert_signed(&wait_for(&receiver, 1)[0]);
}

#[test]
fn a_webhook_survives_the_death_of_its_server() {
    let data = tempfile::tempdir().unwrap();
    // The first attempt is still running when the server dies.
    let receiver = Receiver::start(|number, _| if number == 0 { Reply::Silence } else { Reply::status(200) });
    let change = |settings: &mut Settings| {
        to(&[&receiver])(settings);
        settings.flag("--data", &data.path().display());
    };
    let mut server = TestServer::start(change);
    let id = submit(&server, &receiver.url("/"));
    let first = wait_for(&receiver, 1).remove(0);
    server.kill();
    let server = TestServer::start(change);
    let again = wait_for(&receiver, 2).remove(1);
    assert_eq!(assert_signed(&again)["data"]["id"], id.to_string());
    assert_eq!((again.header("webhook-id"), &again.body), (first.header("webhook-id"), &first.body));
    eventually("the delivery is counted", || (metric(&server, "delivered") == 1).then_some(()));
}

#[test]
fn a_cancelled_job_is_reported() {
    let receiver = Receiver::start_default();
    let server = TestServer::start(to(&[&receiver]));
    let id = server.with_suspended_provers(|| {
        // One after the other, so that the last waits in the queue.
        let jobs: Vec<_> = (0..6).map(|_| submission(&server, &receiver.url("/")).send()).collect();
        let id = jobs.last().unwrap().assert_accepted().id;
        let response = server.request(Method::DELETE, &format!("/v1/proofs/{id}")).send();
        assert!(response.status.is_success(), "{response:?}");
        response
    });
    let id = id.json()["id"].clone();
    let arrived = wait_for(&receiver, 6);
    let events: Vec<_> = arrived.iter().map(assert_signed).collect();
    let event = events.iter().find(|event| event["data"]["id"] == id).expect("each job is reported");
    assert_eq!(
        (event["type"].as_str(), event["data"]["status"].as_str()),
        (Some("prove.cancelled"), Some("cancelled"))
    );
}

#[test]
fn a_repeated_request_is_reported_once_for_each_url() {
    let receiver = Receiver::start_default();
    let server = TestServer::start(to(&[&receiver]));
    let send = |path: &str| -> Response {
        submission(&server, &receiver.url(path)).header("idempotency-key", "order 7").send()
    };
    let id = send("/a").assert_accepted().id;
    assert_eq!(send("/a").assert_accepted().id, id);
    assert_eq!(send("/b").assert_accepted().id, id);
    wait_for(&receiver, 2);
    // Of a job that has finished.
    assert_eq!(send("/a").assert_accepted().id, id);
    assert_eq!(send("/c").assert_accepted().id, id);
    let arrived = wait_for(&receiver, 3);
    let mut paths: Vec<_> = arrived.iter().map(|webhook| webhook.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/a", "/b", "/c"]);
}

#[test]
fn servers_of_one_database_report_a_job_once() {
    const JOBS: usize = 12;
    let Some(cluster) = Cluster::start() else { return };
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start_default());
    let start = || {
        TestServer::start(|settings| {
            to(&[&receiver])(settings);
            settings.environment.push(("DATABASE_URL".to_owned(), cluster.url()));
            settings
                .environment
                .push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), "00".repeat(16) + &"ff".repeat(16)));
            settings.flag("--artifacts", &dir.path().join("artifacts").display());
            settings.flag("--jobs-per-caller", "100");
        })
    };
    let servers = [start(), start()];
    let mut jobs: Vec<_> = (0..JOBS)
        .map(|number| submit(&servers[number % 2], &receiver.url(&format!("/{number}"))).to_string())
        .collect();
    let arrived = wait_for(&receiver, JOBS);
    eventually("every delivery is counted", || {
        (servers.iter().map(|server| metric(server, "delivered")).sum::<u64>() == JOBS as u64).then_some(())
    });
    let id = |webhook: &WebhookRequest| assert_signed(webhook)["data"]["id"].as_str().unwrap().to_owned();
    let mut reported: Vec<_> = arrived.iter().map(id).collect();
    reported.sort_unstable();
    jobs.sort_unstable();
    assert_eq!(reported, jobs);
    assert_eq!(receiver.received().len(), JOBS);
}

#[test]
fn a_build_without_a_builder_owes_nothing() {
    let receiver = Receiver::start_default();
    let server = TestServer::start(to(&[&receiver]));
    let body = json!({"templateName": "rangeCheck", "params": {"min": 1, "max": 2}});
    let request = server.json_request("/v1/circuits", body.to_string());
    let response = request.header(headers::CALLBACK_URL, &receiver.url("/")).send();
    response.assert_refused(ProblemType::BuilderUnavailable);
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    assert!(text.contains("edgeprove_webhooks_owed 0\n"), "{text}");
    assert!(receiver.received().is_empty());
}
