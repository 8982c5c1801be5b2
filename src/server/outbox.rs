//! Bytes waiting to leave one connection: small answers copied one behind the other, long values pinned where they are.
//!
//! ```text
//!   bytes   VALUE k 0 90000\r\n │ \r\nVALUE m 0 5\r\nhello\r\nEND\r\n          one buffer, one allocation, reused
//!                               ▲
//!   pins              (at, value of k)                                    written between bytes[..at] and bytes[at..]
//! ```
//!
//! Without pins the whole outbox is one plain `write`; with pins it is a vectored one. A write that takes less than it
//! was given has filled the socket: nothing is tried again until the socket says that it is writable.
//!
//! It is *not* bounded here: the session stops at `limits::OUTPUT_LEN_MAX` and the connection is not read meanwhile. But how it grows is:
//! to no more than `limits::OUTBOX_LEN_MAX`, unless there is a report that is longer.

use crate::command::Out;
use crate::limits::{OUTBOX_LEN_MAX, PIN_LEN_MAX, WRITE_PIECES_MAX};
use crate::store::{Pinned, Value};
use arrayvec::ArrayVec;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

/// What one connection owes.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// `bytes[..sent]` have been written; never beyond the first pin's place.
    sent: usize,
    /// In ascending order of `at`; the first is the next to be written.
    pins: VecDeque<Pin>,
    /// Bytes of the first pin that have been written; less than its length.
    pin_sent: usize,
    /// Bytes of all pins that have not been written.
    pinned_len: usize,
}

/// A value and its place.
#[derive(Debug)]
struct Pin {
    /// It goes between `bytes[..at]` and `bytes[at..]`.
    at: usize,
    value: Held,
}

const _: () = assert!(size_of::<Pin>() <= PIN_LEN_MAX);

/// Something that holds bytes still until they are written.
#[derive(Debug)]
enum Held {
    Pinned(Pinned),
    /// Stands for a pinned value where there is no store to pin it in.
    #[cfg(test)]
    Owned(Vec<u8>),
}

impl Held {
    fn len(&self) -> usize {
        match self {
            Self::Pinned(pinned) => pinned.len(),
            #[cfg(test)]
            Self::Owned(bytes) => bytes.len(),
        }
    }

    /// What lies together from `offset` on: all of the rest, or as much of it as its piece holds. Empty at the end only.
    fn part(&self, offset: usize) -> &[u8] {
        match self {
            Self::Pinned(pinned) => pinned.part(offset),
            #[cfg(test)]
            Self::Owned(bytes) => &bytes[offset..],
        }
    }
}

/// What a write has achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Bytes the socket took.
    pub len: usize,
    /// Nothing is left to write.
    pub complete: bool,
}

impl Outbox {
    /// Nothing is owed.
    pub(super) fn is_empty(&self) -> bool {
        self.pinned_len == 0 && self.sent == self.bytes.len()
    }

    /// Writes until all is written or the socket is full.
    pub(super) fn write<W: Write>(&mut self, to: &mut W) -> io::Result<Written> {
        let mut len = 0;
        while !self.is_empty() {
            let (offered, result) = if self.pins.is_empty() { self.write_plain(to) } else { self.write_pieces(to) };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.advance(taken);
                    len += taken;
                    if taken < offered {
                        return Ok(Written { len, complete: false });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Written { len, complete: false });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.sent = 0;
        Ok(Written { len, complete: true })
    }

    /// Bytes of memory it owns.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.pins.capacity() * size_of::<Pin>()
    }

    fn write_plain<W: Write>(&self, to: &mut W) -> (usize, io::Result<usize>) {
        let rest = &self.bytes[self.sent..];
        (rest.len(), to.write(rest))
    }

    fn write_pieces<W: Write>(&self, to: &mut W) -> (usize, io::Result<usize>) {
        let pieces = self.gather();
        (pieces.iter().map(|piece| piece.len()).sum(), to.write_vectored(&pieces))
    }

    /// What is owed, from the front, in as many pieces as one write takes.
    fn gather(&self) -> ArrayVec<IoSlice<'_>, WRITE_PIECES_MAX> {
        let mut pieces = ArrayVec::new();
        let mut from = self.sent;
        let mut skip = self.pin_sent;
        for pin in &self.pins {
            if pieces.remaining_capacity() < 2 {
                return pieces;
            }
            if from < pin.at {
                pieces.push(IoSlice::new(&self.bytes[from..pin.at]));
                from = pin.at;
            }
            while skip < pin.value.len() {
                if pieces.is_full() {
                    return pieces;
                }
                let part = pin.value.part(skip);
                pieces.push(IoSlice::new(part));
                skip += part.len();
            }
            skip = 0;
        }
        if from < self.bytes.len() && !pieces.is_full() {
            pieces.push(IoSlice::new(&self.bytes[from..]));
        }
        pieces
    }

    /// Moves the cursor over `len` bytes that were written, letting go of the pins it passes.
    fn advance(&mut self, mut len: usize) {
        loop {
            let upto = self.pins.front().map_or(self.bytes.len(), |pin| pin.at);
            let plain = len.min(upto - self.sent);
            self.sent += plain;
            len -= plain;
            let Some(pin) = self.pins.front() else { break };
            let part = len.min(pin.value.len() - self.pin_sent);
            if part == 0 {
                break;
            }
            self.pin_sent += part;
            self.pinned_len -= part;
            len -= part;
            if self.pin_sent == pin.value.len() {
                self.pins.pop_front();
                self.pin_sent = 0;
            }
        }
        assert_eq!(len, 0, "the socket took more than there was");
    }

    /// Has room for `len` more bytes and one more pin.
    #[cold]
    fn grow(&mut self, len: usize) {
        self.pins.reserve(1);
        let (have, want) = (self.bytes.capacity(), self.bytes.len() + len);
        if have < want {
            let goal = if want > OUTBOX_LEN_MAX { want + want / 8 } else { want.max(2 * have).min(OUTBOX_LEN_MAX) };
            self.bytes.reserve_exact(goal - self.bytes.len());
        }
    }

    fn hold(&mut self, value: Held) {
        let len = value.len();
        if len > 0 {
            self.pinned_len += len;
            self.pins.push_back(Pin { at: self.bytes.len(), value });
        }
    }
}

impl Out for Outbox {
    #[inline]
    fn make_room(&mut self, len: usize) {
        if self.bytes.capacity() - self.bytes.len() < len || self.pins.len() == self.pins.capacity() {
            self.grow(len);
        }
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    // Always: two protocols' encoders call it, and the compiler would not for both.
    #[inline(always)]
    fn value(&mut self, value: Value<'_>) {
        match value {
            Value::Borrowed(bytes) => self.bytes.extend_from_slice(bytes),
            Value::Pinned(pinned) => self.hold(Held::Pinned(pinned)),
        }
    }

    #[inline]
    fn pending_len(&self) -> usize {
        self.bytes.len() - self.sent + self.pinned_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{OUTPUT_LEN_MAX, PIN_VALUE_MIN, REPLY_HEAD_LEN_MAX};

    /// Takes at most `room` bytes per call, and blocks on every call after one that it cut short.
    struct Slow {
        room: usize,
        calls: usize,
        taken: Vec<u8>,
    }

    impl Slow {
        fn new(room: usize) -> Self {
            Self { room, calls: 0, taken: Vec::new() }
        }
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            self.calls += 1;
            assert!(pieces.len() <= WRITE_PIECES_MAX && pieces.iter().all(|piece| !piece.is_empty()));
            let mut room = self.room;
            for piece in pieces {
                let part = room.min(piece.len());
                self.taken.extend_from_slice(&piece[..part]);
                room -= part;
            }
            Ok(self.room - room)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An outbox, and the bytes that have to come out of it; a pin for each `true`.
    fn filled(parts: &[(bool, usize)]) -> (Outbox, Vec<u8>) {
        let (mut outbox, mut want) = (Outbox::default(), Vec::new());
        for (i, &(pinned, len)) in parts.iter().enumerate() {
            let bytes = vec![b'a' + u8::try_from(i % 26).unwrap(); len];
            want.extend_from_slice(&bytes);
            if pinned {
                outbox.hold(Held::Owned(bytes));
            } else {
                outbox.make_room(len);
                Out::bytes(&mut outbox, &bytes);
            }
        }
        assert_eq!(outbox.pending_len(), want.len());
        (outbox, want)
    }

    #[test]
    fn every_cut_of_every_mix_comes_out_in_order() {
        let mixes: [&[(bool, usize)]; 6] = [
            &[(false, 10)],
            &[(true, 10)],
            &[(false, 3), (true, 7), (false, 4)],
            &[(true, 5), (true, 5), (false, 1), (true, 2)],
            &[(false, 2), (true, 0), (false, 2), (true, 1)],
            &[(false, 1), (true, 9), (true, 1), (false, 1), (true, 3), (false, 30)],
        ];
        for mix in mixes {
            for room in 1..=60 {
                let (mut outbox, want) = filled(mix);
                let mut socket = Slow::new(room);
                let mut left = want.len();
                while !outbox.is_empty() {
                    let written = outbox.write(&mut socket).unwrap();
                    left -= written.len;
                    assert_eq!(outbox.pending_len(), left);
                    assert_eq!(written.complete, outbox.is_empty());
                }
                assert_eq!(socket.taken, want, "mix {mix:?} by {room}");
                assert!(outbox.pins.is_empty() && outbox.bytes.is_empty());
            }
        }
    }

    #[test]
    fn more_pins_than_pieces_take_several_writes() {
        let mix: Vec<_> = (0..300).map(|i| (i % 2 == 1, 1 + i % 5)).collect();
        for room in [1, 7, 100, 100_000] {
            let (mut outbox, want) = filled(&mix);
            let mut socket = Slow::new(room);
            while !outbox.is_empty() {
                outbox.write(&mut socket).unwrap();
            }
            assert_eq!(socket.taken, want);
        }
    }

    #[test]
    fn without_pins_a_write_is_one_call_and_a_short_one_is_not_repeated() {
        let (mut outbox, _) = filled(&[(false, 100), (false, 100)]);
        let mut socket = Slow::new(150);
        assert_eq!(outbox.write(&mut socket).unwrap(), Written { len: 150, complete: false });
        assert_eq!(socket.calls, 1);
        assert_eq!(outbox.write(&mut socket).unwrap(), Written { len: 50, complete: true });
        assert_eq!(socket.calls, 2);
    }

    #[test]
    fn room_is_for_bytes_and_a_pin_and_no_larger_than_answers_may_be() {
        let mut outbox = Outbox::default();
        let answer = [b'x'; 1000];
        while outbox.pending_len() < OUTPUT_LEN_MAX {
            outbox.make_room(PIN_VALUE_MIN + REPLY_HEAD_LEN_MAX);
            let (bytes, pins) = (outbox.bytes.capacity(), outbox.pins.capacity());
            Out::bytes(&mut outbox, &answer);
            outbox.hold(Held::Owned(vec![b'y'; 10]));
            assert_eq!((outbox.bytes.capacity(), outbox.pins.capacity()), (bytes, pins), "nothing is allocated later");
        }
        assert_eq!(outbox.bytes.capacity(), OUTBOX_LEN_MAX);
        outbox.make_room(20 << 20);
        assert!(outbox.bytes.capacity() < 24 << 20);
    }
}
