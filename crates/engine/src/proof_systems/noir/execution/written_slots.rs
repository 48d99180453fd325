//! How much memory the next opcode of an unconstrained function needs, before it runs.
//!
//! The memory of a function grows to the largest slot that it writes, all at once. A circuit that writes to a slot beyond
//! four billion would make the solver allocate until the process dies.

use acir::{
    FieldElement,
    brillig::{BlackBoxOp, HeapArray, MemoryAddress, Opcode},
};
use acvm::brillig_vm::MemoryValue;

type Memory<'a> = &'a [MemoryValue<FieldElement>];

/// The number of slots that the memory must have for what the opcode writes. 0 if it writes nothing.
pub(super) fn written_slots(opcode: &Opcode<FieldElement>, memory: Memory<'_>) -> u64 {
    match opcode {
        Opcode::BinaryFieldOp { destination, .. }
        | Opcode::BinaryIntOp { destination, .. }
        | Opcode::Not { destination, .. }
        | Opcode::Cast { destination, .. }
        | Opcode::Const { destination, .. }
        | Opcode::Mov { destination, .. }
        | Opcode::ConditionalMov { destination, .. }
        | Opcode::Load { destination, .. } => slot(*destination, memory) + 1,
        Opcode::IndirectConst { destination_pointer, .. } | Opcode::Store { destination_pointer, .. } => {
            number(*destination_pointer, memory) + 1
        }
        Opcode::CalldataCopy { destination_address, size_address, .. } => {
            slot(*destination_address, memory) + number(*size_address, memory)
        }
        Opcode::BlackBox(call) => written_by_black_box(call, memory),
        // Results of foreign calls are never written: see the parent module.
        Opcode::ForeignCall { .. }
        | Opcode::Jump { .. }
        | Opcode::JumpIf { .. }
        | Opcode::Call { .. }
        | Opcode::Return
        | Opcode::Trap { .. }
        | Opcode::Stop { .. } => 0,
    }
}

/// The number of calls within each other after the opcode.
pub(super) fn call_depth(opcode: &Opcode<FieldElement>, depth: usize) -> usize {
    match opcode {
        Opcode::Call { .. } => depth + 1,
        Opcode::Return => depth.saturating_sub(1),
        _ => depth,
    }
}

fn written_by_black_box(call: &BlackBoxOp, memory: Memory<'_>) -> u64 {
    let array = |array: &HeapArray| number(array.pointer, memory) + u64::from(array.size.0);
    match call {
        BlackBoxOp::AES128Encrypt { outputs, .. } | BlackBoxOp::MultiScalarMul { outputs, .. } => {
            array(outputs)
        }
        BlackBoxOp::Blake2s { output, .. }
        | BlackBoxOp::Blake3 { output, .. }
        | BlackBoxOp::Keccakf1600 { output, .. }
        | BlackBoxOp::Poseidon2Permutation { output, .. }
        | BlackBoxOp::Sha256Compression { output, .. } => array(output),
        BlackBoxOp::EmbeddedCurveAdd { result, .. } => array(result),
        BlackBoxOp::EcdsaSecp256k1 { result, .. } | BlackBoxOp::EcdsaSecp256r1 { result, .. } => {
            slot(*result, memory) + 1
        }
        BlackBoxOp::ToRadix { output_pointer, num_limbs, .. } => {
            number(*output_pointer, memory) + number(*num_limbs, memory)
        }
    }
}

/// The slot of an address. The stack pointer is in slot 0.
fn slot(address: MemoryAddress, memory: Memory<'_>) -> u64 {
    match address {
        MemoryAddress::Direct(slot) => slot.into(),
        MemoryAddress::Relative(offset) => number(MemoryAddress::Direct(0), memory) + u64::from(offset),
    }
}

/// The number in the slot of an address. Only 32-bit integers are addresses and sizes; the solver refuses others.
fn number(address: MemoryAddress, memory: Memory<'_>) -> u64 {
    let slot = match address {
        MemoryAddress::Direct(slot) => u64::from(slot),
        MemoryAddress::Relative(offset) => match memory.first() {
            Some(MemoryValue::U32(stack_pointer)) => u64::from(*stack_pointer) + u64::from(offset),
            Some(_) | None => offset.into(),
        },
    };
    match usize::try_from(slot).ok().and_then(|slot| memory.get(slot)) {
        Some(MemoryValue::U32(number)) => (*number).into(),
        Some(_) | None => 0,
    }
}
