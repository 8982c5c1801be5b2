//! How long items are, in steps of 32 bytes: counted as items come and go, from when somebody wants to know. Each thread adds and takes
//! away on its own, so only sums say something.

use super::{Counter, Registry};
use std::sync::{OnceLock, PoisonError};

/// Counts of one thread; there are none until an item is counted.
#[derive(Debug, Default)]
pub struct SizeCounts(OnceLock<Box<[Counter]>>);

/// Length of a step, in bytes.
const STEP: usize = 32;

/// Lengths from this on are told in longer steps.
const LONG: usize = 1 << 20;

/// Length of those, in bytes.
const LONG_STEP: usize = 32 << 10;

/// Steps of both kinds: up to 1 GiB and a bit.
const STEPS: usize = LONG / STEP + (1 << 30) / LONG_STEP + 2;

fn step_of(len: usize) -> usize {
    let step = if len <= LONG { len.div_ceil(STEP) } else { LONG / STEP + (len - LONG).div_ceil(LONG_STEP) };
    step.min(STEPS - 1)
}

fn len_of(step: usize) -> usize {
    if step <= LONG / STEP { step * STEP } else { LONG + (step - LONG / STEP) * LONG_STEP }
}

impl SizeCounts {
    /// An item of this length has come.
    pub fn add(&self, item_len: usize) {
        self.counter(item_len).add(1);
    }

    /// An item of this length has gone.
    pub fn sub(&self, item_len: usize) {
        self.counter(item_len).sub(1);
    }

    fn counter(&self, item_len: usize) -> &Counter {
        let counters = self.0.get_or_init(|| (0..STEPS).map(|_| Counter::default()).collect());
        &counters[step_of(item_len)]
    }
}

impl Registry {
    /// Lengths that items have which have come since [`Registry::begin_sizes`], rounded up to a step, and how many have them.
    #[must_use]
    pub fn sizes(&self) -> Vec<(usize, u64)> {
        let zero = self.zero_sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let zero = zero.iter().copied().chain(std::iter::repeat(0));
        let sums = self.size_sums().into_iter().zip(zero).map(|(sum, zero)| sum.wrapping_sub(zero));
        // What one thread has added and another has taken away meanwhile may be seen the wrong way round.
        let counted = sums.enumerate().filter(|(_, sum)| sum.cast_signed() > 0);
        counted.map(|(step, sum)| (len_of(step), sum)).collect()
    }

    /// Counts from nothing on.
    pub fn begin_sizes(&self) {
        let sums = self.size_sums();
        *self.zero_sizes.lock().unwrap_or_else(PoisonError::into_inner) = sums;
    }

    fn size_sums(&self) -> Vec<u64> {
        let mut sums = vec![0_u64; STEPS];
        for block in self.blocks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (sum, counter) in sums.iter_mut().zip(block.sizes.0.get().into_iter().flatten()) {
                *sum = sum.wrapping_add(counter.value());
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_told_by_the_end_of_their_step_and_none_is_too_long() {
        for (len, told) in [
            (1, 32),
            (32, 32),
            (33, 64),
            (1 << 20, 1 << 20),
            ((1 << 20) + 1, (1 << 20) + (32 << 10)),
            ((1 << 30) + 300, (1 << 30) + (32 << 10)),
        ] {
            assert_eq!(len_of(step_of(len)), told, "{len}");
        }
        assert_eq!(step_of(usize::MAX), STEPS - 1);
    }

    #[test]
    fn items_are_counted_from_the_beginning_that_was_asked_for() {
        let registry = Registry::default();
        let (a, b) = (registry.register(), registry.register());
        a.sizes.add(100);
        b.sizes.sub(100);
        b.sizes.add(40);
        assert_eq!(registry.sizes(), [(64, 1)]);
        registry.begin_sizes();
        a.sizes.add(40);
        assert_eq!(registry.sizes(), [(64, 1)]);
    }
}
