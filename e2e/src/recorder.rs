//! Passes connections on to a server, and records every byte in both directions.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use parking_lot::Mutex;

/// Most bytes that are recorded.
const RECORDED_MAX_BYTES: usize = 64 << 20;

/// A recorder in front of a server.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    recorded: Arc<Mutex<Vec<u8>>>,
    has_ended: Arc<AtomicBool>,
}

impl Recorder {
    /// Starts a recorder in front of this server.
    #[track_caller]
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().unwrap();
        let started = Self { address, recorded: Arc::default(), has_ended: Arc::new(AtomicBool::new(false)) };
        let (recorded, has_ended) = (Arc::clone(&started.recorded), Arc::clone(&started.has_ended));
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if has_ended.load(Ordering::Relaxed) {
                    break;
                }
                // The client sees a broken connection where the server is gone.
                let _ = pass_on(connection, server, &recorded);
            }
        });
        started
    }

    /// The address that the recorder listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bytes so far, of all connections and both directions.
    pub fn recorded(&self) -> Vec<u8> {
        self.recorded.lock().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

fn pass_on(client: TcpStream, server: SocketAddr, recorded: &Arc<Mutex<Vec<u8>>>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        let recorded = Arc::clone(recorded);
        thread::spawn(move || {
            let mut piece = vec![0; 64 << 10];
            while let Ok(bytes @ 1..) = from.read(&mut piece) {
                let mut recorded = recorded.lock();
                assert!(recorded.len() + bytes <= RECORDED_MAX_BYTES, "more traffic than is recorded");
                recorded.extend_from_slice(&piece[..bytes]);
                drop(recorded);
                if to.write_all(&piece[..bytes]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    }
    Ok(())
}
