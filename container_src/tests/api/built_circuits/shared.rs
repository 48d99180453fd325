//! Two builders on one PostgreSQL: each circuit is built once, whichever of them dies.

use std::{path::Path, thread};

use edgeprove_testkit::{TestServer, eventually, postgres::Cluster};
use serde_json::Value;

use super::{builds, prove, range, request, toolchain, use_compilers, wait_until_ready};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// The requests to each server.
const REQUESTS: usize = 20;

fn start(cluster: &Cluster, artifacts: &Path) -> TestServer {
    TestServer::start(|settings| {
        settings.environment.push(("DATABASE_URL".to_owned(), cluster.url()));
        settings.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), KEY.to_owned()));
        settings.flag("--artifacts", &artifacts.display());
        settings.flag("--anonymous-role", "operator");
        settings.flag("--lease", "10s");
        use_compilers(settings, &toolchain());
    })
}

/// Asks both servers for one circuit at once, and returns its id.
#[track_caller]
fn ask_both(servers: &[TestServer; 2], body: &Value) -> String {
    let ids: Vec<String> = thread::scope(|scope| {
        let ask = |server| {
            let response = request(server, body);
            assert!([200, 202].contains(&response.status.as_u16()), "{response:?}");
            response.json()["id"].as_str().unwrap().to_owned()
        };
        let asking: Vec<_> = servers
            .iter()
            .cycle()
            .take(2 * REQUESTS)
            .map(|server| scope.spawn(move || ask(server)))
            .collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    ids[0].clone()
}

/// Whether this server has started the build of a circuit.
fn builds_it(server: &TestServer, id: &str) -> bool {
    let starts_it = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        line["message"] == "job started" && line["kind"] == "build" && line["subject"] == id
    };
    server.log().lines().any(starts_it)
}

#[test]
fn two_builders_build_a_circuit_once() {
    let Some(cluster) = Cluster::start() else { return };
    let artifacts = tempfile::tempdir().unwrap();
    let mut servers = [(); 2].map(|()| start(&cluster, artifacts.path()));
    let id = ask_both(&servers, &range("circom"));
    for server in &servers {
        wait_until_ready(server, &id);
        assert_eq!(prove(server, &id, 123).status, 200, "each server loads it");
    }
    assert_eq!(servers.iter().map(builds).sum::<u64>(), 1, "one job was accepted");

    // The builder of the next circuit dies, and the other one builds it when its lease has ended.
    let id = ask_both(&servers, &range("noir"));
    let builder = eventually("a server has started the build", || {
        (0..2).find(|&index| builds_it(&servers[index], &id))
    });
    servers[builder].kill();
    let left = &servers[1 - builder];
    wait_until_ready(left, &id);
    assert!(builds_it(left, &id));
    left.assert_healthy();
}
