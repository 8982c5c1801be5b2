//! One bound on the whole process (`--memory-max`): items have what the rest leaves.
//!
//! ```text
//!   |<-------------------------- memory-max ------------------------------>|
//!   | program, threads, index | buffers of connections | items      | slack |
//!                                                      └── give way, or come back
//! ```
//!
//! What the process has is asked of the system, often, rather than counted: so the heap's own waste and the index's growth are in it.
//! Pages of items that have been handed out but not yet written to are not resident; as if they were, the rest is
//! reckoned too small by them, and as they fill the items' share becomes less, which is the right way round.

use crate::limits::MEMORY_LOOK_MS;
use crate::store::Store;
use crate::sys::process;
use std::time::Duration;

/// The bound and what does not change.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    len_max: u64,
    /// Resident before there was any item.
    fixed_len: u64,
}

/// What is kept free for buffers that grow between two looks: a part in so many of the bound.
const SLACK_PARTS: u64 = 32;

impl Bound {
    /// To be made while the store is empty.
    #[must_use]
    pub fn new(len_max: u64) -> Self {
        Self { len_max, fixed_len: process::resident_len().unwrap_or(0) }
    }

    /// Looks at the process and bounds the items; how long until the next look.
    pub(super) fn look(&self, store: &Store) -> Duration {
        let footprint = store.footprint();
        let pages_len = u64::from(footprint.used_pages + footprint.free_pages) * footprint.page_len as u64;
        // A system that does not tell has what we know of.
        let resident_len = process::resident_len().unwrap_or(self.fixed_len + footprint.index_len + pages_len);
        store.bound_memory(share(self.len_max, self.fixed_len + footprint.index_len, pages_len, resident_len));
        Duration::from_millis(MEMORY_LOOK_MS)
    }
}

/// What items may have: the bound less its slack and the rest of the process; and when that is too large already, less by so much.
fn share(len_max: u64, rest_len_min: u64, pages_len: u64, resident_len: u64) -> u64 {
    let len_max = len_max - len_max / SLACK_PARTS;
    let rest_len = resident_len.saturating_sub(pages_len).max(rest_len_min);
    let share = len_max.saturating_sub(rest_len);
    share.min((pages_len + len_max).saturating_sub(resident_len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_have_what_the_rest_leaves() {
        for (len_max, rest_len_min, pages_len, resident_len, expected) in [
            // Empty: all but the slack and the rest.
            (3200, 100, 0, 100, 3000),
            // Full, and buffers have grown by 500.
            (3200, 100, 3000, 3600, 2500),
            // Full, and half of it not written to yet: nothing to be done.
            (3200, 100, 3000, 1600, 3000),
            // The process is larger than it should be, whatever the reason.
            (3200, 100, 1000, 3200, 900),
            // There is nothing left to give.
            (3200, 100, 0, 9000, 0),
        ] {
            assert_eq!(share(len_max, rest_len_min, pages_len, resident_len), expected);
        }
    }
}
