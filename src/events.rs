//! What watchers are told: each thread notes what happens in a log of its own, and whoever serves a watcher makes lines of it.
//!
//! ```text
//!   worker 0 ──note──► [log]──┐                            ┌──► lines of watcher 1 ──► its connection
//!   worker 1 ──note──► [log]──┼─ pump: merged by number ──►┤
//!   others   ──note──► [log]──┘   and put into words       └──► lines of watcher 2 ──► its connection
//! ```
//!
//! Nobody ever waits for a watcher. A log that is full takes nothing more, and says so by a flag that is looked at before anything
//! else is done; a watcher that does not read finds no room for more lines. What is lost so is counted, and the watcher is told how
//! much it missed. While no watcher has room logs are left full, so that a watcher that has stopped costs the others least.
//!
//! Where nobody watches, all of this is one look at a word that nobody writes.

mod hub;

pub use hub::{Hub, Log, LogCounts, LogLens, Watcher};

use crate::limits::LOG_ENTRY_LEN_MAX;
use std::io::Write as _;
use std::net::SocketAddr;

/// Kinds of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u32);

impl Kinds {
    /// What is read.
    pub const FETCHERS: Self = Self(1);
    /// What is stored.
    pub const MUTATIONS: Self = Self(1 << 1);
    /// What gives way to others.
    pub const EVICTIONS: Self = Self(1 << 2);
    /// Clients that come and go.
    pub const CONNEVENTS: Self = Self(1 << 3);
    /// What the daemon does by itself.
    pub const SYSEVENTS: Self = Self(1 << 4);
    /// What is deleted.
    pub const DELETIONS: Self = Self(1 << 5);
    /// Requests of the text protocol, as they came.
    pub const RAWCMDS: Self = Self(1 << 6);
    /// All of them.
    pub const ALL: Self = Self(u32::MAX);
    /// Those of a proxy, of which there is none here.
    pub const NONE: Self = Self(0);

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    fn index(self) -> usize {
        self.0.trailing_zeros() as usize
    }
}

/// How many kinds there are.
const KIND_COUNT: usize = 7;

/// What a key was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not there.
    NotFound,
    /// There.
    Found,
    /// There, and flushed.
    Flushed,
    /// There, and expired.
    Expired,
    /// Stored.
    Stored,
    /// Not stored.
    NotStored,
    /// Not stored: it has another CAS number.
    Exists,
    /// Not stored: too large.
    TooLarge,
    /// Not stored: no memory.
    NoMemory,
}

impl Status {
    const ALL: [(Self, &'static str); 9] = [
        (Self::NotFound, "not_found"),
        (Self::Found, "found"),
        (Self::Flushed, "flushed"),
        (Self::Expired, "expired"),
        (Self::Stored, "stored"),
        (Self::NotStored, "not_stored"),
        (Self::Exists, "exists"),
        (Self::TooLarge, "too_large"),
        (Self::NoMemory, "no_memory"),
    ];
}

/// By which command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// set
    Set,
    /// add
    Add,
    /// replace
    Replace,
    /// append
    Append,
    /// prepend
    Prepend,
    /// cas
    Cas,
    /// delete
    Delete,
    /// md
    MetaDelete,
}

impl Verb {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Set, "set"),
        (Self::Add, "add"),
        (Self::Replace, "replace"),
        (Self::Append, "append"),
        (Self::Prepend, "prepend"),
        (Self::Cas, "cas"),
        (Self::Delete, "delete"),
        (Self::MetaDelete, "md"),
    ];
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// The client wanted it so.
    #[default]
    Normal,
    /// Something failed, or what the client said could not be meant.
    Error,
    /// Nothing was said for too long.
    IdleTimeout,
}

impl Reason {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Normal, "normal"), (Self::Error, "error"), (Self::IdleTimeout, "idle_timeout")];
}

/// What is known of an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Number of its class, 0 of none.
    pub class: u8,
    /// Bytes of its value.
    pub value_len: usize,
    /// Seconds it has left: none is for ever, and 0 that it is dead already.
    pub ttl: Option<u32>,
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A key was looked up.
    Get(&'a [u8], Status, About),
    /// A value was to be stored.
    Store(&'a [u8], Status, Verb, About),
    /// An item was evicted: whether it had been read, and for how many seconds it had been idle.
    Eviction(&'a [u8], bool, u32, About),
    /// An item was deleted.
    Deleted(&'a [u8], Verb, About),
    /// A client has come; from nowhere, if from a unix socket.
    ConnNew(Option<SocketAddr>),
    /// A client has gone.
    ConnClose(Option<SocketAddr>, Reason),
    /// A page was moved from class to class.
    SlabMove(u8, u8),
    /// A request.
    Raw(&'a [u8]),
}

impl Event<'_> {
    /// What it is watched as.
    #[must_use]
    pub fn kind(&self) -> Kinds {
        match self {
            Self::Get(..) => Kinds::FETCHERS,
            Self::Store(..) => Kinds::MUTATIONS,
            Self::Eviction(..) => Kinds::EVICTIONS,
            Self::Deleted(..) => Kinds::DELETIONS,
            Self::ConnNew(..) | Self::ConnClose(..) => Kinds::CONNEVENTS,
            Self::SlabMove(..) => Kinds::SYSEVENTS,
            Self::Raw(..) => Kinds::RAWCMDS,
        }
    }
}

/// What a log holds of an event, its key or text behind it.
struct Entry<'a> {
    tag: u8,
    /// Which status, verb or reason; whether it was read.
    word: u8,
    verb: u8,
    class: u8,
    client: u32,
    number: u64,
    at_us: u64,
    value_len: u64,
    /// Seconds, one more than there are; 0 is for ever.
    ttl: u64,
    idle: u64,
    text: &'a [u8],
}

/// Bytes of an entry before its text, with the two of its length.
const HEAD_LEN: usize = 2 + 4 + 4 + 5 * 8;

const GET: u8 = 0;
const STORE: u8 = 1;
const EVICTION: u8 = 2;
const DELETED: u8 = 3;
const CONN_NEW: u8 = 4;
const CONN_CLOSE: u8 = 5;
const SLAB_MOVE: u8 = 6;
const RAW: u8 = 7;

const _: () = assert!(HEAD_LEN + crate::limits::KEY_LEN_MAX <= LOG_ENTRY_LEN_MAX);

impl<'a> Entry<'a> {
    fn new(tag: u8, text: &'a [u8]) -> Self {
        let (word, verb, class, client) = (0, 0, 0, 0);
        Self { tag, word, verb, class, client, number: 0, at_us: 0, value_len: 0, ttl: 0, idle: 0, text }
    }

    fn about(self, about: About) -> Self {
        let ttl = about.ttl.map_or(0, |secs| u64::from(secs) + 1);
        Self { class: about.class, value_len: about.value_len as u64, ttl, ..self }
    }

    fn of(event: Event<'a>) -> Self {
        match event {
            Event::Get(key, status, about) => Self { word: status as u8, ..Self::new(GET, key).about(about) },
            Event::Store(key, status, verb, about) => {
                Self { word: status as u8, verb: verb as u8, ..Self::new(STORE, key).about(about) }
            }
            Event::Eviction(key, was_read, idle, about) => {
                Self { word: u8::from(was_read), idle: idle.into(), ..Self::new(EVICTION, key).about(about) }
            }
            Event::Deleted(key, verb, about) => Self { verb: verb as u8, ..Self::new(DELETED, key).about(about) },
            Event::ConnNew(_) => Self::new(CONN_NEW, b""),
            Event::ConnClose(_, reason) => Self { word: reason as u8, ..Self::new(CONN_CLOSE, b"") },
            Event::SlabMove(from, to) => Self { class: from, word: to, ..Self::new(SLAB_MOVE, b"") },
            Event::Raw(line) => Self::new(RAW, line),
        }
    }

    /// Adds it to a log; whether there was room for it.
    fn write(&self, log: &mut Vec<u8>) -> bool {
        let len = HEAD_LEN + self.text.len();
        if log.capacity() - log.len() < len {
            return false;
        }
        log.extend(u16::try_from(len).expect("an entry is short").to_ne_bytes());
        log.extend([self.tag, self.word, self.verb, self.class]);
        log.extend(self.client.to_ne_bytes());
        for number in [self.number, self.at_us, self.value_len, self.ttl, self.idle] {
            log.extend(number.to_ne_bytes());
        }
        log.extend_from_slice(self.text);
        true
    }

    /// The first of a log, and the rest of it.
    fn read(log: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (len, _) = log.split_first_chunk::<2>()?;
        let (entry, rest) = log.split_at_checked(u16::from_ne_bytes(*len).into())?;
        let (head, text) = entry.split_first_chunk::<HEAD_LEN>()?;
        let [_, _, tag, word, verb, class, a, b, c, d, numbers @ ..] = *head;
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes));
        let mut number = || numbers.next().unwrap_or(0);
        let entry = Self {
            tag,
            word,
            verb,
            class,
            client: u32::from_ne_bytes([a, b, c, d]),
            number: number(),
            at_us: number(),
            value_len: number(),
            ttl: number(),
            idle: number(),
            text,
        };
        Some((entry, rest))
    }

    fn kind(&self) -> Kinds {
        match self.tag {
            GET => Kinds::FETCHERS,
            STORE => Kinds::MUTATIONS,
            EVICTION => Kinds::EVICTIONS,
            DELETED => Kinds::DELETIONS,
            CONN_NEW | CONN_CLOSE => Kinds::CONNEVENTS,
            SLAB_MOVE => Kinds::SYSEVENTS,
            _ => Kinds::RAWCMDS,
        }
    }

    /// Puts it into memcached's words.
    fn tell(&self, line: &mut Vec<u8>) {
        let Self { class, client, value_len, .. } = *self;
        let (secs, us) = (self.at_us / 1_000_000, self.at_us % 1_000_000);
        // Writing to a vector does not fail, here and below.
        let _ = write!(line, "ts={secs}.{us:06} gid={} ", self.number);
        let key = |line: &mut Vec<u8>, kind: &str| {
            let _ = write!(line, "type={kind} key=");
            escape(self.text, |part| line.extend_from_slice(part));
        };
        let status = || name_of(&Status::ALL, self.word);
        let verb = || name_of(&Verb::ALL, self.verb);
        let _ = match self.tag {
            GET => {
                key(line, "item_get");
                write!(line, " status={} clsid={class} cfd={client} size={value_len}", status())
            }
            STORE => {
                key(line, "item_store");
                let ttl = match self.ttl {
                    0 => 0,
                    1 => TTL_PAST,
                    ttl => ttl - 1,
                };
                let (status, verb) = (status(), verb());
                write!(line, " status={status} cmd={verb} ttl={ttl} clsid={class} cfd={client} size={value_len}")
            }
            EVICTION => {
                key(line, "eviction");
                let fetch = if self.word == 0 { "no" } else { "yes" };
                let (ttl, idle) = (self.ttl.cast_signed() - 1, self.idle);
                write!(line, " fetch={fetch} ttl={ttl} la={idle} clsid={class} size={value_len}")
            }
            DELETED => {
                key(line, "deleted");
                write!(line, " cmd={} clsid={class} size={value_len}", verb())
            }
            CONN_NEW => write!(line, "type=conn_new {} cfd={client}", self.text.escape_ascii()),
            CONN_CLOSE => {
                let reason = name_of(&Reason::ALL, self.word);
                write!(line, "type=conn_close {} reason={reason} cfd={client}", self.text.escape_ascii())
            }
            SLAB_MOVE => write!(line, "type=slab_move src={class} dst={}", self.word),
            _ => {
                let _ = write!(line, "type=raw_cmd cfd={client} line=");
                escape(self.text, |part| line.extend_from_slice(part));
                Ok(())
            }
        };
        line.push(b'\n');
    }
}

/// What an item that is dead already has left. In memcached it is a negative number of seconds in an unsigned word of 32 bits, how negative
/// depends on how long the daemon has run; this is the last of them. 0 is for ever there.
const TTL_PAST: u64 = u32::MAX as u64;

fn name_of<T>(all: &[(T, &'static str)], place: u8) -> &'static str {
    all.get(usize::from(place)).map_or("unknown", |(_, name)| name)
}

/// Writes a key so that it is one word of printable bytes, as a part of a URL: memcached's way in what it says to tools.
pub fn escape(key: &[u8], put: impl FnMut(&[u8])) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    escape_unless(key, is_plain, put);
}

/// Whether a text command can have it in a key, and a terminal show it.
#[must_use]
pub fn is_speakable(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

/// The same of what is not plain.
pub fn escape_unless(key: &[u8], is_plain: impl Fn(u8) -> bool, mut put: impl FnMut(&[u8])) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut rest = key;
    while let Some(at) = rest.iter().position(|&byte| !is_plain(byte)) {
        let (plain, behind) = rest.split_at(at);
        put(plain);
        put(&[b'%', HEX[usize::from(behind[0] >> 4)], HEX[usize::from(behind[0] & 15)]]);
        rest = &behind[1..];
    }
    put(rest);
}
