//! How a client of the binary protocol logs in: SASL's PLAIN (RFC 4616), by memcached's opcodes.
//!
//! ```text
//!   SASL list            ──►  "PLAIN"
//!   SASL auth  key PLAIN, value [somebody] NUL user NUL password  ──►  "Authenticated", or status 0x20
//! ```
//!
//! PLAIN takes one step, so the opcode for further steps is never right. Whom the client wants to act for is not looked at, as in
//! memcached. Pure.

use super::binary::{Echo, HEADER_LEN, REQUEST_MAGIC, SASL_AUTH, SASL_LIST};
use crate::limits::{AUTH_TOKEN_LEN_MAX, KEY_LEN_MAX};

/// What a client that is not known yet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sasl<'a> {
    /// The input ends before it is clear.
    Partial,
    /// No packet at all.
    Foreign,
    /// Asks which mechanisms there are; and how many bytes that was.
    Mechanisms(Echo, usize),
    /// A user and what is to prove it.
    Plain {
        /// What the answer repeats.
        echo: Echo,
        /// Who.
        user: &'a [u8],
        /// The password.
        secret: &'a [u8],
        /// Bytes of the input it takes.
        used: usize,
    },
    /// A login by another mechanism, or one that is none; and how many bytes that was.
    Failed(Echo, usize),
    /// Anything else, or longer than any login: nothing behind it is looked at.
    Stranger(Echo),
}

/// The mechanisms there are, separated by blanks.
pub const MECHANISMS: &[u8] = b"PLAIN";

/// Reads what an unknown client says.
#[must_use]
pub fn sasl(input: &[u8]) -> Sasl<'_> {
    if input.first().is_some_and(|magic| *magic != REQUEST_MAGIC) {
        return Sasl::Foreign;
    }
    let Some((header, body)) = input.split_first_chunk::<HEADER_LEN>() else { return Sasl::Partial };
    let echo = Echo::of(header);
    let key_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let extras_len = header[4];
    let body_len = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
    match echo.opcode() {
        SASL_LIST if body_len == 0 && key_len == 0 && extras_len == 0 => Sasl::Mechanisms(echo, HEADER_LEN),
        SASL_AUTH
            if extras_len == 0
                && (1..=KEY_LEN_MAX.min(body_len)).contains(&key_len)
                && body_len - key_len <= AUTH_TOKEN_LEN_MAX =>
        {
            let Some(body) = body.get(..body_len) else { return Sasl::Partial };
            let (mechanism, message) = body.split_at(key_len);
            let used = HEADER_LEN + body_len;
            let mut parts = message.splitn(3, |byte| *byte == 0);
            match (mechanism == MECHANISMS, parts.next(), parts.next(), parts.next()) {
                (true, Some(_), Some(user), Some(secret)) => Sasl::Plain { echo, user, secret, used },
                _ => Sasl::Failed(echo, used),
            }
        }
        _ => Sasl::Stranger(echo),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(opcode: u8, key: &[u8], extras_len: u8, value: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; HEADER_LEN];
        packet[0] = REQUEST_MAGIC;
        packet[1] = opcode;
        packet[2..4].copy_from_slice(&u16::try_from(key.len()).unwrap().to_be_bytes());
        packet[4] = extras_len;
        packet[8..12].copy_from_slice(&u32::try_from(key.len() + value.len()).unwrap().to_be_bytes());
        [&packet, key, value].concat()
    }

    #[test]
    fn a_login_is_plain_and_everything_else_is_not() {
        let whole = packet(SASL_AUTH, b"PLAIN", 0, b"me\0foo\0b\0r");
        let echo = Echo::of(whole.first_chunk().unwrap());
        let used = whole.len();
        assert_eq!(sasl(&[&whole[..], b"more"].concat()), Sasl::Plain { echo, user: b"foo", secret: b"b\0r", used });
        for len in 0..used {
            assert_eq!(sasl(&whole[..len]), Sasl::Partial, "{len} bytes");
        }
        let long = packet(SASL_AUTH, b"PLAIN", 0, &[0; AUTH_TOKEN_LEN_MAX + 1]);
        for (packet, stranger) in [
            (packet(SASL_AUTH, b"CRAM-MD5", 0, b"\0foo\0bar"), false),
            (packet(SASL_AUTH, b"PLAIN", 0, b"\0foo"), false),
            (packet(SASL_AUTH, b"PLAIN", 0, b""), false),
            (packet(SASL_AUTH, b"PLAIN", 1, b"\0foo\0bar"), true),
            (packet(SASL_AUTH, b"", 0, b"\0foo\0bar"), true),
            (packet(0x22, b"PLAIN", 0, b"\0foo\0bar"), true),
            (packet(SASL_LIST, b"x", 0, b""), true),
            (packet(0x00, b"key", 0, b""), true),
            (packet(0x0b, b"", 0, b""), true),
            (long, true),
        ] {
            let echo = Echo::of(packet.first_chunk().unwrap());
            let want = if stranger { Sasl::Stranger(echo) } else { Sasl::Failed(echo, packet.len()) };
            assert_eq!(sasl(&packet), want, "{packet:?}");
        }
        assert_eq!(sasl(b"get a\r\n"), Sasl::Foreign);
        assert!(matches!(sasl(&packet(SASL_LIST, b"", 0, b"")), Sasl::Mechanisms(_, HEADER_LEN)));
    }
}
