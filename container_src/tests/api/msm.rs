//! The choice between bb's two algorithms for multi-scalar multiplication (MSM).

use std::fs;

use edgeprove_protocol::Target::NoirRecursive;
use rustix::process::Signal;

use crate::support::{TestServer, processes::Process, samples, settings::WARM_PROVERS};

const NEWER: &str = "BB_MSM_NEW=1";
const OLDER: &str = "BB_MSM_LEGACY=1";

/// The number of provers that have this variable in their environment.
fn count_provers(server: &TestServer, variable: &str) -> usize {
    let has = |bb: &Process| {
        let environment = fs::read(format!("/proc/{}/environ", bb.pid)).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == variable.as_bytes())
    };
    server.provers().iter().filter(|bb| has(bb)).count()
}

#[test]
fn a_proof_that_crashed_bb_is_retried_with_the_legacy_msm() {
    let server = TestServer::start_default();
    assert_eq!(count_provers(&server, NEWER), WARM_PROVERS);
    let (mut client, bb) = server.suspend_mid_proof();
    bb.signal(Signal::KILL);
    client.read_response().assert_proves(samples::range_check(), NoirRecursive);
    assert_eq!((count_provers(&server, NEWER), count_provers(&server, OLDER)), (WARM_PROVERS - 1, 1));
    server.assert_healthy();
}

#[test]
fn the_legacy_msm_can_be_selected() {
    let server = TestServer::start(|s| s.flag("--msm", "legacy"));
    assert_eq!((count_provers(&server, NEWER), count_provers(&server, OLDER)), (0, WARM_PROVERS));
    server.prove(&samples::range_check().witness).assert_proves(samples::range_check(), NoirRecursive);
}
