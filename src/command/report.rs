//! Numbers, as rows with memcached's names in memcached's order.
//!
//! Rows of machinery that slabd does not have are there and say what memcached's say when nothing happens, because dashboards and
//! exporters ask for them by name. Constant by design:
//!
//! | Row | Why |
//! |---|---|
//! | `response_obj_oom`, `malloc_fails` | buffers of answers have no limit of their own that could be met: what a client may have is bounded (`limits.rs`), and a system without memory ends the daemon |
//! | `hash_is_expanding` | the index grows a bucket at a time, as part of storing |
//! | `unexpected_napi_ids`, `round_robin_fallback` | connections are not spread by their network queue |
//! | `lru_bumps_dropped` | uses are noted in the item's bucket, not queued |
//! | `tailrepairs` (items) | nothing leaks a reference |
//! | `free_chunks_end` (slabs) | memcached's is always zero, too |
//!
//! What some rows mean here: `read_buf_count` and `read_buf_bytes` are buffers that connections hold for input not served yet and one scratch
//! for each worker, `read_buf_bytes_free` what workers keep at hand; `response_obj_count` and `response_obj_bytes` are the answers that
//! clients have not taken; `reserved_fds` are the descriptors that slabd has asked the system for beyond `-c`, not taken off it;
//! `listen_disabled_num` counts how often accepting had to stop: for want of descriptors or of a worker with room, and, with `-o
//! no_maxconns_fast`, at `-c`; who is turned away there counts in `rejected_connections`; `slab_reassign_*` and `slabs_moved` are of pages that an operator, the automover or a class in need had emptied.

mod tls;

use super::{Context, Report, VERSION};
use crate::clock::Tick;
use crate::limits::{DESCRIPTORS_OF_OURS, DESCRIPTORS_PER_THREAD, TURN_REQUESTS_MAX};
use crate::settings::{ClassSizes, LruMode, LruTuning, Protocol, Settings};
use crate::stats::{CLASS_COUNTERS, ClassEvent, QUEUES, Switch, Totals};
use crate::store::{ClassSummary, Footprint};
use crate::sys::process::cpu_times;
use log::LevelFilter;

/// `stats`.
#[must_use]
pub fn general(cx: &Context<'_>) -> Report {
    let totals = cx.daemon.stats.totals();
    let footprint = cx.daemon.store.footprint();
    let mut report = Report::default();
    process(&mut report, cx);
    connections(&mut report, &cx.daemon.settings, &totals);
    commands(&mut report, &totals);
    traffic(&mut report, cx, &totals);
    index(&mut report, footprint);
    background(&mut report, cx, &totals);
    items_in_all(&mut report, cx, &totals, footprint);
    report
}

fn process(report: &mut Report, cx: &Context<'_>) {
    let cpu = cpu_times();
    let secs = |time: std::time::Duration| format!("{}.{:06}", time.as_secs(), time.subsec_micros());
    report.push("pid", std::process::id());
    report.push("uptime", uptime_secs(cx.now.tick));
    report.push("time", cx.now.unix_secs);
    report.push("version", VERSION);
    // Clients expect a version here; memcached's names its event library, so does this.
    report.push("libevent", "mio");
    report.push("pointer_size", usize::BITS);
    report.push("rusage_user", secs(cpu.user));
    report.push("rusage_system", secs(cpu.system));
}

/// Seconds that the daemon has been up.
pub(super) fn uptime_secs(tick: Tick) -> u32 {
    (tick.0 - Tick::START.0) / Tick::PER_SEC
}

fn connections(report: &mut Report, settings: &Settings, totals: &Totals) {
    report.push("max_connections", settings.conn_limit);
    report.push("curr_connections", totals.curr_connections);
    report.push("total_connections", totals.total_connections);
    if settings.maxconns_fast {
        report.push("rejected_connections", totals.rejected_connections);
    }
    report.push("connection_structures", totals.curr_connections);
    let reserved = DESCRIPTORS_OF_OURS + DESCRIPTORS_PER_THREAD * settings.threads;
    for (name, value) in [
        ("response_obj_oom", 0),
        ("response_obj_count", totals.response_obj_count),
        ("response_obj_bytes", totals.response_obj_bytes),
        ("read_buf_count", totals.read_buf_count),
        ("read_buf_bytes", totals.read_buf_bytes),
        ("read_buf_bytes_free", totals.read_buf_bytes_free),
        ("read_buf_oom", totals.read_buf_oom),
        ("reserved_fds", reserved as u64),
    ] {
        report.push(name, value);
    }
}

fn commands(report: &mut Report, totals: &Totals) {
    for (name, value) in [
        ("cmd_get", totals.cmd_get),
        ("cmd_set", totals.cmd_set),
        ("cmd_flush", totals.cmd_flush),
        ("cmd_touch", totals.cmd_touch),
        ("cmd_meta", totals.cmd_meta),
        ("get_hits", totals.get_hits),
        ("get_misses", totals.get_misses),
        ("get_expired", totals.get_expired),
        ("get_flushed", totals.get_flushed),
        ("delete_misses", totals.delete_misses),
        ("delete_hits", totals.delete_hits),
        ("incr_misses", totals.incr_misses),
        ("incr_hits", totals.incr_hits),
        ("decr_misses", totals.decr_misses),
        ("decr_hits", totals.decr_hits),
        ("cas_misses", totals.cas_misses),
        ("cas_hits", totals.cas_hits),
        ("cas_badval", totals.cas_badval),
        ("touch_hits", totals.touch_hits),
        ("touch_misses", totals.touch_misses),
        ("store_too_large", totals.store_too_large),
        ("store_no_memory", totals.store_no_memory),
        ("auth_cmds", totals.auth_cmds),
        ("auth_errors", totals.auth_errors),
    ] {
        report.push(name, value);
    }
}

fn traffic(report: &mut Report, cx: &Context<'_>, totals: &Totals) {
    let settings = &cx.daemon.settings;
    report.push("bytes_read", totals.bytes_read);
    report.push("bytes_written", totals.bytes_written);
    report.push("limit_maxbytes", cx.daemon.store.memory_len());
    report.push("accepting_conns", u8::from(totals.listen_disabled == 0));
    report.push("listen_disabled_num", totals.listen_disabled_num);
    report.push("time_in_listen_disabled_us", totals.time_in_listen_disabled_us);
    report.push("threads", settings.threads);
    report.push("conn_yields", totals.conn_yields);
    if settings.idle_timeout.is_some() {
        report.push("idle_kicks", totals.idle_kicks);
    }
}

fn index(report: &mut Report, footprint: Footprint) {
    report.push("hash_power_level", footprint.index_level);
    report.push("hash_bytes", footprint.index_len);
    report.push("hash_is_expanding", 0);
}

fn background(report: &mut Report, cx: &Context<'_>, totals: &Totals) {
    let chores = cx.daemon.store.chores();
    for (name, value) in [
        ("slab_reassign_rescues", totals.slab_reassign_rescues),
        ("slab_reassign_chunk_rescues", totals.slab_reassign_chunk_rescues),
        ("slab_reassign_inline_reclaim", totals.slab_reassign_inline_reclaim),
        ("slab_reassign_busy_items", totals.slab_reassign_busy_items),
        ("slab_reassign_busy_deletes", totals.slab_reassign_busy_deletes),
        ("slab_reassign_busy_nomem", totals.slab_reassign_busy_nomem),
    ] {
        report.push(name, value);
    }
    report.push("slab_reassign_last_busy_status", chores.last_busy.unwrap_or("0"));
    report.push("slab_reassign_running", u8::from(chores.moving));
    report.push("slabs_moved", totals.slabs_moved);
    if cx.daemon.store.background().crawler {
        report.push("lru_crawler_running", u8::from(chores.crawling));
        report.push("lru_crawler_starts", totals.lru_crawler_starts);
    }
    if has_maintainer(cx) {
        report.push("lru_maintainer_juggles", totals.lru_maintainer_juggles);
    }
    report.push("malloc_fails", 0);
    let logs = cx.daemon.stats.hub.counts();
    report.push("log_worker_dropped", logs.worker_dropped);
    report.push("log_worker_written", logs.worker_written);
    report.push("log_watcher_skipped", logs.watcher_skipped);
    report.push("log_watcher_sent", logs.watcher_sent);
    report.push("log_watchers", logs.watchers);
    tls::general(report, cx, totals);
    for zero in ["unexpected_napi_ids", "round_robin_fallback"] {
        report.push(zero, 0);
    }
}

/// To memcached it is the maintainer who moves items between queues.
fn has_maintainer(cx: &Context<'_>) -> bool {
    cx.daemon.settings.lru != LruMode::Flat
}

fn items_in_all(report: &mut Report, cx: &Context<'_>, totals: &Totals, footprint: Footprint) {
    let segmented = has_maintainer(cx);
    for (name, value) in [
        ("bytes", totals.bytes),
        ("curr_items", totals.curr_items),
        ("total_items", totals.total_items),
        ("slab_global_page_pool", u64::from(footprint.free_pages)),
        ("expired_unfetched", totals.expired_unfetched),
        ("evicted_unfetched", totals.evicted_unfetched),
        ("evicted_active", totals.evicted_active),
        ("evictions", totals.evictions),
        ("reclaimed", totals.reclaimed),
        ("crawler_reclaimed", totals.crawler_reclaimed),
        ("crawler_items_checked", totals.crawler_items_checked),
        ("lrutail_reflocked", totals.lrutail_reflocked),
        ("moves_to_cold", totals.moves_to_cold),
        ("moves_to_warm", totals.moves_to_warm),
        ("moves_within_lru", totals.moves_within_lru),
        ("direct_reclaims", totals.direct_reclaims),
        ("lru_bumps_dropped", 0),
    ] {
        let is_shown = segmented || !ROWS_OF_SEGMENTS.contains(&name);
        if is_shown {
            report.push(name, value);
        }
    }
}

/// Rows that there are only where items move between queues.
const ROWS_OF_SEGMENTS: [&str; 6] =
    ["evicted_active", "moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims", "lru_bumps_dropped"];

/// `stats items`.
#[must_use]
pub fn items(cx: &Context<'_>) -> Report {
    let mut report = Report::default();
    let (_, tuning) = cx.daemon.store.lru();
    let counted = cx.daemon.stats.classes();
    for class in cx.daemon.store.classes(cx.now).iter().filter(|class| class.items() > 0) {
        items_of(&mut report, class, counted[usize::from(class.id.number())], tuning.temporary_ttl.is_some());
    }
    report
}

fn items_of(report: &mut Report, class: &ClassSummary, hits: [u64; CLASS_COUNTERS], has_temp: bool) {
    let mut push = |name: &str, value: u64| report.push(format!("items:{}:{name}", class.id.number()), value);
    let [hot, warm, cold, temp] = class.segments;
    push("number", u64::from(class.items()));
    push("number_hot", u64::from(hot.items));
    push("number_warm", u64::from(warm.items));
    push("number_cold", u64::from(cold.items));
    if has_temp || temp.items > 0 {
        push("number_temp", u64::from(temp.items));
    }
    // How old items grow before they are evicted: COLD's tail or, in a mode without COLD, the main queue's.
    let age_secs = if cold.items > 0 { cold.age_secs } else { warm.age_secs.max(hot.age_secs) };
    let counts = &class.counts;
    for (name, value) in [
        ("age_hot", u64::from(hot.age_secs)),
        ("age_warm", u64::from(warm.age_secs)),
        ("age", u64::from(age_secs)),
        ("mem_requested", class.bytes),
        ("evicted", counts.evicted),
        ("evicted_nonzero", counts.evicted_nonzero),
        ("evicted_time", u64::from(counts.evicted_time)),
        ("outofmemory", counts.outofmemory),
        ("tailrepairs", 0),
        ("reclaimed", counts.reclaimed),
        ("expired_unfetched", counts.expired_unfetched),
        ("evicted_unfetched", counts.evicted_unfetched),
        ("evicted_active", counts.evicted_active),
        ("crawler_reclaimed", class.crawled.reclaimed),
        ("crawler_items_checked", class.crawled.checked),
        ("lrutail_reflocked", counts.lrutail_reflocked),
        ("moves_to_cold", counts.moves_to_cold),
        ("moves_to_warm", counts.moves_to_warm),
        ("moves_within_lru", counts.moves_within_lru),
        ("direct_reclaims", counts.direct_reclaims),
        ("hits_to_hot", hits[0]),
        ("hits_to_warm", hits[1]),
        ("hits_to_cold", hits[2]),
        ("hits_to_temp", hits[3]),
    ] {
        push(name, value);
    }
}

/// `stats slabs`. Hits of large items are those of the largest class, where they are queued; chunks are where they are.
#[must_use]
pub fn slabs(cx: &Context<'_>) -> Report {
    let mut report = Report::default();
    let counted = cx.daemon.stats.classes();
    let classes: Vec<ClassSummary> = cx.daemon.store.classes(cx.now);
    let active: Vec<&ClassSummary> = classes.iter().filter(|class| class.pages > 0).collect();
    for class in &active {
        let number = class.id.number();
        let counted = &counted[usize::from(number)];
        let total = u64::from(class.pages) * u64::from(class.chunks_per_page);
        for (name, value) in [
            ("chunk_size", class.chunk_len as u64),
            ("chunks_per_page", u64::from(class.chunks_per_page)),
            ("total_pages", u64::from(class.pages)),
            ("total_chunks", total),
            ("used_chunks", u64::from(class.used_chunks)),
            ("free_chunks", total.saturating_sub(u64::from(class.used_chunks))),
            ("free_chunks_end", 0),
            ("get_hits", class_hits(counted)),
            ("cmd_set", counted[ClassEvent::Set as usize]),
            ("delete_hits", counted[ClassEvent::DeleteHit as usize]),
            ("incr_hits", counted[ClassEvent::IncrHit as usize]),
            ("decr_hits", counted[ClassEvent::DecrHit as usize]),
            ("cas_hits", counted[ClassEvent::CasHit as usize]),
            ("cas_badval", counted[ClassEvent::CasBadval as usize]),
            ("touch_hits", counted[ClassEvent::TouchHit as usize]),
        ] {
            report.push(format!("{number}:{name}"), value);
        }
    }
    let bytes: u64 = active.iter().map(|class| u64::from(class.pages) * class.page_len as u64).sum();
    report.push("active_slabs", active.len());
    report.push("total_malloced", bytes);
    report
}

/// Hits in all queues of a class.
pub(super) fn class_hits(counted: &[u64; CLASS_COUNTERS]) -> u64 {
    counted[..QUEUES].iter().sum()
}

/// `stats settings`: memcached's rows in memcached's order, with what it would say itself of what slabd does not have.
#[must_use]
pub fn settings(cx: &Context<'_>) -> Report {
    let mut report = Report::default();
    settings_of_the_edge(&mut report, cx);
    settings_of_pages(&mut report, cx);
    settings_of_queues(&mut report, cx);
    report
}

pub(super) fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn settings_of_the_edge(report: &mut Report, cx: &Context<'_>) {
    let settings = &cx.daemon.settings;
    report.push("maxbytes", cx.daemon.store.memory_len());
    report.push("maxconns", settings.conn_limit);
    report.push("tcpport", settings.listen.first().map_or(0, std::net::SocketAddr::port));
    report.push("udpport", settings.udp.first().map_or(0, std::net::SocketAddr::port));
    let inter: Vec<String> = settings.listen.iter().map(|address| address.ip().to_string()).collect();
    report.push("inter", if inter.is_empty() { "NULL".to_owned() } else { inter.join(",") });
    report.push("verbosity", verbosity(settings.verbosity));
    report.push("oldest", 0);
    report.push("evictions", if settings.evict { "on" } else { "off" });
    let path = settings.unix_socket.as_ref().map(|socket| socket.path.display().to_string());
    report.push("domain_socket", path.unwrap_or_else(|| "NULL".to_owned()));
    report.push("umask", format!("{:o}", settings.unix_socket.as_ref().map_or(0o700, |socket| socket.mode)));
    report.push("shutdown_command", yes(settings.shutdown));
    report.push("growth_factor", format!("{:.2}", settings.classes.factor.unwrap_or(ClassSizes::FACTOR)));
    report.push("chunk_size", settings.classes.chunk_min.unwrap_or(ClassSizes::CHUNK_MIN));
    report.push("num_threads", settings.threads);
    report.push("num_threads_per_udp", settings.threads);
    let watch = cx.daemon.stats.watch();
    report.push("stat_key_prefix", char::from(watch.delimiter()));
    report.push("detail_enabled", yes(watch.is_on(Switch::Detail)));
    report.push("reqs_per_event", settings.reqs_per_event.unwrap_or(TURN_REQUESTS_MAX));
    report.push("cas_enabled", yes(settings.with_cas));
    report.push("tcp_backlog", settings.backlog);
    let protocol = match settings.protocol {
        Protocol::Auto => "auto-negotiate",
        Protocol::Ascii => "ascii",
        Protocol::Binary => "binary",
    };
    report.push("binding_protocol", protocol);
    report.push("auth_enabled_sasl", yes(settings.sasl));
    let by_token = settings.auth_file.is_some() && settings.protocol != Protocol::Binary;
    report.push("auth_enabled_ascii", yes(by_token));
    report.push("item_size_max", settings.item_len_max);
    report.push("maxconns_fast", yes(settings.maxconns_fast));
}

/// How much is said; `verbosity` may have changed it.
fn verbosity(at_first: u8) -> u8 {
    match log::max_level() {
        // Of a daemon without a log.
        LevelFilter::Off => at_first,
        LevelFilter::Error | LevelFilter::Warn => 0,
        LevelFilter::Info => 1,
        LevelFilter::Debug => 2,
        LevelFilter::Trace => 3,
    }
}

fn settings_of_pages(report: &mut Report, cx: &Context<'_>) {
    let background = cx.daemon.store.background();
    report.push("hashpower_init", 0);
    report.push("slab_reassign", yes(background.reassign));
    report.push("slab_automove", background.automove as u8);
    report.push("slab_automove_ratio", format!("{:.2}", background.automove_ratio));
    report.push("slab_automove_window", background.automove_window);
    report.push("slab_chunk_max", cx.daemon.store.chunk_len_max());
    report.push("lru_crawler", yes(background.crawler));
    report.push("lru_crawler_sleep", background.crawler_sleep_us);
    report.push("lru_crawler_tocrawl", background.crawler_tocrawl);
    report.push("tail_repair_time", 0);
    report.push("flush_enabled", yes(cx.daemon.settings.flush));
    report.push("dump_enabled", yes(cx.daemon.settings.dumps));
    // Of keys in the index, seeded when the daemon starts.
    report.push("hash_algorithm", "rapidhash");
}

fn settings_of_queues(report: &mut Report, cx: &Context<'_>) {
    let (mode, tuning) = cx.daemon.store.lru();
    report.push("lru_maintainer_thread", yes(has_maintainer(cx)));
    // To memcached's tools the question is whether there is more than one queue.
    report.push("lru_segmented", yes(mode != LruMode::Flat));
    report.push("hot_lru_pct", tuning.hot_pct);
    report.push("warm_lru_pct", tuning.warm_pct);
    report.push("hot_max_factor", format!("{:.2}", tuning.hot_max_factor));
    report.push("warm_max_factor", format!("{:.2}", tuning.warm_max_factor));
    report.push("temp_lru", yes(tuning.temporary_ttl.is_some()));
    report.push("temporary_ttl", tuning.temporary_ttl.unwrap_or(LruTuning::TEMPORARY_TTL_UNUSED));
    report.push("idle_timeout", cx.daemon.settings.idle_timeout.map_or(0, |timeout| timeout.as_secs()));
    report.push("watcher_logbuf_size", cx.daemon.settings.logs.watcher);
    report.push("worker_logbuf_size", cx.daemon.settings.logs.worker);
    for (name, value) in [
        ("read_buf_mem_limit", "0"),
        ("track_sizes", yes(cx.daemon.store.tracks_lengths())),
        ("inline_ascii_response", "no"),
        ("drop_privileges", yes(cx.daemon.settings.process.drop_privileges)),
        ("slab_automove_freeratio", "0.010"),
    ] {
        report.push(name, value);
    }
    tls::settings(report, &cx.daemon.settings.tls);
    for (name, value) in [("num_napi_ids", "0"), ("memory_file", "(null)"), ("client_flags_size", "4")] {
        report.push(name, value);
    }
}
