//! Input of one connection that could not be served yet: the beginning of a request, or what a full outbox or a spent
//! budget left over.
//!
//! ```text
//!   bytes   ░░░░░░░░░░ get key_0000123 key_00   without a buffer when there is nothing: idle connections own none
//!           consumed ─┘
//! ```
//!
//! A short beginning is copied in front of what is read next, so that reading goes on in the worker's scratch; to a
//! long one what was read is appended, so that a long line in small pieces is not copied over and over.

use super::desk::Spares;
use crate::limits::{JOIN_LEN_MAX, PENDING_LEN_MAX};

/// Unserved input.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// At most `PENDING_LEN_MAX`.
    bytes: Vec<u8>,
    /// `bytes[..consumed]` are served; at most `bytes.len()`.
    consumed: usize,
}

impl Pending {
    /// Nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of memory it owns.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// What is not served.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    /// Notes that `len` more bytes are served; gives the buffer back if those were the last.
    pub(super) fn consume(&mut self, len: usize, spares: &mut Spares) {
        self.consumed += len;
        if self.consumed == self.bytes.len() {
            self.clear(spares);
        }
    }

    /// Forgets what is served, before more is read: once per run through the input, not once per request.
    pub(super) fn compact(&mut self) {
        if self.consumed > 0 {
            self.bytes.drain(..self.consumed);
            self.consumed = 0;
        }
    }

    /// Copies a short beginning to the front of `scratch` and gives its length; of a long one nothing, and 0.
    pub(super) fn join(&self, scratch: &mut [u8]) -> usize {
        debug_assert_eq!(self.consumed, 0, "served input is joined in front of new");
        if self.bytes.len() > JOIN_LEN_MAX {
            return 0;
        }
        scratch[..self.bytes.len()].copy_from_slice(&self.bytes);
        self.bytes.len()
    }

    /// Adds to a long beginning; false if it grows longer than any request.
    #[must_use]
    pub(super) fn append(&mut self, input: &[u8]) -> bool {
        let fits = self.bytes.len() + input.len() <= PENDING_LEN_MAX;
        if fits {
            self.bytes.extend_from_slice(input);
        }
        fits
    }

    /// Keeps `input[used..]`, the first `joined` bytes of which are what is held already.
    pub(super) fn keep(&mut self, input: &[u8], joined: usize, used: usize, spares: &mut Spares) {
        if used == input.len() {
            self.clear(spares);
            return;
        }
        let mut from = joined;
        if used > 0 {
            self.bytes.clear();
            from = used;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = spares.take_input();
        }
        self.bytes.extend_from_slice(&input[from..]);
    }

    /// Holds nothing any more.
    pub(super) fn clear(&mut self, spares: &mut Spares) {
        if self.bytes.capacity() > 0 {
            spares.give_input(std::mem::take(&mut self.bytes));
        }
        self.consumed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` through a pending in pieces, serving whole lines only; gives the lines served.
    fn lines(input: &[u8], piece_len: usize) -> Vec<Vec<u8>> {
        let (mut pending, mut spares, mut served) = (Pending::default(), Spares::default(), Vec::new());
        let mut scratch = vec![0; JOIN_LEN_MAX + piece_len];
        for piece in input.chunks(piece_len) {
            let joined = pending.join(&mut scratch);
            if joined == 0 && !pending.is_empty() {
                assert!(pending.append(piece));
                let used = serve(pending.rest(), &mut served);
                pending.consume(used, &mut spares);
                pending.compact();
                continue;
            }
            scratch[joined..joined + piece.len()].copy_from_slice(piece);
            let input = &scratch[..joined + piece.len()];
            let used = serve(input, &mut served);
            pending.keep(input, joined, used, &mut spares);
        }
        assert!(pending.is_empty() && pending.bytes.capacity() == 0);
        served
    }

    fn serve(input: &[u8], served: &mut Vec<Vec<u8>>) -> usize {
        let used = input.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        served.extend(input[..used].split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec));
        used
    }

    #[test]
    fn no_cut_of_the_input_loses_or_doubles_a_byte() {
        let lens = [1, 2, 50, JOIN_LEN_MAX - 1, JOIN_LEN_MAX, JOIN_LEN_MAX + 1, 3 * JOIN_LEN_MAX, 7];
        let mut input = Vec::new();
        for (i, len) in lens.into_iter().enumerate() {
            input.extend(std::iter::repeat_n(b'a' + u8::try_from(i).unwrap(), len));
            input.push(b'\n');
        }
        let want: Vec<_> = input.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        for piece_len in [1, 2, 3, 64, 1000, JOIN_LEN_MAX, 20_000, 100_000] {
            assert_eq!(lines(&input, piece_len), want, "by {piece_len}");
        }
    }

    #[test]
    fn a_request_longer_than_any_is_not_held() {
        let mut pending = Pending::default();
        assert!(pending.append(&vec![0; PENDING_LEN_MAX]));
        assert!(!pending.append(&[0]));
    }
}
