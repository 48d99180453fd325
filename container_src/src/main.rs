//! The binary `edgeprove`: calls [`edgeprove::commands::run`].

fn main() -> std::process::ExitCode {
    edgeprove::commands::run()
}
