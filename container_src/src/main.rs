//! The binary `edgeprove`: calls [`edgeprove::commands::run`].

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// Overwrites memory when it is freed. Libraries copy parts of uploads and witnesses into memory that no other code can reach.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> std::process::ExitCode {
    edgeprove::commands::run()
}
