//! One client that speaks the binary protocol.
//!
//! ```text
//!              value at hand: stored
//!            ┌────────────────────────┐
//!   Header ──┤                        ├──► Header
//!    │ │     └──value to come──► Value┤
//!    │ └── body of no interest ──► Swallow ──► Header
//! ```
//!
//! Batches, prefetching, budgets and the law of fragments are as for text (`session/mod.rs`, `session/batch.rs`); there is less of everything, because
//! every length is known beforehand.

use super::{Stop, may_be_refused_alone};
use crate::command::execute::{
    begin_store, count, delete, execute, finish_store, get, grow_store, store_on_terms, store_whole, touch,
};
use crate::command::{Context, Daemon, Out, Outcome, StoreRequest, StoreTerms, StoreVerb, WireError};
use crate::limits::{
    BATCH_REQUESTS_MAX, DIRECT_READ_MIN, OUTPUT_LEN_MAX, PIN_VALUE_MIN, REPLY_HEAD_LEN_MAX, TURN_COPIED_MAX,
    WAIT_VALUE_MAX,
};
use crate::proto::Parsed;
use crate::proto::binary::{Ask, Echo, Packet, encode, encode_status, parse};
use crate::store::{Hash, Reservation};
use arrayvec::ArrayVec;

/// What is expected next.
#[derive(Debug, Default)]
pub(super) enum State {
    /// A header.
    #[default]
    Header,
    /// Bytes of a value.
    Value(Box<Receiving>),
    /// This many bytes of no interest.
    Swallow(u64),
}

/// A value on its way from the socket to its chunk.
#[derive(Debug)]
pub(super) struct Receiving {
    reservation: Reservation,
    verb: StoreVerb,
    terms: StoreTerms,
    echo: Echo,
}

/// A request that is to be executed when the batch is complete.
struct Planned<'a> {
    hash: Hash,
    packet: Packet<'a>,
    /// What is to be stored.
    value: &'a [u8],
    /// Where in the input it ends.
    end: usize,
}

/// What ended the planning of a batch.
enum Ahead<'a> {
    /// The batch is full, or the connection at its end.
    More,
    /// The input ends in the middle of something.
    Partial,
    /// A value that is not complete follows, or one that has to be refused as if it were not.
    Value(StoreRequest<'a>, StoreTerms, Echo),
    /// So many bytes to be skipped follow.
    Swallow(u64),
}

type Batch<'a> = ArrayVec<Planned<'a>, BATCH_REQUESTS_MAX>;

impl State {
    /// Goes on by a batch, or by a part of a value.
    pub(super) fn step<O: Out>(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
        out: &mut O,
        requests_left: &mut u32,
    ) -> (usize, Option<Stop>) {
        match self {
            Self::Header => self.serve(cx, input, out, requests_left),
            Self::Value(_) => self.fill(cx, input, out),
            Self::Swallow(left) => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= len as u64;
                if *left > 0 {
                    return (len, Some(Stop::Input));
                }
                *self = Self::Header;
                (len, None)
            }
        }
    }

    /// Whether a request may begin.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Self::Header)
    }

    pub(super) fn is_receiving(&self) -> bool {
        matches!(self, Self::Value(_))
    }

    /// See [`super::Session::unfilled`].
    pub(super) fn unfilled(&mut self) -> Option<&mut [u8]> {
        let Self::Value(receiving) = self else { return None };
        let missing = receiving.reservation.unfilled();
        (missing.len() >= DIRECT_READ_MIN).then_some(missing)
    }

    /// See [`super::Session::filled`].
    pub(super) fn filled(&mut self, len: usize) {
        let Self::Value(receiving) = self else { panic!("no value is under way") };
        receiving.reservation.advance(len);
    }

    /// Plans and executes one batch.
    fn serve<O: Out>(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
        out: &mut O,
        requests_left: &mut u32,
    ) -> (usize, Option<Stop>) {
        let mut batch = Batch::new();
        let len_max = usize::try_from(*requests_left).unwrap_or(usize::MAX).min(BATCH_REQUESTS_MAX);
        let (used, ahead) = plan(cx.daemon, input, &mut batch, len_max);
        *requests_left -= u32::try_from(batch.len()).expect("a batch is small");
        if batch.len() > 1 {
            for planned in &batch {
                cx.daemon.store.prefetch_items(planned.hash);
            }
        }
        let mut begin = 0;
        for planned in &batch {
            if let Some(stop) = run(cx, planned, out) {
                return (if stop == Stop::Costly { begin } else { planned.end }, Some(stop));
            }
            begin = planned.end;
            let full = out.pending_len() >= OUTPUT_LEN_MAX;
            if (full || cx.local.copied_len() >= TURN_COPIED_MAX) && planned.end < used {
                // The rest of the batch is planned again, from where this one ended.
                return (planned.end, Some(if full { Stop::Output } else { Stop::Budget }));
            }
        }
        match ahead {
            Ahead::More => {}
            Ahead::Partial => return (used, Some(Stop::Input)),
            Ahead::Value(request, terms, echo) => *self = receive(cx, (request, terms), echo, out),
            Ahead::Swallow(len) => *self = Self::Swallow(len),
        }
        (used, None)
    }

    /// Moves bytes of the input into the value, as far as its chunk or piece goes; stores it when it is complete.
    fn fill<O: Out>(&mut self, cx: &mut Context<'_>, input: &[u8], out: &mut O) -> (usize, Option<Stop>) {
        let Self::Value(mut receiving) = std::mem::take(self) else { return (0, None) };
        if let Err(error) = grow_store(cx, &mut receiving.reservation, receiving.verb) {
            answer(receiving.echo, error, out);
            *self = Self::Swallow(receiving.reservation.missing_len() as u64);
            return (0, None);
        }
        let missing = receiving.reservation.unfilled();
        let len = missing.len().min(input.len());
        missing[..len].copy_from_slice(&input[..len]);
        receiving.reservation.advance(len);
        if !receiving.reservation.is_complete() {
            *self = Self::Value(receiving);
            return (len, (len == input.len()).then_some(Stop::Input));
        }
        let Receiving { reservation, verb, terms, echo } = *receiving;
        let outcome = finish_store(cx, reservation, verb, &terms);
        tell_written(cx, echo, outcome, out);
        (len, None)
    }
}

/// Parses requests into a batch, asking for their buckets' lines; how much of the input they take and what comes next.
fn plan<'a>(daemon: &Daemon, input: &'a [u8], batch: &mut Batch<'a>, len_max: usize) -> (usize, Ahead<'a>) {
    let mut used = 0;
    while batch.len() < len_max {
        let Parsed::Complete { used: len, value: packet } = parse(&input[used..]) else {
            return (used, Ahead::Partial);
        };
        let (start, mut end) = (used, used + len);
        let mut value: &[u8] = b"";
        if let Ask::Value(request, terms) = packet.ask {
            let Some(whole) = input[end..].get(..request.value_len) else {
                // A short value is waited for, with its header; a long one is received into its chunk.
                let wait = request.value_len <= WAIT_VALUE_MAX;
                return if wait { (start, Ahead::Partial) } else { (end, Ahead::Value(request, terms, packet.echo)) };
            };
            // What may be refused goes the way of a value in pieces: the same answer, however it comes.
            if may_be_refused_alone(daemon, request) {
                return (end, Ahead::Value(request, terms, packet.echo));
            }
            (value, end) = (whole, end + whole.len());
        }
        let hash = daemon.store.hash(key_of(&packet.ask));
        daemon.store.prefetch_bucket(hash);
        batch.push(Planned { hash, packet, value, end });
        used = end;
        match packet.ask {
            Ask::Answer(_, swallow) if swallow > 0 => return (used, Ahead::Swallow(swallow)),
            Ask::Last(_) | Ask::Foreign => return (used, Ahead::More),
            _ => {}
        }
    }
    (used, Ahead::More)
}

#[inline]
fn key_of<'a>(ask: &Ask<'a>) -> &'a [u8] {
    match *ask {
        Ask::Get { key } | Ask::Touch { key, .. } | Ask::Delete { key, .. } | Ask::Count { key, .. } => key,
        Ask::Value(request, _) => request.key,
        Ask::One(_) | Ask::Answer(..) | Ask::Last(_) | Ask::Foreign => b"",
    }
}

/// Executes one request and encodes its answer, in room made before any lock is taken.
#[inline]
fn run<O: Out>(cx: &mut Context<'_>, planned: &Planned<'_>, out: &mut O) -> Option<Stop> {
    let (hash, echo) = (planned.hash, planned.packet.echo);
    match planned.packet.ask {
        Ask::Get { key } => {
            out.make_room(PIN_VALUE_MIN + REPLY_HEAD_LEN_MAX);
            get(cx, (hash, key), None, |outcome| encode(echo, key, outcome, 0, out));
        }
        Ask::Touch { key, exptime } => {
            out.make_room(PIN_VALUE_MIN + REPLY_HEAD_LEN_MAX);
            touch(cx, (hash, key), exptime, |outcome| encode(echo, key, outcome, 0, out));
        }
        Ask::Value(request, terms) => {
            let outcome = match terms.compare {
                None => store_whole(cx, hash, request, planned.value),
                Some(_) => store_on_terms(cx, hash, (request, &terms), planned.value),
            };
            tell_written(cx, echo, outcome, out);
        }
        Ask::Count { key, count: how } => {
            let outcome = count(cx, (hash, key), how);
            tell_written(cx, echo, outcome, out);
        }
        Ask::Delete { key, compare } => {
            let outcome = delete(cx, (hash, key), compare);
            out.make_room(REPLY_HEAD_LEN_MAX);
            encode(echo, key, outcome, 0, out);
        }
        Ask::One(command) => {
            return execute(cx, hash, command, |outcome| match outcome {
                Outcome::Later => Some(Stop::Costly),
                outcome => {
                    encode(echo, b"", outcome, 0, out);
                    None
                }
            });
        }
        Ask::Answer(status, _) => encode_status(echo, status, out),
        Ask::Last(status) => {
            encode_status(echo, status, out);
            return Some(Stop::Close);
        }
        Ask::Foreign => return Some(Stop::Close),
    }
    None
}

/// Begins to receive a value that is not complete.
fn receive<O: Out>(
    cx: &mut Context<'_>,
    (request, terms): (StoreRequest<'_>, StoreTerms),
    echo: Echo,
    out: &mut O,
) -> State {
    let hash = cx.daemon.store.hash(request.key);
    match begin_store(cx, hash, (request, &terms)) {
        Ok(reservation) => State::Value(Box::new(Receiving { reservation, verb: request.verb, terms, echo })),
        Err(error) => {
            answer(echo, error, out);
            State::Swallow(request.value_len as u64)
        }
    }
}

/// Answers what has written an item, if it has: with the item's CAS number.
#[inline]
fn tell_written<O: Out>(cx: &Context<'_>, echo: Echo, outcome: Outcome<'_>, out: &mut O) {
    out.make_room(REPLY_HEAD_LEN_MAX);
    encode(echo, b"", outcome, cx.local.last_written().cas, out);
}

fn answer<O: Out>(echo: Echo, error: WireError, out: &mut O) {
    out.make_room(REPLY_HEAD_LEN_MAX);
    encode(echo, b"", Outcome::Refused(error), 0, out);
}
