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
//!
//! A long buffer, of which only a line of get with many keys has need, is charged to an [`Allowance`] that all workers share. When that is
//! spent, who wants a longer one is refused; nobody loses what he has. What a turn has left over is kept in any case: it is no longer than
//! what is read at once, and its client has done nothing out of the way.

use super::desk::Spares;
use crate::limits::{JOIN_LEN_MAX, LONG_INPUT_LEN, LONG_INPUT_PARTS, PENDING_LEN_MAX};
use std::sync::atomic::{AtomicI64, Ordering};

/// Unserved input.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// At most `PENDING_LEN_MAX`.
    bytes: Vec<u8>,
    /// `bytes[..consumed]` are served; at most `bytes.len()`.
    consumed: u32,
    /// Bytes charged for the buffer: its capacity if that is more than `LONG_INPUT_LEN`, or else none.
    charged: u32,
}

const _: () = assert!(2 * PENDING_LEN_MAX <= u32::MAX as usize);

/// Why input is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unkept {
    /// No request is that long.
    TooLong,
    /// The allowance is spent.
    NoRoom,
}

/// What all long buffers together may have.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Bytes nobody has; less than none while more was left over than there was room for.
    left: AtomicI64,
}

impl Default for Allowance {
    /// No bound.
    fn default() -> Self {
        Self { left: AtomicI64::new(i64::MAX / 2) }
    }
}

impl Allowance {
    /// Where the process has a bound a part of it, and room for one request at least.
    pub(super) fn new(process_len_max: Option<u64>) -> Self {
        let Some(len_max) = process_len_max else { return Self::default() };
        let len = (len_max / LONG_INPUT_PARTS).max(PENDING_LEN_MAX as u64);
        Self { left: AtomicI64::new(i64::try_from(len).unwrap_or(i64::MAX)) }
    }

    /// Takes so much of it if there is as much, or in any case; whether it did.
    fn take(&self, len: u32, in_any_case: bool) -> bool {
        let len = i64::from(len);
        // Relaxed: a sum, by which no other memory is published.
        let less = |left: i64| (in_any_case || left >= len).then(|| left - len);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give(&self, len: u32) {
        self.left.fetch_add(len.into(), Ordering::Relaxed);
    }
}

/// What a buffer of this capacity is charged.
fn charge_for(capacity: usize) -> u32 {
    if capacity > LONG_INPUT_LEN { u32::try_from(capacity).unwrap_or(u32::MAX) } else { 0 }
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
        &self.bytes[self.consumed as usize..]
    }

    /// Notes that `len` more bytes are served; gives the buffer back if those were the last.
    pub(super) fn consume(&mut self, len: usize, spares: &mut Spares) {
        self.consumed += u32::try_from(len).unwrap_or(u32::MAX);
        if self.consumed as usize == self.bytes.len() {
            self.clear(spares);
        }
    }

    /// Forgets what is served, before more is read: once per run through the input, not once per request.
    pub(super) fn compact(&mut self, spares: &mut Spares) {
        if self.consumed > 0 {
            self.bytes.drain(..self.consumed as usize);
            self.consumed = 0;
            if self.charged > 0 && self.bytes.len() <= LONG_INPUT_LEN {
                let rest = self.bytes.to_vec();
                self.clear(spares);
                self.bytes = rest;
            }
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

    /// Adds to a long beginning.
    ///
    /// # Errors
    /// Why it does not; then the connection is to be closed.
    pub(super) fn append(&mut self, input: &[u8], spares: &mut Spares) -> Result<(), Unkept> {
        if self.bytes.len() + input.len() > PENDING_LEN_MAX {
            return Err(Unkept::TooLong);
        }
        self.extend(input, false, spares)
    }

    /// Keeps `input[used..]`, the first `joined` bytes of which are what is held already. That is the beginning of a request, or something
    /// left over, which is kept in any case.
    ///
    /// # Errors
    /// Why it does not; then the connection is to be closed.
    pub(super) fn keep(
        &mut self,
        input: &[u8],
        joined: usize,
        used: usize,
        left_over: bool,
        spares: &mut Spares,
    ) -> Result<(), Unkept> {
        if used == input.len() {
            self.clear(spares);
            return Ok(());
        }
        let mut from = joined;
        if used > 0 {
            self.bytes.clear();
            from = used;
        }
        self.extend(&input[from..], left_over, spares)
    }

    fn extend(&mut self, input: &[u8], in_any_case: bool, spares: &mut Spares) -> Result<(), Unkept> {
        let len = self.bytes.len() + input.len();
        if self.bytes.capacity() == 0 {
            self.bytes = spares.take_input();
        }
        // Not left to the vector, which might have twice what any request needs.
        let grown =
            if len > self.bytes.capacity() { len.max((2 * self.bytes.capacity()).min(PENDING_LEN_MAX)) } else { 0 };
        let charge = charge_for(grown.max(self.bytes.capacity()));
        if charge > self.charged && !spares.allowance().take(charge - self.charged, in_any_case) {
            if len > LONG_INPUT_LEN {
                return Err(Unkept::NoRoom);
            }
            // A long spare for something short is not worth its charge.
            let short = [&self.bytes, input].concat();
            self.clear(spares);
            self.bytes = short;
            return Ok(());
        }
        self.charged = self.charged.max(charge);
        self.bytes.reserve_exact(grown.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(input);
        Ok(())
    }

    /// Holds nothing any more.
    pub(super) fn clear(&mut self, spares: &mut Spares) {
        self.settle(spares);
        if self.bytes.capacity() > 0 {
            spares.give_input(std::mem::take(&mut self.bytes));
        }
        self.consumed = 0;
    }

    /// Gives back what its buffer is charged: that will not be the connection's any more.
    pub(super) fn settle(&mut self, spares: &Spares) {
        if self.charged > 0 {
            spares.allowance().give(std::mem::take(&mut self.charged));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Feeds `input` through a pending in pieces, serving whole lines only; gives the lines served.
    fn lines(input: &[u8], piece_len: usize) -> Vec<Vec<u8>> {
        let (mut pending, mut spares, mut served) = (Pending::default(), Spares::default(), Vec::new());
        let mut scratch = vec![0; JOIN_LEN_MAX + piece_len];
        for piece in input.chunks(piece_len) {
            let joined = pending.join(&mut scratch);
            if joined == 0 && !pending.is_empty() {
                pending.append(piece, &mut spares).unwrap();
                let used = serve(pending.rest(), &mut served);
                pending.consume(used, &mut spares);
                pending.compact(&mut spares);
                continue;
            }
            scratch[joined..joined + piece.len()].copy_from_slice(piece);
            let input = &scratch[..joined + piece.len()];
            let used = serve(input, &mut served);
            pending.keep(input, joined, used, false, &mut spares).unwrap();
            assert_eq!(pending.charged, charge_for(pending.bytes.capacity()));
        }
        assert!(pending.is_empty() && pending.bytes.capacity() == 0 && pending.charged == 0);
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
        let (mut pending, mut spares) = (Pending::default(), Spares::default());
        assert_eq!(pending.append(&vec![0; PENDING_LEN_MAX], &mut spares), Ok(()));
        assert_eq!(pending.append(&[0], &mut spares), Err(Unkept::TooLong));
    }

    #[test]
    fn long_buffers_have_no_more_than_their_allowance_and_give_it_back() {
        let left = |spares: &Spares| spares.allowance().left.load(Ordering::Relaxed);
        let mut spares = Spares::sharing(Arc::new(Allowance::new(Some(0))));
        let all = left(&spares);
        assert_eq!(all, i64::try_from(PENDING_LEN_MAX).unwrap(), "one request is always allowed");
        let mut pendings: Vec<_> = (0..40).map(|_| Pending::default()).collect();
        let piece = [b'k'; 50_000];
        let mut refused = 0;
        for _ in 0..20 {
            for pending in &mut pendings {
                refused += usize::from(pending.append(&piece, &mut spares) == Err(Unkept::NoRoom));
                let held: usize = pendings_len(std::slice::from_ref(pending));
                assert!(held <= PENDING_LEN_MAX);
            }
            assert!(left(&spares) >= 0 && pendings_len(&pendings) <= PENDING_LEN_MAX);
        }
        assert!(refused > 700, "{refused}");
        // What is short is no matter, and what is left over is kept in any case.
        let (mut short, mut left_over) = (Pending::default(), Pending::default());
        spares.give_input(Vec::with_capacity(100_000));
        assert_eq!(short.keep(b"get a", 0, 0, false, &mut spares), Ok(()));
        assert_eq!((short.rest(), short.charged), (&b"get a"[..], 0));
        assert_eq!(left_over.keep(&piece, 0, 0, false, &mut spares), Err(Unkept::NoRoom));
        assert_eq!(left_over.keep(&piece, 0, 0, true, &mut spares), Ok(()));
        // What is served of a long buffer gives it back, though the next request has begun.
        left_over.consume(piece.len() - 3, &mut spares);
        left_over.compact(&mut spares);
        assert_eq!((left_over.rest(), left_over.charged), (&b"kkk"[..], 0));
        pendings.iter_mut().for_each(|pending| pending.clear(&mut spares));
        assert_eq!(left(&spares), all);
    }

    fn pendings_len(pendings: &[Pending]) -> usize {
        pendings.iter().map(Pending::capacity).sum()
    }
}
