//! What a client asks for, in no protocol's words: the command, and what belongs to it.
//!
//! Keys are borrowed from the input, and a value's bytes are not here: they follow, and go from the socket to their chunk. What is asked
//! of the whole daemon rather than of a key is in `admin.rs`; how the client wants to be answered, in `reply.rs`.

#[cfg(feature = "debug-commands")]
use super::DebugCommand;
use super::{LruCommand, MaintainCommand, Shutdown, StatsTopic, StreamRequest, WireError};

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
