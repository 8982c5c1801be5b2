//! Which processors a thread runs on: asking, pinning, and reading back what came of it.
//!
//! It does *not* decide who is pinned where.

use core_affinity::CoreId;
use nix::sched::sched_getaffinity;
use nix::unistd::Pid;
use std::fmt;

/// A processor this process may run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core(CoreId);

impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core {}", self.0.id)
    }
}

/// The processors the calling thread may run on, in ascending order; none if they cannot be told.
#[must_use]
pub fn allowed_cores() -> Vec<Core> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(Core).collect()
}

/// Pins the calling thread, and makes sure that it is.
pub fn pin(core: Core) -> Result<(), String> {
    if !core_affinity::set_for_current(core.0) {
        return Err(format!("the system refused {core}"));
    }
    let allowed = allowed_cores();
    let itself = sched_getaffinity(Pid::from_raw(0)).and_then(|set| set.is_set(core.0.id));
    match itself {
        Ok(true) if allowed.len() == 1 => Ok(()),
        _ => Err(format!("asked for {core}, got {} cores", allowed.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_run_on_one_core_only() {
        std::thread::spawn(|| {
            let core = *allowed_cores().last().unwrap();
            pin(core).unwrap();
            assert_eq!(allowed_cores(), [core]);
        })
        .join()
        .unwrap();
    }
}
