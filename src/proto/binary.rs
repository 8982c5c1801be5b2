//! memcached's binary protocol: a header of 24 bytes announces extras, a key and a value; answers have the same form.
//!
//! ```text
//!   0       1       2               4       5       6               8
//!   +-------+-------+---------------+-------+-------+---------------+-------------------------------+
//!   | magic | op-   | key length    | extras| data  | status (in an | length of the body: extras,   |
//!   |       | code  |               | length| type  | answer)       | key, value                    |
//!   +-------+-------+---------------+-------+-------+---------------+-------------------------------+
//!   | opaque: echoed as it is       | CAS number                                                    |
//!   +-------------------------------+---------------------------------------------------------------+
//!   | extras | key | value                                                            high bytes first
//! ```
//!
//! [`parse`] waits for header, extras and key (at most [`HEAD_LEN_MAX`] bytes) and stops at the value. What the header says of
//! lengths decides before anything else whether it can be meant.
//!
//! **Quiet forms** say nothing where the answer is what was hoped for: a hit is told, a miss is not; that something is stored is
//! not told. Errors are always told. All of this is [`Echo`]'s, and nobody else's business.
//!
//! # Whose rules
//!
//! memcached 1.6's, as its bytes show; (own) marks what is slabd's.
//!
//! | input | answer |
//! | --- | --- |
//! | another magic than 0x80 | closed, after what is owed has been written (own: memcached drops hits) |
//! | extras and key longer than the body | 0x81, then closed |
//! | extras, key or value missing or too much for the opcode; a key of more than 250 bytes | 0x04, then closed |
//! | a value behind stat, touch, gat, gatq, gatk, gatkq | the same (own: memcached takes it for the next header) |
//! | an opcode that is not served (verbosity, range operations) | 0x81; its body is skipped (own: memcached skips too much) |
//! | SASL where there are no passwords, or after the login (see `login.rs`) | 0x81, its value is skipped (after the login: own) |
//! | a value too large | 0x03, and it is skipped; set without a CAS number removes what was there |
//! | add of what is there, replace of what is not | 0x02, 0x01 |
//! | set, add or replace with a CAS number | text's cas, whatever the verb; what was there stays if the value is refused (own) |
//! | append or prepend: no such key; another CAS number | 0x05; 0x02 |
//! | increment or decrement of what is not there | begins at the initial number, or 0x01 if the lifetime is 0xffffffff |
//! | stat of an unknown topic | 0x01 |
//! | data type, vbucket | not looked at |

use super::admin::stats_topic;
use super::line::Words;
use super::{Parsed, VERSION};
use crate::command::{
    Command, Count, Direction, Initial, Out, Outcome, Report, StoreRequest, StoreTerms, StoreVerb, View, WireError,
};
use crate::limits::{KEY_LEN_MAX, REPLY_HEAD_LEN_MAX};

// ---- asking -----------------------------------------------------------------------------------------------------

/// The first byte of every request, and of no text command.
pub const REQUEST_MAGIC: u8 = 0x80;

/// One request without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What its answer repeats.
    pub echo: Echo,
    /// What it asks.
    pub ask: Ask<'a>,
}

/// What a packet asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Read a key.
    Get {
        /// 1 to 250 bytes, of any kind, as all keys here.
        key: &'a [u8],
    },
    /// Give an item a new lifetime, and read it.
    Touch {
        /// Its key.
        key: &'a [u8],
        /// As the client wrote it.
        exptime: i64,
    },
    /// Store the value that follows in the input, of `value_len` bytes.
    Value(StoreRequest<'a>, StoreTerms),
    /// Remove a key.
    Delete {
        /// Which.
        key: &'a [u8],
        /// If it has this CAS number.
        compare: Option<u64>,
    },
    /// Count up or down.
    Count {
        /// The key.
        key: &'a [u8],
        /// How.
        count: Count,
    },
    /// Something without a key.
    One(Command<'a>),
    /// Nothing but this answer. So many bytes that follow in the input are to be skipped.
    Answer(Status, u64),
    /// Nothing but this answer, then the end of the connection.
    Last(Status),
    /// This is no packet: the end of the connection.
    Foreign,
}

/// Reads one request up to its value.
#[inline]
#[must_use]
pub fn parse(input: &[u8]) -> Parsed<Packet<'_>> {
    let Some((header, rest)) = input.split_first_chunk::<HEADER_LEN>() else {
        return if input.first().is_none_or(|magic| *magic == REQUEST_MAGIC) { Parsed::Partial } else { foreign() };
    };
    if header[0] != REQUEST_MAGIC {
        return foreign();
    }
    let echo = Echo::of(header);
    let key_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let extras_len = usize::from(header[4]);
    let body_len = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
    let Some(value_len) = body_len.checked_sub(extras_len + key_len) else {
        return last(echo, Status::UnknownCommand);
    };
    if key_len > KEY_LEN_MAX {
        return last(echo, Status::InvalidArguments);
    }
    let Some((head, _)) = rest.split_at_checked(extras_len + key_len) else { return Parsed::Partial };
    let (extras, key) = head.split_at(extras_len);
    let cas = u64::from_be_bytes([
        header[16], header[17], header[18], header[19], header[20], header[21], header[22], header[23],
    ]);
    let ask = ask(echo.opcode, extras, key, value_len, cas);
    Parsed::Complete { used: HEADER_LEN + head.len(), value: Packet { echo, ask } }
}

#[inline]
fn ask<'a>(opcode: u8, extras: &[u8], key: &'a [u8], value_len: usize, cas: u64) -> Ask<'a> {
    let store = |verb, (flags, exptime), compare| {
        let request = StoreRequest { verb, key, flags, exptime: i64::from(exptime), value_len };
        Ask::Value(request, StoreTerms { compare, ..StoreTerms::default() })
    };
    let put = |verb, extras: &[u8]| {
        let verb = if cas == 0 { verb } else { StoreVerb::Cas(cas) };
        store(verb, (number(extras), number(&extras[4..])), None)
    };
    let compare = (cas != 0).then_some(cas);
    match (opcode, extras.len(), key.len(), value_len) {
        (GET | GETQ | GETK | GETKQ, 0, 1.., 0) => Ask::Get { key },
        (SET | SETQ, 8, 1.., _) => put(StoreVerb::Set, extras),
        (ADD | ADDQ, 8, 1.., _) => put(StoreVerb::Add, extras),
        (REPLACE | REPLACEQ, 8, 1.., _) => put(StoreVerb::Replace, extras),
        (APPEND | APPENDQ, 0, 1.., _) => store(StoreVerb::Append, (0, 0), compare),
        (PREPEND | PREPENDQ, 0, 1.., _) => store(StoreVerb::Prepend, (0, 0), compare),
        (DELETE | DELETEQ, 0, 1.., 0) => Ask::Delete { key, compare },
        (INCREMENT | INCREMENTQ, 20, 1.., 0) => Ask::Count { key, count: count(Direction::Up, extras, compare) },
        (DECREMENT | DECREMENTQ, 20, 1.., 0) => Ask::Count { key, count: count(Direction::Down, extras, compare) },
        (TOUCH | GAT | GATQ | GATK | GATKQ, 4, 1.., 0) => Ask::Touch { key, exptime: i64::from(number(extras)) },
        (FLUSH | FLUSHQ, 0, 0, 0) => Ask::One(Command::FlushAll { delay: 0 }),
        (FLUSH | FLUSHQ, 4, 0, 0) => Ask::One(Command::FlushAll { delay: i64::from(number(extras)) }),
        (STAT, 0, _, 0) => stats_topic(Words::new(key))
            .map_or(Ask::Answer(Status::NotFound, 0), |topic| Ask::One(Command::Stats(topic))),
        (NOOP, 0, 0, 0) => Ask::Answer(Status::Ok, 0),
        (VERSION_OP, 0, 0, 0) => Ask::One(Command::Version),
        (QUIT | QUITQ, 0, 0, 0) => Ask::Last(Status::Ok),
        // As memcached without SASL.
        (SASL_LIST, 0, 0, 0) | (SASL_AUTH | SASL_STEP, 0, 1.., _) => {
            Ask::Answer(Status::UnknownCommand, value_len as u64)
        }
        (GET..=PREPENDQ | TOUCH..=GATQ | SASL_LIST..=GATKQ, ..) => Ask::Last(Status::InvalidArguments),
        _ => Ask::Answer(Status::UnknownCommand, value_len as u64),
    }
}

/// Delta, initial number, and its lifetime, of which one means that there is no initial number.
fn count(direction: Direction, extras: &[u8], compare: Option<u64>) -> Count {
    let long = |at: usize| u64::from(number(&extras[at..])) << 32 | u64::from(number(&extras[at + 4..]));
    let exptime = number(&extras[16..]);
    let initial = (exptime != NO_INITIAL).then(|| Initial { number: long(8), exptime: i64::from(exptime) });
    Count { direction, delta: long(0), compare, initial }
}

/// The first four bytes.
#[inline]
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cold]
fn foreign<'a>() -> Parsed<Packet<'a>> {
    Parsed::Complete { used: 0, value: Packet { echo: Echo { opcode: 0, opaque: [0; 4] }, ask: Ask::Foreign } }
}

/// Decided by the header alone.
#[cold]
fn last<'a>(echo: Echo, status: Status) -> Parsed<Packet<'a>> {
    Parsed::Complete { used: HEADER_LEN, value: Packet { echo, ask: Ask::Last(status) } }
}

/// Bytes of a header.
pub const HEADER_LEN: usize = 24;

/// Most bytes that [`parse`] waits for: extras have a length of one byte.
pub const HEAD_LEN_MAX: usize = HEADER_LEN + u8::MAX as usize + KEY_LEN_MAX;

/// The lifetime in increment and decrement that says that nothing is to be made.
const NO_INITIAL: u32 = u32::MAX;

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const ADD: u8 = 0x02;
const REPLACE: u8 = 0x03;
const DELETE: u8 = 0x04;
const INCREMENT: u8 = 0x05;
const DECREMENT: u8 = 0x06;
const QUIT: u8 = 0x07;
const FLUSH: u8 = 0x08;
const GETQ: u8 = 0x09;
const NOOP: u8 = 0x0a;
const VERSION_OP: u8 = 0x0b;
const GETK: u8 = 0x0c;
const GETKQ: u8 = 0x0d;
const APPEND: u8 = 0x0e;
const PREPEND: u8 = 0x0f;
const STAT: u8 = 0x10;
const SETQ: u8 = 0x11;
const ADDQ: u8 = 0x12;
const REPLACEQ: u8 = 0x13;
const DELETEQ: u8 = 0x14;
const INCREMENTQ: u8 = 0x15;
const DECREMENTQ: u8 = 0x16;
const QUITQ: u8 = 0x17;
const FLUSHQ: u8 = 0x18;
const APPENDQ: u8 = 0x19;
const PREPENDQ: u8 = 0x1a;
const TOUCH: u8 = 0x1c;
const GAT: u8 = 0x1d;
const GATQ: u8 = 0x1e;
pub(super) const SASL_LIST: u8 = 0x20;
pub(super) const SASL_AUTH: u8 = 0x21;
const SASL_STEP: u8 = 0x22;
const GATK: u8 = 0x23;
const GATKQ: u8 = 0x24;

// ---- answering --------------------------------------------------------------------------------------------------

/// What an answer repeats of its request; with the opcode goes how to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    opcode: u8,
    opaque: [u8; 4],
}

impl Echo {
    pub(super) fn of(header: &[u8; HEADER_LEN]) -> Self {
        Self { opcode: header[1], opaque: [header[12], header[13], header[14], header[15]] }
    }

    pub(super) fn opcode(self) -> u8 {
        self.opcode
    }

    /// Whether nothing is said when all is as hoped for.
    #[inline]
    fn is_quiet(self) -> bool {
        matches!(self.opcode, GETQ | GETKQ | SETQ..=PREPENDQ | GATQ | GATKQ)
    }

    /// Whether a hit, and a miss that is told, name the key.
    #[inline]
    fn names_key(self) -> bool {
        matches!(self.opcode, GETK | GETKQ | GATK | GATKQ)
    }

    /// The header of an answer.
    #[inline]
    fn header(self, status: Status, key_len: usize, extras_len: u8, body_len: usize, cas: u64) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[0] = ANSWER_MAGIC;
        header[1] = self.opcode;
        header[2..4].copy_from_slice(&u16::try_from(key_len).unwrap_or(u16::MAX).to_be_bytes());
        header[4] = extras_len;
        header[6..8].copy_from_slice(&(status as u16).to_be_bytes());
        header[8..12].copy_from_slice(&u32::try_from(body_len).unwrap_or(u32::MAX).to_be_bytes());
        header[12..16].copy_from_slice(&self.opaque);
        header[16..24].copy_from_slice(&cas.to_be_bytes());
        header
    }
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    /// Well.
    Ok = 0x00,
    /// There is no such key.
    NotFound = 0x01,
    /// There is such a key, or it has another CAS number.
    Exists = 0x02,
    /// More than an item may have.
    TooLarge = 0x03,
    /// What no request of this opcode looks like.
    InvalidArguments = 0x04,
    /// The condition did not hold.
    NotStored = 0x05,
    /// What is there is no number.
    NonNumericValue = 0x06,
    /// An opcode that is not served.
    UnknownCommand = 0x81,
    /// Not logged in, or not by this.
    AuthFailure = 0x20,
    /// No chunk to be had.
    OutOfMemory = 0x82,
}

impl Status {
    /// The body of an answer that is nothing else.
    fn text(self) -> &'static [u8] {
        match self {
            Self::Ok => b"",
            Self::NotFound => b"Not found",
            Self::Exists => b"Data exists for key.",
            Self::TooLarge => b"Too large.",
            Self::InvalidArguments => b"Invalid arguments",
            Self::NotStored => b"Not stored.",
            Self::NonNumericValue => b"Non-numeric server-side value for incr or decr",
            Self::UnknownCommand => b"Unknown command",
            Self::AuthFailure => b"Auth failure.",
            Self::OutOfMemory => b"Out of memory allocating item",
        }
    }
}

/// Answers. `key` is the request's, `cas` the number of the item that was written, if one was. A hit takes at most
/// [`REPLY_HEAD_LEN_MAX`] bytes beside its value: with room made for those before, it may be encoded under a lock.
#[inline]
pub fn encode<O: Out>(echo: Echo, key: &[u8], outcome: Outcome<'_>, cas: u64, out: &mut O) {
    match outcome {
        Outcome::Hit(view) => hit(echo, view, out),
        Outcome::Miss if echo.is_quiet() => {}
        Outcome::Miss if echo.names_key() => {
            out.bytes(&echo.header(Status::NotFound, key.len(), 0, key.len(), 0));
            out.bytes(key);
        }
        Outcome::Miss | Outcome::NotFound => encode_status(echo, Status::NotFound, out),
        Outcome::Stored if echo.is_quiet() => {}
        Outcome::Stored => out.bytes(&echo.header(Status::Ok, 0, 0, 0, cas)),
        Outcome::NotStored => encode_status(echo, not_stored(echo), out),
        Outcome::Exists => encode_status(echo, Status::Exists, out),
        Outcome::Number(_) if echo.is_quiet() => {}
        Outcome::Number(number) => {
            out.bytes(&echo.header(Status::Ok, 0, 0, size_of::<u64>(), cas));
            out.bytes(&number.to_be_bytes());
        }
        Outcome::Deleted | Outcome::Done | Outcome::Touched => encode_status(echo, Status::Ok, out),
        Outcome::Version => {
            out.bytes(&echo.header(Status::Ok, 0, 0, VERSION.len(), 0));
            out.bytes(VERSION.as_bytes());
        }
        Outcome::Report(report) | Outcome::Rows(report) => rows(echo, &report, out),
        Outcome::Prefixes(lines) => {
            let name = b"detailed";
            out.make_room(lines.len() + REPLY_HEAD_LEN_MAX);
            out.bytes(&echo.header(Status::Ok, name.len(), 0, name.len() + lines.len(), 0));
            out.bytes(name);
            out.bytes(&lines);
            rows(echo, &Report::default(), out);
        }
        Outcome::Reset => rows(echo, &Report::default(), out),
        Outcome::Refused(error) => refused(echo, error, out),
        Outcome::EndOfKeys | Outcome::Close | Outcome::Later => {}
        // Of commands that this protocol does not have.
        Outcome::StoredStale | Outcome::Leased(_) | Outcome::Described(_) | Outcome::Noop => {}
    }
}

/// Answers with a status and what it is called.
pub fn encode_status<O: Out>(echo: Echo, status: Status, out: &mut O) {
    if status != Status::Ok || !echo.is_quiet() {
        say(echo, status, status.text(), out);
    }
}

#[inline]
fn hit<O: Out>(echo: Echo, view: View<'_>, out: &mut O) {
    let value_len = if echo.opcode == TOUCH { 0 } else { view.value.len() };
    let key = if echo.names_key() { view.key } else { b"" };
    let mut head = [0; HEADER_LEN + FLAGS_LEN];
    let body_len = FLAGS_LEN + key.len() + value_len;
    head[..HEADER_LEN].copy_from_slice(&echo.header(Status::Ok, key.len(), 4, body_len, view.cas));
    head[HEADER_LEN..].copy_from_slice(&view.flags.to_be_bytes());
    out.bytes(&head);
    if !key.is_empty() {
        out.bytes(key);
    }
    if echo.opcode != TOUCH {
        out.value(view.value);
    }
}

fn not_stored(echo: Echo) -> Status {
    match echo.opcode {
        ADD | ADDQ => Status::Exists,
        REPLACE | REPLACEQ => Status::NotFound,
        _ => Status::NotStored,
    }
}

#[cold]
fn refused<O: Out>(echo: Echo, error: WireError, out: &mut O) {
    let status = match error {
        WireError::TooLarge => Status::TooLarge,
        WireError::NonNumericValue => Status::NonNumericValue,
        WireError::BadDetailUsage => Status::NotFound,
        WireError::OutOfMemory | WireError::OutOfMemoryIncr | WireError::OutOfMemoryStats => Status::OutOfMemory,
        // memcached's answer.
        WireError::FlushDisabled => Status::AuthFailure,
        // What else is refused is refused by text's parser; but words for it there are.
        _ => Status::InvalidArguments,
    };
    let counts = matches!(echo.opcode, INCREMENT | INCREMENTQ | DECREMENT | DECREMENTQ);
    let text: &[u8] = match error {
        WireError::OutOfMemoryIncr => b"Out of memory incrementing value",
        WireError::OutOfMemory if counts => b"Out of memory allocating new item",
        _ => status.text(),
    };
    say(echo, status, text, out);
}

/// One packet for each row, then an empty one.
#[cold]
fn rows<O: Out>(echo: Echo, report: &Report, out: &mut O) {
    let lens = report.rows.iter().map(|(name, value)| name.len() + value.len() + HEADER_LEN);
    out.make_room(lens.sum::<usize>() + HEADER_LEN);
    for (name, value) in &report.rows {
        out.bytes(&echo.header(Status::Ok, name.len(), 0, name.len() + value.len(), 0));
        out.bytes(name.as_bytes());
        out.bytes(value.as_bytes());
    }
    out.bytes(&echo.header(Status::Ok, 0, 0, 0, 0));
}

/// Answers with a status and some text.
pub fn say<O: Out>(echo: Echo, status: Status, text: &[u8], out: &mut O) {
    out.bytes(&echo.header(status, 0, 0, text.len(), 0));
    out.bytes(text);
}

const ANSWER_MAGIC: u8 = 0x81;

/// Bytes of a hit's extras.
const FLAGS_LEN: usize = size_of::<u32>();

const _: () = assert!(HEADER_LEN + FLAGS_LEN + KEY_LEN_MAX <= REPLY_HEAD_LEN_MAX);
