//! Servers that speak no HTTP, or stop in the middle of it: a thread that does one thing to every connection.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// What is done to a connection once a request's head has been read.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Sends what is no HTTP.
    Garbage,
    /// Sends a status that HTTP does not have.
    OddStatus,
    /// Closes it without a word.
    Closes,
    /// Announces more than it sends, and closes it.
    BreaksOff,
    /// Says nothing, and keeps it open.
    Hangs,
}

impl Fault {
    fn words(self) -> &'static [u8] {
        match self {
            Self::Garbage => b"\x16\x03\x01 inner words of a container\r\n\r\n",
            Self::OddStatus => b"HTTP/1.1 999 inner words\r\ncontent-length: 0\r\n\r\n",
            Self::Closes | Self::Hangs => b"",
            Self::BreaksOff => b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nthe beginning",
        }
    }
}

/// Starts such a server. It lives as long as the test's process.
#[track_caller]
pub fn server(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || spoil(connection, fault));
        }
    });
    address
}

fn spoil(mut connection: TcpStream, fault: Fault) {
    let mut head = Vec::<u8>::new();
    let mut bytes = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match connection.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(length) => head.extend(&bytes[..length]),
        }
    }
    // Whoever has hung up needs no words.
    let _ = connection.write_all(fault.words());
    if matches!(fault, Fault::Hangs) {
        thread::sleep(Duration::from_mins(5));
    }
    let _ = connection.shutdown(Shutdown::Both);
}
