//! A real Ethereum node for tests, and one that lies or breaks off.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// The key of anvil's first account, which is public.
pub const RICH_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// The address of that account.
pub const RICH_ACCOUNT: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
/// The chain of anvil.
pub const ANVIL_CHAIN: u64 = 31_337;

/// The program in the npm packages of `circuit/circom`.
fn program() -> PathBuf {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../circuit/circom/node_modules/@foundry-rs");
    let folders = fs::read_dir(&packages).unwrap_or_else(|_| {
        panic!("{} does not exist: run `cargo xtask setup --only circom`", packages.display())
    });
    let programs = folders.map(|folder| folder.unwrap().path().join("bin/anvil"));
    programs.into_iter().find(|program| program.is_file()).expect("anvil is installed for this platform")
}

/// A node with a chain of its own, in memory. It puts each transaction into a block at once.
#[derive(Debug)]
pub struct Anvil {
    child: Child,
    address: SocketAddr,
}

impl Anvil {
    /// Starts a node.
    #[track_caller]
    pub fn start() -> Self {
        let mut child = Command::new(program())
            .args(["--port", "0", "--threads", "1", "--accounts", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix("Listening on ")?.parse().ok());
        // It writes more, and must not wait for a reader.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("anvil names its address") }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Asks the node.
    #[track_caller]
    pub fn ask(&self, method: &str, params: &Value) -> Value {
        let answer = forward(self.address, method, params);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The number of transactions of an account that are in blocks.
    #[track_caller]
    pub fn transactions(&self, account: &str) -> u64 {
        let count = self.ask("eth_getTransactionCount", &json!([account, "latest"]));
        u64::from_str_radix(count.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }

    /// Gives coins to an account.
    #[track_caller]
    pub fn give_coins(&self, account: &str, wei: u128) {
        self.ask("anvil_setBalance", &json!([account, format!("0x{wei:x}")]));
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(to: SocketAddr, method: &str, params: &Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let mut response = ureq::post(format!("http://{to}/")).send_json(&body).unwrap();
    response.body_mut().read_json().unwrap()
}

/// What a fake node does with a question.
#[derive(Debug, Clone)]
pub enum FakeAnswer {
    /// It answers with this result.
    Result(Value),
    /// It answers with this error.
    Error(i64, String),
    /// It sends these bytes, and closes the connection.
    Bytes(Vec<u8>),
    /// It sends zeros for ever.
    Endless,
    /// It never answers.
    Silence,
    /// It closes the connection.
    BreakOff,
    /// It passes the question to a real node, and the answer back.
    Forward(SocketAddr),
    /// It passes the question to a real node, and closes the connection without the answer.
    ForwardAndBreakOff(SocketAddr),
}

/// A node that answers as a test wants. It runs until the test ends.
#[derive(Debug, Clone, Copy)]
pub struct FakeNode {
    address: SocketAddr,
}

impl FakeNode {
    /// Starts a node that answers each method with its parameters like this.
    pub fn start(answer: impl Fn(&str, &Value) -> FakeAnswer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, answer) = (listener.local_addr().unwrap(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = Arc::clone(&answer);
                // `None` means that the client has left.
                thread::spawn(move || serve(stream, answer.as_ref()));
            }
        });
        Self { address }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, with something that looks like a key.
    pub fn url(&self) -> String {
        format!("http://{}/v2/s3cr3t-key", self.address)
    }
}

fn serve(stream: TcpStream, answer: &dyn Fn(&str, &Value) -> FakeAnswer) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut stream, mut length) = (stream, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let question: Value = serde_json::from_slice(&body).ok()?;
    let (method, params) = (question["method"].as_str()?, &question["params"]);
    let mut document = match answer(method, params) {
        FakeAnswer::Result(result) => json!({ "result": result }),
        FakeAnswer::Error(code, message) => json!({ "error": { "code": code, "message": message } }),
        FakeAnswer::Bytes(bytes) => return stream.write_all(&bytes).ok(),
        FakeAnswer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
            while stream.write_all(&[b'0'; 4096]).is_ok() {}
            return None;
        }
        FakeAnswer::Silence => loop {
            thread::sleep(Duration::from_secs(1));
        },
        FakeAnswer::BreakOff => return None,
        FakeAnswer::Forward(to) => forward(to, method, params),
        FakeAnswer::ForwardAndBreakOff(to) => {
            forward(to, method, params);
            return None;
        }
    };
    document["jsonrpc"] = "2.0".into();
    document["id"] = question["id"].clone();
    let body = document.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()
}

/// Two contracts as a circuit has them in `verifier.json`: a verifier, and a library that it calls. Called with anything, the
/// verifier returns what the library returns, which is 42.
pub fn linked_contracts() -> Value {
    json!({
        "compiler": "solc 0.8.37", "contract": "Verifier", "flavor": "groth16", "audited": false,
        "contracts": [
            { "name": "Library", "creationCode": creation("602a60005260206000f3"), "links": [] },
            {
                "name": "Verifier",
                // STATICCALL of the library, and RETURN of its word.
                "creationCode": creation(&format!("602060006000600073{PLACEHOLDER}5afa5060206000f3")),
                "links": [{ "library": "Library", "start": CREATION_BYTES + 9 }],
            },
        ],
        "gas": { "deploy": 100_000, "verify": 30_000 },
    })
}

/// As solc marks the place of an address.
const PLACEHOLDER: &str = "__$0123456789abcdef0123456789abcdef01$__";
/// The size of the code that copies a contract's code.
const CREATION_BYTES: usize = 12;

/// The code that creates a contract with this code.
fn creation(code: &str) -> String {
    let length = code.len() / 2;
    format!("60{length:02x}600c60003960{length:02x}6000f3{code}")
}
