//! Lifetimes: what the client's `exptime` means, and when an item is dead. Pure.

use crate::clock::{Now, Tick};

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

/// Times of last access are kept in 24 bits of seconds, which go round every 194 days; this counts them.
const STAMP_BITS: u32 = 24;
pub(super) const STAMP_MASK: u32 = (1 << STAMP_BITS) - 1;

/// Whether stamp `a` is `b` or before it, taking the shorter way round.
#[inline]
pub(super) fn stamp_at_or_before(a: u32, b: u32) -> bool {
    b.wrapping_sub(a) & STAMP_MASK < 1 << (STAMP_BITS - 1)
}

/// Seconds from stamp `then` to stamp `now`, none if `then` lies ahead.
#[inline]
pub(super) fn stamp_age(then: u32, now: u32) -> u32 {
    if stamp_at_or_before(then, now) { now.wrapping_sub(then) & STAMP_MASK } else { 0 }
}

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

    #[test]
    fn stamps_are_compared_the_shorter_way_round() {
        assert!(stamp_at_or_before(5, 5));
        assert!(stamp_at_or_before(5, 6));
        assert!(!stamp_at_or_before(6, 5));
        assert!(stamp_at_or_before(STAMP_MASK, 3));
        assert_eq!(stamp_age(STAMP_MASK, 3), 4);
        assert_eq!(stamp_age(7, 3), 0);
    }
}
