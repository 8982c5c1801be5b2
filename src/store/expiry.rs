//! Lifetimes: what the client's `exptime` means, and when an item is dead. Pure.

use crate::clock::{Now, Tick};
use crate::limits::{HELPED_PAGES, PAGE_LEN_MAX, SWEEP_AGE_SECS, SWEEP_SLICE};

/// When an item dies: zero for never, otherwise the first tick at which it is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub(super) u32);

/// Seconds up to which an `exptime` is counted from now; above, it is a date (protocol.txt, "Expiration times").
const RELATIVE_SECS_MAX: i64 = 60 * 60 * 24 * 30;

impl Deadline {
    /// Lives until evicted.
    pub const NEVER: Self = Self(0);

    /// Dead already; the clock never stands below [`Tick::START`].
    pub const PAST: Self = Self(1);

    /// What `exptime` means now: 0 never, negative at once, up to 30 days in seconds from now, above that as seconds
    /// since 1970. Never sooner than asked. Farther off than the clock reaches (34 years) is as far as it reaches.
    #[must_use]
    pub fn from_exptime(exptime: i64, now: Now) -> Self {
        let secs = match exptime {
            0 => return Self::NEVER,
            1..=RELATIVE_SECS_MAX => exptime,
            _ => exptime.saturating_sub(i64::try_from(now.unix_secs).unwrap_or(i64::MAX)),
        };
        let Ok(secs @ 1..) = u64::try_from(secs) else { return Self::PAST };
        let tick = u64::from(now.tick_up.0).saturating_add(secs.saturating_mul(u64::from(Tick::PER_SEC)));
        Self(u32::try_from(tick).unwrap_or(u32::MAX))
    }

    /// Whether an item with this deadline is dead.
    #[inline]
    #[must_use]
    pub fn is_past(self, now: Now) -> bool {
        self.0 != 0 && self.0 <= now.tick.0
    }
}

const _: () = assert!(Deadline::PAST.0 < Tick::START.0);

/// The present, as one operation on one item sees it: read once, under the item's bucket, so that what it is held against and
/// what it is given belong together. With a flush between the two, an item found alive would be given a stamp that outlives the flush.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Now,
    /// What is accessed now is given this stamp, its low bits that is. After `flushed`.
    pub(super) stamp: u32,
    /// Stamps up to this one are those of flushed items.
    pub(super) flushed: u32,
}

/// Why an item counts as not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    Expired,
    Flushed,
}

impl Moment {
    /// Whether an item with this deadline and this stamp (its low bits) is dead, and why.
    #[inline]
    pub(super) fn death(self, deadline: Deadline, stamp_bits: u32) -> Option<Death> {
        if self.behind(stamp_bits) >= self.latest().wrapping_sub(self.flushed) {
            return Some(Death::Flushed);
        }
        deadline.is_past(self.now).then_some(Death::Expired)
    }

    /// Seconds since an item got its stamp; none if a thread whose clock is ahead gave it.
    #[inline]
    pub(super) fn age_secs(self, stamp_bits: u32) -> u32 {
        self.behind(stamp_bits).saturating_sub(STAMP_LEAD_MAX)
    }

    /// The stamp that an item must be given lest it be taken for a younger one in time, if it has come to that age: one as old as
    /// stamps become.
    #[inline]
    pub(super) fn oldest_instead(self, stamp_bits: u32) -> Option<u32> {
        (self.age_secs(stamp_bits) > STAMP_AGE_MAX).then(|| self.stamp.wrapping_sub(STAMP_AGE_MAX))
    }

    /// Stamps used since the moment with this one (a whole one); none if the clock of whoever saw it is ahead.
    pub(super) fn stamps_since(self, stamp: u32) -> u32 {
        self.stamp.wrapping_sub(stamp).cast_signed().max(0).cast_unsigned()
    }

    /// The latest stamp that can have been given by now.
    #[inline]
    fn latest(self) -> u32 {
        self.stamp.wrapping_add(STAMP_LEAD_MAX)
    }

    /// By how much a stamp, by its low bits, is earlier than the latest one: less than a round of those bits, since nothing older is left
    /// in any item (`sweep.rs`).
    #[inline]
    fn behind(self, stamp_bits: u32) -> u32 {
        self.latest().wrapping_sub(stamp_bits) & STAMP_MASK
    }
}

/// Bits of a stamp that an item has room for. Stamps count the seconds of the clock and the flushes, so these go round in 194 days, or in
/// some seconds of nothing but flushes.
const STAMP_BITS: u32 = 24;
const STAMP_MASK: u32 = (1 << STAMP_BITS) - 1;

/// How much later than the present a stamp may be: threads' clocks differ by the length of a turn.
const STAMP_LEAD_MAX: u32 = 1 << 16;

/// How much older than the present a sweep leaves a stamp: 97 days.
const STAMP_AGE_MAX: u32 = 1 << 23;

/// Stamps that may be used from the beginning of one round of sweeps, which leaves none in any item that is older than that by more than
/// `STAMP_AGE_MAX` and the age of a page's last sweep, to the end of the next: with more, what is left would go round. A part is kept for
/// threads that flush at the same time.
pub(super) const STAMPS_MAX: u32 = (1 << STAMP_BITS) - STAMP_AGE_MAX - SWEEP_AGE_SECS - STAMP_LEAD_MAX - (1 << 16);

/// Stamps after which whoever flushes helps with the round.
pub(super) const STAMPS_LOW: u32 = STAMPS_MAX / 2;

/// Stamps after which there is a round even where dead items are not swept: 24 days.
pub(super) const STAMPS_USED: u32 = STAMPS_MAX / 4;

// Two rounds, the one that is under way and the next, are over before the stamps are.
const _: () =
    assert!(((STAMPS_MAX - STAMPS_LOW) / HELPED_PAGES) as usize >= 2 * (PAGE_LEN_MAX / 40) / SWEEP_SLICE as usize);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(tick: u32, tick_up: u32) -> Now {
        Now { tick: Tick(tick), tick_up: Tick(tick_up), unix_secs: 1_800_000_000 }
    }

    #[test]
    fn exptime_means_what_protocol_txt_says() {
        let now = at(100, 100);
        for (exptime, deadline) in [
            (0, Deadline::NEVER),
            (1, Deadline(104)),
            (-1, Deadline::PAST),
            (i64::MIN, Deadline::PAST),
            (30 * DAY, Deadline(100 + 4 * 30 * 86_400)),
            (30 * DAY + 1, Deadline::PAST),
            (1_800_000_000, Deadline::PAST),
            (1_800_000_003, Deadline(112)),
            (i64::MAX, Deadline(u32::MAX)),
        ] {
            assert_eq!(Deadline::from_exptime(exptime, now), deadline, "exptime {exptime}");
        }
    }

    #[test]
    fn a_lifetime_is_never_cut_short() {
        // Asked for a second at 25.1 s (tick 100.4): dead from tick 105 on, which is 26.25 s.
        let deadline = Deadline::from_exptime(1, at(100, 101));
        assert!(!deadline.is_past(at(104, 105)));
        assert!(deadline.is_past(at(105, 105)));
        assert!(!Deadline::NEVER.is_past(at(u32::MAX, u32::MAX)));
    }

    fn moment(stamp: u32, flushed: u32) -> Moment {
        Moment { now: at(stamp * 4, stamp * 4), stamp, flushed }
    }

    #[test]
    fn stamps_know_their_age_for_longer_than_their_bits_go_round() {
        for (stamp, age) in [(10, 0), (10, 5), (1 << 24, 1 << 20), (5 << 24, STAMP_MASK - STAMP_LEAD_MAX), (1 << 29, 7)]
        {
            assert_eq!(moment(stamp, 0).age_secs(stamp.wrapping_sub(age) & STAMP_MASK), age, "{age} before {stamp}");
            assert_eq!(moment(stamp, 0).age_secs((stamp + 3) & STAMP_MASK), 0, "given ahead of {stamp}");
        }
    }

    #[test]
    fn a_flush_parts_what_was_before_it_from_what_came_after_whenever_that_is() {
        for since in [0, 1, 1 << 22, (1 << 23) + 1, 1 << 24, 1 << 26] {
            let flushed = (1 << 24) - 5;
            let moment = moment(flushed + 1 + since, flushed);
            assert_eq!(moment.death(Deadline::NEVER, moment.stamp & STAMP_MASK), None, "stored {since} s after");
            for before in [0, 1, 1 << 22] {
                // Older ones are swept before.
                if since + before < STAMP_MASK - STAMP_LEAD_MAX {
                    let death = moment.death(Deadline::NEVER, (flushed - before) & STAMP_MASK);
                    assert_eq!(death, Some(Death::Flushed), "{before} s before, looked at {since} s after");
                }
            }
        }
        assert_eq!(moment(9, 0).death(Deadline::PAST, 9), Some(Death::Expired));
    }

    #[test]
    fn so_many_flushes_that_whole_stamps_go_round_make_no_difference() {
        for flushed in [u32::MAX - 1, u32::MAX, 0, 1] {
            let moment = Moment { now: at(8, 8), stamp: flushed.wrapping_add(2), flushed };
            for age in 0..5 {
                let bits = moment.stamp.wrapping_sub(age) & STAMP_MASK;
                let death = (age >= 2).then_some(Death::Flushed);
                assert_eq!(moment.death(Deadline::NEVER, bits), death, "{age} old, flush {flushed}");
                assert_eq!(moment.age_secs(bits), age);
            }
        }
    }

    #[test]
    fn old_stamps_are_replaced_by_ones_that_are_younger_but_not_than_the_flush() {
        let moment = moment(3 << 23, 1 << 23);
        assert_eq!(moment.oldest_instead((moment.stamp - STAMP_AGE_MAX) & STAMP_MASK), None);
        let instead = moment.oldest_instead((moment.stamp - STAMP_AGE_MAX - 1) & STAMP_MASK).expect("too old");
        assert_eq!(moment.age_secs(instead & STAMP_MASK), STAMP_AGE_MAX);
        assert_eq!(moment.death(Deadline::NEVER, instead & STAMP_MASK), None);
    }
}
