//! Streams of commands made from a seed: well-formed and malformed, over few keys, so that everything meets everything.
//!
//! What a stream holds is bounded by what can be compared with memcached 1.6.18; each restriction says why.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fastrand::Rng;

/// One request with whatever belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Its bytes, up to a CAS number if there is one to fill in.
    pub(crate) head: Vec<u8>,
    /// A CAS number, by the order in which the server's numbers were seen first: servers have different ones.
    pub(crate) cas: Option<usize>,
    /// The bytes behind the CAS number.
    pub(crate) tail: Vec<u8>,
    /// Who closes the connection on it.
    pub(crate) closes: Closes,
    /// How many lines of its answer look like the answer to `version`.
    pub(crate) version_lines: usize,
}

/// Keys that are also said in base64. Nothing joins to them: 1.6.18 forgets how a key was said then.
const ENCODED_KEYS: usize = 4;

/// Who closes the connection on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closes {
    /// Nobody.
    Nobody,
    /// slabd and memcached.
    Both,
    /// slabd alone; a listed difference.
    Slabd,
}

impl Request {
    fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { head: bytes.into(), cas: None, tail: Vec::new(), closes: Closes::Nobody, version_lines: 0 }
    }

    /// With the number of one server filled in.
    pub(crate) fn bytes(&self, cas: &str) -> Vec<u8> {
        let mut bytes = self.head.clone();
        if self.cas.is_some() {
            bytes.extend_from_slice(cas.as_bytes());
        }
        bytes.extend_from_slice(&self.tail);
        bytes
    }
}

/// Keys for text, for numbers, and for large values (never appended to: the largest sum that fits is each server's own).
const TEXT_KEYS: usize = 28;
const NUMBER_KEYS: usize = 8;
const LARGE_KEYS: usize = 2;

/// Makes requests.
#[derive(Debug)]
pub(crate) struct Generator {
    rng: Rng,
    keys: Vec<Vec<u8>>,
    /// For each key, the CAS number last seen.
    seen: Vec<Option<usize>>,
    /// Whether the requests of this batch count, rather than read numbers. memcached pads a number that becomes shorter,
    /// unless an answer that holds the item is still on its way; so nobody counts while somebody reads.
    counts: bool,
}

impl Generator {
    /// The same seed makes the same stream.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut keys: Vec<Vec<u8>> = (0..TEXT_KEYS)
            .map(|index| {
                let mut key = format!("k{index}").into_bytes();
                let len = [2, 3, 10, 40, 100, 249, 250][index % 7];
                while key.len() < len {
                    key.push(if rng.bool() { rng.u8(b'!'..=b'~') } else { rng.u8(0x80..) });
                }
                key
            })
            .collect();
        keys.extend((0..NUMBER_KEYS).map(|index| format!("n{index}").into_bytes()));
        keys.extend((0..LARGE_KEYS).map(|index| format!("large{index}").into_bytes()));
        let seen = vec![None; keys.len()];
        Self { rng, keys, seen, counts: false }
    }

    /// The requests of one batch, to be sent in one go. At most the last of them closes the connection.
    pub(crate) fn batch(&mut self) -> Vec<Request> {
        self.counts = self.rng.bool();
        let len = if self.rng.u8(..8) == 0 { self.rng.usize(1..4) } else { self.rng.usize(20..120) };
        let mut batch = Vec::new();
        if self.rng.u8(..4) == 0 {
            batch.push(self.long_key());
        }
        // Numbers are fresh at the beginning of a batch: later on, somebody has often changed the value.
        let cas_count = self.rng.usize(..5);
        batch.extend((0..cas_count).map(|_| self.cas()));
        batch.extend((0..len).map(|_| self.request()));
        match self.rng.u8(..40) {
            0 => batch.push(Request { closes: Closes::Both, ..Request::new(&b"quit\r\n"[..]) }),
            // Alone: a connection that is closed on the spot may take answers to requests before with it.
            1..4 => batch = vec![self.closer()],
            _ => {}
        }
        batch
    }

    /// A key too long in a get. Only as the first of a batch: memcached 1.6.18 forgets what it owes for the requests before.
    /// And behind keys that are not there: memcached has read or touched them by then, which `mg` tells.
    fn long_key(&mut self) -> Request {
        let mut line = [&b"get"[..], b"gets", b"gat 0", b"gats 0"][self.rng.usize(..4)].to_vec();
        let (before, behind) = (self.rng.usize(..6), self.rng.usize(..3));
        for place in 0..before + 1 + behind {
            line.push(b' ');
            if place == before {
                line.resize(line.len() + self.rng.usize(251..400), b'k');
            } else if place < before {
                line.extend_from_slice(format!("absent{place}").as_bytes());
            } else {
                line.extend_from_slice(&self.keys[self.rng.usize(..TEXT_KEYS)]);
            }
        }
        self.ended(line)
    }

    /// Says that a key's value was seen with a number.
    pub(crate) fn saw(&mut self, key: &[u8], cas: usize) {
        if let Some(index) = self.keys.iter().position(|known| known == key) {
            self.seen[index] = Some(cas);
        }
    }

    fn request(&mut self) -> Request {
        match self.rng.u32(..1000) {
            0..200 => self.retrieval(),
            200..300 => self.meta_get(),
            300..400 => self.storage(),
            400..460 => self.meta_set(),
            460..490 => self.meta_delete(),
            490..520 => self.meta_count(),
            520..570 => self.cas(),
            570..590 => self.encoded(),
            590..600 => self.meta_refused(),
            600..680 => self.arithmetic(),
            680..740 => self.key_and("delete", &["", "", " 0", " noreply", " 0 noreply"]),
            740..800 => {
                self.key_and("touch", &[" 0", " 100", " -1", " 2000000000", " 0 noreply", " -5 noreply", " 7 x"])
            }
            800..803 => {
                self.one_of(&["flush_all", "flush_all 0", "flush_all noreply", "flush_all 0 noreply", "flush_all -1"])
            }
            803..810 => self.one_of(&["verbosity 0", "verbosity 0 noreply", "verbosity 0 x", "stats reset"]),
            810..815 => Request { version_lines: 1, ..Request::new(&b"version\r\n"[..]) },
            815..900 => self.refused_storage(),
            900..920 => self.wrong_length(),
            _ => self.malformed(),
        }
    }

    /// A key that may be read, or counted on, in this batch.
    fn key(&mut self) -> usize {
        let pick = self.rng.usize(..self.keys.len());
        if self.counts && self.is_number(pick) { self.rng.usize(..TEXT_KEYS) } else { pick }
    }

    fn is_number(&self, key: usize) -> bool {
        (TEXT_KEYS..TEXT_KEYS + NUMBER_KEYS).contains(&key)
    }

    fn is_large(&self, key: usize) -> bool {
        key >= self.keys.len() - LARGE_KEYS
    }

    fn retrieval(&mut self) -> Request {
        let verb = ["get", "get", "gets", "gets", "gat 0", "gat 1000", "gats 0", "gats -1", "gat 2000000000"];
        let mut line = verb[self.rng.usize(..verb.len())].as_bytes().to_vec();
        let count = match self.rng.u8(..10) {
            0..6 => 1,
            6..9 => self.rng.usize(2..8),
            _ => self.rng.usize(8..=50),
        };
        let is_gat = line.starts_with(b"gat");
        for _ in 0..count {
            // memcached closes on a long line of gat or gats, unless all of it arrives at once.
            if is_gat && line.len() > 1500 {
                break;
            }
            let mut key = self.key();
            // Fifty large values at once would make the test about the kernel.
            if self.is_large(key) && (count > 3 || self.rng.bool()) {
                key = self.rng.usize(..TEXT_KEYS);
            }
            line.extend_from_slice(if self.rng.u8(..30) == 0 { b"  " } else { b" " });
            line.extend_from_slice(&self.keys[key]);
        }
        self.ended(line)
    }

    /// The line's end, as most clients write it and as some do.
    fn ended(&mut self, mut line: Vec<u8>) -> Request {
        line.extend_from_slice(match self.rng.u8(..40) {
            0 => b"\n",
            1 => b" \r\n",
            _ => b"\r\n",
        });
        Request::new(line)
    }

    fn storage(&mut self) -> Request {
        let verbs = ["set", "set", "set", "add", "replace", "append", "prepend"];
        let verb = verbs[self.rng.usize(..verbs.len())];
        let mut key = self.rng.usize(..self.keys.len());
        let joins = matches!(verb, "append" | "prepend");
        // A number is not appended to either: what counts is then each server's own.
        if joins && (self.is_large(key) || self.is_number(key)) {
            key = self.rng.usize(..TEXT_KEYS);
        }
        let value = self.value(key, joins);
        let line = format!(" {} {} {}", self.flags(), self.exptime(), value.len());
        let noreply = self.noreply();
        self.stored(verb, key, &format!("{line}{noreply}"), &value)
    }

    fn stored(&mut self, verb: &str, key: usize, words: &str, value: &[u8]) -> Request {
        let mut bytes = [verb.as_bytes(), b" ", &self.keys[key], words.as_bytes()].concat();
        bytes.extend_from_slice(if self.rng.u8(..30) == 0 { b"\n" } else { b"\r\n" });
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
        Request::new(bytes)
    }

    fn flags(&mut self) -> u32 {
        if self.rng.bool() { 0 } else { self.rng.u32(..) >> self.rng.u32(..32) }
    }

    /// Lifetimes that end at once or not during the test.
    fn exptime(&mut self) -> i64 {
        match self.rng.u8(..20) {
            0 => -1,
            1 => -i64::from(self.rng.u32(..100_000)),
            2 => 2_592_001,
            3..6 => i64::from(self.rng.u32(1000..2_592_000)),
            6 => 2_000_000_000,
            _ => 0,
        }
    }

    fn noreply(&mut self) -> &'static str {
        match self.rng.u8(..20) {
            0..3 => " noreply",
            3 => " x",
            _ => "",
        }
    }

    fn value(&mut self, key: usize, joins: bool) -> Vec<u8> {
        if self.is_number(key) {
            return self.number().into_bytes();
        }
        let len = match self.rng.u16(..1000) {
            _ if self.is_large(key) && self.rng.u8(..4) == 0 => {
                // The largest value that fits is each server's own; near it, nothing can be compared.
                [600_000, 1_000_000, 1_048_064, 1_048_577, 1_500_000][self.rng.usize(..5)]
            }
            0..100 => 0,
            100..600 => self.rng.usize(..40),
            600..950 => self.rng.usize(..1200),
            950..990 => self.rng.usize(..5000),
            _ if joins => self.rng.usize(..5000),
            _ => self.rng.usize(..80_000),
        };
        // No digits: a value that happens to be a number could be counted on, see `counts`.
        let alphabet = b"abcdefghijklmnopqrstuvwxyz\r\n\0 \xff\x80VALUE";
        if self.rng.bool() {
            return vec![b'v'; len];
        }
        (0..len).map(|_| alphabet[self.rng.usize(..alphabet.len())]).collect()
    }

    fn number(&mut self) -> String {
        match self.rng.u8(..30) {
            0 => String::new(),
            1 => u64::MAX.to_string(),
            2 => "18446744073709551616".to_owned(),
            3 => "99999999999999999999999".to_owned(),
            4 => "007".to_owned(),
            5 => "12  ".to_owned(),
            6 => "12x".to_owned(),
            7 => "-1".to_owned(),
            8 => "text".to_owned(),
            9 => [" 5", "+5", "1 0", "\t7", "5\r", "5\n", "++5", "+ 5", "5.0", "0x5"][self.rng.usize(..10)].to_owned(),
            10 => (self.rng.u64(..) >> self.rng.u32(..64)).to_string(),
            _ => self.rng.u32(..200).to_string(),
        }
    }

    fn cas(&mut self) -> Request {
        let key = self.rng.usize(..self.keys.len());
        let value = self.value(key, false);
        let line = format!(" {} {} {} ", self.flags(), self.exptime(), value.len());
        let noreply = self.noreply();
        let head = [b"cas ", self.keys[key].as_slice(), line.as_bytes()].concat();
        let tail = [noreply.as_bytes(), b"\r\n", &value, b"\r\n"].concat();
        let other = self.seen[self.rng.usize(..self.seen.len())];
        match self.seen[key].or(other) {
            Some(seen) if self.rng.u8(..10) != 0 => Request { head, cas: Some(seen), tail, ..Request::new("") },
            // No server has come so far.
            _ => {
                let number = if self.rng.bool() { 0 } else { self.rng.u64(1 << 62..) };
                Request::new([head, number.to_string().into_bytes(), tail].concat())
            }
        }
    }

    fn arithmetic(&mut self) -> Request {
        let key = if self.counts && self.rng.u8(..8) != 0 {
            TEXT_KEYS + self.rng.usize(..NUMBER_KEYS)
        } else {
            self.rng.usize(..TEXT_KEYS)
        };
        let delta = match self.rng.u8(..12) {
            0 => u64::MAX.to_string(),
            1 => "18446744073709551616".to_owned(),
            2 => "-1".to_owned(),
            3 => "x".to_owned(),
            4 => (self.rng.u64(..) >> self.rng.u32(..64)).to_string(),
            5 => "010".to_owned(),
            _ => self.rng.u8(..120).to_string(),
        };
        let verb: &[u8] = if self.rng.bool() { b"incr " } else { b"decr " };
        let noreply = self.noreply();
        let line = [verb, &self.keys[key], b" ", delta.as_bytes(), noreply.as_bytes()].concat();
        self.ended(line)
    }

    fn key_and(&mut self, verb: &str, words: &[&str]) -> Request {
        let key = self.rng.usize(..self.keys.len());
        let words = words[self.rng.usize(..words.len())];
        let line = [verb.as_bytes(), b" ", &self.keys[key], words.as_bytes()].concat();
        self.ended(line)
    }

    fn one_of(&mut self, lines: &[&str]) -> Request {
        let line = lines[self.rng.usize(..lines.len())].as_bytes().to_vec();
        self.ended(line)
    }

    /// Flags in any order.
    fn flags_of(&mut self, mut flags: Vec<String>) -> String {
        self.rng.shuffle(&mut flags);
        flags.into_iter().fold(String::new(), |line, flag| line + " " + &flag)
    }

    fn some_of(&mut self, flags: &[&str], count_max: usize) -> Vec<String> {
        let mut flags: Vec<&str> = flags.to_vec();
        self.rng.shuffle(&mut flags);
        flags.truncate(self.rng.usize(..=count_max.min(flags.len())));
        flags.into_iter().map(str::to_owned).collect()
    }

    /// Without C, which 1.6.18 ignores.
    fn meta_get(&mut self) -> Request {
        let key = self.key();
        // A number that becomes longer is another item to 1.6.18, which nobody has read.
        let told: &[&str] = if self.is_number(key) {
            &["c", "f", "k", "s", "v", "Oab"]
        } else {
            &["c", "f", "h", "k", "s", "v", "v", "Ox"]
        };
        let mut flags = self.some_of(told, 5);
        flags.dedup();
        if flags.iter().filter(|flag| *flag == "v").count() > 1 {
            flags.retain(|flag| flag != "v");
        }
        flags.extend(self.some_of(&["q", "u", "t", "I", "D5", "J1", "MX", "F7"], 2));
        // Nor has it been won by anybody.
        let is_number = self.is_number(key);
        if self.rng.u8(..4) == 0 && !is_number {
            flags.push(["N0", "N4000", "N100000"][self.rng.usize(..3)].to_owned());
        }
        if self.rng.u8(..4) == 0 && !is_number {
            flags.push(["R0", "R-1", "R50000", "R1000000"][self.rng.usize(..4)].to_owned());
        }
        // What is told of a lifetime in the past differs.
        let past = !flags.iter().any(|flag| flag == "t");
        if self.rng.u8(..5) == 0 {
            flags.push(["T0", "T9000", "T200000", "T-1"][self.rng.usize(..if past { 4 } else { 3 })].to_owned());
        }
        let flags = self.flags_of(flags);
        let line = [b"mg ", self.keys[key].as_slice(), flags.as_bytes()].concat();
        self.ended(line)
    }

    /// Without s, E, and N for joining, which 1.6.18 does not know.
    fn meta_set(&mut self) -> Request {
        let mut key = self.rng.usize(..self.keys.len());
        let mode = ["MS", "MS", "ME", "MR", "MA", "MP", "", "", "I"][self.rng.usize(..9)];
        let joins = matches!(mode, "MA" | "MP");
        if joins && (self.is_large(key) || self.is_number(key)) {
            key = self.rng.usize(..TEXT_KEYS);
        }
        let mut value = self.value(key, joins);
        // Of what is too large memcached removes what was there before, whatever the mode.
        if value.len() > 900_000 && !matches!(mode, "MS" | "") {
            value.truncate(1000);
        }
        let mut flags = self.some_of(&["c", "k", "q", "Oz", "v", "h"], 3);
        flags.push(format!("F{}", self.flags()));
        if self.rng.bool() {
            flags.push(format!("T{}", self.exptime()));
        }
        if !mode.is_empty() {
            flags.push(mode.to_owned());
        }
        let compares = value.len() < 900_000 && self.rng.u8(..3) == 0;
        let seen = self.seen[key].filter(|_| compares);
        if seen.is_none() && compares {
            flags.push(["C0", "C1", "C18446744073709551615"][self.rng.usize(..3)].to_owned());
        }
        let flags = self.flags_of(flags);
        let head = [b"ms ", self.keys[key].as_slice(), format!(" {}{flags}", value.len()).as_bytes()].concat();
        let tail = [b"\r\n", value.as_slice(), b"\r\n"].concat();
        // A number of an item that is gone may be higher or lower than that of the next, so none goes with I.
        match seen {
            Some(seen) if mode != "I" => {
                Request { head: [&head[..], b" C"].concat(), cas: Some(seen), tail, ..Request::new("") }
            }
            _ => Request::new([head, tail].concat()),
        }
    }

    fn meta_delete(&mut self) -> Request {
        let key = self.rng.usize(..self.keys.len());
        let mut flags = self.some_of(&["k", "q", "Oz", "v", "t"], 3);
        // Numbers are never stale, see `meta_get`.
        if self.rng.u8(..4) != 0 && !self.is_number(key) {
            flags.push("I".to_owned());
        }
        flags.extend(self.some_of(&["T5000"], 1));
        flags.extend(if self.rng.u8(..6) == 0 { vec!["C1".to_owned()] } else { vec![] });
        let flags = self.flags_of(flags);
        let line = [b"md ", self.keys[key].as_slice(), flags.as_bytes()].concat();
        self.ended(line)
    }

    /// Without T: of a number that becomes longer 1.6.18 gives the lifetime to the one that was before.
    fn meta_count(&mut self) -> Request {
        let key = if self.counts && self.rng.u8(..8) != 0 {
            TEXT_KEYS + self.rng.usize(..NUMBER_KEYS)
        } else {
            self.rng.usize(..TEXT_KEYS)
        };
        let mut flags = self.some_of(&["v", "t", "k", "q", "Ox", "c"], 4);
        flags.extend(self.some_of(&["MI", "M+"], 1));
        if flags.iter().all(|flag| !flag.starts_with('M')) {
            flags.extend(self.some_of(&["MD", "M-"], 1));
        }
        flags.extend(self.some_of(&["D0", "D7", "D100"], 1));
        flags.extend(self.some_of(&["J9", "J18446744073709551615"], 1));
        flags.extend(self.some_of(&["C0", "C1"], 1));
        // Text is made of no number, so that nobody counts on it.
        if self.is_number(key) {
            flags.extend(self.some_of(&["N0", "N3000"], 1));
        }
        let flags = self.flags_of(flags);
        let line = [b"ma ", self.keys[key].as_slice(), flags.as_bytes()].concat();
        self.ended(line)
    }

    /// A key in base64, or one that has been stored so.
    fn encoded(&mut self) -> Request {
        let key = [&b"\x00\x01 \n\xff"[..], b"plain", b"foob", b"0"][self.rng.usize(..ENCODED_KEYS)];
        let is_text = !key.contains(&b' ');
        let mut text = [0; 16];
        let len = BASE64.encode_slice(key, &mut text).expect("short keys");
        let is_plain = is_text && self.rng.u8(..3) == 0;
        let (key, b) = if is_plain { (key.to_vec(), None) } else { (text[..len].to_vec(), Some("b".to_owned())) };
        let kind = self.rng.u8(..8);
        let mut flags = self.some_of(&["k", "k", "c", "q", "O1"], 4);
        if flags.iter().filter(|flag| *flag == "k").count() > 1 {
            flags.retain(|flag| flag != "k");
        }
        flags.extend(b);
        let head = match kind {
            0..3 => {
                flags.extend(self.some_of(&["v", "s", "h", "R5"], 2));
                let flags = self.flags_of(flags);
                [b"mg ", key.as_slice(), flags.as_bytes(), b"\r\n"].concat()
            }
            3 => [b"md ", key.as_slice(), self.flags_of(flags).as_bytes(), b"\r\n"].concat(),
            4 => {
                flags.retain(|flag| flag == "b");
                [b"me ", key.as_slice(), self.flags_of(flags).as_bytes(), b"\r\n"].concat()
            }
            _ => {
                flags.extend(self.some_of(&["MS", "ME", "MR"], 1));
                if flags.iter().filter(|flag| flag.starts_with('M')).count() > 1 {
                    flags.retain(|flag| !flag.starts_with('M'));
                }
                let flags = self.flags_of(flags);
                [b"ms ", key.as_slice(), b" 3", flags.as_bytes(), b"\r\nabc\r\n"].concat()
            }
        };
        Request::new(head)
    }

    /// Meta commands that are refused, and those that say next to nothing.
    fn meta_refused(&mut self) -> Request {
        let key = self.rng.usize(..TEXT_KEYS);
        let key = String::from_utf8_lossy(&self.keys[key]).into_owned();
        let key = if key.is_ascii() { key } else { "k0".to_owned() };
        let flag = [
            "a", "m", "w", "W", "Z", "1", "%", "v v", "k k", "Nx", "N", "Tx", "T", "R", "Cx", "C", "C-1", "Dx", "J-1",
            "Fx", "F-1", "b%", "Nx Dx", "v Dx a", "Fx v v",
        ];
        let flag = flag[self.rng.usize(..flag.len())];
        let long = "k".repeat(251);
        let line = match self.rng.u8(..10) {
            0 => return Request::new(format!("ms {key} 3 {flag}\r\nzzz\r\n")),
            1 => {
                // Of the others 1.6.18 says so when it has done what they ask.
                let flag = ["MX", "Ma", "Me", "Oxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"][self.rng.usize(..4)];
                return Request::new(format!("ms {key} 3 {flag}\r\nzzz\r\n"));
            }
            2 => return Request::new(format!("ms {long} 3\r\nzzz\r\n")),
            3 => format!("ma {key} {flag}"),
            4 => format!("mg {long} v"),
            5 => format!("me {key}"),
            6 => "mn".to_owned(),
            7 => format!("ma {key} {}", ["MX", "Mi", "Ma"][self.rng.usize(..3)]),
            _ => format!("mg {key} {flag}"),
        };
        self.ended(line.into_bytes())
    }

    /// A storage command that is refused by its line; its data is one line that is no command.
    fn refused_storage(&mut self) -> Request {
        let verbs = ["set", "add", "replace", "append", "prepend", "cas"];
        let verb = verbs[self.rng.usize(..verbs.len())];
        let data = vec![b'z'; self.rng.usize(1..300)];
        let key = self.rng.usize(..self.keys.len());
        let long = "k".repeat(self.rng.usize(251..260));
        let mut key = String::from_utf8_lossy(&self.keys[key]).into_owned();
        if !key.is_ascii() {
            key = "k0".to_owned();
        }
        let cas = if verb == "cas" { " 1" } else { "" };
        let len = data.len();
        let (key, middle, end) = match self.rng.u8(..11) {
            0 => (long, format!("0 0 {len}"), cas),
            1 => (key, format!("x 0 {len}"), cas),
            2 => (key, format!("-1 0 {len}"), cas),
            3 => (key, format!("0 x {len}"), cas),
            4 => (key, format!("0 1x {len}"), cas),
            5 => (key, format!("0 9223372036854775808 {len}"), cas),
            6 => (key, format!("99999999999999999999999 0 {len}"), cas),
            7 => ("wide-flags".to_owned(), format!("4294967296 0 {len}"), cas),
            8 => (key, format!("0 0 {len}{cas} noreply"), " more"),
            9 if verb == "cas" => (key, format!("0 0 {len}"), ""),
            10 if verb == "cas" => (key, format!("0 0 {len}"), [" x", " -1", " 99999999999999999999"][len % 3]),
            _ => (key, format!("x x {len}"), cas),
        };
        // For cas, behind its number only.
        let noreply =
            if self.rng.u8(..4) == 0 && (verb != "cas" || !end.is_empty()) && end != " more" { " noreply" } else { "" };
        Request::new([format!("{verb} {key} {middle}{end}{noreply}\r\n").as_bytes(), &data, b"\r\n"].concat())
    }

    /// More data than announced. (Less would take the next request's beginning for data.)
    fn wrong_length(&mut self) -> Request {
        let key = self.rng.usize(..TEXT_KEYS);
        let announced = self.rng.usize(..50);
        let data = vec![b'z'; announced + self.rng.usize(1..40)];
        let noreply = self.noreply();
        self.stored("set", key, &format!(" 0 0 {announced}{noreply}"), &data)
    }

    fn malformed(&mut self) -> Request {
        let key = self.rng.usize(..TEXT_KEYS);
        let key = String::from_utf8_lossy(&self.keys[key]).into_owned();
        let key = if key.is_ascii() { key } else { "k0".to_owned() };
        let long = "k".repeat(self.rng.usize(251..400));
        let garbage: Vec<u8> = (0..self.rng.usize(..60)).map(|_| self.rng.u8(b'\r' + 1..)).collect();
        let line = match self.rng.u8(..34) {
            0 => String::new(),
            1 => "  ".to_owned(),
            2 => "get".to_owned(),
            3 => "gets ".to_owned(),
            4 => "gat".to_owned(),
            5 => "gats 0".to_owned(),
            6 => format!("gat x {key}"),
            7 => format!("getss {key}"),
            8 => format!("gett 0 {key}"),
            9 => "stats no-such-topic".to_owned(),
            10 => " get absent".to_owned(),
            11 => format!("GET {key}"),
            12 => format!("getx {key}"),
            13 => "delete".to_owned(),
            14 => format!("delete {long}"),
            15 => format!("delete {key} x"),
            16 => "delete no-such-key 5".to_owned(),
            17 => format!("delete {key} 0 0"),
            18 => format!("delete {key} 0 noreply x"),
            19 => format!("incr {key}"),
            20 => "decr".to_owned(),
            21 => format!("incr {long} 1"),
            22 => format!("incr {key} 1 2 3"),
            23 => format!("touch {key}"),
            24 => format!("touch {long} 1"),
            25 => format!("touch {key} x"),
            26 => format!("touch {key} 1 2 3"),
            27 => "flush_all x".to_owned(),
            28 => "verbosity".to_owned(),
            29 => "verbosity x".to_owned(),
            30 => format!("set {key} 0"),
            31 => format!("SET {key} 0 0 3"),
            32 => "set".to_owned(),
            _ => return Request::new([b"z", garbage.as_slice(), b"\r\n"].concat()),
        };
        self.ended(line.into_bytes())
    }

    fn closer(&mut self) -> Request {
        let (line, closes) = match self.rng.u8(..7) {
            0 => ("OPTIONS * HTTP/1.1\r\n".to_owned(), Closes::Both),
            1 => ("quit x\r\n".to_owned(), Closes::Both),
            2 => ("GET / HTTP/1.1\r\n".to_owned(), Closes::Both),
            3 => ("POST /x HTTP/1.0\r\n".to_owned(), Closes::Both),
            4 => ("z".repeat(2049 + self.rng.usize(..2000)), Closes::Both),
            5 => ("set k0 0 0 -1\r\n".to_owned(), Closes::Slabd),
            _ => ("set k0 0 0 3x\r\n".to_owned(), Closes::Slabd),
        };
        Request { closes, ..Request::new(line) }
    }
}
