//! Which keys are used most: of every [`HOTKEYS_SAMPLE`] uses one, about, is looked at and counted, in a table of fixed size.
//!
//! The table is Space-Saving's: a key that is not in it takes the place, and the count, of the one with the least; by that count it may
//! be too high, and it is told by how much (the *error*). A key with more than one in [`HOTKEYS_KEPT`] of the samples is never missed.
//! Counts are halved every [`HOTKEYS_HALF_LIFE_SECS`], so that what is told is of the last minutes; the time they are held against is
//! halved with them, so that rates stay right.
//!
//! Each thread has a table of its own behind a lock that nobody else takes but whoever asks for them. Between samples a use costs a
//! count down, which is how `stats detail` has each key looked at, too: the count then never is more than one.

use super::{Counter, Registry, Switch, Watch};
use crate::limits::{HOTKEYS_HALF_LIFE_SECS, HOTKEYS_KEPT, HOTKEYS_SAMPLE, HOTKEYS_TOLD, KEY_LEN_MAX};
use arrayvec::ArrayVec;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a key was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// It was read.
    Get {
        /// It was there.
        hit: bool,
    },
    /// It was to be stored.
    Set,
    /// It was to be deleted.
    Delete,
    /// Anything else.
    Other,
}

/// One thread's samples.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// Uses up to the next that is looked at, and that one.
    left: Counter,
    /// The generation of switches that `left` was set by.
    generation: Counter,
    sketch: Mutex<Sketch>,
}

impl Sampler {
    #[inline]
    pub(super) fn begin_turn(&self, watch: &Watch) {
        if self.generation.value() != watch.generation.load(Ordering::Relaxed) {
            self.left.set(0);
        }
    }

    #[inline(always)]
    pub(super) fn note(&self, watch: &Watch, what: KeyUse, key: &[u8], now_secs: u32) {
        let left = self.left.value();
        if left > 1 {
            self.left.set(left - 1);
        } else {
            self.look(watch, what, key, now_secs);
        }
    }

    #[cold]
    #[inline(never)]
    fn look(&self, watch: &Watch, what: KeyUse, key: &[u8], now_secs: u32) {
        let generation = watch.generation.load(Ordering::Relaxed);
        let is_new = self.generation.value() != generation;
        self.generation.set(generation);
        let (detail, hotkeys) = (watch.is_on(Switch::Detail), watch.is_on(Switch::Hotkeys));
        if detail {
            watch.note_prefix(what, key);
        }
        let due = if hotkeys { self.sketch().look(key, now_secs, !is_new && !detail) } else { u64::MAX };
        self.left.set(if detail { 1 } else { due });
    }

    fn sketch(&self) -> MutexGuard<'_, Sketch> {
        self.sketch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The table. The three lists are one, by place.
#[derive(Debug)]
struct Sketch {
    hasher: RandomState,
    /// State of a generator of numbers nobody can foresee, never zero.
    random: u64,
    /// Uses up to the next sample, and that one.
    due: u64,
    hashes: Vec<u64>,
    counts: Vec<Count>,
    keys: Vec<ArrayVec<u8, KEY_LEN_MAX>>,
    /// Of all samples, halved as the counts are.
    total: u64,
    /// When counts were last halved; none before the first sample.
    halved_at: Option<u32>,
    /// Seconds up to then, halved as the counts are.
    watched_secs: f64,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    samples: u64,
    /// It may be too high by so many.
    error: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        let hasher = RandomState::new();
        let random = hasher.hash_one(0) | 1;
        Self {
            hasher,
            random,
            due: 0,
            hashes: Vec::new(),
            counts: Vec::new(),
            keys: Vec::new(),
            total: 0,
            halved_at: None,
            watched_secs: 0.0,
        }
    }
}

impl Sketch {
    /// A use, and all before it up to the next sample if they have `passed`. How many it takes to the sample after that.
    fn look(&mut self, key: &[u8], now_secs: u32, passed: bool) -> u64 {
        self.due = if passed { 0 } else { self.due.saturating_sub(1) };
        if self.due == 0 {
            self.age(now_secs);
            self.sample(key);
            // From 1 to twice the mean less 1: a client with a rhythm of its own is seen all the same.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            self.due = 1 + (self.random >> 32) % (2 * HOTKEYS_SAMPLE - 1);
        }
        self.due
    }

    fn sample(&mut self, key: &[u8]) {
        self.total += 1;
        let hash = self.hasher.hash_one(key);
        if let Some(place) = self.hashes.iter().position(|&other| other == hash) {
            self.counts[place].samples += 1;
            return;
        }
        // Longer ones there are none.
        let Ok(key) = ArrayVec::try_from(key) else { return };
        if self.counts.len() < HOTKEYS_KEPT {
            self.hashes.push(hash);
            self.counts.push(Count { samples: 1, error: 0 });
            self.keys.push(key);
            return;
        }
        let least = self.counts.iter().enumerate().min_by_key(|(_, count)| count.samples);
        if let Some((place, &Count { samples, .. })) = least {
            self.hashes[place] = hash;
            self.counts[place] = Count { samples: samples + 1, error: samples };
            self.keys[place] = key;
        }
    }

    /// Halves counts if it is time.
    fn age(&mut self, now_secs: u32) {
        let mut halved_at = self.halved_at.unwrap_or(now_secs);
        // After that many there is nothing left.
        for _ in 0..u64::BITS {
            if now_secs.saturating_sub(halved_at) < HOTKEYS_HALF_LIFE_SECS {
                break;
            }
            halved_at += HOTKEYS_HALF_LIFE_SECS;
            self.watched_secs = (self.watched_secs + f64::from(HOTKEYS_HALF_LIFE_SECS)) / 2.0;
            self.total /= 2;
            self.counts
                .iter_mut()
                .for_each(|count| *count = Count { samples: count.samples / 2, error: count.error / 2 });
        }
        if now_secs.saturating_sub(halved_at) >= HOTKEYS_HALF_LIFE_SECS {
            halved_at = now_secs;
        }
        self.halved_at = Some(halved_at);
    }
}

/// What the samples of all threads say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HotKeys {
    /// Samples that this comes from.
    pub samples: u64,
    /// Uses of keys a second, estimated.
    pub per_sec: f64,
    /// The keys that are certain to have been used more than once among the samples, most used first, [`HOTKEYS_TOLD`] at most.
    pub keys: Vec<HotKey>,
}

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub struct HotKey {
    /// It, whole.
    pub key: Vec<u8>,
    /// Its samples, of all.
    pub share: f64,
    /// The share may be too high by so much.
    pub error: f64,
    /// Uses a second, estimated.
    pub per_sec: f64,
}

impl Registry {
    /// What has been used most of late.
    #[must_use]
    pub fn hot_keys(&self, now_secs: u32) -> HotKeys {
        let mut hot = HotKeys::default();
        let mut sums: HashMap<Vec<u8>, (Count, f64)> = HashMap::new();
        for block in self.blocks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut sketch = block.sampler.sketch();
            if sketch.total == 0 {
                continue;
            }
            sketch.age(now_secs);
            let since = now_secs.saturating_sub(sketch.halved_at.unwrap_or(now_secs));
            let secs = (sketch.watched_secs + f64::from(since)).max(1.0);
            let per_sec = |samples| as_float(samples * HOTKEYS_SAMPLE) / secs;
            hot.samples += sketch.total;
            hot.per_sec += per_sec(sketch.total);
            for (key, count) in sketch.keys.iter().zip(&sketch.counts) {
                let (sum, rate) = sums.entry(key.to_vec()).or_insert((Count { samples: 0, error: 0 }, 0.0));
                sum.samples += count.samples;
                sum.error += count.error;
                *rate += per_sec(count.samples);
            }
        }
        let total = as_float(hot.samples.max(1));
        let sure = |count: &Count| count.samples - count.error;
        let mut keys: Vec<_> = sums.into_iter().filter(|(_, (count, _))| sure(count) >= 2).collect();
        keys.sort_by(|(a, (more, _)), (b, (less, _))| sure(less).cmp(&sure(more)).then_with(|| a.cmp(b)));
        keys.truncate(HOTKEYS_TOLD);
        let told = |(key, (count, per_sec)): (Vec<u8>, (Count, f64))| HotKey {
            key,
            share: as_float(count.samples) / total,
            error: as_float(count.error) / total,
            per_sec,
        };
        hot.keys = keys.into_iter().map(told).collect();
        hot
    }

    /// Forgets what has been seen.
    pub fn reset_hot_keys(&self) {
        for block in self.blocks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut sketch = block.sampler.sketch();
            let due = sketch.due;
            *sketch = Sketch { due, ..Sketch::default() };
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Vec<u8> {
        format!("key{number}").into_bytes()
    }

    #[test]
    fn the_most_used_keys_are_found_among_many_more_than_the_table_has_room_for() {
        let registry = Registry::default();
        let (a, b) = (registry.register(), registry.register());
        let uses = 400_000_u64;
        for n in 0..uses {
            let block = if n % 3 == 0 { &a } else { &b };
            // One in 5 is of key0, one in 10 of key1, one in 20 of key2; the others are all different.
            let used = match n % 20 {
                0..4 => 0,
                4..6 => 1,
                6 => 2,
                _ => 1000 + n,
            };
            block.note_key(KeyUse::Get { hit: true }, &key(used), 100);
        }
        let hot = registry.hot_keys(110);
        let expected = uses / HOTKEYS_SAMPLE;
        assert!(hot.samples.abs_diff(expected) < expected / 10, "{} samples", hot.samples);
        for (place, share) in [(0, 0.2), (1, 0.1), (2, 0.05)] {
            let told = &hot.keys[place];
            assert_eq!(told.key, key(place as u64));
            assert!((told.share - told.error - share).abs() < 0.03, "{told:?}");
            assert!((told.per_sec / 40_000.0 - told.share).abs() < 0.05, "{told:?}");
        }
        assert!(hot.keys.len() <= HOTKEYS_TOLD);
        registry.reset_hot_keys();
        assert_eq!(registry.hot_keys(110), HotKeys::default());
    }

    #[test]
    fn what_was_used_long_ago_is_forgotten_and_rates_stay_right() {
        let registry = Registry::default();
        let block = registry.register();
        for second in 0..20 * HOTKEYS_HALF_LIFE_SECS {
            let used = if second < 10 * HOTKEYS_HALF_LIFE_SECS { 1 } else { 2 };
            for _ in 0..2 * HOTKEYS_SAMPLE {
                block.note_key(KeyUse::Set, &key(used), second);
            }
        }
        let hot = registry.hot_keys(20 * HOTKEYS_HALF_LIFE_SECS);
        assert_eq!(hot.keys.len(), 1, "{:?}", hot.keys);
        assert_eq!(hot.keys[0].key, key(2));
        let expected = as_float(2 * HOTKEYS_SAMPLE);
        assert!((hot.per_sec / expected - 1.0).abs() < 0.3, "{}", hot.per_sec);
        assert_eq!(registry.hot_keys(u32::MAX).samples, 0);
    }

    #[test]
    fn nothing_is_looked_at_while_it_is_off() {
        let registry = Registry::default();
        let block = registry.register();
        registry.watch().turn(Switch::Hotkeys, false);
        for _ in 0..3 {
            block.begin_turn();
            (0..100 * HOTKEYS_SAMPLE).for_each(|_| block.note_key(KeyUse::Other, b"key", 1));
        }
        assert_eq!(registry.hot_keys(1), HotKeys::default());
        registry.watch().turn(Switch::Hotkeys, true);
        block.begin_turn();
        (0..100 * HOTKEYS_SAMPLE).for_each(|_| block.note_key(KeyUse::Other, b"key", 1));
        assert_eq!(registry.hot_keys(1).keys[0].key, b"key");
    }
}
