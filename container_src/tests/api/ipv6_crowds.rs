//! Crowds of IPv6 addresses, of which one caller can have a whole network. These tests run in a network namespace in which
//! such a network is local, so that nothing of the machine's own network changes.

use std::{
    env, fs,
    net::{Ipv6Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use edgeprove_protocol::{ProblemType, limits::INPUTS_MAX_BYTES};

use super::inputs_of_callers::send_inputs;
use crate::support::{
    Connection, Response, TestServer, eventually, processes, samples, settings::Settings, skipped, wait,
};

/// Set where the test runs in its namespace.
const VARIABLE: &str = "EDGEPROVE_TEST_NETWORK";
/// The network of the documentation (RFC 3849), and an address of it.
const NETWORK: &str = "2001:db8::/32";

fn address(third: u16, fourth: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, third, fourth, 0, 0, 0, 1)
}

/// Runs the body of a test in a namespace: this program is started there again, with the name of the test.
fn in_own_network(name: &str, body: impl FnOnce()) {
    if env::var_os(VARIABLE).is_some() {
        return body();
    }
    if skipped::lacks_network_namespaces() || skipped::lacks_program("ip") {
        return;
    }
    let script = "ip link set lo up && ip -6 route add local \"$1\" dev lo && \
                  echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind && shift && exec \"$@\"";
    let mut command: Command = skipped::namespace(&["--net"]);
    command.args(["sh", "-c", script, "sh", NETWORK]).arg(env::current_exe().unwrap());
    command.args(["--exact", &format!("ipv6_crowds::{name}"), "--nocapture"]).env(VARIABLE, "1");
    let output = processes::run(&mut command, wait::LONG_LIMIT);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
}

fn listen(settings: &mut Settings) {
    settings.flag("--listen", "[::1]:0");
}

#[test]
fn a_crowd_of_networks_keeps_no_other_caller_out() {
    in_own_network("a_crowd_of_networks_keeps_no_other_caller_out", || {
        let server = TestServer::start(|s| {
            listen(s);
            s.flag("--connections", &8);
        });
        let half_a_body = b"POST /api/prove HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nab";
        let crowd: Vec<_> = (0..40)
            .map(|number| {
                let mut connection = Connection::open_from(address(1, number), server.address());
                // The server may have closed it already.
                let _ = connection.try_send(half_a_body);
                connection
            })
            .collect();
        for _ in 0..3 {
            assert_eq!(server.get("/livez").status, 200);
            server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());
        }
        drop(crowd);
        server.assert_healthy();
    });
}

#[test]
fn a_crowd_of_networks_shares_the_memory_for_inputs() {
    in_own_network("a_crowd_of_networks_shares_the_memory_for_inputs", || {
        let server = TestServer::start(listen);
        let length = usize::try_from(INPUTS_MAX_BYTES).unwrap();
        let spaces = vec![b' '; length - 8];
        let send = |number| send_inputs(&server, address(1, number), length, &spaces);
        let mut unfinished: Vec<_> = (0..5).map(send).collect();
        let refused = eventually("one of the bodies is refused", || {
            let refused = unfinished.iter_mut().find(|body| body.receives_within(Duration::from_millis(1)));
            refused.map(Connection::read_response)
        });
        refused.assert_refused_for_now(ProblemType::TooManyUploads);
        let mut other = send_inputs(&server, address(2, 0), 100, &[b' '; 100]);
        other.read_response().assert_refused(ProblemType::InvalidRequest);
    });
}

/// Asks for something that counts against the rate of its caller.
fn ask(to: SocketAddr, from: Ipv6Addr) -> Response {
    let mut connection = Connection::open_from(from, to);
    connection.get("/v1/estimate");
    connection.read_response()
}

#[test]
fn a_crowd_of_networks_has_a_rate_together() {
    in_own_network("a_crowd_of_networks_has_a_rate_together", || {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys.toml");
        let holder = format!("[keys.alice]\nsha256 = ['{}']\n", "0".repeat(64));
        fs::write(&keys, format!("[anonymous]\nallowed = true\nper_minute = 1\nburst = 1\n{holder}"))
            .unwrap();
        let server = TestServer::start(|s| {
            listen(s);
            s.flag("--keys-file", &keys.display());
            s.sample = None;
        });
        let to = server.address();
        // Four times the rate of an address for its 56 bits, and 16 times for its 48 bits.
        let refused = (0..64_u16).find(|number| ask(to, address(1, number << 8)).status == 429);
        // On a slow machine, some of it is refilled meanwhile.
        assert!(refused.is_some_and(|number| (16..24).contains(&number)), "{refused:?}");
        assert_eq!(ask(to, address(2, 0)).status, 200, "another caller");
        let refused = (1..64_u16).find(|number| ask(to, address(2, *number)).status == 429);
        assert!(refused.is_some_and(|number| (4..8).contains(&number)), "{refused:?}");
        ask(to, address(1, 1)).assert_refused_for_now(ProblemType::RateLimited);
    });
}
