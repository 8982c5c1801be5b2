//! Pages that move to where they help, or to the pool where they do not: what the maintainer needs to decide.
//!
//! ```text
//!   a worker evicts a page's worth in class c ──wants──► maintainer: samples of all classes
//!                                                             │ automove.rs decides: from, to
//!                              pool, kept for c ◄──slices──  reassign.rs
//! ```
//!
//! Not here: the decision (`maintain/automove.rs`, a pure function), and the move (`reassign.rs`).

use super::queues::{NEAR_EPOCHS, NEAR_PART};
use super::reassign::Sparing;
use super::sizes::ClassId;
use super::{Inner, Store};
use crate::clock::Now;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;

/// What is told of a class to whoever decides where pages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassSample {
    /// Which.
    pub class: ClassId,
    /// Pages it has.
    pub pages: u32,
    /// Items that compete for them.
    pub items: u32,
    /// Since the start: keys that came back shortly after their item had been evicted, so that an eighth more items would have
    /// made them hits.
    pub near_misses: u64,
    /// Live items evicted from the class, since the start.
    pub evicted: u64,
    /// Seconds since its next victim was used; none if it has no victim.
    pub idle_secs: Option<u32>,
}

impl ClassSample {
    /// The evictions within which a key must come back to count as a near miss.
    #[must_use]
    pub fn near(&self) -> f64 {
        (f64::from(self.items) / f64::from(NEAR_PART)).max(f64::from(NEAR_EPOCHS))
    }
}

/// How workers ask for pages.
#[derive(Debug, Default)]
pub(super) struct Wants {
    /// The classes that have asked, a bit each.
    classes: [AtomicU64; WANTS_WORDS],
    /// The maintainer has been woken and has not looked yet.
    called: AtomicBool,
    maintainer: OnceLock<Thread>,
}

const WANTS_WORDS: usize = 256 / 64;

impl Wants {
    /// The class would like a page. Under its lock: only noted.
    pub(super) fn note(&self, class: ClassId) {
        let number = usize::from(class.number());
        // Sequentially consistent, here and below: a worker notes and then looks whether the maintainer has been called; that takes back the call
        // and then what is noted. Whoever is second in the one order of it all sees what the first has written: a worker that
        // finds it called still has been noted before the maintainer looks.
        self.classes[number / 64].fetch_or(1 << (number % 64), Ordering::SeqCst);
    }

    /// Wakes the maintainer.
    pub(super) fn wake(&self) {
        self.maintainer.get().inspect(|thread| thread.unpark());
    }

    /// Wakes the maintainer if a class has asked. No lock may be held.
    #[inline]
    pub(super) fn call(&self) {
        let asked = self.classes.iter().any(|word| word.load(Ordering::Relaxed) != 0);
        if asked && !self.called.load(Ordering::SeqCst) && !self.called.swap(true, Ordering::SeqCst) {
            self.maintainer.get().inspect(|thread| thread.unpark());
        }
    }
}

impl Store {
    /// Has this thread unparked when a class wants a page.
    pub fn set_maintainer(&self, thread: Thread) {
        // A second one would never be woken, and finds its work when it looks.
        let _ = self.inner.wants.maintainer.set(thread);
    }

    /// The classes that have asked for a page since this was asked last.
    #[must_use]
    pub fn take_wanting(&self) -> Vec<ClassId> {
        self.inner.wants.called.store(false, Ordering::SeqCst);
        let asked: Vec<u64> = self.inner.wants.classes.iter().map(|word| word.swap(0, Ordering::SeqCst)).collect();
        let has_asked = |class: &ClassId| asked[usize::from(class.number()) / 64] >> (class.number() % 64) & 1 != 0;
        self.inner.sizes.classes().filter(has_asked).collect()
    }

    /// Looks for classes with free chunks that nobody has wanted since this was asked last.
    #[must_use]
    pub fn spare_pages(&self) -> Sparing {
        let spares = self.inner.classes.iter().map(|class| (class.id, class.lock().spare_pages()));
        Sparing { classes: spares.filter(|&(_, pages)| pages > 0).collect(), held: Vec::new() }
    }

    /// All classes, smallest chunks first.
    #[must_use]
    pub fn samples(&self, now: Now) -> Vec<ClassSample> {
        let (inner, at) = (&*self.inner, self.inner.moment(now));
        let sample = |class: &super::Class| {
            let mut guard = class.lock();
            let idle_secs = guard.next_victim(inner.lru.mode()).map(|id| at.age_secs(inner.arena.header(id).access()));
            ClassSample {
                class: class.id,
                pages: guard.state.page_count,
                items: guard.competing_count(),
                near_misses: guard.state.near_misses,
                evicted: guard.state.counts.evicted,
                idle_secs,
            }
        };
        inner.classes.iter().map(|class| sample(class)).collect()
    }
}

impl Inner {
    /// Wakes the maintainer if a class wants a page.
    #[inline]
    pub(super) fn call_maintainer(&self) {
        self.wants.call();
    }
}
