//! One client without its socket: bytes in, bytes out.
//!
//! ```text
//!            line of get            keys left when the outbox is full
//!   Line ───────────────► (served) ────────────────────────────────► Keys ──► Line
//!    │ ▲  value at hand: stored
//!    │ └──────────────────────────────────────────────────┐
//!    ├── value to come ──► Value ──all of it──► Terminator ┤
//!    │                                          └─ none ──► SwallowLine ──► Line
//!    └── value refused ──────────────────────► Swallow ──► Line
//! ```
//!
//! **Batches.** As many requests as the input holds are parsed before the first is executed, so that their waits for memory overlap:
//! `batch.rs`.
//!
//! **The answer does not depend on how the network cuts the input**: what is not complete is not begun (lines, short values) or is a
//! state (long values, what is to be skipped).
//!
//! **Protocols.** The first byte of a connection says which it speaks, unless `-B` does. What is drawn above is text; the binary
//! protocol's states are in `binary.rs`.
//!
//! Not here: descriptors, buffers, time-outs (`server`); what commands mean (`command`); how they are written (`proto`).

mod batch;
mod binary;
mod login;
mod stream;

use crate::command::execute::{begin_store, finish_store, grow_store};
use crate::command::{
    Context, Daemon, Out, Outcome, Protocol, Receipt, ReplyShape, StoreRequest, StoreTerms, StoreVerb, WireError,
};
use crate::events::Kinds;
use crate::limits::{
    BATCH_REQUESTS_MAX, DIRECT_READ_MIN, KEY_LEN_MAX, OUTPUT_LEN_MAX, REPLY_HEAD_LEN_MAX, TURN_COPIED_MAX,
    TURN_REQUESTS_MAX,
};
use crate::proto::binary::REQUEST_MAGIC;
use crate::proto::meta::{self, Echo, Key, KeyBuffer};
use crate::proto::text::encode;
use crate::store::{Reservation, Value};
use arrayvec::ArrayVec;
use batch::{Ahead, Batch, Keys, Step, plan, run};

/// One client's place in its conversation.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// Bytes of the unserved input that are known to hold no line's end.
    scanned: usize,
    /// Has logged in, or need not.
    admitted: bool,
}

/// What a session expects next.
#[derive(Debug, Default)]
enum State {
    /// The first byte of all.
    Greeting(Protocol),
    /// A packet of the binary protocol, or the rest of one.
    Binary(binary::State),
    /// A line.
    #[default]
    Line,
    /// More keys of a get, whose line is complete in the input.
    Keys(Keys),
    /// Bytes of a value.
    Value(Box<Receiving>),
    /// `\r\n` behind a value that is complete.
    Terminator(Box<Receiving>),
    /// This many bytes of no interest, more than none.
    Swallow(u64),
    /// The rest of a line of no interest.
    SwallowLine,
    /// More of an answer that is more than an answer.
    Stream(Box<stream::Stream>),
}

/// A value on its way from the socket to its chunk.
#[derive(Debug)]
struct Receiving {
    reservation: Reservation,
    verb: StoreVerb,
    terms: StoreTerms,
    reply: ReplyShape,
    /// The key as the client wrote it, if the answer echoes it.
    key_text: ArrayVec<u8, KEY_LEN_MAX>,
}

/// What [`Session::feed`] made of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes of the input that are done with; the caller keeps the rest and gives it again, with more behind it.
    pub used: usize,
    /// Why it stopped.
    pub stop: Stop,
}

/// Why a session stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All complete requests are served; the rest of the input, if any, is the beginning of one.
    Input,
    /// The outbox is full; call again when it has drained.
    Output,
    /// The turn's budget of requests is spent; call again next turn (with the same remaining input).
    Budget,
    /// A login has to wait; call again (with the same input) when [`crate::auth::Auth::can_verify`] says so.
    Later,
    /// What is asked for next takes long; call again (with the same input) when it need not wait ([`crate::store::Local::puts_off`]).
    Costly,
    /// A slice of a long answer has been made; call again (with the same input) when it has drained, and when others have had theirs.
    Slice,
    /// From now on the client is told what [`Session::watcher`] says, and nothing else.
    Watch,
    /// Write what is owed, then close.
    Close,
    /// The same; what came could not be meant.
    Abort,
}

const TERMINATOR: &[u8] = b"\r\n";

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A client that has not said anything yet, and speaks what its first byte says.
    #[must_use]
    pub fn new() -> Self {
        Self::speaking(Protocol::Auto)
    }

    /// A client that has not said anything yet.
    #[must_use]
    pub fn speaking(protocol: Protocol) -> Self {
        Self { state: State::Greeting(protocol), scanned: 0, admitted: false }
    }

    /// Tells a client that the beginning of its request cannot be kept; it is to be closed then.
    pub fn refuse_input<O: Out>(out: &mut O) {
        answer(ReplyShape::default(), WireError::OutOfMemoryReading, out);
    }

    /// Serves what `input` holds, as far as it is complete, appending answers to `out`.
    pub fn feed<O: Out>(&mut self, cx: &mut Context<'_>, input: &[u8], out: &mut O) -> Fed {
        cx.daemon.store.begin_turn(cx.local, cx.now);
        cx.local.stats.begin_turn();
        let mut used = 0;
        let mut requests_left = cx.daemon.settings.reqs_per_event.unwrap_or(TURN_REQUESTS_MAX);
        loop {
            let rest = &input[used..];
            let (step_used, stop) = match &mut self.state {
                State::Greeting(protocol) => {
                    let protocol = *protocol;
                    self.greet(protocol, rest)
                }
                State::Line | State::Binary(_) if !self.admitted => match &cx.daemon.auth {
                    Some(auth) => {
                        requests_left -= 1;
                        self.log_in(cx, auth, rest, out)
                    }
                    None => {
                        self.admitted = true;
                        (0, None)
                    }
                },
                State::Binary(binary) => binary.step(cx, rest, out, &mut requests_left),
                State::Line | State::Keys(_) => self.serve(cx, rest, out, &mut requests_left),
                State::Value(_) => self.fill(cx, rest, out),
                State::Terminator(_) => self.finish(cx, rest, out),
                State::Swallow(_) | State::SwallowLine => self.swallow(rest),
                State::Stream(_) => self.go_on_streaming(cx, rest, out),
            };
            used += step_used;
            if let Some(stop) = stop {
                return Fed { used, stop };
            }
            if out.pending_len() >= OUTPUT_LEN_MAX {
                return Fed { used, stop: Stop::Output };
            }
            if (requests_left == 0 || cx.local.copied_len() >= TURN_COPIED_MAX) && self.is_ready() {
                return Fed { used, stop: if used < input.len() { Stop::Budget } else { Stop::Input } };
            }
        }
    }

    /// The missing part of a value that has begun to arrive, to be read into straight from the socket. `None` when no value is
    /// under way or too little of it is missing to be worth a read of its own. Only to be called when the connection holds
    /// no unserved input.
    pub fn unfilled(&mut self) -> Option<&mut [u8]> {
        let receiving = match &mut self.state {
            State::Value(receiving) => receiving,
            State::Binary(binary) => return binary.unfilled(),
            _ => return None,
        };
        let missing = receiving.reservation.unfilled();
        (missing.len() >= DIRECT_READ_MIN).then_some(missing)
    }

    /// Says that the first `len` bytes of [`Session::unfilled`] have been read.
    ///
    /// # Panics
    /// When no value is under way, or `len` is more than it misses.
    pub fn filled(&mut self, len: usize) {
        match &mut self.state {
            State::Value(receiving) => receiving.reservation.advance(len),
            State::Binary(binary) => binary.filled(len),
            _ => panic!("no value is under way"),
        }
    }

    /// A value has begun to arrive (its chunk is reserved) and is not complete.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        match &self.state {
            State::Value(_) | State::Terminator(_) => true,
            State::Binary(binary) => binary.is_receiving(),
            _ => false,
        }
    }

    /// Whether a request may begin, or go on with its next key.
    fn is_ready(&self) -> bool {
        match &self.state {
            State::Line | State::Keys(_) => true,
            State::Binary(binary) => binary.is_ready(),
            _ => false,
        }
    }

    /// Learns which protocol is spoken.
    fn greet(&mut self, protocol: Protocol, input: &[u8]) -> (usize, Option<Stop>) {
        let Some(&first) = input.first() else { return (0, Some(Stop::Input)) };
        let is_binary = match protocol {
            Protocol::Auto => first == REQUEST_MAGIC,
            Protocol::Ascii => false,
            Protocol::Binary => true,
        };
        self.state = if is_binary { State::Binary(binary::State::default()) } else { State::Line };
        (0, None)
    }

    /// Plans and executes one batch.
    fn serve<O: Out>(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
        out: &mut O,
        requests_left: &mut u32,
    ) -> (usize, Option<Stop>) {
        let mut keys = match self.state {
            State::Keys(keys) => Some(keys),
            _ => None,
        };
        let keys_before = keys.is_some();
        let mut batch = Batch { steps: ArrayVec::new(), more: ArrayVec::new() };
        let planned = usize::try_from(*requests_left).unwrap_or(usize::MAX).min(BATCH_REQUESTS_MAX);
        let (planned_used, ahead) = plan(cx.daemon, input, &mut keys, &mut self.scanned, &mut batch, planned);
        *requests_left -= u32::try_from(batch.steps.len()).expect("a batch is small");
        let lines_are_told = cx.local.stats.log.is_watched(Kinds::RAWCMDS);
        if batch.steps.len() > 1 {
            for planned in &batch.steps {
                cx.daemon.store.prefetch_items(planned.hash);
            }
        }
        let (mut begin, mut in_keys) = (0, keys_before);
        for planned in &batch.steps {
            if lines_are_told {
                stream::note_line(cx, &input[begin..planned_used], in_keys);
            }
            if let Some(stop) = run(cx, planned.hash, &planned.step, &batch.more, out) {
                self.state = State::Line;
                if stop == Stop::Costly {
                    self.scanned = 0;
                    return (begin, Some(stop));
                }
                return (planned.end, Some(stop));
            }
            (begin, in_keys) = (planned.end, matches!(planned.step, Step::Key { .. }));
            let full = out.pending_len() >= OUTPUT_LEN_MAX;
            if (full || cx.local.copied_len() >= TURN_COPIED_MAX) && planned.end < planned_used {
                self.state = match planned.step {
                    Step::Key { keys, .. } => State::Keys(keys),
                    _ => State::Line,
                };
                // The rest of the batch is planned again, from where this one ended.
                self.scanned = 0;
                return (planned.end, Some(if full { Stop::Output } else { Stop::Budget }));
            }
        }
        self.state = keys.map_or(State::Line, State::Keys);
        // Behind the last of them may be the line of a value that is to come, or of a long answer.
        if lines_are_told && !matches!(ahead, Ahead::More | Ahead::Partial) {
            stream::note_line(cx, &input[begin..planned_used], in_keys);
        }
        let (more, stop) = self.go_on(cx, ahead, &input[planned_used..], out);
        (planned_used + more, stop)
    }

    /// What comes after a batch; how many more bytes it used.
    fn go_on<O: Out>(
        &mut self,
        cx: &mut Context<'_>,
        ahead: Ahead<'_>,
        rest: &[u8],
        out: &mut O,
    ) -> (usize, Option<Stop>) {
        match ahead {
            Ahead::More => (0, None),
            Ahead::Partial => (0, Some(Stop::Input)),
            Ahead::Value(request, terms, reply) => {
                self.receive(cx, (request, &terms), reply, out);
                (0, None)
            }
            Ahead::Stream(request) => (0, self.begin_stream(cx, request, out)),
            Ahead::Swallow(error, reply, len) => {
                answer(reply, error, out);
                self.state = State::Swallow(len);
                (0, None)
            }
            Ahead::Close(error, reply) => {
                answer(reply, error, out);
                (rest.len(), Some(Stop::Abort))
            }
        }
    }

    /// Begins to receive a value that is not complete.
    fn receive<O: Out>(
        &mut self,
        cx: &mut Context<'_>,
        (request, terms): (StoreRequest<'_>, &StoreTerms),
        reply: ReplyShape,
        out: &mut O,
    ) {
        let mut buffer = KeyBuffer::new();
        let (text, verb, terms) = (key_text(request, terms), request.verb, *terms);
        let request = StoreRequest { key: text.bytes(&mut buffer), ..request };
        let hash = cx.daemon.store.hash(request.key);
        self.state = match begin_store(cx, hash, (request, &terms)) {
            Ok(reservation) => {
                let key_text = if reply.meta.is_some() { text.text } else { &[] };
                let key_text = key_text.try_into().expect("keys are at most KEY_LEN_MAX long");
                State::Value(Box::new(Receiving { reservation, verb, terms, reply, key_text }))
            }
            Err(error) => {
                answer(reply, error, out);
                State::Swallow((request.value_len + TERMINATOR.len()) as u64)
            }
        };
    }

    /// Moves bytes of the input into the value, as far as its chunk or piece goes.
    fn fill<O: Out>(&mut self, cx: &mut Context<'_>, input: &[u8], out: &mut O) -> (usize, Option<Stop>) {
        let State::Value(mut receiving) = std::mem::take(&mut self.state) else { return (0, None) };
        if let Err(error) = grow_store(cx, &mut receiving.reservation, receiving.verb) {
            answer(receiving.reply, error, out);
            self.state = State::Swallow((receiving.reservation.missing_len() + TERMINATOR.len()) as u64);
            return (0, None);
        }
        let missing = receiving.reservation.unfilled();
        let len = missing.len().min(input.len());
        missing[..len].copy_from_slice(&input[..len]);
        receiving.reservation.advance(len);
        if receiving.reservation.is_complete() {
            self.state = State::Terminator(receiving);
            return (len, None);
        }
        self.state = State::Value(receiving);
        (len, (len == input.len()).then_some(Stop::Input))
    }

    /// Stores a complete value, if it is followed by its terminator.
    fn finish<O: Out>(&mut self, cx: &mut Context<'_>, input: &[u8], out: &mut O) -> (usize, Option<Stop>) {
        let State::Terminator(receiving) = std::mem::take(&mut self.state) else { return (0, None) };
        if !TERMINATOR.starts_with(&input[..input.len().min(TERMINATOR.len())]) {
            answer(receiving.reply, WireError::BadDataChunk, out);
            self.state = State::SwallowLine;
            return (0, None);
        }
        if input.len() < TERMINATOR.len() {
            self.state = State::Terminator(receiving);
            return (0, Some(Stop::Input));
        }
        let Receiving { reservation, verb, terms, reply, key_text } = *receiving;
        let value_len = reservation.value_len();
        let outcome = finish_store(cx, reservation, verb, &terms);
        let key = Key { text: &key_text, is_base64: terms.key_is_base64 };
        tell_stored(cx, &reply, (key, value_len), outcome, out);
        (TERMINATOR.len(), None)
    }

    /// Skips what is of no interest.
    fn swallow(&mut self, input: &[u8]) -> (usize, Option<Stop>) {
        let skipped = match &mut self.state {
            State::Swallow(left) => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= len as u64;
                (*left == 0).then_some(len)
            }
            _ => memchr::memchr(b'\n', input).map(|newline| newline + 1),
        };
        match skipped {
            Some(len) => {
                self.state = State::Line;
                (len, None)
            }
            None => (input.len(), Some(Stop::Input)),
        }
    }
}

/// Whether the piece by which a value is to be extended may be too large without what it extends. Generous: keys and
/// headers fit the other half of the smallest `-I`.
fn may_be_refused_alone(daemon: &Daemon, request: StoreRequest<'_>) -> bool {
    let extends = matches!(request.verb, StoreVerb::Append | StoreVerb::Prepend);
    extends && request.value_len > daemon.settings.item_len_max / 2
}

/// The key as the client wrote it.
#[inline]
fn key_text<'a>(request: StoreRequest<'a>, terms: &StoreTerms) -> Key<'a> {
    Key { text: request.key, is_base64: terms.key_is_base64 }
}

/// Answers a storage command. Of the key and the length of what was to be stored only a meta command is told.
#[inline]
fn tell_stored<O: Out>(
    cx: &Context<'_>,
    reply: &ReplyShape,
    (key, value_len): (Key<'_>, usize),
    outcome: Outcome<'_>,
    out: &mut O,
) {
    out.make_room(REPLY_HEAD_LEN_MAX);
    let Some(shape) = &reply.meta else { return encode(*reply, outcome, out) };
    let receipt = match outcome {
        Outcome::Stored | Outcome::StoredStale => cx.local.last_written(),
        _ => Receipt { value_len, ..Receipt::default() },
    };
    meta::encode_stored(shape, Echo { key, opaque: reply.opaque.bytes() }, &outcome, receipt, out);
}

fn answer<O: Out>(reply: ReplyShape, error: WireError, out: &mut O) {
    out.make_room(REPLY_HEAD_LEN_MAX);
    encode(reply, Outcome::Refused(error), out);
}

/// For tests and fuzzing: answers as plain bytes.
impl Out for Vec<u8> {
    fn make_room(&mut self, len: usize) {
        self.reserve(len);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn value(&mut self, value: Value<'_>) {
        match value {
            Value::Borrowed(bytes) => self.extend_from_slice(bytes),
            Value::Pinned(pinned) => pinned.parts().for_each(|part| self.extend_from_slice(part)),
        }
    }

    /// Never full: a vector is drained by whoever reads it.
    fn pending_len(&self) -> usize {
        0
    }
}
