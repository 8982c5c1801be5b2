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
use crate::limits::{MAINTAIN_PAUSE_MS, MAINTAIN_REST_MS, MAINTAIN_STEP_US};
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
        let moved = move_pages(store, clock, &mut local, &mut automove);
        let round = step(store, clock, &mut local, &mut cursor) && !moved;
        // Slept, not parked: whoever calls meanwhile is heard after it, or calls would take more than their share.
        std::thread::sleep((begun.elapsed() * REST).max(Duration::from_millis(MAINTAIN_PAUSE_MS)));
        if round {
            std::thread::park_timeout(Duration::from_millis(MAINTAIN_REST_MS));
        }
    }
}

/// Moves pages to the classes that have asked for one, if others are better without them, for a step's time; whether any moved.
fn move_pages(store: &Store, clock: &Clock, local: &mut Local, automove: &mut Automove) -> bool {
    let begun = Instant::now();
    let mut moved = false;
    let mut wanting = store.take_wanting();
    // Who is served last may not be served at all: each has its turn to be first.
    let middle = wanting.iter().position(|&class| Some(class) > automove.served).unwrap_or(0);
    wanting.rotate_left(middle);
    for class in wanting {
        let now = clock.now();
        let samples = store.samples(now);
        automove.see(&samples, now.tick.secs());
        if let Some(donor) = automove.donor(&samples, class, now.tick.secs()) {
            moved |= store.move_page(local, donor, class, now);
            automove.gave(&store.samples(now), donor);
            automove.served = Some(class);
        }
        if begun.elapsed() > Duration::from_micros(MAINTAIN_STEP_US) {
            break;
        }
    }
    moved
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
