//! incr and decr: what a stored number becomes. Pure: bytes in, bytes out.
//!
//! ```text
//!   value before      "100"                  value after decr by 99      "1  "
//!   value before      "99 "                  value after incr by 1       "100"
//!   value before      "99"                   value after incr by 1       "100"   longer than before
//! ```
//!
//! A value never gets shorter: memcached overwrites the digits in place and fills up with blanks, and clients know. It
//! gets longer only when the digits need it; then the store has to find a new chunk.
//!
//! What counts as a number is what C's `strtoull` reads: whitespace, a plus, digits; then the end of the value, or
//! whitespace or a NUL and anything behind it (`1 0` counts as 1, and what was behind it is gone). More than 64 bits is
//! no number. A minus is refused (memcached takes `-0`, which nobody stores). Up wraps at 2^64, down stops at 0.

use super::{Direction, WireError};

/// What a value becomes: its digits, and blanks behind them as far as it was longer, which are the store's to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    number: u64,
    /// The decimal digits of `number`, at the front.
    digits: [u8; DIGITS_MAX],
    /// 1 to [`DIGITS_MAX`].
    digits_len: usize,
}

/// Counts `value` up or down by `delta`.
///
/// # Errors
///
/// [`WireError::NonNumericValue`] if the value is no number.
pub fn apply(value: &[u8], direction: Direction, delta: u64) -> Result<Counted, WireError> {
    let before = number(value).ok_or(WireError::NonNumericValue)?;
    let number = match direction {
        Direction::Up => before.wrapping_add(delta),
        Direction::Down => before.saturating_sub(delta),
    };
    let mut text = itoa::Buffer::new();
    let text = text.format(number).as_bytes();
    let mut digits = [0; DIGITS_MAX];
    digits[..text.len()].copy_from_slice(text);
    Ok(Counted { number, digits, digits_len: text.len() })
}

impl Counted {
    /// The new number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The digits of the new number; 1 to 20 of them.
    #[must_use]
    pub fn digits(&self) -> &[u8] {
        &self.digits[..self.digits_len]
    }
}

fn number(value: &[u8]) -> Option<u64> {
    let start = value.iter().position(|&b| !is_space(b))?;
    let word = &value[start..];
    let word = word.strip_prefix(b"+").unwrap_or(word);
    let mut number = 0_u64;
    for (len, &byte) in word.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (len > 0 && (is_space(byte) || byte == 0)).then_some(number);
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (!word.is_empty()).then_some(number)
}

/// C's `isspace` in the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Digits of the largest number.
const DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_count_as_memcached_counts_them() {
        use Direction::{Down, Up};
        let table: [(&[u8], Direction, u64, &[u8]); 21] = [
            (b"10", Up, 1, b"11"),
            (b"9", Up, 1, b"10"),
            (b"99 ", Up, 1, b"100"),
            (b" 10", Up, 1, b"11"),
            (b"10 ", Up, 1, b"11"),
            (b"1 0", Up, 1, b"2"),
            (b"\t10", Up, 1, b"11"),
            (b"10\r", Up, 1, b"11"),
            (b"10\0", Up, 1, b"11"),
            (b"+10", Up, 1, b"11"),
            (b"007", Up, 1, b"8"),
            (b"18446744073709551615", Up, 1, b"0"),
            (b"0000000000000000000001", Up, 1, b"2"),
            (b"1                              ", Up, 1, b"2"),
            (b"10", Up, u64::MAX, b"9"),
            (b"0", Up, u64::MAX, b"18446744073709551615"),
            (b"10", Down, 1, b"9"),
            (b"0", Down, 1, b"0"),
            (b"5", Down, u64::MAX, b"0"),
            (b"100", Down, 99, b"1"),
            (b"10000000000000000000", Down, 1, b"9999999999999999999"),
        ];
        for (value, direction, delta, after) in table {
            let counted = apply(value, direction, delta).unwrap();
            assert_eq!(counted.digits(), after, "{value:?}");
            assert_eq!(counted.number().to_string().as_bytes(), after, "{value:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_left_alone() {
        let table: [&[u8]; 12] = [
            b"",
            b" ",
            b"xx",
            b"10x",
            b"-10",
            b"-0",
            b"+",
            b"+ 1",
            b"\x001",
            b"18446744073709551616",
            b"99999999999999999999",
            b"1.5",
        ];
        for value in table {
            assert_eq!(apply(value, Direction::Up, 1), Err(WireError::NonNumericValue), "{value:?}");
        }
    }

    #[test]
    fn any_number_counts_up_and_down() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let before = random.u64(..) >> random.u32(0..64);
            let delta = random.u64(..) >> random.u32(0..64);
            let mut value = before.to_string().into_bytes();
            value.resize(value.len() + random.usize(0..5), b' ');
            let up = apply(&value, Direction::Up, delta).unwrap();
            assert_eq!(up.number(), before.wrapping_add(delta));
            let down = apply(up.digits(), Direction::Down, delta).unwrap();
            assert_eq!(down.number(), up.number().saturating_sub(delta));
        }
    }
}
