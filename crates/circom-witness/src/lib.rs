//! Witnesses of circom 2 circuits, computed by the circuit's WebAssembly program.
//!
//! circom compiles a circuit into constraints (`.r1cs`) and into a program that computes the circuit's witness from its
//! inputs. snarkjs runs that program in Node.js. This crate runs it in a sandbox: it gets no import but the four of
//! circom's own runtime, and bounded time and memory. A program may come from somebody else.
//!
//! It is stricter than snarkjs. snarkjs reduces a value beyond the field's modulus without an error, lets the last of
//! two values for one signal win, and accepts `true`, `""` and `null`-like values as integers. All of these are errors
//! here. A failed assertion is an error too, with the template and the line of the circuit.
//!
//! Errors name signals and positions. No error and no log contains a value: neither an input nor what the circuit
//! passes to `log`. Inputs, the memory of the program and the witness are overwritten when they are dropped.
//!
//! Reading order: [`Circuit`] first.
//!
//! Imports run down this list only.
//!
//! - [`circuit`]: a compiled program, and how one witness is computed.
//! - [`host`]: what a running program may do: imports, memory, time.
//! - [`engine`]: compiles programs, and measures the time of those that run.
//! - [`assertions`]: a program without its assertions.
//! - [`functions`]: the length of a program's functions.
//! - [`inputs`]: inputs from JSON.
//! - [`witness`]: the witness, in the format of snarkjs.
//! - [`field`]: integers of 256 bits and the field's modulus.

mod assertions;
pub mod circuit;
pub mod engine;
mod field;
mod functions;
pub mod host;
pub mod inputs;
pub mod witness;

pub use circuit::{Circuit, CircuitError, WitnessError};
pub use engine::{EngineError, WitnessEngine};
pub use field::FIELD_BYTES;
pub use host::{CircuitException, ExceptionKind, Limits, Location};
pub use inputs::{InputError, Inputs, MAX_INPUT_BYTES, MAX_NAME_BYTES, MemberError};
pub use witness::Witness;
