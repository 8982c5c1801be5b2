//! What came of a command, in no protocol's words: an encoder makes bytes of it.
//!
//! A view of an item is good for as long as its bucket is locked, that is until the answer is encoded.

use super::{Leased, MetaView, View};

/// What happened.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// Found; the view is good until the answer is encoded.
    Hit(View<'a>),
    /// Not found, while reading.
    Miss,
    /// The end of a multi-key get.
    EndOfKeys,
    /// What came of asking for a lease.
    Leased(Leased<'a>),
    /// What is known of an item.
    Described(MetaView<'a>),
    /// There is nothing else to say.
    Noop,
    /// Stored.
    Stored,
    /// Stored, though it is stale.
    StoredStale,
    /// The verb's condition did not hold.
    NotStored,
    /// cas: the item has changed.
    Exists,
    /// The key is not there: cas, delete, touch, incr, decr.
    NotFound,
    /// Removed.
    Deleted,
    /// Has its new lifetime.
    Touched,
    /// incr, decr: the new number.
    Number(u64),
    /// Done; nothing else to say.
    Done,
    /// `stats reset` is done.
    Reset,
    /// Which version this is.
    Version,
    /// Numbers, by name.
    Report(Report),
    /// A line, with nothing behind it: how memcached answers `stats sizes_enable`.
    Rows(Report),
    /// Uses by prefix, a line each.
    Prefixes(Vec<u8>),
    /// Refused: by the parser, or by the store.
    Refused(WireError),
    /// Nothing yet: it takes long, and has to wait ([`crate::store::Local::puts_off`]).
    Later,
    /// No answer: close the connection (after what is already owed has been written).
    Close,
}

/// Rows of `stats`: name and value.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order they are told.
    pub rows: Vec<(String, String)>,
}

impl Report {
    /// Adds a row.
    pub fn push(&mut self, name: impl Into<String>, value: impl ToString) {
        self.rows.push((name.into(), value.to_string()));
    }
}

/// Why a request is refused. Each protocol has its own words; text's are in `proto/mod.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// No such command, or too few or too many words.
    UnknownCommand,
    /// A word of the line cannot be what it should be.
    BadCommandLine,
    /// A lifetime that is no number.
    BadExptime,
    /// incr, decr by something that is no number.
    BadDelta,
    /// delete with words it does not take.
    BadDeleteUsage,
    /// A value that is not followed by its terminator.
    BadDataChunk,
    /// stats detail with words it does not take.
    BadDetailUsage,
    /// incr, decr of a value that is no number.
    NonNumericValue,
    /// Larger than `-I`, or than any chunk.
    TooLarge,
    /// No chunk to be had.
    OutOfMemory,
    /// incr, decr, append or prepend that needed a new chunk and got none.
    OutOfMemoryIncr,
    /// Answers that clients have not taken leave no room for a long one.
    OutOfMemoryStats,
    /// What others have sent of long requests leaves no room for another.
    OutOfMemoryReading,
    /// Not logged in yet.
    Unauthenticated,
    /// The password is not the user's, or there is no such user.
    AuthFailure,
    /// A login that is not `user password`.
    BadLogin,
    /// A login that is not followed by its terminator.
    BadLoginEnd,
    /// A flag that no meta command knows.
    InvalidFlag,
    /// A flag twice.
    DuplicateFlag,
    /// ma: one of those, or a flag's number is none.
    InvalidOrDuplicateFlag,
    /// More flags than there may be.
    TooManyFlags,
    /// A flag's number is none.
    BadToken,
    /// A delta that is no number, in a flag.
    BadDeltaFlag,
    /// A first value that is no number.
    BadInitial,
    /// More than may be echoed.
    OpaqueTooLong,
    /// A key that is no base64.
    BadKeyEncoding,
    /// ms: no such mode.
    BadStoreMode,
    /// ma: no such mode.
    BadCountMode,
    /// lru tune: HOT and WARM would leave nothing for COLD.
    LruShares,
    /// lru tune: a factor that is not above 0.
    LruFactors,
    /// slabs reassign: one is under way.
    ReassignBusy,
    /// slabs reassign: no such class.
    ReassignBadClass,
    /// slabs reassign: the giver needs what it has.
    ReassignNoSpare,
    /// slabs reassign: from a class to itself.
    ReassignSame,
    /// slabs reassign with `-o no_slab_reassign`.
    ReassignDisabled,
    /// slabs automove window: out of its bounds.
    AutomoveWindow,
    /// `lru_crawler crawl` while it is off.
    CrawlerDisabled,
    /// `lru_crawler enable` while it is on.
    CrawlerRunning,
    /// `lru_crawler sleep`: too long.
    CrawlerSleep,
    /// `lru_crawler crawl`: one is under way.
    CrawlBusy,
    /// `lru_crawler crawl`: no such class.
    CrawlBadClass,
    /// `lru_crawler crawl`: no class at all.
    CrawlNothing,
    /// metadump with `-X`.
    DumpDisabled,
    /// mgdump with `-X`.
    KeyDumpDisabled,
    /// `stats cachedump` with `-X`.
    ListingDisabled,
    /// `stats cachedump`: too few words.
    ListingUsage,
    /// `stats cachedump`: no such class.
    ListingBadClass,
    /// watch with `-W`.
    WatchDisabled,
    /// watch: too many do.
    TooManyWatchers,
    /// `flush_all` with `-F`.
    FlushDisabled,
    /// shutdown without `-A`.
    ShutdownDisabled,
    /// shutdown in a way that there is not.
    ShutdownMode,
    /// debugitem: not there.
    #[cfg(feature = "debug-commands")]
    DebugMiss,
    /// `cache_memlimit`: less than what works.
    MemoryLimitTooSmall,
    /// `cache_memlimit`: bytes, by the looks of it.
    MemoryLimitInBytes,
    /// `cache_memlimit`: more than address space was set aside for, or the memory is fixed (`-L`).
    MemoryLimitOutOfBounds,
    /// `refresh_certs`: there is no TLS.
    TlsDisabled,
    /// `refresh_certs`: the certificate, or what is above it.
    TlsChain,
    /// `refresh_certs`: the key.
    TlsKey,
    /// `refresh_certs`: the certificates by which clients' are judged.
    TlsClientCa,
}
