//! How it is known that every thread still turns, for the service manager's watchdog.
//!
//! ```text
//!   worker 0 ── beat ──► count ─┐
//!   worker 1 ── beat ──► count ─┼──► Monitor, looked at by main: all have beaten lately? ──► the manager is told so
//!   maintainer ─ beat ─► count ─┘
//! ```
//!
//! A thread beats once a turn, and turns at least four times in the manager's time though there is nothing to do. One that hangs, in
//! whatever, stops beating, and then the manager hears nothing more and restarts the service. Without a watchdog nobody beats and nobody
//! wakes up for it.

use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One thread's.
#[derive(Debug, Default)]
pub struct Pulse {
    beating: Option<Beating>,
}

#[derive(Debug)]
struct Beating {
    /// Written by the thread alone.
    count: Arc<CachePadded<AtomicU64>>,
    every: Duration,
}

impl Pulse {
    /// Says that the thread turns.
    #[inline]
    pub fn beat(&self) {
        if let Some(Beating { count, .. }) = &self.beating {
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// How long the thread may sleep that would sleep so long (none: until it is woken) by itself.
    #[inline]
    #[must_use]
    pub fn bound(&self, timeout: Option<Duration>) -> Option<Duration> {
        match &self.beating {
            Some(Beating { every, .. }) => Some(timeout.map_or(*every, |timeout| timeout.min(*every))),
            None => timeout,
        }
    }
}

/// Those of all threads.
#[derive(Debug)]
pub struct Monitor {
    /// The manager's patience.
    timeout: Duration,
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    name: String,
    count: Arc<CachePadded<AtomicU64>>,
    /// The count when it was last looked at.
    seen: u64,
    /// When that was first seen.
    since: Instant,
}

impl Monitor {
    /// Of nobody yet, for a manager who waits so long.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, watched: Vec::new() }
    }

    /// How often to look, and how often threads beat.
    #[must_use]
    pub fn every(&self) -> Duration {
        self.timeout / 4
    }

    /// The pulse of one more thread.
    pub fn pulse(&mut self, name: &str) -> Pulse {
        let count = Arc::new(CachePadded::new(AtomicU64::new(0)));
        self.watched.push(Watched { name: name.to_owned(), count: Arc::clone(&count), seen: 0, since: Instant::now() });
        Pulse { beating: Some(Beating { count, every: self.every() }) }
    }

    /// A thread that has not turned for half of the manager's patience. None: all is well, and the manager may be told so.
    pub fn stalled(&mut self, now: Instant) -> Option<&str> {
        let mut stalled = None;
        for watched in &mut self.watched {
            let count = watched.count.load(Ordering::Relaxed);
            if count != watched.seen {
                (watched.seen, watched.since) = (count, now);
            } else if now.saturating_duration_since(watched.since) > self.timeout / 2 {
                stalled = stalled.or(Some(watched.name.as_str()));
            }
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stops_beating_is_named_after_half_the_time_and_forgiven_when_it_beats_again() {
        let mut monitor = Monitor::new(Duration::from_secs(8));
        let (a, b) = (monitor.pulse("a"), monitor.pulse("b"));
        let at = |secs| Instant::now() + Duration::from_secs(secs);
        assert_eq!(monitor.stalled(at(3)), None);
        a.beat();
        b.beat();
        assert_eq!(monitor.stalled(at(4)), None);
        a.beat();
        assert_eq!(monitor.stalled(at(7)), None);
        a.beat();
        assert_eq!(monitor.stalled(at(9)), Some("b"));
        b.beat();
        assert_eq!(monitor.stalled(at(10)), None);
    }

    #[test]
    fn a_pulse_bounds_sleep_and_no_pulse_does_not() {
        let mut monitor = Monitor::new(Duration::from_secs(8));
        let pulse = monitor.pulse("a");
        assert_eq!(pulse.bound(None), Some(Duration::from_secs(2)));
        assert_eq!(pulse.bound(Some(Duration::from_secs(1))), Some(Duration::from_secs(1)));
        assert_eq!(pulse.bound(Some(Duration::from_secs(5))), Some(Duration::from_secs(2)));
        assert_eq!(Pulse::default().bound(None), None);
    }
}
