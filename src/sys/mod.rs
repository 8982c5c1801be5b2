//! The operating system, made safe.

pub mod affinity;
#[expect(unsafe_code, reason = "maps and unmaps memory")]
pub mod memory;
pub mod process;
