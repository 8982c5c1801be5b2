//! Packets of the binary protocol, made and taken apart without slabd's own code.
//!
//! In transcripts a packet is written as words (numbers in hexadecimal):
//!
//! ```text
//! {req 01 k=a x=0000000500000000 v=b}   opcode; then, if there are any: key, extras, value
//! {res 01 s=02 c=name}                  an answer: its status (00), the CAS number, not 0, remembered by that name (0)
//! {req 01 c=name} {req 01 c=5}          with that number, or this one
//! {err 01 02}                           an answer that is an error, with memcached's text
//! o=01020304                            opaque (0a0b0c0d);  m=81 another magic
//! kl=2 xl=8 bl=a                        lengths of key, extras and body that are not what follows
//! %20                                   in key or value: a byte;  v=x*500 is five hundred times x (in decimal)
//! ```

use super::wire::Piece;

/// A packet as sent, or as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Which command.
    pub(crate) opcode: u8,
    /// Of an answer.
    pub(crate) status: u16,
    /// Comes back as it went.
    pub(crate) opaque: u32,
    /// CAS number.
    pub(crate) cas: u64,
    /// What stands before the key.
    pub(crate) extras: Vec<u8>,
    /// The key.
    pub(crate) key: Vec<u8>,
    /// The value.
    pub(crate) value: Vec<u8>,
}

impl Packet {
    /// A request.
    pub(crate) fn new(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Self {
        let (extras, key, value) = (extras.to_vec(), key.to_vec(), value.to_vec());
        Self { opcode, extras, key, value, ..Self::default() }
    }

    /// As a request goes over the wire.
    pub(crate) fn request(&self) -> Vec<u8> {
        self.bytes(0x80)
    }

    /// As an answer comes over the wire.
    pub(crate) fn answer(&self) -> Vec<u8> {
        self.bytes(0x81)
    }

    fn bytes(&self, magic: u8) -> Vec<u8> {
        let body_len = self.extras.len() + self.key.len() + self.value.len();
        let mut bytes = vec![magic, self.opcode];
        bytes.extend(u16::try_from(self.key.len()).expect("a short key").to_be_bytes());
        bytes.extend([u8::try_from(self.extras.len()).expect("short extras"), 0]);
        bytes.extend(self.status.to_be_bytes());
        bytes.extend(u32::try_from(body_len).expect("a body of less than 4 GiB").to_be_bytes());
        bytes.extend(self.opaque.to_be_bytes());
        bytes.extend(self.cas.to_be_bytes());
        [&bytes[..], &self.extras, &self.key, &self.value].concat()
    }

    /// The answer that `bytes` begin with, and its length; none if it is not complete.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let header = bytes.get(..24)?;
        assert_eq!(header[0], 0x81, "no answer begins like this: {}", super::wire::show(bytes));
        let long = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let short = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let (key_len, extras_len, body_len) = (usize::from(short(2)), usize::from(header[4]), word(8) as usize);
        assert!(key_len + extras_len <= body_len, "lengths that cannot be: {}", super::wire::show(header));
        assert_eq!(header[5], 0, "data types are not spoken");
        let body = bytes.get(24..24 + body_len)?;
        let packet = Self {
            opcode: header[1],
            status: short(6),
            opaque: word(12),
            cas: long(16),
            extras: body[..extras_len].to_vec(),
            key: body[extras_len..extras_len + key_len].to_vec(),
            value: body[extras_len + key_len..].to_vec(),
        };
        Some((packet, 24 + body_len))
    }
}

/// memcached's text for a status.
pub(crate) fn error_text(status: u16) -> &'static str {
    match status {
        0x01 => "Not found",
        0x02 => "Data exists for key.",
        0x03 => "Too large.",
        0x04 => "Invalid arguments",
        0x05 => "Not stored.",
        0x06 => "Non-numeric server-side value for incr or decr",
        0x81 => "Unknown command",
        0x82 => "Out of memory allocating item",
        _ => panic!("no such status: {status}"),
    }
}

/// The pieces of what stands between braces, if it is a packet.
pub(crate) fn compiled(inside: &str) -> Option<Vec<Piece>> {
    let mut words = inside.split(' ');
    let (kind, mut packet) = (words.next()?, Packet { opaque: 0x0a0b_0c0d, ..Packet::default() });
    if !matches!(kind, "req" | "res" | "err") {
        return None;
    }
    packet.opcode = u8::try_from(hex(words.next().expect("an opcode"))).expect("an opcode of one byte");
    let mut cas_name = None;
    let mut lies: Vec<(usize, Vec<u8>)> = Vec::new();
    if kind == "err" {
        packet.status = u16::try_from(hex(words.next().expect("a status"))).expect("a short status");
        packet.value = error_text(packet.status).into();
    }
    for word in words {
        let (name, text) = word.split_once('=').expect("a word is name=value");
        match name {
            "s" => packet.status = u16::try_from(hex(text)).expect("a short status"),
            "o" => packet.opaque = u32::try_from(hex(text)).expect("a short opaque"),
            "c" if text.bytes().all(|byte| byte.is_ascii_digit()) => packet.cas = hex(text),
            "c" => cas_name = Some(text.to_owned()),
            "x" => packet.extras = hex_bytes(text),
            "k" => packet.key = unescaped(text),
            "v" => packet.value = unescaped(text),
            "m" => lies.push((0, hex_bytes(text))),
            "kl" => lies.push((2, u16::try_from(hex(text)).expect("short").to_be_bytes().to_vec())),
            "xl" => lies.push((4, hex_bytes(text))),
            "bl" => lies.push((8, u32::try_from(hex(text)).expect("short").to_be_bytes().to_vec())),
            _ => panic!("unknown word in a packet: {word}"),
        }
    }
    let mut bytes = if kind == "req" { packet.request() } else { packet.answer() };
    for (at, lie) in lies {
        bytes[at..at + lie.len()].copy_from_slice(&lie);
    }
    let Some(name) = cas_name else { return Some(vec![Piece::Bytes(bytes)]) };
    Some(vec![Piece::Bytes(bytes[..16].to_vec()), Piece::Cas(name), Piece::Bytes(bytes[24..].to_vec())])
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).expect("a number in hexadecimal")
}

fn hex_bytes(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal")).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let (what, times) = match text.rsplit_once('*') {
        Some((what, times)) => (what, times.parse().expect("a number of times")),
        None => (text, 1),
    };
    let (mut bytes, mut rest) = (Vec::new(), what);
    while let Some((before, behind)) = rest.split_once('%') {
        bytes.extend(before.bytes());
        bytes.extend(hex_bytes(&behind[..2]));
        rest = &behind[2..];
    }
    bytes.extend(rest.bytes());
    bytes.repeat(times)
}
