//! What fuzzers call: each takes any bytes and must come back. Not for other use.
//!
//! The same calls run as ordinary tests over what fuzzers have found (`tests/corpora.rs`).

use crate::auth::Users;
use crate::clock::Clock;
use crate::command::{Context, Daemon};
use crate::limits::MEMORY_LEN_MIN;
use crate::server::{store_config, udp};
use crate::session::{Session, Stop};
use crate::settings::Settings;
use crate::stats::Registry;
use crate::store::{Local, Store, StoreConfig};

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
        Self { daemon: Daemon { store, settings, clock: Clock::manual(), stats, auth: None }, local }
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
                    Stop::Output | Stop::Budget | Stop::Later | Stop::Slice => {}
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

/// A client's bytes, in whatever protocol: answered the same however they are cut, and the store is sound afterwards.
///
/// # Panics
/// If not.
pub fn stream(input: &[u8]) {
    let Some((&cut, input)) = input.split_first() else { return };
    let mut whole = Bench::new();
    let expected = whole.answers(input, &[input.len().max(1)]);
    whole.check();
    let mut cuts = Bench::new();
    let got = cuts.answers(input, &[usize::from(cut % 16) + 1, usize::from(cut / 16) + 1]);
    cuts.check();
    // What tells of the process or the time it takes is another each time.
    let is_steady = !input.windows(5).any(|word| word.eq_ignore_ascii_case(b"stats")) && !input.contains(&0x10);
    assert!(!is_steady || expected == got, "{}\n{}", expected.escape_ascii(), got.escape_ascii());
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
