//! Dead items give way before live ones do: pages are swept for what has expired or been flushed.
//!
//! Each page knows the earliest deadline in it and when it was last swept, so a page with nothing due is skipped by a
//! look at its entry in the page table. A page that has something due is walked chunk by chunk, in slices, under its class's
//! lock; the earliest deadline is found anew on the way. A sweep that stops on the way, for whatever reason, leaves the page due.
//!
//! An item's stamp has room for so many seconds and flushes and no more; then it would be taken for a younger one, and what was flushed
//! would be back. So the sweep has to be round before that, whether dead items are wanted to be swept or not: it gives live items
//! that nobody has used for months a younger stamp, and leaves no dead ones. Time is no worry. Flushes can be so many that whoever flushes
//! has to help.
//!
//! Two sweep: the maintainer, page after page, all the time but at a small share of it; and whoever needs room in a class, a
//! slice at a time before anything alive is evicted. Where much has expired a slice finds some; where it finds none, not much is lost
//! by evicting instead.

use super::arena::{Arena, ItemId, Page, PageId};
use super::chores::ClassSet;
use super::evict::{By, Spare};
use super::expiry::{Moment, STAMPS_LOW, STAMPS_MAX, STAMPS_USED};
use super::item::Chunk;
use super::locks::{Rank, Ranked};
use super::pages::ClassGuard;
use super::sizes::ClassId;
use super::{Inner, Local, Store};
use crate::clock::Now;
use crate::limits::{HELPED_PAGES, SWEEP_AGE_SECS, SWEEP_PAGES_MAX, SWEEP_SLICE, TURN_COPIED_MAX, TURN_HELPS_MAX};
use crate::stats::Block;
use std::sync::atomic::{AtomicU32, Ordering};

/// No deadline in the page.
pub(super) const NOTHING_DUE: u32 = u32::MAX;

/// Due at once.
const DUE_NOW: u32 = 0;

/// A place between two chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    page: u32,
    chunk: u32,
    /// Behind a page's first chunks: what its sweep began with.
    begun: Begun,
}

/// What a page's sweep began with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Begun {
    /// Which sweep of the page it is: what [`Page::sweep`] said then.
    sweep: u32,
    /// The stamp, and the last flush's.
    stamp: u32,
    flushed: u32,
    /// There was something dead that somebody held.
    missed: bool,
}

impl Place {
    fn page(page: u32) -> Self {
        Self { page, ..Self::default() }
    }
}

/// How far the sweep of one class for whoever needs room has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClassSweep {
    place: Place,
    /// Pages passed over since one had something due.
    passed: u32,
    /// The second and the flush at which no page had.
    fruitless: Option<(u32, u32)>,
    /// What the maintainer's sweeps and crawls have done in the class.
    pub(super) crawled: Crawled,
}

/// Items looked at, and those of them that were dead and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crawled {
    /// Looked at.
    pub checked: u64,
    /// Removed.
    pub reclaimed: u64,
}

/// A crawl that was asked for.
#[derive(Debug)]
pub struct Crawl {
    classes: ClassSet,
    /// Items of one class, at most; 0 is all.
    items_max: u64,
    place: Place,
    /// Items of each class looked at so far.
    checked: Box<[u64]>,
}

/// The way through all pages, of the maintainer and of those who help.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    round: Ranked<Round>,
    /// The stamp as the last round began of those that are over and have missed nothing. No item has one that is older than this
    /// by more than `STAMP_AGE_MAX` and `SWEEP_AGE_SECS`.
    cleaned: AtomicU32,
}

#[derive(Debug, Default)]
struct Round {
    place: Place,
    /// The stamp as it began.
    begun: u32,
    /// There was something dead that somebody held.
    missed: bool,
}

/// What a step of the sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Items looked at.
    pub checked: u64,
    /// Items removed.
    pub reclaimed: u64,
    /// A round is over.
    pub round: bool,
    /// Something dead is where it was, for somebody held it.
    missed: bool,
}

/// What there was in a chunk for a sweep.
enum Found {
    /// Nothing, or something alive.
    Nothing,
    /// Something dead, which has been removed.
    Removed,
    /// Something dead that somebody holds.
    Held,
}

impl Page {
    /// Something with this deadline (0 for none) is in the page now.
    #[inline]
    pub(super) fn note_deadline(&self, deadline: u32) {
        if deadline != 0 && deadline < self.earliest.load(Ordering::Relaxed) {
            self.earliest.fetch_min(deadline, Ordering::Relaxed);
        }
    }

    fn is_due(&self, at: Moment) -> bool {
        self.earliest.load(Ordering::Relaxed) <= at.now.tick.0
            || self.swept_flush.load(Ordering::Relaxed) != at.flushed
            || self.sweep.load(Ordering::Relaxed) & 1 != 0
    }

    /// Whether it has not been swept for so long that there may be old stamps in it. (Or a deadline that nobody knows of: of a thread
    /// that writes one and then looks at `earliest`, and one that resets that and then looks at the deadline, neither may see what the
    /// other wrote. It is found so late, but to find it sooner each store would have to wait for its own writes.)
    fn is_stale(&self, at: Moment) -> bool {
        at.stamps_since(self.swept.load(Ordering::Relaxed)) >= SWEEP_AGE_SECS
    }

    /// A sweep of the page begins: what is seen from here on, or linked, is noted anew. Under its class's lock.
    fn begin_sweep(&self, at: Moment) -> Begun {
        let sweep = (self.sweep.load(Ordering::Relaxed) | 1).wrapping_add(2);
        self.sweep.store(sweep, Ordering::Relaxed);
        self.earliest.store(NOTHING_DUE, Ordering::Relaxed);
        Begun { sweep, stamp: at.stamp, flushed: at.flushed, missed: false }
    }

    /// A sweep has come to the page's end. Under its class's lock.
    fn end_sweep(&self, begun: Begun) {
        if !begun.missed {
            self.swept.store(begun.stamp, Ordering::Relaxed);
            self.swept_flush.store(begun.flushed, Ordering::Relaxed);
        }
        // One begun later has forgotten what this one has noted.
        if self.sweep.load(Ordering::Relaxed) == begun.sweep {
            self.sweep.store(begun.sweep & !1, Ordering::Relaxed);
        }
    }
}

impl Store {
    /// Sweeps a slice of the next page that has something due; bounded work, to be called again and again.
    pub fn sweep(&self, local: &mut Local, now: Now) -> Swept {
        let inner = &*self.inner;
        let mut round = inner.rounds.round.lock(Rank::Sweep);
        let at = inner.moment(now);
        let mut strays = Vec::new();
        let page_count = inner.arena.page_count();
        for _ in 0..SWEEP_PAGES_MAX {
            let place = round.place;
            if place == Place::default() {
                *round = Round { begun: at.stamp, ..Round::default() };
            }
            if place.page >= page_count {
                if !round.missed {
                    inner.rounds.cleaned.store(round.begun, Ordering::Relaxed);
                }
                round.place = Place::default();
                return Swept { round: true, ..Swept::default() };
            }
            let page = inner.arena.page(PageId(place.page));
            let class = page.class().filter(|_| place.chunk > 0 || page.is_due(at) || page.is_stale(at));
            let Some(class) = class else {
                round.place = Place::page(place.page + 1);
                continue;
            };
            let mut guard = inner.class(class).lock();
            let (swept, next) = inner.crawl_slice(&mut guard, local, at, place, &mut strays);
            drop(guard);
            round.missed |= swept.missed;
            round.place = next;
            inner.give_back_all(strays);
            return swept;
        }
        Swept::default()
    }

    /// Whether so many stamps have been used that there must be a round, though dead items may stay where they are.
    #[must_use]
    pub fn needs_round(&self, now: Now) -> bool {
        self.stamps_used(now) >= STAMPS_USED
    }

    /// Stamps used since the last round began that is over.
    fn stamps_used(&self, now: Now) -> u32 {
        self.inner.moment(now).stamps_since(self.inner.rounds.cleaned.load(Ordering::Relaxed))
    }

    /// Sees to it that there are stamps for one more flush. No lock may be held.
    #[inline]
    pub(super) fn have_stamps(&self, local: &mut Local, now: Now) {
        if self.stamps_used(now) >= STAMPS_LOW {
            self.make_stamps(local, now);
        }
    }

    /// So much of the round for each flush that it is over in time. More than that only if what is held is held for as long.
    #[cold]
    fn make_stamps(&self, local: &mut Local, now: Now) {
        local.note_work(TURN_COPIED_MAX / TURN_HELPS_MAX);
        for _ in 0..=self.inner.arena.page_count() / HELPED_PAGES {
            self.sweep(local, now);
        }
        while self.stamps_used(now) >= STAMPS_MAX {
            self.sweep(local, now);
        }
    }

    /// The crawl that has been asked for, if one has.
    pub fn take_crawl(&self) -> Option<Crawl> {
        let mut board = self.inner.chores.board();
        let classes = board.crawl.take()?;
        board.crawling = true;
        let items_max = u64::from(board.background.crawler_tocrawl);
        let checked = vec![0; self.inner.classes.len()].into_boxed_slice();
        Some(Crawl { classes, items_max, place: Place::default(), checked })
    }

    /// Goes on with it for a slice: every page of its classes, whether something is due there or not. Whether there is more.
    pub fn crawl(&self, local: &mut Local, crawl: &mut Crawl, now: Now) -> bool {
        let inner = &*self.inner;
        let wanted = |class: ClassId, crawl: &Crawl| {
            let enough = crawl.items_max > 0 && crawl.checked[class.index()] >= crawl.items_max;
            crawl.classes.contains(class.number()) && !enough
        };
        for _ in 0..SWEEP_PAGES_MAX {
            let place = crawl.place;
            if place.page >= inner.arena.page_count() {
                self.end_crawl();
                return false;
            }
            let class = inner.arena.page(PageId(place.page)).class();
            let Some(class) = class.filter(|&class| wanted(class, crawl)) else {
                crawl.place = Place::page(place.page + 1);
                continue;
            };
            let mut strays = Vec::new();
            let mut guard = inner.class(class).lock();
            let (swept, next) = inner.crawl_slice(&mut guard, local, inner.moment(now), place, &mut strays);
            drop(guard);
            inner.give_back_all(strays);
            crawl.checked[class.index()] += swept.checked;
            crawl.place = next;
            return true;
        }
        true
    }

    /// The crawl is over, or not wanted any more.
    pub fn end_crawl(&self) {
        self.inner.chores.board().crawling = false;
    }
}

impl Inner {
    /// Sweeps a slice of the class's next page that has something due, for whoever needs a chunk of it. How many items it removed;
    /// none if no page of the class has anything due, which then is not looked into again in this second.
    pub(super) fn sweep_for_room(
        &self,
        guard: &mut ClassGuard<'_>,
        local: &mut Local,
        at: Moment,
        strays: &mut Vec<Chunk>,
    ) -> Option<u64> {
        let page_count = self.arena.page_count();
        let this_second = (at.now.tick.secs(), at.flushed);
        if guard.state.sweep.fruitless == Some(this_second) {
            return None;
        }
        for _ in 0..SWEEP_PAGES_MAX {
            let place = guard.state.sweep.place;
            if place.page >= page_count {
                guard.state.sweep.place = Place::default();
                continue;
            }
            let page = self.arena.page(PageId(place.page));
            if page.class() == Some(guard.class.id) && (place.chunk > 0 || page.is_due(at)) {
                let (swept, next) = self.sweep_slice(guard, local, at, (place, By::Storer), strays);
                guard.state.sweep.place = next;
                guard.state.sweep.passed = 0;
                return Some(swept.reclaimed);
            }
            guard.state.sweep.place = Place::page(place.page + 1);
            guard.state.sweep.passed += 1;
            if guard.state.sweep.passed >= page_count {
                guard.state.sweep.passed = 0;
                guard.state.sweep.fruitless = Some(this_second);
                return None;
            }
        }
        Some(0)
    }

    /// A slice of the maintainer's, which is counted.
    fn crawl_slice(
        &self,
        guard: &mut ClassGuard<'_>,
        local: &mut Local,
        at: Moment,
        place: Place,
        strays: &mut Vec<Chunk>,
    ) -> (Swept, Place) {
        let (swept, next) = self.sweep_slice(guard, local, at, (place, By::Maintainer), strays);
        let crawled = &mut guard.state.sweep.crawled;
        crawled.checked += swept.checked;
        crawled.reclaimed += swept.reclaimed;
        local.stats.crawler_items_checked.add(swept.checked);
        local.stats.crawler_reclaimed.add(swept.reclaimed);
        (swept, next)
    }

    /// Looks at the chunks from `place` on, as many as a slice has, and where to go on.
    fn sweep_slice(
        &self,
        guard: &mut ClassGuard<'_>,
        local: &mut Local,
        at: Moment,
        (place, by): (Place, By),
        strays: &mut Vec<Chunk>,
    ) -> (Swept, Place) {
        let page = self.arena.page(PageId(place.page));
        let mut swept = Swept::default();
        if page.class() != Some(guard.class.id) {
            return (swept, Place::page(place.page + 1));
        }
        let mut begun = if place.chunk == 0 { page.begin_sweep(at) } else { place.begun };
        let carved = page.carved.load(Ordering::Relaxed);
        let end = carved.min(place.chunk + SWEEP_SLICE);
        for index in place.chunk..end {
            let id = self.arena.chunk_id(PageId(place.page), index, guard.class.chunk_len);
            swept.checked += u64::from(self.arena.header(id).is_linked());
            match self.sweep_chunk(guard, &local.stats, (page, id), at, by, strays) {
                Found::Nothing => {}
                Found::Removed => swept.reclaimed += 1,
                Found::Held => swept.missed = true,
            }
        }
        begun.missed |= swept.missed;
        local.count_items(-i64::try_from(swept.reclaimed).expect("no more than a slice"));
        if end < carved {
            return (swept, Place { chunk: end, begun, ..place });
        }
        page.end_sweep(begun);
        (swept, Place::page(place.page + 1))
    }

    /// Removes the item in a chunk if it is dead, and sees to it that it does not become too old if it is not.
    fn sweep_chunk(
        &self,
        guard: &mut ClassGuard<'_>,
        stats: &Block,
        (page, id): (&Page, ItemId),
        at: Moment,
        by: By,
        strays: &mut Vec<Chunk>,
    ) -> Found {
        let header = self.arena.header(id);
        if !header.is_linked() {
            return Found::Nothing;
        }
        if !self.is_dead(id, at) {
            page.note_deadline(header.deadline());
            let stamp = header.access();
            if let Some(instead) = at.oldest_instead(stamp) {
                header.replace_access(stamp, instead);
            }
            return Found::Nothing;
        }
        let queueing = self.queueing_class_of(id);
        let removed = if queueing.id == guard.class.id {
            self.remove_item(guard, stats, id, at, (Spare::Living, by), strays)
        } else {
            queueing.try_lock().is_some_and(|mut queueing_guard| {
                header.is_linked() && self.remove_item(&mut queueing_guard, stats, id, at, (Spare::Living, by), strays)
            })
        };
        if removed {
            return Found::Removed;
        }
        if !header.is_linked() {
            return Found::Nothing;
        }
        // Somebody holds it just now.
        page.earliest.store(DUE_NOW, Ordering::Relaxed);
        Found::Held
    }

    /// Frees what could not be freed while a class was held.
    pub(super) fn give_back_all(&self, strays: Vec<Chunk>) {
        strays.into_iter().for_each(|stray| self.give_back(Some(stray)));
    }
}

impl Arena {
    /// The page of a chunk, for noting a deadline.
    #[inline]
    pub(super) fn note_deadline(&self, id: ItemId, deadline: u32) {
        if deadline != 0 {
            self.page(self.page_of(id)).note_deadline(deadline);
        }
    }
}
