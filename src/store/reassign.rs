//! A page that moves, because an operator wants it or because it helps: emptied in slices, by the maintainer, and given to the
//! class it is for.
//!
//! ```text
//!   class `from`                      pool                    class `to`
//!   one of its pages ──slices──► no chunk in use ──kept──► every chunk in its free list, or carved as wanted
//!        │   ▲
//!        │   └── something in it is reserved or pinned: looked at again a little later
//!        └── what is live in it is moved to other chunks (`relocate.rs`), if need be of a page that the pool lends, or
//!            evicted where there is no room
//! ```
//!
//! An operator's page is the emptiest one; what is held in it is waited for. One that moves by itself is that of the item to be
//! evicted next (of a class with free chunks to spare, the emptiest), and is given up if something in it is held.
//! One that goes to the pool before anybody needs it loses nothing that is alive: what has no room keeps it where it is.
//!
//! Not here: which class gives to which (`maintain/automove.rs`), and how an operator asks (`chores.rs`).

use super::arena::PageId;
use super::chores::Asked;
use super::evict::By;
use super::expiry::Moment;
use super::pages::Loan;
use super::relocate::Terms;
use super::sizes::ClassId;
use super::{Inner, Local, Store};
use crate::clock::Now;
use crate::events::{Event, Kinds};
use crate::limits::{CARVE_TRIES_MAX, EVICT_STEPS_MAX, MOVE_PATIENCE};
use std::sync::atomic::Ordering;

/// A page that is being emptied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Emptying {
    class: ClassId,
    page: PageId,
    /// The next chunk to look at.
    next: u32,
    /// How often all has been looked at, and something was held.
    rounds: u32,
}

impl Emptying {
    /// Nothing of it has been looked at.
    pub(super) fn of(class: ClassId, page: PageId) -> Self {
        Self { class, page, next: 0, rounds: 0 }
    }
}

/// How far a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emptied {
    /// It was the class's: it is the pool's now, or somebody's who took it from there.
    Gone,
    /// There is more to look at.
    More,
    /// All has been looked at, and something in it is held.
    Held,
}

/// A page on its way.
#[derive(Debug)]
pub struct PageMove {
    asked: Asked,
    by: Mover,
    page: Option<Emptying>,
}

impl PageMove {
    /// Notes the page if it was given up, so that another is tried.
    pub fn note_held(&self, sparing: &mut Sparing) {
        sparing.held.extend(self.page.map(|emptying| emptying.page));
    }
}

/// Pages that classes can do without.
#[derive(Debug, Default)]
pub struct Sparing {
    /// How many of which class.
    pub(super) classes: Vec<(ClassId, u32)>,
    /// Pages in which something was held.
    pub(super) held: Vec<PageId>,
}

/// Who wants a page to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mover {
    Operator,
    /// The class that gets it, or nobody.
    Itself,
}

/// How a step has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is nothing left to do.
    Done,
    /// There is more to do.
    More,
    /// Something is in the way that others hold.
    Held,
}

impl Store {
    /// The page that is to be moved, if one has been asked for.
    pub fn take_reassign(&self) -> Option<PageMove> {
        let mut board = self.inner.chores.board();
        let asked = board.asked.take()?;
        board.moving = true;
        Some(PageMove { asked, by: Mover::Operator, page: None })
    }

    /// A page that is to go from one class to another because that helps.
    #[must_use]
    pub fn begin_move(&self, from: ClassId, to: ClassId) -> PageMove {
        PageMove { asked: Asked { from: Some(from), to: Some(to) }, by: Mover::Itself, page: None }
    }

    /// The next page that is to go to the pool because its class has free chunks enough without it, if it still has: one with nothing in
    /// it, or, where there is little other memory left, the emptiest.
    pub fn begin_sparing(&self, sparing: &mut Sparing) -> Option<(ClassId, PageMove)> {
        let inner = &*self.inner;
        while let Some((from, pages)) = sparing.classes.last_mut() {
            let from = *from;
            *pages = pages.saturating_sub(1);
            let is_last = *pages == 0;
            let used_max = if inner.pool.is_short() { u32::MAX } else { 0 };
            let has_spare = inner.class(from).lock().has_spare_page();
            let page = if has_spare { inner.begin_emptying(from, used_max, &sparing.held) } else { None };
            if is_last || page.is_none() {
                sparing.classes.pop();
            }
            if page.is_some() {
                return Some((from, PageMove { asked: Asked { from: Some(from), to: None }, by: Mover::Itself, page }));
            }
        }
        None
    }

    /// Goes on with it, for a bounded time.
    pub fn step_move(&self, local: &mut Local, page_move: &mut PageMove, now: Now) -> Progress {
        let inner = &*self.inner;
        let to = page_move.asked.to;
        if to.is_some() {
            inner.pool.keep_for(to);
        }
        let at = inner.moment(now);
        let step = match page_move.by {
            Mover::Operator => inner.step_reassign(local, page_move, at),
            Mover::Itself => inner.step_automatic(local, page_move, at),
        };
        // What moves by itself leaves the pool when it has come there: nothing needs to be kept between steps, and nobody has to wait.
        if step == Progress::Done || page_move.by == Mover::Itself {
            inner.pool.keep_for(None);
        }
        if step == Progress::Done && page_move.by == Mover::Operator {
            inner.chores.board().moving = false;
        }
        step
    }
}

/// Tells watchers that a page has moved; none is the pool, which has the number 0.
fn note_move(local: &Local, from: Option<ClassId>, to: Option<ClassId>) {
    if local.stats.log.wants(Kinds::SYSEVENTS) {
        let [from, to] = [from, to].map(|class| class.map_or(0, ClassId::number));
        local.stats.log.note(Event::SlabMove(from, to));
    }
}

impl Inner {
    fn step_reassign(&self, local: &mut Local, page_move: &mut PageMove, at: Moment) -> Progress {
        let Asked { from, to } = page_move.asked;
        if let Some(from) = from {
            let Some(page) = page_move.page.or_else(|| self.begin_emptying(from, u32::MAX, &[])) else {
                return Progress::Done;
            };
            let page = page_move.page.insert(page);
            // The pool gets a page for the one it lends, or it would have nothing to give.
            let loan = if to.is_some() { Loan::Any } else { Loan::Unused };
            let terms = Terms { loan, patient: page.rounds < MOVE_PATIENCE, may_evict: true, by: By::Maintainer };
            match self.empty_slice(local, page, terms, at) {
                Emptied::More => return Progress::More,
                Emptied::Held => return Progress::Held,
                Emptied::Gone => page_move.page = None,
            }
        }
        let Some(to) = to else {
            local.stats.slabs_moved.add(1);
            note_move(local, from, None);
            return Progress::Done;
        };
        if self.give_page(to) {
            local.stats.slabs_moved.add(1);
            note_move(local, from, Some(to));
            return Progress::Done;
        }
        // Somebody was quicker, or has left the class no other page.
        let spare = from.is_some_and(|from| self.class(from).lock().state.page_count > 1);
        if spare { Progress::More } else { Progress::Done }
    }

    /// Live items are moved to other chunks of their class, which loses what it values least.
    fn step_automatic(&self, local: &mut Local, page_move: &mut PageMove, at: Moment) -> Progress {
        let Asked { from: Some(from), to } = page_move.asked else { return Progress::Done };
        let claim = || to.is_some_and(|to| self.class(to).lock().claim_page(&self.arena, &self.pool));
        // There may be one by now that nobody has to give.
        let mut moved = claim();
        if !moved {
            let Some(page) = page_move.page.or_else(|| self.begin_drain(self.class(from))) else {
                return Progress::Done;
            };
            let terms = if to.is_some() { Terms::haste(By::Maintainer) } else { Terms::leisure() };
            let emptied = self.empty_slice(local, page_move.page.insert(page), terms, at);
            if emptied == Emptied::More {
                return Progress::More;
            }
            if emptied == Emptied::Gone {
                page_move.page = None;
            }
            // A class that is still carving one takes the next from the pool in its time.
            moved = claim() || emptied == Emptied::Gone;
        }
        if let Some(page) = page_move.page {
            self.stop_emptying(page);
        }
        if moved {
            local.stats.slabs_moved.add(1);
            note_move(local, Some(from), to);
        }
        Progress::Done
    }

    /// Begins to empty the class's page with the least in it, if that is no more than so many chunks; none of those to be avoided.
    pub(super) fn begin_emptying(&self, class: ClassId, used_max: u32, avoided: &[PageId]) -> Option<Emptying> {
        let (page, entry) = self
            .arena
            .pages()
            .filter(|(_, page)| page.class() == Some(class) && page.used.load(Ordering::Relaxed) <= used_max)
            .filter(|(id, _)| !avoided.contains(id))
            .min_by_key(|(_, page)| (page.draining.load(Ordering::Relaxed), page.used.load(Ordering::Relaxed)))?;
        let mut guard = self.class(class).lock();
        // What was seen without the lock is a hint.
        if entry.class() != Some(class) {
            return None;
        }
        if !entry.draining.load(Ordering::Relaxed) {
            guard.drain(&self.arena, &self.pool, page);
        }
        Some(Emptying::of(class, page))
    }

    /// Leaves what is left of it to its class: what was held may have become an item meanwhile, and would keep the page from being used.
    pub(super) fn stop_emptying(&self, Emptying { class, page, .. }: Emptying) {
        self.class(class).lock().stop_draining(&self.arena, &self.pool, page);
    }

    /// Looks at the page's next chunks, as many as are looked at while a class is locked.
    pub(super) fn empty_slice(&self, local: &mut Local, emptying: &mut Emptying, terms: Terms, at: Moment) -> Emptied {
        let Emptying { class, page, next, .. } = *emptying;
        let class = self.class(class);
        let mut strays = Vec::new();
        let mut guard = class.lock();
        guard.state.spared = local.sparing;
        let end = next + u32::try_from(EVICT_STEPS_MAX).unwrap_or(u32::MAX);
        while emptying.next < end && self.is_draining(class, page, emptying.next) {
            self.drain_chunk(&mut guard, local, (page, emptying.next), terms, at, &mut strays);
            emptying.next += 1;
        }
        guard.state.spared = None;
        drop(guard);
        self.give_back_all(strays);
        let guard = class.lock();
        if !self.is_draining(class, page, 0) {
            return Emptied::Gone;
        }
        let entry = self.arena.page(page);
        if emptying.next < entry.carved.load(Ordering::Relaxed) {
            return Emptied::More;
        }
        emptying.next = 0;
        emptying.rounds += 1;
        let held = u64::from(entry.used.load(Ordering::Relaxed));
        let linked = (0..entry.carved.load(Ordering::Relaxed)).any(|index| {
            let header = self.arena.header(self.arena.chunk_id(page, index, class.chunk_len));
            header.is_linked()
        });
        drop(guard);
        local.stats.slab_reassign_busy_items.add(held);
        // What is in no index any more is being filled by a client, or read by one.
        self.chores.board().last_busy = Some(if linked { "locked" } else { "busy_floating" });
        Emptied::Held
    }

    /// Gives the class a page of the pool; whether there was one. A page that it is carving is carved to its end first.
    fn give_page(&self, to: ClassId) -> bool {
        for _ in 0..CARVE_TRIES_MAX {
            let mut guard = self.class(to).lock();
            if guard.claim_page(&self.arena, &self.pool) {
                return true;
            }
            if guard.carve(&self.arena, &self.pool, u32::try_from(EVICT_STEPS_MAX).unwrap_or(u32::MAX))
                && self.pool.available_count() == 0
            {
                return false;
            }
        }
        false
    }
}
