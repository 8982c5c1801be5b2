//! Streams of packets made from a seed: well-formed and malformed, over few keys, so that everything meets everything.
//!
//! What a stream holds is bounded by what can be compared with memcached 1.6.18; each restriction says why.

use super::packet::Packet;
use fastrand::Rng;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// All but its opaque, which is its place in the batch, and a CAS number to be filled in.
    pub(crate) packet: Packet,
    /// A CAS number, by the order in which the server's numbers were seen first: servers have different ones.
    pub(crate) cas: Option<usize>,
    /// Bytes of the header that are not what they should be.
    pub(crate) lie: Option<(usize, Vec<u8>)>,
    /// The server closes the connection on it.
    pub(crate) closes: bool,
}

impl Asked {
    fn new(packet: Packet) -> Self {
        Self { packet, cas: None, lie: None, closes: false }
    }

    /// With its place in the batch, and with the number of one server filled in.
    pub(crate) fn bytes(&self, place: u32, cas: u64) -> Vec<u8> {
        let cas = if self.cas.is_some() { cas } else { self.packet.cas };
        let mut bytes = Packet { opaque: place, cas, ..self.packet.clone() }.request();
        if let Some((at, lie)) = &self.lie {
            bytes[*at..*at + lie.len()].copy_from_slice(lie);
        }
        bytes
    }
}

/// Keys for text, for numbers, and for large values (never appended to: the largest sum that fits is each server's own).
const TEXT_KEYS: usize = 28;
const NUMBER_KEYS: usize = 8;
const LARGE_KEYS: usize = 2;

/// Makes requests.
#[derive(Debug)]
pub(crate) struct PacketGenerator {
    rng: Rng,
    keys: Vec<Vec<u8>>,
    /// For each key, the CAS number last seen.
    seen: Vec<Option<usize>>,
    /// Whether the requests of this batch count, rather than read numbers. memcached pads a number that becomes shorter,
    /// unless an answer that holds the item is still on its way; so nobody counts while somebody reads.
    counts: bool,
}

impl PacketGenerator {
    /// The same seed makes the same stream.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut keys: Vec<Vec<u8>> = (0..TEXT_KEYS)
            .map(|index| {
                let mut key = format!("k{index}").into_bytes();
                let len = [2, 3, 10, 40, 100, 249, 250][index % 7];
                key.resize_with(len.max(key.len()), || rng.u8(..));
                key
            })
            .collect();
        keys.extend((0..NUMBER_KEYS).map(|index| format!("n{index}").into_bytes()));
        keys.extend((0..LARGE_KEYS).map(|index| format!("large{index}").into_bytes()));
        let seen = vec![None; keys.len()];
        Self { rng, keys, seen, counts: false }
    }

    /// The requests of one batch, to be sent in one go. At most the last of them closes the connection.
    pub(crate) fn batch(&mut self) -> Vec<Asked> {
        self.counts = self.rng.bool();
        let len = if self.rng.u8(..8) == 0 { self.rng.usize(1..4) } else { self.rng.usize(20..120) };
        let mut batch: Vec<Asked> = (0..len).map(|_| self.request()).collect();
        match self.rng.u8(..40) {
            0..2 => batch.push(self.closer()),
            // Behind a noop alone, which memcached answers at once: others' answers it drops if they have not been written yet.
            2 => batch = vec![Asked::new(Packet::new(0x0a, b"", b"", b"")), self.foreign()],
            _ => {}
        }
        batch
    }

    /// Says that a key's item was seen with a number.
    pub(crate) fn saw(&mut self, key: &[u8], cas: usize) {
        if let Some(index) = self.keys.iter().position(|known| known == key) {
            self.seen[index] = Some(cas);
        }
    }

    fn request(&mut self) -> Asked {
        match self.rng.u32(..1000) {
            0..300 => self.retrieval(),
            300..400 => self.touch(),
            400..700 => self.storage(),
            700..820 => self.count(),
            820..880 => {
                let (opcode, key) = (self.pick(&[0x04, 0x14]), self.rng.usize(..self.keys.len()));
                self.conditional(opcode, &[], key, &[])
            }
            880..883 => {
                let opcode = self.pick(&[0x08, 0x18]);
                let extras = [&[][..], &[0; 4]][self.rng.usize(..2)];
                Asked::new(Packet::new(opcode, extras, b"", b""))
            }
            883..900 => Asked::new(Packet::new(0x0a, b"", b"", b"")),
            900..920 => Asked::new(Packet::new(0x0b, b"", b"", b"")),
            920..930 => Asked::new(Packet::new(0x10, b"", b"no such topic", b"")),
            930..940 => Asked::new(Packet::new(0x20, b"", b"", b"")),
            940..960 => {
                let (opcode, value) = (self.pick(&[0x21, 0x22]), self.value(0, true));
                Asked::new(Packet::new(opcode, b"", b"PLAIN", &value))
            }
            // memcached skips too much where there are extras or a key as well.
            _ => {
                let (opcode, value) = (self.pick(&[0x1b, 0x1f, 0x25, 0x30, 0x3c, 0x80, 0xff]), self.value(0, true));
                Asked::new(Packet::new(opcode, b"", b"", &value))
            }
        }
    }

    fn pick(&mut self, opcodes: &[u8]) -> u8 {
        opcodes[self.rng.usize(..opcodes.len())]
    }

    /// A key that may be read, or counted on, in this batch.
    fn key(&mut self) -> usize {
        let key = self.rng.usize(..self.keys.len());
        let is_dear = self.is_large(key) && self.rng.bool();
        if is_dear || (self.counts && self.is_number(key)) { self.rng.usize(..TEXT_KEYS) } else { key }
    }

    fn is_number(&self, key: usize) -> bool {
        (TEXT_KEYS..TEXT_KEYS + NUMBER_KEYS).contains(&key)
    }

    fn is_large(&self, key: usize) -> bool {
        key >= self.keys.len() - LARGE_KEYS
    }

    fn retrieval(&mut self) -> Asked {
        let (opcode, key) = (self.pick(&[0x00, 0x09, 0x0c, 0x0d]), self.key());
        Asked::new(Packet::new(opcode, b"", &self.keys[key], b""))
    }

    fn touch(&mut self) -> Asked {
        let (opcode, key) = (self.pick(&[0x1c, 0x1d, 0x1e, 0x23, 0x24]), self.key());
        let exptime = self.exptime().to_be_bytes();
        Asked::new(Packet::new(opcode, &exptime, &self.keys[key], b""))
    }

    fn storage(&mut self) -> Asked {
        let opcode = self.pick(&[0x01, 0x01, 0x11, 0x02, 0x12, 0x03, 0x13, 0x0e, 0x19, 0x0f, 0x1a]);
        let joins = matches!(opcode, 0x0e | 0x0f | 0x19 | 0x1a);
        let mut key = self.rng.usize(..self.keys.len());
        // A number is not appended to either: what counts is then each server's own.
        if joins && (self.is_large(key) || self.is_number(key)) {
            key = self.rng.usize(..TEXT_KEYS);
        }
        let value = self.value(key, joins);
        let flags = if self.rng.bool() { 0 } else { self.rng.u32(..) };
        let extras = [flags.to_be_bytes(), self.exptime().to_be_bytes()].concat();
        let mut asked = self.conditional(opcode, if joins { b"" } else { &extras }, key, &value);
        // What is refused for its size goes whatever its number is, in memcached.
        if value.len() > 1_048_576 {
            (asked.cas, asked.packet.cas) = (None, 0);
        }
        asked
    }

    fn count(&mut self) -> Asked {
        let opcode = self.pick(&[0x05, 0x15, 0x06, 0x16]);
        let key = if self.counts && self.rng.u8(..8) != 0 {
            TEXT_KEYS + self.rng.usize(..NUMBER_KEYS)
        } else {
            self.rng.usize(..TEXT_KEYS)
        };
        let number = |rng: &mut Rng| if rng.u8(..5) == 0 { rng.u64(..) >> rng.u32(..64) } else { rng.u64(..120) };
        // What was text becomes a number here, so only keys of numbers do.
        let exptime = if self.is_number(key) && self.rng.bool() { self.exptime() } else { u32::MAX };
        let mut extras = number(&mut self.rng).to_be_bytes().to_vec();
        extras.extend(number(&mut self.rng).to_be_bytes());
        extras.extend(exptime.to_be_bytes());
        self.conditional(opcode, &extras, key, b"")
    }

    /// With a CAS number now and then, which is right now and then.
    fn conditional(&mut self, opcode: u8, extras: &[u8], key: usize, value: &[u8]) -> Asked {
        let mut asked = Asked::new(Packet::new(opcode, extras, &self.keys[key], value));
        match self.rng.u8(..10) {
            0..3 => asked.cas = self.seen[key],
            3 => asked.cas = self.seen[self.rng.usize(..self.seen.len())],
            // No server has come so far.
            4 => asked.packet.cas = self.rng.u64(1 << 62..),
            _ => {}
        }
        asked
    }

    /// Lifetimes that have ended or do not end during the test.
    fn exptime(&mut self) -> u32 {
        match self.rng.u8(..20) {
            0 => 1 << 30,
            1 => 2_592_001,
            2..5 => self.rng.u32(1000..2_592_000),
            5 => 2_000_000_000,
            6 => u32::MAX - self.rng.u32(1..1000),
            _ => 0,
        }
    }

    fn value(&mut self, key: usize, joins: bool) -> Vec<u8> {
        if self.is_number(key) {
            let odd =
                ["", "18446744073709551615", "18446744073709551616", "12  ", "12x", "-1", "text", " 5", "+5", "1 0"];
            let pick = self.rng.usize(..3 * odd.len());
            return odd.get(pick).map_or_else(|| self.rng.u32(..200).to_string(), ToString::to_string).into_bytes();
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
        let alphabet = b"abcdefghijklmnopqrstuvwxyz\r\n\0 \xff\x80\x81";
        // Nor blanks alone: to find a number, memcached reads on behind them, and behind the value.
        let mut value: Vec<u8> = (0..len).map(|_| alphabet[self.rng.usize(..alphabet.len())]).collect();
        value.iter_mut().take(1).for_each(|first| *first = b'v');
        value
    }

    /// No request at all.
    fn foreign(&mut self) -> Asked {
        let magic = [0x81, b'g', 0][self.rng.usize(..3)];
        Asked { closes: true, lie: Some((0, vec![magic])), ..Asked::new(Packet::new(0x0a, b"", b"", b"")) }
    }

    fn closer(&mut self) -> Asked {
        let key = self.keys[self.rng.usize(..TEXT_KEYS)].clone();
        let extras = vec![7; self.rng.usize(..32)];
        let closes = |packet| Asked { closes: true, ..Asked::new(packet) };
        match self.rng.u8(..8) {
            0 => closes(Packet::new(0x07, b"", b"", b"")),
            1 => closes(Packet::new(0x17, b"", b"", b"")),
            2 => Asked { lie: Some((8, vec![0, 0, 0, 1])), ..closes(Packet::new(self.rng.u8(..), b"", b"ab", b"")) },
            3 => closes(Packet::new(self.rng.u8(..), b"", &vec![b'k'; self.rng.usize(251..400)], b"")),
            4 => closes(Packet::new(self.pick(&[0x00, 0x09, 0x04, 0x14]), &[7; 4], &key, b"")),
            5 => {
                let extras = if extras.len() == 8 { &b"seven"[..] } else { &extras };
                closes(Packet::new(self.pick(&[0x01, 0x02, 0x03, 0x11, 0x12, 0x13]), extras, &key, b"value"))
            }
            6 => {
                let extras = if extras.len() == 20 { &b"seven"[..] } else { &extras };
                closes(Packet::new(self.pick(&[0x05, 0x06, 0x15, 0x16]), extras, &key, b""))
            }
            _ => closes(Packet::new(self.pick(&[0x07, 0x0a, 0x0b, 0x17, 0x08, 0x18, 0x20]), b"", &key, b"")),
        }
    }
}
