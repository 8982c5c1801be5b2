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
//! **Batches.** As many requests as the input holds, up to [`BATCH_REQUESTS_MAX`] (every key of a multi-key get is one), are
//! parsed before the first is executed. Each key is hashed and its bucket's line asked for as it is parsed; when all are, the
//! items their tags point at are asked for; then they are executed, in order. So the waits for memory overlap, which is what
//! makes multi-key gets and pipelines fast when the data is larger than the processor's cache.
//!
//! **The answer does not depend on how the network cuts the input**: what is not complete is not begun (lines, short values) or is a
//! state (long values, what is to be skipped).
//!
//! **Protocols.** The first byte of a connection says which it speaks, unless `-B` does. What is drawn above is text; the binary
//! protocol's states are in `binary.rs`.
//!
//! Not here: descriptors, buffers, time-outs (`server`); what commands mean (`command`); how they are written (`proto`).

mod binary;

use crate::command::execute::{begin_store, execute, finish_store, grow_store, store_whole};
use crate::command::{
    Command, Context, Daemon, Out, Outcome, Protocol, ReplyShape, StoreRequest, StoreTerms, StoreVerb, WireError,
};
use crate::limits::{
    BATCH_REQUESTS_MAX, DIRECT_READ_MIN, OUTPUT_LEN_MAX, PIN_VALUE_MIN, REPLY_HEAD_LEN_MAX, TURN_REQUESTS_MAX,
    WAIT_VALUE_MAX,
};
use crate::proto::binary::REQUEST_MAGIC;
use crate::proto::text::{Line, NextKey, encode, next_key, parse, single_get};
use crate::proto::{Parsed, Request};
use crate::store::{Hash, Reservation, Store, Value};
use arrayvec::ArrayVec;

/// One client's place in its conversation.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// Bytes of the unserved input that are known to hold no line's end.
    scanned: usize,
}

/// What a session expects next.
#[derive(Debug, Default)]
enum State {
    /// The first byte of all.
    Greeting,
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
}

/// How the keys of a get line are to be read.
#[derive(Clone, Copy, Debug)]
struct Keys {
    touch: Option<i64>,
    reply: ReplyShape,
}

/// A value on its way from the socket to its chunk.
#[derive(Debug)]
struct Receiving {
    reservation: Reservation,
    verb: StoreVerb,
    reply: ReplyShape,
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
    /// Write what is owed, then close.
    Close,
    /// Close now.
    Abort,
}

/// A request that has been parsed and is to be executed when the batch is complete.
struct Planned<'a> {
    hash: Hash,
    step: Step<'a>,
    /// Where in the input it ends.
    end: usize,
}

enum Step<'a> {
    /// A get line of one key, its end included.
    Single {
        key: &'a [u8],
    },
    Key {
        key: &'a [u8],
        keys: Keys,
    },
    Put {
        request: StoreRequest<'a>,
        value: &'a [u8],
        reply: ReplyShape,
    },
    One(Request<'a>),
}

/// What ended the planning of a batch.
enum Ahead<'a> {
    /// The batch is full, or so is the input served: plan on.
    More,
    /// The input ends in the middle of something.
    Partial,
    /// A value that is not complete follows, or one that has to be refused as if it were not.
    Value(StoreRequest<'a>, ReplyShape),
    /// Bytes to be skipped follow, after this answer.
    Swallow(WireError, ReplyShape, u64),
    /// Nothing that follows can be understood.
    Close(WireError, ReplyShape),
}

type Batch<'a> = ArrayVec<Planned<'a>, BATCH_REQUESTS_MAX>;

const TERMINATOR: &[u8] = b"\r\n";

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A client that has not said anything yet.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Greeting, scanned: 0 }
    }

    /// Serves what `input` holds, as far as it is complete, appending answers to `out`.
    pub fn feed<O: Out>(&mut self, cx: &mut Context<'_>, input: &[u8], out: &mut O) -> Fed {
        cx.daemon.store.begin_turn(cx.now);
        let mut used = 0;
        let mut requests_left = cx.daemon.settings.reqs_per_event.unwrap_or(TURN_REQUESTS_MAX);
        loop {
            let rest = &input[used..];
            let (step_used, stop) = match &mut self.state {
                State::Greeting => self.greet(cx.daemon.settings.protocol, rest),
                State::Binary(binary) => binary.step(cx, rest, out, &mut requests_left),
                State::Line | State::Keys(_) => self.serve(cx, rest, out, &mut requests_left),
                State::Value(_) => self.fill(cx, rest, out),
                State::Terminator(_) => self.finish(cx, rest, out),
                State::Swallow(_) | State::SwallowLine => self.swallow(rest),
            };
            used += step_used;
            if let Some(stop) = stop {
                return Fed { used, stop };
            }
            if out.pending_len() >= OUTPUT_LEN_MAX {
                return Fed { used, stop: Stop::Output };
            }
            if requests_left == 0 && self.is_ready() {
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
        let mut batch = Batch::new();
        let planned = usize::try_from(*requests_left).unwrap_or(usize::MAX).min(BATCH_REQUESTS_MAX);
        let (planned_used, ahead) = plan(cx.daemon, input, &mut keys, &mut self.scanned, &mut batch, planned);
        *requests_left -= u32::try_from(batch.len()).expect("a batch is small");
        if batch.len() > 1 {
            for planned in &batch {
                cx.daemon.store.prefetch_items(planned.hash);
            }
        }
        for planned in batch {
            let after = match planned.step {
                Step::Key { keys, .. } => State::Keys(keys),
                _ => State::Line,
            };
            if let Some(stop) = run(cx, planned.hash, planned.step, out) {
                self.state = State::Line;
                return (planned.end, Some(stop));
            }
            if out.pending_len() >= OUTPUT_LEN_MAX && planned.end < planned_used {
                self.state = after;
                // The rest of the batch is planned again, from where this one ended.
                self.scanned = 0;
                return (planned.end, Some(Stop::Output));
            }
        }
        self.state = keys.map_or(State::Line, State::Keys);
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
            Ahead::Value(request, reply) => {
                self.receive(cx, request, reply, out);
                (0, None)
            }
            Ahead::Swallow(error, reply, len) => {
                answer(reply, error, out);
                self.state = State::Swallow(len);
                (0, None)
            }
            Ahead::Close(error, reply) => {
                answer(reply, error, out);
                (rest.len(), Some(Stop::Close))
            }
        }
    }

    /// Begins to receive a value that is not complete.
    fn receive<O: Out>(&mut self, cx: &mut Context<'_>, request: StoreRequest<'_>, reply: ReplyShape, out: &mut O) {
        let hash = cx.daemon.store.hash(request.key);
        self.state = match begin_store(cx, hash, request) {
            Ok(reservation) => State::Value(Box::new(Receiving { reservation, verb: request.verb, reply })),
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
        let Receiving { reservation, verb, reply } = *receiving;
        let outcome = finish_store(cx, reservation, verb, &StoreTerms { compare: None });
        out.make_room(REPLY_HEAD_LEN_MAX);
        encode(reply, outcome, out);
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

/// Parses requests into a batch, asking for their buckets' lines; how much of the input they take and what comes next. `keys`
/// says whether the input begins inside a get line, and then whether the rest does.
fn plan<'a>(
    daemon: &Daemon,
    input: &'a [u8],
    keys: &mut Option<Keys>,
    scanned: &mut usize,
    batch: &mut Batch<'a>,
    len_max: usize,
) -> (usize, Ahead<'a>) {
    let store = &daemon.store;
    let mut used = 0;
    while batch.len() < len_max {
        let rest = &input[used..];
        if let Some(current) = *keys {
            used += match next_key(rest) {
                NextKey::Key { key, used: len } => {
                    push(store, batch, key, Step::Key { key, keys: current }, used + len);
                    len
                }
                NextKey::End { used: len } => {
                    *keys = None;
                    let request = Request { command: Command::EndOfKeys, reply: current.reply };
                    push(store, batch, b"", Step::One(request), used + len);
                    len
                }
            };
            continue;
        }
        if *scanned == 0
            && let Some((key, len)) = single_get(rest)
        {
            used += len;
            push(store, batch, key, Step::Single { key }, used);
            continue;
        }
        let Parsed::Complete { used: len, value: line } = parse(rest, scanned) else { return (used, Ahead::Partial) };
        let behind = &rest[len..];
        match line {
            Line::Keys { touch, reply } => *keys = Some(Keys { touch, reply }),
            Line::One(request) => {
                push(store, batch, key_of(&request.command), Step::One(request), used + len);
                if matches!(request.command, Command::Quit | Command::Abort) {
                    return (used + len, Ahead::More);
                }
            }
            Line::Value(request, reply) => {
                let whole_len = request.value_len + TERMINATOR.len();
                let Some(whole) = behind.get(..whole_len) else {
                    // A short value is waited for, with its line; a long one is received into its chunk.
                    let wait = request.value_len <= WAIT_VALUE_MAX && !has_bad_terminator(behind, request.value_len);
                    return if wait { (used, Ahead::Partial) } else { (used + len, Ahead::Value(request, reply)) };
                };
                let (value, terminator) = whole.split_at(request.value_len);
                // What may be refused goes the way of a value in pieces: the same answer, however it comes.
                if terminator != TERMINATOR || may_be_refused_alone(daemon, request) {
                    return (used + len, Ahead::Value(request, reply));
                }
                push(store, batch, request.key, Step::Put { request, value, reply }, used + len + whole_len);
                used += whole_len;
            }
            Line::RefusedValue { error, reply, swallow } => {
                return (used + len, Ahead::Swallow(error, reply, swallow));
            }
            Line::RefusedUnknown { error, reply } => return (used + len, Ahead::Close(error, reply)),
        }
        used += len;
    }
    (used, Ahead::More)
}

/// Whether the bytes behind a line show already that its value is not followed by a terminator.
fn has_bad_terminator(behind: &[u8], value_len: usize) -> bool {
    behind.get(value_len).is_some_and(|&byte| byte != TERMINATOR[0])
}

/// Whether the piece by which a value is to be extended may be too large without what it extends. Generous: keys and
/// headers fit the other half of the smallest `-I`.
fn may_be_refused_alone(daemon: &Daemon, request: StoreRequest<'_>) -> bool {
    let extends = matches!(request.verb, StoreVerb::Append | StoreVerb::Prepend);
    extends && request.value_len > daemon.settings.item_len_max / 2
}

#[inline]
fn push<'a>(store: &Store, batch: &mut Batch<'a>, key: &[u8], step: Step<'a>, end: usize) {
    let hash = store.hash(key);
    store.prefetch_bucket(hash);
    batch.push(Planned { hash, step, end });
}

fn key_of<'a>(command: &Command<'a>) -> &'a [u8] {
    match *command {
        Command::Delete { key } | Command::Arithmetic { key, .. } | Command::Touch { key, .. } => key,
        _ => b"",
    }
}

/// Executes one request and encodes its answer, in room made before any lock is taken.
#[inline]
fn run<O: Out>(cx: &mut Context<'_>, hash: Hash, step: Step<'_>, out: &mut O) -> Option<Stop> {
    match step {
        Step::Single { key } => {
            let reply = ReplyShape::default();
            read_key(cx, hash, key, Keys { touch: None, reply }, out);
            execute(cx, hash, Command::EndOfKeys, |outcome| encode(reply, outcome, out));
            None
        }
        Step::Key { key, keys } => {
            read_key(cx, hash, key, keys, out);
            None
        }
        Step::Put { request, value, reply } => {
            let outcome = store_whole(cx, hash, (request, &StoreTerms { compare: None }), value);
            out.make_room(REPLY_HEAD_LEN_MAX);
            encode(reply, outcome, out);
            None
        }
        Step::One(request) => {
            out.make_room(REPLY_HEAD_LEN_MAX);
            execute(cx, hash, request.command, |outcome| match outcome {
                Outcome::Close => Some(Stop::Close),
                Outcome::Abort => Some(Stop::Abort),
                outcome => {
                    encode(request.reply, outcome, out);
                    None
                }
            })
        }
    }
}

#[inline]
fn read_key<O: Out>(cx: &mut Context<'_>, hash: Hash, key: &[u8], keys: Keys, out: &mut O) {
    out.make_room(PIN_VALUE_MIN + REPLY_HEAD_LEN_MAX);
    execute(cx, hash, Command::Get { key, touch: keys.touch }, |outcome| encode(keys.reply, outcome, out));
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
