//! Where a page helps most: a pure function of what was seen before and what is seen now.
//!
//! A class that evicts asks for a page. It gets one from the class that would miss it least, if that is clear:
//!
//! - **by ghost hits**: keys that came back after their item had gone are hits that more memory would have made. Per page, that is
//!   what a page more is worth, and (as much as one page less differs from one more) what a page less costs.
//! - **by age**, where few keys come back: the class whose next victim has been idle much longer than the asking one's.
//!
//! A class keeps its last page. A very clear difference is asked for: on the OLTP trace at 32 MB a page for half as much again per ghost hit, or
//! for twice the age, cost 1.2 % of the hits, since what a page holds is lost at once and what it may win comes later; with the ratios
//! below nothing was lost there, and a workload whose sizes shift gets its pages all the same.

use crate::store::{ClassId, ClassSample};

/// Of what was seen earlier, as much counts as this share of what has been seen since.
const MEMORY: f64 = 0.8;

/// A page goes where it is worth this many times as much.
const WORTH_RATIO: f64 = 4.0;

/// A page goes where victims have been idle for less than this share of the time.
const AGE_RATIO: u32 = 4;

/// Seconds by which ages must differ at least: they are known to the second.
const AGE_SECS_MIN: u32 = 5;

/// Ghost hits below which they say nothing.
const GHOST_HITS_MIN: f64 = 32.0;

/// What is remembered of the classes between two decisions.
#[derive(Debug, Default)]
pub(super) struct Automove {
    /// Ghost hits of each class up to the last sample.
    seen: Vec<u64>,
    /// Ghost hits lately.
    recent: Vec<f64>,
}

impl Automove {
    /// Who is to give a page to `wanting`.
    pub(super) fn donor(&mut self, samples: &[ClassSample], wanting: ClassId) -> Option<ClassId> {
        self.remember(samples);
        let taker = samples.iter().position(|sample| sample.class == wanting)?;
        self.by_ghost_hits(samples, taker).or_else(|| by_age(samples, taker))
    }

    fn remember(&mut self, samples: &[ClassSample]) {
        self.seen.resize(samples.len(), 0);
        self.recent.resize(samples.len(), 0.0);
        for ((sample, seen), recent) in samples.iter().zip(&mut self.seen).zip(&mut self.recent) {
            let new = u32::try_from(sample.ghost_hits.wrapping_sub(*seen)).unwrap_or(u32::MAX);
            *recent = *recent * MEMORY + f64::from(new);
            *seen = sample.ghost_hits;
        }
    }

    fn by_ghost_hits(&self, samples: &[ClassSample], taker: usize) -> Option<ClassId> {
        if self.recent[taker] < GHOST_HITS_MIN {
            return None;
        }
        let worth = |place: usize| self.recent[place] / f64::from(samples[place].pages.max(1));
        let donors = (0..samples.len()).filter(|&place| place != taker && can_give(&samples[place]));
        let donor = donors.min_by(|&a, &b| worth(a).total_cmp(&worth(b)))?;
        (worth(donor) * WORTH_RATIO < worth(taker)).then_some(samples[donor].class)
    }
}

fn by_age(samples: &[ClassSample], taker: usize) -> Option<ClassId> {
    let young = samples[taker].idle_secs?;
    let donors = samples.iter().enumerate().filter(|(place, sample)| *place != taker && can_give(sample));
    let (old, donor) = donors.filter_map(|(_, sample)| Some((sample.idle_secs?, sample.class))).max_by_key(|d| d.0)?;
    (old >= young.saturating_mul(AGE_RATIO) && old >= young + AGE_SECS_MIN).then_some(donor)
}

fn can_give(sample: &ClassSample) -> bool {
    sample.pages > 1 && sample.idle_secs.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_class;

    /// A table of (number, pages, ghost hits, idle seconds).
    fn samples(table: &[(u8, u32, u64, Option<u32>)]) -> Vec<ClassSample> {
        let sample = |&(number, pages, ghost_hits, idle_secs)| ClassSample {
            class: test_class(number),
            pages,
            ghost_hits,
            evicted: 0,
            idle_secs,
        };
        table.iter().map(sample).collect()
    }

    fn donor(table: &[(u8, u32, u64, Option<u32>)], wanting: u8) -> Option<u8> {
        Automove::default().donor(&samples(table), test_class(wanting)).map(ClassId::number)
    }

    #[test]
    fn a_page_goes_where_it_is_worth_most() {
        for (table, wanting, expected) in [
            // The one that is missed least gives.
            (&[(1, 10, 0, Some(0)), (2, 10, 100, Some(0)), (3, 10, 50, Some(0))][..], 2, Some(1)),
            // Not its last page.
            (&[(1, 1, 0, Some(0)), (2, 10, 100, Some(0)), (3, 10, 20, Some(0))], 2, Some(3)),
            // Not for a small difference.
            (&[(1, 1, 0, Some(0)), (2, 10, 100, Some(0)), (3, 10, 90, Some(0))], 2, None),
            // Per page.
            (&[(1, 100, 200, Some(0)), (2, 1, 100, Some(0)), (3, 10, 90, Some(0))], 2, Some(1)),
            // Not from one whose chunks are all held.
            (&[(1, 10, 0, None), (2, 10, 100, Some(0))], 2, None),
            // Without ghost hits by age.
            (&[(1, 10, 0, Some(9)), (2, 1, 0, Some(1)), (3, 10, 0, Some(30))], 2, Some(3)),
            (&[(1, 10, 0, Some(9)), (2, 1, 0, Some(8))], 2, None),
            (&[(1, 10, 0, Some(1)), (2, 1, 0, Some(0))], 2, None),
        ] {
            assert_eq!(donor(table, wanting), expected, "{table:?}");
        }
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut automove = Automove::default();
        let first = samples(&[(1, 10, 1000, Some(0)), (2, 10, 10, Some(0))]);
        assert_eq!(automove.donor(&first, test_class(2)), None);
        let mut hits = 10;
        let given = (0..100).find(|_| {
            hits += 10;
            let now = samples(&[(1, 10, 1000, Some(0)), (2, 10, hits, Some(0))]);
            automove.donor(&now, test_class(2)).is_some()
        });
        assert!(given.is_some_and(|rounds| (3..40).contains(&rounds)), "{given:?}");
    }
}
