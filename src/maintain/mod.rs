//! The night shift: one thread that does what no client waits for, in bounded steps.
//!
//! Each duty's step says how long it wants to rest; the shortest rest is slept. Work is a tenth of the time at most (`REST`; while
//! memory is to be given back a step in every pause), so the workers have the processors to themselves, and nothing is held between steps.
//! The thread has the workers' priority: with a lower one it would be kept from its processor while it holds a lock they wait for.
//!
//! - **bound**: where the whole process has a bound, the items' memory follows what is left of it (`bound.rs`).
//! - **shrink**: pages beyond the limit are emptied and given back to the system (`store/resize.rs`).
//! - **reassign**: a page that an operator moves (`store/reassign.rs`).
//! - **automove**: a page goes from the class that would miss it least to one that asks for it (`automove.rs`), the same way; and to the
//!   pool, before anybody asks, from a class that has had free chunks enough for two: its items have expired, or were deleted.
//! - **crawl**: classes swept because an operator said so.
//! - **index**: buckets that are not needed any more are merged, and their memory given back (`store/table/merge.rs`).
//! - **sweep**: dead items are removed page by page (`store/sweep.rs`), so that their memory is there when it is wanted; where that is not
//!   asked for, every few weeks, lest their stamps go round.
//!
//! Not here: deciding anything about one item, which is the store's; answering clients.

mod automove;
mod bound;

use crate::clock::Clock;
use crate::limits::{MAINTAIN_PAUSE_MS, MAINTAIN_REST_MS, MAINTAIN_STEP_US, MOVE_RETRY_MS, SPARE_LOOK_MS};
use crate::pulse::Pulse;
use crate::settings::Automove as Mode;
use crate::store::{ClassId, ClassSample, Crawl, Local, PageMove, Progress, Shrinking, Sparing, Store};
use automove::{Automove, ByAge, can_give};
pub use bound::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rest for each unit of work.
const REST: u32 = 9;

/// Works until `stop` is set and the thread is unparked.
pub fn run(store: &Store, clock: &Clock, local: Local, bound: Option<Bound>, pulse: &Pulse, stop: &AtomicBool) {
    store.set_maintainer(std::thread::current());
    let mut shift = Shift {
        store,
        clock,
        local,
        bound,
        shrinking: Shrinking::default(),
        moving: None,
        automove: Automove::default(),
        asking: Vec::new(),
        sparing: Sparing::default(),
        spared_at: Instant::now(),
        helping: None,
        crawl: None,
        resting_until: Instant::now(),
        swept: 0,
    };
    // Acquire: pairs with the release of whoever stops the daemon.
    while !stop.load(Ordering::Acquire) {
        pulse.beat();
        let rest = pulse.bound(Some(shift.step())).unwrap_or_default();
        // Slept, not parked: nobody calls it more often.
        let pause = Duration::from_millis(MAINTAIN_PAUSE_MS);
        std::thread::sleep(pause);
        if rest > pause {
            std::thread::park_timeout(rest - pause);
        }
    }
}

/// The duties and how far they have come.
struct Shift<'a> {
    store: &'a Store,
    clock: &'a Clock,
    local: Local,
    bound: Option<Bound>,
    shrinking: Shrinking,
    /// The page an operator moves.
    moving: Option<PageMove>,
    automove: Automove,
    /// The classes that have asked for a page and have not been looked at, the next one last.
    asking: Vec<ClassId>,
    /// Pages that classes can do without.
    sparing: Sparing,
    /// When this was looked for last.
    spared_at: Instant,
    /// A page that helps, and who gives it.
    helping: Option<(ClassId, PageMove)>,
    crawl: Option<Crawl>,
    /// The patient duties rest until then.
    resting_until: Instant,
    /// Items looked at in this round of the sweep.
    swept: u64,
}

impl Shift<'_> {
    /// A step of each duty; how long there is nothing to do then, unless somebody calls.
    fn step(&mut self) -> Duration {
        self.local.stats.lru_maintainer_juggles.add(1);
        let shrinking = self.shrink();
        let bound = self.bound.as_ref().map_or(Duration::MAX, |bound| bound.look(self.store));
        shrinking.min(bound).min(self.patient_step()).min(Duration::from_millis(MAINTAIN_REST_MS))
    }

    /// The same of those duties that can wait, and do until they have rested for what they have worked, all together.
    fn patient_step(&mut self) -> Duration {
        let begun = Instant::now();
        if let Some(left) = self.resting_until.checked_duration_since(begun).filter(|left| !left.is_zero()) {
            return left;
        }
        let wanted = self.reassign().min(self.automove()).min(self.crawl()).min(self.sweep()).min(self.shrink_index());
        let owed = begun.elapsed() * REST;
        self.resting_until = Instant::now() + owed;
        wanted.max(owed)
    }

    fn shrink(&mut self) -> Duration {
        let begun = Instant::now();
        let step = until_late(begun, || self.store.step_shrink(&mut self.local, &mut self.shrinking, self.clock.now()));
        rest_after(step)
    }

    fn shrink_index(&self) -> Duration {
        rest_after(until_late(Instant::now(), || self.store.step_index()))
    }

    fn reassign(&mut self) -> Duration {
        let begun = Instant::now();
        if self.moving.is_none() {
            self.moving = self.store.take_reassign();
        }
        let Some(moving) = &mut self.moving else { return Duration::MAX };
        let step = until_late(begun, || self.store.step_move(&mut self.local, moving, self.clock.now()));
        if step == Progress::Done {
            self.moving = None;
        }
        rest_after(step)
    }

    /// Moves pages to the classes that have asked for one, if others are better without them.
    fn automove(&mut self) -> Duration {
        let step = until_late(Instant::now(), || self.step_automove());
        // Whoever wants one, or wants one more, calls.
        rest_after(step)
    }

    /// Goes on with the page that is on its way, or looks whether the next class that has asked gets one.
    fn step_automove(&mut self) -> Progress {
        let now = self.clock.now();
        if let Some((donor, page_move)) = &mut self.helping {
            if self.store.step_move(&mut self.local, page_move, now) == Progress::Done {
                page_move.note_held(&mut self.sparing);
                self.automove.gave(&self.store.samples(now), *donor);
                self.helping = None;
            }
            return Progress::More;
        }
        let background = self.store.background();
        if !background.reassign || background.automove == Mode::Off {
            return Progress::Done;
        }
        if self.spared_at.elapsed() >= Duration::from_millis(SPARE_LOOK_MS) {
            self.spared_at = Instant::now();
            self.sparing = self.store.spare_pages();
        }
        self.helping = self.store.begin_sparing(&mut self.sparing);
        if self.helping.is_some() {
            return Progress::More;
        }
        if self.asking.is_empty() {
            self.asking = self.store.take_wanting();
            // Who is served last may not be served at all: each has its turn to be first.
            let middle = self.asking.iter().position(|&class| Some(class) > self.automove.served).unwrap_or(0);
            self.asking.rotate_left(middle);
            self.asking.reverse();
        }
        let Some(class) = self.asking.pop() else { return Progress::Done };
        let samples = self.store.samples(now);
        self.automove.see(&samples, now.tick.secs());
        let mut donor = self.automove.donor(&samples, class, now.tick.secs(), ByAge::of(&background));
        if background.automove == Mode::Aggressive {
            donor = donor.or_else(|| longest_idle(&samples, class));
        }
        if let Some(donor) = donor {
            self.helping = Some((donor, self.store.begin_move(donor, class)));
            self.automove.served = Some(class);
        }
        Progress::More
    }

    fn crawl(&mut self) -> Duration {
        let begun = Instant::now();
        let background = self.store.background();
        if self.crawl.is_none() {
            self.crawl = self.store.take_crawl();
            self.local.stats.lru_crawler_starts.add(u64::from(self.crawl.is_some()));
        }
        let Some(crawl) = &mut self.crawl else { return Duration::MAX };
        if !background.crawler {
            self.store.end_crawl();
            self.crawl = None;
            return Duration::MAX;
        }
        let step = until_late(begun, || {
            if self.store.crawl(&mut self.local, crawl, self.clock.now()) { Progress::More } else { Progress::Done }
        });
        if step == Progress::Done {
            self.crawl = None;
        }
        rest_after(step).max(Duration::from_micros(background.crawler_sleep_us.into()))
    }

    /// Sweeps for a step's time; at the end of a round, which has seen everything, it is at rest.
    fn sweep(&mut self) -> Duration {
        let begun = Instant::now();
        let background = self.store.background();
        if !background.crawler && !self.store.needs_round(self.clock.now()) {
            return Duration::MAX;
        }
        let step = until_late(begun, || {
            let swept = self.store.sweep(&mut self.local, self.clock.now());
            if self.swept == 0 && swept.checked > 0 {
                self.local.stats.lru_crawler_starts.add(1);
            }
            self.swept += swept.checked;
            if swept.round { Progress::Done } else { Progress::More }
        });
        if step == Progress::Done {
            self.swept = 0;
        }
        rest_after(step).max(Duration::from_micros(background.crawler_sleep_us.into()))
    }
}

/// Takes steps until there is none left to take, or a step's time is over.
fn until_late(begun: Instant, mut step: impl FnMut() -> Progress) -> Progress {
    loop {
        let taken = step();
        if taken != Progress::More || begun.elapsed() >= Duration::from_micros(MAINTAIN_STEP_US) {
            return taken;
        }
    }
}

/// How long a duty wants to rest.
fn rest_after(step: Progress) -> Duration {
    match step {
        Progress::Done => Duration::MAX,
        Progress::More => Duration::ZERO,
        Progress::Held => Duration::from_millis(MOVE_RETRY_MS),
    }
}

/// Who gives a page when somebody must: the class whose next victim has been idle longest, of those that can.
fn longest_idle(samples: &[ClassSample], wanting: ClassId) -> Option<ClassId> {
    let donors = samples.iter().filter(|sample| sample.class != wanting && can_give(sample));
    donors.filter_map(|sample| Some((sample.idle_secs?, sample.pages, sample.class))).max().map(|(_, _, class)| class)
}
