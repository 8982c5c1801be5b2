//! How much memory there may be, while the daemon runs: more (address space was set aside for it) or less, page by page.
//!
//! ```text
//!   limit lowered:  classes' pages ──emptied──► pool ──► system            limit raised: the same pages again, or fresh ones
//! ```
//!
//! Lowering takes effect at once for who wants a page, and in time for what is there: the maintainer empties pages, of the class whose next
//! victim has been idle longest, and gives their memory back.
//!
//! Two set the limit: the operator (`-m`, `cache_memlimit`), and the bound on the whole process (`--memory-max`); the lower one counts.

use super::evict::By;
use super::expiry::Moment;
use super::reassign::{Emptied, Emptying, Progress};
use super::relocate::Terms;
use super::sizes::ClassId;
use super::{Inner, Local, Store};
use crate::clock::Now;
use std::sync::atomic::Ordering;

/// How far the maintainer has come with giving memory back.
#[derive(Debug, Default)]
pub struct Shrinking {
    page: Option<Emptying>,
    /// Something has been given back, and huge pages would bring it back.
    gave: bool,
}

impl Store {
    /// Bytes for items, as the operator has set them.
    #[must_use]
    pub fn memory_len(&self) -> u64 {
        self.inner.memory_len.load(Ordering::Relaxed)
    }

    /// What they can be raised to.
    #[must_use]
    pub fn memory_len_max(&self) -> u64 {
        u64::from(self.inner.page_count_max) * self.inner.arena.page_len() as u64
    }

    /// Bytes in a chunk of the largest class: what longer items are cut into.
    #[must_use]
    pub fn chunk_len_max(&self) -> usize {
        self.inner.sizes.chunk_len(self.inner.sizes.largest())
    }

    /// Sets them; whether that is possible.
    pub fn set_memory_len(&self, len: u64) -> bool {
        if len > self.memory_len_max() {
            return false;
        }
        self.inner.memory_len.store(len, Ordering::Relaxed);
        self.inner.set_page_limit();
        self.inner.wants.wake();
        true
    }

    /// Bounds them as well, for the whole process's sake: at least a page is left.
    pub fn bound_memory(&self, len: u64) {
        let pages = u32::try_from(len / self.inner.arena.page_len() as u64).unwrap_or(u32::MAX);
        self.inner.page_bound.store(pages.max(1), Ordering::Relaxed);
        self.inner.set_page_limit();
    }

    /// Makes the memory for items resident, huge pages where there are any.
    pub fn populate(&self) {
        self.inner.arena.populate(self.inner.pool.limit());
    }

    /// Gives back some of what is beyond the limit, in a bounded time.
    pub fn step_shrink(&self, local: &mut Local, shrinking: &mut Shrinking, now: Now) -> Progress {
        let inner = &*self.inner;
        if let Some(page) = inner.pool.take_beyond() {
            if !std::mem::replace(&mut shrinking.gave, true) {
                inner.arena.allow_huge(false);
            }
            inner.arena.let_go(page);
            inner.pool.give_gone(page);
            return Progress::More;
        }
        if inner.pool.excess() == 0 {
            shrinking.page = None;
            if shrinking.gave && !inner.pool.has_gone() {
                shrinking.gave = false;
                inner.arena.allow_huge(true);
            }
            return Progress::Done;
        }
        let at = inner.moment(now);
        let page = shrinking.page.or_else(|| inner.begin_emptying(inner.least_missed(at)?));
        let Some(mut page) = page else { return Progress::Held };
        let emptied = inner.empty_slice(local, &mut page, Terms::haste(By::Maintainer), at);
        // One in which something is held is left alone: it comes back by itself, and another can go meanwhile.
        shrinking.page = (emptied == Emptied::More).then_some(page);
        if emptied == Emptied::Held { Progress::Held } else { Progress::More }
    }
}

impl Store {
    /// Makes the index smaller by a bucket, if there are few items, and gives its memory back.
    pub fn step_index(&self) -> Progress {
        let items = self.inner.item_count.load(Ordering::Relaxed);
        self.inner.table.shrink(u64::try_from(items).unwrap_or(0))
    }
}

impl Inner {
    /// The lower of the two limits.
    fn set_page_limit(&self) {
        let len = self.memory_len.load(Ordering::Relaxed);
        let pages = u32::try_from(len / self.arena.page_len() as u64).unwrap_or(u32::MAX).min(self.page_count_max);
        self.pool.set_limit(pages.min(self.page_bound.load(Ordering::Relaxed)));
    }

    /// The class that gives a page: one that does not use all of its own, or else whose next victim has been idle longest. Its last page
    /// a class gives only if nobody has two.
    fn least_missed(&self, at: Moment) -> Option<ClassId> {
        let unused = self.arena.pages().find(|(_, page)| {
            page.used.load(Ordering::Relaxed) == 0 && page.class().is_some() && !page.draining.load(Ordering::Relaxed)
        });
        if let Some(class) = unused.and_then(|(_, page)| page.class()) {
            return Some(class);
        }
        let wealth = |class: &super::Class| {
            let mut guard = class.lock();
            let victim = guard.next_victim(self.lru.mode());
            let idle_secs = victim.map_or(0, |id| at.age_secs(self.arena.header(id).access()));
            (guard.state.page_count > 1, idle_secs, guard.state.page_count)
        };
        let classes = self.classes.iter().map(|class| (wealth(class), class.id));
        classes.filter(|((_, _, pages), _)| *pages > 0).max().map(|(_, class)| class)
    }
}
