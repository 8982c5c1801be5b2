//! Coarse time, as an argument.
//!
//! The store never asks what time it is: it is told, once per turn of a worker. Deadlines are kept in quarter seconds
//! ([`Tick`]), so that a TTL is never shorter than asked and at most a quarter of a second longer; memcached's whole
//! seconds make `T1` live anything between nothing and one second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A moment or a deadline, in quarter seconds since the daemon's start, which is [`Tick::START`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u32);

impl Tick {
    /// Ticks in a second.
    pub const PER_SEC: u32 = 4;

    /// The tick at which the clock starts. Not zero, so that there are deadlines in the past.
    pub const START: Self = Self(2 * Self::PER_SEC);

    /// Whole seconds since two seconds before the daemon's start.
    #[must_use]
    pub fn secs(self) -> u32 {
        self.0 / Self::PER_SEC
    }
}

/// What the time is, for the length of one turn.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic time since the start, rounded down: what deadlines are held against.
    pub tick: Tick,
    /// The same moment rounded up: what new deadlines are counted from, so that no lifetime is cut short.
    pub tick_up: Tick,
    /// Seconds since 1970, as the wall clock stood at the start plus the monotonic time since: never steps.
    pub unix_secs: u64,
}

/// Where the time comes from: the system, or a test's hand.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
    /// Wall clock at tick [`Tick::START`], in milliseconds since 1970.
    unix_ms_at_start: u64,
    /// What `debugtime` has done to it.
    #[cfg(feature = "debug-commands")]
    debug: Arc<Debugged>,
}

/// What `debugtime` has done to a clock.
#[cfg(feature = "debug-commands")]
#[derive(Debug, Default)]
struct Debugged {
    ahead_ms: AtomicU64,
    /// Where it stands still, one more than that; 0 if it does not.
    stands_at_ms: AtomicU64,
}

#[derive(Clone, Debug)]
enum Source {
    System(Instant),
    /// Milliseconds since the start, moved by [`Clock::advance`].
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The system's monotonic clock.
    #[must_use]
    pub fn system() -> Self {
        Self {
            source: Source::System(Instant::now()),
            unix_ms_at_start: unix_ms(),
            #[cfg(feature = "debug-commands")]
            debug: Arc::default(),
        }
    }

    /// A clock that stands still until [`Clock::advance`] moves it; clones share the hand.
    #[must_use]
    pub fn manual() -> Self {
        Self {
            source: Source::Manual(Arc::new(AtomicU64::new(0))),
            unix_ms_at_start: unix_ms(),
            #[cfg(feature = "debug-commands")]
            debug: Arc::default(),
        }
    }

    /// Moves a manual clock on; a system clock stays as it is.
    pub fn advance(&self, ms: u64) {
        if let Source::Manual(hand) = &self.source {
            hand.fetch_add(ms, Ordering::Relaxed);
        }
    }

    /// When it was started, in seconds since 1970.
    #[must_use]
    pub fn started_unix_secs(&self) -> u64 {
        self.unix_ms_at_start / 1000
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Now {
        self.at(self.nanos())
    }

    /// Nanoseconds since the start: for measuring how long something takes.
    #[inline]
    #[must_use]
    pub fn nanos(&self) -> u64 {
        match &self.source {
            Source::System(start) => u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Source::Manual(hand) => hand.load(Ordering::Relaxed).saturating_mul(1_000_000),
        }
    }

    /// The time so many nanoseconds after the start.
    #[must_use]
    pub fn at(&self, nanos: u64) -> Now {
        let elapsed_ms = nanos / 1_000_000;
        #[cfg(feature = "debug-commands")]
        let elapsed_ms = self.debugged(elapsed_ms);
        let quarters = elapsed_ms.saturating_mul(u64::from(Tick::PER_SEC));
        let tick = |ticks: u64| Tick(u32::try_from(ticks + u64::from(Tick::START.0)).unwrap_or(u32::MAX));
        Now {
            tick: tick(quarters / 1000),
            tick_up: tick(quarters.div_ceil(1000)),
            unix_secs: (self.unix_ms_at_start + elapsed_ms) / 1000,
        }
    }
}

#[cfg(feature = "debug-commands")]
impl Clock {
    fn debugged(&self, elapsed_ms: u64) -> u64 {
        match self.debug.stands_at_ms.load(Ordering::Relaxed) {
            0 => elapsed_ms + self.debug.ahead_ms.load(Ordering::Relaxed),
            ms => ms - 1,
        }
    }

    /// `debugtime N`: it is later from now on, by so many seconds.
    pub fn jump(&self, secs: u32) {
        let ms = u64::from(secs) * 1000;
        self.debug.ahead_ms.fetch_add(ms, Ordering::Relaxed);
        // Whether it stands still or not.
        let later = |at| (at != 0).then_some(at + ms);
        let _ = self.debug.stands_at_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    /// `debugtime p`: it stands still.
    pub fn pause(&self) {
        let now = self.now();
        let ms = u64::from(now.tick.0 - Tick::START.0) * 1000 / u64::from(Tick::PER_SEC);
        self.debug.stands_at_ms.store(ms + 1, Ordering::Relaxed);
    }

    /// `debugtime r`: it goes on, from where it would be.
    pub fn resume(&self) {
        self.debug.stands_at_ms.store(0, Ordering::Relaxed);
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual();
        let before = clock.now();
        assert_eq!(before.tick, Tick::START);
        clock.advance(1250);
        assert_eq!(clock.now().tick, Tick(Tick::START.0 + 5));
        assert_eq!(clock.now().tick_up, clock.now().tick);
        clock.advance(1);
        assert_eq!(clock.now().tick_up.0, clock.now().tick.0 + 1);
        assert!(clock.now().unix_secs - before.unix_secs <= 2);
    }
}
