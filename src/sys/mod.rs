//! The operating system, made safe.

pub mod affinity;
#[expect(unsafe_code, reason = "forks")]
pub mod background;
pub mod confine;
#[expect(unsafe_code, reason = "maps and unmaps memory")]
pub mod memory;
pub mod pidfile;
pub mod process;
pub mod systemd;
