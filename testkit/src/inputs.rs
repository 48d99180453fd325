//! Inputs of circuits as JSON, and requests with them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use acir::{
    FieldElement,
    brillig::Opcode as BrilligOpcode,
    circuit::{
        Circuit, Opcode, Program,
        brillig::{BrilligBytecode, BrilligFunctionId},
    },
    native_types::{Expression, Witness},
};
use http::Method;
use serde_json::{Value, json};

use crate::{
    Sample, TestServer,
    client::Request,
    samples::{self, BOUNDS, SECRET},
};

impl TestServer {
    /// A request for a proof from inputs.
    pub fn inputs_request(&self, path: &str, document: &Value) -> Request {
        self.json_request(path, document.to_string())
    }

    /// A request for a proof with this text as JSON.
    pub fn json_request(&self, path: &str, json: impl Into<Vec<u8>>) -> Request {
        let mut request = self.request(Method::POST, path).header("content-type", "application/json");
        request.body = json.into();
        request
    }
}

/// The inputs of the witness of [`samples::range_check`].
pub fn range_check() -> Value {
    let (min, max) = BOUNDS;
    json!({"privateInputs": {"value": SECRET}, "publicInputs": {"min": min, "max": max.to_string()}})
}

/// The sample inputs of a circuit of this repository, as its `Prover.toml` has them.
#[track_caller]
pub fn of_setup(name: &str) -> Value {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../circuit/noir")).join(name);
    let text = fs::read_to_string(folder.join("Prover.toml")).unwrap();
    let values: Value = toml::from_str(&text).unwrap();
    let circuit = samples::from_setup(name).circuit;
    let artifact: Value = serde_json::from_slice(&fs::read(circuit).unwrap()).unwrap();
    let mut document = json!({"privateInputs": {}, "publicInputs": {}});
    for parameter in artifact["abi"]["parameters"].as_array().unwrap() {
        let name = parameter["name"].as_str().unwrap();
        let member = if parameter["visibility"] == "public" { "publicInputs" } else { "privateInputs" };
        document[member][name] = values[name].clone();
    }
    document
}

/// Adds an ABI of fields to a circuit's file: the private ones first.
pub fn add_abi(circuit: &Path, private: &[&str], public: &[&str]) {
    let field =
        |name: &&str, visibility| json!({"name": name, "type": {"kind": "field"}, "visibility": visibility});
    let private = private.iter().map(|name| field(name, "private"));
    let parameters: Vec<Value> = private.chain(public.iter().map(|name| field(name, "public"))).collect();
    let mut artifact: Value = serde_json::from_slice(&fs::read(circuit).unwrap()).unwrap();
    artifact["abi"] = json!({"parameters": parameters, "return_type": null, "error_types": {}});
    fs::write(circuit, artifact.to_string()).unwrap();
}

/// The circuit of [`samples::square_of_bytes`] with an ABI, and the document with its inputs.
pub fn square_of_bytes(dir: &Path, root: &[u8; 32]) -> (Sample, Value) {
    let sample = samples::square_of_bytes(dir, "square", root);
    add_abi(&sample.circuit, &["root"], &["square"]);
    let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
    let document = json!({
        "privateInputs": {"root": hex(root)},
        "publicInputs": {"square": hex(sample.public_inputs.as_flattened())},
    });
    (sample, document)
}

/// A circuit with one private input, whose unconstrained function never ends.
pub fn endless(dir: &Path) -> PathBuf {
    with_function(dir, "endless", vec![BrilligOpcode::Jump { location: 0 }])
}

/// A circuit with one private input, whose unconstrained function calls an oracle.
pub fn with_oracle(dir: &Path) -> PathBuf {
    let call = BrilligOpcode::ForeignCall {
        function: "ask_the_moon".to_owned(),
        destinations: Vec::new(),
        destination_value_types: Vec::new(),
        inputs: Vec::new(),
        input_value_types: Vec::new(),
    };
    with_function(dir, "with_oracle", vec![call])
}

fn with_function(dir: &Path, name: &str, bytecode: Vec<BrilligOpcode<FieldElement>>) -> PathBuf {
    let call = Opcode::BrilligCall {
        id: BrilligFunctionId::new(0),
        inputs: Vec::new(),
        outputs: Vec::new(),
        predicate: Expression::one(),
    };
    let circuit =
        Circuit { opcodes: vec![call], private_parameters: [Witness(0)].into(), ..Circuit::default() };
    let function = BrilligBytecode { function_name: name.to_owned(), bytecode };
    let program = Program { functions: vec![circuit], unconstrained_functions: vec![function] };
    let file = samples::write_circuit(dir, name, &program);
    add_abi(&file, &["x"], &[]);
    file
}
