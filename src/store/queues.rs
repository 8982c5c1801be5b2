//! The rules of the queues: where an item begins, who is looked at when room is needed, what keeps an item. `lru.rs` moves
//! items, `evict.rs` removes them.
//!
//! ```text
//!  s3fifo:      new ──► HOT ──unused──► evicted, leaves a ghost        flat:   new ──► COLD ──► evicted;
//!                        │ used                                               every use moves an item to the head
//!                        ▼
//!      new, with a ──► WARM ──unused──► evicted, leaves a ghost
//!      ghost            ▲ └─used─┐
//!                       └────────┘ one use less
//!
//!  segmented:   new ──► HOT ──unused──► COLD ──unused──► evicted
//!                        │                │
//!                        └──used──► WARM ◄┘ used
//!                                    │ ▲
//!                             unused ▼ └─ used: another round
//!                                   COLD
//! ```
//!
//! In all modes items that die soon go to TEMP if `temporary_ttl` says so, and are evicted after all others.
//!
//! Nothing moves between queues while there is room: an item's uses are counted in its slot of the index, and looked at only
//! when it has come to a tail. Modes change while items are there: what another mode has left in queues that this one does not
//! fill is looked at first.
//!
//! # Why S3-FIFO, and how long the probation is
//!
//! Most new keys are not asked for again. A short FIFO (HOT) lets them go before they push out anything that is in use; a key
//! read once in it goes to the main queue (WARM), and so does one that comes back while its ghost is there (Yang et al., "FIFO
//! queues are all you need for cache eviction", 2023). With a probation of fixed length this loses to LRU where new keys are
//! read often soon after they come and then no more: there a longer probation is better, and a shorter one elsewhere.
//!
//! So its share adapts, by what ghosts tell about *margins*. A key that comes back shortly after it was evicted from HOT would
//! have been a hit with HOT a little longer; one shortly after it was evicted from WARM, with WARM a little longer. "Shortly"
//! is the same number of evictions from the queue in question, two to four percent of the class's items, so that both say what
//! the same few chunks would gain in either queue, and each moves the share a step its way. Counting all ghosts instead of
//! the freshest ones asks another question (what if HOT were twice as long?) and ends as LRU, nearly.
//!
//! Simulated, misses over LRU's on some fifty pairs of trace and size: 0.96 for the segmented mode (1.06 on the worst), 0.95 for a
//! probation of a tenth (1.41), 0.92 for this one (1.008).

use super::arena::{Arena, ItemId};
use super::expiry::Moment;
use super::item::{Linked, Segment};
use super::pages::ClassGuard;
use super::table::{Ghost, Meta};
use super::{Deadline, Inner, Store};
use crate::clock::{Now, Tick};
use crate::limits::{EVICT_BATCH, EVICT_BATCH_BYTES, ITEMS_PER_VICTIM};
use crate::settings::{LruMode, LruTuning};
use crate::stats::Block;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Uses that make an item of HOT or WARM worth keeping in the segmented mode (memcached's second hit).
pub(super) const ACTIVE_USES: u8 = 2;

/// Mode and tuning as they are now. Relaxed throughout: whoever comes while they change may go by either.
#[derive(Debug)]
pub(super) struct Knobs {
    mode: AtomicU8,
    hot_pct: AtomicU32,
    warm_pct: AtomicU32,
    /// Bits of an `f64`.
    hot_max_factor: AtomicU64,
    warm_max_factor: AtomicU64,
    /// `u32::MAX` for no TEMP.
    temporary_ttl: AtomicU32,
}

impl Knobs {
    pub(super) fn new(mode: LruMode, tuning: LruTuning) -> Self {
        let knobs = Self {
            mode: AtomicU8::new(mode as u8),
            hot_pct: AtomicU32::new(0),
            warm_pct: AtomicU32::new(0),
            hot_max_factor: AtomicU64::new(0),
            warm_max_factor: AtomicU64::new(0),
            temporary_ttl: AtomicU32::new(0),
        };
        knobs.set_tuning(tuning);
        knobs
    }

    #[inline]
    pub(super) fn mode(&self) -> LruMode {
        const FLAT: u8 = LruMode::Flat as u8;
        const SEGMENTED: u8 = LruMode::Segmented as u8;
        match self.mode.load(Ordering::Relaxed) {
            FLAT => LruMode::Flat,
            SEGMENTED => LruMode::Segmented,
            _ => LruMode::S3Fifo,
        }
    }

    fn set_tuning(&self, tuning: LruTuning) {
        self.hot_pct.store(tuning.hot_pct, Ordering::Relaxed);
        self.warm_pct.store(tuning.warm_pct, Ordering::Relaxed);
        self.hot_max_factor.store(tuning.hot_max_factor.to_bits(), Ordering::Relaxed);
        self.warm_max_factor.store(tuning.warm_max_factor.to_bits(), Ordering::Relaxed);
        self.temporary_ttl.store(tuning.temporary_ttl.unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    fn tuning(&self) -> LruTuning {
        let factor = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed));
        let ttl = self.temporary_ttl.load(Ordering::Relaxed);
        LruTuning {
            hot_pct: self.hot_pct.load(Ordering::Relaxed),
            warm_pct: self.warm_pct.load(Ordering::Relaxed),
            hot_max_factor: factor(&self.hot_max_factor),
            warm_max_factor: factor(&self.warm_max_factor),
            temporary_ttl: (ttl != u32::MAX).then_some(ttl),
        }
    }

    /// Where an item that is linked now begins.
    #[inline]
    pub(super) fn segment_of_new(&self, deadline: Deadline, now: Now) -> Segment {
        let ttl = self.temporary_ttl.load(Ordering::Relaxed);
        if ttl != u32::MAX && deadline != Deadline::NEVER {
            let ticks = u64::from(deadline.0.saturating_sub(now.tick_up.0));
            if ticks <= u64::from(ttl) * u64::from(Tick::PER_SEC) {
                return Segment::Temp;
            }
        }
        if self.mode() == LruMode::Flat { Segment::Cold } else { Segment::Hot }
    }
}

impl Store {
    /// How items are queued for eviction, and how that is tuned.
    #[must_use]
    pub fn lru(&self) -> (LruMode, LruTuning) {
        (self.inner.lru.mode(), self.inner.lru.tuning())
    }

    /// Queues items another way from here on; those that are there come under the new rules as they reach a tail.
    pub fn set_lru_mode(&self, mode: LruMode) {
        self.inner.lru.mode.store(mode as u8, Ordering::Relaxed);
    }

    /// Tunes the queues.
    ///
    /// # Panics
    /// When the numbers are not sound.
    pub fn set_lru_tuning(&self, tuning: LruTuning) {
        assert!(tuning.is_sound(), "checked by whoever asks");
        self.inner.lru.set_tuning(tuning);
    }
}

/// The share of a class's items that HOT may have in the s3fifo mode, and the time by which ghosts are dated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probation {
    /// In parts of [`SHARE_ALL`]; SHARE_MIN <= share <= SHARE_MAX.
    share: u32,
    /// Of evictions from HOT and from WARM.
    epochs: [Epoch; 2],
}

/// A clock that goes by evictions from one queue.
#[derive(Clone, Copy, Debug, Default)]
struct Epoch {
    number: u16,
    /// Evictions until the next.
    left: u32,
}

const SHARE_ALL: u32 = 1 << 16;
const SHARE_MIN: u32 = SHARE_ALL / 100;

/// Items that HOT may have at least, or half of the class if that is less: a key that was just stored is not the next to go, however
/// few items of its size there are. Simulated on twelve pairs of trace and size, misses over those with 1: 1.0006 with 4, 1.0015
/// with 8, 1.005 with 16.
const HOT_MIN: u32 = 8;
const SHARE_MAX: u32 = SHARE_ALL / 10 * 9;
const SHARE_FIRST: u32 = SHARE_ALL / 10;

/// Epochs in as many evictions as the class has items. An item that comes back in the epoch of its eviction or the next one
/// has been missed at the margin; one that comes back after more than all of these is as good as new.
const EPOCHS: u16 = 48;
const _: () = assert!(EPOCHS < Ghost::EPOCH_MASK / 100, "few ghosts last until epochs are counted from zero again");

/// A key that comes back within this many epochs has been missed *nearly*: an eighth more memory would have made it a hit. What a
/// class's pages are worth is counted in these (`maintain/automove.rs`).
pub(super) const NEAR_EPOCHS: u16 = EPOCHS / NEAR_PART;

/// The part of a class's items that is evicted in [`NEAR_EPOCHS`].
pub(super) const NEAR_PART: u16 = 8;

/// How long after its eviction a key has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// A little more memory would have kept it: a near miss.
    Near,
    /// In time for the main queue.
    InTime,
    /// As good as new.
    Late,
}

/// A marginal miss moves the boundary by two items, or 1/500 of them if that is more; a class of few items is taken for one of
/// [`STEP_ITEMS_MIN`], so that one miss is not everything.
const STEP_ITEMS_MIN: u32 = 32;
const STEP_ITEMS_MAX: u32 = 1000;

impl Default for Probation {
    fn default() -> Self {
        Self { share: SHARE_FIRST, epochs: [Epoch::default(); 2] }
    }
}

impl Probation {
    /// Items that HOT may have, of so many in all.
    fn target(&self, items: u32) -> u32 {
        let target = u64::from(items) * u64::from(self.share) / u64::from(SHARE_ALL);
        u32::try_from(target).unwrap_or(u32::MAX).max(HOT_MIN.min(items / 2)).max(1)
    }

    /// An item is evicted from one of `items`: its ghost.
    pub(super) fn evicted(&mut self, from_main: bool, items: u32) -> Ghost {
        let epoch = &mut self.epochs[usize::from(from_main)];
        if epoch.left == 0 {
            epoch.number = epoch.number.wrapping_add(1);
            epoch.left = (items / u32::from(EPOCHS)).max(1);
        }
        epoch.left -= 1;
        Ghost::new(from_main, epoch.number)
    }

    /// The ghost of an item that had to go for other reasons than its age: none that says anything about margins.
    pub(super) fn removed(&self, from_main: bool) -> Ghost {
        Ghost::new(from_main, self.epochs[usize::from(from_main)].number.wrapping_sub(EPOCHS / 4))
    }

    /// A key comes back whose ghost was there: how much sooner it should have.
    pub(super) fn returned(&mut self, ghost: Ghost, items: u32) -> Returned {
        let epoch = self.epochs[usize::from(ghost.is_from_main())];
        let age = epoch.number.wrapping_sub(ghost.epoch()) & Ghost::EPOCH_MASK;
        if age <= 1 {
            let step = 2 * SHARE_ALL / items.clamp(STEP_ITEMS_MIN, STEP_ITEMS_MAX);
            self.share = if ghost.is_from_main() {
                self.share.saturating_sub(step).max(SHARE_MIN)
            } else {
                (self.share + step).min(SHARE_MAX)
            };
        }
        match age {
            _ if age <= NEAR_EPOCHS => Returned::Near,
            _ if age <= EPOCHS => Returned::InTime,
            _ => Returned::Late,
        }
    }
}

/// What has happened in a class, for `stats items`. Class lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Items evicted to make room.
    pub evicted: u64,
    /// Of these, with a lifetime.
    pub evicted_nonzero: u64,
    /// Seconds since the one evicted last was used.
    pub evicted_time: u32,
    /// Stores refused for want of a chunk.
    pub outofmemory: u64,
    /// Chunks won from dead items when room was needed.
    pub reclaimed: u64,
    /// Of these, never read.
    pub expired_unfetched: u64,
    /// Of the evicted ones, never read.
    pub evicted_unfetched: u64,
    /// Of the evicted ones, in frequent use.
    pub evicted_active: u64,
    /// Tails whose bucket was held by somebody.
    pub lrutail_reflocked: u64,
    /// Items moved to COLD.
    pub moves_to_cold: u64,
    /// Items moved to WARM.
    pub moves_to_warm: u64,
    /// Items given another round in their queue.
    pub moves_within_lru: u64,
    /// Evictions made by the storing thread itself.
    pub direct_reclaims: u64,
}

/// Why an item moves, for the counters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    ToCold,
    ToWarm,
    Within,
}

impl ClassCounts {
    pub(super) fn moved(&mut self, stats: &Block, how: Move) {
        match how {
            Move::ToCold => {
                self.moves_to_cold += 1;
                stats.moves_to_cold.add(1);
            }
            Move::ToWarm => {
                self.moves_to_warm += 1;
                stats.moves_to_warm.add(1);
            }
            Move::Within => {
                self.moves_within_lru += 1;
                stats.moves_within_lru.add(1);
            }
        }
    }
}

/// What becomes of a used item at the tail of a queue that is looked at for victims: where it goes, and with what uses left.
pub(super) fn kept(mode: LruMode, from: Segment, meta: Meta) -> (Segment, Meta, Move) {
    match (mode, from) {
        (LruMode::S3Fifo, Segment::Warm) => (Segment::Warm, meta.tired(), Move::Within),
        (_, Segment::Warm | Segment::Temp) => (from, meta.rested(), Move::Within),
        (_, Segment::Hot | Segment::Cold) => (Segment::Warm, meta.rested(), Move::ToWarm),
    }
}

impl ClassGuard<'_> {
    /// Items that compete for room: all but TEMP's.
    pub(super) fn competing_count(&self) -> u32 {
        self.item_count() - self.state.queues[Segment::Temp as usize].count
    }

    /// Items evicted together when room is needed for one. A class of few items evicts one at a time: chunks that are free ahead
    /// of need are hits that it does not have.
    pub(super) fn victims_at_once(&self) -> usize {
        let by_bytes = EVICT_BATCH_BYTES / self.class.chunk_len;
        by_bytes.min(self.item_count() as usize / ITEMS_PER_VICTIM).clamp(1, EVICT_BATCH)
    }

    /// The queue whose tail is looked at next, and how many of its items may be taken at a time.
    pub(super) fn victims_of(&mut self, mode: LruMode) -> Option<(Segment, usize)> {
        use Segment::{Cold, Hot, Temp, Warm};
        let order = match mode {
            // What is in HOT and WARM has not been used since the mode was another.
            LruMode::Flat => [Hot, Warm, Cold, Temp],
            LruMode::Segmented => [Cold, Hot, Warm, Temp],
            LruMode::S3Fifo => {
                let (hot, warm) = (self.queue(Hot).count, self.queue(Warm).count);
                let target = self.state.probation.target(self.competing_count());
                if self.queue(Cold).count == 0 && hot > 0 && (hot >= target || warm == 0) {
                    return Some((Hot, hot.saturating_sub(target).max(1) as usize));
                }
                [Cold, Warm, Hot, Temp]
            }
        };
        order.into_iter().find(|&segment| self.queue(segment).count > 0).map(|segment| (segment, usize::MAX))
    }

    /// The item that would be looked at first if room were needed.
    pub(super) fn next_victim(&mut self, mode: LruMode) -> Option<ItemId> {
        let (segment, _) = self.victims_of(mode)?;
        self.queue(segment).tail
    }

    /// Whether an item at the tail of HOT or WARM has its share against it, or its age (`idle_secs_max`).
    fn is_due(&mut self, arena: &Arena, segment: Segment, pct: u32, (at, idle_secs_max): (Moment, f64)) -> bool {
        let queue = *self.queue(segment);
        let Some(tail) = queue.tail else { return false };
        u64::from(queue.count) * 100 > u64::from(self.competing_count()) * u64::from(pct)
            || f64::from(at.age_secs(arena.header(tail).access())) > idle_secs_max
    }
}

impl Inner {
    /// In the segmented mode: brings HOT and WARM back towards their shares and ages.
    pub(super) fn rebalance(&self, guard: &mut ClassGuard<'_>, stats: &Block, at: Moment) {
        let tuning = self.lru.tuning();
        let cold_tail = guard.queue(Segment::Cold).tail;
        let cold_secs = f64::from(cold_tail.map_or(0, |id| at.age_secs(self.arena.header(id).access())));
        for (segment, pct, factor) in [
            (Segment::Hot, tuning.hot_pct, tuning.hot_max_factor),
            (Segment::Warm, tuning.warm_pct, tuning.warm_max_factor),
        ] {
            // More than are evicted at a time, or a queue that is over its share would stay there.
            for _ in 0..2 * EVICT_BATCH {
                if !guard.is_due(&self.arena, segment, pct, (at, cold_secs * factor)) {
                    break;
                }
                let Some(id) = guard.queue(segment).tail else { break };
                let hash = self.hash_of(Linked::vouched(id, &*guard));
                let active = self.table.try_lock(hash).is_some_and(|bucket| {
                    let slot = bucket.find(hash.tag(), |other| other == id);
                    slot.is_some_and(|slot| {
                        let meta = slot.meta();
                        slot.set_meta(meta.rested());
                        meta.frequency() >= ACTIVE_USES
                    })
                });
                let how = match (active, segment) {
                    (true, Segment::Warm) => Move::Within,
                    (true, _) => Move::ToWarm,
                    (false, _) => Move::ToCold,
                };
                guard.state.counts.moved(stats, how);
                guard.requeue(&self.arena, id, if active { Segment::Warm } else { Segment::Cold });
            }
        }
    }

    /// In the flat mode: a use brings an item to its queue's head.
    #[cold]
    pub(super) fn bump(&self, id: ItemId) {
        let mut guard = self.queueing_class_of(id).lock();
        let segment = if self.arena.header(id).segment() == Segment::Temp { Segment::Temp } else { Segment::Cold };
        guard.requeue(&self.arena, id, segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_at_the_margin_moves_the_share_and_an_old_one_does_not() {
        let mut probation = Probation::default();
        let items = 4800;
        assert_eq!(probation.target(items), 479);
        let ghost = probation.evicted(false, items);
        assert_eq!(probation.returned(ghost, items), Returned::Near);
        assert!(probation.target(items) > 479, "HOT grows");
        let from_main = probation.evicted(true, items);
        assert_eq!(probation.returned(from_main, items), Returned::Near);
        assert_eq!(probation.target(items), 479, "and shrinks");
        for _ in 0..300 {
            probation.evicted(false, items);
        }
        assert_eq!(probation.returned(ghost, items), Returned::Near, "an eighth more memory would do");
        assert_eq!(probation.target(items), 479, "but not at the margin");
        for _ in 0..items / 2 {
            probation.evicted(false, items);
        }
        assert_eq!(probation.returned(ghost, items), Returned::InTime, "in time for the main queue");
        assert_eq!(probation.returned(from_main, items), Returned::Near, "WARM's time has not gone on");
        for _ in 0..items + 200 {
            probation.evicted(false, items);
        }
        assert_eq!(probation.returned(ghost, items), Returned::Late);
        let removed = probation.removed(false);
        let before = probation.target(items);
        assert_eq!(probation.returned(removed, items), Returned::InTime);
        assert_eq!(probation.target(items), before);
    }

    #[test]
    fn the_share_has_bounds_and_what_is_new_is_not_the_next_to_go() {
        let mut probation = Probation::default();
        for from_main in [true, false] {
            for _ in 0..10_000 {
                let ghost = probation.evicted(from_main, 1000);
                probation.returned(ghost, 1000);
            }
            assert_eq!(probation.target(1000), if from_main { 9 } else { 899 });
            assert_eq!(probation.target(100), if from_main { HOT_MIN } else { 89 });
        }
        let few = [0, 1, 3, 8, 16, 79, 80, 100].map(|items| Probation::default().target(items));
        assert_eq!(few, [1, 1, 1, 4, 8, 8, 8, 9]);
    }

    #[test]
    fn short_lives_are_temporary_if_there_is_a_limit() {
        let clock = crate::clock::Clock::manual();
        clock.advance(10_000);
        let now = clock.now();
        let knobs = Knobs::new(LruMode::S3Fifo, LruTuning { temporary_ttl: Some(60), ..LruTuning::default() });
        let segment = |exptime| knobs.segment_of_new(Deadline::from_exptime(exptime, now), now);
        assert_eq!([0, 1, 60, 61].map(segment), [Segment::Hot, Segment::Temp, Segment::Temp, Segment::Hot]);
        knobs.set_tuning(LruTuning::default());
        assert_eq!(knobs.segment_of_new(Deadline::from_exptime(1, now), now), Segment::Hot);
        assert_eq!(knobs.tuning(), LruTuning::default());
    }
}
