//! The bucket's lock under a model checker: every interleaving of a few threads, and every value that relaxed memory may show
//! them.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom`

#![cfg(loom)]

#[path = "../src/store/locks/word.rs"]
mod word;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use parts::{AtomicU32, Ordering};

/// The checker's atomics, and a futex made of its mutex.
mod parts {
    pub(super) use loom::hint::spin_loop;
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    /// One will do: each more only repeats the same question.
    pub(super) const SPINS: u32 = 1;

    loom::lazy_static! {
        /// The kernel's list of sleepers: of one word, since the model has one.
        static ref SLEEPERS: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    /// Sleeps, unless the word is another than expected by now: the kernel looks with wakers shut out.
    pub(super) fn wait(word: &AtomicU32, expected: u32) {
        let guard = SLEEPERS.0.lock().unwrap();
        if word.load(Ordering::Relaxed) == expected {
            drop(SLEEPERS.1.wait(guard).unwrap());
        }
    }

    pub(super) fn wake_one(_: &AtomicU32) {
        let _guard = SLEEPERS.0.lock().unwrap();
        SLEEPERS.1.notify_one();
    }

    pub(super) fn wake_all(_: &AtomicU32) {
        let _guard = SLEEPERS.0.lock().unwrap();
        SLEEPERS.1.notify_all();
    }
}

/// What the lock protects. The checker sees to it that no two threads touch it unordered.
struct Locked {
    word: AtomicU32,
    value: UnsafeCell<u32>,
}

// SAFETY: `value` is touched by who holds the lock only, which is what the model is to show.
#[expect(unsafe_code, reason = "shares the cell between the model's threads")]
unsafe impl Sync for Locked {}

impl Locked {
    fn new() -> Arc<Self> {
        Arc::new(Self { word: AtomicU32::new(0), value: UnsafeCell::new(0) })
    }

    fn add_one(&self) {
        self.value.with_mut(|value| {
            // SAFETY: the lock is held; the checker panics if it does not exclude.
            #[expect(unsafe_code, reason = "a checked access")]
            unsafe {
                *value += 1;
            }
        });
    }

    fn value(&self) -> u32 {
        // SAFETY: the lock is held; the checker panics if it does not exclude.
        #[expect(unsafe_code, reason = "a checked access")]
        self.value.with(|value| unsafe { *value })
    }

    fn locked_add(&self) {
        word::lock(&self.word);
        self.add_one();
        word::unlock(&self.word);
    }

    fn give_back(&self) {
        give_back(&self.word);
    }
}

/// What becomes of a lock whose page is given back to the system: it is taken by a try, zero all at once, and its sleepers are woken.
fn give_back(word: &AtomicU32) {
    if word::try_lock(word) {
        // The system's doing, which takes the page from all processors. Whatever it was: the checker would let a plain store come between
        // what somebody's exchange reads and what it writes.
        word.swap(0, Ordering::Release);
        word::wiped(word);
    }
}

/// Two threads add one each under the lock while this one does `work` with it; what the sum is then. A lost wake-up would be a deadlock,
/// which the checker reports.
fn beside_two_who_add(work: fn(&Locked), sum: u32) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(4);
    model.check(move || {
        let locked = Locked::new();
        let threads = [0, 1].map(|_| {
            let locked = Arc::clone(&locked);
            thread::spawn(move || locked.locked_add())
        });
        work(&locked);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        word::lock(&locked.word);
        assert_eq!(locked.value(), sum);
        word::unlock(&locked.word);
    });
}

#[test]
fn three_threads_exclude_each_other_and_all_wake() {
    beside_two_who_add(Locked::locked_add, 3);
}

/// Two threads without a bound on preemptions, one of them twice.
#[test]
fn two_threads_exclude_each_other_in_every_interleaving() {
    loom::model(|| {
        let locked = Locked::new();
        let other = {
            let locked = Arc::clone(&locked);
            thread::spawn(move || {
                locked.locked_add();
                locked.locked_add();
            })
        };
        locked.locked_add();
        other.join().unwrap();
        word::lock(&locked.word);
        assert_eq!(locked.value(), 3);
        word::unlock(&locked.word);
    });
}

/// Taking it by a try sees what the last holder wrote, too.
#[test]
fn who_tries_and_gets_it_sees_what_was_written_under_it() {
    loom::model(|| {
        let locked = Locked::new();
        let other = {
            let locked = Arc::clone(&locked);
            thread::spawn(move || {
                if word::try_lock(&locked.word) {
                    locked.add_one();
                    word::unlock(&locked.word);
                }
            })
        };
        locked.locked_add();
        other.join().unwrap();
    });
}

/// Nobody sleeps for ever on a lock that was given back under it, and nobody has it together with somebody else.
#[test]
fn a_lock_that_is_given_back_is_free_for_one_of_those_who_want_it() {
    beside_two_who_add(Locked::give_back, 2);
}

/// An index of one bucket or two, and an item that is in the last one.
struct Index {
    /// How many buckets there are.
    geometry: AtomicU32,
    buckets: [Locked; 2],
}

impl Index {
    fn last(&self) -> usize {
        self.geometry.load(Ordering::Relaxed) as usize - 1
    }

    /// As `Table::lock` does it.
    fn find(&self) -> u32 {
        loop {
            let index = self.last();
            let bucket = &self.buckets[index];
            word::lock(&bucket.word);
            let found = (self.last() == index).then(|| bucket.value());
            word::unlock(&bucket.word);
            if let Some(found) = found {
                return found;
            }
        }
    }

    fn move_item(&self, from: usize, to: usize) {
        self.buckets[to].add_one();
        self.buckets[from].value.with_mut(|value| {
            // SAFETY: both locks are held; the checker panics if they do not exclude.
            #[expect(unsafe_code, reason = "a checked access")]
            unsafe {
                *value = 0;
            }
        });
        self.geometry.store(u32::try_from(to).unwrap() + 1, Ordering::Release);
        self.buckets.iter().for_each(|bucket| word::unlock(&bucket.word));
    }

    fn merge(&self) -> bool {
        let [lower, upper] = &self.buckets;
        if !word::try_lock(&lower.word) {
            return false;
        }
        if !word::try_lock(&upper.word) {
            word::unlock(&lower.word);
            return false;
        }
        self.move_item(1, 0);
        give_back(&upper.word);
        true
    }

    fn split(&self) {
        self.buckets.iter().for_each(|bucket| word::lock(&bucket.word));
        self.move_item(0, 1);
    }
}

/// Who looks for the item finds it, wherever it goes meanwhile, and never looks at a bucket that somebody is changing.
#[test]
fn an_item_is_found_while_its_bucket_is_merged_given_back_and_split_again() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(4);
    model.check(|| {
        let bucket = |value| Locked { word: AtomicU32::new(0), value: UnsafeCell::new(value) };
        let index = Arc::new(Index { geometry: AtomicU32::new(2), buckets: [bucket(0), bucket(1)] });
        let reader = {
            let index = Arc::clone(&index);
            thread::spawn(move || assert_eq!((index.find(), index.find()), (1, 1)))
        };
        if index.merge() {
            index.split();
        }
        reader.join().unwrap();
        assert_eq!(index.find(), 1);
    });
}
