//! A line of text: where it ends, its words, its numbers.
//!
//! Words are separated by runs of blanks (0x20, nothing else); every other byte but the newline is part of a word, as
//! for memcached: tabs, control characters, NUL, anything above 0x7f. A lone newline ends a line; one carriage return
//! right before it belongs to the end, any other is part of a word.
//!
//! Words are cut one after the other while they are understood, so that no list of words exists. Their ends are
//! searched eight bytes at a time: a call to a wider search costs more than most words are long. Plain digits are read
//! and cut in the same walk; signs and numbers near 2^64 go a longer way. Not here: what any word means.

/// Where the first newline of `input` is, given that its first `scanned` bytes hold none.
#[inline]
pub(super) fn newline(input: &[u8], scanned: usize) -> Option<usize> {
    let from = scanned.min(input.len());
    let near = &input[from..input.len().min(from + NEAR_LEN)];
    let (eights, _) = near.as_chunks::<8>();
    for (index, eight) in eights.iter().enumerate() {
        let marks = marks(u64::from_le_bytes(*eight), b'\n');
        if marks != 0 {
            return Some(from + index * 8 + first_mark(marks));
        }
    }
    let searched = from + eights.len() * 8;
    memchr::memchr(b'\n', &input[searched..]).map(|at| searched + at)
}

/// A complete line without its end.
#[inline]
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Length of the word `bytes` begins with: up to the first blank or newline, or all of it.
#[inline]
pub(super) fn word_len(bytes: &[u8]) -> usize {
    let (eights, _) = bytes.as_chunks::<8>();
    for (index, eight) in eights.iter().enumerate() {
        let marks = end_marks(u64::from_le_bytes(*eight));
        if marks != 0 {
            return index * 8 + first_mark(marks);
        }
    }
    // The last eight bytes again, some of them seen already: those carry no mark, so the first mark is the right one.
    match bytes.last_chunk::<8>() {
        Some(last) => match end_marks(u64::from_le_bytes(*last)) {
            0 => bytes.len(),
            marks => bytes.len() - 8 + first_mark(marks),
        },
        None => short_word_len(bytes),
    }
}

/// [`word_len`] of fewer than eight bytes: rare, because something follows nearly every word.
#[inline(never)]
fn short_word_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|&b| b == b' ' || b == b'\n').unwrap_or(bytes.len())
}

/// A blank and 1 to 10 digits, as in nearly every line; and what is behind them. `None` means nothing: see [`Words`].
#[inline]
pub(super) fn plain_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let [b' ', digits @ ..] = bytes else {
        return None;
    };
    let mut number = 0_u64;
    let mut rest = digits;
    while let [byte, behind @ ..] = rest {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        rest = behind;
    }
    let digits_len = digits.len() - rest.len();
    if digits_len == 0 || digits_len > 10 { None } else { Some((number, rest)) }
}

/// Number of blanks `bytes` begins with.
#[inline]
pub(super) fn blanks_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|&b| b != b' ').unwrap_or(bytes.len())
}

/// Whether no word of `line` is longer than `word_len_max`. Looks at few bytes of a line of short words, and at none of
/// a line that is no longer than that.
pub(super) fn words_fit(line: &[u8], word_len_max: usize) -> bool {
    let mut rest = line;
    while rest.len() > word_len_max {
        // A blank among the first `word_len_max + 1` bytes ends all words before it; go on after the last such blank.
        match memchr::memrchr(b' ', &rest[..=word_len_max]) {
            Some(at) => rest = &rest[at + 1..],
            None => return false,
        }
    }
    true
}

/// The words of a line, cut one at a time.
///
/// What is behind the line's newline is never looked at; without one the words end with the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    /// What is not cut yet.
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// The words of the line `bytes` begins with.
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next word; never empty.
    #[inline]
    pub(super) fn word(&mut self) -> Option<&'a [u8]> {
        self.rest = &self.rest[blanks_len(self.rest)..];
        if line_end_len(self.rest).is_some() {
            return None;
        }
        let len = word_len(self.rest);
        let mut word = &self.rest[..len];
        if self.rest.get(len) == Some(&b'\n') {
            word = word.strip_suffix(b"\r").unwrap_or(word);
        }
        self.rest = &self.rest[word.len()..];
        if word.is_empty() { None } else { Some(word) }
    }

    /// The next word, of a complete line, as its first byte and the rest. Most flags are a byte and nothing else.
    #[inline]
    pub(super) fn flag(&mut self) -> Option<(u8, &'a [u8])> {
        while let [b' ', rest @ ..] = self.rest {
            self.rest = rest;
        }
        match self.rest {
            [byte @ b'!'..=b'~', b' ', ..]
            | [byte @ b'!'..=b'~', b'\r', b'\n', ..]
            | [byte @ b'!'..=b'~', b'\n', ..] => {
                self.rest = &self.rest[1..];
                Some((*byte, &[]))
            }
            _ => self.word().map(|word| (word[0], &word[1..])),
        }
    }

    /// The next word as a number; cut in any case. `None` if there is none or it is no number.
    #[inline]
    pub(super) fn unsigned(&mut self) -> Option<u64> {
        match self.digits() {
            Some(number) => Some(number),
            None => self.unusual_unsigned(),
        }
    }

    /// The next word as a number that may have a sign; cut in any case. `None` if there is none or it is no number.
    #[inline]
    pub(super) fn signed(&mut self) -> Option<i64> {
        let before = *self;
        match self.digits().map(i64::try_from) {
            Some(Ok(number)) => Some(number),
            _ => {
                *self = before;
                self.unusual_signed()
            }
        }
    }

    /// Whether there is another word.
    #[inline]
    pub(super) fn more(&self) -> bool {
        let rest = &self.rest[blanks_len(self.rest)..];
        !rest.is_empty() && line_end_len(rest).is_none()
    }

    /// Length of what is not cut yet.
    #[inline]
    pub(super) fn rest_len(&self) -> usize {
        self.rest.len()
    }

    /// The last word of the line.
    pub(super) fn last(mut self) -> Option<&'a [u8]> {
        let mut last = None;
        while let Some(word) = self.word() {
            last = Some(word);
        }
        last
    }

    /// The next word, if it is 1 to 19 digits: those fit 64 bits whatever they are. Otherwise nothing is cut.
    #[inline]
    fn digits(&mut self) -> Option<u64> {
        let rest = &self.rest[blanks_len(self.rest)..];
        let mut number = 0_u64;
        let mut len = 0;
        while let Some(digit) = rest.get(len).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
            len += 1;
        }
        let after = &rest[len..];
        let is_word = matches!(after, [b' ', ..] | []) || line_end_len(after).is_some();
        if !is_word || len == 0 || len > DIGITS_SAFE {
            return None;
        }
        self.rest = after;
        Some(number)
    }

    #[cold]
    #[inline(never)]
    fn unusual_unsigned(&mut self) -> Option<u64> {
        unsigned(self.word()?)
    }

    #[cold]
    #[inline(never)]
    fn unusual_signed(&mut self) -> Option<i64> {
        signed(self.word()?)
    }
}

/// Length of the line's end, if `bytes` begins with it.
#[inline]
fn line_end_len(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\r', b'\n', ..] => Some(2),
        [b'\n', ..] => Some(1),
        _ => None,
    }
}

/// A whole word as a number: digits, after a plus or not (memcached reads numbers with `strtoull`).
pub(super) fn unsigned(word: &[u8]) -> Option<u64> {
    let digits = word.strip_prefix(b"+").unwrap_or(word);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A whole word as a number that may have a sign.
pub(super) fn signed(word: &[u8]) -> Option<i64> {
    match word.strip_prefix(b"-") {
        Some([b'+', ..]) | None => i64::try_from(unsigned(word)?).ok(),
        Some(magnitude) => 0_i64.checked_sub_unsigned(unsigned(magnitude)?),
    }
}

/// Marks, in the top bit of each byte, of the bytes equal to `byte`. Exact up to and including the first (lowest) mark;
/// above it a carry may set a wrong one.
#[inline]
fn marks(eight: u64, byte: u8) -> u64 {
    let zero_where_equal = eight ^ (EACH_BYTE * u64::from(byte));
    zero_where_equal.wrapping_sub(EACH_BYTE) & !zero_where_equal & EACH_TOP_BIT
}

#[inline]
fn end_marks(eight: u64) -> u64 {
    marks(eight, b' ') | marks(eight, b'\n')
}

/// Which byte, from the lowest, carries the first mark.
#[inline]
fn first_mark(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

/// Bytes searched for a newline here before the wider search is called.
const NEAR_LEN: usize = 64;

/// Digits that make a number below 2^64 whatever they are.
const DIGITS_SAFE: usize = 19;

const EACH_BYTE: u64 = u64::from_le_bytes([0x01; 8]);
const EACH_TOP_BIT: u64 = u64::from_le_bytes([0x80; 8]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newline_is_found_wherever_it_is_and_however_much_was_searched_before() {
        for len in 0..100 {
            let mut bytes = vec![b'\x0b'; len];
            for scanned in 0..=len + 1 {
                assert_eq!(newline(&bytes, scanned), None);
            }
            for at in 0..len {
                bytes[at] = b'\n';
                for scanned in 0..=at {
                    assert_eq!(newline(&bytes, scanned), Some(at), "{len} {at} {scanned}");
                }
                bytes[at] = b'\xff';
            }
        }
    }

    #[test]
    fn a_word_ends_at_the_first_blank_or_newline_and_at_no_other_byte() {
        let others: Vec<u8> = (0..=255).filter(|b| *b != b' ' && *b != b'\n').collect();
        for len in 0..40 {
            for start in 0..others.len() {
                let mut bytes: Vec<u8> = others.iter().copied().cycle().skip(start).take(len).collect();
                assert_eq!(word_len(&bytes), len);
                for (at, end) in [(len / 2, b' '), (len / 3, b'\n'), (len.saturating_sub(1), b' ')] {
                    if at < len {
                        bytes[at] = end;
                        let naive = bytes.iter().position(|b| *b == b' ' || *b == b'\n').unwrap();
                        assert_eq!(word_len(&bytes), naive);
                    }
                }
            }
        }
    }

    #[test]
    fn one_carriage_return_belongs_to_the_end_of_a_line() {
        let table: [(&[u8], &[u8]); 5] =
            [(b"a\r\n", b"a"), (b"a\n", b"a"), (b"a\r\r\n", b"a\r"), (b"\r\n", b""), (b"\n", b"")];
        for (input, line) in table {
            for behind in ["", "x", "\n", " x\r\n"] {
                let input = [input, behind.as_bytes()].concat();
                let mut words = Words::new(&input);
                assert_eq!(words.word().unwrap_or_default(), line);
                assert_eq!(without_end(&input[..=newline(&input, 0).unwrap()]), line);
                assert!(!words.more());
                assert_eq!(words.word(), None);
            }
        }
    }

    #[test]
    fn too_long_a_word_is_found_in_every_place() {
        for before in 0..30 {
            for len in 1..12 {
                for after in 0..30 {
                    let mut line = b"ab ".repeat(10)[..before].to_vec();
                    line.resize(before + len, b'x');
                    line.extend_from_slice(&b" ba".repeat(10)[..after]);
                    let longest = line.split(|b| *b == b' ').map(<[u8]>::len).max().unwrap();
                    for word_len_max in 1..12 {
                        assert_eq!(words_fit(&line, word_len_max), longest <= word_len_max, "{line:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn words_are_what_lies_between_blanks() {
        let mut words = Words::new(b"  set a\tb\r  \0 ");
        assert_eq!(words.last(), Some(&b"\0"[..]));
        assert_eq!(words.word(), Some(&b"set"[..]));
        assert_eq!(words.word(), Some(&b"a\tb\r"[..]));
        assert!(words.more());
        assert_eq!(words.word(), Some(&b"\0"[..]));
        assert!(!words.more());
        assert_eq!(words.word(), None);
        assert_eq!(words.last(), None);
        assert_eq!(Words::new(b"one").last(), Some(&b"one"[..]));
        assert_eq!(Words::new(b"one two \r\nthree\n").last(), Some(&b"two"[..]));
    }

    #[test]
    fn numbers_are_read_as_strtoull_does_and_cut_even_if_they_are_none() {
        let table: [(&[u8], Option<u64>, Option<i64>); 24] = [
            (b"0", Some(0), Some(0)),
            (b"007", Some(7), Some(7)),
            (b"+5", Some(5), Some(5)),
            (b"-5", None, Some(-5)),
            (b"-0", None, Some(0)),
            (b"--5", None, None),
            (b"-+5", None, None),
            (b"+-5", None, None),
            (b"+", None, None),
            (b"-", None, None),
            (b"5x", None, None),
            (b"0x5", None, None),
            (b"5.0", None, None),
            (b"5\t", None, None),
            (b"9999999999999999999", Some(9_999_999_999_999_999_999), None),
            (b"00000000000000000000001", Some(1), Some(1)),
            (b"18446744073709551615", Some(u64::MAX), None),
            (b"18446744073709551616", None, None),
            (b"99999999999999999999", None, None),
            (b"9223372036854775807", Some(i64::MAX as u64), Some(i64::MAX)),
            (b"9223372036854775808", Some(1 << 63), None),
            (b"-9223372036854775808", None, Some(i64::MIN)),
            (b"-9223372036854775809", None, None),
            (b":", None, None),
        ];
        for (word, as_unsigned, as_signed) in table {
            for (before, after) in
                [("", ""), (" ", ""), ("", " "), ("  ", "  next"), ("", " next"), ("", "\r\n1"), ("", " next\r\n")]
            {
                let line = [before.as_bytes(), word, after.as_bytes()].concat();
                let next = if after.contains("next") { Some(&b"next"[..]) } else { None };
                let mut words = Words::new(&line);
                assert_eq!(words.unsigned(), as_unsigned, "{line:?}");
                assert_eq!(words.word(), next, "{line:?}");
                let mut words = Words::new(&line);
                assert_eq!(words.signed(), as_signed, "{line:?}");
                assert_eq!(words.word(), next, "{line:?}");
            }
        }
        assert_eq!(Words::new(b"").unsigned(), None);
        assert_eq!(Words::new(b"  ").signed(), None);
    }
}
