//! Parses the command line and hands over.
fn main() {
    let _ = edgeprove::ROOM;
}
