//! How long requests take, by kind: histograms of one writer each, log-linear, so that what is small is told as exactly as what is large.
//!
//! ```text
//!   index    0 .. 7             8 .. 15            16 .. 23           ...    216 .. 223
//!   ns       0 .. 1023          1024 .. 2047       2048 .. 4095              2^36 .. for ever
//!            8 steps of 128     8 steps of 128     8 steps of 256            8 steps of 2^33, the last without an end
//! ```
//!
//! What is measured is not an operation, which takes less time than reading a clock twice, but what a client waits for: from the return
//! of the poll that brought the request (its last byte, if it came in pieces) to when its answer has been given to the kernel. It has in it
//! the requests before it, of the same client and of others whose turn came first, and it has not what the network takes. Answers of one
//! connection that leave together have the same time, so there is one reading of the clock for all of them.
//!
//! Off by default, on with `--metrics`. Measured here, where a reading of the clock takes some 70 ns: 1 to 2 % of a worker's time, with one
//! request in a packet as with 16.
//!
//! Which requests: those that the counter of the same name counts, so that the two agree: `get` is `cmd_get`, `set` is `cmd_set`, `touch` is
//! `cmd_touch` (so gat is a get and a touch), and the other three are hits and misses. The rest (version, stats, ...) is not timed, and
//! neither are datagrams.

use super::{Block, Counter, Registry};
use std::sync::PoisonError;

/// What is timed, by name.
pub const TIMED: [&str; 6] = ["get", "set", "touch", "delete", "incr", "decr"];

/// Requests by what is timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served([u32; TIMED.len()]);

/// Steps in a power of two, as a power of two.
const STEP_BITS: u32 = 3;

/// The power of two of nanoseconds up to which all steps are the same.
const LINEAR_BITS: u32 = 10;

/// The last power of two with steps of its own.
const LAST_BITS: u32 = 36;

/// Steps of a histogram.
pub const BUCKETS: usize = ((LAST_BITS - LINEAR_BITS + 2) << STEP_BITS) as usize;

/// Histograms of one thread.
#[derive(Debug, Default)]
pub struct Latency([Histogram; TIMED.len()]);

#[derive(Debug)]
struct Histogram {
    buckets: Box<[Counter; BUCKETS]>,
    sum_ns: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new(std::array::from_fn(|_| Counter::default())), sum_ns: Counter::default() }
    }
}

/// Sums of all threads' histograms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    kinds: [TimedKind; TIMED.len()],
}

/// Times of one kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedKind {
    buckets: Box<[u64; BUCKETS]>,
    sum_ns: u64,
}

impl Default for TimedKind {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), sum_ns: 0 }
    }
}

impl Served {
    /// None so far.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those since the counters stood at `before`.
    #[must_use]
    #[inline]
    pub fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|place| self.0[place].wrapping_sub(before.0[place])))
    }

    /// Those as well.
    #[inline]
    pub fn add(&mut self, more: &Self) {
        for (sum, more) in self.0.iter_mut().zip(&more.0) {
            *sum = sum.wrapping_add(*more);
        }
    }
}

impl Block {
    /// Where the counters of timed requests stand, wrapped: only differences say something.
    #[inline]
    #[must_use]
    pub fn served(&self) -> Served {
        let two = |hits: &Counter, misses: &Counter| low(hits.value().wrapping_add(misses.value()));
        Served([
            low(self.cmd_get.value()),
            low(self.cmd_set.value()),
            low(self.cmd_touch.value()),
            two(&self.delete_hits, &self.delete_misses),
            two(&self.incr_hits, &self.incr_misses),
            two(&self.decr_hits, &self.decr_misses),
        ])
    }
}

#[expect(clippy::cast_possible_truncation, reason = "differences of less than 2^32 are wanted")]
fn low(value: u64) -> u32 {
    value as u32
}

impl Latency {
    /// Counts requests that took so long.
    #[inline]
    pub fn note(&self, served: &Served, took_ns: u64) {
        let bucket = bucket_of(took_ns);
        for (histogram, &count) in self.0.iter().zip(&served.0) {
            if count > 0 {
                histogram.buckets[bucket].add(count.into());
                histogram.sum_ns.add(took_ns.saturating_mul(count.into()));
            }
        }
    }
}

#[inline]
fn bucket_of(ns: u64) -> usize {
    let bits = (u64::BITS - 1 - (ns | 1).leading_zeros()).max(LINEAR_BITS - 1);
    let bucket = if bits < LINEAR_BITS {
        ns >> (LINEAR_BITS - STEP_BITS)
    } else {
        (u64::from(bits - LINEAR_BITS) << STEP_BITS) + (ns >> (bits - STEP_BITS))
    };
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// Where a step ends, in nanoseconds: the first time that is not in it.
#[must_use]
pub fn bucket_end_ns(bucket: usize) -> u64 {
    let steps = 1 << STEP_BITS;
    let end = bucket as u64 + 1;
    if end <= steps {
        end << (LINEAR_BITS - STEP_BITS)
    } else {
        let (octave, step) = ((end - 1) / steps - 1, (end - 1) % steps);
        (steps + step + 1) << (octave + u64::from(LINEAR_BITS - STEP_BITS))
    }
}

impl Timing {
    /// What is timed, by name, and how it went.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, &TimedKind)> {
        TIMED.into_iter().zip(&self.kinds)
    }
}

impl TimedKind {
    /// Requests.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All their times together, in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Requests that took less than the end of each step, step by step.
    pub fn cumulated(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        })
    }

    /// The time, in nanoseconds, in which that share of requests was answered, in thousandths: the end of its step, so at most an eighth
    /// too much. None if there was no request.
    #[must_use]
    pub fn quantile_ns(&self, thousandths: u64) -> Option<u64> {
        let wanted = (self.count() * thousandths).div_ceil(1000).max(1);
        self.cumulated().position(|sum| sum >= wanted).map(bucket_end_ns)
    }
}

impl Registry {
    /// Times since the last reset.
    #[must_use]
    pub fn timing(&self) -> Timing {
        let mut timing = self.timing_sums();
        let zero = self.zero_latency.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, zero) in timing.kinds.iter_mut().zip(&zero.kinds) {
            kind.sum_ns = kind.sum_ns.wrapping_sub(zero.sum_ns);
            for (sum, zero) in kind.buckets.iter_mut().zip(zero.buckets.iter()) {
                *sum = sum.wrapping_sub(*zero);
            }
        }
        timing
    }

    /// Times from here on.
    pub fn reset_latency(&self) {
        let sums = self.timing_sums();
        *self.zero_latency.lock().unwrap_or_else(PoisonError::into_inner) = sums;
    }

    fn timing_sums(&self) -> Timing {
        let mut timing = Timing::default();
        for block in self.blocks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (kind, histogram) in timing.kinds.iter_mut().zip(&block.latency.0) {
                kind.sum_ns = kind.sum_ns.wrapping_add(histogram.sum_ns.value());
                for (sum, counter) in kind.buckets.iter_mut().zip(histogram.buckets.iter()) {
                    *sum += counter.value();
                }
            }
        }
        timing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_step_that_ends_after_it_and_an_eighth_is_the_most_it_is_off() {
        let mut ns: u64 = 0;
        while ns < 1 << 36 {
            let bucket = bucket_of(ns);
            let begin = if bucket == 0 { 0 } else { bucket_end_ns(bucket - 1) };
            assert!(begin <= ns && ns < bucket_end_ns(bucket), "{ns}: step {bucket}");
            assert!(bucket_end_ns(bucket) - begin <= (ns / 8).max(128), "{ns}");
            ns = ns + ns / 37 + 1;
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_end_ns(BUCKETS - 1), 1 << 37);
    }

    #[test]
    fn quantiles_are_of_what_was_noted_since_the_reset() {
        let registry = Registry::default();
        let (a, b) = (registry.register(), registry.register());
        a.latency.note(&Served([1, 0, 0, 0, 0, 0]), 1_000_000_000);
        registry.reset();
        a.latency.note(&Served([90, 1, 0, 0, 0, 0]), 1000);
        b.latency.note(&Served([10, 0, 0, 0, 0, 0]), 100_000);
        let timing = registry.timing();
        let get = &timing.kinds[0];
        assert_eq!((get.count(), get.sum_ns()), (100, 90 * 1000 + 10 * 100_000));
        assert_eq!(get.quantile_ns(900), Some(1024));
        let p99 = get.quantile_ns(990).unwrap();
        assert!((100_000..=112_500).contains(&p99), "{p99}");
        assert_eq!((timing.kinds[1].count(), timing.kinds[2].quantile_ns(500)), (1, None));
    }

    #[test]
    fn what_was_served_is_what_the_counters_say_in_between() {
        let block = Block::default();
        block.cmd_get.set(u64::from(u32::MAX));
        let before = block.served();
        block.cmd_get.add(2);
        block.delete_misses.add(1);
        let mut served = Served::default();
        served.add(&block.served().since(&before));
        assert_eq!(served, Served([2, 0, 0, 1, 0, 0]));
        assert!(!served.is_empty() && Served::default().is_empty());
    }
}
