//! The idle timeout: a wheel of one bucket per second, looked at only when its second has come.
//!
//! ```text
//!             hand ──►  ┌────┬────┬────┬────┬─ ─ ─┬────┐
//!   (second % 64)       │ ab │    │ c  │    │     │ d  │    each connection is in one bucket
//!                       └────┴────┴────┴────┴─ ─ ─┴────┘
//! ```
//!
//! Activity costs nothing here: a connection notes the time of its last byte in itself. When its bucket is due, it is
//! asked: still idle → kicked, active since → put where its new deadline falls (or as far as the wheel reaches), gone
//! → forgotten. So each connection is looked at about once per timeout, and a turn looks at a bounded number.
//!
//! It does *not* know connections, only their tokens, and it is not exact: never early, up to a second late.

use crate::clock::Tick;
use crate::limits::IDLE_STEP_MAX;
use std::time::Duration;

/// Connections by the second in which they may have to be kicked.
#[derive(Debug)]
pub(super) struct Idle {
    timeout_ticks: u32,
    buckets: [Vec<usize>; BUCKETS as usize],
    /// The second whose bucket is being emptied; those before it are empty.
    hand: u32,
}

/// What became of a connection whose bucket was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is closed; forget it.
    Gone,
    /// It is open, and this is when it was last active.
    Active(Tick),
}

impl Idle {
    /// A wheel for this timeout, standing at `now`.
    pub(super) fn new(timeout: Duration, now: Tick) -> Self {
        let ticks = timeout.as_millis() * u128::from(Tick::PER_SEC) / 1000;
        Self {
            timeout_ticks: u32::try_from(ticks).unwrap_or(u32::MAX),
            buckets: std::array::from_fn(|_| Vec::new()),
            hand: now.secs(),
        }
    }

    /// Adds a connection last active at `active`.
    pub(super) fn add(&mut self, token: usize, active: Tick) {
        // Behind the hand, and within one round.
        let ahead = self.deadline(active).secs().saturating_add(1).saturating_sub(self.hand).clamp(1, BUCKETS - 1);
        self.buckets[bucket(self.hand + ahead)].push(token);
    }

    /// Looks at connections that are due, a bounded number. `find` tells what became of one, `kick` gets those that are
    /// idle. Returns whether more are due already.
    pub(super) fn step(
        &mut self,
        now: Tick,
        mut find: impl FnMut(usize) -> Found,
        mut kick: impl FnMut(usize),
    ) -> bool {
        // After a leap of the clock each bucket needs one look, no more.
        self.hand = self.hand.max(now.secs().saturating_sub(BUCKETS - 1));
        let mut looked = 0;
        while self.hand <= now.secs() {
            let Some(token) = self.buckets[bucket(self.hand)].pop() else {
                self.hand += 1;
                continue;
            };
            match find(token) {
                Found::Gone => {}
                Found::Active(active) if self.deadline(active) < now => kick(token),
                Found::Active(active) => self.add(token, active),
            }
            looked += 1;
            if looked == IDLE_STEP_MAX {
                return true;
            }
        }
        false
    }

    fn deadline(&self, active: Tick) -> Tick {
        Tick(active.0.saturating_add(self.timeout_ticks))
    }
}

fn bucket(second: u32) -> usize {
    (second % BUCKETS) as usize
}

/// Seconds the wheel reaches ahead; later deadlines are looked at once per round.
const BUCKETS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Turns the wheel second by second; returns who is kicked at which tick.
    fn kicked(idle: &mut Idle, active: &HashMap<usize, Tick>, from: u32, to: u32) -> Vec<(usize, u32)> {
        let mut kicked = Vec::new();
        for tick in from..to {
            let now = Tick(tick);
            while idle.step(
                now,
                |token| active.get(&token).map_or(Found::Gone, |&at| Found::Active(at)),
                |token| kicked.push((token, tick)),
            ) {}
        }
        kicked
    }

    #[test]
    fn the_idle_are_kicked_never_early_and_at_most_seconds_late() {
        for secs in [1, 5, 63, 64, 200] {
            let start = Tick::START;
            let mut idle = Idle::new(Duration::from_secs(secs), start);
            let due = start.0 + u32::try_from(secs).unwrap() * Tick::PER_SEC;
            let active = HashMap::from([(1, start), (2, Tick(start.0 + 9))]);
            idle.add(1, start);
            idle.add(2, start);
            let kicked = kicked(&mut idle, &active, start.0, due + 40);
            assert_eq!(kicked.len(), 2, "timeout of {secs} s: {kicked:?}");
            for (token, tick) in kicked {
                let due = active[&token].0 + u32::try_from(secs).unwrap() * Tick::PER_SEC;
                assert!(tick > due && tick <= due + 2 * Tick::PER_SEC, "{token} due {due} kicked {tick}");
            }
        }
    }

    #[test]
    fn the_gone_are_forgotten_and_a_leap_of_the_clock_finds_everybody() {
        let mut idle = Idle::new(Duration::from_secs(10), Tick::START);
        let active: HashMap<_, _> = (0..1000).map(|token| (token, Tick::START)).collect();
        for token in 0..2000 {
            idle.add(token, Tick::START);
        }
        let kicked = kicked(&mut idle, &active, 100_000, 100_001);
        assert_eq!(kicked.len(), 1000);
        assert!(idle.buckets.iter().all(Vec::is_empty));
    }

    #[test]
    fn a_turn_looks_at_a_bounded_number() {
        let mut idle = Idle::new(Duration::from_secs(1), Tick::START);
        for token in 0..3 * IDLE_STEP_MAX {
            idle.add(token, Tick::START);
        }
        for more in [true, true, true, false] {
            let mut looked = 0;
            let find = |_| {
                looked += 1;
                Found::Gone
            };
            assert_eq!(idle.step(Tick(1000), find, |_| ()), more);
            assert!(looked <= IDLE_STEP_MAX);
        }
    }
}
