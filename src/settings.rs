//! What is meant: the daemon's settings, validated, without a word of how they were written on a command line.

mod classes;
mod tls;

pub use classes::ClassSizes;
pub use tls::{ClientCerts, ListenTls, TlsSettings};

use crate::events::LogLens;
use crate::limits::{ITEM_LEN_MAX, MEMORY_LEN_MAX, MEMORY_LEN_MIN, THREADS_MAX};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything an operator can choose. `Default` is what `slabd` without arguments runs with: memcached's defaults, but
/// for loop-back listeners, a thread per core, finer classes, eviction by S3-FIFO, and as many requests per turn as `TURN_REQUESTS_MAX`
/// says.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// TCP listeners; none if only a unix socket is wanted.
    pub listen: Vec<SocketAddr>,
    /// Which protocol is spoken at those of them that have one of their own.
    pub listen_protocols: HashMap<SocketAddr, Protocol>,
    /// IPv6 addresses of `listen` may be left out if the host has no IPv6: they are slabd's choice, not the operator's.
    pub ipv6_optional: bool,
    /// Unix-domain socket beside (or instead of) TCP.
    pub unix_socket: Option<UnixSocket>,
    /// `-B`: which protocol clients speak.
    pub protocol: Protocol,
    /// `-m`: bytes for items.
    pub memory_len: u64,
    /// Make room by evicting (without `-M`).
    pub evict: bool,
    /// `-c`: connections at a time.
    pub conn_limit: usize,
    /// `-o maxconns_fast`: who comes beyond the limit is turned away; else it waits until somebody has gone.
    pub maxconns_fast: bool,
    /// `-t`: worker threads.
    pub threads: usize,
    /// `-R`: requests of one connection per turn; none is `TURN_REQUESTS_MAX`.
    pub reqs_per_event: Option<u32>,
    /// `-b`: listen backlog.
    pub backlog: u32,
    /// `-f`, `-n`, `-o slab_chunk_max`, `-o slab_sizes`: which classes there are.
    pub classes: ClassSizes,
    /// `-I`: largest item in bytes.
    pub item_len_max: usize,
    /// Items carry CAS numbers (without `-C`).
    pub with_cas: bool,
    /// `-v` counted.
    pub verbosity: u8,
    /// How items are queued for eviction.
    pub lru: LruMode,
    /// What can be tuned of it.
    pub lru_tuning: LruTuning,
    /// What the maintainer does.
    pub background: Background,
    /// `-L`: the memory for items is made resident at the start, in huge pages.
    pub prefault: bool,
    /// `-k`: nothing that is resident is ever paged out.
    pub lock_memory: bool,
    /// `--memory-max`: bytes for the whole process; items give way.
    pub process_len_max: Option<u64>,
    /// `-o idle_timeout`: close TCP connections idle this long.
    pub idle_timeout: Option<Duration>,
    /// Items may be dumped (without `-X`).
    pub dumps: bool,
    /// Clients may watch (without `-W`).
    pub watch: bool,
    /// `flush_all` is allowed (without `-F`).
    pub flush: bool,
    /// `-A`: clients may end the daemon.
    pub shutdown: bool,
    /// `-o worker_logbuf_size`, `watcher_logbuf_size`.
    pub logs: LogLens,
    /// `-S`: clients of the binary protocol log in by SASL, with the users of `auth_file`.
    pub sasl: bool,
    /// `-U`: where to answer datagrams.
    pub udp: Vec<SocketAddr>,
    /// `--metrics`: where Prometheus is told numbers.
    pub metrics: Vec<SocketAddr>,
    /// `-D`: uses of keys are counted by prefix, up to this byte.
    pub detail: Option<u8>,
    /// `-o track_sizes`: items are counted by length.
    pub track_sizes: bool,
    /// `-Y`: the file of users who may use the daemon; everybody may if there is none.
    pub auth_file: Option<PathBuf>,
    /// `-Z` and what `-o` has of it.
    pub tls: TlsSettings,
    /// What `notls:`, `btls:` and `mtls:` say of those of `listen` that have such a word; the others do as `tls` says.
    pub listen_tls: HashMap<SocketAddr, ListenTls>,
    /// What happens to the process before it serves; the server itself looks at nothing but its filter and its watchdog.
    pub process: ProcessSettings,
    /// `-u`: whom root becomes; none is `nobody`. The server itself does not look at it, the start-up of the daemon does.
    pub user: Option<String>,
}

impl Settings {
    /// memcached's port.
    pub const PORT: u16 = 11211;

    /// Where slabd listens if nothing is said: this host only.
    #[must_use]
    pub fn loopback(port: u16) -> Vec<SocketAddr> {
        vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
    }

    /// Whether clients of this address of `listen` speak TLS, and what certificates are asked of them then.
    #[must_use]
    pub fn tls_at(&self, addr: &SocketAddr) -> Option<ClientCerts> {
        if !self.tls.is_on {
            return None;
        }
        match self.listen_tls.get(addr) {
            Some(ListenTls::Without) => None,
            Some(ListenTls::Basic) => Some(ClientCerts::Ignored),
            Some(ListenTls::Mutual) => Some(ClientCerts::Required),
            None => Some(self.tls.client_certs()),
        }
    }

    /// Checks what types do not say. The command line has its own words for what it refuses; this is for those who fill
    /// settings in by hand.
    pub fn check(&self) -> Result<(), String> {
        let refuse = |what: &str| Err(what.to_owned());
        if self.threads == 0 || self.threads > THREADS_MAX {
            return refuse("threads must be 1 to THREADS_MAX");
        }
        if self.conn_limit == 0 || self.backlog == 0 || self.reqs_per_event == Some(0) {
            return refuse("the connection limit, the backlog and the requests per event must not be 0");
        }
        if self.memory_len < MEMORY_LEN_MIN || self.memory_len > MEMORY_LEN_MAX {
            return refuse("memory must be MEMORY_LEN_MIN to MEMORY_LEN_MAX bytes");
        }
        if self.item_len_max > ITEM_LEN_MAX || self.item_len_max as u64 > self.memory_len / 2 {
            return refuse("the largest item must fit in ITEM_LEN_MAX and in half the memory");
        }
        self.classes.check(self.item_len_max).map_err(str::to_owned)?;
        let asks = |addr| self.tls_at(addr).is_some_and(|asked| asked != ClientCerts::Ignored);
        if self.tls.ca_cert.is_none() && self.listen.iter().any(asks) {
            return refuse("where certificates are asked of clients there must be one to judge them by: ssl_ca_cert");
        }
        if !self.lru_tuning.is_sound() {
            return refuse("hot and warm must have at most PCT_MAX percent together, and factors above 0");
        }
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Self::loopback(Self::PORT),
            listen_protocols: HashMap::new(),
            ipv6_optional: true,
            unix_socket: None,
            protocol: Protocol::default(),
            memory_len: 64 << 20,
            evict: true,
            conn_limit: 1024,
            maxconns_fast: true,
            threads: std::thread::available_parallelism().map_or(4, usize::from).min(THREADS_MAX),
            reqs_per_event: None,
            backlog: 1024,
            classes: ClassSizes::default(),
            item_len_max: 1 << 20,
            with_cas: true,
            verbosity: 0,
            lru: LruMode::default(),
            lru_tuning: LruTuning::default(),
            background: Background::default(),
            prefault: false,
            lock_memory: false,
            process_len_max: None,
            idle_timeout: None,
            dumps: true,
            watch: true,
            flush: true,
            shutdown: false,
            logs: LogLens { worker: 64 << 10, watcher: 256 << 10 },
            sasl: false,
            udp: Vec::new(),
            metrics: Vec::new(),
            detail: None,
            track_sizes: false,
            auth_file: None,
            tls: TlsSettings::default(),
            listen_tls: HashMap::new(),
            process: ProcessSettings::default(),
            user: None,
        }
    }
}

/// What an operator can choose of the process as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessSettings {
    /// `-d`: goes into the background.
    pub background: bool,
    /// `-P`: the file that says its number.
    pub pid_file: Option<PathBuf>,
    /// `-r`: may leave cores.
    pub cores: bool,
    /// `-o drop_privileges`: system calls are filtered.
    pub drop_privileges: bool,
    /// `-o relaxed_privileges`: and what the filter refuses is only told in the kernel's log.
    pub relaxed_privileges: bool,
    /// The service manager restarts what it hears nothing of for so long.
    pub watchdog: Option<Duration>,
}

/// Which protocol clients speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Each its own, which its first byte says.
    #[default]
    Auto,
    /// The text protocol.
    Ascii,
    /// The binary protocol.
    Binary,
}

/// A unix-domain listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// Where it is bound; removed first if nobody listens there.
    pub path: PathBuf,
    /// Its permission bits (`-a`).
    pub mode: u32,
}

/// How items of a class are queued for eviction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LruMode {
    /// One queue, strictly by last use.
    Flat,
    /// HOT, WARM and COLD, by memcached's rules.
    Segmented,
    /// A short probation (HOT) before the main queue (WARM), and ghosts of what was evicted.
    #[default]
    S3Fifo,
}

/// What can be tuned of the queues, at the start (`-o`) and later (`lru tune`, `lru temp_ttl`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LruTuning {
    /// Share of a class's items that HOT may have in the segmented mode, in percent.
    pub hot_pct: u32,
    /// The same of WARM; together at most [`LruTuning::PCT_MAX`].
    pub warm_pct: u32,
    /// An item at HOT's tail idle for longer than COLD's tail times this goes to COLD.
    pub hot_max_factor: f64,
    /// The same of WARM.
    pub warm_max_factor: f64,
    /// Items that live at most so many seconds go to TEMP; none: there is no TEMP.
    pub temporary_ttl: Option<u32>,
}

impl LruTuning {
    /// Most that HOT and WARM may have together: COLD needs some.
    pub const PCT_MAX: u32 = 80;

    /// What memcached calls the limit of TEMP while there is no TEMP.
    pub const TEMPORARY_TTL_UNUSED: u32 = 61;

    /// Whether HOT and WARM leave something to COLD.
    #[must_use]
    pub fn are_shares_sound(&self) -> bool {
        self.hot_pct.checked_add(self.warm_pct).is_some_and(|pct| pct <= Self::PCT_MAX)
    }

    /// Whether the numbers can be meant.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.are_shares_sound() && self.hot_max_factor > 0.0 && self.warm_max_factor > 0.0
    }
}

impl Default for LruTuning {
    fn default() -> Self {
        Self { hot_pct: 20, warm_pct: 40, hot_max_factor: 0.2, warm_max_factor: 2.0, temporary_ttl: None }
    }
}

/// Whether pages move between classes by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Automove {
    /// They do not.
    Off,
    /// Where that helps, if it is clear.
    #[default]
    Normal,
    /// To whoever evicts, from whoever can do without best.
    Aggressive,
}

impl Automove {
    /// As in memcached: 0, 1 and 2.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        [Self::Off, Self::Normal, Self::Aggressive].get(usize::try_from(number).ok()?).copied()
    }
}

/// How the maintainer goes about its work, at the start (`-o`) and later (`slabs automove`, `lru_crawler`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Background {
    /// Pages may be moved: `-o no_slab_reassign` is no.
    pub reassign: bool,
    /// By themselves, too.
    pub automove: Automove,
    /// memcached's measure of age; kept and told, slabd has its own.
    pub automove_ratio: f64,
    /// memcached's number of rounds; kept and told, slabd has its own.
    pub automove_window: u32,
    /// Dead items are swept away in the background.
    pub crawler: bool,
    /// Microseconds of rest, at least, between two steps of that.
    pub crawler_sleep_us: u32,
    /// Items of a class looked at, at most, in a crawl that is asked for; 0 is all.
    pub crawler_tocrawl: u32,
}

impl Background {
    /// Longest rest of the crawler.
    pub const CRAWLER_SLEEP_US_MAX: u32 = 1_000_000;

    /// memcached's bounds of the window.
    pub const WINDOWS: std::ops::RangeInclusive<u32> = 3..=1800;
}

impl Default for Background {
    fn default() -> Self {
        Self {
            reassign: true,
            automove: Automove::Normal,
            automove_ratio: 0.8,
            automove_window: 10,
            crawler: true,
            crawler_sleep_us: 100,
            crawler_tocrawl: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check_and_nonsense_does_not() {
        let good = Settings::default();
        good.check().unwrap();
        for bad in [
            Settings { threads: 0, ..good.clone() },
            Settings { conn_limit: 0, ..good.clone() },
            Settings { memory_len: 0, ..good.clone() },
            Settings { item_len_max: usize::MAX, ..good.clone() },
            Settings { classes: ClassSizes { factor: Some(1.0), ..ClassSizes::default() }, ..good.clone() },
            Settings { classes: ClassSizes { factor: Some(f64::NAN), ..ClassSizes::default() }, ..good.clone() },
            Settings { classes: ClassSizes { listed: vec![96, 104], ..ClassSizes::default() }, ..good.clone() },
            Settings { lru_tuning: LruTuning { hot_pct: 50, ..LruTuning::default() }, ..good.clone() },
            Settings { lru_tuning: LruTuning { warm_max_factor: 0.0, ..LruTuning::default() }, ..good.clone() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
