//! Flags, as typed and as meant. Letters and long names are memcached's.
//!
//! Values are taken as text and read here, not by clap, so that every refusal has the same form: one line, the option
//! first. It has *no* effect but looking up the names in `-l`.

use super::extended::{check_chunk_max, check_tls, extended};
use crate::limits::{ITEM_LEN_MAX, MEMORY_LEN_MAX, MEMORY_LEN_MIN, PROCESS_LEN_MIN, THREADS_MAX};
use crate::settings::{ListenTls, Protocol, Settings, UnixSocket};
use clap::{ArgAction, Parser};
use std::collections::HashMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// A memcached-protocol cache daemon.
#[derive(Debug, Parser)]
// A negative number is a value that cannot be meant, and not an option that does not exist.
#[command(name = "slabd", version, disable_help_subcommand = true, allow_negative_numbers = true)]
// Of what is said twice the last is meant, as with memcached: scripts add to what a file says.
#[command(args_override_self = true)]
pub(super) struct Flags {
    /// TCP port to listen on; 0 is no TCP, -1 lets the kernel choose
    #[arg(short, long, value_name = "NUM", default_value = "11211", allow_hyphen_values = true)]
    port: String,
    /// UDP port, but for places of -l that name a port, which is theirs for UDP, too; 0 is no UDP, -1 lets the kernel choose
    #[arg(short = 'U', long, value_name = "NUM", default_value = "0", allow_hyphen_values = true)]
    udp_port: String,
    /// Unix-domain socket to listen on, beside TCP
    #[arg(short = 's', long, value_name = "FILE")]
    unix_socket: Option<PathBuf>,
    /// Permissions of the unix-domain socket, in octal
    #[arg(short = 'a', long, value_name = "MASK", default_value = "0700")]
    unix_mask: String,
    /// Protocol that clients speak: auto (the first byte says which), ascii or binary
    #[arg(short = 'B', long, value_name = "NAME", default_value = "auto")]
    protocol: String,
    /// Addresses to listen on: host, host:port, [v6] or [v6]:port, separated by commas; '*' is all of them
    /// [default: 127.0.0.1,::1]
    #[arg(short, long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Memory for items, in megabytes
    #[arg(short, long, value_name = "MB", default_value = "64")]
    memory_limit: String,
    /// Megabytes for the whole process, connections' buffers and index included: items give way (ours) [default: no bound]
    #[arg(long, value_name = "MB")]
    memory_max: Option<String>,
    /// Take all memory for items at the start, in huge pages
    #[arg(short = 'L', long)]
    enable_largepages: bool,
    /// Never page anything out that is resident
    #[arg(short = 'k', long)]
    lock_memory: bool,
    /// Refuse to store when memory is full, rather than evict
    #[arg(short = 'M', long)]
    disable_evictions: bool,
    /// Connections at a time
    #[arg(short, long, value_name = "NUM", default_value = "1024")]
    conn_limit: String,
    /// Worker threads [default: one per core]
    #[arg(short, long, value_name = "NUM")]
    threads: Option<String>,
    /// Requests of one connection before the next gets its turn, which a budget of bytes may end sooner [default: 2048]
    #[arg(short = 'R', long, value_name = "NUM")]
    max_reqs_per_event: Option<String>,
    /// Clients that may wait to be accepted
    #[arg(short = 'b', long, value_name = "NUM", default_value = "1024")]
    listen_backlog: String,
    /// Growth factor of chunk sizes, above 1.0 [default: slabd's own, finer sizes]
    #[arg(short = 'f', long, value_name = "FACTOR")]
    slab_growth_factor: Option<String>,
    /// Least bytes for key, value and flags of the smallest chunk [default: slabd's own, finer sizes]
    #[arg(short = 'n', long, value_name = "BYTES")]
    slab_min_size: Option<String>,
    /// Largest item, in bytes or with k or m behind: 1k to 1024m, at most half of -m
    #[arg(short = 'I', long, value_name = "SIZE", default_value = "1m")]
    max_item_size: String,
    /// Do without CAS numbers
    #[arg(short = 'C', long)]
    disable_cas: bool,
    /// Refuse to dump items and keys: metadump, mgdump, stats cachedump, stats hotkeys
    #[arg(short = 'X', long)]
    disable_dumping: bool,
    /// Refuse to tell clients what happens: watch
    #[arg(short = 'W', long)]
    disable_watch: bool,
    /// Refuse flush_all
    #[arg(short = 'F', long)]
    disable_flush_all: bool,
    /// Let clients end the daemon: shutdown
    #[arg(short = 'A', long)]
    enable_shutdown: bool,
    /// File of users, `user:password` a line; clients then log in first, by a set of 'user password'; read again on SIGHUP
    #[arg(short = 'Y', long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    /// Have clients of the binary protocol log in by SASL (PLAIN), with the users of -Y or of the file that MEMCACHED_SASL_PWDB names
    #[arg(short = 'S', long)]
    enable_sasl: bool,
    /// Taken as memcached's, without effect: slabd keeps nothing on disk
    #[arg(short = 'e', long, value_name = "FILE")]
    memory_file: Option<PathBuf>,
    /// Taken as memcached's, without effect: workers are chosen by the peer's address
    #[arg(short = 'N', long, alias = "napi_ids", value_name = "NUM")]
    napi_ids: Option<String>,
    /// Serve TCP with TLS, with the certificate and the key that -o ssl_chain_cert and ssl_key name
    #[arg(short = 'Z', long)]
    enable_ssl: bool,
    /// Count uses of keys by prefix, up to this character, from the start (`stats detail`) [default: off, and ':']
    #[arg(short = 'D', value_name = "CHAR")]
    stat_delimiter: Option<String>,
    /// Address, host or host:port, that tells Prometheus numbers by HTTP at /metrics (ours); the port is 9150 if none is named
    /// [default: none]
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// User to run as, if started by root [default: nobody]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Go into the background, once it serves
    #[arg(short, long)]
    pub(super) daemon: bool,
    /// File that is told the number of the process
    #[arg(short = 'P', long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Leave a core behind on a crash
    #[arg(short = 'r', long)]
    enable_coredumps: bool,
    /// Say more; up to three times
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Say under which licence this is
    #[arg(short = 'i', long)]
    pub(super) license: bool,
    /// Further options, separated by commas: idle_timeout=SECONDS, lru_mode=flat|segmented|s3fifo, hot_lru_pct=PERCENT,
    /// warm_lru_pct=PERCENT, hot_max_factor=FACTOR, warm_max_factor=FACTOR, temporary_ttl=SECONDS, lru_maintainer,
    /// no_lru_maintainer, slab_reassign, no_slab_reassign, slab_automove=0|1|2, no_slab_automove, slab_automove_ratio=RATIO,
    /// slab_automove_window=ROUNDS, slab_chunk_max=KB, slab_sizes=BYTES-BYTES-..., lru_crawler, no_lru_crawler,
    /// lru_crawler_sleep=MICROSECONDS, lru_crawler_tocrawl=ITEMS, track_sizes, worker_logbuf_size=KB, watcher_logbuf_size=KB,
    /// ssl_chain_cert=FILE, ssl_key=FILE, ssl_keyformat=1|2, ssl_verify_mode=0|1|2|3, ssl_ca_cert=FILE, ssl_ciphers=NAMES,
    /// ssl_min_version=0|1|2|3, ssl_session_cache, ssl_wbuf_size=KB, ssl_kernel_tls, maxconns_fast, no_maxconns_fast,
    /// drop_privileges, no_drop_privileges, relaxed_privileges, modern, no_modern, and memcached's others, which have no effect
    #[arg(short = 'o', long, value_name = "LIST")]
    extended: Vec<String>,
    /// What memcached passes over as well.
    #[arg(hide = true)]
    rest: Vec<String>,
}

/// Reads a command line, the program's name first. Without any effect but looking up the names in `-l`.
pub fn parse<I, T>(args: I) -> Result<Settings, String>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let flags = Flags::try_parse_from(args).map_err(|error| first_line(&error))?;
    settings_of(&flags).map(|(settings, _)| settings)
}

/// clap's complaint without its advice.
pub(super) fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    first.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Flags as typed, made into what is meant; and what should be said about it.
pub(super) fn settings_of(flags: &Flags) -> Result<(Settings, Vec<String>), String> {
    let mut warnings = Vec::new();
    let (memory_len, item_len_max) = lengths(flags, &mut warnings)?;
    let mut settings = Settings { memory_len, item_len_max, ..Settings::default() };
    let tcp = places(flags, Port::Tcp)?;
    let udp = places(flags, Port::Udp)?;
    settings.ipv6_optional = tcp.ipv6_optional || udp.ipv6_optional;
    (settings.listen, settings.listen_protocols, settings.udp) = (tcp.addrs, tcp.protocols, udp.addrs);
    (settings.tls.is_on, settings.listen_tls) = (flags.enable_ssl, tcp.tls);
    logins(flags, &mut settings)?;
    settings.unix_socket = unix_socket(flags)?;
    watching(flags, &mut settings)?;
    // Nor does it matter what is said here, where listeners are inherited.
    let others = settings.unix_socket.is_some() || !settings.udp.is_empty() || std::env::var_os("LISTEN_FDS").is_some();
    if settings.listen.is_empty() && !others {
        return Err(bad("-p/--port", &flags.port, "without TCP there must be a unix socket (-s)"));
    }
    settings.evict = !flags.disable_evictions;
    settings.with_cas = !flags.disable_cas;
    settings.conn_limit = number("-c/--conn-limit", &flags.conn_limit, 1, 1 << 30)?;
    settings.backlog = number("-b/--listen-backlog", &flags.listen_backlog, 1, 1 << 30)?;
    if let Some(threads) = &flags.threads {
        settings.threads = number("-t/--threads", threads, 1, THREADS_MAX)?;
    }
    for word in &flags.rest {
        warnings.push(format!("'{word}': has no effect: it belongs to no option"));
    }
    if flags.memory_file.is_some() {
        warnings.push("-e/--memory-file: has no effect: slabd keeps nothing on disk".to_owned());
    }
    if let Some(ids) = &flags.napi_ids {
        number("-N/--napi-ids", ids, 0, i32::MAX)?;
        warnings.push("-N/--napi-ids: has no effect: workers are chosen by the peer's address".to_owned());
    }
    if flags.port == "0" && flags.udp_port == "0" && !flags.listen.is_empty() {
        warnings.push("-l/--listen: has no effect on TCP: -p/--port is 0".to_owned());
    }
    if let Some(reqs) = &flags.max_reqs_per_event {
        settings.reqs_per_event = Some(number("-R/--max-reqs-per-event", reqs, 1, i32::MAX.unsigned_abs())?);
    }
    if let Some(factor) = &flags.slab_growth_factor {
        settings.classes.factor = Some(growth_factor(factor)?);
    }
    if let Some(chunk_min) = &flags.slab_min_size {
        settings.classes.chunk_min = Some(number("-n/--slab-min-size", chunk_min, 1, item_len_max)?);
    }
    settings.user.clone_from(&flags.user);
    (settings.dumps, settings.watch) = (!flags.disable_dumping, !flags.disable_watch);
    (settings.flush, settings.shutdown) = (!flags.disable_flush_all, flags.enable_shutdown);
    settings.process.background = flags.daemon;
    settings.process.cores = flags.enable_coredumps;
    settings.process.pid_file.clone_from(&flags.pidfile);
    settings.verbosity = flags.verbose;
    for list in &flags.extended {
        extended(list, &mut settings, &mut warnings)?;
    }
    check_tls(&settings, &mut warnings)?;
    settings.lock_memory = flags.lock_memory;
    whole_process(flags, &mut settings, &mut warnings)?;
    check_chunk_max(&settings)?;
    Ok((settings, warnings))
}

/// `-D` and `--metrics`.
fn watching(flags: &Flags, settings: &mut Settings) -> Result<(), String> {
    if let Some(typed) = &flags.stat_delimiter {
        let delimiter = typed.bytes().next().filter(|byte| typed.len() == 1 && byte.is_ascii_graphic());
        settings.detail = Some(delimiter.ok_or_else(|| bad("-D", typed, "must be one character that a key may have"))?);
    }
    if let Some(place) = &flags.metrics {
        settings.metrics = resolve("--metrics", place, METRICS_PORT)?;
    }
    Ok(())
}

/// The port that exporters of memcached's numbers have.
const METRICS_PORT: u16 = 9150;

/// `-m` and `-I`, which bound each other.
fn lengths(flags: &Flags, warnings: &mut Vec<String>) -> Result<(u64, usize), String> {
    const MEMORY: &str = "-m/--memory-limit";
    const ITEM: &str = "-I/--max-item-size";
    let asked: u64 = number(MEMORY, &flags.memory_limit, 1, MEMORY_LEN_MAX >> 20)?;
    let asked_len = asked << 20;
    let item_len = size(ITEM, &flags.max_item_size)?;
    if !(1 << 10..=1 << 30).contains(&item_len) {
        return Err(bad(ITEM, &flags.max_item_size, "must be 1k to 1024m"));
    }
    if item_len > asked_len / 2 {
        return Err(bad(ITEM, &flags.max_item_size, &format!("must be at most half of {MEMORY}, which is {asked} MB")));
    }
    if asked_len < MEMORY_LEN_MIN {
        warnings.push(format!("{MEMORY}: '{asked}' is raised to {}, the least that works", MEMORY_LEN_MIN >> 20));
    }
    let item_len = usize::try_from(item_len).unwrap_or(ITEM_LEN_MAX);
    Ok((asked_len.max(MEMORY_LEN_MIN), item_len))
}

/// `-L` and `--memory-max`, which contradict each other.
fn whole_process(flags: &Flags, settings: &mut Settings, warnings: &mut Vec<String>) -> Result<(), String> {
    const MAX: &str = "--memory-max";
    settings.prefault = flags.enable_largepages;
    let Some(typed) = &flags.memory_max else { return Ok(()) };
    let mb: u64 = number(MAX, typed, PROCESS_LEN_MIN >> 20, MEMORY_LEN_MAX >> 20)?;
    if settings.prefault {
        return Err(bad(MAX, typed, "cannot be together with -L/--enable-largepages, which takes all memory at once"));
    }
    if mb << 20 <= settings.memory_len {
        let asked = settings.memory_len >> 20;
        warnings.push(format!("{MAX}: '{mb}' leaves less for items than -m/--memory-limit, which is {asked} MB"));
    }
    settings.process_len_max = Some(mb << 20);
    Ok(())
}

/// What is listened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    Tcp,
    Udp,
}

/// Where to listen.
#[derive(Default)]
struct Places {
    addrs: Vec<SocketAddr>,
    /// Of those that have one of their own.
    protocols: HashMap<SocketAddr, Protocol>,
    /// The same.
    tls: HashMap<SocketAddr, ListenTls>,
    /// No IPv6 on this host is no reason not to start.
    ipv6_optional: bool,
}

/// `-l` and `-p` or `-U`.
fn places(flags: &Flags, kind: Port) -> Result<Places, String> {
    let (option, typed) = match kind {
        Port::Tcp => ("-p/--port", flags.port.as_str()),
        Port::Udp => ("-U/--udp-port", flags.udp_port.as_str()),
    };
    let port = match typed {
        "-1" => Some(0),
        typed => match number::<u16>(option, typed, 0, u16::MAX)? {
            0 => None,
            port => Some(port),
        },
    };
    let Some(port) = port else { return Ok(Places::default()) };
    if flags.listen.is_empty() {
        return Ok(Places { addrs: Settings::loopback(port), ipv6_optional: true, ..Places::default() });
    }
    let mut places = Places::default();
    for typed in flags.listen.iter().flat_map(|list| list.split([',', ';'])).filter(|typed| !typed.is_empty()) {
        let (protocol, tls, place) = labelled(typed)?;
        let addrs = if place == "*" {
            places.ipv6_optional = true;
            vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
        } else {
            resolve(LISTEN, place, port)?
        };
        for addr in addrs {
            if !places.addrs.contains(&addr) {
                places.addrs.push(addr);
            }
            if let Some(protocol) = protocol {
                places.protocols.insert(addr, protocol);
            }
            if let Some(tls) = tls {
                places.tls.insert(addr, tls);
            }
        }
    }
    Ok(places)
}

/// What stands before a place: `notls:` or `btls:` or `mtls:`, `proto[ascii]:`, `tag[name]:`, each at most once. The protocol, what is said of
/// TLS, and the place.
fn labelled(typed: &str) -> Result<(Option<Protocol>, Option<ListenTls>, &str), String> {
    const OPTION: &str = "-l/--listen";
    let (mut protocol, mut tag, mut tls) = (None, None, None);
    let mut rest = typed;
    loop {
        if let Some((said, behind)) = tls_label(rest).filter(|_| tls.is_none()) {
            (tls, rest) = (Some(said), behind);
        } else if let Some((name, behind)) = label(rest, "proto[").filter(|_| protocol.is_none()) {
            protocol = Some(match name {
                "ascii" => Protocol::Ascii,
                "binary" => Protocol::Binary,
                "negotiating" => Protocol::Auto,
                _ => return Err(bad(OPTION, typed, "has a protocol that is not ascii, binary or negotiating")),
            });
            rest = behind;
        } else if let Some((name, behind)) = label(rest, "tag[").filter(|_| tag.is_none()) {
            if name.len() > TAG_LEN_MAX {
                return Err(bad(OPTION, typed, &format!("has a tag of more than {TAG_LEN_MAX} bytes")));
            }
            tag = Some(name);
            rest = behind;
        } else {
            return Ok((protocol, tls, rest));
        }
    }
}

/// `notls:`, `btls:`, `mtls:` and what is behind it.
fn tls_label(text: &str) -> Option<(ListenTls, &str)> {
    let (word, behind) = text.split_once(':')?;
    let said = match word {
        "notls" => ListenTls::Without,
        "btls" => ListenTls::Basic,
        "mtls" => ListenTls::Mutual,
        _ => return None,
    };
    Some((said, behind))
}

/// `kind[name]:` and what is behind it.
fn label<'a>(text: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(kind)?.split_once("]:")
}

/// Longest tag of a listener (memcached's, for its proxy; it means nothing here).
const TAG_LEN_MAX: usize = 8;

/// `-Y`, `-S` and `-B`: who logs in how. memcached's `-Y` means ASCII and its `-S` means binary; with both, each client has its own.
fn logins(flags: &Flags, settings: &mut Settings) -> Result<(), String> {
    settings.protocol = protocol(&flags.protocol)?;
    settings.sasl = flags.enable_sasl;
    settings.auth_file.clone_from(&flags.auth_file);
    if settings.sasl && settings.auth_file.is_none() {
        settings.auth_file = std::env::var_os(PASSWORD_FILE).map(PathBuf::from);
        if settings.auth_file.is_none() {
            return Err(format!("-S/--enable-sasl: needs a file of users: -Y, or {PASSWORD_FILE} in the environment"));
        }
    }
    if settings.auth_file.is_none() {
        return Ok(());
    }
    let only = match (settings.sasl, flags.auth_file.is_some()) {
        (true, true) => None,
        (true, false) => Some((Protocol::Binary, "-S")),
        (false, _) => Some((Protocol::Ascii, "-Y")),
    };
    if let Some((only, option)) = only {
        let others = settings.listen_protocols.values().chain([&settings.protocol]);
        if others.into_iter().any(|&other| other != Protocol::Auto && other != only) {
            return Err(bad(
                "-B/--protocol",
                &flags.protocol,
                &format!("or a listener's own has no login by {option}"),
            ));
        }
        settings.protocol = only;
        settings.listen_protocols.values_mut().for_each(|protocol| *protocol = only);
    }
    if !settings.udp.is_empty() {
        return Err(bad("-U/--udp-port", &flags.udp_port, "cannot be where clients must log in (-Y, -S)"));
    }
    Ok(())
}

/// memcached's name for the file of users of `-S`.
const PASSWORD_FILE: &str = "MEMCACHED_SASL_PWDB";

const LISTEN: &str = "-l/--listen";

/// One place of `-l`: `host`, `host:port`, a bare IPv6 address, `[v6]`, `[v6]:port`.
fn resolve(option: &str, place: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let whole = place.strip_prefix('[').and_then(|inside| inside.strip_suffix(']')).unwrap_or(place);
    if let Ok(ip) = whole.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, typed)) => (host, number(&format!("{option} {place}"), typed, 1, u16::MAX)?),
        None => (place, port),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.is_empty() {
        return Err(bad(option, place, "there is no host in it"));
    }
    match (bare, port).to_socket_addrs() {
        Ok(addrs) => Ok(addrs.collect()),
        Err(_) => Err(bad(option, place, "there is no such host")),
    }
}

fn unix_socket(flags: &Flags) -> Result<Option<UnixSocket>, String> {
    let mode = match u32::from_str_radix(&flags.unix_mask, 8) {
        Ok(mode) if mode <= 0o777 => mode,
        _ => return Err(bad("-a/--unix-mask", &flags.unix_mask, "must be octal, 0 to 0777")),
    };
    Ok(flags.unix_socket.clone().map(|path| UnixSocket { path, mode }))
}

fn protocol(typed: &str) -> Result<Protocol, String> {
    match typed {
        "auto" => Ok(Protocol::Auto),
        "ascii" => Ok(Protocol::Ascii),
        "binary" => Ok(Protocol::Binary),
        _ => Err(bad("-B/--protocol", typed, "must be one of auto, binary, or ascii")),
    }
}

fn growth_factor(typed: &str) -> Result<f64, String> {
    match typed.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor > 1.0 => Ok(factor),
        _ => Err(bad("-f/--slab-growth-factor", typed, "must be a number above 1.0")),
    }
}

/// A whole number within bounds.
pub(super) fn number<T>(option: &str, typed: &str, min: T, max: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match typed.parse::<T>() {
        Ok(number) if number >= min && number <= max => Ok(number),
        _ => Err(bad(option, typed, &format!("must be a whole number from {min} to {max}"))),
    }
}

/// Bytes, with a factor behind.
fn size(option: &str, typed: &str) -> Result<u64, String> {
    let (digits, shift) = match typed.as_bytes().last() {
        Some(b'k' | b'K') => (&typed[..typed.len() - 1], 10),
        Some(b'm' | b'M') => (&typed[..typed.len() - 1], 20),
        _ => (typed, 0),
    };
    match digits.parse::<u64>() {
        Ok(number) if number <= u64::MAX >> shift => Ok(number << shift),
        _ => Err(bad(option, typed, "must be a number of bytes, with k or m behind if you like")),
    }
}

pub(super) fn bad(option: &str, typed: &str, why: &str) -> String {
    format!("{option}: '{typed}' {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Automove, Background, ClassSizes, LruMode, LruTuning};
    use std::time::Duration;

    fn parsed(line: &str) -> Result<Settings, String> {
        parse(std::iter::once("slabd").chain(line.split_whitespace()))
    }

    fn addrs(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|addr| addr.parse().unwrap()).collect()
    }

    #[test]
    fn nothing_typed_means_the_defaults() {
        assert_eq!(parsed("").unwrap(), Settings::default());
        Flags::try_parse_from(["slabd"]).unwrap();
        <Flags as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn each_option_sets_what_it_names() {
        let base = Settings::default();
        let tuned = |tune: fn(&mut LruTuning)| {
            let mut settings = base.clone();
            tune(&mut settings.lru_tuning);
            settings
        };
        let classes = |classes| Settings { classes, ..base.clone() };
        let shift = |tune: fn(&mut Background)| {
            let mut settings = base.clone();
            tune(&mut settings.background);
            settings
        };
        let table: [(&str, Settings); 37] = [
            ("-B auto", base.clone()),
            ("-B ascii", Settings { protocol: Protocol::Ascii, ..base.clone() }),
            ("--protocol=binary", Settings { protocol: Protocol::Binary, ..base.clone() }),
            ("-m 100", Settings { memory_len: 100 << 20, ..base.clone() }),
            ("--memory-limit=3", Settings { memory_len: MEMORY_LEN_MIN, ..base.clone() }),
            ("-M", Settings { evict: false, ..base.clone() }),
            ("-D / -o track_sizes", Settings { detail: Some(b'/'), track_sizes: true, ..base.clone() }),
            ("--metrics 127.0.0.1", Settings { metrics: addrs(&["127.0.0.1:9150"]), ..base.clone() }),
            ("--metrics [::1]:99", Settings { metrics: addrs(&["[::1]:99"]), ..base.clone() }),
            ("-c 5", Settings { conn_limit: 5, ..base.clone() }),
            ("-t 3", Settings { threads: 3, ..base.clone() }),
            ("-R 20", Settings { reqs_per_event: Some(20), ..base.clone() }),
            ("-b 7", Settings { backlog: 7, ..base.clone() }),
            ("-f 1.07 -n 32", classes(ClassSizes { factor: Some(1.07), chunk_min: Some(32), ..ClassSizes::default() })),
            ("-I 512k", Settings { item_len_max: 512 << 10, ..base.clone() }),
            ("-I 16m", Settings { item_len_max: 16 << 20, ..base.clone() }),
            ("-C -vv -u root", Settings { with_cas: false, verbosity: 2, user: Some("root".into()), ..base.clone() }),
            ("-o modern,idle_timeout=9", Settings { idle_timeout: Some(Duration::from_secs(9)), ..base.clone() }),
            ("-o no_lru_maintainer -o idle_timeout=0", Settings { lru: LruMode::Flat, ..base.clone() }),
            ("-o no_lru_maintainer,lru_maintainer", base.clone()),
            ("-o lru_mode=segmented,lru_maintainer", Settings { lru: LruMode::Segmented, ..base.clone() }),
            ("-o hot_lru_pct=70,warm_lru_pct=10", tuned(|tuning| (tuning.hot_pct, tuning.warm_pct) = (70, 10))),
            (
                "-o hot_max_factor=0.5,warm_max_factor=3",
                tuned(|tuning| (tuning.hot_max_factor, tuning.warm_max_factor) = (0.5, 3.0)),
            ),
            ("-o temporary_ttl=60", tuned(|tuning| tuning.temporary_ttl = Some(60))),
            ("-U 0 -o no_lru_maintainer", Settings { lru: LruMode::Flat, ..base.clone() }),
            ("-o slab_reassign,slab_automove,lru_crawler", base.clone()),
            ("-o no_slab_reassign", shift(|background| background.reassign = false)),
            ("-o slab_automove=2", shift(|background| background.automove = Automove::Aggressive)),
            ("-o no_slab_automove", shift(|background| background.automove = Automove::Off)),
            ("-o slab_automove_ratio=0.5", shift(|background| background.automove_ratio = 0.5)),
            ("-o slab_automove_window=1800", shift(|background| background.automove_window = 1800)),
            ("-o no_lru_crawler", shift(|background| background.crawler = false)),
            (
                "-o lru_crawler_sleep=0,lru_crawler_tocrawl=7",
                shift(|background| (background.crawler_sleep_us, background.crawler_tocrawl) = (0, 7)),
            ),
            ("-o slab_sizes=96-200-1001", classes(ClassSizes { listed: vec![96, 200, 1001], ..ClassSizes::default() })),
            ("-o slab_chunk_max=16", classes(ClassSizes { chunk_max: Some(16 << 10), ..ClassSizes::default() })),
            ("-L -k", Settings { prefault: true, lock_memory: true, ..base.clone() }),
            ("--memory-max 100", Settings { process_len_max: Some(100 << 20), ..base.clone() }),
        ];
        for (line, want) in table {
            assert_eq!(parsed(line).as_ref(), Ok(&want), "{line}");
        }
    }

    #[test]
    fn places_to_listen_are_understood_in_every_spelling() {
        let table: [(&str, &[&str]); 10] = [
            ("-p 5", &["127.0.0.1:5", "[::1]:5"]),
            ("-p -1", &["127.0.0.1:0", "[::1]:0"]),
            ("-l 10.0.0.1", &["10.0.0.1:11211"]),
            ("-l 10.0.0.1:7,10.0.0.2 -p 9", &["10.0.0.1:7", "10.0.0.2:9"]),
            ("-l ::1 -l [::2] -l [::3]:8", &["[::1]:11211", "[::2]:11211", "[::3]:8"]),
            ("-l 0.0.0.0 -l ::", &["0.0.0.0:11211", "[::]:11211"]),
            ("-l *", &["0.0.0.0:11211", "[::]:11211"]),
            ("-l 10.0.0.1,10.0.0.1", &["10.0.0.1:11211"]),
            ("-p 0 -s /tmp/x", &[]),
            ("-p 0 -U 5", &[]),
        ];
        for (line, want) in table {
            assert_eq!(parsed(line).unwrap().listen, addrs(want), "{line}");
        }
        assert!(parsed("-l *").unwrap().ipv6_optional && !parsed("-l ::1").unwrap().ipv6_optional);
        assert!(parsed("-l localhost").unwrap().listen.contains(&"127.0.0.1:11211".parse().unwrap()));
    }

    #[test]
    fn of_what_is_said_twice_the_last_counts_but_lists_add_up() {
        for (line, same) in [
            ("-m 64 -m 32 --memory-limit=128", "-m 128"),
            ("-p 5 -c 7 -p 6", "-p 6 -c 7"),
            ("-C -C -M", "-C -M"),
            ("-v -v", "-vv"),
            ("-l 10.0.0.1 -l 10.0.0.2", "-l 10.0.0.1,10.0.0.2"),
            ("-o hot_lru_pct=10 -o idle_timeout=5", "-o hot_lru_pct=10,idle_timeout=5"),
            ("-o no_lru_crawler=1,modern=1", "-o no_lru_crawler"),
            ("-o drop_privileges=1,relaxed_privileges=1", "-o drop_privileges,relaxed_privileges"),
            ("-l 10.0.0.1;10.0.0.2,", "-l 10.0.0.1,10.0.0.2"),
            ("-c 5 stray words", "-c 5"),
        ] {
            assert_eq!(parsed(line).unwrap(), parsed(same).unwrap(), "{line}");
        }
    }

    #[test]
    fn what_is_memcacheds_and_has_no_effect_is_taken_with_a_warning_each() {
        let line = "slabd -e /tmp/x -N 2 -l 10.0.0.1 -p 0 -s /tmp/y -o hashpower=20,ext_path=/x:1G,no_hashexpand";
        let flags = Flags::try_parse_from(line.split(' ')).unwrap();
        let (_, warnings) = settings_of(&flags).unwrap();
        let named = ["-e/--memory-file", "-N/--napi-ids", "-l/--listen", "hashpower", "ext_path", "no_hashexpand"];
        assert_eq!(warnings.len(), named.len(), "{warnings:?}");
        for (warning, name) in warnings.iter().zip(named) {
            assert!(warning.contains(name), "{warning}");
        }
    }

    #[test]
    fn a_place_may_have_a_protocol_and_a_tag() {
        let settings =
            parsed("-l proto[ascii]:tag[one]:10.0.0.1:7,notls:proto[binary]:[::1]:8,tag[x]:10.0.0.2 -B ascii").unwrap();
        assert_eq!(settings.listen, addrs(&["10.0.0.1:7", "[::1]:8", "10.0.0.2:11211"]));
        let protocols = settings.listen.iter().map(|addr| settings.listen_protocols.get(addr).copied());
        assert_eq!(protocols.collect::<Vec<_>>(), [Some(Protocol::Ascii), Some(Protocol::Binary), None]);
    }

    #[test]
    fn logins_decide_which_protocol_is_left() {
        for (line, protocol, sasl) in [
            ("-Y users", Protocol::Ascii, false),
            ("-Y users -S", Protocol::Auto, true),
            ("-B binary -S -Y users", Protocol::Binary, true),
        ] {
            let settings = parsed(line).unwrap();
            assert_eq!((settings.protocol, settings.sasl), (protocol, sasl), "{line}");
            assert_eq!(settings.auth_file, Some("users".into()));
        }
    }

    #[test]
    fn a_unix_socket_is_beside_tcp_with_its_mode_in_octal() {
        let settings = parsed("-s /tmp/x -a 0770").unwrap();
        assert_eq!(settings.unix_socket, Some(UnixSocket { path: "/tmp/x".into(), mode: 0o770 }));
        assert_eq!(settings.listen, Settings::loopback(Settings::PORT));
    }

    #[test]
    fn every_bad_value_is_refused_in_one_line_that_names_its_option() {
        let table = [
            ("-m 0", "-m/--memory-limit: '0'"),
            ("-m x", "-m/--memory-limit: 'x'"),
            ("-m 1", "-I/--max-item-size: '1m' must be at most half of -m/--memory-limit"),
            ("-c 0", "-c/--conn-limit: '0'"),
            ("-t 0", "-t/--threads: '0'"),
            ("-t 99999", "-t/--threads: '99999'"),
            ("-R 0", "-R/--max-reqs-per-event: '0'"),
            ("-b 0", "-b/--listen-backlog: '0'"),
            ("-f 1.0", "-f/--slab-growth-factor: '1.0'"),
            ("-f nan", "-f/--slab-growth-factor: 'nan'"),
            ("-n 0", "-n/--slab-min-size: '0'"),
            ("-I 1023", "-I/--max-item-size: '1023'"),
            ("-I 1025m -m 9999", "-I/--max-item-size: '1025m'"),
            ("-I 33m", "-I/--max-item-size: '33m'"),
            ("-I m", "-I/--max-item-size: 'm'"),
            ("-a 9", "-a/--unix-mask: '9'"),
            ("-B udp", "-B/--protocol: 'udp' must be one of auto, binary, or ascii"),
            ("-p 65536", "-p/--port: '65536'"),
            ("-p -2", "-p/--port: '-2'"),
            ("-p 0", "-p/--port: '0'"),
            ("-D ::", "-D: '::' must be one character"),
            ("--metrics :9", "--metrics: ':9' there is no host"),
            ("--metrics 127.0.0.1:0", "--metrics 127.0.0.1:0: '0'"),
            ("-U 70000", "-U/--udp-port: '70000'"),
            ("-U 11211 -Y users", "-U/--udp-port: '11211' cannot be where clients must log in"),
            ("-S", "-S/--enable-sasl: needs a file of users"),
            ("-Y users -B binary", "-B/--protocol: 'binary' or a listener's own has no login by -Y"),
            ("-Y users -l proto[binary]:127.0.0.1", "-B/--protocol: 'auto' or a listener's own has no login by -Y"),
            ("-l proto[proxy]:127.0.0.1", "has a protocol that is not"),
            ("-l tag[muchtoolong]:127.0.0.1", "has a tag of more than 8"),
            ("-l mtls:127.0.0.1", "needs -Z"),
            ("-l tag[a]:tag[b]:127.0.0.1", "-l/--listen"),
            ("-l no.such.host.invalid", "-l/--listen: 'no.such.host.invalid'"),
            ("-l 127.0.0.1:x", "-l/--listen 127.0.0.1:x: 'x'"),
            ("-l :5", "-l/--listen: ':5'"),
        ];
        for (line, want) in table {
            let why = parsed(line).unwrap_err();
            assert!(why.contains(want) && !why.contains('\n'), "{line}: {why}");
        }
    }

    #[test]
    fn so_is_every_bad_value_of_an_extended_option() {
        let table = [
            ("-o wings", "-o/--extended: 'wings' is not known"),
            ("-o idle_timeout", "-o/--extended: 'idle_timeout'"),
            ("-o idle_timeout=soon", "-o/--extended idle_timeout: 'soon'"),
            ("-o hot_lru_pct", "-o/--extended: 'hot_lru_pct' needs a value"),
            ("-o hot_lru_pct=80", "-o/--extended hot_lru_pct: '80'"),
            ("-o warm_lru_pct=0", "-o/--extended warm_lru_pct: '0'"),
            ("-o hot_lru_pct=41", "-o/--extended hot_lru_pct, warm_lru_pct: '41, 40'"),
            ("-o hot_max_factor=0", "-o/--extended hot_max_factor: '0'"),
            ("-o warm_max_factor=nan", "-o/--extended warm_max_factor: 'nan'"),
            ("-o temporary_ttl=-1", "-o/--extended temporary_ttl: '-1'"),
            ("-N many", "-N/--napi-ids: 'many'"),
            ("-o tail_repair_time=9", "-o/--extended tail_repair_time: '9'"),
            ("-o slab_automove=3", "-o/--extended slab_automove: '3'"),
            ("-o slab_automove_ratio", "-o/--extended: 'slab_automove_ratio' needs a value"),
            ("-o slab_automove_ratio=0", "-o/--extended slab_automove_ratio: '0'"),
            ("-o slab_automove_ratio=1.1", "-o/--extended slab_automove_ratio: '1.1'"),
            ("-o slab_automove_window=2", "-o/--extended slab_automove_window: '2'"),
            ("-o lru_crawler_sleep=1000001", "-o/--extended lru_crawler_sleep: '1000001'"),
            ("-o lru_crawler_tocrawl=x", "-o/--extended lru_crawler_tocrawl: 'x'"),
            ("-o slab_sizes", "-o/--extended: 'slab_sizes' needs a value"),
            ("-o slab_sizes=96-", "-o/--extended slab_sizes: '' must be a whole number from 48 to 524288"),
            ("-o slab_sizes=40-100", "-o/--extended slab_sizes: '40' must be a whole number from 48 to 524288"),
            ("-o slab_sizes=96-104", "-o/--extended slab_sizes: '104' must be more than 8 above the one before it"),
            ("-o slab_sizes=600000", "-o/--extended slab_sizes: '600000' must be a whole number from 48 to 524288"),
            ("-o slab_chunk_max=16,slab_sizes=100-20000", "-o/--extended slab_sizes: '20000' must be"),
            ("-o slab_chunk_max=0", "-o/--extended slab_chunk_max: '0'"),
            ("-o slab_chunk_max=2048", "-o/--extended slab_chunk_max: '2048' must not be more than -I"),
            ("-o slab_chunk_max=24", "-o/--extended slab_chunk_max: '24' must divide -I"),
            ("-o slab_chunk_max=96 -I 3m", "-o/--extended slab_chunk_max: '96' must divide a page"),
            ("-o slab_chunk_max=1", "-o/--extended slab_chunk_max: '1' is too short"),
            ("--memory-max 1", "--memory-max: '1'"),
            ("--memory-max 100 -L", "--memory-max: '100' cannot be together with -L"),
            ("-o lru_mode=random", "-o/--extended lru_mode: 'random'"),
            ("--no-such-option", "--no-such-option"),
        ];
        for (line, want) in table {
            let why = parsed(line).expect_err(line);
            assert!(why.contains(want) && !why.contains('\n'), "{line}: {why}");
        }
    }
}
