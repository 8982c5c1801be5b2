//! What fuzzers call: each takes any bytes and must come back. Not for other use.
//!
//! The same calls run as ordinary tests over what fuzzers have found (`tests/corpora.rs`).

use crate::auth::Users;
use crate::clock::Clock;
use crate::command::{Context, Daemon};
use crate::limits::MEMORY_LEN_MIN;
use crate::proto::binary;
use crate::server::{store_config, udp};
use crate::session::{Session, Stop};
use crate::settings::Settings;
use crate::stats::Registry;
use crate::store::{Deadline, Local, Store, StoreConfig};
use std::cell::RefCell;

/// A daemon without threads, for one run.
struct Bench {
    daemon: Daemon,
    local: Local,
}

impl Bench {
    fn new() -> Self {
        let settings = Settings { memory_len: MEMORY_LEN_MIN, item_len_max: 1 << 20, ..Settings::default() };
        let config = StoreConfig { hash_seed: Some(1), ..store_config(&settings) };
        let store = Store::new(&config).expect("a little memory can be mapped");
        let stats = Registry::default();
        let local = store.local(stats.register());
        Self { daemon: Daemon { store, settings, clock: Clock::manual(), stats, auth: None, tls: None }, local }
    }

    /// The store is sound, and has what the counters say.
    fn check(&self) {
        let census = self.daemon.store.audit(&[&self.local]);
        assert_eq!(census.items, self.daemon.stats.totals().curr_items);
    }

    /// What a session answers to input that comes in pieces of these lengths, over and over.
    fn answers(&mut self, input: &[u8], piece_lens: &[usize]) -> Vec<u8> {
        let (mut session, mut out) = (Session::new(), Vec::new());
        let (mut begin, mut end) = (0, 0);
        for &piece_len in piece_lens.iter().cycle() {
            end = (end + piece_len).min(input.len());
            loop {
                let mut cx =
                    Context { daemon: &self.daemon, local: &mut self.local, now: self.daemon.clock.now(), admin: true };
                let fed = session.feed(&mut cx, &input[begin..end], &mut out);
                begin += fed.used;
                assert!(begin <= end, "no more is used than there is");
                match fed.stop {
                    Stop::Input | Stop::Watch => break,
                    Stop::Output | Stop::Budget | Stop::Later | Stop::Costly | Stop::Slice => {}
                    Stop::Close | Stop::Abort => return out,
                }
            }
            if end == input.len() {
                return out;
            }
        }
        out
    }
}

/// Two daemons that are asked the same things, one in whole and one in pieces. They are kept from run to run, because to map a store
/// takes longer than to serve an input; what a run has stored is flushed after it, and the stores are audited every so often.
struct Twins {
    whole: Bench,
    pieces: Bench,
    runs: u32,
}

thread_local! {
    static TWINS: RefCell<Twins> = RefCell::new(Twins { whole: Bench::new(), pieces: Bench::new(), runs: 0 });
}

/// Runs between two audits.
const AUDIT_EVERY: u32 = 64;

/// Asks both for the same: the answers must be equal, and the stores sound.
fn ask_both(cut: u8, input: &[u8]) {
    TWINS.with_borrow_mut(|twins| {
        let expected = twins.whole.answers(input, &[input.len().max(1)]);
        let got = twins.pieces.answers(input, &[usize::from(cut % 16) + 1, usize::from(cut / 16) + 1]);
        // What tells of the process or the time it takes is another each time.
        let is_steady = !input.windows(5).any(|word| word.eq_ignore_ascii_case(b"stats")) && !input.contains(&0x10);
        assert!(!is_steady || expected == got, "{}\n{}", expected.escape_ascii(), got.escape_ascii());
        for bench in [&mut twins.whole, &mut twins.pieces] {
            bench.daemon.store.flush_all(&mut bench.local, bench.daemon.clock.now(), Deadline::NEVER);
            bench.daemon.clock.advance(2000);
            if twins.runs % AUDIT_EVERY == 0 {
                bench.check();
            }
        }
        twins.runs += 1;
    });
}

/// A text client's lines, and whatever follows them.
///
/// # Panics
/// If they are answered otherwise when they are cut otherwise, or leave the store unsound. So do the next two.
pub fn text(input: &[u8]) {
    match input.split_first() {
        Some((&cut, input)) if input.first().is_some_and(|&byte| byte != binary::REQUEST_MAGIC) => ask_both(cut, input),
        _ => {}
    }
}

/// Meta commands: of each line of the input the first byte chooses the command and the key, the rest is its flags. A value follows
/// where there is one to come.
///
/// # Panics
/// See [`text`].
pub fn meta(input: &[u8]) {
    let Some((&cut, input)) = input.split_first() else { return };
    let mut requests = Vec::new();
    for line in input.split(|&byte| byte == b'\n') {
        let Some((&choice, flags)) = line.split_first() else { continue };
        let key: &[u8] = [&b"k"[..], b"a2V5", b"longer-key-of-somebody", b"7"][usize::from(choice >> 4) % 4];
        let (verb, value): (&[u8], &[u8]) = match choice % 8 {
            0 | 6 => (b"mg", b""),
            1 => (b"ms", b"7"),
            2 => (b"ms", b"a-value-of-some-length"),
            3 => (b"md", b""),
            4 => (b"ma", b""),
            5 => (b"me", b""),
            _ => (b"mn", b""),
        };
        requests.extend_from_slice(&[verb, b" ", key, b" "].concat());
        if !value.is_empty() {
            requests.extend_from_slice(format!("{} ", value.len()).as_bytes());
        }
        requests.extend_from_slice(&[flags, b"\r\n"].concat());
        if !value.is_empty() {
            requests.extend_from_slice(&[value, b"\r\n"].concat());
        }
    }
    ask_both(cut, &requests);
}

/// Binary packets: ten bytes of the input are opcode, data type, lengths, status and CAS of a header, whose body then is the next
/// bytes of the input, usually as many as the header says.
///
/// # Panics
/// See [`text`].
pub fn packets(input: &[u8]) {
    let Some((&cut, mut input)) = input.split_first() else { return };
    let mut requests = Vec::new();
    while let Some((&[opcode, data_type, key_len, extras_len, value_len, status, cas, lie, high, low], rest)) =
        input.split_first_chunk()
    {
        let (key_len, extras_len) = (u16::from(key_len % 64), extras_len % 32);
        let body_len = usize::from(key_len) + usize::from(extras_len) + usize::from(value_len);
        let body = &rest[..body_len.min(rest.len())];
        // One header in sixteen says something else than what follows.
        let lies = lie % 16 == 1;
        let told =
            if lies { u32::from_be_bytes([0, high, low, value_len]) } else { u32::try_from(body.len()).unwrap_or(0) };
        requests.extend_from_slice(&[binary::REQUEST_MAGIC, opcode]);
        requests.extend_from_slice(&key_len.to_be_bytes());
        requests.extend_from_slice(&[extras_len, data_type & 1, 0, status & 1]);
        requests.extend_from_slice(&told.to_be_bytes());
        requests.extend_from_slice(&[1, 2, 3, 4]);
        requests.extend_from_slice(&u64::from(cas & 1).to_be_bytes());
        requests.extend_from_slice(body);
        input = &rest[body.len()..];
    }
    ask_both(cut, &requests);
}

/// A datagram.
pub fn datagram(input: &[u8]) {
    let mut bench = Bench::new();
    let mut reply = udp::Reply::default();
    for _ in 0..2 {
        let now = bench.daemon.clock.now();
        let mut cx = Context { daemon: &bench.daemon, local: &mut bench.local, now, admin: true };
        udp::respond(&mut cx, input, &mut reply);
    }
}

/// The text of a file of users.
pub fn users(input: &[u8]) {
    drop(Users::parse(input));
}

/// The value of `-l`.
pub fn listen(input: &[u8]) {
    // Names are looked up, which is not for a fuzzer: addresses and what is none at all.
    let Ok(text) = std::str::from_utf8(input) else { return };
    if text.chars().all(|char| "0123456789abcdefABCDEF:.,[]*%".contains(char)) {
        drop(crate::cli::parse(["slabd", "-p", "1", &format!("--listen={text}")]));
    }
}

/// The value of `-o`.
pub fn extended(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        drop(crate::cli::parse(["slabd", &format!("--extended={text}")]));
    }
}
