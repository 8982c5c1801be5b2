//! The classic text protocol: one line asks, then a value may follow; lines answer.
//!
//! [`parse`] reads one line and stops at the value: the session moves the value from the socket to where it lives. A
//! line of get is not read to its end either: [`parse`] makes sure that it is complete and that no key in it is too
//! long, [`next_key`] then hands out its keys, so that the session can stop between two of them when the client does
//! not read its answers.
//!
//! ```text
//!   get k1 k2\r\n                   set k 0 0 5\r\nhello\r\n          set k x 0 5\r\nhello\r\n
//!   └──┘ Keys                       └───────────┘ Value              └───────────┘ RefusedValue
//!       └─┘└┘└──┘ Key, Key, End                  └───────┘ caller's               └───────┘ to be skipped: 7
//! ```
//!
//! Two forms are nearly all there is on the wire: `get <key>`, and `set` with short plain numbers. They have a way of
//! their own ([`single_get`], and one inside [`parse`]) that walks the line once without knowing that it is complete.
//! It leads to the same place as the long way; anything unusual takes the latter.
//!
//! # Whose rules
//!
//! A well-formed request means what it means to every memcached. A malformed one is answered as below; (old) are
//! memcached 1.6.18's words, (new) 1.6.45's, (own) neither's.
//!
//! | input | answer |
//! | --- | --- |
//! | empty or blank line; a key missing; `touch k`, `incr k` | CLIENT_ERROR bad command line format (new) |
//! | blanks before the command; unknown command or `stats` topic; too many words | ERROR (new, old, old) |
//! | too few words for a value; `verbosity` alone | ERROR (old), nothing skipped: no length was named |
//! | `cas k 0 0 5` | CLIENT_ERROR bad command line format, and the value is skipped (new) |
//! | key, flags, lifetime or CAS bad; length too large | same answer (old), and the value is skipped (own) |
//! | flags of more than 32 bits | the same (own; both cut them) |
//! | length negative or no number | same answer (old), then closed: what is value, what command? (own) |
//! | one odd word in place of `noreply` | ignored (old), as is anything behind version, quit, stats |
//! | `delete k 5` | deletes (new); `delete k x`, `delete k 5 x`: usage (old) |
//! | one key too long in a get | no key is served (old) |
//! | a line of more than 2048 bytes that is no get | closed (old), however it arrives (own) |
//! | `slabs`, `lru_crawler`, `cache_memlimit` with odd words | see `admin.rs` (old) |
//! | `lru` with a word missing, odd or unknown | ERROR (old) |
//! | an unknown command whose last word begins with `HTTP/` | closed (old) |
//! | NUL, tab, any other control character in a key | part of the key (NUL: own, C strings end there) |
//! | lifetimes beyond 32 bits | accepted (old) and passed on whole (own; memcached cuts them to 32 bits) |
//!
//! `noreply` is recognised as the last word of the commands that take it, if the number of words is right, and then
//! nothing is answered, errors included (old). What a refused request meant to store is never run as commands (own).

use super::line::{Words, blanks_len, newline, plain_number, signed, unsigned, without_end, word_len, words_fit};
use super::meta::MetaRequest;
use super::{Parsed, Request, VERSION, admin, error_line, lease, meta};
use crate::command::{
    Command, Direction, Factor, LruCommand, LruMode, Out, Outcome, ReplyShape, Report, StoreRequest, StoreTerms,
    StoreVerb, View, WireError,
};
use crate::limits::{
    BLANKS_BEFORE_GET_MAX, GET_LINE_LEN_MAX, KEY_LEN_MAX, LINE_LEN_MAX, REPLY_HEAD_LEN_MAX, TERMINATOR_LEN,
    VALUE_LEN_MAX,
};

// ---- asking -----------------------------------------------------------------------------------------------------

/// What one line asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// All of it is in the line.
    One(Request<'a>),
    /// get, gets, gat, gats. At least one key follows in the input, each of 1 to 250 bytes, then the line's end, all of
    /// it complete: to be drawn with [`next_key`].
    Keys {
        /// The `exptime` of gat and gats as the client wrote it.
        touch: Option<i64>,
        /// How to answer each hit, and the end.
        reply: ReplyShape,
    },
    /// A value of `value_len` bytes and its terminator follow in the input.
    Value(StoreRequest<'a>, ReplyShape),
    /// A meta command; all of it is in the line.
    Meta(MetaRequest<'a>),
    /// The same as for [`Line::Value`], with terms of its own; the key may be in base64.
    MetaValue(StoreRequest<'a>, StoreTerms, ReplyShape),
    /// A value follows, and is not wanted: answer, then skip it.
    RefusedValue {
        /// Why.
        error: WireError,
        /// Whether to answer.
        reply: ReplyShape,
        /// Bytes to skip: the value and its terminator.
        swallow: u64,
    },
    /// A value follows, is not wanted, and nobody knows how long it is: answer, then close.
    RefusedUnknown {
        /// Why.
        error: WireError,
        /// Whether to answer.
        reply: ReplyShape,
    },
}

/// Reads one line. `scanned` is how many bytes of `input` earlier calls have found to hold no newline, when they had
/// the beginning of the same line; 0 for a new one. Kept up to date here: pass the same variable until the line is
/// complete.
#[inline]
pub fn parse<'a>(input: &'a [u8], scanned: &mut usize) -> Parsed<Line<'a>> {
    if *scanned == 0
        && let Some((request, reply, rest_len)) = plain_set(input)
    {
        return Parsed::Complete { used: input.len() - rest_len, value: Line::Value(request, reply) };
    }
    let Some(newline) = newline(input, *scanned) else {
        return unfinished(input, scanned);
    };
    *scanned = 0;
    if newline > LINE_LEN_MAX && newline > line_len_max(input) {
        return endless(input);
    }
    let line = &input[..=newline];
    match first_four(line) {
        Some((GET, _)) => keys(line, 4, None, ReplyShape::default()),
        Some((four, _)) if four & MG_MASK == MG => Parsed::Complete { used: line.len(), value: meta::get(&line[2..]) },
        _ => other(line),
    }
}

/// The most common line of all, `get <key>`, if `input` begins with it, complete: its key and the bytes the line took.
/// Says in one go what [`parse`] and [`next_key`] would say in three; `None` means nothing: ask [`parse`].
#[inline]
#[must_use]
pub fn single_get(input: &[u8]) -> Option<(&[u8], usize)> {
    let (GET, rest) = first_four(input)? else {
        return None;
    };
    // Not further than the longest key's line end: a long line that arrives in pieces is not searched every time.
    let rest = &rest[..rest.len().min(KEY_LEN_MAX + 2)];
    let len = word_len(rest);
    if rest.get(len) != Some(&b'\n') {
        return None;
    }
    let key = rest[..len].strip_suffix(b"\r").unwrap_or(&rest[..len]);
    if key.is_empty() || key.len() > KEY_LEN_MAX { None } else { Some((key, 4 + len + 1)) }
}

/// What [`next_key`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextKey<'a> {
    /// One more key.
    Key {
        /// 1 to 250 bytes.
        key: &'a [u8],
        /// Bytes of the input it took, with the blanks before it.
        used: usize,
    },
    /// The line has ended.
    End {
        /// Bytes of the input the end took, the newline included.
        used: usize,
    },
}

/// The next key of a line that [`parse`] has found to be [`Line::Keys`]; `input` is what is left of it, and anything
/// behind it.
#[inline]
pub fn next_key(input: &[u8]) -> NextKey<'_> {
    let start = blanks_len(input);
    let rest = &input[start..];
    let len = word_len(rest);
    let mut key = &rest[..len];
    match rest.get(len) {
        // The blank behind the key is taken as well: one less to skip next time.
        Some(b' ') => return NextKey::Key { key, used: start + len + 1 },
        Some(_) => key = key.strip_suffix(b"\r").unwrap_or(key),
        None => {}
    }
    if key.is_empty() {
        return NextKey::End { used: input.len().min(start + len + 1) };
    }
    NextKey::Key { key, used: start + key.len() }
}

/// No newline yet.
fn unfinished<'a>(input: &'a [u8], scanned: &mut usize) -> Parsed<Line<'a>> {
    if input.len() > LINE_LEN_MAX && input.len() > line_len_max(input) {
        *scanned = 0;
        return endless(input);
    }
    *scanned = input.len();
    Parsed::Partial
}

/// The line is too long. Takes as many bytes as settle that, so that it does not matter how many there are.
#[cold]
fn endless<'a>(input: &[u8]) -> Parsed<Line<'a>> {
    Parsed::Complete { used: line_len_max(input) + 1, value: one(Command::Abort, false) }
}

/// How long a line that begins like this may be. Blanks before a get lead to an error, but not to a closed connection.
#[cold]
fn line_len_max(input: &[u8]) -> usize {
    let verb = &input[blanks_len(&input[..input.len().min(BLANKS_BEFORE_GET_MAX)])..];
    let gets: [&[u8]; 4] = [b"get ", b"gets ", b"gat ", b"gats "];
    if gets.iter().any(|get| verb.starts_with(get)) { GET_LINE_LEN_MAX } else { LINE_LEN_MAX }
}

#[inline]
fn first_four(input: &[u8]) -> Option<(u32, &[u8])> {
    input.split_first_chunk::<4>().map(|(four, rest)| (u32::from_le_bytes(*four), rest))
}

/// A line of keys from `at` on.
#[inline]
fn keys<'a>(line: &[u8], at: usize, touch: Option<i64>, reply: ReplyShape) -> Parsed<Line<'a>> {
    let start = at + blanks_len(&line[at..]);
    let keys = &line[start..];
    let is_empty = matches!(keys, [b'\n'] | [b'\r', b'\n']);
    if is_empty || (keys.len() > KEY_LEN_MAX && !words_fit(without_end(keys), KEY_LEN_MAX)) {
        return Parsed::Complete { used: line.len(), value: refused(WireError::BadCommandLine, false) };
    }
    Parsed::Complete { used: start, value: Line::Keys { touch, reply } }
}

/// A set as nearly all are: complete, one blank between the words, short numbers without signs. And the number of bytes
/// behind its line. `None` means nothing: ask [`parse`].
#[inline]
#[must_use]
pub fn plain_set(input: &[u8]) -> Option<(StoreRequest<'_>, ReplyShape, usize)> {
    let (SET, rest) = first_four(input)? else {
        return None;
    };
    let (key, rest) = rest.split_at(word_len(rest));
    let (flags, rest) = plain_number(rest)?;
    let (exptime, rest) = plain_number(rest)?;
    let (value_len, rest) = plain_number(rest)?;
    let (quiet, rest) = match rest {
        [b'\r', b'\n', behind @ ..] => (false, behind),
        _ => (true, rest.strip_prefix(b" noreply\r\n")?),
    };
    if key.is_empty() || key.len() > KEY_LEN_MAX || value_len > VALUE_LEN_MAX {
        return None;
    }
    let request = StoreRequest {
        verb: StoreVerb::Set,
        key,
        flags: u32::try_from(flags).ok()?,
        exptime: i64::try_from(exptime).ok()?,
        value_len: usize::try_from(value_len).ok()?,
    };
    Some((request, reply_unless(quiet), rest.len()))
}

/// The announcement of a value, on a complete line, from the key on.
fn store(verb: StoreVerb, line: &[u8]) -> Line<'_> {
    match well_formed_store(verb, line) {
        Some((request, reply)) => Line::Value(request, reply),
        None => refused_store(line, matches!(verb, StoreVerb::Cas(_))),
    }
}

fn well_formed_store(verb: StoreVerb, line: &[u8]) -> Option<(StoreRequest<'_>, ReplyShape)> {
    let mut words = Words::new(line);
    let key = words.word().filter(|key| key.len() <= KEY_LEN_MAX)?;
    let flags = u32::try_from(words.unsigned()?).ok()?;
    let exptime = words.signed()?;
    let value_len = words.unsigned().filter(|len| *len <= VALUE_LEN_MAX)?;
    let value_len = usize::try_from(value_len).ok()?;
    let verb = match verb {
        StoreVerb::Cas(_) => StoreVerb::Cas(words.unsigned()?),
        other => other,
    };
    let quiet = words.word() == Some(NOREPLY);
    if words.more() {
        return None;
    }
    Some((StoreRequest { verb, key, flags, exptime, value_len }, reply_unless(quiet)))
}

/// Something is wrong with the announcement of a value: what, and what is to be done about the value.
#[cold]
fn refused_store<'a>(line: &[u8], is_cas: bool) -> Line<'a> {
    let mut words = Words::new(line);
    let (_key, _flags, _exptime) = (words.word(), words.word(), words.word());
    let Some(value_len) = words.word() else {
        return refused(WireError::UnknownCommand, false);
    };
    let has_cas = !is_cas || words.word().is_some();
    let _noreply = words.word();
    let too_many = words.more();
    let error = if too_many { WireError::UnknownCommand } else { WireError::BadCommandLine };
    let quiet = !too_many && has_cas && words_last(line) == Some(NOREPLY);
    let reply = reply_unless(quiet);
    match unsigned(value_len).and_then(|len| len.checked_add(TERMINATOR_LEN)) {
        Some(swallow) => Line::RefusedValue { error, reply, swallow },
        None => Line::RefusedUnknown { error, reply },
    }
}

/// A complete line, its end included.
#[inline(never)]
fn other<'a>(line: &'a [u8]) -> Parsed<Line<'a>> {
    let (verb, rest) = line.split_at(word_len(line));
    let verb = if rest == b"\n" { without_end(line) } else { verb };
    let with_cas = ReplyShape { with_cas: true, ..ReplyShape::default() };
    let value = match verb {
        b"get" => return keys(line, verb.len(), None, ReplyShape::default()),
        b"gets" => return keys(line, verb.len(), None, with_cas),
        b"gat" => return touched_keys(line, verb.len(), ReplyShape::default()),
        b"gats" => return touched_keys(line, verb.len(), with_cas),
        b"set" => store(StoreVerb::Set, rest),
        b"add" => store(StoreVerb::Add, rest),
        b"replace" => store(StoreVerb::Replace, rest),
        b"append" => store(StoreVerb::Append, rest),
        b"prepend" => store(StoreVerb::Prepend, rest),
        b"cas" => store(StoreVerb::Cas(0), rest),
        b"delete" => delete(rest),
        b"incr" => arithmetic(Direction::Up, rest),
        b"decr" => arithmetic(Direction::Down, rest),
        b"touch" => touch(rest),
        b"flush_all" => flush_all(rest),
        b"verbosity" => verbosity(rest),
        b"stats" => stats(rest),
        b"lru" => lru(rest),
        b"slabs" => administer(admin::slabs(rest)),
        b"lru_crawler" => administer(admin::lru_crawler(rest)),
        b"cache_memlimit" => administer(admin::cache_memlimit(rest)),
        b"refresh_certs" => one(Command::RefreshCerts, Words::new(rest).last() == Some(NOREPLY)),
        b"watch" => administer(admin::watch(rest)),
        b"shutdown" => administer(admin::shutdown(rest)),
        #[cfg(feature = "debug-commands")]
        b"debugtime" => administer(admin::debugtime(rest)),
        #[cfg(feature = "debug-commands")]
        b"debugitem" => administer(admin::debugitem(rest)),
        b"version" => one(Command::Version, false),
        b"quit" => one(Command::Quit, false),
        b"mg" => meta::get(rest),
        b"ms" => meta::store(rest),
        b"md" => meta::delete(rest),
        b"ma" => meta::arithmetic(rest),
        b"mn" => one(Command::Noop, false),
        b"me" => meta::debug(rest),
        b"lease-get" => lease::one_key(rest, |key| Command::Lease { key }),
        b"lease-set" => lease::store(rest),
        b"metaget" => lease::one_key(rest, |key| Command::Describe { key }),
        _ => unknown(line),
    };
    Parsed::Complete { used: line.len(), value }
}

/// gat, gats: a lifetime, then keys, which begin at `at`.
fn touched_keys<'a>(line: &'a [u8], at: usize, reply: ReplyShape) -> Parsed<Line<'a>> {
    let mut words = Words::new(&line[at..]);
    let exptime = words.signed();
    let error = match exptime {
        _ if !words.more() => WireError::BadCommandLine,
        Some(_) => return keys(line, line.len() - words.rest_len(), exptime, reply),
        None => WireError::BadExptime,
    };
    Parsed::Complete { used: line.len(), value: refused(error, false) }
}

/// delete `<key>` `[<time>]` `[noreply]`; the time has had no meaning for a long time.
fn delete<'a>(line: &'a [u8]) -> Line<'a> {
    let mut words = Words::new(line);
    let (key, first, second) = (words.word(), words.word(), words.word());
    let Some(key) = key else {
        return refused(WireError::BadCommandLine, false);
    };
    if words.more() {
        return refused(WireError::UnknownCommand, false);
    }
    let quiet = second.or(first) == Some(NOREPLY);
    let is_usual = match (first, second) {
        (None, _) => true,
        (Some(word), None) => quiet || unsigned(word).is_some(),
        (Some(time), Some(_)) => quiet && unsigned(time).is_some(),
    };
    if !is_usual {
        return refused(WireError::BadDeleteUsage, quiet);
    }
    with_key(key, quiet, Ok(Command::Delete { key }))
}

/// incr, decr `<key>` `<delta>` `[noreply]`
fn arithmetic<'a>(direction: Direction, line: &'a [u8]) -> Line<'a> {
    key_and_number(line, |key, word| {
        let delta = unsigned(word).ok_or(WireError::BadDelta)?;
        Ok(Command::Arithmetic { key, direction, delta })
    })
}

/// touch `<key>` `<exptime>` `[noreply]`
fn touch<'a>(line: &'a [u8]) -> Line<'a> {
    key_and_number(line, |key, word| {
        let exptime = signed(word).ok_or(WireError::BadExptime)?;
        Ok(Command::Touch { key, exptime })
    })
}

/// `<key>` `<number>` `[noreply]`
fn key_and_number<'a>(
    line: &'a [u8],
    command: impl FnOnce(&'a [u8], &'a [u8]) -> Result<Command<'a>, WireError>,
) -> Line<'a> {
    let mut words = Words::new(line);
    let (Some(key), Some(number)) = (words.word(), words.word()) else {
        return refused(WireError::BadCommandLine, false);
    };
    let last = words.word().unwrap_or(number);
    if words.more() {
        return refused(WireError::UnknownCommand, false);
    }
    with_key(key, last == NOREPLY, command(key, number))
}

/// `flush_all` `[<delay>]` `[noreply]`
fn flush_all<'a>(line: &[u8]) -> Line<'a> {
    let mut words = Words::new(line);
    let (first, second) = (words.word(), words.word());
    if words.more() {
        return refused(WireError::UnknownCommand, false);
    }
    let quiet = second.or(first) == Some(NOREPLY);
    let delay = match first {
        Some(word) if second.is_some() || !quiet => signed(word),
        _ => Some(0),
    };
    match delay {
        Some(delay) => one(Command::FlushAll { delay }, quiet),
        None => refused(WireError::BadExptime, quiet),
    }
}

/// verbosity `<level>` `[noreply]`
fn verbosity<'a>(line: &[u8]) -> Line<'a> {
    let mut words = Words::new(line);
    let (level, last) = (words.word(), words.word());
    let Some(level) = level.filter(|_| !words.more()) else {
        return refused(WireError::UnknownCommand, false);
    };
    let quiet = last.unwrap_or(level) == NOREPLY;
    match unsigned(level) {
        Some(level) => one(Command::Verbosity { level: u32::try_from(level).unwrap_or(u32::MAX) }, quiet),
        None => refused(WireError::BadCommandLine, quiet),
    }
}

/// stats `[<topic>]`
fn stats<'a>(line: &[u8]) -> Line<'a> {
    let words = Words::new(line);
    match admin::stats_topic(words) {
        None if Words::new(line).word() == Some(b"cachedump") => administer(admin::cachedump(line)),
        Some(topic) => one(Command::Stats(topic), false),
        None => refused(WireError::UnknownCommand, false),
    }
}

/// lru mode `<mode>`, lru tune `<hot %>` `<warm %>` `<hot factor>` `<warm factor>`, lru temp_ttl `<seconds>`. Words behind
/// those are ignored; the last of all may be `noreply`.
#[cold]
fn lru<'a>(line: &'a [u8]) -> Line<'a> {
    let quiet = words_last(line) == Some(NOREPLY);
    match lru_command(line) {
        Some(command) => one(Command::Lru(command), quiet),
        None => refused(WireError::UnknownCommand, quiet),
    }
}

/// What `admin` has read.
#[cold]
fn administer<'a>((command, quiet): admin::Read<'a>) -> Line<'a> {
    match command {
        Ok(command) => one(command, quiet),
        Err(error) => refused(error, quiet),
    }
}

fn lru_command(line: &[u8]) -> Option<LruCommand> {
    let mut words = Words::new(line);
    Some(match words.word()? {
        b"mode" => LruCommand::Mode(match words.word()? {
            b"flat" => LruMode::Flat,
            b"segmented" => LruMode::Segmented,
            b"s3fifo" => LruMode::S3Fifo,
            _ => return None,
        }),
        b"tune" => {
            let mut pct = || u32::try_from(unsigned(words.word()?)?).ok();
            let (hot_pct, warm_pct) = (pct()?, pct()?);
            let mut factor = || Some(Factor::from(str::from_utf8(words.word()?).ok()?.parse::<f64>().ok()?));
            LruCommand::Tune { hot_pct, warm_pct, hot_max_factor: factor()?, warm_max_factor: factor()? }
        }
        // Less than nothing is no limit at all, and more than the clock can count is the most it can.
        b"temp_ttl" => {
            let secs = signed(words.word()?)?;
            LruCommand::TempTtl((secs >= 0).then(|| u32::try_from(secs).map_or(TEMP_TTL_MAX, |s| s.min(TEMP_TTL_MAX))))
        }
        _ => return None,
    })
}

/// No command of ours. A browser made to talk to us is not told so: what it sends next would be run.
#[cold]
fn unknown<'a>(line: &[u8]) -> Line<'a> {
    match words_last(line) {
        None => refused(WireError::BadCommandLine, false),
        Some(word) if word.starts_with(b"HTTP/") => one(Command::Abort, false),
        Some(_) => refused(WireError::UnknownCommand, false),
    }
}

/// The command, unless its key is too long, which goes before any other error.
pub(super) fn with_key<'a>(key: &[u8], quiet: bool, command: Result<Command<'a>, WireError>) -> Line<'a> {
    match command {
        _ if key.len() > KEY_LEN_MAX => refused(WireError::BadCommandLine, quiet),
        Ok(command) => one(command, quiet),
        Err(error) => refused(error, quiet),
    }
}

fn one<'a>(command: Command<'a>, quiet: bool) -> Line<'a> {
    Line::One(Request { command, reply: reply_unless(quiet) })
}

fn refused<'a>(error: WireError, quiet: bool) -> Line<'a> {
    one(Command::Refused(error), quiet)
}

/// How to answer a request that may want no answer.
#[inline]
#[must_use]
pub fn reply_unless(quiet: bool) -> ReplyShape {
    ReplyShape { quiet, ..ReplyShape::default() }
}

fn words_last(line: &[u8]) -> Option<&[u8]> {
    Words::new(line).last()
}

const MG: u32 = u32::from_le_bytes(*b"mg \0");
const MG_MASK: u32 = u32::from_le_bytes([0xff, 0xff, 0xff, 0]);
const GET: u32 = u32::from_le_bytes(*b"get ");
const SET: u32 = u32::from_le_bytes(*b"set ");
pub(super) const NOREPLY: &[u8] = b"noreply";

/// Most seconds that `lru temp_ttl` takes (31 bits, as in memcached).
const TEMP_TTL_MAX: u32 = i32::MAX.unsigned_abs();

// ---- answering --------------------------------------------------------------------------------------------------

/// Answers. A hit takes at most [`REPLY_HEAD_LEN_MAX`] bytes beside its value: with room made for those before, it may
/// be encoded under a lock.
#[inline]
pub fn encode<O: Out>(reply: ReplyShape, outcome: Outcome<'_>, out: &mut O) {
    if reply.quiet {
        return;
    }
    match outcome {
        Outcome::Hit(view) => hit(reply, view, out),
        Outcome::Miss | Outcome::Close | Outcome::Later => {}
        Outcome::EndOfKeys => out.bytes(END),
        Outcome::Leased(leased) => lease::leased(leased, out),
        Outcome::Described(view) => lease::described(&view, out),
        Outcome::Noop => out.bytes(b"MN\r\n"),
        Outcome::StoredStale => out.bytes(b"STALE_STORED\r\n"),
        Outcome::Stored => out.bytes(b"STORED\r\n"),
        Outcome::NotStored => out.bytes(b"NOT_STORED\r\n"),
        Outcome::Exists => out.bytes(b"EXISTS\r\n"),
        Outcome::NotFound => out.bytes(b"NOT_FOUND\r\n"),
        Outcome::Deleted => out.bytes(b"DELETED\r\n"),
        Outcome::Touched => out.bytes(b"TOUCHED\r\n"),
        Outcome::Number(number) => out.bytes(Tail::new().number(number).text(b"\r\n").bytes()),
        Outcome::Done => out.bytes(b"OK\r\n"),
        Outcome::Reset => out.bytes(b"RESET\r\n"),
        Outcome::Version => version(out),
        Outcome::Report(report) => {
            rows(&report, out);
            out.bytes(END);
        }
        Outcome::Rows(report) => rows(&report, out),
        Outcome::Prefixes(lines) => {
            out.make_room(lines.len() + END.len());
            out.bytes(&lines);
            out.bytes(END);
        }
        Outcome::Refused(error) => out.bytes(error_line(error)),
    }
}

/// `VALUE <key> <flags> <len>[ <cas>]`, the value
#[inline]
fn hit<O: Out>(reply: ReplyShape, view: View<'_>, out: &mut O) {
    let mut tail = Tail::new();
    tail.text(b" ").number(u64::from(view.flags)).text(b" ").number(view.value.len() as u64);
    if reply.with_cas {
        tail.text(b" ").number(view.cas);
    }
    tail.text(b"\r\n");
    out.bytes(VALUE);
    out.bytes(view.key);
    out.bytes(tail.bytes());
    out.value(view.value);
    out.bytes(b"\r\n");
}

#[cold]
fn version<O: Out>(out: &mut O) {
    out.bytes(b"VERSION ");
    out.bytes(VERSION.as_bytes());
    out.bytes(b"\r\n");
}

#[cold]
fn rows<O: Out>(report: &Report, out: &mut O) {
    let lens = report.rows.iter().map(|(name, value)| name.len() + value.len() + b"STAT  \r\n".len());
    out.make_room(lens.sum::<usize>() + END.len());
    for (name, value) in &report.rows {
        out.bytes(b"STAT ");
        out.bytes(name.as_bytes());
        out.bytes(b" ");
        out.bytes(value.as_bytes());
        out.bytes(b"\r\n");
    }
}

/// What follows the key on a hit's line, put together before it goes out: one copy instead of six.
struct Tail {
    bytes: [u8; TAIL_LEN_MAX],
    /// Bytes in use, from the front.
    len: usize,
}

impl Tail {
    #[inline]
    fn new() -> Self {
        Self { bytes: [0; TAIL_LEN_MAX], len: 0 }
    }

    #[inline]
    fn text(&mut self, text: &[u8]) -> &mut Self {
        let end = self.len + text.len();
        self.bytes[self.len..end].copy_from_slice(text);
        self.len = end;
        self
    }

    #[inline]
    fn number(&mut self, number: u64) -> &mut Self {
        match u8::try_from(number) {
            // Flags are nearly always 0.
            Ok(digit @ 0..=9) => self.text(&[b'0' + digit]),
            _ => self.text(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

const VALUE: &[u8] = b"VALUE ";
const END: &[u8] = b"END\r\n";

/// Three blanks, flags, length, CAS number, line end; rounded up.
const TAIL_LEN_MAX: usize = 64;

const _: () = assert!(TAIL_LEN_MAX >= 3 + 10 + 20 + 20 + 2);
const _: () = assert!(VALUE.len() + KEY_LEN_MAX + TAIL_LEN_MAX + 2 <= REPLY_HEAD_LEN_MAX);
const _: () = assert!(GET_LINE_LEN_MAX >= LINE_LEN_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::StatsTopic;
    use crate::command::Value;

    fn line(input: &[u8]) -> (usize, Line<'_>) {
        match parse(input, &mut 0) {
            Parsed::Complete { used, value } => (used, value),
            Parsed::Partial => panic!("incomplete: {input:?}"),
        }
    }

    /// A line without its end; tried with each end, and with something behind it.
    fn value_of(text: &[u8], check: impl Fn(Line<'_>)) {
        for end in ["\r\n", "\n", "\r\nget a\r\n", "\n\n"] {
            let input = [text, end.as_bytes()].concat();
            let (used, value) = line(&input);
            if !matches!(value, Line::Keys { .. }) {
                assert_eq!(used, text.len() + end.find('\n').unwrap() + 1, "{input:?}");
            }
            check(value);
        }
    }

    fn keys_of(input: &[u8]) -> (Vec<&[u8]>, usize) {
        let (mut at, value) = line(input);
        assert!(matches!(value, Line::Keys { .. }), "{input:?}");
        let mut keys = Vec::new();
        loop {
            match next_key(&input[at..]) {
                NextKey::Key { key, used } => {
                    keys.push(key);
                    at += used;
                }
                NextKey::End { used } => return (keys, at + used),
            }
        }
    }

    fn asked<'a>(key: &'a [u8], verb: StoreVerb) -> StoreRequest<'a> {
        StoreRequest { verb, key, flags: 1, exptime: 2, value_len: 3 }
    }

    #[test]
    fn a_value_is_announced_by_six_verbs() {
        let table = [
            ("set", StoreVerb::Set),
            ("add", StoreVerb::Add),
            ("replace", StoreVerb::Replace),
            ("append", StoreVerb::Append),
            ("prepend", StoreVerb::Prepend),
        ];
        for (word, verb) in table {
            for (rest, quiet) in
                [("", false), (" noreply", true), ("  noreply  ", true), (" noreplyy", false), (" NOREPLY", false)]
            {
                value_of(format!("{word} k 1 2 3{rest}").as_bytes(), |value| {
                    assert_eq!(value, Line::Value(asked(b"k", verb), reply_unless(quiet)), "{word}{rest}");
                });
            }
        }
        value_of(b"cas  k 1 2  3 18446744073709551615", |value| {
            assert_eq!(value, Line::Value(asked(b"k", StoreVerb::Cas(u64::MAX)), reply_unless(false)));
        });
        value_of(b"cas k 1 2 3 4 noreply", |value| {
            assert_eq!(value, Line::Value(asked(b"k", StoreVerb::Cas(4)), reply_unless(true)));
        });
    }

    #[test]
    fn the_numbers_of_a_set_are_taken_to_their_limits_and_no_further() {
        let ok = [
            ("0", "0", "0"),
            ("4294967295", "-1", "2147483645"),
            ("+5", "+5", "+5"),
            ("007", "9223372036854775807", "1048576"),
            ("0", "-9223372036854775808", "1"),
            ("0", "2147483648", "1"),
        ];
        for (flags, exptime, len) in ok {
            value_of(format!("set k {flags} {exptime} {len}").as_bytes(), |value| {
                let Line::Value(request, _) = value else { panic!("{value:?}") };
                assert_eq!(u64::from(request.flags), flags.parse::<u64>().unwrap());
                assert_eq!(request.exptime, exptime.parse::<i64>().unwrap());
                assert_eq!(request.value_len, len.parse::<usize>().unwrap());
            });
        }
    }

    #[test]
    fn a_refused_value_is_skipped_or_the_connection_ends() {
        let long = "k".repeat(251);
        let bad = WireError::BadCommandLine;
        let table = [
            (format!("set {long} 0 0 5"), bad, false, Some(7)),
            (format!("set {long} 0 0 5 noreply"), bad, true, Some(7)),
            ("set k x 0 5".into(), bad, false, Some(7)),
            ("set k -1 0 5 noreply".into(), bad, true, Some(7)),
            ("set k 4294967296 0 5".into(), bad, false, Some(7)),
            ("set k 0 x 5".into(), bad, false, Some(7)),
            ("set k 0 99999999999999999999 5".into(), bad, false, Some(7)),
            ("set k 0 0 2147483646".into(), bad, false, Some(2_147_483_648)),
            ("set k 0 0 4294967297".into(), bad, false, Some(4_294_967_299)),
            ("set k 0 0 18446744073709551613".into(), bad, false, Some(u64::MAX)),
            ("set k 0 0 18446744073709551614".into(), bad, false, None),
            ("set k 0 0 99999999999999999999".into(), bad, false, None),
            ("set k 0 0 -1".into(), bad, false, None),
            ("set k 0 0 abc".into(), bad, false, None),
            ("set k 0 0 5x noreply".into(), bad, true, None),
            ("set k 0 0 noreply".into(), bad, true, None),
            ("set k 0 0 5 x y".into(), WireError::UnknownCommand, false, Some(7)),
            ("set k 0 0 5 x noreply".into(), WireError::UnknownCommand, false, Some(7)),
            ("set k 0 0 -1 x noreply".into(), WireError::UnknownCommand, false, None),
            ("cas k 0 0 5".into(), bad, false, Some(7)),
            ("cas k 0 0 5 noreply".into(), bad, true, Some(7)),
            ("cas k 0 0 5 x".into(), bad, false, Some(7)),
            ("cas k 0 0 5 -1".into(), bad, false, Some(7)),
            ("cas k 0 0 5 18446744073709551616".into(), bad, false, Some(7)),
            ("cas k x 0 5 1 noreply".into(), bad, true, Some(7)),
            ("cas k 0 0 5 1 x y".into(), WireError::UnknownCommand, false, Some(7)),
            ("append k 0 y 0".into(), bad, false, Some(2)),
        ];
        for (text, error, quiet, swallow) in table {
            let reply = reply_unless(quiet);
            value_of(text.as_bytes(), |value| {
                let expected = match swallow {
                    Some(swallow) => Line::RefusedValue { error, reply, swallow },
                    None => Line::RefusedUnknown { error, reply },
                };
                assert_eq!(value, expected, "{text}");
            });
        }
        for text in ["set", "set k", "set k 0", "set k 0 0", "set noreply", "set k 0 noreply", "cas k 0 0", "add "] {
            value_of(text.as_bytes(), |value| assert_eq!(value, refused(WireError::UnknownCommand, false), "{text}"));
        }
    }

    #[test]
    fn the_keys_of_a_get_are_drawn_one_by_one() {
        let longest = "k".repeat(250);
        let many = format!("get {}", "x ".repeat(5000));
        let table: [(&str, Vec<&str>); 9] = [
            ("get a", vec!["a"]),
            ("get  a  b ", vec!["a", "b"]),
            ("gets\x20abcdefg abcdefgh abcdefghi", vec!["abcdefg", "abcdefgh", "abcdefghi"]),
            ("get a\tb \0\x7f", vec!["a\tb", "\0\x7f"]),
            ("get a\rb a\r c", vec!["a\rb", "a\r", "c"]),
            ("get noreply", vec!["noreply"]),
            (&format!("get {longest} {longest}"), vec![&longest, &longest]),
            ("gat 5 a b", vec!["a", "b"]),
            (&many, vec!["x"; 5000]),
        ];
        for (text, expected) in table {
            for end in ["\r\n", "\n"] {
                for behind in ["", "get z\r\n", " \r\n"] {
                    let input = format!("{text}{end}{behind}").into_bytes();
                    let (keys, used) = keys_of(&input);
                    let expected: Vec<&[u8]> = expected.iter().map(|key| key.as_bytes()).collect();
                    assert_eq!(keys, expected, "{text}");
                    assert_eq!(used, text.len() + end.len(), "{text}");
                }
            }
        }
        // A carriage return that is not right before the newline is a key like any other.
        assert_eq!(keys_of(b"get a \r\r\n"), (vec![&b"a"[..], &b"\r"[..]], 9));
    }

    #[test]
    fn the_verb_of_a_get_says_how_to_answer() {
        let table = [
            ("get a", None, false),
            ("gets a", None, true),
            ("gat 0 a", Some(0), false),
            ("gat  -1  a", Some(-1), false),
            ("gats 2147483648 a b", Some(2_147_483_648), true),
        ];
        for (text, touch, with_cas) in table {
            value_of(text.as_bytes(), |value| {
                let reply = ReplyShape { with_cas, ..ReplyShape::default() };
                assert_eq!(value, Line::Keys { touch, reply }, "{text}");
            });
            let input = format!("{text}\r\n").into_bytes();
            let (used, _) = line(&input);
            assert_eq!(
                used,
                text.find('a').map_or(0, |at| if at == 1 { text[2..].find('a').unwrap() + 2 } else { at })
            );
        }
    }

    #[test]
    fn a_key_too_long_refuses_the_whole_get() {
        let long = "k".repeat(251);
        let late = format!("get {}{long}", "abc ".repeat(300));
        for text in [format!("get {long}"), format!("gets a {long} b"), format!("gat 0 {long}"), late] {
            value_of(text.as_bytes(), |value| assert_eq!(value, refused(WireError::BadCommandLine, false), "{text}"));
        }
    }

    #[test]
    fn commands_of_one_line() {
        let quiet = |text: &'static str, command: Command<'static>| (text, command, true);
        let loud = |text: &'static str, command: Command<'static>| (text, command, false);
        let delete = Command::Delete { key: b"k" };
        let up = Command::Arithmetic { key: b"k", direction: Direction::Up, delta: 5 };
        let touch = Command::Touch { key: b"k", exptime: 5 };
        let table = [
            loud("delete k", delete),
            loud("delete k 0", delete),
            loud("delete k 5", delete),
            quiet("delete k noreply", delete),
            quiet("delete k 0 noreply", delete),
            quiet("delete k 5 noreply", delete),
            loud("delete noreply", Command::Delete { key: b"noreply" }),
            loud("incr k 5", up),
            loud("incr k +5", up),
            loud("incr k 5 foo", up),
            quiet("incr k 5 noreply", up),
            loud(
                "decr k 18446744073709551615",
                Command::Arithmetic { key: b"k", direction: Direction::Down, delta: u64::MAX },
            ),
            loud("touch k 5", touch),
            loud("touch k 5 foo", touch),
            quiet("touch k 5 noreply", touch),
            loud("touch k -1", Command::Touch { key: b"k", exptime: -1 }),
            loud("flush_all", Command::FlushAll { delay: 0 }),
            loud("flush_all 0 x", Command::FlushAll { delay: 0 }),
            loud("flush_all -1", Command::FlushAll { delay: -1 }),
            quiet("flush_all noreply", Command::FlushAll { delay: 0 }),
            quiet("flush_all 10 noreply", Command::FlushAll { delay: 10 }),
            loud("verbosity 1", Command::Verbosity { level: 1 }),
            loud("verbosity 1 2", Command::Verbosity { level: 1 }),
            quiet("verbosity 1 noreply", Command::Verbosity { level: 1 }),
            loud("verbosity 4294967296", Command::Verbosity { level: u32::MAX }),
            loud("stats", Command::Stats(StatsTopic::General)),
            loud("stats  ", Command::Stats(StatsTopic::General)),
            loud("stats settings x", Command::Stats(StatsTopic::Settings)),
            loud("stats items", Command::Stats(StatsTopic::Items)),
            loud("stats slabs", Command::Stats(StatsTopic::Slabs)),
            loud("stats reset noreply", Command::Stats(StatsTopic::Reset)),
            loud("version", Command::Version),
            loud("version 1 2 3", Command::Version),
            loud("quit", Command::Quit),
            loud("quit noreply", Command::Quit),
            loud("GET / HTTP/1.1", Command::Abort),
            loud("post /x HTTP/1.0 ", Command::Abort),
        ];
        for (text, command, quiet) in table {
            value_of(text.as_bytes(), |value| assert_eq!(value, one(command, quiet), "{text}"));
        }
    }

    #[test]
    fn refusals_of_one_line() {
        use WireError::{BadCommandLine, BadDeleteUsage, BadDelta, BadExptime, UnknownCommand};
        let long = "k".repeat(251);
        let (delete_long, incr_long) = (format!("delete {long}"), format!("incr {long} x noreply"));
        let (touch_long, delete_long_x) = (format!("touch {long} x"), format!("delete {long} x"));
        let table: [(&str, WireError, bool); 52] = [
            ("", BadCommandLine, false),
            ("  ", BadCommandLine, false),
            ("get", BadCommandLine, false),
            ("get  ", BadCommandLine, false),
            ("gets", BadCommandLine, false),
            ("gat", BadCommandLine, false),
            ("gat 0", BadCommandLine, false),
            ("gats x ", BadCommandLine, false),
            ("gat x a", BadExptime, false),
            ("gat 5x a", BadExptime, false),
            ("delete", BadCommandLine, false),
            (&delete_long, BadCommandLine, false),
            (&delete_long_x, BadDeleteUsage, false),
            ("delete k x", BadDeleteUsage, false),
            ("delete k x y", BadDeleteUsage, false),
            ("delete k 0 0", BadDeleteUsage, false),
            ("delete k x noreply", BadDeleteUsage, true),
            ("delete k noreply noreply", BadDeleteUsage, true),
            ("delete k 0 0 noreply", UnknownCommand, false),
            ("incr", BadCommandLine, false),
            ("incr k", BadCommandLine, false),
            ("incr noreply", BadCommandLine, false),
            ("incr k noreply", BadDelta, true),
            ("incr k x", BadDelta, false),
            ("decr k -5", BadDelta, false),
            ("incr k 18446744073709551616", BadDelta, false),
            ("incr k 5 noreply noreply", UnknownCommand, false),
            (&incr_long, BadCommandLine, true),
            ("touch", BadCommandLine, false),
            ("touch k", BadCommandLine, false),
            ("touch k x", BadExptime, false),
            ("touch k noreply", BadExptime, true),
            ("touch k 0 foo bar", UnknownCommand, false),
            (&touch_long, BadCommandLine, false),
            ("flush_all x", BadExptime, false),
            ("flush_all noreply noreply", BadExptime, true),
            ("flush_all 0 0 noreply", UnknownCommand, false),
            ("verbosity", UnknownCommand, false),
            ("verbosity x", BadCommandLine, false),
            ("verbosity -1", BadCommandLine, false),
            ("verbosity noreply", BadCommandLine, true),
            ("verbosity 1 2 3", UnknownCommand, false),
            ("stats foo", UnknownCommand, false),
            ("stats latency maybe", UnknownCommand, false),
            (" version", UnknownCommand, false),
            ("\tversion", UnknownCommand, false),
            ("version\t", UnknownCommand, false),
            ("GET a", UnknownCommand, false),
            ("bogus noreply", UnknownCommand, false),
            ("mx", UnknownCommand, false),
            ("get\ta", UnknownCommand, false),
            ("\0", UnknownCommand, false),
        ];
        for (text, error, quiet) in table {
            value_of(text.as_bytes(), |value| assert_eq!(value, refused(error, quiet), "{text}"));
        }
    }

    #[test]
    fn a_line_has_a_longest_length_however_it_arrives() {
        let table: [(&[u8], usize); 6] = [
            (b"x", LINE_LEN_MAX),
            (b"set k 0 0 1 ", LINE_LEN_MAX),
            (b"get", LINE_LEN_MAX),
            (b"get ", GET_LINE_LEN_MAX),
            (b"gats 0 ", GET_LINE_LEN_MAX),
            (b"   gets ", GET_LINE_LEN_MAX),
        ];
        for (beginning, len_max) in table {
            let mut input = beginning.to_vec();
            input.resize(len_max, if beginning.len() == 1 { b'x' } else { b' ' });
            if beginning == b"get" {
                input[3] = b'x';
            }
            let mut scanned = 0;
            assert_eq!(parse(&input, &mut scanned), Parsed::Partial);
            assert_eq!(scanned, len_max);
            input.push(b'\n');
            assert!(!matches!(line(&input).1, Line::One(Request { command: Command::Abort, .. })));
            input[len_max] = b' ';
            let endless = Parsed::Complete { used: len_max + 1, value: one(Command::Abort, false) };
            assert_eq!(parse(&input, &mut scanned), endless);
            assert_eq!(scanned, 0);
            input.push(b'\n');
            assert_eq!(parse(&input, &mut 0), endless);
        }
    }

    #[test]
    fn what_was_searched_is_not_searched_again() {
        // A newline in the part said to be searched is not seen: proof that it is not looked at.
        let mut scanned = 4;
        assert_eq!(parse(b"a\nbc", &mut scanned), Parsed::Partial);
        let mut scanned = 3;
        assert!(matches!(parse(b"a\nbc\r\n", &mut scanned), Parsed::Complete { used: 6, .. }));
        assert_eq!(scanned, 0);
    }

    #[test]
    fn answers() {
        let quiet = reply_unless(true);
        let loud = reply_unless(false);
        let with_cas = ReplyShape { with_cas: true, ..ReplyShape::default() };
        let view = |flags| View { key: b"key", flags, cas: 12_345, value: Value::Borrowed(b"a value") };
        let mut report = Report::default();
        report.push("pid", 1);
        report.push("version", "x");
        let longest = View { key: &[b'k'; 250], flags: u32::MAX, cas: u64::MAX, value: Value::Borrowed(&[b'v'; 1000]) };
        let longest_answer =
            format!("VALUE {} 4294967295 1000 {}\r\n{}\r\n", "k".repeat(250), u64::MAX, "v".repeat(1000));
        let version = format!("VERSION {VERSION}\r\n");
        let table: [(ReplyShape, Outcome<'_>, &str); 22] = [
            (loud, Outcome::Hit(view(0)), "VALUE key 0 7\r\na value\r\n"),
            (with_cas, Outcome::Hit(view(10)), "VALUE key 10 7 12345\r\na value\r\n"),
            (with_cas, Outcome::Hit(longest), &longest_answer),
            (loud, Outcome::Miss, ""),
            (loud, Outcome::EndOfKeys, "END\r\n"),
            (loud, Outcome::Stored, "STORED\r\n"),
            (quiet, Outcome::Stored, ""),
            (loud, Outcome::NotStored, "NOT_STORED\r\n"),
            (loud, Outcome::Exists, "EXISTS\r\n"),
            (loud, Outcome::NotFound, "NOT_FOUND\r\n"),
            (loud, Outcome::Deleted, "DELETED\r\n"),
            (loud, Outcome::Touched, "TOUCHED\r\n"),
            (loud, Outcome::Number(9), "9\r\n"),
            (loud, Outcome::Number(u64::MAX), "18446744073709551615\r\n"),
            (quiet, Outcome::Number(9), ""),
            (loud, Outcome::Done, "OK\r\n"),
            (loud, Outcome::Reset, "RESET\r\n"),
            (loud, Outcome::Version, &version),
            (loud, Outcome::Report(report), "STAT pid 1\r\nSTAT version x\r\nEND\r\n"),
            (loud, Outcome::Refused(WireError::TooLarge), "SERVER_ERROR object too large for cache\r\n"),
            (quiet, Outcome::Refused(WireError::OutOfMemory), ""),
            (loud, Outcome::Close, ""),
        ];
        for (reply, outcome, expected) in table {
            let text = format!("{outcome:?}");
            let mut answer = Vec::new();
            encode(reply, outcome, &mut answer);
            assert_eq!(answer, expected.as_bytes(), "{text}");
        }
    }
}
