//! Which way bb is told to multiply.

use std::fs;

use edgeprove_protocol::Target::NoirRecursive;
use rustix::process::Signal;

use crate::support::{TestServer, processes::Process, samples, settings::WARM_PROVERS};

const NEWER: &str = "BB_MSM_NEW=1";
const OLDER: &str = "BB_MSM_LEGACY=1";

/// How many of the server's provers have this in their environment.
fn count(server: &TestServer, variable: &str) -> usize {
    let has = |bb: &Process| {
        let environment = fs::read(format!("/proc/{}/environ", bb.pid)).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == variable.as_bytes())
    };
    server.provers().iter().filter(|bb| has(bb)).count()
}

#[test]
fn a_proof_that_bb_died_of_is_tried_again_in_the_older_way() {
    let server = TestServer::plain();
    assert_eq!(count(&server, NEWER), WARM_PROVERS);
    let (mut asker, bb) = server.freeze_midway();
    bb.signal(Signal::KILL);
    asker.answer().proves(samples::range(), NoirRecursive);
    assert_eq!((count(&server, NEWER), count(&server, OLDER)), (WARM_PROVERS - 1, 1));
    server.assert_well();
}

#[test]
fn the_older_way_can_be_chosen() {
    let server = TestServer::start(|s| s.flag("--msm", "legacy"));
    assert_eq!((count(&server, NEWER), count(&server, OLDER)), (0, WARM_PROVERS));
    server.post(&samples::range().witness).proves(samples::range(), NoirRecursive);
}
