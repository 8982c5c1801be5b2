//! TLS between a socket and its connection: looks like a socket to whoever reads and writes, and keeps a socket's promises.
//!
//! ```text
//!   socket ──read──► bench.cipher ──records, opened──► into (what the connection reads into)
//!                      │    ▲                              │ no room
//!       part of one    ▼    │ joined again                 ▼
//!                     incoming                            plain
//!
//!   outbox ──records, sealed──► bench.sealed ──write──► socket
//!                                   │ full                ▲
//!                                   ▼                     │ first of all
//!                                outgoing ────────────────┘
//! ```
//!
//! **Memory.** The large buffers are the worker's and lie on its bench. A connection owns `incoming`, `plain` and `outgoing` only while there is
//! something in them, and of each about as much as was read or written at a time. rustls is used in its unbuffered form and keeps nothing.
//!
//! **A short read has drained the socket**, as with any other: reading goes on until the socket has nothing or there is no more room, so
//! that nothing is left lying in a record that was read. Where that is not so, [`TlsStream::holds_more`] says it.
//!
//! **What was written has left**: bytes are said to be taken when the socket has taken the whole of their records. Sealed once, they are sent
//! as they are; until then their owner keeps them, and counts them as owed.
//!
//! **Handshakes** cost a thousand times what a get does. They are made in the workers, one step at a time between turns
//! ([`TlsBench::may_work`]); a client whose turn it is not yet gets `ResourceBusy` and is put into a queue. The same goes for a client that sends
//! records with nothing in them.
//!
//! It does *not* know what is said, nor which certificates there are (`crate::tls`).

use crate::limits::{READ_BUFFER_LEN, TLS_HANDSHAKE_LEN_MAX, TLS_SEALED_LEN};
use crate::stats::Block;
use crossbeam_utils::CachePadded;
use mio::net::TcpStream;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus, WriteTraffic};
use rustls::{HandshakeKind, ServerConfig};
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

/// What a worker has at hand for all its connections with TLS.
#[derive(Debug)]
pub(super) struct TlsBench {
    /// Where records are read and opened.
    cipher: Box<[u8]>,
    /// Where records are sealed.
    sealed: Box<[u8]>,
    /// Where short pieces are put together for one record.
    joined: Vec<u8>,
    /// It is the turn of the connection being served to do what is costly.
    pub may_work: bool,
    stats: Arc<CachePadded<Block>>,
}

impl TlsBench {
    /// A bench; without anything on it where there is no TLS.
    pub(super) fn new(is_used: bool, stats: Arc<CachePadded<Block>>) -> Self {
        let room = |len: usize| vec![0; if is_used { len } else { 0 }].into_boxed_slice();
        Self { cipher: room(CIPHER_LEN), sealed: room(TLS_SEALED_LEN), joined: Vec::new(), may_work: false, stats }
    }
}

/// A client's stream, sealed.
pub(super) struct TlsStream {
    tcp: TcpStream,
    tls: UnbufferedServerConnection,
    phase: Phase,
    /// What was read and is not opened: the beginning of a record and, if whoever read had no room, records.
    incoming: Vec<u8>,
    /// What was opened and did not fit where it was read to.
    plain: Vec<u8>,
    /// `plain[..plain_sent]` has been read.
    plain_sent: usize,
    /// What was sealed and the socket did not take.
    outgoing: Vec<u8>,
    /// `outgoing[..outgoing_sent]` has been written.
    outgoing_sent: usize,
    /// Bytes of plaintext in `outgoing` that their owner was not told to be written.
    held_len: usize,
    /// The last read ended before the socket was dry, for the others' sake.
    cut_short: bool,
    /// Goodbye is said.
    said_bye: bool,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// In its handshake.
    Shaking,
    /// Open.
    Open,
    /// Its peer has ended it, or broken it; not told yet.
    Ended(End),
    /// The same, told: what still comes is read as it is, to be thrown away.
    Over(End),
}

/// How input came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By a goodbye, or by the end of the socket's input.
    Closed,
    /// By what is not TLS.
    Broken,
}

/// What a look at the records at hand has led to.
enum Step {
    /// Go on.
    Done,
    /// Nothing can be done without more input.
    Dry,
    /// The peer will not say any more.
    Closed,
}

impl TlsStream {
    /// A client that has just come, and is to be met by what `config` says.
    pub(super) fn new(tcp: TcpStream, config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            tcp,
            tls: UnbufferedServerConnection::new(config)?,
            phase: Phase::Shaking,
            incoming: Vec::new(),
            plain: Vec::new(),
            plain_sent: 0,
            outgoing: Vec::new(),
            outgoing_sent: 0,
            held_len: 0,
            cut_short: false,
            said_bye: false,
        })
    }

    /// The socket, to be polled.
    pub(super) fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    /// What carries its records.
    pub(super) fn carrier(&self) -> &TcpStream {
        &self.tcp
    }

    /// Whether its handshake is under way.
    pub(super) fn is_shaking(&self) -> bool {
        self.phase == Phase::Shaking
    }

    /// Whether a read may have been short, or have found nothing, although there is more to be had without news of the socket, or news that
    /// it can be written would help.
    pub(super) fn holds_more(&self) -> bool {
        match self.phase {
            Phase::Shaking | Phase::Open => {
                self.cut_short || !self.plain.is_empty() || self.outgoing_sent < self.outgoing.len()
            }
            Phase::Ended(_) => true,
            Phase::Over(end) => end == End::Broken,
        }
    }

    /// Reads as from a socket. `ResourceBusy`: again when it may do what is costly.
    pub(super) fn read(&mut self, into: &mut [u8], bench: &mut TlsBench) -> io::Result<usize> {
        match self.phase {
            Phase::Shaking if !bench.may_work => return Err(ErrorKind::ResourceBusy.into()),
            Phase::Shaking | Phase::Open => {}
            // What was opened for want of another way, before the end was seen.
            Phase::Ended(_) if !self.plain.is_empty() => return Ok(self.take_plain(into)),
            Phase::Ended(end) => {
                self.phase = Phase::Over(end);
                return Ok(0);
            }
            Phase::Over(_) => return self.tcp.read(into),
        }
        self.cut_short = false;
        let had = self.incoming.len();
        bench.cipher[..had].copy_from_slice(&self.incoming);
        let (mut from, mut to) = (0, had);
        let result = self.read_records(into, &mut bench.cipher, (&mut from, &mut to), &bench.stats);
        self.incoming.clear();
        self.incoming.extend_from_slice(&bench.cipher[from..to]);
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        result
    }

    /// The rounds of a read: open what is at hand, send what that asks for, read what the socket has. What is at hand is
    /// `cipher[from..to]`.
    fn read_records(
        &mut self,
        into: &mut [u8],
        cipher: &mut [u8],
        (from, to): (&mut usize, &mut usize),
        stats: &Block,
    ) -> io::Result<usize> {
        let mut taken = self.take_plain(into);
        let (mut spent, mut dry) = (0, false);
        loop {
            while taken < into.len() {
                let (used, step) = self.step(&mut cipher[*from..*to], |payload, plain| {
                    let fits = payload.len().min(into.len() - taken);
                    into[taken..taken + fits].copy_from_slice(&payload[..fits]);
                    taken += fits;
                    plain.extend_from_slice(&payload[fits..]);
                });
                *from += used;
                match step {
                    Ok(Step::Done) => {}
                    Ok(Step::Dry) => break,
                    Ok(Step::Closed) => {
                        self.phase = Phase::Ended(End::Closed);
                        break;
                    }
                    Err(error) => {
                        self.fail(&error, &mut cipher[*from..*to], Some(stats));
                        break;
                    }
                }
            }
            self.flush()?;
            if self.phase == Phase::Shaking && !self.tls.is_handshaking() {
                self.phase = Phase::Open;
                stats.ssl_new_sessions.add(u64::from(self.tls.handshake_kind() != Some(HandshakeKind::Resumed)));
            }
            let is_alive = matches!(self.phase, Phase::Shaking | Phase::Open);
            if !is_alive || taken == into.len() || dry && taken > 0 {
                break;
            }
            if spent >= READ_BUFFER_LEN {
                self.cut_short = true;
                if taken > 0 {
                    break;
                }
                return Err(ErrorKind::ResourceBusy.into());
            }
            match self.fill(into.len() - taken, cipher, (from, to)) {
                Ok((len, wanted)) => {
                    spent += len;
                    dry = len < wanted;
                    if len == 0 {
                        stats.ssl_handshake_errors.add(u64::from(self.phase == Phase::Shaking));
                        self.phase = Phase::Ended(End::Closed);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::OutOfMemory => {
                    let error = rustls::Error::General("a handshake of more bytes than any needs".to_owned());
                    self.fail(&error, &mut cipher[*from..*to], Some(stats));
                }
                Err(error) => {
                    stats.ssl_handshake_errors.add(u64::from(self.is_shaking()));
                    return Err(error);
                }
            }
        }
        match self.phase {
            _ if taken > 0 => Ok(taken),
            Phase::Ended(end) => {
                self.phase = Phase::Over(end);
                Ok(0)
            }
            _ => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Reads from the socket behind what is at hand: as much as there may be room for when it is opened, or a whole record. Gives how many bytes
    /// came, and how many were wanted. `OutOfMemory`: what is at hand is as long as it may be, and there is no sense in it.
    fn fill(
        &mut self,
        room: usize,
        cipher: &mut [u8],
        (from, to): (&mut usize, &mut usize),
    ) -> io::Result<(usize, usize)> {
        cipher.copy_within(*from..*to, 0);
        (*from, *to) = (0, *to - *from);
        if *to > TLS_HANDSHAKE_LEN_MAX {
            return Err(ErrorKind::OutOfMemory.into());
        }
        let wanted = room.clamp(RECORD_LEN_MAX, READ_BUFFER_LEN);
        let len = self.tcp.read(&mut cipher[*to..*to + wanted])?;
        *to += len;
        Ok((len, wanted))
    }

    /// Copies what was opened earlier; gives how much.
    fn take_plain(&mut self, into: &mut [u8]) -> usize {
        let rest = &self.plain[self.plain_sent..];
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        self.plain_sent += len;
        if self.plain_sent == self.plain.len() {
            (self.plain, self.plain_sent) = (Vec::new(), 0);
        }
        len
    }

    /// Looks at the records in `cipher` until one of them has led to something. Gives how many bytes of them are done with. What is in a record
    /// is given to `open`, which may put it aside in what it is given besides; what is to be sent is in `outgoing` afterwards.
    fn step(
        &mut self,
        cipher: &mut [u8],
        mut open: impl FnMut(&[u8], &mut Vec<u8>),
    ) -> (usize, Result<Step, rustls::Error>) {
        let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(cipher);
        let step = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                match traffic.next_record() {
                    Some(Ok(record)) => {
                        discard += record.discard;
                        open(record.payload, &mut self.plain);
                    }
                    Some(Err(error)) => break Err(error),
                    None => break Ok(Step::Done),
                }
            },
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let at = self.outgoing.len();
                match data.encode(&mut []) {
                    Err(EncodeError::InsufficientSize(need)) => {
                        self.outgoing.resize(at + need.required_size, 0);
                        let encoded = data.encode(&mut self.outgoing[at..]);
                        encoded.map(|_| Step::Done).map_err(|error| rustls::Error::General(error.to_string()))
                    }
                    _ => Ok(Step::Done),
                }
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It is in `outgoing`, and nothing overtakes it there.
                data.done();
                Ok(Step::Done)
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Ok(Step::Dry),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Closed),
            Ok(_) => Err(rustls::Error::General("a state that cannot be".to_owned())),
            Err(error) => Err(error),
        };
        (discard, step)
    }

    /// What came is not TLS, or not what is wanted: says so to the client, counts it, and will not have any more of it.
    fn fail(&mut self, error: &rustls::Error, cipher: &mut [u8], stats: Option<&Block>) {
        if let Some(stats) = stats {
            let counter = if self.is_shaking() { &stats.ssl_handshake_errors } else { &stats.ssl_proto_errors };
            counter.add(1);
        }
        log::debug!("connection given up: {error}");
        self.phase = Phase::Ended(End::Broken);
        // The alert. As long as something is queued, what is not understood is not looked at; rustls must not see that again.
        while self.tls.wants_write() {
            self.step(cipher, |_, _| {}).1.ok();
        }
        // It was a favour.
        let _ = self.flush();
    }

    /// Whether its peer has broken it: then rustls is not to be asked for anything.
    fn is_broken(&self) -> bool {
        matches!(self.phase, Phase::Ended(End::Broken) | Phase::Over(End::Broken))
    }

    /// Writes what was sealed earlier; whether all of it is written.
    fn flush(&mut self) -> io::Result<bool> {
        while self.outgoing_sent < self.outgoing.len() {
            match self.tcp.write(&self.outgoing[self.outgoing_sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => self.outgoing_sent += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if !self.outgoing.is_empty() {
            (self.outgoing, self.outgoing_sent) = (Vec::new(), 0);
        }
        Ok(true)
    }

    /// Comes to where bytes can be sealed and are next to leave; whether it did. Records at hand are opened for that.
    fn settle(&mut self, stats: Option<&Block>) -> io::Result<bool> {
        while !self.is_broken() {
            let mut cipher = std::mem::take(&mut self.incoming);
            let (used, step) = self.step(&mut cipher, |payload, plain| plain.extend_from_slice(payload));
            cipher.drain(..used);
            self.incoming = cipher;
            match step {
                Ok(Step::Done) => {}
                Ok(Step::Dry) if !self.tls.is_handshaking() => return self.flush(),
                // What this edge has told is remembered: reading finds out.
                Ok(Step::Closed) if self.phase == Phase::Open => self.phase = Phase::Ended(End::Closed),
                Ok(Step::Dry | Step::Closed) => break,
                Err(error) => {
                    let mut cipher = std::mem::take(&mut self.incoming);
                    self.fail(&error, &mut cipher, stats);
                }
            }
        }
        Err(ErrorKind::BrokenPipe.into())
    }

    /// Seals with `seal`. Only to be called when settled.
    fn seal<R>(&mut self, seal: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>) -> R) -> io::Result<R> {
        let UnbufferedStatus { state, .. } = self.tls.process_tls_records(&mut self.incoming);
        match state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => Ok(seal(&mut traffic)),
            _ => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    /// A writer that seals.
    pub(super) fn writer<'a>(&'a mut self, bench: &'a mut TlsBench) -> TlsWriter<'a> {
        TlsWriter { stream: self, bench }
    }

    /// Says goodbye and ends the sending side.
    pub(super) fn end_output(&mut self) -> io::Result<()> {
        self.say_bye();
        self.tcp.shutdown(Shutdown::Write)
    }

    /// Tells the client that this was all, if what it was told before has left. What it says from now on is thrown away unread: rustls must not
    /// be given anything that it might want to complain about.
    fn say_bye(&mut self) {
        if self.is_shaking() || self.is_broken() || self.said_bye {
            return;
        }
        self.said_bye = true;
        let mut alert = [0; GOODBYE_LEN_MAX];
        if let Ok(true) = self.settle(None)
            && let Ok(Ok(len)) = self.seal(|traffic| traffic.queue_close_notify(&mut alert))
        {
            // A socket that has no room for this has a client that does not read.
            let _ = self.tcp.write(&alert[..len]);
        }
        if !self.is_broken() {
            self.phase = Phase::Over(End::Closed);
        }
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        self.say_bye();
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("tcp", &self.tcp).field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// Writes to a stream what its owner has in the clear.
pub(super) struct TlsWriter<'a> {
    stream: &'a mut TlsStream,
    bench: &'a mut TlsBench,
}

impl Write for TlsWriter<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(from)])
    }

    fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let Self { stream, bench } = self;
        if !stream.flush()? || !stream.settle(Some(&bench.stats))? {
            return Err(ErrorKind::WouldBlock.into());
        }
        // What is in front was sealed by an earlier write, and has left now.
        let mut taken = std::mem::take(&mut stream.held_len);
        let mut pieces = Pieces::new(from);
        pieces.skip(taken);
        loop {
            let (mut sealed_len, mut plain_len) = (0, 0);
            while bench.sealed.len() - sealed_len >= RECORD_LEN_MAX {
                let plain = pieces.next(&mut bench.joined);
                if plain.is_empty() {
                    break;
                }
                let sealed = stream.seal(|traffic| traffic.encrypt(plain, &mut bench.sealed[sealed_len..]))?;
                sealed_len += sealed.map_err(io::Error::other)?;
                plain_len += plain.len();
            }
            if plain_len == 0 {
                break;
            }
            let written = match stream.tcp.write(&bench.sealed[..sealed_len]) {
                Ok(len) => len,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
                Err(error) => return Err(error),
            };
            if written < sealed_len {
                stream.outgoing.extend_from_slice(&bench.sealed[written..sealed_len]);
                stream.held_len = plain_len;
                break;
            }
            taken += plain_len;
        }
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Pieces of plaintext, to be cut into records.
struct Pieces<'a> {
    pieces: &'a [IoSlice<'a>],
    /// `pieces[0][..at]` is done with.
    at: usize,
}

impl<'a> Pieces<'a> {
    fn new(pieces: &'a [IoSlice<'a>]) -> Self {
        Self { pieces, at: 0 }
    }

    /// Goes over `len` bytes, of which there are as many at least.
    fn skip(&mut self, mut len: usize) {
        while len > 0 {
            len -= self.take(len).len();
        }
    }

    /// What a record is to hold next, nothing at the end: from one piece if that fills it or is the last, or else put together in `joined`.
    fn next<'b>(&mut self, joined: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        let first = self.take(PAYLOAD_LEN_MAX);
        if first.len() == PAYLOAD_LEN_MAX || self.pieces.is_empty() {
            return first;
        }
        joined.clear();
        joined.extend_from_slice(first);
        while joined.len() < PAYLOAD_LEN_MAX && !self.pieces.is_empty() {
            joined.extend_from_slice(self.take(PAYLOAD_LEN_MAX - joined.len()));
        }
        joined
    }

    /// At most `len` bytes of the first piece that is left.
    fn take(&mut self, len: usize) -> &'a [u8] {
        let Some(piece) = self.pieces.first() else { return &[] };
        let rest = &piece[self.at..];
        if rest.len() > len {
            self.at += len;
            return &rest[..len];
        }
        (self.pieces, self.at) = (&self.pieces[1..], 0);
        rest
    }
}

/// Most plaintext in a record.
const PAYLOAD_LEN_MAX: usize = 1 << 14;

/// Longest record, its header and all that may be around its plaintext included.
const RECORD_LEN_MAX: usize = PAYLOAD_LEN_MAX + 2048 + 5;

/// The beginning of a record or of a handshake, and what is read behind it.
const CIPHER_LEN: usize = TLS_HANDSHAKE_LEN_MAX + READ_BUFFER_LEN;

/// A goodbye, and what TLS may want to say before it.
const GOODBYE_LEN_MAX: usize = 512;

const _: () = assert!(TLS_HANDSHAKE_LEN_MAX > RECORD_LEN_MAX && READ_BUFFER_LEN > RECORD_LEN_MAX);
const _: () = assert!(TLS_SEALED_LEN >= RECORD_LEN_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_are_cut_into_full_records_and_lose_nothing() {
        let bytes: Vec<u8> = (0..200_000_usize).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let mixes: [&[usize]; 6] =
            [&[10], &[10, 20, 30], &[5, 50_000, 7], &[16_384, 16_384, 1], &[40_000, 3, 3, 40_000], &[1, 16_383, 2]];
        for mix in mixes {
            for skip in [0, 1, 9, 12] {
                let total: usize = mix.iter().sum();
                let mut rest = &bytes[..total];
                let pieces: Vec<IoSlice<'_>> = mix
                    .iter()
                    .map(|len| {
                        let (piece, behind) = rest.split_at(*len);
                        rest = behind;
                        IoSlice::new(piece)
                    })
                    .collect();
                let mut cut = Pieces::new(&pieces);
                let skip = skip.min(total);
                cut.skip(skip);
                let (mut joined, mut seen, mut lens) = (Vec::new(), Vec::new(), Vec::new());
                loop {
                    let record = cut.next(&mut joined);
                    if record.is_empty() {
                        break;
                    }
                    lens.push(record.len());
                    seen.extend_from_slice(record);
                }
                assert!(seen == bytes[skip..total], "{mix:?} without {skip}");
                let (last, full) = lens.split_last().map_or((0, &[][..]), |(last, full)| (*last, full));
                assert!(full.iter().all(|len| *len == PAYLOAD_LEN_MAX) && last <= PAYLOAD_LEN_MAX, "{mix:?}: {lens:?}");
            }
        }
    }
}
