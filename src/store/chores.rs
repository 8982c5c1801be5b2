//! What the maintainer is asked to do, and how it is told to go about it: a board that workers write and it reads.
//!
//! A mailbox of one for each kind of work: while a page is on its way another one is not taken on, and the same of crawls. Nothing
//! is done here, and nobody waits: who asks has the answer at once.

use super::dump::DumpTurn;
use super::sizes::ClassId;
use super::{Inner, Store};
use crate::clock::Now;
use crate::settings::Background;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Why a page is not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReassignRefused {
    /// One is on its way.
    Busy,
    /// No such class.
    BadClass,
    /// The class has one page, or the pool does not have two.
    NoSpare,
    /// From a class to itself.
    Same,
}

/// Why no crawl begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrawlRefused {
    /// One is under way.
    Busy,
    /// No such class.
    BadClass,
    /// No class named.
    Nothing,
}

/// Classes by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassSet([u64; 4]);

impl ClassSet {
    /// Every number.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// Adds a class.
    pub fn insert(&mut self, number: u8) {
        self.0[usize::from(number) / 64] |= 1 << (number % 64);
    }

    /// Whether the class is among them.
    #[must_use]
    pub fn contains(&self, number: u8) -> bool {
        self.0[usize::from(number) / 64] >> (number % 64) & 1 != 0
    }

    /// Whether no class is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

/// A page to be moved: none is the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) from: Option<ClassId>,
    pub(super) to: Option<ClassId>,
}

/// The board.
#[derive(Debug, Default)]
pub(super) struct Chores {
    board: Mutex<Board>,
    /// Seconds since 1970 when the clock stood at 0: found out once, so that dumps tell the same time of the same item.
    epoch_secs: OnceLock<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) background: Background,
    pub(super) asked: Option<Asked>,
    /// A page is on its way.
    pub(super) moving: bool,
    /// What was in the way when a page was last looked at that is on its way.
    pub(super) last_busy: Option<&'static str>,
    /// The class that gave last when any might.
    pub(super) last_giver: usize,
    pub(super) crawl: Option<ClassSet>,
    /// A crawl that was asked for is under way.
    pub(super) crawling: bool,
    pub(super) dump: DumpTurn,
    #[cfg(feature = "debug-commands")]
    pub(super) in_hand: super::debug::InHand,
}

impl Board {
    pub(super) fn is_crawling(&self) -> bool {
        self.crawling || self.crawl.is_some()
    }
}

/// What of the board `stats` tells.
#[derive(Clone, Copy, Debug)]
pub struct ChoresSummary {
    /// A page is on its way, or about to be.
    pub moving: bool,
    /// What was in the way of the last one that had to wait.
    pub last_busy: Option<&'static str>,
    /// A crawl is under way.
    pub crawling: bool,
}

impl Chores {
    pub(super) fn epoch_secs(&self, now: Now) -> u64 {
        *self.epoch_secs.get_or_init(|| now.unix_secs.saturating_sub(now.tick.secs().into()))
    }

    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        // Every write to it leaves it whole.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// How the maintainer goes about its work.
    #[must_use]
    pub fn background(&self) -> Background {
        self.inner.chores.board().background
    }

    /// Changes that.
    pub fn tune_background(&self, change: impl FnOnce(&mut Background)) {
        change(&mut self.inner.chores.board().background);
        self.inner.wants.wake();
    }

    /// What is under way.
    #[must_use]
    pub fn chores(&self) -> ChoresSummary {
        let board = self.inner.chores.board();
        ChoresSummary {
            moving: board.moving || board.asked.is_some(),
            last_busy: board.last_busy,
            crawling: board.crawling || board.crawl.is_some(),
        }
    }

    /// Has a page moved between classes: by number, 0 is the pool, and -1 in the place of the giver is whichever can.
    ///
    /// # Errors
    /// Why it is not.
    pub fn ask_reassign(&self, from: i32, to: i32) -> Result<(), ReassignRefused> {
        let inner = &*self.inner;
        let mut board = inner.chores.board();
        if board.moving || board.asked.is_some() {
            return Err(ReassignRefused::Busy);
        }
        if from == to {
            return Err(ReassignRefused::Same);
        }
        let from = if from == -1 { inner.any_giver(&mut board, to).unwrap_or(-1) } else { from };
        let (from, to) = (inner.class_or_pool(from)?, inner.class_or_pool(to)?);
        let pages = match from {
            Some(class) => inner.class(class).lock().state.page_count,
            None => inner.pool.resident().1,
        };
        if pages < 2 {
            return Err(ReassignRefused::NoSpare);
        }
        board.asked = Some(Asked { from, to });
        drop(board);
        inner.wants.wake();
        Ok(())
    }

    /// The board, if these classes may be walked through now: by one crawl or one dump at a time.
    pub(super) fn board_for_walk(&self, classes: ClassSet, now: Now) -> Result<MutexGuard<'_, Board>, CrawlRefused> {
        self.check_classes(classes)?;
        let board = self.inner.chores.board();
        if board.is_crawling() || board.dump.is_taken(now) {
            return Err(CrawlRefused::Busy);
        }
        if classes.is_empty() {
            return Err(CrawlRefused::Nothing);
        }
        Ok(board)
    }

    /// Has these classes swept from end to end.
    ///
    /// # Errors
    /// Why they are not.
    pub fn ask_crawl(&self, classes: ClassSet, now: Now) -> Result<(), CrawlRefused> {
        let mut board = self.board_for_walk(classes, now)?;
        board.crawl = Some(classes);
        drop(board);
        self.inner.wants.wake();
        Ok(())
    }

    pub(super) fn check_classes(&self, classes: ClassSet) -> Result<(), CrawlRefused> {
        let known = self.inner.classes.len().max(MEMCACHED_CLASS_MAX);
        let is_bad = |&number: &u8| classes.contains(number) && !(1..=known).contains(&number.into());
        let any_bad = classes != ClassSet::ALL && (0..=u8::MAX).any(|number| is_bad(&number));
        if any_bad { Err(CrawlRefused::BadClass) } else { Ok(()) }
    }
}

impl Inner {
    fn class_or_pool(&self, number: i32) -> Result<Option<ClassId>, ReassignRefused> {
        if number == 0 {
            return Ok(None);
        }
        let found = self.sizes.classes().find(|class| i32::from(class.number()) == number);
        found.map(Some).ok_or(ReassignRefused::BadClass)
    }

    /// The next class, in turn, that has a page to spare.
    fn any_giver(&self, board: &mut Board, to: i32) -> Option<i32> {
        let count = self.classes.len();
        let spares = |&place: &usize| {
            i32::from(self.classes[place].id.number()) != to && self.classes[place].lock().state.page_count > 1
        };
        let giver = (1..=count).map(|step| (board.last_giver + step) % count).find(spares)?;
        board.last_giver = giver;
        Some(self.classes[giver].id.number().into())
    }
}

/// Classes that memcached has numbers for, whether there are so many or not.
const MEMCACHED_CLASS_MAX: usize = 62;
