//! Callers that send inputs share computations and memory: none takes all of them.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use edgeprove_protocol::{ProblemType, limits::INPUTS_MAX_BYTES};
use serde_json::json;

use crate::support::{Connection, TestServer, eventually, inputs};

const GREEDY: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Sends the head of a request with so many bytes of inputs from this address, and the first bytes of them.
pub(super) fn send_inputs(
    server: &TestServer,
    from: impl Into<IpAddr>,
    length: usize,
    begin: &[u8],
) -> Connection {
    let to = server.address();
    let mut connection = Connection::open_from(from, to);
    let head = format!(
        "POST /api/prove HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\nX-Timeout: 1\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    connection.send(head.as_bytes());
    // The server may refuse them before they are all sent.
    let _ = connection.try_send(begin);
    connection
}

#[test]
fn one_caller_takes_only_a_share_of_the_computations() {
    let dir = tempfile::tempdir().unwrap();
    let circuit = inputs::endless(dir.path());
    let server = TestServer::start(|s| s.circuit = Some(circuit));
    let body = json!({"privateInputs": {"x": 1}}).to_string();
    let compute = |from| send_inputs(&server, from, body.len(), body.as_bytes());
    // Each computation takes a second, and one caller may have 32 of all 64.
    let mut greedy: Vec<_> = (0..48).map(|_| compute(GREEDY)).collect();
    let refused = eventually("a request of the greedy caller is refused", || {
        let answered = greedy.iter().position(|request| request.receives_within(Duration::from_millis(1)))?;
        let response = greedy.swap_remove(answered).read_response();
        (response.status == 503).then_some(response)
    });
    let problem = refused.assert_refused_for_now(ProblemType::ProverBusy);
    assert!(problem.detail.contains("of this caller"), "{}", problem.detail);
    // The other caller has its turn, while most requests of the first one still wait.
    compute(OTHER).read_response().assert_refused(ProblemType::ProofTimeout);
    let waiting = greedy.iter().filter(|request| !request.receives_within(Duration::from_millis(1))).count();
    assert!(waiting > 0, "they were all answered");
    drop(greedy);
    server.assert_idle();
}

#[test]
fn one_caller_takes_only_a_share_of_the_memory_for_inputs() {
    let server = TestServer::start_default();
    let length = usize::try_from(INPUTS_MAX_BYTES).unwrap();
    // Four bodies that lack a few bytes take almost half of the memory for all, and a fifth one does not fit.
    let spaces = vec![b' '; length - 8];
    let mut unfinished: Vec<_> = (0..5).map(|_| send_inputs(&server, GREEDY, length, &spaces)).collect();
    let refused = eventually("one of the bodies is refused", || {
        let refused = unfinished.iter_mut().find(|body| body.receives_within(Duration::from_millis(1)));
        refused.map(Connection::read_response)
    });
    let problem = refused.assert_refused_for_now(ProblemType::TooManyUploads);
    assert!(problem.detail.contains("of this caller"), "{}", problem.detail);
    let is_accepted = |from| {
        let response = send_inputs(&server, from, 100, &[b' '; 100]).read_response();
        // The memory was there, and the inputs are empty.
        (response.status == 400).then(|| response.assert_refused(ProblemType::InvalidRequest))
    };
    assert!(is_accepted(OTHER).is_some());
    drop(unfinished);
    eventually("the memory is free again", || is_accepted(GREEDY));
    server.assert_idle();
}
