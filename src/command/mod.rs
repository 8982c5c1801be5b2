//! The vocabulary: what a client can ask for and what can come of it, in no protocol's words.
//!
//! Protocols differ in how they ask and how they are answered, never in what happens. How to answer is a
//! [`ReplyShape`], which only the protocol reads; what happened is an [`Outcome`].

pub mod arithmetic;
pub mod control;
pub mod execute;
pub mod exposition;
pub mod meta;
pub mod observe;
pub mod report;
pub mod tell;

pub use crate::events::Kinds;
pub use crate::settings::{Automove, LruMode, Protocol};
pub use crate::store::{ClassSet, Dumped, Leased, Lifetimes, Marks, MetaView, Receipt, Step, Value, View};
pub use meta::{MetaCommand, MetaCount, MetaDelete, MetaGet, MetaOutcome, StoreTerms};

use crate::auth::Auth;
use crate::clock::{Clock, Now};
use crate::limits::OPAQUE_LEN_MAX;
use crate::settings::Settings;
use crate::stats::Registry;
use crate::store::{Local, Store};
use crate::tls::Tls;

/// The version as clients are told it: the release of memcached whose protocol this is, so that clients that switch
/// features on by number find what they expect (they stop reading at the first dash), then our own name and number.
pub const VERSION: &str = concat!("1.6.45-slabd-", env!("CARGO_PKG_VERSION"));

/// One thing to do. Keys are borrowed from the input; there are no value bytes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Read one key; a multi-key get is one of these per key, then [`Command::EndOfKeys`]. `touch` gives the item a
    /// new lifetime as well (gat, gats).
    Get {
        /// 1 to 250 bytes.
        key: &'a [u8],
        /// The `exptime` as the client wrote it.
        touch: Option<i64>,
    },
    /// The end of a multi-key get.
    EndOfKeys,
    /// Read one key; who finds no good value may be told to make one.
    Lease {
        /// 1 to 250 bytes.
        key: &'a [u8],
    },
    /// Tell what is known of an item.
    Describe {
        /// 1 to 250 bytes.
        key: &'a [u8],
    },
    /// Say that all before has been answered.
    Noop,
    /// Store a value that follows in the input.
    Store(StoreRequest<'a>),
    /// Remove a key.
    Delete {
        /// 1 to 250 bytes.
        key: &'a [u8],
    },
    /// Count up or down.
    Arithmetic {
        /// 1 to 250 bytes.
        key: &'a [u8],
        /// Up or down.
        direction: Direction,
        /// By how much.
        delta: u64,
    },
    /// Give an item a new lifetime.
    Touch {
        /// 1 to 250 bytes.
        key: &'a [u8],
        /// The `exptime` as the client wrote it.
        exptime: i64,
    },
    /// Drop everything, now or at a later time.
    FlushAll {
        /// As the client wrote it: 0 or less is now, otherwise an `exptime`.
        delay: i64,
    },
    /// Say which version this is.
    Version,
    /// Set the log level.
    Verbosity {
        /// 0 for warnings, 1 and 2 for more.
        level: u32,
    },
    /// Tell numbers.
    Stats(StatsTopic),
    /// Queue items for eviction another way.
    Lru(LruCommand),
    /// What the maintainer is to do, or how.
    Maintain(MaintainCommand),
    /// Have more memory for items, or less.
    MemoryLimit {
        /// In megabytes.
        mb: u64,
    },
    /// Answer by more than fits one answer.
    Stream(StreamRequest),
    /// End the daemon; none: what was there for how to is nothing.
    Shutdown(Option<Shutdown>),
    /// What tests want.
    #[cfg(feature = "debug-commands")]
    Debug(DebugCommand<'a>),
    /// Close the connection, politely.
    Quit,
    /// Read certificates and keys again.
    RefreshCerts,
    /// Close the connection without a word, once what is owed is written: another protocol's request, a line without end.
    Abort,
    /// The request was refused by its parser; answer so.
    Refused(WireError),
}

impl Command<'_> {
    /// Whether it concerns the whole daemon, and not one key.
    #[must_use]
    pub fn is_administrative(&self) -> bool {
        #[cfg(feature = "debug-commands")]
        if matches!(self, Self::Debug(_)) {
            return true;
        }
        matches!(
            self,
            Self::FlushAll { .. }
                | Self::Verbosity { .. }
                | Self::Stats(_)
                | Self::Lru(_)
                | Self::Maintain(_)
                | Self::MemoryLimit { .. }
                | Self::RefreshCerts
                | Self::Stream(_)
                | Self::Shutdown(_)
        )
    }
}

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

/// Which way to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// incr: wraps at 2^64.
    Up,
    /// decr: stops at 0.
    Down,
}

/// A value to store, announced; its bytes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreRequest<'a> {
    /// Under which condition.
    pub verb: StoreVerb,
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// The client's own 32 bits.
    pub flags: u32,
    /// As the client wrote it.
    pub exptime: i64,
    /// Bytes of the value, its terminator not counted.
    pub value_len: usize,
}

/// When to store, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreVerb {
    /// Always.
    Set,
    /// If the key is not there.
    Add,
    /// If the key is there.
    Replace,
    /// Behind the value that is there; keeps its flags and lifetime.
    Append,
    /// Before the value that is there; keeps its flags and lifetime.
    Prepend,
    /// If the item still has this CAS number.
    Cas(u64),
    /// The same; a lower one makes the value a stale one.
    CasOrStale(u64),
    /// If this is the token of the lease on the key.
    Lease(u64),
}

/// Counting, with all that can be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Up or down.
    pub direction: Direction,
    /// By how much.
    pub delta: u64,
    /// If the item has this CAS number.
    pub compare: Option<u64>,
    /// What a key that is not there becomes; none: it stays away.
    pub initial: Option<Initial>,
}

/// A number to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initial {
    /// The number.
    pub number: u64,
    /// As the client wrote it.
    pub exptime: i64,
}

/// How to answer. Filled by a protocol's parser, read by the same protocol's encoder only; small and owned, because it
/// outlives the request line while a value arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyShape {
    /// Say nothing (`noreply`), errors of the request itself included, as memcached does.
    pub quiet: bool,
    /// Name the CAS number of hits (gets, gats).
    pub with_cas: bool,
    /// As a meta command asks, which `quiet` does not concern.
    pub meta: Option<MetaShape>,
    /// What a meta command wants echoed.
    pub opaque: Opaque,
}

/// How to answer a meta command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaShape {
    /// What to tell, in order: codes of four bits, the first lowest.
    pub told: u64,
    /// Say nothing if all is as expected.
    pub hushed: bool,
    /// Tell the value.
    pub value: bool,
    /// The key came in base64.
    pub key_is_base64: bool,
}

/// A client's own mark on a request, to be echoed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opaque {
    len: u8,
    bytes: [u8; OPAQUE_LEN_MAX],
}

impl Opaque {
    /// Of these bytes, unless they are too many.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; OPAQUE_LEN_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self { len: u8::try_from(text.len()).ok()?, bytes })
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

const _: () = assert!(size_of::<ReplyShape>() <= 64);

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
    /// Nothing yet: it takes long, and has to wait ([`Local::puts_off`]).
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

/// Where answers go: a connection's outbox, or a `Vec<u8>` in tests. The one trait of the data path.
pub trait Out {
    /// Makes sure that `len` more bytes can be added without an allocation. Called before a lock is taken.
    fn make_room(&mut self, len: usize);

    /// Adds bytes.
    fn bytes(&mut self, bytes: &[u8]);

    /// Adds a value: copies a borrowed one, keeps a pinned one until it is written.
    fn value(&mut self, value: Value<'_>);

    /// Bytes added and not yet written, pinned values included.
    fn pending_len(&self) -> usize;
}

/// What the whole daemon shares, made once at start-up.
#[derive(Debug)]
pub struct Daemon {
    /// Where it lives.
    pub store: Store,
    /// What the operator asked for.
    pub settings: Settings,
    /// Where the time comes from.
    pub clock: Clock,
    /// All threads' counters.
    pub stats: Registry,
    /// Who may use it; everybody if there is none.
    pub auth: Option<Auth>,
    /// What listeners of TLS show and ask; none if there are none.
    pub tls: Option<Tls>,
}

/// What a thread that executes commands has at hand, for one turn.
#[derive(Debug)]
pub struct Context<'a> {
    /// The whole daemon.
    pub daemon: &'a Daemon,
    /// What this thread owns of the store: its chunks, CAS numbers and counters.
    pub local: &'a mut Local,
    /// The time, for this turn.
    pub now: Now,
    /// Whether what concerns the whole daemon (its statistics, its settings, all its items) may be asked for.
    pub admin: bool,
}
