//! How much memory there may be, while the daemon runs: more (address space was set aside for it) or less, page by page.
//!
//! ```text
//!   limit lowered:  classes' pages ──emptied──► pool ──► system            limit raised: the same pages again, or fresh ones
//! ```
//!
//! Lowering takes effect at once for who wants a page, and in time for what is there: the maintainer empties pages, of the class whose next
//! victim has been idle longest, and gives their memory back.
//!
//! Two set the limit: the operator (`-m`, `cache_memlimit`), and the bound on the whole process (`--memory-max`); the lower one counts. What
//! the operator says is too little for the classes in use where it is less than `CLASS_LEN_MIN` for each: it counts as that much then.

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
    /// Pages in which something was held.
    left: Vec<Emptying>,
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
        self.inner.pool.set_limit(self.inner.pages_in(len).min(self.inner.page_count_max));
        self.inner.wants.wake();
        true
    }

    /// Bounds them as well, for the whole process's sake: at least a page is left.
    pub fn bound_memory(&self, len: u64) {
        self.inner.pool.set_bound(self.inner.pages_in(len).max(1));
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
            shrinking.left.extend(shrinking.page.take());
            shrinking.left.drain(..).for_each(|page| inner.stop_emptying(page));
            if shrinking.gave && !inner.pool.has_gone() {
                shrinking.gave = false;
                inner.arena.allow_huge(true);
            }
            return Progress::Done;
        }
        let at = inner.moment(now);
        let page = shrinking.page.or_else(|| inner.begin_emptying(inner.least_missed(at)?, u32::MAX, &[]));
        let Some(mut page) = page else { return Progress::Held };
        let emptied = inner.empty_slice(local, &mut page, Terms::haste(By::Maintainer), at);
        // One in which something is held is left alone: it comes back by itself, and another can go meanwhile.
        shrinking.page = (emptied == Emptied::More).then_some(page);
        if emptied == Emptied::Held {
            shrinking.left.push(page);
            return Progress::Held;
        }
        Progress::More
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
    /// Whole pages in so many bytes.
    fn pages_in(&self, len: u64) -> u32 {
        u32::try_from(len / self.arena.page_len() as u64).unwrap_or(u32::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::limits::{CLASS_LEN_MIN, PAGE_LEN_MIN};
    use crate::settings::{ClassSizes, LruMode, LruTuning};
    use crate::stats::Registry;
    use crate::store::{Condition, Deadline, Draft, Refused, StoreConfig, Stored};

    const MEMORY_LEN: u64 = 8 * PAGE_LEN_MIN as u64;

    struct Bench {
        store: Store,
        local: Local,
        clock: Clock,
    }

    impl Bench {
        fn new(evict: bool) -> Self {
            let config = StoreConfig {
                memory_len: MEMORY_LEN,
                class_len_min: CLASS_LEN_MIN,
                item_len_max: 1 << 20,
                classes: ClassSizes::default(),
                with_cas: true,
                evict,
                lru: LruMode::default(),
                lru_tuning: LruTuning::default(),
                hash_seed: Some(1),
            };
            let store = Store::new(&config).expect("a few pages can be mapped");
            let local = store.local(Registry::default().register());
            Self { store, local, clock: Clock::manual() }
        }

        fn key(value_len: usize, number: u64) -> Vec<u8> {
            format!("{value_len}:{number}").into_bytes()
        }

        fn put(&mut self, value_len: usize, number: u64) -> Result<Stored, Refused> {
            let key = Self::key(value_len, number);
            let draft = Draft::new((self.store.hash(&key), &key), 0, Deadline::NEVER);
            let value = vec![b'v'; value_len];
            self.store.put(&mut self.local, draft, Condition::Always, &value, self.clock.now())
        }

        fn delete(&mut self, value_len: usize, number: u64) -> bool {
            let key = Self::key(value_len, number);
            self.store.delete(&mut self.local, (self.store.hash(&key), &key), self.clock.now())
        }

        /// Stores more values of one length than there is memory for.
        fn fill(&mut self, value_len: usize) {
            for number in 0..2 * MEMORY_LEN / value_len as u64 {
                assert_eq!(self.put(value_len, number), Ok(Stored::Stored));
            }
        }

        /// Bytes of the pages that classes have, once what is too much has been given back.
        fn settled_len(&mut self) -> u64 {
            let mut shrinking = Shrinking::default();
            while self.store.step_shrink(&mut self.local, &mut shrinking, self.clock.now()) != Progress::Done {}
            let census = self.store.audit(&[&self.local]);
            u64::from(census.pages) * PAGE_LEN_MIN as u64
        }
    }

    #[test]
    fn a_memory_is_never_too_little_for_the_classes_in_use_and_what_the_process_is_bound_to_is() {
        let mut bench = Bench::new(true);
        bench.fill(100);
        assert_eq!(bench.settled_len(), MEMORY_LEN, "one class, which has more than its least");
        let lens = [200, 300, 500, 800, 1200, 2000, 3000];
        for value_len in lens {
            bench.fill(value_len);
        }
        let least = (lens.len() as u64 + 1) * CLASS_LEN_MIN as u64;
        assert!(least > MEMORY_LEN);
        assert_eq!(bench.settled_len(), least);
        assert!(bench.store.set_memory_len(1), "as little as can be said changes nothing");
        assert_eq!(bench.settled_len(), least);
        assert!(bench.store.set_memory_len(2 * least));
        bench.fill(100);
        assert!(
            (least + 1..=2 * least).contains(&bench.settled_len()),
            "what is enough for all of them is what counts"
        );
        bench.store.bound_memory(MEMORY_LEN);
        assert_eq!(bench.settled_len(), MEMORY_LEN, "the whole process has no more");
        bench.store.bound_memory(u64::MAX);
        assert!(bench.store.set_memory_len(MEMORY_LEN));
        for value_len in lens {
            bench.fill(value_len);
        }
        assert_eq!(bench.settled_len(), least);
    }

    /// The share of a class went with its page, and then, of the others, what lived in four more: without evictions, too.
    #[test]
    fn what_lives_stays_when_other_sizes_go_out_of_use() {
        let mut bench = Bench::new(false);
        let lens = [200, 300, 500, 800, 1200, 2000, 3000];
        for value_len in lens {
            assert!(bench.put(value_len, 0).is_ok());
        }
        let stored = (0..).take_while(|&number| bench.put(100, number).is_ok()).count() as u64;
        for value_len in lens {
            assert!(bench.delete(value_len, 0));
        }
        assert!(bench.put(100, stored).is_ok(), "in a page that is not used any more");
        assert_eq!(bench.settled_len(), (lens.len() as u64 + 1) * CLASS_LEN_MIN as u64);
        assert_eq!(bench.store.audit(&[&bench.local]).items, stored + 1);
    }

    /// A page that was being emptied when the limit was raised again stayed half empty, and what was free of it nobody's.
    #[test]
    fn a_page_that_need_not_go_after_all_is_its_classs_again() {
        let mut bench = Bench::new(false);
        let room = (0..).take_while(|&number| bench.put(100, number).is_ok()).count() as u64;
        let mut shrinking = Shrinking::default();
        for _ in 0..20 {
            assert!(bench.store.set_memory_len(MEMORY_LEN / 2));
            let step = bench.store.step_shrink(&mut bench.local, &mut shrinking, bench.clock.now());
            assert_eq!(step, Progress::More);
            assert!(bench.store.set_memory_len(MEMORY_LEN));
            while bench.store.step_shrink(&mut bench.local, &mut shrinking, bench.clock.now()) != Progress::Done {}
            let items = bench.store.audit(&[&bench.local]).items;
            assert!(items < room, "some had to go");
            let again = (room..).take_while(|&number| bench.put(100, number).is_ok()).count() as u64;
            assert_eq!(items + again, room);
            let census = bench.store.audit(&[&bench.local]);
            assert_eq!((census.items, census.held), (room, 0));
            (room..room + again).for_each(|number| assert!(bench.delete(100, number)));
            (0..room).for_each(|number| assert!(bench.put(100, number).is_ok()));
        }
    }
}
