//! The night shift: one thread that does what no client waits for, in bounded steps.
//!
//! Each duty's step returns how long it wants to rest; the shortest rest is slept. Work is a tenth of the time at most (`REST`), so
//! the workers have the processors to themselves, and nothing is held between steps.
//!
//! - **sweep**: dead items are removed page by page (`store/sweep.rs`), so that their memory is there when it is wanted.
//!
//! Not here: deciding anything about one item, which is the store's; answering clients.

use crate::clock::Clock;
use crate::limits::{MAINTAIN_REST_MS, MAINTAIN_STEP_US};
use crate::store::{Local, Store, SweepCursor};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rest for each unit of work.
const REST: u32 = 9;

/// Works until `stop` is set and the thread is unparked.
pub fn run(store: &Store, clock: &Clock, mut local: Local, stop: &AtomicBool) {
    let mut cursor = SweepCursor::default();
    // Acquire: pairs with the release of whoever stops the daemon.
    while !stop.load(Ordering::Acquire) {
        let begun = Instant::now();
        let round = step(store, clock, &mut local, &mut cursor);
        let rest = if round { Duration::from_millis(MAINTAIN_REST_MS) } else { begun.elapsed() * REST };
        std::thread::park_timeout(rest);
    }
}

/// Sweeps for a step's time; whether everything has been seen.
fn step(store: &Store, clock: &Clock, local: &mut Local, cursor: &mut SweepCursor) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(MAINTAIN_STEP_US) {
        if store.sweep(local, cursor, clock.now()).round {
            return true;
        }
    }
    false
}
