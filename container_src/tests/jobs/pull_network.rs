//! Provers on other machines: network namespaces with an own network each, between which there is only a cable to the server.

use std::{
    env,
    process::{Child, Command, Stdio},
};

use edgeprove_protocol::JobStatus;
use edgeprove_testkit::{
    TestServer, eventually, processes,
    puller::TestPuller,
    skipped,
    wait::{self, LONG_LIMIT, within},
};

use crate::{
    pull_support::{FLEET, PullFolder, sample},
    support::{assert_none_twice, assert_proved, assert_whole, submit_jobs, verified_entries},
};

/// Set where the test runs in its namespace.
const VARIABLE: &str = "EDGEPROVE_TEST_NETWORK";
/// The jobs of the test.
const JOBS: usize = 200;

/// Runs the body of a test in a network namespace: this program is started there again, with the name of the test.
fn in_own_network(name: &str, body: impl FnOnce()) {
    if env::var_os(VARIABLE).is_some() {
        return body();
    }
    if skipped::lacks_network_namespaces()
        || skipped::lacks_program("ip")
        || skipped::lacks_program("nsenter")
    {
        return;
    }
    let mut command: Command = skipped::namespace(&["--net"]);
    command.args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]).arg(env::current_exe().unwrap());
    command.args(["--exact", &format!("pull_network::{name}"), "--nocapture"]).env(VARIABLE, "1");
    let output = processes::run(&mut command, wait::LONG_LIMIT * 2);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
}

/// A machine, connected with this one by a cable.
struct Machine {
    /// Keeps the namespace.
    holder: Child,
    number: u8,
}

impl Machine {
    #[track_caller]
    fn new(number: u8) -> Self {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "--", "sleep", "infinity"]).stdin(Stdio::null());
        let holder = holder.spawn().unwrap();
        let machine = Self { holder, number };
        // Not this namespace, which the process has until `unshare` has done its work.
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        eventually("the machine has a network of its own", || {
            std::fs::read_link(machine.namespace()).is_ok_and(|its| its != own).then_some(())
        });
        let script = "set -e\n\
             ip link add \"s$1\" type veth peer name \"p$1\"\n\
             ip link set \"p$1\" netns \"$2\"\n\
             ip address add \"10.77.$1.1/24\" dev \"s$1\"\n\
             ip link set \"s$1\" up\n\
             nsenter --net=\"/proc/$2/ns/net\" sh -ec \
             'ip link set lo up; ip address add \"10.77.$1.2/24\" dev \"p$1\"; ip link set \"p$1\" up' sh \"$1\"";
        let mut setup = Command::new("sh");
        setup.args(["-c", script, "sh", &number.to_string(), &machine.holder.id().to_string()]);
        let output = processes::run(&mut setup, wait::LIMIT);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        machine
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// Starts a prover on the machine, which reaches the server over the cable.
    fn start_puller(&self, server: &TestServer) -> TestPuller {
        let url = format!("http://10.77.{}.1:{}", self.number, server.address().port());
        TestPuller::start(&url, FLEET, |settings| {
            let mut enter = Command::new("nsenter");
            enter.arg(format!("--net={}", self.namespace()));
            settings.wrapper = Some(enter);
            settings.flags.push("--plain-http".to_owned());
            settings.flag("--drain", "0s");
        })
    }

    /// Pulls the cable out.
    #[track_caller]
    fn cut_off(&self) {
        let mut command = Command::new("ip");
        command.args(["link", "set", &format!("s{}", self.number), "down"]);
        assert!(processes::succeeds(&mut command));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn four_provers_of_which_one_is_cut_off_prove_all() {
    in_own_network("four_provers_of_which_one_is_cut_off_prove_all", || {
        let folder = PullFolder::new();
        let server = TestServer::start(|settings| {
            folder.configure(settings, "5s");
            settings.flag("--listen", "0.0.0.0:0");
        });
        let (near, far) = (Machine::new(1), Machine::new(2));
        let mut provers: Vec<_> = (0..3).map(|_| near.start_puller(&server)).collect();
        let mut victim = far.start_puller(&server);
        provers.iter().chain([&victim]).for_each(TestPuller::wait_until_claiming);
        let jobs = submit_jobs(&server, sample(), JOBS);
        within(LONG_LIMIT, "some jobs are proved, also by the victim", || {
            let completed = server.count_jobs(JobStatus::Completed);
            (completed >= 20 && victim.started() >= 2).then_some(())
        });
        far.cut_off();
        within(LONG_LIMIT, "all jobs are proved", || {
            (server.count_jobs(JobStatus::Completed) == JOBS as u64).then_some(())
        });
        assert!(provers.iter().all(|prover| prover.started() > 0));
        assert_proved(&server, &jobs, sample());
        victim.finish();
        provers.iter_mut().for_each(TestPuller::finish);
        server.finish();
        let entries = verified_entries(&folder.0.audit_log());
        assert_whole(&jobs, &entries);
        assert_none_twice(&[entries]);
    });
}
