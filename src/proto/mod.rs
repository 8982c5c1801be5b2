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

pub mod binary;
mod line;
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
        WireError::NonNumericValue => b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        WireError::TooLarge => b"SERVER_ERROR object too large for cache\r\n",
        WireError::OutOfMemory => b"SERVER_ERROR out of memory storing object\r\n",
        WireError::OutOfMemoryIncr => b"SERVER_ERROR out of memory\r\n",
        WireError::LruShares => b"ERROR hot and warm pcts must not exceed 80\r\n",
        WireError::LruFactors => b"ERROR hot/warm age factors must be greater than 0\r\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_line_of_a_known_kind() {
        let errors = [
            WireError::UnknownCommand,
            WireError::BadCommandLine,
            WireError::BadExptime,
            WireError::BadDelta,
            WireError::BadDeleteUsage,
            WireError::BadDataChunk,
            WireError::NonNumericValue,
            WireError::TooLarge,
            WireError::OutOfMemory,
            WireError::OutOfMemoryIncr,
            WireError::LruShares,
            WireError::LruFactors,
        ];
        for error in errors {
            let line = error_line(error);
            assert_eq!(line.iter().position(|&b| b == b'\n'), Some(line.len() - 1), "{error:?}");
            assert!(line.ends_with(b"\r\n"), "{error:?}");
            let kinds: [&[u8]; 4] = [b"ERROR\r\n", b"ERROR ", b"CLIENT_ERROR ", b"SERVER_ERROR "];
            assert!(kinds.iter().any(|kind| line.starts_with(kind)), "{error:?}");
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
