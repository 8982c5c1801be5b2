//! Bytes to vocabulary and back, and nothing else.
//!
//! ```text
//!   input bytes ──parse──▶ Request = Command + ReplyShape        Outcome + ReplyShape ──encode──▶ output bytes
//! ```
//!
//! A protocol is two pure functions that face each other in one file: `parse` borrows from the input and never copies,
//! `encode` appends to an [`Out`](crate::command::Out). There is no store, no socket, no clock and no allocation here, so a
//! protocol can be tested as a table and fuzzed without a server.
//!
//! No input is an error to this room: what a client got wrong is a [`Command::Refused`] or a [`Command::Abort`] like any
//! other command, and only a request that has not arrived in full is [`Parsed::Partial`].

mod admin;
pub mod binary;
pub mod dump;
mod lease;
mod line;
pub mod login;
pub mod meta;
pub mod sasl;
pub mod text;

pub use crate::command::VERSION;
use crate::command::{Command, ReplyShape, WireError};

/// What a parser made of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// One thing was read.
    Complete {
        /// Bytes of the input that it took; at most the input's length.
        used: usize,
        /// What it was.
        value: T,
    },
    /// The input is the beginning of something; come back with more behind it.
    Partial,
}

/// One thing to do, and how to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What to do.
    pub command: Command<'a>,
    /// How to answer.
    pub reply: ReplyShape,
}

/// The line that tells a client of the text protocol why it was refused, its end included.
#[must_use]
pub const fn error_line(error: WireError) -> &'static [u8] {
    match error {
        WireError::UnknownCommand => b"ERROR\r\n",
        WireError::BadCommandLine => b"CLIENT_ERROR bad command line format\r\n",
        WireError::BadExptime => b"CLIENT_ERROR invalid exptime argument\r\n",
        WireError::BadDelta => b"CLIENT_ERROR invalid numeric delta argument\r\n",
        // Two blanks: memcached's.
        WireError::BadDeleteUsage => b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n",
        WireError::BadDataChunk => b"CLIENT_ERROR bad data chunk\r\n",
        WireError::BadDetailUsage => b"CLIENT_ERROR usage: stats detail on|off|dump\r\n",
        WireError::NonNumericValue => b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        WireError::TooLarge => b"SERVER_ERROR object too large for cache\r\n",
        WireError::OutOfMemory => b"SERVER_ERROR out of memory storing object\r\n",
        WireError::OutOfMemoryIncr => b"SERVER_ERROR out of memory\r\n",
        WireError::OutOfMemoryStats => b"SERVER_ERROR out of memory writing stats\r\n",
        WireError::OutOfMemoryReading => b"SERVER_ERROR out of memory reading request\r\n",
        WireError::Unauthenticated => b"CLIENT_ERROR unauthenticated\r\n",
        WireError::AuthFailure => b"CLIENT_ERROR authentication failure\r\n",
        WireError::BadLogin => b"CLIENT_ERROR bad authentication token format\r\n",
        WireError::BadLoginEnd => b"CLIENT_ERROR bad command line termination\r\n",
        WireError::InvalidFlag => b"CLIENT_ERROR invalid flag\r\n",
        WireError::DuplicateFlag => b"CLIENT_ERROR duplicate flag\r\n",
        WireError::InvalidOrDuplicateFlag => b"CLIENT_ERROR invalid or duplicate flag\r\n",
        WireError::TooManyFlags => b"CLIENT_ERROR options flags are too long\r\n",
        WireError::BadToken => b"CLIENT_ERROR bad token in command line format\r\n",
        WireError::BadDeltaFlag => b"CLIENT_ERROR invalid numeric delta value\r\n",
        WireError::BadInitial => b"CLIENT_ERROR invalid numeric initial value\r\n",
        WireError::OpaqueTooLong => b"CLIENT_ERROR opaque token too long\r\n",
        WireError::BadKeyEncoding => b"CLIENT_ERROR error decoding key\r\n",
        WireError::BadStoreMode => b"CLIENT_ERROR invalid mode for ms M token\r\n",
        WireError::BadCountMode => b"CLIENT_ERROR invalid mode for ma M token\r\n",
        WireError::LruShares => b"ERROR hot and warm pcts must not exceed 80\r\n",
        WireError::LruFactors => b"ERROR hot/warm age factors must be greater than 0\r\n",
        WireError::ReassignBusy => b"BUSY currently processing reassign request\r\n",
        WireError::ReassignBadClass => b"BADCLASS invalid src or dst class id\r\n",
        WireError::ReassignNoSpare => b"NOSPARE source class has no spare pages\r\n",
        WireError::ReassignSame => b"SAME src and dst class are identical\r\n",
        WireError::ReassignDisabled => b"CLIENT_ERROR slab reassignment disabled\r\n",
        WireError::AutomoveWindow => b"CLIENT_ERROR automove window too low or too high (3..1800)\r\n",
        WireError::CrawlerDisabled => b"CLIENT_ERROR lru crawler disabled\r\n",
        WireError::CrawlerRunning => b"ERROR failed to start lru crawler thread\r\n",
        WireError::CrawlerSleep => b"CLIENT_ERROR sleep must be one second or less\r\n",
        WireError::CrawlBusy => b"BUSY currently processing crawler request\r\n",
        WireError::CrawlBadClass => b"BADCLASS invalid class id\r\n",
        WireError::CrawlNothing => b"NOTSTARTED no items to crawl\r\n",
        WireError::DumpDisabled => b"ERROR metadump not allowed\r\n",
        WireError::KeyDumpDisabled => b"ERROR key dump not allowed\r\n",
        WireError::ListingDisabled => b"CLIENT_ERROR stats cachedump not allowed\r\n",
        WireError::ListingUsage => b"CLIENT_ERROR bad command line\r\n",
        WireError::ListingBadClass => b"CLIENT_ERROR Illegal slab id\r\n",
        WireError::WatchDisabled => b"CLIENT_ERROR watch commands not allowed\r\n",
        WireError::TooManyWatchers => b"WATCHER_TOO_MANY log watcher limit reached\r\n",
        WireError::FlushDisabled => b"CLIENT_ERROR flush_all not allowed\r\n",
        WireError::ShutdownDisabled => b"SERVER_ERROR: shutdown not enabled\r\n",
        WireError::ShutdownMode => b"CLIENT_ERROR invalid shutdown mode\r\n",
        #[cfg(feature = "debug-commands")]
        WireError::DebugMiss => b"MISS\r\n",
        WireError::MemoryLimitTooSmall => b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n",
        WireError::MemoryLimitInBytes => b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n",
        WireError::MemoryLimitOutOfBounds => b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n",
        WireError::TlsDisabled => b"Error TLS not enabled\r\n",
        WireError::TlsChain => b"Error loading the certificate chain\r\n",
        WireError::TlsKey => b"Error loading the key\r\n",
        WireError::TlsClientCa => b"Error loading the CA certificate\r\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_line_of_a_known_kind() {
        // The compiler sees to it that each error has an arm above; so all lines are there.
        let code = include_str!("mod.rs").split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines: Vec<&str> = code.lines().filter_map(|line| line.trim().strip_prefix("WireError::")).collect();
        assert!(lines.len() > 50, "{lines:?}");
        for arm in lines {
            let line = arm.split_once(" => b\"").unwrap().1.strip_suffix("\",").unwrap();
            let said = line.strip_suffix("\\r\\n").unwrap_or_else(|| panic!("{arm}"));
            assert!(said.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\'), "{arm}");
            // What memcached says to an operator has kinds of its own, in capitals like these.
            let kind = said.split([' ', ':']).next().unwrap();
            let is_kind = kind.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') && !kind.is_empty();
            assert!(is_kind || kind == "Error", "{arm}");
        }
    }

    #[test]
    fn the_version_begins_with_three_numbers_that_clients_can_compare() {
        let number = VERSION.split('-').next().unwrap();
        let parts: Vec<u32> = number.split('.').map(|part| part.parse().unwrap()).collect();
        assert_eq!(parts, [1, 6, 45]);
        assert!(!VERSION.contains(' '));
    }
}
