//! Runs the test upstream as the only program of a container.

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    let listener = std::net::TcpListener::bind("0.0.0.0:8080")?;
    listener.set_nonblocking(true)?;
    edgeprove_e2e::test_upstream::serve(listener);
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {}
