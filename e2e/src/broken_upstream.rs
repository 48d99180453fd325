//! Servers that do not speak HTTP, or that stop in the middle of a response.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

/// Text that a broken upstream sends, and that no caller may see.
pub const INNER_TEXT: &str = "inner text of a container";

/// How the server treats a connection once it has read the head of a request.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Sends bytes that are not HTTP.
    NotHttp,
    /// Sends a status that HTTP does not have.
    UnknownStatus,
    /// Closes the connection without a response.
    Closes,
    /// Declares a longer body than it sends, and closes the connection.
    BreaksOff,
}

impl Fault {
    fn response(self) -> String {
        match self {
            Self::NotHttp => format!("\x16\x03\x01 {INNER_TEXT}\r\n\r\n"),
            Self::UnknownStatus => format!("HTTP/1.1 999 {INNER_TEXT}\r\ncontent-length: 0\r\n\r\n"),
            Self::Closes => String::new(),
            Self::BreaksOff => "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nthe beginning".to_owned(),
        }
    }
}

/// Starts a server with this fault. It lives as long as the process of the test.
#[track_caller]
pub fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener has an address");
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || respond(connection, fault));
        }
    });
    address
}

fn respond(mut connection: TcpStream, fault: Fault) {
    let mut head = Vec::<u8>::new();
    let mut bytes = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match connection.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(length) => head.extend(&bytes[..length]),
        }
    }
    // Both fail if the client has closed the connection.
    let _ = connection.write_all(fault.response().as_bytes());
    let _ = connection.shutdown(Shutdown::Both);
}
