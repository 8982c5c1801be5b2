//! Counting items by length, while somebody wants to know (`stats sizes`).
//!
//! Items that were there before are not walked: those stored since are told by their CAS numbers, which rise, so what goes is taken off
//! only if it was counted. (A CAS number that a client has chosen may say otherwise; then the count is wrong by that item.)

use super::arena::ItemId;
use super::{Inner, Local, Store};
use crate::limits::CAS_BLOCK;
use crate::stats::Block;
use std::sync::atomic::Ordering;

impl Store {
    /// Counts items by length from here on. False without CAS numbers, which tell the new ones from the old.
    pub fn track_lengths(&self, local: &mut Local) -> bool {
        let inner = &*self.inner;
        if !inner.arena.has_cas() {
            return inner.lengths_since.load(Ordering::Relaxed) != 0;
        }
        // Taking a block makes threads throw away those they have, this one at once and the others when their next turn begins.
        local.cas_is_latest = false;
        let since = inner.cas.fetch_add(CAS_BLOCK, Ordering::AcqRel);
        inner.lengths_since.store(since.max(1), Ordering::Relaxed);
        true
    }

    /// The same from the start, when there are no items: with or without CAS numbers.
    pub fn track_lengths_of_all(&self) {
        self.inner.lengths_since.store(1, Ordering::Relaxed);
    }

    /// Does not any more.
    pub fn forget_lengths(&self) {
        self.inner.lengths_since.store(0, Ordering::Relaxed);
    }

    /// Whether it does.
    #[must_use]
    pub fn tracks_lengths(&self) -> bool {
        self.inner.lengths_since.load(Ordering::Relaxed) != 0
    }
}

impl Inner {
    /// An item with this CAS number and length comes, or goes. Nothing but a look at a word that hardly ever changes, while it is off.
    #[inline(always)]
    pub(super) fn count_length(&self, stats: &Block, cas: u64, item_len: usize, comes: bool) {
        let since = self.lengths_since.load(Ordering::Relaxed);
        if since != 0 {
            self.count_length_since(stats, (since, cas), item_len, comes);
        }
    }

    #[cold]
    #[inline(never)]
    fn count_length_since(&self, stats: &Block, (since, cas): (u64, u64), item_len: usize, comes: bool) {
        if self.arena.has_cas() && cas < since {
            return;
        }
        if comes { stats.sizes.add(item_len) } else { stats.sizes.sub(item_len) }
    }

    /// An item has been changed where it is: it had another CAS number and was shorter by `added` and longer by `removed`.
    #[inline(always)]
    pub(super) fn recount_length(&self, stats: &Block, id: ItemId, old_cas: u64, (added, removed): (u64, u64)) {
        if self.lengths_since.load(Ordering::Relaxed) != 0 {
            self.recount_length_since(stats, id, old_cas, (added, removed));
        }
    }

    #[cold]
    #[inline(never)]
    fn recount_length_since(&self, stats: &Block, id: ItemId, old_cas: u64, (added, removed): (u64, u64)) {
        let header = self.arena.header(id);
        let len = self.arena.shape(header.key_len(), header.value_len(), header.flags()).item_len as u64;
        let old_len = usize::try_from(len + removed - added).unwrap_or(usize::MAX);
        self.count_length(stats, old_cas, old_len, false);
        self.count_length(stats, self.arena.cas(id), usize::try_from(len).unwrap_or(usize::MAX), true);
    }
}
