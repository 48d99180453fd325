//! The stand-in as a container's only program.

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    let listener = std::net::TcpListener::bind("0.0.0.0:8080")?;
    listener.set_nonblocking(true)?;
    edgeprove_e2e::stand_in::serve(listener);
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {}
