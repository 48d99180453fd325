//! Parses the command line and hands over; see [`edgeprove::commands`].

fn main() -> std::process::ExitCode {
    edgeprove::commands::run()
}
