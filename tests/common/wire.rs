//! Playing a transcript to whatever answers it: a socket, a session without one, a real memcached.
//!
//! A transcript is a table of what is said and what must come back. Both are templates:
//!
//! ```text
//! {x*1000}     a thousand times x, any character;  {#ff*3} three times the byte 0xff
//! {unix+3600}  the server's wall clock, moved on by so many seconds;  {unix-5} back
//! {cas:a}      in an answer: a number, remembered as a (or the number already remembered);  in a request: that number
//! {word}       in an answer: anything without a blank
//! {req 01 k=a x=0000000500000000 v=b*9}    a packet of the binary protocol: opcode, key, extras, value; see `packet.rs`
//! {res 01 c=a} {err 01 02}                 its answer, the CAS number remembered as a; an error with its text
//! ```

use super::packet;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read};

/// One conversation with its answers.
#[derive(Debug)]
pub(crate) struct Transcript {
    /// What would be broken if it failed.
    pub(crate) name: &'static str,
    /// What is said, and answered, in order.
    pub(crate) steps: &'static [Step],
    /// Why memcached 1.6.18 answers otherwise, where it does.
    pub(crate) differs: Option<&'static str>,
}

impl Transcript {
    /// Whether it is in the binary protocol.
    pub(crate) fn is_binary(&self) -> bool {
        matches!(self.steps.first(), Some(Step::Say(say, _) | Step::Close(say, _)) if say.starts_with("{req"))
    }
}

/// One exchange, or a move of the clock.
#[derive(Debug)]
pub(crate) enum Step {
    /// Say the first, expect exactly the second.
    Say(&'static str, &'static str),
    /// Say the first, expect exactly the second and then the end of the connection.
    Close(&'static str, &'static str),
    /// So many milliseconds pass.
    Wait(u64),
}

/// How what is said is cut into pieces on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Each step in one piece.
    Whole,
    /// One step in two pieces, the others whole.
    At {
        /// Which step.
        step: usize,
        /// Bytes in its first piece.
        byte: usize,
    },
    /// Every byte by itself.
    EachByte,
}

/// What came of waiting for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// More bytes.
    Bytes,
    /// The connection is closed.
    Closed,
    /// Nothing, and nothing is on its way.
    Silence,
}

impl Received {
    /// What one read from a stream brings.
    pub(crate) fn from(stream: &mut impl Read, answer: &mut Vec<u8>) -> Self {
        let mut bytes = [0; 1 << 16];
        match stream.read(&mut bytes) {
            Ok(0) => Self::Closed,
            Ok(len) => {
                answer.extend_from_slice(&bytes[..len]);
                Self::Bytes
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Self::Silence,
            Err(_) => Self::Closed,
        }
    }
}

/// Something that answers.
pub(crate) trait Wire {
    /// Says something. A connection that is closed already swallows it.
    fn send(&mut self, bytes: &[u8]);
    /// Waits for bytes of an answer; gives up loudly, never hangs.
    fn receive(&mut self, answer: &mut Vec<u8>) -> Received;
    /// Lets time pass.
    fn advance(&mut self, ms: u64);
    /// The wall clock of whatever answers.
    fn unix_secs(&self) -> u64;
}

/// Plays a transcript; the error says at which step the answer was another.
pub(crate) fn play(transcript: &Transcript, wire: &mut impl Wire, cut: Cut) -> Result<(), String> {
    let mut player = Player { wire, names: BTreeMap::new(), answer: Vec::new() };
    for (index, step) in transcript.steps.iter().enumerate() {
        player.step(index, step, cut).map_err(|why| describe(transcript, index, cut, &why))?;
    }
    if !matches!(transcript.steps.last(), Some(Step::Close(..))) {
        let (say, expect) =
            if transcript.is_binary() { ("{req 0a}", "{res 0a}") } else { ("version\r\n", "VERSION {word}\r\n") };
        player
            .exchange(say, expect, Cut::Whole, usize::MAX)
            .map_err(|why| describe(transcript, transcript.steps.len(), cut, &why))?;
    }
    Ok(())
}

/// The bytes of every step's request, as long as no answer is needed to know them and nothing closes or waits.
pub(crate) fn joined(transcript: &Transcript, unix_secs: u64) -> Option<(Vec<u8>, Vec<Piece>)> {
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    for step in transcript.steps {
        let Step::Say(say, expect) = step else {
            return None;
        };
        for piece in compile(say, unix_secs) {
            let Piece::Bytes(bytes) = piece else {
                return None;
            };
            request.extend_from_slice(&bytes);
        }
        answer.extend(compile(expect, unix_secs));
    }
    Some((request, answer))
}

fn describe(transcript: &Transcript, index: usize, cut: Cut, why: &str) -> String {
    format!("transcript '{}', step {index}, cut {cut:?}: {why}", transcript.name)
}

struct Player<'a, W> {
    wire: &'a mut W,
    names: BTreeMap<String, Vec<u8>>,
    /// Bytes received and not yet expected.
    answer: Vec<u8>,
}

impl<W: Wire> Player<'_, W> {
    fn step(&mut self, index: usize, step: &Step, cut: Cut) -> Result<(), String> {
        match step {
            Step::Say(say, expect) => self.exchange(say, expect, cut, index),
            Step::Wait(ms) => {
                self.wire.advance(*ms);
                Ok(())
            }
            Step::Close(say, expect) => {
                self.exchange(say, expect, cut, index)?;
                match self.wire.receive(&mut self.answer) {
                    Received::Closed => Ok(()),
                    Received::Silence => Err("the connection stays open".to_owned()),
                    Received::Bytes => Err(format!("not closed but answered: {}", show(&self.answer))),
                }
            }
        }
    }

    fn exchange(&mut self, say: &str, expect: &str, cut: Cut, index: usize) -> Result<(), String> {
        let request = self.request(say);
        match cut {
            Cut::EachByte => request.chunks(1).for_each(|byte| self.wire.send(byte)),
            Cut::At { step, byte } if step == index => {
                let (first, second) = request.split_at(byte.min(request.len()));
                self.wire.send(first);
                self.wire.send(second);
            }
            Cut::At { .. } | Cut::Whole => self.wire.send(&request),
        }
        self.expect(&compile(expect, self.wire.unix_secs()), &request)
    }

    fn request(&self, say: &str) -> Vec<u8> {
        let mut request = Vec::new();
        for piece in compile(say, self.wire.unix_secs()) {
            match piece {
                Piece::Bytes(bytes) => request.extend_from_slice(&bytes),
                Piece::Number(name) | Piece::Cas(name) => request.extend_from_slice(&self.names[&name]),
                Piece::Word => panic!("{{word}} cannot be said"),
            }
        }
        request
    }

    fn expect(&mut self, pattern: &[Piece], request: &[u8]) -> Result<(), String> {
        loop {
            match matched(pattern, &self.answer, &mut self.names) {
                Matched::Whole if !pattern.is_empty() => {
                    self.answer.clear();
                    return Ok(());
                }
                Matched::Whole if self.answer.is_empty() => return Ok(()),
                Matched::Partly => {}
                Matched::Whole | Matched::Otherwise => {
                    return Err(self.complaint(pattern, request, ""));
                }
            }
            match self.wire.receive(&mut self.answer) {
                Received::Bytes => {}
                Received::Closed => {
                    return Err(self.complaint(pattern, request, " and was closed"));
                }
                Received::Silence => {
                    return Err(self.complaint(pattern, request, " and then nothing more"));
                }
            }
        }
    }

    fn complaint(&self, pattern: &[Piece], request: &[u8], end: &str) -> String {
        format!("said\n  {}\nexpected\n  {}\ngot\n  {}{end}", show(request), show_pattern(pattern), show(&self.answer))
    }
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Exactly these.
    Bytes(Vec<u8>),
    /// A number with a name.
    Number(String),
    /// A binary number with a name, and not 0.
    Cas(String),
    /// Anything without a blank.
    Word,
}

/// How far an answer agrees with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matched {
    /// To its end, and nothing follows.
    Whole,
    /// As far as it goes.
    Partly,
    /// Not.
    Otherwise,
}

/// Compares an answer with a pattern and remembers its numbers.
pub(crate) fn matched(pattern: &[Piece], answer: &[u8], names: &mut BTreeMap<String, Vec<u8>>) -> Matched {
    let mut rest = answer;
    for piece in pattern {
        let taken = match piece {
            Piece::Bytes(bytes) => {
                let common = bytes.len().min(rest.len());
                if bytes[..common] != rest[..common] {
                    return Matched::Otherwise;
                }
                if common < bytes.len() {
                    return Matched::Partly;
                }
                common
            }
            Piece::Cas(_) => rest.len().min(size_of::<u64>()),
            Piece::Number(_) => rest.iter().take_while(|byte| byte.is_ascii_digit()).count(),
            Piece::Word => rest.iter().take_while(|byte| !byte.is_ascii_whitespace()).count(),
        };
        let is_partial = match piece {
            Piece::Bytes(_) => false,
            Piece::Cas(_) => taken < size_of::<u64>(),
            Piece::Number(_) | Piece::Word => taken == rest.len(),
        };
        if is_partial {
            return Matched::Partly;
        }
        if let Piece::Number(name) | Piece::Cas(name) = piece {
            let number = rest[..taken].to_vec();
            if number.iter().all(|byte| *byte == 0)
                || *names.entry(name.clone()).or_insert_with(|| number.clone()) != number
            {
                return Matched::Otherwise;
            }
        }
        rest = &rest[taken..];
    }
    if rest.is_empty() { Matched::Whole } else { Matched::Otherwise }
}

/// Cuts a template into its pieces.
pub(crate) fn compile(template: &str, unix_secs: u64) -> Vec<Piece> {
    let (mut pieces, mut bytes, mut rest) = (Vec::new(), Vec::new(), template);
    while let Some(open) = rest.find('{') {
        let (before, behind) = rest.split_at(open);
        bytes.extend_from_slice(before.as_bytes());
        let (inside, after) = behind[1..].split_once('}').expect("a template's brace is closed");
        rest = after;
        if let Some(packet) = packet::compiled(inside) {
            pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
            pieces.extend(packet);
            continue;
        }
        let named = match inside.split_once(':') {
            Some(("cas", name)) => Some(Piece::Number(name.to_owned())),
            _ if inside == "word" => Some(Piece::Word),
            _ => None,
        };
        match named {
            Some(piece) => {
                pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
                pieces.push(piece);
            }
            None => bytes.extend(expanded(inside, unix_secs)),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    pieces.push(Piece::Bytes(bytes));
    pieces.retain(|piece| !matches!(piece, Piece::Bytes(bytes) if bytes.is_empty()));
    pieces
}

fn expanded(inside: &str, unix_secs: u64) -> Vec<u8> {
    if let Some(secs) = inside.strip_prefix("unix") {
        let secs: i64 = secs.parse().expect("a number of seconds");
        return unix_secs.checked_add_signed(secs).expect("a time after 1970").to_string().into_bytes();
    }
    let (what, times) = inside.rsplit_once('*').expect("a template is one of those listed above");
    let what = match what.strip_prefix('#') {
        Some(hex) => vec![u8::from_str_radix(hex, 16).expect("a byte in hexadecimal")],
        None => what.as_bytes().to_vec(),
    };
    what.repeat(times.parse().expect("a number of times"))
}

/// Bytes as a reader of a failure wants them: escaped, the middle of long ones left out.
pub(crate) fn show(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 400;
    if bytes.len() <= SHOWN_MAX {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let (head, tail) = (&bytes[..SHOWN_MAX / 2], &bytes[bytes.len() - SHOWN_MAX / 2..]);
    format!("\"{}\" ... {} bytes in all ... \"{}\"", head.escape_ascii(), bytes.len(), tail.escape_ascii())
}

fn show_pattern(pattern: &[Piece]) -> String {
    let mut shown = String::new();
    for piece in pattern {
        match piece {
            Piece::Bytes(bytes) => shown.push_str(&show(bytes)),
            Piece::Number(name) | Piece::Cas(name) => {
                write!(shown, " <number {name}> ").expect("a String takes anything")
            }
            Piece::Word => shown.push_str(" <word> "),
        }
    }
    shown
}
