//! The night shift: one thread that does what no client waits for, in bounded steps.
//!
//! Each duty's step returns how long it wants to rest; the shortest rest is slept. Work is a tenth of the time at most (`REST`), so
//! the workers have the processors to themselves, and nothing is held between steps.
//!
//! - **automove**: a page goes from the class that would miss it least to one that asks for it (`automove.rs`).
//! - **sweep**: dead items are removed page by page (`store/sweep.rs`), so that their memory is there when it is wanted.
//!
//! Not here: deciding anything about one item, which is the store's; answering clients.

mod automove;

use crate::clock::Clock;
use crate::limits::{MAINTAIN_REST_MS, MAINTAIN_STEP_US};
use crate::store::{Local, Store, SweepCursor};
use automove::Automove;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rest for each unit of work.
const REST: u32 = 9;

/// Works until `stop` is set and the thread is unparked.
pub fn run(store: &Store, clock: &Clock, mut local: Local, stop: &AtomicBool) {
    let (mut cursor, mut automove) = (SweepCursor::default(), Automove::default());
    store.set_maintainer(std::thread::current());
    // Acquire: pairs with the release of whoever stops the daemon.
    while !stop.load(Ordering::Acquire) {
        let begun = Instant::now();
        let moved = move_page(store, clock, &mut local, &mut automove);
        let round = step(store, clock, &mut local, &mut cursor) && !moved;
        let rest = if round { Duration::from_millis(MAINTAIN_REST_MS) } else { begun.elapsed() * REST };
        std::thread::park_timeout(rest);
    }
}

/// Moves a page to the class that has asked for one, if another is better without it; whether it did.
fn move_page(store: &Store, clock: &Clock, local: &mut Local, automove: &mut Automove) -> bool {
    let Some(wanting) = store.take_wanting() else { return false };
    let now = clock.now();
    let donor = automove.donor(&store.samples(now), wanting);
    donor.is_some_and(|donor| store.move_page(local, donor, wanting, now))
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
