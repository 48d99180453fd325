//! Servers that do not speak HTTP, that stop in the middle of a response, or that are newer than this edge.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

/// Text that a broken upstream sends, and that no caller may see.
pub const INNER_TEXT: &str = "inner text of a container";

/// A problem document of a newer server.
pub const NEW_PROBLEM: &str =
    r#"{"type":"/problems/moon_phase","title":"Wrong phase of the moon","code":"moon_phase","phase":[1,2]}"#;

/// How the server treats a connection once it has read the head of a request.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Sends bytes that are not HTTP.
    NotHttp,
    /// Sends a status that HTTP does not have.
    UnknownStatus(u16),
    /// Sends a problem document of this status with a code that no version has: [`NEW_PROBLEM`].
    NewProblem(u16),
    /// Closes the connection without a response.
    Closes,
    /// Declares a longer body than it sends, and closes the connection.
    BreaksOff,
}

impl Fault {
    fn response(self) -> String {
        match self {
            Self::NotHttp => format!("\x16\x03\x01 {INNER_TEXT}\r\n\r\n"),
            Self::UnknownStatus(status) => {
                format!("HTTP/1.1 {status} {INNER_TEXT}\r\ncontent-length: 0\r\n\r\n")
            }
            Self::NewProblem(status) => format!(
                "HTTP/1.1 {status} New\r\ncontent-type: application/problem+json\r\nretry-after: 17\r\n\
                 x-of-a-newer-server: 1\r\ncontent-length: {}\r\n\r\n{NEW_PROBLEM}",
                NEW_PROBLEM.len()
            ),
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
