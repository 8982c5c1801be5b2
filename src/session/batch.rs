//! Requests of the text protocol that are executed together.
//!
//! As many as the input holds, up to [`BATCH_REQUESTS_MAX`] (every key of a multi-key get is one), are parsed before the first is
//! executed. Each key is hashed and its bucket's line asked for as it is parsed; when all are, the items their tags point at are asked for;
//! then they are executed, in order. So the waits for memory overlap, which is what makes multi-key gets and pipelines fast when the data is
//! larger than the processor's cache.
//!
//! ```text
//!   get a   set b ...   get c       d       end     set e ... 90000
//!   Single  Put         Key         Key     One     └──► Ahead::Value: not all of it is there
//!     └───────┴───────────┴───────────┴── hash, bucket asked for ──► items asked for ──► run, run, run, run, run
//! ```
//!
//! Planning changes nothing: what is not executed after all (the outbox is full) is planned again. What comes behind a batch, and where one
//! begins, is the session's business.

use super::{Stop, TERMINATOR, key_text, may_be_refused_alone, tell_stored};
use crate::command::execute::{execute, store_on_terms, store_whole};
use crate::command::meta::execute_meta;
use crate::command::{
    Command, Context, Daemon, Out, Outcome, ReplyShape, StoreRequest, StoreTerms, StreamRequest, WireError,
};
use crate::limits::{BATCH_REQUESTS_MAX, PIN_VALUE_MIN, REPLY_HEAD_LEN_MAX, WAIT_VALUE_MAX};
use crate::proto::meta::{self, KeyBuffer, MetaRequest};
use crate::proto::text::{Line, NextKey, encode, next_key, parse, plain_set, reply_unless, single_get};
use crate::proto::{Parsed, Request};
use crate::store::{Hash, Store};
use arrayvec::ArrayVec;

/// How the keys of a get line are to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub touch: Option<i64>,
    pub with_cas: bool,
}

impl Keys {
    #[inline]
    fn reply(self) -> ReplyShape {
        ReplyShape { with_cas: self.with_cas, ..ReplyShape::default() }
    }
}

/// A request that has been parsed and is to be executed when the batch is complete.
pub(super) struct Planned<'a> {
    pub hash: Hash,
    pub step: Step<'a>,
    /// Where in the input it ends.
    pub end: usize,
}

pub(super) enum Step<'a> {
    /// A get line of one key, its end included.
    Single {
        key: &'a [u8],
    },
    Key {
        key: &'a [u8],
        keys: Keys,
    },
    /// A plain set.
    Put {
        request: StoreRequest<'a>,
        value: &'a [u8],
        quiet: bool,
    },
    /// Any other store, its terms in [`Batch::more`].
    PutOnTerms {
        request: StoreRequest<'a>,
        value: &'a [u8],
        more: usize,
    },
    /// In [`Batch::more`].
    Meta(usize),
    One {
        command: Command<'a>,
        quiet: bool,
    },
}

/// What most steps do not need: kept apart, so that they stay small.
pub(super) enum More<'a> {
    Meta(MetaRequest<'a>),
    Terms(StoreTerms, ReplyShape),
}

/// What ended the planning of a batch.
pub(super) enum Ahead<'a> {
    /// The batch is full, or so is the input served: plan on.
    More,
    /// The input ends in the middle of something.
    Partial,
    /// A value that is not complete follows, or one that has to be refused as if it were not.
    Value(StoreRequest<'a>, StoreTerms, ReplyShape),
    /// An answer that is more than an answer.
    Stream(StreamRequest),
    /// Bytes to be skipped follow, after this answer.
    Swallow(WireError, ReplyShape, u64),
    /// Nothing that follows can be understood.
    Close(WireError, ReplyShape),
}

/// What has been planned.
pub(super) struct Batch<'a> {
    pub steps: ArrayVec<Planned<'a>, BATCH_REQUESTS_MAX>,
    pub more: ArrayVec<More<'a>, BATCH_REQUESTS_MAX>,
}

impl<'a> Batch<'a> {
    #[inline]
    fn push(&mut self, store: &Store, key: &[u8], step: Step<'a>, end: usize) {
        let hash = store.hash(key);
        store.prefetch_bucket(hash);
        self.steps.push(Planned { hash, step, end });
    }

    /// Puts something aside; where it is.
    #[inline]
    fn put_aside(&mut self, more: More<'a>) -> usize {
        self.more.push(more);
        self.more.len() - 1
    }
}

/// Parses requests into a batch, asking for their buckets' lines; how much of the input they take and what comes next. `keys`
/// says whether the input begins inside a get line, and then whether the rest does.
pub(super) fn plan<'a>(
    daemon: &Daemon,
    input: &'a [u8],
    keys: &mut Option<Keys>,
    scanned: &mut usize,
    batch: &mut Batch<'a>,
    len_max: usize,
) -> (usize, Ahead<'a>) {
    let store = &daemon.store;
    let mut used = 0;
    while batch.steps.len() < len_max {
        let rest = &input[used..];
        if let Some(current) = *keys {
            let (len, has_ended) = plan_key(store, batch, rest, current, used);
            if has_ended {
                *keys = None;
            }
            used += len;
            continue;
        }
        if *scanned == 0
            && let Some((key, len)) = single_get(rest)
        {
            used += len;
            batch.push(store, key, Step::Single { key }, used);
            continue;
        }
        if *scanned == 0
            && let Some((request, reply, rest_len)) = plain_set(rest)
        {
            let len = rest.len() - rest_len;
            match announced(daemon, request, &rest[len..]) {
                Announced::Whole(value) => {
                    used += len + value.len() + TERMINATOR.len();
                    batch.push(store, request.key, Step::Put { request, value, quiet: reply.quiet }, used);
                }
                Announced::Wanting => return (used, Ahead::Partial),
                Announced::Apart => return (used + len, Ahead::Value(request, StoreTerms::default(), reply)),
            }
            continue;
        }
        let Parsed::Complete { used: len, value: line } = parse(rest, scanned) else { return (used, Ahead::Partial) };
        let behind = &rest[len..];
        match line {
            Line::Keys { touch, reply } => *keys = Some(Keys { touch, with_cas: reply.with_cas }),
            Line::One(Request { command: Command::Stream(stream), .. }) => return (used + len, Ahead::Stream(stream)),
            Line::One(Request { command, reply }) => {
                let step = Step::One { command, quiet: reply.quiet };
                batch.push(store, key_of(&command), step, used + len);
                if matches!(command, Command::Quit | Command::Abort) {
                    return (used + len, Ahead::More);
                }
            }
            Line::Meta(request) => {
                let mut buffer = KeyBuffer::new();
                let step = Step::Meta(batch.put_aside(More::Meta(request)));
                batch.push(store, request.key.bytes(&mut buffer), step, used + len);
            }
            Line::Value(..) | Line::MetaValue(..) => {
                let (request, terms, reply) = on_terms(line);
                match announced(daemon, request, behind) {
                    Announced::Whole(value) => {
                        let value_len = value.len() + TERMINATOR.len();
                        push_put(daemon, batch, (request, terms, reply), value, used + len + value_len);
                        used += value_len;
                    }
                    Announced::Wanting => return (used, Ahead::Partial),
                    Announced::Apart => return (used + len, Ahead::Value(request, terms, reply)),
                }
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

/// Plans the next key of a get line, or its end; how many bytes that took, and whether it was the end.
#[inline]
fn plan_key<'a>(store: &Store, batch: &mut Batch<'a>, rest: &'a [u8], keys: Keys, at: usize) -> (usize, bool) {
    match next_key(rest) {
        NextKey::Key { key, used } => {
            batch.push(store, key, Step::Key { key, keys }, at + used);
            (used, false)
        }
        NextKey::End { used } => {
            let step = Step::One { command: Command::EndOfKeys, quiet: false };
            batch.push(store, b"", step, at + used);
            (used, true)
        }
    }
}

/// How a value that a line has announced is to be dealt with.
enum Announced<'a> {
    /// With its line: here it is.
    Whole(&'a [u8]),
    /// With its line, when all of it has come.
    Wanting,
    /// By itself, as it comes.
    Apart,
}

#[inline]
fn announced<'a>(daemon: &Daemon, request: StoreRequest<'_>, behind: &'a [u8]) -> Announced<'a> {
    let Some(whole) = behind.get(..request.value_len + TERMINATOR.len()) else {
        // A short value is waited for, with its line; a long one is received into its chunk.
        let wait = request.value_len <= WAIT_VALUE_MAX && !has_bad_terminator(behind, request.value_len);
        return if wait { Announced::Wanting } else { Announced::Apart };
    };
    let (value, terminator) = whole.split_at(request.value_len);
    // What may be refused goes the way of a value in pieces: the same answer, however it comes.
    if terminator != TERMINATOR || may_be_refused_alone(daemon, request) {
        return Announced::Apart;
    }
    Announced::Whole(value)
}

/// A value that a line has announced, with its terms: none of its own for most.
fn on_terms(line: Line<'_>) -> (StoreRequest<'_>, StoreTerms, ReplyShape) {
    match line {
        Line::Value(request, reply) => (request, StoreTerms::default(), reply),
        Line::MetaValue(request, terms, reply) => (request, terms, reply),
        _ => unreachable!("asked for values only"),
    }
}

fn push_put<'a>(
    daemon: &Daemon,
    batch: &mut Batch<'a>,
    (request, terms, reply): (StoreRequest<'a>, StoreTerms, ReplyShape),
    value: &'a [u8],
    end: usize,
) {
    let mut buffer = KeyBuffer::new();
    let step = Step::PutOnTerms { request, value, more: batch.put_aside(More::Terms(terms, reply)) };
    batch.push(&daemon.store, key_text(request, &terms).bytes(&mut buffer), step, end);
}

/// Whether the bytes behind a line show already that its value is not followed by a terminator.
fn has_bad_terminator(behind: &[u8], value_len: usize) -> bool {
    behind.get(value_len).is_some_and(|&byte| byte != TERMINATOR[0])
}

fn key_of<'a>(command: &Command<'a>) -> &'a [u8] {
    match *command {
        Command::Delete { key }
        | Command::Arithmetic { key, .. }
        | Command::Touch { key, .. }
        | Command::Lease { key }
        | Command::Describe { key } => key,
        _ => b"",
    }
}

/// Executes one request and encodes its answer, in room made before any lock is taken.
#[inline(always)]
pub(super) fn run<O: Out>(
    cx: &mut Context<'_>,
    hash: Hash,
    step: &Step<'_>,
    more: &[More<'_>],
    out: &mut O,
) -> Option<Stop> {
    match *step {
        Step::Single { key } => {
            let keys = Keys { touch: None, with_cas: false };
            read_key(cx, hash, key, keys, out);
            execute(cx, hash, Command::EndOfKeys, |outcome| encode(keys.reply(), outcome, out));
        }
        Step::Key { key, keys } => read_key(cx, hash, key, keys, out),
        Step::Put { request, value, quiet } => {
            let outcome = store_whole(cx, hash, request, value);
            out.make_room(REPLY_HEAD_LEN_MAX);
            encode(reply_unless(quiet), outcome, out);
        }
        Step::PutOnTerms { request, value, more: at } => {
            let More::Terms(terms, reply) = &more[at] else { unreachable!("terms were put aside") };
            let (mut buffer, text) = (KeyBuffer::new(), key_text(request, terms));
            let request = StoreRequest { key: text.bytes(&mut buffer), ..request };
            let outcome = store_on_terms(cx, hash, (request, terms), value);
            tell_stored(cx, reply, (text, value.len()), outcome, out);
        }
        Step::Meta(at) => {
            let More::Meta(request) = &more[at] else { unreachable!("a request was put aside") };
            run_meta(cx, hash, request, out);
        }
        Step::One { command, quiet } => {
            let is_lease = matches!(command, Command::Lease { .. });
            out.make_room(REPLY_HEAD_LEN_MAX + if is_lease { PIN_VALUE_MIN } else { 0 });
            return execute(cx, hash, command, |outcome| match outcome {
                Outcome::Close if command == Command::Abort => Some(Stop::Abort),
                Outcome::Close => Some(Stop::Close),
                Outcome::Later => Some(Stop::Costly),
                outcome => {
                    encode(reply_unless(quiet), outcome, out);
                    None
                }
            });
        }
    }
    None
}

#[inline(never)]
fn run_meta<O: Out>(cx: &mut Context<'_>, hash: Hash, request: &MetaRequest<'_>, out: &mut O) {
    let mut buffer = KeyBuffer::new();
    let key = request.key.bytes(&mut buffer);
    out.make_room(REPLY_HEAD_LEN_MAX + if request.reply.value { PIN_VALUE_MIN } else { 0 });
    execute_meta(cx, (hash, key), &request.command, |outcome| meta::encode(request, outcome, out));
}

#[inline]
fn read_key<O: Out>(cx: &mut Context<'_>, hash: Hash, key: &[u8], keys: Keys, out: &mut O) {
    out.make_room(PIN_VALUE_MIN + REPLY_HEAD_LEN_MAX);
    execute(cx, hash, Command::Get { key, touch: keys.touch }, |outcome| encode(keys.reply(), outcome, out));
}
