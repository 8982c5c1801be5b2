//! The meta commands: one verb, a key, and flags that say what is to be done and what is to be told of it.
//!
//! ```text
//!   mg key v t c O7\r\n            mn\r\n      asked for: what happens, in order (T N R t) ──► MetaCommand
//!   └┘ └─┘ └──────┘                                 what is told, in order (c f h k l O s t) ──► MetaShape
//!   VA 5 t30 c17 O7\r\nhello\r\n   MN\r\n
//! ```
//!
//! A flag is one letter, once, with a number or a text behind it or nothing. Every known flag is taken by every command and ignored
//! where it means nothing. They are read in one pass; the first unknown or second equal one ends it, of other errors the last is told.
//!
//! # Whose rules
//!
//! As 1.6.45 where nothing is said; (old) are 1.6.18's words where 1.6.45's are not known, (own) neither's.
//!
//! | input | answer |
//! | --- | --- |
//! | no key; `ms` without a length; a key of more than 250 bytes, base64 or not | CLIENT_ERROR bad command line format |
//! | a letter nobody knows; one twice, or a byte above 0x7e | CLIENT_ERROR invalid flag; duplicate flag (`ma`: both in one line) |
//! | T N R C E with a bad number; F, D, J | bad token in command line format; a line each (old) (`ma`: as above) |
//! | more than 20 flags | CLIENT_ERROR options flags are too long |
//! | `ms` refused, its length known | the line, and the value is skipped (own: 1.6.18 does so for some) |
//! | `ms` with a length that is no number | bad command line format, then closed: what is value, what command? (own) |
//! | M with more than one letter | the first counts; `M` alone is no mode, which only ms and ma mind |
//! | key that is no base64 | CLIENT_ERROR error decoding key |
//! | `k` of an item whose key came in base64 | base64 and ` b`, also when it was vivified or appended to (own: old forgets) |
//! | `k`, or `me`, with `b`, of an item whose key no line can hold | the same (own: old writes it as it is, and the line splits) |
//!
//! A quiet command hides what is expected and nothing else: EN of mg; HD of ms and md; HD and VA of ma, unless it made the item.

use super::line::{Words, signed, unsigned};
use super::text::Line;
use super::{Request, error_line};
use crate::command::{
    Command, Direction, Lifetimes, Marks, MetaCommand, MetaCount, MetaDelete, MetaGet, MetaOutcome, MetaShape,
    MetaView, Opaque, Out, Outcome, Receipt, ReplyShape, Step, StoreRequest, StoreTerms, StoreVerb, WireError,
};
use crate::limits::{KEY_LEN_MAX, META_FLAGS_MAX, OPAQUE_LEN_MAX, REPLY_HEAD_LEN_MAX, TERMINATOR_LEN, VALUE_LEN_MAX};
use arrayvec::ArrayVec;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A meta command of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaRequest<'a> {
    /// The key as it is written.
    pub key: Key<'a>,
    /// What to do.
    pub command: MetaCommand,
    /// How to answer.
    pub reply: MetaShape,
    /// What to echo.
    pub opaque: &'a [u8],
}

/// A key as it is written: 1 to 250 bytes, and sound if it is base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// What is written.
    pub text: &'a [u8],
    /// In base64.
    pub is_base64: bool,
}

/// Where a key is decoded to.
pub type KeyBuffer = ArrayVec<u8, KEY_LEN_MAX>;

impl<'a> Key<'a> {
    /// The key itself.
    #[inline]
    #[must_use]
    pub fn bytes<'b>(self, buffer: &'b mut KeyBuffer) -> &'b [u8]
    where
        'a: 'b,
    {
        if self.is_base64 { self.decoded(buffer).unwrap_or_default() } else { self.text }
    }

    #[cold]
    fn decoded(self, buffer: &mut KeyBuffer) -> Option<&[u8]> {
        let mut bytes = [0; KEY_LEN_MAX];
        let len = STANDARD.decode_slice(self.text, &mut bytes).ok()?;
        *buffer = bytes[..len].iter().copied().collect();
        (len > 0).then_some(&buffer[..])
    }
}

// ---- asking -----------------------------------------------------------------------------------------------------

/// mg `<key>` `<flags>*`, from behind the verb.
#[inline]
pub(super) fn get(line: &[u8]) -> Line<'_> {
    let mut words = Words::new(line);
    let Some(key) = key(&mut words) else { return refused(WireError::BadCommandLine) };
    let mut flags = Flags::none();
    if let Err(error) = flags.read(words, key) {
        return refused(error);
    }
    let command = MetaCommand::Get(MetaGet {
        value: flags.has(b'v'),
        known: flags.compare,
        unnoticed: flags.has(b'u'),
        lifetimes: flags.lifetimes,
        cas: flags.cas,
        key_is_base64: flags.has(b'b'),
    });
    flags.one(key, command)
}

/// md `<key>` `<flags>*`
pub(super) fn delete(line: &[u8]) -> Line<'_> {
    let mut words = Words::new(line);
    let Some(key) = key(&mut words) else { return refused(WireError::BadCommandLine) };
    let mut flags = Flags::none();
    if let Err(error) = flags.read(words, key) {
        return refused(error);
    }
    let command = MetaCommand::Delete(MetaDelete {
        compare: flags.compare,
        cas: flags.cas,
        empty: flags.has(b'x'),
        stale: flags.has(b'I'),
        exptime: flags.has(b'T').then_some(flags.exptime),
    });
    flags.one(key, command)
}

/// ma `<key>` `<flags>*`
pub(super) fn arithmetic(line: &[u8]) -> Line<'_> {
    let mut words = Words::new(line);
    let Some(key) = key(&mut words) else { return refused(WireError::BadCommandLine) };
    let mut flags = Flags::none();
    match flags.read(words, key) {
        Ok(()) => {}
        Err(error @ (WireError::TooManyFlags | WireError::OpaqueTooLong)) => return refused(error),
        Err(_) => return refused(WireError::InvalidOrDuplicateFlag),
    }
    let direction = match flags.mode {
        None | Some(b'I' | b'+') => Direction::Up,
        Some(b'D' | b'-') => Direction::Down,
        Some(_) => return refused(WireError::BadCountMode),
    };
    let command = MetaCommand::Count(MetaCount {
        direction,
        delta: flags.delta,
        initial: flags.initial,
        // As in memcached, 0 asks for nothing here.
        compare: flags.compare.filter(|cas| *cas != 0),
        cas: flags.cas,
        lifetimes: flags.lifetimes,
        key_is_base64: flags.has(b'b'),
    });
    flags.one(key, command)
}

/// me `<key>` `[b]`
pub(super) fn debug(line: &[u8]) -> Line<'_> {
    let mut words = Words::new(line);
    let Some(text) = key(&mut words) else { return refused(WireError::BadCommandLine) };
    let mut is_base64 = false;
    while let Some(word) = words.word() {
        is_base64 |= word == b"b";
    }
    let key = Key { text, is_base64 };
    if is_base64 && key.decoded(&mut KeyBuffer::new()).is_none() {
        return refused(WireError::BadKeyEncoding);
    }
    Line::Meta(MetaRequest { key, command: MetaCommand::Debug, reply: MetaShape::default(), opaque: &[] })
}

/// ms `<key>` `<length>` `<flags>*`
pub(super) fn store(line: &[u8]) -> Line<'_> {
    let mut words = Words::new(line);
    let (text, Some(len)) = (words.word(), words.word()) else { return refused(WireError::BadCommandLine) };
    let Some((swallow, value_len)) = unsigned(len).and_then(|len| Some((len.checked_add(TERMINATOR_LEN)?, len))) else {
        return Line::RefusedUnknown { error: WireError::BadCommandLine, reply: ReplyShape::default() };
    };
    let refused = |error| Line::RefusedValue { error, reply: ReplyShape::default(), swallow };
    let value_len = usize::try_from(value_len).ok().filter(|_| value_len <= VALUE_LEN_MAX);
    let (Some(key), Some(value_len)) = (text.filter(|key| key.len() <= KEY_LEN_MAX), value_len) else {
        return refused(WireError::BadCommandLine);
    };
    let mut flags = Flags::none();
    if let Err(error) = flags.read(words, key) {
        return refused(error);
    }
    let vivify = flags.lifetimes.vivify();
    let (verb, joins) = match (flags.mode, flags.compare) {
        (Some(b'E'), _) => (StoreVerb::Add, false),
        (Some(b'A'), _) => (StoreVerb::Append, true),
        (Some(b'P'), _) => (StoreVerb::Prepend, true),
        (None | Some(b'S' | b'R'), Some(cas)) if flags.has(b'I') => (StoreVerb::CasOrStale(cas), false),
        (None | Some(b'S' | b'R'), Some(cas)) => (StoreVerb::Cas(cas), false),
        (None | Some(b'S'), None) => (StoreVerb::Set, false),
        (Some(b'R'), None) => (StoreVerb::Replace, false),
        (Some(_), _) => return refused(WireError::BadStoreMode),
    };
    let terms = StoreTerms {
        compare: flags.compare.filter(|cas| joins && *cas != 0),
        cas: flags.cas,
        or_create: joins && vivify.is_some(),
        key_is_base64: flags.has(b'b'),
    };
    // What is made by joining lives as long as it was vivified for.
    let exptime = vivify.filter(|_| joins).unwrap_or(flags.exptime);
    let request = StoreRequest { verb, key, flags: flags.client_flags, exptime, value_len };
    let opaque = Opaque::new(flags.opaque).expect("a longer one was refused");
    Line::MetaValue(request, terms, ReplyShape { meta: Some(flags.shape()), opaque, ..ReplyShape::default() })
}

#[inline]
fn key<'a>(words: &mut Words<'a>) -> Option<&'a [u8]> {
    words.word().filter(|key| key.len() <= KEY_LEN_MAX)
}

#[cold]
fn refused<'a>(error: WireError) -> Line<'a> {
    Line::One(Request { command: Command::Refused(error), reply: ReplyShape::default() })
}

/// All that flags can say.
#[derive(Debug, Default)]
struct Flags<'a> {
    /// One bit for each letter from `@` on.
    seen: u64,
    /// Codes of what is to be told, in order, four bits each.
    told: u64,
    told_bits: u32,
    opaque: &'a [u8],
    lifetimes: Lifetimes,
    exptime: i64,
    compare: Option<u64>,
    cas: Option<u64>,
    delta: u64,
    initial: u64,
    client_flags: u32,
    /// Zero where the letter is missing.
    mode: Option<u8>,
}

impl<'a> Flags<'a> {
    #[inline]
    fn none() -> Self {
        Self { delta: 1, ..Self::default() }
    }

    #[inline]
    fn read(&mut self, mut words: Words<'a>, key: &[u8]) -> Result<(), WireError> {
        let all = words;
        let mut error = None;
        let mut count = 0;
        while let Some((letter, text)) = words.flag() {
            count += 1;
            let bit = match letter {
                letter @ b'A'..=b'z' => 1 << (letter - b'@'),
                0x7f.. => return Err(too_many(all).unwrap_or(WireError::DuplicateFlag)),
                _ => return Err(too_many(all).unwrap_or(WireError::InvalidFlag)),
            };
            if self.seen & bit != 0 {
                return Err(too_many(all).unwrap_or(WireError::DuplicateFlag));
            }
            self.seen |= bit;
            match self.take(letter, text, key) {
                Ok(()) => {}
                Err(WireError::InvalidFlag) => return Err(too_many(all).unwrap_or(WireError::InvalidFlag)),
                Err(other) => error = Some(other),
            }
        }
        if count > META_FLAGS_MAX {
            return Err(WireError::TooManyFlags);
        }
        error.map_or(Ok(()), Err)
    }

    #[inline]
    fn take(&mut self, letter: u8, text: &'a [u8], key: &[u8]) -> Result<(), WireError> {
        match letter {
            b'v' | b'q' | b'u' | b'x' | b'I' | b'L' | b'P' => {}
            b'c' => self.tell(CAS),
            b'f' => self.tell(FLAGS),
            b'h' => self.tell(HIT),
            b'k' => self.tell(KEY),
            b'l' => self.tell(LAST),
            b's' => self.tell(SIZE),
            b't' => {
                self.tell(TTL);
                self.lifetimes.push(Step::Show);
            }
            b'O' => {
                self.tell(OPAQUE);
                self.opaque = Some(text).filter(|text| text.len() <= OPAQUE_LEN_MAX).ok_or(WireError::OpaqueTooLong)?;
            }
            b'b' => {
                let key = Key { text: key, is_base64: true };
                key.decoded(&mut KeyBuffer::new()).ok_or(WireError::BadKeyEncoding)?;
            }
            b'N' => self.lifetimes.push(Step::Vivify(signed(text).ok_or(WireError::BadToken)?)),
            b'R' => self.lifetimes.push(Step::Recache(signed(text).ok_or(WireError::BadToken)?)),
            b'T' => {
                self.exptime = signed(text).ok_or(WireError::BadToken)?;
                self.lifetimes.push(Step::Touch(self.exptime));
            }
            b'C' => self.compare = Some(unsigned(text).ok_or(WireError::BadToken)?),
            b'E' => self.cas = Some(unsigned(text).ok_or(WireError::BadToken)?),
            b'D' => self.delta = unsigned(text).ok_or(WireError::BadDeltaFlag)?,
            b'J' => self.initial = unsigned(text).ok_or(WireError::BadInitial)?,
            b'F' => {
                let flags = unsigned(text).and_then(|flags| u32::try_from(flags).ok());
                self.client_flags = flags.ok_or(WireError::BadCommandLine)?;
            }
            b'M' => self.mode = Some(text.first().copied().unwrap_or(0)),
            _ => return Err(WireError::InvalidFlag),
        }
        Ok(())
    }

    #[inline]
    fn tell(&mut self, code: u64) {
        self.told |= code << self.told_bits;
        self.told_bits += CODE_BITS;
    }

    #[inline]
    fn has(&self, letter: u8) -> bool {
        self.seen & 1 << (letter - b'@') != 0
    }

    #[inline]
    fn shape(&self) -> MetaShape {
        MetaShape { told: self.told, hushed: self.has(b'q'), value: self.has(b'v'), key_is_base64: self.has(b'b') }
    }

    #[inline]
    fn one(&self, text: &'a [u8], command: MetaCommand) -> Line<'a> {
        let key = Key { text, is_base64: self.has(b'b') };
        Line::Meta(MetaRequest { key, command, reply: self.shape(), opaque: self.opaque })
    }
}

/// Goes before what is wrong with any of them.
#[cold]
fn too_many(mut words: Words<'_>) -> Option<WireError> {
    let count = std::iter::from_fn(|| words.word()).count();
    (count > META_FLAGS_MAX).then_some(WireError::TooManyFlags)
}

const CODE_BITS: u32 = 4;
const CAS: u64 = 1;
const FLAGS: u64 = 2;
const HIT: u64 = 3;
const KEY: u64 = 4;
const LAST: u64 = 5;
const OPAQUE: u64 = 6;
const SIZE: u64 = 7;
const TTL: u64 = 8;

// ---- answering --------------------------------------------------------------------------------------------------

/// Answers a command of one line. `key` is the request's. Takes at most [`REPLY_HEAD_LEN_MAX`] bytes beside a value.
#[inline]
pub fn encode<O: Out>(request: &MetaRequest<'_>, outcome: MetaOutcome<'_>, out: &mut O) {
    let (reply, echo) = (&request.reply, Echo { key: request.key, opaque: request.opaque });
    match outcome {
        MetaOutcome::Hit(view) => hit(reply, &echo, view, out),
        MetaOutcome::Miss if reply.hushed => {}
        MetaOutcome::Miss => status(b"EN", reply, &echo, out),
        MetaOutcome::Debug(view) => debug_line(&echo, &view, out),
        MetaOutcome::Done | MetaOutcome::Counted(..) if reply.hushed => {}
        MetaOutcome::Done => status(b"HD", reply, &echo, out),
        MetaOutcome::NotFound => status(b"NF", reply, &echo, out),
        MetaOutcome::Exists => status(b"EX", reply, &echo, out),
        MetaOutcome::Counted(number, receipt) | MetaOutcome::Made(number, receipt) => {
            counted(reply, &echo, number, receipt, out);
        }
        MetaOutcome::Refused(error) => out.bytes(error_line(error)),
    }
}

/// What of a request is told whatever came of it.
#[derive(Clone, Copy, Debug)]
pub struct Echo<'a> {
    /// If it is asked for.
    pub key: Key<'a>,
    /// The same.
    pub opaque: &'a [u8],
}

/// Answers `ms`: `receipt` is what was written, or what was to be.
pub fn encode_stored<O: Out>(reply: &MetaShape, echo: Echo<'_>, outcome: &Outcome<'_>, receipt: Receipt, out: &mut O) {
    let (code, cas) = match outcome {
        Outcome::Stored | Outcome::StoredStale if reply.hushed => return,
        Outcome::Stored | Outcome::StoredStale => (b"HD", receipt.cas),
        Outcome::NotStored => (b"NS", 0),
        Outcome::Exists => (b"EX", 0),
        Outcome::Refused(error) => return out.bytes(error_line(*error)),
        _ => (b"NF", 0),
    };
    let mut head = Head::new(code);
    for code in codes(reply.told) {
        match code {
            CAS => head.number(b" c", cas),
            SIZE => head.number(b" s", receipt.value_len as u64),
            other => head.echo(other, &echo),
        }
    }
    head.end(out);
}

/// VA or HD, and all that was asked.
#[inline]
fn hit<O: Out>(reply: &MetaShape, echo: &Echo<'_>, view: MetaView<'_>, out: &mut O) {
    let mut head = if view.has_value {
        let mut head = Head::new(b"VA");
        head.number(b" ", view.value_len as u64);
        head
    } else {
        Head::new(b"HD")
    };
    for code in codes(reply.told) {
        match code {
            CAS => head.number(b" c", view.item.cas),
            FLAGS => head.number(b" f", u64::from(view.item.flags)),
            HIT => head.number(b" h", u64::from(view.is_fetched)),
            KEY => head.key(item_key(echo, &view)),
            LAST => head.number(b" l", u64::from(view.idle_secs)),
            OPAQUE => head.opaque(echo.opaque),
            SIZE => head.number(b" s", view.value_len as u64),
            _ => head.ttl(view.ttl),
        }
    }
    if view.marks != Marks::NONE || view.wins {
        for (is_so, text) in
            [(view.marks.has(Marks::TOKEN_SENT), b" Z"), (view.marks.has(Marks::STALE), b" X"), (view.wins, b" W")]
        {
            if is_so {
                head.text(text);
            }
        }
    }
    head.end(out);
    if view.has_value {
        out.value(view.item.value);
        out.bytes(b"\r\n");
    }
}

enum KeyText<'a> {
    Plain(&'a [u8]),
    /// To be encoded.
    Raw(&'a [u8]),
    /// As the client encoded it.
    Encoded(&'a [u8]),
}

#[inline]
fn item_key<'a>(echo: &Echo<'_>, view: &MetaView<'a>) -> KeyText<'a> {
    let key = view.item.key;
    // What came by the binary protocol may hold anything; whoever asks for such a key here has written it in base64.
    let must_encode = || echo.key.is_base64 && key.iter().any(|byte| matches!(byte, 0 | b' ' | b'\r' | b'\n'));
    if view.marks.has(Marks::KEY_BASE64) || must_encode() { KeyText::Raw(key) } else { KeyText::Plain(key) }
}

/// Two letters, the key and the opaque token.
fn status<O: Out>(code: &[u8; 2], reply: &MetaShape, echo: &Echo<'_>, out: &mut O) {
    let mut head = Head::new(code);
    for code in codes(reply.told) {
        head.echo(code, echo);
    }
    head.end(out);
}

fn counted<O: Out>(reply: &MetaShape, echo: &Echo<'_>, number: u64, receipt: Receipt, out: &mut O) {
    let mut text = itoa::Buffer::new();
    let value = text.format(number).as_bytes();
    let mut head = Head::new(if reply.value { b"VA" } else { b"HD" });
    if reply.value {
        head.number(b" ", value.len() as u64);
    }
    for code in codes(reply.told) {
        match code {
            CAS => head.number(b" c", receipt.cas),
            TTL => head.ttl(receipt.ttl),
            other => head.echo(other, echo),
        }
    }
    head.end(out);
    if reply.value {
        out.bytes(value);
        out.bytes(b"\r\n");
    }
}

/// `ME <key> exp=<seconds> la=<seconds> cas=<number> fetch=<yes or no> cls=<class> size=<bytes>`. As in memcached, `exp` counts from
/// the end of the lifetime, so it is negative, and -1 also says that there is none.
#[cold]
fn debug_line<O: Out>(echo: &Echo<'_>, view: &MetaView<'_>, out: &mut O) {
    let mut head = Head::new(b"ME");
    head.bare_key(item_key(echo, view));
    match view.ttl {
        None => head.text(b" exp=-1"),
        Some(0) => head.text(b" exp=0"),
        Some(secs) => head.number(b" exp=-", secs.into()),
    }
    head.number(b" la=", view.idle_secs.into());
    head.number(b" cas=", view.item.cas);
    head.text(if view.is_fetched { b" fetch=yes" } else { b" fetch=no" });
    if let Some(place) = view.place {
        head.number(b" cls=", place.class.into());
        head.number(b" size=", place.item_len as u64);
    }
    head.end(out);
}

#[inline]
fn codes(told: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(told), |told| Some(told >> CODE_BITS))
        .map(|told| told & ((1 << CODE_BITS) - 1))
        .take_while(|code| *code != 0)
}

/// The line of an answer, put together before it goes out.
struct Head {
    bytes: ArrayVec<u8, REPLY_HEAD_LEN_MAX>,
}

impl Head {
    #[inline]
    fn new(code: &[u8; 2]) -> Self {
        let mut head = Self { bytes: ArrayVec::new() };
        head.text(code);
        head
    }

    #[inline]
    fn text(&mut self, text: &[u8]) {
        self.bytes.try_extend_from_slice(text).expect("a head holds all that can be told at once");
    }

    #[inline]
    fn number(&mut self, name: &[u8], number: u64) {
        self.text(name);
        match u8::try_from(number) {
            Ok(digit @ 0..=9) => self.text(&[b'0' + digit]),
            _ => self.text(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    #[inline]
    fn ttl(&mut self, ttl: Option<u32>) {
        match ttl {
            None => self.text(b" t-1"),
            Some(secs) => self.number(b" t", secs.into()),
        }
    }

    #[inline]
    fn opaque(&mut self, opaque: &[u8]) {
        self.text(b" O");
        self.text(opaque);
    }

    fn key(&mut self, key: KeyText<'_>) {
        self.text(b" k");
        self.key_text(&key);
        if !matches!(key, KeyText::Plain(_)) {
            self.text(b" b");
        }
    }

    fn bare_key(&mut self, key: KeyText<'_>) {
        self.text(b" ");
        self.key_text(&key);
    }

    fn key_text(&mut self, key: &KeyText<'_>) {
        match key {
            KeyText::Plain(text) | KeyText::Encoded(text) => self.text(text),
            KeyText::Raw(key) => {
                let mut text = [0; KEY_TEXT_LEN_MAX];
                let len = STANDARD.encode_slice(key, &mut text).expect("a key that was decoded can be encoded");
                self.text(&text[..len]);
            }
        }
    }

    fn echo(&mut self, code: u64, echo: &Echo<'_>) {
        match code {
            KEY if echo.key.is_base64 => self.key(KeyText::Encoded(echo.key.text)),
            KEY => self.key(KeyText::Plain(echo.key.text)),
            OPAQUE => self.opaque(echo.opaque),
            _ => {}
        }
    }

    #[inline]
    fn end<O: Out>(mut self, out: &mut O) {
        self.text(b"\r\n");
        out.bytes(&self.bytes);
    }
}

/// Longest key in base64, of what can have been stored: the text of a request, or one that decodes to as much.
const KEY_TEXT_LEN_MAX: usize = KEY_LEN_MAX.div_ceil(3) * 4;

/// All that can be told at once: a code and a length, seven numbers, opaque token, key, and what was noted.
const TOLD_LEN_MAX: usize = 13 + 22 + 3 * 12 + 3 + 13 + (2 + OPAQUE_LEN_MAX) + (2 + KEY_LEN_MAX + 2) + 6 + 2;
const _: () = assert!(TOLD_LEN_MAX <= REPLY_HEAD_LEN_MAX);

#[cfg(test)]
mod tests {
    use super::super::Parsed;
    use super::super::text::parse;
    use super::*;
    use crate::command::{Value, View};

    fn line(text: &str) -> Line<'_> {
        match parse(text.as_bytes(), &mut 0) {
            Parsed::Complete { used, value } => {
                assert_eq!(used, text.len(), "{text}");
                value
            }
            Parsed::Partial => panic!("incomplete: {text}"),
        }
    }

    fn steps(steps: &[Step]) -> Lifetimes {
        let mut lifetimes = Lifetimes::default();
        steps.iter().for_each(|step| lifetimes.push(*step));
        lifetimes
    }

    #[test]
    fn flags_say_what_to_do_and_what_to_tell() {
        let Line::Meta(request) = line("mg key t s T60 v N30 c R5\r\n") else { panic!() };
        assert_eq!(request.key, Key { text: b"key", is_base64: false });
        let get = MetaGet {
            value: true,
            lifetimes: steps(&[Step::Show, Step::Touch(60), Step::Vivify(30), Step::Recache(5)]),
            ..MetaGet::default()
        };
        assert_eq!(request.command, MetaCommand::Get(get));
        assert_eq!(codes(request.reply.told).collect::<Vec<_>>(), [TTL, SIZE, CAS]);
        let Line::Meta(request) = line("md Zm9v I b x q C7 E9 T-1 O12\n") else { panic!() };
        let delete = MetaDelete { compare: Some(7), cas: Some(9), empty: true, stale: true, exptime: Some(-1) };
        assert_eq!(request.command, MetaCommand::Delete(delete));
        assert_eq!((request.reply.hushed, request.opaque), (true, &b"12"[..]));
        assert_eq!(request.key.bytes(&mut KeyBuffer::new()), b"foo");
    }

    #[test]
    fn ms_is_a_store_on_terms() {
        let table = [
            ("", StoreVerb::Set, None, false),
            (" I", StoreVerb::Set, None, false),
            (" C5", StoreVerb::Cas(5), None, false),
            (" MR C5", StoreVerb::Cas(5), None, false),
            (" I C5", StoreVerb::CasOrStale(5), None, false),
            (" ME C5 I", StoreVerb::Add, None, false),
            (" MA C5", StoreVerb::Append, Some(5), false),
            (" MP C0 N7", StoreVerb::Prepend, None, true),
            (" MR N7", StoreVerb::Replace, None, false),
        ];
        for (flags, verb, compare, or_create) in table {
            let text = format!("ms key 3{flags}\r\n");
            let Line::MetaValue(request, terms, _) = line(&text) else { panic!("{text}") };
            assert_eq!((request.verb, request.key, request.value_len), (verb, &b"key"[..], 3), "{text}");
            let exptime = if or_create { 7 } else { 0 };
            assert_eq!((request.exptime, terms.compare, terms.or_create), (exptime, compare, or_create), "{text}");
        }
    }

    /// The longest of all answers has room: heads are written under a lock, into room made before.
    #[test]
    fn the_longest_answers_fit_the_room_that_is_made_for_them() {
        let most = u64::MAX;
        let told = [CAS, FLAGS, HIT, KEY, LAST, OPAQUE, SIZE, TTL];
        let told = told.iter().rev().fold(0, |all, code| all << CODE_BITS | code);
        let reply = MetaShape { told, value: true, ..MetaShape::default() };
        let opaque = &[b'o'; OPAQUE_LEN_MAX];
        let command = MetaCommand::Debug;
        let marks = Marks::STALE.and(Marks::TOKEN_SENT);
        for (key, marks) in [(&[b'k'; KEY_LEN_MAX][..], marks), (&[b'k'; 186], marks.and(Marks::KEY_BASE64))] {
            let view = || MetaView {
                item: View { key, flags: u32::MAX, cas: most, value: Value::Borrowed(&[]) },
                value_len: 1 << 30,
                has_value: true,
                is_fetched: true,
                idle_secs: u32::MAX,
                ttl: Some(u32::MAX),
                marks,
                wins: true,
                place: None,
            };
            for outcome in [MetaOutcome::Hit(view()), MetaOutcome::Debug(view())] {
                let mut out = Vec::new();
                let key = Key { text: key, is_base64: false };
                encode(&MetaRequest { key, command, reply, opaque }, outcome, &mut out);
                assert!(out.ends_with(b"\r\n") && out.len() <= REPLY_HEAD_LEN_MAX, "{}", out.len());
            }
            let receipt = Receipt { cas: most, value_len: 1 << 30, ttl: Some(u32::MAX) };
            let (mut out, key) = (Vec::new(), Key { text: key, is_base64: true });
            encode(&MetaRequest { key, command, reply, opaque }, MetaOutcome::Made(most, receipt), &mut out);
            encode_stored(&reply, Echo { key, opaque }, &Outcome::Stored, receipt, &mut out);
            assert!(out.len() <= 2 * REPLY_HEAD_LEN_MAX);
        }
    }
}
