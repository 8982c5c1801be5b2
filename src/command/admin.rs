//! What is asked of the whole daemon: its numbers, its settings, its memory, all its items, its end.
//!
//! Only what can be said is here; who carries it out is `control.rs`, `observe.rs` or the session (long answers). Who may ask is the
//! context's `admin`: not those who send datagrams.

use super::{Automove, ClassSet, Kinds, LruMode};

/// What tests want, and nobody else may have.
#[cfg(feature = "debug-commands")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugCommand<'a> {
    /// The clock is to jump ahead.
    Jump(u32),
    /// It is to stand still.
    Pause,
    /// It is to go on.
    Resume,
    /// The bucket of a key is to be locked.
    Lock(&'a [u8]),
    /// It is to be unlocked.
    Unlock(&'a [u8]),
    /// A value is to be pinned.
    Pin(&'a [u8]),
    /// It is to be let go.
    Unpin(&'a [u8]),
}

/// What is answered by a stream of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRequest {
    /// All items of these classes; none: what was there for a class is none.
    Dump(DumpForm, Option<ClassSet>),
    /// So many items of a class, or (0) all, as far as they fit.
    Listing {
        /// By its number.
        class: u32,
        /// How many.
        limit: u32,
    },
    /// What happens.
    Watch(Kinds),
}

/// What a dump says of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpForm {
    /// All that is known.
    Meta,
    /// Its key, as a command that reads it.
    Keys,
}

/// How to end the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// As SIGINT does.
    Now,
    /// As SIGUSR1 does.
    Gracefully,
}

/// What `lru` is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LruCommand {
    /// The mode.
    Mode(LruMode),
    /// Shares in percent and factors of age; checked by who carries it out.
    Tune {
        /// Of HOT.
        hot_pct: u32,
        /// Of WARM.
        warm_pct: u32,
        /// Of HOT.
        hot_max_factor: Factor,
        /// Of WARM.
        warm_max_factor: Factor,
    },
    /// Items that live at most so many seconds go to TEMP; none: there is no TEMP.
    TempTtl(Option<u32>),
}

/// What the maintainer is told: `slabs`, `lru_crawler`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaintainCommand {
    /// Move a page from class to class by number; none: what was there for a number is none.
    Reassign(Option<(i32, i32)>),
    /// Move pages without being told, or do not.
    Automove(Automove),
    /// memcached's measure for that.
    AutomoveRatio(Factor),
    /// memcached's other one.
    AutomoveWindow(u32),
    /// Sweep dead items away in the background.
    EnableCrawler,
    /// Do not.
    DisableCrawler,
    /// Microseconds of rest between two steps of that.
    CrawlerSleep(u32),
    /// Items of a class looked at, at most, in one crawl; 0 is all.
    CrawlerToCrawl(u32),
    /// Sweep these classes now; none: what was there for a class is none.
    Crawl(Option<ClassSet>),
}

/// A factor as the client wrote it; compared by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor(u64);

impl From<f64> for Factor {
    fn from(factor: f64) -> Self {
        Self(factor.to_bits())
    }
}

impl From<Factor> for f64 {
    fn from(factor: Factor) -> Self {
        Self::from_bits(factor.0)
    }
}

/// What `stats` is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsTopic {
    /// `stats`
    General,
    /// `stats settings`
    Settings,
    /// `stats items`
    Items,
    /// `stats slabs`
    Slabs,
    /// `stats reset`
    Reset,
    /// `stats sizes`
    Sizes,
    /// `stats sizes_enable`, `stats sizes_disable`
    TrackSizes(bool),
    /// `stats conns`
    Conns,
    /// `stats detail`; none: a word that it does not know, or not one.
    Detail(Option<DetailCommand>),
    /// `stats latency`
    Latency(Watching),
    /// `stats hotkeys`
    Hotkeys(Watching),
}

impl StatsTopic {
    /// Whether it takes so long that others are served first: milliseconds, by how much there is to tell.
    #[must_use]
    pub fn is_costly(self) -> bool {
        matches!(self, Self::Sizes | Self::Conns | Self::Detail(Some(DetailCommand::Dump)))
    }
}

/// `stats detail ...`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetailCommand {
    /// Count uses by prefix, or do not.
    Turn(bool),
    /// Tell what has been counted.
    Dump,
}

/// What can be asked of what is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watching {
    /// What has been seen.
    Tell,
    /// To begin, or to stop.
    Turn(bool),
    /// To forget what has been seen.
    Reset,
}
