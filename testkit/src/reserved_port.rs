//! A port that no other program gets while a test needs it, although nothing listens on it yet or any more.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt::set_socket_reuseaddr};

/// A reserved port of 127.0.0.1. Connections to it are refused until somebody listens on it.
///
/// The kernel hands out a bound port neither to other programs that ask for a free port nor to outgoing connections. A
/// listener that sets `SO_REUSEADDR`, as the standard library does, may still bind it.
#[derive(Debug)]
pub struct ReservedPort {
    address: SocketAddr,
    _socket: OwnedFd,
}

impl ReservedPort {
    /// Reserves a free port.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it opens a socket, which a default should not")]
    pub fn new() -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket can be opened");
        set_socket_reuseaddr(&socket, true).expect("the address may be reused");
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port is free");
        let address = getsockname(&socket).expect("the socket has an address");
        let address = address.try_into().expect("it is an internet address");
        Self { address, _socket: socket }
    }

    /// The address with the port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_reserved_port_refuses_connections_until_somebody_listens() {
        let port = ReservedPort::new();
        for _ in 0..2 {
            assert!(TcpStream::connect(port.address()).is_err());
            let listener = TcpListener::bind(port.address()).unwrap();
            TcpStream::connect(port.address()).unwrap();
            drop(listener);
        }
    }
}
