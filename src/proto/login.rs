//! How a client of the text protocol logs in, as in memcached's `-Y`: with a `set` as its first request, whose value is `user password`.
//!
//! Key, flags and lifetime mean nothing, and an answer is given even if none is wanted. The value is what stands between the line's end
//! and `\r\n`; between user and password are blanks. Pure.

use super::line::Words;
use crate::command::WireError;
use crate::limits::{AUTH_TOKEN_LEN_MAX, LINE_LEN_MAX};

/// What a client that is not known yet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login<'a> {
    /// The input ends before it is clear.
    Partial,
    /// A user and what is to prove it; and how many bytes that was.
    Token {
        /// Who.
        user: &'a [u8],
        /// The rest of the value, blanks around it left out.
        secret: &'a [u8],
        /// Bytes of the input it takes.
        used: usize,
    },
    /// Something else, which is answered so; and how many bytes that was.
    Refused(WireError, usize),
    /// Longer than any login: nothing behind it is looked at.
    TooLong,
}

const TERMINATOR: &[u8] = b"\r\n";

/// Reads what an unknown client says.
#[must_use]
pub fn login(input: &[u8]) -> Login<'_> {
    let Some(newline) = memchr::memchr(b'\n', &input[..input.len().min(LINE_LEN_MAX + 1)]) else {
        return if input.len() > LINE_LEN_MAX { Login::TooLong } else { Login::Partial };
    };
    let (line, behind) = input.split_at(newline + 1);
    let Some(value_len) = line.strip_prefix(b"set").filter(|rest| rest.starts_with(b" ")).and_then(value_len) else {
        return Login::Refused(WireError::Unauthenticated, line.len());
    };
    if value_len > AUTH_TOKEN_LEN_MAX as u64 {
        return Login::TooLong;
    }
    let value_len = usize::try_from(value_len).unwrap_or(AUTH_TOKEN_LEN_MAX);
    let whole_len = value_len + TERMINATOR.len();
    let Some(whole) = behind.get(..whole_len) else { return Login::Partial };
    let (value, terminator) = whole.split_at(value_len);
    let used = line.len() + whole_len;
    if terminator != TERMINATOR {
        return Login::Refused(WireError::BadLoginEnd, used);
    }
    let token = value.trim_ascii();
    match memchr::memchr(b' ', token) {
        Some(blank) => Login::Token { user: &token[..blank], secret: token[blank..].trim_ascii_start(), used },
        None => Login::Refused(WireError::BadLogin, used),
    }
}

/// The announced length, from the key on. Up to two words may follow it.
fn value_len(rest: &[u8]) -> Option<u64> {
    let mut words = Words::new(rest);
    let (_key, _flags, _exptime) = (words.word()?, words.word()?, words.word()?);
    let value_len = words.unsigned()?;
    let _noreply = words.word();
    (!words.more()).then_some(value_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_a_set_and_everything_else_is_refused() {
        let token = |user, secret, used| Login::Token { user, secret, used };
        let other = |used| Login::Refused(WireError::Unauthenticated, used);
        let long = format!("set x 0 0 {}\r\n", AUTH_TOKEN_LEN_MAX + 1);
        let huge = "x".repeat(LINE_LEN_MAX + 1);
        for (input, want) in [
            ("set x 0 0 7\r\nfoo bar\r\nget a\r\n", token(b"foo", b"bar", 22)),
            ("set x y z 7\nfoo bar\r\n", token(b"foo", b"bar", 21)),
            ("set x 0 0 7 noreply\r\nfoo bar\r\n", token(b"foo", b"bar", 30)),
            ("set x 0 0 13\r\nfoo  bar baz \r\n", token(b"foo", b"bar baz", 29)),
            ("set x 0 0 4\r\nfoo \r\n", Login::Refused(WireError::BadLogin, 19)),
            ("set x 0 0 0\r\n\r\n", Login::Refused(WireError::BadLogin, 15)),
            ("set x 0 0 7\r\nfoo barXX", Login::Refused(WireError::BadLoginEnd, 22)),
            ("set x 0 0 7\r\nfoo bar\r", Login::Partial),
            ("set x 0 0 7", Login::Partial),
            ("", Login::Partial),
            ("get a\r\nget b\r\n", other(7)),
            ("\r\n", other(2)),
            ("set\r\n", other(5)),
            ("set x 0 0 -1\r\n", other(14)),
            ("set x 0 0 7 a b\r\n", other(17)),
            ("add x 0 0 7\r\nfoo bar\r\n", other(13)),
            ("\u{80}\n", other(3)),
            (&long, Login::TooLong),
            (&huge, Login::TooLong),
            (&huge[1..], Login::Partial),
        ] {
            assert_eq!(login(input.as_bytes()), want, "{input:.40}");
        }
    }
}
